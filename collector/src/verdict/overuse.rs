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
    cpu: f64,
    memory: f64,
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
        let score = |name| {
            number_of(verdict, name)
                .unwrap_or(0.0)
                .clamp(0.0, SCORE_MAX)
        };
        Self {
            cpu: score("cpu_score"),
            memory: score("memory_score"),
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
                let share = cores / policy.overuse_cpu_cores;
                pace(policy.overuse_cpu_share).step(&mut self.cpu, share, passed_ms);
            }
            let used_bytes = view.sample.memory_used_bytes as f64;
            let share = used_bytes / policy.overuse_memory_bytes as f64;
            pace(policy.overuse_memory_share).step(&mut self.memory, share, passed_ms);
        }
        let from = if open { CLEARS_BELOW } else { SCORE_MAX };
        self.cpu + self.memory >= from - ROUNDING
    }

    pub(crate) fn finding(&self, view: &View<'_>) -> Finding {
        let sample = view.sample;
        let mut evidence = vec![
            ("overuse_score", Evidence::Number(self.cpu + self.memory)),
            ("cpu_score", Evidence::Number(self.cpu)),
            ("memory_score", Evidence::Number(self.memory)),
        ];
        if view.policy.overuse_cpu_cores.is_finite() {
            let cores = view.measured.cpu_mean_cores();
            evidence.extend(cores.map(|cores| ("cpu_mean_cores", Evidence::Number(cores))));
            let quota = Evidence::Number(view.policy.overuse_cpu_cores);
            evidence.push(("quota_cores", quota));
        }
        let used_bytes = Evidence::count(sample.memory_used_bytes);
        evidence.push(("memory_used_bytes", used_bytes));
        if view.policy.overuse_memory_bytes < u64::MAX {
            let quota = Evidence::count(view.policy.overuse_memory_bytes);
            evidence.push(("quota_bytes", quota));
        }
        let workload = if self.cpu >= self.memory {
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
