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

/// Momentum in the notebook's unit: the difference of two [`gigabytes`], not the gigabytes of a
/// difference, so that the last bit agrees with pandas' `diff`.
#[must_use]
pub fn momentum_gb(previous_bytes: u64, now_bytes: u64) -> f64 {
    gigabytes(now_bytes) - gigabytes(previous_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The notebook's own last rows: rss, momentum, speed. The first momentum needs the row before.
    const GOLDEN: [(u64, &str, &str); 5] = [
        (1_786_839_040, "-0.100454", "0.010637"),
        (1_797_476_352, "0.010637", "0.040485"),
        (1_756_991_488, "-0.040485", "0.168223"),
        (1_925_214_208, "0.168223", "0.122991"),
        (1_802_223_616, "-0.122991", "0.000000"),
    ];
    const BEFORE_GOLDEN: u64 = 1_887_293_040;

    #[test]
    fn the_golden_rows_come_out_as_printed() {
        let mut previous = BEFORE_GOLDEN;
        for (i, (rss, momentum, speed)) in GOLDEN.into_iter().enumerate() {
            assert_eq!(format!("{:.6}", momentum_gb(previous, rss)), momentum);
            let next = GOLDEN
                .get(i + 1)
                .map_or(0.0, |n| momentum_gb(rss, n.0).abs());
            assert_eq!(format!("{next:.6}"), speed);
            previous = rss;
        }
    }

    #[test]
    fn gigabytes_are_bytes_by_1000_squared_by_1000_to_the_bit() {
        for (rss, _, _) in GOLDEN {
            let mb = rss as f64 / 1_000_000.0;
            assert_eq!(gigabytes(rss).to_bits(), (mb / 1000.0).to_bits());
        }
    }

    #[test]
    fn a_change_beyond_what_fits_is_clamped_not_wrapped() {
        assert_eq!(momentum_bytes(0, u64::MAX), i64::MAX);
        assert_eq!(momentum_bytes(u64::MAX, 0), i64::MIN);
        assert_eq!(momentum_bytes(7, 5), -2);
    }
}
