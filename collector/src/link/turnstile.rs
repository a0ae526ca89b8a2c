//! How many streams may begin at once, and when those come back that had to wait.
//!
//! A hub whose agents all lost one collector brings them all back: whoever is too many is told a
//! time of its own, spread over as long as all of them need to get through.
//!
//! No clock inside: the caller says when.

use std::time::Duration;

use super::{quota::Bucket, session::fraction};
use crate::limits;

/// Lets streams begin.
#[derive(Debug)]
pub(super) struct Turnstile {
    permits: Bucket,
    /// How many were told to come back and have not had their time.
    away: Bucket,
}

// === impl Turnstile ===

impl Turnstile {
    pub(super) fn new(now_ms: i64) -> Self {
        let per_second = limits::ACCEPTS_PER_SECOND;
        Self {
            permits: Bucket::new(per_second, limits::ACCEPTS_BURST, now_ms),
            away: Bucket::new(per_second, limits::ACCEPTS_AWAY_MAX, now_ms),
        }
    }

    /// One stream may begin, or comes back after that long.
    pub(super) fn pass(&mut self, now_ms: i64) -> Result<(), Duration> {
        if self.permits.take(1, now_ms).is_ok() {
            return Ok(());
        }
        // Beyond the bound all share the longest wait.
        let _ = self.away.take(1, now_ms);
        let away = limits::ACCEPTS_AWAY_MAX - self.away.left(now_ms);
        let all_through = Duration::from_secs(1) * u32::try_from(away).unwrap_or(u32::MAX)
            / u32::try_from(limits::ACCEPTS_PER_SECOND).unwrap_or(u32::MAX);
        Err(limits::ACCEPTS_WAIT_MIN + all_through.mul_f64(2.0 * fraction()))
    }

    /// How many have passed lately, of [`limits::ACCEPTS_BURST`].
    pub(super) fn used(&mut self, now_ms: i64) -> u64 {
        limits::ACCEPTS_BURST - self.permits.left(now_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_then_the_rate_does() {
        let mut turnstile = Turnstile::new(0);
        for _ in 0..limits::ACCEPTS_BURST {
            assert_eq!(turnstile.pass(0), Ok(()));
        }
        assert!(turnstile.pass(0).is_err());
        assert_eq!(turnstile.used(0), limits::ACCEPTS_BURST);
        let later = (0..limits::ACCEPTS_PER_SECOND + 1).map(|_| turnstile.pass(1_000));
        let passed = later.filter(Result::is_ok).count();
        assert_eq!(passed, usize::try_from(limits::ACCEPTS_PER_SECOND).unwrap());
    }

    #[test]
    fn those_sent_away_come_back_spread_over_the_time_that_all_of_them_need() {
        let mut turnstile = Turnstile::new(0);
        while turnstile.pass(0).is_ok() {}
        let many = 4 * limits::ACCEPTS_PER_SECOND;
        let waits: Vec<Duration> = (0..many).map(|_| turnstile.pass(0).unwrap_err()).collect();
        let longest = limits::ACCEPTS_WAIT_MIN + Duration::from_secs(8);
        assert!(
            waits
                .iter()
                .all(|wait| *wait >= limits::ACCEPTS_WAIT_MIN && *wait <= longest)
        );
        // No second of it brings back more than twice what passes in one.
        for second in 0..9 {
            let from = limits::ACCEPTS_WAIT_MIN + Duration::from_secs(second);
            let back = waits
                .iter()
                .filter(|wait| **wait >= from && **wait < from + Duration::from_secs(1));
            let back = u64::try_from(back.count()).unwrap();
            assert!(
                back < 2 * limits::ACCEPTS_PER_SECOND,
                "{back} in second {second}"
            );
        }
    }

    #[test]
    fn however_many_there_are_nobody_waits_longer_than_an_agent_would_by_itself() {
        let mut turnstile = Turnstile::new(0);
        for _ in 0..10 * limits::ACCEPTS_AWAY_MAX {
            if let Err(wait) = turnstile.pass(0) {
                assert!(wait <= Duration::from_secs(61), "{wait:?}");
            }
        }
    }
}
