//! Where the server's figures are: its cgroups, whether they are its own, and the limit over it.
//!
//! All of it moves rarely and is dear to find, so it is held from tick to tick. That the root is
//! still in the same cgroups is checked at every tick; who else is in them when somebody was born
//! or went, and now and then, since processes can be moved without either; limits now and then.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::sample::{
    cgroup::{Group, Groups, Mounts},
    faults,
    file::{Lasting, Page, is_gone},
    gauges::{Gauges, GroupMemory},
    limit::{self, EnvLimits, Limit, Machine},
    own::Ownership,
    tree::{News, Tree},
};

/// What stands until something moves.
#[derive(Debug)]
pub(super) struct Standing {
    proc_root: PathBuf,
    cgroup_root: PathBuf,
    mounts: Mounts,
    membership: Lasting,
    page: Page,
    /// What the root's membership said when the groups were found; `None` before the first look.
    member_of: Option<Vec<u8>>,
    groups: Groups,
    owned: Ownership,
    own_cpu: Option<Group>,
    /// Agents in it, whose time is not the server's. One beside it costs it nothing.
    cpu_agents: Vec<u32>,
    /// Counts changes of either.
    cpu_epoch: u64,
    limit: Option<Arc<Limit>>,
    cpu_limit_millicores: Option<u32>,
    limits_for: Option<EnvLimits>,
    /// Of the own cgroup, else of the one whose kills are counted.
    memory: Option<Gauges>,
    cpu: Option<Gauges>,
    /// Of the cgroup whose limit others use up, too.
    shared: Option<Gauges>,
}

/// What of it has to be looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Look {
    Nothing,
    /// Who is in the cgroups.
    Members,
    /// Everything.
    All,
}

// === impl Standing ===

impl Standing {
    /// Nothing is looked at yet.
    pub(super) fn new(proc_root: &Path, cgroup_root: &Path, root_pid: u32, keep: bool) -> Self {
        let membership = proc_root.join(root_pid.to_string()).join("cgroup");
        Self {
            proc_root: proc_root.to_owned(),
            cgroup_root: cgroup_root.to_owned(),
            mounts: Mounts::read(proc_root, cgroup_root),
            membership: Lasting::new(membership, keep),
            page: Page::default(),
            member_of: None,
            groups: Groups::default(),
            owned: Ownership::default(),
            own_cpu: None,
            cpu_agents: Vec::new(),
            cpu_epoch: 0,
            limit: None,
            cpu_limit_millicores: None,
            limits_for: None,
            memory: None,
            cpu: None,
            shared: None,
        }
    }

    /// Looks again at what may have moved; returns orphans that only the own cgroup shows.
    pub(super) fn look(&mut self, tree: &Tree, news: News) -> &[u32] {
        let mut look = match news {
            // What stays open nowhere says nothing about what moved.
            _ if !tree.keeps() => Look::All,
            News::Nothing | News::Members => match self.stranger() {
                // While somebody else is in it, births cannot make it ours.
                Some(pid) if tree.is_there(pid) => Look::Nothing,
                // Its end is no birth.
                Some(_) => Look::Members,
                None if news == News::Members => Look::Members,
                None => Look::Nothing,
            },
            News::Resync => Look::All,
        };
        let before = self.member_of.as_deref();
        let text = match self.membership.read(&mut self.page) {
            Ok(text) => text,
            // Without the file, in no cgroup that we know.
            Err(error) if is_gone(&error) => &[],
            // It says so at the next tick; it is no reason to change what is measured.
            Err(error) => {
                faults::note(self.membership.path(), &error);
                before.unwrap_or_default()
            }
        };
        if !before.is_some_and(|before| is_same(before, text)) {
            self.member_of = Some(text.to_vec());
            look = Look::All;
        }
        if look == Look::All {
            let text = self.member_of.as_deref().unwrap_or_default();
            self.groups = Groups::of(&self.mounts, text, tree.root_pid());
            self.limits_for = None;
        }
        if look > Look::Nothing {
            self.decide(tree, look);
            return &self.owned.orphans;
        }
        &[]
    }

    /// Has everything looked at again at the next tick.
    pub(super) fn distrust(&mut self) {
        self.member_of = None;
        self.limits_for = None;
        if self.mounts.is_empty() {
            self.mounts = Mounts::read(&self.proc_root, &self.cgroup_root);
        }
    }

    /// Whether any cgroup is mounted.
    pub(super) fn sees_mounts(&self) -> bool {
        !self.mounts.is_empty()
    }

    /// The first of those who make the cgroup not ours, where none is ours.
    fn stranger(&self) -> Option<u32> {
        if self.own_cpu.is_some() {
            return None;
        }
        let stranger = self.owned.checked.last()?.strangers.first()?;
        (stranger.pid != 0).then_some(stranger.pid)
    }

    fn decide(&mut self, tree: &Tree, look: Look) {
        let before = self.owned.own.take();
        let memory = self.groups.memory.as_ref();
        self.owned = Ownership::decide(memory, tree, |group| {
            Gauges::new(group.clone(), false).memory().is_some()
        });
        if self.owned.own != before {
            self.limits_for = None;
        }
        // In version 2 memory and CPU are the same cgroup; in version 1 each has its own tree.
        let cpu_before = self.own_cpu.take();
        self.own_cpu = match &self.groups.cpuacct {
            None => None,
            Some(group) if memory == Some(group) => self.owned.own.clone(),
            Some(group) => {
                let accounts = |group: &Group| Gauges::new(group.clone(), false).cpu_ns().is_some();
                Ownership::decide(Some(group), tree, accounts).own
            }
        };
        let mut moved = self.own_cpu != cpu_before;
        if moved || look == Look::All {
            let pids = self.own_cpu.as_ref().and_then(Group::pids);
            let inside = pids.unwrap_or_default().into_iter();
            let agents: Vec<u32> = inside.filter(|pid| tree.is_agent(*pid)).collect();
            moved |= agents != self.cpu_agents;
            self.cpu_agents = agents;
        }
        self.cpu_epoch += u64::from(moved);
        let keep = tree.keeps();
        let counts = self.owned.own.as_ref().or(memory);
        self.memory = renewed(self.memory.take(), counts, keep);
        self.cpu = renewed(self.cpu.take(), self.own_cpu.as_ref(), keep);
    }

    /// Reads the own cgroup's memory and the kills that were counted. A cgroup that does not
    /// answer is not held on to.
    pub(super) fn memory(&mut self) -> (Option<GroupMemory>, Option<u64>) {
        let Some(gauges) = &mut self.memory else {
            return (None, None);
        };
        let memory = self.owned.own.as_ref().and_then(|_| gauges.memory());
        if self.owned.own.is_some() && memory.is_none() {
            self.member_of = None;
        }
        (memory, gauges.oom_kills())
    }

    /// CPU time of the own cgroup.
    pub(super) fn cpu_ns(&mut self) -> Option<u64> {
        self.cpu.as_mut()?.cpu_ns()
    }

    /// Another number, another cgroup that counts CPU time.
    pub(super) fn cpu_epoch(&self) -> u64 {
        self.cpu_epoch
    }

    /// The agents in it.
    pub(super) fn cpu_agents(&self) -> &[u32] {
        &self.cpu_agents
    }

    /// The limits in force.
    pub(super) fn limits(
        &mut self,
        env: &EnvLimits,
        machine: &Machine,
        tree: &Tree,
    ) -> (Option<Arc<Limit>>, Option<u32>) {
        if self.limits_for.as_ref() != Some(env) {
            let own = self.owned.own.as_ref();
            let limit = Limit::find(self.groups.memory.as_ref(), own, env, machine, tree);
            self.limit = limit.map(Arc::new);
            self.cpu_limit_millicores = limit::cpu_limit_millicores(self.groups.cpu.as_ref(), env);
            let shared = self.limit.as_ref().filter(|limit| limit.shared);
            let group = shared.and_then(|limit| limit.group.as_ref());
            self.shared = renewed(self.shared.take(), group, tree.keeps());
            self.limits_for = Some(*env);
        }
        (self.limit.clone(), self.cpu_limit_millicores)
    }

    /// What all together use of a limit that others share.
    pub(super) fn shared_use(&mut self) -> Option<u64> {
        Some(self.shared.as_mut()?.memory()?.used_bytes)
    }

    /// What was decided about the cgroups.
    pub(super) fn owned(&self) -> &Ownership {
        &self.owned
    }

    /// The own cgroup that counts CPU time.
    pub(super) fn own_cpu(&self) -> Option<&Group> {
        self.own_cpu.as_ref()
    }
}

/// Eight bytes at a time: the static build's C library compares one by one, and this is compared at
/// every tick.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let ((ones, rest), (others, other_rest)) = (one.as_chunks::<8>(), other.as_chunks::<8>());
    one.len() == other.len()
        && rest == other_rest
        && ones.iter().zip(others).all(|(one, other)| one == other)
}

/// The gauges of `group`: those there were, if they are its.
fn renewed(gauges: Option<Gauges>, group: Option<&Group>, keep: bool) -> Option<Gauges> {
    let group = group?;
    match gauges {
        Some(mut gauges) if gauges.group() == group => {
            gauges.look_below(keep);
            Some(gauges)
        }
        _ => Some(Gauges::new(group.clone(), keep)),
    }
}
