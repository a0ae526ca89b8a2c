//! What keeps notices from being a nuisance: digests, quiet hours, repeats that somebody ends.

use hubmeter_collector::{
    notice::Quiet,
    registry::{Audience, Mute},
};

use super::*;

const HOUR_MS: i64 = 60 * 60 * 1000;

fn warning(episode: &str, user: &str) -> Verdict {
    Verdict {
        severity: Severity::Warning,
        ..runaway(episode, user)
    }
}

fn over(verdict: &Verdict) -> Verdict {
    Verdict {
        cleared_ms: Some(NOW_MS + 60_000),
        ..verdict.clone()
    }
}

#[tokio::test]
async fn what_is_not_critical_gathers_into_one_mail_and_what_is_goes_out_at_once() {
    let sink = Sink::start(0).await;
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let config = NoticeConfig {
        digest_ms: Some(HOUR_MS),
        ..by_mail(sink.addr)
    };
    let outbox = open(dir.path(), &config, &clock);
    outbox
        .observe(&[
            warning("e1", "alice"),
            warning("e2", "<b>bob"),
            runaway("e3", "eve"),
        ])
        .unwrap();
    deliver(&outbox).await;
    assert_eq!(sink.mails().len(), 1, "the critical one");
    clock.advance(HOUR_MS);
    deliver(&outbox).await;
    let mails = sink.mails();
    assert_eq!(mails.len(), 2);
    assert_eq!(mails[1].header("Subject"), "hubmeter: 2 notices");
    assert!(mails[1].text().contains("* alice's default server grows"));
    assert!(
        mails[1]
            .html()
            .contains("&lt;b&gt;bob&#39;s default server")
    );
    assert_eq!(outbox.stats().sent, 3);
}

#[tokio::test]
async fn a_night_is_quiet_unless_something_is_critical() {
    let sink = Sink::start(0).await;
    let dir = tempfile::tempdir().unwrap();
    let clock = clock(); // 14:13 UTC
    let config = NoticeConfig {
        quiet: Some(Quiet::parse("14:00-16:00").unwrap()),
        ..by_mail(sink.addr)
    };
    let outbox = open(dir.path(), &config, &clock);
    outbox
        .observe(&[warning("e1", "alice"), runaway("e2", "bob")])
        .unwrap();
    deliver(&outbox).await;
    assert_eq!(sink.mails().len(), 1);
    clock.advance(HOUR_MS);
    deliver(&outbox).await;
    assert_eq!(sink.mails().len(), 1);
    clock.advance(HOUR_MS);
    deliver(&outbox).await;
    assert_eq!(sink.mails().len(), 2);
    assert_eq!(outbox.stats().failed, 0, "to wait is no failure");
}

#[tokio::test]
async fn an_open_episode_is_told_again_until_somebody_knows_of_it_or_it_is_over() {
    let sink = Sink::start(0).await;
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let config = NoticeConfig {
        repeat_ms: Some(HOUR_MS),
        ..by_mail(sink.addr)
    };
    let outbox = open(dir.path(), &config, &clock);
    let [known, ends] = [runaway("e1", "alice"), runaway("e2", "bob")];
    outbox.observe(&[known, ends.clone()]).unwrap();
    deliver(&outbox).await;
    assert_eq!(sink.mails().len(), 2);
    clock.advance(HOUR_MS);
    deliver(&outbox).await;
    deliver(&outbox).await;
    let mails = sink.mails();
    assert_eq!(mails.len(), 4);
    let subject = mails[2].header("Subject");
    assert!(
        subject.starts_with("hubmeter: still runaway memory"),
        "{subject}"
    );
    let registry = Registry::open(dir.path()).unwrap();
    registry
        .acknowledge("e1", Audience::Admins, "root", NOW_MS)
        .unwrap();
    outbox.observe(&[over(&ends)]).unwrap();
    for _ in 0..5 {
        clock.advance(HOUR_MS);
        deliver(&outbox).await;
    }
    assert_eq!(sink.mails().len(), 4);
}

#[tokio::test]
async fn what_gets_worse_is_told_once_more_and_across_a_restart_not_again() {
    let sink = Sink::start(0).await;
    let dir = tempfile::tempdir().unwrap();
    let config = by_mail(sink.addr);
    let clock = clock();
    let outbox = open(dir.path(), &config, &clock);
    outbox.observe(&[warning("e1", "alice")]).unwrap();
    deliver(&outbox).await;
    outbox.observe(&[runaway("e1", "alice")]).unwrap();
    deliver(&outbox).await;
    drop(outbox);
    let outbox = open(dir.path(), &config, &clock);
    outbox.observe(&[warning("e1", "alice")]).unwrap();
    outbox.observe(&[runaway("e1", "alice")]).unwrap();
    deliver(&outbox).await;
    let subjects: Vec<_> = sink.mails().iter().map(|m| m.header("Subject")).collect();
    assert_eq!(
        subjects,
        [
            "hubmeter: runaway memory, alice's default server",
            "hubmeter: now critical, runaway memory, alice's default server"
        ]
    );
}

fn mute(registry: &Registry, key: &ServerKey, rule: &str, until_ms: Option<i64>) {
    let mute = Mute {
        key,
        rule,
        audience: Audience::Admins,
        until_ms,
        by: "root",
        episode: "e0",
        now_ms: NOW_MS,
    };
    registry.mute(&mute).unwrap();
}

#[tokio::test]
async fn a_muted_rule_is_not_told_to_those_who_muted_it_until_then() {
    let sink = Sink::start(0).await;
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let outbox = open(dir.path(), &by_mail(sink.addr), &clock);
    let registry = Registry::open(dir.path()).unwrap();
    let key = ServerKey::new("alice", "");
    let until_ms = Some(NOW_MS + HOUR_MS);
    let rule = Rule::RunawayMemory.as_str();
    mute(&registry, &key, rule, until_ms);
    outbox
        .observe(&[runaway("e1", "alice"), runaway("e2", "bob")])
        .unwrap();
    deliver(&outbox).await;
    assert_eq!(sink.mails().len(), 1);
    clock.advance(HOUR_MS);
    outbox.observe(&[runaway("e3", "alice")]).unwrap();
    deliver(&outbox).await;
    assert_eq!(sink.mails().len(), 3, "the new one, and what is open still");
}

#[tokio::test]
async fn what_a_mute_kept_quiet_is_told_once_after_it_if_it_is_open_still() {
    let sink = Sink::start(0).await;
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let outbox = open(dir.path(), &by_mail(sink.addr), &clock);
    let registry = Registry::open(dir.path()).unwrap();
    let until_ms = Some(NOW_MS + HOUR_MS);
    let rule = Rule::RunawayMemory.as_str();
    for user in ["alice", "bob"] {
        mute(&registry, &ServerKey::new(user, ""), rule, until_ms);
    }
    let ends = runaway("e2", "bob");
    outbox
        .observe(&[warning("e1", "alice"), ends.clone()])
        .unwrap();
    deliver(&outbox).await;
    outbox
        .observe(&[runaway("e1", "alice"), over(&ends)])
        .unwrap();
    deliver(&outbox).await;
    assert_eq!(sink.mails().len(), 0);
    for _ in 0..3 {
        clock.advance(HOUR_MS);
        deliver(&outbox).await;
    }
    let mails = sink.mails();
    let subjects: Vec<_> = mails.iter().map(|mail| mail.header("Subject")).collect();
    assert_eq!(
        subjects,
        ["hubmeter: still runaway memory, alice's default server"]
    );
}

#[tokio::test]
async fn what_was_told_before_a_mute_is_told_again_after_it_unless_somebody_knows_or_it_is_over() {
    let sink = Sink::start(0).await;
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let outbox = open(dir.path(), &by_mail(sink.addr), &clock);
    let registry = Registry::open(dir.path()).unwrap();
    let rule = Rule::RunawayMemory.as_str();
    let [open_still, known, ends] =
        [("e1", "alice"), ("e2", "bob"), ("e3", "eve")].map(|(e, user)| runaway(e, user));
    outbox
        .observe(&[open_still, known, ends.clone(), runaway("e4", "zoe")])
        .unwrap();
    deliver(&outbox).await;
    assert_eq!(sink.mails().len(), 4);
    for user in ["alice", "bob", "eve"] {
        mute(
            &registry,
            &ServerKey::new(user, ""),
            rule,
            Some(NOW_MS + HOUR_MS),
        );
    }
    registry
        .acknowledge("e2", Audience::Admins, "root", NOW_MS)
        .unwrap();
    outbox.observe(&[over(&ends)]).unwrap();
    for _ in 0..3 {
        clock.advance(HOUR_MS);
        deliver(&outbox).await;
    }
    let mails = sink.mails();
    assert_eq!(mails.len(), 5, "zoe's was not muted, so not told again");
    assert!(
        mails[4]
            .header("Subject")
            .contains("still runaway memory, alice")
    );
}

#[tokio::test]
async fn a_mute_that_somebody_ends_early_is_over_then() {
    let sink = Sink::start(0).await;
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let outbox = open(dir.path(), &by_mail(sink.addr), &clock);
    let registry = Registry::open(dir.path()).unwrap();
    let (key, rule) = (ServerKey::new("alice", ""), Rule::RunawayMemory.as_str());
    mute(&registry, &key, rule, None);
    outbox.observe(&[runaway("e1", "alice")]).unwrap();
    deliver(&outbox).await;
    mute(&registry, &key, rule, None);
    deliver(&outbox).await;
    assert_eq!(sink.mails().len(), 1, "there was no mute to end");
    mute(&registry, &key, rule, Some(NOW_MS + 100 * HOUR_MS));
    deliver(&outbox).await;
    assert_eq!(sink.mails().len(), 1);
    mute(&registry, &key, rule, None);
    deliver(&outbox).await;
    assert_eq!(sink.mails().len(), 2);
}

#[tokio::test]
async fn a_mute_takes_what_it_is_about_out_of_a_waiting_digest_and_nothing_else() {
    let sink = Sink::start(0).await;
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let config = NoticeConfig {
        digest_ms: Some(HOUR_MS),
        ..by_mail(sink.addr)
    };
    let outbox = open(dir.path(), &config, &clock);
    let users = [("e1", "alice"), ("e2", "bob"), ("e3", "eve")];
    outbox
        .observe(&users.map(|(e, user)| warning(e, user)))
        .unwrap();
    deliver(&outbox).await;
    let registry = Registry::open(dir.path()).unwrap();
    let (key, rule) = (ServerKey::new("bob", ""), Rule::RunawayMemory.as_str());
    mute(&registry, &key, rule, Some(NOW_MS + 2 * HOUR_MS));
    clock.advance(HOUR_MS);
    deliver(&outbox).await;
    let mails = sink.mails();
    assert_eq!(mails.len(), 1);
    assert_eq!(mails[0].header("Subject"), "hubmeter: 2 notices");
    let text = mails[0].text();
    assert!(text.contains("alice") && text.contains("eve") && !text.contains("bob"));
    clock.advance(HOUR_MS);
    deliver(&outbox).await;
    let mails = sink.mails();
    assert_eq!(mails.len(), 2, "its own turn comes with the mute's end");
    assert!(mails[1].header("Subject").contains("bob"));
}

#[tokio::test]
async fn a_muted_reminder_comes_when_the_mute_is_over() {
    let sink = Sink::start(0).await;
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let config = NoticeConfig {
        repeat_ms: Some(HOUR_MS),
        ..by_mail(sink.addr)
    };
    let outbox = open(dir.path(), &config, &clock);
    outbox.observe(&[runaway("e1", "alice")]).unwrap();
    deliver(&outbox).await;
    let registry = Registry::open(dir.path()).unwrap();
    let (key, rule) = (ServerKey::new("alice", ""), Rule::RunawayMemory.as_str());
    let until_ms = Some(NOW_MS + 3 * HOUR_MS);
    mute(&registry, &key, rule, until_ms);
    for mails in [1, 1, 2, 3] {
        clock.advance(HOUR_MS);
        deliver(&outbox).await;
        assert_eq!(sink.mails().len(), mails);
    }
}

#[tokio::test]
async fn one_user_who_had_enough_for_the_day_takes_nobody_elses_notice_out_of_a_digest() {
    let sink = Sink::start(0).await;
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let config = NoticeConfig {
        digest_ms: Some(HOUR_MS),
        per_user_day_max: 1,
        ..by_mail(sink.addr)
    };
    let outbox = open(dir.path(), &config, &clock);
    outbox
        .observe(&[
            runaway("e1", "alice"),
            warning("e2", "alice"),
            warning("e3", "bob"),
        ])
        .unwrap();
    deliver(&outbox).await;
    clock.advance(HOUR_MS);
    deliver(&outbox).await;
    let mails = sink.mails();
    assert_eq!(mails.len(), 2);
    assert!(mails[1].header("Subject").contains("bob"));
    assert_eq!((outbox.stats().sent, outbox.stats().capped), (2, 1));
}

#[tokio::test]
async fn what_waits_behind_a_failure_was_not_tried_and_goes_with_the_next_attempt() {
    let sink = Sink::start(1).await;
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let outbox = open(dir.path(), &by_mail(sink.addr), &clock);
    outbox
        .observe(&[runaway("e1", "alice"), runaway("e2", "bob")])
        .unwrap();
    deliver(&outbox).await;
    let registry = Registry::open(dir.path()).unwrap();
    let told = registry.notices_told("admins", 10).unwrap();
    let attempts: Vec<_> = told.iter().map(|told| told.attempts).collect();
    assert_eq!(attempts, [0, 1], "newest first");
    clock.advance(30_000);
    deliver(&outbox).await;
    assert_eq!(sink.mails().len(), 2);
}
