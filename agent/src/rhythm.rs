//! When to sample: the base rhythm, and every second while memory moves near the limit.
//!
//! Base samples keep their rhythm through a burst, so that momentum and speed mean the same
//! whatever happens between them. A beat that comes too late is skipped and counted, never made
//! up for: two samples in one instant tell nothing. Pure: times come in, decisions go out;
//! [`timer`] waits for them.

use std::time::Duration;

use crate::sample::Sample;

pub mod timer;

/// Distance of samples in a burst.
pub const BURST_INTERVAL_MS: u64 = 1_000;

/// A burst outlasts the last movement by this: an allocation that pauses for a breath is still
/// one climb.
pub const BURST_HOLD_MS: u64 = 3_000;

/// A burst's sample this near to the next base sample is left out.
const BURST_CLEARANCE_MS: u64 = 500;

/// Share of the limit from which movement matters.
const NEAR_LIMIT: f64 = 0.5;

/// Share of the limit per second that counts as movement.
const MOVING_PER_SECOND: f64 = 0.01;

/// Decides when the next sample is due and which rhythm it belongs to.
#[derive(Debug)]
pub struct Rhythm {
    interval_ms: u64,
    base_due_ms: u64,
    burst_until_ms: u64,
    last_base_ms: Option<u64>,
    last: Option<Seen>,
    skipped: u64,
}

/// What the last sample said.
#[derive(Clone, Copy, Debug)]
struct Seen {
    mono_ms: u64,
    used_bytes: u64,
}

// === impl Rhythm ===

impl Rhythm {
    /// The first sample is due at once.
    #[must_use]
    pub fn new(interval: Duration, now_ms: u64) -> Self {
        Self {
            interval_ms: millis(interval),
            base_due_ms: now_ms,
            burst_until_ms: 0,
            last_base_ms: None,
            last: None,
            skipped: 0,
        }
    }

    /// Base samples come at this distance from the last one on.
    pub fn set_interval(&mut self, interval: Duration, now_ms: u64) {
        self.interval_ms = millis(interval);
        let due = self
            .last_base_ms
            .map_or(now_ms, |last| last + self.interval_ms);
        self.base_due_ms = due.max(now_ms);
    }

    /// Beats that came too late to be taken.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// When the next sample is due.
    #[must_use]
    pub fn due_ms(&self) -> u64 {
        match self.last {
            Some(last) if last.mono_ms < self.burst_until_ms => {
                let burst_due_ms = last.mono_ms + BURST_INTERVAL_MS;
                if burst_due_ms + BURST_CLEARANCE_MS >= self.base_due_ms {
                    self.base_due_ms
                } else {
                    burst_due_ms
                }
            }
            _ => self.base_due_ms,
        }
    }

    /// Places `sample`, taken now, in its rhythm: sets `burst` and `interval_ms`.
    ///
    /// A base sample's distance is to the base sample before. The rhythm of a burst is every
    /// sample of it, base ones included, so a burst sample's is to whatever came before.
    pub fn place(&mut self, sample: &mut Sample) {
        let now_ms = sample.mono_ms;
        sample.burst = now_ms < self.base_due_ms;
        let previous_ms = if sample.burst {
            self.last.map(|last| last.mono_ms)
        } else {
            self.last_base_ms
        };
        sample.interval_ms = previous_ms.map(|previous| now_ms.saturating_sub(previous));
        if !sample.burst {
            self.pass_base(now_ms);
        }
        if self.moving(sample) {
            self.burst_until_ms = now_ms + BURST_HOLD_MS;
        }
        self.last = Some(Seen {
            mono_ms: now_ms,
            used_bytes: sample.memory_used_bytes,
        });
    }

    /// No sample could be taken now; the next is due one interval on.
    pub fn miss(&mut self, now_ms: u64) {
        self.burst_until_ms = 0;
        if now_ms >= self.base_due_ms {
            self.skip_to_after(now_ms);
        }
    }

    fn pass_base(&mut self, now_ms: u64) {
        self.last_base_ms = Some(now_ms);
        self.skip_to_after(now_ms);
    }

    fn skip_to_after(&mut self, now_ms: u64) {
        let late = now_ms.saturating_sub(self.base_due_ms) / self.interval_ms;
        self.skipped += late;
        self.base_due_ms += (late + 1) * self.interval_ms;
    }

    fn moving(&self, sample: &Sample) -> bool {
        let (Some(last), Some(limit)) = (self.last, sample.memory_limit_bytes) else {
            return false;
        };
        let limit = limit as f64;
        let seconds = sample.mono_ms.saturating_sub(last.mono_ms) as f64 / 1000.0;
        // A better reading of what was there before is no movement.
        let before = last
            .used_bytes
            .saturating_add_signed(sample.memory_corrected_bytes);
        let change = sample.memory_used_bytes.abs_diff(before) as f64;
        sample.memory_used_bytes as f64 >= NEAR_LIMIT * limit
            && seconds > 0.0
            && change >= MOVING_PER_SECOND * limit * seconds
    }
}

fn millis(interval: Duration) -> u64 {
    u64::try_from(interval.as_millis())
        .unwrap_or(u64::MAX)
        .max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::encode::tests::sample;

    const LIMIT: u64 = 1_000_000_000;
    const FIVE: Duration = Duration::from_secs(5);

    fn take(rhythm: &mut Rhythm, at_ms: u64, used: u64) -> Sample {
        let mut sample = sample(at_ms, used);
        rhythm.place(&mut sample);
        sample
    }

    #[test]
    fn calm_memory_is_sampled_at_the_interval_and_only_then() {
        let mut rhythm = Rhythm::new(FIVE, 100);
        let mut taken = Vec::new();
        for _ in 0..4 {
            let due = rhythm.due_ms();
            let sample = take(&mut rhythm, due + 3, LIMIT / 10);
            taken.push((due, sample.burst, sample.interval_ms));
        }
        let expected = [
            (100, false, None),
            (5_100, false, Some(5_000)),
            (10_100, false, Some(5_000)),
            (15_100, false, Some(5_000)),
        ];
        assert_eq!(taken, expected);
    }

    #[test]
    fn memory_that_moves_near_the_limit_is_sampled_every_second_and_the_base_rhythm_stays() {
        let mut rhythm = Rhythm::new(FIVE, 0);
        take(&mut rhythm, 0, LIMIT * 5 / 10);
        take(&mut rhythm, 5_000, LIMIT * 6 / 10);
        let mut rows = Vec::new();
        for step in 0..7u64 {
            let due = rhythm.due_ms();
            let sample = take(&mut rhythm, due, LIMIT * 6 / 10 + step * LIMIT / 50);
            rows.push((due, sample.burst, sample.interval_ms));
        }
        let expected = [
            (6_000, true, Some(1_000)),
            (7_000, true, Some(1_000)),
            (8_000, true, Some(1_000)),
            (9_000, true, Some(1_000)),
            (10_000, false, Some(5_000)),
            (11_000, true, Some(1_000)),
            (12_000, true, Some(1_000)),
        ];
        assert_eq!(rows, expected);
    }

    #[test]
    fn a_burst_ends_when_memory_stands_still_and_does_not_start_far_from_the_limit() {
        let mut rhythm = Rhythm::new(FIVE, 0);
        take(&mut rhythm, 0, LIMIT / 10);
        take(&mut rhythm, 5_000, LIMIT * 4 / 10);
        assert_eq!(rhythm.due_ms(), 10_000, "far from the limit");
        take(&mut rhythm, 10_000, LIMIT * 6 / 10);
        assert_eq!(rhythm.due_ms(), 11_000);
        for at in [11_000, 12_000, 13_000] {
            take(&mut rhythm, at, LIMIT * 6 / 10);
        }
        assert_eq!(rhythm.due_ms(), 15_000, "standing still");
    }

    #[test]
    fn a_better_reading_of_what_was_there_before_starts_no_burst() {
        let mut rhythm = Rhythm::new(FIVE, 0);
        take(&mut rhythm, 0, LIMIT * 8 / 10);
        let mut corrected = sample(5_000, LIMIT * 6 / 10);
        corrected.memory_corrected_bytes = -(LIMIT as i64) * 2 / 10;
        rhythm.place(&mut corrected);
        assert_eq!(rhythm.due_ms(), 10_000);
    }

    #[test]
    fn late_beats_are_skipped_and_counted_never_made_up_for() {
        let mut rhythm = Rhythm::new(FIVE, 0);
        take(&mut rhythm, 0, 1);
        let sample = take(&mut rhythm, 16_000, 1);
        assert_eq!(sample.interval_ms, Some(16_000));
        assert_eq!(rhythm.skipped(), 2);
        assert_eq!(rhythm.due_ms(), 20_000);
    }

    #[test]
    fn without_a_limit_there_is_no_burst() {
        let mut rhythm = Rhythm::new(FIVE, 0);
        for (at, used) in [(0, 1), (5_000, u64::MAX)] {
            let mut sample = sample(at, used);
            sample.memory_limit_bytes = None;
            rhythm.place(&mut sample);
        }
        assert_eq!(rhythm.due_ms(), 10_000);
    }

    #[test]
    fn a_new_pace_counts_from_the_last_base_sample() {
        let mut rhythm = Rhythm::new(FIVE, 0);
        take(&mut rhythm, 0, 1);
        rhythm.set_interval(Duration::from_secs(20), 1_000);
        assert_eq!(rhythm.due_ms(), 20_000);
        rhythm.set_interval(Duration::from_secs(1), 6_000);
        assert_eq!(rhythm.due_ms(), 6_000);
    }
}
