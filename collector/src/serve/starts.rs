//! What the hook in the hub tells: a start of a server ended.
//!
//! The hub and its service share the service's token; who has it is the hub, and nobody else is
//! asked.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use super::{Site, problem::Problem, query::Query, request::body_of};
use crate::{fact::ServerKey, limits, verdict::start_failures::Witness};

/// Bytes of what is told: two names of the longest kind, escaped.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// How a start ended.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StartEnded {
    /// The hub's name of the user.
    user: String,
    /// The server's name, `""` for the default one.
    server: String,
    /// Whether it is up.
    ok: bool,
}

/// The hub tells how a start of a server ended. Only with the service's own token.
#[utoipa::path(
    post,
    path = "/api/v1/starts",
    request_body = StartEnded,
    responses(
        (status = 204, description = "Taken"),
        (status = 403, description = "Not the service's own token"),
    ),
)]
pub(crate) async fn ended(
    State(site): State<Arc<Site>>,
    request: Request,
) -> Result<StatusCode, Problem> {
    Query::parse(request.uri().query())?.finish(&[])?;
    by_hub(&site, request.headers())?;
    let told: StartEnded = body_of(request, BODY_BYTES_MAX).await?;
    let names = [&told.user, &told.server];
    let long = |name: &&String| name.len() > limits::HUB_NAME_BYTES_MAX;
    if told.user.is_empty() || names.iter().any(long) {
        return Err(Problem::bad_value("user", "no name of the hub's"));
    }
    let starts = site.starts.clone();
    let key = ServerKey::new(&told.user, &told.server);
    // To tell may have to wait.
    tokio::task::spawn_blocking(move || starts.ended(&key, told.ok, Witness::Hook))
        .await
        .map_err(|_| Problem::unavailable("it cannot be taken now"))?;
    Ok(StatusCode::NO_CONTENT)
}

fn by_hub(site: &Site, headers: &HeaderMap) -> Result<(), Problem> {
    let hub = site.verifier.as_ref().map(super::auth::Verifier::hub);
    let own = hub.map(|hub| hub.settings().api_token.expose());
    let sent = headers.get(header::AUTHORIZATION);
    let sent = sent.and_then(|value| super::auth::bearer(value.to_str().ok()?));
    let Some(sent) = sent else {
        let detail = "send Authorization: token … with the service's own token";
        return Err(Problem::no_credential(detail));
    };
    // Compared by hash: how long that takes tells nothing.
    let is_own = own.is_some_and(|own| Sha256::digest(own) == Sha256::digest(sent.expose()));
    if is_own {
        return Ok(());
    }
    Err(Problem::missing_scope(
        "only the hub tells of starts, by this service's own token",
    ))
}
