//! Whether one server is stopped, and why: pure.

use super::{Settings, answer::Answer};
use crate::{
    hub::stop::{HubRunning, HubUser},
    verdict::idle::in_words,
};

/// jupyterhub-idle-culler's own timeout, which users are held to when none was given.
const USER_TIMEOUT_MS: i64 = 600_000;

/// The collector may know of a new start as late as this: it reads the hub's list once a minute.
const ANEW_MS: i64 = 2 * 60_000;

/// Clocks of hub and collector differ by less.
const CLOCKS_MS: i64 = 60_000;

/// What is wanted, in numbers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wanted {
    pub(super) timeout_ms: Option<i64>,
    pub(super) max_age_ms: Option<i64>,
    pub(super) default_servers: bool,
    pub(super) named_servers: bool,
    pub(super) admin_users: bool,
}

/// What is gone by.
#[derive(Clone, Copy, Debug)]
pub(super) enum Basis<'a> {
    /// The collector's answer.
    Answer(&'a Answer),
    /// Nothing: everybody is spared, and why.
    Spare(&'a str),
    /// The hub's last activity; the collector has been silent for too long.
    Hub,
}

/// The judgement on one server or user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Judgement {
    pub(super) stop: bool,
    pub(super) reason: String,
    pub(super) idle_seconds: Option<u64>,
    pub(super) held_until: Option<String>,
}

// === impl Wanted ===

impl Wanted {
    pub(super) fn of(settings: &Settings) -> Self {
        let ms = |span: std::time::Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        Self {
            timeout_ms: settings.timeout.map(ms),
            max_age_ms: settings.max_age.map(ms),
            default_servers: settings.default_servers,
            named_servers: settings.named_servers,
            admin_users: settings.admin_users,
        }
    }

    fn is_too_old(&self, began_ms: Option<i64>, now_ms: i64) -> bool {
        let limit_ms = self.max_age_ms.filter(|&limit_ms| limit_ms > 0);
        limit_ms
            .zip(began_ms)
            .is_some_and(|(limit_ms, began_ms)| now_ms.saturating_sub(began_ms) >= limit_ms)
    }

    /// Whether `server` of `user` is stopped.
    pub(super) fn judge(
        &self,
        user: &HubUser,
        server: &HubRunning,
        basis: Basis<'_>,
        now_ms: i64,
    ) -> Judgement {
        if let Some(pending) = &server.pending {
            return kept(format!("not now: the hub has it pending ({pending})"));
        }
        if !server.ready {
            return kept("not now: it is not ready".to_owned());
        }
        let mut judgement = match basis {
            Basis::Answer(answer) => by_answer(answer, user, server, now_ms),
            Basis::Spare(why) => kept(why.to_owned()),
            Basis::Hub => self.by_hub(server, now_ms),
        };
        let (wanted, kind) = match &*server.name {
            "" => (self.default_servers, "default"),
            _ => (self.named_servers, "named"),
        };
        if judgement.stop && !wanted {
            judgement.stop = false;
            judgement.reason = format!("{}; {kind} servers are not culled", judgement.reason);
        }
        judgement
    }

    fn by_hub(&self, server: &HubRunning, now_ms: i64) -> Judgement {
        let since_ms = server.last_activity_ms.or(server.started_ms);
        let idle_ms = since_ms.map(|since_ms| now_ms.saturating_sub(since_ms).max(0));
        let by = "by the hub's last_activity: the collector has been silent for over an hour";
        let (stop, reason) = if self.is_too_old(server.started_ms, now_ms) {
            (true, "older than --max-age".to_owned())
        } else {
            match (idle_ms, self.timeout_ms) {
                (None, _) => (false, format!("unknown, so kept, {by}")),
                (Some(_), None) => {
                    let why = "the collector has been silent for over an hour, and without \
                               --timeout there is nothing else to go by";
                    (false, why.to_owned())
                }
                (Some(idle_ms), Some(timeout_ms)) => {
                    let reason = format!("idle for {} {by}", in_words(idle_ms));
                    (idle_ms >= timeout_ms, reason)
                }
            }
        };
        Judgement {
            stop,
            reason,
            idle_seconds: seconds(idle_ms),
            held_until: None,
        }
    }

    /// Whether `user`, of whom nothing runs, is deleted: by the hub's own knowledge, since a
    /// collector knows servers.
    pub(super) fn judge_user(&self, user: &HubUser, now_ms: i64) -> Judgement {
        let since_ms = user.last_activity_ms.or(user.created_ms);
        let idle_ms = since_ms.map(|since_ms| now_ms.saturating_sub(since_ms).max(0));
        let timeout_ms = self.timeout_ms.unwrap_or(USER_TIMEOUT_MS);
        let spared = match user.admin {
            _ if self.admin_users => None,
            Some(false) => None,
            Some(true) => Some("an admin"),
            None => Some("perhaps an admin: the token may not read that"),
        };
        let (stop, reason) = if let Some(who) = spared {
            (false, who.to_owned())
        } else if self.is_too_old(user.created_ms, now_ms) {
            (true, "a user for longer than --max-age".to_owned())
        } else if let Some(idle_ms) = idle_ms {
            let reason = format!("no activity for {}", in_words(idle_ms));
            (idle_ms >= timeout_ms, reason)
        } else {
            (
                false,
                "unknown, so kept: the hub knows no activity".to_owned(),
            )
        };
        Judgement {
            stop,
            reason,
            idle_seconds: seconds(idle_ms),
            held_until: None,
        }
    }
}

fn by_answer(answer: &Answer, user: &HubUser, server: &HubRunning, now_ms: i64) -> Judgement {
    let Some(row) = answer.rows.get(&(user.name.clone(), server.name.clone())) else {
        return kept("unknown, so kept: the collector does not list it".to_owned());
    };
    let mut judgement = Judgement {
        stop: row.cull,
        reason: row.reason.clone(),
        idle_seconds: row.idle_seconds,
        held_until: row.held_until.clone(),
    };
    // What the collector says is of the life it knows; another one began meanwhile.
    let anew = server
        .started_ms
        .is_some_and(|started_ms| match row.idle_since_ms {
            Some(since_ms) => since_ms.saturating_add(CLOCKS_MS) < started_ms,
            None => now_ms.saturating_sub(started_ms) < ANEW_MS,
        });
    if judgement.stop && anew {
        judgement.stop = false;
        "it was started anew meanwhile".clone_into(&mut judgement.reason);
    }
    judgement
}

fn kept(reason: String) -> Judgement {
    Judgement {
        reason,
        ..Judgement::default()
    }
}

fn seconds(ms: Option<i64>) -> Option<u64> {
    ms.and_then(|ms| u64::try_from(ms / 1000).ok())
}
