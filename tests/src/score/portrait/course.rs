//! One recording as the state sees it: what its rule looks at, and when it was open.

use std::{fs::File, path::Path};

use anyhow::{Context, Result, ensure};
use hubmeter_collector::{
    fact::{
        Disk, EndCause, Fact, HubServer, InstanceId, MemorySource, Sample, ServerKey, Vitals,
        WorkloadEnd, WorkloadKey, WorkloadKind, WorkloadSample, WorkloadState,
    },
    state::{Policy, State},
    text::Label,
    verdict::{
        Rule,
        start_failures::{StartFailures, Witness},
    },
};
use serde::Deserialize;

/// How often a collector lets time pass.
const TICK_MS: i64 = 1_000;

/// How often it asks a hub for its counters.
const COUNTERS_MS: i64 = 60_000;

const KERNEL: &str = "python3";

/// From when to when (milliseconds) a rule was open.
pub(super) type Span = (i64, Option<i64>);

/// What was read, oldest first.
pub(super) struct Course {
    pub(super) rows: Vec<Row>,
    interval_ms: u32,
}

/// One row; what its file has no column for, and what was not known, is `None`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Row {
    timestamp: String,
    /// Since the first row.
    #[serde(skip)]
    pub(super) at_ms: i64,
    rss: Option<u64>,
    pub(super) cpu_millis: Option<u64>,
    pub(super) memory_used_bytes: Option<u64>,
    pub(super) processes: Option<u32>,
    pub(super) threads: Option<u32>,
    memory_limit_bytes: Option<u64>,
    oom_kills: Option<u64>,
    kernel: Option<String>,
    kernel_pid: Option<u32>,
    pub(super) kernel_memory_used_bytes: Option<u64>,
    pub(super) kernel_cpu_millis: Option<u64>,
    pub(super) disk_used_bytes: Option<u64>,
    pub(super) disk_limit_bytes: Option<u64>,
    starts_succeeded: Option<u64>,
    starts_failed: Option<u64>,
    /// Starts that failed since the last that worked.
    #[serde(skip)]
    pub(super) failed_in_a_row: Option<u64>,
}

// === impl Course ===

impl Course {
    /// Reads `NAME-Ns.csv` of the pictures' recordings, else of the corpus'.
    pub(super) fn read(corpus: &Path, name: &str) -> Result<Self> {
        let file = format!("{name}.csv");
        let own = corpus.join("portraits").join(&file);
        let path = if own.try_exists()? {
            own
        } else {
            corpus.join("traces").join(file)
        };
        Self::of(&path).with_context(|| path.display().to_string())
    }

    fn of(path: &Path) -> Result<Self> {
        let interval = path.file_stem().and_then(|stem| stem.to_str());
        let interval = interval.and_then(|stem| stem.rsplit_once('-'));
        let seconds = interval.and_then(|(_, seconds)| seconds.strip_suffix('s')?.parse().ok());
        let seconds: u32 = seconds.context("the name does not end with an interval")?;
        let mut reader = csv::Reader::from_reader(File::open(path)?);
        let mut rows: Vec<Row> = reader.deserialize().collect::<Result<_, _>>()?;
        let mut first_ms = None;
        for row in &mut rows {
            let at: jiff::civil::DateTime = row.timestamp.parse()?;
            let at_ms = at.to_zoned(jiff::tz::TimeZone::UTC)?.timestamp();
            let at_ms = at_ms.as_millisecond();
            row.at_ms = at_ms - *first_ms.get_or_insert(at_ms);
        }
        ensure!(rows.len() >= 10, "only {} rows", rows.len());
        count_failures(&mut rows);
        Ok(Self {
            rows,
            interval_ms: seconds * 1000,
        })
    }

    /// The highest use of memory.
    pub(super) fn highest_bytes(&self) -> u64 {
        let used = self.rows.iter().filter_map(|row| row.memory_used_bytes);
        used.max().unwrap_or(0)
    }

    /// The limit that was read, where one was.
    pub(super) fn limit_bytes(&self) -> Option<u64> {
        self.rows.iter().find_map(|row| row.memory_limit_bytes)
    }

    /// Longer than this without a row is a hole.
    pub(super) fn hole_ms(&self) -> i64 {
        3 * i64::from(self.interval_ms)
    }

    /// What came before memory reached `limit_bytes`: nothing after it would have happened.
    pub(super) fn below(mut self, limit_bytes: u64) -> Self {
        let reaches = |row: &Row| row.memory_used_bytes >= Some(limit_bytes);
        let end = self.rows.iter().position(reaches);
        self.rows.truncate(end.unwrap_or(self.rows.len()));
        self
    }

    /// When `rule` was open, by the code that judges live servers.
    pub(super) fn spans(&self, rule: Rule, policy: Policy, limit_bytes: Option<u64>) -> Vec<Span> {
        if rule == Rule::StartFailures {
            return self.spans_of_starts();
        }
        let mut told = Told::new(rule, policy, self.interval_ms);
        let mut before: Option<&Row> = None;
        for (seq, row) in (1..).zip(&self.rows) {
            let from_ms = before.map_or(row.at_ms, |before| before.at_ms);
            for at_ms in (from_ms + TICK_MS..row.at_ms).step_by(TICK_MS as usize) {
                told.tell(at_ms, &Fact::Tick { at_ms });
            }
            let sample = sample(row, before, limit_bytes);
            told.report(row.at_ms, seq, sample);
            before = Some(row);
        }
        told.spans
    }

    /// As a collector sees it that asks the hub for its counters.
    fn spans_of_starts(&self) -> Vec<Span> {
        let nobody = ServerKey::new("", "");
        let mut starts = StartFailures::default();
        let mut spans = Vec::new();
        let (mut asked_ms, mut succeeded, mut failed) = (None, 0, 0);
        for row in &self.rows {
            if asked_ms.is_some_and(|ms| row.at_ms - ms < COUNTERS_MS) {
                continue;
            }
            let now = (
                row.starts_succeeded.unwrap_or(0),
                row.starts_failed.unwrap_or(0),
            );
            if asked_ms.is_some() {
                for _ in succeeded..now.0 {
                    starts.succeeded(row.at_ms, Witness::Counters);
                }
                for _ in failed..now.1 {
                    starts.failed(row.at_ms, &nobody, Witness::Counters);
                }
                starts.tick(row.at_ms);
            }
            asked_ms = Some(row.at_ms);
            (succeeded, failed) = now;
            let open = starts
                .verdicts()
                .any(|verdict| verdict.cleared_ms.is_none());
            follow(&mut spans, row.at_ms, open);
        }
        spans
    }
}

/// A collector's state that is told what happens at one server.
struct Told {
    state: State,
    key: ServerKey,
    rule: Rule,
    spans: Vec<Span>,
}

// === impl Told ===

impl Told {
    const INSTANCE: InstanceId = InstanceId([0; 16]);

    fn new(rule: Rule, policy: Policy, interval_ms: u32) -> Self {
        let mut told = Self {
            state: State::with_hub(policy),
            key: ServerKey::new("portrait", ""),
            rule,
            spans: Vec::new(),
        };
        let listed = HubServer {
            key: told.key.clone(),
            groups: Vec::new(),
            started_ms: Some(0),
            last_activity_ms: None,
            ready: true,
        };
        let hub = Fact::Hub {
            at_ms: 0,
            servers: vec![listed],
        };
        let connected = Fact::Connected {
            at_ms: 0,
            key: told.key.clone(),
            instance: Self::INSTANCE,
            host: label("host"),
            interval_ms,
        };
        told.tell(0, &hub);
        told.tell(0, &connected);
        told
    }

    fn report(&mut self, at_ms: i64, seq: u64, sample: Sample) {
        let report = Fact::Report {
            arrived_ms: at_ms,
            key: self.key.clone(),
            instance: Self::INSTANCE,
            seq,
            samples: vec![sample],
        };
        self.tell(at_ms, &report);
    }

    fn tell(&mut self, at_ms: i64, fact: &Fact) {
        self.state.apply(fact);
        let server = self.state.servers.get(&self.key);
        let mut verdicts = server.iter().flat_map(|server| &server.verdicts);
        let open = verdicts.any(|verdict| verdict.rule == self.rule);
        follow(&mut self.spans, at_ms, open);
    }
}

fn count_failures(rows: &mut [Row]) {
    let (mut succeeded, mut failed, mut in_a_row) = (None, None, 0);
    for row in rows {
        let now = row.starts_failed;
        let more = now
            .zip(failed)
            .map(|(now, before): (u64, u64)| now.saturating_sub(before));
        let worked = succeeded.is_some() && row.starts_succeeded > succeeded;
        in_a_row = if worked {
            0
        } else {
            in_a_row + more.unwrap_or(0)
        };
        row.failed_in_a_row = now.map(|_| in_a_row);
        (succeeded, failed) = (row.starts_succeeded, now);
    }
}

/// Begins a span, or ends the last.
fn follow(spans: &mut Vec<Span>, at_ms: i64, open: bool) {
    match (open, spans.last_mut()) {
        (true, None | Some((_, Some(_)))) => spans.push((at_ms, None)),
        (false, Some((_, to_ms @ None))) => *to_ms = Some(at_ms),
        _ => {}
    }
}

fn sample(row: &Row, before: Option<&Row>, limit_bytes: Option<u64>) -> Sample {
    let used_bytes = row.memory_used_bytes.unwrap_or(0);
    let distance_ms = before.map_or(0, |before| row.at_ms - before.at_ms);
    let disk = row.disk_used_bytes.zip(row.disk_limit_bytes);
    Sample {
        interval_ms: u32::try_from(distance_ms).unwrap_or(u32::MAX),
        memory_used_bytes: used_bytes,
        memory_limit_bytes: row.memory_limit_bytes.or(limit_bytes),
        memory_limit_enforced: true,
        cpu_millis: row.cpu_millis.unwrap_or(0),
        processes: row.processes.unwrap_or(1),
        threads: row.threads.unwrap_or(1),
        oom_kills: row.oom_kills,
        vitals: Vitals {
            disk: disk.map(|(used_bytes, limit_bytes)| Disk {
                used_bytes,
                limit_bytes,
                quota: false,
                age_ms: 0,
            }),
            ..Vitals::default()
        },
        workloads: row
            .kernel_pid
            .map(|pid| kernel(row, pid))
            .into_iter()
            .collect(),
        ended: before
            .and_then(|before| ended(row, before))
            .into_iter()
            .collect(),
        ..Sample::of_memory(
            row.at_ms,
            u64::try_from(row.at_ms).unwrap_or(0) + 1,
            MemorySource::Pss,
            row.rss.unwrap_or(used_bytes),
        )
    }
}

fn kernel(row: &Row, pid: u32) -> WorkloadSample {
    WorkloadSample {
        key: kernel_key(),
        name: label(KERNEL),
        notebook: None,
        state: row.kernel.as_deref().and_then(state_of),
        pid,
        memory_used_bytes: row.kernel_memory_used_bytes,
        rss_bytes: row.kernel_memory_used_bytes.unwrap_or(0),
        pss_bytes: None,
        cpu_millis: row.kernel_cpu_millis.unwrap_or(0),
        processes: row.processes.map_or(1, |all| all.saturating_sub(1)),
        threads: row.threads.map_or(1, |all| all.saturating_sub(1)),
        idle_ms: None,
        read_bytes: None,
        written_bytes: None,
        remote: false,
    }
}

/// The kernel of the row before, if it is there no longer.
fn ended(row: &Row, before: &Row) -> Option<WorkloadEnd> {
    before
        .kernel_pid
        .filter(|pid| row.kernel_pid != Some(*pid))?;
    let killed = row.oom_kills > before.oom_kills;
    Some(WorkloadEnd {
        key: kernel_key(),
        name: label(KERNEL),
        notebook: None,
        cause: if killed {
            EndCause::OutOfMemory
        } else {
            EndCause::Gone
        },
        memory_used_bytes: before.kernel_memory_used_bytes.unwrap_or(0),
    })
}

fn kernel_key() -> WorkloadKey {
    WorkloadKey {
        kind: WorkloadKind::Kernel,
        id: label("kernel"),
    }
}

fn state_of(word: &str) -> Option<WorkloadState> {
    match word {
        "idle" => Some(WorkloadState::Idle),
        "busy" => Some(WorkloadState::Busy),
        "starting" => Some(WorkloadState::Starting),
        _ => None,
    }
}

fn label(text: &str) -> Label {
    Label::clean(text, text.len())
}
