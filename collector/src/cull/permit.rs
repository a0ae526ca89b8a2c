//! When somebody who is due may be stopped, as far as warnings go.
//!
//! A warning is delivered when it was shown in a tab that somebody looks at, or a mail server took it. From
//! then on its user has as long as the last warning comes before the end, in time that this
//! collector saw pass. Whatever may deliver it still is waited for, and nothing is for ever.

use super::{CullPolicy, Due};
use crate::warning::Warned;

/// A warning that no mail server takes for so long reaches nobody by mail, as where there is no address.
pub(crate) const MAIL_TRIED_MS: i64 = 24 * 60 * 60 * 1000;

/// A warning that nobody saw is said again after this, or after the time of the last one where that is less.
const SAY_AGAIN_MS_MAX: i64 = 60_000;

/// When somebody who is due may be stopped, as far as warnings go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Permit {
    From(i64),
    /// The same, and the time counts anew: nobody listened for a while.
    Anew(i64),
    /// A page is open and has not shown the warning: where nobody looks at it, it may be stopped at
    /// `until_ms`; where it was closed unseen, at `from_ms`.
    Unseen {
        from_ms: i64,
        until_ms: i64,
    },
    /// Not before a mail server takes the warning.
    Undelivered,
}

/// What there is to warn a user by, as things are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ways {
    /// Something can be told now, or in a moment.
    pub(super) can_warn: bool,
    /// A page is open that may show it, as far as was heard.
    pub(super) page_open: bool,
    /// Since when this collector has listened without a break.
    pub(super) listens_since_ms: Option<i64>,
    pub(super) now_ms: i64,
}

/// From when on a warning lets a server be stopped. Where there is no way to warn anybody, and will
/// be none in a moment, nothing is waited for; but who was warned has the time that was promised.
pub(super) fn permit(policy: &CullPolicy, due: Due, warned: Option<&Warned>, ways: Ways) -> Permit {
    let Some(last_ms) = policy
        .last_warning_ms()
        .filter(|_| ways.can_warn || warned.is_some())
    else {
        return Permit::From(due.at_ms);
    };
    let lead = |from_ms: i64| due.at_ms.max(from_ms.saturating_add(last_ms));
    let Some(warned) = warned else {
        // It is told at the next look.
        return Permit::From(lead(ways.now_ms));
    };
    let waits_for_mail = policy.warns_by_mail && !warned.unreachable;
    let tried_ms = ways.now_ms.saturating_sub(warned.told_ms);
    if warned.delivered_ms.is_none() && waits_for_mail && tried_ms < MAIL_TRIED_MS {
        return Permit::Undelivered;
    }
    // A page that nobody has open shows nothing: that it was sent is all there can be.
    let promised_ms = warned.delivered_ms.unwrap_or(warned.told_ms);
    // While nobody listened, nothing could be shown or heard of, and a clock may have been set.
    let counted_ms = ways
        .listens_since_ms
        .map_or(promised_ms, |ms| promised_ms.max(ms));
    let from_ms = lead(counted_ms);
    if warned.delivered_ms.is_none() && ways.page_open {
        let begins_ms = from_ms.max(warned.page_ms.unwrap_or(ways.now_ms));
        let until_ms = begins_ms.saturating_add(policy.unseen_wait_ms());
        return Permit::Unseen { from_ms, until_ms };
    }
    if from_ms > lead(promised_ms) {
        Permit::Anew(from_ms)
    } else {
        Permit::From(from_ms)
    }
}

// === impl Permit ===

impl Permit {
    /// Whether it may be stopped at `now_ms`.
    pub(super) fn allows(self, now_ms: i64) -> bool {
        match self {
            Self::From(ms) | Self::Anew(ms) | Self::Unseen { until_ms: ms, .. } => ms <= now_ms,
            Self::Undelivered => false,
        }
    }

    /// When it is stopped, as far as is known at `now_ms`.
    pub(super) fn at_ms(self, now_ms: i64) -> Option<i64> {
        match self {
            Self::From(ms) | Self::Anew(ms) => Some(ms),
            // Before its time, nobody is late in looking.
            Self::Unseen { from_ms, until_ms } => {
                Some(if from_ms > now_ms { from_ms } else { until_ms })
            }
            Self::Undelivered => None,
        }
    }
}

// === impl CullPolicy ===

impl CullPolicy {
    /// How long a page that is open may leave its warning unseen, beyond the end: as long as the first warning
    /// comes before it. A tab that was forgotten keeps no server for longer.
    #[must_use]
    pub fn unseen_wait_ms(&self) -> i64 {
        self.warn_ms.first().copied().unwrap_or(0)
    }

    /// A warning that an open page has not shown is said again so often: what said it may have been cut, and the
    /// page may be another by now.
    #[must_use]
    pub fn say_again_ms(&self) -> i64 {
        self.last_warning_ms()
            .unwrap_or(SAY_AGAIN_MS_MAX)
            .min(SAY_AGAIN_MS_MAX)
    }
}

#[cfg(test)]
mod tests;
