use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::hub::everybody::HubUser;

fn person(user: &str, created_us: Option<i64>) -> Person {
    Person {
        user: user.into(),
        created_us,
        missing: 0,
    }
}

fn list(users: &[(&str, Option<i64>)]) -> Everybody {
    let user = |(name, created_us): &(&str, Option<i64>)| HubUser {
        name: (*name).into(),
        created_us: *created_us,
        last_activity_ms: None,
        groups: Vec::new(),
    };
    Everybody {
        users: users.iter().map(user).collect(),
        whole: true,
        tells_activity: true,
    }
}

fn is_deleted(fate: Option<&Fate>) -> bool {
    matches!(fate, Some(Fate::Deleted(name)) if name.starts_with(PSEUDONYM_PREFIX))
}

#[test]
fn a_user_whom_two_lists_in_a_row_lack_gets_a_pseudonym_and_only_then() {
    let known = [person("ann", Some(1)), person("bob", Some(2))];
    let without = list(&[("bob", Some(2))]);
    let first = plan(&known, &without);
    assert!(first.fates.is_empty());
    let back = plan(&first.known, &list(&[("ann", Some(1)), ("bob", Some(2))]));
    assert_eq!(back.known, known, "seen again, begun anew");
    let second = plan(&first.known, &without);
    assert!(is_deleted(second.fates.of("ann")));
    assert_eq!(second.fates.of("bob"), None);
    let ann = &second.known[0];
    assert_eq!((ann.created_us, ann.missing), (None, PSEUDONYM));
    let third = plan(&second.known, &without);
    assert!(third.fates.is_empty(), "once");
}

#[test]
fn who_came_while_the_list_was_read_is_left_as_they_are_and_nobody_takes_their_name() {
    // Names went around at the hub; the list is of before "cat" came under her new one.
    let known = [
        person("ann", Some(1)),
        person("bob", Some(2)),
        person("dan", Some(4)),
        person("eve", Some(5)),
    ];
    let listed = list(&[
        ("bob", Some(1)),
        ("cat", Some(2)),
        ("dan", Some(9)),
        ("eva", Some(5)),
    ]);
    let whole = plan(&known, &listed);
    assert_eq!(whole.fates.iter().count(), 4);
    let came: HashSet<Arc<str>> = ["cat".into(), "dan".into()].into();
    let mut planned = whole.clone();
    planned.leave(&known, &came);
    // Bob cannot become cat, so ann cannot become bob: two would be one.
    let eve = Fate::Renamed("eva".into());
    assert_eq!(planned.fates, Fates::one("eve", eve));
    assert_eq!(planned.known[..3], known[..3]);
    assert_eq!(planned.known[3], person("eva", Some(5)));
    let mut same = whole.clone();
    same.leave(&known, &HashSet::new());
    assert_eq!(same, whole);
}

#[test]
fn nobody_is_gone_from_a_list_that_is_not_whole() {
    let mut part = list(&[]);
    part.whole = false;
    let mut known = vec![person("ann", Some(1))];
    for _ in 0..5 {
        let planned = plan(&known, &part);
        assert!(planned.fates.is_empty());
        known = planned.known;
    }
    assert_eq!(known[0].missing, 0);
}

#[test]
fn the_same_name_made_again_is_another_person() {
    let planned = plan(&[person("ann", Some(1))], &list(&[("ann", Some(9))]));
    assert!(is_deleted(planned.fates.of("ann")));
}

#[test]
fn the_same_person_under_another_name_is_renamed_at_once() {
    let planned = plan(&[person("ann", Some(1))], &list(&[("anna", Some(1))]));
    let renamed = Fate::Renamed("anna".into());
    assert_eq!(planned.fates.of("ann"), Some(&renamed));
    assert_eq!(planned.known, [person("anna", Some(1))]);
}

#[test]
fn two_who_changed_names_keep_each_their_own() {
    let known = [person("ann", Some(1)), person("bob", Some(2))];
    let planned = plan(&known, &list(&[("bob", Some(1)), ("ann", Some(2))]));
    assert_eq!(planned.fates.of("ann"), Some(&Fate::Renamed("bob".into())));
    assert_eq!(planned.fates.of("bob"), Some(&Fate::Renamed("ann".into())));
}

#[test]
fn a_renamed_user_whose_name_went_to_a_newcomer_is_followed() {
    let planned = plan(
        &[person("ann", Some(1))],
        &list(&[("ann", Some(5)), ("anna", Some(1))]),
    );
    assert_eq!(planned.fates.of("ann"), Some(&Fate::Renamed("anna".into())));
}

#[test]
fn a_hub_that_does_not_tell_when_it_made_users_renames_and_merges_nobody() {
    let known = [person("ann", None)];
    let planned = plan(&known, &list(&[("ann", None), ("anna", None)]));
    assert!(planned.fates.is_empty());
    let told = plan(&known, &list(&[("ann", Some(3))]));
    assert_eq!(told.known, [person("ann", Some(3))], "told later, kept");
    let silent = plan(&told.known, &list(&[("ann", None)]));
    assert_eq!(silent.known, told.known);
}

#[test]
fn two_users_made_in_the_same_instant_are_not_taken_for_each_other() {
    let planned = plan(
        &[person("ann", Some(1))],
        &list(&[("bob", Some(1)), ("cleo", Some(1))]),
    );
    assert!(planned.fates.is_empty());
    assert_eq!(planned.known[0].missing, 1);
}

#[test]
fn who_takes_a_pseudonym_for_a_name_does_not_get_what_is_kept_under_it() {
    let name = "deleted-0123456789abcdef";
    let mut gone = person(name, None);
    gone.missing = PSEUDONYM;
    let planned = plan(&[gone], &list(&[(name, Some(7))]));
    assert!(is_deleted(planned.fates.of(name)));
    assert_ne!(&*planned.known[0].user, name);
}

/// Few names and times, so that they collide.
fn people() -> impl Strategy<Value = Vec<(&'static str, Option<i64>)>> {
    let name = prop::sample::select(vec!["ann", "bob", "cleo", "dora"]);
    let created_us = prop::option::weighted(0.8, 1..5_i64);
    prop::collection::vec((name, created_us), 0..5).prop_map(|mut people| {
        let mut names = HashSet::new();
        people.retain(|(name, _)| names.insert(*name));
        people
    })
}

proptest! {
    #[test]
    fn no_two_persons_ever_become_one(
        known in people(),
        lists in prop::collection::vec((people(), any::<bool>()), 1..6),
    ) {
        let mut known: Vec<Person> = known.into_iter().map(|(name, at)| person(name, at)).collect();
        for (listed, whole) in lists {
            let everybody = Everybody { whole, ..list(&listed) };
            let planned = plan(&known, &everybody);
            let names: HashSet<&str> = planned.known.iter().map(|p| &*p.user).collect();
            prop_assert_eq!(names.len(), known.len(), "{:?}", planned);
            for (before, after) in known.iter().zip(&planned.known) {
                match planned.fates.of(&before.user) {
                    Some(Fate::Renamed(to)) => {
                        prop_assert!(before.created_us.is_some());
                        let same = |user: &&(&str, Option<i64>)| *user.0 == **to;
                        let there = listed.iter().find(same);
                        prop_assert_eq!(there.map(|user| user.1), Some(before.created_us));
                    }
                    Some(Fate::Deleted(_)) => prop_assert_eq!(after.created_us, None),
                    Some(Fate::Erased) => prop_assert!(false, "a list forgets nobody"),
                    None => prop_assert_eq!(&before.user, &after.user),
                }
            }
            known = planned.known;
        }
    }
}
