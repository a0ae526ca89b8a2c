//! How long growth is watched before it is believed: what was fitted to recorded kernels.

/// What is young or quick may be loading something, and loading ends: while less than this share of
/// the limit is in use, nothing is said of it.
const USED_SHARE_MIN: f64 = 0.63;

/// Up to this age a climb is young: reading a file, filling an array.
const YOUNG_MS: u64 = 75_000;

/// From this age on it is old: what has gone on for so long will go on.
const OLD_MS: u64 = 180_000;

/// The thresholds between early and often wrong, and late and right. No setting: whoever tries others
/// (`cargo xtask score -- --cross`) sees what they give and cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Patience {
    /// The share of the limit that is in use before anything young or quick is believed.
    pub used_share_min: f64,
    /// Up to this age a climb is young.
    pub young_ms: u64,
    /// From this age on it is old, and believed wherever it is.
    pub old_ms: u64,
}

// === impl Patience ===

impl Default for Patience {
    fn default() -> Self {
        Self {
            used_share_min: USED_SHARE_MIN,
            young_ms: YOUNG_MS,
            old_ms: OLD_MS,
        }
    }
}

impl Patience {
    /// The share of the limit that must be in use for a climb that has risen for `rising_ms` to be believed.
    pub(super) fn used_share_min(&self, rising_ms: u64) -> f64 {
        self.used_share_min * (1.0 - self.age_share(rising_ms))
    }

    /// How old a climb is between young (0) and old (1).
    pub(super) fn age_share(&self, rising_ms: u64) -> f64 {
        if rising_ms >= self.old_ms {
            return 1.0;
        }
        let over_ms = rising_ms.saturating_sub(self.young_ms);
        over_ms as f64 / self.old_ms.saturating_sub(self.young_ms).max(1) as f64
    }
}
