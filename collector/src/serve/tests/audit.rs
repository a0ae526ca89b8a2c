//! What was done to users: who sees it.

use serde_json::{Value, json};

use super::{
    bed::{Answer, Bed},
    told::queue,
};
use crate::{
    fact::ServerKey,
    registry::{Act, NewDeed},
};

const ACCESS: &str = "access:services!service=hubmeter";
const UNTIL: &str = "2019-11-18T08:00:00.000Z";

async fn bed() -> Bed {
    let bed = Bed::new().await;
    let grant = |token, kind, scopes: &[&str]| bed.hub.grant(token, kind, token, false, scopes);
    grant("reader", "service", &["custom:hubmeter:read:all"]);
    let write = ["custom:hubmeter:read:all", "custom:hubmeter:write:all"];
    grant("writer", "service", &write);
    grant("ann", "user", &[ACCESS]);
    grant("bob", "user", &[ACCESS]);
    let teacher = ["custom:hubmeter:read:all!group=class-b", ACCESS];
    grant("teacher", "user", &teacher);
    let told = bed.site().told.clone();
    queue(&told, "e1", "mail", "ann");
    bed
}

async fn send(bed: &Bed, method: &str, path: &str, body: &Value) -> Answer {
    let headers = [("authorization", "token writer")];
    bed.ask(
        method,
        &format!("api/v1/{path}"),
        &headers,
        &body.to_string(),
    )
    .await
}

async fn log(bed: &Bed, token: &str, query: &str) -> Vec<Value> {
    let answer = bed.get_as(token, &format!("api/v1/audit{query}")).await;
    let list = answer.json().await;
    list["items"].as_array().expect("items").clone()
}

/// `what user` of each, in an order of their own: all happens at one moment.
async fn words(bed: &Bed, token: &str, query: &str) -> Vec<String> {
    let mut words: Vec<_> = log(bed, token, query)
        .await
        .iter()
        .map(|deed| format!("{} {}", deed["what"], deed["user"]).replace('"', ""))
        .collect();
    words.sort();
    words
}

#[tokio::test]
async fn an_admin_sees_all_that_was_done_and_others_what_was_done_to_whom_they_see() {
    let bed = bed().await;
    let message = json!({"subject": "a", "text": "b", "filter": {"users": ["ann"]}});
    for (method, path, body) in [
        ("POST", "notices/e1/ack", json!({})),
        ("DELETE", "notices/e1/ack", json!({})),
        ("POST", "notices/e1/mute", json!({ "until": UNTIL })),
        ("POST", "notices/e1/mute", json!({ "until": null })),
        ("PUT", "users/ann/server/hold", json!({ "until": UNTIL })),
        (
            "PUT",
            "users/bob/servers/gpu-1/hold",
            json!({ "until": UNTIL }),
        ),
        ("POST", "messages", message),
    ] {
        let answer = send(&bed, method, path, &body).await;
        assert_eq!(answer.status(), 200, "{method} {path}");
    }
    let all = [
        "ack ann",
        "hold ann",
        "hold bob",
        "message null",
        "mute ann",
        "take_back ann",
        "unmute ann",
    ];
    assert_eq!(words(&bed, "reader", "").await, all);
    assert_eq!(words(&bed, "reader", "?user=bob").await, ["hold bob"]);
    assert_eq!(words(&bed, "ann", "").await, ["hold ann"]);
    assert_eq!(words(&bed, "bob", "").await, ["hold bob"]);
    assert_eq!(words(&bed, "bob", "?user=ann").await, [""; 0]);
    assert_eq!(words(&bed, "teacher", "").await, ["hold bob"]);
    let held = log(&bed, "bob", "").await.remove(0);
    let whole = json!({"time": "2019-11-17T21:56:36.500Z", "what": "hold", "by": "service:writer",
        "by_policy": false, "user": "bob", "server": "gpu-1", "about": null, "until": UNTIL, "users": 1});
    assert_eq!(held, whole);
}

#[tokio::test]
async fn what_policy_does_is_nobodys_and_no_page_leaves_any_out() {
    let bed = bed().await;
    let registry = bed.site().told.registry.clone();
    let key = ServerKey::new("ann", "");
    let order = |at_ms| NewDeed {
        act: Act::EndKernel,
        key: &key,
        about: "k1",
        until_ms: Some(at_ms + 900_000),
        by: None,
        at_ms,
    };
    registry
        .note_deeds(&[order(1_000), order(2_000), order(2_000)])
        .expect("written");
    let first = bed.get_as("ann", "api/v1/audit?limit=2").await.json().await;
    assert_eq!(first["items"][0]["time"], "1970-01-01T00:00:02.000Z");
    assert_eq!(first["items"][0]["by"], Value::Null);
    assert_eq!(first["items"][0]["by_policy"], true);
    assert_eq!(first["items"][0]["about"], "k1");
    let cursor = first["next"].as_str().expect("more").to_owned();
    let rest = log(&bed, "ann", &format!("?limit=2&cursor={cursor}")).await;
    assert_eq!(rest.len(), 1);
    assert_eq!(rest[0]["until"], "1970-01-01T00:15:01.000Z");
}
