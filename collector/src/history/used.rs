//! What was used within a step, as sums over time, and how much of the time somebody measured.
//!
//! A sample speaks for its interval, the time since the one before. What an interval covers is
//! counted once, though two agents tell of it; what no interval covers is covered by nothing.

use super::{
    DAY_MS,
    row::{CPU_MILLICORES, CPU_MILLIS, MEMORY_USED, METRICS, Row, RowId, Rows},
    tier::{self, Span},
};

/// The longest time one sample speaks for: the longest interval, with two beats left out. A
/// machine that slept measured nothing.
const SPEAKS_FOR_MS_MAX: i64 = 3 * 60 * 1000;

/// Bytes × milliseconds in a KiB × second.
const KIB_SECOND: i128 = 1024 * 1000;

/// Thousandths of a core × milliseconds in a core × millisecond.
const CORE_MS: i128 = 1000;

/// Sums over the measured time of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Used {
    /// Time that samples speak for. An interval counts where its sample is, so a minute may hold
    /// a few seconds of the one before; a UTC day holds only its own.
    pub(super) covered_ms: i64,
    /// Memory × time.
    pub(super) memory_kib_s: i64,
    /// Cores × time.
    pub(super) core_ms: i64,
}

// === impl Used ===

impl Used {
    /// Of the base-interval rows with `start_ms <= time < end_ms`; `rows` are all of the chunk.
    pub(super) fn of_rows(rows: &Rows, start_ms: i64, end_ms: i64) -> Self {
        let from_ms = start_ms.saturating_sub(SPEAKS_FOR_MS_MAX);
        let base = rows
            .range(RowId::first(from_ms)..RowId::first(end_ms))
            .map(|(_, row)| &**row)
            .filter(|row| !row.burst);
        let (mut memory, mut cores, mut covered_ms) = (0_i128, 0_i128, 0_i64);
        let mut newest: Option<&Row> = None;
        for row in base {
            let before = newest.replace(row);
            if row.id.at_ms < start_ms {
                continue;
            }
            let weight_ms = weight_ms(row, before);
            covered_ms = covered_ms.saturating_add(weight_ms);
            memory += i128::from(row.metrics[MEMORY_USED].unwrap_or(0)) * i128::from(weight_ms);
            cores += millicores_ms(row, before, weight_ms);
        }
        Self {
            covered_ms,
            memory_kib_s: rounded(memory, KIB_SECOND),
            core_ms: rounded(cores, CORE_MS),
        }
    }

    /// All of `parts` together; `None` where none of them knows.
    pub(super) fn sum(parts: impl Iterator<Item = Self>) -> Option<Self> {
        parts.reduce(|sum, part| Self {
            covered_ms: sum.covered_ms.saturating_add(part.covered_ms),
            memory_kib_s: sum.memory_kib_s.saturating_add(part.memory_kib_s),
            core_ms: sum.core_ms.saturating_add(part.core_ms),
        })
    }

    /// As a chunk has it: the sums as their distance to what the means foresee, which is next to
    /// nothing as long as the interval stays the same.
    pub(super) fn to_cells(self, metrics: &[Option<Span>; METRICS.len()]) -> [i64; 3] {
        let foreseen = Self::foreseen(self.covered_ms, metrics);
        [
            self.covered_ms,
            self.memory_kib_s.wrapping_sub(foreseen.memory_kib_s),
            self.core_ms.wrapping_sub(foreseen.core_ms),
        ]
    }

    /// What [`Self::to_cells`] was made of.
    pub(super) fn from_cells(cells: [i64; 3], metrics: &[Option<Span>; METRICS.len()]) -> Self {
        let [covered_ms, memory, cores] = cells;
        let foreseen = Self::foreseen(covered_ms, metrics);
        Self {
            covered_ms,
            memory_kib_s: foreseen.memory_kib_s.wrapping_add(memory),
            core_ms: foreseen.core_ms.wrapping_add(cores),
        }
    }

    fn foreseen(covered_ms: i64, metrics: &[Option<Span>; METRICS.len()]) -> Self {
        let over = |metric: usize| {
            let mean = metrics[metric].map_or(0, |span| span.mean);
            i128::from(mean) * i128::from(covered_ms)
        };
        Self {
            covered_ms,
            memory_kib_s: rounded(over(MEMORY_USED), KIB_SECOND),
            core_ms: rounded(over(CPU_MILLICORES), CORE_MS),
        }
    }
}

/// The time `row` speaks for, but for what the base row `before` has spoken for and what was the
/// day before.
fn weight_ms(row: &Row, before: Option<&Row>) -> i64 {
    let at_ms = row.id.at_ms;
    let since_ms = before.map_or(i64::MAX, |before| at_ms.saturating_sub(before.id.at_ms));
    let of_day_ms = at_ms.saturating_sub(tier::floor(at_ms, DAY_MS));
    row.interval_ms
        .min(SPEAKS_FOR_MS_MAX)
        .min(since_ms)
        .min(of_day_ms)
        .max(0)
}

/// Thousandths of a core × milliseconds. The counter knows what went on between two base rows; the
/// row's own figure only what did since the last burst.
fn millicores_ms(row: &Row, before: Option<&Row>, weight_ms: i64) -> i128 {
    let weight = i128::from(weight_ms);
    let counted = before.and_then(|before| {
        let passed = i128::from(row.mono_ms) - i128::from(before.mono_ms);
        let worked = i128::from(row.metrics[CPU_MILLIS]?) - i128::from(before.metrics[CPU_MILLIS]?);
        // Else rows are missing between them.
        let alike = 2 * passed <= 3 * i128::from(row.interval_ms);
        let next = before.id.instance == row.id.instance && passed > 0 && alike;
        (next && worked >= 0).then(|| worked * CORE_MS * weight / passed)
    });
    counted.unwrap_or_else(|| i128::from(row.metrics[CPU_MILLICORES].unwrap_or(0)) * weight)
}

/// `sum / unit` to the nearest; what no real server reaches is the end of the range.
fn rounded(sum: i128, unit: i128) -> i64 {
    let whole = (2 * sum + unit).div_euclid(2 * unit);
    i64::try_from(whole).unwrap_or(if sum < 0 { i64::MIN } else { i64::MAX })
}
