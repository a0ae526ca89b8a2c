//! History: what every server used before.
//!
//! Rows arrive by [`History::append`] and are on the disk after [`History::flush`], which says
//! through which inbox row. Everything is keyed by what it is (server, window, row), so the same
//! entries again change nothing: after a crash the inbox is simply replayed. Minutes and hours
//! are computed from the rows they cover and replaced whole, never added to.

use std::{path::PathBuf, sync::Arc};

use crate::fact::{InstanceId, Sample, ServerKey};

/// What is kept, where and how long; from the settings file.
#[derive(Clone, Debug)]
pub struct HistoryConfig {
    /// Where.
    pub mode: HistoryMode,
    /// How long rows are kept as they came.
    pub raw_kept_ms: i64,
    /// How long minutes are kept.
    pub minute_kept_ms: i64,
    /// How long hours are kept.
    pub hour_kept_ms: i64,
}

/// Where history is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HistoryMode {
    /// In SQLite files under `history/` of this directory.
    Files {
        /// The collector's data directory.
        data_dir: PathBuf,
    },
    /// In memory: the last hour, rows only, gone with the program.
    Memory,
}

/// One sample to be kept.
#[derive(Clone, Debug)]
pub struct HistoryEntry {
    /// Whose.
    pub key: ServerKey,
    /// Which life of the agent.
    pub instance: InstanceId,
    /// Number of the report that brought it.
    pub seq: u64,
    /// What was measured.
    pub sample: Arc<Sample>,
    /// Change of rss since the previous base-interval sample of this instance.
    pub momentum_bytes: Option<i64>,
    /// Cores in use over the sample's interval.
    pub cpu_cores: Option<f64>,
}

/// What is asked of history. Rows with `from_ms <= time < to_ms`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadQuery {
    /// Whose.
    pub key: ServerKey,
    /// From, included.
    pub from_ms: i64,
    /// To, not included.
    pub to_ms: i64,
    /// Length of a step; `None` for the finest rows still kept of that time.
    pub step_ms: Option<i64>,
    /// Which columns, in this order.
    pub fields: Vec<Field>,
}

/// A column of the answer: what, and for a step that holds several samples, which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Field {
    /// What.
    pub column: Column,
    /// Which of a step's samples.
    pub stat: Stat,
}

/// What history can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // the contract's names, as `as_str` gives them
pub enum Column {
    IntervalMs,
    Burst,
    MemoryUsedBytes,
    MemoryWorkingSetBytes,
    MemoryLimitBytes,
    RssBytes,
    SwapBytes,
    MomentumBytes,
    SpeedBytes,
    CpuMillis,
    CpuCores,
    Processes,
    Threads,
}

/// Which of a step's samples a column shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stat {
    /// The mean of the base-interval samples.
    Mean,
    /// The smallest.
    Min,
    /// The largest.
    Max,
}

/// Cells of one column; `None` is unknown.
#[derive(Clone, Debug, PartialEq)]
pub enum Cells {
    /// Whole numbers.
    Integers(Vec<Option<i64>>),
    /// Numbers: `cpu_cores`.
    Numbers(Vec<Option<f64>>),
    /// Flags: `burst`.
    Flags(Vec<Option<bool>>),
}

/// The answer: one row per sample or step that was measured, oldest first. A time that nobody
/// measured has no row.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Length of a step; `None` when the rows are the samples themselves. It is at least what was
    /// asked for, and longer where finer rows are no longer kept.
    pub step_ms: Option<i64>,
    /// Time of the sample, or the begin of the step.
    pub time: Vec<i64>,
    /// The columns asked for.
    pub columns: Vec<(Field, Cells)>,
    /// Stored chunks of that time that could not be read; their rows are missing.
    pub chunks_skipped: u32,
}

// === impl HistoryConfig ===

const HOUR_MS: i64 = 60 * 60 * 1000;
const DAY_MS: i64 = 24 * HOUR_MS;

impl HistoryConfig {
    /// The usual tiers in `mode`: raw 48 hours, minutes 30 days, hours 13 months.
    #[must_use]
    pub fn new(mode: HistoryMode) -> Self {
        Self {
            mode,
            raw_kept_ms: 2 * DAY_MS,
            minute_kept_ms: 30 * DAY_MS,
            hour_kept_ms: 396 * DAY_MS,
        }
    }
}
