//! What workloads read and wrote: sums that never go backwards, whoever comes and goes.
//!
//! As with CPU time, what a process moved passes to its parent when it is waited for, so every
//! vanished process leaves a debt with its next living ancestor. Other than with CPU time, the
//! parent's own and what it took over are one number. So a debt that nobody pays (the parent
//! ignores its children's end, or somebody else waited) hides as much of the parent's own for the
//! few readings it waits: that is told too late or not at all, and nothing is ever told twice.

use super::Owner;
use crate::sample::{
    io::{Io, Moved},
    keyed::{KeyMap, KeySet, PidMap},
    process::{Key, Reading},
};

/// Changes of a parent that a debt waits for: it is read before its children, so what it shows when
/// a child is found gone may be from before, and what it shows next has the child's. Not ticks: a
/// parent is read again when its CPU clock moved, which the kernel may show some milliseconds late.
const DEBT_CHANGES: u8 = 2;

/// What was read and written by workload, counted since each process started.
#[derive(Debug, Default)]
pub(crate) struct FlowLedger {
    /// In the order of the readings, as those of CPU time.
    processes: Vec<Place>,
    workloads: KeyMap<Flow>,
    other: Flow,
    /// Those of whom some living process does not tell.
    silent: KeySet,
    other_silent: bool,
    /// Workloads of which anybody is left; room that every tick uses.
    living: KeySet,
}

/// Read and written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flow {
    pub(crate) read_bytes: u64,
    pub(crate) written_bytes: u64,
}

/// One process', from when it first told.
#[derive(Debug)]
struct Place {
    key: Key,
    account: Option<Account>,
}

#[derive(Debug)]
struct Account {
    ppid: u32,
    counted: Io,
    debt: Io,
    changes_left: u8,
}

// === impl FlowLedger ===

impl FlowLedger {
    /// Counts one tick. `owner` says whose each process is, asked once for each in the order of
    /// the readings.
    pub(crate) fn settle<'a>(
        &mut self,
        readings: impl Iterator<Item = &'a Reading> + Clone,
        mut owner: impl FnMut(&Key) -> Owner,
    ) {
        self.fall_in(readings.clone());
        self.silent.clear();
        self.other_silent = false;
        let mut living = std::mem::take(&mut self.living);
        living.clear();
        let mut last_root = None;
        for (reading, place) in readings.zip(&mut self.processes) {
            let owner = owner(&reading.key);
            if let Owner::Root(root) = owner
                && last_root != Some(root)
            {
                living.insert(root);
                last_root = Some(root);
            }
            let Some(io) = reading.io else {
                match owner {
                    Owner::Root(root) => _ = self.silent.insert(root),
                    Owner::Other => self.other_silent = true,
                }
                continue;
            };
            let account = place.account.get_or_insert_default();
            account.ppid = reading.ppid;
            if account.counted == io && account.debt == Io::default() {
                continue;
            }
            let flow = account.settle(io);
            match owner {
                Owner::Root(root) => self.workloads.entry(root).or_default().add(flow),
                Owner::Other => self.other.add(flow),
            }
        }
        // What ended workloads moved stays in the sum.
        let other = &mut self.other;
        self.workloads.retain(|root, flow| {
            let lives = living.contains(root);
            if !lives {
                other.add(*flow);
            }
            lives
        });
        self.living = living;
    }

    /// One owner's; unknown while any process of it does not tell.
    pub(crate) fn of(&self, owner: Owner) -> Option<Flow> {
        match owner {
            Owner::Root(root) if self.silent.contains(&root) => None,
            Owner::Root(root) => Some(self.workloads.get(&root).copied().unwrap_or_default()),
            Owner::Other if self.other_silent => None,
            Owner::Other => Some(self.other),
        }
    }

    /// All that was counted; unknown while anybody does not tell.
    pub(crate) fn total(&self) -> Option<Flow> {
        if self.other_silent || !self.silent.is_empty() {
            return None;
        }
        let mut total = self.other;
        for flow in self.workloads.values() {
            total.add(*flow);
        }
        Some(total)
    }

    /// Puts the accounts into the order of the readings.
    fn fall_in<'a>(&mut self, readings: impl Iterator<Item = &'a Reading> + Clone) {
        let places = self.processes.iter().map(|place| place.key);
        if places.eq(readings.clone().map(|reading| reading.key)) {
            return;
        }
        let places = std::mem::take(&mut self.processes).into_iter();
        let mut known = places
            .filter_map(|place| Some((place.key, place.account?)))
            .collect();
        bury(&mut known, readings.clone());
        self.processes = readings
            .map(|reading| Place {
                key: reading.key,
                account: known.remove(&reading.key),
            })
            .collect();
    }
}

/// Moves what vanished processes were counted for to whoever will have waited for them.
fn bury<'a>(known: &mut KeyMap<Account>, readings: impl Iterator<Item = &'a Reading> + Clone) {
    let alive = |reading: &&Reading| known.contains_key(&reading.key);
    if readings.clone().filter(alive).count() == known.len() {
        return; // nobody is missing
    }
    let living: PidMap<Key> = readings.map(|r| (r.key.pid, r.key)).collect();
    let gone = |key: &&Key| living.get(&key.pid) != Some(*key);
    let gone: Vec<Key> = known.keys().filter(gone).copied().collect();
    let dead: PidMap<Account> = gone
        .iter()
        .filter_map(|key| Some((key.pid, known.remove(key)?)))
        .collect();
    for account in dead.values() {
        let mut above = account.ppid;
        // A chain of dead parents is as long as there are dead, at most.
        for _ in 0..=dead.len() {
            let payer = living.get(&above);
            if let Some(payer) = payer.and_then(|key| known.get_mut(key)) {
                // With what it owed itself: whoever takes it over takes that, too.
                payer.owe(account.counted);
                payer.owe(account.debt);
                break;
            }
            match dead.get(&above) {
                Some(parent) => above = parent.ppid,
                None => break,
            }
        }
    }
}

// === impl Account ===

impl Default for Account {
    /// Nothing of it is counted yet.
    fn default() -> Self {
        Self {
            ppid: 0,
            counted: Io::default(),
            debt: Io::default(),
            changes_left: 0,
        }
    }
}

impl Account {
    /// What is new of `io`.
    fn settle(&mut self, io: Io) -> Flow {
        let changed = io != self.counted;
        let settle = |now: Moved, counted: &mut Moved, debt: &mut Moved| {
            let more = now.since(*counted);
            *counted = counted.most(now);
            let paid = more.least(*debt);
            *debt = debt.since(paid);
            more.since(paid).bytes()
        };
        let flow = Flow {
            read_bytes: settle(io.read, &mut self.counted.read, &mut self.debt.read),
            written_bytes: settle(
                io.written,
                &mut self.counted.written,
                &mut self.debt.written,
            ),
        };
        if changed {
            self.changes_left = self.changes_left.saturating_sub(1);
        }
        if self.changes_left == 0 {
            self.debt = Io::default(); // nobody waited for it
        }
        flow
    }

    fn owe(&mut self, io: Io) {
        self.debt.read = self.debt.read.plus(io.read);
        self.debt.written = self.debt.written.plus(io.written);
        self.changes_left = DEBT_CHANGES;
    }
}

// === impl Flow ===

impl Flow {
    fn add(&mut self, more: Self) {
        self.read_bytes = self.read_bytes.saturating_add(more.read_bytes);
        self.written_bytes = self.written_bytes.saturating_add(more.written_bytes);
    }
}

#[cfg(test)]
mod tests;
