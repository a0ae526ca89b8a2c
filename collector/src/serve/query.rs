//! Query parameters: each is taken by name once; what is left over was a mistake and is named.

use percent_encoding::percent_decode_str;

use super::problem::Problem;

/// Parameters of one request: more than any address takes, few enough to search through.
const PARAMETERS_MAX: usize = 32;

/// The longest duration anybody may mean: a century, so that sums stay far from overflow.
const DURATION_MS_MAX: i64 = 100 * 365 * 24 * 60 * 60 * 1000;

/// Characters of `2026-01-31`.
const DATE_LENGTH: usize = 10;

/// The parameters of one request, not yet taken.
#[derive(Debug)]
pub(crate) struct Query(Vec<(String, String)>);

// === impl Query ===

impl Query {
    /// Splits and decodes the part after `?`. An empty value counts as not given.
    pub(crate) fn parse(raw: Option<&str>) -> Result<Self, Problem> {
        let mut parameters: Vec<(String, String)> = Vec::new();
        for pair in raw.unwrap_or_default().split('&').filter(|p| !p.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decode(name)?, decode(value)?);
            if parameters.iter().any(|(known, _)| *known == name) {
                let detail = format!("{name:?} is given twice");
                return Err(Problem::unknown_parameter(&name, detail));
            }
            if parameters.len() == PARAMETERS_MAX {
                let detail = format!("more than {PARAMETERS_MAX} parameters");
                return Err(Problem::unreadable(detail));
            }
            parameters.push((name, value));
        }
        Ok(Self(parameters))
    }

    /// Takes `name`, if given and not empty.
    pub(crate) fn take(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        let (_, value) = self.0.swap_remove(at);
        (!value.is_empty()).then_some(value)
    }

    /// Takes `name` as one of `words`.
    pub(crate) fn take_word(
        &mut self,
        name: &'static str,
        words: &[&'static str],
    ) -> Result<Option<&'static str>, Problem> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        let word = words.iter().find(|word| **word == value);
        word.copied().map(Some).ok_or_else(|| {
            let detail = format!("{name} is one of {}, not {value:?}", words.join(", "));
            Problem::bad_value(name, detail)
        })
    }

    /// Takes `name` as a whole number from `min` to `max`.
    pub(crate) fn take_integer(
        &mut self,
        name: &str,
        min: u64,
        max: u64,
    ) -> Result<Option<u64>, Problem> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        match value.parse::<u64>() {
            Ok(number) if (min..=max).contains(&number) => Ok(Some(number)),
            _ => Err(Problem::bad_value(
                name,
                format!("{name} is a whole number from {min} to {max}, not {value:?}"),
            )),
        }
    }

    /// Takes `name` as a duration in milliseconds: a bare number is seconds.
    pub(crate) fn take_duration_ms(&mut self, name: &str) -> Result<Option<i64>, Problem> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        duration_ms(&value).map(Some).ok_or_else(|| {
            let detail =
                format!("{name} is a duration such as 90, 90s, 15m, 1h or 2d, not {value:?}");
            Problem::bad_value(name, detail)
        })
    }

    /// Takes `name` as a time: RFC 3339, or a duration before `now_ms` such as `-1h`.
    pub(crate) fn take_time_ms(&mut self, name: &str, now_ms: i64) -> Result<Option<i64>, Problem> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        time_ms(&value, now_ms).map(Some).ok_or_else(|| {
            let detail =
                format!("{name} is a time such as 2026-01-31T08:00:00Z or -1h, not {value:?}");
            Problem::bad_value(name, detail)
        })
    }

    /// Takes `name` as a time or as a date, which begins at midnight in UTC.
    pub(crate) fn take_date_ms(&mut self, name: &str, now_ms: i64) -> Result<Option<i64>, Problem> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        date_ms(&value, now_ms).map(Some).ok_or_else(|| {
            let detail = format!(
                "{name} is a date such as 2026-01-31, a time such as 2026-01-31T08:00:00Z or -30d, \
                 not {value:?}"
            );
            Problem::bad_value(name, detail)
        })
    }

    /// Everything known has been taken: what is left is refused by name.
    pub(crate) fn finish(self, known: &[&str]) -> Result<(), Problem> {
        match self.0.into_iter().next() {
            None => Ok(()),
            Some((name, _)) => {
                let known = match known {
                    [] => "no parameter".to_owned(),
                    known => known.join(", "),
                };
                let detail = format!("{name:?} means nothing here; this address takes {known}");
                Err(Problem::unknown_parameter(&name, detail))
            }
        }
    }
}

fn decode(part: &str) -> Result<String, Problem> {
    percent_decode_str(&part.replace('+', " "))
        .decode_utf8()
        .map(|text| text.into_owned())
        .map_err(|_| Problem::unreadable("the query is not UTF-8"))
}

/// Milliseconds of `90`, `1.5s`, `250ms`, `15m`, `1h`, `2d`, `1w`.
pub(crate) fn duration_ms(text: &str) -> Option<i64> {
    let split = text.find(|c: char| c.is_ascii_alphabetic());
    let (number, unit) = text.split_at(split.unwrap_or(text.len()));
    let unit_ms = match unit {
        "ms" => 1.0,
        "" | "s" => 1_000.0,
        "m" | "min" => 60_000.0,
        "h" => 3_600_000.0,
        "d" => 86_400_000.0,
        "w" => 604_800_000.0,
        _ => return None,
    };
    if !number.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let ms = number.parse::<f64>().ok()? * unit_ms;
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)] // checked here
    (ms <= DURATION_MS_MAX as f64).then_some(ms.round() as i64)
}

/// A time in milliseconds: RFC 3339, `now`, or a duration before it such as `-1h`.
pub(crate) fn time_ms(text: &str, now_ms: i64) -> Option<i64> {
    if text == "now" {
        return Some(now_ms);
    }
    if let Some(back) = text.strip_prefix('-') {
        return Some(now_ms - duration_ms(back)?);
    }
    // A plus sign in a query means a space; nobody escapes it in an offset.
    let at: jiff::Timestamp = text.replace(' ', "+").parse().ok()?;
    Some(at.as_millisecond())
}

/// A date, or what [`time_ms`] reads.
pub(crate) fn date_ms(text: &str, now_ms: i64) -> Option<i64> {
    // Civil dates are lenient: a time with an offset is no date.
    if text.len() == DATE_LENGTH
        && let Ok(date) = text.parse::<jiff::civil::Date>()
    {
        let midnight = date.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
        return Some(midnight.timestamp().as_millisecond());
    }
    time_ms(text, now_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(raw: &str) -> Query {
        Query::parse(Some(raw)).expect("readable")
    }

    #[test]
    fn durations_are_seconds_unless_they_say_otherwise() {
        for (text, ms) in [
            ("90", 90_000),
            ("1.5s", 1_500),
            ("250ms", 250),
            ("15m", 900_000),
            ("1h", 3_600_000),
            ("2d", 172_800_000),
        ] {
            assert_eq!(duration_ms(text), Some(ms), "{text}");
        }
        for text in [
            "", "h", "-5", "1y", "1e99", "inf", "nan", "1h30m", "5 s", "١",
        ] {
            assert_eq!(duration_ms(text), None, "{text}");
        }
    }

    #[test]
    fn times_are_absolute_or_before_now() {
        let now_ms = 1_574_027_796_500;
        let read = |raw: &str| query(raw).take_time_ms("from", now_ms).expect("a time");
        assert_eq!(read("from=-1h"), Some(now_ms - 3_600_000));
        assert_eq!(read("from=2019-11-17T21:56:36.500Z"), Some(now_ms));
        assert_eq!(read("from=2019-11-17T22:56:36.500+01:00"), Some(now_ms));
        assert_eq!(read("from="), None);
        assert!(query("from=tuesday").take_time_ms("from", now_ms).is_err());
    }

    #[test]
    fn a_date_is_its_midnight_in_utc() {
        let now_ms = 1_574_027_796_500;
        assert_eq!(date_ms("2019-11-17", now_ms), Some(1_573_948_800_000));
        assert_eq!(date_ms("-1d", now_ms), Some(now_ms - 86_400_000));
        assert_eq!(date_ms("2019-11-17T21:56:36.5Z", now_ms), Some(now_ms));
        for text in [
            "2019-02-29",
            "17.11.2019",
            "20191117",
            "2019-11-17T21:56",
            "",
        ] {
            assert_eq!(date_ms(text, now_ms), None, "{text}");
        }
    }

    #[test]
    fn names_come_decoded_and_leftovers_are_named() {
        let mut query = query("user=ann%2Fb%40x.org&g=%C3%BC+%F0%9F%90%99&typo=1");
        assert_eq!(query.take("user").as_deref(), Some("ann/b@x.org"));
        assert_eq!(query.take("g").as_deref(), Some("ü 🐙"));
        let problem = query.finish(&["user", "g"]).expect_err("typo");
        assert_eq!(problem.status(), 400);
        assert!(format!("{problem:?}").contains("\\\"typo\\\" means nothing here"));
    }

    #[test]
    fn the_same_parameter_twice_and_bytes_that_are_not_text_are_refused() {
        assert!(Query::parse(Some("a=1&a=2")).is_err());
        assert!(Query::parse(Some("a=%ff")).is_err());
        let many: Vec<_> = (0..100).map(|i| format!("p{i}=1")).collect();
        assert!(Query::parse(Some(&many.join("&"))).is_err());
    }

    #[test]
    fn a_value_out_of_its_bound_is_refused_with_the_bound() {
        let problem = query("limit=5001")
            .take_integer("limit", 1, 5000)
            .expect_err("too large");
        assert_eq!(problem.status(), 422);
        assert!(format!("{problem:?}").contains("from 1 to 5000"));
    }
}
