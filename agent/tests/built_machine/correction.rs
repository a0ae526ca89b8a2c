//! A proportional set that is read again corrects the figure; that is never growth.

use std::collections::BTreeSet;

use hubmeter_agent::{
    sample::{MemorySource, Sample, memory::budget::PssShare},
    sampler::{PssMode, Sampler},
};
use proptest::prelude::*;

use super::machine::{At, MIB, Machine, Proc};

/// Proportional sets are told in KiB, and there are a few processes.
const ROUNDING: i64 = 64 << 10;

/// A process of `private` and `common` bytes, the latter shared by `sharers`.
fn proc(pid: u32, ppid: u32, private: u64, common: u64, sharers: u64) -> Proc {
    Proc {
        rss: private + common,
        shared: 0,
        pss: Some(private + common / sharers),
        private: Some(private),
        ..Proc::new(pid, ppid)
    }
}

fn sampler(machine: &Machine) -> Sampler {
    Sampler::new(machine.target(100), PssMode::Budget).unwrap()
}

/// What the sample says grew since one that said `before`.
fn growth(before: &Sample, now: &Sample) -> i64 {
    now.memory_used_bytes as i64 - before.memory_used_bytes as i64 - now.memory_corrected_bytes
}

#[test]
fn a_fork_is_no_growth_although_parent_and_child_are_read_anew() {
    let machine = Machine::new();
    machine.run(&[proc(100, 1, 4_000 * MIB, 0, 1)]);
    let mut sampler = sampler(&machine);
    let alone = sampler.tick(&At(0)).unwrap();
    assert_eq!(alone.memory_used_bytes, 4_000 * MIB);
    assert_eq!(alone.memory_corrected_bytes, 0);
    let both = [
        proc(100, 1, 0, 4_000 * MIB, 2),
        proc(101, 100, 300 * MIB, 4_000 * MIB, 2),
    ];
    machine.run(&both);
    let forked = sampler.tick(&At(5_000)).unwrap();
    assert_eq!(forked.memory_source, MemorySource::Pss);
    assert_eq!(
        forked.memory_used_bytes,
        4_300 * MIB,
        "the parent is read again"
    );
    assert_eq!(forked.memory_age_ms, 0);
    assert_eq!(growth(&alone, &forked), 300 * MIB as i64);
    // What the child shared is the parent's now: no release but of the child's own.
    machine.run(&[proc(100, 1, 4_000 * MIB, 0, 1)]);
    let left = sampler.tick(&At(10_000)).unwrap();
    assert_eq!(left.memory_used_bytes, 4_000 * MIB);
    assert_eq!(growth(&forked, &left), -300 * MIB as i64);
}

#[test]
fn a_figure_that_drifted_is_read_again_when_it_is_a_minute_old_and_that_is_correction() {
    let machine = Machine::new();
    let before = [proc(100, 1, 50 * MIB, 0, 1), proc(101, 100, 60 * MIB, 0, 1)];
    machine.run(&before);
    let mut sampler = sampler(&machine);
    sampler.tick(&At(0)).unwrap();
    // Both map the same 200 MiB now: RSS cannot tell that it is the same.
    let after = [
        proc(100, 1, 50 * MIB, 200 * MIB, 2),
        proc(101, 100, 60 * MIB, 200 * MIB, 2),
    ];
    machine.run(&after);
    let drifted = sampler.tick(&At(55_000)).unwrap();
    assert_eq!(drifted.memory_used_bytes, 510 * MIB);
    assert_eq!(drifted.memory_corrected_bytes, 0);
    assert_eq!(drifted.memory_age_ms, 55_000);
    let read = sampler.tick(&At(60_000)).unwrap();
    assert_eq!(read.memory_used_bytes, 310 * MIB);
    assert_eq!(read.memory_corrected_bytes, -200 * MIB as i64);
    assert_eq!(read.memory_age_ms, 0);
}

#[test]
fn a_share_of_nothing_allows_first_readings_and_no_other() {
    let machine = Machine::new();
    machine.run(&[proc(100, 1, 50 * MIB, 0, 1)]);
    let mut sampler = sampler(&machine).with_pss_share(PssShare::parse("0").unwrap());
    sampler.tick(&At(0)).unwrap();
    let both = [
        proc(100, 1, 90 * MIB, 0, 1),
        proc(101, 1, 70 * MIB, 30 * MIB, 2),
    ];
    machine.run(&[
        both[0].clone(),
        Proc {
            ppid: 100,
            ..both[1].clone()
        },
    ]);
    let sample = sampler.tick(&At(5_000)).unwrap();
    // The child is new, and its parent forked; after that nothing is due for ever.
    assert_eq!(sample.memory_used_bytes, (90 + 85) * MIB);
    machine.run(&[proc(100, 1, 90 * MIB, 500 * MIB, 9), both[1].clone()]);
    let later = sampler.tick(&At(86_400_000)).unwrap();
    assert_eq!(later.memory_age_ms, 86_395_000);
    assert_eq!(later.memory_used_bytes, (590 + 85) * MIB);
}

#[test]
fn a_cgroup_that_stops_being_the_servers_own_is_a_correction_and_no_release() {
    let machine = Machine::new();
    let stranger = Proc {
        start: 1, // before the server: none of its orphans
        ..Proc::new(900, 1)
    };
    machine.run(&[proc(100, 1, 500 * MIB, 0, 1), stranger]);
    machine.member(&[100], "0::/user/ada\n");
    let files = super::machine::v2_files(800 * MIB, 50 * MIB, "max");
    machine.group("/user/ada", &[100], &files);
    let mut sampler = sampler(&machine);
    let own = sampler.tick(&At(0)).unwrap();
    assert_eq!(own.memory_source, MemorySource::Cgroup2);
    machine.group("/user/ada", &[100, 900], &files);
    let shared = sampler.tick(&At(5_000)).unwrap();
    assert_eq!(shared.memory_source, MemorySource::Pss);
    assert_eq!(growth(&own, &shared), 0);
    machine.group("/user/ada", &[100], &files);
    let again = sampler.tick(&At(10_000)).unwrap();
    assert_eq!(again.memory_source, MemorySource::Cgroup2);
    assert_eq!(growth(&shared, &again), 0);
    assert_ne!(again.memory_corrected_bytes, 0);
}

/// Pages, and who maps them.
#[derive(Clone, Debug)]
struct Pages {
    bytes: u64,
    mapped_by: BTreeSet<u32>,
}

/// What happens between two ticks; numbers choose among those who are there.
#[derive(Clone, Debug)]
enum Event {
    Fork(usize),
    Exit(usize),
    Grow(usize, u64),
    /// Writes to what it shares: its own copy from now on.
    Copy(usize, usize),
}

/// Memory as the kernel keeps it.
#[derive(Clone, Debug)]
struct World {
    pages: Vec<Pages>,
    parents: Vec<(u32, u32)>,
    next_pid: u32,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            pages: Vec::new(),
            parents: vec![(100, 1)],
            next_pid: 101,
        };
        world.own(100, 200 * MIB);
        world
    }

    fn own(&mut self, pid: u32, bytes: u64) {
        self.pages.push(Pages {
            bytes,
            mapped_by: BTreeSet::from([pid]),
        });
    }

    fn pid(&self, choice: usize) -> u32 {
        self.parents[choice % self.parents.len()].0
    }

    fn apply(&mut self, event: &Event) {
        match *event {
            Event::Fork(who) if self.parents.len() < 7 => {
                let (parent, child) = (self.pid(who), self.next_pid);
                self.next_pid += 1;
                self.parents.push((child, parent));
                for pages in &mut self.pages {
                    if pages.mapped_by.contains(&parent) {
                        pages.mapped_by.insert(child);
                    }
                }
            }
            Event::Exit(who) if self.pid(who) != 100 => {
                let pid = self.pid(who);
                self.parents.retain(|(p, _)| *p != pid);
                for (_, parent) in &mut self.parents {
                    if *parent == pid {
                        *parent = 100; // a subreaper, so that it stays in the tree
                    }
                }
                for pages in &mut self.pages {
                    pages.mapped_by.remove(&pid);
                }
                self.pages.retain(|pages| !pages.mapped_by.is_empty());
            }
            Event::Grow(who, bytes) => self.own(self.pid(who), bytes),
            Event::Copy(who, which) => {
                let pid = self.pid(who);
                let shared = |pages: &&mut Pages| {
                    pages.mapped_by.len() > 1 && pages.mapped_by.contains(&pid)
                };
                let chosen = self.pages.iter_mut().filter(shared).nth(which % 3);
                let Some(pages) = chosen else { return };
                pages.mapped_by.remove(&pid);
                let bytes = pages.bytes;
                self.own(pid, bytes);
            }
            Event::Fork(_) | Event::Exit(_) => {}
        }
    }

    fn used(&self) -> u64 {
        self.pages.iter().map(|pages| pages.bytes).sum()
    }

    fn processes(&self) -> Vec<Proc> {
        let of = |pid: u32, share: fn(&Pages) -> u64| -> u64 {
            let mapped = |pages: &&Pages| pages.mapped_by.contains(&pid);
            self.pages.iter().filter(mapped).map(share).sum()
        };
        self.parents
            .iter()
            .map(|&(pid, ppid)| Proc {
                rss: of(pid, |p| p.bytes),
                shared: 0,
                pss: Some(of(pid, |p| p.bytes / p.mapped_by.len() as u64)),
                private: Some(of(
                    pid,
                    |p| if p.mapped_by.len() == 1 { p.bytes } else { 0 },
                )),
                ..Proc::new(pid, ppid)
            })
            .collect()
    }
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0_usize..9).prop_map(Event::Fork),
        (0_usize..9).prop_map(Event::Exit),
        (0_usize..9, 1_u64..100).prop_map(|(who, mib)| Event::Grow(who, mib * MIB)),
        (0_usize..9, 0_usize..3).prop_map(|(who, which)| Event::Copy(who, which)),
    ]
}

/// What happens before a tick, and how long after the one before that is.
type Tick = (Vec<Event>, u64);

/// At every tick no more growth is seen than there was. Only a copy of shared pages may be seen
/// later than it is made: it moves nobody's RSS, so that nothing tells of it until one of those
/// who shared them is read again (then it is corrected), or a fork of one is read for the first
/// time, to whom the copy came as its own when the other ended: it is told then. A copy may be
/// told late once, and only while the figure still lacks it.
fn growth_is_what_grew(ticks: Vec<Tick>) -> Result<(), TestCaseError> {
    let machine = Machine::new();
    let mut world = World::new();
    machine.run(&world.processes());
    let mut sampler = sampler(&machine);
    let mut before = sampler.tick(&At(0)).unwrap();
    let (mut now_ms, mut unseen) = (0, 0);
    for (events, after_ms) in ticks {
        let (mut grown, mut copied) = (0, 0);
        for event in &events {
            let used = world.used();
            world.apply(event);
            let more = world.used().saturating_sub(used);
            grown += more;
            if matches!(event, Event::Copy(..)) {
                copied += more;
            }
        }
        now_ms += after_ms;
        machine.run(&world.processes());
        let now = sampler.tick(&At(now_ms)).unwrap();
        let seen = growth(&before, &now);
        prop_assert!(
            seen <= (grown + unseen) as i64 + ROUNDING,
            "{} MiB seen of {} and {} unseen after {events:?}",
            seen >> 20,
            grown >> 20,
            unseen >> 20,
        );
        let lacking = world.used().saturating_sub(now.memory_used_bytes);
        unseen = (unseen + copied).min(lacking);
        before = now;
    }
    Ok(())
}

#[test]
fn a_copy_of_shared_pages_that_outlives_its_process_in_a_fork_is_told_late_but_once() {
    growth_is_what_grew(vec![
        (vec![Event::Grow(0, MIB)], 5_000),
        (vec![Event::Fork(0)], 5_000),
        (vec![Event::Copy(0, 0)], 5_000),
        (vec![Event::Fork(1), Event::Exit(7)], 5_000),
        (vec![], 5_000),
        (vec![], 70_000),
        (vec![Event::Fork(1)], 5_000),
    ])
    .unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Forks, ends, writes to shared pages, readings now and then: growth is never seen where
    /// nothing grew, and never more than did.
    #[test]
    fn growth_is_seen_only_where_memory_grew(
        ticks in prop::collection::vec(
            (prop::collection::vec(event(), 0..4), prop_oneof![Just(5_000_u64), Just(70_000)]),
            1..14,
        ),
    ) {
        growth_is_what_grew(ticks)?;
    }
}
