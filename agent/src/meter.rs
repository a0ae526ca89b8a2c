//! What the meter shows beside a sample: momentum, trend and time to the limit, by the same
//! maths as the collector's, so that a server without a collector has them too.

use hubmeter_kinetics::{
    forecast::{Forecast, Outlook, forecast},
    momentum::momentum_bytes,
    series::Point,
    tracker::Tracker,
};

use crate::sample::Sample;

/// Keeps what the figures need of earlier samples.
#[derive(Debug, Default)]
pub struct Meter {
    tracker: Tracker,
    /// Of everybody's use of the limit, while others share it.
    shared: Option<Box<Tracker>>,
    last_base_rss_bytes: Option<u64>,
}

/// The figures of one sample.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    /// Change of resident memory since the base sample before; unknown in a burst's samples and
    /// for the first.
    pub momentum_bytes: Option<i64>,
    /// Robust slope of memory in use.
    pub trend_bytes_per_second: Option<f64>,
    /// When the limit is reached if that goes on.
    pub forecast: Option<Forecast>,
}

// === impl Meter ===

impl Meter {
    /// The figures of `sample`, the newest.
    pub fn figures(&mut self, sample: &Sample) -> Figures {
        self.tracker.correct(sample.memory_corrected_bytes);
        self.tracker.push(Point {
            mono_ms: sample.mono_ms,
            bytes: sample.memory_used_bytes,
        });
        let outlook = self.tracker.outlook();
        let momentum_bytes = (!sample.burst)
            .then(|| self.last_base_rss_bytes.replace(sample.rss_bytes))
            .flatten()
            .map(|before| momentum_bytes(before, sample.rss_bytes));
        Figures {
            momentum_bytes,
            trend_bytes_per_second: outlook.map(|outlook| outlook.trend.bytes_per_second),
            forecast: self.forecast(sample, outlook),
        }
    }

    /// When the limit is reached: by the server, or by all together who share it.
    fn forecast(&mut self, sample: &Sample, own: Option<Outlook>) -> Option<Forecast> {
        let used = sample.limited_bytes();
        let outlook = if sample.memory_limit_shared {
            let shared = self.shared.get_or_insert_default();
            shared.push(Point {
                mono_ms: sample.mono_ms,
                bytes: used,
            });
            shared.outlook()
        } else {
            self.shared = None;
            own
        };
        forecast(used, sample.memory_limit_bytes?, &outlook?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::encode::tests::sample;

    #[test]
    fn momentum_is_between_base_samples_and_unknown_in_a_burst() {
        let mut meter = Meter::default();
        let momenta: Vec<_> = [(0, 100, false), (1_000, 900, true), (5_000, 300, false)]
            .into_iter()
            .map(|(at, used, burst)| {
                let mut sample = sample(at, used);
                sample.burst = burst;
                meter.figures(&sample).momentum_bytes
            })
            .collect();
        assert_eq!(momenta, [None, None, Some(200)]);
    }

    #[test]
    fn a_better_reading_of_what_was_there_before_is_no_climb() {
        let mut meter = Meter::default();
        let mut figures = Figures::default();
        for step in 0..10u64 {
            let mut sample = sample(step * 5_000, 500_000_000);
            if step >= 6 {
                sample.memory_used_bytes = 800_000_000 - step % 2;
            }
            if step == 6 {
                sample.memory_corrected_bytes = 300_000_000;
            }
            figures = meter.figures(&sample);
        }
        assert!(figures.trend_bytes_per_second.unwrap().abs() < 1.0);
        assert_eq!(figures.forecast, None);
    }

    #[test]
    fn a_steady_climb_has_a_time_to_the_limit() {
        let mut meter = Meter::default();
        let mut figures = Figures::default();
        for step in 0..10u64 {
            figures = meter.figures(&sample(step * 5_000, 500_000_000 + step * 5_000_000));
        }
        assert_eq!(figures.trend_bytes_per_second, Some(1_000_000.0));
        let left = figures.forecast.unwrap().seconds_to_limit;
        assert!((left - 455.0).abs() < 1.0, "{left}");
    }

    #[test]
    fn a_limit_that_others_share_is_reached_by_all_of_them_together() {
        let mut meter = Meter::default();
        let mut figures = Figures::default();
        for step in 0..10u64 {
            // The server stands still while its neighbours climb.
            let mut sample = sample(step * 5_000, 100_000_000);
            sample.memory_limit_shared = true;
            sample.memory_limit_used_bytes = Some(500_000_000 + step * 5_000_000);
            figures = meter.figures(&sample);
        }
        assert_eq!(figures.trend_bytes_per_second, Some(0.0));
        let left = figures.forecast.unwrap().seconds_to_limit;
        assert!((left - 455.0).abs() < 1.0, "{left}");

        // They are gone: what they used is no growth and no release of the server's.
        let alone = meter.figures(&sample(50_000, 100_000_000));
        assert_eq!(alone.forecast, None);
    }
}
