use std::sync::Arc;

use super::*;

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

#[test]
fn a_child_that_is_waited_for_is_counted_once_with_what_it_used_after_its_last_reading() {
    let mut ledger = Ledger::default();
    ledger.settle(
        [reading(1, 0, 100, 0), reading(2, 1, 500, 0)].iter(),
        owner,
        None,
    );
    assert_eq!(ledger.total_ns(), 600 * MS);
    ledger.settle([reading(1, 0, 100, 530)].iter(), owner, None);
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
    ledger.settle(
        [reading(1, 0, 0, 0), reading(2, 1, 500, 0)].iter(),
        owner,
        None,
    );
    ledger.settle([reading(1, 0, 0, 0)].iter(), owner, None);
    ledger.settle([reading(1, 0, 0, 510)].iter(), owner, None);
    assert_eq!(ledger.total_ns(), 510 * MS);
}

#[test]
fn children_that_came_and_went_between_ticks_are_counted() {
    let mut ledger = Ledger::default();
    ledger.settle([reading(1, 0, 0, 0)].iter(), owner, None);
    ledger.settle([reading(1, 0, 0, 250)].iter(), owner, None);
    assert_eq!(ledger.total_ns(), 250 * MS);
}

#[test]
fn the_sum_never_goes_back_when_nobody_waits_for_a_child() {
    let mut ledger = Ledger::default();
    ledger.settle(
        [reading(1, 0, 10, 0), reading(2, 1, 900, 0)].iter(),
        owner,
        None,
    );
    for tick in 1..10 {
        let before = ledger.total_ns();
        ledger.settle([reading(1, 0, 10 + tick, 0)].iter(), owner, None);
        assert!(ledger.total_ns() >= before);
    }
    // Once nobody paid, later children count in full but for the rounding.
    ledger.settle([reading(1, 0, 19, 400)].iter(), owner, None);
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
    ledger.settle(all.iter(), owner, None);
    ledger.settle([reading(1, 0, 0, 400)].iter(), owner, None);
    assert_eq!(ledger.total_ns(), 400 * MS);
}

#[test]
fn orphans_that_the_agent_waited_for_are_other_and_counted_once() {
    let mut ledger = Ledger::default();
    let orphan = |_: &Key| Owner::Other;
    ledger.settle([reading(5, 77, 200, 0)].iter(), orphan, Some((77, 0)));
    ledger.settle([].iter(), orphan, Some((77, 260 * MS)));
    assert_eq!(ledger.other_ns(), 260 * MS);
}

#[test]
fn the_own_cgroup_adds_what_the_tree_did_not_see_and_leaves_the_agents_out() {
    let mut ledger = Ledger::default();
    ledger.settle([reading(1, 0, 100, 0)].iter(), owner, None);
    ledger.settle_cgroup(Some((5_000 * MS, 40 * MS)));
    assert_eq!(
        ledger.total_ns(),
        100 * MS,
        "what was before is not the server's"
    );
    ledger.settle([reading(1, 0, 150, 0)].iter(), owner, None);
    ledger.settle_cgroup(Some((5_120 * MS, 50 * MS)));
    assert_eq!(ledger.total_ns(), 210 * MS);
    assert_eq!(ledger.other_ns(), 60 * MS);
    // The tree catches up with what the cgroup had counted already: nothing moves back.
    ledger.settle([reading(1, 0, 190, 0)].iter(), owner, None);
    ledger.settle_cgroup(Some((5_130 * MS, 50 * MS)));
    assert_eq!(ledger.total_ns(), 250 * MS);
}

#[test]
fn cores_are_time_by_time() {
    assert_eq!(cores(500 * MS, 1000), Some(0.5));
    assert_eq!(cores(2_000 * MS, 1000), Some(2.0));
    assert_eq!(cores(1, 0), None);
}
