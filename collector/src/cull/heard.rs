//! Whether an agent was heard, or may only be on its way back.

use super::Work;
use crate::{
    state::{Phase, Server},
    verdict::silent::NEVER_HEARD_MS,
};

/// A server whose agent is silent this long is judged by the hub's own idea of its activity.
pub const SILENT_MS: i64 = 10 * 60 * 1000;

/// Who was heard this recently was heard whatever break there was: a sleep is at least as long.
const BREAK_MS: i64 = 30_000;

/// What is known of work on `server` by a collector that has listened since `listens_since_ms`.
pub(super) fn work(server: &Server, listens_since_ms: Option<i64>, now_ms: i64) -> Work<'_> {
    // What was measured before nobody listened says nothing of the time since.
    let heard = |seen_ms: i64| {
        let silent_ms = now_ms.saturating_sub(seen_ms);
        let since_break = Some(seen_ms) >= listens_since_ms || silent_ms < BREAK_MS;
        silent_ms <= SILENT_MS && since_break
    };
    if server.last_seen_ms.is_some_and(heard) {
        return measured(server);
    }
    if is_awaited(server, listens_since_ms, now_ms) {
        return Work::Unknown(if server.last_seen_ms.is_some() {
            "its agent may be on its way back"
        } else {
            "its agent may be on its way"
        });
    }
    let Some(active_ms) = server.hub_last_activity_ms else {
        return Work::Unknown("no agent, and the hub knows no activity");
    };
    match server.last_seen_ms {
        Some(seen_ms) => Work::IdleSince {
            // The hub may have slept through what the agent saw.
            at_ms: active_ms.max(seen_ms),
            by: if seen_ms > active_ms {
                " since its agent fell silent"
            } else {
                " by the hub's last_activity: its agent is silent"
            },
        },
        None => Work::IdleSince {
            at_ms: active_ms,
            by: " by the hub's last_activity: it has no agent",
        },
    }
}

/// Whether its agent may only be away for a moment, because it is or because the collector was. One
/// that was never heard need not exist: it gets as long as it may take to connect.
pub(super) fn is_awaited(server: &Server, listens_since_ms: Option<i64>, now_ms: i64) -> bool {
    let patience_ms = match server.last_seen_ms {
        Some(_) => SILENT_MS,
        None => NEVER_HEARD_MS,
    };
    let from_ms = server
        .last_seen_ms
        .max(server.first_listed_ms)
        .max(listens_since_ms);
    from_ms.is_some_and(|from_ms| now_ms.saturating_sub(from_ms) <= patience_ms)
}

fn measured(server: &Server) -> Work<'_> {
    if let Some(reason) = &server.busy_reason {
        return Work::Goes(reason);
    }
    match server.idle_since_ms {
        Some(at_ms) => Work::IdleSince { at_ms, by: "" },
        None if server.phase == Phase::Silent => {
            Work::Unknown("its agent has been silent for less than 10 minutes")
        }
        None => Work::Unknown("its agent has just come"),
    }
}
