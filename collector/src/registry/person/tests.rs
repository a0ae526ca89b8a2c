use super::*;
use crate::{
    fact::ServerKey,
    registry::{Audience, Message, Mute, NewNotice},
    text::Label,
    verdict::{Rule, Severity, Verdict, WorkloadName},
};

fn verdict(episode: &str, user: &str, cleared_ms: Option<i64>) -> Verdict {
    Verdict {
        rule: Rule::NearLimit,
        episode: episode.into(),
        key: ServerKey::new(user, ""),
        workload: Some(WorkloadName {
            id: Label::clean("k-1", 128),
            title: Label::clean("secret.ipynb", 128),
        }),
        severity: Severity::Critical,
        since_ms: 1,
        updated_ms: 2,
        cleared_ms,
        evidence: Vec::new(),
        clears_when: "later".into(),
    }
}

/// A row about each of `users` in every table.
fn filled(registry: &Registry, users: &[&str]) {
    for (at, user) in users.iter().enumerate() {
        let key = ServerKey::new(user, "");
        registry.remember_token(&[at as u8; 32], &key, 1).unwrap();
        let episode = format!("e{at}");
        registry
            .put_episode(&verdict(&episode, user, Some(5)))
            .unwrap();
        let notice = NewNotice {
            episode: &episode,
            channel: "mail",
            phase: "opened",
            user,
            server: "",
            severity: "info",
            payload: None,
            queued_ms: 1,
            due_ms: 1,
        };
        assert!(registry.queue_notice(&notice).unwrap());
        registry.mark_idle(&[(key, Some(at as i64))]).unwrap();
        let person = Person {
            user: (*user).into(),
            created_us: Some(at as i64),
            missing: 0,
        };
        registry.put_people(&[person]).unwrap();
        let audience = Audience::User;
        registry.acknowledge(&episode, audience, user, 1).unwrap();
        let key = ServerKey::new(user, "");
        registry
            .mute(&Mute {
                key: &key,
                rule: "idle",
                audience,
                until_ms: Some(9),
                by: user,
                episode: &episode,
                now_ms: 1,
            })
            .unwrap();
        let message = Message {
            id: 0,
            user: (*user).to_owned(),
            written_ms: 1,
            subject: "Tomorrow".to_owned(),
            text: "The hub is updated.".to_owned(),
            filter: "everybody".to_owned(),
            recipients: 0,
        };
        registry.put_message(&message, "message-mail", &[]).unwrap();
    }
}

fn owner(registry: &Registry, episode: &str) -> String {
    registry
        .episode(episode)
        .unwrap()
        .unwrap()
        .key
        .user
        .to_string()
}

#[test]
fn who_is_forgotten_leaves_no_row_and_nobody_else_loses_one() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::open(dir.path()).unwrap();
    filled(&registry, &["ann", "anna"]);
    let one = StateRows {
        tokens: 1,
        episodes: 1,
        notices: 1,
        idle_marks: 1,
        promises: 0,
    };
    assert_eq!(registry.count_of("ann").unwrap(), one);
    let fates = Fates::one("ann", Fate::Erased);
    assert_eq!(registry.move_people(&fates).unwrap(), one);
    assert!(!registry.knows("ann").unwrap());
    assert_eq!(registry.count_of("anna").unwrap(), one);
    assert_eq!(registry.move_people(&fates).unwrap(), StateRows::default());
}

#[test]
fn names_that_change_places_keep_each_their_own_rows() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::open(dir.path()).unwrap();
    filled(&registry, &["ann", "bob"]);
    let fates = [
        ("ann".into(), Fate::Renamed("bob".into())),
        ("bob".into(), Fate::Renamed("ann".into())),
    ];
    registry.move_people(&fates.into_iter().collect()).unwrap();
    assert_eq!(owner(&registry, "e0"), "bob");
    assert_eq!(owner(&registry, "e1"), "ann");
    let marks = registry.idle_marks().unwrap();
    assert_eq!(marks[0], (ServerKey::new("ann", ""), 1));
    let ann = registry.person("ann").unwrap().unwrap();
    assert_eq!(ann.created_us, Some(1));
    // A token speaks for a name that its owner no longer has.
    assert_eq!(registry.known_token(&[0; 32]).unwrap(), None);
}

#[test]
fn a_deleted_users_verdicts_keep_neither_name_nor_notebook() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::open(dir.path()).unwrap();
    filled(&registry, &["ann", "bob"]);
    let fate = Fate::Deleted("deleted-1".into());
    registry.move_people(&Fates::one("ann", fate)).unwrap();
    let verdict = registry.episode("e0").unwrap().unwrap();
    assert_eq!(&*verdict.key.user, "deleted-1");
    assert_eq!(verdict.workload.unwrap().title.as_str(), "k-1");
    let pseudonym = registry.person("deleted-1").unwrap().unwrap();
    assert_eq!((pseudonym.created_us, pseudonym.missing), (None, -1));
    assert!(!registry.knows("ann").unwrap());
}

#[test]
fn names_of_notebooks_go_when_their_time_is_over_and_open_verdicts_keep_theirs() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::open(dir.path()).unwrap();
    for (episode, cleared_ms) in [("old", Some(5)), ("new", Some(50)), ("open", None)] {
        registry
            .put_episode(&verdict(episode, "ann", cleared_ms))
            .unwrap();
    }
    assert_eq!(registry.drop_titles(10).unwrap(), 1);
    let title = |episode: &str| {
        let verdict = registry.episode(episode).unwrap().unwrap();
        verdict.workload.unwrap().title.as_str().to_owned()
    };
    assert_eq!(title("old"), "k-1");
    assert_eq!(title("new"), "secret.ipynb");
    assert_eq!(title("open"), "secret.ipynb");
    assert_eq!(registry.drop_titles(10).unwrap(), 0, "once");
}

#[test]
fn what_is_to_be_done_is_remembered_until_it_is_done_and_then_without_a_name() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::open(dir.path()).unwrap();
    let mut fates = Fates::one("grizelda", Fate::Erased);
    fates.set("hortense", Fate::Renamed("ottoline".into()));
    let ids = registry.begin_fates(&fates, "uid 7", 10).unwrap();
    let registry = Registry::open(dir.path()).unwrap();
    let unfinished = registry.unfinished_fates().unwrap();
    assert_eq!((&unfinished.ids, &unfinished.fates), (&ids, &fates));
    registry.finish_fates(&ids, 12, 20).unwrap();
    assert_eq!(registry.unfinished_fates().unwrap(), Unfinished::default());
    let forgotten = Forgotten {
        asked_ms: 10,
        asked_by: "uid 7".to_owned(),
        done_ms: Some(20),
        rows: 12,
    };
    assert_eq!(registry.forgotten(9).unwrap(), [forgotten]);
    for name in ["state.db", "state.db-wal"] {
        let bytes = std::fs::read(dir.path().join(name)).unwrap();
        for needle in ["grizelda", "hortense", "ottoline"] {
            let there = bytes
                .windows(needle.len())
                .any(|at| at == needle.as_bytes());
            assert!(!there, "{needle} in {name}");
        }
    }
}

#[test]
fn what_failed_before_gives_way_to_what_is_to_be_done_now() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::open(dir.path()).unwrap();
    let failed = Fates::one("ann", Fate::Deleted("deleted-1".into()));
    registry.begin_fates(&failed, "the hub", 10).unwrap();
    let now = Fates::one("ann", Fate::Renamed("zoe".into()));
    let ids = registry.begin_fates(&now, "the hub", 20).unwrap();
    assert_eq!(
        registry.unfinished_fates().unwrap(),
        Unfinished {
            ids,
            fates: now,
            ..Unfinished::default()
        }
    );
}

#[test]
fn a_file_of_the_first_schema_is_brought_up_to_date_with_all_it_holds() {
    let dir = tempfile::tempdir().unwrap();
    {
        let mut db = crate::database::open(&dir.path().join("state.db")).unwrap();
        crate::registry::migrate(&mut db, &crate::registry::MIGRATIONS[..1]).unwrap();
        db.execute("INSERT INTO idle_mark VALUES ('ann', '', 77)", [])
            .unwrap();
    }
    let registry = Registry::open(dir.path()).unwrap();
    let people = registry.people().unwrap();
    assert_eq!(people.len(), 1);
    assert_eq!((&*people[0].user, people[0].created_us), ("ann", None));
    assert_eq!(registry.count_of("ann").unwrap().idle_marks, 1);
}

#[test]
fn mail_to_whoever_is_deleted_is_settled_and_no_answer_about_their_address_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::open(dir.path()).unwrap();
    for channel in ["mail", "user-mail"] {
        let notice = NewNotice {
            episode: "e",
            channel,
            phase: "opened",
            user: "ann",
            server: "",
            severity: "info",
            payload: None,
            queued_ms: 1,
            due_ms: 1,
        };
        registry.queue_notice(&notice).unwrap();
    }
    for due in registry.due_notices(1, 9).unwrap() {
        registry
            .notice_retry(due.id, 2, "550 ann@x.org unknown")
            .unwrap();
    }
    let gone = Fates::one("ann", Fate::Deleted("deleted-1".into()));
    registry.move_people(&gone).unwrap();
    let told = registry.notices_told("admins", 9).unwrap();
    assert!(told.iter().all(|told| told.error.is_none()), "{told:?}");
    assert_eq!(told[0].outcome.as_deref(), Some("user deleted"));
    assert_eq!(told[1].next_ms, Some(2), "admins are told still");
    // An attempt that was under way fails.
    registry
        .notice_retry(told[0].id, 3, "550 ann@x.org unknown")
        .unwrap();
    let told = registry.notices_told("admins", 9).unwrap();
    assert_eq!((told[0].next_ms, &told[0].error), (None, &None));
}

#[test]
fn what_is_settled_and_told_again_writes_nobody_down_who_was_forgotten_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::open(dir.path()).unwrap();
    filled(&registry, &["ann", "bob"]);
    let due = registry.due_notices(1, 9).unwrap();
    let erased = Fates::one("ann", Fate::Erased);
    registry.move_people(&erased).unwrap();
    for due in due {
        registry.notice_sent_and_again(due.id, 5, 9).unwrap();
    }
    assert!(!registry.knows("ann").unwrap());
    let again = registry.due_notices(9, 9).unwrap();
    assert_eq!(again.len(), 1);
    assert_eq!((&*again[0].phase, &*again[0].user), ("again", "bob"));
}

#[test]
fn the_number_of_an_erased_message_is_given_to_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::open(dir.path()).unwrap();
    let write = |admin: &str| {
        let message = Message {
            id: 0,
            user: admin.to_owned(),
            written_ms: 1,
            subject: "Tomorrow".to_owned(),
            text: "The hub is updated.".to_owned(),
            filter: "everybody".to_owned(),
            recipients: 1,
        };
        let to = [("ann".to_owned(), String::new())];
        registry.put_message(&message, "message-mail", &to).unwrap()
    };
    let first = write("root");
    registry
        .move_people(&Fates::one("root", Fate::Erased))
        .unwrap();
    assert_ne!(write("boss"), first);
}
