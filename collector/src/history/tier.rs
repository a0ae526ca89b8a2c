//! Tiers: rows as they came, minutes, hours.
//!
//! A minute is computed from all rows of that minute and an hour from all minutes of that hour,
//! and replaced whole, so that computing it again changes nothing.

use std::collections::BTreeMap;

use super::{
    DAY_MS, HOUR_MS, HistoryConfig,
    chunk::{self, Chunk, ChunkError, Format, Like},
    row::{METRICS, METRICS_MIN, Row},
    used::Used,
};

const MINUTE_MS: i64 = 60 * 1000;

/// Columns of what was used, behind those of the metrics.
const USED_COLUMNS: usize = 3;

/// How fine history is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tier {
    Raw,
    Minute,
    Hour,
}

/// One step of a coarser tier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) start_ms: i64,
    /// In the order of [`METRICS`].
    pub(super) metrics: [Option<Span>; METRICS.len()],
    /// Sums over time; `None` in what was written before there were any.
    pub(super) used: Option<Used>,
}

/// What one metric did within a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// Samples behind the mean: its weight in a longer step.
    pub(super) rows: i64,
    pub(super) min: i64,
    pub(super) mean: i64,
    pub(super) max: i64,
}

/// Steps of one server, by start.
pub(super) type Steps = BTreeMap<i64, Step>;

// === impl Tier ===

impl Tier {
    /// Finest first.
    pub(super) const ALL: [Self; 3] = [Self::Raw, Self::Minute, Self::Hour];

    /// Its directory.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Minute => "minute",
            Self::Hour => "hour",
        }
    }

    /// Length of a step; rows as they came have none.
    pub(super) fn step_ms(self) -> i64 {
        match self {
            Self::Raw => 1,
            Self::Minute => MINUTE_MS,
            Self::Hour => HOUR_MS,
        }
    }

    /// Time that one chunk covers: long enough to squeeze well, a whole number of the next tier's
    /// steps, and short enough that the pieces of one that is open are quickly read.
    pub(super) fn chunk_ms(self) -> i64 {
        match self {
            Self::Raw => HOUR_MS,
            Self::Minute => 6 * HOUR_MS,
            Self::Hour => DAY_MS,
        }
    }

    /// The same in the first files there were.
    pub(super) fn first_chunk_ms(self) -> i64 {
        match self {
            Self::Raw => 10 * MINUTE_MS,
            Self::Minute => HOUR_MS,
            Self::Hour => DAY_MS,
        }
    }

    /// How long after its time is over a chunk is closed: as long as agents hold back what they
    /// have while nobody looks, and for coarser tiers until finer ones are closed. What comes later
    /// opens it again.
    pub(super) fn grace_ms(self) -> i64 {
        match self {
            Self::Raw => 3 * MINUTE_MS,
            Self::Minute | Self::Hour => 30 * MINUTE_MS,
        }
    }

    /// Time that one file covers: a fraction of what is kept, since whole files are deleted.
    pub(super) fn file_ms(self) -> i64 {
        match self {
            Self::Raw => DAY_MS,
            Self::Minute => 5 * DAY_MS,
            Self::Hour => 60 * DAY_MS,
        }
    }

    /// How long it is kept.
    pub(super) fn kept_ms(self, config: &HistoryConfig) -> i64 {
        match self {
            Self::Raw => config.raw_kept_ms,
            Self::Minute => config.minute_kept_ms,
            Self::Hour => config.hour_kept_ms,
        }
    }
}

/// The begin of the stretch of `length_ms` that `at_ms` lies in.
pub(super) fn floor(at_ms: i64, length_ms: i64) -> i64 {
    at_ms.saturating_sub(at_ms.rem_euclid(length_ms))
}

/// Begins of the chunks that hold anything of `from_ms..to_ms`.
pub(super) fn starts(tier: Tier, from_ms: i64, to_ms: i64) -> impl Iterator<Item = i64> {
    let length_ms = tier.chunk_ms();
    let first = floor(from_ms, length_ms);
    std::iter::successors(Some(first), move |start_ms| start_ms.checked_add(length_ms))
        .take_while(move |start_ms| *start_ms < to_ms)
}

// === computing steps ===

impl Step {
    /// The step at `start_ms` that holds `rows`. Extremes are of all of them; the mean is of the
    /// base-interval ones if there are any, else a burst would weigh more than it lasted. What was
    /// used needs the rows around: [`Used::of_rows`].
    pub(super) fn of_rows<'a>(start_ms: i64, rows: impl Iterator<Item = &'a Row> + Clone) -> Self {
        let metrics = std::array::from_fn(|metric| {
            let known = |row: &Row| row.metrics[metric].map(|value| (value, row.burst));
            let all = rows.clone().filter_map(known);
            let (min, max) = extremes(all.clone().map(|(value, _)| (value, value)))?;
            let base = all.clone().filter(|(_, burst)| !burst);
            let (rows, mean) = mean(base.map(|(value, _)| (1, value)))
                .or_else(|| mean(all.map(|(value, _)| (1, value))))?;
            Some(Span {
                rows,
                min,
                mean,
                max,
            })
        });
        Self {
            start_ms,
            metrics,
            used: None,
        }
    }

    /// The step at `start_ms` that holds `steps`.
    pub(super) fn of_steps<'a>(
        start_ms: i64,
        steps: impl Iterator<Item = &'a Self> + Clone,
    ) -> Self {
        let metrics = std::array::from_fn(|metric| {
            let all = steps.clone().filter_map(|step| step.metrics[metric]);
            let (min, max) = extremes(all.clone().map(|span| (span.min, span.max)))?;
            let (rows, mean) = mean(all.map(|span| (span.rows, span.mean)))?;
            Some(Span {
                rows,
                min,
                mean,
                max,
            })
        });
        Self {
            start_ms,
            metrics,
            used: Used::sum(steps.filter_map(|step| step.used)),
        }
    }
}

fn extremes(spans: impl Iterator<Item = (i64, i64)>) -> Option<(i64, i64)> {
    spans.reduce(|(min, max), (low, high)| (min.min(low), max.max(high)))
}

fn mean(weighted: impl Iterator<Item = (i64, i64)>) -> Option<(i64, i64)> {
    let (weight, sum) = weighted.fold((0_i128, 0_i128), |(weight, sum), (rows, value)| {
        (
            weight + i128::from(rows),
            sum + i128::from(rows) * i128::from(value),
        )
    });
    Some((i64::try_from(weight).ok()?, mean_of((weight, sum))?))
}

/// The mean of what has this weight and sum, to the nearest.
pub(super) fn mean_of((weight, sum): (i128, i128)) -> Option<i64> {
    if weight <= 0 {
        return None;
    }
    // As it is nearly always, and many times quicker.
    if let (Ok(weight), Ok(sum)) = (i64::try_from(weight), i64::try_from(sum))
        && let Some(twice) = sum
            .checked_mul(2)
            .and_then(|twice| twice.checked_add(weight))
        && let Some(weights) = weight.checked_mul(2)
    {
        return Some(twice.div_euclid(weights));
    }
    i64::try_from((2 * sum + weight).div_euclid(2 * weight)).ok()
}

// === layout of a chunk of steps ===

/// Lays `steps` out in columns: begin, then weight, smallest, and how far mean and largest are
/// above it, per metric; last what was used.
pub(super) fn to_chunk(steps: &Steps, chunk_start_ms: i64) -> Chunk {
    let metrics = 1 + 4 * METRICS.len();
    let mut columns = vec![Vec::with_capacity(steps.len()); metrics + USED_COLUMNS];
    let mut at_ms = chunk_start_ms;
    for step in steps.values().take(chunk::ROWS_MAX) {
        columns[0].push(Some(step.start_ms.wrapping_sub(at_ms)));
        at_ms = step.start_ms;
        for (metric, span) in step.metrics.iter().enumerate() {
            let at = 1 + 4 * metric;
            columns[at].push(span.map(|span| span.rows));
            columns[at + 1].push(span.map(|span| span.min));
            columns[at + 2].push(span.map(|span| span.mean.wrapping_sub(span.min)));
            columns[at + 3].push(span.map(|span| span.max.wrapping_sub(span.min)));
        }
        let used = step.used.map(|used| used.to_cells(&step.metrics));
        for (at, column) in columns[metrics..].iter_mut().enumerate() {
            column.push(used.map(|cells| cells[at]));
        }
    }
    Chunk {
        format: Format::default(),
        instances: Vec::new(),
        rows: steps.len().min(chunk::ROWS_MAX),
        columns,
    }
}

/// Which column a column's changes resemble: all metrics are of the same samples nearly always.
pub(super) fn hint(column: usize) -> Option<Like> {
    (column > 4 && column % 4 == 1).then(|| Like::column(column - 4))
}

/// How many columns hold the first `metrics` of a chunk of steps.
pub(super) fn columns_of(metrics: usize) -> usize {
    1 + 4 * metrics
}

/// How many metrics a chunk of steps has, today's or an earlier one; the first layouts have no sums
/// behind them.
pub(super) fn metrics_of(chunk: &Chunk) -> Result<usize, ChunkError> {
    let columns = chunk
        .columns
        .len()
        .checked_sub(1)
        .ok_or(ChunkError::Short)?;
    let (metrics, rest) = (columns / 4, columns % 4);
    let whole = rest == 0 || rest == USED_COLUMNS;
    if whole && (METRICS_MIN..=METRICS.len()).contains(&metrics) {
        Ok(metrics)
    } else {
        Err(ChunkError::Short)
    }
}

/// Begins of the steps of a chunk.
pub(super) fn starts_of(chunk: &Chunk, chunk_start_ms: i64) -> Result<Vec<i64>, ChunkError> {
    let since = chunk.columns.first().ok_or(ChunkError::Short)?;
    let mut at_ms = chunk_start_ms;
    let start = |since: &Option<i64>| -> Result<i64, ChunkError> {
        at_ms = at_ms.wrapping_add(since.ok_or(ChunkError::Short)?);
        Ok(at_ms)
    };
    since.iter().map(start).collect()
}

/// The columns of one metric: weight, smallest, and how far mean and largest are above it.
pub(super) fn columns_of_metric(chunk: &Chunk, metric: usize) -> Option<[&chunk::Column; 4]> {
    let at = columns_of(metric);
    let [rows, min, mean, max] = chunk.columns.get(at..at + 4)? else {
        return None;
    };
    Some([rows, min, mean, max])
}

/// One metric of one step, by the cells of its columns; the chunk has it.
pub(super) fn span_of(metric: usize, cell: impl Fn(usize) -> Option<i64>) -> Option<Span> {
    let at = 1 + 4 * metric;
    let min = cell(at + 1)?;
    Some(Span {
        rows: cell(at)?,
        min,
        mean: min.wrapping_add(cell(at + 2)?),
        max: min.wrapping_add(cell(at + 3)?),
    })
}

/// Reads what [`to_chunk`] laid out.
pub(super) fn from_chunk(chunk: &Chunk, chunk_start_ms: i64) -> Result<Steps, ChunkError> {
    let there = metrics_of(chunk)?;
    let of_metrics = 1 + 4 * there;
    let mut steps = Steps::new();
    let mut start_ms = chunk_start_ms;
    for place in 0..chunk.rows {
        let cell = |column: usize| chunk.columns.get(column)?[place];
        start_ms = start_ms.wrapping_add(cell(0).ok_or(ChunkError::Short)?);
        let metrics =
            std::array::from_fn(|metric| (metric < there).then(|| span_of(metric, cell)).flatten());
        let used = match [0, 1, 2].map(|at| cell(of_metrics + at)) {
            [Some(covered), Some(memory), Some(cores)] => {
                Some(Used::from_cells([covered, memory, cores], &metrics))
            }
            _ => None,
        };
        let step = Step {
            start_ms,
            metrics,
            used,
        };
        steps.insert(start_ms, step);
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_reads_back_and_costs_nothing_where_the_means_foresee_it() {
        let span = Span {
            rows: 12,
            min: 900 << 20,
            mean: 1 << 30,
            max: 2 << 30,
        };
        let mut metrics = [None; METRICS.len()];
        metrics[0] = Some(span);
        let used = Used {
            covered_ms: 60_000,
            memory_kib_s: (1 << 20) * 60,
            core_ms: 17,
        };
        assert_eq!(used.to_cells(&metrics), [60_000, 0, 17]);
        let step = |start_ms, used| Step {
            start_ms,
            metrics,
            used,
        };
        let steps: Steps = [
            (0, step(0, Some(used))),
            (60_000, step(60_000, None)),
            (120_000, step(120_000, Some(Used::default()))),
        ]
        .into();
        assert_eq!(from_chunk(&to_chunk(&steps, 0), 0), Ok(steps));
    }

    #[test]
    fn a_chunk_of_the_first_layout_is_read_and_one_of_no_layout_is_refused() {
        let span = Span {
            rows: 12,
            min: 3,
            mean: 5,
            max: 9,
        };
        let step = |start_ms| Step {
            start_ms,
            metrics: [Some(span); METRICS.len()],
            used: None,
        };
        let mut steps: Steps = [0, 60_000].map(|at_ms| (at_ms, step(at_ms))).into();
        let mut chunk = to_chunk(&steps, 0);
        assert_eq!(from_chunk(&chunk, 0), Ok(steps.clone()));
        chunk.columns.truncate(1 + 4 * METRICS_MIN);
        for step in steps.values_mut() {
            step.metrics[METRICS_MIN..].fill(None);
        }
        assert_eq!(from_chunk(&chunk, 0), Ok(steps));
        for columns in [0, 4 * METRICS_MIN - 1, 1 + 4 * (METRICS_MIN - 1)] {
            let mut cut = chunk.clone();
            cut.columns.truncate(columns);
            assert_eq!(from_chunk(&cut, 0), Err(ChunkError::Short), "{columns}");
        }
    }
}
