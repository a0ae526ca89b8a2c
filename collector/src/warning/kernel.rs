//! What a user is told of an idle kernel that is shut down, and what its server is told with it: the
//! extension in the server does it, since nobody else knows at that moment whether the kernel idles still.

use std::fmt;

use super::to_minute;
use crate::{
    fact::ServerKey,
    verdict::{Evidence, Rule, Severity, Verdict, WorkloadName, idle::in_words},
};

/// A kernel is to be shut down, or no longer is.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelEnd {
    /// On whose server.
    pub key: ServerKey,
    /// Which kernel.
    pub kernel: WorkloadName,
    /// The same for the order and its end.
    pub episode: String,
    /// When that was said.
    pub at_ms: i64,
    /// When it is shut down; `None`: no more.
    pub ends_at_ms: Option<i64>,
    /// How long it has idled, where that is known.
    pub idle_ms: Option<i64>,
    /// What it holds, where that is known.
    pub holds_bytes: Option<u64>,
}

// === impl KernelEnd ===

impl KernelEnd {
    /// How long until it is shut down; `None`: it is not.
    #[must_use]
    pub fn ends_in_ms(&self) -> Option<u64> {
        let left_ms = self.ends_at_ms?.saturating_sub(self.at_ms).max(0);
        u64::try_from(left_ms).ok()
    }

    /// As a verdict, for the channels that carry verdicts.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let ends_at = self.ends_at_ms.map(|ms| ("stops_at", Evidence::time(ms)));
        Verdict {
            rule: Rule::IdleHog,
            episode: self.episode.clone(),
            key: self.key.clone(),
            workload: Some(self.kernel.clone()),
            severity: Severity::Warning,
            since_ms: self.at_ms,
            updated_ms: self.at_ms,
            cleared_ms: self.ends_at_ms.is_none().then_some(self.at_ms),
            evidence: ends_at.into_iter().collect(),
            clears_when: "the kernel runs a cell or its server is kept alive".to_owned(),
        }
    }
}

impl fmt::Display for KernelEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let title = &self.kernel.title;
        let Some(ends_in_ms) = self.ends_in_ms() else {
            return write!(f, "{title} is not shut down");
        };
        write!(f, "{title} has not been used")?;
        if let Some(idle_ms) = self.idle_ms {
            write!(f, " for {}", in_words(idle_ms))?;
        }
        if let Some(bytes) = self.holds_bytes {
            write!(f, " and holds {:.1} GB", bytes as f64 / 1e9)?;
        }
        let ends_in = in_words(to_minute(i64::try_from(ends_in_ms).unwrap_or(i64::MAX)));
        write!(
            f,
            ": it is shut down in {ends_in}, and its variables are lost. Run a cell to keep it; the \
             server goes on"
        )
    }
}
