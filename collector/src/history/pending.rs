//! Rows that are not on the disk yet.
//!
//! While a batch is being written it can still be read; when writing fails it is put back.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{
    HistoryEntry,
    row::{Row, Rows},
    tier::{self, Tier},
};
use crate::fact::ServerKey;

/// Rows held for a disk that does not take them: 50,000 servers for 100 seconds, under half a
/// gigabyte. Beyond it rows are left to the inbox, which has them, and replayed from there.
const ROWS_MAX: usize = 1_000_000;

/// Rows of one server by the begin of their raw chunk.
pub(super) type Windows = BTreeMap<i64, Rows>;

/// Rows of every server.
#[derive(Clone, Default)]
pub(super) struct Batch {
    pub(super) servers: HashMap<ServerKey, Windows>,
    rows: usize,
}

/// What was appended and not flushed.
#[derive(Default)]
pub(super) struct Pending {
    current: Batch,
    flushing: Option<Arc<Batch>>,
    /// Newest inbox row appended.
    row: u64,
    /// First inbox row with samples that found no room: no flush may claim it.
    first_left: Option<u64>,
}

// === impl Batch ===

impl Batch {
    fn put(&mut self, key: &ServerKey, row: Row) {
        let start_ms = tier::floor(row.id.at_ms, Tier::Raw.chunk_ms());
        if !self.servers.contains_key(key) {
            self.servers.insert(key.clone(), Windows::new());
        }
        if let Some(windows) = self.servers.get_mut(key) {
            let before = windows
                .entry(start_ms)
                .or_default()
                .insert(row.id, Box::new(row));
            self.rows += usize::from(before.is_none());
        }
    }
}

// === impl Pending ===

impl Pending {
    pub(super) fn append(&mut self, row: u64, entries: &[HistoryEntry]) {
        let mut report = None;
        let mut index = 0;
        for entry in entries {
            let this = Some((&entry.key, entry.instance, entry.seq));
            index = if report == this { index + 1 } else { 0 };
            report = this;
            if self.rows() >= ROWS_MAX {
                self.leave(row);
                break;
            }
            self.current.put(&entry.key, Row::of(entry, index));
        }
        self.row = self.row.max(row);
    }

    fn leave(&mut self, row: u64) {
        if self.first_left.is_none() {
            tracing::error!(
                rows_max = ROWS_MAX,
                "history takes no more rows until the collector is restarted; the inbox keeps them"
            );
            self.first_left = Some(row);
        }
    }

    /// Rows not on the disk.
    pub(super) fn rows(&self) -> usize {
        self.current.rows + self.flushing.as_ref().map_or(0, |batch| batch.rows)
    }

    /// What is to be written, and through which inbox row that is all.
    pub(super) fn begin_flush(&mut self) -> (Arc<Batch>, u64) {
        let batch = Arc::new(std::mem::take(&mut self.current));
        self.flushing = Some(batch.clone());
        let row = self
            .first_left
            .map_or(self.row, |left| self.row.min(left.saturating_sub(1)));
        (batch, row)
    }

    pub(super) fn end_flush(&mut self, batch: Arc<Batch>, written: bool) {
        self.flushing = None;
        if written {
            return;
        }
        let newer = std::mem::replace(&mut self.current, Arc::unwrap_or_clone(batch));
        for (key, windows) in newer.servers {
            for row in windows.into_values().flat_map(BTreeMap::into_values) {
                self.current.put(&key, *row);
            }
        }
    }

    /// Lets go of one server's rows. Not while a batch is being written.
    pub(super) fn forget(&mut self, key: &ServerKey) {
        if let Some(windows) = self.current.servers.remove(key) {
            self.current.rows -= windows.values().map(BTreeMap::len).sum::<usize>();
        }
    }

    /// The rows of one server.
    pub(super) fn of(&self, key: &ServerKey) -> Windows {
        let older = self
            .flushing
            .iter()
            .filter_map(|batch| batch.servers.get(key));
        let mut windows = Windows::new();
        for (start_ms, rows) in older.chain(self.current.servers.get(key)).flatten() {
            let all: &mut Rows = windows.entry(*start_ms).or_default();
            all.extend(rows.iter().map(|(id, row)| (*id, row.clone())));
        }
        windows
    }
}
