use proptest::prelude::*;

use super::*;
use crate::fact::{HubServer, MemorySource, WorkloadKind, WorkloadSample, WorkloadState};

pub(crate) const MB: u64 = 1_000_000;

/// 2026-01-01T00:00:00Z.
pub(crate) const START_MS: i64 = 1_767_225_600_000;

pub(crate) fn label(text: &str) -> Label {
    Label::clean(text, 128)
}

pub(crate) fn ada() -> ServerKey {
    ServerKey::new("ada", "")
}

pub(crate) fn instance(id: u8) -> InstanceId {
    InstanceId([id; 16])
}

pub(crate) fn kernel_key() -> WorkloadKey {
    WorkloadKey {
        kind: WorkloadKind::Kernel,
        id: label("8f3a"),
    }
}

/// A kernel of `bytes` that idles.
pub(crate) fn kernel(bytes: u64) -> WorkloadSample {
    WorkloadSample {
        key: kernel_key(),
        name: label("python3"),
        notebook: Some(label("train.ipynb")),
        state: Some(WorkloadState::Idle),
        pid: 4_711,
        memory_used_bytes: Some(bytes),
        rss_bytes: bytes,
        pss_bytes: None,
        cpu_millis: 0,
        processes: 1,
        threads: 4,
        idle_ms: None,
        read_bytes: None,
        written_bytes: None,
        remote: false,
    }
}

/// A sample `after_ms` the start: 100 MB of Jupyter, the rest a kernel's; limit 2 GB, enforced.
pub(crate) fn sample(after_ms: u64, used_bytes: u64) -> Sample {
    let at_ms = START_MS + after_ms as i64;
    let jupyter = WorkloadSample {
        key: WorkloadKey {
            kind: WorkloadKind::Server,
            id: label("jupyter"),
        },
        name: label("jupyter"),
        notebook: None,
        state: None,
        pid: 17,
        ..kernel(100 * MB)
    };
    Sample {
        interval_ms: 5_000,
        memory_limit_bytes: Some(2_000 * MB),
        memory_limit_source: Some(label("cgroup2:/user/ada")),
        memory_limit_enforced: true,
        processes: 2,
        threads: 8,
        oom_kills: Some(0),
        workloads: vec![kernel(used_bytes.saturating_sub(100 * MB)), jupyter],
        ..Sample::of_memory(
            at_ms,
            1_000_000 + after_ms,
            MemorySource::Cgroup2,
            used_bytes,
        )
    }
}

pub(crate) fn report(instance_id: u8, seq: u64, samples: Vec<Sample>) -> Fact {
    Fact::Report {
        arrived_ms: samples.last().map_or(START_MS, |sample| sample.at_ms),
        key: ada(),
        instance: instance(instance_id),
        seq,
        samples,
    }
}

pub(crate) fn tick(after_ms: i64) -> Fact {
    Fact::Tick {
        at_ms: START_MS + after_ms,
    }
}

pub(crate) fn hub(after_ms: i64, last_activity_ms: Option<i64>) -> Fact {
    Fact::Hub {
        at_ms: START_MS + after_ms,
        servers: vec![HubServer {
            key: ada(),
            groups: vec![label("physics")],
            started_ms: Some(START_MS),
            last_activity_ms,
            ready: true,
        }],
    }
}

pub(crate) fn nothing_listed(after_ms: i64) -> Fact {
    Fact::Hub {
        at_ms: START_MS + after_ms,
        servers: Vec::new(),
    }
}

pub(crate) fn connected(instance_id: u8, after_ms: i64) -> Fact {
    Fact::Connected {
        at_ms: START_MS + after_ms,
        key: ada(),
        instance: instance(instance_id),
        host: label("node-1"),
        interval_ms: 5_000,
    }
}

pub(crate) fn disconnected(instance_id: u8, after_ms: i64, farewell: bool) -> Fact {
    Fact::Disconnected {
        at_ms: START_MS + after_ms,
        key: ada(),
        instance: instance(instance_id),
        farewell,
    }
}

/// The state after `facts`, its invariants checked after each.
pub(crate) fn after<'a>(facts: impl IntoIterator<Item = &'a Fact>) -> State {
    let mut state = State::new(Policy::default());
    for fact in facts {
        state.apply(fact);
        assert_eq!(invariants::check(&state), Ok(()), "after {fact:?}");
    }
    state
}

pub(crate) fn server(state: &State) -> &Server {
    &state.servers[&ada()]
}

#[test]
fn momentum_is_unknown_for_an_instances_first_sample_and_skips_bursts() {
    let burst = Sample {
        burst: true,
        ..sample(7_000, 900 * MB)
    };
    let mut state = after(&[report(1, 1, vec![sample(0, 500 * MB)])]);
    assert_eq!(server(&state).momentum_bytes, None);
    state.apply(&report(1, 2, vec![sample(5_000, 700 * MB)]));
    assert_eq!(server(&state).momentum_bytes, Some(200_000_000));
    state.apply(&report(1, 3, vec![burst]));
    let with_burst = server(&state);
    assert_eq!(with_burst.momentum_bytes, Some(200_000_000));
    let shown = with_burst.latest.as_ref().unwrap().memory_used_bytes;
    assert_eq!(shown, 900 * MB, "the burst is the live picture");
    state.apply(&report(1, 4, vec![sample(10_000, 600 * MB)]));
    assert_eq!(server(&state).momentum_bytes, Some(-100_000_000));
    assert_eq!(server(&state).speed_bytes(), Some(100_000_000));
    state.apply(&report(2, 1, vec![sample(15_000, 100 * MB)]));
    assert_eq!(
        server(&state).momentum_bytes,
        None,
        "a new instance starts anew"
    );
}

#[test]
fn a_report_sent_again_changes_nothing() {
    let first = report(1, 1, vec![sample(0, 500 * MB)]);
    let second = report(1, 2, vec![sample(5_000, 700 * MB)]);
    let mut state = after([&first, &second]);
    let before = format!("{:?}", state.servers);
    assert_eq!(state.apply(&first), Changed::default());
    assert_eq!(state.apply(&second), Changed::default());
    assert_eq!(format!("{:?}", state.servers), before);
    assert_eq!(state.counts.reports_known, 2);
}

#[test]
fn the_newest_instance_speaks_and_the_old_one_is_not_heard_again() {
    let mut state = after(&[
        report(1, 1, vec![sample(0, 500 * MB)]),
        report(2, 1, vec![sample(5_000, 200 * MB)]),
    ]);
    state.apply(&report(1, 2, vec![sample(10_000, 999 * MB)]));
    let shown = server(&state).latest.as_ref().unwrap();
    assert_eq!(shown.memory_used_bytes, 200 * MB);
    assert_eq!(state.counts.reports_superseded, 1);
    state.apply(&connected(1, 15_000));
    assert_eq!(server(&state).through_seq, 1, "its numbering is remembered");
}

#[test]
fn cpu_is_measured_by_the_agents_clock_whatever_the_wall_says() {
    let mut second = sample(5_000, 500 * MB);
    second.at_ms -= 3_600_000;
    second.cpu_millis = 2_500;
    let state = after(&[report(1, 1, vec![sample(0, 500 * MB), second])]);
    assert_eq!(server(&state).cpu_cores, Some(0.5));
    let kernel_cores = server(&state).workload_cpu_cores[&kernel_key()];
    assert_eq!(kernel_cores, 0.0);
}

#[test]
fn a_server_is_silent_after_three_intervals_and_live_again_when_heard() {
    let mut state = after(&[
        hub(0, None),
        connected(1, 0),
        report(1, 1, vec![sample(0, 500 * MB)]),
        tick(16_000),
    ]);
    assert_eq!(server(&state).phase, Phase::Live);
    let changed = state.apply(&tick(16_001));
    assert_eq!(server(&state).phase, Phase::Silent);
    assert_eq!(changed.verdicts[0].rule, crate::verdict::Rule::Silent);
    assert_eq!(server(&state).idle_since_ms, None, "nobody measures");
    let changed = state.apply(&report(1, 2, vec![sample(20_000, 500 * MB)]));
    assert_eq!(server(&state).phase, Phase::Live);
    assert!(changed.verdicts[0].cleared_ms.is_some());
    assert_eq!(state.cleared.len(), 1);
}

#[test]
fn a_server_is_gone_after_a_farewell_or_when_the_hub_drops_it() {
    let live = [
        hub(0, None),
        connected(1, 0),
        report(1, 1, vec![sample(0, 500 * MB)]),
    ];
    let mut said_bye = after(&live);
    said_bye.apply(&disconnected(1, 5_000, true));
    assert_eq!(server(&said_bye).phase, Phase::Gone);
    said_bye.apply(&hub(6_000, None));
    assert_eq!(
        server(&said_bye).phase,
        Phase::Gone,
        "the hub still lists what stops"
    );

    let mut dropped = after(&live);
    dropped.apply(&nothing_listed(5_000));
    assert_eq!(server(&dropped).phase, Phase::Live, "it still reports");
    dropped.apply(&disconnected(1, 6_000, false));
    dropped.apply(&nothing_listed(65_000));
    assert_eq!(server(&dropped).phase, Phase::Gone);
    dropped.apply(&connected(2, 70_000));
    assert_eq!(server(&dropped).phase, Phase::Live);
}

#[test]
fn without_a_hub_long_silence_is_gone() {
    let mut state = after(&[report(1, 1, vec![sample(0, 500 * MB)]), tick(60_000)]);
    assert_eq!(server(&state).phase, Phase::Silent);
    assert!(
        server(&state).verdicts.is_empty(),
        "nobody says that it is up"
    );
    state.apply(&tick(600_000));
    assert_eq!(server(&state).phase, Phase::Gone);
}

#[test]
fn what_stopped_is_forgotten_in_time_or_for_room_and_what_runs_is_not() {
    let policy = Policy {
        servers_max: 2,
        gone_kept_ms: 1_000,
        ..Policy::default()
    };
    let mut state = State::new(policy);
    let of = |user: &str, after_ms: i64| Fact::Connected {
        at_ms: START_MS + after_ms,
        key: ServerKey::new(user, ""),
        instance: instance(1),
        host: label("node-1"),
        interval_ms: 5_000,
    };
    for user in ["ada", "bob", "eve"] {
        state.apply(&of(user, 0));
    }
    assert_eq!(state.servers.len(), 2);
    assert_eq!(state.counts.servers_refused, 1);
    state.apply(&disconnected(1, 10, true));
    state.apply(&of("eve", 20));
    assert!(!state.servers.contains_key(&ada()));
    assert_eq!(state.counts.servers_evicted, 1);
    state.apply(&Fact::Disconnected {
        at_ms: START_MS + 30,
        key: ServerKey::new("eve", ""),
        instance: instance(1),
        farewell: true,
    });
    state.apply(&tick(1_030));
    assert_eq!(state.servers.len(), 1);
    assert_eq!(state.counts.servers_expired, 1);
    assert_eq!(invariants::check(&state), Ok(()));
}

#[test]
fn a_hold_ends_when_its_time_comes() {
    let hold = |until_ms| Fact::Hold {
        at_ms: START_MS,
        key: ada(),
        until_ms,
    };
    let mut state = after(&[connected(1, 0), hold(Some(START_MS + 9_000))]);
    assert_eq!(server(&state).held_until_ms, Some(START_MS + 9_000));
    state.apply(&tick(9_000));
    assert_eq!(server(&state).held_until_ms, None);
}

/// Eleven reports in an order of their own, some of them twice or more.
fn shuffled() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(1_u64..12, 0..20)
        .prop_map(|again| (1..12).chain(again).collect::<Vec<u64>>())
        .prop_shuffle()
}

proptest! {
    #[test]
    fn any_interleaving_and_duplication_gives_the_same_state(
        order in shuffled(), used_mb in prop::collection::vec(150_u64..2_000, 11),
    ) {
        let fact = |seq: u64| {
            let used_bytes = used_mb[seq as usize - 1] * MB;
            report(1, seq, vec![sample(seq * 5_000, used_bytes)])
        };
        let in_order: Vec<Fact> = (1..12).map(fact).collect();
        let as_came: Vec<Fact> = order.into_iter().map(fact).collect();
        let (expected, actual) = (after(&in_order), after(&as_came));
        prop_assert!(
            format!("{:?}", expected.servers) == format!("{:?}", actual.servers),
            "the states differ"
        );
        prop_assert_eq!(expected.cleared, actual.cleared);
    }

    #[test]
    fn one_users_facts_change_nothing_of_anothers(
        used_mb in prop::collection::vec(150_u64..2_000, 11), at in 0_usize..11,
    ) {
        let of = |user: &str, seq: u64, used_mb: u64| Fact::Report {
            arrived_ms: START_MS + seq as i64 * 5_000,
            key: ServerKey::new(user, ""),
            instance: instance(1),
            seq,
            samples: vec![sample(seq * 5_000, used_mb * MB)],
        };
        let mut alone: Vec<Fact> = (1..).zip(&used_mb).map(|(seq, mb)| of("ada", seq, *mb)).collect();
        let expected = after(&alone);
        alone.insert(at, of("eve", 1, 1_999));
        alone.insert(at, of("eve", 900, 1_999));
        prop_assert!(
            format!("{:?}", server(&expected)) == format!("{:?}", server(&after(&alone))),
            "the states differ"
        );
    }
}
