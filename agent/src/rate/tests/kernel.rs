//! A kernel's accounts in small: who runs, who forks, who waits, and what a reader sees of it who
//! looks at one process after the other while all goes on.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const ROOT: u32 = 100;
const AGENT: u32 = 7;
const INIT: u32 = 1;

#[derive(Clone, Debug)]
struct Proc {
    ppid: u32,
    own_ns: u64,
    /// User and system time of those it waited for.
    reaped_ns: [u64; 2],
    zombie: bool,
    ignores_children: bool,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Run(usize, u64),
    Fork(usize),
    /// Ignores SIGCHLD: nobody will get the time of its children.
    ForkIgnoring(usize),
    Exit(usize),
    Wait(usize),
    /// A whole life between two looks.
    Blink(usize, u64),
}

/// The machine.
#[derive(Debug)]
struct Kernel {
    procs: BTreeMap<u32, Proc>,
    next_pid: u32,
    subreaper: bool,
    /// The agent looks, and so does not reap: it has one thread.
    looking: bool,
    agent_reaped_ns: u64,
    /// All that was ever used in the tree.
    truth_ns: u64,
    /// Re-parented to init before anybody looked: in no tree any more.
    hidden: BTreeSet<u32>,
    seen: BTreeSet<u32>,
}

/// What a reader does between two looks at processes: goes on with the next event.
type Events<'a> = std::slice::Iter<'a, Event>;

impl Kernel {
    fn new(subreaper: bool) -> Self {
        let mut kernel = Self {
            procs: BTreeMap::new(),
            next_pid: ROOT,
            subreaper,
            looking: false,
            agent_reaped_ns: 0,
            truth_ns: 0,
            hidden: BTreeSet::new(),
            seen: BTreeSet::new(),
        };
        kernel.fork(if subreaper { AGENT } else { INIT }, false);
        kernel
    }

    fn fork(&mut self, ppid: u32, ignores_children: bool) -> u32 {
        let pid = self.next_pid;
        self.next_pid += 1;
        let born = Proc {
            ppid,
            own_ns: 0,
            reaped_ns: [0; 2],
            zombie: false,
            ignores_children,
        };
        self.procs.insert(pid, born);
        pid
    }

    fn run(&mut self, pid: u32, ns: u64) {
        self.procs.get_mut(&pid).unwrap().own_ns += ns;
        self.truth_ns += ns;
    }

    /// One of those who live.
    fn alive(&self, choice: usize) -> u32 {
        let alive: Vec<u32> = self
            .procs
            .iter()
            .filter(|(_, proc)| !proc.zombie)
            .map(|(pid, _)| *pid)
            .collect();
        alive[choice % alive.len()]
    }

    fn exit(&mut self, pid: u32) {
        let new_parent = if self.subreaper { AGENT } else { INIT };
        let mut left_zombies = Vec::new();
        for (child, proc) in &mut self.procs {
            if proc.ppid == pid {
                proc.ppid = new_parent;
                if !self.subreaper && !self.seen.contains(child) {
                    self.hidden.insert(*child);
                }
                if proc.zombie {
                    left_zombies.push(*child);
                }
            }
        }
        if !self.subreaper {
            for zombie in left_zombies {
                self.reap(zombie);
            }
        }
        self.procs.get_mut(&pid).unwrap().zombie = true;
        let ppid = self.procs[&pid].ppid;
        let ignored = self.procs.get(&ppid).is_some_and(|p| p.ignores_children);
        if ignored {
            self.procs.remove(&pid);
        } else if ppid == INIT {
            self.reap(pid);
        }
        self.agent_reaps();
    }

    /// The agent waits for whoever has come to it, when it has time.
    fn agent_reaps(&mut self) {
        let ended = |proc: &Proc| proc.zombie && proc.ppid == AGENT;
        while !self.looking
            && let Some(pid) = self
                .procs
                .iter()
                .find(|(_, p)| ended(p))
                .map(|(pid, _)| *pid)
        {
            self.reap(pid);
        }
    }

    /// Its parent waits for it.
    fn reap(&mut self, pid: u32) {
        let gone = self.procs.remove(&pid).unwrap();
        // Two thirds of it were user time.
        let user_ns = gone.own_ns / 3 * 2;
        let own_ns = [user_ns, gone.own_ns - user_ns];
        if gone.ppid == AGENT {
            self.agent_reaped_ns += gone.own_ns + gone.reaped_ns.iter().sum::<u64>();
        } else if let Some(parent) = self.procs.get_mut(&gone.ppid) {
            for (field, reaped_ns) in parent.reaped_ns.iter_mut().enumerate() {
                *reaped_ns += own_ns[field] + gone.reaped_ns[field];
            }
        }
    }

    fn wait(&mut self, pid: u32) {
        let zombie = self.procs.iter().find(|(_, p)| p.zombie && p.ppid == pid);
        if let Some(zombie) = zombie.map(|(zombie, _)| *zombie) {
            self.reap(zombie);
        }
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Run(who, ns) => self.run(self.alive(who), ns),
            Event::Fork(who) if self.procs.len() < 12 => {
                self.fork(self.alive(who), false);
            }
            Event::ForkIgnoring(who) if self.procs.len() < 12 => {
                self.fork(self.alive(who), true);
            }
            Event::Fork(_) | Event::ForkIgnoring(_) => {}
            Event::Exit(who) => {
                let pid = self.alive(who);
                if pid != ROOT {
                    self.exit(pid);
                }
            }
            Event::Wait(who) => self.wait(self.alive(who)),
            Event::Blink(who, ns) => {
                let parent = self.alive(who);
                let pid = self.fork(parent, false);
                self.run(pid, ns);
                self.exit(pid);
                self.wait(parent);
            }
        }
    }

    fn reading(&self, pid: u32) -> Option<Reading> {
        let proc = self.procs.get(&pid)?;
        let ticks = |ns: u64| ns / 10_000_000 * 10_000_000;
        Some(Reading {
            own_ns: proc.own_ns,
            reaped_ns: proc.reaped_ns.iter().map(|ns| ticks(*ns)).sum(),
            zombie: proc.zombie,
            ..reading(pid, proc.ppid, 0, 0)
        })
    }

    /// Looks at all, the agent and those known first, parents before children, while `meanwhile` goes on.
    fn look(&mut self, meanwhile: &mut Events<'_>) -> (Vec<Reading>, Option<(u32, u64)>) {
        let agent = self.subreaper.then_some((AGENT, self.agent_reaped_ns));
        self.looking = true;
        let mut readings = Vec::new();
        for known in [true, false] {
            let pids: Vec<u32> = self
                .procs
                .keys()
                .filter(|pid| self.seen.contains(pid) == known)
                .copied()
                .collect();
            for pid in pids {
                if let Some(event) = meanwhile.next() {
                    self.apply(*event);
                }
                if !self.hidden.contains(&pid) {
                    readings.extend(self.reading(pid));
                }
            }
        }
        self.seen
            .extend(readings.iter().map(|reading| reading.key.pid));
        self.looking = false;
        self.agent_reaps();
        (readings, agent)
    }

    /// Everybody ends and is waited for.
    fn quiet(&mut self) {
        while let Some(pid) = self.procs.keys().rev().find(|pid| **pid != ROOT) {
            let (pid, zombie) = (*pid, self.procs[pid].zombie);
            if zombie {
                self.reap(pid);
            } else {
                self.exit(pid);
            }
        }
    }
}

/// One tick: what happens before it, and while it looks.
type Tick = (Vec<Event>, Vec<Event>);

fn event(ignoring: bool) -> impl Strategy<Value = Event> {
    let ns = prop_oneof![0_u64..30_000_000, 0_u64..5_000_000_000];
    prop_oneof![
        3 => (0_usize..12, ns.clone()).prop_map(|(who, ns)| Event::Run(who, ns)),
        2 => (0_usize..12, 0_u32..3).prop_map(move |(who, kind)| match kind {
            0 if ignoring => Event::ForkIgnoring(who),
            _ => Event::Fork(who),
        }),
        1 => (0_usize..12).prop_map(Event::Exit),
        2 => (0_usize..12).prop_map(Event::Wait),
        1 => (0_usize..12, ns).prop_map(|(who, ns)| Event::Blink(who, ns)),
    ]
}

fn ticks(ignoring: bool) -> impl Strategy<Value = Vec<Tick>> {
    let events = |most| prop::collection::vec(event(ignoring), 0..most);
    prop::collection::vec((events(12), events(6)), 1..12)
}

/// Who owns what does not matter for the sum, but workloads that end must not take theirs along.
fn owner(key: &Key) -> Owner {
    match key.pid % 3 {
        0 => Owner::Other,
        _ => Owner::Root(*key),
    }
}

struct Watched {
    kernel: Kernel,
    ledger: Ledger,
    counted_ns: u64,
}

impl Watched {
    fn new(subreaper: bool) -> Self {
        Self {
            kernel: Kernel::new(subreaper),
            ledger: Ledger::default(),
            counted_ns: 0,
        }
    }

    /// One tick, and what holds after every one.
    fn tick(&mut self, meanwhile: &[Event], own_cgroup: bool) -> Result<(), TestCaseError> {
        let time = own_cgroup.then_some(CgroupTime {
            epoch: 1,
            used_ns: self.kernel.truth_ns,
            agents_ns: 0,
        });
        let (mut readings, agent) = self.kernel.look(&mut meanwhile.iter());
        readings.sort_by_key(|reading| reading.key);
        self.ledger.settle(readings.iter(), owner, agent);
        self.ledger.settle_cgroup(time);
        self.ledger.show(None, || None);
        let before_ns = std::mem::replace(&mut self.counted_ns, self.ledger.total_ns());
        prop_assert!(self.counted_ns >= before_ns, "it went back");
        // Sums of what was waited for come in clock ticks. A cgroup has no such rounding: what it
        // told first may come again in the tree's sums and in the agent's, less than that in each.
        let sums = if own_cgroup { 2 } else { 1 };
        let truth_ns = self.kernel.truth_ns + sums * ROUNDING_NS;
        prop_assert!(
            self.counted_ns <= truth_ns,
            "{} ms counted twice",
            (self.counted_ns - truth_ns) / MS
        );
        Ok(())
    }

    /// What is missing when all have ended and were looked at.
    fn missing_ns(&mut self, own_cgroup: bool) -> Result<u64, TestCaseError> {
        self.kernel.quiet();
        for _ in 0..3 {
            self.tick(&[], own_cgroup)?;
        }
        Ok(self.kernel.truth_ns.saturating_sub(self.counted_ns))
    }
}

fn counted_once_under_a_subreaper(ticks: &[Tick]) -> Result<(), TestCaseError> {
    let mut watched = Watched::new(true);
    for (before, meanwhile) in ticks {
        before.iter().for_each(|event| watched.kernel.apply(*event));
        watched.tick(meanwhile, false)?;
    }
    let missing_ns = watched.missing_ns(false)?;
    prop_assert!(missing_ns < 20 * MS, "{} ms are missing", missing_ns / MS);
    Ok(())
}

#[test]
fn the_agents_orphan_is_not_taken_for_a_child_whose_own_parent_waits_after_it_was_read() {
    use Event::{Blink, Exit, Fork, Wait};
    // An orphan of a zombie (1.8 s), and a worker whose 2.8 s come to the root's sum a tick late.
    let ticks = [
        (vec![Fork(0), Fork(0), Fork(3)], vec![Exit(1)]),
        (
            vec![Fork(0), Fork(1), Fork(0), Fork(5)],
            vec![Exit(1), Fork(5)],
        ),
        (
            vec![Fork(0), Exit(3), Exit(5)],
            vec![Fork(1), Blink(4, 1_775_053_649), Blink(5, 2_789_999_998)],
        ),
        (
            vec![Exit(4), Exit(4), Fork(0), Wait(6)],
            vec![Wait(6), Wait(0)],
        ),
        (vec![], vec![]),
    ];
    counted_once_under_a_subreaper(&ticks).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn under_a_subreaper_all_time_is_counted_once_whenever_one_looks(
        ticks in ticks(false),
    ) {
        counted_once_under_a_subreaper(&ticks)?;
    }

    #[test]
    fn without_one_nothing_is_counted_twice_whatever_nobody_waits_for(
        ticks in ticks(true), subreaper in any::<bool>(),
    ) {
        let mut watched = Watched::new(subreaper);
        for (before, meanwhile) in &ticks {
            before.iter().for_each(|event| watched.kernel.apply(*event));
            watched.tick(meanwhile, false)?;
        }
        watched.missing_ns(false)?;
    }

    #[test]
    fn in_an_own_cgroup_the_time_that_nobody_waits_for_is_counted_too(
        ticks in ticks(true), subreaper in any::<bool>(),
    ) {
        let mut watched = Watched::new(subreaper);
        watched.tick(&[], true)?;
        for (before, meanwhile) in &ticks {
            before.iter().for_each(|event| watched.kernel.apply(*event));
            watched.tick(meanwhile, true)?;
        }
        let missing_ns = watched.missing_ns(true)?;
        prop_assert!(missing_ns <= 20 * MS, "{} ms are missing", missing_ns / MS);
    }
}
