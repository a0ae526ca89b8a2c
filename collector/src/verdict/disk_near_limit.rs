//! `disk_near_limit`: the home's disk is nearly full; then nothing can be saved.
//!
//! A quota is the user's own, and only the user can help. A file system is everybody's: it is said
//! to those who look, and interrupts nobody before it is as good as full.

use super::{Evidence, Finding, Severity, View};
use crate::fact::Disk;

/// Cleared so much of the disk below where it opens.
pub const CLEARS_BELOW: f64 = 0.03;

/// From here on it is as good as full.
pub const FULL_SHARE: f64 = 0.99;

/// An older reading says nothing of now: the file server does not answer, perhaps.
pub const OLD_MS: u32 = 30 * 60 * 1000;

/// What was open when readings ceased is closed when they are this old.
pub const FORGOTTEN_MS: u32 = 2 * 60 * 60 * 1000;

/// Whether the home's disk is near its limit.
pub(crate) fn judge(view: &View<'_>, open: bool) -> bool {
    let Some(disk) = view.sample.vitals.disk.filter(|disk| disk.limit_bytes > 0) else {
        return false;
    };
    if disk.age_ms > OLD_MS {
        return open && disk.age_ms <= FORGOTTEN_MS;
    }
    let opens_at = view.policy.disk_near_limit_share;
    let from = if open {
        opens_at - CLEARS_BELOW
    } else {
        opens_at
    };
    share(disk) >= from
}

/// In words and numbers; nothing where the disk is not known.
pub(crate) fn finding(view: &View<'_>) -> Finding {
    let mut evidence = Vec::with_capacity(5);
    let mut severity = Severity::Info;
    let mut of = "its disk";
    if let Some(disk) = view.sample.vitals.disk {
        evidence.extend([
            ("disk_used_bytes", Evidence::count(disk.used_bytes)),
            ("disk_limit_bytes", Evidence::count(disk.limit_bytes)),
            ("disk_used_share", Evidence::Number(share(disk))),
            ("disk_quota", Evidence::Flag(disk.quota)),
            ("disk_age_ms", Evidence::count(disk.age_ms.into())),
        ]);
        severity = match (disk.quota, share(disk) >= FULL_SHARE) {
            (true, true) => Severity::Critical,
            (true, false) | (false, true) => Severity::Warning,
            (false, false) => Severity::Info,
        };
        of = if disk.quota {
            "the quota"
        } else {
            "the file system"
        };
    }
    let clears_below = view.policy.disk_near_limit_share - CLEARS_BELOW;
    Finding {
        workload: None,
        severity,
        evidence,
        clears_when: format!("less than {:.0} % of {of} is used", clears_below * 100.0),
    }
}

fn share(disk: Disk) -> f64 {
    disk.used_bytes as f64 / disk.limit_bytes as f64
}
