//! A rise of the sustained level, as long as it goes on.

use hubmeter_kinetics::series::Point;

use super::{FLOOR_BYTES_PER_SECOND, STOPPED_AFTER_MS, STOPPED_AFTER_MS_MAX, UNDONE_SHARE};

/// A climb is of so many steps of its usual size at least; one large step among small ones counts
/// for little.
const STEPS_MIN: f64 = 4.0;

/// It has gone on for at least this long.
const WENT_ON_MS: u64 = 10_000;

/// Its last step is not longer ago.
const FRESH_MS: u64 = 20_000;

/// A rise from a low.
#[derive(Clone, Copy, Debug)]
pub(super) struct Climb {
    pub(super) from_bytes: u64,
    /// When its first step was made.
    since_ms: u64,
    /// The highest sustained level.
    pub(super) high: Point,
    /// The highest sample.
    pub(super) top_bytes: u64,
    /// Steps of the sustained level: their sum and the sum of their squares, in bytes.
    sum: f32,
    squares: f32,
}

/// How a climb went on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    GoesOn,
    Stopped,
    Undone,
}

// === impl Climb ===

impl Climb {
    pub(super) fn begin(now: Point) -> Self {
        Self {
            from_bytes: now.bytes,
            since_ms: now.mono_ms,
            high: now,
            top_bytes: now.bytes,
            sum: 0.0,
            squares: 0.0,
        }
    }

    pub(super) fn follow(&mut self, now: Point, sustained_bytes: u64, interval_ms: u32) -> Step {
        self.top_bytes = self.top_bytes.max(now.bytes);
        let since_high_ms = now.mono_ms - self.high.mono_ms;
        let must_exceed = FLOOR_BYTES_PER_SECOND * since_high_ms as f64 / 1000.0;
        let step = sustained_bytes as f64 - self.high.bytes as f64;
        if step > must_exceed {
            if self.sum == 0.0 {
                self.since_ms = now.mono_ms.saturating_sub(WENT_ON_MS);
            }
            self.sum += step as f32;
            self.squares += (step * step) as f32;
            self.high = Point {
                mono_ms: now.mono_ms,
                bytes: sustained_bytes,
            };
            return Step::GoesOn;
        }
        let given_back_bytes = self.high.bytes.saturating_sub(now.bytes);
        let undone = given_back_bytes as f64 >= UNDONE_SHARE * self.risen_bytes() as f64;
        if given_back_bytes > 0 && undone {
            return Step::Undone;
        }
        if since_high_ms >= self.stops_after_ms(interval_ms) {
            return Step::Stopped;
        }
        Step::GoesOn
    }

    /// How long it may rest: what rose for long may rest for long.
    pub(super) fn stops_after_ms(&self, interval_ms: u32) -> u64 {
        let by_age_ms = (self.rising_ms() / 2).min(STOPPED_AFTER_MS_MAX);
        by_age_ms
            .max(STOPPED_AFTER_MS)
            .max(3 * u64::from(interval_ms))
    }

    pub(super) fn risen_bytes(&self) -> u64 {
        self.high.bytes.saturating_sub(self.from_bytes)
    }

    /// How long it has risen.
    pub(super) fn rising_ms(&self) -> u64 {
        self.high.mono_ms.saturating_sub(self.since_ms)
    }

    /// Its mean pace; unknown before its first step.
    pub(super) fn bytes_per_second(&self) -> Option<f64> {
        let rising_ms = self.rising_ms();
        (rising_ms > 0).then(|| self.risen_bytes() as f64 * 1000.0 / rising_ms as f64)
    }

    /// Whether it rises by many steps alike, and still does.
    pub(super) fn is_steady(&self, now_ms: u64, interval_ms: u32) -> bool {
        let (sum, squares) = (f64::from(self.sum), f64::from(self.squares));
        let fresh_ms = FRESH_MS.max(3 * u64::from(interval_ms));
        sum * sum >= STEPS_MIN * squares
            && squares > 0.0
            && self.rising_ms() >= WENT_ON_MS
            && now_ms - self.high.mono_ms <= fresh_ms
    }

    /// Moves its levels by `bytes`.
    pub(super) fn correct(&mut self, bytes: i64) {
        for level in [
            &mut self.from_bytes,
            &mut self.high.bytes,
            &mut self.top_bytes,
        ] {
            *level = level.saturating_add_signed(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn climb(used: impl Iterator<Item = u64>) -> (Climb, u64) {
        let mut climb = Climb::begin(Point::default());
        let mut now_ms = 0;
        for bytes in used {
            now_ms += 5_000;
            let now = Point {
                mono_ms: now_ms,
                bytes,
            };
            climb.follow(now, bytes, 5_000);
        }
        (climb, now_ms)
    }

    #[test]
    fn many_steps_alike_are_steady_and_a_large_one_among_small_ones_is_not() {
        let (leak, now_ms) = climb((1..=8).map(|i| i * 10_000_000));
        assert!(leak.is_steady(now_ms, 5_000));
        assert!(!leak.is_steady(now_ms + 21_000, 5_000), "it rises no more");
        let (jump, now_ms) = climb((1..=8).map(|i| 500_000_000 + i * 1_000_000));
        assert!(!jump.is_steady(now_ms, 5_000));
    }
}
