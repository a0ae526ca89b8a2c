//! What one memory series keeps for its trend: four horizons in half a kilobyte.
//!
//! The shortest speaks with every sample; the others change only when one of their points is
//! settled, and what they said is kept until then. So a sample costs little more than one slope of
//! few points, whatever the horizon.

use crate::{
    forecast::Outlook,
    series::{Kept, Point},
    trend::{Trend, trend_of_all},
};

/// Horizon of the newest regime: three base intervals, or a burst's seconds.
pub const HORIZON_FAST_MS: u64 = 15_000;

/// Horizon that sees through a garbage collector's teeth.
pub const HORIZON_MIDDLE_MS: u64 = 60_000;

/// Horizon of leaks.
pub const HORIZON_LONG_MS: u64 = 300_000;

/// Horizon of slow leaks.
pub const HORIZON_LONGEST_MS: u64 = 1_800_000;

/// Points of a horizon: their ranks give an interval, their pairs are few. The fast one has a
/// burst's seconds as they come, eleven of them.
const FAST_POINTS: usize = 12;
const MIDDLE_POINTS: usize = 10;
const LONG_POINTS: usize = 8;
const LONGEST_POINTS: usize = 10;

/// Times are kept relative to the first point; beyond this they are counted from a later one.
const AFTER_MS_MAX: u64 = 1 << 31;

/// Four horizons of one memory series, 500 bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tracker {
    /// What the points are relative to.
    base: Kept,
    fast: Ring<FAST_POINTS>,
    middle: Ring<MIDDLE_POINTS>,
    long: Ring<LONG_POINTS>,
    longest: Ring<LONGEST_POINTS>,
    middle_says: Said,
    long_says: Said,
    longest_says: Said,
}

/// What a horizon said when it last changed, in 24 bytes: the interval is rounded outwards.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Said {
    bytes_per_second: f32,
    low_bytes_per_second: f32,
    high_bytes_per_second: f32,
    fall_bytes: f32,
    span_ms: u32,
    /// Steps that went up.
    rising: u8,
    /// None: it said nothing.
    points: u8,
}

/// The newest points, oldest first, packed: milliseconds and bytes after the tracker's base, ten
/// bytes a point. Bytes are of 48 bits: no machine has more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ring<const N: usize> {
    after_ms: [u32; N],
    high: [i32; N],
    low: [u16; N],
    len: u8,
}

/// A point relative to the base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct After {
    ms: u32,
    bytes: i64,
}

// === impl Tracker ===

impl Default for Tracker {
    fn default() -> Self {
        Self {
            base: Kept::default(),
            fast: Ring::new(),
            middle: Ring::new(),
            long: Ring::new(),
            longest: Ring::new(),
            middle_says: Said::default(),
            long_says: Said::default(),
            longest_says: Said::default(),
        }
    }
}

impl Tracker {
    /// Adds `point` to every horizon; one that is not later than the newest is left out.
    pub fn push(&mut self, point: Point) -> bool {
        let point = Kept::of(point);
        if self.fast.len == 0 {
            self.base = point;
        } else if point.mono_ms <= self.newest_kept().mono_ms {
            return false;
        }
        if point.mono_ms - self.base.mono_ms > AFTER_MS_MAX {
            self.rebase(point);
        }
        let after = After {
            // Fits: it is at most `AFTER_MS_MAX`.
            ms: u32::try_from(point.mono_ms - self.base.mono_ms).unwrap_or(u32::MAX),
            bytes: point.bytes.wrapping_sub(self.base.bytes),
        };
        self.fast.keep(after, 0);
        if self
            .middle
            .keep(after, spacing_ms(HORIZON_MIDDLE_MS, MIDDLE_POINTS))
        {
            self.middle_says = self.said_of(&self.middle, HORIZON_MIDDLE_MS);
        }
        if self
            .long
            .keep_if_due(after, spacing_ms(HORIZON_LONG_MS, LONG_POINTS))
        {
            self.long_says = self.said_of(&self.long, HORIZON_LONG_MS);
        }
        if self
            .longest
            .keep_if_due(after, spacing_ms(HORIZON_LONGEST_MS, LONGEST_POINTS))
        {
            self.longest_says = self.said_of(&self.longest, HORIZON_LONGEST_MS);
        }
        true
    }

    /// Moves every point by `bytes`, before a point is pushed that is counted by a better reading:
    /// neither growth nor release is seen in the difference.
    pub fn correct(&mut self, bytes: i64) {
        self.base.bytes = self.base.bytes.saturating_add(bytes);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// The newest point.
    #[must_use]
    pub fn newest(&self) -> Option<Point> {
        (self.fast.len > 0).then(|| self.newest_kept().point())
    }

    /// The last minute, oldest first, thinned to what fits.
    pub fn minute(&self) -> impl Iterator<Item = Point> + '_ {
        self.within(&self.middle, HORIZON_MIDDLE_MS)
            .map(Kept::point)
    }

    /// The trend in force.
    #[must_use]
    pub fn trend(&self) -> Option<Trend> {
        let longer = [self.middle_says, self.long_says, self.longest_says].map(Said::trend);
        in_force(self.trend_of(&self.fast, HORIZON_FAST_MS), longer)
    }

    /// The trend in force, and how far the horizons are from each other.
    #[must_use]
    pub fn outlook(&self) -> Option<Outlook> {
        let fast = self.trend_of(&self.fast, HORIZON_FAST_MS);
        let longer = [self.middle_says, self.long_says, self.longest_says].map(Said::trend);
        let trend = in_force(fast, longer)?;
        let rate = trend.bytes_per_second;
        let rates = || {
            let longer = longer.iter().flatten();
            longer.map(|trend| trend.bytes_per_second)
        };
        Some(Outlook {
            trend,
            slowest_bytes_per_second: rates().fold(rate, f64::min),
            fastest_bytes_per_second: rates().fold(rate, f64::max),
            fall_bytes: self.largest_fall(),
            apart_ms: self.fast.newest_apart_ms(),
        })
    }

    /// The largest fall from one kept point to the next: what came and went.
    fn largest_fall(&self) -> u64 {
        let said = [&self.middle_says, &self.long_says, &self.longest_says];
        let fall_bytes = said.iter().map(|said| said.fall_bytes as u64);
        fall_bytes.fold(self.fast.largest_fall(), u64::max)
    }

    fn said_of<const N: usize>(&self, ring: &Ring<N>, horizon_ms: u64) -> Said {
        Said {
            fall_bytes: ring.largest_fall() as f32,
            ..Said::of(self.trend_of(ring, horizon_ms))
        }
    }

    fn trend_of<const N: usize>(&self, ring: &Ring<N>, horizon_ms: u64) -> Option<Trend> {
        trend_of_all(self.within(ring, horizon_ms))
    }

    /// The points of `ring` not older than `horizon_ms` before its newest, oldest first.
    fn within<'a, const N: usize>(
        &'a self,
        ring: &'a Ring<N>,
        horizon_ms: u64,
    ) -> impl Iterator<Item = Kept> + 'a {
        let newest_ms = ring.newest().map_or(0, |newest| u64::from(newest.ms));
        ring.iter()
            .filter(move |point| u64::from(point.ms) + horizon_ms >= newest_ms)
            .map(|point| self.kept(point))
    }

    fn newest_kept(&self) -> Kept {
        self.fast
            .newest()
            .map_or(self.base, |newest| self.kept(newest))
    }

    fn kept(&self, after: After) -> Kept {
        Kept {
            mono_ms: self.base.mono_ms + u64::from(after.ms),
            bytes: self.base.bytes.saturating_add(after.bytes),
        }
    }

    /// Counts times from a later point than before. A hole longer than every horizon leaves nothing
    /// to count: then all begins anew at `point`.
    fn rebase(&mut self, point: Kept) {
        let oldest_kept_ms = point.mono_ms.saturating_sub(2 * HORIZON_LONGEST_MS);
        if self.newest_kept().mono_ms < oldest_kept_ms {
            self.clear();
            self.base = point;
            return;
        }
        let later_ms = oldest_kept_ms - self.base.mono_ms;
        self.base.mono_ms = oldest_kept_ms;
        // Fits: it is less than what did not fit.
        let later_ms = u32::try_from(later_ms).unwrap_or(u32::MAX);
        self.fast.count_from(later_ms);
        self.middle.count_from(later_ms);
        self.long.count_from(later_ms);
        self.longest.count_from(later_ms);
    }
}

/// The trend of the longest horizon that the shorter ones do not contradict. While nothing new
/// happens that is the precise long one; when a kernel takes off, the seconds since then speak.
fn in_force(fast: Option<Trend>, longer: [Option<Trend>; 3]) -> Option<Trend> {
    let mut best = fast;
    for longer in longer.into_iter().flatten() {
        match best {
            Some(shorter) if !shorter.agrees_with(&longer) => break,
            _ => best = Some(longer),
        }
    }
    best
}

fn spacing_ms(horizon_ms: u64, points: usize) -> u32 {
    u32::try_from(horizon_ms / (points as u64 - 1)).unwrap_or(u32::MAX)
}

// === impl Said ===

impl Said {
    fn of(trend: Option<Trend>) -> Self {
        let Some(trend) = trend else {
            return Self::default();
        };
        let low = trend.low_bytes_per_second as f32;
        let high = trend.high_bytes_per_second as f32;
        Self {
            bytes_per_second: trend.bytes_per_second as f32,
            low_bytes_per_second: if f64::from(low) > trend.low_bytes_per_second {
                low.next_down()
            } else {
                low
            },
            high_bytes_per_second: if f64::from(high) < trend.high_bytes_per_second {
                high.next_up()
            } else {
                high
            },
            fall_bytes: 0.0,
            rising: (trend.rising_share * (trend.points - 1) as f64).round() as u8,
            span_ms: u32::try_from(trend.span_ms).unwrap_or(u32::MAX),
            points: u8::try_from(trend.points).unwrap_or(u8::MAX),
        }
    }

    fn trend(self) -> Option<Trend> {
        (self.points > 0).then(|| Trend {
            bytes_per_second: self.bytes_per_second.into(),
            low_bytes_per_second: self.low_bytes_per_second.into(),
            high_bytes_per_second: self.high_bytes_per_second.into(),
            rising_share: f64::from(self.rising) / f64::from(self.points - 1),
            span_ms: self.span_ms.into(),
            points: self.points.into(),
        })
    }
}

// === impl Ring ===

impl<const N: usize> Ring<N> {
    fn new() -> Self {
        const {
            assert!(
                N >= 2 && N < u8::MAX as usize,
                "a ring of one point has no slope"
            );
        }
        Self {
            after_ms: [0; N],
            high: [0; N],
            low: [0; N],
            len: 0,
        }
    }

    /// Adds `point`. Settled points are at least `spacing_ms` apart: until then the newest one is
    /// provisional, and the next replaces it. Whether the one before is settled now.
    fn keep(&mut self, point: After, spacing_ms: u32) -> bool {
        if self.len >= 2 {
            let (newest, before) = (self.at(self.places() - 1).ms, self.at(self.places() - 2).ms);
            if newest - before < spacing_ms {
                self.set(self.places() - 1, point);
                return false;
            }
        }
        self.append(point);
        true
    }

    /// Adds `point` if it is at least `spacing_ms` after the newest; whether it did.
    fn keep_if_due(&mut self, point: After, spacing_ms: u32) -> bool {
        let due = self
            .newest()
            .is_none_or(|newest| point.ms - newest.ms >= spacing_ms);
        if due {
            self.append(point);
        }
        due
    }

    fn append(&mut self, point: After) {
        if self.places() < N {
            self.len += 1;
        } else {
            // A few dozen bytes: cheaper than a remainder for every point that is read.
            self.after_ms.copy_within(1.., 0);
            self.high.copy_within(1.., 0);
            self.low.copy_within(1.., 0);
        }
        self.set(self.places() - 1, point);
    }

    /// Moves times by `later_ms`; points that were before it are forgotten.
    fn count_from(&mut self, later_ms: u32) {
        let kept = self.iter().filter(|point| point.ms >= later_ms);
        let mut moved = Self::new();
        for point in kept {
            moved.append(After {
                ms: point.ms - later_ms,
                bytes: point.bytes,
            });
        }
        *self = moved;
    }

    fn largest_fall(&self) -> u64 {
        let mut fall = 0;
        for index in 1..self.places() {
            fall = fall.max(self.at(index - 1).bytes - self.at(index).bytes);
        }
        fall.unsigned_abs()
    }

    fn newest(&self) -> Option<After> {
        Some(self.at(self.places().checked_sub(1)?))
    }

    /// Time between the newest two points.
    fn newest_apart_ms(&self) -> u64 {
        let Some(before) = self.places().checked_sub(2) else {
            return 0;
        };
        u64::from(self.after_ms[before + 1] - self.after_ms[before])
    }

    fn iter(&self) -> impl Iterator<Item = After> + '_ {
        (0..self.places()).map(|index| self.at(index))
    }

    fn places(&self) -> usize {
        usize::from(self.len)
    }

    fn at(&self, index: usize) -> After {
        After {
            ms: self.after_ms[index],
            bytes: i64::from(self.high[index]) << 16 | i64::from(self.low[index]),
        }
    }

    fn set(&mut self, index: usize, point: After) {
        let bytes = point.bytes.clamp(-(1 << 47), (1 << 47) - 1);
        self.after_ms[index] = point.ms;
        self.high[index] = (bytes >> 16) as i32;
        self.low[index] = (bytes & 0xFFFF) as u16;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_one_series_keeps_is_at_most_512_bytes() {
        assert!(size_of::<Tracker>() <= 512, "{}", size_of::<Tracker>());
    }

    #[test]
    fn a_leak_of_half_an_hour_is_seen_through_a_minute_of_noise() {
        let mut tracker = Tracker::default();
        for i in 0..400_u64 {
            let noise = [0, 40_000_000, 10_000_000][i as usize % 3];
            tracker.push(Point {
                mono_ms: i * 5_000,
                bytes: 300_000_000 + i * 100_000 + noise,
            });
        }
        let trend = tracker.longest_says.trend().unwrap();
        assert!(trend.span_ms >= 1_600_000, "{trend:?}");
        assert!((trend.bytes_per_second - 2e4).abs() < 1e4, "{trend:?}");
    }

    #[test]
    fn weeks_of_samples_and_a_hole_of_weeks_leave_the_same_trend() {
        const WEEKS_MS: u64 = 5 * 7 * 86_400_000;
        let line = |mono_ms: u64| Point {
            mono_ms,
            bytes: mono_ms / 10,
        };
        for from_ms in [AFTER_MS_MAX - 3_600_000, WEEKS_MS] {
            let mut tracker = Tracker::default();
            tracker.push(line(1));
            // Hourly, so that time passes without millions of samples; then as usual.
            for hour in 1..from_ms / 3_600_000 {
                tracker.push(line(hour * 3_600_000));
            }
            for step in 0..1_000 {
                assert!(tracker.push(line(from_ms + step * 5_000)));
            }
            let trend = tracker.trend().unwrap();
            assert!((trend.bytes_per_second - 100.0).abs() < 1e-6, "{trend:?}");
            assert_eq!(tracker.newest(), Some(line(from_ms + 999 * 5_000)));
        }
        let mut tracker = Tracker::default();
        tracker.push(line(1));
        assert!(tracker.push(line(WEEKS_MS)));
        assert_eq!(tracker.newest(), Some(line(WEEKS_MS)));
        assert!(!tracker.push(line(WEEKS_MS)));
    }

    proptest! {
        #[test]
        fn any_points_come_back_as_they_were_and_nothing_panics(
            steps in prop::collection::vec((0_u64..1 << 40, 0_u64..1 << 46), 1..200),
        ) {
            let mut tracker = Tracker::default();
            let mut mono_ms = 0;
            for (after_ms, bytes) in steps {
                mono_ms += after_ms;
                let point = Point { mono_ms, bytes };
                if tracker.push(point) {
                    prop_assert_eq!(tracker.newest(), Some(point));
                    prop_assert_eq!(tracker.minute().last(), Some(point));
                }
                let _ = tracker.trend();
            }
        }
    }
}
