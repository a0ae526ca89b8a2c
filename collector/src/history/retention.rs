//! When old files may go: now and then, and never on the word of a clock that has just leapt ahead.
//!
//! What is kept for two days is gone for good two days too early when the clock is two days ahead,
//! and a machine whose clock is wrong for a minute after a start loses everything. So a clock that
//! was set forward by much, or is far ahead of what was last written, must hold for a day first:
//! one that is set right meanwhile has deleted nothing.

use std::{
    path::Path,
    time::{Duration, UNIX_EPOCH},
};

use crate::clock::{Clock, Step, Steps};

use super::{DAY_MS, HOUR_MS};

/// Pause between looks for files to delete; the smallest file covers a day.
const SWEEP_EVERY_MS: i64 = 10 * 60 * 1000;

/// A clock that leaps ahead by this much is doubted. Less deletes nothing that matters too early.
const LEAP_MS: i64 = HOUR_MS;

/// A collector that was away for this long, or a clock that is wrong: at a start nobody can tell.
const AWAY_MS: i64 = DAY_MS;

/// A clock that is doubted must hold for this long.
const DOUBT_MS: i64 = DAY_MS;

/// Folders of files below the one of history, at most: tiers.
const DEPTH_MAX: u32 = 3;

/// Whether it is time to delete what is too old.
#[derive(Debug)]
pub(super) struct Retention {
    steps: Steps,
    due_boot_ms: i64,
    doubted_until_boot_ms: Option<i64>,
}

// === impl Retention ===

impl Retention {
    /// Begins where something was last written at `written_ms`, if anything was.
    pub(super) fn new(clock: &dyn Clock, written_ms: Option<i64>) -> Self {
        let mut retention = Self {
            steps: Steps::new(clock),
            due_boot_ms: i64::MIN,
            doubted_until_boot_ms: None,
        };
        let away_ms = written_ms.map_or(0, |at_ms| clock.now_ms().saturating_sub(at_ms));
        if away_ms > AWAY_MS {
            retention.doubt(clock, away_ms);
        }
        retention
    }

    /// Whether to look for old files now.
    pub(super) fn is_due(&mut self, clock: &dyn Clock) -> bool {
        if let Some(Step::Set { by_ms }) = self.steps.look(clock)
            && by_ms >= LEAP_MS
        {
            self.doubt(clock, by_ms);
        }
        let boot_ms = clock.boot_ms();
        if self
            .doubted_until_boot_ms
            .is_some_and(|until_ms| boot_ms < until_ms)
        {
            return false;
        }
        self.doubted_until_boot_ms = None;
        boot_ms >= self.due_boot_ms
    }

    /// All old files are gone.
    pub(super) fn swept(&mut self, clock: &dyn Clock) {
        self.due_boot_ms = clock.boot_ms().saturating_add(SWEEP_EVERY_MS);
    }

    fn doubt(&mut self, clock: &dyn Clock, ahead_ms: i64) {
        tracing::warn!(
            ahead_ms,
            "the clock is far ahead of what was last written: history is not tidied for a day"
        );
        self.doubted_until_boot_ms = Some(clock.boot_ms().saturating_add(DOUBT_MS));
    }
}

/// When anything in `dir` was last written; `None` where nothing is or nothing can be told.
pub(super) fn last_written_ms(dir: &Path) -> Option<i64> {
    newest(dir, DEPTH_MAX)
}

fn newest(dir: &Path, depth: u32) -> Option<i64> {
    let entries = std::fs::read_dir(dir).ok()?.filter_map(Result::ok);
    entries
        .filter_map(|entry| {
            let about = entry.metadata().ok()?;
            if about.is_dir() {
                return newest(&entry.path(), depth.checked_sub(1)?);
            }
            let since: Duration = about.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
            i64::try_from(since.as_millis()).ok()
        })
        .max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    const NOW_MS: i64 = 1_800_000_000_000;
    const YEARS_MS: i64 = 3650 * DAY_MS;

    #[test]
    fn it_is_time_at_the_start_and_then_every_ten_minutes_whatever_the_wall_clock_says() {
        let clock = ManualClock::at(NOW_MS);
        let mut retention = Retention::new(&clock, Some(NOW_MS - HOUR_MS));
        assert!(retention.is_due(&clock));
        retention.swept(&clock);
        clock.advance(SWEEP_EVERY_MS - 1);
        assert!(!retention.is_due(&clock));
        clock.set(-YEARS_MS);
        clock.advance(1);
        assert!(retention.is_due(&clock));
    }

    #[test]
    fn a_clock_that_leaps_ahead_deletes_nothing_for_a_day() {
        let clock = ManualClock::at(NOW_MS);
        let mut retention = Retention::new(&clock, None);
        clock.set(YEARS_MS);
        assert!(!retention.is_due(&clock));
        clock.advance(DOUBT_MS - 1);
        assert!(!retention.is_due(&clock));
        clock.advance(1);
        assert!(retention.is_due(&clock));
    }

    #[test]
    fn a_start_far_ahead_of_what_was_last_written_deletes_nothing_for_a_day() {
        let clock = ManualClock::at(NOW_MS);
        let mut retention = Retention::new(&clock, Some(NOW_MS - YEARS_MS));
        assert!(!retention.is_due(&clock));
        clock.advance(DOUBT_MS);
        assert!(retention.is_due(&clock));
    }

    #[test]
    fn the_newest_file_tells_when_something_was_last_written() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(last_written_ms(dir.path()), None);
        assert_eq!(last_written_ms(&dir.path().join("not there")), None);
        let tier = dir.path().join("raw");
        std::fs::create_dir(&tier).unwrap();
        std::fs::write(tier.join("2026-01-01.db"), "").unwrap();
        let old = std::fs::File::create(dir.path().join("servers.db")).unwrap();
        old.set_modified(UNIX_EPOCH + Duration::from_secs(5))
            .unwrap();
        let newest_ms = last_written_ms(dir.path()).unwrap();
        assert!(newest_ms > 1_700_000_000_000, "{newest_ms}");
    }
}
