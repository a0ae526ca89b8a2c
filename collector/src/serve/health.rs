//! Whether the collector lives and can do its work. Open to everybody, so it names nobody.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::Site;
use crate::stats::Unready;

/// That the process answers.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    /// Always `ok`.
    status: &'static str,
}

/// Whether work can be done.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Readiness {
    /// Nothing stands in the way.
    ready: bool,
    /// What does: `replaying`, `journal`, `history`, `hub`.
    #[schema(value_type = Vec<String>)]
    reasons: Vec<&'static str>,
    /// The same in words, in the same order.
    details: Vec<Detail>,
}

/// One thing that stands in the way.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Detail {
    /// As in `reasons`.
    #[schema(value_type = String)]
    reason: &'static str,
    /// What it means and what goes on.
    text: &'static str,
    /// What the system says; `null` where it was not asked.
    cause: Option<String>,
}

/// The process answers.
#[utoipa::path(get, path = "/healthz", responses((status = 200, body = Health)))]
pub(crate) async fn healthz() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// Whether reports are taken and acknowledged and people let in.
#[utoipa::path(
    get,
    path = "/readyz",
    responses((status = 200, body = Readiness), (status = 503, body = Readiness)),
)]
pub(crate) async fn readyz(State(site): State<Arc<Site>>) -> (StatusCode, Json<Readiness>) {
    let unready = site.stats.unready();
    let status = match unready.is_empty() {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    let detail = |part: &Unready| Detail {
        reason: part.as_str(),
        text: part.meaning(),
        cause: site.stats.trouble(*part),
    };
    let readiness = Readiness {
        ready: status == StatusCode::OK,
        reasons: unready.iter().map(|part| part.as_str()).collect(),
        details: unready.iter().map(detail).collect(),
    };
    (status, Json(readiness))
}
