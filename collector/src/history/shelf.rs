//! Chunks as rows and steps: loading, adding, closing.
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
    days::{self, ServerDay},
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

    /// The rows of one raw chunk, `pending` ones included.
    pub(super) fn rows(
        &mut self,
        server: Option<ServerId>,
        start_ms: i64,
        pending: &Windows,
    ) -> Result<Rows, HistoryError> {
        Ok(self.rows_and_fresh(server, start_ms, pending)?.0)
    }

    /// The steps of one chunk; those of rows whose chunk is not closed, and of `pending` ones, are
    /// computed from the rows.
    pub(super) fn steps(
        &mut self,
        tier: Tier,
        server: Option<ServerId>,
        start_ms: i64,
        pending: &Windows,
    ) -> Result<Steps, HistoryError> {
        // The rows first: when another shelf closes their chunk meanwhile, the steps are there.
        let within = start_ms..start_ms.saturating_add(tier.chunk_ms());
        let mut steps = Steps::new();
        for window_ms in self.open_windows(pending)?.range(within) {
            let (rows, fresh) = self.rows_and_fresh(server, *window_ms, pending)?;
            let minutes = minutes_of(&rows, &fresh);
            match tier {
                Tier::Raw => {}
                Tier::Minute => steps.extend(minutes),
                Tier::Hour if minutes.is_empty() => {}
                Tier::Hour => steps.extend(self.hours_with(server, *window_ms, minutes)?),
            }
        }
        let mut all = self.steps_of(tier, server, start_ms)?;
        all.extend(steps);
        Ok(all)
    }

    /// Begins of the chunks of `tier` that more is known of than what is closed, whosever they are.
    pub(super) fn open_starts(
        &mut self,
        tier: Tier,
        pending: &Windows,
    ) -> Result<Vec<i64>, HistoryError> {
        let mut starts = self.open_windows(pending)?;
        for finer in [Tier::Minute, Tier::Hour] {
            if finer <= tier {
                starts.extend(self.store.open_chunks(finer)?);
            }
        }
        let floors = starts
            .into_iter()
            .map(|start_ms| tier::floor(start_ms, tier.chunk_ms()));
        let mut floors: Vec<i64> = floors.collect();
        floors.sort_unstable();
        floors.dedup();
        Ok(floors)
    }

    /// Begins of the raw chunks with pieces or `pending` rows.
    fn open_windows(&mut self, pending: &Windows) -> Result<BTreeSet<i64>, HistoryError> {
        let mut windows: BTreeSet<i64> = self.store.open_chunks(Tier::Raw)?.into_iter().collect();
        windows.extend(pending.keys());
        Ok(windows)
    }

    /// All rows of one raw chunk, and those of them whose steps are not stored.
    fn rows_and_fresh(
        &mut self,
        server: Option<ServerId>,
        start_ms: i64,
        pending: &Windows,
    ) -> Result<(Rows, Rows), HistoryError> {
        let (mut rows, mut fresh) = self.load(Tier::Raw, server, start_ms, row::from_chunk)?;
        if let Some(pending) = pending.get(&start_ms) {
            fresh.extend(pending.iter().map(|(id, row)| (*id, row.clone())));
        }
        rows.extend(fresh.iter().map(|(id, row)| (*id, row.clone())));
        Ok((rows, fresh))
    }

    /// The hours of the raw chunk at `window_ms`, of the minutes that are stored and those `fresh`.
    fn hours_with(
        &mut self,
        server: Option<ServerId>,
        window_ms: i64,
        fresh: Vec<(i64, Step)>,
    ) -> Result<Vec<(i64, Step)>, HistoryError> {
        let chunk_ms = tier::floor(window_ms, Tier::Minute.chunk_ms());
        let mut minutes = self.steps_of(Tier::Minute, server, chunk_ms)?;
        minutes.extend(fresh);
        let window = window_ms..window_ms + Tier::Raw.chunk_ms();
        minutes.retain(|start_ms, _| window.contains(start_ms));
        Ok(hours_of(&minutes))
    }

    // === stored chunks ===

    fn steps_of(
        &mut self,
        tier: Tier,
        server: Option<ServerId>,
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
        server: Option<ServerId>,
        start_ms: i64,
        read: impl Fn(&Chunk, i64) -> Result<T, ChunkError>,
    ) -> Result<(T, T), HistoryError> {
        let (mut closed, mut pieces) = (T::default(), T::default());
        let Some(server) = server else {
            return Ok((closed, pieces)); // nothing of it was ever stored
        };
        let place = Place {
            tier,
            start_ms,
            server,
        };
        for stored in self.store.load(place)? {
            let known = self.codec.decode(&stored.body).and_then(|chunk| {
                let known = read(&chunk, stored.start_ms);
                self.codec.recycle(chunk);
                known
            });
            match known {
                Ok(known) if stored.is_piece => pieces.extend(known),
                Ok(known) => closed.extend(known),
                Err(error) => self.skip(place, &error),
            }
        }
        Ok((closed, pieces))
    }

    /// Hands on what is closed of the chunks of `span`, oldest first, each with its begin and the
    /// cells of the first `columns`. What `each` refuses counts as not readable, and says where.
    pub(super) fn look(
        &mut self,
        span: Span,
        columns: usize,
        mut each: impl FnMut(i64, &Chunk) -> Result<(), ChunkError>,
    ) -> Result<(), HistoryError> {
        for start_ms in tier::starts(span.tier, span.from_ms, span.to_ms) {
            let place = Place {
                tier: span.tier,
                start_ms,
                server: span.server,
            };
            for stored in self.store.closed(place)? {
                let known = self
                    .codec
                    .decode_first(&stored.body, columns)
                    .and_then(|chunk| {
                        let known = each(stored.start_ms, &chunk);
                        self.codec.recycle(chunk);
                        known
                    });
                if let Err(error) = known {
                    self.skip(place, &error);
                }
            }
        }
        Ok(())
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

    /// Closes chunks whose time is over, `max` at most, tells `ledger` the days that changed, whole,
    /// and commits. What is closed is in the files before its pieces go, so that a crash at any
    /// point loses nothing and doing it again changes nothing.
    pub(super) fn settle(
        &mut self,
        tiers: &[Tier],
        now_ms: i64,
        max: usize,
        ledger: impl FnOnce(&[DayUse]) -> Result<(), HistoryError>,
    ) -> Result<(), HistoryError> {
        let settled = self
            .settle_all(tiers, now_ms, max)
            .and_then(|changed| ledger(&days::of(self, &changed)?))
            .and_then(|()| self.store.commit());
        self.or_rollback(settled)
    }

    /// Returns the days that changed.
    fn settle_all(
        &mut self,
        tiers: &[Tier],
        now_ms: i64,
        max: usize,
    ) -> Result<Vec<ServerDay>, HistoryError> {
        let (mut count, mut changed) = (0, BTreeSet::new());
        for tier in tiers {
            let before_ms = now_ms.saturating_sub(tier.grace_ms());
            for place in self.store.due(*tier, before_ms, max - count)? {
                match tier {
                    Tier::Raw => {
                        self.settle_rows(place, tiers)?;
                        changed.insert((place.server, tier::floor(place.start_ms, DAY_MS)));
                    }
                    Tier::Minute | Tier::Hour => self.settle_steps(place)?,
                }
                count += 1;
            }
        }
        Ok(changed.into_iter().collect())
    }

    fn settle_rows(&mut self, place: Place, tiers: &[Tier]) -> Result<(), HistoryError> {
        let server = Some(place.server);
        let (rows, fresh) = self.rows_and_fresh(server, place.start_ms, &Windows::new())?;
        self.count_dropped(&rows);
        let body = self.encode(Tier::Raw, &row::to_chunk(&rows, place.start_ms));
        self.store.close(place, body)?;
        if !tiers.contains(&Tier::Minute) {
            return Ok(());
        }
        let minutes = minutes_of(&rows, &fresh);
        let hours = self.hours_with(server, place.start_ms, minutes.clone())?;
        self.append_steps(Tier::Minute, place.server, minutes.into_iter().collect())?;
        self.append_steps(Tier::Hour, place.server, hours.into_iter().collect())
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
        let steps = self.steps_of(place.tier, Some(place.server), place.start_ms)?;
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
        let mut step = Step::of_rows(start_ms, within.map(|(_, row)| &**row));
        step.used = Some(Used::of_rows(rows, start_ms, start_ms + length_ms));
        (start_ms, step)
    };
    starts.into_iter().map(step).collect()
}

/// The hours of `minutes`, which are all there are of these hours.
fn hours_of(minutes: &Steps) -> Vec<(i64, Step)> {
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
