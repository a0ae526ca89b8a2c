use super::*;
use crate::{
    fact::ServerKey,
    report::hub_activity::{Activity, Labels},
    text::Label,
    verdict::{Evidence, Rule, Severity, Verdict, WorkloadName},
};

fn verdict(episode: &str, cleared_ms: Option<i64>) -> Verdict {
    Verdict {
        rule: Rule::RunawayMemory,
        episode: episode.into(),
        key: ServerKey::new("ann.o'x@x.org", ""),
        workload: Some(WorkloadName {
            id: Label::clean("k-1", 128),
            title: Label::clean("train.ipynb", 128),
        }),
        severity: Severity::Critical,
        since_ms: 1_000,
        updated_ms: 2_000,
        cleared_ms,
        evidence: vec![
            ("trend_bytes_per_second", Evidence::Number(52e6)),
            ("memory_limit_bytes", Evidence::Integer(2_000_000_000)),
            ("memory_limit_enforced", Evidence::Flag(true)),
            ("workload_title", Evidence::Word(Label::clean("a\"b", 128))),
        ],
        clears_when: "growth stops".into(),
    }
}

#[test]
fn a_token_is_known_after_a_restart_and_forgotten_when_told() {
    let dir = tempfile::tempdir().unwrap();
    let key = ServerKey::new("bob", "gpu");
    Registry::open(dir.path())
        .unwrap()
        .remember_token(&[7; 32], &key, 42)
        .unwrap();
    let registry = Registry::open(dir.path()).unwrap();
    assert_eq!(registry.known_token(&[7; 32]).unwrap(), Some((key, 42)));
    assert_eq!(registry.known_token(&[8; 32]).unwrap(), None);
    registry.forget_token(&[7; 32]).unwrap();
    assert_eq!(registry.known_token(&[7; 32]).unwrap(), None);
}

#[test]
fn an_episode_reads_back_as_written() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::open(dir.path()).unwrap();
    registry.put_episode(&verdict("e1", None)).unwrap();
    registry.put_episode(&verdict("e2", Some(9_000))).unwrap();
    let registry = Registry::open(dir.path()).unwrap();
    assert_eq!(registry.open_episodes(10).unwrap(), [verdict("e1", None)]);
    assert_eq!(
        registry.cleared_episodes(10).unwrap(),
        [verdict("e2", Some(9_000))]
    );
}

#[test]
fn a_replayed_raising_does_not_reopen_a_cleared_episode() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::open(dir.path()).unwrap();
    registry.put_episode(&verdict("e", Some(9_000))).unwrap();
    registry.put_episode(&verdict("e", None)).unwrap();
    assert_eq!(
        registry.episode("e").unwrap(),
        Some(verdict("e", Some(9_000)))
    );
}

#[test]
fn the_same_notice_is_queued_once() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::open(dir.path()).unwrap();
    let notice = NewNotice {
        episode: "e",
        channel: "mail",
        phase: "opened",
        user: "bob",
        server: "",
        severity: "info",
        payload: None,
        queued_ms: 5,
        due_ms: 5,
    };
    assert!(registry.queue_notice(&notice).unwrap());
    assert!(!registry.queue_notice(&notice).unwrap());
    let due = registry.due_notices(5, 10).unwrap();
    assert_eq!(due.len(), 1);
    registry.notice_sent(due[0].id, 6).unwrap();
    assert!(!registry.queue_notice(&notice).unwrap());
    assert!(registry.due_notices(i64::MAX, 10).unwrap().is_empty());
}

#[test]
fn idle_marks_survive_and_can_be_taken_away() {
    let dir = tempfile::tempdir().unwrap();
    let key = ServerKey::new("bob", "");
    let registry = Registry::open(dir.path()).unwrap();
    registry.mark_idle(&[(key.clone(), Some(77))]).unwrap();
    let registry = Registry::open(dir.path()).unwrap();
    assert_eq!(registry.idle_marks().unwrap(), [(key.clone(), 77)]);
    registry.mark_idle(&[(key, None)]).unwrap();
    assert!(registry.idle_marks().unwrap().is_empty());
}

#[test]
fn a_file_of_a_newer_program_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    drop(Registry::open(dir.path()).unwrap());
    let db = Connection::open(dir.path().join("state.db")).unwrap();
    db.execute("INSERT INTO schema_version VALUES (99)", [])
        .unwrap();
    drop(db);
    let Err(error) = Registry::open(dir.path()) else {
        panic!("opened a newer file");
    };
    assert!(matches!(error, RegistryError::Newer { found: 99, .. }));
}

#[test]
fn nobody_else_may_read_the_file() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::open(dir.path()).unwrap();
    registry
        .mark_idle(&[(ServerKey::new("b", ""), Some(1))])
        .unwrap();
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{:?}", entry.file_name());
    }
}

#[test]
fn the_newest_count_of_who_was_active_reads_back_also_beside_the_collector() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(read_activity(dir.path()).unwrap(), None, "no file");
    let registry = Registry::open(dir.path()).unwrap();
    assert_eq!(read_activity(dir.path()).unwrap(), None, "nothing counted");
    let label = |text| Label::clean(text, 128);
    let labels = Labels {
        cluster: label("c'1"),
        hub: label("hub.example.org"),
        chart: label("daskhub"),
    };
    let mut activity = Activity {
        counted_ms: 42,
        daily: 1,
        weekly: 2,
        monthly: 3,
    };
    registry.put_activity(&activity, &labels).unwrap();
    activity.daily = 0;
    registry.put_activity(&activity, &labels).unwrap();
    let kept = Some((activity, labels));
    assert_eq!(registry.activity().unwrap(), kept);
    assert_eq!(read_activity(dir.path()).unwrap(), kept);
}
