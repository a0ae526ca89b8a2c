//! How exact the kernel's resident sizes are.
//!
//! `statm` is what every figure between two proportional sets moves by. Three counters (anonymous,
//! file, shared memory) make up its sum. Since Linux 6.16 they are summed up exactly; distributions
//! took that back into older ones, which their number does not tell. From 6.2 on each CPU kept a
//! batch of its own back, before that each thread did.

use crate::sample::stat;

/// Counters in a resident size.
const COUNTERS: u64 = 3;

/// Pages that a thread kept back before 6.2.
const PAGES_PER_THREAD: u64 = 64;

/// Pages that a CPU keeps back at least; twice the number of CPUs where that is more.
const PAGES_PER_CPU_MIN: u64 = 32;

/// What summing exactly needs: major and minor number.
const EXACT_SINCE: (u32, u32) = (6, 16);

/// Since when CPUs, not threads, keep pages back.
const BY_CPU_SINCE: (u32, u32) = (6, 2);

/// How many processes and threads there are, on how many CPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) processes: u32,
    pub(crate) threads: u32,
    pub(crate) cpus: u64,
}

/// By how much the sum of their resident sizes may be off at most, on a kernel of this release;
/// `None` where it is exact.
pub(crate) fn rss_error_bytes(release: &str, extent: Extent) -> Option<u64> {
    let version = version(release)?;
    if version >= EXACT_SINCE {
        return None;
    }
    let pages = if version >= BY_CPU_SINCE {
        let per_cpu = PAGES_PER_CPU_MIN.max(2 * extent.cpus);
        u64::from(extent.processes) * extent.cpus * per_cpu
    } else {
        u64::from(extent.threads) * PAGES_PER_THREAD
    };
    Some(COUNTERS * pages * stat::page_bytes())
}

/// Major and minor number.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u64 = 1 << 10;

    fn error_kib(release: &str, cpus: u64) -> Option<u64> {
        let extent = Extent {
            processes: 1,
            threads: 5,
            cpus,
        };
        rss_error_bytes(release, extent).map(|bytes| bytes / KIB)
    }

    #[test]
    fn kernels_that_batch_have_an_error_by_cpu_or_by_thread_and_new_ones_none() {
        let page_kib = stat::page_bytes() / KIB;
        assert_eq!(error_kib("6.18.44-fc", 2), None);
        assert_eq!(error_kib("6.16.0", 128), None);
        assert_eq!(error_kib("7.0-rc1", 128), None);
        assert_eq!(
            error_kib("6.8.0-45-generic", 2),
            Some(3 * 2 * 32 * page_kib)
        );
        assert_eq!(error_kib("6.2.1", 128), Some(3 * 128 * 256 * page_kib));
        assert_eq!(error_kib("6.1.192", 8), Some(3 * 5 * 64 * page_kib));
        assert_eq!(error_kib("5.14.0-427.el9", 8), Some(3 * 5 * 64 * page_kib));
        assert_eq!(error_kib("gVisor", 8), None);
    }
}
