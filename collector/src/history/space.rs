//! How much space history may take, and what it gives up when that is passed.

/// What history leaves to others by default: room for the inbox and for state, whatever happens.
const FREE_BYTES_MIN: u64 = 1 << 30;

/// Bounds of space. Beyond them the oldest file of the finest tier goes, but never one whose time
/// is not over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// Bytes that history may take.
    pub bytes_max: Option<u64>,
    /// What is left free of the file system.
    pub free_min: FreeMin,
}

/// Space to be left free.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FreeMin {
    /// In bytes.
    Bytes(u64),
    /// In per cent of the file system.
    Percent(f64),
}

// === impl Bounds ===

impl Bounds {
    /// Whether history that takes `bytes`, on a file system of `all_bytes` with `free_bytes`
    /// left, has passed them.
    pub(super) fn are_passed(&self, bytes: u64, free_bytes: u64, all_bytes: u64) -> bool {
        let floor_bytes = match self.free_min {
            FreeMin::Bytes(bytes) => bytes,
            FreeMin::Percent(percent) => (all_bytes as f64 * percent / 100.0) as u64,
        };
        free_bytes < floor_bytes || self.bytes_max.is_some_and(|max| bytes > max)
    }
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            bytes_max: None,
            free_min: FreeMin::Bytes(FREE_BYTES_MIN),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_passed_by_what_is_taken_or_by_what_is_left() {
        let of = |bytes_max, free_min| Bounds {
            bytes_max,
            free_min,
        };
        let bytes = of(Some(100), FreeMin::Bytes(0));
        assert!(bytes.are_passed(101, 50, 1_000) && !bytes.are_passed(100, 50, 1_000));
        let free = of(None, FreeMin::Bytes(50));
        assert!(free.are_passed(0, 49, 1_000) && !free.are_passed(u64::MAX, 50, 1_000));
        let share = of(None, FreeMin::Percent(2.5));
        assert!(share.are_passed(0, 24, 1_000) && !share.are_passed(0, 25, 1_000));
    }
}
