use std::sync::Arc;

mod delivery;

use super::*;
use crate::{
    cull::CullPolicy,
    fact::{Fact, WorkloadState},
    person::{Fate, Fates, PeopleMove},
    state::tests::{MB, START_MS, ada, hub, label, report, sample},
};

const MINUTE_MS: i64 = 60_000;

/// Idles for `minutes` under a policy that stops after an hour.
fn idle_for(minutes: u64, policy: CullPolicy) -> State {
    let mut state = acting(policy);
    let first_ms = Some(START_MS);
    state.apply(&hub(0, first_ms));
    go_on(&mut state, 0, minutes, WorkloadState::Idle);
    state
}

fn acting(policy: CullPolicy) -> State {
    let mut state = State::new(crate::state::Policy::default());
    state.cull = Arc::new(policy);
    state
}

fn policy() -> CullPolicy {
    CullPolicy {
        mode: Mode::Act,
        timeout_ms: Some(60 * MINUTE_MS),
        ..CullPolicy::default()
    }
}

/// A sample a minute from `from` to `to`.
fn go_on(state: &mut State, from: u64, to: u64, kernel: WorkloadState) {
    for minute in from..=to {
        let mut sample = sample(minute * 60_000, 300 * MB);
        sample.interval_ms = 60_000;
        sample.workloads[0].state = Some(kernel);
        state.apply(&report(1, minute + 1, vec![sample]));
    }
}

fn look(state: &mut State, minute: i64) -> crate::warning::News {
    let at_ms = START_MS + minute * MINUTE_MS;
    state.apply(&Fact::Look { at_ms }).warnings
}

fn stages(news: &crate::warning::News) -> Vec<Stage> {
    news.warn.iter().map(|warning| warning.stage).collect()
}

fn hold(until_minute: Option<i64>) -> Fact {
    Fact::Hold {
        at_ms: START_MS,
        key: ada(),
        until_ms: until_minute.map(|minute| START_MS + minute * MINUTE_MS),
    }
}

fn row(state: &State, minute: i64) -> crate::cull::CullRow {
    let now_ms = START_MS + minute * MINUTE_MS;
    crate::cull::rows(state, &Question::default(), now_ms).remove(0)
}

#[test]
fn a_user_is_warned_a_quarter_of_an_hour_and_five_minutes_before_and_once_each() {
    let mut state = idle_for(60, policy());
    assert!(look(&mut state, 44).is_empty());
    let first = look(&mut state, 45);
    assert_eq!(stages(&first), [Stage::Quarter]);
    assert_eq!(first.warn[0].to_string(), "idle 45 min, stops in 15 min");
    assert_eq!(first.warn[0].stops_at_ms, START_MS + 60 * MINUTE_MS);
    assert!(look(&mut state, 46).is_empty() && look(&mut state, 54).is_empty());
    let last = look(&mut state, 55);
    assert_eq!(stages(&last), [Stage::Last]);
    assert_eq!(last.warn[0].episode, first.warn[0].episode);
    assert!(look(&mut state, 59).is_empty());
    assert!(!row(&state, 59).cull);
    assert!(row(&state, 60).cull, "{:?}", row(&state, 60));
    let server = &state.servers[&ada()];
    assert_eq!(server.stops_at_ms, Some(START_MS + 60 * MINUTE_MS));
}

#[test]
fn nobody_is_stopped_unwarned_when_the_collector_was_away_at_the_time() {
    let mut state = idle_for(70, policy());
    let before = row(&state, 70);
    assert!(!before.cull);
    assert!(
        before.reason.ends_with("its user is warned first"),
        "{}",
        before.reason
    );
    let late = look(&mut state, 70);
    assert_eq!(stages(&late), [Stage::Last]);
    assert_eq!(late.warn[0].to_string(), "idle 1 h, stops in 5 min");
    go_on(&mut state, 71, 76, WorkloadState::Idle);
    assert!(!row(&state, 74).cull && row(&state, 75).cull);
    assert!(row(&state, 74).reason.ends_with("its user was just warned"));
}

#[test]
fn work_takes_a_warning_back_and_so_does_a_hold() {
    let mut state = idle_for(46, policy());
    let told = look(&mut state, 46);
    go_on(&mut state, 47, 47, WorkloadState::Busy);
    let back = look(&mut state, 47);
    assert_eq!(back.take_back[0].episode, told.warn[0].episode);
    assert_eq!(back.kept, [(ada(), None)]);
    assert_eq!(state.servers[&ada()].stops_at_ms, None);

    let mut state = idle_for(60, policy());
    look(&mut state, 50);
    state.apply(&hold(Some(120)));
    let back = look(&mut state, 51);
    assert_eq!((back.take_back.len(), back.warn.len()), (1, 0));
    // When it nears its end, that is the end.
    go_on(&mut state, 61, 121, WorkloadState::Idle);
    assert!(look(&mut state, 104).is_empty());
    let again = look(&mut state, 105);
    assert_eq!(stages(&again), [Stage::Quarter]);
    assert_eq!(again.warn[0].stops_at_ms, START_MS + 120 * MINUTE_MS);
    assert_ne!(again.warn[0].episode, back.take_back[0].episode);
    look(&mut state, 115);
    assert!(!row(&state, 119).cull && row(&state, 120).cull);
}

#[test]
fn a_restart_repeats_no_warning() {
    let mut before = idle_for(46, policy());
    let told = look(&mut before, 46);
    let (key, warned) = told.kept[0].clone();
    let mut after = acting(policy());
    after.recall_promises([], [(key, warned.unwrap())]);
    assert!(look(&mut after, 46).is_empty(), "nothing is known yet");
    let first_ms = Some(START_MS);
    after.apply(&hub(0, first_ms));
    go_on(&mut after, 0, 56, WorkloadState::Idle);
    assert!(look(&mut after, 47).is_empty());
    assert_eq!(stages(&look(&mut after, 55)), [Stage::Last]);
}

#[test]
fn a_warning_that_is_seen_late_gives_as_much_time_as_the_last_one() {
    let mut state = idle_for(66, policy());
    let told = look(&mut state, 55);
    let shown = |episode: &str, minute: i64| Fact::Shown {
        at_ms: START_MS + minute * MINUTE_MS,
        key: ada(),
        episodes: vec![label("another"), label(episode)],
    };
    let changed = state.apply(&shown("not this one", 57));
    assert!(changed.warnings.is_empty());
    let changed = state.apply(&shown(&told.warn[0].episode, 58));
    assert_eq!(changed.warnings.kept.len(), 1);
    let seen_ms = START_MS + 58 * MINUTE_MS;
    assert_eq!(row(&state, 61).warned_at_ms, Some(seen_ms));
    assert!(!row(&state, 62).cull && row(&state, 63).cull);
    // Seeing it again and again buys no time.
    state.apply(&shown(&told.warn[0].episode, 62));
    assert!(row(&state, 63).cull);
}

#[test]
fn where_mail_goes_to_users_it_must_have_been_taken() {
    let by_mail = CullPolicy {
        warns_by_mail: true,
        ..policy()
    };
    let mut state = idle_for(80, by_mail);
    let told = look(&mut state, 55);
    let waits = row(&state, 61);
    assert!(!waits.cull);
    assert!(
        waits.reason.ends_with("warning is delivered"),
        "{}",
        waits.reason
    );
    assert_eq!(waits.stops_at_ms, None, "nobody knows when that is");
    let mailed = |taken| Fact::Mailed {
        at_ms: START_MS + 62 * MINUTE_MS,
        key: ada(),
        episode: told.warn[0].episode.as_str().into(),
        taken,
    };
    state.apply(&mailed(false));
    assert!(
        row(&state, 62).cull,
        "who has no address is warned no other way"
    );
    state.apply(&mailed(true));
    assert!(!row(&state, 66).cull && row(&state, 67).cull);
}

#[test]
fn where_nobody_can_be_warned_nothing_is_waited_for() {
    let mut state = acting(policy());
    state.apply(&hub(0, Some(START_MS)));
    assert!(look(&mut state, 50).is_empty(), "it has no agent");
    assert!(!row(&state, 59).cull && row(&state, 60).cull);
}

#[test]
fn policy_that_watches_warns_nobody_and_says_what_it_would_do() {
    let watch = CullPolicy {
        mode: Mode::Watch,
        ..policy()
    };
    let mut state = idle_for(60, watch);
    assert!(look(&mut state, 50).is_empty());
    assert!(row(&state, 60).cull);
    assert_eq!(row(&state, 30).stops_at_ms, Some(START_MS + 60 * MINUTE_MS));
    assert_eq!(
        state.servers[&ada()].stops_at_ms,
        None,
        "nothing is announced"
    );
}

#[test]
fn a_question_of_ones_own_asks_what_if_and_the_policys_own_asks_for_a_warning() {
    let state = idle_for(60, policy());
    let now_ms = START_MS + 60 * MINUTE_MS;
    let cull = |question| crate::cull::rows(&state, &question, now_ms)[0].cull;
    assert!(!cull(Question::default()));
    let what_if = Question {
        timeout_ms: Some(30 * MINUTE_MS),
        ..Question::default()
    };
    assert!(cull(what_if));
    assert!(!cull(Question {
        warned: Some(true),
        ..what_if
    }));
    assert!(cull(Question {
        warned: Some(false),
        ..Question::default()
    }));
}

#[test]
fn an_age_is_warned_of_at_work_as_well() {
    let aged = CullPolicy {
        max_age_ms: Some(120 * MINUTE_MS),
        ..policy()
    };
    let mut state = acting(aged);
    state.apply(&hub(0, Some(START_MS)));
    go_on(&mut state, 0, 121, WorkloadState::Busy);
    let news = look(&mut state, 105);
    assert_eq!(
        news.warn[0].to_string(),
        "as old as a server may get, stops in 15 min"
    );
    look(&mut state, 115);
    assert!(row(&state, 120).cull);
    assert_eq!(row(&state, 120).reason, "older than 2 h");
    assert_eq!(row(&state, 119).idle_ms, Some(0));
}

#[test]
fn a_hold_is_by_name_and_meets_the_server_when_it_comes() {
    let mut state = acting(policy());
    state.apply(&hold(Some(90)));
    assert_eq!(state.held_until_ms(&ada()), Some(START_MS + 90 * MINUTE_MS));
    state.apply(&hub(0, Some(START_MS)));
    assert!(state.servers[&ada()].held_until_ms.is_some());
    look(&mut state, 91);
    assert_eq!(state.held_until_ms(&ada()), None, "over");
}

#[test]
fn what_was_promised_by_a_clock_that_was_ahead_does_not_hold_for_years() {
    const YEAR_MS: i64 = 365 * 24 * 60 * MINUTE_MS;
    let mut before = idle_for(46, policy());
    let told = look(&mut before, 46);
    let (key, warned) = told.kept[0].clone();
    let mut warned = warned.unwrap();
    warned.told_ms += YEAR_MS;
    let mut state = idle_for(60, policy());
    let until_ms = START_MS + YEAR_MS;
    state.recall_promises([(key.clone(), until_ms)], [(key.clone(), warned)]);
    look(&mut state, 56);
    assert_eq!(state.held_until_ms(&key), None);
    assert!(row(&state, 61).cull, "{:?}", row(&state, 61));
}

#[test]
fn a_renamed_users_promises_go_along_and_a_forgotten_ones_go() {
    let mut state = idle_for(46, policy());
    look(&mut state, 46);
    state.apply(&hold(Some(120)));
    let people = |fates| Fact::People {
        at_ms: START_MS,
        people: PeopleMove::new(fates),
    };
    state.apply(&people(Fates::one("ada", Fate::Renamed("lady".into()))));
    let lady = ServerKey::new("lady", "");
    assert!(state.held_until_ms(&lady).is_some() && state.warned(&lady).is_some());
    assert!(state.held_until_ms(&ada()).is_none());
    state.apply(&people(Fates::one("lady", Fate::Erased)));
    assert!(state.held_until_ms(&lady).is_none() && state.warned(&lady).is_none());
}

#[test]
fn an_exempt_server_is_neither_warned_nor_stopped() {
    let mut exempt = policy();
    exempt.exempt.users.insert("ada".to_owned());
    let mut state = idle_for(60, exempt);
    assert!(look(&mut state, 58).is_empty());
    let row = row(&state, 60);
    assert!(!row.cull && row.stops_at_ms.is_none());
    assert_eq!(row.reason, "exempt: its user");
}

fn dropped(state: &mut State, minute: i64) {
    state.apply(&Fact::Disconnected {
        at_ms: START_MS + minute * MINUTE_MS,
        key: ada(),
        instance: crate::state::tests::instance(1),
        farewell: false,
    });
}

#[test]
fn a_stream_that_drops_for_a_moment_stops_nobody_unwarned() {
    let mut state = idle_for(70, policy());
    dropped(&mut state, 70);
    assert!(look(&mut state, 70).is_empty(), "nobody hears it");
    let waits = row(&state, 71);
    assert!(
        !waits.cull && waits.reason.ends_with("its user is warned first"),
        "{waits:?}"
    );
    go_on(&mut state, 71, 71, WorkloadState::Idle);
    assert_eq!(stages(&look(&mut state, 71)), [Stage::Last]);
    assert!(!row(&state, 75).cull && row(&state, 76).cull);
}

#[test]
fn who_was_warned_has_the_time_that_was_promised_though_the_stream_dropped() {
    let mut state = idle_for(70, policy());
    look(&mut state, 70);
    dropped(&mut state, 71);
    assert!(!row(&state, 74).cull && row(&state, 75).cull);
}

#[test]
fn a_restart_of_the_collector_stops_no_working_old_server_unwarned() {
    let aged = CullPolicy {
        max_age_ms: Some(60 * MINUTE_MS),
        ..policy()
    };
    let mut state = acting(aged);
    state.apply(&hub(0, Some(START_MS)));
    go_on(&mut state, 0, 30, WorkloadState::Busy);
    state.apply(&Fact::Started {
        at_ms: START_MS + 70 * MINUTE_MS,
    });
    assert!(!row(&state, 71).cull, "{:?}", row(&state, 71));
    assert!(row(&state, 81).cull, "there is no way to warn anybody");
}

#[test]
fn what_was_told_of_a_server_that_nobody_hears_of_again_is_taken_back() {
    let mut before = idle_for(46, policy());
    let told = look(&mut before, 46);
    let (key, warned) = told.kept[0].clone();
    let mut state = acting(policy());
    state.recall_promises([], [(key, warned.unwrap())]);
    assert!(look(&mut state, 47).is_empty());
    let news = look(&mut state, 46 + 2 * 24 * 60);
    assert_eq!(news.take_back[0].episode, told.warn[0].episode);
    assert_eq!(news.kept, [(ada(), None)]);
}
