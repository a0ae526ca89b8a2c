//! Readings of one tick → workloads with their sums, rates, and what ended.
//!
//! Whoever read the machine, Linux reader or portable one, the sums are made here, so that they
//! agree: over all workloads they are the server's exactly.

use hubmeter_proto::limits::WORKLOADS_PER_SAMPLE_MAX;

use super::{
    ended::{Departed, Endings, Ends, KillCount, Nearness},
    sum::Sum,
};
use crate::{
    rate::{
        CgroupTime, Ledger, Owner, cores,
        flow::{Flow, FlowLedger},
    },
    sample::{
        Ended, MemorySource, Workload, WorkloadKind, WorkloadState, cpus,
        keyed::{IntMap, KeyMap},
        process::{Key, Reading},
    },
    workload::{
        Assignment, Claims, Eyes, Names, Tag,
        candidates::{Candidates, Patient},
        foreground::Front,
        told::Told,
    },
};

const NS_PER_MS: u64 = 1_000_000;

/// What goes on from tick to tick.
#[derive(Debug)]
pub(crate) struct Assembly {
    root_pid: u32,
    names: Names,
    /// What nobody claims.
    other: Tag,
    claims: Claims,
    /// When it was heard what is claimed: ages that were told have grown by what is gone since.
    told_ms: Option<u64>,
    /// As it was when last something changed.
    assignment: Assignment,
    /// Whether it may be made of what failed to be seen.
    distrusted: bool,
    candidates: Candidates,
    /// The assignment by place: whose the readings are, in their order.
    slots: Slots,
    ledger: Ledger,
    flows: FlowLedger,
    previous: Option<Previous>,
    endings: Endings,
}

/// One tick, not yet put together.
pub(crate) struct Tick<'a> {
    /// Parents before children.
    pub(crate) readings: &'a [&'a Reading],
    pub(crate) mono_ms: u64,
    pub(crate) source: MemorySource,
    /// The subreaper's pid and what it waited for.
    pub(crate) agent: Option<(u32, u64)>,
    /// CPU time of the own cgroup.
    pub(crate) cgroup: Option<CgroupTime>,
    /// Last readings of those that went.
    pub(crate) gone: &'a [Reading],
    /// As of the previous sample.
    pub(crate) nearness: Nearness,
    pub(crate) kills: Option<KillCount>,
}

/// One tick, put together.
pub(crate) struct Assembled {
    pub(crate) interval_ms: Option<u64>,
    pub(crate) cpu_millis: u64,
    pub(crate) cpu_cores: Option<f64>,
    pub(crate) processes: u32,
    pub(crate) threads: u32,
    /// What all read and wrote; unknown while somebody does not tell.
    pub(crate) flow: Option<Flow>,
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
}

/// Whose each reading is, by its place among them: as long as an assignment holds the places do.
#[derive(Debug, Default)]
struct Slots {
    owners: Vec<Owner>,
    of_readings: Vec<usize>,
}

// === impl Assembly ===

impl Assembly {
    pub(crate) fn new(root_pid: u32, names: Names) -> Self {
        Self {
            root_pid,
            names,
            other: Tag::other(names),
            claims: Claims::default(),
            told_ms: None,
            assignment: Assignment::default(),
            distrusted: false,
            candidates: Candidates::default(),
            slots: Slots::default(),
            ledger: Ledger::default(),
            flows: FlowLedger::default(),
            previous: None,
            endings: Endings::default(),
        }
    }

    /// Takes what the server extension knows; replaces what it told before.
    pub(crate) fn told(&mut self, told: Told) {
        self.claims.replace(told);
        self.told_ms = None;
    }

    /// Has everything assigned anew at the next tick.
    pub(crate) fn distrust(&mut self) {
        self.distrusted = true;
    }

    /// Puts one tick together.
    pub(crate) fn assemble(&mut self, tick: &Tick<'_>, eyes: &mut dyn Eyes) -> Assembled {
        self.told_ms.get_or_insert(tick.mono_ms);
        let departed = self.assign(tick, eyes);
        let readings = tick.readings.iter().copied();
        self.flows.settle(readings.clone(), self.slots.in_order());
        self.ledger
            .settle(readings, self.slots.in_order(), tick.agent);
        self.ledger.settle_cgroup(tick.cgroup);
        let previous = self.previous.as_ref();
        let interval_ms = previous.map(|p| tick.mono_ms.saturating_sub(p.mono_ms));
        self.ledger.show(interval_ms, cpus::online);
        let mut workloads = self.workloads(interval_ms, tick);
        let ended = self.ended(&workloads, &departed, tick);
        let total_ns = self.ledger.total_ns();
        let cpu_cores = self
            .previous
            .as_ref()
            .and_then(|previous| cores(total_ns.saturating_sub(previous.total_ns), interval_ms?));
        self.remember(tick.mono_ms, &workloads);
        fold(&mut workloads);
        let mut workloads: Vec<Workload> = workloads.into_iter().map(|(_, w)| w).collect();
        workloads.extend(self.remote(&workloads, tick.mono_ms));
        Assembled {
            interval_ms,
            cpu_millis: total_ns / NS_PER_MS,
            cpu_cores,
            processes: workloads.iter().map(|w| w.processes).sum(),
            threads: workloads
                .iter()
                .map(|w| w.threads)
                .fold(0, u32::saturating_add),
            flow: self.flows.total(),
            workloads,
            ended,
        }
    }

    /// Assigns anew if anything changed; gives who died or went since the previous tick.
    fn assign(&mut self, tick: &Tick<'_>, eyes: &mut dyn Eyes) -> Vec<Departed> {
        let mut eyes = Patient {
            candidates: &mut self.candidates,
            eyes,
            now_ms: tick.mono_ms,
        };
        let holds = self.assignment.holds(tick.readings, &self.claims);
        let trusted = !std::mem::take(&mut self.distrusted);
        if holds && trusted && !eyes.any_listens(&self.assignment) {
            return Vec::new();
        }
        let departed = departed(&self.assignment, tick);
        self.assignment = self.assignment.renew(
            tick.readings,
            self.root_pid,
            &mut self.claims,
            self.names,
            &mut eyes,
        );
        self.candidates.retain(&self.assignment);
        self.slots = Slots::of(tick.readings, &self.assignment);
        departed
    }

    fn ended(
        &mut self,
        workloads: &[(Owner, Workload)],
        departed: &[Departed],
        tick: &Tick<'_>,
    ) -> Vec<Ended> {
        let resident = tick.readings.iter().map(|reading| reading.rss_bytes);
        let ends = Ends {
            mono_ms: tick.mono_ms,
            departed,
            largest_bytes: match departed {
                [] => 0, // nobody is compared with it
                _ => resident.max().unwrap_or(0),
            },
            limit_bytes: tick.nearness.limit_bytes(),
            near_limit: tick.nearness.is_near(),
            kills: tick.kills,
            claims: &self.claims,
        };
        let ended = self.endings.ended(workloads, &ends);
        self.endings.note_fading(tick.readings, ends.near_limit);
        ended
    }

    /// Kernels that run elsewhere, as many as there is room for; those of which anything runs
    /// here are measured.
    fn remote(&self, workloads: &[Workload], now_ms: u64) -> Vec<Workload> {
        let room = WORKLOADS_PER_SAMPLE_MAX.saturating_sub(workloads.len());
        let is_here = |id: &str| {
            let mut kernels = workloads.iter().filter(|w| w.kind == WorkloadKind::Kernel);
            kernels.any(|workload| workload.id == *id)
        };
        let tags = self.claims.remote_tags(self.names);
        tags.filter(|tag| !is_here(&tag.id))
            .take(room)
            .map(|tag| Workload {
                idle_ms: self.idle_ms(&tag, now_ms),
                kind: tag.kind,
                id: tag.id,
                name: tag.name,
                pid: 0,
                memory_used_bytes: None,
                rss_bytes: 0,
                pss_bytes: None,
                cpu_millis: 0,
                cpu_cores: None,
                processes: 0,
                threads: 0,
                notebook: tag.notebook,
                state: tag.state,
                job: None,
                read_bytes: None,
                written_bytes: None,
                remote: true,
            })
            .collect()
    }

    /// Every workload with its sums, largest first; the sums are the server's exactly.
    fn workloads(&self, interval_ms: Option<u64>, tick: &Tick<'_>) -> Vec<(Owner, Workload)> {
        let mut sums = vec![Sum::default(); self.slots.owners.len()];
        for (reading, &slot) in tick.readings.iter().zip(&self.slots.of_readings) {
            if let Some(sum) = sums.get_mut(slot) {
                sum.add(reading, tick);
            }
        }
        // Without a process it is there for the time alone: that of workloads which ended would
        // be missing from the sum. Less than a millisecond is in the server's rounding.
        let is_time_alone =
            self.ledger.other_ns() >= NS_PER_MS && !self.slots.owners.contains(&Owner::Other);
        let of_owners = self.slots.owners.iter().copied().zip(sums);
        let mut workloads: Vec<(Owner, Workload)> = of_owners
            .chain(is_time_alone.then(|| (Owner::Other, Sum::default())))
            .map(|(owner, sum)| {
                let tag = match owner {
                    Owner::Root(root) => self.assignment.tags.get(&root),
                    Owner::Other => None,
                };
                let mut workload = self.workload(owner, &sum, tag, interval_ms);
                workload.idle_ms = tag.and_then(|tag| self.idle_ms(tag, tick.mono_ms));
                self.look_in_front(owner, &mut workload, tick);
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

    fn workload(
        &self,
        owner: Owner,
        sum: &Sum,
        tag: Option<&Tag>,
        interval_ms: Option<u64>,
    ) -> Workload {
        let tag = tag.unwrap_or(&self.other);
        let ns = match owner {
            Owner::Root(root) => self.ledger.workload_ns(&root),
            Owner::Other => self.ledger.other_ns(),
        };
        let flow = self.flows.of(owner);
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
            idle_ms: None,
            job: None,
            read_bytes: flow.map(|flow| flow.read_bytes),
            written_bytes: flow.map(|flow| flow.written_bytes),
            remote: false,
        }
    }

    /// What was told, grown older since; what is busy does not.
    fn idle_ms(&self, tag: &Tag, now_ms: u64) -> Option<u64> {
        let grown_ms = match tag.state {
            Some(WorkloadState::Busy) => 0,
            _ => now_ms.saturating_sub(self.told_ms.unwrap_or(now_ms)),
        };
        tag.idle_ms.map(|told_ms| told_ms.saturating_add(grown_ms))
    }

    /// Of a terminal, whether a program is in front of its shell, and which.
    fn look_in_front(&self, owner: Owner, workload: &mut Workload, tick: &Tick<'_>) {
        let (WorkloadKind::Terminal, Owner::Root(root)) = (workload.kind, owner) else {
            return;
        };
        let readings = tick.readings.iter().copied();
        let shell = readings.clone().find(|reading| reading.key == root);
        let front = shell.map_or(Front::Unknown, |shell| Front::of(shell, readings));
        (workload.state, workload.job) = match front {
            Front::Unknown => (None, None),
            Front::Prompt => (Some(WorkloadState::Idle), None),
            Front::Job(program) => {
                let name = program.map(|program| self.names.shown(program));
                let name = name.filter(|name| !name.is_empty());
                (Some(WorkloadState::Busy), name)
            }
        };
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
        let before = self.previous.take();
        let mut workload_ns = before.map_or_else(KeyMap::default, |before| before.workload_ns);
        workload_ns.clear();
        for (owner, _) in workloads {
            let Owner::Root(root) = *owner else { continue };
            workload_ns.insert(root, self.ledger.workload_ns(&root));
        }
        self.endings.remember(workloads);
        self.previous = Some(Previous {
            mono_ms,
            total_ns: self.ledger.total_ns(),
            other_ns: self.ledger.other_ns(),
            workload_ns,
        });
    }
}

// === impl Assembled ===

impl Assembled {
    /// How much time is new is known, but not since when.
    pub(crate) fn forget_rates(&mut self) {
        self.cpu_cores = None;
        for workload in &mut self.workloads {
            workload.cpu_cores = None;
        }
    }
}

// === impl Slots ===

impl Slots {
    fn of(readings: &[&Reading], assignment: &Assignment) -> Self {
        let mut slots = Self::default();
        let mut by_owner: IntMap<Owner, usize> = IntMap::default();
        for reading in readings {
            let owner = assignment.owner(&reading.key);
            let slot = *by_owner.entry(owner).or_insert_with(|| {
                slots.owners.push(owner);
                slots.owners.len() - 1
            });
            slots.of_readings.push(slot);
        }
        slots
    }

    /// Whose the readings are, one after the other.
    fn in_order(&self) -> impl FnMut(&Key) -> Owner {
        let mut slots = self.of_readings.iter();
        move |_| slots.next().map_or(Owner::Other, |&slot| self.owners[slot])
    }
}

/// Who lived at the previous tick and is dead or gone now.
fn departed(before: &Assignment, tick: &Tick<'_>) -> Vec<Departed> {
    let now: KeyMap<&Reading> = tick.readings.iter().map(|r| (r.key, *r)).collect();
    let over = before.living().filter_map(|key| {
        let last = match now.get(&key) {
            Some(reading) if !reading.is_dead() => return None,
            Some(reading) => Some(*reading),
            None => tick.gone.iter().find(|reading| reading.key == key),
        };
        Some(Departed {
            key,
            held_bytes: last.map_or(0, |reading| reading.held_bytes),
            signal: last.and_then(|reading| reading.signal),
        })
    });
    over.collect()
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
                    id: "other".into(),
                    name: "other".into(),
                    notebook: None,
                    state: None,
                    idle_ms: None,
                    job: None,
                    ..folded
                },
            )),
        }
    }
}
