//! One server, tick by tick: reads the machine, tells workloads apart, derives rates.

use std::{collections::HashMap, path::PathBuf};

use hubmeter_proto::limits::{ENDED_PER_SAMPLE_MAX, WORKLOADS_PER_SAMPLE_MAX};

pub use crate::sample::error::SampleError;
use crate::{
    clock::Clock,
    rate::{Ledger, Owner, cores},
    sample::{
        Ended, MemorySource, Sample, Workload, WorkloadKind,
        cgroup::{CGROUP_ROOT, Checked, Group, GroupMemory, Groups, Ownership},
        limit::{self, EnvLimits, Limit, Machine},
        memory::{self, PssBudget, TreeMemory},
        process::{Key, Reading},
        rfc3339,
        tree::Tree,
    },
    workload::{Assignment, Claims, Names, told::Told},
};

/// Ticks for which an out-of-memory kill waits for its victim to vanish: a killed kernel stays a
/// zombie until Jupyter looks after it, every few seconds.
const OOM_CLAIM_TICKS: u64 = 3;

/// What is sampled, and through which eyes.
#[derive(Clone, Debug)]
pub struct Target {
    /// The server's root process.
    pub root_pid: u32,
    /// Where `/proc` is; tests build their own.
    pub proc_root: PathBuf,
    /// Where cgroups are mounted; tests build their own.
    pub cgroup_root: PathBuf,
    /// What the agent's own environment says, for what the server's does not.
    pub environ: EnvLimits,
    /// The agent itself: never part of what it measures.
    pub own_pid: u32,
    /// Whether the agent is the subreaper that orphans of the server come to (`run -- CMD`).
    pub subreaper: bool,
    /// How much of names may leave.
    pub names: Names,
}

/// When proportional set sizes are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PssMode {
    /// At every tick, of every process.
    Always,
    /// Rarely, and within a budget of time.
    Budget,
}

/// Samples one server.
#[derive(Debug)]
pub struct Sampler {
    target: Target,
    pss_mode: PssMode,
    tree: Tree,
    pss_budget: PssBudget,
    claims: Claims,
    ledger: Ledger,
    previous: Option<Previous>,
    kills: Kills,
    seen: Seen,
}

/// How the last sample came about; for `doctor`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Cgroups that were looked at for the memory figure.
    pub(crate) memory_groups: Vec<Checked>,
    /// Whether any process' proportional set may be read.
    pub(crate) pss_denied: usize,
    /// Whether parents are found by reading all of `/proc`.
    pub(crate) scans_proc: bool,
    /// Where CPU time is also counted by the kernel.
    pub(crate) cpu_group: Option<String>,
    /// Orphans outside of the tree.
    pub(crate) orphans: usize,
}

/// What the next tick compares with.
#[derive(Debug)]
struct Previous {
    mono_ms: u64,
    total_ns: u64,
    other_ns: u64,
    workload_ns: HashMap<Key, u64>,
    /// Kernels and terminals, which somebody will miss.
    missable: HashMap<Key, Ended>,
}

/// Out-of-memory kills that found no victim yet.
#[derive(Debug, Default)]
struct Kills {
    counted: Option<u64>,
    unclaimed: u64,
    until_tick: u64,
    tick: u64,
}

/// Sums of one workload.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    memory_used_bytes: u64,
    rss_bytes: u64,
    pss_bytes: Option<u64>,
    processes: u32,
    threads: u32,
    top_pid: u32,
}

/// The memory of the whole server.
struct Memory {
    source: MemorySource,
    used_bytes: u64,
    working_set_bytes: Option<u64>,
    swap_bytes: Option<u64>,
    age_ms: u64,
}

// === impl Target ===

impl Target {
    /// The server rooted at `root_pid` on this machine, measured by this process.
    #[must_use]
    pub fn this_machine(root_pid: u32) -> Self {
        Self {
            root_pid,
            proc_root: PathBuf::from("/proc"),
            cgroup_root: PathBuf::from(CGROUP_ROOT),
            environ: EnvLimits::own(),
            own_pid: std::process::id(),
            subreaper: false,
            names: Names::Base,
        }
    }
}

// === impl Sampler ===

impl Sampler {
    /// Starts to follow the server.
    ///
    /// # Errors
    /// When the root process is not there or `/proc` cannot be read.
    pub fn new(target: Target, pss_mode: PssMode) -> Result<Self, SampleError> {
        let tree = Tree::new(
            &target.proc_root,
            target.root_pid,
            target.own_pid,
            target.subreaper,
        )?;
        Ok(Self {
            target,
            pss_mode,
            tree,
            pss_budget: PssBudget::default(),
            claims: Claims::default(),
            ledger: Ledger::default(),
            previous: None,
            kills: Kills::default(),
            seen: Seen::default(),
        })
    }

    /// Takes what the server extension knows; replaces what it told before.
    pub fn told(&mut self, told: Told) {
        self.claims.replace(told);
    }

    /// Takes one sample.
    ///
    /// # Errors
    /// [`SampleError::Gone`] when the root process is gone, else which file failed.
    pub fn tick(&mut self, clock: &dyn Clock) -> Result<Sample, SampleError> {
        let (mono_ms, wall_ms) = (clock.mono_ms(), clock.wall_ms());
        self.tree.update(mono_ms)?;
        let groups = self.groups();
        let owned = Ownership::decide(groups.memory.as_ref(), &self.tree, |group| {
            group.memory().is_some()
        });
        for pid in &owned.orphans {
            self.tree.adopt(*pid)?;
        }
        match self.pss_mode {
            PssMode::Always => memory::read_all(&mut self.tree, mono_ms),
            PssMode::Budget => self.pss_budget.read(&mut self.tree, mono_ms),
        }
        let machine = Machine::read(&self.target.proc_root);
        let tree_memory = TreeMemory::of(self.tree.readings(), mono_ms);
        let memory = Memory::choose(owned.own.as_ref(), &tree_memory, &machine);

        let assignment = {
            let readings: Vec<&Reading> = self.tree.readings().collect();
            Assignment::of(
                &readings,
                self.target.root_pid,
                &mut self.claims,
                self.target.names,
            )
        };
        self.settle_cpu(&groups, &owned, &assignment);
        let oom_group = owned.own.as_ref().or(groups.memory.as_ref());
        let oom_kills = oom_group.and_then(Group::oom_kills);
        let interval_ms = self
            .previous
            .as_ref()
            .map(|previous| mono_ms.saturating_sub(previous.mono_ms));
        let mut workloads = self.workloads(&assignment, interval_ms, memory.source);
        let ended = self.ended(&workloads, oom_kills);
        let total_ns = self.ledger.total_ns();
        let cpu_cores = self
            .previous
            .as_ref()
            .and_then(|previous| cores(total_ns - previous.total_ns.min(total_ns), interval_ms?));
        self.remember(mono_ms, &workloads);
        fold(&mut workloads);
        self.see(&groups, &owned);

        let env = EnvLimits::of_process(
            &self.target.proc_root,
            self.target.root_pid,
            self.target.environ,
        );
        let limit = Limit::find(
            groups.memory.as_ref(),
            owned.own.as_ref(),
            &env,
            &machine,
            &self.tree,
        );
        let workloads: Vec<Workload> = workloads.into_iter().map(|(_, w)| w).collect();
        let of_workloads: u64 = workloads.iter().filter_map(|w| w.memory_used_bytes).sum();
        Ok(Sample {
            time: rfc3339(wall_ms),
            interval_ms,
            memory_used_bytes: memory.used_bytes,
            memory_working_set_bytes: memory.working_set_bytes,
            memory_source: memory.source,
            memory_age_ms: memory.age_ms,
            memory_limit_bytes: limit.as_ref().map(|limit| limit.bytes),
            memory_limit_source: limit.as_ref().map(|limit| limit.source.clone()),
            memory_limit_enforced: limit.as_ref().is_some_and(|limit| limit.enforced),
            memory_limit_shared: limit.as_ref().is_some_and(|limit| limit.shared),
            rss_bytes: tree_memory.rss_bytes,
            pss_bytes: tree_memory.pss_bytes,
            swap_bytes: memory.swap_bytes,
            unattributed_bytes: signed_difference(memory.used_bytes, of_workloads),
            cpu_millis: total_ns / NS_PER_MS,
            cpu_cores,
            processes: workloads.iter().map(|w| w.processes).sum(),
            threads: workloads.iter().map(|w| w.threads).sum(),
            workloads,
            mono_ms,
            wall_ms,
            burst: false,
            oom_kills,
            memory_guarantee_bytes: env.memory_guarantee_bytes,
            cpu_limit_millicores: limit::cpu_limit_millicores(groups.cpu.as_ref(), &env),
            cpu_guarantee_millicores: env.cpu_guarantee_millicores,
            ended,
        })
    }

    /// How the last sample came about.
    pub(crate) fn seen(&self) -> &Seen {
        &self.seen
    }

    fn groups(&self) -> Groups {
        Groups::of(
            &self.target.proc_root,
            &self.target.cgroup_root,
            self.target.root_pid,
        )
    }

    fn settle_cpu(&mut self, groups: &Groups, owned: &Ownership, assignment: &Assignment) {
        let agent = self
            .tree
            .reaped_by_agent_ns()
            .map(|reaped_ns| (self.target.own_pid, reaped_ns));
        let readings: Vec<&Reading> = self.tree.readings().collect();
        self.ledger
            .settle(readings.iter().copied(), |key| assignment.owner(key), agent);
        // In version 2 memory and CPU are the same cgroup; in version 1 each has its own tree.
        let cpu_own = match &groups.cpuacct {
            None => None,
            group @ Some(_) if *group == groups.memory => owned.own.clone(),
            group @ Some(_) => {
                Ownership::decide(group.as_ref(), &self.tree, |group| group.cpu_ns().is_some()).own
            }
        };
        let cgroup_ns = cpu_own.as_ref().and_then(Group::cpu_ns);
        self.ledger
            .settle_cgroup(cgroup_ns.map(|ns| (ns, self.tree.agents_ns())));
        self.seen.cpu_group = cpu_own.map(|group| group.source());
    }

    fn see(&mut self, groups: &Groups, owned: &Ownership) {
        self.seen.memory_groups.clone_from(&owned.checked);
        if groups.memory.is_none() {
            self.seen.memory_groups.clear();
        }
        self.seen.scans_proc = !self.tree.has_children_files();
        self.seen.pss_denied = self.tree.pss_denied();
        self.seen.orphans = self
            .tree
            .readings()
            .filter(|r| r.key.pid != self.target.root_pid && !self.tree.contains(r.ppid))
            .count();
    }

    /// Every workload with its sums, largest first; the sums are the server's exactly.
    fn workloads(
        &self,
        assignment: &Assignment,
        interval_ms: Option<u64>,
        source: MemorySource,
    ) -> Vec<(Owner, Workload)> {
        let mut sums: HashMap<Owner, Sum> = HashMap::new();
        for reading in self.tree.readings() {
            sums.entry(assignment.owner(&reading.key))
                .or_insert_with(Sum::new)
                .add(reading, source);
        }
        if self.ledger.other_ns() > 0 {
            sums.entry(Owner::Other).or_insert_with(Sum::new);
        }
        let mut workloads: Vec<(Owner, Workload)> = sums
            .into_iter()
            .map(|(owner, sum)| {
                let tag = match owner {
                    Owner::Root(root) => assignment.tags.get(&root),
                    Owner::Other => None,
                };
                let ns = self.owner_ns(owner);
                let before_ns = self.previous_ns(owner);
                let workload = Workload {
                    kind: tag.map_or(WorkloadKind::Other, |tag| tag.kind),
                    id: tag.map_or("other", |tag| &tag.id).to_owned(),
                    name: tag.map_or_else(
                        || match self.target.names {
                            Names::None => String::new(),
                            Names::Base | Names::Full => "other".to_owned(),
                        },
                        |tag| tag.name.clone(),
                    ),
                    pid: match owner {
                        Owner::Root(root) => root.pid,
                        Owner::Other => sum.top_pid,
                    },
                    memory_used_bytes: Some(sum.memory_used_bytes),
                    rss_bytes: sum.rss_bytes,
                    pss_bytes: sum.pss_bytes,
                    cpu_millis: ns / NS_PER_MS,
                    cpu_cores: before_ns
                        .and_then(|before| cores(ns.saturating_sub(before), interval_ms?)),
                    processes: sum.processes,
                    threads: sum.threads,
                    notebook: tag.and_then(|tag| tag.notebook.clone()),
                    state: tag.and_then(|tag| tag.state),
                    idle_ms: tag.and_then(|tag| tag.idle_ms),
                };
                (owner, workload)
            })
            .collect();
        self.give_rounding_to_server(&mut workloads);
        workloads.sort_by(|(_, a), (_, b)| {
            (b.memory_used_bytes, b.rss_bytes, &a.id).cmp(&(
                a.memory_used_bytes,
                a.rss_bytes,
                &b.id,
            ))
        });
        workloads
    }

    /// Every workload is rounded down to milliseconds; what that leaves of the sum is the
    /// server's.
    fn give_rounding_to_server(&self, workloads: &mut [(Owner, Workload)]) {
        let total_millis = self.ledger.total_ns() / NS_PER_MS;
        let sum_millis: u64 = workloads.iter().map(|(_, w)| w.cpu_millis).sum();
        let server = workloads
            .iter_mut()
            .find(|(_, w)| w.kind == WorkloadKind::Server);
        if let Some((_, server)) = server {
            server.cpu_millis += total_millis.saturating_sub(sum_millis);
        }
    }

    fn owner_ns(&self, owner: Owner) -> u64 {
        match owner {
            Owner::Root(root) => self.ledger.workload_ns(&root),
            Owner::Other => self.ledger.other_ns(),
        }
    }

    /// What it had used at the previous tick; one that was not there had used nothing.
    fn previous_ns(&self, owner: Owner) -> Option<u64> {
        let previous = self.previous.as_ref()?;
        Some(match owner {
            Owner::Root(root) => previous.workload_ns.get(&root).copied().unwrap_or(0),
            Owner::Other => {
                // What came from workloads that ended was used before.
                let moved: u64 = previous
                    .workload_ns
                    .iter()
                    .filter(|(root, _)| self.ledger.workload_ns(root) == 0)
                    .map(|(_, ns)| ns)
                    .sum();
                previous.other_ns + moved
            }
        })
    }

    fn remember(&mut self, mono_ms: u64, workloads: &[(Owner, Workload)]) {
        let mut workload_ns = HashMap::new();
        let mut missable = HashMap::new();
        for (owner, workload) in workloads {
            let Owner::Root(root) = *owner else { continue };
            workload_ns.insert(root, self.ledger.workload_ns(&root));
            if matches!(
                workload.kind,
                WorkloadKind::Kernel | WorkloadKind::Terminal | WorkloadKind::App
            ) {
                missable.insert(root, self.missable(root, workload));
            }
        }
        self.previous = Some(Previous {
            mono_ms,
            total_ns: self.ledger.total_ns(),
            other_ns: self.ledger.other_ns(),
            workload_ns,
            missable,
        });
    }

    fn missable(&self, root: Key, workload: &Workload) -> Ended {
        // A killed one that nobody waited for yet holds nothing any more: what counts is the
        // figure it was killed with.
        let before = self
            .previous
            .as_ref()
            .and_then(|previous| previous.missable.get(&root))
            .filter(|_| self.tree.is_zombie(&root));
        Ended {
            kind: workload.kind,
            id: workload.id.clone(),
            name: workload.name.clone(),
            notebook: workload.notebook.clone(),
            pid: workload.pid,
            out_of_memory: false,
            memory_used_bytes: before.map_or_else(
                || workload.memory_used_bytes.unwrap_or(workload.rss_bytes),
                |before| before.memory_used_bytes,
            ),
        }
    }

    /// What is missed since the previous tick, those that the out-of-memory killer took marked.
    fn ended(&mut self, workloads: &[(Owner, Workload)], oom_kills: Option<u64>) -> Vec<Ended> {
        self.kills.count(oom_kills);
        let Some(previous) = &self.previous else {
            return Vec::new();
        };
        let mut ended: Vec<Ended> = previous
            .missable
            .iter()
            .filter(|(root, _)| {
                !workloads
                    .iter()
                    .any(|(owner, _)| *owner == Owner::Root(**root))
            })
            .map(|(_, ended)| ended.clone())
            .collect();
        // The killer takes the largest.
        ended.sort_by_key(|ended| std::cmp::Reverse(ended.memory_used_bytes));
        for ended in &mut ended {
            ended.out_of_memory = self.kills.claim();
        }
        if ended.len() > ENDED_PER_SAMPLE_MAX {
            tracing::warn!(
                count = ended.len(),
                limit = ENDED_PER_SAMPLE_MAX,
                "more workloads ended at once than are told"
            );
            ended.truncate(ENDED_PER_SAMPLE_MAX);
        }
        ended
    }
}

const NS_PER_MS: u64 = 1_000_000;

// === impl Memory ===

impl Memory {
    fn choose(own: Option<&Group>, tree: &TreeMemory, machine: &Machine) -> Self {
        use crate::sample::cgroup::Version;
        // A machine without swap has nothing swapped out.
        let no_swap = machine.swap_bytes.filter(|&bytes| bytes == 0);
        let swap_bytes = no_swap.or(tree.swap_bytes);
        let of_group = own.and_then(|group| Some((group.version(), group.memory()?)));
        match of_group {
            Some((version, memory)) => {
                let GroupMemory {
                    used_bytes,
                    working_set_bytes,
                    swap_bytes: group_swap_bytes,
                } = memory;
                Self {
                    source: match version {
                        Version::V1 => MemorySource::Cgroup1,
                        Version::V2 => MemorySource::Cgroup2,
                    },
                    used_bytes,
                    working_set_bytes: Some(working_set_bytes),
                    swap_bytes: group_swap_bytes.or(swap_bytes),
                    age_ms: 0,
                }
            }
            None if tree.proportional => Self {
                source: MemorySource::Pss,
                used_bytes: tree.used_bytes,
                working_set_bytes: None,
                swap_bytes,
                age_ms: tree.age_ms,
            },
            None => Self {
                source: MemorySource::Rss,
                used_bytes: tree.rss_bytes,
                working_set_bytes: None,
                swap_bytes,
                age_ms: 0,
            },
        }
    }
}

// === impl Kills ===

impl Kills {
    fn count(&mut self, oom_kills: Option<u64>) {
        self.tick += 1;
        if let (Some(now), Some(before)) = (oom_kills, self.counted)
            && now > before
        {
            self.unclaimed += now - before;
            self.until_tick = self.tick + OOM_CLAIM_TICKS;
        }
        if self.tick > self.until_tick {
            self.unclaimed = 0;
        }
        self.counted = oom_kills.or(self.counted);
    }

    fn claim(&mut self) -> bool {
        let claimed = self.unclaimed > 0;
        self.unclaimed = self.unclaimed.saturating_sub(1);
        claimed
    }
}

// === impl Sum ===

impl Sum {
    fn new() -> Self {
        Self {
            pss_bytes: Some(0),
            ..Self::default()
        }
    }

    fn add(&mut self, reading: &Reading, source: MemorySource) {
        self.memory_used_bytes += match source {
            MemorySource::Rss => reading.rss_bytes,
            MemorySource::Pss | MemorySource::Cgroup1 | MemorySource::Cgroup2 => {
                memory::figure(reading)
            }
        };
        self.rss_bytes += reading.rss_bytes;
        if reading.rss_bytes > 0 {
            self.pss_bytes = match (self.pss_bytes, reading.pss) {
                (Some(sum), Some(pss)) => Some(sum + pss.pss_bytes),
                _ => None,
            };
        }
        self.processes += 1;
        self.threads += reading.threads;
        if self.top_pid == 0 {
            self.top_pid = reading.key.pid;
        }
    }
}

/// Folds what is beyond the bound of a sample into `other`, smallest first, the server never.
fn fold(workloads: &mut Vec<(Owner, Workload)>) {
    while workloads.len() > WORKLOADS_PER_SAMPLE_MAX {
        let Some(smallest) = workloads
            .iter()
            .rposition(|(_, w)| !matches!(w.kind, WorkloadKind::Server | WorkloadKind::Other))
        else {
            return;
        };
        let (_, folded) = workloads.remove(smallest);
        let other = workloads
            .iter_mut()
            .find(|(owner, _)| *owner == Owner::Other);
        match other {
            Some((_, other)) => other.absorb(&folded),
            None => workloads.push((
                Owner::Other,
                Workload {
                    kind: WorkloadKind::Other,
                    id: "other".to_owned(),
                    name: "other".to_owned(),
                    notebook: None,
                    state: None,
                    idle_ms: None,
                    ..folded
                },
            )),
        }
    }
}

fn signed_difference(a: u64, b: u64) -> Option<i64> {
    i64::try_from(i128::from(a) - i128::from(b)).ok()
}
