//! When to sample: the base rhythm, and every second while memory moves near the limit.
//!
//! Base samples keep their rhythm through a burst, so that momentum and speed mean the same
//! whatever happens between them. A beat that comes too late is skipped and counted, never made
//! up for: two samples in one instant tell nothing. Samples that cost too much push the next away
//! until the share fits again: the processor is the user's. A single one does not: what is found
//! out once, at the start or after much was born, is not what a sample costs. Pure: times come in,
//! decisions go out; [`timer`] waits for them.

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

/// A sample may cost one part in so many of the time until the next: 5 % of a core. It costs a
/// thousandth of that unless thousands of processes are born at once.
pub const COST_PARTS: u64 = 20;

/// So many samples are judged together, by the dearest but one: a single dear sample pushes
/// nothing, every other one being dear does. What one alone may cost is bounded where it is taken.
const COSTS_JUDGED: usize = 3;

/// The longest push: samples that were measured wrong must not blind us.
pub const PUSH_MS_MAX: u64 = 300_000;

/// The same in a burst: what was seen last before a kill must not be older than two seconds.
const BURST_PUSH_MS_MAX: u64 = 1_000;

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
    /// What the last samples cost, the newest last; nothing before the first.
    costs_us: [u64; COSTS_JUDGED],
    /// Nothing is due before, because of what the last samples cost.
    rest_until_ms: u64,
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
            costs_us: [0; COSTS_JUDGED],
            rest_until_ms: 0,
            skipped: 0,
        }
    }

    /// Base samples come at this distance from the last one on.
    pub fn set_interval(&mut self, interval: Duration, now_ms: u64) {
        self.interval_ms = millis(interval);
        let due = self
            .last_base_ms
            .map_or(now_ms, |last| last + self.interval_ms);
        self.base_due_ms = due.max(now_ms).max(self.rest_until_ms);
    }

    /// Beats that were not taken: we came too late for them, or they would have cost too much.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// When the next sample is due.
    #[must_use]
    pub fn due_ms(&self) -> u64 {
        match self.last {
            Some(last) if last.mono_ms < self.burst_until_ms => {
                let burst_due_ms = (last.mono_ms + BURST_INTERVAL_MS).max(self.rest_until_ms);
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
        // A burst's sample that comes late enough is the base sample, a little early.
        sample.burst = now_ms + BURST_CLEARANCE_MS < self.base_due_ms;
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
            used_bytes: sample.limited_bytes(),
        });
    }

    /// No sample could be taken now; the next is due one interval on.
    pub fn miss(&mut self, now_ms: u64) {
        self.burst_until_ms = 0;
        if now_ms >= self.base_due_ms {
            self.skip_to_after(now_ms);
        }
    }

    /// The sample begun at `begun_ms` cost so much of our processor time. True when samples cost
    /// more than their share, and beats are left out for it.
    pub fn spend(&mut self, begun_ms: u64, cost_us: u64) -> bool {
        self.costs_us.rotate_left(1);
        self.costs_us[COSTS_JUDGED - 1] = cost_us;
        // Near the limit the last seconds are worth more than the processor's time.
        let most_ms = match self.burst_until_ms > begun_ms {
            true => BURST_PUSH_MS_MAX,
            false => PUSH_MS_MAX,
        };
        let push_ms = (self.usual_cost_us().saturating_mul(COST_PARTS) / 1_000).min(most_ms);
        self.rest_until_ms = begun_ms.saturating_add(push_ms);
        let short_ms = self.rest_until_ms.saturating_sub(self.base_due_ms);
        let left_out = short_ms.div_ceil(self.interval_ms);
        self.skipped += left_out;
        self.base_due_ms += left_out * self.interval_ms;
        left_out > 0
    }

    /// The dearest but one of the last samples.
    fn usual_cost_us(&self) -> u64 {
        let mut costs_us = self.costs_us;
        costs_us.sort_unstable();
        costs_us[COSTS_JUDGED - 2]
    }

    fn pass_base(&mut self, now_ms: u64) {
        self.last_base_ms = Some(now_ms);
        self.skip_to_after(now_ms);
    }

    fn skip_to_after(&mut self, now_ms: u64) {
        // A beat that comes nearer to the next than to its own takes the next one's place, too.
        let late_ms = now_ms.saturating_sub(self.base_due_ms);
        let late = (late_ms + self.interval_ms / 2) / self.interval_ms;
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
        let change = sample.limited_bytes().abs_diff(before) as f64;
        sample.limited_bytes() as f64 >= NEAR_LIMIT * limit
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
mod tests;
