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

/// What is ahead of a series: the trend in force, and what else may come of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outlook {
    /// The trend in force.
    pub trend: Trend,
    /// The slowest of it and of what the longer horizons say.
    pub slowest_bytes_per_second: f64,
    /// The fastest of them.
    pub fastest_bytes_per_second: f64,
    /// The largest fall between two points that are still known: so much comes and goes.
    pub fall_bytes: u64,
    /// Time between the newest two points: the limit is seen to be reached that much later.
    pub apart_ms: u64,
}

/// What came and went comes again larger while memory grows: so many times it the limit may be
/// reached earlier.
const FALLS: f64 = 2.0;

/// How much earlier and later than by trends alone it is believed, when all horizons say the same.
const EARLIER: f64 = 0.92;
const LATER: f64 = 1.03;

/// A horizon that says nothing of growth, or the contrary, differs as if it said this share of the trend.
const SLOWEST_SHARE: f64 = 0.05;

/// When `limit_bytes` is reached if the trend goes on; `None` when memory does not rise.
#[must_use]
pub fn forecast(used_bytes: u64, limit_bytes: u64, outlook: &Outlook) -> Option<Forecast> {
    let trend = &outlook.trend;
    let rate = trend.bytes_per_second;
    if rate.is_nan() || rate <= 0.0 {
        return None;
    }
    let left_bytes = limit_bytes.saturating_sub(used_bytes) as f64;
    let sure_bytes = (left_bytes - FALLS * outlook.fall_bytes as f64).max(0.0);
    let (slowest, fastest) = (
        outlook.slowest_bytes_per_second,
        outlook.fastest_bytes_per_second,
    );
    let fastest = fastest.max(trend.high_bytes_per_second).max(rate);
    let slowest = slowest.min(trend.low_bytes_per_second).min(rate);
    let differ = outlook.differ();
    // Over already: nothing is waited for.
    let apart_seconds = if left_bytes > 0.0 {
        outlook.apart_ms as f64 / 1000.0
    } else {
        0.0
    };
    let latest = |slowest| LATER * (left_bytes / slowest) * differ + apart_seconds;
    Some(Forecast {
        seconds_to_limit: left_bytes / rate,
        seconds_to_limit_low: EARLIER * (sure_bytes / fastest) / differ,
        seconds_to_limit_high: (slowest > 0.0).then(|| latest(slowest)),
    })
}

// === impl Outlook ===

impl Outlook {
    /// How far the horizons are from each other, as the square root of fastest by slowest. What has sped up
    /// or slowed down goes on doing so: to the limit it is as far again, half of it at each end.
    fn differ(&self) -> f64 {
        let rate = self.trend.bytes_per_second;
        let slowest = self.slowest_bytes_per_second.max(SLOWEST_SHARE * rate);
        (self.fastest_bytes_per_second.max(rate) / slowest.min(rate)).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outlook(low: f64, middle: f64, high: f64) -> Outlook {
        Outlook {
            trend: Trend {
                bytes_per_second: middle,
                low_bytes_per_second: low,
                high_bytes_per_second: high,
                rising_share: 1.0,
                span_ms: 30_000,
                points: 7,
            },
            slowest_bytes_per_second: middle,
            fastest_bytes_per_second: middle,
            fall_bytes: 0,
            apart_ms: 0,
        }
    }

    #[test]
    fn memory_that_does_not_rise_has_no_forecast() {
        assert_eq!(forecast(1, 100, &outlook(-2.0, 0.0, 2.0)), None);
        assert_eq!(forecast(1, 100, &outlook(-5.0, -2.0, 1.0)), None);
    }

    #[test]
    fn a_rise_is_forecast_with_both_ends_of_its_interval() {
        let forecast = forecast(400, 1000, &outlook(5.0, 10.0, 20.0)).unwrap();
        assert_eq!(forecast.seconds_to_limit, 60.0);
        assert_eq!(forecast.seconds_to_limit_low, EARLIER * 30.0);
        assert_eq!(forecast.seconds_to_limit_high, Some(LATER * 120.0));
    }

    #[test]
    fn horizons_that_differ_and_what_comes_and_goes_widen_the_interval() {
        let differ = Outlook {
            slowest_bytes_per_second: 4.0,
            fastest_bytes_per_second: 40.0,
            fall_bytes: 100,
            ..outlook(5.0, 10.0, 20.0)
        };
        let forecast = forecast(400, 1000, &differ).unwrap();
        assert_eq!(forecast.seconds_to_limit, 60.0);
        // From 4 to 40 is a factor of ten, of which a half goes to each end.
        let half = 10_f64.sqrt();
        let close = |left: f64, right: f64| (left - right).abs() < 1e-9 * right;
        assert!(close(forecast.seconds_to_limit_low, EARLIER * 10.0 / half));
        let high = forecast.seconds_to_limit_high.unwrap();
        assert!(close(high, LATER * 150.0 * half), "{high}");
    }

    #[test]
    fn the_limit_is_seen_to_be_reached_with_the_next_sample() {
        let apart = Outlook {
            apart_ms: 5_000,
            ..outlook(10.0, 10.0, 10.0)
        };
        let high = |used_bytes| forecast(used_bytes, 1000, &apart).unwrap();
        assert_eq!(high(990).seconds_to_limit_high, Some(LATER + 5.0));
        assert_eq!(high(1000).seconds_to_limit_high, Some(0.0));
    }

    #[test]
    fn an_interval_that_holds_zero_says_never_at_its_far_end() {
        let forecast = forecast(400, 1000, &outlook(-1.0, 10.0, 20.0)).unwrap();
        assert_eq!(forecast.seconds_to_limit_high, None);
    }

    #[test]
    fn past_the_limit_no_time_is_left() {
        let forecast = forecast(1200, 1000, &outlook(5.0, 10.0, 20.0)).unwrap();
        assert_eq!(forecast.seconds_to_limit, 0.0);
        assert_eq!(forecast.seconds_to_limit_low, 0.0);
    }
}
