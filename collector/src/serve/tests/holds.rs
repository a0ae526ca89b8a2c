//! Holds: who may ask, how long, and that no page of somebody else's does.

use std::sync::{Arc, mpsc::sync_channel};

use parking_lot::RwLock;
use serde_json::{Value, json};

use super::bed::{Answer, Bed, Known, NOW_MS};
use crate::{
    clock::ManualClock, fact::ServerKey, inbox::Batch, limits, pipeline::desk::Desk,
    registry::Registry, state::State, stats::Stats,
};

const HOLD: &str = "api/v1/users/ann/server/hold";
const TOMORROW: &str = "2019-11-18T08:00:00.000Z";

/// A desk whose wishes reach `state` as the pipeline lets them.
pub(super) fn desk(
    registry: &Registry,
    state: &Arc<RwLock<State>>,
    clock: &Arc<ManualClock>,
    stats: &Stats,
) -> Desk {
    let desk = Desk::new(registry, state, &(clock.clone() as _), stats);
    let (facts, incoming) = sync_channel::<Batch>(16);
    desk.open(facts);
    let state = state.clone();
    std::thread::spawn(move || {
        for fact in incoming.iter().flat_map(|batch| batch.facts) {
            state.write().apply(&fact);
        }
    });
    desk
}

fn of_server(user: &str, server: &str) -> [String; 2] {
    [
        format!("users:activity!user={user}"),
        format!("access:servers!server={user}/{server}"),
    ]
}

async fn bed() -> Bed {
    let bed = Bed::new().await;
    for (token, user, server) in [("ann-lab", "ann", ""), ("bob-lab", "bob", "gpu-1")] {
        let scopes = of_server(user, server);
        let scopes = scopes.each_ref().map(String::as_str);
        bed.hub.grant(token, "user", user, false, &scopes);
    }
    let service = |token, scopes: &[&str]| bed.hub.grant(token, "service", token, false, scopes);
    service("reader", &["custom:hubmeter:read:all"]);
    service(
        "writer",
        &["custom:hubmeter:read:all", "custom:hubmeter:write:all"],
    );
    service(
        "of-class-b",
        &[
            "custom:hubmeter:read:all",
            "custom:hubmeter:write:all!group=class-b",
        ],
    );
    bed
}

async fn put(bed: &Bed, token: &str, path: &str, until: &str) -> Answer {
    let authorization = format!("token {token}");
    let body = json!({ "until": until }).to_string();
    bed.ask("PUT", path, &[("authorization", &authorization)], &body)
        .await
}

async fn row(bed: &Bed, user: &str) -> Value {
    let path = format!("api/v1/users/{user}/server");
    bed.get_as("reader", &path).await.json().await
}

#[tokio::test]
async fn a_server_is_held_by_its_own_token_and_let_go_again() {
    let bed = bed().await;
    let held = put(&bed, "ann-lab", HOLD, TOMORROW).await;
    assert_eq!(held.status(), 200);
    assert_eq!(held.json().await, json!({ "held_until": TOMORROW }));
    let ann = row(&bed, "ann").await;
    assert_eq!(ann["held_until"], TOMORROW);
    let cull = bed.get_as("reader", "api/v1/cull?timeout=0&user=ann").await;
    let cull = cull.json().await;
    assert_eq!(cull["items"][0]["cull"], false);
    assert_eq!(cull["items"][0]["held_until"], TOMORROW);
    let reason = "held until 2019-11-18 08:00 UTC by its user";
    assert_eq!(cull["items"][0]["reason"], reason);
    let authorization = [("authorization", "token ann-lab")];
    let released = bed.ask("DELETE", HOLD, &authorization, "").await;
    assert_eq!(released.json().await, json!({ "held_until": null }));
    assert_eq!(row(&bed, "ann").await["held_until"], Value::Null);
}

#[tokio::test]
async fn a_named_server_is_held_under_its_name_alone() {
    let bed = bed().await;
    let path = "api/v1/users/bob/servers/gpu-1/hold";
    assert_eq!(put(&bed, "bob-lab", path, TOMORROW).await.status(), 200);
    let key = ServerKey::new("bob", "gpu-1");
    assert!(bed.state.read().servers[&key].held_until_ms.is_some());
    let default = put(&bed, "bob-lab", "api/v1/users/bob/server/hold", TOMORROW).await;
    assert_eq!(default.status(), 404, "there is none");
}

#[tokio::test]
async fn others_servers_are_not_there_and_seeing_is_not_holding() {
    let bed = bed().await;
    for (token, status) in [
        ("bob-lab", 404),
        ("reader", 403),
        ("of-class-b", 403),
        ("nobodys", 401),
        ("writer", 200),
    ] {
        let answer = put(&bed, token, HOLD, TOMORROW).await;
        assert_eq!(answer.status(), status, "{token}");
    }
    let path = "api/v1/users/bob/servers/gpu-1/hold";
    assert_eq!(put(&bed, "of-class-b", path, TOMORROW).await.status(), 200);
}

#[tokio::test]
async fn who_asks_is_told_whose_servers_they_may_hold_as_it_is_judged_when_they_do() {
    let bed = bed().await;
    let read = "custom:hubmeter:read:all";
    for (token, filter) in [
        ("of-ann", "user=ann"),
        ("of-gpu-1", "server=bob/gpu-1"),
        ("of-default", "server=ann/"),
        ("of-later", "rack=7"),
    ] {
        let write = format!("custom:hubmeter:write:all!{filter}");
        bed.hub
            .grant(token, "service", token, false, &[read, &write]);
    }
    let teacher = ["custom:hubmeter:write:all!group=class-a", read];
    bed.hub.grant("teacher", "user", "tim", false, &teacher);
    let rows = bed.get_as("reader", "api/v1/servers").await.json().await;
    let rows = rows["items"].as_array().expect("items").clone();
    let mut held = 0;
    for token in [
        "reader",
        "writer",
        "of-class-b",
        "of-ann",
        "of-gpu-1",
        "of-default",
        "of-later",
        "teacher",
    ] {
        let me = bed.get_as(token, "api/v1/me").await.json().await;
        let holds = |kind: &str, name: &Value| {
            let names = me["holds_for"][kind].as_array().expect("names");
            names.contains(name)
        };
        for row in &rows {
            let [user, server] =
                ["user", "server"].map(|field| row[field].as_str().expect("a name"));
            let groups = row["groups"].as_array().expect("groups");
            let says = me["changes_all"] == true
                || holds("users", &row["user"])
                || holds("servers", &format!("{user}/{server}").into())
                || groups.iter().any(|group| holds("groups", group));
            let path = match server {
                "" => format!("api/v1/users/{user}/server/hold"),
                named => format!("api/v1/users/{user}/servers/{named}/hold"),
            };
            let status = put(&bed, token, &path, TOMORROW).await.status();
            assert_eq!(status, if says { 200 } else { 403 }, "{token} {path}");
            held += usize::from(says);
        }
    }
    assert_eq!(held, 3 + 5, "everybody's, and one each");
}

#[tokio::test]
async fn what_is_past_or_past_policy_or_no_time_is_refused() {
    let bed = bed().await;
    for until in [
        "2019-11-17T21:56:36Z",
        "2019-11-18T21:56:37Z",
        "9999-12-31T23:00:00Z",
        "tomorrow",
        "",
        "2019-11-18",
        "-1h",
        "\u{202e}08:00",
    ] {
        let answer = put(&bed, "ann-lab", HOLD, until).await;
        assert_eq!(answer.status(), 422, "{until}");
    }
    let zone = put(&bed, "ann-lab", HOLD, "2019-11-18T09:00:00+01:00").await;
    assert_eq!(zone.json().await["held_until"], TOMORROW);
    let authorization = [("authorization", "token ann-lab")];
    let long = format!(
        "{{\"until\":\"{}\"}}",
        "1".repeat(limits::HOLD_BODY_BYTES_MAX)
    );
    for (body, query) in [
        ("", ""),
        ("[]", ""),
        ("{\"until\":7}", ""),
        ("{\"until\":\"2019-11-18T08:00:00Z\",\"for\":\"ever\"}", ""),
        (&long, ""),
        ("{\"until\":\"2019-11-18T08:00:00Z\"}", "?until=now"),
    ] {
        let path = format!("{HOLD}{query}");
        let answer = bed.ask("PUT", &path, &authorization, body).await;
        assert_eq!(answer.status(), 400, "{body:.60}{query}");
    }
    assert_eq!(
        bed.ask("POST", HOLD, &authorization, "").await.status(),
        405
    );
    assert_eq!(bed.get_as("ann-lab", HOLD).await.status(), 405);
}

#[tokio::test]
async fn a_hub_without_holds_grants_none() {
    let bed = bed().await;
    let none = crate::cull::CullPolicy {
        hold_max_ms: 0,
        ..crate::cull::CullPolicy::default()
    };
    bed.state.write().cull = Arc::new(none);
    let answer = put(&bed, "ann-lab", HOLD, TOMORROW).await;
    assert_eq!(answer.status(), 422);
}

#[tokio::test]
async fn a_server_that_idles_is_held_no_further_than_holds_together_may_put_off_its_end() {
    const DAY_MS: i64 = 86_400_000;
    let bed = bed().await;
    let key = ServerKey::new("ann", "");
    let idles = |for_ms: i64| {
        let mut state = bed.state.write();
        let server = state.servers.get_mut(&key).expect("ann");
        (server.busy_reason, server.idle_since_ms) = (None, Some(NOW_MS - for_ms));
    };
    idles(10 * DAY_MS);
    let answer = put(&bed, "ann-lab", HOLD, TOMORROW).await;
    assert_eq!(answer.status(), 422);
    let why = answer.json().await["detail"].to_string();
    assert!(why.contains("for 3 d beyond its time at most"), "{why}");
    idles(DAY_MS);
    assert_eq!(put(&bed, "ann-lab", HOLD, TOMORROW).await.status(), 200);
}

#[tokio::test]
async fn a_server_at_work_that_is_too_old_is_refused_without_a_word_of_idling() {
    const DAY_MS: i64 = 86_400_000;
    let bed = bed().await;
    {
        let mut state = bed.state.write();
        state.cull = Arc::new(crate::cull::CullPolicy {
            max_age_ms: Some(DAY_MS),
            ..crate::cull::CullPolicy::default()
        });
        let server = state.servers.get_mut(&ServerKey::new("ann", ""));
        let server = server.expect("ann");
        server.started_ms = Some(NOW_MS - 10 * DAY_MS);
        server.started_by_hub = true;
        server.busy_reason = Some("typing 4 min ago".to_owned());
        server.idle_since_ms = None;
    }
    let answer = put(&bed, "ann-lab", HOLD, TOMORROW).await;
    assert_eq!(answer.status(), 422);
    let why = answer.json().await["detail"].to_string();
    assert!(
        why.contains("keep this server for 3 d beyond its time"),
        "{why}"
    );
    assert!(!why.contains("nobody"), "{why}");
}

#[tokio::test]
async fn whoever_changes_a_hold_all_the_time_is_told_to_wait() {
    let bed = bed().await;
    for minute in 0..limits::HOLD_CHANGES_PER_HOUR_MAX {
        let until = format!("2019-11-18T08:{:02}:00Z", minute % 60);
        assert_eq!(put(&bed, "ann-lab", HOLD, &until).await.status(), 200);
    }
    let answer = put(&bed, "ann-lab", HOLD, "2019-11-18T09:00:00Z").await;
    assert_eq!(answer.status(), 429);
    let same = put(&bed, "ann-lab", HOLD, "2019-11-18T08:59:00Z").await;
    assert_eq!(same.status(), 200, "what holds already changes nothing");
}

#[tokio::test]
async fn a_browser_needs_the_word_of_the_page_as_well_as_its_cookie() {
    let bed = bed().await;
    let scopes = ["access:services!service=hubmeter"];
    bed.hub.grant("ann-web", "user", "ann", false, &scopes);
    let session = bed.site().sessions.open("ann-web").await.expect("a login");
    let cookie = format!("hubmeter-session={session}");
    let body = json!({ "until": TOMORROW }).to_string();
    let change = async |headers: &[(&str, &str)]| {
        let mut all = vec![("cookie", cookie.as_str())];
        all.extend(headers);
        bed.ask("PUT", HOLD, &all, &body).await.status()
    };
    assert_eq!(change(&[]).await, 403, "by cookie alone");
    assert_eq!(change(&[("x-hubmeter-word", "guess")]).await, 403);
    // A script that fetches the page is given no word, a person who opens it is.
    let mode = |mode| [("cookie", cookie.as_str()), ("sec-fetch-mode", mode)];
    assert!(bed.get("", &mode("cors")).await.cookies().is_empty());
    let opened = bed.get("", &mode("navigate")).await.cookies();
    let word = opened[0].strip_prefix("hubmeter-word=").expect("a word");
    let (word, about) = word.split_once(';').expect("attributes");
    assert!(about.contains("SameSite=Strict") && about.contains("Path=/jh/services/hubmeter/"));
    assert_eq!(change(&[("x-hubmeter-word", word)]).await, 200);
    // The word of one login is none of another.
    bed.hub.grant("bob-web", "user", "bob", false, &scopes);
    let other = bed.site().sessions.open("bob-web").await.expect("a login");
    let other = format!("hubmeter-session={other}");
    let headers = [("cookie", other.as_str()), ("x-hubmeter-word", word)];
    let path = "api/v1/users/bob/servers/gpu-1/hold";
    assert_eq!(bed.ask("PUT", path, &headers, &body).await.status(), 403);
}

#[tokio::test]
async fn an_admin_may_hold_by_login_and_not_by_a_token_for_reading() {
    let bed = bed().await;
    let scopes = ["access:services!service=hubmeter"];
    bed.hub.grant("root-web", "user", "root", true, &scopes);
    let session = bed.site().sessions.open("root-web").await.expect("a login");
    let cookie = format!("hubmeter-session={session}");
    let navigation = [("cookie", cookie.as_str()), ("sec-fetch-mode", "navigate")];
    let opened = bed.get("", &navigation).await.cookies();
    let word = opened[0].strip_prefix("hubmeter-word=").expect("a word");
    let word = word.split(';').next().expect("a value");
    let headers = [("cookie", cookie.as_str()), ("x-hubmeter-word", word)];
    let body = json!({ "until": TOMORROW }).to_string();
    assert_eq!(bed.ask("PUT", HOLD, &headers, &body).await.status(), 200);
    let admins_token = put(&bed, "root-web", HOLD, TOMORROW).await;
    assert_eq!(admins_token.status(), 404, "a token is no login");
}

#[tokio::test]
async fn names_of_any_kind_are_held_by_their_address() {
    let hostile = [
        "a/b",
        "..",
        "🐙 squid",
        "<script>",
        "x\r\ny",
        "%00",
        "a?b#c",
    ];
    let known: Vec<Known> = hostile
        .iter()
        .map(|name| Known {
            user: name,
            server: name,
            group: "x",
            rss_bytes: 1,
        })
        .collect();
    let bed = Bed::with(&known).await;
    let scopes = ["custom:hubmeter:read:all", "custom:hubmeter:write:all"];
    bed.hub.grant("writer", "service", "writer", false, &scopes);
    for name in hostile {
        let escaped =
            percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC);
        let path = format!("api/v1/users/{escaped}/servers/{escaped}/hold");
        let answer = put(&bed, "writer", &path, TOMORROW).await;
        assert_eq!(answer.status(), 200, "{name:?}");
        let key = ServerKey::new(name, name);
        let until_ms = bed.state.read().held_until_ms(&key);
        assert!(until_ms > Some(NOW_MS), "{name:?}");
    }
}

#[tokio::test]
async fn a_collector_that_starts_or_ends_takes_no_wishes() {
    let bed = bed().await;
    bed.site().desk.close();
    let answer = put(&bed, "ann-lab", HOLD, TOMORROW).await;
    assert_eq!(answer.status(), 503);
    assert_eq!(row(&bed, "ann").await["held_until"], Value::Null);
}
