//! Judgements: those that are open, and those cleared lately.

use std::sync::Arc;

use axum::{
    Json,
    extract::{RawQuery, State},
};

use super::{
    Site,
    guard::{Viewer, visible},
    list::{Order, Page, Place, Rank},
    problem::Problem,
    query::Query,
    shape::VerdictJson,
};
use crate::verdict::{Rule, Verdict};

const SORT_FIELDS: [&str; 6] = ["since", "updated", "severity", "rule", "user", "server"];

const PARAMETERS: [&str; 6] = ["state", "rule", "user", "sort", "limit", "cursor"];

/// Verdicts about servers that may be seen, newest first unless told.
#[utoipa::path(
    get,
    path = "/api/v1/verdicts",
    params(
        ("state" = Option<String>, Query, description = "`open` (unless told) or `all`"),
        ("rule" = Option<String>, Query, description = "Only of this rule"),
        ("user" = Option<String>, Query, description = "Only about this user"),
        ("sort" = Option<String>, Query, description = "A field; `-` before it for downwards"),
        ("limit" = Option<u64>, Query, description = "Rows of a page, 1 to 5000; 200 unless told"),
        ("cursor" = Option<String>, Query, description = "`next` of the page before"),
    ),
    responses((status = 200, body = Page<VerdictJson>)),
)]
pub(crate) async fn verdicts(
    State(site): State<Arc<Site>>,
    viewer: Viewer,
    RawQuery(raw): RawQuery,
) -> Result<Json<Page<VerdictJson>>, Problem> {
    let mut query = Query::parse(raw.as_deref())?;
    let all = query.take_word("state", &["open", "all"])? == Some("all");
    let rule = query.take_word("rule", &Rule::ALL.map(Rule::as_str))?;
    let user = query.take("user");
    let order = Order::take(&mut query, &SORT_FIELDS, "-since")?;
    query.finish(&PARAMETERS)?;
    let starts = site.starts.verdicts();
    let truth = site.state.read();
    let starts = starts
        .iter()
        .filter(|verdict| all || verdict.cleared_ms.is_none())
        .filter(|verdict| viewer.sight.sees_key(&verdict.key, &truth));
    let open = visible(&truth, &viewer.sight).flat_map(|server| &server.verdicts);
    let cleared = truth.cleared.iter().filter(|_| all);
    let cleared = cleared.filter(|verdict| viewer.sight.sees_key(&verdict.key, &truth));
    let rows = open
        .chain(cleared)
        .chain(starts)
        .filter(|verdict| rule.is_none_or(|rule| rule == verdict.rule.as_str()))
        .filter(|verdict| {
            user.as_deref()
                .is_none_or(|user| user == &*verdict.key.user)
        })
        .map(|verdict| (place(verdict, order.field), verdict))
        .collect();
    let (rows, next) = order.page(rows);
    Ok(Json(Page {
        items: rows.into_iter().map(VerdictJson::from).collect(),
        next,
    }))
}

fn place(verdict: &Verdict, field: &str) -> Place {
    let rank = match field {
        "updated" => Rank::integer(Some(verdict.updated_ms)),
        "severity" => Rank::integer(Some(verdict.severity as i64)),
        "rule" => Rank::text(verdict.rule.as_str()),
        "user" => Rank::text(&verdict.key.user),
        "server" => Rank::text(&verdict.key.server),
        _ => Rank::integer(Some(verdict.since_ms)),
    };
    let name = (verdict.episode.clone(), String::new());
    Place { rank, name }
}
