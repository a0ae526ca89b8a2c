//! Answers: stored chunks and pending rows, as samples or in steps.
//!
//! A step is taken from the coarsest tier that is fine enough and still kept that far back; where
//! only coarser ones are, the step grows, and the answer says so.

use std::collections::{BTreeMap, HashMap};

use super::{
    Cells, Column, Field, HistoryConfig, HistoryError, ReadQuery, Stat, Table,
    pending::Windows,
    row::{METRICS, Row, RowId, Rows},
    shelf::{self, Shelf},
    store::ServerId,
    tier::{self, Step, Steps, Tier},
};

/// Rows that one answer is made of, at most: 48 hours at one sample a second.
const ROWS_MAX: usize = 200_000;

/// Time after now that rows may bear: agents' clocks are clamped to seconds, so this is plenty.
const AHEAD_MS: i64 = 60 * 60 * 1000;

/// What one question needs of the stores.
struct Reader<'a> {
    shelf: &'a mut Shelf,
    server: Option<ServerId>,
    pending: &'a Windows,
    /// Nothing is kept from before, nothing can be there after: no step, however long, makes the
    /// reader look beyond.
    oldest_ms: i64,
    newest_ms: i64,
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
            let steps = reader.in_steps(tier, from_ms, to_ms, step_ms)?;
            in_columns(step_ms, &steps, &query.fields)
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
    /// All rows of one window, pending ones included.
    fn window(&mut self, start_ms: i64) -> Result<Rows, HistoryError> {
        let mut rows = match self.server {
            Some(server) => self.shelf.rows(server, start_ms)?,
            None => Rows::new(),
        };
        if let Some(fresh) = self.pending.get(&start_ms) {
            rows.extend(fresh.iter().map(|(id, row)| (*id, row.clone())));
        }
        Ok(rows)
    }

    /// Rows with `from_ms <= time < to_ms`.
    fn rows(&mut self, from_ms: i64, to_ms: i64) -> Result<Rows, HistoryError> {
        let mut all = Rows::new();
        let (from_ms, to_ms) = (from_ms.max(self.oldest_ms), to_ms.min(self.newest_ms));
        for start_ms in starts(Tier::Raw, from_ms, to_ms) {
            let rows = self.window(start_ms)?;
            let within = rows
                .into_iter()
                .filter(|(id, _)| (from_ms..to_ms).contains(&id.at_ms));
            all.extend(within);
            enough(all.len())?;
        }
        Ok(all)
    }

    /// Steps of a tier with `from_ms <= start < to_ms`; those that pending rows touch are
    /// computed anew.
    fn steps(&mut self, tier: Tier, from_ms: i64, to_ms: i64) -> Result<Steps, HistoryError> {
        let mut all = Steps::new();
        let (from_ms, to_ms) = (from_ms.max(self.oldest_ms), to_ms.min(self.newest_ms));
        if let Some(server) = self.server {
            for start_ms in starts(tier, from_ms, to_ms) {
                all.extend(self.shelf.steps(tier, server, start_ms)?);
            }
        }
        all.extend(match tier {
            Tier::Raw => Vec::new(),
            Tier::Minute => self.fresh_minutes()?,
            Tier::Hour => self.fresh_hours()?,
        });
        all.retain(|start_ms, _| (from_ms..to_ms).contains(start_ms));
        enough(all.len())?;
        Ok(all)
    }

    fn fresh_minutes(&mut self) -> Result<Vec<(i64, Step)>, HistoryError> {
        let mut minutes = Vec::new();
        let pending = self.pending;
        for (start_ms, fresh) in pending {
            let rows = self.window(*start_ms)?;
            minutes.extend(shelf::minutes_of(&rows, fresh));
        }
        Ok(minutes)
    }

    fn fresh_hours(&mut self) -> Result<Vec<(i64, Step)>, HistoryError> {
        let mut chunks = BTreeMap::<i64, Steps>::new();
        for (start_ms, minute) in self.fresh_minutes()? {
            let chunk_ms = tier::floor(start_ms, Tier::Minute.chunk_ms());
            chunks.entry(chunk_ms).or_default().insert(start_ms, minute);
        }
        let mut hours = Vec::new();
        for (chunk_ms, fresh) in chunks {
            let mut minutes = match self.server {
                Some(server) => self.shelf.steps(Tier::Minute, server, chunk_ms)?,
                None => Steps::new(),
            };
            minutes.extend(fresh);
            hours.extend(shelf::hours_of(&minutes));
        }
        Ok(hours)
    }

    /// Steps of `step_ms`, each whole, from the first that holds `from_ms` on.
    fn in_steps(
        &mut self,
        tier: Tier,
        from_ms: i64,
        to_ms: i64,
        step_ms: i64,
    ) -> Result<Vec<Step>, HistoryError> {
        let from_ms = tier::floor(from_ms, step_ms);
        let to_ms = tier::floor(to_ms.saturating_sub(1), step_ms).saturating_add(step_ms);
        if tier == Tier::Raw {
            let rows = self.rows(from_ms, to_ms)?;
            let groups = grouped(rows.into_values().map(|row| *row), step_ms, |row: &Row| {
                row.id.at_ms
            });
            let step = |(start_ms, rows): (i64, Vec<Row>)| Step::of_rows(start_ms, rows.iter());
            return Ok(groups.into_iter().map(step).collect());
        }
        let steps = self.steps(tier, from_ms, to_ms)?;
        let groups = grouped(steps.into_values(), step_ms, |step: &Step| step.start_ms);
        let step = |(start_ms, steps): (i64, Vec<Step>)| Step::of_steps(start_ms, steps.iter());
        Ok(groups.into_iter().map(step).collect())
    }
}

/// Begins of the chunks that hold anything of `from_ms..to_ms`.
fn starts(tier: Tier, from_ms: i64, to_ms: i64) -> impl Iterator<Item = i64> {
    let length_ms = tier.chunk_ms();
    let first = tier::floor(from_ms, length_ms);
    std::iter::successors(Some(first), move |start_ms| start_ms.checked_add(length_ms))
        .take_while(move |start_ms| *start_ms < to_ms)
}

fn grouped<T>(
    items: impl Iterator<Item = T>,
    step_ms: i64,
    at_ms: impl Fn(&T) -> i64,
) -> BTreeMap<i64, Vec<T>> {
    let mut groups = BTreeMap::<i64, Vec<T>>::new();
    for item in items {
        let start_ms = tier::floor(at_ms(&item), step_ms);
        groups.entry(start_ms).or_default().push(item);
    }
    groups
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
    let rows = reader.rows(from_ms, to_ms)?;
    // The last rows' speed is what the rows after them changed.
    let after_ms = to_ms.saturating_add(Tier::Raw.chunk_ms());
    let after = reader.rows(to_ms, after_ms)?;
    let speeds = speeds(&rows, &after);
    let column = |field: &Field| {
        let cells = match field.column {
            Column::SpeedBytes => Cells::Integers(speeds.clone()),
            Column::Burst => Cells::Flags(rows.values().map(|row| Some(row.burst)).collect()),
            column => whole_or_cores(
                column,
                rows.values().map(|row| value_of(row, column)).collect(),
            ),
        };
        (*field, cells)
    };
    Ok(Table {
        step_ms: None,
        time: rows.keys().map(|id: &RowId| id.at_ms).collect(),
        columns: fields.iter().map(column).collect(),
        chunks_skipped: 0,
    })
}

fn value_of(row: &Row, column: Column) -> Option<i64> {
    match column {
        Column::IntervalMs => Some(row.interval_ms),
        Column::MomentumBytes => row.momentum_bytes,
        column => metric(column).and_then(|at| row.metrics[at]),
    }
}

/// Size of the change to the next base-interval sample of the same instance: unknown for the
/// newest, and for bursts.
fn speeds(rows: &Rows, after: &Rows) -> Vec<Option<i64>> {
    let mut next = HashMap::<[u8; 16], Option<i64>>::new();
    let mut speeds = Vec::with_capacity(rows.len());
    for row in after.values().rev().filter(|row| !row.burst) {
        next.insert(row.id.instance, row.momentum_bytes);
    }
    for row in rows.values().rev() {
        if row.burst {
            speeds.push(None);
            continue;
        }
        let momentum = next.insert(row.id.instance, row.momentum_bytes).flatten();
        speeds.push(momentum.map(i64::saturating_abs));
    }
    speeds.reverse();
    speeds
}

// === steps in columns ===

fn in_columns(step_ms: i64, steps: &[Step], fields: &[Field]) -> Table {
    let column = |field: &Field| {
        let cells = match field.column {
            Column::Burst => Cells::Flags(vec![None; steps.len()]),
            column => whole_or_cores(
                column,
                steps.iter().map(|step| stat_of(step, *field)).collect(),
            ),
        };
        (*field, cells)
    };
    Table {
        step_ms: Some(step_ms),
        time: steps.iter().map(|step| step.start_ms).collect(),
        columns: fields.iter().map(column).collect(),
        chunks_skipped: 0,
    }
}

/// What belongs to single samples (interval, momentum, speed) has no value in a step.
fn stat_of(step: &Step, field: Field) -> Option<i64> {
    let span = step.metrics[metric(field.column)?]?;
    Some(match field.stat {
        Stat::Mean if field.column.is_counter() => span.max,
        Stat::Mean => span.mean,
        Stat::Min => span.min,
        Stat::Max => span.max,
    })
}

fn metric(column: Column) -> Option<usize> {
    METRICS.iter().position(|known| *known == column)
}

fn whole_or_cores(column: Column, cells: Vec<Option<i64>>) -> Cells {
    if column != Column::CpuCores {
        return Cells::Integers(cells);
    }
    let cores = |cell: Option<i64>| cell.map(|millicores| millicores as f64 / 1000.0);
    Cells::Numbers(cells.into_iter().map(cores).collect())
}
