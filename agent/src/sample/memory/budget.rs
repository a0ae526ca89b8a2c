//! Which proportional sets are read at a tick, and what that may cost.
//!
//! First readings, and the parent's again after a fork, have an allowance of their own at every
//! tick: without them the figure is wrong by what processes share. All later ones are paid from a
//! running budget, the least sure figure first. What a reading cost is measured on this thread's
//! CPU clock: by page tables it differs a hundredfold per megabyte.

use nix::time::ClockId;

use super::is_fork;
use crate::sample::{
    keyed::KeySet,
    process::{Key, Process, Reading, clock_ns},
    tree::Tree,
};

/// Resident size from which a process is read when first seen: below, resident less shared is
/// off by a few megabytes at most.
const FIRST_READ_BYTES: u64 = 16 << 20;

/// First readings in one tick. Only one that is dearer by itself goes beyond, as the tick's only
/// one; what it cost more is taken from the running budget.
const FIRST_READS_NS_MAX: u64 = 50_000_000;

/// Saved up for at most this, so that a long quiet time is not followed by a long stall.
const SAVED_NS_MAX: u64 = 50_000_000;

/// What a reading is taken to cost before one was measured: dear, 7 µs per MiB of 4 KiB pages.
const NS_PER_MIB_AT_FIRST: u64 = 7_000;

/// A process this small says nothing about the cost per MiB.
const TELLING_BYTES: u64 = 16 << 20;

/// A reading this young is not taken again: in between RSS moves the figure.
const FRESH_MS: u64 = 60_000;

/// The same where those came or went who share its pages, which RSS does not show.
const FRESH_IF_SHARED_MS: u64 = 10_000;

/// A reading this old is taken again although nothing moved: who shares pages outside of the tree
/// is not seen.
const OLD_MS: u64 = 300_000;

/// A figure that is off by no more is sure enough.
const UNSURE_BYTES: u64 = 1 << 20;

/// Nanoseconds per second that make one per cent of a core.
const NS_PER_S_PER_PERCENT: f64 = 10_000_000.0;

/// Largest share that may be set, in per cent of a core.
pub const PERCENT_MAX: f64 = 5.0;

/// Share of a core that reading proportional sets may take on average.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PssShare {
    ns_per_s: u64,
}

/// Reads proportional sets within a budget.
#[derive(Debug, Default)]
pub(super) struct Budget {
    purse: Purse,
    tariff: Tariff,
    /// Parents whose pages are shared since a fork, not read since.
    forked: KeySet,
    /// What shared pages moved from one to another so far, by coming and going.
    moved_bytes: u64,
}

/// What may be spent.
#[derive(Debug, Default)]
struct Purse {
    share: PssShare,
    /// Below nothing when a reading cost more than was saved.
    saved_ns: i64,
    last_ms: Option<u64>,
}

/// What readings cost here.
#[derive(Debug)]
struct Tariff {
    ns_per_mib: u64,
}

// === impl PssShare ===

impl Default for PssShare {
    /// 0.02 % of a core.
    fn default() -> Self {
        Self { ns_per_s: 200_000 }
    }
}

impl PssShare {
    /// Reads a percentage of a core; 0 allows first readings only.
    ///
    /// # Errors
    /// When it is none, or outside 0 to 5.
    pub fn parse(text: &str) -> Result<Self, String> {
        let number = text.strip_suffix('%').unwrap_or(text).trim();
        let percent: f64 = number
            .parse()
            .map_err(|_| format!("`{text}` is not a percentage of a core: try 0.02"))?;
        if !(0.0..=PERCENT_MAX).contains(&percent) {
            return Err(format!("`{text}` is outside 0 to {PERCENT_MAX} %"));
        }
        Ok(Self {
            ns_per_s: (percent * NS_PER_S_PER_PERCENT).round() as u64,
        })
    }
}

// === impl Budget ===

impl Budget {
    pub(super) fn new(share: PssShare) -> Self {
        Self {
            purse: Purse {
                share,
                ..Purse::default()
            },
            ..Self::default()
        }
    }

    /// Reads those that are due. `newborn` were not there before; those who went shared
    /// `gone_bytes` with others.
    pub(super) fn read(&mut self, tree: &mut Tree, newborn: &KeySet, gone_bytes: u64, now_ms: u64) {
        self.purse.earn(now_ms);
        self.remember_forks(tree, newborn);
        self.moved_bytes = self.moved_bytes.saturating_add(gone_bytes);
        let first = self.read_first(tree, newborn, now_ms);
        let again = self.read_again(tree, now_ms);
        if first || again {
            self.mark(tree, now_ms);
        }
    }

    fn remember_forks(&mut self, tree: &Tree, newborn: &KeySet) {
        let parents = newborn
            .iter()
            .filter_map(|key| tree.processes.get(key))
            .filter(|process| is_fork(tree, process))
            .filter_map(|process| tree.by_pid.get(&process.reading.ppid));
        self.forked.extend(parents.copied());
        self.forked.retain(|key| tree.processes.contains_key(key));
    }

    /// Largest first: what is left over is due at the next tick. True if any was read.
    fn read_first(&mut self, tree: &mut Tree, newborn: &KeySet, now_ms: u64) -> bool {
        let is_due = |(key, process): &(&Key, &Process)| match process.reading.pss {
            None => process.reading.rss_bytes >= FIRST_READ_BYTES,
            Some(_) => self.forked.contains(*key),
        };
        let readable = |(_, process): &(&Key, &Process)| !process.pss_denied;
        let mut due: Vec<(u64, Key)> = tree
            .processes
            .iter()
            .filter(readable)
            .filter(is_due)
            .map(|(key, process)| (process.reading.rss_bytes, *key))
            .collect();
        due.sort_unstable_by(|a, b| b.cmp(a));
        let mut spent_ns = 0;
        for (_, key) in &due {
            let Some(process) = tree.processes.get_mut(key) else {
                continue;
            };
            let foreseen_ns = self.tariff.cost_ns(&process.reading);
            if spent_ns > 0 && spent_ns + foreseen_ns > FIRST_READS_NS_MAX {
                continue;
            }
            spent_ns += self.tariff.read(process, now_ms);
            self.forked.remove(key);
            if newborn.contains(key) {
                let common_bytes = process.reading.pss.map_or(0, |pss| pss.common_bytes);
                self.moved_bytes = self.moved_bytes.saturating_add(common_bytes);
            }
        }
        self.purse.pay(spent_ns.saturating_sub(FIRST_READS_NS_MAX));
        spent_ns > 0
    }

    /// The least sure first. The dearest is waited for: cheap ones must not keep it from its turn.
    fn read_again(&mut self, tree: &mut Tree, now_ms: u64) -> bool {
        let mut any = false;
        while let Some(process) = self.least_sure(tree, now_ms) {
            if !self.purse.affords(self.tariff.cost_ns(&process.reading)) {
                break;
            }
            let cost_ns = self.tariff.read(process, now_ms);
            self.purse.pay(cost_ns);
            any = true;
        }
        any
    }

    fn least_sure<'a>(&self, tree: &'a mut Tree, now_ms: u64) -> Option<&'a mut Process> {
        tree.processes
            .values_mut()
            .filter(|process| !process.pss_denied)
            .filter_map(|process| {
                let (unsure_bytes, age_ms) = self.unsure(&process.reading, now_ms)?;
                Some((unsure_bytes, age_ms, process))
            })
            .max_by_key(|(unsure_bytes, age_ms, _)| (*unsure_bytes, *age_ms))
            .map(|(_, _, process)| process)
    }

    /// By how much its figure may be off, and how old it is; `None` while it is good enough.
    fn unsure(&self, reading: &Reading, now_ms: u64) -> Option<(u64, u64)> {
        let pss = reading.pss?;
        let age_ms = now_ms.saturating_sub(pss.at_ms);
        let drift_bytes = reading.rss_bytes.abs_diff(pss.rss_bytes);
        let moved_bytes = self.moved_bytes.saturating_sub(pss.moved_before_bytes);
        let shared_bytes = moved_bytes.min(pss.common_bytes);
        let unsure_bytes = drift_bytes.max(shared_bytes);
        let due = age_ms >= OLD_MS
            || (age_ms >= FRESH_MS && unsure_bytes >= UNSURE_BYTES)
            || (age_ms >= FRESH_IF_SHARED_MS && shared_bytes >= UNSURE_BYTES);
        due.then_some((unsure_bytes, age_ms))
    }

    /// All that was read at this tick knows all that moved until now.
    fn mark(&self, tree: &mut Tree, now_ms: u64) {
        let readings = tree.processes.values_mut();
        for pss in readings.filter_map(|process| process.reading.pss.as_mut()) {
            if pss.at_ms == now_ms {
                pss.moved_before_bytes = self.moved_bytes;
            }
        }
    }
}

// === impl Purse ===

impl Purse {
    fn earn(&mut self, now_ms: u64) {
        let passed_ms = now_ms.saturating_sub(self.last_ms.unwrap_or(now_ms));
        self.last_ms = Some(now_ms);
        let earned_ns = passed_ms.saturating_mul(self.share.ns_per_s) / 1000;
        self.saved_ns = self
            .saved_ns
            .saturating_add_unsigned(earned_ns)
            .min(SAVED_NS_MAX as i64);
    }

    /// What costs more than can ever be saved is read when all that can be is.
    fn affords(&self, ns: u64) -> bool {
        let needed_ns = ns.clamp(1, SAVED_NS_MAX) as i64;
        self.saved_ns >= needed_ns
    }

    fn pay(&mut self, ns: u64) {
        self.saved_ns = self.saved_ns.saturating_sub_unsigned(ns);
    }
}

// === impl Tariff ===

impl Default for Tariff {
    fn default() -> Self {
        Self {
            ns_per_mib: NS_PER_MIB_AT_FIRST,
        }
    }
}

impl Tariff {
    /// What reading it will cost: by what it cost before, else by what others cost.
    fn cost_ns(&self, reading: &Reading) -> u64 {
        let mib = (reading.rss_bytes >> 20).saturating_add(1);
        match reading.pss {
            Some(pss) => {
                let mib_then = (pss.rss_bytes >> 20).saturating_add(1);
                let scaled = u128::from(pss.cost_ns) * u128::from(mib) / u128::from(mib_then);
                u64::try_from(scaled).unwrap_or(u64::MAX)
            }
            None => mib.saturating_mul(self.ns_per_mib),
        }
    }

    /// Reads it and says what that cost.
    fn read(&mut self, process: &mut Process, now_ms: u64) -> u64 {
        let foreseen_ns = self.cost_ns(&process.reading);
        let begun_ns = clock_ns(ClockId::CLOCK_THREAD_CPUTIME_ID);
        process.read_pss(now_ms);
        let ended_ns = clock_ns(ClockId::CLOCK_THREAD_CPUTIME_ID);
        let measured = begun_ns.zip(ended_ns);
        let cost_ns = measured.map_or(foreseen_ns, |(begun, ended)| ended.saturating_sub(begun));
        self.learn(&mut process.reading, cost_ns);
        cost_ns
    }

    fn learn(&mut self, reading: &mut Reading, cost_ns: u64) {
        if let Some(pss) = &mut reading.pss {
            pss.cost_ns = cost_ns;
            if pss.rss_bytes >= TELLING_BYTES {
                let ns_per_mib = cost_ns / (pss.rss_bytes >> 20);
                self.ns_per_mib = (3 * self.ns_per_mib + ns_per_mib) / 4;
            }
        }
    }
}

#[cfg(test)]
mod tests;
