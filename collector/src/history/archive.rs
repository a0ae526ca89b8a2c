//! What a collector kept, read without it: beside a running one, or long after.
//!
//! Rows that a running collector has not put on the disk yet are not in it.

use std::{path::Path, sync::Arc};

use super::{
    Cells, Column, Counters, HistoryError,
    columns::{Samples, Wanted},
    pending::Windows,
    read::{self, Reader},
    shelf::Shelf,
    store::Files,
    tier::{self, Tier},
};
use crate::fact::{InstanceId, ServerKey};

/// Time that is read at once: what is held in memory, however long the whole is.
const SLICE_MS: i64 = 6 * super::HOUR_MS;

/// The history in a data directory, for reading only.
pub struct Archive {
    shelf: Shelf,
    files: Files,
}

/// Which samples, and what of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveQuery {
    /// Whose.
    pub key: ServerKey,
    /// From, included; `None` for the oldest kept.
    pub from_ms: Option<i64>,
    /// To, not included; `None` for the newest.
    pub to_ms: Option<i64>,
    /// Which columns.
    pub columns: Vec<Column>,
    /// Whether bursts come, too.
    pub bursts: bool,
}

/// Some samples, oldest first.
#[derive(Clone, Debug, PartialEq)]
pub struct ArchiveSlice {
    /// When.
    pub time: Vec<i64>,
    /// Which life of the agent.
    pub instances: Vec<InstanceId>,
    /// Whether it was taken between base intervals.
    pub burst: Vec<bool>,
    /// rss of the next base-interval sample of the same instance in the answer.
    pub next_rss_bytes: Vec<Option<i64>>,
    /// The columns asked for.
    pub columns: Vec<Cells>,
}

/// What the answer lacks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArchiveEnd {
    /// When the oldest file of samples begins: there is nothing before.
    pub oldest_ms: Option<i64>,
    /// Stored chunks that could not be read; their rows are missing.
    pub chunks_skipped: u32,
}

// === impl Archive ===

impl Archive {
    /// Opens the history in `data_dir`.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub fn open(data_dir: &Path) -> Result<Self, HistoryError> {
        let files = Files::open_read_only(data_dir)?
            .ok_or_else(|| HistoryError::Nothing(data_dir.to_owned()))?;
        let shelf = Shelf::to_read(data_dir, Arc::<Counters>::default())?;
        Ok(Self { shelf, files })
    }

    /// Names of a user's servers, `""` for the default one.
    ///
    /// # Errors
    /// The disk.
    pub fn servers_of(&self, user: &str) -> Result<Vec<String>, HistoryError> {
        self.files.servers_of(user)
    }

    /// Hands on the samples of `query` slice by slice, none of them empty.
    ///
    /// # Errors
    /// The disk, or what `each` says.
    pub fn samples<E: From<HistoryError>>(
        &mut self,
        query: &ArchiveQuery,
        mut each: impl FnMut(ArchiveSlice) -> Result<(), E>,
    ) -> Result<ArchiveEnd, E> {
        let mut end = ArchiveEnd::default();
        let Some((oldest_ms, newest_ms)) = self.files.kept(Tier::Raw)? else {
            return Ok(end);
        };
        end.oldest_ms = Some(oldest_ms);
        let from_ms = query.from_ms.map_or(oldest_ms, |ms| ms.max(oldest_ms));
        let to_ms = query.to_ms.map_or(newest_ms, |ms| ms.min(newest_ms));
        let server = self.shelf.store.server(&query.key)?;
        let pending = Windows::new();
        let mut reader = Reader {
            shelf: &mut self.shelf,
            server,
            pending: &pending,
            oldest_ms: i64::MIN,
            newest_ms: i64::MAX,
        };
        let needed = [Column::RssBytes, Column::MomentumBytes];
        let wanted = Wanted::new(query.columns.iter().copied().chain(needed));
        // A slice waits for the one after it, whose first rows tell its last rows' speed.
        let mut waiting: Option<Samples> = None;
        let mut at_ms = from_ms;
        while at_ms < to_ms {
            let end_ms = tier::floor(at_ms, SLICE_MS).saturating_add(SLICE_MS);
            let samples = reader.samples(at_ms, end_ms.min(to_ms), &wanted)?;
            at_ms = end_ms;
            if samples.len() == 0 {
                continue;
            }
            if let Some(waiting) = waiting.take() {
                hand_on(&waiting, (&samples, &samples), query, &mut each)?;
            }
            waiting = Some(samples);
        }
        if let Some(waiting) = waiting {
            let after_ms = to_ms.saturating_add(Tier::Raw.chunk_ms());
            let after = reader.samples(to_ms, after_ms, &wanted)?;
            hand_on(&waiting, (&after, &Samples::default()), query, &mut each)?;
        }
        end.chunks_skipped = reader.shelf.take_skipped();
        Ok(end)
    }
}

/// `after` is what was measured after these samples, and what of that is in the answer.
fn hand_on<E>(
    samples: &Samples,
    after: (&Samples, &Samples),
    query: &ArchiveQuery,
    each: &mut impl FnMut(ArchiveSlice) -> Result<(), E>,
) -> Result<(), E> {
    let mut slice = ArchiveSlice {
        time: samples.at_ms.clone(),
        instances: samples.instances.iter().map(|id| InstanceId(*id)).collect(),
        burst: samples.burst.clone(),
        next_rss_bytes: samples.next_rss(after.1),
        columns: query
            .columns
            .iter()
            .map(|column| read::cells(samples, *column, || samples.speeds(after.0)))
            .collect(),
    };
    if !query.bursts {
        slice.drop_bursts();
    }
    if slice.time.is_empty() {
        return Ok(());
    }
    each(slice)
}

// === impl ArchiveSlice ===

impl ArchiveSlice {
    fn drop_bursts(&mut self) {
        let burst = std::mem::take(&mut self.burst);
        if !burst.contains(&true) {
            self.burst = burst;
            return;
        }
        fn keep<T>(cells: &mut Vec<T>, burst: &[bool]) {
            let mut dropped = burst.iter();
            cells.retain(|_| dropped.next() == Some(&false));
        }
        keep(&mut self.time, &burst);
        keep(&mut self.instances, &burst);
        keep(&mut self.next_rss_bytes, &burst);
        for cells in &mut self.columns {
            match cells {
                Cells::Integers(cells) => keep(cells, &burst),
                Cells::Numbers(cells) => keep(cells, &burst),
                Cells::Flags(cells) => keep(cells, &burst),
            }
        }
        self.burst = vec![false; self.time.len()];
    }
}
