//! `/api/openapi.json`: the contract for machines, OpenAPI 3.1.

use std::sync::Arc;

use axum::{Json, extract::State};
use utoipa::{
    OpenApi,
    openapi::{
        InfoBuilder, ServerBuilder,
        security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    },
};

use super::{
    Site, answers, audit, cull, health, history, hold, link, live, messages, metrics, now,
    problem::ProblemJson, reports, starts, told, verdicts,
};

#[derive(OpenApi)]
#[openapi(
    paths(
        health::healthz,
        health::readyz,
        metrics::metrics,
        now::servers,
        now::default_server,
        now::named_server,
        hold::hold_default,
        hold::hold_named,
        hold::release_default,
        hold::release_named,
        now::me,
        history::default_history,
        history::named_history,
        verdicts::verdicts,
        cull::cull,
        reports::usage,
        reports::hub_activity,
        told::notices,
        told::acknowledge,
        told::mute,
        answers::take_back,
        answers::answers,
        audit::audit,
        messages::write,
        messages::messages,
        starts::ended,
        live::events,
        link::link,
        document,
    ),
    components(schemas(ProblemJson))
)]
struct Api;

/// The document as served below `prefix`.
pub(crate) fn api(prefix: &str) -> utoipa::openapi::OpenApi {
    let mut api = Api::openapi();
    api.info = InfoBuilder::new()
        .title("hubmeter collector")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "What every single-user server of a JupyterHub uses now and used before. Refusals are \
             RFC 9457 problem+json. Unknown is null, never absent.",
        ))
        .build();
    let url = prefix.trim_end_matches('/');
    let server = ServerBuilder::new().url(if url.is_empty() { "/" } else { url });
    api.servers = Some(vec![server.build()]);
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
    let components = api.components.get_or_insert_default();
    components.add_security_scheme("hub_token", SecurityScheme::Http(bearer));
    let nothing: [&str; 0] = [];
    api.security = Some(vec![SecurityRequirement::new("hub_token", nothing)]);
    api
}

/// This document.
#[utoipa::path(
    get,
    path = "/api/openapi.json",
    responses((status = 200, description = "OpenAPI 3.1", content_type = "application/json")),
)]
pub(crate) async fn document(State(site): State<Arc<Site>>) -> Json<utoipa::openapi::OpenApi> {
    Json(api(&site.prefix))
}
