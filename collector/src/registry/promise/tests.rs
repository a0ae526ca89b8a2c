use super::*;
use crate::person::{Fate, Fates};

fn registry() -> (tempfile::TempDir, Registry) {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::open(dir.path()).unwrap();
    (dir, registry)
}

fn key(user: &str) -> ServerKey {
    ServerKey::new(user, "")
}

fn warned(delivered_ms: Option<i64>) -> Warned {
    Warned {
        about: About::Idle { since_ms: 5 },
        episode: "e1".to_owned(),
        stage: Stage::Quarter,
        told_ms: 10,
        delivered_ms,
        unreachable: false,
        page_ms: None,
        said_ms: None,
    }
}

#[test]
fn holds_and_warnings_survive_a_restart() {
    let (dir, registry) = registry();
    registry.put_hold(&key("ann"), Some(100), "ann", 1).unwrap();
    registry.put_hold(&key("bob"), Some(50), "root", 2).unwrap();
    let told = [(key("ann"), Some(warned(Some(12)))), (key("bob"), None)];
    registry.put_warned(&told).unwrap();
    drop(registry);
    let registry = Registry::open(dir.path()).unwrap();
    let mut holds = registry.holds(0).unwrap();
    holds.sort();
    assert_eq!(holds, [(key("ann"), 100), (key("bob"), 50)]);
    assert_eq!(registry.holds(50).unwrap(), [(key("ann"), 100)]);
    assert_eq!(registry.warned().unwrap(), [(key("ann"), warned(Some(12)))]);
    registry.put_warned(&[(key("ann"), None)]).unwrap();
    assert!(registry.warned().unwrap().is_empty());
}

#[test]
fn it_is_written_down_who_asked_for_which_hold() {
    let (_dir, registry) = registry();
    for (until_ms, by, at_ms) in [
        (Some(100), "ann", 1),
        (Some(100), "ann", 2),
        (None, "root", 3),
    ] {
        assert!(registry.put_hold(&key("ann"), until_ms, by, at_ms).unwrap());
    }
    let asked = registry.holds_asked(10).unwrap();
    let told: Vec<_> = asked
        .iter()
        .map(|asked| (asked.at_ms, asked.until_ms, asked.asked_by.as_str()))
        .collect();
    assert_eq!(told, [(3, None, "root"), (1, Some(100), "ann")]);
}

#[test]
fn no_more_than_so_many_changes_in_an_hour_are_kept_of_one_user() {
    let (_dir, registry) = registry();
    let max = i64::from(limits::HOLD_CHANGES_PER_HOUR_MAX);
    for at_ms in 1..=max {
        let put = registry.put_hold(&key("ann"), Some(1_000 + at_ms), "ann", at_ms);
        assert!(put.unwrap());
    }
    let another = |user, at_ms| {
        let put = registry.put_hold(&key(user), Some(9_999), user, at_ms);
        put.unwrap()
    };
    assert!(!another("ann", max + 1));
    assert_eq!(registry.holds(0).unwrap(), [(key("ann"), 1_000 + max)]);
    assert!(another("bob", max + 1), "everybody has their own");
    assert!(another("ann", max + HOUR_MS + 1), "an hour later");
}

#[test]
fn holds_follow_a_user_who_is_renamed_and_go_with_one_who_is_forgotten() {
    let (_dir, registry) = registry();
    registry.put_hold(&key("ann"), Some(100), "ann", 1).unwrap();
    registry.put_hold(&key("bob"), Some(100), "ann", 2).unwrap();
    registry
        .put_warned(&[(key("ann"), Some(warned(None)))])
        .unwrap();
    let renamed = Fates::one("ann", Fate::Renamed("anna".into()));
    assert_eq!(registry.move_people(&renamed).unwrap().promises, 3);
    assert!(registry.holds(0).unwrap().contains(&(key("anna"), 100)));
    assert_eq!(registry.warned().unwrap()[0].0, key("anna"));
    let forgotten = Fates::one("anna", Fate::Erased);
    assert_eq!(registry.count_of("anna").unwrap().promises, 3);
    registry.move_people(&forgotten).unwrap();
    assert_eq!(registry.holds(0).unwrap(), [(key("bob"), 100)]);
    assert!(registry.warned().unwrap().is_empty());
    let asked = registry.holds_asked(10).unwrap();
    let by: Vec<_> = asked.iter().map(|asked| asked.asked_by.as_str()).collect();
    assert_eq!(
        by,
        [""],
        "who asked for somebody else's is forgotten as well"
    );
}

#[test]
fn what_is_over_for_long_is_pruned() {
    let (_dir, registry) = registry();
    registry.put_hold(&key("ann"), Some(100), "ann", 1).unwrap();
    registry
        .put_warned(&[(key("ann"), Some(warned(None)))])
        .unwrap();
    registry.prune(101).unwrap();
    assert_eq!(registry.count_of("ann").unwrap().promises, 0);
}
