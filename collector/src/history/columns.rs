//! Samples and steps in columns, from chunk to answer: only those asked for.

use super::{
    Column, Field, Stat,
    chunk::{Chunk, ChunkError, Format},
    row::{self, METRICS, Row, RowId, Rows},
    tier::{self, Span, Step, Steps},
};

/// What an answer needs of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// In the order of [`METRICS`].
    metrics: [bool; METRICS.len()],
    momentum: bool,
}

/// Samples of one server, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Samples {
    pub(super) at_ms: Vec<i64>,
    pub(super) instances: Vec<[u8; 16]>,
    pub(super) interval_ms: Vec<i64>,
    pub(super) burst: Vec<bool>,
    /// No cells where nobody wanted them; the same of the metrics.
    pub(super) momentum_bytes: Vec<Option<i64>>,
    /// In the order of [`METRICS`].
    pub(super) metrics: [Vec<Option<i64>>; METRICS.len()],
}

/// Puts samples or steps together into steps of `step_ms`, a column for each field.
pub(super) struct Gather<'a> {
    step_ms: i64,
    fields: &'a [Field],
    /// Where the metrics of `fields` are among [`METRICS`].
    metrics: Vec<Option<usize>>,
    wanted: Wanted,
    /// Begin of the step that is being filled.
    open_ms: Option<i64>,
    sums: [Sum; METRICS.len()],
    pub(super) time: Vec<i64>,
    /// In the order of `fields`.
    pub(super) cells: Vec<Vec<Option<i64>>>,
}

/// One metric of the step that is being filled.
#[derive(Clone, Copy, Default)]
struct Sum {
    /// Smallest and largest.
    extremes: Option<(i64, i64)>,
    /// Weight and sum of what the mean is of: base-interval samples, or steps.
    base: (i128, i128),
    /// The same of bursts: they count where there is nothing else.
    burst: (i128, i128),
}

/// Where a metric is among [`METRICS`].
pub(super) fn metric(column: Column) -> Option<usize> {
    METRICS.iter().position(|known| *known == column)
}

// === impl Wanted ===

impl Wanted {
    /// What columns `of` need.
    pub(super) fn new(of: impl IntoIterator<Item = Column>) -> Self {
        let mut wanted = Self {
            metrics: [false; METRICS.len()],
            momentum: false,
        };
        for column in of {
            match metric(column) {
                Some(at) => wanted.metrics[at] = true,
                None => {
                    wanted.momentum |= matches!(column, Column::MomentumBytes | Column::SpeedBytes);
                }
            }
        }
        wanted
    }

    /// How many columns of a chunk of rows that takes, from the first on.
    pub(super) fn columns_of_rows(&self) -> usize {
        // Momentum is told by rss.
        let momentum = self.momentum.then_some(row::RSS);
        row::columns_of(self.metrics().chain(momentum))
    }

    /// The same of a chunk of steps.
    pub(super) fn columns_of_steps(&self) -> usize {
        tier::columns_of(self.metrics().max().map_or(0, |at| at + 1))
    }

    fn metrics(&self) -> impl Iterator<Item = usize> + use<> {
        let metrics = self.metrics;
        (0..METRICS.len()).filter(move |at| metrics[*at])
    }
}

// === impl Samples ===

impl Samples {
    pub(super) fn len(&self) -> usize {
        self.at_ms.len()
    }

    /// Adds those of `rows` with `from_ms <= time < to_ms`.
    pub(super) fn push_rows(&mut self, rows: &Rows, wanted: &Wanted, (from_ms, to_ms): (i64, i64)) {
        if from_ms >= to_ms {
            return;
        }
        for row in rows
            .range(RowId::first(from_ms)..RowId::first(to_ms))
            .map(|(_, row)| row)
        {
            self.push(row, wanted);
        }
    }

    /// Adds those of a chunk of rows with `from_ms <= time < to_ms`, which are after all that were
    /// added. A chunk with an error in it adds nothing.
    pub(super) fn push_chunk(
        &mut self,
        chunk: &Chunk,
        start_ms: i64,
        wanted: &Wanted,
        (from_ms, to_ms): (i64, i64),
    ) -> Result<(), ChunkError> {
        if chunk.format == Format::First {
            self.push_rows(&row::from_chunk(chunk, start_ms)?, wanted, (from_ms, to_ms));
            return Ok(());
        }
        let before = self.len();
        let read = row::each(chunk, start_ms, |row| {
            if (from_ms..to_ms).contains(&row.id.at_ms) {
                self.push(row, wanted);
            }
        });
        if read.is_err() {
            self.truncate(before);
        }
        read
    }

    fn truncate(&mut self, rows: usize) {
        self.at_ms.truncate(rows);
        self.instances.truncate(rows);
        self.interval_ms.truncate(rows);
        self.burst.truncate(rows);
        self.momentum_bytes.truncate(rows);
        for cells in &mut self.metrics {
            cells.truncate(rows);
        }
    }

    fn push(&mut self, row: &Row, wanted: &Wanted) {
        self.at_ms.push(row.id.at_ms);
        self.instances.push(row.id.instance);
        self.interval_ms.push(row.interval_ms);
        self.burst.push(row.burst);
        if wanted.momentum {
            self.momentum_bytes.push(row.momentum_bytes);
        }
        for at in wanted.metrics() {
            self.metrics[at].push(row.metrics[at]);
        }
    }

    /// Size of the change to the next base-interval sample of the same instance, `after` these
    /// included: unknown for the newest, and for bursts.
    pub(super) fn speeds(&self, after: &Self) -> Vec<Option<i64>> {
        let mut speeds = self.next_base(after, |samples| &samples.momentum_bytes);
        for speed in &mut speeds {
            *speed = speed.map(i64::saturating_abs);
        }
        speeds
    }

    /// rss of the next base-interval sample of the same instance.
    pub(super) fn next_rss(&self, after: &Self) -> Vec<Option<i64>> {
        self.next_base(after, |samples| &samples.metrics[row::RSS])
    }

    /// A column's cell in the next base-interval sample of the same instance.
    fn next_base(
        &self,
        after: &Self,
        column: impl Fn(&Self) -> &Vec<Option<i64>>,
    ) -> Vec<Option<i64>> {
        // Lives are few and follow each other.
        let mut next: Vec<([u8; 16], Option<i64>)> = Vec::new();
        let mut follow = |instance: [u8; 16], cell: Option<i64>| {
            let known = next.iter_mut().rev().find(|(of, _)| *of == instance);
            if let Some((_, next)) = known {
                return std::mem::replace(next, cell);
            }
            next.push((instance, cell));
            None
        };
        let mut base = |samples: &Self, place: usize| {
            if samples.burst[place] {
                return None;
            }
            follow(samples.instances[place], column(samples)[place])
        };
        for place in (0..after.len()).rev() {
            base(after, place);
        }
        let mut cells: Vec<_> = (0..self.len())
            .rev()
            .map(|place| base(self, place))
            .collect();
        cells.reverse();
        cells
    }
}

// === impl Gather ===

impl<'a> Gather<'a> {
    pub(super) fn new(step_ms: i64, fields: &'a [Field]) -> Self {
        Self {
            step_ms,
            fields,
            metrics: fields.iter().map(|field| metric(field.column)).collect(),
            wanted: Wanted::new(fields.iter().map(|field| field.column)),
            open_ms: None,
            sums: [Sum::default(); METRICS.len()],
            time: Vec::new(),
            cells: vec![Vec::new(); fields.len()],
        }
    }

    pub(super) fn wanted(&self) -> Wanted {
        self.wanted
    }

    /// Adds samples, which are after all that were added.
    pub(super) fn push_samples(&mut self, samples: &Samples) {
        for (place, at_ms) in samples.at_ms.iter().enumerate() {
            self.open(*at_ms);
            let burst = samples.burst[place];
            for at in self.wanted.metrics() {
                if let Some(value) = samples.metrics[at][place] {
                    self.sums[at].add(burst, (value, value), 1, value);
                }
            }
        }
    }

    /// Adds those of `steps` with `from_ms <= start < to_ms`, which are after all that were added;
    /// returns how many.
    pub(super) fn push_steps(&mut self, steps: &Steps, (from_ms, to_ms): (i64, i64)) -> usize {
        if from_ms >= to_ms {
            return 0;
        }
        let mut added = 0;
        for step in steps.range(from_ms..to_ms).map(|(_, step)| step) {
            self.push_step(step);
            added += 1;
        }
        added
    }

    fn push_step(&mut self, step: &Step) {
        self.open(step.start_ms);
        for at in self.wanted.metrics() {
            if let Some(span) = &step.metrics[at] {
                self.add(at, span);
            }
        }
    }

    /// Adds those of a chunk of steps with `from_ms <= start < to_ms`, which are after all that
    /// were added; returns how many. A chunk with an error in it adds nothing.
    pub(super) fn push_chunk(
        &mut self,
        chunk: &Chunk,
        chunk_start_ms: i64,
        (from_ms, to_ms): (i64, i64),
    ) -> Result<usize, ChunkError> {
        let there = tier::metrics_of(chunk)?;
        let starts = tier::starts_of(chunk, chunk_start_ms)?;
        let places = starts.partition_point(|start_ms| *start_ms < from_ms)
            ..starts.partition_point(|start_ms| *start_ms < to_ms);
        if self.are_steps(&starts) {
            self.push_as_it_is(chunk, there, &starts, places.clone());
            return Ok(places.len());
        }
        let mut added = 0;
        for (place, start_ms) in starts.iter().enumerate() {
            if !(from_ms..to_ms).contains(start_ms) {
                continue;
            }
            self.open(*start_ms);
            for at in self.wanted.metrics().filter(|&at| at < there) {
                let cell = |column: usize| chunk.columns.get(column)?.get(place).copied().flatten();
                if let Some(span) = tier::span_of(at, cell) {
                    self.add(at, &span);
                }
            }
            added += 1;
        }
        Ok(added)
    }

    /// Whether each of these, as they come, is a step of its own.
    fn are_steps(&self, starts: &[i64]) -> bool {
        let newest_ms = self.open_ms.max(self.time.last().copied());
        starts.is_sorted_by(|before, after| before < after)
            && starts
                .iter()
                .all(|at_ms| at_ms.rem_euclid(self.step_ms) == 0)
            && starts.first().copied() > newest_ms
    }

    /// Adds those of a chunk of steps that are steps of the answer, column by column: there is
    /// nothing to put together.
    fn push_as_it_is(
        &mut self,
        chunk: &Chunk,
        there: usize,
        starts: &[i64],
        places: std::ops::Range<usize>,
    ) {
        if places.is_empty() {
            return;
        }
        self.close();
        self.time.extend_from_slice(&starts[places.clone()]);
        for ((field, metric), cells) in self.fields.iter().zip(&self.metrics).zip(&mut self.cells) {
            let columns = metric
                .filter(|at| *at < there)
                .and_then(|at| tier::columns_of_metric(chunk, at));
            let Some([rows, min, mean, max]) = columns else {
                cells.resize(self.time.len(), None);
                continue;
            };
            let shown = Stat::shown(*field);
            cells.extend(places.clone().map(|place| {
                let cells = (
                    rows.get(place)?,
                    min.get(place)?,
                    mean.get(place)?,
                    max.get(place)?,
                );
                let (Some(rows), Some(min), Some(mean), Some(max)) = cells else {
                    return None;
                };
                (*rows > 0).then(|| match shown {
                    Stat::Min => *min,
                    Stat::Mean => min.wrapping_add(*mean),
                    Stat::Max => min.wrapping_add(*max),
                })
            }));
        }
    }

    fn add(&mut self, at: usize, span: &Span) {
        self.sums[at].add(false, (span.min, span.max), span.rows, span.mean);
    }

    /// Closes the step before, if `at_ms` lies in another one.
    fn open(&mut self, at_ms: i64) {
        let start_ms = tier::floor(at_ms, self.step_ms);
        if self.open_ms != Some(start_ms) {
            self.close();
            self.open_ms = Some(start_ms);
        }
    }

    /// Closes the last step.
    pub(super) fn close(&mut self) {
        let Some(start_ms) = self.open_ms.take() else {
            return;
        };
        self.time.push(start_ms);
        for ((field, metric), cells) in self.fields.iter().zip(&self.metrics).zip(&mut self.cells) {
            // What belongs to single samples (interval, momentum, speed) has no value in a step.
            let sum = metric.map(|at| &self.sums[at]);
            cells.push(sum.and_then(|sum| sum.stat(*field)));
        }
        self.sums = [Sum::default(); METRICS.len()];
    }
}

// === impl Sum ===

impl Sum {
    fn add(&mut self, burst: bool, (min, max): (i64, i64), weight: i64, mean: i64) {
        let (least, most) = self.extremes.unwrap_or((min, max));
        self.extremes = Some((least.min(min), most.max(max)));
        let sum = if burst {
            &mut self.burst
        } else {
            &mut self.base
        };
        sum.0 += i128::from(weight);
        sum.1 += i128::from(weight) * i128::from(mean);
    }

    fn stat(&self, field: Field) -> Option<i64> {
        let (min, max) = self.extremes?;
        let mean = tier::mean_of(self.base).or_else(|| tier::mean_of(self.burst))?;
        Some(match Stat::shown(field) {
            Stat::Mean => mean,
            Stat::Min => min,
            Stat::Max => max,
        })
    }
}

// === impl Stat ===

impl Stat {
    /// Which of a step's samples `field` shows: of a counter where it stood last.
    fn shown(field: Field) -> Self {
        match field.stat {
            Self::Mean if field.column.is_counter() => Self::Max,
            stat => stat,
        }
    }
}

#[cfg(test)]
mod tests;
