//! How many CPUs the machine has: the bound of what any interval can have used.

use std::path::Path;

use super::{
    faults::{self, Fault},
    file::read_text,
};

/// What the kernel runs programs on. Not what this process may run on: the server may have more.
const ONLINE: &str = "/sys/devices/system/cpu/online";

/// CPUs that are online; `None` where that is not told.
pub(crate) fn online() -> Option<u64> {
    let path = Path::new(ONLINE);
    let cpus = count(&faults::noted(path, read_text(path))?);
    if cpus.is_none() {
        faults::note_as(Fault::Malformed, path);
    }
    cpus
}

/// Of a list such as `0-3,8`.
fn count(list: &str) -> Option<u64> {
    list.strip_suffix('\n')?
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
        for (list, cpus) in [("0\n", 1), ("0-1\n", 2), ("0-3,8\n", 5), ("1,3,5-6\n", 4)] {
            assert_eq!(count(list), Some(cpus), "{list}");
        }
        for list in [
            "",
            "0-1",
            "a\n",
            "3-1\n",
            "0-\n",
            "0,,1\n",
            "0-18446744073709551615\n",
        ] {
            assert_eq!(count(list), None, "{list}");
        }
        assert!(online().unwrap() >= 1);
    }
}
