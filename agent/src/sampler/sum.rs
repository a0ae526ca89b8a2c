//! Sums of one workload over its processes.

use super::assemble::Tick;
use crate::sample::{MemorySource, memory, process::Reading};

/// What its processes use together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sum {
    pub(super) memory_used_bytes: u64,
    pub(super) rss_bytes: u64,
    pub(super) pss_bytes: Option<u64>,
    pub(super) processes: u32,
    pub(super) threads: u32,
    pub(super) top_pid: u32,
}

// === impl Sum ===

impl Default for Sum {
    fn default() -> Self {
        Self {
            memory_used_bytes: 0,
            rss_bytes: 0,
            // Of no process it is known.
            pss_bytes: Some(0),
            processes: 0,
            threads: 0,
            top_pid: 0,
        }
    }
}

impl Sum {
    pub(super) fn add(&mut self, reading: &Reading, tick: &Tick<'_>) {
        self.memory_used_bytes += match tick.source {
            MemorySource::Rss => reading.rss_bytes,
            MemorySource::Pss | MemorySource::Cgroup1 | MemorySource::Cgroup2 => {
                memory::figure(reading)
            }
        };
        self.rss_bytes += reading.rss_bytes;
        if reading.rss_bytes > 0 {
            self.pss_bytes = match (self.pss_bytes, reading.pss) {
                (Some(sum), Some(pss)) if pss.at_ms == tick.mono_ms => Some(sum + pss.pss_bytes),
                _ => None,
            };
        }
        self.processes += 1;
        self.threads = self.threads.saturating_add(reading.threads);
        if self.top_pid == 0 {
            self.top_pid = reading.key.pid;
        }
    }
}
