//! Warnings of a stop by mail: delivered once a mail server took them.

use hubmeter_collector::{
    fact::ServerKey,
    notice::UserMailConfig,
    warning::{Stage, TakenBack, Warning},
};

use super::*;

fn by_mail_to_users(sink: SocketAddr) -> NoticeConfig {
    NoticeConfig {
        user_mail: Some(UserMailConfig {
            address: Some("{user}@example.org".into()),
            ..UserMailConfig::default()
        }),
        public_url: Some("https://hub.example.org/services/hubmeter/".into()),
        ..by_mail(sink)
    }
}

fn warning(user: &str, stage: Stage) -> Warning {
    Warning {
        key: ServerKey::new(user, "gpu"),
        stage,
        idle_ms: Some(47 * 60_000),
        stops_at_ms: NOW_MS + 13 * 60_000,
        at_ms: NOW_MS,
        episode: "w1".into(),
    }
}

#[tokio::test]
async fn a_user_is_warned_by_mail_once_per_stage_whatever_restarts() {
    let sink = Sink::start(0).await;
    let dir = tempfile::tempdir().unwrap();
    let config = by_mail_to_users(sink.addr);
    for _ in 0..2 {
        let outbox = open(dir.path(), &config, &clock());
        outbox.warn(&warning("alice", Stage::Quarter)).unwrap();
        deliver(&outbox).await;
    }
    let mails = sink.mails();
    assert_eq!(mails.len(), 1);
    assert_eq!(mails[0].to, ["alice@example.org"]);
    assert_eq!(
        mails[0].header("Subject"),
        "hubmeter: your server gpu stops in 13 min"
    );
    let text = mails[0].text();
    assert!(text.starts_with("Your server gpu stops in 13 min, at 2019-11-17 14:26 UTC."));
    assert!(
        text.contains("Nothing was done in it for 47 min."),
        "{text}"
    );
    let outbox = open(dir.path(), &config, &clock());
    outbox.warn(&warning("alice", Stage::Last)).unwrap();
    deliver(&outbox).await;
    assert_eq!(sink.mails().len(), 2);
}

#[tokio::test]
async fn a_warning_that_is_taken_back_is_not_sent_and_a_late_one_does_not_promise_time() {
    let sink = Sink::start(2).await;
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let outbox = open(dir.path(), &by_mail_to_users(sink.addr), &clock);
    outbox.warn(&warning("alice", Stage::Quarter)).unwrap();
    deliver(&outbox).await;
    assert_eq!(outbox.stats().failed, 1);
    let taken = TakenBack {
        key: ServerKey::new("alice", "gpu"),
        episode: "w1".into(),
        at_ms: NOW_MS,
    };
    outbox.take_back(&taken).unwrap();
    clock.advance(30_000);
    deliver(&outbox).await;
    assert_eq!((outbox.stats().failed, sink.mails().len()), (1, 0));
    let late = Warning {
        episode: "w2".into(),
        ..warning("bob", Stage::Last)
    };
    outbox.warn(&late).unwrap();
    deliver(&outbox).await;
    clock.advance(23 * 60 * 60_000);
    deliver(&outbox).await;
    let mails = sink.mails();
    assert_eq!(
        mails.len(),
        1,
        "it is tried for a day: who is not told is not stopped"
    );
    assert!(
        mails[0]
            .text()
            .starts_with("Your server gpu is about to be stopped."),
        "{}",
        mails[0].text()
    );
}

#[tokio::test]
async fn a_warning_that_no_mail_server_takes_for_a_day_is_given_up() {
    let sink = Sink::start(2).await;
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let outbox = open(dir.path(), &by_mail_to_users(sink.addr), &clock);
    outbox.warn(&warning("alice", Stage::Quarter)).unwrap();
    deliver(&outbox).await;
    clock.advance(24 * 60 * 60_000);
    deliver(&outbox).await;
    clock.advance(24 * 60 * 60_000);
    deliver(&outbox).await;
    assert_eq!((outbox.stats().given_up, sink.mails().len()), (1, 0));
}

#[tokio::test]
async fn a_warning_is_listed_as_about_an_idle_server_although_no_verdict_is_behind_it() {
    let sink = Sink::start(0).await;
    let dir = tempfile::tempdir().unwrap();
    let outbox = open(dir.path(), &by_mail_to_users(sink.addr), &clock());
    outbox.warn(&warning("alice", Stage::Quarter)).unwrap();
    let registry = Registry::open(dir.path()).unwrap();
    let told = registry.notices_told("admins", 10).unwrap();
    let rules: Vec<_> = told.iter().map(|told| told.rule.as_deref()).collect();
    assert_eq!(rules, [Some("idle")]);
}

#[tokio::test]
async fn hostile_names_in_a_warning_add_no_header_and_no_markup() {
    let sink = Sink::start(0).await;
    let dir = tempfile::tempdir().unwrap();
    let outbox = open(dir.path(), &by_mail_to_users(sink.addr), &clock());
    for (at, name) in HOSTILE.iter().enumerate() {
        let warning = Warning {
            key: ServerKey::new("alice", name),
            episode: format!("w{at}"),
            ..warning("alice", Stage::Quarter)
        };
        outbox.warn(&warning).unwrap();
    }
    deliver(&outbox).await;
    let mails = sink.mails();
    assert_eq!(mails.len(), HOSTILE.len());
    for (mail, name) in mails.iter().zip(HOSTILE) {
        assert_eq!(mail.to, ["alice@example.org"], "{name:?}");
        assert_eq!(mail.headers.len(), 8, "{:?}", mail.headers);
        assert_eq!(mail.html().matches("<script").count(), 0, "{name:?}");
        assert_eq!(mail.html().matches("<img").count(), 0, "{name:?}");
    }
}
