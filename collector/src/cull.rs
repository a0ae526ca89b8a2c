//! Who may be stopped, and why: a pure answer from the state and what policy says.
//!
//! Unknown never culls: what nobody measured and the hub does not know either is spared, and the
//! reason says so. Nobody is stopped unwarned where there is a way to warn them.

pub mod policy;
pub mod schedule;

mod heard;
mod permit;

use std::sync::Arc;

use crate::{
    fact::ServerKey,
    state::{Phase, Server, State},
    verdict::idle::in_words,
    warning::{About, Warned},
};
pub use heard::SILENT_MS;
pub(crate) use permit::{MAIL_TRIED_MS, Permit};
use permit::{Ways, permit};
use policy::{Book, Terms};
pub use policy::{CullPolicy, Mode};

/// What a culling script asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// Stop what is idle for this long; `None`: for as long as policy says for each.
    pub timeout_ms: Option<i64>,
    /// Stop what is older than this, at work or not; `Some(None)` never does, `None`: as policy
    /// says.
    pub max_age_ms: Option<Option<i64>>,
    /// Whether a warning must have come first; `None`: where policy is acted on and `timeout_ms`
    /// and `max_age_ms` are its own.
    pub warned: Option<bool>,
}

/// The answer for one running server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CullRow {
    /// Which one.
    pub key: ServerKey,
    /// How long nobody has worked there; 0 while somebody does, `None` when nobody knows.
    pub idle_ms: Option<i64>,
    /// Since when.
    pub idle_since_ms: Option<i64>,
    /// Whether it may be stopped now.
    pub cull: bool,
    /// Why, or why not, in words.
    pub reason: String,
    /// Its user asked to keep it until then.
    pub held_until_ms: Option<i64>,
    /// When the warning of its stop was delivered.
    pub warned_at_ms: Option<i64>,
    /// When it may be stopped if nobody works until then.
    pub stops_at_ms: Option<i64>,
}

/// What is known of somebody's work there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work<'a> {
    Goes(&'a str),
    IdleSince { at_ms: i64, by: &'static str },
    Unknown(&'static str),
}

/// When a server is due, and for what; whatever spares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) at_ms: i64,
    pub(crate) about: About,
    /// Holds put it off no further.
    pub(crate) latest_ms: i64,
}

/// What spares a server, whatever it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Spared {
    /// The hub does not list it as up, or has not yet.
    Unlisted,
    Exempt(String),
    Kept(String),
}

/// One server, judged: what a row is made of, without its words.
#[derive(Clone, Debug)]
pub struct Judged<'a> {
    pub(crate) server: &'a Server,
    pub(crate) work: Work<'a>,
    pub(crate) spared: Option<Spared>,
    pub(crate) due: Option<Due>,
    pub(crate) permit: Option<Permit>,
    pub(crate) warned: Option<&'a Warned>,
    /// It was kept for so long beyond its time, the most there is.
    kept_out_ms: Option<i64>,
    now_ms: i64,
}

/// Judges servers one by one.
pub struct Judge<'a> {
    state: &'a State,
    book: Book<'a>,
    question: Question,
    needs_warning: bool,
    listens_since_ms: Option<i64>,
    now_ms: i64,
}

/// One row per running server, by key.
#[must_use]
pub fn rows(state: &State, question: &Question, now_ms: i64) -> Vec<CullRow> {
    let mut judge = Judge::new(state, *question, now_ms);
    let running = state.servers.values().filter(|server| is_up(server));
    running.map(|server| judge.judge(server).row()).collect()
}

/// Whether there is anything to stop.
#[must_use]
pub fn is_up(server: &Server) -> bool {
    server.phase != Phase::Gone
}

// === impl Judge ===

impl<'a> Judge<'a> {
    /// By the policy of `state`, or as `question` would have it.
    #[must_use]
    pub fn new(state: &'a State, question: Question, now_ms: i64) -> Self {
        let asks = question.timeout_ms.is_some() || question.max_age_ms.is_some();
        let by_policy = state.cull.mode == Mode::Act && !asks;
        Self {
            state,
            book: Book::new(&state.cull, now_ms),
            needs_warning: question.warned.unwrap_or(by_policy),
            listens_since_ms: state.listens_since_ms(now_ms),
            question,
            now_ms,
        }
    }

    /// What is to be said of `server`.
    pub fn judge(&mut self, server: &'a Server) -> Judged<'a> {
        let terms = self.book.terms(&server.groups);
        let work = heard::work(server, self.listens_since_ms, self.now_ms);
        let awaited = heard::is_awaited(server, self.listens_since_ms, self.now_ms);
        let due = self.due(server, work, &terms);
        let warned = self.state.warned(&server.key);
        let warned = warned.filter(|warned| due.is_some_and(|due| due.about == warned.about));
        let permit = due.map(|due| {
            if !self.needs_warning {
                return Permit::From(due.at_ms);
            }
            let ways = Ways {
                can_warn: can_tell(&self.state.cull, server) || awaited,
                page_open: server.has_page(),
                listens_since_ms: self.listens_since_ms,
                now_ms: self.now_ms,
            };
            permit(&self.state.cull, due, warned, ways)
        });
        let spent = due.is_some_and(|due| due.latest_ms <= self.now_ms);
        let kept = kept(server, terms.hold_max_ms, self.now_ms);
        Judged {
            work,
            spared: self.spared(server, &terms, due),
            kept_out_ms: kept.filter(|_| spent).map(|_| terms.hold_total_max_ms),
            due,
            permit,
            warned,
            server,
            now_ms: self.now_ms,
        }
    }

    fn spared(&self, server: &Server, terms: &Terms, due: Option<Due>) -> Option<Spared> {
        if self.state.hub_heard && !server.listed {
            return Some(Spared::Unlisted);
        }
        let exempt = &self.state.cull.exempt;
        if let Some(reason) = exempt.reason(&server.key, &server.groups) {
            return Some(Spared::Exempt(reason));
        }
        let latest_ms = due.map_or(i64::MAX, |due| due.latest_ms);
        let (until_ms, how) = kept(server, terms.hold_max_ms, self.now_ms)?;
        let kept = (until_ms.min(latest_ms), how);
        (latest_ms > self.now_ms)
            .then(|| in_kept_words(kept))?
            .map(Spared::Kept)
    }

    /// The earlier of too idle and too old, but never while its user holds it, which is not for ever.
    fn due(&self, server: &Server, work: Work<'_>, terms: &Arc<Terms>) -> Option<Due> {
        let kept = kept(server, terms.hold_max_ms, self.now_ms);
        let put_off = |mut due: Due| {
            if let Some((until_ms, _)) = kept {
                due.at_ms = due.at_ms.max(until_ms.min(due.latest_ms));
            }
            due
        };
        let dues = self.dues(server, work, terms).map(put_off);
        dues.min_by_key(|due| due.at_ms)
    }

    /// When it is too idle and when too old, whoever holds it.
    fn dues(
        &self,
        server: &Server,
        work: Work<'_>,
        terms: &Terms,
    ) -> impl Iterator<Item = Due> + use<> {
        let idle = match work {
            Work::IdleSince { at_ms, .. } => {
                let base_ms = self.state.policy_of(server).idle_after_ms;
                let due_ms = match self.question.timeout_ms {
                    Some(timeout_ms) => at_ms.saturating_add(timeout_ms),
                    None => terms.due_ms(at_ms, base_ms, self.now_ms),
                };
                Some(Due {
                    at_ms: due_ms,
                    about: About::Idle { since_ms: at_ms },
                    latest_ms: terms.kept_latest_ms(at_ms, base_ms),
                })
            }
            Work::Goes(_) | Work::Unknown(_) => None,
        };
        // An agent's first word is no start: only the hub knows how old a server is.
        let started_ms = server.started_ms.filter(|_| server.started_by_hub);
        let max_age_ms = self.question.max_age_ms.unwrap_or(terms.max_age_ms);
        let old = started_ms.zip(max_age_ms).map(|(started_ms, max_age_ms)| {
            let at_ms = started_ms.saturating_add(max_age_ms);
            Due {
                at_ms,
                about: About::Age { max_age_ms },
                latest_ms: at_ms.saturating_add(terms.hold_total_max_ms),
            }
        });
        idle.into_iter().chain(old)
    }
}

/// The latest moment until which `server` may be kept, and by how much beyond its time that is: the earlier
/// of what bounds it for its idling and for its age; `None` where neither does.
#[must_use]
pub fn kept_latest_ms(state: &State, server: &Server, now_ms: i64) -> Option<(i64, i64)> {
    let mut judge = Judge::new(state, Question::default(), now_ms);
    let terms = judge.book.terms(&server.groups);
    let work = heard::work(server, judge.listens_since_ms, now_ms);
    let dues = judge.dues(server, work, &terms);
    let latest_ms = dues.map(|due| due.latest_ms).min()?;
    Some((latest_ms, terms.hold_total_max_ms))
}

/// Until when its user keeps it, if that is still to come: by a hold, or by what they asked
/// jupyter-keepalive for. That is the word of their own process, and holds no longer from now than a
/// hold may.
fn kept(server: &Server, hold_max_ms: i64, now_ms: i64) -> Option<(i64, &'static str)> {
    let ahead = |until_ms: Option<i64>| until_ms.filter(|until_ms| *until_ms > now_ms);
    let held = ahead(server.held_until_ms).map(|until_ms| (until_ms, "held"));
    let latest_ms = now_ms.saturating_add(hold_max_ms);
    let kept = ahead(server.kept_until_ms.map(|until_ms| until_ms.min(latest_ms)))
        .map(|until_ms| (until_ms, "kept by jupyter-keepalive"));
    held.into_iter().chain(kept).max_by_key(|kept| kept.0)
}

/// `held until 2026-11-29 08:00 UTC by its user`; `None` where nobody keeps it.
#[must_use]
pub fn kept_in_words(server: &Server, hold_max_ms: i64, now_ms: i64) -> Option<String> {
    in_kept_words(kept(server, hold_max_ms, now_ms)?)
}

fn in_kept_words((until_ms, how): (i64, &str)) -> Option<String> {
    let until = jiff::Timestamp::from_millisecond(until_ms).ok()?;
    let until = until.strftime("%Y-%m-%d %H:%M");
    Some(format!("{how} until {until} UTC by its user"))
}

/// Whether there is a way to tell its user anything now: JupyterLab, or mail.
fn can_tell(policy: &CullPolicy, server: &Server) -> bool {
    server.connected || policy.warns_by_mail
}

// === impl Judged ===

impl Judged<'_> {
    /// Of which server.
    #[must_use]
    pub fn server(&self) -> &Server {
        self.server
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.now_ms
    }

    /// Whether there is a way to tell its user anything now: an agent that is away is told nothing
    /// when it comes back.
    pub(crate) fn can_tell(&self, policy: &CullPolicy) -> bool {
        can_tell(policy, self.server)
    }

    /// Whether it may be stopped now.
    #[must_use]
    pub fn cull(&self) -> bool {
        let permitted = self.permit.is_some_and(|permit| permit.allows(self.now_ms));
        self.spared.is_none() && permitted
    }

    /// How long nobody has worked there.
    #[must_use]
    pub fn idle_ms(&self) -> Option<i64> {
        match self.work {
            Work::IdleSince { at_ms, .. } => Some(self.now_ms.saturating_sub(at_ms).max(0)),
            Work::Goes(_) => Some(0),
            Work::Unknown(_) => None,
        }
    }

    /// When it may be stopped if nobody works until then; `None` where it may not, or where that
    /// waits for a warning.
    #[must_use]
    pub fn stops_at_ms(&self) -> Option<i64> {
        let keeps = matches!(self.spared, Some(Spared::Unlisted | Spared::Exempt(_)));
        self.permit
            .filter(|_| !keeps)
            .and_then(|permit| permit.at_ms(self.now_ms))
    }

    /// The answer in full.
    #[must_use]
    pub fn row(&self) -> CullRow {
        CullRow {
            key: self.server.key.clone(),
            idle_ms: self.idle_ms(),
            idle_since_ms: match self.work {
                Work::IdleSince { at_ms, .. } => Some(at_ms),
                Work::Goes(_) | Work::Unknown(_) => None,
            },
            cull: self.cull(),
            reason: self.reason(),
            held_until_ms: self
                .server
                .held_until_ms
                .filter(|until_ms| *until_ms > self.now_ms),
            warned_at_ms: self.warned.and_then(|warned| warned.delivered_ms),
            stops_at_ms: self.stops_at_ms(),
        }
    }

    fn reason(&self) -> String {
        match &self.spared {
            Some(Spared::Unlisted) => {
                return "unknown, so kept: the hub does not list it as running".to_owned();
            }
            Some(Spared::Exempt(reason) | Spared::Kept(reason)) => return reason.clone(),
            None => {}
        }
        let reason = match (self.due.map(|due| due.about), self.work) {
            (Some(About::Age { max_age_ms }), _) if self.is_due() => {
                format!("older than {}", in_words(max_age_ms))
            }
            (_, Work::Goes(reason)) => return reason.to_owned(),
            (_, Work::Unknown(why)) => return format!("unknown, so kept: {why}"),
            (_, Work::IdleSince { by, .. }) => {
                let idle_for = in_words(self.idle_ms().unwrap_or(0));
                match self.server.idle_note.as_ref().filter(|_| by.is_empty()) {
                    Some(note) => format!("idle for {idle_for}: {note}"),
                    None => format!("idle for {idle_for}{by}"),
                }
            }
        };
        let reason = match self.kept_out_ms {
            Some(most_ms) if self.is_due() => {
                let most = in_words(most_ms);
                format!("{reason}; held {most} beyond its time, the most there is")
            }
            _ => reason,
        };
        if !self.is_due() || self.cull() {
            return reason;
        }
        format!("{reason}; {}", self.what_keeps())
    }

    /// What keeps it although it is due.
    fn what_keeps(&self) -> &'static str {
        match (self.warned, self.permit) {
            (None, _) => "its user is warned first",
            (Some(_), Some(Permit::Undelivered)) => "kept until its user's warning is delivered",
            (Some(_), Some(Permit::Unseen { .. })) => {
                "its user was warned in a page that is open and that nobody looked at yet"
            }
            (Some(_), Some(Permit::Anew(_))) => {
                "its user was warned, and the time begins anew: nobody listened for a while"
            }
            (Some(_), Some(Permit::From(_)) | None) => "its user was just warned",
        }
    }

    fn is_due(&self) -> bool {
        self.due.is_some_and(|due| due.at_ms <= self.now_ms)
    }
}

#[cfg(test)]
mod tests;
