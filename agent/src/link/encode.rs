//! Samples → wire.
//!
//! What is sent keeps every bound of [`hubmeter_proto::limits`], so that no honest agent is ever
//! refused: the smallest workloads are folded into `other` (sums stay exact), labels are cut at
//! a character.

use bytes::Bytes;
use hubmeter_proto::{
    limits::{
        ENDED_PER_SAMPLE_MAX, LABEL_BYTES_MAX, LIMIT_SOURCE_BYTES_MAX, WORKLOADS_PER_SAMPLE_MAX,
    },
    v1::{self, up::Body},
};
use prost::Message;

use crate::sample::{
    EndCause, Ended, MemorySource, Sample, Workload, WorkloadKind, WorkloadState,
    vitals::{DiskSource, Vitals},
};

/// Id and name of the workload that small ones are folded into.
const OTHER: &str = "other";

/// One sample as the message of report `seq`, for a collector of protocol 1.
#[must_use]
pub fn report(seq: u64, sample: v1::Sample) -> Bytes {
    up(Body::Report(v1::Report {
        seq,
        samples: vec![sample],
    }))
}

/// Samples told together.
#[must_use]
pub fn batch(batch: Vec<u8>) -> Bytes {
    up(Body::Batch(batch.into()))
}

/// Reports that had to be given up.
#[must_use]
pub fn gap(from_seq: u64, through_seq: u64) -> Bytes {
    up(Body::Gap(v1::Gap {
        from_seq,
        through_seq,
    }))
}

/// The end of a stream on purpose.
#[must_use]
pub fn bye(reason: v1::bye::Reason) -> Bytes {
    up(Body::Bye(v1::Bye {
        reason: reason.into(),
        retry_after_ms: 0,
    }))
}

/// What people do.
#[must_use]
pub fn activity(activity: v1::Activity) -> Bytes {
    up(Body::Activity(activity))
}

/// Notices that were seen.
#[must_use]
pub fn shown(episodes: Vec<String>) -> Bytes {
    up(Body::Shown(v1::Shown { episodes }))
}

/// The first message.
#[must_use]
pub fn hello(hello: v1::Hello) -> Bytes {
    up(Body::Hello(hello))
}

/// Folds all but the largest workloads into `other`. Nothing is done within the bound.
pub fn fold_small(workloads: &mut Vec<Workload>) {
    if workloads.len() <= WORKLOADS_PER_SAMPLE_MAX {
        return;
    }
    let size = |workload: &Workload| workload.memory_used_bytes.unwrap_or(workload.rss_bytes);
    workloads.sort_by_key(|workload| std::cmp::Reverse(size(workload)));
    let mut other = match workloads
        .iter()
        .position(|workload| workload.kind == WorkloadKind::Other)
    {
        Some(at) => workloads.remove(at),
        None => empty_other(),
    };
    for small in workloads.drain(WORKLOADS_PER_SAMPLE_MAX - 1..) {
        other.memory_used_bytes = sum(other.memory_used_bytes, small.memory_used_bytes);
        other.pss_bytes = sum(other.pss_bytes, small.pss_bytes);
        other.cpu_cores = other.cpu_cores.zip(small.cpu_cores).map(|(a, b)| a + b);
        other.rss_bytes = other.rss_bytes.saturating_add(small.rss_bytes);
        other.cpu_millis = other.cpu_millis.saturating_add(small.cpu_millis);
        other.processes = other.processes.saturating_add(small.processes);
        other.threads = other.threads.saturating_add(small.threads);
        other.read_bytes = sum(other.read_bytes, small.read_bytes);
        other.written_bytes = sum(other.written_bytes, small.written_bytes);
    }
    workloads.push(other);
}

fn empty_other() -> Workload {
    Workload {
        kind: WorkloadKind::Other,
        id: OTHER.into(),
        name: OTHER.into(),
        pid: 0,
        memory_used_bytes: Some(0),
        rss_bytes: 0,
        pss_bytes: Some(0),
        cpu_millis: 0,
        cpu_cores: Some(0.0),
        processes: 0,
        threads: 0,
        notebook: None,
        state: None,
        idle_ms: None,
        job: None,
        read_bytes: Some(0),
        written_bytes: Some(0),
        remote: false,
    }
}

/// Unknown plus anything is unknown.
fn sum(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    a.zip(b).map(|(a, b)| a.saturating_add(b))
}

fn up(body: Body) -> Bytes {
    v1::Up { body: Some(body) }.encode_to_vec().into()
}

/// A sample as the wire has it, within every bound.
#[must_use]
pub fn sample(sample: &Sample) -> v1::Sample {
    let mut told = v1::Sample::default();
    sample_into(sample, &mut told);
    told
}

/// The same, in the room that the texts and workloads of the one told before had.
pub fn sample_into(sample: &Sample, told: &mut v1::Sample) {
    let folded;
    let workloads = if sample.workloads.len() > WORKLOADS_PER_SAMPLE_MAX {
        let mut all = sample.workloads.clone();
        fold_small(&mut all);
        folded = all;
        &folded
    } else {
        &sample.workloads
    };
    let before = std::mem::take(told);
    let mut told_workloads = before.workloads;
    told_workloads.resize_with(workloads.len(), v1::Workload::default);
    for (workload, told) in workloads.iter().zip(&mut told_workloads) {
        tell_workload(workload, told);
    }
    let limit_source = sample.memory_limit_source.as_deref().unwrap_or_default();
    *told = v1::Sample {
        mono_ms: sample.mono_ms,
        wall_ms: sample.wall_ms,
        interval_ms: clamp(sample.interval_ms.unwrap_or(0)),
        burst: sample.burst,
        memory_used_bytes: sample.memory_used_bytes,
        memory_working_set_bytes: sample.memory_working_set_bytes,
        memory_source: wire_source(sample.memory_source).into(),
        memory_age_ms: clamp(sample.memory_age_ms),
        memory_limit_bytes: sample.memory_limit_bytes,
        memory_limit_source: cut_into(
            before.memory_limit_source,
            limit_source,
            LIMIT_SOURCE_BYTES_MAX,
        ),
        memory_limit_enforced: sample.memory_limit_enforced,
        memory_limit_shared: sample.memory_limit_shared,
        rss_bytes: sample.rss_bytes,
        pss_bytes: sample.pss_bytes,
        swap_bytes: sample.swap_bytes,
        unattributed_bytes: sample.unattributed_bytes,
        cpu_millis: sample.cpu_millis,
        processes: sample.processes,
        threads: sample.threads,
        oom_kills: sample.oom_kills,
        memory_guarantee_bytes: sample.memory_guarantee_bytes,
        cpu_limit_millicores: sample.cpu_limit_millicores,
        cpu_guarantee_millicores: sample.cpu_guarantee_millicores,
        workloads: told_workloads,
        ended: largest_ended(&sample.ended),
        memory_limit_used_bytes: sample.memory_limit_used_bytes,
        memory_corrected_bytes: sample.memory_corrected_bytes,
        cpu_may_miss: sample.cpu_may_miss,
        processes_beyond: sample.processes_beyond,
        vitals: Some(wire_vitals(&sample.vitals)),
    };
}

fn tell_workload(workload: &Workload, told: &mut v1::Workload) {
    let before = std::mem::take(told);
    let notebook = workload.notebook.as_deref();
    *told = v1::Workload {
        kind: wire_kind(workload.kind).into(),
        id: cut_into(before.id, &workload.id, LABEL_BYTES_MAX),
        name: cut_into(before.name, &workload.name, LABEL_BYTES_MAX),
        notebook: notebook.map(|notebook| {
            cut_into(
                before.notebook.unwrap_or_default(),
                notebook,
                LABEL_BYTES_MAX,
            )
        }),
        state: workload
            .state
            .map_or(v1::WorkloadState::Unspecified, wire_state)
            .into(),
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
    };
}

fn wire_vitals(vitals: &Vitals) -> v1::Vitals {
    let Vitals {
        memory_pressure,
        open_files,
        disk,
        machine,
        agent,
        ..
    } = vitals;
    v1::Vitals {
        shm_bytes: vitals.shm_bytes,
        memory_pressure_some_bp: memory_pressure.map(|pressure| pressure.some_bp),
        memory_pressure_full_bp: memory_pressure.map(|pressure| pressure.full_bp),
        read_bytes: vitals.read_bytes,
        written_bytes: vitals.written_bytes,
        open_files: open_files.map(|files| files.open),
        open_files_limit: open_files.map(|files| files.limit),
        disk_used_bytes: disk.map(|disk| disk.used_bytes),
        disk_limit_bytes: disk.map(|disk| disk.limit_bytes),
        disk_source: disk
            .map_or(v1::DiskSource::Unspecified, |disk| match disk.source {
                DiskSource::Quota => v1::DiskSource::Quota,
                DiskSource::Filesystem => v1::DiskSource::Filesystem,
            })
            .into(),
        disk_age_ms: disk.map(|disk| clamp(disk.age_ms)),
        machine_memory_bytes: machine.map(|machine| machine.memory_bytes),
        machine_memory_available_bytes: machine.map(|machine| machine.memory_available_bytes),
        machine_load_hundredths: machine.map(|machine| machine.load_hundredths),
        job_ends_ms: vitals.job_ends_ms,
        agent_cpu_millis: agent.cpu_millis,
        agent_rss_bytes: agent.rss_bytes,
        agent_ticks_skipped: agent.ticks_skipped,
    }
}

/// Those killed for memory first, then by size: of very many ends the ones that matter are told.
fn largest_ended(ended: &[Ended]) -> Vec<v1::Ended> {
    let mut ended: Vec<&Ended> = ended.iter().collect();
    if ended.len() > ENDED_PER_SAMPLE_MAX {
        ended.sort_by_key(|ended| {
            std::cmp::Reverse((ended.cause != EndCause::Gone, ended.memory_used_bytes))
        });
        ended.truncate(ENDED_PER_SAMPLE_MAX);
    }
    ended.into_iter().map(wire_ended).collect()
}

fn wire_ended(ended: &Ended) -> v1::Ended {
    let cause = match ended.cause {
        EndCause::Gone => v1::ended::Cause::Gone,
        EndCause::OutOfMemory => v1::ended::Cause::OutOfMemory,
        EndCause::KilledNearLimit => v1::ended::Cause::KilledNearLimit,
    };
    v1::Ended {
        kind: wire_kind(ended.kind).into(),
        id: label(&ended.id),
        name: label(&ended.name),
        notebook: ended.notebook.as_deref().map(label),
        pid: ended.pid,
        cause: cause.into(),
        memory_used_bytes: ended.memory_used_bytes,
    }
}

fn wire_source(source: MemorySource) -> v1::MemorySource {
    match source {
        MemorySource::Cgroup2 => v1::MemorySource::Cgroup2,
        MemorySource::Cgroup1 => v1::MemorySource::Cgroup1,
        MemorySource::Pss => v1::MemorySource::Pss,
        MemorySource::Rss => v1::MemorySource::Rss,
    }
}

fn wire_kind(kind: WorkloadKind) -> v1::WorkloadKind {
    match kind {
        WorkloadKind::Kernel => v1::WorkloadKind::Kernel,
        WorkloadKind::Terminal => v1::WorkloadKind::Terminal,
        WorkloadKind::App => v1::WorkloadKind::App,
        WorkloadKind::Server => v1::WorkloadKind::Server,
        WorkloadKind::Other => v1::WorkloadKind::Other,
    }
}

fn wire_state(state: WorkloadState) -> v1::WorkloadState {
    match state {
        WorkloadState::Idle => v1::WorkloadState::Idle,
        WorkloadState::Busy => v1::WorkloadState::Busy,
        WorkloadState::Starting => v1::WorkloadState::Starting,
        WorkloadState::Dead => v1::WorkloadState::Dead,
    }
}

fn label(text: &str) -> String {
    cut(text, LABEL_BYTES_MAX)
}

fn cut(text: &str, bytes_max: usize) -> String {
    cut_into(String::new(), text, bytes_max)
}

fn cut_into(mut room: String, text: &str, bytes_max: usize) -> String {
    room.clear();
    room.push_str(&text[..text.floor_char_boundary(bytes_max)]);
    room
}

fn clamp(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

#[cfg(test)]
pub(crate) mod tests {
    use hubmeter_proto::limits::MESSAGE_BYTES_MAX;
    use proptest::prelude::*;

    use super::*;
    use crate::{
        sample::WallTime,
        spool::{SPOOL_BYTES_MAX, Spool},
    };

    /// An ordinary sample, for tests here and elsewhere.
    pub(crate) fn sample(mono_ms: u64, used: u64) -> Sample {
        Sample {
            time: WallTime(1_795_298_176_000),
            interval_ms: None,
            memory_used_bytes: used,
            memory_working_set_bytes: None,
            memory_source: MemorySource::Pss,
            memory_age_ms: 0,
            memory_limit_bytes: Some(1_000_000_000),
            memory_limit_source: Some("env".into()),
            memory_limit_enforced: false,
            memory_limit_shared: false,
            rss_bytes: used,
            pss_bytes: Some(used),
            swap_bytes: None,
            unattributed_bytes: Some(-1),
            cpu_millis: mono_ms / 10,
            cpu_cores: None,
            processes: 1,
            threads: 1,
            workloads: Vec::new(),
            mono_ms,
            wall_ms: 1_700_000_000_000 + mono_ms,
            burst: false,
            oom_kills: None,
            memory_guarantee_bytes: None,
            cpu_limit_millicores: None,
            cpu_guarantee_millicores: None,
            memory_limit_used_bytes: None,
            memory_corrected_bytes: 0,
            cpu_may_miss: false,
            processes_beyond: 0,
            vitals: Vitals::default(),
            ended: Vec::new(),
        }
    }

    /// A workload whose texts are all the same.
    pub(crate) fn workload(rss_bytes: u64, text: &str) -> Workload {
        Workload {
            kind: WorkloadKind::Kernel,
            id: text.into(),
            name: text.into(),
            notebook: Some(text.into()),
            state: Some(WorkloadState::Busy),
            pid: u32::MAX,
            memory_used_bytes: Some(rss_bytes),
            rss_bytes,
            pss_bytes: Some(rss_bytes),
            cpu_millis: rss_bytes,
            cpu_cores: Some(0.5),
            processes: u32::MAX / 1024,
            threads: u32::MAX / 1024,
            idle_ms: Some(u64::MAX),
            job: None,
            read_bytes: None,
            written_bytes: None,
            remote: false,
        }
    }

    fn decode(bytes: &Bytes) -> v1::Report {
        match v1::Up::decode(bytes.clone()).unwrap().body {
            Some(Body::Report(report)) => report,
            other => panic!("no report: {other:?}"),
        }
    }

    proptest! {
        #[test]
        fn every_bound_of_the_wire_is_kept_and_the_sums_stay(
            sizes in prop::collection::vec(0u64..1 << 40, 0..300),
            text in "\\PC{0,200}",
        ) {
            let mut sample = sample(1, 1);
            sample.workloads = sizes.iter().map(|size| workload(*size, &text)).collect();
            let report = decode(&super::report(1, super::sample(&sample)));
            let sent = &report.samples[0].workloads;
            prop_assert!(sent.len() <= WORKLOADS_PER_SAMPLE_MAX);
            for workload in sent {
                prop_assert!(workload.id.len() <= LABEL_BYTES_MAX);
                prop_assert!(text.starts_with(&*workload.id) || workload.id == OTHER);
            }
            prop_assert_eq!(sent.iter().map(|w| w.rss_bytes).sum::<u64>(), sizes.iter().sum::<u64>());
            prop_assert_eq!(sent.iter().map(|w| w.cpu_millis).sum::<u64>(), sizes.iter().sum::<u64>());
        }
    }

    #[test]
    fn the_largest_server_fits_into_one_message() {
        let long = "x".repeat(4 * LABEL_BYTES_MAX);
        let mut sample = sample(1, u64::MAX);
        (sample.mono_ms, sample.wall_ms, sample.cpu_millis) = (u64::MAX, u64::MAX, u64::MAX);
        sample.memory_limit_source = Some("y".repeat(4 * LIMIT_SOURCE_BYTES_MAX).into());
        sample.unattributed_bytes = Some(i64::MIN);
        sample.workloads = (0..200).map(|i| workload((1 << 50) + i, &long)).collect();
        sample.ended = (0..200)
            .map(|_| Ended {
                kind: WorkloadKind::Kernel,
                id: long.as_str().into(),
                name: long.as_str().into(),
                notebook: Some(long.as_str().into()),
                pid: u32::MAX,
                cause: EndCause::OutOfMemory,
                memory_used_bytes: u64::MAX,
            })
            .collect();
        let told = super::sample(&sample);
        let bytes = report(u64::MAX, told.clone());
        assert!(bytes.len() <= MESSAGE_BYTES_MAX, "{} bytes", bytes.len());
        let mut spool = Spool::new(SPOOL_BYTES_MAX);
        spool.push(&told);
        let together = spool.together(1, false, MESSAGE_BYTES_MAX).unwrap();
        let bytes = batch(together.batch);
        assert!(bytes.len() <= MESSAGE_BYTES_MAX, "{} bytes", bytes.len());
    }

    #[test]
    fn the_largest_workloads_keep_their_names() {
        let mut workloads: Vec<_> = (0..100).map(|i| workload(i, &format!("k{i}"))).collect();
        fold_small(&mut workloads);
        assert_eq!(workloads[0].id, "k99");
        assert_eq!(workloads.len(), WORKLOADS_PER_SAMPLE_MAX);
        assert_eq!(workloads.last().unwrap().kind, WorkloadKind::Other);
    }

    #[test]
    fn unknown_stays_unknown_on_the_wire() {
        let sent = decode(&report(7, super::sample(&sample(1, 1))));
        assert_eq!(sent.seq, 7);
        let sent = &sent.samples[0];
        assert_eq!(
            (
                sent.oom_kills,
                sent.swap_bytes,
                sent.memory_working_set_bytes
            ),
            (None, None, None)
        );
        assert_eq!(sent.interval_ms, 0);
        assert_eq!(sent.unattributed_bytes, Some(-1));
    }
}
