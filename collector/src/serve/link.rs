//! `/link`: where agents come in that reach nothing but the hub's HTTP proxy.

use std::sync::Arc;

use axum::{
    extract::{FromRequestParts as _, Request, State, ws::WebSocketUpgrade},
    http::{HeaderValue, header},
    response::{IntoResponse as _, Response},
};

use hubmeter_proto::REFUSED_HEADER;

use super::{
    Site,
    accept::{Caller, Ends},
    problem::{Problem, ProblemJson},
};
use crate::link::{refusals::Who, websocket::Refused};

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
    let who = match (peer, parts.extensions.get::<Ends>()) {
        (Some(peer), _) => Who::Uid(peer.uid),
        // The proxy, for all who come through it.
        (None, Some(Ends::Tcp { remote, .. })) => Who::Address(remote.ip().to_canonical()),
        (None, _) => Who::Unknown,
    };
    match site
        .agents
        .admit(who, authorization, std::future::ready(peer))
        .await
    {
        Ok(admitted) => site.agents.clone().carry(upgrade, admitted),
        Err(refused) => answer(&refused),
    }
}

/// The reason stands in the head, too: of an answer to an upgrade, agents see no more for certain.
fn answer(refused: &Refused) -> Response {
    let detail = refused.to_string();
    let reason = HeaderValue::from_str(&detail);
    let problem = match refused {
        Refused::Denied(denied) if !denied.is_passing() => Problem::no_credential(detail),
        Refused::Starting | Refused::Denied(_) => Problem::unavailable(detail),
    };
    let mut response = problem.into_response();
    if let Ok(reason) = reason {
        response.headers_mut().insert(REFUSED_HEADER, reason);
    }
    response
}
