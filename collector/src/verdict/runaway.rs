//! `runaway_memory`: memory grows and grows, and the limit is near in time.
//!
//! It asks what somebody watching the graph would ask. Is this growth, or one allocation, or a
//! collector's saw-tooth (the trend's lower bound)? Does it go on (the last samples rose too)?
//! Has it gone on long enough to be extrapolated (it rose by at least half of what is left)? Is
//! there little time (policy)? Was memory this high before, and came down by itself? It clears
//! when growth stopped or was undone, and for no other reason.

use hubmeter_kinetics::{series::Point, trend::Trend};

use super::{Evidence, Finding, Severity, View, WorkloadName};

/// Growth slower than this is not growth: 64 KiB/s fills a gigabyte in four and a half hours.
pub const FLOOR_BYTES_PER_SECOND: f64 = 65_536.0;

/// Share of the steps that must go up.
pub const RISING_SHARE_MIN: f64 = 0.5;

/// Samples that must rise while growth is believed, before it is said.
pub const RISES_MIN: u8 = 2;

/// A sample rises when it does so at this share of the trend at least.
pub const RISE_SHARE_MIN: f64 = 0.25;

/// The rise must be at least this share of what is left: nobody should extrapolate further.
pub const RISEN_SHARE_MIN: f64 = 0.5;

/// This share of a rise given back is growth undone.
pub const UNDONE_SHARE: f64 = 0.5;

/// No new high for this long, or for three intervals, is growth stopped.
pub const STOPPED_AFTER_MS: u64 = 60_000;

/// How long a peak that came down by itself excuses the next climb to it.
pub const PEAK_KEPT_MS: u64 = 30 * 60 * 1000;

/// What is remembered between samples.
#[derive(Clone, Debug, Default)]
pub(crate) struct Runaway {
    climb: Option<Climb>,
    /// The highest climb that was undone by the program itself.
    released: Option<Point>,
    rises: u8,
    previous: Option<Point>,
}

/// A rise from a low, as long as it goes on.
#[derive(Clone, Copy, Debug)]
struct Climb {
    from_bytes: u64,
    high: Point,
}

/// How a climb went on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    GoesOn,
    Stopped,
    Undone,
}

// === impl Runaway ===

impl Runaway {
    pub(crate) fn judge(&mut self, view: &View<'_>, open: bool) -> Option<Finding> {
        let now = Point {
            mono_ms: view.sample.mono_ms,
            bytes: view.sample.memory_used_bytes,
        };
        self.correct(view.sample.memory_corrected_bytes);
        let step = self.follow(now, view);
        self.count_rises(now, view);
        self.previous = Some(now);
        let says = if open {
            step == Step::GoesOn
        } else {
            self.opens(view)
        };
        says.then(|| self.finding(view))
    }

    /// Moves what is remembered by what a better reading would have said then.
    fn correct(&mut self, bytes: i64) {
        let corrected = |value: u64| value.saturating_add_signed(bytes);
        if let Some(climb) = &mut self.climb {
            climb.from_bytes = corrected(climb.from_bytes);
            climb.high.bytes = corrected(climb.high.bytes);
        }
        for point in [&mut self.released, &mut self.previous]
            .into_iter()
            .flatten()
        {
            point.bytes = corrected(point.bytes);
        }
    }

    /// Follows the climb to `now`; a climb that ended makes way for a new one from here.
    fn follow(&mut self, now: Point, view: &View<'_>) -> Step {
        let fresh = Climb {
            from_bytes: now.bytes,
            high: now,
        };
        let Some(climb) = &mut self.climb else {
            self.climb = Some(fresh);
            return Step::Stopped;
        };
        let step = climb.follow(now, view.interval_ms);
        let high = climb.high;
        if step != Step::GoesOn {
            self.climb = Some(fresh);
            self.rises = 0;
        }
        if step == Step::Undone {
            let higher = |kept: &Point| kept.bytes >= high.bytes;
            self.released = self.released.filter(higher).or(Some(high));
        }
        let too_old = |kept: &Point| now.mono_ms - kept.mono_ms > PEAK_KEPT_MS;
        // Memory that went with its process did not come down by itself.
        if view.workload_went || self.released.as_ref().is_some_and(too_old) {
            self.released = None;
        }
        step
    }

    /// Counts samples that rise while the trend says growth.
    fn count_rises(&mut self, now: Point, view: &View<'_>) {
        let Some(trend) = view.trend.filter(is_growth) else {
            self.rises = 0;
            return;
        };
        let rate = self.previous.map_or(0.0, |previous| {
            let rise = now.bytes as f64 - previous.bytes as f64;
            rise * 1000.0 / (now.mono_ms - previous.mono_ms) as f64
        });
        if rate >= RISE_SHARE_MIN * trend.bytes_per_second {
            self.rises = self.rises.saturating_add(1);
        }
    }

    fn opens(&self, view: &View<'_>) -> bool {
        let Some((((trend, forecast), limit_bytes), climb)) = view
            .trend
            .zip(view.forecast)
            .zip(view.sample.memory_limit_bytes)
            .zip(self.climb)
        else {
            return false;
        };
        let used_bytes = view.sample.memory_used_bytes;
        let left_bytes = limit_bytes.saturating_sub(view.sample.limited_bytes()) as f64;
        let risen_bytes = used_bytes.saturating_sub(climb.from_bytes) as f64;
        let seen_before = self.released.is_some_and(|peak| used_bytes <= peak.bytes);
        is_growth(&trend)
            && self.rises >= RISES_MIN
            && forecast.seconds_to_limit * 1000.0 <= view.policy.runaway_within_ms as f64
            && risen_bytes >= RISEN_SHARE_MIN * left_bytes
            && !seen_before
    }

    fn finding(&self, view: &View<'_>) -> Finding {
        let sample = view.sample;
        let mut evidence = Vec::with_capacity(12);
        if let Some(trend) = view.trend {
            evidence.push((
                "trend_bytes_per_second",
                Evidence::Number(trend.bytes_per_second),
            ));
        }
        if let Some(forecast) = view.forecast {
            evidence.push((
                "seconds_to_limit",
                Evidence::Number(forecast.seconds_to_limit),
            ));
            let low = forecast.seconds_to_limit_low;
            evidence.push(("seconds_to_limit_low", Evidence::Number(low)));
            if let Some(high) = forecast.seconds_to_limit_high {
                evidence.push(("seconds_to_limit_high", Evidence::Number(high)));
            }
        }
        evidence.push((
            "memory_used_bytes",
            Evidence::count(sample.memory_used_bytes),
        ));
        evidence.extend(Evidence::limit(sample));
        if let Some(climb) = self.climb {
            let risen_bytes = sample.memory_used_bytes.saturating_sub(climb.from_bytes);
            evidence.push(("risen_bytes", Evidence::count(risen_bytes)));
        }
        let span_ms = view.trend.map_or(STOPPED_AFTER_MS, |trend| trend.span_ms);
        let cause = view.measured.cause(span_ms);
        if let Some(cause) = &cause {
            let rate = Evidence::Number(cause.bytes_per_second);
            evidence.push(("workload_bytes_per_second", rate));
            evidence.push(("workload_share", Evidence::Number(cause.share)));
        }
        Finding {
            workload: cause.and_then(|cause| WorkloadName::in_sample(sample, &cause.key)),
            severity: if sample.memory_limit_enforced {
                Severity::Critical
            } else {
                Severity::Warning
            },
            evidence,
            clears_when: format!(
                "memory stops growing for {} s, or half of the rise is given back",
                STOPPED_AFTER_MS / 1000
            ),
        }
    }
}

/// Whether the trend is growth beyond doubt.
fn is_growth(trend: &Trend) -> bool {
    trend.low_bytes_per_second > FLOOR_BYTES_PER_SECOND && trend.rising_share >= RISING_SHARE_MIN
}

// === impl Climb ===

impl Climb {
    fn follow(&mut self, now: Point, interval_ms: u32) -> Step {
        let since_high_ms = now.mono_ms - self.high.mono_ms;
        let must_exceed = FLOOR_BYTES_PER_SECOND * since_high_ms as f64 / 1000.0;
        if now.bytes as f64 - self.high.bytes as f64 > must_exceed {
            self.high = now;
            return Step::GoesOn;
        }
        let risen_bytes = self.high.bytes - self.from_bytes;
        let given_back_bytes = self.high.bytes.saturating_sub(now.bytes);
        if given_back_bytes > 0 && given_back_bytes as f64 >= UNDONE_SHARE * risen_bytes as f64 {
            return Step::Undone;
        }
        if since_high_ms >= STOPPED_AFTER_MS.max(3 * u64::from(interval_ms)) {
            return Step::Stopped;
        }
        Step::GoesOn
    }
}
