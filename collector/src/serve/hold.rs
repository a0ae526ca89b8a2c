//! Holds: a user keeps a server alive for a while, bounded by policy.

use std::sync::Arc;

use axum::{
    Json,
    body::to_bytes,
    extract::{Request, State},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Site,
    guard::{Viewer, WRITE_ALL},
    now::{ServerPath, UserPath, default_key, named_key, no_server},
    problem::Problem,
    query::Query,
    request::{actor_of, name_of, until},
    shape::rfc3339,
};
use crate::{
    cull::{is_up, kept_latest_ms},
    fact::ServerKey,
    limits,
    pipeline::desk::DeskError,
    state::Server,
    text::Label,
    verdict::idle::in_words,
};

/// Bytes of a name in the log of holds.
const ASKER_BYTES_MAX: usize = limits::HUB_NAME_BYTES_MAX;

/// What asks for a hold.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HoldWish {
    /// Until when, RFC 3339.
    #[schema(example = "2026-01-31T08:00:00Z")]
    until: String,
}

/// What then holds.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HoldJson {
    /// Until when; `null`: it is not held.
    held_until: Option<String>,
}

// === handlers ===

/// Keeps a user's default server until then.
#[utoipa::path(
    put,
    path = "/api/v1/users/{user}/server/hold",
    params(("user" = String, Path, description = "The hub's name of the user")),
    request_body = HoldWish,
    responses(
        (status = 200, body = HoldJson),
        (status = 403, description = "Seen, but not yours to keep; or a browser without its word"),
        (status = 404, description = "None that you may see"),
        (status = 422, description = "Past, or longer than policy lets you"),
        (status = 429, description = "Changed too often"),
    ),
)]
pub(crate) async fn hold_default(
    State(site): State<Arc<Site>>,
    viewer: Viewer,
    path: UserPath,
    request: Request,
) -> Result<Json<HoldJson>, Problem> {
    hold(&site, &viewer, &default_key(path)?, request).await
}

/// Keeps a user's named server until then.
#[utoipa::path(
    put,
    path = "/api/v1/users/{user}/servers/{name}/hold",
    params(
        ("user" = String, Path, description = "The hub's name of the user"),
        ("name" = String, Path, description = "The server's name"),
    ),
    request_body = HoldWish,
    responses((status = 200, body = HoldJson)),
)]
pub(crate) async fn hold_named(
    State(site): State<Arc<Site>>,
    viewer: Viewer,
    path: ServerPath,
    request: Request,
) -> Result<Json<HoldJson>, Problem> {
    hold(&site, &viewer, &named_key(path)?, request).await
}

/// Ends the hold of a user's default server.
#[utoipa::path(
    delete,
    path = "/api/v1/users/{user}/server/hold",
    params(("user" = String, Path, description = "The hub's name of the user")),
    responses((status = 200, body = HoldJson)),
)]
pub(crate) async fn release_default(
    State(site): State<Arc<Site>>,
    viewer: Viewer,
    path: UserPath,
    request: Request,
) -> Result<Json<HoldJson>, Problem> {
    release(&site, &viewer, &default_key(path)?, request).await
}

/// Ends the hold of a user's named server.
#[utoipa::path(
    delete,
    path = "/api/v1/users/{user}/servers/{name}/hold",
    params(
        ("user" = String, Path, description = "The hub's name of the user"),
        ("name" = String, Path, description = "The server's name"),
    ),
    responses((status = 200, body = HoldJson)),
)]
pub(crate) async fn release_named(
    State(site): State<Arc<Site>>,
    viewer: Viewer,
    path: ServerPath,
    request: Request,
) -> Result<Json<HoldJson>, Problem> {
    release(&site, &viewer, &named_key(path)?, request).await
}

async fn hold(
    site: &Site,
    viewer: &Viewer,
    key: &ServerKey,
    request: Request,
) -> Result<Json<HoldJson>, Problem> {
    may(site, viewer, key, &request, is_up)?;
    let body = to_bytes(request.into_body(), limits::HOLD_BODY_BYTES_MAX).await;
    let body = body.map_err(|_| Problem::unreadable("the body is broken or too long"))?;
    let wish: HoldWish = serde_json::from_slice(&body)
        .map_err(|e| Problem::unreadable(format!("expected {{\"until\": time}}: {e}")))?;
    let until_ms = until_ms(site, key, &wish.until)?;
    set(site, viewer, key, Some(until_ms)).await
}

async fn release(
    site: &Site,
    viewer: &Viewer,
    key: &ServerKey,
    request: Request,
) -> Result<Json<HoldJson>, Problem> {
    // What stopped may come back, and its hold with it.
    may(site, viewer, key, &request, |_| true)?;
    drop(request);
    set(site, viewer, key, None).await
}

/// Whether `viewer` may keep `key`, which must be known and as it `should` be.
fn may(
    site: &Site,
    viewer: &Viewer,
    key: &ServerKey,
    request: &Request,
    should: impl Fn(&Server) -> bool,
) -> Result<(), Problem> {
    Query::parse(request.uri().query())?.finish(&[])?;
    let truth = site.state.read();
    let server = truth.servers.get(key);
    let server = server.filter(|server| viewer.sight.sees(server) && should(server));
    let server = server.ok_or_else(no_server)?;
    if viewer.hand.reaches(server) {
        return Ok(());
    }
    let detail = format!("only its user keeps a server, or whoever holds {WRITE_ALL}");
    Err(Problem::missing_scope(detail))
}

/// When it ends, if policy lets it.
fn until_ms(site: &Site, key: &ServerKey, text: &str) -> Result<i64, Problem> {
    let bad = |detail: String| Problem::bad_value("until", detail);
    let until_ms = until(text)?.as_millisecond();
    let now_ms = site.clock.now_ms();
    let (max_ms, latest) = {
        let truth = site.state.read();
        let server = truth.servers.get(key);
        let groups = server.map_or(&[][..], |s| &s.groups[..]);
        let max_ms = truth.cull.terms(groups, now_ms).hold_max_ms;
        (
            max_ms,
            server.and_then(|s| kept_latest_ms(&truth, s, now_ms)),
        )
    };
    if max_ms == 0 {
        return Err(bad("policy lets nobody keep this server".to_owned()));
    }
    if until_ms <= now_ms {
        return Err(bad("until is past already".to_owned()));
    }
    if until_ms > now_ms.saturating_add(max_ms) {
        return Err(bad(format!(
            "policy lets you keep it for {} from now at most",
            in_words(max_ms)
        )));
    }
    if let Some((latest_ms, beyond_ms)) = latest.filter(|(latest_ms, _)| until_ms > *latest_ms) {
        let latest = rfc3339(latest_ms).unwrap_or_default();
        return Err(bad(format!(
            "policy lets you keep this server for {} beyond its time at most, until {latest}",
            in_words(beyond_ms)
        )));
    }
    Ok(until_ms)
}

async fn set(
    site: &Site,
    viewer: &Viewer,
    key: &ServerKey,
    until_ms: Option<i64>,
) -> Result<Json<HoldJson>, Problem> {
    let asker = Label::clean(&actor_of(viewer), ASKER_BYTES_MAX);
    let held = site.desk.hold(key, until_ms, asker.as_str()).await;
    held.map_err(|error| match error {
        DeskError::TooMany => Problem::too_many(error.to_string()),
        DeskError::Closed => Problem::unavailable(error.to_string()),
        DeskError::Registry(error) => {
            tracing::error!(error = crate::causes::chain(&error), "a hold is not kept");
            Problem::unavailable("it cannot be put on the disk")
        }
    })?;
    let by = Label::clean(&name_of(viewer), limits::LOGGED_BYTES_MAX);
    tracing::info!(server = ?key, until_ms, %by, "a hold was changed");
    Ok(Json(HoldJson {
        held_until: until_ms.and_then(rfc3339),
    }))
}
