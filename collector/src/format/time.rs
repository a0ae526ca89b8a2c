//! Times as text, many in a row: the calendar is asked once a day, not for each.

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// How a time is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// `2019-11-17T21:56:36.500Z`
    Rfc3339,
    /// `2019-11-17 21:56:36.500`, in UTC, as `replay` and pandas read it. Always three digits: a
    /// reader that takes the form from the first row stumbles over another one.
    Plain,
}

/// Writes times.
#[derive(Clone, Debug)]
pub struct TimeText {
    style: Style,
    /// The day that `text` is of.
    day: Option<i64>,
    text: String,
}

// === impl TimeText ===

impl TimeText {
    /// In `style`.
    #[must_use]
    pub fn new(style: Style) -> Self {
        Self {
            style,
            day: None,
            text: String::new(),
        }
    }

    /// The text of a time; `None` for one that no calendar holds.
    pub fn of(&mut self, at_ms: i64) -> Option<&str> {
        let day = at_ms.div_euclid(DAY_MS);
        if self.day != Some(day) {
            self.day = None;
            let begin = jiff::Timestamp::from_millisecond(day.checked_mul(DAY_MS)?).ok();
            // The first day there is has a begin that no calendar holds; it is written all the same.
            let begin = begin.or_else(|| jiff::Timestamp::from_millisecond(at_ms).ok())?;
            let date = begin.to_zoned(jiff::tz::TimeZone::UTC).date();
            self.text.clear();
            self.text.push_str(&date.to_string());
            self.text.push_str(match self.style {
                Style::Rfc3339 => "T00:00:00.000Z",
                Style::Plain => " 00:00:00.000",
            });
            self.day = Some(day);
        }
        jiff::Timestamp::from_millisecond(at_ms).ok()?;
        self.write_time(at_ms.rem_euclid(DAY_MS));
        Some(&self.text)
    }

    /// Replaces the time of day, which ends the text.
    fn write_time(&mut self, since_ms: i64) {
        let seconds = since_ms / 1000;
        let part = |value: i64, digits: u32| {
            let digit = move |at: u32| value / 10_i64.pow(digits - 1 - at) % 10;
            (0..digits).map(move |at| char::from(b'0' + u8::try_from(digit(at)).unwrap_or(0)))
        };
        let end = match self.style {
            Style::Rfc3339 => "Z",
            Style::Plain => "",
        };
        self.text
            .truncate(self.text.len() - "00:00:00.000".len() - end.len());
        self.text.extend(part(seconds / 3600, 2));
        self.text.push(':');
        self.text.extend(part(seconds / 60 % 60, 2));
        self.text.push(':');
        self.text.extend(part(seconds % 60, 2));
        self.text.push('.');
        self.text.extend(part(since_ms % 1000, 3));
        self.text.push_str(end);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::serve::shape::rfc3339;

    proptest! {
        #[test]
        fn every_time_is_written_as_by_the_calendar(
            times in prop::collection::vec(
                prop_oneof![
                    8 => 1_574_000_000_000..1_575_000_000_000_i64,
                    1 => -62_135_596_800_000..253_402_300_799_999_i64,
                    1 => any::<i64>(),
                ],
                1..20,
            ),
        ) {
            let mut text = TimeText::new(Style::Rfc3339);
            let mut plain = TimeText::new(Style::Plain);
            for at_ms in times {
                let known = rfc3339(at_ms);
                prop_assert_eq!(text.of(at_ms).map(str::to_owned), known.clone());
                let spaced = known.map(|known| known.replace('T', " ").replace('Z', ""));
                prop_assert_eq!(plain.of(at_ms).map(str::to_owned), spaced);
            }
        }
    }

    #[test]
    fn the_ends_of_the_calendar_are_written_and_what_is_beyond_is_not() {
        let mut text = TimeText::new(Style::Rfc3339);
        for at in [jiff::Timestamp::MIN, jiff::Timestamp::MAX] {
            let at_ms = at.as_millisecond();
            assert_eq!(text.of(at_ms).map(str::to_owned), rfc3339(at_ms), "{at}");
        }
        assert_eq!(text.of(i64::MAX), None);
        assert_eq!(text.of(i64::MIN), None);
    }
}
