//! Days, weeks and months, all of UTC: a day is 24 hours on every hub and in every season.

use jiff::{ToSpan as _, civil::Date};

use super::DAY_MS;

/// The day numbers are counted from.
const EPOCH: Date = Date::constant(1970, 1, 1);

/// A longer span is none: twenty thousand years.
const DAYS_MAX: i64 = 7_000_000;

/// 1970-01-01 was a Thursday: three days after a Monday.
const EPOCH_AFTER_MONDAY: i64 = 3;

/// Over how much time an answer adds up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// A UTC day.
    Day,
    /// From Monday on.
    Week,
    /// A month of the calendar.
    Month,
}

/// The day that holds `at_ms`, counted from 1970-01-01.
#[must_use]
pub fn day_of_ms(at_ms: i64) -> i64 {
    at_ms.div_euclid(DAY_MS)
}

/// The date of a day; one outside the calendar counts as its nearest end.
#[must_use]
pub fn date_of(day: i64) -> Date {
    EPOCH
        .checked_add(day.clamp(-DAYS_MAX, DAYS_MAX).days())
        .unwrap_or(if day < 0 { Date::MIN } else { Date::MAX })
}

fn day_of(date: Date) -> i64 {
    // Without a time of day the difference is in whole days.
    date.since(EPOCH)
        .map_or(0, |span| i64::from(span.get_days()))
}

// === impl Window ===

impl Window {
    /// Every window, as they are named.
    pub const ALL: [Self; 3] = [Self::Day, Self::Week, Self::Month];

    /// Its name in questions and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }

    /// How far back an answer goes when nobody says, in days: about as many windows as fit a page.
    #[must_use]
    pub fn span_days(self) -> i64 {
        match self {
            Self::Day => 30,
            Self::Week => 26 * 7,
            Self::Month => 365,
        }
    }

    /// The first day of the window that holds `day`.
    #[must_use]
    pub fn begin(self, day: i64) -> i64 {
        match self {
            Self::Day => day,
            Self::Week => day - (day + EPOCH_AFTER_MONDAY).rem_euclid(7),
            Self::Month => day_of(date_of(day).first_of_month()),
        }
    }

    /// The first day after the window that holds `day`.
    #[must_use]
    pub fn end(self, day: i64) -> i64 {
        match self {
            Self::Day => day + 1,
            Self::Week => self.begin(day) + 7,
            Self::Month => day_of(date_of(day).last_of_month()) + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn windows_begin_and_end_where_the_calendar_says() {
        let day = day_of(date(2024, 2, 29)); // a Thursday of a leap year
        for (window, begin, end) in [
            (Window::Day, date(2024, 2, 29), date(2024, 3, 1)),
            (Window::Week, date(2024, 2, 26), date(2024, 3, 4)),
            (Window::Month, date(2024, 2, 1), date(2024, 3, 1)),
        ] {
            assert_eq!(date_of(window.begin(day)), begin, "{window:?}");
            assert_eq!(date_of(window.end(day)), end, "{window:?}");
        }
    }

    #[test]
    fn windows_follow_each_other_without_a_gap_before_and_after_1970() {
        for window in Window::ALL {
            let mut day = window.begin(-800);
            while day < 30_000 {
                let end = window.end(day);
                assert!(end > day && window.begin(end) == end, "{window:?} {day}");
                assert_eq!(window.begin(end - 1), day, "{window:?} {day}");
                day = end;
            }
        }
    }

    #[test]
    fn a_day_is_of_utc_also_where_clocks_change() {
        // 2026-03-29 02:00 does not exist in Berlin, 2026-10-25 02:30 exists twice.
        for date in [date(2026, 3, 29), date(2026, 10, 25)] {
            let begin_ms = day_of(date) * DAY_MS;
            assert_eq!(date_of(day_of_ms(begin_ms)), date);
            assert_eq!(date_of(day_of_ms(begin_ms + DAY_MS - 1)), date);
            assert_eq!(day_of_ms(begin_ms + DAY_MS), day_of(date) + 1);
        }
    }

    #[test]
    fn days_outside_the_calendar_are_its_ends() {
        assert_eq!(date_of(i64::MIN), Date::MIN);
        assert_eq!(date_of(i64::MAX), Date::MAX);
    }
}
