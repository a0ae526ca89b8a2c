//! Judgements with evidence: raised, updated, cleared.
//!
//! A detector looks at one sample in the light of the ones before and says what it finds, or
//! nothing; `episode` turns that into verdicts that open once, change, and clear. No clock, no I/O:
//! the same samples give the same verdicts, bit for bit.

pub mod disk_near_limit;
pub mod idle;
pub mod idle_hog;
pub mod killed;
pub mod near_limit;
pub mod overuse;
pub mod runaway;
pub mod runaway_cpu;
pub mod silent;
pub mod start_failures;
pub mod storm;

pub(crate) mod episode;

use hubmeter_kinetics::{forecast::Forecast, trend::Trend};

use crate::{
    fact::{Activity, Sample, ServerKey, WorkloadKey, WorkloadSample},
    state::{Policy, series::Measured},
    text::Label,
};
use storm::Count;

/// The rules of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)] // the names are the contract's, `docs/VERDICTS.md` says what each means
pub enum Rule {
    RunawayMemory,
    NearLimit,
    Killed,
    RunawayCpu,
    ProcessStorm,
    ThreadStorm,
    IdleHog,
    Idle,
    Overuse,
    DiskNearLimit,
    Silent,
    StartFailures,
}

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// Good to know.
    Info,
    /// Somebody should look.
    Warning,
    /// Work is being lost or about to be.
    Critical,
}

/// One number or word that a verdict rests on.
#[derive(Clone, Debug, PartialEq)]
pub enum Evidence {
    /// A whole number; its unit is the end of its name.
    Integer(i64),
    /// A number; its unit is the end of its name.
    Number(f64),
    /// A flag.
    Flag(bool),
    /// A word.
    Word(Label),
}

/// A judgement about one server or one of its workloads.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Which rule.
    pub rule: Rule,
    /// Names the episode: the same from raising to clearing, and again on replay.
    pub episode: String,
    /// Whose.
    pub key: ServerKey,
    /// The workload it speaks of: its id, and what people call it.
    pub workload: Option<WorkloadName>,
    /// How much it matters.
    pub severity: Severity,
    /// When it was raised.
    pub since_ms: i64,
    /// When its evidence last changed.
    pub updated_ms: i64,
    /// When it was cleared; `None` while open.
    pub cleared_ms: Option<i64>,
    /// What it rests on, in the order to be read.
    pub evidence: Vec<(&'static str, Evidence)>,
    /// What ends it, in words.
    pub clears_when: String,
}

/// What people call a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadName {
    /// Kernel id, terminal name.
    pub id: Label,
    /// Notebook, else name, else id.
    pub title: Label,
}

/// What a detector finds in one sample.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Finding {
    pub(crate) workload: Option<WorkloadName>,
    pub(crate) severity: Severity,
    pub(crate) evidence: Vec<(&'static str, Evidence)>,
    pub(crate) clears_when: String,
}

/// What detectors see of one sample.
pub(crate) struct View<'a> {
    pub(crate) sample: &'a Sample,
    /// The sample before, of the same instance.
    pub(crate) before: Option<&'a Sample>,
    pub(crate) measured: &'a Measured,
    pub(crate) trend: Option<Trend>,
    pub(crate) forecast: Option<Forecast>,
    /// A workload of the sample before is gone or was started anew, or the out-of-memory killer came.
    pub(crate) workload_went: bool,
    /// Cores in use since the sample before.
    pub(crate) cpu_cores: Option<f64>,
    /// The base interval in force.
    pub(crate) interval_ms: u32,
    /// When the server started, by the hub.
    pub(crate) started_ms: Option<i64>,
    /// What people do, as was told.
    pub(crate) activity: &'a Activity,
    pub(crate) policy: &'a Policy,
}

/// What the detectors remember of one server's instance.
#[derive(Clone, Debug, Default)]
pub(crate) struct Detectors {
    pub(crate) runaway: runaway::Runaway,
    pub(crate) killed: killed::Killed,
    pub(crate) idle: idle::Idle,
    runaway_cpu: runaway_cpu::RunawayCpu,
    processes: storm::Storm,
    threads: storm::Storm,
    idle_hogs: idle_hog::IdleHogs,
    overuse: overuse::Overuse,
}

/// What they keep of one server; more only while something is wrong.
pub const DETECTORS_BYTES: usize = size_of::<Detectors>();

/// Lets every detector look at one sample; gives the verdicts raised, changed or cleared.
pub(crate) fn judge(
    detectors: &mut Detectors,
    open: &mut Vec<Verdict>,
    key: &ServerKey,
    view: &View<'_>,
) -> Vec<Verdict> {
    let at_ms = view.sample.at_ms;
    let mut changed = detectors.killed.judge(view, key, open);
    let runaway = detectors
        .runaway
        .judge(view, episode::is_open(open, Rule::RunawayMemory));
    let near_limit = near_limit::judge(view, episode::is_open(open, Rule::NearLimit));
    let idle = detectors.idle.judge(view);
    for (rule, finding) in [
        (Rule::RunawayMemory, runaway),
        (Rule::NearLimit, near_limit),
        (Rule::Idle, idle),
    ] {
        changed.extend(episode::settle(open, key, rule, at_ms, finding));
    }
    changed.extend(detectors.idle_hogs.judge(view, key, open));
    detectors.judge_calmly(open, key, view, &mut changed);
    changed
}

// === impl Detectors ===

impl Detectors {
    /// Goes on from what `verdict`, opened before the collector's start, rests on.
    pub(crate) fn resume(&mut self, verdict: &Verdict) {
        match verdict.rule {
            Rule::Overuse => self.overuse = overuse::Overuse::resumed(verdict),
            Rule::RunawayCpu => self.runaway_cpu.resume(verdict),
            Rule::ProcessStorm => self.processes.resume(Count::Processes, verdict),
            Rule::ThreadStorm => self.threads.resume(Count::Threads, verdict),
            _ => {}
        }
    }

    /// The rules whose numbers move slowly.
    fn judge_calmly(
        &mut self,
        open: &mut Vec<Verdict>,
        key: &ServerKey,
        view: &View<'_>,
        changed: &mut Vec<Verdict>,
    ) {
        let at_ms = view.sample.at_ms;
        let mut settle =
            |open: &mut Vec<Verdict>, rule, holds: bool, finding: &dyn Fn() -> Finding| {
                let finding = holds.then_some(finding);
                changed.extend(episode::settle_calmly(open, key, rule, at_ms, finding));
            };
        let is_open = episode::find(open, Rule::RunawayCpu);
        let holds = self.runaway_cpu.judge(view, is_open);
        let finding = || self.runaway_cpu.finding(view);
        settle(open, Rule::RunawayCpu, holds, &finding);
        for (count, storm) in [
            (Count::Processes, &mut self.processes),
            (Count::Threads, &mut self.threads),
        ] {
            let holds = storm.judge(count, view, episode::is_open(open, count.rule()));
            settle(open, count.rule(), holds, &|| storm.finding(count, view));
        }
        let is_open = episode::is_open(open, Rule::Overuse);
        let holds = self.overuse.judge(view, is_open);
        settle(open, Rule::Overuse, holds, &|| self.overuse.finding(view));
        let is_open = episode::is_open(open, Rule::DiskNearLimit);
        let holds = disk_near_limit::judge(view, is_open);
        let finding = || disk_near_limit::finding(view);
        settle(open, Rule::DiskNearLimit, holds, &finding);
    }
}

// === impl View ===

impl View<'_> {
    /// How long ago the sample before was taken; unknown for the first and after a hole: what
    /// happened meanwhile nobody measured.
    fn passed_ms(&self) -> Option<u64> {
        let before = self.before?;
        (!self.is_after_hole()).then(|| self.sample.mono_ms.saturating_sub(before.mono_ms))
    }

    /// Whether nobody measured the time before this sample: reports are missing, or the machine slept
    /// (its clock since boot may stand still then, the wall clock does not).
    fn is_after_hole(&self) -> bool {
        let Some(before) = self.before else {
            return false;
        };
        let by_boot_ms = self.sample.mono_ms.saturating_sub(before.mono_ms);
        let by_wall_ms = self.sample.at_ms.saturating_sub(before.at_ms);
        let distance_ms = by_boot_ms.max(u64::try_from(by_wall_ms).unwrap_or(0));
        distance_ms >= idle::HOLE_MS && distance_ms > 3 * u64::from(self.interval_ms)
    }
}

/// A number that `verdict` rests on.
pub(crate) fn number_of(verdict: &Verdict, name: &str) -> Option<f64> {
    let (_, value) = verdict.evidence.iter().find(|(known, _)| *known == name)?;
    match value {
        Evidence::Integer(value) => Some(*value as f64),
        Evidence::Number(value) => Some(*value).filter(|value| value.is_finite()),
        Evidence::Flag(_) | Evidence::Word(_) => None,
    }
}

// === impl Rule ===

impl Rule {
    /// Every rule, in the contract's order.
    pub const ALL: [Self; 12] = [
        Self::RunawayMemory,
        Self::NearLimit,
        Self::Killed,
        Self::RunawayCpu,
        Self::ProcessStorm,
        Self::ThreadStorm,
        Self::IdleHog,
        Self::Idle,
        Self::Overuse,
        Self::DiskNearLimit,
        Self::Silent,
        Self::StartFailures,
    ];

    /// The contract's word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RunawayMemory => "runaway_memory",
            Self::NearLimit => "near_limit",
            Self::Killed => "killed",
            Self::RunawayCpu => "runaway_cpu",
            Self::ProcessStorm => "process_storm",
            Self::ThreadStorm => "thread_storm",
            Self::IdleHog => "idle_hog",
            Self::Idle => "idle",
            Self::Overuse => "overuse",
            Self::DiskNearLimit => "disk_near_limit",
            Self::Silent => "silent",
            Self::StartFailures => "start_failures",
        }
    }
}

// === impl Verdict ===

impl Verdict {
    /// Its workload is called by its id, no longer by its notebook.
    pub(crate) fn drop_title(&mut self) {
        if let Some(workload) = &mut self.workload {
            workload.title = workload.id.clone();
        }
    }
}

// === impl WorkloadName ===

impl WorkloadName {
    /// What people call the workload `key`: its notebook, else its name, else its id.
    pub(crate) fn new(key: &WorkloadKey, name: &Label, notebook: Option<&Label>) -> Self {
        let title = notebook
            .into_iter()
            .chain([name])
            .find(|label| !label.is_empty())
            .unwrap_or(&key.id);
        Self {
            id: key.id.clone(),
            title: title.clone(),
        }
    }

    /// What people call `workload`.
    pub(crate) fn of(workload: &WorkloadSample) -> Self {
        Self::new(&workload.key, &workload.name, workload.notebook.as_ref())
    }

    /// What people call the workload `key` of `sample`.
    pub(crate) fn in_sample(sample: &Sample, key: &WorkloadKey) -> Option<Self> {
        let is_it = |workload: &&WorkloadSample| workload.key == *key;
        let workload = sample.workloads.iter().find(is_it)?;
        Some(Self::new(key, &workload.name, workload.notebook.as_ref()))
    }
}

// === impl Evidence ===

impl Evidence {
    /// A count of bytes or milliseconds.
    pub(crate) fn count(value: u64) -> Self {
        Self::Integer(i64::try_from(value).unwrap_or(i64::MAX))
    }

    /// A moment, as RFC 3339 UTC with milliseconds.
    pub(crate) fn time(at_ms: i64) -> Self {
        let text = jiff::Timestamp::from_millisecond(at_ms)
            .map_or_else(|_| "unknown".to_owned(), |at| format!("{at:.3}"));
        Self::Word(Label::clean(&text, text.len()))
    }

    /// A flag for the limit's kind, and what it is.
    pub(crate) fn limit(sample: &Sample) -> Vec<(&'static str, Self)> {
        let Some(limit_bytes) = sample.memory_limit_bytes else {
            return Vec::new();
        };
        let shared = sample.memory_limit_shared;
        let all = sample.memory_limit_used_bytes.filter(|_| shared);
        let mut evidence = vec![
            ("memory_limit_bytes", Self::count(limit_bytes)),
            (
                "memory_limit_enforced",
                Self::Flag(sample.memory_limit_enforced),
            ),
            ("memory_limit_shared", Self::Flag(shared)),
        ];
        evidence.extend(all.map(|bytes| ("memory_limit_used_bytes", Self::count(bytes))));
        evidence
    }
}

// === impl Severity ===

impl Severity {
    /// The contract's word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

#[cfg(test)]
mod tests;
