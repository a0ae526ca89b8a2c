//! How much one server may send, and how much the hub may be asked: token buckets.
//!
//! No clock inside: the caller says when.

/// A bucket that fills by `per_second` up to `burst`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    per_second: u64,
    burst: u64,
    /// What is left, in thousandths.
    level_milli: u64,
    filled_ms: i64,
}

// === impl Bucket ===

impl Bucket {
    /// A full bucket.
    #[must_use]
    pub fn new(per_second: u64, burst: u64, now_ms: i64) -> Self {
        Self {
            per_second,
            burst,
            level_milli: burst.saturating_mul(1000),
            filled_ms: now_ms,
        }
    }

    /// Takes `n`, or says how many milliseconds to wait for it.
    ///
    /// # Errors
    /// There is not enough in it; nothing was taken.
    pub fn take(&mut self, n: u64, now_ms: i64) -> Result<(), u64> {
        self.fill(now_ms);
        let need_milli = n.saturating_mul(1000);
        if let Some(left) = self.level_milli.checked_sub(need_milli) {
            self.level_milli = left;
            return Ok(());
        }
        // `per_second` per second are as many thousandths per millisecond.
        Err((need_milli - self.level_milli).div_ceil(self.per_second.max(1)))
    }

    /// How many can be taken now.
    #[must_use]
    pub fn left(&mut self, now_ms: i64) -> u64 {
        self.fill(now_ms);
        self.level_milli / 1000
    }

    /// Whether it is full: whoever owns it has been quiet.
    #[must_use]
    pub fn is_full(&mut self, now_ms: i64) -> bool {
        self.fill(now_ms);
        self.level_milli == self.burst.saturating_mul(1000)
    }

    fn fill(&mut self, now_ms: i64) {
        let passed_ms = u64::try_from(now_ms.saturating_sub(self.filled_ms)).unwrap_or(0);
        self.level_milli = self
            .level_milli
            .saturating_add(passed_ms.saturating_mul(self.per_second))
            .min(self.burst.saturating_mul(1000));
        // A clock that went back gives nothing now and nothing twice later.
        self.filled_ms = now_ms;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_burst_passes_then_the_rate_does() {
        let mut bucket = Bucket::new(2, 3, 0);
        for _ in 0..3 {
            assert_eq!(bucket.take(1, 0), Ok(()));
        }
        assert_eq!(bucket.take(1, 0), Err(500));
        assert_eq!(bucket.take(1, 499), Err(1));
        assert_eq!(bucket.take(1, 500), Ok(()));
    }

    #[test]
    fn a_clock_that_goes_back_gives_nothing() {
        let mut bucket = Bucket::new(1, 1, 10_000);
        assert_eq!(bucket.take(1, 10_000), Ok(()));
        assert!(bucket.take(1, 0).is_err());
        assert_eq!(bucket.take(1, 1_000), Ok(()));
    }

    proptest! {
        #[test]
        fn never_more_than_burst_and_rate(steps in prop::collection::vec((0i64..5_000, 1u64..20), 1..200)) {
            let (per_second, burst) = (7, 30);
            let mut bucket = Bucket::new(per_second, burst, 0);
            let (mut now_ms, mut taken) = (0, 0);
            for (passed_ms, n) in steps {
                now_ms += passed_ms;
                match bucket.take(n, now_ms) {
                    Ok(()) => taken += n,
                    Err(wait_ms) if n <= burst => {
                        let mut later = bucket;
                        prop_assert_eq!(later.take(n, now_ms + i64::try_from(wait_ms).unwrap()), Ok(()));
                    }
                    Err(_) => {}
                }
                prop_assert!(taken * 1000 <= burst * 1000 + per_second * u64::try_from(now_ms).unwrap());
            }
        }
    }
}
