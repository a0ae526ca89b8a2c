//! Judgements with evidence: raised, updated, cleared.

use crate::{fact::ServerKey, text::Label};

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
