//! Momentum and speed, compatible with the notebook they come from.
//!
//! *momentum* is the signed change since the previous base-interval sample, *speed* the size of
//! the change to the next one. Both are per sample, not per second: the distance between samples
//! is told beside them.

/// Signed change from `previous_bytes` to `now_bytes`.
#[must_use]
pub fn momentum_bytes(previous_bytes: u64, now_bytes: u64) -> i64 {
    let change = i128::from(now_bytes) - i128::from(previous_bytes);
    change.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}

/// The notebook's unit: bytes → MB by 1000², then GB by 1000, in that order of operations, so
/// that the last bit agrees with pandas.
#[must_use]
pub fn gigabytes(bytes: u64) -> f64 {
    bytes as f64 / 1000.0_f64.powi(2) / 1000.0
}
