//! How many CPUs the machine has: the bound of what any interval can have used.

use std::path::Path;

use super::file::read_text;

/// What the kernel runs programs on. Not what this process may run on: the server may have more.
const ONLINE: &str = "/sys/devices/system/cpu/online";

/// CPUs that are online; `None` where that is not told.
pub(crate) fn online() -> Option<u64> {
    count(&read_text(Path::new(ONLINE)).ok()?)
}

/// Of a list such as `0-3,8`.
fn count(list: &str) -> Option<u64> {
    list.trim()
        .split(',')
        .map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
            last.checked_sub(first)?.checked_add(1)
        })
        .try_fold(0_u64, |sum, n| sum.checked_add(n?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_are_counted_over_ranges_and_nonsense_is_unknown() {
        for (list, cpus) in [("0\n", 1), ("0-1\n", 2), ("0-3,8\n", 5), ("1,3,5-6", 4)] {
            assert_eq!(count(list), Some(cpus), "{list}");
        }
        for list in ["", "a", "3-1", "0-", "0,,1", "0-18446744073709551615"] {
            assert_eq!(count(list), None, "{list}");
        }
        assert!(online().unwrap() >= 1);
    }
}
