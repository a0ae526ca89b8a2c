//! How much of a change of the memory figure is a better reading of what was there before.

use crate::sample::MemorySource;

/// Compares each figure with the one before.
#[derive(Debug, Default)]
pub(crate) struct Correction {
    previous: Option<(MemorySource, u64)>,
}

// === impl Correction ===

impl Correction {
    /// Of the change to `used_bytes`, what is neither growth nor release. `foreseen_bytes` is the
    /// tree's figure as it would be without this tick's readings.
    pub(crate) fn take(
        &mut self,
        source: MemorySource,
        used_bytes: u64,
        foreseen_bytes: u64,
    ) -> i64 {
        let previous = self.previous.replace((source, used_bytes));
        match (previous, source) {
            (None, _) => 0,
            // Another way of counting: the whole jump.
            (Some((before, before_bytes)), _) if before != source => {
                difference(used_bytes, before_bytes)
            }
            (_, MemorySource::Pss) => difference(used_bytes, foreseen_bytes),
            (_, MemorySource::Cgroup1 | MemorySource::Cgroup2 | MemorySource::Rss) => 0,
        }
    }
}

fn difference(now_bytes: u64, before_bytes: u64) -> i64 {
    let difference = i128::from(now_bytes) - i128::from(before_bytes);
    difference.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_of_the_source_is_all_correction_and_a_cgroup_needs_none() {
        let mut correction = Correction::default();
        assert_eq!(correction.take(MemorySource::Pss, 900, 700), 0, "the first");
        assert_eq!(correction.take(MemorySource::Pss, 950, 940), 10);
        assert_eq!(correction.take(MemorySource::Cgroup2, 1_500, 940), 550);
        assert_eq!(correction.take(MemorySource::Cgroup2, 2_500, 0), 0);
        assert_eq!(correction.take(MemorySource::Pss, 1_000, 1_000), -1_500);
        assert_eq!(correction.take(MemorySource::Rss, 3_000, 1_000), 2_000);
        assert_eq!(correction.take(MemorySource::Rss, 4_000, 1_000), 0);
    }
}
