//! What must not wait to be told: use near the limit or on its way there, workloads that come, end or
//! are used again after a long rest, and whatever a notice is open about.

use crate::{
    meter::Figures,
    sample::{Sample, WorkloadKind},
};

/// Share of the limit from which every sample is told at once: the collector takes a silence from
/// 80 % on for a kill.
const NEAR_LIMIT: f64 = 0.75;

/// A climb that reaches the limit within this is told as it goes: the collector warns of one that
/// does so within ten minutes.
const CLIMB_SECONDS: f64 = 15.0 * 60.0;

/// A workload that did nothing for so long and now does is news: its server may be about to be
/// stopped as idle.
const LONG_REST_MS: u64 = 5 * 60 * 1_000;

/// Judges one sample after another.
#[derive(Debug, Default)]
pub struct Urgency {
    before: Vec<Known>,
}

/// A workload of the sample before.
#[derive(Debug)]
struct Known {
    kind: WorkloadKind,
    pid: u32,
    rested_long: bool,
}

// === impl Urgency ===

impl Urgency {
    /// Whether `sample`, with `figures` beside it, is to be told at once.
    pub fn judge(&mut self, sample: &Sample, figures: &Figures, notices_open: bool) -> bool {
        let news = self.take_workloads(sample);
        news || notices_open
            || sample.burst
            || !sample.ended.is_empty()
            || is_near(sample)
            || figures
                .forecast
                .is_some_and(|forecast| forecast.seconds_to_limit <= CLIMB_SECONDS)
    }

    /// Whether a workload came, went, or woke up.
    fn take_workloads(&mut self, sample: &Sample) -> bool {
        let rests_long = |idle_ms: Option<u64>| idle_ms.is_some_and(|ms| ms >= LONG_REST_MS);
        let mut news = self.before.len() != sample.workloads.len();
        for workload in &sample.workloads {
            let is = |known: &&Known| known.kind == workload.kind && known.pid == workload.pid;
            news |= match self.before.iter().find(is) {
                None => true,
                Some(known) => known.rested_long && !rests_long(workload.idle_ms),
            };
        }
        self.before.clear();
        self.before
            .extend(sample.workloads.iter().map(|workload| Known {
                kind: workload.kind,
                pid: workload.pid,
                rested_long: rests_long(workload.idle_ms),
            }));
        news
    }
}

fn is_near(sample: &Sample) -> bool {
    sample
        .memory_limit_bytes
        .is_some_and(|limit| sample.limited_bytes() as f64 >= NEAR_LIMIT * limit as f64)
}

#[cfg(test)]
mod tests {
    use hubmeter_kinetics::forecast::Forecast;

    use super::*;
    use crate::{
        link::encode::tests::{sample, workload},
        sample::Workload,
    };

    fn kernel(pid: u32, idle_ms: u64) -> Workload {
        Workload {
            pid,
            idle_ms: Some(idle_ms),
            ..workload(1, "k")
        }
    }

    fn with(workloads: Vec<Workload>) -> Sample {
        Sample {
            workloads,
            ..sample(1_000, 100_000_000)
        }
    }

    #[test]
    fn a_quiet_server_has_nothing_urgent() {
        let (mut urgency, figures) = (Urgency::default(), Figures::default());
        let quiet = with(vec![kernel(1, 400_000)]);
        assert!(urgency.judge(&quiet, &figures, false), "the first is news");
        assert!(!urgency.judge(&quiet, &figures, false));
    }

    #[test]
    fn workloads_that_come_go_or_wake_up_are_news() {
        let (mut urgency, figures) = (Urgency::default(), Figures::default());
        let steps = [
            (vec![kernel(1, 0)], true),
            (vec![kernel(1, 400_000)], false),
            (vec![kernel(1, 0)], true),
            (vec![kernel(1, 1_000)], false),
            (vec![kernel(1, 0)], false),
            (vec![kernel(1, 0), kernel(2, 0)], true),
            (vec![kernel(3, 0), kernel(1, 0)], true),
            (vec![kernel(1, 0)], true),
        ];
        for (step, (workloads, urgent)) in steps.into_iter().enumerate() {
            let judged = urgency.judge(&with(workloads), &figures, false);
            assert_eq!(judged, urgent, "step {step}");
        }
    }

    #[test]
    fn a_burst_the_limit_near_a_climb_and_an_open_notice_are_urgent() {
        let figures = Figures::default();
        let climbs = |seconds_to_limit| Figures {
            forecast: Some(Forecast {
                seconds_to_limit,
                seconds_to_limit_low: 1.0,
                seconds_to_limit_high: None,
            }),
            ..figures
        };
        let judge = |sample: &Sample, figures: &Figures, open| {
            Urgency::default().judge(sample, figures, open)
        };
        let quiet = sample(1_000, 749_000_000);
        assert!(!judge(&quiet, &figures, false));
        assert!(judge(&quiet, &figures, true));
        assert!(judge(&sample(1_000, 750_000_000), &figures, false));
        assert!(judge(&quiet, &climbs(900.0), false));
        assert!(!judge(&quiet, &climbs(901.0), false));
        let mut burst = sample(1_000, 500_000_000);
        burst.burst = true;
        assert!(judge(&burst, &figures, false));
    }
}
