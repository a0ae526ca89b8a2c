//! Bytes per second over a horizon, robust against bursts and garbage collection.
//!
//! The slope is the median of the slopes between all pairs of at most [`POINTS_MAX`] points
//! (Theil–Sen), its interval Sen's: both are ranks, so one odd point moves them little. A lone
//! jump, one step up far out of line with the others, is taken out first: an array that was
//! allocated once is not a rate. Bounded work, no allocation, and the same bits for the same
//! points.

use crate::series::{Kept, Point, Series};

/// Points one slope is made of: enough for an interval of ranks, and their pairs are sorted in
/// well under a microsecond or two.
pub const POINTS_MAX: usize = 16;

/// Up to so many points every pair counts.
const POINTS_ALL_PAIRED: usize = 8;

/// Below this many points nothing is known.
pub const POINTS_MIN: usize = 3;

/// Below this much time nothing is known.
pub const SPAN_MIN_MS: u64 = 10_000;

/// Normal quantile of the 80 % interval.
const Z_80: f64 = 1.281_551_565_545;

/// A step is a lone jump when it is out of line this many times more than any other.
const LONE_JUMP_RATIO: f64 = 4.0;

/// Two steps side by side are one jump only among so many steps: of fewer they are most of the rise.
const STEPS_TO_JOIN_MIN: usize = 5;

const PAIRS_MAX: usize = POINTS_MAX * (POINTS_MAX - 1) / 2;

/// A robust slope with the interval it is believed in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trend {
    /// Median slope, bytes per second; negative when memory is given back.
    pub bytes_per_second: f64,
    /// Lower end of the believed interval (80 %).
    pub low_bytes_per_second: f64,
    /// Upper end of the believed interval (80 %).
    pub high_bytes_per_second: f64,
    /// Share of the steps inside the horizon that went up, 0..=1.
    pub rising_share: f64,
    /// How much time the points cover.
    pub span_ms: u64,
    /// How many points were used.
    pub points: usize,
}

/// The robust slope of the points not older than `horizon_ms` before the newest. `points` come
/// oldest first; of more than [`POINTS_MAX`] the newest count. Unknown below [`POINTS_MIN`]
/// points or [`SPAN_MIN_MS`].
#[must_use]
pub fn trend(points: impl IntoIterator<Item = Point>, horizon_ms: u64) -> Option<Trend> {
    trend_of(points.into_iter().map(Kept::of), horizon_ms)
}

/// [`trend`] of points that corrections may have taken below nothing.
pub(crate) fn trend_of(points: impl Iterator<Item = Kept>, horizon_ms: u64) -> Option<Trend> {
    let mut newest = Series::<POINTS_MAX>::new(0);
    for point in points {
        newest.keep(point);
    }
    Some(Window::of(newest.kept_within(horizon_ms))?.trend())
}

/// [`trend`] of at most [`POINTS_MAX`] points, oldest first, all of which count.
pub(crate) fn trend_of_all(points: impl Iterator<Item = Kept>) -> Option<Trend> {
    Some(Window::of(points)?.trend())
}

// === impl Trend ===

impl Trend {
    /// Whether the believed intervals have something in common.
    #[must_use]
    pub fn agrees_with(&self, other: &Self) -> bool {
        self.low_bytes_per_second <= other.high_bytes_per_second
            && other.low_bytes_per_second <= self.high_bytes_per_second
    }
}

// === Window ===

/// The points of one horizon, relative to the first: seconds and bytes.
struct Window {
    seconds: [f64; POINTS_MAX],
    bytes: [f64; POINTS_MAX],
    len: usize,
    span_ms: u64,
}

impl Window {
    fn of(points: impl Iterator<Item = Kept>) -> Option<Self> {
        let mut points = points.take(POINTS_MAX).peekable();
        let first = *points.peek()?;
        let mut window = Self {
            seconds: [0.0; POINTS_MAX],
            bytes: [0.0; POINTS_MAX],
            len: 0,
            span_ms: 0,
        };
        for point in points {
            window.span_ms = point.mono_ms - first.mono_ms;
            window.seconds[window.len] = window.span_ms as f64 / 1000.0;
            // Wraps for what is no memory: two points a whole i64 apart.
            window.bytes[window.len] = point.bytes.wrapping_sub(first.bytes) as f64;
            window.len += 1;
        }
        (window.len >= POINTS_MIN && window.span_ms >= SPAN_MIN_MS).then_some(window)
    }

    fn trend(mut self) -> Trend {
        let steps = self.len - 1;
        if self.bytes[..self.len].iter().all(|bytes| *bytes == 0.0) {
            return self.at_rest();
        }
        let rising = (0..steps).filter(|&i| self.rise(i) > 0.0).count();
        self.take_out_lone_jump();

        let mut slopes = [0_i64; PAIRS_MAX];
        let mut pairs = 0;
        for apart in apart(self.len)..self.len {
            let ends = self.seconds[apart..self.len]
                .iter()
                .zip(&self.bytes[apart..self.len]);
            let begins = self.seconds.iter().zip(&self.bytes);
            for ((end_s, end), (begin_s, begin)) in ends.zip(begins) {
                slopes[pairs] = ordered((end - begin) / (end_s - begin_s));
                pairs += 1;
            }
        }
        let slopes = &mut slopes[..pairs];
        slopes.sort_unstable();
        let (low, high) = interval_ranks(self.len, pairs);
        Trend {
            bytes_per_second: median_sorted(slopes),
            low_bytes_per_second: unordered(slopes[low]),
            high_bytes_per_second: unordered(slopes[high]),
            rising_share: rising as f64 / steps as f64,
            span_ms: self.span_ms,
            points: self.len,
        }
    }

    /// What all below comes to when nothing moved: most servers, most of the time.
    fn at_rest(&self) -> Trend {
        Trend {
            bytes_per_second: 0.0,
            low_bytes_per_second: 0.0,
            high_bytes_per_second: 0.0,
            rising_share: 0.0,
            span_ms: self.span_ms,
            points: self.len,
        }
    }

    fn rise(&self, step: usize) -> f64 {
        self.bytes[step + 1] - self.bytes[step]
    }

    fn rate(&self, step: usize) -> f64 {
        self.rise(step) / (self.seconds[step + 1] - self.seconds[step])
    }

    /// Among few steps: the first of two side by side that are a jump, because the steps after them,
    /// and all others, are next to nothing. While they are the newest they may as well be a take-off.
    fn ended_pair(&self) -> Option<usize> {
        let steps = self.len - 1;
        if steps >= STEPS_TO_JOIN_MIN {
            return None;
        }
        (0..steps.saturating_sub(2)).find(|&first| {
            let rise = self.bytes[first + 2] - self.bytes[first];
            let rate = rise / (self.seconds[first + 2] - self.seconds[first]);
            let mut others = (0..steps).filter(|&i| i != first && i != first + 1);
            self.rise(first) > 0.0
                && self.rise(first + 1) > 0.0
                && others.all(|i| LONE_JUMP_RATIO * self.rate(i).abs() <= rate)
        })
    }

    /// What a step makes a second: the median of all, without the two of a jump that ended. Of two steps
    /// the smaller one says: one step is no trend.
    fn usual_rate(&self, ended: Option<usize>) -> f64 {
        let steps = self.len - 1;
        let mut rates = [0_i64; POINTS_MAX];
        let mut count = 0;
        for i in (0..steps).filter(|&i| ended.is_none_or(|first| i != first && i != first + 1)) {
            rates[count] = ordered(self.rate(i));
            count += 1;
        }
        let rates = &mut rates[..count];
        rates.sort_unstable();
        let least = unordered(rates[0]);
        if steps == 2 && least >= 0.0 {
            return least;
        }
        median_sorted(rates)
    }

    /// Replaces the one step up that is out of line, if there is exactly one and it stayed, by
    /// what the median step would have been. An array that was filled while a sample was taken makes
    /// two steps side by side: they are one. Steps down stay as they are: to forget them would make a
    /// climb of every saw-tooth.
    fn take_out_lone_jump(&mut self) {
        let steps = self.len - 1;
        let ended = self.ended_pair();
        let usual = self.usual_rate(ended);
        let mut excess = [0.0_f64; POINTS_MAX];
        let mut largest = 0;
        for i in 0..steps {
            excess[i] = self.rise(i) - usual * (self.seconds[i + 1] - self.seconds[i]);
            if excess[i].abs() > excess[largest].abs() {
                largest = i;
            }
        }
        let (first, last) = match ended {
            Some(first) => (first, first + 1),
            None if steps >= STEPS_TO_JOIN_MIN => joined(&excess[..steps], largest),
            None => (largest, largest),
        };
        let is_other = |&i: &usize| i < first || i > last;
        let others = (0..steps).filter(is_other).map(|i| excess[i].abs());
        let next = others.fold(0.0, f64::max);
        let size: f64 = excess[first..=last].iter().sum();
        let rise = self.bytes[last + 1] - self.bytes[first];
        // More than half of the step must be excess: rounding is not a jump.
        let lone = size > 0.5 * rise.abs() && size >= LONE_JUMP_RATIO * next;
        if size > 0.0 && lone {
            let mut taken = 0.0;
            let points = self.bytes[..self.len].iter_mut().enumerate();
            for (i, bytes) in points.skip(first + 1) {
                if i <= last + 1 {
                    taken += excess[i - 1];
                }
                *bytes -= taken;
            }
        }
    }
}

/// The step `largest` with the larger of its neighbours, if that goes up, too.
fn joined(excess: &[f64], largest: usize) -> (usize, usize) {
    let of = |i: Option<usize>| i.and_then(|i| excess.get(i)).copied().unwrap_or(0.0);
    let (before, after) = (of(largest.checked_sub(1)), of(Some(largest + 1)));
    if before.max(after) <= 0.0 {
        (largest, largest)
    } else if before > after {
        (largest - 1, largest)
    } else {
        (largest, largest + 1)
    }
}

/// How many places two of `points` points are apart at least to make a pair: of many points the
/// near pairs, which are mostly noise, are left out.
fn apart(points: usize) -> usize {
    if points <= POINTS_ALL_PAIRED {
        1
    } else {
        points / 3
    }
}

/// Sen's 80 % interval of the slope: the ranks, among the sorted slopes of `pairs` pairs of
/// `points` points, between which it lies. Where near pairs are left out the ranks keep their
/// place among those that are there.
fn interval_ranks(points: usize, pairs: usize) -> (usize, usize) {
    let n = points as f64;
    let all = n * (n - 1.0) / 2.0;
    let spread = Z_80 * (n * (n - 1.0) * (2.0 * n + 5.0) / 18.0).sqrt();
    let low = (pairs as f64 * (1.0 - spread / all) / 2.0).floor().max(0.0) as usize;
    (low, pairs - 1 - low)
}

/// The median of sorted, non-empty `values`.
fn median_sorted(values: &[i64]) -> f64 {
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        unordered(values[middle])
    } else {
        let (a, b) = (unordered(values[middle - 1]), unordered(values[middle]));
        // Halved after the difference, so that two equal values give that value exactly.
        a + (b - a) / 2.0
    }
}

/// A whole number in the same order: whole numbers are sorted without a branch.
fn ordered(value: f64) -> i64 {
    let bits = value.to_bits() as i64;
    bits ^ (((bits >> 63) as u64) >> 1) as i64
}

/// What [`ordered`] was given.
fn unordered(bits: i64) -> f64 {
    f64::from_bits((bits ^ (((bits >> 63) as u64) >> 1) as i64) as u64)
}

#[cfg(test)]
mod tests;
