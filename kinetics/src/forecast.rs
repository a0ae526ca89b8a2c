//! Time to the limit from a trend.

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
