//! Days for the ledger of usage: computed whole from all hours there are, those that are still open
//! included.
//!
//! An open hour is read from its pieces, so not every server's day is computed with every flush:
//! they take turns, and each has one within ten minutes. When an hour is closed the day that it is
//! part of is computed in any case.

use std::collections::BTreeSet;

use super::{
    DAY_MS, HistoryError,
    pending::{Batch, Windows},
    row,
    shelf::Shelf,
    store::ServerId,
    tier::{self, Step, Steps, Tier},
    used::Used,
};
use crate::usage::DayUse;

/// Days computed in one flush at least, if there are as many.
const TURN_MIN: usize = 64;

/// Flushes within which every day has its turn: ten minutes of them.
const TURNS: usize = 60;

/// A server and the begin of a day.
pub(super) type ServerDay = (ServerId, i64);

/// Days with rows that the ledger does not know of yet.
#[derive(Debug, Default)]
pub(super) struct Days {
    waiting: BTreeSet<ServerDay>,
    last: Option<ServerDay>,
}

// === impl Days ===

impl Days {
    /// The days of `batch`, which is written.
    pub(super) fn note(&mut self, shelf: &mut Shelf, batch: &Batch) -> Result<(), HistoryError> {
        for (key, windows) in &batch.servers {
            let Some(server) = shelf.store.server(key)? else {
                continue; // numbered when it was written
            };
            let days = windows.keys();
            let days = days.map(|start_ms| (server, tier::floor(*start_ms, DAY_MS)));
            self.waiting.extend(days);
        }
        Ok(())
    }

    /// Those whose turn it is.
    pub(super) fn turn(&self) -> Vec<ServerDay> {
        let count = self.waiting.len().div_ceil(TURNS).max(TURN_MIN);
        let last = self.last.unwrap_or((ServerId::MIN, i64::MIN));
        let after = self.waiting.range(last..).filter(|day| **day != last);
        let before = self.waiting.range(..=last);
        after.chain(before).take(count).copied().collect()
    }

    /// The ledger has them.
    pub(super) fn written(&mut self, turn: &[ServerDay]) {
        for day in turn {
            self.waiting.remove(day);
        }
        self.last = turn.last().copied().or(self.last);
    }
}

/// What those days come to so far.
pub(super) fn of(shelf: &mut Shelf, days: &[ServerDay]) -> Result<Vec<DayUse>, HistoryError> {
    let mut uses = Vec::with_capacity(days.len());
    for (server, day_ms) in days {
        let hours = shelf.steps(Tier::Hour, Some(*server), *day_ms, &Windows::new())?;
        uses.extend(day_of(*server, *day_ms, &hours));
    }
    Ok(uses)
}

/// What `hours`, all there are of the day at `start_ms`, come to.
fn day_of(server: ServerId, start_ms: i64, hours: &Steps) -> Option<DayUse> {
    let used = Used::sum(hours.values().filter_map(|hour| hour.used))?;
    let peak = |hour: &Step| hour.metrics[row::MEMORY_USED].map(|span| span.max);
    Some(DayUse {
        server,
        day: start_ms.div_euclid(DAY_MS),
        covered_ms: used.covered_ms.clamp(0, DAY_MS),
        memory_kib_s: used.memory_kib_s,
        core_ms: used.core_ms,
        memory_peak_bytes: hours.values().filter_map(peak).max(),
    })
}
