//! What people and scripts ask: HTTP, JSON and server-sent events under the service prefix.
//!
//! [`routes`] is the whole table: where, who may, what answers. A route cannot be added without
//! saying who may use it. All but holds, messages and what people say to notices are GETs and change
//! nothing.

pub mod shape;

mod accept;
mod answers;
mod audit;
mod auth;
mod cull;
mod guard;
mod health;
mod history;
mod hold;
mod link;
mod list;
mod live;
mod messages;
mod metrics;
mod now;
mod oauth;
mod openapi;
mod page;
mod problem;
pub(crate) mod query;
mod reports;
mod request;
mod starts;
mod told;
mod verdicts;

use std::sync::Arc;

use axum::{
    Router,
    extract::Request,
    http::{HeaderName, HeaderValue, header},
    middleware::{Next, from_fn, from_fn_with_state},
    response::{Redirect, Response},
    routing::{MethodRouter, get, post, put},
};
use tokio::sync::{Semaphore, watch};

pub use accept::{Ends, Identify, Listener, by_kernel};
pub use metrics::PerUser;
pub(crate) use query::{date_ms, time_ms};
pub use told::Told;

use self::{
    auth::{Sessions, Verifier},
    guard::{Access, Guard, Words},
    live::Live,
    problem::Problem,
};
use crate::{
    clock::Clock,
    history::History,
    hub::client::HubClient,
    limits,
    link::websocket::Carrier,
    pipeline::{Changes, SharedState, desk::Desk, starts::Starts},
    report::hub_activity::Newest,
    stats::{Limit, Stats},
};

/// Reads of history at once: they wait for one disk.
const HISTORY_READS_MAX: usize = 4;

/// What a page of ours may do in a browser: load and ask from where it came, nothing else.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     img-src 'self' data:; font-src 'self'; connect-src 'self'; frame-ancestors 'none'; \
     base-uri 'none'; form-action 'self'";

/// Everything that serving needs.
pub struct Serve {
    /// Where people and scripts come in.
    pub listener: Listener,
    /// `/metrics` and nothing else, open to whoever reaches it.
    pub metrics_listener: Option<Listener>,
    /// What every path starts with; a slash at both ends.
    pub prefix: String,
    /// Who says who is who.
    pub authority: Authority,
    /// What is true now.
    pub state: SharedState,
    /// What changes.
    pub changes: Changes,
    /// What was before.
    pub history: History,
    /// How many people were active.
    pub activity: Newest,
    /// What people were told.
    pub told: Told,
    /// How starts of servers end.
    pub starts: Starts,
    /// Where wishes go.
    pub desk: Desk,
    /// Agents that come by WebSocket.
    pub agents: Carrier,
    /// The collector's own figures.
    pub stats: Stats,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Whether servers have series of their own in `/metrics`.
    pub per_user: PerUser,
    /// Turns true when it is time to stop.
    pub shutdown: watch::Receiver<bool>,
}

/// Who says who is who.
pub enum Authority {
    /// The hub, by token or login.
    Hub(HubClient),
    /// The system, by the login at the other end of a local connection ([`by_kernel`]).
    Local(Identify),
}

/// What handlers see.
pub(crate) struct Site {
    prefix: String,
    state: SharedState,
    history: History,
    reading: Semaphore,
    activity: Newest,
    reporting: Arc<Semaphore>,
    told: Told,
    starts: Starts,
    desk: Desk,
    words: Words,
    agents: Carrier,
    stats: Stats,
    clock: Arc<dyn Clock>,
    /// `None` in standalone.
    verifier: Option<Verifier>,
    sessions: Sessions,
    live: Arc<Live>,
    per_user: PerUser,
    shutdown: watch::Receiver<bool>,
}

struct Route {
    /// Below the prefix.
    path: &'static str,
    access: Access,
    handler: MethodRouter<Arc<Site>>,
}

/// Every route: where, who may, what answers.
#[rustfmt::skip]
fn routes() -> [Route; 29] {
    use Access::{All, Metrics, Open, Own, Page, Rows};
    let route = |path, access, handler| Route { path, access, handler };
    [
        route("",                                          Page,    get(page::home)),
        route("assets/{file}",                             Open,    get(page::asset)),
        route(oauth::CALLBACK,                             Open,    get(oauth::callback)),
        route("logout",                                    Open,    get(oauth::logout)),
        route("healthz",                                   Open,    get(health::healthz)),
        route("readyz",                                    Open,    get(health::readyz)),
        route("metrics",                                   Metrics, get(metrics::metrics)),
        route("link",                                      Open,    get(link::link)),
        route("api/openapi.json",                          Open,    get(openapi::document)),
        route("api/v1/me",                                 Rows,    get(now::me)),
        route("api/v1/servers",                            Rows,    get(now::servers)),
        route("api/v1/users/{user}/server",                Rows,    get(now::default_server)),
        route("api/v1/users/{user}/server/history",        Rows,    get(history::default_history)),
        route("api/v1/users/{user}/server/hold",           Own,     put(hold::hold_default).delete(hold::release_default)),
        route("api/v1/users/{user}/servers/{name}/hold",   Own,     put(hold::hold_named).delete(hold::release_named)),
        route("api/v1/users/{user}/servers/{name}",        Rows,    get(now::named_server)),
        route("api/v1/users/{user}/servers/{name}/history", Rows,   get(history::named_history)),
        route("api/v1/verdicts",                           Rows,    get(verdicts::verdicts)),
        route("api/v1/cull",                               Rows,    get(cull::cull)),
        route("api/v1/reports/usage.csv",                  Rows,    get(reports::usage)),
        route("api/v1/reports/hub-activity.csv",           All,     get(reports::hub_activity)),
        route("api/v1/notices",                            Rows,    get(told::notices)),
        route("api/v1/notices/{episode}/ack",              Own,     post(told::acknowledge).delete(answers::take_back)),
        route("api/v1/notices/{episode}/mute",             Own,     post(told::mute)),
        route("api/v1/answers",                            Rows,    get(answers::answers)),
        route("api/v1/audit",                              Rows,    get(audit::audit)),
        route("api/v1/messages",                           Rows,    get(messages::messages).post(messages::write)),
        route("api/v1/starts",                             Open,    post(starts::ended)),
        route("api/v1/events",                             Rows,    get(live::events)),
    ]
}

/// Serves until `shutdown` turns true, then lets what is under way end.
pub async fn run(serve: Serve) {
    let (verifier, identify) = match serve.authority {
        Authority::Hub(hub) => (Some(Verifier::new(hub, serve.stats.clone())), None),
        Authority::Local(identify) => (None, Some(identify)),
    };
    let words = match Words::new() {
        Ok(words) => words,
        Err(error) => {
            // Nobody could be told from anybody: logins need the same.
            tracing::error!(%error, "the system gives no random numbers: nothing is served");
            return;
        }
    };
    let live = Arc::new(Live::new(serve.clock.now_ms(), serve.stats.clone()));
    let notices = serve.told.outbox.events();
    let site = Arc::new(Site {
        prefix: serve.prefix,
        state: serve.state,
        history: serve.history,
        reading: Semaphore::new(HISTORY_READS_MAX),
        activity: serve.activity,
        told: serve.told,
        starts: serve.starts,
        reporting: Arc::new(Semaphore::new(reports::REPORTS_MAX)),
        desk: serve.desk,
        words,
        agents: serve.agents,
        stats: serve.stats,
        clock: serve.clock,
        verifier,
        sessions: Sessions::new(),
        live: live.clone(),
        per_user: serve.per_user,
        shutdown: serve.shutdown.clone(),
    });
    let mut shutdown = serve.shutdown.clone();
    let following = async {
        tokio::select! {
            () = live.clone().follow(serve.changes) => {}
            () = live.clone().follow_notices(notices) => {}
            () = accept::stopped(&mut shutdown) => {}
        }
    };
    let refusals = site.agents.refusals().clone();
    site.stats
        .limit_set(Limit::HttpConnections, limits::HTTP_CONNECTIONS_MAX);
    let people = serve.listener.serve(
        router(&site),
        identify,
        refusals.clone(),
        serve.shutdown.clone(),
    );
    let scraper = async {
        if let Some(listener) = serve.metrics_listener {
            let router = metrics_router(&site);
            let shutdown = serve.shutdown;
            listener.serve(router, None, refusals, shutdown).await;
        }
    };
    tokio::join!(following, people, scraper);
}

fn router(site: &Arc<Site>) -> Router {
    let mut router = Router::new();
    for Route {
        path,
        access,
        handler,
    } in routes()
    {
        let guard = Guard {
            site: site.clone(),
            access,
        };
        let handler = handler
            .fallback(|| async { Problem::wrong_method() })
            .route_layer(from_fn_with_state(guard, guard::check));
        router = router.route(&format!("{}{path}", site.prefix), handler);
    }
    let bare = site.prefix.trim_end_matches('/');
    if !bare.is_empty() {
        let prefix = site.prefix.clone();
        let whole = move || async move { Redirect::permanent(&prefix) };
        router = router.route(bare, get(whole));
    }
    finish(router, site)
}

/// `/metrics` alone, for a listener that only a scraper reaches.
fn metrics_router(site: &Arc<Site>) -> Router {
    finish(Router::new().route("/metrics", get(metrics::metrics)), site)
}

fn finish(router: Router<Arc<Site>>, site: &Arc<Site>) -> Router {
    router
        .fallback(|| async { Problem::not_found("there is nothing at this address") })
        .layer(from_fn(seal))
        .with_state(site.clone())
}

/// Adds what every answer carries.
async fn seal(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // What somebody may see, nobody keeps.
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests;
