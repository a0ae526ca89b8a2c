use std::sync::Arc;

use super::*;

mod kernel;

const MS: u64 = 1_000_000;

fn reading(pid: u32, ppid: u32, own_ms: u64, reaped_ms: u64) -> Reading {
    Reading {
        key: Key {
            start_ticks: u64::from(pid),
            pid,
        },
        ppid,
        threads: 1,
        rss_bytes: 0,
        shared_bytes: 0,
        held_bytes: 0,
        own_ns: own_ms * MS,
        reaped_ns: reaped_ms * MS,
        io: None,
        zombie: false,
        signal: None,
        terminal: None,
        group: 0,
        front_group: None,
        identity: Arc::default(),
        pss: None,
    }
}

fn root_of(pid: u32) -> Owner {
    Owner::Root(Key {
        start_ticks: u64::from(pid),
        pid,
    })
}

/// Everything is the root's, except the kernel 2 and what is below it.
fn owner(key: &Key) -> Owner {
    if key.pid < 2 { root_of(1) } else { root_of(2) }
}

fn settle<'a>(
    ledger: &mut Ledger,
    readings: impl Iterator<Item = &'a Reading> + Clone,
    owner: impl Fn(&Key) -> Owner,
    agent: Option<(u32, u64)>,
) {
    ledger.settle(readings, owner, agent);
    ledger.show(None, || None);
}

fn cgroup(ledger: &mut Ledger, epoch: u64, (used_ns, agents_ns): (u64, u64)) {
    ledger.settle_cgroup(Some(CgroupTime {
        epoch,
        used_ns,
        agents_ns,
    }));
    ledger.show(None, || None);
}

#[test]
fn a_child_that_is_waited_for_is_counted_once_with_what_it_used_after_its_last_reading() {
    let mut ledger = Ledger::default();
    settle(
        &mut ledger,
        [reading(1, 0, 100, 0), reading(2, 1, 500, 0)].iter(),
        owner,
        None,
    );
    assert_eq!(ledger.total_ns(), 600 * MS);
    settle(&mut ledger, [reading(1, 0, 100, 530)].iter(), owner, None);
    assert_eq!(ledger.total_ns(), 630 * MS);
    assert_eq!(
        ledger.other_ns(),
        500 * MS,
        "an ended workload's time stays"
    );
}

#[test]
fn a_reaping_that_shows_a_tick_later_is_not_counted_twice() {
    let mut ledger = Ledger::default();
    settle(
        &mut ledger,
        [reading(1, 0, 0, 0), reading(2, 1, 500, 0)].iter(),
        owner,
        None,
    );
    settle(&mut ledger, [reading(1, 0, 0, 0)].iter(), owner, None);
    settle(&mut ledger, [reading(1, 0, 0, 510)].iter(), owner, None);
    assert_eq!(ledger.total_ns(), 510 * MS);
}

#[test]
fn children_that_came_and_went_between_ticks_are_counted() {
    let mut ledger = Ledger::default();
    settle(&mut ledger, [reading(1, 0, 0, 0)].iter(), owner, None);
    settle(&mut ledger, [reading(1, 0, 0, 250)].iter(), owner, None);
    assert_eq!(ledger.total_ns(), 250 * MS);
}

#[test]
fn the_sum_never_goes_back_when_nobody_waits_for_a_child() {
    let mut ledger = Ledger::default();
    settle(
        &mut ledger,
        [reading(1, 0, 10, 0), reading(2, 1, 900, 0)].iter(),
        owner,
        None,
    );
    for tick in 1..10 {
        let before = ledger.total_ns();
        settle(
            &mut ledger,
            [reading(1, 0, 10 + tick, 0)].iter(),
            owner,
            None,
        );
        assert!(ledger.total_ns() >= before);
    }
    // Once nobody paid, later children count in full but for the rounding.
    settle(&mut ledger, [reading(1, 0, 19, 400)].iter(), owner, None);
    assert_eq!(ledger.total_ns(), (19 + 900 + 380) * MS);
}

#[test]
fn a_grandchild_passes_through_a_parent_that_went_too() {
    let mut ledger = Ledger::default();
    let all = [
        reading(1, 0, 0, 0),
        reading(2, 1, 100, 0),
        reading(3, 2, 300, 0),
    ];
    settle(&mut ledger, all.iter(), owner, None);
    settle(&mut ledger, [reading(1, 0, 0, 400)].iter(), owner, None);
    assert_eq!(ledger.total_ns(), 400 * MS);
}

#[test]
fn orphans_that_the_agent_waited_for_are_other_and_counted_once() {
    let mut ledger = Ledger::default();
    let orphan = |_: &Key| Owner::Other;
    settle(
        &mut ledger,
        [reading(5, 77, 200, 0)].iter(),
        orphan,
        Some((77, 0)),
    );
    settle(&mut ledger, [].iter(), orphan, Some((77, 260 * MS)));
    assert_eq!(ledger.other_ns(), 260 * MS);
}

#[test]
fn the_own_cgroup_adds_what_the_tree_did_not_see_and_leaves_the_agents_out() {
    let mut ledger = Ledger::default();
    settle(&mut ledger, [reading(1, 0, 100, 0)].iter(), owner, None);
    cgroup(&mut ledger, 1, (5_000 * MS, 40 * MS));
    assert_eq!(
        ledger.total_ns(),
        100 * MS,
        "what was before is not the server's"
    );
    settle(&mut ledger, [reading(1, 0, 150, 0)].iter(), owner, None);
    cgroup(&mut ledger, 1, (5_120 * MS, 50 * MS));
    assert_eq!(ledger.total_ns(), 210 * MS);
    assert_eq!(ledger.other_ns(), 60 * MS);
    // The tree catches up with what the cgroup had counted already: nothing moves back.
    settle(&mut ledger, [reading(1, 0, 190, 0)].iter(), owner, None);
    cgroup(&mut ledger, 1, (5_130 * MS, 50 * MS));
    assert_eq!(ledger.total_ns(), 250 * MS);
}

#[test]
fn another_cgroup_starts_anew_and_its_history_is_nobodys() {
    let mut ledger = Ledger::default();
    settle(&mut ledger, [reading(1, 0, 100, 0)].iter(), owner, None);
    cgroup(&mut ledger, 1, (50 * MS, 0));
    settle(&mut ledger, [reading(1, 0, 100, 0)].iter(), owner, None);
    cgroup(&mut ledger, 2, (900_000 * MS, 0));
    assert_eq!(ledger.total_ns(), 100 * MS);
    settle(&mut ledger, [reading(1, 0, 100, 0)].iter(), owner, None);
    cgroup(&mut ledger, 2, (900_300 * MS, 0));
    assert_eq!(ledger.total_ns(), 400 * MS);
}

#[test]
fn what_is_found_late_is_shown_no_faster_than_the_machines_cores() {
    let mut ledger = Ledger::default();
    let mut tick = |own_ms, found: bool| {
        let all = [reading(1, 0, own_ms, 0), reading(2, 9, 60_000, 0)];
        let seen = if found { 2 } else { 1 };
        ledger.settle(all[..seen].iter(), owner, None);
        ledger.show(Some(5_000), || Some(2));
        (ledger.total_ns() / MS, ledger.workload_ns(&all[1].key) / MS)
    };
    assert_eq!(tick(1_000, false), (1_000, 0));
    // An orphan with a minute of work is found: two cores need half a minute for that.
    let shown: Vec<(u64, u64)> = (1..=8).map(|n| tick(1_000 * n, true)).collect();
    let steps = shown.windows(2).map(|pair| pair[1].0 - pair[0].0);
    assert!(steps.clone().all(|step| step <= 10_000), "{shown:?}");
    assert!(shown[0].0 <= 11_000, "{shown:?}");
    let (total, orphan) = shown[7];
    assert_eq!((total, orphan), (68_000, 60_000), "nothing is lost");
}

#[test]
fn a_debt_that_nobody_pays_swallows_no_later_time() {
    let mut ledger = Ledger::default();
    // A parent ignores SIGCHLD: what its child used is in no sum.
    let both = [reading(1, 0, 0, 0), reading(2, 1, 900_000, 0)];
    settle(&mut ledger, both.iter(), owner, None);
    settle(&mut ledger, [reading(1, 0, 0, 0)].iter(), owner, None);
    settle(&mut ledger, [reading(1, 0, 0, 0)].iter(), owner, None);
    settle(&mut ledger, [reading(1, 0, 0, 5_000)].iter(), owner, None);
    assert_eq!(ledger.total_ns(), (900_000 + 5_000 - 20) * MS);
}

#[test]
fn a_child_of_a_child_that_dies_with_it_a_tick_later_is_still_counted_once() {
    let mut ledger = Ledger::default();
    let all = [
        reading(1, 0, 0, 0),
        reading(2, 1, 0, 0),
        reading(3, 2, 700, 0),
    ];
    settle(&mut ledger, all.iter(), owner, None);
    // 2 waited for 3 after it was read itself, and ends before the next tick.
    settle(&mut ledger, all[..2].iter(), owner, None);
    settle(&mut ledger, [reading(1, 0, 0, 700)].iter(), owner, None);
    assert_eq!(ledger.total_ns(), 700 * MS);
}

#[test]
fn what_the_agent_reaped_pays_for_a_zombies_children_and_not_for_those_of_the_living() {
    // Whichever of the two comes first.
    for (zombie, living) in [(2, 3), (3, 2)] {
        let mut ledger = Ledger::default();
        let ended = Reading {
            zombie: true,
            ..reading(zombie, 1, 0, 0)
        };
        let all = [
            reading(1, 0, 0, 0),
            reading(zombie, 1, 0, 0),
            reading(living, 1, 0, 0),
            reading(10, zombie, 700, 0),
            reading(11, living, 700, 0),
        ];
        settle(&mut ledger, all.iter(), owner, Some((77, 0)));
        // The agent waited for 10, the living one for 11, but after it was read itself.
        let left = [all[0].clone(), ended.clone(), all[2].clone()];
        settle(&mut ledger, left.iter(), owner, Some((77, 700 * MS)));
        let left = [all[0].clone(), ended, reading(living, 1, 0, 700)];
        settle(&mut ledger, left.iter(), owner, Some((77, 700 * MS)));
        assert_eq!(ledger.total_ns(), 1_400 * MS, "{zombie} is the zombie");
    }
}

#[test]
fn what_the_agent_reaped_pays_for_an_orphan_whose_parent_went_before_it_was_seen_dead() {
    let mut ledger = Ledger::default();
    let all = [
        reading(1, 0, 0, 0),
        reading(2, 1, 0, 0),
        reading(3, 2, 700, 0),
    ];
    settle(&mut ledger, all.iter(), owner, Some((77, 0)));
    // 2 ended after it was read, and the agent waited for 3.
    settle(&mut ledger, all[..2].iter(), owner, Some((77, 0)));
    settle(&mut ledger, all[..1].iter(), owner, Some((77, 700 * MS)));
    assert_eq!(ledger.total_ns(), 700 * MS);
    // So 1 owes nothing when another child of it comes and goes.
    let later = [reading(1, 0, 0, 500)];
    settle(&mut ledger, later.iter(), owner, Some((77, 700 * MS)));
    assert_eq!(ledger.total_ns(), 1_200 * MS);
}

#[test]
fn an_orphans_time_is_its_nearest_living_ancestors_before_it_is_another_ones() {
    let mut ledger = Ledger::default();
    let root = |reaped_ms| reading(1, 0, 0, reaped_ms);
    let parent = |reaped_ms| reading(2, 1, 0, reaped_ms);
    let worker = reading(5, 1, 40, 0);
    let all = [
        root(0),
        parent(0),
        reading(3, 2, 0, 0),
        reading(4, 3, 70, 0),
    ];
    settle(
        &mut ledger,
        all.iter().chain([&worker]),
        owner,
        Some((77, 0)),
    );
    // 3 waited for 4 and ended; 2 waited for 3 after it was read itself.
    let left = [root(0), parent(0)];
    settle(
        &mut ledger,
        left.iter().chain([&worker]),
        owner,
        Some((77, 0)),
    );
    // The root's worker ended, too: what it used is the root's, and not the orphan's.
    let left = [root(40), parent(70)];
    for _ in 0..3 {
        settle(&mut ledger, left.iter(), owner, Some((77, 0)));
        assert_eq!(ledger.total_ns(), 110 * MS);
    }
}

#[test]
fn in_an_own_cgroup_who_is_waited_for_after_his_parent_was_read_is_counted_once() {
    let mut ledger = Ledger::default();
    let tick = |ledger: &mut Ledger, reaped_ms, cgroup_ms| {
        ledger.settle([reading(1, 0, 0, reaped_ms)].iter(), owner, None);
        cgroup(ledger, 1, (cgroup_ms * MS, 0));
        ledger.total_ns() / MS
    };
    tick(&mut ledger, 0, 0);
    // Born, ended and waited for; the parent was read in between.
    assert_eq!(tick(&mut ledger, 0, 500), 500);
    assert_eq!(
        tick(&mut ledger, 500, 500),
        500,
        "what the cgroup told shows in the parent"
    );
    assert_eq!(
        tick(&mut ledger, 800, 800),
        800,
        "and what comes later is new"
    );
}

#[test]
fn cores_are_time_by_time() {
    assert_eq!(cores(500 * MS, 1000), Some(0.5));
    assert_eq!(cores(2_000 * MS, 1000), Some(2.0));
    assert_eq!(cores(1, 0), None);
}
