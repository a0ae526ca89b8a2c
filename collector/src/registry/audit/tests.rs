use super::*;
use crate::{
    person::{Fate, Fates},
    registry::{Audience, Message, Mute, SERVICE_PREFIX},
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
    let verdict = Verdict {
        rule: Rule::NearLimit,
        episode: episode.to_owned(),
        key: key(user),
        workload: None,
        severity: Severity::Warning,
        since_ms: 1,
        updated_ms: 1,
        cleared_ms: None,
        evidence: Vec::new(),
        clears_when: String::new(),
    };
    registry.put_episode(&verdict).unwrap();
}

fn mute(registry: &Registry, audience: Audience, until_ms: Option<i64>, now_ms: i64) {
    let mute = Mute {
        key: &key("ann"),
        rule: "near_limit",
        audience,
        until_ms,
        by: "root",
        episode: "e1",
        now_ms,
    };
    registry.mute(&mute).unwrap();
}

fn message(registry: &Registry, user: &str, written_ms: i64) {
    let message = Message {
        id: 0,
        user: user.to_owned(),
        written_ms,
        subject: "Tomorrow".to_owned(),
        text: "The hub is updated.".to_owned(),
        filter: "everybody".to_owned(),
        recipients: 7,
    };
    registry.put_message(&message, "message-mail", &[]).unwrap();
}

fn order(key: &ServerKey, at_ms: i64) -> NewDeed<'_> {
    NewDeed {
        act: Act::EndKernel,
        key,
        about: "k1",
        until_ms: Some(at_ms + 5),
        by: None,
        at_ms,
    }
}

/// `what about by`, newest first.
fn log(registry: &Registry, user: Option<&str>) -> Vec<String> {
    let deeds = registry.audit(user, 100).unwrap();
    deeds
        .iter()
        .map(|deed| {
            let by = if deed.by_policy { "policy" } else { &deed.by };
            format!("{} {} {by}", deed.what, deed.about)
        })
        .collect()
}

#[test]
fn whatever_is_done_to_a_user_is_in_the_log_with_who_did_it() {
    let (_dir, registry) = registry();
    episode(&registry, "e1", "ann");
    let admins = Audience::Admins;
    registry.acknowledge("e1", admins, "root", 1).unwrap();
    registry.acknowledge("e1", admins, "late", 2).unwrap();
    registry.take_back_ack("e1", admins, "ops", 3).unwrap();
    registry.take_back_ack("e1", admins, "ops", 4).unwrap();
    mute(&registry, admins, Some(100), 5);
    mute(&registry, admins, None, 6);
    mute(&registry, admins, None, 7);
    registry
        .put_hold(&key("ann"), Some(100), "root", 8)
        .unwrap();
    registry.put_hold(&key("ann"), None, "ann", 9).unwrap();
    registry.note_deeds(&[order(&key("ann"), 10)]).unwrap();
    message(&registry, "root", 11);
    let of_ann = [
        "end_kernel k1 policy",
        "release  ann",
        "hold  root",
        "unmute near_limit root",
        "mute near_limit root",
        "take_back near_limit ops",
        "ack near_limit root",
    ];
    assert_eq!(
        log(&registry, Some("ann")),
        of_ann,
        "what changed nothing is nothing"
    );
    let all = log(&registry, None);
    assert_eq!(all[0], "message everybody root");
    assert_eq!(all[1..], of_ann);
    let message = registry.audit(None, 100).unwrap().remove(0);
    assert_eq!((message.key, message.users), (None, 7));
    assert!(log(&registry, Some("bob")).is_empty());
}

#[test]
fn what_a_user_says_for_themselves_is_done_to_nobody() {
    let (_dir, registry) = registry();
    episode(&registry, "e1", "ann");
    let user = Audience::User;
    registry.acknowledge("e1", user, "ann", 1).unwrap();
    registry.take_back_ack("e1", user, "ann", 2).unwrap();
    mute(&registry, user, Some(100), 3);
    assert!(log(&registry, None).is_empty());
}

#[test]
fn the_log_is_bounded_and_what_policy_does_pushes_out_nothing_that_people_did() {
    let (_dir, registry) = registry();
    episode(&registry, "e1", "ann");
    registry
        .acknowledge("e1", Audience::Admins, "root", 1)
        .unwrap();
    let key = key("ann");
    let max = i64::from(DEEDS_MAX);
    let deeds: Vec<_> = (0..max + 10).map(|at_ms| order(&key, at_ms)).collect();
    registry.note_deeds(&deeds).unwrap();
    let kept = registry.audit(None, DEEDS_MAX * 2).unwrap();
    assert_eq!(kept.len(), DEEDS_MAX as usize + 1);
    let oldest = kept.iter().rfind(|deed| deed.by_policy);
    assert_eq!(oldest.unwrap().at_ms, 10, "the oldest went");
    assert!(kept.iter().any(|deed| deed.what == "ack"));
    registry.prune(max + 1_000).unwrap();
    assert!(log(&registry, None).is_empty());
}

#[test]
fn the_log_follows_who_is_renamed_and_forgets_who_is_forgotten() {
    let (_dir, registry) = registry();
    episode(&registry, "e1", "ann");
    episode(&registry, "e2", "bob");
    for name in ["e1", "e2"] {
        let audience = Audience::Admins;
        registry.acknowledge(name, audience, "grizelda", 1).unwrap();
    }
    let fate = Fates::one("grizelda", Fate::Renamed("hortense".into()));
    registry.move_people(&fate).unwrap();
    assert_eq!(log(&registry, Some("ann")), ["ack near_limit hortense"]);
    let fate = Fates::one("ann", Fate::Erased);
    registry.move_people(&fate).unwrap();
    assert!(!registry.knows("ann").unwrap());
    let fate = Fates::one("hortense", Fate::Erased);
    registry.move_people(&fate).unwrap();
    assert!(!registry.knows("hortense").unwrap());
    assert_eq!(log(&registry, None), ["ack near_limit "], "bob's stays");
}

#[test]
fn a_service_that_wrote_to_users_is_no_user_who_could_be_missing_at_the_hub() {
    let (_dir, registry) = registry();
    message(&registry, &format!("{SERVICE_PREFIX}ops"), 1);
    message(&registry, "root", 2);
    let people = registry.people().unwrap();
    let names: Vec<_> = people.iter().map(|p| &*p.user).collect();
    assert_eq!(names, ["root"]);
}
