//! How much space history may take, and what it gives up when that is passed.

/// What history leaves to others by default: room for the inbox and for state, whatever happens. On
/// a large disk that others fill a share would cost history for nothing, on a small one a size.
const FREE_BYTES_MIN: u64 = 1 << 30;
const FREE_PERCENT_MIN: f64 = 5.0;

/// Bounds of space. Beyond them the oldest file of the finest tier goes, but never one whose time
/// is not over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// Bytes that history may take.
    pub bytes_max: Option<u64>,
    /// What is left free of the file system.
    pub free_min: FreeMin,
}

/// Space to be left free: the smaller of what is said, nothing if nothing is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FreeMin {
    /// In bytes.
    pub bytes: Option<u64>,
    /// In per cent of the file system.
    pub percent: Option<f64>,
}

// === impl Bounds ===

impl Bounds {
    /// Whether history that takes `bytes`, on a file system of `all_bytes` with `free_bytes`
    /// left, has passed them.
    pub(super) fn are_passed(&self, bytes: u64, free_bytes: u64, all_bytes: u64) -> bool {
        let share = self.free_min.percent;
        let share_bytes = share.map(|percent| (all_bytes as f64 * percent / 100.0) as u64);
        let floors = share_bytes.into_iter().chain(self.free_min.bytes);
        let floor_bytes = floors.min().unwrap_or(0);
        free_bytes < floor_bytes || self.bytes_max.is_some_and(|max| bytes > max)
    }
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            bytes_max: None,
            free_min: FreeMin {
                bytes: Some(FREE_BYTES_MIN),
                percent: Some(FREE_PERCENT_MIN),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_passed_by_what_is_taken_or_by_what_is_left() {
        let of = |bytes_max, bytes, percent| Bounds {
            bytes_max,
            free_min: FreeMin { bytes, percent },
        };
        let bytes = of(Some(100), None, None);
        assert!(bytes.are_passed(101, 0, 1_000) && !bytes.are_passed(100, 0, 1_000));
        let free = of(None, Some(50), None);
        assert!(free.are_passed(0, 49, 1_000) && !free.are_passed(u64::MAX, 50, 1_000));
        let share = of(None, None, Some(2.5));
        assert!(share.are_passed(0, 24, 1_000) && !share.are_passed(0, 25, 1_000));
        let smaller = of(None, Some(50), Some(2.5));
        assert!(smaller.are_passed(0, 24, 1_000) && !smaller.are_passed(0, 25, 1_000));
        assert!(smaller.are_passed(0, 49, 1_000_000) && !smaller.are_passed(0, 50, 1_000_000));
    }
}
