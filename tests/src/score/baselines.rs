//! What people have today, by the rules they use.

use std::collections::VecDeque;

use super::{
    corpus::Point,
    detector::{Detector, Says},
};

/// How far ahead the forecasting baselines look: as far as a lead can count.
const AHEAD_SECONDS: f64 = 900.0;

/// Alarm at a share of the limit: jupyter-resource-usage's red number, most alert rules; earlyoom's is the
/// same at 90 %, where less than 10 % is left.
pub struct Level {
    /// The share.
    pub share: f64,
}

/// Prometheus' `predict_linear`: a least-squares line through a window, prolonged.
pub struct PredictLinear {
    window_ms: i64,
    points: VecDeque<(f64, f64)>,
}

/// Arbiter2's badness (arbiter/badness.py): rises while use is above a share of the limit, falls below it.
pub struct Badness {
    badness: f64,
    previous_ms: Option<i64>,
}

/// Holt's double exponential smoothing, prolonged.
#[derive(Default)]
pub struct Holt {
    level: Option<(f64, f64)>,
    previous_ms: i64,
}

// === impl Level ===

impl Detector for Level {
    fn see(&mut self, point: &Point, limit_bytes: u64) -> Says {
        alarm(point.used_bytes as f64 >= self.share * limit_bytes as f64)
    }
}

// === impl PredictLinear ===

impl PredictLinear {
    /// Over the last `minutes`.
    #[must_use]
    pub fn over(minutes: i64) -> Self {
        Self {
            window_ms: minutes * 60_000,
            points: VecDeque::new(),
        }
    }
}

impl Detector for PredictLinear {
    fn see(&mut self, point: &Point, limit_bytes: u64) -> Says {
        let now = point.at_ms as f64 / 1000.0;
        self.points.push_back((now, point.used_bytes as f64));
        let from = now - self.window_ms as f64 / 1000.0;
        while self.points.front().is_some_and(|(at, _)| *at < from) {
            self.points.pop_front();
        }
        let n = self.points.len() as f64;
        if n < 2.0 {
            return Says::default();
        }
        let (mut x, mut y, mut xx, mut xy) = (0.0, 0.0, 0.0, 0.0);
        for (at, used) in &self.points {
            let ago = at - now;
            x += ago;
            y += used;
            xx += ago * ago;
            xy += ago * used;
        }
        let slope = (n * xy - x * y) / (n * xx - x * x);
        let here = (y - slope * x) / n;
        alarm(here + slope * AHEAD_SECONDS >= limit_bytes as f64)
    }
}

// === impl Badness ===

impl Badness {
    /// Arbiter2's own settings for memory: use above this share is bad, so many seconds to the worst, so many
    /// back to nothing.
    const THRESHOLD: f64 = 0.5;
    const SECONDS_TO_WORST: f64 = 600.0;
    const SECONDS_TO_BEST: f64 = 1800.0;
    const WORST: f64 = 100.0;

    /// Without any.
    #[must_use]
    pub fn none() -> Self {
        Self {
            badness: 0.0,
            previous_ms: None,
        }
    }
}

impl Detector for Badness {
    fn see(&mut self, point: &Point, limit_bytes: u64) -> Says {
        let seconds = (point.at_ms - self.previous_ms.unwrap_or(point.at_ms)) as f64 / 1000.0;
        self.previous_ms = Some(point.at_ms);
        let share = point.used_bytes as f64 / limit_bytes as f64;
        let change = if share >= Self::THRESHOLD {
            share / (Self::SECONDS_TO_WORST * Self::THRESHOLD)
        } else {
            -(1.0 - share) / Self::SECONDS_TO_BEST
        };
        self.badness = (self.badness + change * seconds * Self::WORST).clamp(0.0, Self::WORST);
        // Its first mail is sent when a user's status is lowered, which is at the worst.
        alarm(self.badness >= Self::WORST)
    }
}

// === impl Holt ===

impl Holt {
    /// Time constants of level and trend.
    const LEVEL_SECONDS: f64 = 15.0;
    const TREND_SECONDS: f64 = 60.0;
}

impl Detector for Holt {
    fn see(&mut self, point: &Point, limit_bytes: u64) -> Says {
        let used = point.used_bytes as f64;
        let Some((level, trend)) = self.level else {
            self.level = Some((used, 0.0));
            self.previous_ms = point.at_ms;
            return Says::default();
        };
        let seconds = (point.at_ms - self.previous_ms) as f64 / 1000.0;
        self.previous_ms = point.at_ms;
        let weight = |constant: f64| 1.0 - (-seconds / constant).exp();
        let expected = level + trend * seconds;
        let next = expected + weight(Self::LEVEL_SECONDS) * (used - expected);
        let slope = trend + weight(Self::TREND_SECONDS) * ((next - level) / seconds - trend);
        self.level = Some((next, slope));
        alarm(next + slope * AHEAD_SECONDS >= limit_bytes as f64)
    }
}

fn alarm(alarm: bool) -> Says {
    Says {
        alarm,
        seconds_to_limit: None,
    }
}
