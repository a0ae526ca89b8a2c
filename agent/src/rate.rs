//! Two readings → rates: CPU time that never goes backwards, whoever comes and goes.
//!
//! A process' time moves to its parent when it is waited for. What was already counted while it
//! lived must not be counted again then, and what it used between its last reading and its end
//! must be counted once. So every vanished process leaves a debt with its next living ancestor,
//! and what that reaps pays the debt before it counts as new.

use crate::sample::{
    keyed::{KeyMap, KeySet, PidMap},
    process::{Key, Reading},
};

/// Ticks that a debt waits for its child to be reaped: parents are read before children, so the
/// reaping may show one tick after the vanishing; one more for a slow parent.
const DEBT_TICKS: u64 = 2;

/// What rounding to clock ticks may leave of a debt: up to one tick in each of two fields.
const ROUNDING_NS: u64 = 20_000_000;

/// Whose a process' time is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Owner {
    /// The workload with this top-most process.
    Root(Key),
    /// Nobody's in particular.
    Other,
}

/// CPU time by workload, counted since the first tick.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    processes: KeyMap<Account>,
    workloads: KeyMap<u64>,
    other_ns: u64,
    agent: Reaper,
    cgroup: Option<CgroupAccount>,
    tick: u64,
}

#[derive(Debug)]
struct Account {
    pid: u32,
    ppid: u32,
    own_ns: u64,
    reaper: Reaper,
}

/// Somebody who waits for children.
#[derive(Debug, Default)]
struct Reaper {
    reaped_ns: u64,
    debt_ns: u64,
    debt_until: u64,
}

/// The cgroup's own account: what nobody waited for shows only there.
#[derive(Debug)]
struct CgroupAccount {
    base_cgroup_ns: u64,
    base_agents_ns: u64,
    base_tree_ns: u64,
    counted_ns: u64,
}

// === impl Reaper ===

impl Reaper {
    /// New time among what is reaped so far.
    fn settle(&mut self, reaped_ns: u64, tick: u64) -> u64 {
        let more_ns = reaped_ns.saturating_sub(self.reaped_ns);
        self.reaped_ns = self.reaped_ns.max(reaped_ns);
        let paid_ns = more_ns.min(self.debt_ns);
        self.debt_ns -= paid_ns;
        if tick >= self.debt_until {
            // Nobody waited for it, or not yet to the last clock tick.
            self.debt_ns = self.debt_ns.min(ROUNDING_NS);
        }
        more_ns - paid_ns
    }

    fn owe(&mut self, ns: u64, tick: u64) {
        self.debt_ns = self.debt_ns.saturating_add(ns);
        self.debt_until = tick + DEBT_TICKS;
    }
}

// === impl Ledger ===

impl Ledger {
    /// Counts one tick. `owner` says whose each process is; `agent` is the subreaper's pid and
    /// what it waited for so far.
    pub(crate) fn settle<'a>(
        &mut self,
        readings: impl Iterator<Item = &'a Reading> + Clone,
        owner: impl Fn(&Key) -> Owner,
        agent: Option<(u32, u64)>,
    ) {
        self.tick += 1;
        self.bury(readings.clone(), agent.map(|(pid, _)| pid));
        let mut living = KeySet::default();
        for reading in readings {
            let account = self
                .processes
                .entry(reading.key)
                .or_insert_with(|| Account::of(reading));
            account.ppid = reading.ppid;
            let own_ns = reading.own_ns.saturating_sub(account.own_ns);
            account.own_ns = account.own_ns.max(reading.own_ns);
            let reaped_ns = account.reaper.settle(reading.reaped_ns, self.tick);
            let new_ns = own_ns.saturating_add(reaped_ns);
            match owner(&reading.key) {
                Owner::Root(root) => {
                    living.insert(root);
                    let ns = self.workloads.entry(root).or_insert(0);
                    *ns = ns.saturating_add(new_ns);
                }
                Owner::Other => self.other_ns = self.other_ns.saturating_add(new_ns),
            }
        }
        if let Some((_, reaped_ns)) = agent {
            let ns = self.agent.settle(reaped_ns, self.tick);
            self.other_ns = self.other_ns.saturating_add(ns);
        }
        // What ended workloads used stays in the sum.
        let other_ns = &mut self.other_ns;
        self.workloads.retain(|root, ns| {
            let lives = living.contains(root);
            if !lives {
                *other_ns = other_ns.saturating_add(*ns);
            }
            lives
        });
    }

    /// Takes the own cgroup's account: what it counted more than the tree did since the first
    /// such tick is somebody's whom nobody saw. `None` starts anew: the cgroup is not ours now.
    pub(crate) fn settle_cgroup(&mut self, cgroup_and_agents_ns: Option<(u64, u64)>) {
        let Some((cgroup_ns, agents_ns)) = cgroup_and_agents_ns else {
            self.cgroup = None;
            return;
        };
        let total_ns = self.total_ns();
        let account = self.cgroup.get_or_insert(CgroupAccount {
            base_cgroup_ns: cgroup_ns,
            base_agents_ns: agents_ns,
            base_tree_ns: total_ns,
            counted_ns: 0,
        });
        let cgroup_ns = cgroup_ns
            .saturating_sub(account.base_cgroup_ns)
            .saturating_sub(agents_ns.saturating_sub(account.base_agents_ns));
        let tree_ns = total_ns
            .saturating_sub(account.base_tree_ns)
            .saturating_sub(account.counted_ns);
        let unseen_ns = cgroup_ns.saturating_sub(tree_ns);
        let more_ns = unseen_ns.saturating_sub(account.counted_ns);
        account.counted_ns = account.counted_ns.saturating_add(more_ns);
        self.other_ns = self.other_ns.saturating_add(more_ns);
    }

    /// All time counted.
    pub(crate) fn total_ns(&self) -> u64 {
        let of_workloads = self.workloads.values();
        of_workloads.fold(self.other_ns, |sum, ns| sum.saturating_add(*ns))
    }

    /// One workload's.
    pub(crate) fn workload_ns(&self, root: &Key) -> u64 {
        self.workloads.get(root).copied().unwrap_or(0)
    }

    /// Nobody's, and that of workloads which ended.
    pub(crate) fn other_ns(&self) -> u64 {
        self.other_ns
    }

    /// Moves what vanished processes were counted for to whoever will have waited for them.
    fn bury<'a>(
        &mut self,
        readings: impl Iterator<Item = &'a Reading> + Clone,
        agent: Option<u32>,
    ) {
        let counted = readings.clone();
        let alive = counted
            .filter(|reading| self.processes.contains_key(&reading.key))
            .count();
        if alive == self.processes.len() {
            return; // nobody is missing
        }
        let living_pids: PidMap<Key> = readings.map(|r| (r.key.pid, r.key)).collect();
        let dead: Vec<Key> = self
            .processes
            .keys()
            .filter(|key| living_pids.get(&key.pid) != Some(key))
            .copied()
            .collect();
        let dead: PidMap<Account> = dead
            .iter()
            .filter_map(|key| self.processes.remove(key))
            .map(|account| (account.pid, account))
            .collect();
        for account in dead.values() {
            let counted_ns = account.own_ns.saturating_add(account.reaper.reaped_ns);
            let mut above = account.ppid;
            // A chain of dead parents is as long as there are dead, at most.
            for _ in 0..=dead.len() {
                if let Some(payer) = living_pids
                    .get(&above)
                    .and_then(|key| self.processes.get_mut(key))
                {
                    payer.reaper.owe(counted_ns, self.tick);
                    break;
                }
                if agent == Some(above) {
                    self.agent.owe(counted_ns, self.tick);
                    break;
                }
                match dead.get(&above) {
                    Some(parent) => above = parent.ppid,
                    None => break,
                }
            }
        }
    }
}

// === impl Account ===

impl Account {
    /// Nothing of it is counted yet.
    fn of(reading: &Reading) -> Self {
        Self {
            pid: reading.key.pid,
            ppid: reading.ppid,
            own_ns: 0,
            reaper: Reaper::default(),
        }
    }
}

/// Cores in use: CPU time by the time that passed, to a ten-thousandth of a core. `None` when no
/// time passed.
pub(crate) fn cores(cpu_ns: u64, interval_ms: u64) -> Option<f64> {
    if interval_ms == 0 {
        return None;
    }
    #[allow(clippy::cast_precision_loss)] // both far below 2^53
    let cores = cpu_ns as f64 / (interval_ms as f64 * 1e6);
    Some((cores * 1e4).round() / 1e4)
}

#[cfg(test)]
mod tests;
