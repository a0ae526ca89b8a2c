//! What requests that change something say: a body, a time, who asks.

use axum::{body::to_bytes, extract::Request};
use serde::de::DeserializeOwned;

use super::{guard::Viewer, problem::Problem};
use crate::{limits, registry::SERVICE_PREFIX, text::Label};

/// The body of a request as JSON.
pub(crate) async fn body_of<T: DeserializeOwned>(
    request: Request,
    bytes_max: usize,
) -> Result<T, Problem> {
    let body = to_bytes(request.into_body(), bytes_max).await;
    let body = body.map_err(|_| {
        let detail = format!("the body is broken, or has more than {bytes_max} bytes");
        Problem::unreadable(detail)
    })?;
    serde_json::from_slice(&body)
        .map_err(|e| Problem::unreadable(format!("the body is not what is expected: {e}")))
}

/// The time in a field `until`.
pub(crate) fn until(text: &str) -> Result<jiff::Timestamp, Problem> {
    text.parse().map_err(|_| {
        let text = Label::clean(text, limits::LOGGED_BYTES_MAX);
        let detail = format!("until is a time such as 2026-01-31T08:00:00Z, not \"{text}\"");
        Problem::bad_value("until", detail)
    })
}

/// Who asks, for the record.
pub(crate) fn name_of(viewer: &Viewer) -> String {
    viewer.name.as_deref().unwrap_or_default().to_owned()
}

/// Who acts, for the record that users are renamed and forgotten in: a service is none.
pub(crate) fn actor_of(viewer: &Viewer) -> String {
    let name = name_of(viewer);
    if viewer.person || name.is_empty() {
        return name;
    }
    format!("{SERVICE_PREFIX}{name}")
}
