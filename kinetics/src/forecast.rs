//! Time to the limit from a trend.

use crate::trend::Trend;

/// Seconds until the limit is reached if the trend goes on, with its believed interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Forecast {
    /// Best guess, seconds; 0 when the limit is reached already.
    pub seconds_to_limit: f64,
    /// Earliest believed, seconds.
    pub seconds_to_limit_low: f64,
    /// Latest believed, seconds; `None` when the interval holds "never".
    pub seconds_to_limit_high: Option<f64>,
}

/// When `limit_bytes` is reached if `trend` goes on; `None` when memory does not rise.
#[must_use]
pub fn forecast(used_bytes: u64, limit_bytes: u64, trend: &Trend) -> Option<Forecast> {
    if trend.bytes_per_second.is_nan() || trend.bytes_per_second <= 0.0 {
        return None;
    }
    let left_bytes = limit_bytes.saturating_sub(used_bytes) as f64;
    let seconds_at = |bytes_per_second: f64| left_bytes / bytes_per_second;
    Some(Forecast {
        seconds_to_limit: seconds_at(trend.bytes_per_second),
        // The interval holds the median, so its upper end is positive here.
        seconds_to_limit_low: seconds_at(trend.high_bytes_per_second.max(trend.bytes_per_second)),
        seconds_to_limit_high: (trend.low_bytes_per_second > 0.0)
            .then(|| seconds_at(trend.low_bytes_per_second)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trend(low: f64, middle: f64, high: f64) -> Trend {
        Trend {
            bytes_per_second: middle,
            low_bytes_per_second: low,
            high_bytes_per_second: high,
            rising_share: 1.0,
            span_ms: 30_000,
            points: 7,
        }
    }

    #[test]
    fn memory_that_does_not_rise_has_no_forecast() {
        assert_eq!(forecast(1, 100, &trend(-2.0, 0.0, 2.0)), None);
        assert_eq!(forecast(1, 100, &trend(-5.0, -2.0, 1.0)), None);
    }

    #[test]
    fn a_rise_is_forecast_with_both_ends_of_its_interval() {
        let forecast = forecast(400, 1000, &trend(5.0, 10.0, 20.0)).unwrap();
        assert_eq!(forecast.seconds_to_limit, 60.0);
        assert_eq!(forecast.seconds_to_limit_low, 30.0);
        assert_eq!(forecast.seconds_to_limit_high, Some(120.0));
    }

    #[test]
    fn an_interval_that_holds_zero_says_never_at_its_far_end() {
        let forecast = forecast(400, 1000, &trend(-1.0, 10.0, 20.0)).unwrap();
        assert_eq!(forecast.seconds_to_limit_high, None);
    }

    #[test]
    fn past_the_limit_no_time_is_left() {
        let forecast = forecast(1200, 1000, &trend(5.0, 10.0, 20.0)).unwrap();
        assert_eq!(forecast.seconds_to_limit, 0.0);
        assert_eq!(forecast.seconds_to_limit_low, 0.0);
    }
}
