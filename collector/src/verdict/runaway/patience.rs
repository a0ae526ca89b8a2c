//! How much of the limit must be in use before growth is believed: what was fitted to recorded kernels.

/// What grows may be loading something, and loading ends: while less than this share of the limit is in
/// use, nothing is said of it. Neither its age nor its evenness told the recorded loads from the leaks.
const USED_SHARE_MIN: f64 = 0.63;

/// The threshold between early and often wrong, and late and right. No setting: whoever tries others
/// (`cargo xtask score -- --cross`) sees what they give and cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Patience {
    /// The share of the limit that is in use before a climb or a burst is believed.
    pub used_share_min: f64,
}

// === impl Patience ===

impl Default for Patience {
    fn default() -> Self {
        Self {
            used_share_min: USED_SHARE_MIN,
        }
    }
}
