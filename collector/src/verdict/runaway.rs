//! `runaway_memory`: memory grows and grows, and the limit is near in time.
//!
//! It asks what somebody watching the graph would ask. Does memory keep what it takes, or is it one
//! allocation, a spike, a collector's saw-tooth (the *sustained* level)? Does it rise by many steps
//! alike (a *climb*)? Do the troughs of a saw-tooth rise (*teeth*)? Is it so fast that few more steps
//! like the last reach the limit (a *burst*)? Is hardly anything left? Was memory this high before, and
//! came down by itself (an *excuse*)? What grows mostly ends by itself, so it is left alone while much
//! of the limit is free (*patience*). It clears when growth stopped or was undone, and for no other
//! reason.

mod burst;
mod climb;
mod excuse;
mod growth;
mod patience;
mod sustained;
mod teeth;

use hubmeter_kinetics::series::Point;

use super::{Evidence, Finding, Severity, View, WorkloadName};
use growth::{Ahead, Growth};

pub use patience::Patience;

/// Growth slower than this is not growth: 64 KiB/s fills a gigabyte in four and a half hours.
pub const FLOOR_BYTES_PER_SECOND: f64 = 65_536.0;

/// This share of a rise given back is growth undone.
pub const UNDONE_SHARE: f64 = 0.5;

/// No new high for this long, for three intervals, or for half as long as it rose, whichever is longest,
/// is growth stopped;
pub const STOPPED_AFTER_MS: u64 = 60_000;

/// however long it rose, no rest is longer than this.
pub const STOPPED_AFTER_MS_MAX: u64 = 300_000;

/// From this share of the limit on hardly anything is left.
pub const NEAR_SHARE: f64 = 0.92;

/// From this share on, up to [`NEAR_SHARE`], it is late: half of what is left is little, and what nobody was
/// told of yet mostly came there by a jump and is over.
pub const LATE_SHARE: f64 = 0.82;

/// How long a peak that came down by itself excuses the next climb to it.
pub const PEAK_KEPT_MS: u64 = 30 * 60 * 1000;

/// What is remembered between samples.
#[derive(Clone, Debug, Default)]
pub(crate) struct Runaway {
    growth: Growth,
}

// === impl Runaway ===

impl Runaway {
    pub(crate) fn judge(&mut self, view: &View<'_>, open: bool) -> Option<Finding> {
        let now = Point {
            mono_ms: view.sample.mono_ms,
            bytes: view.sample.memory_used_bytes,
        };
        self.growth.correct(view.sample.memory_corrected_bytes);
        let goes_on = self
            .growth
            .follow(now, view.interval_ms, view.workload_went);
        let says = if open { goes_on } else { self.opens(view) };
        says.then(|| self.finding(view))
    }

    fn opens(&self, view: &View<'_>) -> bool {
        let sample = view.sample;
        let limit = left_bytes(view).zip(sample.memory_limit_bytes);
        limit.is_some_and(|(left_bytes, limit_bytes)| {
            self.growth.reaches(&Ahead {
                left_bytes,
                limit_bytes: limit_bytes as f64,
                trend: view.trend,
                seconds_to_limit: view.forecast.map(|forecast| forecast.seconds_to_limit),
                within_seconds: view.policy.runaway_within_ms as f64 / 1000.0,
                interval_ms: view.interval_ms,
                patience: view.policy.patience,
            })
        })
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
        } else if let Some(seconds) = left_bytes(view).and_then(|b| self.growth.seconds_to_limit(b))
        {
            // No trend is believed yet, or it sees through the growth: its own pace, no interval.
            evidence.push(("seconds_to_limit", Evidence::Number(seconds)));
        }
        evidence.push((
            "memory_used_bytes",
            Evidence::count(sample.memory_used_bytes),
        ));
        evidence.extend(Evidence::limit(sample));
        if let Some(risen_bytes) = self.growth.risen_bytes() {
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
                self.growth.stops_after_ms(view.interval_ms) / 1000
            ),
        }
    }
}

/// What is left of the limit, by all who use it.
fn left_bytes(view: &View<'_>) -> Option<f64> {
    let limit_bytes = view.sample.memory_limit_bytes?;
    Some(limit_bytes.saturating_sub(view.sample.limited_bytes()) as f64)
}
