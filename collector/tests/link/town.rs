//! A fake hub whose users come, go, and change their names; and the collector beside it.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex},
};

use axum::{
    Json, Router,
    extract::{Path as InPath, Query, State},
    http::{HeaderMap, StatusCode},
    routing::get,
};
use hubmeter_proto::v1;
use serde_json::{Value, json};

use crate::rig::{Agent, Collector, hello, sample};

/// Our own token: it sees everybody.
pub(crate) const OURS: &str = "service-secret";

pub(crate) const PREFIX: &str = "/jh/services/hubmeter";

/// The hub.
#[derive(Clone, Default)]
pub(crate) struct Town(Arc<Mutex<Hub>>);

#[derive(Default)]
struct Hub {
    /// Name and time of making, oldest first.
    users: Vec<(String, String)>,
    /// Whose server's each is.
    tokens: HashMap<String, (String, String)>,
    made: u32,
    /// Servers started, each with a token of its own.
    started: u32,
    down: bool,
    /// Full lists that were read.
    lists: usize,
    /// The time of making is not told.
    blind: bool,
    hold: Hold,
}

/// Whether the answer to a question for the full list is on its way for long.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Hold {
    #[default]
    Nothing,
    /// The next one will be.
    Next,
    /// One is.
    Held,
}

// === impl Town ===

impl Town {
    /// A new user; a new one also under a name that was there before.
    pub(crate) fn make(&self, name: &str) {
        let mut hub = self.0.lock().unwrap();
        hub.made += 1;
        let created = format!("2026-11-01T08:00:00.{:06}Z", hub.made);
        hub.users.push((name.to_owned(), created));
    }

    pub(crate) fn delete(&self, name: &str) {
        let mut hub = self.0.lock().unwrap();
        hub.users.retain(|(user, _)| user != name);
        hub.tokens.retain(|_, (user, _)| user != name);
    }

    pub(crate) fn rename(&self, from: &str, to: &str) {
        let mut hub = self.0.lock().unwrap();
        for (user, _) in &mut hub.users {
            if user == from {
                to.clone_into(user);
            }
        }
        hub.tokens.retain(|_, (user, _)| user != from);
    }

    /// Starts a server, whose token it gives.
    pub(crate) fn start(&self, user: &str, server: &str) -> String {
        let mut hub = self.0.lock().unwrap();
        hub.started += 1;
        let token = format!("token-{}", hub.started);
        hub.tokens
            .insert(token.clone(), (user.to_owned(), server.to_owned()));
        token
    }

    pub(crate) fn set_down(&self, down: bool) {
        self.0.lock().unwrap().down = down;
    }

    pub(crate) fn set_blind(&self) {
        self.0.lock().unwrap().blind = true;
    }

    /// Waits until the full list was read so many times more; the first may be under way.
    pub(crate) async fn lists(&self, more: usize) {
        let until = self.0.lock().unwrap().lists + more;
        let read = async {
            while self.0.lock().unwrap().lists < until {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(crate::rig::PATIENCE, read)
            .await
            .expect("the hub is asked for everybody");
    }

    /// Holds the next full list back, as it is when it is asked for, and waits until that is so.
    pub(crate) async fn hold_list(&self) {
        self.0.lock().unwrap().hold = Hold::Next;
        let held = async {
            while self.0.lock().unwrap().hold != Hold::Held {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(crate::rig::PATIENCE, held)
            .await
            .expect("the hub is asked for everybody");
    }

    pub(crate) fn release_list(&self) {
        self.0.lock().unwrap().hold = Hold::Nothing;
    }

    /// A collector that asks for everybody every second.
    pub(crate) async fn curious(&self, dir: &Path) -> Collector {
        self.collector_asking(dir, "1s").await
    }

    /// A collector that asks for everybody no sooner than a test ends.
    pub(crate) async fn collector(&self, dir: &Path) -> Collector {
        self.collector_asking(dir, "1h").await
    }

    async fn collector_asking(&self, dir: &Path, interval: &str) -> Collector {
        let api_url = self.serve().await;
        let environment = [
            ("JUPYTERHUB_API_URL", api_url.as_str()),
            ("JUPYTERHUB_API_TOKEN", OURS),
            ("JUPYTERHUB_SERVICE_NAME", "hubmeter"),
            ("JUPYTERHUB_BASE_URL", "/jh/"),
            ("HUBMETER_COLLECTOR_HUB_PEOPLE_INTERVAL", interval),
            (
                "HUBMETER_COLLECTOR_NOTICE_WEBHOOK_URLS",
                "http://127.0.0.1:9/x",
            ),
            ("HUBMETER_COLLECTOR_NOTICE_WEBHOOK_ALLOW_PRIVATE", "true"),
            ("HUBMETER_COLLECTOR_NOTICE_RULES", "near_limit"),
        ];
        Collector::start(dir, &[], &environment).await
    }

    async fn serve(&self) -> String {
        let app = Router::new()
            .route("/jh/hub/api/user", get(whoami))
            .route("/jh/hub/api/users", get(users))
            .route("/jh/hub/api/users/{name}", get(one))
            .with_state(self.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        format!("http://{addr}/jh/hub/api")
    }
}

impl Hub {
    fn model(&self, name: &str, created: &str) -> Value {
        let servers: serde_json::Map<String, Value> = self
            .tokens
            .values()
            .filter(|(user, _)| user == name)
            .map(|(_, server)| {
                let started = "2026-11-21T21:14:36.956245Z";
                let model = json!({"name": server, "ready": true, "pending": null,
                    "stopped": false, "started": started, "last_activity": started});
                (server.clone(), model)
            })
            .collect();
        let mut model = json!({"name": name, "kind": "user", "admin": false, "groups": [],
            "servers": servers, "last_activity": null});
        if !self.blind {
            model["created"] = created.into();
        }
        model
    }
}

type Answer = (StatusCode, Json<Value>);

async fn whoami(State(town): State<Town>, headers: HeaderMap) -> Answer {
    let header = headers["authorization"].to_str().unwrap();
    let token = header.strip_prefix("token ").unwrap();
    let hub = town.0.lock().unwrap();
    if hub.down {
        return (StatusCode::BAD_GATEWAY, Json(json!({})));
    }
    if token == OURS {
        let scopes = ["list:users", "read:users", "read:servers"];
        return (
            StatusCode::OK,
            Json(json!({"kind": "service", "name": "hubmeter", "scopes": scopes})),
        );
    }
    match hub.tokens.get(token) {
        Some((user, server)) => {
            let scopes = [
                format!("access:servers!server={user}/{server}"),
                format!("users:activity!user={user}"),
            ];
            let answer = json!({"kind": "user", "name": user, "groups": [], "scopes": scopes});
            (StatusCode::OK, Json(answer))
        }
        None => (StatusCode::FORBIDDEN, Json(json!({"status": 403}))),
    }
}

#[derive(serde::Deserialize)]
struct Page {
    offset: usize,
    state: Option<String>,
}

/// Two users a page.
async fn users(State(town): State<Town>, Query(page): Query<Page>) -> Answer {
    let (answer, held) = users_now(&town, &page);
    while held && town.0.lock().unwrap().hold == Hold::Held {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    answer
}

/// The page as it is now, and whether it is held back.
fn users_now(town: &Town, page: &Page) -> (Answer, bool) {
    let mut hub = town.0.lock().unwrap();
    if hub.down {
        return ((StatusCode::BAD_GATEWAY, Json(json!({}))), false);
    }
    let held = page.state.is_none() && hub.hold == Hold::Next;
    if held {
        hub.hold = Hold::Held;
    }
    let all: Vec<Value> = hub
        .users
        .iter()
        .map(|(name, created)| hub.model(name, created))
        .filter(|user| page.state.is_none() || user["servers"] != json!({}))
        .collect();
    let next = page.offset + 2;
    if next >= all.len() && page.state.is_none() {
        hub.lists += 1;
    }
    let items: Vec<_> = all.iter().skip(page.offset).take(2).collect();
    let next = (next < all.len()).then(|| json!({"offset": next, "limit": 2, "url": "x"}));
    let answer = json!({"items": items, "_pagination":
        {"offset": page.offset, "limit": 2, "total": all.len(), "next": next}});
    ((StatusCode::OK, Json(answer)), held)
}

async fn one(State(town): State<Town>, InPath(name): InPath<String>) -> Answer {
    let hub = town.0.lock().unwrap();
    if hub.down {
        return (StatusCode::BAD_GATEWAY, Json(json!({})));
    }
    match hub.users.iter().find(|(user, _)| *user == name) {
        Some((name, created)) => (StatusCode::OK, Json(hub.model(name, created))),
        None => (StatusCode::NOT_FOUND, Json(json!({"status": 404}))),
    }
}

// === what is reported, and what is then known ===

/// A sample of a server near its limit, with a notebook open.
pub(crate) fn busy(seq: u64, notebook: &str) -> v1::Sample {
    v1::Sample {
        memory_limit_bytes: Some(1_050_000_000),
        memory_limit_enforced: true,
        processes: 2,
        threads: 2,
        workloads: vec![v1::Workload {
            kind: v1::WorkloadKind::Kernel.into(),
            id: "kernel-1".to_owned(),
            name: "python3".to_owned(),
            notebook: Some(notebook.to_owned()),
            pid: 7,
            rss_bytes: 1_000_000_000,
            processes: 1,
            threads: 1,
            ..Default::default()
        }],
        ..sample(seq)
    }
}

/// Lets a server of `user` report `seqs`, and waits until they are acknowledged.
pub(crate) async fn stream(
    collector: &Collector,
    token: &str,
    instance: u8,
    seqs: std::ops::RangeInclusive<u64>,
    notebook: &str,
) -> Agent {
    let (first, last) = (*seqs.start(), *seqs.end());
    let hello = hello(instance, first, first);
    let mut agent = collector.connect(Some(token), hello).await.unwrap();
    agent.welcome().await;
    for seq in seqs {
        let samples = vec![busy(seq, notebook)];
        agent
            .say(v1::up::Body::Report(v1::Report { seq, samples }))
            .await;
    }
    agent.receipt(last).await;
    agent
}

pub(crate) fn server_path(user: &str, server: &str) -> String {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode as encode};
    let user = encode(user, NON_ALPHANUMERIC);
    let server = match server {
        "" => "server".to_owned(),
        named => format!("servers/{}", encode(named, NON_ALPHANUMERIC)),
    };
    format!("{PREFIX}/api/v1/users/{user}/{server}")
}

/// What history has of a server, by the reports' numbers; none for a server nobody knows.
pub(crate) async fn kept(collector: &Collector, user: &str, server: &str) -> Vec<u64> {
    let path = format!(
        "{}/history?from=-1h&fields=memory_used_bytes",
        server_path(user, server)
    );
    let (status, history) = collector.get_as(&path, Some(OURS)).await;
    if status == 404 {
        return Vec::new();
    }
    assert_eq!(status, 200, "{history}");
    let column = history["columns"]["memory_used_bytes"].as_array().unwrap();
    column
        .iter()
        .map(|bytes| bytes.as_u64().unwrap() - 1_000_000_000)
        .collect()
}

/// The verdicts there are of `user`: rule, episode, title of the workload.
pub(crate) async fn verdicts(collector: &Collector, user: &str) -> Vec<Value> {
    let path = format!("{PREFIX}/api/v1/verdicts?state=all");
    let (status, answer) = collector.get_as(&path, Some(OURS)).await;
    assert_eq!(status, 200, "{answer}");
    let items = answer["items"].as_array().unwrap().clone();
    items.into_iter().filter(|v| v["user"] == user).collect()
}

/// Names of all users whose servers are shown.
pub(crate) async fn shown(collector: &Collector) -> Vec<String> {
    let path = format!("{PREFIX}/api/v1/servers");
    let (_, answer) = collector.get_as(&path, Some(OURS)).await;
    let items = answer["items"].as_array().unwrap();
    let name = |item: &Value| item["user"].as_str().unwrap().to_owned();
    items.iter().map(name).collect()
}
