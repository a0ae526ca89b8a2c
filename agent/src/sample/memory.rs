//! The true number over the tree: proportional set sizes, read rarely, moved on by RSS between.
//!
//! A proportional set costs 2.6–7 µs per megabyte under its owner's memory lock, so only
//! `--pss always` pays for it at every tick. In between, a process' figure is the last reading
//! plus what its resident set changed since; never read yet: resident less shared.

use super::{
    process::{Process, Reading},
    tree::Tree,
};

/// Resident size from which a process is read when first seen: below, resident less shared is
/// off by a few megabytes at most.
const FIRST_READ_BYTES: u64 = 16 << 20;

/// What a reading may cost, assumed dear: measured 2.6–7 µs per MiB of 4 KiB pages.
const COST_NS_PER_MIB: u64 = 7_000;

/// First readings in one tick, which the running budget does not pay for.
const FIRST_READS_NS_MAX: u64 = 50_000_000;

/// The running budget: a hundred-thousandth of a core on average…
const BUDGET_NS_PER_S: u64 = 10_000;

/// …saved up for at most this, so that a long quiet time is not followed by a long stall.
const BUDGET_NS_MAX: u64 = 10_000_000;

/// A reading this young is not taken again.
const FRESH_MS: u64 = 60_000;

/// Reads proportional sets within a budget.
#[derive(Debug, Default)]
pub(crate) struct PssBudget {
    saved_ns: u64,
    last_ms: Option<u64>,
}

/// The memory of the tree without any cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TreeMemory {
    /// Sum of the processes' figures, held between the largest RSS and the sum of RSS.
    pub(crate) used_bytes: u64,
    /// Whether any proportional set could be read, so that it is better than RSS.
    pub(crate) proportional: bool,
    /// How old the oldest reading in it is.
    pub(crate) age_ms: u64,
    pub(crate) rss_bytes: u64,
    /// Sum of proportional sets, when every process was read at this very tick.
    pub(crate) pss_bytes: Option<u64>,
    /// Sum of swap, when every process was read.
    pub(crate) swap_bytes: Option<u64>,
}

// === impl PssBudget ===

impl PssBudget {
    /// Reads those that are due.
    pub(crate) fn read(&mut self, tree: &mut Tree, now_ms: u64) {
        let passed_ms = now_ms.saturating_sub(self.last_ms.unwrap_or(now_ms));
        self.last_ms = Some(now_ms);
        self.saved_ns = self
            .saved_ns
            .saturating_add(passed_ms.saturating_mul(BUDGET_NS_PER_S) / 1000)
            .min(BUDGET_NS_MAX);

        let mut first_ns = 0;
        let forked = forked_parents(tree);
        for (key, process) in &mut tree.processes {
            let due_first = match process.reading.pss {
                None => process.reading.rss_bytes >= FIRST_READ_BYTES,
                Some(pss) => forked.contains(key) && pss.at_ms < now_ms,
            };
            let ns = cost_ns(&process.reading);
            if due_first && !process.pss_denied && first_ns + ns <= FIRST_READS_NS_MAX {
                process.read_pss(now_ms);
                first_ns += ns;
            }
        }
        self.reread_most_drifted(tree, now_ms);
        for process in tree.processes.values_mut() {
            process.new = false;
        }
    }

    /// The one whose resident set moved most since its reading; one a tick.
    fn reread_most_drifted(&mut self, tree: &mut Tree, now_ms: u64) {
        let drifted = tree
            .processes
            .values_mut()
            .filter(|process| !process.pss_denied)
            .filter_map(|process| {
                let pss = process.reading.pss?;
                let old = now_ms.saturating_sub(pss.at_ms) >= FRESH_MS;
                let drift = process.reading.rss_bytes.abs_diff(pss.rss_bytes);
                old.then_some((drift, now_ms - pss.at_ms, process))
            })
            .max_by_key(|(drift, age_ms, _)| (*drift, *age_ms));
        if let Some((_, _, process)) = drifted {
            // What costs more than can ever be saved is read when all that can be is.
            let ns = cost_ns(&process.reading).min(BUDGET_NS_MAX);
            if self.saved_ns >= ns {
                self.saved_ns -= ns;
                process.read_pss(now_ms);
            }
        }
    }
}

/// Parents of processes first seen at this tick: their pages are shared now.
fn forked_parents(tree: &Tree) -> std::collections::HashSet<super::process::Key> {
    tree.processes
        .values()
        .filter(|process| process.new)
        .filter_map(|process| tree.by_pid.get(&process.reading.ppid).copied())
        .collect()
}

fn cost_ns(reading: &Reading) -> u64 {
    (reading.rss_bytes >> 20)
        .saturating_add(1)
        .saturating_mul(COST_NS_PER_MIB)
}

/// Reads every process, whatever it costs.
pub(crate) fn read_all(tree: &mut Tree, now_ms: u64) {
    for process in tree.processes.values_mut() {
        Process::read_pss(process, now_ms);
        process.new = false;
    }
}

/// One process' figure.
pub(crate) fn figure(reading: &Reading) -> u64 {
    match reading.pss {
        Some(pss) => pss
            .pss_bytes
            .saturating_add(reading.rss_bytes)
            .saturating_sub(pss.rss_bytes)
            .min(reading.rss_bytes),
        None => reading.rss_bytes.saturating_sub(reading.shared_bytes),
    }
}

// === impl TreeMemory ===

impl TreeMemory {
    /// Of these processes, at `now_ms`.
    /// `denied` counts those whose proportional set may not be read.
    pub(crate) fn of<'a>(
        readings: impl Iterator<Item = &'a Reading>,
        denied: usize,
        now_ms: u64,
    ) -> Self {
        let mut memory = Self {
            used_bytes: 0,
            // Resident less shared is near enough where nobody was worth reading yet; where nobody
            // may be read it would be all there ever is.
            proportional: denied == 0,
            age_ms: 0,
            rss_bytes: 0,
            pss_bytes: Some(0),
            swap_bytes: Some(0),
        };
        let mut rss_max = 0;
        let mut figures = 0_u64;
        for reading in readings {
            memory.rss_bytes = memory.rss_bytes.saturating_add(reading.rss_bytes);
            rss_max = rss_max.max(reading.rss_bytes);
            figures = figures.saturating_add(figure(reading));
            if reading.rss_bytes == 0 {
                continue; // zombies and kernel threads hold nothing
            }
            let Some(pss) = reading.pss else {
                (memory.pss_bytes, memory.swap_bytes) = (None, None);
                continue;
            };
            memory.proportional = true;
            memory.age_ms = memory.age_ms.max(now_ms.saturating_sub(pss.at_ms));
            memory.pss_bytes = memory
                .pss_bytes
                .filter(|_| pss.at_ms == now_ms)
                .map(|sum| sum.saturating_add(pss.pss_bytes));
            memory.swap_bytes = memory
                .swap_bytes
                .map(|sum| sum.saturating_add(pss.swap_bytes));
        }
        memory.used_bytes = figures.clamp(rss_max, memory.rss_bytes);
        memory
    }
}
