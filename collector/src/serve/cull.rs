//! Who may be stopped, and why: what policy would do, or what it would with other numbers.
//! A question changes nothing and warns nobody.

use std::sync::Arc;

use axum::{
    Json,
    extract::{RawQuery, State},
};

use super::{
    Site,
    guard::Viewer,
    list::{Order, Page, Place, Rank},
    problem::Problem,
    query::Query,
    shape::CullJson,
};
use crate::{
    cull::{self, CullRow, Question},
    state::State as Truth,
};

const SORT_FIELDS: [&str; 4] = ["user", "server", "idle_seconds", "cull"];

const PARAMETERS: [&str; 6] = ["timeout", "max_age", "user", "sort", "limit", "cursor"];

/// One answer per running server that may be seen.
#[utoipa::path(
    get,
    path = "/api/v1/cull",
    params(
        ("timeout" = Option<String>, Query, description = "Idle for so long: seconds, or a duration such as 1h"),
        ("max_age" = Option<String>, Query, description = "Stop what is older, at work or not; 0 never does"),
        ("user" = Option<String>, Query, description = "Only this user's"),
        ("sort" = Option<String>, Query, description = "A field; `-` before it for downwards"),
        ("limit" = Option<u64>, Query, description = "Rows of a page, 1 to 5000; 200 unless told"),
        ("cursor" = Option<String>, Query, description = "`next` of the page before"),
    ),
    responses((status = 200, body = Page<CullJson>)),
)]
pub(crate) async fn cull(
    State(site): State<Arc<Site>>,
    viewer: Viewer,
    RawQuery(raw): RawQuery,
) -> Result<Json<Page<CullJson>>, Problem> {
    let mut query = Query::parse(raw.as_deref())?;
    let timeout_ms = query.take_duration_ms("timeout")?;
    let max_age_ms = query.take_duration_ms("max_age")?;
    let user = query.take("user");
    let order = Order::take(&mut query, &SORT_FIELDS, "user")?;
    query.finish(&PARAMETERS)?;
    let now_ms = site.clock.now_ms();
    let truth = site.state.read();
    let question = Question {
        timeout_ms,
        max_age_ms: max_age_ms.filter(|age_ms| *age_ms > 0),
    };
    let rows = cull::rows(&truth, &question, now_ms)
        .into_iter()
        .filter(|row| user.as_deref().is_none_or(|user| user == &*row.key.user))
        .filter(|row| viewer.sight.sees_key(&row.key, &truth))
        .map(|row| (place(&row, works(&row, &truth), order.field), row))
        .collect();
    let (rows, next) = order.page(rows);
    let items = rows
        .iter()
        .map(|row| CullJson::new(row, works(row, &truth)));
    Ok(Json(Page {
        items: items.collect(),
        next,
    }))
}

/// Somebody works there, and that is the reason.
fn works(row: &CullRow, truth: &Truth) -> bool {
    let server = truth.servers.get(&row.key);
    server.is_some_and(|server| server.busy_reason.as_ref() == Some(&row.reason))
}

fn place(row: &CullRow, works: bool, field: &str) -> Place {
    let rank = match field {
        "server" => Rank::text(&row.key.server),
        "idle_seconds" => Rank::integer(row.idle_ms.or(works.then_some(0))),
        "cull" => Rank::integer(Some(i64::from(row.cull))),
        _ => Rank::text(&row.key.user),
    };
    let name = (row.key.user.to_string(), row.key.server.to_string());
    Place { rank, name }
}
