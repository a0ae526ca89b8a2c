//! What a server uses while nobody works there: JupyterLab with its language servers is never
//! quite still, and each is so in its own way.

use std::collections::VecDeque;

use super::WORK_MARGIN_CORES;
use crate::state::series::CPU_MEAN_MS;

/// No server rests at more than this: beyond it somebody computes.
pub const RESTING_CORES_MAX: f64 = 0.05;

/// Means that are remembered: eight hours of rest.
const MEANS_MAX: usize = 96;

/// As long as there are fewer, nothing is known: an hour of rest.
const MEANS_MIN: usize = 12;

/// Means are kept in so many parts of the most there may be.
const PARTS: f64 = 250.0;

/// Of means that count as work one in so many is remembered, one an hour: who starts to use more
/// works, and who does so for hours rests at that.
const OF_WORK_EVERY: u8 = 12;

/// Which part of the means lies at or below the level.
const SHARE: f64 = 0.95;

/// The level of one server, learnt while no kernel is busy and no terminal has a job.
#[derive(Clone, Debug, Default)]
pub(super) struct Resting {
    /// Since when, by the agent's clock, it may rest without a break.
    from_ms: Option<u64>,
    /// Newest last.
    means: VecDeque<u8>,
    /// Means of work since one was remembered.
    passed_over: u8,
    /// What was learnt, in the same parts.
    level: Option<u8>,
}

// === impl Resting ===

impl Resting {
    /// Cores that are no work.
    pub(super) fn cores(&self) -> f64 {
        self.level.map_or(RESTING_CORES_MAX, |level| {
            f64::from(level) / PARTS * RESTING_CORES_MAX
        })
    }

    /// Takes in what is measured at `mono_ms`; `may_rest` is whether nobody is known to compute.
    pub(super) fn learn(&mut self, mono_ms: u64, mean_cores: Option<f64>, may_rest: bool) {
        let (Some(mean_cores), true) = (mean_cores, may_rest) else {
            self.from_ms = None;
            return;
        };
        let from_ms = *self.from_ms.get_or_insert(mono_ms);
        if mono_ms.saturating_sub(from_ms) < CPU_MEAN_MS {
            return;
        }
        // The mean is of this time alone.
        self.from_ms = Some(mono_ms);
        if self.level.is_some() && mean_cores > self.cores() + WORK_MARGIN_CORES {
            self.passed_over += 1;
            if self.passed_over < OF_WORK_EVERY {
                return;
            }
            self.passed_over = 0;
        }
        if self.means.len() >= MEANS_MAX {
            self.means.pop_front();
        }
        let part = (mean_cores / RESTING_CORES_MAX).clamp(0.0, 1.0) * PARTS;
        self.means.push_back(part.ceil() as u8);
        if self.means.len() >= MEANS_MIN {
            let mut sorted: Vec<u8> = self.means.iter().copied().collect();
            sorted.sort_unstable();
            let rank = (SHARE * sorted.len() as f64).ceil() as usize;
            self.level = sorted.get(rank.saturating_sub(1)).copied();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP_MS: u64 = 60_000;

    fn learnt(minutes: u64, mean: impl Fn(u64) -> f64, rests: impl Fn(u64) -> bool) -> Resting {
        let mut resting = Resting::default();
        for minute in 0..minutes {
            resting.learn(minute * STEP_MS, Some(mean(minute)), rests(minute));
        }
        resting
    }

    #[test]
    fn the_level_is_what_it_rests_at_after_an_hour_and_the_most_there_is_before() {
        let quiet = |minutes| learnt(minutes, |_| 0.012, |_| true).cores();
        assert_eq!(quiet(60), RESTING_CORES_MAX);
        assert!((quiet(62) - 0.012).abs() < 0.000_3, "{}", quiet(62));
    }

    #[test]
    fn one_mean_in_twenty_may_be_higher_and_none_counts_for_more_than_the_most() {
        let peaks = learnt(
            180,
            |minute| if minute == 50 { 0.9 } else { 0.01 },
            |_| true,
        );
        assert!((peaks.cores() - 0.01).abs() < 0.000_3);
        let computes = learnt(180, |_| 0.9, |_| true);
        assert_eq!(computes.cores(), RESTING_CORES_MAX);
    }

    #[test]
    fn nothing_is_learnt_while_somebody_computes_or_in_less_than_five_minutes_of_rest() {
        let never = learnt(600, |_| 0.001, |_| false);
        assert_eq!(never.cores(), RESTING_CORES_MAX);
        let breaks = learnt(600, |_| 0.001, |minute| minute % 5 != 0);
        assert_eq!(breaks.cores(), RESTING_CORES_MAX);
    }

    #[test]
    fn who_uses_more_for_an_hour_works_and_who_does_for_a_day_rests_at_that() {
        let more_for = |hours: u64| {
            let mean = |minute| if minute < 180 { 0.01 } else { 0.025 };
            learnt(180 + hours * 60, mean, |_| true).cores()
        };
        assert!((more_for(1) - 0.01).abs() < 0.000_3, "{}", more_for(1));
        assert!((more_for(24) - 0.025).abs() < 0.000_3, "{}", more_for(24));
    }

    #[test]
    fn it_follows_a_server_that_changes_and_stays_bounded() {
        let later = learnt(
            1_000,
            |minute| if minute < 500 { 0.001 } else { 0.03 },
            |_| true,
        );
        assert!((later.cores() - 0.03).abs() < 0.000_3);
        assert_eq!(later.means.len(), MEANS_MAX);
    }
}
