use std::sync::Arc;

use super::*;
use crate::{
    cull::CullPolicy,
    fact::{Fact, WorkloadState},
    person::{Fate, Fates, PeopleMove},
    state::tests::{MB, START_MS, ada, connected, disconnected, hub, report, sample},
};

const MINUTE_MS: i64 = 60_000;

/// Two hours and a bit: what `idle_hog` asks for.
const HOG_MINUTES: u64 = 125;

fn policy() -> CullPolicy {
    CullPolicy {
        mode: Mode::Act,
        // The server itself is not what this is about.
        timeout_ms: Some(1_000 * MINUTE_MS),
        idle_kernels: IdleKernels::ShutDown,
        ..CullPolicy::default()
    }
}

/// A kernel that holds much and idles, or works, a sample a minute.
fn go_on(state: &mut State, from: u64, to: u64, kernel: WorkloadState) {
    for minute in from..=to {
        let mut sample = sample(minute * 60_000, 4_000 * MB);
        sample.interval_ms = 60_000;
        sample.memory_limit_bytes = Some(64_000 * MB);
        sample.workloads[0].state = Some(kernel);
        sample.workloads[0].memory_used_bytes = Some(3_000 * MB);
        state.apply(&report(1, minute + 1, vec![sample]));
    }
}

/// A hog, under `policy`.
fn hog(policy: CullPolicy) -> State {
    let mut state = State::new(crate::state::Policy::default());
    state.cull = Arc::new(policy);
    state.apply(&hub(0, Some(START_MS)));
    state.apply(&connected(1, 0));
    go_on(&mut state, 0, HOG_MINUTES, WorkloadState::Idle);
    let open = &state.servers[&ada()].verdicts;
    assert!(open.iter().any(|verdict| verdict.rule == Rule::IdleHog));
    state
}

fn look(state: &mut State, minute: u64) -> Vec<KernelEnd> {
    let at_ms = START_MS + minute as i64 * MINUTE_MS;
    state.apply(&Fact::Look { at_ms }).warnings.kernels
}

fn hold(until_minute: Option<i64>) -> Fact {
    Fact::Hold {
        at_ms: START_MS,
        key: ada(),
        until_ms: until_minute.map(|minute| START_MS + minute * MINUTE_MS),
    }
}

#[test]
fn a_kernel_that_idles_and_holds_much_is_to_go_once_its_user_had_the_time_of_the_first_warning() {
    let mut state = hog(policy());
    let ends = look(&mut state, HOG_MINUTES);
    assert_eq!(ends.len(), 1);
    let now_ms = START_MS + HOG_MINUTES as i64 * MINUTE_MS;
    assert_eq!(ends[0].ends_at_ms, Some(now_ms + 15 * MINUTE_MS));
    assert_eq!(ends[0].ends_in_ms(), Some(15 * 60_000));
    assert_eq!(
        ends[0].to_string(),
        "train.ipynb has not been used for 2 h and holds 3.0 GB: it is shut down in 15 min, and its \
         variables are lost. Run a cell to keep it; the server goes on"
    );
    let verdict = ends[0].verdict();
    assert_eq!(
        (verdict.rule, verdict.cleared_ms),
        (Rule::IdleHog, None::<i64>)
    );
    assert_eq!(verdict.workload, Some(ends[0].kernel.clone()));
    // Once: the server was told.
    assert!(look(&mut state, HOG_MINUTES + 1).is_empty());
}

#[test]
fn out_of_the_box_and_where_policy_only_watches_no_kernel_is_to_go() {
    for policy in [
        CullPolicy {
            idle_kernels: IdleKernels::Offer,
            ..policy()
        },
        CullPolicy {
            mode: Mode::Watch,
            ..policy()
        },
        CullPolicy::default(),
    ] {
        assert!(look(&mut hog(policy), HOG_MINUTES).is_empty());
    }
}

#[test]
fn work_or_a_hold_or_another_policy_takes_it_back() {
    type Change = fn(&mut State);
    let changes: [Change; 3] = [
        |state| {
            go_on(state, HOG_MINUTES + 1, HOG_MINUTES + 1, WorkloadState::Busy);
        },
        |state| drop(state.apply(&hold(Some(600)))),
        |state| state.cull = Arc::new(CullPolicy::default()),
    ];
    for (at, change) in changes.into_iter().enumerate() {
        let mut state = hog(policy());
        let told = look(&mut state, HOG_MINUTES).remove(0);
        change(&mut state);
        let back = look(&mut state, HOG_MINUTES + 1);
        assert_eq!(back.len(), 1, "{at}");
        assert_eq!(
            (back[0].ends_at_ms, &back[0].episode),
            (None, &told.episode)
        );
        assert_eq!(back[0].to_string(), "train.ipynb is not shut down");
        assert!(back[0].verdict().cleared_ms.is_some());
        assert!(look(&mut state, HOG_MINUTES + 1).is_empty(), "{at}: once");
    }
}

#[test]
fn a_held_or_exempt_or_unlisted_server_keeps_its_kernels() {
    let mut state = hog(policy());
    state.apply(&hold(Some(600)));
    assert!(look(&mut state, HOG_MINUTES).is_empty());
    state.apply(&hold(None));
    assert_eq!(look(&mut state, HOG_MINUTES).len(), 1);

    let mut exempt = policy();
    exempt.exempt.users.insert(ada().user.to_string());
    assert!(look(&mut hog(exempt), HOG_MINUTES).is_empty());

    let mut state = hog(policy());
    state.servers.get_mut(&ada()).unwrap().listed = false;
    assert!(look(&mut state, HOG_MINUTES).is_empty());
}

#[test]
fn a_server_that_hears_nothing_is_told_when_it_comes_back_and_has_the_whole_time_again() {
    let mut state = hog(policy());
    assert_eq!(look(&mut state, HOG_MINUTES).len(), 1);
    state.apply(&disconnected(1, HOG_MINUTES as i64 * MINUTE_MS, false));
    assert!(look(&mut state, HOG_MINUTES + 1).is_empty());
    state.apply(&connected(1, (HOG_MINUTES as i64 + 2) * MINUTE_MS));
    go_on(
        &mut state,
        HOG_MINUTES + 1,
        HOG_MINUTES + 2,
        WorkloadState::Idle,
    );
    let ends = look(&mut state, HOG_MINUTES + 2);
    let now_ms = START_MS + (HOG_MINUTES as i64 + 2) * MINUTE_MS;
    assert_eq!(ends[0].ends_at_ms, Some(now_ms + 15 * MINUTE_MS));
}

#[test]
fn a_stream_that_was_cut_and_is_back_between_two_looks_is_told_anew_all_the_same() {
    let mut state = hog(policy());
    let first = look(&mut state, HOG_MINUTES).remove(0);
    let now_ms = HOG_MINUTES as i64 * MINUTE_MS;
    state.apply(&disconnected(1, now_ms + 1_000, false));
    state.apply(&connected(1, now_ms + 2_000));
    let again = look(&mut state, HOG_MINUTES + 1);
    assert_eq!(again.len(), 1);
    assert_ne!(again[0].episode, first.episode);
    let ends_at_ms = START_MS + now_ms + 16 * MINUTE_MS;
    assert_eq!(again[0].ends_at_ms, Some(ends_at_ms));
}

#[test]
fn a_kernel_that_is_still_there_long_after_it_was_to_go_is_ordered_anew() {
    let mut state = hog(policy());
    let first = look(&mut state, HOG_MINUTES).remove(0);
    go_on(
        &mut state,
        HOG_MINUTES + 1,
        HOG_MINUTES + 21,
        WorkloadState::Idle,
    );
    let again = look(&mut state, HOG_MINUTES + 21);
    let said: Vec<_> = again.iter().map(|end| end.ends_at_ms.is_some()).collect();
    assert_eq!(said, [false, true], "the first is taken back before");
    assert_ne!(again[1].episode, first.episode);
}

#[test]
fn a_kernel_that_nothing_shuts_down_is_ordered_ever_less_often_and_once_a_day_in_the_end() {
    let mut state = hog(CullPolicy {
        timeout_ms: Some(100_000 * MINUTE_MS),
        ..policy()
    });
    let mut ordered = Vec::new();
    for minute in HOG_MINUTES..=HOG_MINUTES + 4_200 {
        go_on(&mut state, minute, minute, WorkloadState::Idle);
        let ends = look(&mut state, minute);
        if ends.iter().any(|end| end.ends_at_ms.is_some()) {
            ordered.push(minute);
        }
    }
    let gaps: Vec<_> = ordered.windows(2).map(|two| two[1] - two[0]).collect();
    // A quarter of an hour of warning, and then 5 min, 10 min, … a day.
    assert_eq!(gaps, [20, 25, 35, 55, 95, 175, 335, 655, 1_295, 1_455]);
}

#[test]
fn a_kernel_that_was_used_in_between_is_waited_for_as_at_first() {
    let mut state = hog(policy());
    let mut minute = HOG_MINUTES;
    let mut go = |state: &mut State, minutes: u64, kernel| {
        let mut orders = 0;
        for at in minute + 1..=minute + minutes {
            go_on(state, at, at, kernel);
            let ends = look(state, at);
            orders += ends.iter().filter(|end| end.ends_at_ms.is_some()).count();
        }
        minute += minutes;
        orders
    };
    assert_eq!(go(&mut state, 21, WorkloadState::Idle), 2, "one, and anew");
    assert_eq!(go(&mut state, 2, WorkloadState::Busy), 0);
    assert_eq!(go(&mut state, HOG_MINUTES + 21, WorkloadState::Idle), 2);
}

#[test]
fn who_is_forgotten_is_in_no_order() {
    let mut state = hog(policy());
    look(&mut state, HOG_MINUTES);
    let fates = Fates::one(&ada().user, Fate::Erased);
    state.apply(&Fact::People {
        at_ms: START_MS,
        people: PeopleMove::new(fates),
    });
    assert!(state.promises.kernels.is_empty());
    assert!(look(&mut state, HOG_MINUTES + 1).is_empty());
}
