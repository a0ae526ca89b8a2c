//! What people were told, and what they say to it: seen, not now.
//!
//! Admins answer for admins and a user for themselves: what one silences the other still hears.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, RawQuery, Request, State, rejection::PathRejection},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Site,
    guard::{Sight, Viewer},
    list::{Order, Page, Place, Rank},
    problem::Problem,
    query::Query,
    request::{actor_of, body_of, until},
    shape::rfc3339,
};
use crate::{
    causes::chain,
    limits::LOGGED_BYTES_MAX,
    notice::{LAB, NoticeEvent, Outbox},
    registry::{Audience, Mute, Registry, RegistryError, ToldNotice},
    text::Label,
    verdict::{Rule, Verdict},
};

/// Notices that a list goes through: those of the last days.
const TOLD_MAX: u32 = 5_000;

/// The longest that a rule may be muted.
const MUTE_MS_MAX: i64 = 30 * 24 * 60 * 60 * 1000;

/// Bytes of a body that says until when.
const MUTE_BODY_BYTES_MAX: usize = 256;

const SORT_FIELDS: [&str; 4] = ["queued", "user", "channel", "outcome"];

const PARAMETERS: [&str; 6] = ["outcome", "user", "channel", "sort", "limit", "cursor"];

const OUTCOMES: [&str; 4] = ["sent", "waiting", "failing", "dropped"];

/// Where what people were told is kept.
#[derive(Clone)]
pub struct Told {
    /// Small state.
    pub registry: Registry,
    /// Who delivers.
    pub outbox: Arc<Outbox>,
}

/// A notice and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = Notice)]
pub(crate) struct NoticeJson {
    /// Counts up.
    id: i64,
    /// The verdict's episode; of messages `message-…`.
    episode: String,
    /// The verdict's rule, `idle` for a warning of a stop; `null` for a message, and where the verdict
    /// is not kept any more.
    rule: Option<String>,
    /// Whose server it speaks of.
    user: String,
    /// The server's name, `""` for the default one.
    server: String,
    /// `info`, `warning` or `critical`, when it was written.
    severity: String,
    /// `mail`, `user-mail`, `warning-mail`, `message-mail`, or a web service's.
    channel: String,
    /// `opened`, `worse`, `again` or `cleared`; of warnings `quarter` or `last`.
    phase: String,
    /// `sent`; `waiting`; `failing`: tried and to be tried again; `dropped`, and why in `reason`.
    #[schema(value_type = String, pattern = "^(sent|waiting|failing|dropped)$")]
    outcome: &'static str,
    /// Why it was dropped, or why the last attempt failed (for who sees all rows).
    reason: Option<String>,
    /// Failed attempts.
    attempts: u32,
    /// When it was written.
    queued: Option<String>,
    /// When it is tried next.
    next: Option<String>,
    /// When it was taken.
    sent: Option<String>,
    /// When somebody said that they know: for who sees all rows an admin, else the user.
    acknowledged: Option<String>,
}

/// Something happened to a notice.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NoticeEventJson {
    /// When.
    time: Option<String>,
    /// The verdict's episode; of messages `message-…`.
    episode: String,
    /// The verdict's rule; `null` for a message.
    rule: Option<&'static str>,
    user: String,
    server: String,
    channel: String,
    /// `opened`, `worse`, `again` or `cleared`.
    phase: String,
    /// `sent`, `failed`, `given_up`, `capped`, `muted` or `no_address`.
    outcome: &'static str,
}

/// An acknowledgement.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AckJson {
    pub(super) episode: String,
    /// When it was acknowledged first; `null`: it is not.
    pub(super) acknowledged: Option<String>,
}

/// Until when a rule is to be muted.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MuteWish {
    /// RFC 3339; `null` ends it.
    #[schema(example = "2026-01-31T08:00:00Z")]
    until: Option<String>,
}

/// A rule about a server, muted or not.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MuteJson {
    rule: &'static str,
    user: String,
    server: String,
    /// Until when; `null`: it is not muted.
    muted_until: Option<String>,
}

/// What the path of an episode says.
pub(crate) type EpisodePath = Result<Path<String>, PathRejection>;

// === handlers ===

/// Notices, newest first unless told: all of them for who sees all rows, else those to the user.
#[utoipa::path(
    get,
    path = "/api/v1/notices",
    params(
        ("outcome" = Option<String>, Query, description = "`sent`, `waiting`, `failing` or `dropped`"),
        ("user" = Option<String>, Query, description = "Only about this user"),
        ("channel" = Option<String>, Query, description = "Only of this channel"),
        ("sort" = Option<String>, Query, description = "A field; `-` before it for downwards"),
        ("limit" = Option<u64>, Query, description = "Rows of a page, 1 to 5000; 200 unless told"),
        ("cursor" = Option<String>, Query, description = "`next` of the page before"),
    ),
    responses((status = 200, body = Page<NoticeJson>)),
)]
pub(crate) async fn notices(
    State(site): State<Arc<Site>>,
    viewer: Viewer,
    RawQuery(raw): RawQuery,
) -> Result<Json<Page<NoticeJson>>, Problem> {
    let mut query = Query::parse(raw.as_deref())?;
    let outcome = query.take_word("outcome", &OUTCOMES)?;
    let user = query.take("user");
    let channel = query.take("channel");
    let order = Order::take(&mut query, &SORT_FIELDS, "-queued")?;
    query.finish(&PARAMETERS)?;
    let audience = audience_of(&viewer);
    let told = site
        .kept(move |registry| registry.notices_told(audience.as_str(), TOLD_MAX))
        .await?;
    let all = viewer.sight == Sight::All;
    let rows = told
        .into_iter()
        .filter(|told| all || is_to(&viewer, &told.user, &told.channel))
        .filter(|told| user.as_deref().is_none_or(|user| user == told.user))
        .filter(|told| channel.as_deref().is_none_or(|known| known == told.channel))
        .map(|told| NoticeJson::new(told, all))
        .filter(|notice| outcome.is_none_or(|outcome| outcome == notice.outcome))
        .map(|notice| (place(&notice, order.field), notice))
        .collect();
    let (items, next) = order.page(rows);
    Ok(Json(Page { items, next }))
}

/// Somebody knows of an episode: it is not told again. Admins say it for admins, a user for
/// themselves.
#[utoipa::path(
    post,
    path = "/api/v1/notices/{episode}/ack",
    params(("episode" = String, Path, description = "Of the verdict")),
    responses(
        (status = 200, body = AckJson),
        (status = 403, description = "Seen, but not yours to answer; or a browser without its word"),
        (status = 404, description = "None that you may see"),
    ),
)]
pub(crate) async fn acknowledge(
    State(site): State<Arc<Site>>,
    viewer: Viewer,
    path: EpisodePath,
    RawQuery(raw): RawQuery,
) -> Result<Json<AckJson>, Problem> {
    Query::parse(raw.as_deref())?.finish(&[])?;
    let (verdict, audience) = answered(&site, &viewer, path).await?;
    let (episode, by) = (verdict.episode.clone(), actor_of(&viewer));
    let now_ms = site.clock.now_ms();
    let (known, actor) = (episode.clone(), Label::clean(&by, LOGGED_BYTES_MAX));
    let acked_ms = site
        .kept(move |registry| registry.acknowledge(&known, audience, &by, now_ms))
        .await?;
    tracing::info!(
        episode,
        audience = audience.as_str(),
        by = %actor,
        "a notice is acknowledged"
    );
    Ok(Json(AckJson {
        episode,
        acknowledged: rfc3339(acked_ms),
    }))
}

/// No more of an episode's rule about its server until then.
#[utoipa::path(
    post,
    path = "/api/v1/notices/{episode}/mute",
    params(("episode" = String, Path, description = "Of the verdict")),
    request_body = MuteWish,
    responses(
        (status = 200, body = MuteJson),
        (status = 403, description = "Seen, but not yours to answer; or a browser without its word"),
        (status = 404, description = "None that you may see"),
        (status = 422, description = "Past, more than 30 days away, or `killed` by its user, who is always told of it"),
    ),
)]
pub(crate) async fn mute(
    State(site): State<Arc<Site>>,
    viewer: Viewer,
    path: EpisodePath,
    request: Request,
) -> Result<Json<MuteJson>, Problem> {
    Query::parse(request.uri().query())?.finish(&[])?;
    let (verdict, audience) = answered(&site, &viewer, path).await?;
    let wish: MuteWish = body_of(request, MUTE_BODY_BYTES_MAX).await?;
    let now_ms = site.clock.now_ms();
    let until_ms = wish
        .until
        .map(|until| until_ms(&until, now_ms))
        .transpose()?;
    if until_ms.is_some() && !audience.may_mute(verdict.rule) {
        let rule = verdict.rule.as_str();
        let detail = format!("{rule} is not muted: its user is always told of it");
        return Err(Problem::bad_value("until", detail));
    }
    let (by, told) = (actor_of(&viewer), verdict.clone());
    let actor = Label::clean(&by, LOGGED_BYTES_MAX);
    let rule = verdict.rule.as_str();
    site.kept(move |registry| {
        registry.mute(&Mute {
            key: &told.key,
            rule,
            audience,
            until_ms,
            by: &by,
            episode: &told.episode,
            now_ms,
        })
    })
    .await?;
    // A mute that ends early lets out what it kept.
    site.told.outbox.wake();
    let what = match until_ms {
        Some(_) => "a rule is muted",
        None => "a rule is no longer muted",
    };
    let (server, audience) = (&verdict.key, audience.as_str());
    tracing::info!(?server, rule, until_ms, audience, by = %actor, "{what}");
    Ok(Json(MuteJson {
        rule,
        user: verdict.key.user.to_string(),
        server: verdict.key.server.to_string(),
        muted_until: until_ms.and_then(rfc3339),
    }))
}

/// The verdict that is answered, and for whom.
pub(super) async fn answered(
    site: &Site,
    viewer: &Viewer,
    path: EpisodePath,
) -> Result<(Verdict, Audience), Problem> {
    let none = || Problem::not_found("there is no such episode, or you may not see it");
    let Path(episode) = path.map_err(|_| Problem::unreadable("the address is not UTF-8"))?;
    let found = site
        .kept(move |registry| registry.episode(&episode))
        .await?;
    let verdict = found.ok_or_else(none)?;
    let truth = site.state.read();
    if !viewer.sight.sees_key(&verdict.key, &truth) {
        return Err(none());
    }
    if viewer.hand.reaches_all() {
        return Ok((verdict, Audience::Admins));
    }
    if viewer.hand.is_own(&verdict.key) {
        return Ok((verdict, Audience::User));
    }
    Err(Problem::missing_scope(format!(
        "only its user answers a notice, or whoever holds {}",
        super::guard::WRITE_ALL
    )))
}

fn until_ms(text: &str, now_ms: i64) -> Result<i64, Problem> {
    let bad = |detail: &str| Err(Problem::bad_value("until", detail.to_owned()));
    match until(text)?.as_millisecond() {
        ms if ms <= now_ms => bad("until is past already"),
        ms if ms - now_ms > MUTE_MS_MAX => bad("until is 30 days away at most"),
        ms => Ok(ms),
    }
}

pub(super) fn audience_of(viewer: &Viewer) -> Audience {
    match viewer.sight {
        Sight::All => Audience::Admins,
        Sight::Some(_) => Audience::User,
    }
}

/// It went to the user who looks, not to admins about them.
fn is_to(viewer: &Viewer, user: &str, channel: &str) -> bool {
    viewer.user.as_deref() == Some(user) && (channel == LAB || channel.ends_with("-mail"))
}

fn place(notice: &NoticeJson, field: &str) -> Place {
    let rank = match field {
        "user" => Rank::text(&notice.user),
        "channel" => Rank::text(&notice.channel),
        "outcome" => Rank::text(notice.outcome),
        _ => Rank::integer(Some(notice.id)),
    };
    Place {
        rank,
        name: (format!("{:020}", notice.id), String::new()),
    }
}

// === impl NoticeJson ===

impl NoticeJson {
    fn new(told: ToldNotice, with_errors: bool) -> Self {
        let outcome = match (&told.sent_ms, &told.next_ms, told.attempts) {
            (_, Some(_), 1..) => "failing",
            (Some(_), _, _) => "sent",
            (None, Some(_), _) => "waiting",
            (None, None, _) => "dropped",
        };
        let reason = match outcome {
            "dropped" => told.outcome,
            "failing" => told.error.filter(|_| with_errors),
            _ => None,
        };
        Self {
            id: told.id,
            episode: told.episode,
            rule: told.rule,
            user: told.user,
            server: told.server,
            severity: told.severity,
            channel: told.channel,
            phase: told.phase,
            outcome,
            reason,
            attempts: told.attempts,
            queued: rfc3339(told.queued_ms),
            next: told.next_ms.and_then(rfc3339),
            sent: told.sent_ms.and_then(rfc3339),
            acknowledged: told.acked_ms.and_then(rfc3339),
        }
    }
}

// === impl NoticeEventJson ===

impl NoticeEventJson {
    /// `None` when it is not for these eyes.
    pub(crate) fn for_viewer(event: &NoticeEvent, viewer: &Viewer) -> Option<Self> {
        let all = viewer.sight == Sight::All;
        (all || is_to(viewer, &event.key.user, &event.channel)).then(|| Self {
            time: rfc3339(event.at_ms),
            episode: event.episode.clone(),
            rule: event.rule.map(Rule::as_str),
            user: event.key.user.to_string(),
            server: event.key.server.to_string(),
            channel: event.channel.clone(),
            phase: event.phase.clone(),
            outcome: event.outcome.as_str(),
        })
    }
}

// === impl Site ===

impl Site {
    /// Runs `work` on small state where waiting for the disk holds nobody up.
    pub(crate) async fn kept<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Registry) -> Result<T, RegistryError> + Send + 'static,
    ) -> Result<T, Problem> {
        let registry = self.told.registry.clone();
        let failed = |error: &dyn std::error::Error| {
            tracing::error!(error = chain(error), "small state cannot be used");
            Problem::unavailable("what is kept cannot be read or written now")
        };
        tokio::task::spawn_blocking(move || work(&registry))
            .await
            .map_err(|error| failed(&error))?
            .map_err(|error| failed(&error))
    }
}
