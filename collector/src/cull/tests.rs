use super::*;
use crate::{
    fact::{Fact, WorkloadState},
    state::tests::{MB, START_MS, ada, after, connected, hub, report, sample},
};

const HOUR_MS: i64 = 3_600_000;

const HOUR: Question = Question {
    timeout_ms: Some(HOUR_MS),
    max_age_ms: None,
    warned: None,
};

fn only_row(facts: &[Fact], question: &Question, after_ms: i64) -> CullRow {
    let mut rows = rows(&after(facts), question, START_MS + after_ms);
    assert_eq!(rows.len(), 1);
    rows.remove(0)
}

/// Two hours of samples, one a minute, whose kernel is as told.
fn two_hours(state: WorkloadState) -> Vec<Fact> {
    let mut facts = vec![hub(0, Some(START_MS))];
    for minute in 0..=120_u64 {
        let mut sample = sample(minute * 60_000, 300 * MB);
        sample.interval_ms = 60_000;
        sample.workloads[0].state = Some(state);
        facts.push(report(1, minute + 1, vec![sample]));
    }
    facts
}

#[test]
fn an_idle_server_may_be_stopped_and_a_working_one_may_not() {
    let idle = only_row(&two_hours(WorkloadState::Idle), &HOUR, 2 * HOUR_MS);
    assert!(idle.cull);
    assert_eq!(idle.idle_since_ms, Some(START_MS));
    assert_eq!(idle.idle_ms, Some(2 * HOUR_MS));
    assert_eq!(idle.reason, "idle for 2 h");
    // The hub's last_activity is two hours old: the idle culler alone would stop it.
    let busy = only_row(&two_hours(WorkloadState::Busy), &HOUR, 2 * HOUR_MS);
    assert!(!busy.cull);
    assert_eq!(busy.idle_ms, Some(0));
    assert_eq!(busy.reason, "kernel train.ipynb busy for 2 h");
}

#[test]
fn a_hold_keeps_an_idle_server_until_it_ends() {
    let mut facts = two_hours(WorkloadState::Idle);
    facts.push(Fact::Hold {
        at_ms: START_MS,
        key: ada(),
        until_ms: Some(START_MS + 3 * HOUR_MS),
    });
    let held = only_row(&facts, &HOUR, 2 * HOUR_MS);
    assert!(!held.cull);
    assert_eq!(held.held_until_ms, Some(START_MS + 3 * HOUR_MS));
    assert!(only_row(&facts, &HOUR, 3 * HOUR_MS).cull);
}

#[test]
fn a_server_without_an_agent_is_judged_by_the_hub_and_the_reason_says_so() {
    let row = only_row(&[hub(0, Some(START_MS))], &HOUR, 2 * HOUR_MS);
    assert!(row.cull);
    assert_eq!(
        row.reason,
        "idle for 2 h by the hub's last_activity: it has no agent"
    );
    let fell_silent = [
        hub(0, Some(START_MS)),
        report(1, 1, vec![sample(0, 300 * MB)]),
    ];
    let row = only_row(&fell_silent, &HOUR, 2 * HOUR_MS);
    assert!(
        row.reason.ends_with("its agent is silent"),
        "{}",
        row.reason
    );
}

#[test]
fn unknown_never_culls() {
    let eager = Question {
        timeout_ms: Some(0),
        ..Question::default()
    };
    let unlisted = only_row(&[connected(1, 0)], &eager, 20 * HOUR_MS);
    assert!(!unlisted.cull);
    assert_eq!(unlisted.idle_ms, None);
    assert!(
        unlisted.reason.starts_with("unknown"),
        "{}",
        unlisted.reason
    );
    assert!(!only_row(&[hub(0, None)], &eager, 20 * HOUR_MS).cull);
    // Four minutes of silence are no moment, and nothing to stop a server for.
    let mut silent = two_hours(WorkloadState::Idle);
    let now_ms = 2 * HOUR_MS + 240_000;
    silent.push(Fact::Tick {
        at_ms: START_MS + now_ms,
    });
    let silent = only_row(&silent, &eager, now_ms);
    assert!(!silent.cull && silent.reason.ends_with("silent for less than 10 minutes"));
}

#[test]
fn an_old_server_may_be_stopped_at_work_when_that_is_asked() {
    let question = Question {
        timeout_ms: Some(100 * HOUR_MS),
        max_age_ms: Some(Some(HOUR_MS)),
        ..Question::default()
    };
    let row = only_row(&two_hours(WorkloadState::Busy), &question, 2 * HOUR_MS);
    assert!(row.cull);
    assert_eq!(row.reason, "older than 1 h");
}

#[test]
fn jupyter_keepalive_keeps_a_server_as_long_as_its_user_asked_it_to() {
    let mut state = after(&two_hours(WorkloadState::Idle));
    let kept_ms = START_MS + 3 * HOUR_MS;
    state.servers.get_mut(&ada()).unwrap().kept_until_ms = Some(kept_ms);
    let row = |now_ms| rows(&state, &HOUR, now_ms).remove(0);
    let kept = row(START_MS + 2 * HOUR_MS);
    assert!(!kept.cull && kept.held_until_ms.is_none(), "{kept:?}");
    assert!(kept.reason.starts_with("kept by jupyter-keepalive until "));
    assert_eq!(kept.stops_at_ms, Some(kept_ms));
}

#[test]
fn an_agent_that_may_be_on_its_way_back_is_waited_for_after_a_restart_and_after_sleep() {
    const MINUTE_MS: i64 = 60_000;
    let back_ms = 3 * HOUR_MS;
    let restarted = Fact::Started {
        at_ms: START_MS + back_ms,
    };
    let slept = Fact::Tick {
        at_ms: START_MS + back_ms,
    };
    for back in [restarted, slept] {
        let mut facts = two_hours(WorkloadState::Busy);
        facts.push(Fact::Tick {
            at_ms: START_MS + 2 * HOUR_MS,
        });
        // Nothing has passed since it woke: that is seen by the time alone.
        if matches!(back, Fact::Tick { .. }) {
            let row = only_row(&facts, &HOUR, back_ms);
            assert!(row.reason.starts_with("unknown"), "{}", row.reason);
        }
        facts.push(back);
        let mut tick = |after_ms| {
            facts.push(Fact::Tick {
                at_ms: START_MS + after_ms,
            });
            only_row(&facts, &HOUR, after_ms)
        };
        // The hub's last_activity is three hours old, the agent's backoff is up to a minute.
        let row = tick(back_ms + 20_000);
        assert!(!row.cull && row.reason.starts_with("unknown"), "{row:?}");
        let mut after_ms = back_ms + 20_000;
        while after_ms < back_ms + 11 * MINUTE_MS {
            after_ms += 20_000;
            tick(after_ms);
        }
        assert!(tick(after_ms).cull, "it never came back");
    }
}

#[test]
fn what_the_agent_saw_counts_when_the_hub_knows_less() {
    let facts = two_hours(WorkloadState::Busy);
    // Heard for two hours; the hub's last_activity is of the start.
    let row = only_row(&facts, &HOUR, 2 * HOUR_MS + 30 * 60_000);
    assert!(!row.cull, "{row:?}");
    assert_eq!(row.idle_since_ms, Some(START_MS + 2 * HOUR_MS));
    assert_eq!(row.reason, "idle for 30 min since its agent fell silent");
    assert!(only_row(&facts, &HOUR, 3 * HOUR_MS).cull);
}

#[test]
fn a_server_that_was_never_heard_gets_the_time_it_may_take_to_connect() {
    let facts = [hub(0, Some(START_MS - HOUR_MS))];
    let row = only_row(&facts, &HOUR, 60_000);
    assert!(!row.cull && row.reason.starts_with("unknown"), "{row:?}");
    assert!(only_row(&facts, &HOUR, 121_000).cull);
}

#[test]
fn jupyter_keepalive_keeps_no_server_for_longer_than_a_hold_may() {
    let mut state = after(&two_hours(WorkloadState::Idle));
    state.servers.get_mut(&ada()).unwrap().kept_until_ms = Some(i64::MAX);
    let now_ms = START_MS + 2 * HOUR_MS;
    let row = rows(&state, &HOUR, now_ms).remove(0);
    assert!(!row.cull);
    assert_eq!(row.stops_at_ms, Some(now_ms + 24 * HOUR_MS));
    state.cull = Arc::new(CullPolicy {
        hold_max_ms: 0,
        ..CullPolicy::default()
    });
    assert!(
        rows(&state, &HOUR, now_ms)[0].cull,
        "nobody may hold anything"
    );
}

#[test]
fn holds_that_are_renewed_put_off_the_end_of_an_idle_server_no_further_than_policy_lets_them() {
    const MINUTE_MS: i64 = 60_000;
    type Keep = fn(&mut Server, i64);
    let keeps: [Keep; 2] = [
        |server, until_ms| server.held_until_ms = Some(until_ms),
        |server, until_ms| server.kept_until_ms = Some(until_ms),
    ];
    for keep in keeps {
        let mut state = after(&two_hours(WorkloadState::Idle));
        state.cull = Arc::new(CullPolicy {
            timeout_ms: Some(HOUR_MS),
            hold_max_ms: 30 * MINUTE_MS,
            hold_total_max_ms: 45 * MINUTE_MS,
            ..CullPolicy::default()
        });
        let latest_ms = START_MS + 105 * MINUTE_MS;
        let mut row = |minute: i64| {
            let now_ms = START_MS + minute * MINUTE_MS;
            // It is renewed all the time.
            keep(
                state.servers.get_mut(&ada()).unwrap(),
                now_ms + 30 * MINUTE_MS,
            );
            rows(&state, &Question::default(), now_ms).remove(0)
        };
        let kept = row(104);
        assert!(!kept.cull && kept.reason.contains(" until "), "{kept:?}");
        assert_eq!(kept.stops_at_ms, Some(latest_ms));
        let spent = row(105);
        assert!(spent.cull, "{spent:?}");
        assert_eq!(
            spent.reason,
            "idle for 1 h; held 45 min beyond its time, the most there is"
        );
    }
}

#[test]
fn a_hold_of_somebody_at_work_has_no_end_but_its_own() {
    let mut state = after(&two_hours(WorkloadState::Busy));
    let now_ms = START_MS + 2 * HOUR_MS;
    let server = state.servers.get_mut(&ada()).unwrap();
    server.held_until_ms = Some(now_ms + 1_000 * HOUR_MS);
    let server = &state.servers[&ada()];
    assert_eq!(kept_latest_ms(&state, server, now_ms), None);
    assert!(!rows(&state, &Question::default(), now_ms)[0].cull);
}

#[test]
fn of_the_bounds_for_idling_and_for_age_the_earlier_holds_whichever_is_due_first() {
    let mut state = after(&two_hours(WorkloadState::Idle));
    let now_ms = START_MS + 2 * HOUR_MS;
    // Nights let it idle for half a day: it is due by now for its idling, its age comes a bit later.
    let nights = schedule::tests::nights([false; 7]);
    state.cull = Arc::new(CullPolicy {
        timeout_ms: Some(HOUR_MS),
        max_age_ms: Some(3 * HOUR_MS),
        schedules: vec![schedule::Schedule {
            timeout_ms: 12 * HOUR_MS,
            ..nights
        }],
        hold_max_ms: 24 * HOUR_MS,
        hold_total_max_ms: 24 * HOUR_MS,
        ..CullPolicy::default()
    });
    let server = &state.servers[&ada()];
    let latest = kept_latest_ms(&state, server, now_ms);
    let by_age_ms = START_MS + 27 * HOUR_MS;
    assert_eq!(latest, Some((by_age_ms, 24 * HOUR_MS)));
    // And so it is when it is held: the end comes no later than was granted.
    let server = state.servers.get_mut(&ada()).unwrap();
    server.held_until_ms = Some(by_age_ms + HOUR_MS);
    let row = rows(&state, &Question::default(), now_ms).remove(0);
    assert_eq!(row.stops_at_ms, Some(by_age_ms));
}
