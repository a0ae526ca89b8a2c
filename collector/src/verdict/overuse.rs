//! `overuse`: more than a fair share of a machine that others need, for long.
//!
//! Arbiter's score: each resource's use is held against a quota. At a share of it and above the
//! score rises, the faster the more is used; below it falls, the faster the less. A burst is
//! forgiven, and so is any use where policy names no quota: on a server of one's own it means nothing.

use super::{Evidence, Finding, Severity, Verdict, View, WorkloadName, number_of};
use crate::fact::WorkloadSample;

/// The top of one resource's score, and the sum of both from which it is overuse.
pub const SCORE_MAX: f64 = 100.0;

/// Cleared below this, so that who stays around the line is one episode.
pub const CLEARS_BELOW: f64 = 50.0;

/// What sums of steps may be off.
const ROUNDING: f64 = 1e-9;

/// What is remembered between samples.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Overuse {
    cpu: Score,
    memory: Score,
}

/// One resource's score, and what it is made of: the use by which it rose since it was last 0.
#[derive(Clone, Copy, Debug, Default)]
struct Score {
    points: f64,
    /// How long it rose.
    over_ms: u64,
    /// Cores or bytes, times milliseconds, in that time.
    used: f64,
}

/// How a resource's score moves.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// Of the quota, from which the score rises.
    threshold: f64,
    rise_ms: i64,
    fall_ms: i64,
}

// === impl Overuse ===

impl Overuse {
    /// As `verdict` said when it was last written.
    pub(crate) fn resumed(verdict: &Verdict) -> Self {
        let score = |points, over, mean| {
            let number = |name| number_of(verdict, name).unwrap_or(0.0).max(0.0);
            let over_ms = (number(over) * 1000.0) as u64;
            Score {
                points: number(points).min(SCORE_MAX),
                over_ms,
                used: number(mean) * over_ms as f64,
            }
        };
        Self {
            cpu: score("cpu_score", "cpu_over_seconds", "cpu_mean_cores"),
            memory: score("memory_score", "memory_over_seconds", "memory_mean_bytes"),
        }
    }

    pub(crate) fn judge(&mut self, view: &View<'_>, open: bool) -> bool {
        let policy = view.policy;
        if !policy.counts_overuse() {
            *self = Self::default();
            return false;
        }
        if let Some(passed_ms) = view.passed_ms() {
            let pace = |threshold| Pace {
                threshold,
                rise_ms: policy.overuse_rise_ms,
                fall_ms: policy.overuse_fall_ms,
            };
            if let Some(cores) = view.cpu_cores {
                let of = (cores, policy.overuse_cpu_cores);
                self.cpu.take(pace(policy.overuse_cpu_share), of, passed_ms);
            }
            let used_bytes = view.sample.memory_used_bytes as f64;
            let of = (used_bytes, policy.overuse_memory_bytes as f64);
            self.memory
                .take(pace(policy.overuse_memory_share), of, passed_ms);
        }
        let from = if open { CLEARS_BELOW } else { SCORE_MAX };
        self.points() >= from - ROUNDING
    }

    fn points(&self) -> f64 {
        self.cpu.points + self.memory.points
    }

    pub(crate) fn finding(&self, view: &View<'_>) -> Finding {
        let sample = view.sample;
        let mut evidence = vec![
            ("overuse_score", Evidence::Number(self.points())),
            ("cpu_score", Evidence::Number(self.cpu.points)),
            ("memory_score", Evidence::Number(self.memory.points)),
        ];
        let policy = view.policy;
        if policy.overuse_cpu_cores.is_finite() {
            if let Some(cores) = self.cpu.mean() {
                let from_cores = policy.overuse_cpu_share * policy.overuse_cpu_cores;
                evidence.extend([
                    ("cpu_mean_cores", Evidence::Number(cores)),
                    ("cpu_over_seconds", Evidence::count(self.cpu.over_ms / 1000)),
                    ("cpu_from_cores", Evidence::Number(from_cores)),
                ]);
            }
            let quota = Evidence::Number(policy.overuse_cpu_cores);
            evidence.push(("quota_cores", quota));
        }
        let used_bytes = Evidence::count(sample.memory_used_bytes);
        evidence.push(("memory_used_bytes", used_bytes));
        if policy.overuse_memory_bytes < u64::MAX {
            if let Some(bytes) = self.memory.mean() {
                let from_bytes = policy.overuse_memory_share * policy.overuse_memory_bytes as f64;
                let over_s = Evidence::count(self.memory.over_ms / 1000);
                evidence.extend([
                    ("memory_mean_bytes", Evidence::count(bytes as u64)),
                    ("memory_over_seconds", over_s),
                    ("memory_from_bytes", Evidence::count(from_bytes as u64)),
                ]);
            }
            let quota = Evidence::count(policy.overuse_memory_bytes);
            evidence.push(("quota_bytes", quota));
        }
        let workload = if self.cpu.points >= self.memory.points {
            most(view, |workload| {
                let measured = view.measured.workload(&workload.key);
                measured
                    .and_then(|measured| measured.cpu_mean_cores())
                    .unwrap_or(0.0)
            })
        } else {
            most(view, |workload| {
                workload.memory_used_bytes.unwrap_or(0) as f64
            })
        };
        Finding {
            workload,
            severity: Severity::Warning,
            evidence,
            clears_when: format!(
                "its score falls below {CLEARS_BELOW:.0}: it uses little for some minutes"
            ),
        }
    }
}

fn most(view: &View<'_>, of: impl Fn(&WorkloadSample) -> f64) -> Option<WorkloadName> {
    let used = view.sample.workloads.iter().map(|w| (of(w), w));
    let (_, workload) = used
        .filter(|(used, _)| *used > 0.0)
        .max_by(|a, b| a.0.total_cmp(&b.0))?;
    Some(WorkloadName::of(workload))
}

// === impl Score ===

impl Score {
    /// Takes `used` of a `quota` for `passed_ms` in.
    fn take(&mut self, pace: Pace, (used, quota): (f64, f64), passed_ms: u64) {
        let share = used / quota;
        pace.step(&mut self.points, share, passed_ms);
        if self.points <= 0.0 {
            *self = Self::default();
        } else if share >= pace.threshold {
            self.over_ms = self.over_ms.saturating_add(passed_ms);
            self.used += used * passed_ms as f64;
        }
    }

    /// The mean use while it rose; `None` where it never did.
    fn mean(&self) -> Option<f64> {
        (self.over_ms > 0).then(|| self.used / self.over_ms as f64)
    }
}

// === impl Pace ===

impl Pace {
    /// Moves `score` by what a use of `share` of the quota does in `passed_ms`.
    fn step(self, score: &mut f64, share: f64, passed_ms: u64) {
        let passed_ms = passed_ms as f64;
        let change = if share >= self.threshold {
            share * SCORE_MAX * passed_ms / (self.rise_ms as f64 * self.threshold)
        } else {
            -(1.0 - share) * SCORE_MAX * passed_ms / self.fall_ms as f64
        };
        *score = (*score + change).clamp(0.0, SCORE_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP_MS: u64 = 30_000;

    const PACE: Pace = Pace {
        threshold: 0.45,
        rise_ms: 600_000,
        fall_ms: 1_800_000,
    };

    /// The change of one step at `share`, and how many steps lead from `from` to `to`.
    fn steps(share: f64, from: f64, to: f64) -> (f64, usize) {
        let mut score = from;
        PACE.step(&mut score, share, STEP_MS);
        let change = score - from;
        let mut n = 1;
        while (score - to).abs() > ROUNDING {
            PACE.step(&mut score, share, STEP_MS);
            n += 1;
            assert!(n < 1_000, "{share} never leads to {to}");
        }
        (change, n)
    }

    #[test]
    fn the_score_moves_as_arbiters() {
        for (share, from, to, change, n) in [
            (1.0, 0.0, 100.0, 11.111, 9),
            (0.45, 0.0, 100.0, 5.0, 20),
            (0.7, 0.0, 100.0, 7.778, 13),
            (0.0, 100.0, 0.0, -1.667, 60),
            (0.4, 100.0, 0.0, -1.0, 100),
        ] {
            let (moved, took) = steps(share, from, to);
            assert!((moved - change).abs() < 5e-4, "{share}: {moved}");
            assert_eq!(took, n, "{share}");
        }
    }
}
