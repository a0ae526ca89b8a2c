//! What is given up first when more comes in than the disk takes: how closely history is kept,
//! then how often agents report, then newcomers. State and verdicts see every report that was
//! taken, whatever history leaves out; what it leaves out is counted.
//!
//! Measured at the inbox, where everything passes: how full it is. It goes up at once and comes
//! down by one step at a time, so that those who were let off do not come back in the same moment.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{
    limits,
    stats::{Limit, Stats},
};

/// What is given up. Each step gives up what those before it do, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing.
    #[default]
    Calm,
    /// Most rows of history's raw tier.
    Coarse,
    /// The agents' interval: they are asked for a longer one.
    Slow,
    /// New streams.
    Closed,
}

/// The level of the moment. Clones share everything.
#[derive(Clone)]
pub struct Pressure(Arc<Inner>);

struct Inner {
    level: watch::Sender<Level>,
    /// Since when it could be lower.
    relieved_ms: Mutex<Option<i64>>,
    stats: Stats,
}

// === impl Level ===

impl Level {
    const ALL: [Self; 4] = [Self::Calm, Self::Coarse, Self::Slow, Self::Closed];

    /// How full an inbox must be for it, in per cent.
    fn least_percent(self) -> usize {
        match self {
            Self::Calm => 0,
            Self::Coarse => limits::SHED_HISTORY_PERCENT,
            Self::Slow => limits::SHED_INTERVAL_PERCENT,
            Self::Closed => limits::SHED_NEWCOMERS_PERCENT,
        }
    }

    fn at(percent: usize) -> Self {
        let reached = Self::ALL.into_iter().rev();
        let mut reached = reached.filter(|level| percent >= level.least_percent());
        reached.next().unwrap_or_default()
    }

    fn below(self) -> Self {
        Self::ALL[(self as usize).saturating_sub(1)]
    }

    /// Whether the row of report `seq` is kept in history.
    #[must_use]
    pub fn keeps_row(self, seq: u64) -> bool {
        self == Self::Calm || seq.is_multiple_of(limits::SHED_HISTORY_KEEPS)
    }
}

// === impl Pressure ===

impl Pressure {
    /// Nothing is given up.
    #[must_use]
    pub fn new(stats: Stats) -> Self {
        stats.limit_set(Limit::Shedding, Level::Closed as usize);
        stats.limit_now(Limit::Shedding, 0);
        Self(Arc::new(Inner {
            level: watch::Sender::default(),
            relieved_ms: Mutex::default(),
            stats,
        }))
    }

    /// What is given up now.
    #[must_use]
    pub fn level(&self) -> Level {
        *self.0.level.borrow()
    }

    /// Follows it.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Level> {
        self.0.level.subscribe()
    }

    /// The inbox is `percent` full.
    pub fn look(&self, percent: usize, now_ms: i64) {
        let inner = &*self.0;
        let (level, wanted) = (self.level(), Level::at(percent));
        let mut relieved_ms = inner.relieved_ms.lock();
        // Half of what brought it up must be gone, or it would go up and down on the edge.
        let lower = level > Level::Calm && percent < level.least_percent() / 2;
        let next = if wanted > level {
            wanted
        } else if lower {
            let since_ms = *relieved_ms.get_or_insert(now_ms);
            if now_ms.saturating_sub(since_ms) < limits::SHED_RELIEF_MS {
                return;
            }
            level.below()
        } else {
            *relieved_ms = None;
            return;
        };
        *relieved_ms = None;
        if next > level {
            tracing::warn!(?level, ?next, percent, "more comes in than the disk takes");
        } else {
            tracing::info!(?level, ?next, percent, "the disk keeps up again");
        }
        inner.stats.limit_now(Limit::Shedding, next as usize);
        inner.level.send_replace(next);
    }

    /// A row or a newcomer was given up.
    pub fn gave_up(&self) {
        self.0.stats.limit_dropped(Limit::Shedding);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RELIEF_MS: i64 = limits::SHED_RELIEF_MS;

    #[test]
    fn history_goes_first_then_the_interval_then_newcomers() {
        for (percent, level) in [
            (0, Level::Calm),
            (limits::SHED_HISTORY_PERCENT - 1, Level::Calm),
            (limits::SHED_HISTORY_PERCENT, Level::Coarse),
            (limits::SHED_INTERVAL_PERCENT - 1, Level::Coarse),
            (limits::SHED_INTERVAL_PERCENT, Level::Slow),
            (limits::SHED_NEWCOMERS_PERCENT - 1, Level::Slow),
            (limits::SHED_NEWCOMERS_PERCENT, Level::Closed),
            (100, Level::Closed),
        ] {
            let pressure = Pressure::new(Stats::new());
            pressure.look(percent, 0);
            assert_eq!(pressure.level(), level, "{percent} %");
        }
    }

    #[test]
    fn it_goes_up_at_once_and_down_by_one_step_when_half_has_gone_for_a_while() {
        let pressure = Pressure::new(Stats::new());
        pressure.look(90, 0);
        for level in [Level::Slow, Level::Coarse, Level::Calm] {
            let before = pressure.level();
            pressure.look(0, 1_000);
            pressure.look(0, 1_000 + RELIEF_MS - 1);
            assert_eq!(pressure.level(), before);
            pressure.look(0, 1_000 + RELIEF_MS);
            assert_eq!(pressure.level(), level);
        }
    }

    #[test]
    fn on_the_edge_it_stays_where_it_is() {
        let pressure = Pressure::new(Stats::new());
        pressure.look(limits::SHED_INTERVAL_PERCENT, 0);
        for now_ms in 1..100 {
            let percent = limits::SHED_INTERVAL_PERCENT - 1;
            pressure.look(percent, now_ms * RELIEF_MS);
            assert_eq!(pressure.level(), Level::Slow);
        }
        // Relief that does not last starts anew.
        pressure.look(0, 0);
        pressure.look(limits::SHED_INTERVAL_PERCENT - 1, RELIEF_MS / 2);
        pressure.look(0, RELIEF_MS);
        assert_eq!(pressure.level(), Level::Slow);
    }

    #[test]
    fn one_row_in_so_many_is_kept_when_history_is_coarse() {
        let kept = |level: Level| (1..=100).filter(|seq| level.keeps_row(*seq)).count();
        assert_eq!(kept(Level::Calm), 100);
        assert_eq!(kept(Level::Coarse), 25);
        assert_eq!(kept(Level::Closed), 25);
    }
}
