//! History: what every server used before.
//!
//! Rows arrive by [`History::append`] and are on the disk after [`History::flush`], which says
//! through which inbox row. Everything is keyed by what it is (server, window, row), so the same
//! entries again change nothing: after a crash the inbox is simply replayed. A flush adds its rows
//! as pieces to chunks of an hour that are open; when the hour is over they are closed, written
//! once more and for good. Minutes and hours are computed from the rows they cover and replaced
//! whole, never added to.

mod archive;
mod chunk;
mod columns;
mod days;
mod error;
mod field;
mod pending;
mod people;
mod read;
mod readers;
mod retention;
mod row;
mod shelf;
mod space;
mod store;
mod tier;
mod used;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
};

use parking_lot::Mutex;

use self::{
    days::Days,
    pending::{Batch, Pending},
    readers::Readers,
    retention::Retention,
    shelf::Shelf,
    store::{Files, Memory, Store},
    tier::Tier,
};
use crate::{
    causes::chain,
    clock::Clock,
    fact::{HubServer, InstanceId, Sample, ServerKey},
    usage::{DayUse, Ledger, RunNote, Runs},
};

pub use archive::{Archive, ArchiveEnd, ArchiveQuery, ArchiveSlice};
pub use error::HistoryError;
pub use field::{Column, Field, Stat};
pub use space::{Bounds, FreeMin};

const HOUR_MS: i64 = 60 * 60 * 1000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// How long rows are kept when they are in memory only: what the meter and the page show.
const MEMORY_KEPT_MS: i64 = HOUR_MS;

/// Chunks closed in one flush, at most: those of 10,000 servers within four minutes of each hour.
const SETTLED_PER_FLUSH_MAX: usize = 512;

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
    /// How long days and months of usage are kept.
    pub usage_kept_ms: i64,
    /// How much space history may take.
    pub bounds: Bounds,
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

/// What happened so far, for the metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HistoryStats {
    /// Rows not on the disk yet.
    pub pending_rows: u64,
    /// Rows let go because their server had too many in an hour.
    pub rows_dropped: u64,
    /// Times that a stored chunk could not be read.
    pub chunks_corrupt: u64,
    /// Files deleted before their time because space ran out.
    pub files_shed: u64,
}

/// Handle on the history. Clones share it; calls wait for the disk, so an asynchronous caller
/// makes them on a blocking thread.
#[derive(Clone)]
pub struct History {
    inner: Arc<Inner>,
}

struct Inner {
    config: HistoryConfig,
    clock: Arc<dyn Clock>,
    pending: Mutex<Pending>,
    // In memory mode readers share it: never hold both.
    writer: Arc<Mutex<Shelf>>,
    readers: Readers,
    /// `None` in memory.
    ledger: Option<Mutex<Ledger>>,
    runs: Mutex<Runs>,
    counters: Arc<Counters>,
    retention: Mutex<Retention>,
    /// Since when rows are there, where space made the oldest go early.
    raw_from_ms: AtomicI64,
    days: Mutex<Days>,
}

#[derive(Default)]
struct Counters {
    rows_dropped: AtomicU64,
    chunks_corrupt: AtomicU64,
    files_shed: AtomicU64,
}

// === impl HistoryConfig ===

impl HistoryConfig {
    /// The usual tiers in `mode`: raw 48 hours, minutes 30 days, hours 13 months, usage 5 years.
    #[must_use]
    pub fn new(mode: HistoryMode) -> Self {
        Self {
            mode,
            raw_kept_ms: 2 * DAY_MS,
            minute_kept_ms: 30 * DAY_MS,
            hour_kept_ms: 396 * DAY_MS,
            usage_kept_ms: 1826 * DAY_MS,
            bounds: Bounds::default(),
        }
    }

    fn tiers(&self) -> &'static [Tier] {
        match self.mode {
            HistoryMode::Files { .. } => &Tier::ALL,
            HistoryMode::Memory => &[Tier::Raw],
        }
    }
}

// === impl History ===

impl History {
    /// Opens what was kept, or begins anew.
    pub fn open(config: &HistoryConfig, clock: Arc<dyn Clock>) -> Result<Self, HistoryError> {
        let counters = Arc::<Counters>::default();
        let shelf = |store: Box<dyn Store>| -> Result<_, HistoryError> {
            Ok(Arc::new(Mutex::new(Shelf::new(store, counters.clone())?)))
        };
        let mut config = config.clone();
        let written_ms = match &config.mode {
            HistoryMode::Files { data_dir } => {
                retention::last_written_ms(&data_dir.join("history"))
            }
            HistoryMode::Memory => None,
        };
        let (writer, readers, ledger) = match &config.mode {
            HistoryMode::Files { data_dir } => {
                let writer = shelf(Box::new(Files::open(data_dir)?))?;
                let (own_dir, counters) = (data_dir.clone(), counters.clone());
                let readers = Readers::own(move || Shelf::to_read(&own_dir, counters.clone()));
                let ledger = Ledger::open(data_dir, clock.now_ms())?;
                (writer, readers, Some(Mutex::new(ledger)))
            }
            HistoryMode::Memory => {
                config.raw_kept_ms = config.raw_kept_ms.min(MEMORY_KEPT_MS);
                let only = shelf(Box::<Memory>::default())?;
                (only.clone(), Readers::Shared(only), None)
            }
        };
        let retention = Retention::new(&*clock, written_ms);
        Ok(Self {
            inner: Arc::new(Inner {
                config,
                clock,
                pending: Mutex::default(),
                writer,
                readers,
                ledger,
                runs: Mutex::default(),
                counters,
                retention: Mutex::new(retention),
                raw_from_ms: AtomicI64::new(i64::MIN),
                days: Mutex::default(),
            }),
        })
    }

    /// Takes the samples that inbox rows up to `row` brought, in order; a report's samples come
    /// in one call. They can be read at once and are on the disk after the next flush.
    pub fn append(&self, row: u64, entries: Vec<HistoryEntry>) {
        self.inner.pending.lock().append(row, &entries);
    }

    /// Puts on the disk what was appended and returns through which inbox row nothing more needs
    /// to be replayed. What could not be written is tried again by the next call.
    pub fn flush(&self) -> Result<u64, HistoryError> {
        let inner = &*self.inner;
        let mut writer = inner.writer.lock();
        let (batch, row) = inner.pending.lock().begin_flush();
        let written = writer.write(&batch);
        // Days are computed again when their hours are closed, whatever happens here.
        let usage = match &written {
            Ok(()) => self.write_usage(&mut writer, &batch),
            Err(_) => Ok(()),
        };
        inner.pending.lock().end_flush(batch, written.is_ok());
        drop(writer);
        written?;
        if let Err(error) = usage {
            let error = chain(&error);
            tracing::error!(error, "usage is not written; tried again soon");
        }
        // What follows moves rows that are on the disk, or deletes old ones: the inbox may forget
        // them whether it works or not.
        if let Err(error) = self.tend() {
            let error = chain(&error);
            tracing::error!(
                error,
                "history is written but not put in order; tried again soon"
            );
        }
        Ok(row)
    }

    /// Takes the hub's list of running servers in: what they ran is on the disk after a flush,
    /// within ten minutes.
    pub fn note_running(&self, at_ms: i64, servers: &[HubServer]) {
        if self.inner.ledger.is_some() {
            self.inner.runs.lock().note(at_ms, servers);
        }
    }

    /// The data directory, where usage is kept in it.
    #[must_use]
    pub fn usage_dir(&self) -> Option<&Path> {
        match &self.inner.config.mode {
            HistoryMode::Files { data_dir } => Some(data_dir),
            HistoryMode::Memory => None,
        }
    }

    /// Answers `query`. A server that nobody knows has an empty history.
    pub fn read(&self, query: &ReadQuery) -> Result<Table, HistoryError> {
        let inner = &*self.inner;
        let pending = inner.pending.lock().of(&query.key);
        let now_ms = inner.clock.now_ms();
        let mut config = inner.config.clone();
        let raw_from_ms = inner.raw_from_ms.load(Ordering::Relaxed);
        config.raw_kept_ms = config.raw_kept_ms.min(now_ms.saturating_sub(raw_from_ms));
        inner
            .readers
            .with(|shelf| read::read(shelf, &config, now_ms, &pending, query))
    }

    /// What happened so far.
    #[must_use]
    pub fn stats(&self) -> HistoryStats {
        let counters = &self.inner.counters;
        HistoryStats {
            pending_rows: self.inner.pending.lock().rows() as u64,
            rows_dropped: counters.rows_dropped.load(Ordering::Relaxed),
            chunks_corrupt: counters.chunks_corrupt.load(Ordering::Relaxed),
            files_shed: counters.files_shed.load(Ordering::Relaxed),
        }
    }

    /// Tells the ledger when servers ran, and the days of some of those that `batch`, which is
    /// written, is part of.
    fn write_usage(&self, writer: &mut Shelf, batch: &Batch) -> Result<(), HistoryError> {
        let inner = &*self.inner;
        let Some(ledger) = &inner.ledger else {
            return Ok(());
        };
        let mut days = inner.days.lock();
        days.note(writer, batch)?;
        let due = inner.runs.lock().due();
        writer.store.number(&mut due.iter().map(|run| &run.key))?;
        let mut runs: Vec<(i64, RunNote)> = Vec::with_capacity(due.len());
        for run in due {
            if let Some(server) = writer.store.server(&run.key)? {
                runs.push((server, run));
            }
        }
        let turn = days.turn();
        ledger.lock().write(&days::of(writer, &turn)?, &runs)?;
        days.written(&turn);
        let written: Vec<RunNote> = runs.into_iter().map(|(_, run)| run).collect();
        inner.runs.lock().written(&written);
        Ok(())
    }

    /// Closes chunks, deletes what is too old, and what there is no space for.
    fn tend(&self) -> Result<(), HistoryError> {
        let inner = &*self.inner;
        let now_ms = inner.clock.now_ms();
        // First, since it is what helps when nothing else works.
        self.shed_if_pressed(now_ms)?;
        let mut writer = inner.writer.lock();
        let ledger = |days: &[DayUse]| match &inner.ledger {
            Some(ledger) => Ok(ledger.lock().write(days, &[])?),
            None => Ok(()),
        };
        writer.settle(inner.config.tiers(), now_ms, SETTLED_PER_FLUSH_MAX, ledger)?;
        drop(writer);
        self.sweep_if_due(now_ms)
    }

    /// Deletes the oldest file of the finest tier, and so on, until bounds hold or only files are
    /// left whose time is not over.
    fn shed_if_pressed(&self, now_ms: i64) -> Result<(), HistoryError> {
        let inner = &*self.inner;
        for tier in inner.config.tiers() {
            loop {
                let oldest_ms = {
                    let store = &mut inner.writer.lock().store;
                    match store.is_pressed(&inner.config.bounds)? {
                        // An hour later, so that its rows are in the coarser tiers.
                        true => store.oldest_end_ms(*tier, now_ms - HOUR_MS)?,
                        false => return Ok(()),
                    }
                };
                let Some(before_ms) = oldest_ms else {
                    break; // the next tier's
                };
                let files = self.sweep(*tier, before_ms)?;
                let shed = files as u64;
                inner.counters.files_shed.fetch_add(shed, Ordering::Relaxed);
                if *tier == Tier::Raw {
                    inner.raw_from_ms.fetch_max(before_ms, Ordering::Relaxed);
                }
                tracing::warn!(
                    tier = tier.name(),
                    before_ms,
                    "space runs out: the oldest file of history is deleted before its time"
                );
            }
        }
        Ok(())
    }

    fn sweep_if_due(&self, now_ms: i64) -> Result<(), HistoryError> {
        let inner = &*self.inner;
        let mut retention = inner.retention.lock();
        if !retention.is_due(&*inner.clock) {
            return Ok(());
        }
        for tier in inner.config.tiers() {
            self.sweep(*tier, now_ms.saturating_sub(tier.kept_ms(&inner.config)))?;
        }
        if let Some(ledger) = &inner.ledger {
            let before_ms = now_ms.saturating_sub(inner.config.usage_kept_ms);
            ledger.lock().sweep(now_ms, before_ms)?;
        }
        retention.swept(&*inner.clock);
        Ok(())
    }

    fn sweep(&self, tier: Tier, before_ms: i64) -> Result<usize, HistoryError> {
        self.inner.readers.release(tier, before_ms);
        self.inner.writer.lock().store.sweep(tier, before_ms)
    }
}

#[cfg(test)]
mod tests;
