//! Names of files: the day a file begins. No name of a user, server or workload is in any.

use jiff::{SignedDuration, Timestamp, tz::TimeZone};

/// The day a file begins, `2026-11-21`; a time outside the calendar counts as its nearest end.
pub(super) fn date_of(start_ms: i64) -> String {
    let at = Timestamp::from_millisecond(start_ms).unwrap_or(if start_ms < 0 {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    });
    at.to_zoned(TimeZone::UTC).date().to_string()
}

/// The begin of a file of ours, of its log or of its index, by its name.
pub(super) fn start_of(name: &str) -> Option<i64> {
    let (date, suffix) = name.split_once(".db")?;
    if !matches!(suffix, "" | "-wal" | "-shm") {
        return None;
    }
    let date: jiff::civil::Date = date.parse().ok()?;
    let since = date
        .to_zoned(TimeZone::UTC)
        .ok()?
        .timestamp()
        .duration_since(Timestamp::UNIX_EPOCH);
    i64::try_from(SignedDuration::as_millis(&since)).ok()
}
