//! The true number over the tree: proportional set sizes, read rarely, moved on by RSS between.
//!
//! A proportional set costs 2.6–7 µs per megabyte under its owner's memory lock, so only
//! `--pss always` pays for it at every tick. In between, a process' figure is the last reading
//! plus what its resident set changed since; never read yet: resident less shared.
//!
//! What a reading corrects is neither growth nor release. So beside the figure there is the
//! *foreseen* one: what it would have been without the readings of this tick. A share in pages
//! that others map, too, moves between those who map them when one of them comes or goes; only
//! what is a process' own appears and vanishes with it.

use super::{
    keyed::KeySet,
    process::{Process, Reading},
    tree::Tree,
};

pub mod budget;
pub(crate) mod correction;
pub(crate) mod precision;

use self::budget::{Budget, PssShare};

/// The memory of the tree without any cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TreeMemory {
    /// Sum of the processes' figures, held between the largest RSS and the sum of RSS.
    pub(crate) used_bytes: u64,
    /// The same without this tick's readings.
    pub(crate) foreseen_bytes: u64,
    /// Whether any proportional set could be read, so that it is better than RSS.
    pub(crate) proportional: bool,
    /// How old the oldest reading in it is.
    pub(crate) age_ms: u64,
    pub(crate) rss_bytes: u64,
    /// The largest process: what is in use is no less.
    pub(crate) rss_max_bytes: u64,
    /// Of the figures, the shares in pages that others map, too.
    pub(crate) common_bytes: u64,
    /// Sum of proportional sets, when every process was read at this very tick.
    pub(crate) pss_bytes: Option<u64>,
    /// Sum of swap, when every process was read.
    pub(crate) swap_bytes: Option<u64>,
}

/// Reads the tree's memory from tick to tick.
#[derive(Debug, Default)]
pub(crate) struct Ruler {
    budget: Budget,
    /// What of the last sum was a share in pages that others map, too.
    common_bytes: u64,
}

/// The tree before this tick's readings.
#[derive(Debug, Default)]
struct Before {
    /// Of those that were there at the previous tick.
    figures_bytes: u64,
    common_bytes: u64,
    /// Those that were not.
    newborn: KeySet,
}

// === impl Ruler ===

impl Ruler {
    /// With this share of a core for readings beyond the first ones.
    pub(crate) fn new(share: PssShare) -> Self {
        Self {
            budget: Budget::new(share),
            common_bytes: 0,
        }
    }

    /// Reads what is due, or with `always` every process, and sums up.
    pub(crate) fn read(&mut self, tree: &mut Tree, always: bool, now_ms: u64) -> TreeMemory {
        let before = Before::of(tree);
        // What those who went shared is with others now.
        let gone_bytes = i128::from(self.common_bytes) - i128::from(before.common_bytes);
        if always {
            read_all(tree, now_ms);
        } else {
            let gone_bytes = u64::try_from(gone_bytes).unwrap_or(0);
            self.budget.read(tree, &before.newborn, gone_bytes, now_ms);
        }
        let own_of_newborn_bytes: u64 = before
            .newborn
            .iter()
            .filter_map(|key| tree.processes.get(key))
            .map(|process| own_of_newborn(tree, process))
            .fold(0, u64::saturating_add);
        for key in &before.newborn {
            if let Some(process) = tree.processes.get_mut(key) {
                process.new = false;
            }
        }
        let memory = TreeMemory::of(tree.readings(), tree.pss_denied(), now_ms);
        self.common_bytes = memory.common_bytes;
        // Who comes while another goes may be its fork, and what they shared its own now: that is
        // the same memory, told once.
        let own_of_newborn_bytes = i128::from(own_of_newborn_bytes);
        let same_bytes = own_of_newborn_bytes.min(gone_bytes.max(0));
        let foreseen_bytes =
            i128::from(before.figures_bytes) + own_of_newborn_bytes + gone_bytes - same_bytes;
        memory.foreseeing(u64::try_from(foreseen_bytes).unwrap_or(0))
    }
}

/// Reads every process, whatever it costs.
fn read_all(tree: &mut Tree, now_ms: u64) {
    for process in tree.processes.values_mut() {
        process.read_pss(now_ms);
    }
}

/// What came into use with a process that was not there before.
fn own_of_newborn(tree: &Tree, process: &Process) -> u64 {
    let figure = figure(&process.reading);
    match process.reading.pss {
        Some(_) => figure - common(&process.reading),
        // Nearly all that it shows is its parent's, and nobody looked yet.
        None if is_fork(tree, process) => 0,
        None => figure,
    }
}

/// Whether it is its parent's image: forked, and no other program since.
fn is_fork(tree: &Tree, process: &Process) -> bool {
    tree.by_pid
        .get(&process.reading.ppid)
        .and_then(|key| tree.processes.get(key))
        .is_some_and(|parent| parent.arg_start == process.arg_start)
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

/// Of its figure, the share in pages that others map, too.
fn common(reading: &Reading) -> u64 {
    let common_bytes = reading.pss.map_or(0, |pss| pss.common_bytes);
    common_bytes.min(figure(reading))
}

// === impl Before ===

impl Before {
    fn of(tree: &Tree) -> Self {
        let mut before = Self::default();
        for (key, process) in &tree.processes {
            if process.new {
                before.newborn.insert(*key);
                continue;
            }
            let reading = &process.reading;
            before.figures_bytes = before.figures_bytes.saturating_add(figure(reading));
            before.common_bytes = before.common_bytes.saturating_add(common(reading));
        }
        before
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
            foreseen_bytes: 0,
            // Resident less shared is near enough where nobody was worth reading yet; where nobody
            // may be read it would be all there ever is.
            proportional: denied == 0,
            age_ms: 0,
            rss_bytes: 0,
            rss_max_bytes: 0,
            common_bytes: 0,
            pss_bytes: Some(0),
            swap_bytes: Some(0),
        };
        let mut figures = 0_u64;
        for reading in readings {
            memory.rss_bytes = memory.rss_bytes.saturating_add(reading.rss_bytes);
            memory.rss_max_bytes = memory.rss_max_bytes.max(reading.rss_bytes);
            figures = figures.saturating_add(figure(reading));
            memory.common_bytes = memory.common_bytes.saturating_add(common(reading));
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
        memory.used_bytes = figures.clamp(memory.rss_max_bytes, memory.rss_bytes);
        memory.foreseen_bytes = memory.used_bytes;
        memory
    }

    /// Within the same bounds, but by the figures before this tick's readings.
    fn foreseeing(self, figures_bytes: u64) -> Self {
        Self {
            foreseen_bytes: figures_bytes.clamp(self.rss_max_bytes, self.rss_bytes),
            ..self
        }
    }
}
