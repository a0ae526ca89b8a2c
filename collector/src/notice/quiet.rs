//! Quiet hours: when mail that is not critical waits for the morning.

use jiff::{Timestamp, civil::Time, tz::TimeZone};

/// A part of each day, in some place of the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quiet {
    from: Time,
    to: Time,
    zone: TimeZone,
}

// === impl Quiet ===

impl Quiet {
    /// From `22:00-07:00`, or `22:00-07:00 Europe/Berlin`; without a zone in UTC. The error says
    /// what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        const EXPECTED: &str =
            "expected hours such as \"22:00-07:00\" or \"22:00-07:00 Europe/Berlin\"";
        let wrong = || format!("{EXPECTED}, found {text:?}");
        let (hours, zone) = match text.trim().split_once(char::is_whitespace) {
            Some((hours, zone)) => (hours, Some(zone.trim())),
            None => (text.trim(), None),
        };
        let (from, to) = hours.split_once('-').ok_or_else(wrong)?;
        let time = |text: &str| Time::strptime("%H:%M", text.trim()).map_err(|_| wrong());
        let (from, to) = (time(from)?, time(to)?);
        if from == to {
            return Err(wrong());
        }
        let zone = match zone {
            None => TimeZone::UTC,
            Some(name) => TimeZone::get(name)
                .map_err(|_| format!("this machine knows no time zone {name:?}"))?,
        };
        Ok(Self { from, to, zone })
    }

    /// When the quiet that holds at `now_ms` ends; `None` while it is not quiet.
    #[must_use]
    pub fn ends_ms(&self, now_ms: i64) -> Option<i64> {
        let now = Timestamp::from_millisecond(now_ms)
            .ok()?
            .to_zoned(self.zone.clone());
        let time = now.time();
        let (is_quiet, over_midnight) = if self.from < self.to {
            (time >= self.from && time < self.to, false)
        } else {
            (time >= self.from || time < self.to, time >= self.from)
        };
        if !is_quiet {
            return None;
        }
        let day = if over_midnight {
            now.date().tomorrow().ok()?
        } else {
            now.date()
        };
        let end = day.to_datetime(self.to);
        let end = || self.zone.to_ambiguous_zoned(end);
        // In autumn an hour comes twice: by its second time the first end is over.
        [end().compatible(), end().later()]
            .into_iter()
            .flatten()
            .map(|end| end.timestamp().as_millisecond())
            .find(|end_ms| *end_ms > now_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(hours: &str, now: &str) -> Option<String> {
        let now: Timestamp = now.parse().unwrap();
        let end = Quiet::parse(hours).unwrap().ends_ms(now.as_millisecond())?;
        Some(Timestamp::from_millisecond(end).unwrap().to_string())
    }

    #[test]
    fn a_night_ends_in_the_morning_of_its_place_and_the_day_is_not_quiet() {
        let night = "22:00-07:00 Europe/Berlin";
        let end = Some("2026-01-11T06:00:00Z".to_owned());
        assert_eq!(ends(night, "2026-01-10T21:30:00Z"), end);
        assert_eq!(ends(night, "2026-01-11T05:59:59Z"), end);
        assert_eq!(ends(night, "2026-01-11T06:00:00Z"), None);
        assert_eq!(ends(night, "2026-01-10T20:59:00Z"), None);
        let noon = "12:00-13:30";
        let end = Some("2026-01-10T13:30:00Z".to_owned());
        assert_eq!(ends(noon, "2026-01-10T12:00:00Z"), end);
        assert_eq!(ends(noon, "2026-01-10T11:59:00Z"), None);
    }

    #[test]
    fn a_morning_that_the_clocks_skip_comes_an_hour_later() {
        let end = ends("22:00-02:30 Europe/Berlin", "2026-03-29T00:15:00Z");
        assert_eq!(end.as_deref(), Some("2026-03-29T01:30:00Z"));
    }

    #[test]
    fn in_an_hour_that_comes_twice_quiet_ends_at_an_end_that_is_still_to_come() {
        let night = "22:00-02:30 Europe/Berlin";
        let end = ends(night, "2026-10-25T00:15:00Z");
        assert_eq!(end.as_deref(), Some("2026-10-25T00:30:00Z"));
        let end = ends(night, "2026-10-25T01:00:00Z");
        assert_eq!(end.as_deref(), Some("2026-10-25T01:30:00Z"));
        assert_eq!(ends(night, "2026-10-25T01:30:00Z"), None);
    }

    #[test]
    fn what_are_no_hours_is_refused_in_words() {
        for text in ["", "22:00", "22-07", "25:00-07:00", "07:00-07:00"] {
            let said = Quiet::parse(text).unwrap_err();
            assert!(said.starts_with("expected hours"), "{said}");
        }
        let said = Quiet::parse("22:00-07:00 Europe/Nowhere").unwrap_err();
        assert_eq!(said, "this machine knows no time zone \"Europe/Nowhere\"");
    }
}
