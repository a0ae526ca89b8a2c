//! When to come back after a stream ended.
//!
//! Full jitter: any time between now and a ceiling that doubles, so that thousands of agents
//! that lost one collector in the same second do not return in the same second. The ceiling
//! falls back only after a stream has been healthy for a while: a collector that accepts and
//! dies at once is not hammered.

use std::time::Duration;

/// Ceiling of the first wait.
pub const WAIT_FIRST: Duration = Duration::from_millis(500);

/// Ceiling of every wait after a long outage: long enough for a restart storm to spread, short
/// enough that a fresh sample is there within a minute.
pub const WAIT_MAX: Duration = Duration::from_secs(60);

/// A stream that lived this long was healthy.
pub const HEALTHY_AFTER: Duration = Duration::from_secs(60);

/// Longest wait a collector may ask for: an agent that is told "tomorrow" looks dead.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(15 * 60);

/// The waits of one agent.
#[derive(Debug)]
pub struct Backoff {
    ceiling: Duration,
    random: fastrand::Rng,
}

// === impl Backoff ===

impl Backoff {
    /// Starts with the first ceiling.
    #[must_use]
    pub fn new(random: fastrand::Rng) -> Self {
        Self {
            ceiling: WAIT_FIRST,
            random,
        }
    }

    /// The wait after a stream that lived for `lived` (zero: it never came up). What the
    /// collector asked for is added in full: it knows when it has room.
    pub fn wait_after(&mut self, lived: Duration, retry_after: Duration) -> Duration {
        if lived >= HEALTHY_AFTER {
            self.ceiling = WAIT_FIRST;
        }
        let jitter = self.ceiling.mul_f64(self.random.f64());
        self.ceiling = (self.ceiling * 2).min(WAIT_MAX);
        retry_after.min(RETRY_AFTER_MAX) + jitter
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn backoff(seed: u64) -> Backoff {
        Backoff::new(fastrand::Rng::with_seed(seed))
    }

    proptest! {
        #[test]
        fn a_wait_is_never_over_the_ceiling_nor_under_what_was_asked_for(
            seed: u64,
            ends in prop::collection::vec((0u64..200, 0u64..2000), 1..40),
        ) {
            let mut backoff = backoff(seed);
            let mut failures = 0u32;
            for (lived, asked) in ends {
                let (lived, asked) = (Duration::from_secs(lived), Duration::from_secs(asked));
                if lived >= HEALTHY_AFTER {
                    failures = 0;
                }
                let ceiling = (WAIT_FIRST * 2u32.pow(failures.min(10))).min(WAIT_MAX);
                let asked_at_most = asked.min(RETRY_AFTER_MAX);
                let wait = backoff.wait_after(lived, asked);
                prop_assert!(wait >= asked_at_most);
                prop_assert!(wait <= asked_at_most + ceiling);
                failures += 1;
            }
        }

        #[test]
        fn agents_that_fail_together_come_back_apart(seed: u64) {
            let mut seeds = fastrand::Rng::with_seed(seed);
            let waits: Vec<_> = (0..200)
                .map(|_| {
                    let mut backoff = backoff(seeds.u64(..));
                    for _ in 0..7 {
                        backoff.wait_after(Duration::ZERO, Duration::ZERO);
                    }
                    backoff.wait_after(Duration::ZERO, Duration::ZERO)
                })
                .collect();
            for quarter in 0..4 {
                let from = WAIT_MAX / 4 * quarter;
                let inside = waits.iter().filter(|wait| **wait >= from && **wait < from + WAIT_MAX / 4).count();
                prop_assert!((20..=85).contains(&inside), "{inside} of 200 in quarter {quarter}");
            }
        }
    }
}
