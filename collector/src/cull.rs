//! Who may be stopped, and why: a pure answer from the state.
//!
//! Unknown never culls: what nobody measured and the hub does not know either is spared, and the
//! reason says so.

use crate::{
    fact::ServerKey,
    state::{Phase, Server, State},
    verdict::idle::in_words,
};

/// A server whose agent is silent this long is judged by the hub's own idea of its activity.
pub const SILENT_MS: i64 = 10 * 60 * 1000;

/// What a culling script asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// Stop what is idle for this long.
    pub timeout_ms: i64,
    /// Stop what is older than this, at work or not; `None` never does.
    pub max_age_ms: Option<i64>,
}

/// The answer for one running server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CullRow {
    /// Which one.
    pub key: ServerKey,
    /// How long nobody has worked there; `None` while somebody does or nobody knows.
    pub idle_ms: Option<i64>,
    /// Since when.
    pub idle_since_ms: Option<i64>,
    /// Whether it may be stopped now.
    pub cull: bool,
    /// Why, or why not, in words.
    pub reason: String,
    /// Its user asked to keep it until then.
    pub held_until_ms: Option<i64>,
    /// When its user was warned; nobody is warned yet.
    pub warned_at_ms: Option<i64>,
    /// When policy stops it; without a policy that stops, nothing is announced.
    pub stops_at_ms: Option<i64>,
}

/// What is known of somebody's work there.
enum Work {
    Goes(String),
    IdleSince { at_ms: i64, by: &'static str },
    Unknown(&'static str),
}

/// One row per running server, by key.
#[must_use]
pub fn rows(state: &State, question: &Question, now_ms: i64) -> Vec<CullRow> {
    state
        .servers
        .values()
        .filter(|server| server.phase != Phase::Gone)
        .map(|server| row(server, question, now_ms))
        .collect()
}

fn row(server: &Server, question: &Question, now_ms: i64) -> CullRow {
    let work = work(server, now_ms);
    let idle_since_ms = match work {
        Work::IdleSince { at_ms, .. } => Some(at_ms),
        Work::Goes(_) | Work::Unknown(_) => None,
    };
    let held_until_ms = server.held_until_ms.filter(|&until_ms| until_ms > now_ms);
    let (cull, reason) = if held_until_ms.is_some() {
        (false, "held by its user".to_owned())
    } else if let Some(reason) = too_old(server, question, now_ms) {
        (true, reason)
    } else {
        judge(&work, question, now_ms)
    };
    CullRow {
        key: server.key.clone(),
        idle_ms: idle_since_ms.map(|at_ms| now_ms.saturating_sub(at_ms).max(0)),
        idle_since_ms,
        cull,
        reason,
        held_until_ms,
        warned_at_ms: None,
        stops_at_ms: None,
    }
}

fn judge(work: &Work, question: &Question, now_ms: i64) -> (bool, String) {
    match work {
        Work::Goes(reason) => (false, reason.clone()),
        Work::Unknown(why) => (false, format!("unknown, so kept: {why}")),
        Work::IdleSince { at_ms, by } => {
            let idle_ms = now_ms.saturating_sub(*at_ms).max(0);
            let idle_for = in_words(idle_ms);
            (
                idle_ms >= question.timeout_ms,
                format!("idle for {idle_for}{by}"),
            )
        }
    }
}

fn too_old(server: &Server, question: &Question, now_ms: i64) -> Option<String> {
    let max_age_ms = question.max_age_ms?;
    // An agent's first word is no start: only the hub knows how old a server is.
    let started_ms = server.started_ms.filter(|_| server.started_by_hub)?;
    let age_ms = now_ms.saturating_sub(started_ms);
    (age_ms >= max_age_ms).then(|| format!("older than {}", in_words(max_age_ms)))
}

fn work(server: &Server, now_ms: i64) -> Work {
    let heard = |seen_ms: i64| now_ms.saturating_sub(seen_ms) <= SILENT_MS;
    if server.last_seen_ms.is_some_and(heard) {
        return measured(server);
    }
    match server.hub_last_activity_ms {
        Some(at_ms) => Work::IdleSince {
            at_ms,
            by: if server.last_seen_ms.is_some() {
                " by the hub's last_activity: its agent is silent"
            } else {
                " by the hub's last_activity: it has no agent"
            },
        },
        None => Work::Unknown("no agent, and the hub knows no activity"),
    }
}

fn measured(server: &Server) -> Work {
    if let Some(reason) = &server.busy_reason {
        return Work::Goes(reason.clone());
    }
    match server.idle_since_ms {
        Some(at_ms) => Work::IdleSince { at_ms, by: "" },
        None if server.phase == Phase::Silent => Work::Unknown("its agent fell silent just now"),
        None => Work::Unknown("its agent has just come"),
    }
}
