use super::*;
use crate::{
    person::{Fate, Fates},
    registry::NewNotice,
    verdict::{Rule, Severity, Verdict},
};

fn registry() -> (tempfile::TempDir, Registry) {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::open(dir.path()).unwrap();
    (dir, registry)
}

fn key(user: &str) -> ServerKey {
    ServerKey::new(user, "")
}

fn episode(registry: &Registry, episode: &str, user: &str) {
    put(registry, episode, user, None);
}

fn put(registry: &Registry, episode: &str, user: &str, cleared_ms: Option<i64>) {
    let verdict = Verdict {
        rule: Rule::NearLimit,
        episode: episode.to_owned(),
        key: key(user),
        workload: None,
        severity: Severity::Warning,
        since_ms: 1,
        updated_ms: 1,
        cleared_ms,
        evidence: Vec::new(),
        clears_when: String::new(),
    };
    registry.put_episode(&verdict).unwrap();
}

fn mute(registry: &Registry, user: &str, by: &str, until_ms: Option<i64>) {
    let mute = Mute {
        key: &key(user),
        rule: "near_limit",
        audience: Audience::Admins,
        until_ms,
        by,
        episode: "e1",
        now_ms: 20,
    };
    registry.mute(&mute).unwrap();
}

/// By whom, and until when a mute is.
fn said(registry: &Registry, now_ms: i64) -> Vec<(String, Option<i64>)> {
    let said = registry.said(Audience::Admins, None, now_ms, 10).unwrap();
    said.into_iter()
        .map(|said| (said.by, said.until_ms))
        .collect()
}

#[test]
fn it_is_known_who_said_what_and_when_while_it_holds() {
    let (_dir, registry) = registry();
    episode(&registry, "e1", "ann");
    let audience = Audience::Admins;
    registry.acknowledge("e1", audience, "root", 10).unwrap();
    registry.acknowledge("e1", audience, "late", 11).unwrap();
    mute(&registry, "ann", "ops", Some(100));
    let both = [("ops".to_owned(), Some(100)), ("root".to_owned(), None)];
    assert_eq!(said(&registry, 50), both);
    let first = registry.said(audience, None, 50, 10).unwrap().remove(1);
    let whose = (first.key, first.rule.as_str(), first.at_ms);
    assert_eq!(whose, (key("ann"), "near_limit", 10));
    assert!(
        registry
            .said(Audience::User, None, 50, 10)
            .unwrap()
            .is_empty()
    );
    assert_eq!(said(&registry, 100).len(), 1, "a mute that is over is none");
    mute(&registry, "ann", "ops", None);
    assert_eq!(said(&registry, 50), [("root".to_owned(), None)]);
}

#[test]
fn what_was_said_about_others_or_is_over_takes_no_place_from_what_holds() {
    let (_dir, registry) = registry();
    let audience = Audience::User;
    for (name, user) in [("e1", "ann"), ("e2", "bob"), ("e3", "ann"), ("e4", "ann")] {
        episode(&registry, name, user);
        registry.acknowledge(name, audience, user, 10).unwrap();
    }
    put(&registry, "e3", "ann", Some(15));
    put(&registry, "e4", "ann", Some(16));
    let of = |user| registry.said(audience, user, 50, 1).unwrap();
    assert_eq!(of(Some("ann"))[0].episode, "e1");
    assert_eq!(of(Some("bob"))[0].episode, "e2");
    assert!(of(Some("cleo")).is_empty());
    assert_eq!(registry.said(audience, None, 50, 10).unwrap().len(), 2);
}

#[test]
fn an_acknowledgement_that_is_taken_back_lets_its_episode_be_told_again() {
    let (_dir, registry) = registry();
    episode(&registry, "e1", "ann");
    for (channel, phase) in [
        ("mail", "again"),
        ("user-mail", "again"),
        ("mail", "opened"),
    ] {
        let notice = NewNotice {
            episode: "e1",
            channel,
            phase,
            user: "ann",
            server: "",
            severity: "info",
            payload: None,
            queued_ms: 1,
            due_ms: 1,
        };
        assert!(registry.queue_notice(&notice).unwrap());
    }
    for due in registry.due_notices(5, 10).unwrap() {
        registry.notice_dropped(due.id, "acknowledged").unwrap();
    }
    let audience = Audience::Admins;
    let taken = || {
        registry
            .take_back_ack("e1", audience, "root", 1_000)
            .unwrap()
    };
    assert!(!taken(), "nobody has seen it");
    registry.acknowledge("e1", audience, "root", 10).unwrap();
    assert!(taken() && !taken());
    assert!(!registry.is_acknowledged("e1", audience).unwrap());
    let due = registry.due_notices(i64::MAX, 10).unwrap();
    let due: Vec<_> = due.iter().map(|due| (&*due.channel, &*due.phase)).collect();
    assert_eq!(due, [("mail", "again")], "and nobody else is");
    assert!(registry.due_notices(1_000, 10).unwrap().is_empty());
}

#[test]
fn an_admin_who_only_acted_is_known_and_follows_their_name_and_is_forgotten() {
    let (dir, registry) = registry();
    episode(&registry, "e1", "ann");
    registry
        .put_hold(&key("ann"), Some(100), "grizelda", 1)
        .unwrap();
    mute(&registry, "ann", "grizelda", Some(100));
    let names = |registry: &Registry| -> Vec<String> {
        let people = registry.people().unwrap();
        people.iter().map(|p| p.user.to_string()).collect()
    };
    assert_eq!(names(&registry), ["ann", "grizelda"]);
    assert!(registry.knows("grizelda").unwrap());
    let renamed = Fates::one("grizelda", Fate::Renamed("hortense".into()));
    registry.move_people(&renamed).unwrap();
    assert_eq!(said(&registry, 50), [("hortense".to_owned(), Some(100))]);
    let deleted = Fates::one("hortense", Fate::Deleted("deleted-1".into()));
    registry.move_people(&deleted).unwrap();
    assert_eq!(registry.holds_asked(9).unwrap()[0].asked_by, "deleted-1");
    let erased = Fates::one("deleted-1", Fate::Erased);
    let ids = registry.begin_fates(&erased, "uid 0", 1).unwrap();
    registry.move_people(&erased).unwrap();
    registry.finish_fates(&ids, 1, 2).unwrap();
    assert_eq!(said(&registry, 50), [(String::new(), Some(100))]);
    assert!(!names(&registry).contains(&String::new()));
    for name in ["state.db", "state.db-wal"] {
        let bytes = std::fs::read(dir.path().join(name)).unwrap();
        for needle in ["grizelda", "hortense", "deleted-1"] {
            let mut there = bytes.windows(needle.len());
            assert!(!there.any(|at| at == needle.as_bytes()), "{needle}, {name}");
        }
    }
}

#[test]
fn a_service_is_no_user_who_could_be_missing_at_the_hub() {
    let (_dir, registry) = registry();
    episode(&registry, "e1", "ann");
    let by = format!("{SERVICE_PREFIX}cull");
    registry.put_hold(&key("ann"), Some(100), &by, 1).unwrap();
    registry
        .acknowledge("e1", Audience::Admins, &by, 1)
        .unwrap();
    mute(&registry, "ann", &by, Some(100));
    let people = registry.people().unwrap();
    let names: Vec<_> = people.iter().map(|p| &*p.user).collect();
    assert_eq!(names, ["ann"]);
}
