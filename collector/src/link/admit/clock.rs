//! When a sample was taken, by our clock.

use super::{Hello, Incoming};
use crate::limits;

/// How an agent's clock since boot maps to ours: guessed when its Hello arrives, brought nearer by
/// every report that took less time to come, kept with every report so that a replay reads the same
/// times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockOffset {
    /// Our clock less the agent's clock since boot.
    pub offset_ms: i64,
}

// === impl ClockOffset ===

impl ClockOffset {
    /// The offset a Hello that arrived at `arrived_ms` tells.
    #[must_use]
    pub fn at_hello(hello: &Hello, arrived_ms: i64) -> Self {
        Self {
            offset_ms: arrived_ms.saturating_sub(i64::try_from(hello.mono_ms).unwrap_or(i64::MAX)),
        }
    }

    /// What is known once `message` has arrived. A Hello that waited for its token to be checked, or
    /// on a machine with much to do, makes all times too late by that wait: what came before it can have
    /// been measured shows the mistake, and how large it is at least. Times never go back by that:
    /// the report that shows it gets the time of its arrival, which is after the one before.
    #[must_use]
    pub fn heard(self, message: &Incoming, arrived_ms: i64) -> Self {
        let newest_ms = match message {
            Incoming::Report { samples, .. } => samples.last().map(|sample| sample.mono_ms),
            _ => None,
        };
        self.with(newest_ms, arrived_ms)
    }

    /// The same, when all of a message's samples were taken at `newest_ms` or before.
    pub(super) fn with(self, newest_ms: Option<u64>, arrived_ms: i64) -> Self {
        let newest_ms = newest_ms.map(|ms| i64::try_from(ms).unwrap_or(i64::MAX));
        let most_ms = newest_ms.map_or(i64::MAX, |ms| arrived_ms.saturating_sub(ms));
        Self {
            offset_ms: self.offset_ms.min(most_ms),
        }
    }

    /// When a sample of `mono_ms` that arrived at `arrived_ms` was taken; never after that: the future does
    /// not report.
    pub(super) fn at_ms(self, mono_ms: u64, arrived_ms: i64) -> i64 {
        let mono_ms = i64::try_from(mono_ms).unwrap_or(i64::MAX);
        self.offset_ms.saturating_add(mono_ms).clamp(
            arrived_ms.saturating_sub(limits::SAMPLE_AGE_MS_MAX),
            arrived_ms,
        )
    }

    /// For a message in which no time is read.
    pub const NONE: Self = Self { offset_ms: 0 };
}

#[cfg(test)]
mod tests;
