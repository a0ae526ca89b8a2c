//! A made-up hub: it knows every agent's token, lists their servers, and counts who asks.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use anyhow::{Context as _, Result};
use axum::{
    Json, Router,
    extract::{Query, State},
    http::{HeaderMap, StatusCode, header::AUTHORIZATION},
    routing::get,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

/// The collector's own token.
pub const SERVICE_TOKEN: &str = "swarm-service";

/// The token of somebody who may see everything.
pub const ADMIN_TOKEN: &str = "swarm-admin";

/// The collector's name as a service.
pub const SERVICE_NAME: &str = "hubmeter";

/// What an agent's token begins with; its index follows.
const TOKEN_PREFIX: &str = "swarm-agent-";

/// Users on a page of the list, whatever is asked for: the hub's own default.
const PAGE_USERS: usize = 200;

/// The hub; it ends with this.
pub struct Hub {
    /// Where its API is.
    pub api_url: String,
    counts: Arc<Counts>,
    task: JoinHandle<()>,
}

struct Counts {
    agents: usize,
    whose_token: AtomicU64,
    pages: AtomicU64,
}

/// The token of agent `index`.
#[must_use]
pub fn token(index: usize) -> String {
    format!("{TOKEN_PREFIX}{index:08}")
}

/// The user of agent `index`.
#[must_use]
pub fn user(index: usize) -> String {
    format!("user-{index:06}")
}

// === impl Hub ===

impl Hub {
    /// Serves on a port of its own.
    ///
    /// # Errors
    /// There is none to be had.
    pub async fn start(agents: usize) -> Result<Self> {
        let counts = Arc::new(Counts {
            agents,
            whose_token: AtomicU64::new(0),
            pages: AtomicU64::new(0),
        });
        let app = Router::new()
            .route("/hub/api/user", get(whose_token))
            .route("/hub/api/users", get(page))
            .with_state(Arc::clone(&counts));
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .context("no port for the hub")?;
        let api_url = format!("http://{}/hub/api", listener.local_addr()?);
        let task = tokio::spawn(async move {
            // It ends with the task.
            let _ = axum::serve(listener, app).await;
        });
        Ok(Self {
            api_url,
            counts,
            task,
        })
    }

    /// Questions about agents' tokens so far.
    #[must_use]
    pub fn questions(&self) -> u64 {
        self.counts.whose_token.load(Ordering::Relaxed)
    }

    /// Pages of the list of servers handed out so far.
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.counts.pages.load(Ordering::Relaxed)
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn whose_token(
    State(counts): State<Arc<Counts>>,
    headers: HeaderMap,
) -> (StatusCode, Json<Value>) {
    let header = headers.get(AUTHORIZATION).and_then(|v| v.to_str().ok());
    let token = header.and_then(|header| header.strip_prefix("token "));
    if token == Some(SERVICE_TOKEN) {
        // The collector asks what it may see; that is no question about an agent.
        let scopes = ["list:users", "read:users", "read:servers"].map(str::to_owned);
        return (StatusCode::OK, identity(SERVICE_NAME, &scopes));
    }
    if token == Some(ADMIN_TOKEN) {
        let scopes = [
            format!("access:services!service={SERVICE_NAME}"),
            "custom:hubmeter:read:all".to_owned(),
        ];
        return (StatusCode::OK, identity("admin", &scopes));
    }
    if token == Some(SERVICE_TOKEN) {
        return (
            StatusCode::OK,
            identity(SERVICE_NAME, &["list:users".to_owned()]),
        );
    }
    let index = token
        .and_then(|token| token.strip_prefix(TOKEN_PREFIX)?.parse().ok())
        .filter(|index: &usize| *index < counts.agents);
    counts.whose_token.fetch_add(1, Ordering::Relaxed);
    match index {
        Some(index) => {
            let user = user(index);
            let scopes = [
                format!("access:servers!server={user}/"),
                format!("users:activity!user={user}"),
            ];
            (StatusCode::OK, identity(&user, &scopes))
        }
        None => (StatusCode::FORBIDDEN, Json(json!({"status": 403}))),
    }
}

fn identity(name: &str, scopes: &[String]) -> Json<Value> {
    Json(json!({
        "kind": "user", "name": name, "admin": false, "groups": [], "session_id": null,
        "scopes": scopes,
    }))
}

async fn page(
    State(counts): State<Arc<Counts>>,
    Query(query): Query<Vec<(String, String)>>,
) -> Json<Value> {
    counts.pages.fetch_add(1, Ordering::Relaxed);
    let asked = query.iter().find(|(name, _)| name == "offset");
    let offset: usize = asked.and_then(|(_, value)| value.parse().ok()).unwrap_or(0);
    let end = (offset + PAGE_USERS).min(counts.agents);
    let items: Vec<Value> = (offset..end).map(running).collect();
    let next =
        (end < counts.agents).then(|| json!({"offset": end, "limit": PAGE_USERS, "url": ""}));
    let total = counts.agents;
    Json(json!({
        "items": items,
        "_pagination": {"offset": offset, "limit": PAGE_USERS, "total": total, "next": next},
    }))
}

fn running(index: usize) -> Value {
    let user = user(index);
    json!({"name": user, "kind": "user", "admin": false, "groups": ["swarm"],
        "last_activity": "2026-01-01T08:00:00Z", "servers": {"": {
        "name": "", "ready": true, "pending": null, "stopped": false,
        "started": "2026-01-01T08:00:00Z", "last_activity": "2026-01-01T08:00:00Z",
        "url": format!("/user/{user}/"), "user_options": {}}}})
}
