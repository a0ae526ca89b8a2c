//! What admins write to users: to whom a filter selects, with a look before, and kept.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::{RawQuery, Request, State},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Site,
    guard::{Viewer, WRITE_ALL, visible},
    list::Page,
    problem::Problem,
    query::Query,
    request::{actor_of, body_of},
    shape::rfc3339,
};
use crate::{
    fact::ServerKey,
    limits::LOGGED_BYTES_MAX,
    link::admit::Notice,
    notice::{MESSAGE_MAIL, lab_message, too_long_for_lab},
    registry::{Message, SERVICE_PREFIX},
    state::{Phase, Server},
    stats::{Outcome, Outlet},
    text::Label,
    verdict::Rule,
};

/// Servers of one message.
const RECIPIENTS_MAX: usize = 10_000;

/// Names in a filter.
const NAMES_MAX: usize = 1_000;

/// Bytes of a message's subject, and of its text before it is cleaned: more is never shown.
const SUBJECT_BYTES_MAX: usize = 150;
const TEXT_BYTES_MAX: usize = 8 * 1024;

/// Bytes of a message with its filter.
const BODY_BYTES_MAX: usize = 256 * 1024;

/// Messages that are listed.
const LISTED_MAX: u32 = 500;

/// Recipients that a look before names.
const NAMED_MAX: usize = 200;

/// A message and whom it is for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MessageWish {
    /// One line.
    subject: String,
    /// Plain text; an empty line begins a paragraph. With the subject no longer than JupyterLab shows:
    /// 1,000 characters and 2 KiB.
    text: String,
    /// Whom it is for.
    filter: Filter,
}

/// Whom a message is for: users with a server that is up and all of what is said here.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Filter {
    /// One of these users.
    users: Option<Vec<String>>,
    /// In one of these groups of the hub.
    groups: Option<Vec<String>>,
    /// With an open verdict of this rule.
    rule: Option<String>,
    /// Idle for at least so long.
    idle_seconds_min: Option<u64>,
    /// Using at least so much memory.
    memory_used_bytes_min: Option<u64>,
    /// Has to be `true` where nothing else is said: nobody writes to everybody by a slip.
    everybody: bool,
}

/// What a message would be, or became.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MessageJson {
    /// Its number; `null` for a look before.
    id: Option<i64>,
    /// Who wrote it.
    author: String,
    /// When.
    written: Option<String>,
    subject: String,
    text: String,
    /// Whom it was for, without names.
    filter: String,
    /// How many users that is.
    recipients: u32,
    /// Up to 200 of their servers; empty in lists.
    servers: Vec<RecipientJson>,
    /// Whether mail goes to them beside JupyterLab.
    mail: bool,
}

/// One who gets it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RecipientJson {
    user: String,
    server: String,
}

// === handlers ===

/// Writes to the users that a filter selects, in JupyterLab and by mail; with `preview` nobody is
/// told, and the answer says who would be.
#[utoipa::path(
    post,
    path = "/api/v1/messages",
    params(("preview" = Option<bool>, Query, description = "Only say who would get what")),
    request_body = MessageWish,
    responses(
        (status = 200, body = MessageJson),
        (status = 403, description = "Not for who may not write to everybody"),
        (status = 422, description = "Empty, too long, or for nobody"),
    ),
)]
pub(crate) async fn write(
    State(site): State<Arc<Site>>,
    viewer: Viewer,
    request: Request,
) -> Result<Json<MessageJson>, Problem> {
    let preview = preview(request.uri().query())?;
    site.words.check(&viewer, request.headers())?;
    may_write(&viewer)?;
    let wish: MessageWish = body_of(request, BODY_BYTES_MAX).await?;
    let (subject, text) = words(&wish)?;
    wish.filter.check()?;
    let keys = recipients(&site, &viewer, &wish.filter)?;
    let users: BTreeMap<String, String> = keys
        .iter()
        .rev()
        .map(|key| (key.user.to_string(), key.server.to_string()))
        .collect();
    let now_ms = site.clock.now_ms();
    let mut message = Message {
        id: 0,
        user: actor_of(&viewer),
        written_ms: now_ms,
        subject,
        text,
        filter: wish.filter.in_words(),
        recipients: u32::try_from(users.len()).unwrap_or(u32::MAX),
    };
    let by_mail = site.told.outbox.mails_users();
    if !preview {
        let mails: Vec<(String, String)> = users.into_iter().filter(|_| by_mail).collect();
        let kept = message.clone();
        message.id = site
            .kept(move |registry| registry.put_message(&kept, MESSAGE_MAIL, &mails))
            .await?;
        site.told.outbox.wake();
        show(&site, &keys, &message);
        tracing::info!(
            id = message.id,
            recipients = message.recipients,
            filter = message.filter,
            by = %Label::clean(&message.user, LOGGED_BYTES_MAX),
            "an admin wrote to users"
        );
    }
    let named = keys.iter().take(NAMED_MAX).map(|key| RecipientJson {
        user: key.user.to_string(),
        server: key.server.to_string(),
    });
    Ok(Json(MessageJson {
        servers: named.collect(),
        ..MessageJson::new(message, by_mail)
    }))
}

/// What was written, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/messages",
    responses((status = 200, body = Page<MessageJson>)),
)]
pub(crate) async fn messages(
    State(site): State<Arc<Site>>,
    viewer: Viewer,
    RawQuery(raw): RawQuery,
) -> Result<Json<Page<MessageJson>>, Problem> {
    Query::parse(raw.as_deref())?.finish(&[])?;
    may_write(&viewer)?;
    let messages = site.kept(|registry| registry.messages(LISTED_MAX)).await?;
    let by_mail = site.told.outbox.mails_users();
    let items = messages.into_iter().map(|m| MessageJson::new(m, by_mail));
    Ok(Json(Page {
        items: items.collect(),
        next: None,
    }))
}

fn may_write(viewer: &Viewer) -> Result<(), Problem> {
    if viewer.hand.reaches_all() {
        return Ok(());
    }
    Err(Problem::missing_scope(format!(
        "only who holds {WRITE_ALL} writes to users and reads what was written"
    )))
}

/// `?preview`, `?preview=true`.
fn preview(raw: Option<&str>) -> Result<bool, Problem> {
    if raw == Some("preview") {
        return Ok(true);
    }
    let mut query = Query::parse(raw)?;
    let said = query.take_word("preview", &["true", "false"])?;
    query.finish(&["preview"])?;
    Ok(said == Some("true"))
}

fn words(wish: &MessageWish) -> Result<(String, String), Problem> {
    let bad = |field, detail: String| Err(Problem::bad_value(field, detail));
    let subject = wish.subject.trim();
    if subject.is_empty() || subject.len() > SUBJECT_BYTES_MAX {
        return bad(
            "subject",
            format!("subject has 1 to {SUBJECT_BYTES_MAX} bytes"),
        );
    }
    if wish.text.trim().is_empty() || wish.text.len() > TEXT_BYTES_MAX {
        return bad("text", format!("text has 1 to {TEXT_BYTES_MAX} bytes"));
    }
    // Lines stay lines; what could hide or turn text round does not.
    let lines: Vec<String> = wish
        .text
        .trim()
        .lines()
        .map(|line| Label::clean(line.trim_end(), TEXT_BYTES_MAX).to_string())
        .collect();
    let subject = Label::clean(subject, SUBJECT_BYTES_MAX).to_string();
    let text = lines.join("\n");
    // Who reads it there and not in a mail would miss the end and not know.
    match too_long_for_lab(&subject, &text) {
        Some(why) => bad("text", why),
        None => Ok((subject, text)),
    }
}

/// Servers that are up and that `filter` selects.
fn recipients(site: &Site, viewer: &Viewer, filter: &Filter) -> Result<Vec<ServerKey>, Problem> {
    let now_ms = site.clock.now_ms();
    let truth = site.state.read();
    let selected = visible(&truth, &viewer.sight)
        .filter(|server| server.phase != Phase::Gone && filter.selects(server, now_ms));
    let keys: Vec<ServerKey> = selected.map(|server| server.key.clone()).collect();
    match keys.len() {
        0 => Err(Problem::bad_value(
            "filter",
            "no server that is up is selected",
        )),
        n if n > RECIPIENTS_MAX => Err(Problem::bad_value(
            "filter",
            format!("{n} servers are selected, a message goes to {RECIPIENTS_MAX} at most"),
        )),
        _ => Ok(keys),
    }
}

/// In JupyterLab: an agent that is away has no page to show it on.
fn show(site: &Site, keys: &[ServerKey], message: &Message) {
    for key in keys {
        let (verdict, text) = lab_message(key, message);
        let notice = Notice {
            verdict,
            text,
            stops_in_ms: None,
        };
        if site.agents.notify(key, notice) {
            site.stats.notice(Outlet::Lab, Outcome::Sent);
        }
    }
}

// === impl Filter ===

impl Filter {
    fn check(&self) -> Result<(), Problem> {
        let bad = |detail: String| Err(Problem::bad_value("filter", detail));
        let names = |list: &Option<Vec<String>>| list.as_ref().map_or(0, Vec::len);
        if names(&self.users) > NAMES_MAX || names(&self.groups) > NAMES_MAX {
            return bad(format!("no more than {NAMES_MAX} users or groups"));
        }
        if let Some(rule) = &self.rule
            && !Rule::ALL.iter().any(|known| known.as_str() == rule)
        {
            let rules = Rule::ALL.map(Rule::as_str).join(", ");
            return bad(format!("rule is one of {rules}"));
        }
        let says_nothing = self.users.is_none()
            && self.groups.is_none()
            && self.rule.is_none()
            && self.idle_seconds_min.is_none()
            && self.memory_used_bytes_min.is_none();
        if says_nothing != self.everybody {
            return bad("say whom it is for, or everybody: true and nothing else".to_owned());
        }
        Ok(())
    }

    fn selects(&self, server: &Server, now_ms: i64) -> bool {
        let within = |list: &Option<Vec<String>>, is: &dyn Fn(&String) -> bool| {
            list.as_ref().is_none_or(|list| list.iter().any(is))
        };
        let used = server.latest.as_ref().map(|s| s.memory_used_bytes);
        let idle = super::shape::idle_seconds(server, now_ms);
        within(&self.users, &|user| **user == *server.key.user)
            && within(&self.groups, &|group| {
                server.groups.iter().any(|of| of.as_str() == group)
            })
            && self.rule.as_ref().is_none_or(|rule| {
                let mut verdicts = server.verdicts.iter();
                verdicts.any(|verdict| verdict.rule.as_str() == rule)
            })
            && self
                .idle_seconds_min
                .is_none_or(|min| idle.is_some_and(|idle| idle >= min))
            && self
                .memory_used_bytes_min
                .is_none_or(|min| used.is_some_and(|used| used >= min))
    }

    /// For the record: what it says, without anybody's name.
    fn in_words(&self) -> String {
        let mut words = Vec::new();
        if self.everybody {
            words.push("everybody".to_owned());
        }
        if let Some(users) = &self.users {
            words.push(format!("{} named users", users.len()));
        }
        if let Some(groups) = &self.groups {
            words.push(format!("groups {}", groups.join(", ")));
        }
        if let Some(rule) = &self.rule {
            words.push(format!("rule {rule}"));
        }
        if let Some(seconds) = self.idle_seconds_min {
            words.push(format!("idle for {seconds} s"));
        }
        if let Some(bytes) = self.memory_used_bytes_min {
            words.push(format!("using {bytes} bytes"));
        }
        Label::clean(&words.join("; "), TEXT_BYTES_MAX).to_string()
    }
}

// === impl MessageJson ===

impl MessageJson {
    fn new(message: Message, mail: bool) -> Self {
        // Kept apart from users, and shown by its name.
        let author = message.user.strip_prefix(SERVICE_PREFIX);
        let author = author.unwrap_or(&message.user).to_owned();
        Self {
            id: (message.id != 0).then_some(message.id),
            author,
            written: rfc3339(message.written_ms),
            subject: message.subject,
            text: message.text,
            filter: message.filter,
            recipients: message.recipients,
            servers: Vec::new(),
            mail,
        }
    }
}
