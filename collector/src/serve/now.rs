//! What is true now: the list of servers, one server, and who is asking.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, RawQuery, State, rejection::PathRejection},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Site,
    guard::{Sight, Viewer, visible, visible_after},
    list::{Order, Page, Place, Rank},
    problem::Problem,
    query::Query,
    shape::{self, ServerJson},
};
use crate::{cull::Mode, fact::ServerKey, state::Server, verdict::Rule};

/// Fields a list of servers can be sorted by.
const SORT_FIELDS: [&str; 18] = [
    "user",
    "server",
    "state",
    "host",
    "started",
    "last_seen",
    "memory_used_bytes",
    "memory_limit_bytes",
    "rss_bytes",
    "swap_bytes",
    "momentum_bytes",
    "speed_bytes",
    "trend_bytes_per_second",
    "seconds_to_limit",
    "cpu_cores",
    "idle_seconds",
    "processes",
    "threads",
];

const PARAMETERS: [&str; 8] = [
    "user",
    "group",
    "rule",
    "state",
    "idle_seconds_min",
    "sort",
    "limit",
    "cursor",
];

/// Who is asking.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Me {
    /// The user whose own rows are seen; `null` for a service.
    user: Option<String>,
    /// Whether all rows are seen.
    admin: bool,
    /// Whether something about every server may be changed: holds, and answers to notices for admins. Who
    /// sees all rows need not.
    changes_all: bool,
    /// The hub's home page; `null` without a hub.
    hub_home: Option<String>,
    /// Where a browser logs out; `null` without a hub.
    logout: Option<String>,
    /// What there is to know about stopping servers.
    cull: CullTerms,
}

/// What whoever asks may know of the policy about stopping.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CullTerms {
    /// `watch` or `act`.
    #[schema(value_type = String, pattern = "^(watch|act)$")]
    mode: &'static str,
    /// How long from now a server may be kept at most; 0: not at all. Groups may differ.
    hold_max_seconds: i64,
    /// How users are warned before a stop: `jupyterlab`, `mail`; empty: not at all.
    warns_by: Vec<&'static str>,
}

struct Filter {
    user: Option<String>,
    group: Option<String>,
    rule: Option<&'static str>,
    state: Option<&'static str>,
    idle_seconds_min: Option<u64>,
}

/// What the path of one server says.
pub(crate) type ServerPath = Result<Path<(String, String)>, PathRejection>;
/// What the path of a default server says.
pub(crate) type UserPath = Result<Path<String>, PathRejection>;

// === handlers ===

/// Servers that may be seen.
#[utoipa::path(
    get,
    path = "/api/v1/servers",
    params(
        ("user" = Option<String>, Query, description = "Only this user's"),
        ("group" = Option<String>, Query, description = "Only users of this hub group"),
        ("rule" = Option<String>, Query, description = "Only with an open verdict of this rule"),
        ("state" = Option<String>, Query, description = "`live`, `silent` or `gone`"),
        ("idle_seconds_min" = Option<u64>, Query, description = "Only idle for at least so long"),
        ("sort" = Option<String>, Query, description = "A field; `-` before it for downwards"),
        ("limit" = Option<u64>, Query, description = "Rows of a page, 1 to 5000; 200 unless told"),
        ("cursor" = Option<String>, Query, description = "`next` of the page before"),
    ),
    responses((status = 200, body = Page<ServerJson>)),
)]
pub(crate) async fn servers(
    State(site): State<Arc<Site>>,
    viewer: Viewer,
    RawQuery(raw): RawQuery,
) -> Result<Json<Page<ServerJson>>, Problem> {
    let mut query = Query::parse(raw.as_deref())?;
    let filter = Filter::take(&mut query)?;
    let order = Order::take(&mut query, &SORT_FIELDS, "user")?;
    query.finish(&PARAMETERS)?;
    let now_ms = site.clock.now_ms();
    let truth = site.state.read();
    let (rows, next) = if order.is_by_name() {
        // As they lie in the state: only the page is looked at.
        let rows = visible_after(&truth, &viewer.sight, order.after())
            .filter(|server| filter.lets(server, now_ms))
            .map(|server| (Place::by_name(&server.key), server));
        order.page_of_sorted(rows)
    } else {
        let rows = visible(&truth, &viewer.sight)
            .filter(|server| filter.lets(server, now_ms))
            .map(|server| (place(server, order.field, now_ms), server));
        order.page(rows.collect())
    };
    site.agents
        .watch(rows.iter().map(|server| server.key.clone()));
    let items = rows.into_iter().map(|s| ServerJson::new(s, now_ms));
    Ok(Json(Page {
        items: items.collect(),
        next,
    }))
}

/// A user's default server.
#[utoipa::path(
    get,
    path = "/api/v1/users/{user}/server",
    params(("user" = String, Path, description = "The hub's name of the user")),
    responses((status = 200, body = ServerJson), (status = 404, description = "None that you may see")),
)]
pub(crate) async fn default_server(
    State(site): State<Arc<Site>>,
    viewer: Viewer,
    path: UserPath,
    RawQuery(raw): RawQuery,
) -> Result<Json<ServerJson>, Problem> {
    one(&site, &viewer.sight, &default_key(path)?, raw.as_deref())
}

/// A user's named server.
#[utoipa::path(
    get,
    path = "/api/v1/users/{user}/servers/{name}",
    params(
        ("user" = String, Path, description = "The hub's name of the user"),
        ("name" = String, Path, description = "The server's name"),
    ),
    responses((status = 200, body = ServerJson), (status = 404, description = "None that you may see")),
)]
pub(crate) async fn named_server(
    State(site): State<Arc<Site>>,
    viewer: Viewer,
    path: ServerPath,
    RawQuery(raw): RawQuery,
) -> Result<Json<ServerJson>, Problem> {
    one(&site, &viewer.sight, &named_key(path)?, raw.as_deref())
}

/// Who is asking, for the hub page.
#[utoipa::path(get, path = "/api/v1/me", responses((status = 200, body = Me)))]
pub(crate) async fn me(State(site): State<Arc<Site>>, viewer: Viewer) -> Json<Me> {
    let hub = site.verifier.as_ref().map(|v| v.hub().settings());
    let policy = site.state.read().cull.clone();
    let warns = policy.mode == Mode::Act && policy.last_warning_ms().is_some();
    let channels = [
        ("jupyterlab", warns),
        ("mail", warns && policy.warns_by_mail),
    ];
    Json(Me {
        cull: CullTerms {
            mode: policy.mode.as_str(),
            hold_max_seconds: policy.hold_max_ms / 1000,
            warns_by: channels
                .into_iter()
                .filter_map(|(name, warns)| warns.then_some(name))
                .collect(),
        },
        user: viewer.user.as_deref().map(str::to_owned),
        admin: viewer.sight == Sight::All,
        changes_all: viewer.hand.reaches_all(),
        hub_home: hub.map(|hub| hub.page("home")),
        logout: hub.map(|_| format!("{}logout", site.prefix)),
    })
}

fn one(
    site: &Site,
    sight: &Sight,
    key: &ServerKey,
    raw: Option<&str>,
) -> Result<Json<ServerJson>, Problem> {
    Query::parse(raw)?.finish(&[])?;
    let now_ms = site.clock.now_ms();
    let truth = site.state.read();
    let server = truth.servers.get(key).filter(|server| sight.sees(server));
    let server = server.ok_or_else(no_server)?;
    site.agents.watch(std::iter::once(key.clone()));
    Ok(Json(ServerJson::new(server, now_ms)))
}

// === paths ===

/// The key that the path of a default server names.
pub(crate) fn default_key(path: UserPath) -> Result<ServerKey, Problem> {
    let Path(user) = path.map_err(unreadable_path)?;
    Ok(ServerKey::new(&user, ""))
}

/// The key that the path of a named server names.
pub(crate) fn named_key(path: ServerPath) -> Result<ServerKey, Problem> {
    let Path((user, name)) = path.map_err(unreadable_path)?;
    Ok(ServerKey::new(&user, &name))
}

fn unreadable_path(_: PathRejection) -> Problem {
    Problem::unreadable("the address is not UTF-8")
}

/// Not there, or not for these eyes.
pub(crate) fn no_server() -> Problem {
    Problem::not_found("there is no such server, or you may not see it")
}

// === impl Filter ===

impl Filter {
    fn take(query: &mut Query) -> Result<Self, Problem> {
        Ok(Self {
            user: query.take("user"),
            group: query.take("group"),
            rule: query.take_word("rule", &Rule::ALL.map(Rule::as_str))?,
            state: query.take_word("state", &["live", "silent", "gone"])?,
            idle_seconds_min: query.take_integer("idle_seconds_min", 0, u64::MAX)?,
        })
    }

    fn lets(&self, server: &Server, now_ms: i64) -> bool {
        let user = self.user.as_ref();
        let group = self.group.as_ref();
        user.is_none_or(|user| **user == *server.key.user)
            && group.is_none_or(|group| server.groups.iter().any(|g| g.as_str() == group))
            && self
                .state
                .is_none_or(|state| state == shape::phase_word(server.phase))
            && self
                .rule
                .is_none_or(|rule| server.verdicts.iter().any(|v| v.rule.as_str() == rule))
            && self.idle_seconds_min.is_none_or(|min| {
                shape::idle_seconds(server, now_ms).is_some_and(|idle| idle >= min)
            })
    }
}

fn place(server: &Server, field: &str, now_ms: i64) -> Place {
    let latest = server.latest.as_ref();
    let rank = match field {
        "server" => Rank::text(&server.key.server),
        "state" => Rank::text(shape::phase_word(server.phase)),
        "host" => match &server.host {
            Some(host) => Rank::text(host.as_str()),
            None => Rank::Unknown,
        },
        "started" => Rank::integer(server.started_ms),
        "last_seen" => Rank::integer(server.last_seen_ms),
        "memory_used_bytes" => Rank::integer(latest.map(|s| s.memory_used_bytes)),
        "memory_limit_bytes" => Rank::integer(latest.and_then(|s| s.memory_limit_bytes)),
        "rss_bytes" => Rank::integer(latest.map(|s| s.rss_bytes)),
        "swap_bytes" => Rank::integer(latest.and_then(|s| s.swap_bytes)),
        "momentum_bytes" => Rank::integer(server.momentum_bytes),
        "speed_bytes" => Rank::integer(server.momentum_bytes.map(i64::unsigned_abs)),
        "trend_bytes_per_second" => Rank::number(server.trend.map(|t| t.bytes_per_second)),
        "seconds_to_limit" => Rank::number(server.forecast.map(|f| f.seconds_to_limit)),
        "cpu_cores" => Rank::number(server.cpu_cores),
        "idle_seconds" => Rank::integer(shape::idle_seconds(server, now_ms)),
        "processes" => Rank::integer(latest.map(|s| s.processes)),
        "threads" => Rank::integer(latest.map(|s| s.threads)),
        _ => Rank::text(&server.key.user),
    };
    Place {
        rank,
        ..Place::by_name(&server.key)
    }
}
