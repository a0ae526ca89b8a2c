//! Maps by process: looked up several times per process and tick, so their hash is one
//! multiplication. Whoever chooses pids that collide slows the meter of his own server only.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasherDefault, Hasher},
};

use super::process::Key;

/// By process.
pub(crate) type KeyMap<V> = HashMap<Key, V, BuildHasherDefault<IntHasher>>;

/// Processes.
pub(crate) type KeySet = HashSet<Key, BuildHasherDefault<IntHasher>>;

/// By pid.
pub(crate) type PidMap<V> = HashMap<u32, V, BuildHasherDefault<IntHasher>>;

/// Pids.
pub(crate) type PidSet = HashSet<u32, BuildHasherDefault<IntHasher>>;

/// By anything that is made of few integers.
pub(crate) type IntMap<K, V> = HashMap<K, V, BuildHasherDefault<IntHasher>>;

/// 2⁶⁴ by the golden ratio: spreads neighbours over all of the range.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Hashes few integers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct IntHasher(u64);

// === impl IntHasher ===

impl Hasher for IntHasher {
    fn finish(&self) -> u64 {
        // Buckets are chosen by the low bits, which a product mixes least.
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(byte.into());
        }
    }

    fn write_u32(&mut self, n: u32) {
        self.write_u64(n.into());
    }

    fn write_u64(&mut self, n: u64) {
        self.0 = (self.0.rotate_left(5) ^ n).wrapping_mul(SPREAD);
    }

    fn write_isize(&mut self, n: isize) {
        // The tag of an enum.
        self.write_u64(n.unsigned_abs() as u64);
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, hash::BuildHasher};

    use super::*;

    #[test]
    fn processes_that_follow_each_other_are_spread_over_the_buckets() {
        let build = BuildHasherDefault::<IntHasher>::default();
        let bucket = |pid: u32| {
            let start_ticks = 4_000_000 + u64::from(pid / 3);
            build.hash_one(Key { start_ticks, pid }) % 1024
        };
        let buckets: BTreeSet<u64> = (1000..2024).map(bucket).collect();
        // At random it would be 1 − 1/e of them, 647.
        assert!(buckets.len() > 600, "{}", buckets.len());
    }
}
