//! Against a hub and a collector that answer as the real ones do, and misbehave on order.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{Method, StatusCode},
    response::{IntoResponse as _, Response},
};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::{
    round::{Outcome, Round},
    *,
};
use crate::{clock::ManualClock, limits};

mod rounds;
mod trouble;

/// Now, on the clock of these tests.
const NOW_MS: i64 = 1_800_000_000_000;

/// Both, at one address: the hub below `/hub/api`, the collector below `/services/hubmeter`.
#[derive(Default)]
struct Town {
    clock: Arc<ManualClock>,
    users: Mutex<Vec<Value>>,
    rows: Mutex<Vec<Value>>,
    /// Rows and users of a page; all when 0.
    page: usize,
    /// Answers in place of the right ones, by the beginning of `METHOD path`.
    instead: Mutex<Vec<(String, Response<Vec<u8>>)>>,
    /// How long a stop takes, by the clock of these tests.
    stop_ms: i64,
    /// Every question but those for lists: method, path, body.
    orders: Mutex<Vec<String>>,
    questions: Mutex<Vec<String>>,
    under_way: AtomicUsize,
    under_way_max: AtomicUsize,
}

async fn answer(State(town): State<Arc<Town>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    assert_eq!(parts.headers["authorization"], "token secret");
    let asked = format!("{} {}", parts.method, parts.uri);
    let path = parts.uri.path().to_owned();
    if parts.method == Method::GET {
        town.questions.lock().push(asked.clone());
    } else {
        let body = to_bytes(body, 1000).await.unwrap();
        let body = String::from_utf8(body.to_vec()).unwrap();
        let order = format!("{} {path} {body}", parts.method);
        town.orders.lock().push(order.trim_end().to_owned());
        let under_way = town.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        town.under_way_max.fetch_max(under_way, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(5)).await;
        town.clock.advance(town.stop_ms);
        town.under_way.fetch_sub(1, Ordering::SeqCst);
    }
    let instead = town.instead.lock();
    if let Some((_, instead)) = instead.iter().find(|(begin, _)| asked.starts_with(begin)) {
        return (instead.status(), instead.body().clone()).into_response();
    }
    drop(instead);
    town.right_answer(&parts.method, &path, parts.uri.query().unwrap_or_default())
}

impl Town {
    fn right_answer(&self, method: &Method, path: &str, query: &str) -> Response {
        let number = |name: &str| {
            let value = query.split('&').find_map(|pair| pair.strip_prefix(name));
            value.map_or(0, |value| value.parse::<usize>().unwrap())
        };
        let page = |items: &[Value], from: usize| {
            let count = if self.page == 0 {
                items.len()
            } else {
                self.page
            };
            let items: Vec<_> = items.iter().skip(from).take(count).cloned().collect();
            (items, from + count)
        };
        if path == "/services/hubmeter/api/v1/cull" {
            let rows = self.rows.lock();
            let (items, end) = page(&rows, number("cursor="));
            let next = (end < rows.len()).then(|| end.to_string());
            return json_body(&json!({"items": items, "next": next}));
        }
        let users = self.users.lock();
        let Some(who) = path.strip_prefix("/hub/api/users") else {
            return StatusCode::IM_A_TEAPOT.into_response();
        };
        match (method, who) {
            (&Method::GET, "") => {
                let inactive = query.contains("state=inactive");
                let fits = |user: &&Value| {
                    user["servers"] == json!({}) && inactive
                        || user["servers"] != json!({}) && !inactive
                };
                let users: Vec<Value> = users.iter().filter(fits).cloned().collect();
                let from = number("offset=");
                let (items, end) = page(&users, from);
                let next =
                    (end < users.len()).then(|| json!({"offset": end, "url": "http://elsewhere/"}));
                json_body(&json!({"items": items, "_pagination":
                    {"offset": from, "limit": 1, "total": users.len(), "next": next}}))
            }
            (&Method::GET, who) => {
                let user = users
                    .iter()
                    .find(|user| who == format!("/{}", user["name"].as_str().unwrap()));
                user.map_or_else(|| StatusCode::NOT_FOUND.into_response(), json_body)
            }
            _ => StatusCode::NO_CONTENT.into_response(),
        }
    }

    fn answers(&self, asked: &str, status: u16, body: &str) {
        let instead = Response::builder()
            .status(status)
            .body(body.as_bytes().to_vec());
        self.instead
            .lock()
            .push((asked.to_owned(), instead.unwrap()));
    }

    fn orders(&self) -> Vec<String> {
        let mut orders = self.orders.lock().clone();
        orders.sort();
        orders
    }
}

fn json_body(value: &Value) -> Response {
    Body::from(value.to_string()).into_response()
}

fn time(before_ms: i64) -> String {
    crate::serve::shape::rfc3339(NOW_MS - before_ms).unwrap()
}

const HOUR_MS: i64 = 3_600_000;

/// A user, each of whose servers began three hours ago and was active two hours ago.
fn user(name: &str, servers: &[&str]) -> Value {
    let server = |server: &&str| {
        let model = json!({"name": server, "full_name": format!("{name}/{server}"), "ready": true,
            "pending": null, "stopped": false, "started": time(3 * HOUR_MS),
            "last_activity": time(2 * HOUR_MS), "url": "/", "user_options": {}});
        ((*server).to_owned(), model)
    };
    let servers: serde_json::Map<_, _> = servers.iter().map(server).collect();
    json!({"name": name, "admin": false, "kind": "user", "servers": servers,
        "created": time(5 * HOUR_MS), "last_activity": time(2 * HOUR_MS)})
}

fn row(user: &str, server: &str, cull: bool) -> Value {
    let (idle, reason) = if cull {
        (7200, "idle for 2 h")
    } else {
        (0, "kernel train.ipynb busy for 3 h")
    };
    json!({"user": user, "server": server, "idle_seconds": idle, "cull": cull, "reason": reason,
        "idle_since": cull.then(|| time(2 * HOUR_MS)), "held_until": null, "warned_at": null,
        "stops_at": null, "new": "field"})
}

fn plain() -> Settings {
    Settings {
        hub_url: String::new(),
        collector_url: String::new(),
        token: Secret::new("secret".to_owned()),
        reach: Reach {
            request_timeout: Duration::from_secs(20),
            internal: None,
        },
        page_users: limits::HUB_PAGE_USERS,
        timeout: None,
        max_age: None,
        concurrency: 10,
        default_servers: true,
        named_servers: true,
        remove_named_servers: false,
        users: false,
        admin_users: true,
        dry_run: false,
        every: None,
        form: Form::Table,
    }
}

async fn open(town: Town, mut settings: Settings) -> (Arc<Town>, Culler) {
    town.clock.set(NOW_MS);
    let town = Arc::new(town);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    settings.hub_url = format!("http://{addr}/hub/api");
    settings.collector_url = format!("http://{addr}/services/hubmeter/");
    let app = Router::new().fallback(answer).with_state(Arc::clone(&town));
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    let clock = Arc::clone(&town.clock) as Arc<dyn Clock>;
    let culler = Culler::new(settings, clock).unwrap();
    (town, culler)
}

async fn once(town: Town, settings: Settings) -> (Arc<Town>, Round) {
    let (town, culler) = open(town, settings).await;
    let round = culler.round().await;
    (town, round)
}

/// Ann's servers are idle, Bob's works.
fn town() -> Town {
    Town {
        users: Mutex::new(vec![user("ann", &["", "gpu-1"]), user("bob", &[""])]),
        rows: Mutex::new(vec![
            row("ann", "", true),
            row("ann", "gpu-1", true),
            row("bob", "", false),
        ]),
        ..Town::default()
    }
}

fn outcomes(round: &Round) -> Vec<(String, Outcome)> {
    let name = |told: &round::Told| match &told.server {
        None => told.user.clone(),
        Some(server) => format!("{}/{server}", told.user),
    };
    let rows = round.rows.iter();
    rows.map(|told| (name(told), told.outcome)).collect()
}

fn is(rows: &[(&str, Outcome)]) -> Vec<(String, Outcome)> {
    rows.iter()
        .map(|&(name, outcome)| (name.to_owned(), outcome))
        .collect()
}
