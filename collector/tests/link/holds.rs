//! Holds and warnings through the real program: they outlive it, and reach the server's agent.

use std::time::Duration;

use hubmeter_collector::clock::{Clock as _, SystemClock};
use hubmeter_proto::v1;
use serde_json::{Value, json};

use crate::{
    rig::{Collector, PATIENCE, hello},
    town::{OURS, Town, server_path, stream},
};

/// So many hours from now.
fn in_hours(hours: i64) -> String {
    let at_ms = SystemClock.now_ms() + hours * 3_600_000;
    let at = jiff::Timestamp::from_millisecond(at_ms).unwrap();
    format!("{at:.3}")
}

async fn held(collector: &Collector, user: &str) -> Value {
    let (_, row) = collector
        .get_as(&server_path(user, "lab"), Some(OURS))
        .await;
    row["held_until"].clone()
}

async fn held_becomes(collector: &Collector, user: &str, wanted: &Value) {
    let becomes = async {
        while held(collector, user).await != *wanted {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, becomes).await;
    assert!(waited.is_ok(), "{}", held(collector, user).await);
}

#[tokio::test]
async fn a_hold_outlives_a_kill_of_the_collector_and_follows_its_user_to_another_name() {
    let (dir, town) = (tempfile::tempdir().unwrap(), Town::default());
    town.make("ann");
    let token = town.start("ann", "lab");
    let collector = town.curious(dir.path()).await;
    let _agent = stream(&collector, &token, 1, 1..=2, "a.ipynb").await;
    let path = format!("{}/hold", server_path("ann", "lab"));
    let until = in_hours(3);
    let (status, answer) = collector
        .put(&path, Some(&token), json!({ "until": until }))
        .await;
    assert_eq!((status, &answer["held_until"]), (200, &json!(until)));
    assert_eq!(held(&collector, "ann").await, json!(until));
    // Nobody else's, and by no token that only reads.
    let (status, _) = collector
        .put(&path, Some(OURS), json!({ "until": until }))
        .await;
    assert_eq!(status, 403);
    collector.kill();
    let collector = town.curious(dir.path()).await;
    held_becomes(&collector, "ann", &json!(until)).await;
    town.rename("ann", "anna");
    let token = town.start("anna", "lab");
    let _agent = stream(&collector, &token, 2, 1..=1, "a.ipynb").await;
    held_becomes(&collector, "anna", &json!(until)).await;
}

#[tokio::test]
async fn a_user_is_warned_through_their_agent_and_a_hold_takes_that_back() {
    let dir = tempfile::tempdir().unwrap();
    let environment = [
        ("HUBMETER_COLLECTOR_CULL_MODE", "act"),
        ("HUBMETER_COLLECTOR_CULL_TIMEOUT", "10m"),
        ("HUBMETER_COLLECTOR_CULL_WARN", "599"),
    ];
    let collector = Collector::start(dir.path(), &["--standalone"], &environment).await;
    let mut agent = collector.connect(None, hello(1, 1, 1)).await.unwrap();
    agent.welcome().await;
    agent.report(1).await;
    let warned = notice(&mut agent).await;
    assert_eq!(warned.rule, "idle");
    assert!(warned.text.ends_with("stops in 10 min"), "{}", warned.text);
    let user = crate::rig::login();
    let path = format!("/api/v1/users/{user}/server");
    let row = collector
        .until(&path, |row| !row["stops_at"].is_null())
        .await;
    assert_eq!(row["held_until"], Value::Null);
    let (_, cull) = collector.get("/api/v1/cull").await;
    assert_eq!(cull["mode"], "act");
    assert_eq!(cull["items"][0]["stops_at"], row["stops_at"]);
    let until = json!({ "until": in_hours(2) });
    let (status, _) = collector.put(&format!("{path}/hold"), None, until).await;
    assert_eq!(status, 200);
    let back = notice(&mut agent).await;
    assert!(back.cleared && back.episode == warned.episode, "{back:?}");
}

pub(crate) async fn notice(agent: &mut crate::rig::Agent) -> v1::Notice {
    let heard = async {
        loop {
            if let Some(v1::down::Body::Notice(notice)) = agent.hear().await {
                return notice;
            }
        }
    };
    tokio::time::timeout(PATIENCE, heard)
        .await
        .expect("a notice")
}
