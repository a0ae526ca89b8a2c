//! Answers: stored chunks and pending rows, as samples or in steps.
//!
//! A step is taken from the coarsest tier that is fine enough and still kept that far back; where
//! only coarser ones are, the step grows, and the answer says so.

use super::{
    Cells, Column, Field, HistoryConfig, HistoryError, ReadQuery, Table,
    columns::{Gather, Samples, Wanted, metric},
    pending::Windows,
    shelf::Shelf,
    store::{ServerId, Span},
    tier::{self, Tier},
};

/// Rows that one answer is made of, at most: 48 hours at one sample a second.
const ROWS_MAX: usize = 200_000;

/// Time after now that rows may bear: agents' clocks are clamped to seconds, so this is plenty.
const AHEAD_MS: i64 = 60 * 60 * 1000;

/// What one question needs of the stores.
pub(super) struct Reader<'a> {
    pub(super) shelf: &'a mut Shelf,
    pub(super) server: Option<ServerId>,
    pub(super) pending: &'a Windows,
    /// Nothing is kept from before, nothing can be there after: no step, however long, makes the
    /// reader look beyond.
    pub(super) oldest_ms: i64,
    pub(super) newest_ms: i64,
}

/// Chunks that lie side by side.
enum Stretch {
    /// On the shelf as they are, all in one file.
    Stored { from_ms: i64, to_ms: i64 },
    /// One chunk that rows not yet on the shelf belong to.
    Touched { start_ms: i64 },
}

/// Answers `query` from the shelf and from the `pending` rows of its server.
pub(super) fn read(
    shelf: &mut Shelf,
    config: &HistoryConfig,
    now_ms: i64,
    pending: &Windows,
    query: &ReadQuery,
) -> Result<Table, HistoryError> {
    let server = shelf.store.server(&query.key)?;
    shelf.take_skipped();
    let (tier, step_ms) = choose(config, now_ms, query.from_ms, query.step_ms);
    let mut reader = Reader {
        shelf,
        server,
        pending,
        oldest_ms: now_ms - tier.kept_ms(config) - tier.file_ms(),
        newest_ms: now_ms + AHEAD_MS,
    };
    let to_ms = query.to_ms.min(reader.newest_ms);
    let from_ms = query.from_ms.clamp(reader.oldest_ms.min(to_ms), to_ms);
    let mut table = match (tier, step_ms) {
        (Tier::Raw, None) => samples(&mut reader, from_ms, to_ms, &query.fields)?,
        (tier, step_ms) => {
            let step_ms = step_ms.unwrap_or(tier.step_ms());
            reader.in_steps(tier, (from_ms, to_ms), step_ms, &query.fields)?
        }
    };
    table.chunks_skipped = reader.shelf.take_skipped();
    Ok(table)
}

/// The tier to read, and the length of a step there; `None` for the samples themselves.
fn choose(
    config: &HistoryConfig,
    now_ms: i64,
    from_ms: i64,
    step_ms: Option<i64>,
) -> (Tier, Option<i64>) {
    let tiers = config.tiers();
    let coarsest = tiers.last().copied().unwrap_or(Tier::Raw);
    let asked_ms = step_ms.unwrap_or(0).max(1);
    let fine_enough = tiers
        .iter()
        .rev()
        .copied()
        .find(|tier| tier.step_ms() <= asked_ms)
        .unwrap_or(Tier::Raw);
    let kept = |tier: &&Tier| from_ms >= now_ms - tier.kept_ms(config);
    let tier = tiers
        .iter()
        .filter(|tier| **tier >= fine_enough)
        .find(kept)
        .copied()
        .unwrap_or(coarsest);
    match (tier, step_ms) {
        (Tier::Raw, step_ms) => (tier, step_ms.map(|step_ms| step_ms.max(1))),
        // Whole steps of the tier only, else some would hold one more than others.
        (tier, _) => {
            let unit_ms = tier.step_ms();
            let units = asked_ms.saturating_add(unit_ms - 1) / unit_ms;
            (tier, Some(units.saturating_mul(unit_ms)))
        }
    }
}

// === impl Reader ===

impl Reader<'_> {
    /// Samples with `from_ms <= time < to_ms`.
    pub(super) fn samples(
        &mut self,
        from_ms: i64,
        to_ms: i64,
        wanted: &Wanted,
    ) -> Result<Samples, HistoryError> {
        let within = (from_ms.max(self.oldest_ms), to_ms.min(self.newest_ms));
        let touched = self.shelf.open_starts(Tier::Raw, self.pending)?;
        let mut samples = Samples::default();
        for stretch in stretches(Tier::Raw, within, &touched) {
            match (stretch, self.server) {
                (Stretch::Touched { start_ms }, _) => {
                    let rows = self.shelf.rows(self.server, start_ms, self.pending)?;
                    samples.push_rows(&rows, wanted, within);
                }
                (Stretch::Stored { from_ms, to_ms }, Some(server)) => {
                    let span = Span {
                        tier: Tier::Raw,
                        server,
                        from_ms,
                        to_ms,
                    };
                    let columns = wanted.columns_of_rows();
                    self.shelf.look(span, columns, |start_ms, chunk| {
                        if samples.len() <= ROWS_MAX {
                            samples.push_chunk(chunk, start_ms, wanted, within)?;
                        } // else refused below
                        Ok(())
                    })?;
                }
                (Stretch::Stored { .. }, None) => {}
            }
            enough(samples.len())?;
        }
        Ok(samples)
    }

    /// Steps of a tier with `from_ms <= start < to_ms`; those that pending rows touch are
    /// computed anew.
    fn steps(
        &mut self,
        tier: Tier,
        within: (i64, i64),
        gather: &mut Gather<'_>,
    ) -> Result<(), HistoryError> {
        let within = (within.0.max(self.oldest_ms), within.1.min(self.newest_ms));
        let touched = self.shelf.open_starts(tier, self.pending)?;
        let mut count = 0;
        for stretch in stretches(tier, within, &touched) {
            match (stretch, self.server) {
                (Stretch::Touched { start_ms }, server) => {
                    let steps = self.shelf.steps(tier, server, start_ms, self.pending)?;
                    count += gather.push_steps(&steps, within);
                }
                (Stretch::Stored { from_ms, to_ms }, Some(server)) => {
                    let span = Span {
                        tier,
                        server,
                        from_ms,
                        to_ms,
                    };
                    let columns = gather.wanted().columns_of_steps();
                    self.shelf.look(span, columns, |start_ms, chunk| {
                        if count <= ROWS_MAX {
                            count += gather.push_chunk(chunk, start_ms, within)?;
                        }
                        Ok(())
                    })?;
                }
                (Stretch::Stored { .. }, None) => {}
            }
            enough(count)?;
        }
        Ok(())
    }

    /// Steps of `step_ms`, each whole, from the first that holds `from_ms` on.
    fn in_steps(
        &mut self,
        tier: Tier,
        (from_ms, to_ms): (i64, i64),
        step_ms: i64,
        fields: &[Field],
    ) -> Result<Table, HistoryError> {
        let from_ms = tier::floor(from_ms, step_ms);
        let to_ms = tier::floor(to_ms.saturating_sub(1), step_ms).saturating_add(step_ms);
        let mut gather = Gather::new(step_ms, fields);
        if tier == Tier::Raw {
            let samples = self.samples(from_ms, to_ms, &gather.wanted())?;
            gather.push_samples(&samples);
        } else {
            self.steps(tier, (from_ms, to_ms), &mut gather)?;
        }
        gather.close();
        let rows = gather.time.len();
        let column = |(field, cells): (&Field, Vec<Option<i64>>)| {
            let cells = match field.column {
                Column::Burst => Cells::Flags(vec![None; rows]),
                column => whole_or_cores(column, cells),
            };
            (*field, cells)
        };
        Ok(Table {
            step_ms: Some(step_ms),
            time: gather.time,
            columns: fields.iter().zip(gather.cells).map(column).collect(),
            chunks_skipped: 0,
        })
    }
}

/// The chunks that hold anything of `from_ms..to_ms`, cut at files and at those `touched`.
fn stretches(tier: Tier, (from_ms, to_ms): (i64, i64), touched: &[i64]) -> Vec<Stretch> {
    let mut stretches = Vec::new();
    let mut at_ms = tier::floor(from_ms, tier.chunk_ms());
    while at_ms < to_ms {
        let next = touched.iter().copied().find(|start_ms| *start_ms >= at_ms);
        if next == Some(at_ms) {
            stretches.push(Stretch::Touched { start_ms: at_ms });
            at_ms = at_ms.saturating_add(tier.chunk_ms());
            continue;
        }
        let file_end_ms = tier::floor(at_ms, tier.file_ms()).saturating_add(tier.file_ms());
        let end_ms = next.map_or(to_ms, |next| next.min(to_ms)).min(file_end_ms);
        stretches.push(Stretch::Stored {
            from_ms: at_ms,
            to_ms: end_ms,
        });
        at_ms = end_ms;
    }
    stretches
}

fn enough(rows: usize) -> Result<(), HistoryError> {
    if rows > ROWS_MAX {
        return Err(HistoryError::TooManyRows { rows_max: ROWS_MAX });
    }
    Ok(())
}

// === samples in columns ===

fn samples(
    reader: &mut Reader<'_>,
    from_ms: i64,
    to_ms: i64,
    fields: &[Field],
) -> Result<Table, HistoryError> {
    let wanted = Wanted::new(fields.iter().map(|field| field.column));
    let samples = reader.samples(from_ms, to_ms, &wanted)?;
    let speeds = if fields.iter().any(|f| f.column == Column::SpeedBytes) {
        // The last rows' speed is what the rows after them changed.
        let after_ms = to_ms.saturating_add(Tier::Raw.chunk_ms());
        let momentum = Wanted::new([Column::MomentumBytes]);
        samples.speeds(&reader.samples(to_ms, after_ms, &momentum)?)
    } else {
        Vec::new()
    };
    let column = |field: &Field| {
        let cells = cells(&samples, field.column, || speeds.clone());
        (*field, cells)
    };
    let columns = fields.iter().map(column).collect();
    Ok(Table {
        step_ms: None,
        columns,
        time: samples.at_ms,
        chunks_skipped: 0,
    })
}

/// A column of samples; `speeds` is asked for theirs.
pub(super) fn cells(
    samples: &Samples,
    column: Column,
    speeds: impl FnOnce() -> Vec<Option<i64>>,
) -> Cells {
    match column {
        Column::SpeedBytes => Cells::Integers(speeds()),
        Column::MomentumBytes => Cells::Integers(samples.momentum_bytes.clone()),
        Column::IntervalMs => {
            let known = samples.interval_ms.iter().copied().map(Some);
            Cells::Integers(known.collect())
        }
        Column::Burst => Cells::Flags(samples.burst.iter().copied().map(Some).collect()),
        column => {
            let cells = metric(column).map(|at| samples.metrics[at].clone());
            whole_or_cores(column, cells.unwrap_or_default())
        }
    }
}

fn whole_or_cores(column: Column, cells: Vec<Option<i64>>) -> Cells {
    if column != Column::CpuCores {
        return Cells::Integers(cells);
    }
    let cores = |cell: Option<i64>| cell.map(|millicores| millicores as f64 / 1000.0);
    Cells::Numbers(cells.into_iter().map(cores).collect())
}
