//! Who may be stopped, and why: what policy would do, or what it would with other numbers.
//! A question changes nothing and warns nobody.

use std::sync::Arc;

use axum::{
    Json,
    extract::{RawQuery, State},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Site,
    guard::{Viewer, visible_after},
    list::{Order, Place, Rank},
    problem::Problem,
    query::Query,
    shape::CullJson,
};
use crate::{
    cull::{Judge, Judged, Question, is_up},
    fact::ServerKey,
    state::{Server, State as Truth},
};

const SORT_FIELDS: [&str; 4] = ["user", "server", "idle_seconds", "cull"];

const PARAMETERS: [&str; 8] = [
    "timeout", "max_age", "warned", "user", "group", "sort", "limit", "cursor",
];

/// What there is to do about each, and whether it is to be done.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CullPage {
    /// `watch`: nobody is to be stopped by this answer; `act`: whose `cull` is true.
    #[schema(value_type = String, pattern = "^(watch|act)$")]
    mode: &'static str,
    /// The rows.
    items: Vec<CullJson>,
    /// Ask with this as `cursor` for the next page; `null` on the last one.
    next: Option<String>,
}

/// Which servers are asked about.
struct Filter<'a> {
    viewer: &'a Viewer,
    user: Option<&'a str>,
    group: Option<&'a str>,
}

/// One answer per running server that may be seen.
#[utoipa::path(
    get,
    path = "/api/v1/cull",
    params(
        ("timeout" = Option<String>, Query, description = "What if: idle for so long (seconds, or a duration such as 1h), whatever group and hour"),
        ("max_age" = Option<String>, Query, description = "What if: stop what is older, at work or not; 0 never does"),
        ("warned" = Option<bool>, Query, description = "Whether a warning must have come first. Unless told: where policy is acted on, and neither timeout nor max_age is given"),
        ("user" = Option<String>, Query, description = "Only this user's"),
        ("group" = Option<String>, Query, description = "Only users of this hub group"),
        ("sort" = Option<String>, Query, description = "A field; `-` before it for downwards"),
        ("limit" = Option<u64>, Query, description = "Rows of a page, 1 to 5000; 200 unless told"),
        ("cursor" = Option<String>, Query, description = "`next` of the page before"),
    ),
    responses(
        (status = 200, body = CullPage),
        (status = 503, description = "Not yet: the collector has just started"),
    ),
)]
pub(crate) async fn cull(
    State(site): State<Arc<Site>>,
    viewer: Viewer,
    RawQuery(raw): RawQuery,
) -> Result<Json<CullPage>, Problem> {
    let mut query = Query::parse(raw.as_deref())?;
    let timeout_ms = query.take_duration_ms("timeout")?;
    let max_age_ms = query.take_duration_ms("max_age")?;
    let warned = query.take_word("warned", &["true", "false"])?;
    let (user, group) = (query.take("user"), query.take("group"));
    let order = Order::take(&mut query, &SORT_FIELDS, "user")?;
    query.finish(&PARAMETERS)?;
    let question = Question {
        timeout_ms,
        max_age_ms: max_age_ms.map(|age_ms| Some(age_ms).filter(|age_ms| *age_ms > 0)),
        warned: warned.map(|word| word == "true"),
    };
    let filter = Filter {
        viewer: &viewer,
        user: user.as_deref(),
        group: group.as_deref(),
    };
    let now_ms = site.clock.now_ms();
    let truth = site.state.read();
    if truth.is_recalling() {
        // A picture that is not whole says "idle" of who is at work.
        let why = "the collector still reads what it knew before its start; ask again in a moment";
        return Err(Problem::unavailable(why));
    }
    let mut judge = Judge::new(&truth, question, now_ms);
    let (rows, next) = if order.is_by_name() {
        // As they lie in the state: only the page is looked at.
        let servers = filter.servers(&truth, order.after());
        let rows = servers.map(|server| (Place::by_name(&server.key), server));
        let (servers, next) = order.page_of_sorted(rows);
        let judged = servers.into_iter().map(|server| judge.judge(server));
        (judged.collect::<Vec<_>>(), next)
    } else {
        let servers = filter.servers(&truth, None);
        let rows = servers.map(|server| {
            let judged = judge.judge(server);
            (place(&judged, order.field), judged)
        });
        order.page(rows.collect())
    };
    let items = rows.iter().map(|judged| CullJson::from(&judged.row()));
    Ok(Json(CullPage {
        mode: truth.cull.mode.as_str(),
        items: items.collect(),
        next,
    }))
}

// === impl Filter ===

impl<'a> Filter<'a> {
    /// Running servers that are asked about and may be seen, by name, from behind `after` on.
    fn servers(
        &'a self,
        truth: &'a Truth,
        after: Option<ServerKey>,
    ) -> impl Iterator<Item = &'a Server> + 'a {
        visible_after(truth, &self.viewer.sight, after)
            .filter(|server| is_up(server) && self.lets(server))
    }

    fn lets(&self, server: &Server) -> bool {
        let groups = &server.groups;
        self.user.is_none_or(|user| user == &*server.key.user)
            && self
                .group
                .is_none_or(|group| groups.iter().any(|g| g.as_str() == group))
    }
}

fn place(judged: &Judged<'_>, field: &str) -> Place {
    let server = judged.server();
    let rank = match field {
        "server" => Rank::text(&server.key.server),
        "idle_seconds" => Rank::integer(judged.idle_ms()),
        "cull" => Rank::integer(Some(i64::from(judged.cull()))),
        _ => Rank::text(&server.key.user),
    };
    Place {
        rank,
        ..Place::by_name(&server.key)
    }
}
