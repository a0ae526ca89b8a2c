//! With a hub: who is let in, and what its list tells.

use std::sync::{Arc, Mutex};

use axum::{
    Json, Router,
    extract::{Query, State},
    http::{HeaderMap, StatusCode},
    routing::get,
};
use hubmeter_proto::{REFUSED_HEADER, v1::bye::Reason};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Error;
use tonic::Code;

use crate::{
    rig::{Collector, hello},
    websocket,
};

#[derive(Default)]
struct Hub {
    /// Tokens and what `GET /user` says of them.
    tokens: Vec<(String, Value)>,
    users: Vec<Value>,
    pages: usize,
}

type Shared = Arc<Mutex<Hub>>;

async fn user(State(hub): State<Shared>, headers: HeaderMap) -> (StatusCode, Json<Value>) {
    let header = headers["authorization"].to_str().unwrap();
    let token = header.strip_prefix("token ").unwrap();
    let hub = hub.lock().unwrap();
    match hub.tokens.iter().find(|(known, _)| known == token) {
        Some((_, answer)) => (StatusCode::OK, Json(answer.clone())),
        None => (
            StatusCode::FORBIDDEN,
            Json(json!({"status": 403, "message": null})),
        ),
    }
}

#[derive(serde::Deserialize)]
struct Page {
    offset: usize,
}

/// One user a page, as a hub with `api_page_max_limit = 1` would.
async fn users(
    State(hub): State<Shared>,
    headers: HeaderMap,
    Query(page): Query<Page>,
) -> Json<Value> {
    assert_eq!(headers["accept"], "application/jupyterhub-pagination+json");
    assert_eq!(headers["authorization"], "token service-secret");
    let mut hub = hub.lock().unwrap();
    hub.pages += 1;
    let items: Vec<_> = hub
        .users
        .iter()
        .skip(page.offset)
        .take(1)
        .cloned()
        .collect();
    let next = page.offset + 1;
    let next = (next < hub.users.len()).then(|| json!({"offset": next, "limit": 1, "url": "x"}));
    Json(
        json!({"items": items, "_pagination": {"offset": page.offset, "limit": 1, "total": hub.users.len(), "next": next}}),
    )
}

async fn serve(hub: Shared) -> String {
    let app = Router::new()
        .route("/jh/hub/api/user", get(user))
        .route("/jh/hub/api/users", get(users))
        .with_state(hub);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    format!("http://{addr}/jh/hub/api")
}

fn running(user: &str, server: &str, group: &str) -> Value {
    json!({"name": user, "kind": "user", "admin": false, "groups": [group], "servers": {server: {
        "name": server, "ready": true, "pending": null, "stopped": false,
        "started": "2026-11-21T21:14:36.956245Z", "last_activity": "2026-11-21T21:30:00Z",
        "url": format!("/jh/user/{user}/{server}/"), "user_options": {}}}})
}

async fn collector(dir: &std::path::Path, hub: &Shared) -> Collector {
    let api_url = serve(hub.clone()).await;
    let environment = [
        ("JUPYTERHUB_API_URL", api_url.as_str()),
        ("JUPYTERHUB_API_TOKEN", "service-secret"),
        ("JUPYTERHUB_SERVICE_NAME", "hubmeter"),
        ("JUPYTERHUB_BASE_URL", "/jh/"),
    ];
    Collector::start(dir, &[], &environment).await
}

fn hub() -> Shared {
    let bob = json!({"groups": ["workshop"], "kind": "user", "name": "bob", "admin": false, "session_id": null,
        "scopes": ["access:servers!server=bob/gpu-1", "read:users:name!user=bob", "users:activity!user=bob"]});
    let visitor = json!({"kind": "user", "name": "ann", "admin": false, "groups": [], "session_id": "x",
        "scopes": ["access:servers!server=bob/gpu-1", "read:users:name!user=ann"]});
    Arc::new(Mutex::new(Hub {
        tokens: vec![("bobs".to_owned(), bob), ("anns-visit".to_owned(), visitor)],
        users: vec![
            running("ann", "", "other"),
            running("bob", "gpu-1", "workshop"),
            running("cleo", "x", "other"),
        ],
        pages: 0,
    }))
}

#[tokio::test]
async fn a_servers_own_token_is_filed_under_what_the_hub_says() {
    let dir = tempfile::tempdir().unwrap();
    let hub = hub();
    let collector = collector(dir.path(), &hub).await;
    let mut greeting = hello(1, 1, 1);
    greeting.server_name = "somebody-elses".to_owned();
    let mut agent = collector.connect(Some("bobs"), greeting).await.unwrap();
    agent.welcome().await;
    agent.report(1).await;
    agent.receipt(1).await;
    let path = "/jh/services/hubmeter/api/v1/users/bob/servers/gpu-1";
    let (status, server) = collector.get_as(path, Some("bobs")).await;
    assert_eq!(status, 200, "{server}");
    assert_eq!(server["user"], "bob");
    assert_eq!(server["server"], "gpu-1");
}

#[tokio::test]
async fn whoever_is_not_the_server_itself_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let hub = hub();
    let collector = collector(dir.path(), &hub).await;
    for token in [
        None,
        Some("invented"),
        Some("anns-visit"),
        Some("service-secret"),
    ] {
        let refused = collector.connect(token, hello(1, 1, 1)).await;
        let status = refused.err().unwrap();
        assert_eq!(status.code(), Code::Unauthenticated, "{token:?}");
        let path = "/jh/services/hubmeter/link";
        let by_websocket = websocket::Agent::open_at(dir.path(), path, token).await;
        match by_websocket.err().unwrap() {
            Error::Http(refusal) => {
                assert_eq!(refusal.status(), 401, "{token:?}");
                assert_eq!(refusal.headers()[REFUSED_HEADER], status.message());
            }
            other => panic!("{token:?}: {other}"),
        }
    }
    let log = collector.log();
    for secret in ["invented", "anns-visit", "service-secret"] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}

#[tokio::test]
async fn the_hubs_list_is_read_to_its_last_page() {
    let dir = tempfile::tempdir().unwrap();
    let hub = hub();
    let collector = collector(dir.path(), &hub).await;
    let mut agent = collector
        .connect(Some("bobs"), hello(1, 1, 1))
        .await
        .unwrap();
    agent.welcome().await;
    let path = "/jh/services/hubmeter/api/v1/users/bob/servers/gpu-1";
    let asked = async {
        loop {
            let (_, server) = collector.get_as(path, Some("bobs")).await;
            if server["groups"] == json!(["workshop"]) {
                return server;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let server = tokio::time::timeout(std::time::Duration::from_secs(20), asked)
        .await
        .unwrap();
    assert_eq!(server["started"], "2026-11-21T21:14:36.956Z");
    assert_eq!(hub.lock().unwrap().pages % 3, 0);
}

/// Starts a collector on `dir`, fills bob's server to its limit, and lets `end` end the collector;
/// by the next start the hub has stopped the server. Gives the rules of all verdicts then.
async fn rules_after(end: impl AsyncFnOnce(Collector)) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let hub = hub();
    let first = collector(dir.path(), &hub).await;
    let mut agent = first.connect(Some("bobs"), hello(1, 1, 1)).await.unwrap();
    agent.welcome().await;
    agent.report_full(1).await;
    agent.receipt(1).await;
    end(first).await;
    hub.lock()
        .unwrap()
        .users
        .retain(|user| user["name"] != "bob");
    let second = collector(dir.path(), &hub).await;
    let gone = async {
        let path = "/jh/services/hubmeter/api/v1/users/bob/servers/gpu-1";
        while second.get_as(path, Some("bobs")).await.1["state"] != "gone" {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), gone)
        .await
        .unwrap();
    let path = "/jh/services/hubmeter/api/v1/verdicts?state=all";
    let (_, verdicts) = second.get_as(path, Some("bobs")).await;
    let items = verdicts["items"].as_array().unwrap();
    let rule = |item: &Value| item["rule"].as_str().unwrap().to_owned();
    items.iter().map(rule).collect()
}

#[tokio::test]
async fn a_full_server_that_stopped_while_the_collector_was_away_was_not_killed() {
    let stopped = rules_after(async |mut collector| {
        assert_eq!(collector.terminate().await, Some(0));
    });
    assert_eq!(stopped.await, ["near_limit"]);
    let killed = rules_after(async |collector| collector.kill());
    assert_eq!(killed.await, ["near_limit"]);
}

#[tokio::test]
async fn a_token_that_dies_with_its_server_ends_the_stream() {
    let dir = tempfile::tempdir().unwrap();
    let hub = hub();
    let collector = collector(dir.path(), &hub).await;
    {
        // Gone before its agent comes: the next list lacks it, its token is asked about at once.
        let mut hub = hub.lock().unwrap();
        hub.users.retain(|user| user["name"] != "bob");
    }
    let mut agent = collector
        .connect(Some("bobs"), hello(1, 1, 1))
        .await
        .unwrap();
    agent.welcome().await;
    hub.lock().unwrap().tokens.clear();
    assert_eq!(agent.bye().await.reason(), Reason::Unauthenticated);
}
