//! An agent that holds reports back with leave is not silent; one that does so without is.

use crate::{
    fact::Fact,
    state::{
        Phase, State,
        tests::{
            MB, START_MS, ada, after, connected, disconnected, hub, instance, report, sample,
            server, tick,
        },
    },
};

const HOLD_MS: u32 = 55_000;

fn paced(after_ms: i64, hold_ms: u32) -> Fact {
    Fact::Paced {
        at_ms: START_MS + after_ms,
        key: ada(),
        instance: instance(1),
        hold_ms,
    }
}

/// Heard at 0, with leave to hold back from 1 s on.
fn held() -> State {
    after(&[
        hub(0, None),
        connected(1, 0),
        report(1, 1, vec![sample(0, 500 * MB)]),
        paced(1_000, HOLD_MS),
    ])
}

/// When it counts as silent, if time passes from `from_ms` on.
fn silent_at(state: &mut State, from_ms: i64) -> i64 {
    (from_ms..from_ms + 200_000)
        .step_by(500)
        .find(|at_ms| {
            state.apply(&tick(*at_ms));
            server(state).phase == Phase::Silent
        })
        .unwrap()
}

#[test]
fn with_leave_to_hold_back_silence_begins_three_intervals_after_it() {
    assert_eq!(silent_at(&mut held(), 2_000), 55_000 + 16_500);
}

#[test]
fn who_looks_sees_within_three_intervals_that_nothing_comes() {
    let mut state = held();
    state.apply(&tick(30_000));
    assert_eq!(server(&state).phase, Phase::Live);
    state.apply(&paced(30_000, 0));
    assert_eq!(silent_at(&mut state, 30_000), 30_000 + 16_500);
    // What was held back comes: it is heard, and was never lost.
    let first_held = sample(5_000, 510 * MB);
    let Fact::Report {
        key,
        instance,
        seq,
        samples,
        ..
    } = report(1, 2, vec![first_held])
    else {
        unreachable!()
    };
    let arrived_ms = START_MS + 60_000;
    state.apply(&Fact::Report {
        arrived_ms,
        key,
        instance,
        seq,
        samples,
    });
    assert_eq!(server(&state).phase, Phase::Live);
    assert_eq!(server(&state).last_seen_ms, Some(arrived_ms));
}

#[test]
fn leave_ends_with_the_stream_and_a_new_one_begins_without() {
    let mut cut = held();
    cut.apply(&disconnected(1, 20_000, false));
    assert_eq!(silent_at(&mut cut, 20_000), 20_000 + 16_500);
    let mut again = held();
    again.apply(&disconnected(1, 20_000, false));
    again.apply(&connected(1, 22_000));
    assert_eq!(silent_at(&mut again, 22_000), 22_000 + 16_500);
}

#[test]
fn another_agents_leave_is_not_ours() {
    let mut state = held();
    state.apply(&report(2, 1, vec![sample(10_000, 500 * MB)]));
    state.apply(&paced(11_000, HOLD_MS));
    state.apply(&connected(2, 12_000));
    assert_eq!(silent_at(&mut state, 12_000), 12_000 + 16_500);
}
