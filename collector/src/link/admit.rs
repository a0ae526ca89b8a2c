//! The only door from wire to domain.
//!
//! Bytes come in as one message; what leaves is bounded, cleaned and in the collector's own types,
//! or a [`Refusal`] that names the field. Nothing here waits, and nothing a peer sends makes it
//! panic or grow beyond a small multiple of [`wire::MESSAGE_BYTES_MAX`]. What the collector says
//! passes the same door outwards.
//!
//! Times: a sample's wall clock is a claim and is not used. Its monotonic clock orders, and `clock`
//! says when that was by *ours*: never after it arrived.

use std::collections::HashSet;

use bytes::Bytes;
use hubmeter_proto::{PROTOCOL_VERSION, limits as wire, v1};
use prost::Message as _;

use crate::{
    fact::{
        Activity, EndCause, InstanceId, MemorySource, Sample, Vitals, WorkloadEnd, WorkloadKey,
        WorkloadKind, WorkloadSample, WorkloadState,
    },
    limits,
    text::Label,
    verdict::{Rule, Verdict},
};

mod batches;
mod bounds;
mod clock;
mod counted;
mod out;
mod people;
mod vitals;

use self::bounds::{cut, label, maybe, number, out, processes, seq, text};
pub use self::{batches::Batches, clock::ClockOffset, out::write};

/// What an agent said.
#[derive(Clone, Debug, PartialEq)]
pub enum Incoming {
    /// Its first message.
    Hello(Hello),
    /// Samples, oldest first.
    Report {
        /// Counts up by one from 1.
        seq: u64,
        /// What it measured.
        samples: Vec<Sample>,
    },
    /// Reports it had to give up.
    Gap {
        /// First one lost.
        from_seq: u64,
        /// Last one lost.
        through_seq: u64,
    },
    /// What people do.
    Activity(Activity),
    /// Notices that were seen.
    Shown(Vec<Label>),
    /// Reports told together, for [`Batches`] to read.
    Batch(Bytes),
    /// It ends.
    Bye,
}

/// An agent's first message.
#[derive(Clone, Debug, PartialEq)]
pub struct Hello {
    /// Which life of the agent.
    pub instance: InstanceId,
    /// The oldest report it keeps.
    pub first_seq: u64,
    /// The number of its next new report.
    pub next_seq: u64,
    /// The newest protocol both speak.
    pub protocol: u32,
    /// Its clock since boot.
    pub mono_ms: u64,
    /// Its base interval.
    pub interval_ms: u32,
    /// The machine or container it runs on.
    pub host: Label,
    /// Its version, for the log.
    pub version: Label,
    /// The server's name; read in standalone only.
    pub server_name: Label,
}

/// What the collector says.
#[derive(Clone, Debug, PartialEq)]
pub enum Outgoing {
    /// The answer to Hello.
    Welcome {
        /// The protocol that is spoken from here on.
        protocol: u32,
        /// Everything before is on disk.
        resume_seq: u64,
        /// The interval wanted; 0 leaves it to the agent.
        interval_ms: u32,
        /// Where the HTTP API is, for people and scripts.
        api_url: String,
    },
    /// Everything up to here is on disk.
    Receipt {
        /// The last one.
        through_seq: u64,
    },
    /// What the agent is asked for from now on; `None` stays as it was.
    Pace {
        /// The interval wanted; 0 leaves it to the agent.
        interval_ms: Option<u32>,
        /// How long reports may wait for each other, 0 for not at all. Not in protocol 1.
        hold_ms: Option<u32>,
    },
    /// A message for the person at the server. Boxed: a stream's queue keeps room for the largest.
    Notice(Box<Notice>),
    /// The end.
    Bye {
        /// Why.
        reason: ByeReason,
        /// When to come back.
        retry_after_ms: u32,
    },
}

/// A message for the person at the server.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// The verdict it tells of.
    pub verdict: Verdict,
    /// The sentence to show.
    pub text: String,
    /// When its server stops, from now.
    pub stops_in_ms: Option<u64>,
}

impl Notice {
    /// Whether an order to shut a kernel down may end with it: if it is lost, the kernel goes all the same.
    pub(super) fn may_end_order(&self) -> bool {
        self.verdict.rule == Rule::IdleHog && self.verdict.cleared_ms.is_some()
    }
}

/// Why the collector ends a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // `link.proto` says what each means
pub enum ByeReason {
    Shutdown,
    Superseded,
    Unauthenticated,
    Protocol,
    Quota,
    Busy,
    Silent,
    Version,
}

/// Why a message was not let in.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not protobuf, or not ours.
    #[error("message cannot be decoded: {0}")]
    Undecodable(String),
    /// Larger than any message may be.
    #[error("message of {0} bytes is over {max}", max = wire::MESSAGE_BYTES_MAX)]
    TooLarge(usize),
    /// Nothing in it.
    #[error("message has no body this version knows")]
    Empty,
    /// A field passed its bound.
    #[error("{field} is out of bounds: {why}")]
    OutOfBounds {
        /// The field's path in the message.
        field: String,
        /// The bound.
        why: &'static str,
    },
    /// The protocol versions have nothing in common.
    #[error("protocol {0} is not spoken here")]
    Version(u32),
}

type Admitted<T> = Result<T, Refusal>;

// === in ===

/// Reads one message. `arrived_ms` is our clock now.
///
/// # Errors
/// What is wrong with it.
pub fn read(message: &Bytes, arrived_ms: i64, clock: ClockOffset) -> Admitted<Incoming> {
    if message.len() > wire::MESSAGE_BYTES_MAX {
        return Err(Refusal::TooLarge(message.len()));
    }
    counted::check(message)?;
    let up =
        v1::Up::decode(message.clone()).map_err(|e| Refusal::Undecodable(cut(&e.to_string())))?;
    match up.body.ok_or(Refusal::Empty)? {
        v1::up::Body::Hello(hello) => read_hello(&hello).map(Incoming::Hello),
        v1::up::Body::Report(report) => {
            seq("report.seq", report.seq)?;
            Ok(Incoming::Report {
                seq: report.seq,
                samples: read_samples(&report.samples, arrived_ms, clock)?,
            })
        }
        v1::up::Body::Gap(gap) => {
            seq("gap.from_seq", gap.from_seq)?;
            seq("gap.through_seq", gap.through_seq)?;
            if gap.from_seq > gap.through_seq {
                return Err(out("gap.through_seq", "must not be before from_seq"));
            }
            Ok(Incoming::Gap {
                from_seq: gap.from_seq,
                through_seq: gap.through_seq,
            })
        }
        v1::up::Body::Activity(activity) => {
            people::activity(&activity, arrived_ms, clock).map(Incoming::Activity)
        }
        v1::up::Body::Shown(shown) => people::shown(&shown).map(Incoming::Shown),
        v1::up::Body::Batch(batch) => Ok(Incoming::Batch(batch)),
        v1::up::Body::Bye(_) => Ok(Incoming::Bye),
    }
}

fn read_hello(hello: &v1::Hello) -> Admitted<Hello> {
    if hello.protocol == 0 {
        return Err(Refusal::Version(hello.protocol));
    }
    let instance = <[u8; wire::INSTANCE_ID_BYTES]>::try_from(&hello.instance_id[..])
        .map_err(|_| out("hello.instance_id", "must be 16 bytes"))?;
    seq("hello.first_seq", hello.first_seq)?;
    seq("hello.next_seq", hello.next_seq)?;
    if hello.first_seq > hello.next_seq {
        return Err(out("hello.first_seq", "must not be after next_seq"));
    }
    number("hello.mono_ms", hello.mono_ms)?;
    let interval = std::time::Duration::from_millis(hello.interval_ms.into());
    if !(wire::INTERVAL_MIN..=wire::INTERVAL_MAX).contains(&interval) {
        return Err(out("hello.interval_ms", "from 1 s to 60 s"));
    }
    text(
        "hello.server_name",
        &hello.server_name,
        limits::HUB_NAME_BYTES_MAX,
    )?;
    Ok(Hello {
        instance: InstanceId(instance),
        first_seq: hello.first_seq,
        next_seq: hello.next_seq,
        protocol: hello.protocol.min(PROTOCOL_VERSION),
        mono_ms: hello.mono_ms,
        interval_ms: hello.interval_ms,
        host: label(&hello.host),
        version: label(&hello.agent_version),
        server_name: Label::clean(&hello.server_name, limits::HUB_NAME_BYTES_MAX),
    })
}

fn read_samples(
    samples: &[v1::Sample],
    arrived_ms: i64,
    clock: ClockOffset,
) -> Admitted<Vec<Sample>> {
    if samples.len() > wire::SAMPLES_PER_REPORT_MAX {
        return Err(out("report.samples", "too many"));
    }
    let clock = clock.with(samples.last().map(|sample| sample.mono_ms), arrived_ms);
    let mut before_ms = 0;
    let mut read = Vec::with_capacity(samples.len());
    for (i, sample) in samples.iter().enumerate() {
        let at = |field: &str| format!("report.samples[{i}].{field}");
        if sample.mono_ms < before_ms {
            return Err(out(&at("mono_ms"), "must not go backwards"));
        }
        before_ms = sample.mono_ms;
        read.push(read_sample(sample, &at, arrived_ms, clock)?);
    }
    Ok(read)
}

fn read_sample(
    sample: &v1::Sample,
    at: &dyn Fn(&str) -> String,
    arrived_ms: i64,
    clock: ClockOffset,
) -> Admitted<Sample> {
    let unattributed = sample.unattributed_bytes.map(i64::unsigned_abs);
    for (field, value) in [
        ("mono_ms", Some(sample.mono_ms)),
        ("memory_used_bytes", Some(sample.memory_used_bytes)),
        ("rss_bytes", Some(sample.rss_bytes)),
        ("cpu_millis", Some(sample.cpu_millis)),
        ("memory_working_set_bytes", sample.memory_working_set_bytes),
        ("memory_limit_bytes", sample.memory_limit_bytes),
        ("memory_limit_used_bytes", sample.memory_limit_used_bytes),
        ("pss_bytes", sample.pss_bytes),
        ("swap_bytes", sample.swap_bytes),
        ("oom_kills", sample.oom_kills),
        ("memory_guarantee_bytes", sample.memory_guarantee_bytes),
        ("unattributed_bytes", unattributed),
        (
            "memory_corrected_bytes",
            Some(sample.memory_corrected_bytes.unsigned_abs()),
        ),
    ] {
        maybe(&at(field), value)?;
    }
    processes(&at("processes"), sample.processes)?;
    processes(&at("threads"), sample.threads)?;
    processes(&at("processes_beyond"), sample.processes_beyond)?;
    let source = &sample.memory_limit_source;
    text(
        &at("memory_limit_source"),
        source,
        wire::LIMIT_SOURCE_BYTES_MAX,
    )?;
    Ok(Sample {
        at_ms: clock.at_ms(sample.mono_ms, arrived_ms),
        mono_ms: sample.mono_ms,
        interval_ms: sample.interval_ms,
        burst: sample.burst,
        memory_used_bytes: sample.memory_used_bytes,
        memory_working_set_bytes: sample.memory_working_set_bytes,
        memory_source: memory_source(sample.memory_source)
            .ok_or_else(|| out(&at("memory_source"), "not one this version knows"))?,
        memory_age_ms: sample.memory_age_ms,
        memory_limit_bytes: sample.memory_limit_bytes,
        memory_limit_source: (!source.is_empty())
            .then(|| Label::clean(source, wire::LIMIT_SOURCE_BYTES_MAX)),
        memory_limit_enforced: sample.memory_limit_enforced,
        memory_limit_shared: sample.memory_limit_shared,
        memory_guarantee_bytes: sample.memory_guarantee_bytes,
        rss_bytes: sample.rss_bytes,
        pss_bytes: sample.pss_bytes,
        swap_bytes: sample.swap_bytes,
        unattributed_bytes: sample.unattributed_bytes,
        cpu_millis: sample.cpu_millis,
        cpu_limit_millicores: sample.cpu_limit_millicores,
        cpu_guarantee_millicores: sample.cpu_guarantee_millicores,
        processes: sample.processes,
        threads: sample.threads,
        oom_kills: sample.oom_kills,
        memory_limit_used_bytes: sample.memory_limit_used_bytes,
        memory_corrected_bytes: sample.memory_corrected_bytes,
        cpu_may_miss: sample.cpu_may_miss,
        processes_beyond: sample.processes_beyond,
        vitals: match &sample.vitals {
            Some(vitals) => vitals::read(vitals, at)?,
            None => Vitals::default(),
        },
        workloads: read_workloads(&sample.workloads, at)?,
        ended: read_ended(&sample.ended, at)?,
    })
}

fn read_workloads(
    workloads: &[v1::Workload],
    at: &dyn Fn(&str) -> String,
) -> Admitted<Vec<WorkloadSample>> {
    if workloads.len() > wire::WORKLOADS_PER_SAMPLE_MAX {
        return Err(out(&at("workloads"), "too many"));
    }
    let mut seen = HashSet::with_capacity(workloads.len());
    let mut read = Vec::with_capacity(workloads.len());
    for (i, workload) in workloads.iter().enumerate() {
        let at = |field: &str| at(&format!("workloads[{i}].{field}"));
        let key = workload_key(workload.kind, &workload.id, &at)?;
        if !seen.insert(key.clone()) {
            return Err(out(&at("id"), "must be unique within its kind"));
        }
        number(&at("rss_bytes"), workload.rss_bytes)?;
        number(&at("cpu_millis"), workload.cpu_millis)?;
        maybe(&at("memory_used_bytes"), workload.memory_used_bytes)?;
        maybe(&at("pss_bytes"), workload.pss_bytes)?;
        maybe(&at("idle_ms"), workload.idle_ms)?;
        maybe(&at("read_bytes"), workload.read_bytes)?;
        maybe(&at("written_bytes"), workload.written_bytes)?;
        processes(&at("processes"), workload.processes)?;
        processes(&at("threads"), workload.threads)?;
        read.push(WorkloadSample {
            key,
            name: label(&workload.name),
            notebook: workload.notebook.as_deref().map(label),
            state: workload_state(workload.state),
            pid: workload.pid,
            memory_used_bytes: workload.memory_used_bytes,
            rss_bytes: workload.rss_bytes,
            pss_bytes: workload.pss_bytes,
            cpu_millis: workload.cpu_millis,
            processes: workload.processes,
            threads: workload.threads,
            idle_ms: workload.idle_ms,
            read_bytes: workload.read_bytes,
            written_bytes: workload.written_bytes,
            remote: workload.remote,
        });
    }
    read.sort_by_key(|w| std::cmp::Reverse(w.memory_used_bytes.unwrap_or(w.rss_bytes)));
    Ok(read)
}

fn read_ended(ended: &[v1::Ended], at: &dyn Fn(&str) -> String) -> Admitted<Vec<WorkloadEnd>> {
    if ended.len() > wire::ENDED_PER_SAMPLE_MAX {
        return Err(out(&at("ended"), "too many"));
    }
    let mut read = Vec::with_capacity(ended.len());
    for (i, end) in ended.iter().enumerate() {
        let at = |field: &str| at(&format!("ended[{i}].{field}"));
        number(&at("memory_used_bytes"), end.memory_used_bytes)?;
        read.push(WorkloadEnd {
            key: workload_key(end.kind, &end.id, &at)?,
            name: label(&end.name),
            notebook: end.notebook.as_deref().map(label),
            cause: match v1::ended::Cause::try_from(end.cause) {
                Ok(v1::ended::Cause::OutOfMemory) => EndCause::OutOfMemory,
                Ok(v1::ended::Cause::KilledNearLimit) => EndCause::KilledNearLimit,
                _ => EndCause::Gone,
            },
            memory_used_bytes: end.memory_used_bytes,
        });
    }
    Ok(read)
}

fn workload_key(kind: i32, id: &str, at: &dyn Fn(&str) -> String) -> Admitted<WorkloadKey> {
    let kind = match v1::WorkloadKind::try_from(kind) {
        Ok(v1::WorkloadKind::Kernel) => WorkloadKind::Kernel,
        Ok(v1::WorkloadKind::Terminal) => WorkloadKind::Terminal,
        Ok(v1::WorkloadKind::App) => WorkloadKind::App,
        Ok(v1::WorkloadKind::Server) => WorkloadKind::Server,
        Ok(v1::WorkloadKind::Other) => WorkloadKind::Other,
        Ok(v1::WorkloadKind::Unspecified) | Err(_) => {
            return Err(out(&at("kind"), "not one this version knows"));
        }
    };
    text(&at("id"), id, wire::LABEL_BYTES_MAX)?;
    Ok(WorkloadKey {
        kind,
        id: label(id),
    })
}

fn workload_state(state: i32) -> Option<WorkloadState> {
    match v1::WorkloadState::try_from(state) {
        Ok(v1::WorkloadState::Idle) => Some(WorkloadState::Idle),
        Ok(v1::WorkloadState::Busy) => Some(WorkloadState::Busy),
        Ok(v1::WorkloadState::Starting) => Some(WorkloadState::Starting),
        Ok(v1::WorkloadState::Dead) => Some(WorkloadState::Dead),
        Ok(v1::WorkloadState::Unspecified) | Err(_) => None,
    }
}

fn memory_source(source: i32) -> Option<MemorySource> {
    match v1::MemorySource::try_from(source) {
        Ok(v1::MemorySource::Cgroup2) => Some(MemorySource::Cgroup2),
        Ok(v1::MemorySource::Cgroup1) => Some(MemorySource::Cgroup1),
        Ok(v1::MemorySource::Pss) => Some(MemorySource::Pss),
        Ok(v1::MemorySource::Rss) => Some(MemorySource::Rss),
        Ok(v1::MemorySource::Unspecified) | Err(_) => None,
    }
}

#[cfg(test)]
mod tests;
