//! Notices against real servers: an SMTP sink that speaks the protocol over TCP, and axum.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

#[path = "notice/alertmanager.rs"]
mod alertmanager;
#[path = "notice/calm.rs"]
mod calm;
#[path = "notice/near.rs"]
mod near;
#[path = "notice/smtp.rs"]
mod smtp;
#[path = "notice/users.rs"]
mod users;
#[path = "notice/warnings.rs"]
mod warnings;

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{Json, Router, extract::State, http::StatusCode, routing::post};
use hubmeter_collector::{
    clock::{Clock, ManualClock},
    fact::ServerKey,
    notice::{MailConfig, MailSecurity, NoticeConfig, Outbox, WebhookBody, WebhookConfig},
    registry::Registry,
    stats::Stats,
    text::{self, Label},
    verdict::{Evidence, Rule, Severity, Verdict, WorkloadName},
};
use parking_lot::Mutex;
use smtp::Sink;

const NOW_MS: i64 = 1_574_000_000_000;

/// Names that try to be something else.
const HOSTILE: [&str; 14] = [
    "a\r\nBcc: victim@example.org",
    "a\nTo: victim@example.org\n\nbody",
    "a\r\n.\r\nMAIL FROM:<x@y>\r\n",
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "'; DROP TABLE notice; --",
    "=?utf-8?q?Bcc:_victim=40example.org?=",
    "{{ 7*7 }}{% for x in y %}",
    "\u{202e}gpj.exe\u{2066}",
    "\0\u{7}\u{1b}[31mred",
    "ü ö 漢字 🦀",
    "a@example.org, victim@example.org",
    ".",
    "../../etc/passwd",
];

fn runaway(episode: &str, user: &str) -> Verdict {
    Verdict {
        rule: Rule::RunawayMemory,
        episode: episode.into(),
        key: ServerKey::new(user, ""),
        workload: Some(WorkloadName {
            id: Label::clean("k", 128),
            title: Label::clean("train.ipynb", 128),
        }),
        severity: Severity::Critical,
        since_ms: NOW_MS,
        updated_ms: NOW_MS,
        cleared_ms: None,
        evidence: vec![
            ("trend_bytes_per_second", Evidence::Number(52e6)),
            ("seconds_to_limit", Evidence::Number(18.0)),
            ("memory_used_bytes", Evidence::Integer(1_100_000_000)),
            ("memory_limit_bytes", Evidence::Integer(2_000_000_000)),
            ("memory_limit_enforced", Evidence::Flag(true)),
        ],
        clears_when: "memory stops growing".into(),
    }
}

fn by_mail(sink: SocketAddr) -> NoticeConfig {
    NoticeConfig {
        mail: Some(MailConfig {
            host: sink.ip().to_string(),
            port: sink.port(),
            security: MailSecurity::Plain,
            username: None,
            password: None,
            from: "hubmeter <hubmeter@hub.example.org>".into(),
            to: vec!["admin@example.org".into(), "Eve <eve@example.org>".into()],
        }),
        ..NoticeConfig::default()
    }
}

fn by_webhook(addr: SocketAddr, allow_private: bool) -> NoticeConfig {
    let scheme = if allow_private { "http" } else { "https" };
    NoticeConfig {
        webhooks: vec![WebhookConfig {
            url: format!("{scheme}://{addr}/hook?secret=1"),
            allow_private,
            body: WebhookBody::Generic,
        }],
        ..NoticeConfig::default()
    }
}

fn open(dir: &Path, config: &NoticeConfig, clock: &Arc<ManualClock>) -> Outbox {
    let registry = Registry::open(dir).unwrap();
    Outbox::new(config, registry, clock.clone(), Stats::new()).unwrap()
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(NOW_MS))
}

/// Delivers until nothing is due.
async fn deliver(outbox: &Outbox) {
    while outbox.deliver_due().await.unwrap() > 0 {}
}

// === mail ===

#[tokio::test]
async fn an_opened_runaway_reaches_the_admins_once_with_a_readable_sentence() {
    let sink = Sink::start(0).await;
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let outbox = open(dir.path(), &by_mail(sink.addr), &clock);
    let verdict = runaway("e1", "alice");
    outbox.observe(std::slice::from_ref(&verdict)).unwrap();
    outbox.observe(std::slice::from_ref(&verdict)).unwrap();
    deliver(&outbox).await;
    let mails = sink.mails();
    assert_eq!(mails.len(), 1);
    assert_eq!(mails[0].from, "hubmeter@hub.example.org");
    assert_eq!(mails[0].to, ["admin@example.org", "eve@example.org"]);
    assert_eq!(
        mails[0].header("Subject"),
        "hubmeter: runaway memory, alice's default server"
    );
    let sentence = "alice's default server grows 50 MiB/s and reaches its 1.9 GiB limit in about \
                    18 s; the cause is train.ipynb.";
    assert!(mails[0].text().starts_with(sentence), "{}", mails[0].text());
    assert!(mails[0].html().contains(&text::html(sentence)));
    assert_eq!(outbox.stats().sent, 1);
}

#[tokio::test]
async fn a_kill_that_only_the_counter_saw_is_mailed_when_its_victim_is_known() {
    let sink = Sink::start(0).await;
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let outbox = open(dir.path(), &by_mail(sink.addr), &clock);
    let mut kill = Verdict {
        rule: Rule::Killed,
        workload: None,
        ..runaway("k1", "alice")
    };
    outbox.observe(std::slice::from_ref(&kill)).unwrap();
    deliver(&outbox).await;
    assert_eq!(sink.mails().len(), 0, "it waits for the victim's name");
    kill.workload = runaway("k1", "alice").workload;
    outbox.observe(std::slice::from_ref(&kill)).unwrap();
    clock.advance(20_000);
    deliver(&outbox).await;
    let mails = sink.mails();
    assert_eq!(mails.len(), 1);
    let text = mails[0].text();
    assert!(
        text.starts_with("train.ipynb on alice's default server ran out of memory"),
        "{text}"
    );
}

#[tokio::test]
async fn a_restart_and_a_replay_of_facts_repeat_nothing() {
    let sink = Sink::start(0).await;
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let config = by_mail(sink.addr);
    let outbox = open(dir.path(), &config, &clock);
    outbox.observe(&[runaway("e1", "alice")]).unwrap();
    deliver(&outbox).await;
    drop(outbox);
    let outbox = open(dir.path(), &config, &clock);
    outbox.observe(&[runaway("e1", "alice")]).unwrap();
    deliver(&outbox).await;
    assert_eq!(sink.mails().len(), 1);
    outbox.observe(&[runaway("e2", "alice")]).unwrap();
    deliver(&outbox).await;
    assert_eq!(sink.mails().len(), 2);
}

#[tokio::test]
async fn a_notice_queued_before_a_crash_is_delivered_after_it() {
    let sink = Sink::start(0).await;
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let config = by_mail(sink.addr);
    let outbox = open(dir.path(), &config, &clock);
    outbox.observe(&[runaway("e1", "alice")]).unwrap();
    drop(outbox);
    deliver(&open(dir.path(), &config, &clock)).await;
    assert_eq!(sink.mails().len(), 1);
}

#[tokio::test]
async fn a_server_that_says_later_is_asked_later() {
    let sink = Sink::start(1).await;
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let outbox = open(dir.path(), &by_mail(sink.addr), &clock);
    outbox
        .observe(&[runaway("e1", "alice"), runaway("e2", "bob")])
        .unwrap();
    deliver(&outbox).await;
    assert_eq!(sink.mails().len(), 0);
    assert_eq!(outbox.stats().failed, 1, "one failure puts off the channel");
    clock.advance(30_000);
    deliver(&outbox).await;
    assert_eq!(sink.mails().len(), 2);
    let ids: Vec<_> = sink
        .mails()
        .iter()
        .map(|m| m.header("Message-ID"))
        .collect();
    assert_ne!(ids[0], ids[1]);
}

#[tokio::test]
async fn a_notice_nobody_takes_for_a_day_is_given_up_and_counted() {
    let sink = Sink::start(usize::MAX).await;
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let outbox = open(dir.path(), &by_mail(sink.addr), &clock);
    outbox.observe(&[runaway("e1", "alice")]).unwrap();
    for _ in 0..40 {
        deliver(&outbox).await;
        clock.advance(60 * 60 * 1000);
    }
    let stats = outbox.stats();
    assert_eq!((stats.sent, stats.given_up), (0, 1));
    assert!((10..40).contains(&stats.failed), "{stats:?}");
}

#[tokio::test]
async fn one_users_flood_does_not_use_up_everybodys_notices() {
    let sink = Sink::start(0).await;
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let config = NoticeConfig {
        per_day_max: 5,
        per_user_day_max: 2,
        ..by_mail(sink.addr)
    };
    let outbox = open(dir.path(), &config, &clock);
    for at in 0..10 {
        outbox
            .observe(&[runaway(&format!("m{at}"), "mallory")])
            .unwrap();
    }
    deliver(&outbox).await;
    assert_eq!(sink.mails().len(), 2);
    assert!(
        sink.mails()[1]
            .text()
            .contains("last notice about this user")
    );
    for user in ["a", "b", "c", "d"] {
        outbox.observe(&[runaway(user, user)]).unwrap();
    }
    deliver(&outbox).await;
    assert_eq!(sink.mails().len(), 5);
    assert!(sink.mails()[4].text().contains("the day's bound"));
    assert_eq!(outbox.stats().capped, 9);
    clock.advance(24 * 60 * 60 * 1000);
    outbox.observe(&[runaway("new", "mallory")]).unwrap();
    deliver(&outbox).await;
    assert_eq!(sink.mails().len(), 6);
}

#[tokio::test]
async fn only_what_is_worth_a_notice_is_told_and_the_end_only_when_asked_for() {
    let sink = Sink::start(0).await;
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let config = NoticeConfig {
        cleared: true,
        ..by_mail(sink.addr)
    };
    let outbox = open(dir.path(), &config, &clock);
    let mut near = runaway("n", "alice");
    near.rule = Rule::NearLimit;
    near.severity = Severity::Warning;
    let mut idle = runaway("i", "alice");
    idle.rule = Rule::Idle;
    outbox.observe(&[near.clone(), idle]).unwrap();
    deliver(&outbox).await;
    assert_eq!(sink.mails().len(), 0);
    near.severity = Severity::Critical;
    outbox.observe(&[near.clone()]).unwrap();
    deliver(&outbox).await;
    assert_eq!(sink.mails().len(), 1, "it became critical");
    near.cleared_ms = Some(NOW_MS + 60_000);
    outbox.observe(&[near]).unwrap();
    deliver(&outbox).await;
    let mails = sink.mails();
    assert_eq!(mails.len(), 2);
    assert!(mails[1].text().starts_with("Over after 60 s: near limit"));
}

#[tokio::test]
async fn hostile_names_add_no_header_no_recipient_and_no_markup() {
    let long = "x".repeat(5000);
    let hostile = HOSTILE.iter().copied().chain([long.as_str()]);
    let sink = Sink::start(0).await;
    let dir = tempfile::tempdir().unwrap();
    let config = NoticeConfig {
        per_day_max: 1000,
        ..by_mail(sink.addr)
    };
    let outbox = open(dir.path(), &config, &clock());
    for (at, name) in hostile.clone().enumerate() {
        let mut verdict = runaway(&format!("e{at}"), name);
        verdict.key = ServerKey::new(name, name);
        verdict.workload = Some(WorkloadName {
            id: Label::clean(name, 128),
            title: Label::clean(name, 128),
        });
        let word = Evidence::Word(Label::clean(name, 128));
        verdict.evidence.push(("workload_title", word));
        outbox.observe(&[verdict]).unwrap();
    }
    deliver(&outbox).await;
    let mails = sink.mails();
    assert_eq!(mails.len(), HOSTILE.len() + 1);
    for (mail, name) in mails.iter().zip(hostile) {
        assert_eq!(
            mail.to,
            ["admin@example.org", "eve@example.org"],
            "{name:?}"
        );
        let mut names: Vec<_> = mail.headers.iter().map(|(name, _)| &**name).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "Auto-Submitted",
                "Content-Type",
                "Date",
                "From",
                "MIME-Version",
                "Message-ID",
                "Subject",
                "To",
            ],
            "{name:?}"
        );
        let shown = Label::clean(name, 128);
        assert!(mail.text().contains(shown.as_str()), "{name:?}");
        assert!(
            mail.html().contains(&text::html(shown.as_str())),
            "{name:?}: {}",
            mail.html()
        );
        assert_eq!(mail.html().matches("<script").count(), 0, "{name:?}");
        assert_eq!(mail.html().matches("<img").count(), 0, "{name:?}");
        let subject = mail.header("Subject");
        assert!(
            subject.starts_with("hubmeter: runaway memory, "),
            "{subject}"
        );
        assert!(!subject.contains(['\r', '\n']), "{subject:?}");
    }
}

// === webhook ===

#[derive(Clone, Default)]
struct Hook {
    failures: Arc<AtomicUsize>,
    bodies: Arc<Mutex<Vec<serde_json::Value>>>,
}

impl Hook {
    /// Answers 500 so many times, then 200.
    async fn start(failures: usize) -> (Self, SocketAddr) {
        let hook = Self::default();
        hook.failures.store(failures, Ordering::SeqCst);
        let routes = Router::new()
            .route("/hook", post(Self::take))
            .with_state(hook.clone());
        (hook, serve(routes).await)
    }

    async fn take(
        State(hook): State<Self>,
        Json(body): Json<serde_json::Value>,
    ) -> (StatusCode, String) {
        let left = hook.failures.load(Ordering::SeqCst);
        if left > 0 {
            hook.failures.store(left - 1, Ordering::SeqCst);
            return (StatusCode::INTERNAL_SERVER_ERROR, "no".repeat(1_000_000));
        }
        hook.bodies.lock().push(body);
        (StatusCode::OK, String::new())
    }
}

async fn serve(routes: Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, routes).await });
    addr
}

#[tokio::test]
async fn a_webhook_is_told_once_and_again_after_a_500() {
    let (hook, addr) = Hook::start(1).await;
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let outbox = open(dir.path(), &by_webhook(addr, true), &clock);
    outbox.observe(&[runaway("e1", "alice")]).unwrap();
    deliver(&outbox).await;
    assert!(hook.bodies.lock().is_empty());
    clock.advance(30_000);
    deliver(&outbox).await;
    deliver(&outbox).await;
    let bodies = hook.bodies.lock().clone();
    assert_eq!(bodies.len(), 1);
    assert_eq!(bodies[0]["rule"], "runaway_memory");
    assert_eq!(bodies[0]["user"], "alice");
    assert_eq!(bodies[0]["server"], "");
    assert_eq!(bodies[0]["since"], "2019-11-17T14:13:20.000Z");
    assert_eq!(bodies[0]["cleared"], serde_json::Value::Null);
    assert_eq!(
        bodies[0]["evidence"]["memory_limit_bytes"],
        2_000_000_000_i64
    );
    assert!(bodies[0]["text"].as_str().unwrap().contains("50 MiB/s"));
    let stats = outbox.stats();
    assert_eq!((stats.sent, stats.failed), (1, 1));
}

#[tokio::test]
async fn a_private_address_is_refused_before_anything_is_sent() {
    let canary = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = canary.local_addr().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let outbox = open(dir.path(), &by_webhook(addr, false), &clock());
    outbox.observe(&[runaway("e1", "alice")]).unwrap();
    deliver(&outbox).await;
    assert_eq!(outbox.stats().failed, 1);
    // A connection made would be waiting to be accepted.
    let knock = std::time::Duration::from_millis(50);
    tokio::time::timeout(knock, canary.accept())
        .await
        .expect_err("nobody knocked");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (hook, addr) = Hook::start(0).await;
    let to = format!("http://{addr}/hook");
    let away = move || async move { (StatusCode::TEMPORARY_REDIRECT, [("location", to)]) };
    let addr = serve(Router::new().route("/hook", post(away))).await;
    let dir = tempfile::tempdir().unwrap();
    let outbox = open(dir.path(), &by_webhook(addr, true), &clock());
    outbox.observe(&[runaway("e1", "alice")]).unwrap();
    deliver(&outbox).await;
    assert!(hook.bodies.lock().is_empty());
    assert_eq!(outbox.stats().failed, 1);
}

#[tokio::test]
async fn the_running_outbox_delivers_what_is_observed_while_it_sleeps() {
    let (hook, addr) = Hook::start(0).await;
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let outbox = Arc::new(open(dir.path(), &by_webhook(addr, true), &clock));
    let running = tokio::spawn({
        let outbox = outbox.clone();
        async move { outbox.run().await }
    });
    tokio::task::yield_now().await;
    outbox.observe(&[runaway("e1", "alice")]).unwrap();
    while hook.bodies.lock().is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    running.abort();
    assert_eq!(clock.now_ms(), NOW_MS, "no time had to pass");
}
