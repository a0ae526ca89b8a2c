use std::sync::Arc;

use proptest::prelude::*;

use super::*;

fn reading(pid: u32, ppid: u32, read: Option<u64>) -> Reading {
    Reading {
        key: Key {
            start_ticks: u64::from(pid),
            pid,
        },
        ppid,
        threads: 1,
        rss_bytes: 0,
        held_bytes: 0,
        signal: None,
        shared_bytes: 0,
        own_ns: 0,
        reaped_ns: 0,
        io: read.map(|bytes| Io {
            read: Moved {
                by_calls: bytes,
                by_storage: 0,
            },
            written: Moved::default(),
        }),
        zombie: false,
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

fn total(ledger: &FlowLedger) -> u64 {
    ledger.total().unwrap().read_bytes
}

#[test]
fn a_child_that_is_waited_for_is_counted_once_with_what_it_moved_after_its_last_reading() {
    let mut ledger = FlowLedger::default();
    let both = [reading(1, 0, Some(100)), reading(2, 1, Some(500))];
    ledger.settle(both.iter(), owner);
    assert_eq!(total(&ledger), 600);
    assert_eq!(ledger.of(root_of(2)).unwrap().read_bytes, 500);
    ledger.settle([reading(1, 0, Some(630))].iter(), owner);
    assert_eq!(total(&ledger), 630);
    assert_eq!(
        ledger.of(Owner::Other).unwrap().read_bytes,
        500,
        "what an ended workload read stays"
    );
}

#[test]
fn a_waiting_that_shows_a_tick_later_is_not_counted_twice() {
    let mut ledger = FlowLedger::default();
    let both = [reading(1, 0, Some(0)), reading(2, 1, Some(500))];
    ledger.settle(both.iter(), owner);
    ledger.settle([reading(1, 0, Some(0))].iter(), owner);
    ledger.settle([reading(1, 0, Some(510))].iter(), owner);
    assert_eq!(total(&ledger), 510);
}

#[test]
fn a_debt_that_a_dead_parent_had_not_paid_yet_passes_on_with_its_own() {
    let mut ledger = FlowLedger::default();
    let all = [
        reading(1, 0, Some(0)),
        reading(2, 1, Some(100)),
        reading(3, 2, Some(300)),
    ];
    ledger.settle(all.iter(), owner);
    // The grandchild is gone, its parent was read before it was waited for.
    ledger.settle(
        [reading(1, 0, Some(0)), reading(2, 1, Some(100))].iter(),
        owner,
    );
    ledger.settle([reading(1, 0, Some(400))].iter(), owner);
    assert_eq!(total(&ledger), 400);
}

#[test]
fn a_child_nobody_waits_for_hides_its_parents_own_for_two_readings_only() {
    let mut ledger = FlowLedger::default();
    let both = [reading(1, 0, Some(0)), reading(2, 1, Some(1_000))];
    ledger.settle(both.iter(), owner);
    for tick in 1..=10_u64 {
        ledger.settle([reading(1, 0, Some(100 * tick))].iter(), owner);
        assert!(total(&ledger) >= 1_000);
    }
    let hidden = 1_000 + 1_000 - total(&ledger);
    assert_eq!(hidden, 100 * u64::from(DEBT_CHANGES));
}

#[test]
fn who_does_not_tell_makes_its_workload_and_the_sum_unknown_and_they_come_back_where_they_were() {
    let mut ledger = FlowLedger::default();
    let told = [reading(1, 0, Some(100)), reading(2, 1, Some(500))];
    let silent = [
        told[0].clone(),
        reading(2, 1, Some(500)),
        reading(3, 2, None),
    ];
    ledger.settle(told.iter(), owner);
    ledger.settle(silent.iter(), owner);
    assert_eq!(ledger.total(), None);
    assert_eq!(ledger.of(root_of(2)), None);
    assert_eq!(ledger.of(root_of(1)).unwrap().read_bytes, 100);
    ledger.settle(told.iter(), owner);
    assert_eq!(total(&ledger), 600);
}

#[test]
fn of_each_step_the_larger_of_calls_and_storage_counts() {
    let mut ledger = FlowLedger::default();
    let mut one = reading(1, 0, Some(1_000)); // cached: by calls alone
    ledger.settle([one.clone()].iter(), owner);
    one.io.as_mut().unwrap().read.by_storage = 400; // mapped: from storage alone
    ledger.settle([one.clone()].iter(), owner);
    let io = one.io.as_mut().unwrap();
    (io.read.by_calls, io.read.by_storage) = (1_300, 700); // read from storage: in both
    ledger.settle([one].iter(), owner);
    assert_eq!(total(&ledger), 1_000 + 400 + 300);
}

/// What the kernel would say of processes that read, fork, end and are waited for.
#[derive(Clone, Debug)]
enum Event {
    Read {
        who: usize,
        bytes: u64,
    },
    Fork {
        who: usize,
    },
    /// Ends and is waited for by its parent.
    End {
        who: usize,
    },
    Tick,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0..8_usize, 1..1_000_u64).prop_map(|(who, bytes)| Event::Read { who, bytes }),
        2 => (0..8_usize).prop_map(|who| Event::Fork { who }),
        2 => (0..8_usize).prop_map(|who| Event::End { who }),
        3 => Just(Event::Tick),
    ]
}

proptest! {
    #[test]
    fn where_everybody_is_waited_for_the_sum_is_exact_at_every_tick(
        events in prop::collection::vec(event(), 1..120),
    ) {
        let mut ledger = FlowLedger::default();
        // pid, parent's pid, own and taken over.
        let mut living: Vec<(u32, u32, u64)> = vec![(1, 0, 0)];
        let (mut next_pid, mut read) = (2, 0);
        for event in events.into_iter().chain([Event::Tick]) {
            match event {
                Event::Read { who, bytes } => {
                    let at = who % living.len();
                    living[at].2 += bytes;
                    read += bytes;
                }
                Event::Fork { who } => {
                    let parent = living[who % living.len()].0;
                    living.push((next_pid, parent, 0));
                    next_pid += 1;
                }
                Event::End { who } => {
                    let (pid, ppid, bytes) = living[who % living.len()];
                    // Nobody with children: those would go elsewhere. Never the root.
                    if ppid == 0 || living.iter().any(|(_, parent, _)| *parent == pid) {
                        continue;
                    }
                    living.retain(|(other, _, _)| *other != pid);
                    if let Some(parent) = living.iter_mut().find(|(other, _, _)| *other == ppid) {
                        parent.2 += bytes;
                    }
                }
                Event::Tick => {
                    let readings: Vec<Reading> = living
                        .iter()
                        .map(|(pid, ppid, bytes)| reading(*pid, *ppid, Some(*bytes)))
                        .collect();
                    ledger.settle(readings.iter(), owner);
                    prop_assert_eq!(total(&ledger), read);
                }
            }
        }
    }
}
