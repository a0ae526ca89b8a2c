//! What was said about notices and holds still: acknowledgements and mutes, by whom, and taking an
//! acknowledgement back. A mute is ended by muting until `null`.

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
    request::actor_of,
    shape::rfc3339,
    told::{AckJson, EpisodePath, answered, audience_of},
};
use crate::{
    fact::ServerKey,
    limits::LOGGED_BYTES_MAX,
    registry::{Audience, Said},
    text::Label,
};

/// Answers that a list goes through: the newest.
const SAID_MAX: u32 = 5_000;

const SORT_FIELDS: [&str; 2] = ["time", "user"];

const PARAMETERS: [&str; 4] = ["user", "sort", "limit", "cursor"];

/// Somebody's answer to notices, while it holds.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Answer)]
pub(crate) struct AnswerJson {
    /// `ack`: it is known; `mute`: no more of it.
    #[schema(value_type = String, pattern = "^(ack|mute)$")]
    what: &'static str,
    /// The verdict's episode; of a mute, by whose notice it was muted.
    episode: String,
    /// The rule.
    rule: String,
    user: String,
    server: String,
    /// Who said it: a user, or `service:` and a service's name; `null` where that is not known any more.
    by: Option<String>,
    /// When.
    time: Option<String>,
    /// Of a mute: until when.
    until: Option<String>,
}

// === handlers ===

/// What holds of what was said about notices, newest first unless told: what admins said for who sees
/// all rows, else what the user said. Who sees all rows and answers for themselves alone sees of their own
/// servers what they said.
#[utoipa::path(
    get,
    path = "/api/v1/answers",
    params(
        ("user" = Option<String>, Query, description = "Only about this user"),
        ("sort" = Option<String>, Query, description = "A field; `-` before it for downwards"),
        ("limit" = Option<u64>, Query, description = "Rows of a page, 1 to 5000; 200 unless told"),
        ("cursor" = Option<String>, Query, description = "`next` of the page before"),
    ),
    responses((status = 200, body = Page<AnswerJson>)),
)]
pub(crate) async fn answers(
    State(site): State<Arc<Site>>,
    viewer: Viewer,
    RawQuery(raw): RawQuery,
) -> Result<Json<Page<AnswerJson>>, Problem> {
    let mut query = Query::parse(raw.as_deref())?;
    let user = query.take("user");
    let order = Order::take(&mut query, &SORT_FIELDS, "-time")?;
    query.finish(&PARAMETERS)?;
    let (audience, now_ms) = (audience_of(&viewer), site.clock.now_ms());
    let whose = if viewer.sight == Sight::All {
        user
    } else {
        // Whoever sees a group sees no user's own answers. None of those is about nobody.
        let own = viewer.user.as_deref().unwrap_or_default();
        let other = user.is_some_and(|user| user != own);
        Some(if other { String::new() } else { own.to_owned() })
    };
    let own =
        own_answers(&viewer).filter(|own| whose.as_ref().is_none_or(|whose| **whose == **own));
    let said = site
        .kept(move |registry| {
            let mut said = registry.said(audience, whose.as_deref(), now_ms, SAID_MAX)?;
            if let Some(own) = own {
                said.retain(|said| said.key.user != own);
                said.extend(registry.said(Audience::User, Some(&own), now_ms, SAID_MAX)?);
            }
            Ok(said)
        })
        .await?;
    let rows = said
        .into_iter()
        .map(|said| (place(&said, order.field), AnswerJson::from(said)))
        .collect();
    let (items, next) = order.page(rows);
    Ok(Json(Page { items, next }))
}

/// It is not known after all: an episode that is open is told again.
#[utoipa::path(
    delete,
    path = "/api/v1/notices/{episode}/ack",
    params(("episode" = String, Path, description = "Of the verdict")),
    responses(
        (status = 200, body = AckJson),
        (status = 403, description = "Seen, but not yours to answer; or a browser without its word"),
        (status = 404, description = "None that you may see"),
    ),
)]
pub(crate) async fn take_back(
    State(site): State<Arc<Site>>,
    viewer: Viewer,
    path: EpisodePath,
    RawQuery(raw): RawQuery,
) -> Result<Json<AckJson>, Problem> {
    Query::parse(raw.as_deref())?.finish(&[])?;
    let (verdict, audience) = answered(&site, &viewer, path).await?;
    let (episode, now_ms) = (verdict.episode, site.clock.now_ms());
    let (known, by) = (episode.clone(), actor_of(&viewer));
    let actor = Label::clean(&by, LOGGED_BYTES_MAX);
    let taken = site
        .kept(move |registry| registry.take_back_ack(&known, audience, &by, now_ms))
        .await?;
    if taken {
        site.told.outbox.wake();
        let audience = audience.as_str();
        tracing::info!(episode, audience, by = %actor, "an acknowledgement is taken back");
    }
    Ok(Json(AckJson {
        episode,
        acknowledged: None,
    }))
}

/// Who sees what admins said, but whose own answers are a user's.
fn own_answers(viewer: &Viewer) -> Option<Arc<str>> {
    let by_admins = audience_of(viewer) == Audience::Admins && !viewer.hand.reaches_all();
    let own = viewer.user.clone().filter(|_| by_admins)?;
    viewer.hand.is_own(&ServerKey::new(&own, "")).then_some(own)
}

fn place(said: &Said, field: &str) -> Place {
    let rank = match field {
        "user" => Rank::text(&said.key.user),
        _ => Rank::integer(Some(said.at_ms)),
    };
    // An episode may be acknowledged and its rule muted; a mute may know of no episode.
    let user = format!("{} {} {}", said.episode, said.rule, said.key.user);
    Place {
        rank,
        name: (user, format!("{} {}", what(said), said.key.server)),
    }
}

fn what(said: &Said) -> &'static str {
    match said.until_ms {
        None => "ack",
        Some(_) => "mute",
    }
}

// === impl AnswerJson ===

impl From<Said> for AnswerJson {
    fn from(said: Said) -> Self {
        Self {
            what: what(&said),
            episode: said.episode,
            rule: said.rule,
            user: said.key.user.to_string(),
            server: said.key.server.to_string(),
            by: Some(said.by).filter(|by| !by.is_empty()),
            time: rfc3339(said.at_ms),
            until: said.until_ms.and_then(rfc3339),
        }
    }
}
