//! `silent`: the hub says the server is up, its agent says nothing.
//!
//! A batch job whose time is over is a state, and so is one that a scheduler has suspended: the
//! first is no verdict, the second one that interrupts nobody.

use super::{Evidence, Finding, Severity, Verdict};
use crate::state::{Phase, Server};

/// A server that just started gets this long before its agent is missed.
pub const NEVER_HEARD_MS: i64 = 120_000;

pub(crate) fn judge(server: &Server, now_ms: i64) -> Option<Finding> {
    // Without a hub nobody says that it is up.
    if server.phase != Phase::Silent || !server.listed {
        return None;
    }
    let since_ms = server.started_ms.max(server.first_listed_ms);
    let young = since_ms.is_some_and(|since_ms| now_ms < since_ms.saturating_add(NEVER_HEARD_MS));
    if server.last_seen_ms.is_none() && young {
        return None;
    }
    let latest = server.latest.as_ref();
    let job_ends_ms = latest.and_then(|sample| sample.vitals.job_ends_ms);
    if job_ends_ms.is_some_and(|ends_ms| now_ms >= ends_ms) {
        return None;
    }
    let mut evidence = vec![(
        "agent_ever_heard",
        Evidence::Flag(server.last_seen_ms.is_some()),
    )];
    if let Some(last_seen_ms) = server.last_seen_ms {
        evidence.push(("last_seen", Evidence::time(last_seen_ms)));
    }
    if server.interval_ms > 0 {
        evidence.push((
            "interval_ms",
            Evidence::Integer(i64::from(server.interval_ms)),
        ));
    }
    if let Some(ends_ms) = job_ends_ms {
        evidence.push(("job_ends", Evidence::time(ends_ms)));
    }
    // Never heard of: it may well run without an agent. A batch job: it may well be suspended.
    // Heard before: something broke.
    let broke = server.last_seen_ms.is_some() && job_ends_ms.is_none();
    Some(Finding {
        workload: None,
        severity: if broke {
            Severity::Warning
        } else {
            Severity::Info
        },
        evidence,
        clears_when: match job_ends_ms {
            Some(_) => "its agent reports again, the server stops, or its job's time is over",
            None => "its agent reports again, or the server stops",
        }
        .to_owned(),
    })
}

/// When the server of a `silent` verdict was last heard, as the verdict says.
pub(crate) fn last_seen_ms(verdict: &Verdict) -> Option<i64> {
    verdict
        .evidence
        .iter()
        .find_map(|(name, value)| match value {
            Evidence::Word(at) if *name == "last_seen" => {
                let at: jiff::Timestamp = at.as_str().parse().ok()?;
                Some(at.as_millisecond())
            }
            _ => None,
        })
}
