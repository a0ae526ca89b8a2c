//! The machine as all who are on it use it: memory, and load.
//!
//! The kernel adds `meminfo` up anew for each who asks, so it is asked once a second at most.

use std::path::Path;

use super::{
    file::{Lasting, Page, fields},
    vitals::MachineUse,
};

/// Younger than this it is not read again: a burst's ticks are a little further apart.
const FRESH_MS: u64 = 900;

/// Reads the machine's memory through a descriptor that stays open.
#[derive(Debug)]
pub(crate) struct MachineGauge {
    meminfo: Lasting,
    last: Option<(u64, Option<Memory>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Memory {
    bytes: u64,
    available_bytes: u64,
}

// === impl MachineGauge ===

impl MachineGauge {
    /// Opens nothing yet.
    pub(crate) fn new(proc_root: &Path, keep: bool) -> Self {
        Self {
            meminfo: Lasting::new(proc_root.join("meminfo"), keep),
            last: None,
        }
    }

    /// How the machine is used; the load is known already.
    pub(crate) fn read(
        &mut self,
        load_hundredths: Option<u32>,
        now_ms: u64,
        page: &mut Page,
    ) -> Option<MachineUse> {
        let memory = match self.last {
            Some((at_ms, memory)) if now_ms.saturating_sub(at_ms) < FRESH_MS => memory,
            _ => {
                let memory = self.meminfo.bytes(page).and_then(Memory::parse);
                self.last = Some((now_ms, memory));
                memory
            }
        }?;
        Some(MachineUse {
            memory_bytes: memory.bytes,
            memory_available_bytes: memory.available_bytes,
            load_hundredths: load_hundredths?,
        })
    }
}

// === impl Memory ===

impl Memory {
    fn parse(text: &[u8]) -> Option<Self> {
        // The second not before Linux 3.14.
        let [total_kb, available_kb] = fields(text, ["MemTotal:", "MemAvailable:"]);
        Some(Self {
            bytes: total_kb?.checked_mul(1024)?,
            available_bytes: available_kb?.checked_mul(1024)?,
        })
    }
}
