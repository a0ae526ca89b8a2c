//! The only reader of clocks.
//!
//! The wall clock is for what people see and for what outlives a start. It can be set, forwards and
//! back, by ten years as easily as by a second: how long something takes or waits is told by the
//! clock since boot, and [`Steps`] notices that they parted.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

/// Tells the time. Stages that judge take times as facts and never see a clock.
pub trait Clock: Send + Sync {
    /// Milliseconds since the Unix epoch.
    fn now_ms(&self) -> i64;
    /// Milliseconds since boot, those asleep among them; never goes back.
    fn boot_ms(&self) -> i64;
}

/// Notices that time did not just pass since it was last asked.
#[derive(Clone, Copy, Debug)]
pub struct Steps {
    now_ms: i64,
    boot_ms: i64,
}

/// What happened to time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The wall clock was set by so much; back if it is negative.
    Set {
        /// By so much.
        by_ms: i64,
    },
    /// Nobody asked for so long: the machine slept, or this program was stopped.
    Slept {
        /// So long.
        for_ms: i64,
    },
}

/// A wall clock is corrected by less than this all the time.
const SET_MS_MIN: i64 = 1_000;

/// Whoever asks does so more often than this, unless nothing runs.
const SLEPT_MS_MIN: i64 = 30_000;

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

/// A clock that a test moves by hand.
#[derive(Debug, Default)]
pub struct ManualClock {
    now_ms: AtomicI64,
    boot_ms: AtomicI64,
}

// === impl Steps ===

impl Steps {
    /// Begins now.
    #[must_use]
    pub fn new(clock: &dyn Clock) -> Self {
        Self {
            now_ms: clock.now_ms(),
            boot_ms: clock.boot_ms(),
        }
    }

    /// What happened since the last look, if anything did.
    pub fn look(&mut self, clock: &dyn Clock) -> Option<Step> {
        let before = std::mem::replace(self, Self::new(clock));
        let passed_ms = self.boot_ms.saturating_sub(before.boot_ms);
        let by_ms = self
            .now_ms
            .saturating_sub(before.now_ms)
            .saturating_sub(passed_ms);
        if by_ms.saturating_abs() >= SET_MS_MIN {
            Some(Step::Set { by_ms })
        } else if passed_ms >= SLEPT_MS_MIN {
            Some(Step::Slept { for_ms: passed_ms })
        } else {
            None
        }
    }
}

// === impl SystemClock ===

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods)] // the one place
    fn now_ms(&self) -> i64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| {
                i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
            })
    }

    fn boot_ms(&self) -> i64 {
        let since = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        since.tv_sec * 1000 + since.tv_nsec / 1_000_000
    }
}

// === impl ManualClock ===

impl ManualClock {
    /// Starts at `now_ms`.
    #[must_use]
    pub fn at(now_ms: i64) -> Self {
        Self {
            now_ms: AtomicI64::new(now_ms),
            boot_ms: AtomicI64::new(0),
        }
    }

    /// Time passes.
    pub fn advance(&self, by_ms: i64) {
        self.boot_ms.fetch_add(by_ms, Ordering::SeqCst);
        self.set(by_ms);
    }

    /// The wall clock is set by `by_ms`, in no time.
    pub fn set(&self, by_ms: i64) {
        self.now_ms.fetch_add(by_ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> i64 {
        self.now_ms.load(Ordering::SeqCst)
    }

    fn boot_ms(&self) -> i64 {
        self.boot_ms.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_and_a_machine_that_slept_are_told_apart_from_time_that_passed() {
        let clock = ManualClock::at(1_800_000_000_000);
        let mut steps = Steps::new(&clock);
        clock.advance(250);
        assert_eq!(steps.look(&clock), None);
        clock.set(SET_MS_MIN - 1);
        assert_eq!(steps.look(&clock), None);
        let day_ms = 24 * 3600 * 1000;
        for by_ms in [SET_MS_MIN, -SET_MS_MIN, 3650 * day_ms, -3650 * day_ms] {
            clock.advance(250);
            clock.set(by_ms);
            assert_eq!(steps.look(&clock), Some(Step::Set { by_ms }));
        }
        clock.advance(day_ms);
        assert_eq!(steps.look(&clock), Some(Step::Slept { for_ms: day_ms }));
        assert_eq!(steps.look(&clock), None);
    }

    #[test]
    fn both_clocks_of_this_machine_go_forward() {
        let (now_ms, boot_ms) = (SystemClock.now_ms(), SystemClock.boot_ms());
        assert!(now_ms > 1_700_000_000_000, "{now_ms}");
        assert!(boot_ms > 0 && SystemClock.boot_ms() >= boot_ms, "{boot_ms}");
    }
}
