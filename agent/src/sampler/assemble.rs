//! Readings of one tick → workloads with their sums, rates, and what ended.
//!
//! Whoever read the machine, Linux reader or portable one, the sums are made here, so that they
//! agree: over all workloads they are the server's exactly.

use hubmeter_proto::limits::{ENDED_PER_SAMPLE_MAX, WORKLOADS_PER_SAMPLE_MAX};

use crate::{
    rate::{Ledger, Owner, cores},
    sample::{
        EndCause, Ended, MemorySource, Workload, WorkloadKind,
        keyed::{IntMap, KeyMap},
        memory,
        process::Reading,
    },
    workload::{Assignment, Claims, Names, Tag, told::Told},
};

/// Ticks for which an out-of-memory kill waits for its victim to end: the killer counts first, and
/// giving back a hundred gigabytes takes the victim seconds.
const OOM_CLAIM_TICKS: u64 = 3;

const NS_PER_MS: u64 = 1_000_000;

/// What goes on from tick to tick.
#[derive(Debug)]
pub(crate) struct Assembly {
    root_pid: u32,
    names: Names,
    claims: Claims,
    /// As it was when last something changed.
    assignment: Assignment,
    ledger: Ledger,
    previous: Option<Previous>,
    kills: Kills,
}

/// One tick, not yet put together.
pub(crate) struct Tick<'a> {
    /// Parents before children.
    pub(crate) readings: &'a [&'a Reading],
    pub(crate) mono_ms: u64,
    pub(crate) source: MemorySource,
    /// The subreaper's pid and what it waited for.
    pub(crate) agent: Option<(u32, u64)>,
    /// CPU time of the own cgroup, and of the agents in it.
    pub(crate) cgroup_and_agents_ns: Option<(u64, u64)>,
    pub(crate) oom_kills: Option<u64>,
}

/// One tick, put together.
pub(crate) struct Assembled {
    pub(crate) interval_ms: Option<u64>,
    pub(crate) cpu_millis: u64,
    pub(crate) cpu_cores: Option<f64>,
    pub(crate) processes: u32,
    pub(crate) threads: u32,
    pub(crate) workloads: Vec<Workload>,
    pub(crate) ended: Vec<Ended>,
}

/// What the next tick compares with.
#[derive(Debug)]
struct Previous {
    mono_ms: u64,
    total_ns: u64,
    other_ns: u64,
    workload_ns: KeyMap<u64>,
    /// Kernels and terminals, which somebody will miss.
    missable: KeyMap<Ended>,
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
#[derive(Clone, Copy, Debug)]
struct Sum {
    memory_used_bytes: u64,
    rss_bytes: u64,
    pss_bytes: Option<u64>,
    processes: u32,
    threads: u32,
    top_pid: u32,
}

// === impl Assembly ===

impl Assembly {
    pub(crate) fn new(root_pid: u32, names: Names) -> Self {
        Self {
            root_pid,
            names,
            claims: Claims::default(),
            assignment: Assignment::default(),
            ledger: Ledger::default(),
            previous: None,
            kills: Kills::default(),
        }
    }

    /// Takes what the server extension knows; replaces what it told before.
    pub(crate) fn told(&mut self, told: Told) {
        self.claims.replace(told);
    }

    /// Puts one tick together.
    pub(crate) fn assemble(&mut self, tick: &Tick<'_>) -> Assembled {
        if !self.assignment.holds(tick.readings, &self.claims) {
            self.assignment =
                Assignment::of(tick.readings, self.root_pid, &mut self.claims, self.names);
        }
        let assignment = &self.assignment;
        let readings = tick.readings.iter().copied();
        self.ledger
            .settle(readings, |key| assignment.owner(key), tick.agent);
        self.ledger.settle_cgroup(tick.cgroup_and_agents_ns);
        let interval_ms = self
            .previous
            .as_ref()
            .map(|previous| tick.mono_ms.saturating_sub(previous.mono_ms));
        let mut workloads = self.workloads(interval_ms, tick);
        let ended = self.ended(&workloads, tick.oom_kills);
        let total_ns = self.ledger.total_ns();
        let cpu_cores = self
            .previous
            .as_ref()
            .and_then(|previous| cores(total_ns.saturating_sub(previous.total_ns), interval_ms?));
        self.remember(tick.mono_ms, &workloads);
        fold(&mut workloads);
        let workloads: Vec<Workload> = workloads.into_iter().map(|(_, w)| w).collect();
        Assembled {
            interval_ms,
            cpu_millis: total_ns / NS_PER_MS,
            cpu_cores,
            processes: workloads.iter().map(|w| w.processes).sum(),
            threads: workloads
                .iter()
                .map(|w| w.threads)
                .fold(0, u32::saturating_add),
            workloads,
            ended,
        }
    }

    /// Every workload with its sums, largest first; the sums are the server's exactly.
    fn workloads(&self, interval_ms: Option<u64>, tick: &Tick<'_>) -> Vec<(Owner, Workload)> {
        let mut sums: IntMap<Owner, Sum> = IntMap::default();
        let assignment = &self.assignment;
        for reading in tick.readings {
            sums.entry(assignment.owner(&reading.key))
                .or_default()
                .add(reading, tick);
        }
        // Without a process it is there for the time alone: that of workloads which ended would
        // be missing from the sum. Less than a millisecond is in the server's rounding.
        if self.ledger.other_ns() >= NS_PER_MS {
            sums.entry(Owner::Other).or_default();
        }
        let mut workloads: Vec<(Owner, Workload)> = sums
            .into_iter()
            .map(|(owner, sum)| {
                let tag = match owner {
                    Owner::Root(root) => assignment.tags.get(&root),
                    Owner::Other => None,
                };
                (owner, self.workload(owner, &sum, tag, interval_ms))
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

    fn workload(
        &self,
        owner: Owner,
        sum: &Sum,
        tag: Option<&Tag>,
        interval_ms: Option<u64>,
    ) -> Workload {
        let other = Tag::other(self.names);
        let tag = tag.unwrap_or(&other);
        let ns = match owner {
            Owner::Root(root) => self.ledger.workload_ns(&root),
            Owner::Other => self.ledger.other_ns(),
        };
        Workload {
            kind: tag.kind,
            id: tag.id.clone(),
            name: tag.name.clone(),
            pid: match owner {
                Owner::Root(root) => root.pid,
                Owner::Other => sum.top_pid,
            },
            memory_used_bytes: Some(sum.memory_used_bytes),
            rss_bytes: sum.rss_bytes,
            pss_bytes: sum.pss_bytes,
            cpu_millis: ns / NS_PER_MS,
            cpu_cores: self
                .previous_ns(owner)
                .and_then(|before| cores(ns.saturating_sub(before), interval_ms?)),
            processes: sum.processes,
            threads: sum.threads,
            notebook: tag.notebook.clone(),
            state: tag.state,
            idle_ms: tag.idle_ms,
            read_bytes: None,
            written_bytes: None,
            remote: false,
        }
    }

    /// Every workload is rounded down to milliseconds; what that leaves of the sum is the
    /// server's.
    fn give_rounding_to_server(&self, workloads: &mut [(Owner, Workload)]) {
        let total_millis = self.ledger.total_ns() / NS_PER_MS;
        let millis = workloads.iter().map(|(_, w)| w.cpu_millis);
        let sum_millis = millis.fold(0, u64::saturating_add);
        let server = workloads
            .iter_mut()
            .find(|(_, w)| w.kind == WorkloadKind::Server);
        if let Some((_, server)) = server {
            server.cpu_millis += total_millis.saturating_sub(sum_millis);
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
                    .map(|(_, ns)| *ns)
                    .fold(0, u64::saturating_add);
                previous.other_ns.saturating_add(moved)
            }
        })
    }

    fn remember(&mut self, mono_ms: u64, workloads: &[(Owner, Workload)]) {
        let mut workload_ns = KeyMap::default();
        let mut missable = KeyMap::default();
        for (owner, workload) in workloads {
            let Owner::Root(root) = *owner else { continue };
            workload_ns.insert(root, self.ledger.workload_ns(&root));
            if matches!(
                workload.kind,
                WorkloadKind::Kernel | WorkloadKind::Terminal | WorkloadKind::App
            ) {
                let mut told = Ended::of(workload);
                // A large process on its way out shows nothing for a while before it is a zombie:
                // what will be told is what it held before.
                if told.memory_used_bytes == 0
                    && let Some(before) = self.previous.as_ref().and_then(|p| p.missable.get(&root))
                {
                    told.memory_used_bytes = before.memory_used_bytes;
                }
                missable.insert(root, told);
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
            if self.kills.claim() {
                ended.cause = EndCause::OutOfMemory;
            }
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

// === impl Ended ===

impl Ended {
    /// As it will be told if it is not there next time.
    fn of(workload: &Workload) -> Self {
        Self {
            kind: workload.kind,
            id: workload.id.clone(),
            name: workload.name.clone(),
            notebook: workload.notebook.clone(),
            pid: workload.pid,
            cause: EndCause::Gone,
            memory_used_bytes: workload.memory_used_bytes.unwrap_or(workload.rss_bytes),
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

impl Default for Sum {
    fn default() -> Self {
        Self {
            memory_used_bytes: 0,
            rss_bytes: 0,
            // Of no process it is known.
            pss_bytes: Some(0),
            processes: 0,
            threads: 0,
            top_pid: 0,
        }
    }
}

impl Sum {
    fn add(&mut self, reading: &Reading, tick: &Tick<'_>) {
        self.memory_used_bytes += match tick.source {
            MemorySource::Rss => reading.rss_bytes,
            MemorySource::Pss | MemorySource::Cgroup1 | MemorySource::Cgroup2 => {
                memory::figure(reading)
            }
        };
        self.rss_bytes += reading.rss_bytes;
        if reading.rss_bytes > 0 {
            self.pss_bytes = match (self.pss_bytes, reading.pss) {
                (Some(sum), Some(pss)) if pss.at_ms == tick.mono_ms => Some(sum + pss.pss_bytes),
                _ => None,
            };
        }
        self.processes += 1;
        self.threads = self.threads.saturating_add(reading.threads);
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
