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
    /// Stop what is idle for this long; `None`: for as long as policy says for each.
    pub timeout_ms: Option<i64>,
    /// Stop what is older than this, at work or not; `None` never does.
    pub max_age_ms: Option<i64>,
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
        .map(|server| {
            let by_policy_ms = state.policy_of(server).idle_after_ms;
            let timeout_ms = question.timeout_ms.unwrap_or(by_policy_ms);
            row(server, question, timeout_ms, now_ms)
        })
        .collect()
}

fn row(server: &Server, question: &Question, timeout_ms: i64, now_ms: i64) -> CullRow {
    let work = work(server, now_ms);
    let (idle_since_ms, idle_ms) = match work {
        Work::IdleSince { at_ms, .. } => (Some(at_ms), Some(now_ms.saturating_sub(at_ms).max(0))),
        Work::Goes(_) => (None, Some(0)),
        Work::Unknown(_) => (None, None),
    };
    let held_until_ms = server.held_until_ms.filter(|&until_ms| until_ms > now_ms);
    let (cull, reason) = if held_until_ms.is_some() {
        (false, "held by its user".to_owned())
    } else if let Some(reason) = too_old(server, question, now_ms) {
        (true, reason)
    } else {
        judge(&work, timeout_ms, now_ms)
    };
    CullRow {
        key: server.key.clone(),
        idle_ms,
        idle_since_ms,
        cull,
        reason,
        held_until_ms,
        warned_at_ms: None,
        stops_at_ms: None,
    }
}

fn judge(work: &Work, timeout_ms: i64, now_ms: i64) -> (bool, String) {
    match work {
        Work::Goes(reason) => (false, reason.clone()),
        Work::Unknown(why) => (false, format!("unknown, so kept: {why}")),
        Work::IdleSince { at_ms, by } => {
            let idle_ms = now_ms.saturating_sub(*at_ms).max(0);
            let idle_for = in_words(idle_ms);
            (idle_ms >= timeout_ms, format!("idle for {idle_for}{by}"))
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
        None if server.phase == Phase::Silent => {
            Work::Unknown("its agent has been silent for less than 10 minutes")
        }
        None => Work::Unknown("its agent has just come"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fact::{Fact, WorkloadState},
        state::tests::{MB, START_MS, ada, after, connected, hub, report, sample},
    };

    const HOUR_MS: i64 = 3_600_000;

    const HOUR: Question = Question {
        timeout_ms: Some(HOUR_MS),
        max_age_ms: None,
    };

    fn only_row(facts: &[Fact], question: &Question, after_ms: i64) -> CullRow {
        let mut rows = rows(&after(facts), question, START_MS + after_ms);
        assert_eq!(rows.len(), 1);
        rows.remove(0)
    }

    /// Two hours of samples, one a minute, whose kernel is as told.
    fn two_hours(state: WorkloadState) -> Vec<Fact> {
        let mut facts = vec![hub(0, Some(START_MS))];
        for minute in 0..=120_u64 {
            let mut sample = sample(minute * 60_000, 300 * MB);
            sample.interval_ms = 60_000;
            sample.workloads[0].state = Some(state);
            facts.push(report(1, minute + 1, vec![sample]));
        }
        facts
    }

    #[test]
    fn an_idle_server_may_be_stopped_and_a_working_one_may_not() {
        let idle = only_row(&two_hours(WorkloadState::Idle), &HOUR, 2 * HOUR_MS);
        assert!(idle.cull);
        assert_eq!(idle.idle_since_ms, Some(START_MS));
        assert_eq!(idle.idle_ms, Some(2 * HOUR_MS));
        assert_eq!(idle.reason, "idle for 2 h");
        // The hub's last_activity is two hours old: the idle culler alone would stop it.
        let busy = only_row(&two_hours(WorkloadState::Busy), &HOUR, 2 * HOUR_MS);
        assert!(!busy.cull);
        assert_eq!(busy.idle_ms, Some(0));
        assert_eq!(busy.reason, "kernel train.ipynb busy for 2 h");
    }

    #[test]
    fn a_hold_keeps_an_idle_server_until_it_ends() {
        let mut facts = two_hours(WorkloadState::Idle);
        facts.push(Fact::Hold {
            at_ms: START_MS,
            key: ada(),
            until_ms: Some(START_MS + 3 * HOUR_MS),
        });
        let held = only_row(&facts, &HOUR, 2 * HOUR_MS);
        assert!(!held.cull);
        assert_eq!(held.held_until_ms, Some(START_MS + 3 * HOUR_MS));
        assert!(only_row(&facts, &HOUR, 3 * HOUR_MS).cull);
    }

    #[test]
    fn a_server_without_an_agent_is_judged_by_the_hub_and_the_reason_says_so() {
        let row = only_row(&[hub(0, Some(START_MS))], &HOUR, 2 * HOUR_MS);
        assert!(row.cull);
        assert_eq!(
            row.reason,
            "idle for 2 h by the hub's last_activity: it has no agent"
        );
        let fell_silent = [
            hub(0, Some(START_MS)),
            report(1, 1, vec![sample(0, 300 * MB)]),
        ];
        let row = only_row(&fell_silent, &HOUR, 2 * HOUR_MS);
        assert!(
            row.reason.ends_with("its agent is silent"),
            "{}",
            row.reason
        );
    }

    #[test]
    fn unknown_never_culls() {
        let eager = Question {
            timeout_ms: Some(0),
            max_age_ms: None,
        };
        let unlisted = only_row(&[connected(1, 0)], &eager, 20 * HOUR_MS);
        assert!(!unlisted.cull);
        assert_eq!(unlisted.idle_ms, None);
        assert!(
            unlisted.reason.starts_with("unknown"),
            "{}",
            unlisted.reason
        );
        assert!(!only_row(&[hub(0, None)], &eager, 20 * HOUR_MS).cull);
        // Four minutes of silence are no moment, and nothing to stop a server for.
        let mut silent = two_hours(WorkloadState::Idle);
        let now_ms = 2 * HOUR_MS + 240_000;
        silent.push(Fact::Tick {
            at_ms: START_MS + now_ms,
        });
        let silent = only_row(&silent, &eager, now_ms);
        assert!(!silent.cull && silent.reason.ends_with("silent for less than 10 minutes"));
    }

    #[test]
    fn an_old_server_may_be_stopped_at_work_when_that_is_asked() {
        let question = Question {
            timeout_ms: Some(100 * HOUR_MS),
            max_age_ms: Some(HOUR_MS),
        };
        let row = only_row(&two_hours(WorkloadState::Busy), &question, 2 * HOUR_MS);
        assert!(row.cull);
        assert_eq!(row.reason, "older than 1 h");
    }
}
