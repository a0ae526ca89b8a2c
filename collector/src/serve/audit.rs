//! What was done to users' servers, and by whom: the audit log.

use std::sync::Arc;

use axum::{
    Json,
    extract::{RawQuery, State},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Site,
    guard::{Sight, Viewer},
    list::{Order, Page, Place, Rank},
    problem::Problem,
    query::Query,
    shape::rfc3339,
};
use crate::registry::{Act, Deed};

/// Rows that a list goes through of each kind of deeds: the newest.
const DEEDS_MAX: u32 = 5_000;

const SORT_FIELDS: [&str; 3] = ["time", "user", "by"];

const PARAMETERS: [&str; 4] = ["user", "sort", "limit", "cursor"];

/// What admins say for admins alone: nobody else is shown it.
const AMONG_ADMINS: [Act; 4] = [Act::Acknowledge, Act::TakeBack, Act::Mute, Act::Unmute];

/// Something that was done to a user.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Deed)]
pub(crate) struct DeedJson {
    /// When.
    time: Option<String>,
    /// `hold`, `release`: kept alive, or no longer. `ack`, `take_back`, `mute`, `unmute`: what an admin
    /// said to notices, for admins. `message`: an admin wrote. By policy `warn`: of a stop; `end_kernel`,
    /// `keep_kernel`: an idle kernel is to be shut down, or no longer.
    #[schema(value_type = String, example = "hold")]
    what: String,
    /// Who did it: a user, or `service:` and a service's name; `null` where it was policy, or that is not
    /// known any more.
    by: Option<String>,
    /// Policy did it.
    by_policy: bool,
    /// To whom; `null` for a message, which went to whom its filter selected.
    user: Option<String>,
    /// The server's name, `""` for the default one; `null` for a message.
    server: Option<String>,
    /// The rule, the kernel's id, the stage of a warning (`quarter`, `last`), a message's filter.
    about: Option<String>,
    /// Until when it holds; of a warning or a kernel when it stops.
    until: Option<String>,
    /// How many users it was done to.
    users: u32,
}

// === handlers ===

/// What was done to users, newest first unless told: everything for who sees all rows; else what was done
/// to the servers that are seen, without what admins say among themselves.
#[utoipa::path(
    get,
    path = "/api/v1/audit",
    params(
        ("user" = Option<String>, Query, description = "Only to this user; then no messages"),
        ("sort" = Option<String>, Query, description = "A field; `-` before it for downwards"),
        ("limit" = Option<u64>, Query, description = "Rows of a page, 1 to 5000; 200 unless told"),
        ("cursor" = Option<String>, Query, description = "`next` of the page before"),
    ),
    responses((status = 200, body = Page<DeedJson>)),
)]
pub(crate) async fn audit(
    State(site): State<Arc<Site>>,
    viewer: Viewer,
    RawQuery(raw): RawQuery,
) -> Result<Json<Page<DeedJson>>, Problem> {
    let mut query = Query::parse(raw.as_deref())?;
    let user = query.take("user");
    let order = Order::take(&mut query, &SORT_FIELDS, "-time")?;
    query.finish(&PARAMETERS)?;
    // Others' deeds, however many, crowd out none of somebody's own.
    let own = viewer.user.clone();
    let own = own.filter(|_| user.is_none() && viewer.sight != Sight::All);
    let mut deeds = site
        .kept(move |registry| {
            let mut deeds = registry.audit(user.as_deref(), DEEDS_MAX)?;
            if let Some(own) = own {
                deeds.retain(|deed| deed.key.as_ref().is_none_or(|key| key.user != own));
                deeds.extend(registry.audit(Some(&own), DEEDS_MAX)?);
            }
            Ok(deeds)
        })
        .await?;
    if viewer.sight != Sight::All {
        let truth = site.state.read();
        deeds.retain(|deed| {
            let among_admins = AMONG_ADMINS.iter().any(|act| act.as_str() == deed.what);
            let key = deed.key.as_ref().filter(|_| !among_admins);
            key.is_some_and(|key| viewer.sight.sees_key(key, &truth))
        });
    }
    let rows = deeds
        .into_iter()
        .map(|deed| (place(&deed, order.field), DeedJson::from(deed)))
        .collect();
    let (items, next) = order.page(rows);
    Ok(Json(Page { items, next }))
}

fn place(deed: &Deed, field: &str) -> Place {
    let user = deed.key.as_ref().map_or("", |key| &*key.user);
    let rank = match field {
        "user" => Rank::text(user),
        "by" => Rank::text(&deed.by),
        _ => Rank::integer(Some(deed.at_ms)),
    };
    Place {
        rank,
        name: (deed.id.clone(), String::new()),
    }
}

// === impl DeedJson ===

impl From<Deed> for DeedJson {
    fn from(deed: Deed) -> Self {
        let some = |text: String| Some(text).filter(|text| !text.is_empty());
        Self {
            time: rfc3339(deed.at_ms),
            what: deed.what,
            by: some(deed.by),
            by_policy: deed.by_policy,
            user: deed.key.as_ref().map(|key| key.user.to_string()),
            server: deed.key.as_ref().map(|key| key.server.to_string()),
            about: some(deed.about),
            until: deed.until_ms.and_then(rfc3339),
            users: deed.users,
        }
    }
}
