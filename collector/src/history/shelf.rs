//! Chunks as rows and steps: loading, adding, closing.
//!
//! A stored chunk that cannot be read counts as empty: it is counted and said, and what is known
//! besides goes on.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
};

use super::{
    Counters, HistoryError,
    chunk::{self, Chunk, ChunkError, Codec},
    pending::Batch,
    row::{self, RowId, Rows},
    store::{Place, ServerId, Store},
    tier::{self, Step, Steps, Tier},
};

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

    /// How many chunks could not be read since this was last asked.
    pub(super) fn take_skipped(&mut self) -> u32 {
        std::mem::take(&mut self.skipped)
    }

    /// The rows of one chunk, none if it is not there.
    pub(super) fn rows(&mut self, server: ServerId, start_ms: i64) -> Result<Rows, HistoryError> {
        let (mut rows, fresh) = self.rows_of(server, start_ms)?;
        rows.extend(fresh);
        Ok(rows)
    }

    /// The steps of one chunk, none if it is not there; those of rows whose chunk is not closed
    /// are computed from the rows.
    pub(super) fn steps(
        &mut self,
        tier: Tier,
        server: ServerId,
        start_ms: i64,
    ) -> Result<Steps, HistoryError> {
        // The rows first: when another shelf closes their chunk meanwhile, the steps are there.
        let within = start_ms..start_ms.saturating_add(tier.chunk_ms());
        let mut fresh = Steps::new();
        for window_ms in self.store.open_chunks(Tier::Raw)? {
            if !within.contains(&window_ms) {
                continue;
            }
            fresh.extend(match tier {
                Tier::Raw => Vec::new(),
                Tier::Minute => self.fresh_minutes(server, window_ms)?,
                Tier::Hour => self.fresh_hours(server, window_ms)?,
            });
        }
        let mut steps = self.steps_of(tier, server, start_ms)?;
        steps.extend(fresh);
        Ok(steps)
    }

    fn fresh_minutes(
        &mut self,
        server: ServerId,
        window_ms: i64,
    ) -> Result<Vec<(i64, Step)>, HistoryError> {
        let (mut rows, fresh) = self.rows_of(server, window_ms)?;
        if fresh.is_empty() {
            return Ok(Vec::new());
        }
        rows.extend(fresh.iter().map(|(id, row)| (*id, row.clone())));
        Ok(minutes_of(&rows, &fresh))
    }

    fn fresh_hours(
        &mut self,
        server: ServerId,
        window_ms: i64,
    ) -> Result<Vec<(i64, Step)>, HistoryError> {
        let fresh = self.fresh_minutes(server, window_ms)?;
        if fresh.is_empty() {
            return Ok(Vec::new());
        }
        let chunk_ms = tier::floor(window_ms, Tier::Minute.chunk_ms());
        let mut minutes = self.steps_of(Tier::Minute, server, chunk_ms)?;
        minutes.extend(fresh);
        let within = minutes.range(window_ms..window_ms + Tier::Raw.chunk_ms());
        Ok(hours_of(
            &within.map(|(at, step)| (*at, step.clone())).collect(),
        ))
    }

    // === stored chunks ===

    /// Rows of a closed chunk, and those of its pieces.
    fn rows_of(&mut self, server: ServerId, start_ms: i64) -> Result<(Rows, Rows), HistoryError> {
        self.load(Tier::Raw, server, start_ms, row::from_chunk)
    }

    fn steps_of(
        &mut self,
        tier: Tier,
        server: ServerId,
        start_ms: i64,
    ) -> Result<Steps, HistoryError> {
        let (mut steps, pieces) = self.load(tier, server, start_ms, tier::from_chunk)?;
        steps.extend(pieces);
        Ok(steps)
    }

    /// What is closed of a chunk, and what is in its pieces.
    fn load<T: Default + Extend<I> + IntoIterator<Item = I>, I>(
        &mut self,
        tier: Tier,
        server: ServerId,
        start_ms: i64,
        read: impl Fn(&Chunk, i64) -> Result<T, ChunkError>,
    ) -> Result<(T, T), HistoryError> {
        let place = Place {
            tier,
            start_ms,
            server,
        };
        let (mut closed, mut pieces) = (T::default(), T::default());
        for stored in self.store.load(place)? {
            let known = self.codec.decode(&stored.body).and_then(|chunk| {
                let known = read(&chunk, stored.start_ms);
                self.codec.recycle(chunk);
                known
            });
            match known {
                Ok(known) if stored.is_piece => pieces.extend(known),
                Ok(known) => closed.extend(known),
                Err(error) => {
                    self.skipped += 1;
                    self.counters.chunks_corrupt.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(
                        tier = tier.name(), server, start_ms, %error,
                        "a chunk of history cannot be read and is skipped"
                    );
                }
            }
        }
        Ok((closed, pieces))
    }

    fn encode(&self, tier: Tier, chunk: &Chunk) -> Vec<u8> {
        let hint = match tier {
            Tier::Raw => row::hint,
            Tier::Minute | Tier::Hour => tier::hint,
        };
        self.codec.encode(chunk, hint)
    }

    // === writing ===

    /// Adds `batch` to the raw tier and commits; nothing of it is kept on failure. Coarser tiers
    /// are computed when a raw chunk is closed, and until then when they are asked for.
    pub(super) fn write(&mut self, batch: &Batch) -> Result<(), HistoryError> {
        let written = self.write_all(batch).and_then(|()| self.store.commit());
        self.or_rollback(written)
    }

    fn or_rollback<T>(&mut self, done: Result<T, HistoryError>) -> Result<T, HistoryError> {
        if done.is_err() {
            self.store.rollback();
        }
        done
    }

    fn write_all(&mut self, batch: &Batch) -> Result<(), HistoryError> {
        self.store.number(&mut batch.servers.keys())?;
        for (key, windows) in &batch.servers {
            let Some(server) = self.store.server(key)? else {
                continue; // numbered above
            };
            for (start_ms, rows) in windows {
                self.count_dropped(rows);
                let body = self.encode(Tier::Raw, &row::to_chunk(rows, *start_ms));
                let place = Place {
                    tier: Tier::Raw,
                    start_ms: *start_ms,
                    server,
                };
                self.store.append(place, body)?;
            }
        }
        Ok(())
    }

    fn count_dropped(&self, rows: &Rows) {
        let dropped = rows.len().saturating_sub(chunk::ROWS_MAX) as u64;
        self.counters
            .rows_dropped
            .fetch_add(dropped, Ordering::Relaxed);
    }

    // === closing ===

    /// Closes chunks whose time is over, `max` at most, and commits. What is closed is in the
    /// files before its pieces go, so that a crash at any point loses nothing and doing it again
    /// changes nothing.
    pub(super) fn settle(
        &mut self,
        tiers: &[Tier],
        now_ms: i64,
        max: usize,
    ) -> Result<usize, HistoryError> {
        let settled = self.settle_all(tiers, now_ms, max);
        let settled = settled.and_then(|count| self.store.commit().map(|()| count));
        self.or_rollback(settled)
    }

    fn settle_all(
        &mut self,
        tiers: &[Tier],
        now_ms: i64,
        max: usize,
    ) -> Result<usize, HistoryError> {
        let mut count = 0;
        for tier in tiers {
            let before_ms = now_ms.saturating_sub(tier.grace_ms());
            for place in self.store.due(*tier, before_ms, max - count)? {
                match tier {
                    Tier::Raw => self.settle_rows(place, tiers)?,
                    Tier::Minute | Tier::Hour => self.settle_steps(place)?,
                }
                count += 1;
            }
        }
        Ok(count)
    }

    fn settle_rows(&mut self, place: Place, tiers: &[Tier]) -> Result<(), HistoryError> {
        let (mut rows, fresh) = self.rows_of(place.server, place.start_ms)?;
        rows.extend(fresh.iter().map(|(id, row)| (*id, row.clone())));
        self.count_dropped(&rows);
        let body = self.encode(Tier::Raw, &row::to_chunk(&rows, place.start_ms));
        self.store.close(place, body)?;
        if !tiers.contains(&Tier::Minute) {
            return Ok(());
        }
        let fresh = minutes_of(&rows, &fresh);
        let chunk_ms = tier::floor(place.start_ms, Tier::Minute.chunk_ms());
        let mut minutes = self.steps_of(Tier::Minute, place.server, chunk_ms)?;
        minutes.extend(fresh.iter().cloned());
        let touched = place.start_ms..place.start_ms + Tier::Raw.chunk_ms();
        minutes.retain(|start_ms, _| touched.contains(start_ms));
        self.append_steps(Tier::Minute, place.server, fresh.into_iter().collect())?;
        let hours = hours_of(&minutes).into_iter().collect();
        self.append_steps(Tier::Hour, place.server, hours)
    }

    fn append_steps(
        &mut self,
        tier: Tier,
        server: ServerId,
        steps: Steps,
    ) -> Result<(), HistoryError> {
        for (start_ms, steps) in by_chunk(tier, steps) {
            let body = self.encode(tier, &tier::to_chunk(&steps, start_ms));
            let place = Place {
                tier,
                start_ms,
                server,
            };
            self.store.append(place, body)?;
        }
        Ok(())
    }

    fn settle_steps(&mut self, place: Place) -> Result<(), HistoryError> {
        let steps = self.steps_of(place.tier, place.server, place.start_ms)?;
        let body = self.encode(place.tier, &tier::to_chunk(&steps, place.start_ms));
        self.store.close(place, body)
    }
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
        let step = Step::of_rows(start_ms, within.map(|(_, row)| &**row));
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

fn by_chunk(tier: Tier, steps: Steps) -> BTreeMap<i64, Steps> {
    let mut chunks = BTreeMap::<i64, Steps>::new();
    for (start_ms, step) in steps {
        let chunk_ms = tier::floor(start_ms, tier.chunk_ms());
        chunks.entry(chunk_ms).or_default().insert(start_ms, step);
    }
    chunks
}
