//! One server, tick by tick: reads the machine, tells workloads apart, derives rates.

mod assemble;
mod checkup;
mod ended;
mod eyes;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod mutated;
mod portable;
mod standing;
mod sum;

use std::{path::PathBuf, sync::Arc};

pub use self::portable::PortableSampler;
use self::{
    assemble::{Assembled, Assembly, Tick},
    checkup::{Checkup, Round},
    ended::{Counter, KillCount, MachineKills, Nearness},
    eyes::ProcEyes,
    standing::Standing,
};
pub use crate::sample::error::SampleError;
use crate::{
    clock::Clock,
    rate::CgroupTime,
    sample::{
        MemorySource, Sample, WallTime,
        cgroup::{CGROUP_ROOT, Group, Version},
        faults::{self, Faults},
        gauges::GroupMemory,
        kernels::Identity,
        limit::{EnvLimits, Limit, Machine},
        memory::{Ruler, TreeMemory, budget::PssShare, correction::Correction},
        own::Checked,
        process::Reading,
        tree::{News, Tree},
        vitals::Vitals,
    },
    workload::{Names, told::Told},
};

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
    machine: Machine,
    standing: Standing,
    /// The root's environment, and the program it belongs to.
    environ: Option<(Arc<Identity>, EnvLimits)>,
    tree: Tree,
    ruler: Ruler,
    correction: Correction,
    /// Which cgroup counted CPU time at the last tick.
    cpu_epoch: u64,
    assembly: Assembly,
    eyes: ProcEyes,
    nearness: Nearness,
    machine_kills: MachineKills,
    checkup: Checkup,
    /// Whether the tick before was cut.
    cut_before: bool,
    /// Faults in the tick before.
    faults: u64,
    /// Faults in the last one at which what fails always was asked for, too.
    faults_again: u64,
    /// Of this tick's, those that are nobody's but the vitals'.
    faults_beside: u64,
}

/// How the last sample came about; for `doctor`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Cgroups that were looked at for the memory figure.
    pub(crate) memory_groups: Vec<Checked>,
    /// Processes whose proportional set may not be read.
    pub(crate) pss_denied: usize,
    /// Whether parents are found by reading all of `/proc`.
    pub(crate) scans_proc: bool,
    /// Where CPU time is also counted by the kernel.
    pub(crate) cpu_group: Option<String>,
    /// Whether the tree holds a Jupyter server.
    pub(crate) jupyter: bool,
    /// Processes whose proportional set was read.
    pub(crate) pss_read: usize,
    /// Processes of the server that may not be read at all.
    pub(crate) unread: usize,
    /// The agent that started the server, and is where its orphans come to.
    pub(crate) agent_above: Option<u32>,
    /// Whether any cgroup is mounted.
    pub(crate) cgroups_mounted: bool,
    /// The server's processes.
    pub(crate) pids: Vec<u32>,
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
        let keeps = tree.keeps();
        Ok(Self {
            pss_mode,
            machine: Machine::read(&target.proc_root),
            standing: Standing::new(
                &target.proc_root,
                &target.cgroup_root,
                target.root_pid,
                keeps,
            ),
            environ: None,
            tree,
            ruler: Ruler::default(),
            correction: Correction::default(),
            cpu_epoch: 0,
            assembly: Assembly::new(target.root_pid, target.names),
            eyes: ProcEyes::new(target.proc_root.clone()),
            nearness: Nearness::default(),
            machine_kills: MachineKills::new(&target.proc_root, keeps),
            checkup: Checkup::new(&target.proc_root, target.root_pid, keeps),
            cut_before: false,
            faults: 0,
            faults_again: 0,
            faults_beside: 0,
            target,
        })
    }

    /// Lets readings of proportional sets take this share of a core.
    #[must_use]
    pub fn with_pss_share(mut self, share: PssShare) -> Self {
        self.ruler = Ruler::new(share);
        self
    }

    /// Takes what the server extension knows; replaces what it told before.
    pub fn told(&mut self, told: Told) {
        self.assembly.told(told);
    }

    /// Takes one sample.
    ///
    /// # Errors
    /// [`SampleError::Gone`] when the root process is gone, else which file failed.
    pub fn tick(&mut self, clock: &dyn Clock) -> Result<Sample, SampleError> {
        let mono_ms = clock.mono_ms();
        let before = Faults::so_far().total();
        self.faults_beside = 0;
        let sample = self.sample(mono_ms, clock.wall_ms());
        self.judge(Faults::so_far().total() - before - self.faults_beside);
        faults::tell(mono_ms);
        sample
    }

    /// What failed may have left anything behind, for as long as it stands. What fails at every
    /// tick, or whenever it is asked for again, is not looked after at every tick.
    fn judge(&mut self, faults: u64) {
        let usual = match self.tree.looks_again() {
            true => &mut self.faults_again,
            false => &mut self.faults,
        };
        if faults > std::mem::replace(usual, faults) {
            self.distrust();
        }
    }

    /// Holds on to nothing that was found by reading: it is found again at the next tick.
    fn distrust(&mut self) {
        self.tree.distrust();
        self.standing.distrust();
        self.eyes.distrust();
        self.assembly.distrust();
        self.environ = None;
        if self.machine.memory_bytes.is_none() {
            self.machine = Machine::read(&self.target.proc_root);
        }
    }

    fn sample(&mut self, mono_ms: u64, wall_ms: u64) -> Result<Sample, SampleError> {
        // Before the tree, as parents before children: what these counted is never of later.
        let cpu_ns = self.standing.cpu_ns();
        let children_ns = self.checkup.children_ns();
        let reaped_ns = self
            .tree
            .reaped_by_agent_ns()
            .map(|ns| ns.saturating_sub(children_ns));
        let news = self.tree.update(mono_ms)?;
        // While the tree is not known whole nobody can say whose a cgroup is.
        if let Some(news) = news {
            for pid in self.standing.look(&self.tree, news) {
                self.tree.adopt(*pid)?;
            }
        }
        let cgroup = self.cgroup_time(cpu_ns);
        let always = self.pss_mode == PssMode::Always;
        let tree_memory = self.ruler.read(&mut self.tree, always, mono_ms);
        let (of_group, oom_kills) = self.standing.memory();
        let own = self.standing.owned().own.as_ref();
        let memory = Memory::choose(own.zip(of_group), &tree_memory, &self.machine);
        let kills = self.kills(oom_kills, news);
        let readings: Vec<&Reading> = self.tree.readings().collect();
        let tick = Tick {
            readings: &readings,
            mono_ms,
            source: memory.source,
            agent: reaped_ns.map(|ns| (self.target.own_pid, ns)),
            cgroup,
            gone: self.tree.gone(),
            nearness: self.nearness,
            kills,
        };
        let mut assembled = self.assembly.assemble(&tick, &mut self.eyes);
        // What a cut tick left out comes with the next: neither's time is of one interval.
        if std::mem::replace(&mut self.cut_before, self.tree.is_cut()) || self.tree.is_cut() {
            assembled.forget_rates();
        }
        let env = self.env_limits();
        let (limit, cpu_limit_millicores) = self.standing.limits(&env, &self.machine, &self.tree);
        let foreseen_bytes = tree_memory.foreseen_bytes;
        let corrected_bytes =
            self.correction
                .take(memory.source, memory.used_bytes, foreseen_bytes);
        let faults_before = Faults::so_far().total();
        let vitals = self.checkup.take(&Round {
            tree: &self.tree,
            own: self.standing.owned().own.as_ref(),
            limit: limit.as_deref(),
            shm_bytes: of_group.and_then(|memory| memory.shm_bytes),
            flow: assembled.flow,
            mono_ms,
        });
        self.faults_beside = Faults::so_far().total() - faults_before;
        let sample = Sample {
            memory_corrected_bytes: corrected_bytes,
            cpu_may_miss: !self.target.subreaper && cgroup.is_none(),
            vitals,
            oom_kills,
            memory_limit_used_bytes: self.standing.shared_use(),
            memory_guarantee_bytes: env.memory_guarantee_bytes,
            cpu_limit_millicores,
            cpu_guarantee_millicores: env.cpu_guarantee_millicores,
            processes_beyond: u32::try_from(self.tree.beyond()).unwrap_or(u32::MAX),
            ..sample(
                (mono_ms, wall_ms),
                &memory,
                limit.as_deref(),
                &tree_memory,
                assembled,
            )
        };
        self.nearness.take(&sample);
        Ok(sample)
    }

    /// The kill counter that tells most here; the machine's is looked at only with a reason.
    fn kills(&mut self, oom_kills: Option<u64>, news: Option<News>) -> Option<KillCount> {
        let Some(kills) = oom_kills else {
            let near = self.nearness.is_near() || news == Some(News::Resync);
            let over = self.tree.readings().filter(|r| r.is_dead()).count();
            let over = over + self.tree.gone().len();
            return self.machine_kills.count(near, over);
        };
        let counter = match self.standing.owned().own {
            Some(_) => Counter::Own,
            None => Counter::Shared,
        };
        Some(KillCount { counter, kills })
    }

    /// Of the cgroup that counts CPU time now: one that was just found is asked anew.
    fn cgroup_time(&mut self, cpu_ns: Option<u64>) -> Option<CgroupTime> {
        let epoch = self.standing.cpu_epoch();
        let found = std::mem::replace(&mut self.cpu_epoch, epoch) != epoch;
        let used_ns = if found {
            self.standing.cpu_ns()
        } else {
            cpu_ns
        };
        Some(CgroupTime {
            epoch,
            used_ns: used_ns?,
            agents_ns: self.tree.agents_ns(self.standing.cpu_agents()) + self.checkup.children_ns(),
        })
    }

    /// Ticks that were cut short because they cost too much: what they left out kept its last
    /// reading, and came next.
    #[must_use]
    pub fn ticks_cut(&self) -> u64 {
        self.tree.ticks_cut()
    }

    /// How the last sample came about.
    pub(crate) fn seen(&self) -> Seen {
        Seen {
            memory_groups: self.standing.owned().checked.clone(),
            pss_denied: self.tree.pss_denied(),
            scans_proc: !self.tree.has_children_files(),
            cpu_group: self.standing.own_cpu().map(Group::source),
            jupyter: self.tree.readings().any(|r| r.identity.jupyter),
            pss_read: self.tree.readings().filter(|r| r.pss.is_some()).count(),
            unread: self.tree.unread(),
            agent_above: self.tree.agent_above(),
            cgroups_mounted: self.standing.sees_mounts(),
            pids: self.tree.readings().map(|r| r.key.pid).collect(),
        }
    }

    /// Read again when the root became another program: before that it has its parent's.
    fn env_limits(&mut self) -> EnvLimits {
        let program = self.tree.root().map(|root| root.identity.clone());
        match (&self.environ, program) {
            (Some((before, env)), Some(now)) if Arc::ptr_eq(before, &now) => *env,
            (_, program) => {
                let env = EnvLimits::of_process(
                    &self.target.proc_root,
                    self.target.root_pid,
                    self.target.environ,
                );
                self.environ = program.map(|program| (program, env));
                env
            }
        }
    }
}

/// The contract's fields from what was found; what only Linux knows is left unknown.
fn sample(
    (mono_ms, wall_ms): (u64, u64),
    memory: &Memory,
    limit: Option<&Limit>,
    tree_memory: &TreeMemory,
    assembled: Assembled,
) -> Sample {
    let of_workloads: Option<u64> = assembled
        .workloads
        .iter()
        .filter(|workload| !workload.remote)
        .map(|workload| workload.memory_used_bytes)
        .sum();
    Sample {
        time: WallTime(wall_ms),
        interval_ms: assembled.interval_ms,
        memory_used_bytes: memory.used_bytes,
        memory_working_set_bytes: memory.working_set_bytes,
        memory_source: memory.source,
        memory_age_ms: memory.age_ms,
        memory_limit_bytes: limit.map(|limit| limit.bytes),
        memory_limit_enforced: limit.is_some_and(|limit| limit.enforced),
        memory_limit_shared: limit.is_some_and(|limit| limit.shared),
        memory_limit_source: limit.map(|limit| limit.source.clone()),
        rss_bytes: tree_memory.rss_bytes,
        pss_bytes: tree_memory.pss_bytes,
        swap_bytes: memory.swap_bytes,
        unattributed_bytes: of_workloads
            .and_then(|sum| i64::try_from(i128::from(memory.used_bytes) - i128::from(sum)).ok()),
        cpu_millis: assembled.cpu_millis,
        cpu_cores: assembled.cpu_cores,
        processes: assembled.processes,
        threads: assembled.threads,
        workloads: assembled.workloads,
        mono_ms,
        wall_ms,
        burst: false,
        oom_kills: None,
        memory_guarantee_bytes: None,
        cpu_limit_millicores: None,
        cpu_guarantee_millicores: None,
        memory_limit_used_bytes: None,
        memory_corrected_bytes: 0,
        cpu_may_miss: false,
        processes_beyond: 0,
        vitals: Vitals::default(),
        ended: assembled.ended,
    }
}

// === impl Memory ===

impl Memory {
    fn choose(own: Option<(&Group, GroupMemory)>, tree: &TreeMemory, machine: &Machine) -> Self {
        // A machine without swap has nothing swapped out.
        let no_swap = machine.swap_bytes.filter(|&bytes| bytes == 0);
        let swap_bytes = no_swap.or(tree.swap_bytes);
        match own {
            Some((group, memory)) => {
                let GroupMemory {
                    used_bytes,
                    working_set_bytes,
                    swap_bytes: group_swap_bytes,
                    ..
                } = memory;
                Self {
                    source: match group.version() {
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
