//! `/link`: where agents come in that reach nothing but the hub's HTTP proxy.

use std::sync::Arc;

use axum::{
    extract::{FromRequestParts as _, Request, State, ws::WebSocketUpgrade},
    http::header,
    response::{IntoResponse as _, Response},
};

use super::{
    Site,
    accept::Caller,
    problem::{Problem, ProblemJson},
};
use crate::link::websocket::Refused;

/// Where agents come in that reach nothing but the hub's HTTP proxy: a WebSocket, one message of
/// the link (`link.proto`) a binary frame.
#[utoipa::path(
    get,
    path = "/link",
    responses(
        (status = 101, description = "the stream begins"),
        (status = 400, body = ProblemJson),
        (status = 401, body = ProblemJson),
        (status = 503, body = ProblemJson),
    ),
)]
pub(crate) async fn link(State(site): State<Arc<Site>>, request: Request) -> Response {
    let (mut parts, _) = request.into_parts();
    let upgrade = match WebSocketUpgrade::from_request_parts(&mut parts, &site).await {
        Ok(upgrade) => upgrade,
        Err(refused) => {
            let detail = format!("agents open a WebSocket here: {}", refused.body_text());
            return Problem::unreadable(detail).into_response();
        }
    };
    let authorization = parts.headers.get(header::AUTHORIZATION);
    let authorization = authorization.map(|value| value.as_bytes());
    let peer = parts.extensions.get::<Caller>().map(|caller| caller.peer);
    match site
        .agents
        .admit(authorization, std::future::ready(peer))
        .await
    {
        Ok(admitted) => site.agents.clone().carry(upgrade, admitted),
        Err(Refused::Starting) => Problem::unavailable("the collector is starting").into_response(),
        Err(Refused::Denied(denied)) if denied.is_passing() => {
            Problem::unavailable(denied.to_string()).into_response()
        }
        Err(Refused::Denied(denied)) => Problem::no_credential(denied.to_string()).into_response(),
    }
}
