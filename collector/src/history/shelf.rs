//! Chunks as rows and steps: loading, merging, saving.
//!
//! A stored chunk that cannot be read counts as empty: it is counted and said, and what is known
//! besides goes on.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Arc, atomic::Ordering},
};

use super::{
    Counters, DAY_MS, HistoryError,
    chunk::{self, Chunk, ChunkError, Codec},
    pending::{Batch, Windows},
    row::{self, RowId, Rows},
    store::{Files, Place, ServerId, Span, Store},
    tier::{self, Step, Steps, Tier},
    used::Used,
};
use crate::usage::DayUse;

/// A store and the means to read and write its chunks.
pub(super) struct Shelf {
    pub(super) store: Box<dyn Store>,
    codec: Codec,
    counters: Arc<Counters>,
    /// Chunks that could not be read since somebody last asked.
    skipped: u32,
}

// === impl Shelf ===

impl Shelf {
    pub(super) fn new(
        store: Box<dyn Store>,
        counters: Arc<Counters>,
    ) -> Result<Self, HistoryError> {
        Ok(Self {
            store,
            codec: Codec::new().map_err(HistoryError::Squeeze)?,
            counters,
            skipped: 0,
        })
    }

    /// On the files of `data_dir`, for reading only.
    pub(super) fn to_read(data_dir: &Path, counters: Arc<Counters>) -> Result<Self, HistoryError> {
        let files = Files::open_read_only(data_dir)?;
        let files = files.ok_or_else(|| HistoryError::Nothing(data_dir.to_owned()))?;
        Self::new(Box::new(files), counters)
    }

    /// How many chunks could not be read since this was last asked.
    pub(super) fn take_skipped(&mut self) -> u32 {
        std::mem::take(&mut self.skipped)
    }

    /// The rows of one chunk, none if it is not there.
    pub(super) fn rows(&mut self, server: ServerId, start_ms: i64) -> Result<Rows, HistoryError> {
        self.load(Tier::Raw, server, start_ms, row::from_chunk)
    }

    /// The steps of one chunk, none if it is not there.
    pub(super) fn steps(
        &mut self,
        tier: Tier,
        server: ServerId,
        start_ms: i64,
    ) -> Result<Steps, HistoryError> {
        self.load(tier, server, start_ms, tier::from_chunk)
    }

    fn load<T: Default>(
        &mut self,
        tier: Tier,
        server: ServerId,
        start_ms: i64,
        read: impl FnOnce(&Chunk, i64) -> Result<T, ChunkError>,
    ) -> Result<T, HistoryError> {
        let place = Place {
            tier,
            server,
            start_ms,
        };
        let Some(stored) = self.store.load(place)? else {
            return Ok(T::default());
        };
        let known = self.codec.decode(&stored);
        let read = known.and_then(|chunk| read(&chunk, start_ms));
        Ok(read.unwrap_or_else(|error| {
            self.skip(place, &error);
            T::default()
        }))
    }

    fn skip(&mut self, place: Place, error: &ChunkError) {
        let Place {
            tier,
            server,
            start_ms,
        } = place;
        self.skipped += 1;
        self.counters.chunks_corrupt.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(
            tier = tier.name(), server, start_ms, %error,
            "a chunk of history cannot be read and is skipped"
        );
    }

    /// Hands on the chunks of `span`, oldest first, each with its begin and without the columns
    /// that are not `wanted`. What `each` refuses counts as not readable, and says where.
    pub(super) fn look(
        &mut self,
        span: Span,
        wanted: impl Fn(usize) -> bool,
        mut each: impl FnMut(i64, &Chunk) -> Result<(), ChunkError>,
    ) -> Result<(), HistoryError> {
        for (start_ms, stored) in self.store.load_span(span)? {
            let known = self.codec.decode_some(&stored, &wanted);
            if let Err(error) = known.and_then(|chunk| each(start_ms, &chunk)) {
                let place = Place {
                    tier: span.tier,
                    server: span.server,
                    start_ms,
                };
                self.skip(place, &error);
            }
        }
        Ok(())
    }

    fn save(
        &mut self,
        tier: Tier,
        server: ServerId,
        start_ms: i64,
        chunk: &Chunk,
    ) -> Result<(), HistoryError> {
        let body = self.codec.encode(chunk).map_err(HistoryError::Squeeze)?;
        let place = Place {
            tier,
            server,
            start_ms,
        };
        self.store.save(place, body)
    }

    // === writing ===

    /// Writes `batch` into every tier and commits; nothing of it is kept on failure, but for what
    /// finer tiers have already committed, which writing it again replaces by the same. Returns
    /// the days that changed, whole.
    pub(super) fn write(
        &mut self,
        batch: &Batch,
        tiers: &[Tier],
    ) -> Result<Vec<DayUse>, HistoryError> {
        let written = self.write_all(batch, tiers);
        if written.is_err() {
            self.store.rollback();
        }
        written
    }

    fn write_all(&mut self, batch: &Batch, tiers: &[Tier]) -> Result<Vec<DayUse>, HistoryError> {
        let mut days = Vec::new();
        self.store.number(&mut batch.servers.keys())?;
        for (key, windows) in &batch.servers {
            let Some(server) = self.store.server(key)? else {
                continue; // numbered above
            };
            let minutes = self.write_rows(server, windows)?;
            if tiers.contains(&Tier::Minute) {
                let hours = self.write_minutes(server, minutes)?;
                days.extend(self.write_hours(server, hours)?);
            }
        }
        self.store.commit()?;
        Ok(days)
    }

    /// Returns the minutes that changed, computed anew.
    fn write_rows(&mut self, server: ServerId, fresh: &Windows) -> Result<Steps, HistoryError> {
        let mut changed = Steps::new();
        for (start_ms, fresh) in fresh {
            let mut rows = self.rows(server, *start_ms)?;
            rows.extend(fresh.iter().map(|(id, row)| (*id, row.clone())));
            let dropped = rows.len().saturating_sub(chunk::ROWS_MAX) as u64;
            self.counters
                .rows_dropped
                .fetch_add(dropped, Ordering::Relaxed);
            self.save(
                Tier::Raw,
                server,
                *start_ms,
                &row::to_chunk(&rows, *start_ms),
            )?;
            changed.extend(minutes_of(&rows, fresh));
        }
        Ok(changed)
    }

    /// Returns the hours that changed, computed anew.
    fn write_minutes(&mut self, server: ServerId, minutes: Steps) -> Result<Steps, HistoryError> {
        let mut changed = Steps::new();
        for (start_ms, fresh) in by_chunk(Tier::Minute, minutes) {
            let mut steps = self.steps(Tier::Minute, server, start_ms)?;
            steps.extend(fresh);
            self.save(
                Tier::Minute,
                server,
                start_ms,
                &tier::to_chunk(&steps, start_ms),
            )?;
            changed.extend(hours_of(&steps));
        }
        Ok(changed)
    }

    /// Returns the days that changed: a chunk of hours is a UTC day.
    fn write_hours(&mut self, server: ServerId, hours: Steps) -> Result<Vec<DayUse>, HistoryError> {
        let mut changed = Vec::new();
        for (start_ms, fresh) in by_chunk(Tier::Hour, hours) {
            let mut steps = self.steps(Tier::Hour, server, start_ms)?;
            steps.extend(fresh);
            self.save(
                Tier::Hour,
                server,
                start_ms,
                &tier::to_chunk(&steps, start_ms),
            )?;
            changed.extend(day_of(server, start_ms, &steps));
        }
        Ok(changed)
    }
}

/// What `hours`, all there are of the day at `start_ms`, come to.
fn day_of(server: ServerId, start_ms: i64, hours: &Steps) -> Option<DayUse> {
    let used = Used::sum(hours.values().filter_map(|hour| hour.used))?;
    let peak = |hour: &Step| hour.metrics[row::MEMORY_USED].map(|span| span.max);
    Some(DayUse {
        server,
        day: start_ms.div_euclid(DAY_MS),
        covered_ms: used.covered_ms.clamp(0, DAY_MS),
        memory_kib_s: used.memory_kib_s,
        core_ms: used.core_ms,
        memory_peak_bytes: hours.values().filter_map(peak).max(),
    })
}

/// The minutes that `fresh` rows lie in, of all `rows`.
pub(super) fn minutes_of(rows: &Rows, fresh: &Rows) -> Vec<(i64, Step)> {
    let length_ms = Tier::Minute.step_ms();
    let starts: BTreeSet<i64> = fresh
        .keys()
        .map(|id| tier::floor(id.at_ms, length_ms))
        .collect();
    let step = |start_ms: i64| {
        let within = rows.range(RowId::first(start_ms)..RowId::first(start_ms + length_ms));
        let mut step = Step::of_rows(start_ms, within.map(|(_, row)| &**row));
        step.used = Some(Used::of_rows(rows, start_ms, start_ms + length_ms));
        (start_ms, step)
    };
    starts.into_iter().map(step).collect()
}

/// The hours of `minutes`, which are all there are of these hours.
pub(super) fn hours_of(minutes: &Steps) -> Vec<(i64, Step)> {
    let length_ms = Tier::Hour.step_ms();
    let starts: BTreeSet<i64> = minutes
        .keys()
        .map(|start_ms| tier::floor(*start_ms, length_ms))
        .collect();
    let step = |start_ms: i64| {
        let within = minutes.range(start_ms..start_ms + length_ms);
        (
            start_ms,
            Step::of_steps(start_ms, within.map(|(_, step)| step)),
        )
    };
    starts.into_iter().map(step).collect()
}

pub(super) fn by_chunk(tier: Tier, steps: Steps) -> BTreeMap<i64, Steps> {
    let mut chunks = BTreeMap::<i64, Steps>::new();
    for (start_ms, step) in steps {
        let chunk_ms = tier::floor(start_ms, tier.chunk_ms());
        chunks.entry(chunk_ms).or_default().insert(start_ms, step);
    }
    chunks
}
