//! Two readings → rates: CPU time that never goes backwards, whoever comes and goes.
//!
//! A process' time moves to its parent when it is waited for. What was already counted while it
//! lived must not be counted again then, and what it used between its last reading and its end
//! must be counted once. So every vanished process leaves a [`debt`] with whoever will have waited
//! for it, and what that reaps pays the debt before it counts as new.
//!
//! What is found out late (an orphan of a minute ago) is shown no faster than the machine can have
//! used it: no interval has more than its cores.

pub(crate) mod flow;

use crate::sample::{
    keyed::{KeyMap, KeySet, PidMap},
    process::{Key, Reading},
};

mod debt;

use self::debt::{OrphanDebts, Owed, ROUNDING_NS, Reaper};

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
    /// In the order of the readings: as long as nobody comes or goes the two are walked side by
    /// side, and nobody is looked up.
    processes: Vec<Account>,
    workloads: KeyMap<Counted>,
    other: Counted,
    agent: Reaper,
    orphans: OrphanDebts,
    cgroup: Option<CgroupAccount>,
    /// Workloads of which anybody is left; room that every tick uses.
    living: KeySet,
    /// Who waited for somebody since the tick before.
    reaped: Vec<Reaped>,
    /// Who waited for children: their sums lag by rounding.
    reapers: u64,
    /// CPUs of the machine, when it had to be asked.
    cpus: Option<u64>,
}

/// CPU time of the own cgroup, read before the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CgroupTime {
    /// Another number, another cgroup.
    pub(crate) epoch: u64,
    /// All that was used in it.
    pub(crate) used_ns: u64,
    /// Of it, by agents.
    pub(crate) agents_ns: u64,
}

/// Time that is shown, and time that is known but would be more than the interval's cores.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    shown_ns: u64,
    held_ns: u64,
}

/// What one waited for since the tick before.
#[derive(Debug)]
struct Reaped {
    key: Key,
    /// Its place among the accounts; the agent has none.
    account: Option<usize>,
    owner: Owner,
    /// In the end, what nobody was counted for yet.
    more_ns: u64,
}

#[derive(Debug)]
struct Account {
    key: Key,
    ppid: u32,
    own_ns: u64,
    reaper: Reaper,
    zombie: bool,
}

/// The cgroup's own account: what nobody waited for shows only there.
#[derive(Debug)]
struct CgroupAccount {
    base: CgroupTime,
    base_tree_ns: u64,
    counted_ns: u64,
    /// Of it, what the tree's sums may have shown since.
    shown_here_ns: u64,
}

// === impl Ledger ===

impl Ledger {
    /// Counts one tick. `owner` says whose each process is, asked once for each in the order of
    /// the readings; `agent` is the subreaper's pid and what it waited for so far.
    pub(crate) fn settle<'a>(
        &mut self,
        readings: impl Iterator<Item = &'a Reading> + Clone,
        mut owner: impl FnMut(&Key) -> Owner,
        agent: Option<(u32, u64)>,
    ) {
        self.fall_in(readings.clone(), agent.map(|(pid, _)| pid));
        let mut living = std::mem::take(&mut self.living);
        living.clear();
        let mut last_root = None;
        self.reapers = 0;
        self.reaped.clear();
        for (at, (reading, account)) in readings.zip(&mut self.processes).enumerate() {
            (account.ppid, account.zombie) = (reading.ppid, reading.zombie);
            let own_ns = reading.own_ns.saturating_sub(account.own_ns);
            account.own_ns = account.own_ns.max(reading.own_ns);
            self.reapers += u64::from(reading.reaped_ns > 0);
            if let Some(cgroup) = &mut self.cgroup
                && reading.reaped_ns > 0
                && account.reaper.reaped_ns == 0
            {
                // Less than a clock tick did not show here, but there.
                let known_ns = ROUNDING_NS.min(cgroup.counted_ns - cgroup.shown_here_ns);
                cgroup.shown_here_ns += known_ns;
                account.reaper.owe_rounding(known_ns);
            }
            let more_ns = account.reaper.more_ns(reading.reaped_ns);
            let owner = owner(&reading.key);
            match owner {
                // One workload's processes mostly follow each other, and most are idle.
                Owner::Root(root) if own_ns == 0 && last_root == Some(root) => {}
                Owner::Root(root) => {
                    living.insert(root);
                    self.workloads.entry(root).or_default().hold(own_ns);
                    last_root = Some(root);
                }
                Owner::Other => self.other.hold(own_ns),
            }
            if more_ns > 0 {
                let key = reading.key;
                self.reaped.push(Reaped {
                    key,
                    account: Some(at),
                    owner,
                    more_ns,
                });
            }
        }
        self.pay();
        if let Some((_, reaped_ns)) = agent {
            let more_ns = self.reaped_by_agent(reaped_ns);
            self.other.hold(more_ns);
            self.reaped.push(Reaped {
                key: Key::FIRST,
                account: None,
                owner: Owner::Other,
                more_ns,
            });
        }
        self.age();
        // What ended workloads used stays in the sum.
        let other = &mut self.other;
        self.workloads.retain(|root, counted| {
            let lives = living.contains(root);
            if !lives {
                other.shown_ns = other.shown_ns.saturating_add(counted.shown_ns);
                other.hold(counted.held_ns);
            }
            lives
        });
        self.living = living;
    }

    /// Has whoever waited pay what is owed; what is left is new. One's own debts come before those
    /// of orphans, which somebody else may pay.
    fn pay(&mut self) {
        for owed in [Owed::Before, Owed::Now] {
            for reaped in &mut self.reaped {
                let account = reaped.account.and_then(|at| self.processes.get_mut(at));
                if let Some(account) = account {
                    reaped.more_ns = account.reaper.pay(owed, reaped.more_ns);
                }
            }
            self.orphans.pay_by(owed, &mut self.reaped);
        }
        for reaped in &self.reaped {
            match reaped.owner {
                Owner::Root(root) => self.workloads.entry(root).or_default().hold(reaped.more_ns),
                Owner::Other => self.other.hold(reaped.more_ns),
            }
        }
    }

    /// What the agent waited for and nobody was counted for yet.
    fn reaped_by_agent(&mut self, reaped_ns: u64) -> u64 {
        let mut more_ns = self.agent.more_ns(reaped_ns);
        for owed in [Owed::Before, Owed::Now] {
            more_ns = self.agent.pay(owed, more_ns);
            more_ns = self.orphans.pay(owed, more_ns);
            more_ns = self.relieve(owed, more_ns);
        }
        more_ns
    }

    /// Whose parent ended after it was read is an orphan that nobody knew.
    fn relieve(&mut self, owed: Owed, more_ns: u64) -> u64 {
        let mut left_ns = more_ns;
        for account in &mut self.processes {
            if left_ns == 0 {
                break;
            }
            left_ns = account.reaper.relieve(owed, account.zombie, left_ns);
        }
        left_ns
    }

    fn age(&mut self) {
        self.agent.age();
        for account in &mut self.processes {
            account.reaper.age();
        }
        let processes = &mut self.processes;
        self.orphans.age(|payer, ns| {
            if let Some(account) = processes.iter_mut().find(|account| account.key == *payer) {
                account.reaper.owe_rounding(ns);
            }
        });
    }

    /// Takes the own cgroup's account: what it counted more than the tree did since the first
    /// such tick is somebody's whom nobody saw. `None`, or another cgroup, starts anew.
    pub(crate) fn settle_cgroup(&mut self, time: Option<CgroupTime>) {
        let Some(time) = time else {
            self.cgroup = None;
            return;
        };
        let tree_ns = self.known_ns();
        if self
            .cgroup
            .as_ref()
            .is_none_or(|a| a.base.epoch != time.epoch)
        {
            self.cgroup = Some(CgroupAccount {
                base: time,
                base_tree_ns: tree_ns,
                counted_ns: 0,
                shown_here_ns: 0,
            });
            return;
        }
        let Some(account) = &mut self.cgroup else {
            return;
        };
        let agents_ns = time.agents_ns.saturating_sub(account.base.agents_ns);
        let cgroup_ns = time
            .used_ns
            .saturating_sub(account.base.used_ns)
            .saturating_sub(agents_ns);
        let tree_ns = tree_ns
            .saturating_sub(account.base_tree_ns)
            .saturating_sub(account.counted_ns);
        // Who was waited for after his parent was read was seen by the cgroup alone at that tick,
        // and is in the parent's sum at this one. What is taken for that wrongly, the cgroup tells
        // at the next.
        let beyond_ns = tree_ns
            .saturating_add(account.counted_ns)
            .saturating_sub(cgroup_ns);
        let twice_ns = beyond_ns.min(account.counted_ns - account.shown_here_ns);
        let twice_ns = take_back(&self.reaped, twice_ns, &mut self.workloads, &mut self.other);
        account.shown_here_ns += twice_ns;
        // Sums of what was waited for lag by rounding: that will be counted there.
        let tree_ns = tree_ns
            .saturating_sub(twice_ns)
            .saturating_add(self.reapers.saturating_mul(ROUNDING_NS));
        let unseen_ns = cgroup_ns.saturating_sub(tree_ns);
        let more_ns = unseen_ns.saturating_sub(account.counted_ns);
        account.counted_ns = account.counted_ns.saturating_add(more_ns);
        self.other.hold(more_ns);
    }

    /// Shows what is known by now, but no more than `cpus` can have used in `interval_ms`; `None`
    /// has no bound. The rest follows.
    pub(crate) fn show(&mut self, interval_ms: Option<u64>, cpus: impl Fn() -> Option<u64>) {
        let held_ns = self.known_ns() - self.total_ns();
        let bound =
            |cpus: u64| interval_ms.map(|ms| ms.saturating_mul(1_000_000).saturating_mul(cpus));
        if bound(self.cpus.unwrap_or(1)).is_some_and(|bound_ns| held_ns > bound_ns) {
            self.cpus = cpus();
        }
        let bound_ns = self.cpus.and_then(bound).unwrap_or(held_ns).min(held_ns);
        let workloads = self.workloads.values_mut();
        for counted in workloads.chain([&mut self.other]) {
            counted.show(bound_ns, held_ns);
        }
    }

    /// All time that is shown.
    pub(crate) fn total_ns(&self) -> u64 {
        let of_workloads = self.workloads.values();
        of_workloads.fold(self.other.shown_ns, |sum, c| sum.saturating_add(c.shown_ns))
    }

    /// One workload's.
    pub(crate) fn workload_ns(&self, root: &Key) -> u64 {
        self.workloads.get(root).map_or(0, |c| c.shown_ns)
    }

    /// Nobody's, and that of workloads which ended.
    pub(crate) fn other_ns(&self) -> u64 {
        self.other.shown_ns
    }

    /// All time that is known.
    fn known_ns(&self) -> u64 {
        let known = |c: &Counted| c.shown_ns.saturating_add(c.held_ns);
        let of_workloads = self.workloads.values().map(known);
        of_workloads.fold(known(&self.other), u64::saturating_add)
    }

    /// Puts the accounts into the order of the readings: those that went are buried, newcomers
    /// have nothing counted yet.
    fn fall_in<'a>(
        &mut self,
        readings: impl Iterator<Item = &'a Reading> + Clone,
        agent: Option<u32>,
    ) {
        let accounts = self.processes.iter().map(|account| account.key);
        if accounts.eq(readings.clone().map(|reading| reading.key)) {
            return;
        }
        let accounts = std::mem::take(&mut self.processes);
        let mut known = accounts.into_iter().map(|a| (a.key, a)).collect();
        self.bury(&mut known, readings.clone(), agent);
        self.processes = readings
            .map(|reading| {
                let account = known.remove(&reading.key);
                account.unwrap_or_else(|| Account::of(reading))
            })
            .collect();
    }

    /// Moves what vanished processes were counted for to whoever will have waited for them.
    fn bury<'a>(
        &mut self,
        known: &mut KeyMap<Account>,
        readings: impl Iterator<Item = &'a Reading> + Clone,
        agent: Option<u32>,
    ) {
        let counted = readings.clone();
        let alive = counted
            .filter(|reading| known.contains_key(&reading.key))
            .count();
        if alive == known.len() {
            return; // nobody is missing
        }
        let living: PidMap<(Key, u32)> = readings.map(|r| (r.key.pid, (r.key, r.ppid))).collect();
        let is_dead = |key: &&Key| living.get(&key.pid).is_none_or(|(lives, _)| lives != *key);
        let dead: Vec<Key> = known.keys().filter(is_dead).copied().collect();
        let dead: PidMap<Account> = dead
            .iter()
            .filter_map(|key| known.remove(key))
            .map(|account| (account.key.pid, account))
            .collect();
        for account in dead.values() {
            let counted_ns = account.own_ns.saturating_add(account.reaper.counted_ns());
            let parent_of = |pid: u32, before: &Key| {
                let (key, _) = living.get(&pid)?;
                // A younger one has the pid of a parent that is gone.
                (key.start_ticks <= before.start_ticks).then_some(*key)
            };
            let parent = parent_of(account.ppid, &account.key).and_then(|key| known.get_mut(&key));
            if let Some(parent) = parent {
                parent.reaper.inherit(account.own_ns, &account.reaper);
            } else if agent == Some(account.ppid) {
                self.agent.owe(counted_ns);
            } else if dead.contains_key(&account.ppid) {
                let payers = ancestors(account, &dead, &living);
                if agent.is_some() || !payers.is_empty() {
                    self.orphans.owe(counted_ns, payers);
                }
            }
        }
    }
}

/// Takes so much of what was just `reaped` and is not shown yet; says how much there was.
fn take_back(
    reaped: &[Reaped],
    most_ns: u64,
    workloads: &mut KeyMap<Counted>,
    other: &mut Counted,
) -> u64 {
    let mut left_ns = most_ns;
    for reaped in reaped {
        let counted = match &reaped.owner {
            Owner::Root(root) => workloads.get_mut(root),
            Owner::Other => Some(&mut *other),
        };
        let Some(counted) = counted else { continue };
        let taken_ns = left_ns.min(reaped.more_ns).min(counted.held_ns);
        counted.held_ns -= taken_ns;
        left_ns -= taken_ns;
    }
    most_ns - left_ns
}

/// The living ancestors of one that died with its parent, the nearest first.
fn ancestors(account: &Account, dead: &PidMap<Account>, living: &PidMap<(Key, u32)>) -> Vec<Key> {
    let mut above = account.ppid;
    let mut payers = Vec::new();
    // Each step goes up: there are no more of them than processes, whatever pids did meanwhile.
    for _ in 0..=dead.len() + living.len() {
        let older = |start_ticks: u64| start_ticks <= account.key.start_ticks;
        if let Some((key, ppid)) = living.get(&above).filter(|(key, _)| older(key.start_ticks)) {
            payers.push(*key);
            above = *ppid;
        } else if let Some(parent) = dead.get(&above) {
            above = parent.ppid;
        } else {
            break;
        }
    }
    payers
}

// === impl Counted ===

impl Counted {
    /// Is to be shown.
    fn hold(&mut self, ns: u64) {
        self.held_ns = self.held_ns.saturating_add(ns);
    }

    /// Shows its part of `bound_ns`, of all `held_ns` together.
    fn show(&mut self, bound_ns: u64, held_ns: u64) {
        let part = u128::from(self.held_ns) * u128::from(bound_ns);
        let part_ns = part.checked_div(u128::from(held_ns)).unwrap_or(0) as u64;
        self.shown_ns = self.shown_ns.saturating_add(part_ns);
        self.held_ns -= part_ns;
    }
}

// === impl Account ===

impl Account {
    /// Nothing of it is counted yet.
    fn of(reading: &Reading) -> Self {
        Self {
            key: reading.key,
            ppid: reading.ppid,
            own_ns: 0,
            reaper: Reaper::default(),
            zombie: reading.zombie,
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
