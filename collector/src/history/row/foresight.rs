//! What the rows of a chunk so far say about the next: momentum, cores and interval follow from
//! other columns nearly always, and are stored as the miss.

use std::collections::BTreeMap;

use super::{CPU_MILLIS, RSS, Row};

/// What is foreseen of a row; 0 where the rows before are silent.
pub(super) struct Foreseen {
    pub(super) momentum: i64,
    pub(super) millicores: i64,
    pub(super) interval_ms: i64,
}

/// What the rows of one chunk so far say about the next.
#[derive(Default)]
pub(super) struct Foresight {
    /// Per instance.
    last: BTreeMap<[u8; 16], Last>,
}

#[derive(Clone, Copy, Default)]
struct Last {
    /// The newest base row's.
    base_rss: Option<i64>,
    /// The newest row's CPU time and clock.
    cpu: Option<(i64, i64)>,
    /// Clock of the newest base row and of the newest burst.
    mono_ms: [Option<i64>; 2],
}

// === impl Foresight ===

impl Foresight {
    /// Looks at nothing of `row` that is not known before what it foresees.
    pub(super) fn of(&self, row: &Row) -> Foreseen {
        let last = self.last.get(&row.id.instance).copied().unwrap_or_default();
        let momentum = match (last.base_rss, row.metrics[RSS]) {
            (Some(before), Some(now)) => now.wrapping_sub(before),
            _ => 0,
        };
        let millicores = match (last.cpu, row.metrics[CPU_MILLIS]) {
            (Some((cpu, mono)), Some(now)) if row.mono_ms > mono => {
                let worked = i128::from(now) - i128::from(cpu);
                let passed = i128::from(row.mono_ms) - i128::from(mono);
                i64::try_from((worked * 1000 + passed / 2).div_euclid(passed)).unwrap_or(0)
            }
            _ => 0,
        };
        let before = last.mono_ms[usize::from(row.burst)];
        Foreseen {
            momentum,
            millicores,
            interval_ms: before.map_or(0, |before| row.mono_ms.wrapping_sub(before)),
        }
    }

    pub(super) fn learn(&mut self, row: &Row) {
        let last = self.last.entry(row.id.instance).or_default();
        if !row.burst {
            last.base_rss = row.metrics[RSS];
        }
        last.mono_ms[usize::from(row.burst)] = Some(row.mono_ms);
        last.cpu = row.metrics[CPU_MILLIS].map(|cpu| (cpu, row.mono_ms));
    }
}
