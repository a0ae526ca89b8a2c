//! `near_limit`: little is left.

use super::{Evidence, Finding, Severity, View};

/// Opens at this share of the limit.
pub const OPENS_AT: f64 = 0.90;

/// Clears below this share, so that a server that breathes around the line is one episode.
pub const CLEARS_BELOW: f64 = 0.85;

pub(crate) fn judge(view: &View<'_>, open: bool) -> Option<Finding> {
    let sample = view.sample;
    let limit_bytes = sample.memory_limit_bytes.filter(|&limit| limit > 0)?;
    let share = sample.limited_bytes() as f64 / limit_bytes as f64;
    if share < if open { CLEARS_BELOW } else { OPENS_AT } {
        return None;
    }
    let mut evidence = vec![
        (
            "memory_used_bytes",
            Evidence::count(sample.memory_used_bytes),
        ),
        ("memory_used_share", Evidence::Number(share)),
    ];
    evidence.extend(Evidence::limit(sample));
    let of = if sample.memory_limit_enforced {
        "the limit"
    } else {
        "what it was given"
    };
    Some(Finding {
        workload: None,
        // A limit that kills nobody is a promise broken, not work in danger.
        severity: if sample.memory_limit_enforced {
            Severity::Warning
        } else {
            Severity::Info
        },
        evidence,
        clears_when: format!(
            "memory use falls below {:.0} % of {of}",
            CLEARS_BELOW * 100.0
        ),
    })
}
