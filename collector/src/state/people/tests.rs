use super::*;
use crate::{
    fact::Fact,
    person::{Fate, PeopleMove},
    state::{
        Policy, invariants,
        tests::{MB, START_MS, ada, report, sample, tick},
    },
};

/// Ada's server is near its limit; an earlier verdict of hers is over.
fn near_limit() -> State {
    let mut state = State::new(Policy::default());
    for (seq, used) in [(1, 1_990 * MB), (2, 100 * MB), (3, 1_990 * MB)] {
        state.apply(&report(1, seq, vec![sample(seq * 5_000, used)]));
        for second in 1..5 {
            state.apply(&tick((seq * 5_000 + second * 1_000) as i64));
        }
    }
    assert!(!state.servers[&ada()].verdicts.is_empty());
    state
}

fn meet(state: &mut State, fates: Fates) -> Changed {
    let changed = state.apply(&Fact::People {
        at_ms: START_MS,
        people: PeopleMove::new(fates),
    });
    assert_eq!(invariants::check(state), Ok(()));
    changed
}

#[test]
fn nothing_is_true_of_somebody_who_is_forgotten() {
    let mut state = near_limit();
    state
        .cleared
        .push_back(state.servers[&ada()].verdicts[0].clone());
    let changed = meet(&mut state, Fates::one("ada", Fate::Erased));
    assert!(state.servers.is_empty() && state.cleared.is_empty());
    assert!(changed.people, "viewers are told");
    assert_eq!(changed.servers, [ada()]);
    assert!(!format!("{:?}", Fates::default()).contains("ada"));
}

#[test]
fn a_renamed_user_keeps_the_picture_and_the_episodes() {
    let mut state = near_limit();
    let before = state.servers[&ada()].clone();
    let zoe = ServerKey::new("zoe", "");
    meet(&mut state, Fates::one("ada", Fate::Renamed("zoe".into())));
    let after = &state.servers[&zoe];
    assert_eq!(after.latest, before.latest);
    assert_eq!(after.verdicts[0].episode, before.verdicts[0].episode);
    assert_eq!(after.verdicts[0].key, zoe);
    assert_eq!(after.verdicts[0].workload, before.verdicts[0].workload);
    assert!(!state.servers.contains_key(&ada()));
}

#[test]
fn what_is_over_names_no_notebook_after_its_time() {
    let mut state = near_limit();
    let mut verdict = state.servers[&ada()].verdicts[0].clone();
    verdict.workload = Some(crate::verdict::WorkloadName {
        id: crate::text::Label::clean("8f3a", 9),
        title: crate::text::Label::clean("train.ipynb", 99),
    });
    verdict.cleared_ms = Some(START_MS);
    state.cleared.push_back(verdict);
    let title = |state: &State| {
        let first = state.cleared.front().unwrap();
        first.workload.as_ref().unwrap().title.as_str().to_owned()
    };
    let kept_ms = state.policy.names_kept_ms;
    state.cleared.drain(..state.cleared.len() - 1);
    state.apply(&tick(kept_ms));
    assert_eq!(title(&state), "train.ipynb");
    state.apply(&tick(kept_ms + 1));
    assert_eq!(title(&state), "8f3a");
}
