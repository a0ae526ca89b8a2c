//! One life of the collector's store: inbox, state and history as they are run live, without the
//! sockets and threads around them.

use std::{
    path::Path,
    sync::{
        Arc,
        mpsc::{Receiver, sync_channel},
    },
};

use anyhow::{Result, bail};
use hubmeter_collector::{
    clock::{Clock as _, ManualClock},
    data_dir::DataDir,
    fact::ServerKey,
    history::{
        Cells, Column, Field, History, HistoryConfig, HistoryEntry, HistoryMode, ReadQuery, Stat,
    },
    inbox::{Batch, Deposit, Inbox, Origin, clerk::Clerk, journal::SqliteJournal},
    pipeline::flush::flush_history,
    state::{Policy, State},
    stats::Stats,
};

/// Batches between inbox and state: as many as a replay in a test has rows.
const FACTS_MAX: usize = 10_000;

/// How far from now rows are looked for.
const LOOK_MS: i64 = 2 * 3600 * 1000;

/// Inbox, state and history.
pub struct Life {
    /// The time.
    pub clock: Arc<ManualClock>,
    /// What it counts, and why it is not ready.
    pub stats: Stats,
    /// Where reports are handed in.
    pub inbox: Inbox,
    /// What is true now.
    pub state: State,
    clerk: Clerk<SqliteJournal>,
    facts: Receiver<Batch>,
    history: History,
    row: u64,
    _data_dir: DataDir,
}

// === impl Life ===

impl Life {
    /// Opens what is in `data_dir`, as a start does, and replays.
    ///
    /// # Errors
    /// What keeps a collector from starting.
    pub fn begin(data_dir: &Path, clock: &Arc<ManualClock>) -> Result<Self> {
        let data_dir_taken = DataDir::take(data_dir)?;
        let mode = HistoryMode::Files {
            data_dir: data_dir.to_owned(),
        };
        let history = History::open(&HistoryConfig::new(mode), clock.clone())?;
        let journal = SqliteJournal::open(data_dir)?;
        let stats = Stats::new();
        let (onward, facts) = sync_channel(FACTS_MAX);
        let (inbox, mut clerk) = Inbox::new(journal, onward, clock.clone(), stats.clone());
        clerk.replay()?;
        let mut life = Self {
            clock: clock.clone(),
            stats,
            inbox,
            state: State::new(Policy::default()),
            clerk,
            facts,
            history,
            row: 0,
            _data_dir: data_dir_taken,
        };
        life.take();
        Ok(life)
    }

    /// Commits, gives receipts where that worked, and lets state and history see it either way.
    pub fn settle(&mut self, deposits: Vec<Deposit>) {
        let now_ms = self.clock.now_ms();
        self.clerk.settle(deposits, now_ms);
        self.take();
    }

    /// What happens every ten seconds and every minute: history to the disk, old rows out of the
    /// inbox. False when history is not written.
    pub fn flush(&mut self) -> bool {
        let flushed = flush_history(&self.history, &self.inbox, &self.stats);
        self.clerk.tidy(self.clock.now_ms());
        flushed
    }

    /// Every figure in the history of `key`, oldest first.
    ///
    /// # Errors
    /// It cannot be read, or something was skipped.
    pub fn figures(&self, key: &ServerKey) -> Result<Vec<u64>> {
        let now_ms = self.clock.now_ms();
        let table = self.history.read(&ReadQuery {
            key: key.clone(),
            from_ms: now_ms - LOOK_MS,
            to_ms: now_ms + LOOK_MS,
            step_ms: None,
            fields: vec![Field {
                column: Column::MemoryUsedBytes,
                stat: Stat::Mean,
            }],
        })?;
        let Some((_, Cells::Integers(cells))) = table.columns.first() else {
            bail!("the history of {} has no such column", key.user);
        };
        let figure = |cell: &Option<i64>| cell.and_then(|cell| u64::try_from(cell).ok());
        let Some(figures) = cells.iter().map(figure).collect() else {
            bail!("the history of {} has rows without a figure", key.user);
        };
        Ok(figures)
    }

    /// The smallest and the largest figure in the minutes of `key`.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn extremes(&self, key: &ServerKey) -> Result<Option<(u64, u64)>> {
        let now_ms = self.clock.now_ms();
        let of = |stat| Field {
            column: Column::MemoryUsedBytes,
            stat,
        };
        let table = self.history.read(&ReadQuery {
            key: key.clone(),
            from_ms: now_ms - LOOK_MS,
            to_ms: now_ms + LOOK_MS,
            step_ms: Some(60_000),
            fields: vec![of(Stat::Min), of(Stat::Max)],
        })?;
        let [(_, Cells::Integers(least)), (_, Cells::Integers(most))] = &table.columns[..] else {
            bail!("the history of {} has no such columns", key.user);
        };
        let (least, most) = (least.iter().flatten().min(), most.iter().flatten().max());
        Ok(least
            .zip(most)
            .map(|(least, most)| (least.cast_unsigned(), most.cast_unsigned())))
    }

    /// What the pipeline does with facts, but for telling.
    fn take(&mut self) {
        while let Ok(batch) = self.facts.try_recv() {
            if let Some(row) = batch.row {
                self.row = u64::try_from(row).unwrap_or(0);
            }
            let mut entries = Vec::new();
            for fact in &batch.facts {
                let changed = self.state.apply(fact);
                entries.extend(changed.taken.into_iter().map(|taken| HistoryEntry {
                    key: taken.key,
                    instance: taken.instance,
                    seq: taken.seq,
                    sample: taken.sample,
                    momentum_bytes: taken.momentum_bytes,
                    cpu_cores: taken.cpu_cores,
                }));
            }
            if batch.origin != (Origin::Replayed { in_history: true }) {
                self.history.append(self.row, entries);
            }
        }
    }
}
