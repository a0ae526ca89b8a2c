//! Bytes per second over a horizon, robust against bursts and garbage collection.

/// A point of a series: when (milliseconds of the agent's monotonic clock) and how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// Milliseconds since boot.
    pub mono_ms: u64,
    /// Bytes in use.
    pub bytes: u64,
}

/// A robust slope with the interval it is believed in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trend {
    /// Median slope, bytes per second; negative when memory is given back.
    pub bytes_per_second: f64,
    /// Lower end of the believed interval (80 %).
    pub low_bytes_per_second: f64,
    /// Upper end of the believed interval (80 %).
    pub high_bytes_per_second: f64,
    /// Share of the steps inside the horizon that went up, 0..=1.
    pub rising_share: f64,
    /// How much time the points cover.
    pub span_ms: u64,
    /// How many points were used.
    pub points: usize,
}
