//! Numbers as people say them.

use jiff::{Timestamp, tz::TimeZone};

use crate::verdict::Evidence;

const BYTE_UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/// `1.4 GiB`, `52 MiB`, as on the pages and in the meter: two digits at least.
pub(super) fn bytes(bytes: f64) -> String {
    if !bytes.is_finite() {
        return "an unknown amount".to_owned();
    }
    let sign = if bytes < 0.0 { "-" } else { "" };
    let mut size = bytes.abs();
    let mut unit = 0;
    // Three digits at most: 1000 and more of a unit is said in the next.
    while size >= 999.5 && unit + 1 < BYTE_UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    let digits = usize::from(unit > 0 && size < 9.95);
    format!("{sign}{size:.digits$} {}", BYTE_UNITS[unit])
}

/// `18 s`, `4 min`, `5 h`, `3 days`.
pub(super) fn seconds(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "an unknown time".to_owned();
    }
    match seconds {
        s if s < 90.0 => format!("{s:.0} s"),
        s if s < 90.0 * 60.0 => format!("{:.0} min", s / 60.0),
        s if s < 36.0 * 3600.0 => format!("{:.0} h", s / 3600.0),
        s => format!("{:.0} days", s / 86_400.0),
    }
}

/// `0.98 cores`, `16 cores`.
pub(super) fn cores(cores: f64) -> String {
    let digits = if cores < 9.95 { 2 } else { 0 };
    format!("{cores:.digits$} cores")
}

/// `95 %`.
pub(super) fn share(share: f64) -> String {
    if share.is_finite() {
        format!("{:.0} %", share * 100.0)
    } else {
        "an unknown share".to_owned()
    }
}

/// `2026-11-21 14:05 UTC`.
pub(super) fn time(at_ms: i64) -> String {
    Timestamp::from_millisecond(at_ms).map_or_else(
        |_| "an unknown time".to_owned(),
        |at| {
            at.to_zoned(TimeZone::UTC)
                .strftime("%Y-%m-%d %H:%M UTC")
                .to_string()
        },
    )
}

/// `14:05`, in UTC.
pub(super) fn clock(at_ms: i64) -> String {
    Timestamp::from_millisecond(at_ms).map_or_else(
        |_| String::new(),
        |at| at.to_zoned(TimeZone::UTC).strftime("%H:%M").to_string(),
    )
}

/// A number of evidence whatever its kind.
pub(super) fn number(value: &Evidence) -> Option<f64> {
    match value {
        Evidence::Integer(value) => Some(*value as f64),
        Evidence::Number(value) => Some(*value).filter(|value| value.is_finite()),
        Evidence::Flag(_) | Evidence::Word(_) => None,
    }
}

/// One line of evidence: its name in words, its value with the unit that its name ends in.
pub(super) fn evidence(name: &str, value: &Evidence) -> (String, String) {
    type Write = fn(f64) -> String;
    let per_second: Write = |value| format!("{}/s", bytes(value));
    let milliseconds: Write = |value| seconds(value / 1000.0);
    let units = [
        ("_bytes_per_second", per_second),
        ("_bytes", bytes as Write),
        ("_share", share),
        ("_seconds", seconds),
        ("_ms", milliseconds),
        ("_cores", cores as Write),
    ];
    let unit = units.iter().find_map(|(end, write)| {
        let rest = name.strip_suffix(end)?;
        Some((rest, *write))
    });
    let unit = unit.or_else(|| {
        name.starts_with("seconds_")
            .then_some((name, seconds as Write))
    });
    let written = match (number(value), unit) {
        (Some(number), Some((_, write))) => write(number),
        _ => match value {
            Evidence::Integer(value) => value.to_string(),
            Evidence::Number(value) => format!("{value:.2}"),
            Evidence::Flag(value) => if *value { "yes" } else { "no" }.to_owned(),
            Evidence::Word(value) => value.to_string(),
        },
    };
    let name = unit.map_or(name, |(rest, _)| {
        rest.strip_prefix("seconds_").unwrap_or(rest)
    });
    (name.replace('_', " "), written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_said_as_people_say_them() {
        let said: Vec<_> = [0.0, 999.0, 999.7, 52e6, 1.44e9, 10.7e9, -3e3, f64::NAN]
            .map(bytes)
            .into();
        assert_eq!(
            said,
            [
                "0 B",
                "999 B",
                "1.0 KiB",
                "50 MiB",
                "1.3 GiB",
                "10 GiB",
                "-2.9 KiB",
                "an unknown amount"
            ]
        );
        let said: Vec<_> = [18.2, 240.0, 5.0 * 3600.0, 3.0 * 86_400.0, -1.0]
            .map(seconds)
            .into();
        assert_eq!(said, ["18 s", "4 min", "5 h", "3 days", "an unknown time"]);
    }

    #[test]
    fn evidence_takes_its_unit_from_the_end_of_its_name() {
        let line = |name, value| {
            let (name, value) = evidence(name, &value);
            format!("{name}: {value}")
        };
        assert_eq!(
            line("trend_bytes_per_second", Evidence::Number(52e6)),
            "trend: 50 MiB/s"
        );
        assert_eq!(
            line("seconds_to_limit_low", Evidence::Number(12.0)),
            "to limit low: 12 s"
        );
        assert_eq!(line("kills", Evidence::Integer(2)), "kills: 2");
        assert_eq!(line("inferred", Evidence::Flag(true)), "inferred: yes");
    }
}
