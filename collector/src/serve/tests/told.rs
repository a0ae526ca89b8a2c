//! What people were told, what they say to it, and what admins write to them.

use std::sync::Arc;

use serde_json::{Value, json};

use super::bed::{Answer, Bed, NOW_MS};
use crate::{
    clock::ManualClock,
    fact::ServerKey,
    notice::{MailConfig, MailSecurity, NoticeConfig, Outbox, UserMailConfig},
    pipeline::starts::Starts,
    registry::{Audience, NewNotice, Registry},
    serve::{Told, auth::SESSION_COOKIE},
    stats::Stats,
    verdict::{Rule, Severity, Verdict},
};

const ACCESS: &str = "access:services!service=hubmeter";

/// Names that try to be something else.
const HOSTILE: &str = "<script>\"alert\\(1)\r\n\u{202e}</script>";

/// Nobody was told anything yet; mail goes where nobody listens.
pub(super) fn told(clock: &Arc<ManualClock>, stats: &Stats) -> Told {
    let dir = tempfile::tempdir().expect("a directory");
    let registry = Registry::open(dir.path()).expect("small state");
    let config = NoticeConfig {
        mail: Some(MailConfig {
            host: "127.0.0.1".to_owned(),
            port: 1,
            security: MailSecurity::Plain,
            username: None,
            password: None,
            from: "hubmeter@example.org".to_owned(),
            to: Vec::new(),
        }),
        user_mail: Some(UserMailConfig {
            address: Some("{user}@example.org".to_owned()),
            ..UserMailConfig::default()
        }),
        ..NoticeConfig::default()
    };
    let outbox = Outbox::new(&config, registry.clone(), clock.clone(), stats.clone());
    Told {
        registry,
        outbox: Arc::new(outbox.expect("an outbox")),
    }
}

/// Nothing was started yet.
pub(super) fn starts(clock: &Arc<ManualClock>) -> Starts {
    let (teller, _) = std::sync::mpsc::sync_channel(1);
    Starts::new(teller, tokio::sync::broadcast::channel(1).0, clock.clone())
}

/// A verdict about `user`'s default server, and a notice of it on `channel`.
pub(super) fn queue(told: &Told, episode: &str, channel: &str, user: &str) {
    queue_of(told, Rule::NearLimit, episode, channel, user);
}

fn queue_of(told: &Told, rule: Rule, episode: &str, channel: &str, user: &str) {
    let verdict = Verdict {
        rule,
        episode: episode.to_owned(),
        key: ServerKey::new(user, ""),
        workload: None,
        severity: Severity::Warning,
        since_ms: NOW_MS - 5_000,
        updated_ms: NOW_MS,
        cleared_ms: None,
        evidence: Vec::new(),
        clears_when: String::new(),
    };
    told.registry.put_episode(&verdict).expect("written");
    let notice = NewNotice {
        episode,
        channel,
        phase: "opened",
        user,
        server: "",
        severity: "warning",
        payload: None,
        queued_ms: NOW_MS,
        due_ms: NOW_MS,
    };
    assert!(told.registry.queue_notice(&notice).expect("written"));
}

async fn bed() -> (Bed, Told) {
    let bed = Bed::new().await;
    let hub = &bed.hub;
    let read = ["custom:hubmeter:read:all"];
    hub.grant("reader", "service", "reader", false, &read);
    let write = ["custom:hubmeter:read:all", "custom:hubmeter:write:all"];
    hub.grant("writer", "service", "writer", false, &write);
    hub.grant("ann", "user", "ann", false, &[ACCESS]);
    hub.grant("bob", "user", "bob", false, &[ACCESS]);
    let told = bed.site().told.clone();
    queue(&told, "e1", "mail", "ann");
    queue(&told, "e3", "user-mail", HOSTILE);
    queue(&told, "e2", "user-mail", "ann");
    (bed, told)
}

async fn post(bed: &Bed, token: &str, path: &str, body: &Value) -> Answer {
    let authorization = format!("token {token}");
    let headers = [("authorization", authorization.as_str())];
    bed.ask("POST", path, &headers, &body.to_string()).await
}

async fn told_to(bed: &Bed, token: &str, query: &str) -> Vec<Value> {
    let answer = bed.get_as(token, &format!("api/v1/notices{query}")).await;
    let list = answer.json().await;
    list["items"].as_array().expect("items").clone()
}

// === what was told ===

#[tokio::test]
async fn who_sees_all_sees_every_notice_and_why_it_fails_and_a_user_what_was_for_them() {
    let (bed, told) = bed().await;
    told.outbox.deliver_due().await.expect("an attempt");
    let all = told_to(&bed, "reader", "").await;
    let episodes: Vec<_> = all.iter().map(|notice| &notice["episode"]).collect();
    assert_eq!(episodes, ["e2", "e3", "e1"]);
    assert_eq!(all[1]["user"], HOSTILE, "as JSON says it");
    assert_eq!(all[1]["outcome"], "dropped");
    assert_eq!(all[1]["reason"], "no address");
    assert_eq!(all[2]["reason"], "no such channel", "there is no admin");
    let failing = told_to(&bed, "reader", "?outcome=failing&channel=user-mail").await;
    assert_eq!(failing.len(), 1);
    let reason = failing[0]["reason"].as_str().expect("a reason");
    assert!(!reason.is_empty() && failing[0]["attempts"] == 1);
    let own = told_to(&bed, "ann", "").await;
    assert_eq!(own.len(), 1, "not what admins were told of them");
    assert_eq!(own[0]["episode"], "e2");
    assert_eq!(own[0]["rule"], "near_limit");
    assert_eq!(own[0]["reason"], Value::Null, "how mail goes is no user's");
    assert_eq!(told_to(&bed, "bob", "").await.len(), 0);
}

#[tokio::test]
async fn a_user_answers_for_themselves_and_an_admin_for_admins() {
    let (bed, told) = bed().await;
    let none = json!({});
    let answer = post(&bed, "ann", "api/v1/notices/e1/ack", &none).await;
    assert_eq!(
        answer.json().await["acknowledged"],
        "2019-11-17T21:56:36.500Z"
    );
    let knows = |audience| told.registry.is_acknowledged("e1", audience).expect("read");
    assert!(knows(Audience::User) && !knows(Audience::Admins));
    post(&bed, "writer", "api/v1/notices/e1/ack", &none).await;
    assert!(knows(Audience::Admins));
    for (token, path, status) in [
        ("bob", "e1/ack", 404),
        ("reader", "e1/ack", 403),
        ("ann", "nothing/ack", 404),
        ("ann", "e3/ack", 404),
        ("nobody", "e1/ack", 401),
    ] {
        let answer = post(&bed, token, &format!("api/v1/notices/{path}"), &none).await;
        assert_eq!(answer.status(), status, "{token} {path}");
    }
    let own = told_to(&bed, "ann", "").await;
    assert_eq!(
        own[0]["acknowledged"],
        Value::Null,
        "that was another episode"
    );
}

#[tokio::test]
async fn a_rule_is_muted_until_a_time_that_is_to_come_and_unmuted_by_null() {
    let (bed, told) = bed().await;
    let path = "api/v1/notices/e2/mute";
    let muted = || {
        let key = ServerKey::new("ann", "");
        let muted = told
            .registry
            .muted_until_ms(&key, "near_limit", Audience::User, NOW_MS);
        muted.expect("read").is_some()
    };
    let until = "2019-11-18T08:00:00.000Z";
    let answer = post(&bed, "ann", path, &json!({"until": until})).await;
    assert_eq!(answer.json().await["muted_until"], until);
    assert!(muted());
    let answer = post(&bed, "ann", path, &json!({"until": null})).await;
    assert_eq!(answer.json().await["muted_until"], Value::Null);
    assert!(!muted());
    for (body, status) in [
        (json!({"until": "2019-11-17T00:00:00Z"}), 422),
        (json!({"until": "2020-11-17T00:00:00Z"}), 422),
        (json!({"until": "tomorrow"}), 422),
        (json!({"till": null}), 400),
        (json!("x".repeat(1_000)), 400),
    ] {
        assert_eq!(
            post(&bed, "ann", path, &body).await.status(),
            status,
            "{body}"
        );
    }
}

#[tokio::test]
async fn a_user_cannot_mute_that_they_were_killed_and_admins_can() {
    let (bed, told) = bed().await;
    queue_of(&told, Rule::Killed, "e4", "user-mail", "ann");
    let path = "api/v1/notices/e4/mute";
    let wish = json!({"until": "2019-11-18T08:00:00Z"});
    let refused = post(&bed, "ann", path, &wish).await;
    assert_eq!(refused.status(), 422);
    let why = refused.json().await;
    assert_eq!(
        why["detail"],
        "killed is not muted: its user is always told of it"
    );
    for (token, wish) in [("writer", &wish), ("ann", &json!({"until": null}))] {
        assert_eq!(post(&bed, token, path, wish).await.status(), 200, "{token}");
    }
}

#[tokio::test]
async fn a_browsers_cookie_alone_changes_nothing() {
    let (bed, told) = bed().await;
    let site = bed.site();
    let cookie = site.sessions.open("ann").await.expect("a login");
    let cookie = format!("{SESSION_COOKIE}={cookie}");
    for origin in ["same-origin", "none", "cross-site"] {
        let headers = [("cookie", cookie.as_str()), ("sec-fetch-site", origin)];
        for path in ["notices/e2/ack", "notices/e2/mute", "messages"] {
            let path = format!("api/v1/{path}");
            let answer = bed.ask("POST", &path, &headers, "{\"until\":null}").await;
            assert!([401, 403].contains(&answer.status()), "{origin} {path}");
        }
    }
    let known = told.registry.is_acknowledged("e2", Audience::User);
    assert!(!known.expect("read"));
}

// === messages ===

fn message(filter: Value) -> Value {
    json!({"subject": "Tomorrow", "text": "The hub is updated.\n\nSave your work.", "filter": filter})
}

#[tokio::test]
async fn a_look_before_says_who_would_get_a_message_and_tells_nobody() {
    let (bed, told) = bed().await;
    let wish = message(json!({"groups": ["class-a", "class-b"]}));
    let path = "api/v1/messages?preview";
    let shown = post(&bed, "writer", path, &wish).await.json().await;
    assert_eq!(shown["id"], Value::Null);
    assert_eq!(shown["recipients"], 2);
    assert_eq!(
        shown["servers"][1],
        json!({"user": "bob", "server": "gpu-1"})
    );
    assert_eq!(shown["mail"], true);
    assert!(told.registry.messages(10).expect("read").is_empty());
    assert_eq!(
        told_to(&bed, "reader", "?channel=message-mail").await.len(),
        0
    );
}

#[tokio::test]
async fn a_message_goes_to_whom_the_filter_selects_and_is_kept_with_who_wrote_it() {
    let (bed, told) = bed().await;
    let wish = message(json!({"users": ["ann", "eve"]}));
    let written = post(&bed, "writer", "api/v1/messages", &wish)
        .await
        .json()
        .await;
    assert_eq!(written["id"], 1);
    let mails = told_to(&bed, "reader", "?channel=message-mail").await;
    assert_eq!(mails.len(), 1, "eve has no server");
    assert_eq!(mails[0]["user"], "ann");
    assert_eq!(mails[0]["episode"], "message-1-0");
    assert_eq!(mails[0]["rule"], Value::Null);
    let log = bed.get_as("writer", "api/v1/messages").await.json().await;
    assert_eq!(log["items"][0]["author"], "writer");
    assert_eq!(
        log["items"][0]["filter"], "2 named users",
        "without their names"
    );
    assert_eq!(log["items"][0]["recipients"], 1);
    // A crash after this loses nothing: it is in small state.
    assert_eq!(
        told.registry.due_notices(NOW_MS, 10).expect("read").len(),
        4
    );
}

#[tokio::test]
async fn nobody_writes_to_everybody_by_a_slip_or_without_the_right() {
    let (bed, told) = bed().await;
    let (long, cut) = ("x".repeat(9_000), "x".repeat(998));
    for (wish, status) in [
        (message(json!({})), 422),
        (message(json!({"everybody": true, "users": ["ann"]})), 422),
        (message(json!({"rule": "nothing"})), 422),
        (message(json!({"users": ["nobody"]})), 422),
        (message(json!({"user": "ann"})), 400),
        (
            json!({"subject": "", "text": "x", "filter": {"everybody": true}}),
            422,
        ),
        (
            json!({"subject": "x", "text": long, "filter": {"everybody": true}}),
            422,
        ),
        (
            json!({"subject": "x", "text": cut, "filter": {"everybody": true}}),
            422,
        ),
    ] {
        let answer = post(&bed, "writer", "api/v1/messages", &wish).await;
        assert_eq!(answer.status(), status, "{wish}");
    }
    let everybody = message(json!({"everybody": true}));
    for token in ["reader", "ann"] {
        let answer = post(&bed, token, "api/v1/messages", &everybody).await;
        assert_eq!(answer.status(), 403, "{token}");
        let answer = bed.get_as(token, "api/v1/messages").await;
        assert_eq!(answer.status(), 403, "{token}");
    }
    assert!(told.registry.messages(10).expect("read").is_empty());
    let answer = post(&bed, "writer", "api/v1/messages", &everybody).await;
    assert_eq!(answer.json().await["recipients"], 3);
}

#[tokio::test]
async fn a_message_is_cleaned_before_it_is_kept() {
    let (bed, told) = bed().await;
    let wish = json!({"subject": format!("a\r\nBcc: x {HOSTILE}"), "text": format!("one\n{HOSTILE}"),
        "filter": {"everybody": true}});
    post(&bed, "writer", "api/v1/messages", &wish).await;
    let kept = told.registry.messages(1).expect("read").remove(0);
    assert!(!kept.subject.contains(['\r', '\n', '\u{202e}']), "{kept:?}");
    assert!(!kept.text.contains(['\r', '\u{202e}']), "{kept:?}");
    assert!(kept.text.starts_with("one\n<script>"), "{kept:?}");
}

// === starts ===

#[tokio::test]
async fn two_starts_that_fail_are_a_verdict_for_who_sees_all_and_for_whose_failed_last() {
    let (bed, _) = bed().await;
    let start = |user, ok| json!({"user": user, "server": "", "ok": ok});
    for user in ["bob", "ann"] {
        let answer = post(&bed, "our-own", "api/v1/starts", &start(user, false)).await;
        assert_eq!(answer.status(), 204);
    }
    let path = "api/v1/verdicts?rule=start_failures";
    for (token, seen) in [("reader", 1), ("ann", 1), ("bob", 0)] {
        let list = bed.get_as(token, path).await.json().await;
        let items = list["items"].as_array().expect("items").clone();
        assert_eq!(items.len(), seen, "{token}");
        assert!(
            items
                .iter()
                .all(|verdict| verdict["evidence"]["failures"] == 2)
        );
    }
    post(&bed, "our-own", "api/v1/starts", &start("ann", true)).await;
    let list = bed.get_as("reader", path).await.json().await;
    assert_eq!(list["items"], json!([]));
    let all = bed.get_as("reader", &format!("{path}&state=all")).await;
    assert_eq!(all.json().await["items"][0]["state"], "cleared");
}

#[tokio::test]
async fn nobody_but_the_hub_tells_of_starts() {
    let (bed, _) = bed().await;
    let start = json!({"user": "ann", "server": "", "ok": false});
    for (token, status) in [("writer", 403), ("ann", 403), ("invented", 403)] {
        let answer = post(&bed, token, "api/v1/starts", &start).await;
        assert_eq!(answer.status(), status, "{token}");
    }
    let bare = bed
        .ask("POST", "api/v1/starts", &[], &start.to_string())
        .await;
    assert_eq!(bare.status(), 401);
    for body in [
        json!({"user": "", "server": "", "ok": true}),
        json!({"user": "a"}),
    ] {
        let answer = post(&bed, "our-own", "api/v1/starts", &body).await;
        assert!([400, 422].contains(&answer.status()), "{body}");
    }
    assert!(bed.site().starts.verdicts().is_empty());
}
