//! Nights and weekends: when another timeout holds, in somebody's time zone.
//!
//! A time of day that a change of clocks skips is the first moment after it; one that comes twice is
//! the first of the two.

use std::collections::BTreeSet;

use jiff::{
    Timestamp,
    civil::{Date, Weekday},
    tz::TimeZone,
};

use crate::text::Label;

/// Days ahead that are looked at: a week, and the rest of a night that began in it. What would be
/// due later is told when it is nearer.
const DAYS_AHEAD: i64 = 8;

/// Days back: a night that began yesterday holds today, and a zone may be a day ahead of another.
const DAYS_BACK: i64 = 2;

/// Minutes of a day.
pub const DAY_MINUTES: u16 = 24 * 60;

/// Times of the week at which another timeout holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// Days on which it begins, Monday first.
    pub days: [bool; 7],
    /// Minutes after midnight at which it begins.
    pub from_minutes: u16,
    /// And ends: on the next day, where that is not later than it begins.
    pub to_minutes: u16,
    /// Where those days and minutes are.
    pub zone: TimeZone,
    /// What holds then.
    pub timeout_ms: i64,
    /// Only for members of one of these; for everybody without a timeout of their group's own where
    /// none is named.
    pub groups: BTreeSet<Label>,
}

/// A stretch of time with a timeout of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// It begins.
    pub from_ms: i64,
    /// It has ended.
    pub to_ms: i64,
    /// What holds in it.
    pub timeout_ms: i64,
}

// === impl Schedule ===

impl Schedule {
    /// When it holds, around `now_ms` and in the week to come; oldest first.
    #[must_use]
    pub fn spans(&self, now_ms: i64) -> Vec<Span> {
        let Ok(now) = Timestamp::from_millisecond(now_ms) else {
            return Vec::new();
        };
        let today = now.to_zoned(self.zone.clone()).date();
        (-DAYS_BACK..=DAYS_AHEAD)
            .filter_map(|days| {
                let date = plus(today, days)?;
                let begins = self.days[usize::from(monday_is_0(date.weekday()))];
                begins.then(|| self.span_of(date)).flatten()
            })
            .collect()
    }

    fn span_of(&self, date: Date) -> Option<Span> {
        let ends_on = if self.to_minutes > self.from_minutes {
            date
        } else {
            plus(date, 1)?
        };
        let from_ms = self.moment(date, self.from_minutes)?;
        let to_ms = self.moment(ends_on, self.to_minutes)?;
        (from_ms < to_ms).then_some(Span {
            from_ms,
            to_ms,
            timeout_ms: self.timeout_ms,
        })
    }

    fn moment(&self, date: Date, minutes: u16) -> Option<i64> {
        let (date, minutes) = if minutes >= DAY_MINUTES {
            (plus(date, 1)?, minutes - DAY_MINUTES)
        } else {
            (date, minutes)
        };
        let (hour, minute) = (
            i8::try_from(minutes / 60).ok()?,
            i8::try_from(minutes % 60).ok()?,
        );
        let zoned = date.at(hour, minute, 0, 0).to_zoned(self.zone.clone());
        Some(zoned.ok()?.timestamp().as_millisecond())
    }
}

fn monday_is_0(weekday: Weekday) -> u8 {
    weekday.to_monday_zero_offset().unsigned_abs()
}

fn plus(date: Date, days: i64) -> Option<Date> {
    date.checked_add(jiff::Span::new().days(days)).ok()
}

/// `spans`, which may overlap, as stretches one after the other; where several hold, the longest
/// timeout does.
#[must_use]
pub fn merged(spans: &[Span]) -> Vec<Span> {
    let mut edges: Vec<i64> = spans.iter().flat_map(|s| [s.from_ms, s.to_ms]).collect();
    edges.sort_unstable();
    edges.dedup();
    let mut merged: Vec<Span> = Vec::new();
    for pair in edges.windows(2) {
        let (from_ms, to_ms) = (pair[0], pair[1]);
        let holding = spans
            .iter()
            .filter(|span| span.from_ms <= from_ms && to_ms <= span.to_ms);
        let Some(timeout_ms) = holding.map(|span| span.timeout_ms).max() else {
            continue;
        };
        match merged.last_mut() {
            Some(last) if last.to_ms == from_ms && last.timeout_ms == timeout_ms => {
                last.to_ms = to_ms;
            }
            _ => merged.push(Span {
                from_ms,
                to_ms,
                timeout_ms,
            }),
        }
    }
    merged
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    /// Every night of `days` from 20:00 to 07:00 in Zurich: 20 minutes.
    pub(crate) fn nights(days: [bool; 7]) -> Schedule {
        Schedule {
            days,
            from_minutes: 20 * 60,
            to_minutes: 7 * 60,
            zone: TimeZone::get("Europe/Zurich").unwrap(),
            timeout_ms: 20 * 60_000,
            groups: BTreeSet::new(),
        }
    }

    fn around(schedule: &Schedule, now: &str) -> Option<(String, String)> {
        let now_ms = at(now);
        let text = |ms| Timestamp::from_millisecond(ms).unwrap().to_string();
        let spans = schedule.spans(now_ms);
        let span = spans
            .iter()
            .find(|span| (span.from_ms..span.to_ms).contains(&now_ms))?;
        Some((text(span.from_ms), text(span.to_ms)))
    }

    #[test]
    fn a_night_holds_until_the_morning_after() {
        let every = nights([true; 7]);
        let night = around(&every, "2026-01-14T02:00:00Z").unwrap();
        assert_eq!(night.0, "2026-01-13T19:00:00Z", "20:00 in Zurich");
        assert_eq!(night.1, "2026-01-14T06:00:00Z");
        assert_eq!(
            around(&every, "2026-01-14T06:00:00Z"),
            None,
            "over at 07:00"
        );
        // The day names when it begins: Friday's night reaches into Saturday.
        let mut days = [false; 7];
        days[4] = true;
        let friday = nights(days);
        assert!(around(&friday, "2026-01-17T03:00:00Z").is_some());
        assert_eq!(around(&friday, "2026-01-16T03:00:00Z"), None);
    }

    #[test]
    fn nights_on_which_clocks_change_are_an_hour_shorter_or_longer() {
        let every = nights([true; 7]);
        let spring = around(&every, "2026-03-29T03:00:00Z").unwrap();
        assert_eq!(spring.0, "2026-03-28T19:00:00Z", "20:00 in winter");
        assert_eq!(spring.1, "2026-03-29T05:00:00Z", "07:00 in summer");
        let autumn = around(&every, "2026-10-25T01:30:00Z").unwrap();
        assert_eq!(autumn.0, "2026-10-24T18:00:00Z");
        assert_eq!(autumn.1, "2026-10-25T06:00:00Z");
        // What clocks skip begins when they have; what they repeat begins the first time.
        let from = |minutes, now: &str| {
            let schedule = Schedule {
                from_minutes: minutes,
                ..every.clone()
            };
            around(&schedule, now).unwrap().0
        };
        let skipped = from(2 * 60 + 30, "2026-03-29T03:00:00Z");
        assert_eq!(skipped, "2026-03-29T01:30:00Z", "03:30 in summer");
        let twice = from(2 * 60 + 30, "2026-10-25T03:00:00Z");
        assert_eq!(twice, "2026-10-25T00:30:00Z", "02:30 in summer still");
    }

    #[test]
    fn a_whole_day_ends_at_midnight_of_its_zone() {
        let mut days = [false; 7];
        days[5] = true;
        let saturday = Schedule {
            from_minutes: 0,
            to_minutes: DAY_MINUTES,
            zone: TimeZone::get("Pacific/Auckland").unwrap(),
            ..nights(days)
        };
        let day = around(&saturday, "2026-01-17T00:00:00Z").unwrap();
        assert_eq!(day.0, "2026-01-16T11:00:00Z");
        assert_eq!(day.1, "2026-01-17T11:00:00Z");
    }

    #[test]
    fn where_several_hold_the_longest_timeout_does() {
        let span = |from_ms, to_ms, timeout_ms| Span {
            from_ms,
            to_ms,
            timeout_ms,
        };
        let spans = merged(&[
            span(0, 10, 5),
            span(4, 6, 9),
            span(8, 12, 5),
            span(20, 30, 1),
        ]);
        assert_eq!(
            spans,
            [
                span(0, 4, 5),
                span(4, 6, 9),
                span(6, 12, 5),
                span(20, 30, 1)
            ]
        );
        assert!(merged(&[]).is_empty());
    }
}
