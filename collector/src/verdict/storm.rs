//! `process_storm` and `thread_storm`: they come faster than anybody starts them on purpose.
//!
//! Two things make a storm. Either the count doubled within a minute and is beyond policy's bound,
//! or beyond half of it and still rising, step by step: a pool of workers comes at once and then
//! stays. Or it is twice the bound and four times the server's own habit, however slowly it came.

use super::{Evidence, Finding, Rule, Severity, Verdict, View, WorkloadName, number_of};
use crate::fact::WorkloadSample;

/// Rises of the last minute that make a count one that goes on rising.
pub const RISES_MIN: u8 = 3;

/// Rises nearer to each other are one: a pool that starts under a burst's eyes is no staircase.
pub const RISE_APART_MS: u64 = 5_000;

/// Beyond the bound so many times, doubling within a minute is not asked for,
pub const BEYOND_TIMES: f64 = 2.0;

/// but that it is so many times the habit.
pub const HABIT_TIMES: f64 = 4.0;

/// Cleared at less than this share of its highest,
pub const CLEARS_BELOW: f64 = 0.5;

/// or once it is about its habit: what stayed for half an hour is no storm any more.
pub const CALM_HABIT_TIMES: f64 = 1.5;

/// Calm for so long ends it.
pub const CALM_MS: u64 = 60_000;

/// What counts as a minute's low is the low of this one and the one before.
const WINDOW_MS: u64 = 60_000;

/// How slowly the habit follows.
const HABIT_MS: f64 = 30.0 * 60_000.0;

/// A workload with this share of all is the cause.
const CAUSE_SHARE: f64 = 0.5;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Count {
    Processes,
    Threads,
}

/// What is remembered between samples.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Storm {
    /// What this server usually has; `None` before the first sample.
    habit: Option<f32>,
    last: u32,
    window_from_ms: u64,
    now: Window,
    before: Window,
    rise_ms: u64,
    /// Highest while open.
    peak: u32,
    /// Since when it is calm while open.
    calm_from_ms: Option<u64>,
}

/// About a minute.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    low: u32,
    rises: u8,
}

// === impl Count ===

impl Count {
    pub(crate) fn rule(self) -> Rule {
        match self {
            Self::Processes => Rule::ProcessStorm,
            Self::Threads => Rule::ThreadStorm,
        }
    }

    fn bound(self, view: &View<'_>) -> u32 {
        match self {
            Self::Processes => view.policy.process_storm,
            Self::Threads => view.policy.thread_storm,
        }
    }

    /// How many there are; `None` where nobody counted: no server is without a process.
    fn of(self, view: &View<'_>) -> Option<u32> {
        let sample = view.sample;
        let count = match self {
            Self::Processes => sample.processes.saturating_add(sample.processes_beyond),
            Self::Threads => sample.threads,
        };
        (count > 0).then_some(count)
    }

    fn of_workload(self, workload: &WorkloadSample) -> u32 {
        match self {
            Self::Processes => workload.processes,
            Self::Threads => workload.threads,
        }
    }

    fn names(self) -> [&'static str; 4] {
        match self {
            Self::Processes => [
                "processes",
                "processes_before",
                "processes_habit",
                "workload_processes",
            ],
            Self::Threads => [
                "threads",
                "threads_before",
                "threads_habit",
                "workload_threads",
            ],
        }
    }
}

// === impl Storm ===

impl Storm {
    /// As `verdict` said when it was last written.
    pub(crate) fn resume(&mut self, count: Count, verdict: &Verdict) {
        let [now, _, habit, _] = count.names();
        if let Some(habit) = number_of(verdict, habit) {
            self.habit = Some(habit as f32);
        }
        let peak = number_of(verdict, now).unwrap_or(0.0);
        self.peak = self.peak.max(peak as u32);
    }

    pub(crate) fn judge(&mut self, count: Count, view: &View<'_>, open: bool) -> bool {
        let Some(now) = count.of(view) else {
            return open;
        };
        self.follow(now, view);
        let bound = f64::from(count.bound(view));
        let holds = if open {
            !self.is_over(now, view.sample.mono_ms)
        } else {
            self.opens(now, bound)
        };
        if !open {
            self.calm_from_ms = None;
            self.peak = if holds { now } else { 0 };
        }
        holds
    }

    /// The least of the last one or two minutes.
    fn low(&self) -> u32 {
        self.now.low.min(self.before.low)
    }

    fn follow(&mut self, now: u32, view: &View<'_>) {
        let mono_ms = view.sample.mono_ms;
        let fresh = Window { low: now, rises: 0 };
        let passed_ms = view.passed_ms().filter(|_| self.habit.is_some());
        let Some(passed_ms) = passed_ms else {
            // The first, or after a hole: how it came here nobody saw.
            self.now = fresh;
            self.before = fresh;
            self.window_from_ms = mono_ms;
            self.last = now;
            self.habit.get_or_insert(now as f32);
            return;
        };
        if mono_ms - self.window_from_ms >= WINDOW_MS {
            self.before = std::mem::replace(&mut self.now, fresh);
            self.window_from_ms = mono_ms;
        }
        self.now.low = self.now.low.min(now);
        if now > self.last && mono_ms - self.rise_ms >= RISE_APART_MS {
            self.now.rises = self.now.rises.saturating_add(1);
            self.rise_ms = mono_ms;
        }
        self.last = now;
        let passed_ms = passed_ms as f64;
        let weight = (passed_ms / (passed_ms + HABIT_MS)) as f32;
        let habit = self.habit.get_or_insert(now as f32);
        *habit += (now as f32 - *habit) * weight;
    }

    fn opens(&self, now: u32, bound: f64) -> bool {
        let now_f = f64::from(now);
        let doubled = now_f >= 2.0 * f64::from(self.low());
        let rises = self.now.rises.saturating_add(self.before.rises) >= RISES_MIN;
        let habit = self.habit.map_or(now_f, f64::from);
        let came_fast = doubled && (now_f >= bound || (now_f >= bound / 2.0 && rises));
        came_fast || (now_f >= BEYOND_TIMES * bound && now_f >= HABIT_TIMES * habit)
    }

    fn is_over(&mut self, now: u32, mono_ms: u64) -> bool {
        self.peak = self.peak.max(now);
        let fell = f64::from(now) < CLEARS_BELOW * f64::from(self.peak);
        let habit = self.habit.map_or(0.0, f64::from);
        if !fell && f64::from(now) >= CALM_HABIT_TIMES * habit {
            self.calm_from_ms = None;
            return false;
        }
        let from_ms = *self.calm_from_ms.get_or_insert(mono_ms);
        mono_ms - from_ms >= CALM_MS
    }

    pub(crate) fn finding(&self, count: Count, view: &View<'_>) -> Finding {
        let [now, before, habit, of_workload] = count.names();
        let all = count.of(view).unwrap_or(self.last);
        let mut evidence = vec![
            (now, Evidence::count(all.into())),
            (before, Evidence::count(self.low().into())),
            (
                habit,
                Evidence::Integer(self.habit.map_or(0, |n| n.round() as i64)),
            ),
        ];
        let cause = view
            .sample
            .workloads
            .iter()
            .map(|workload| (count.of_workload(workload), workload))
            .max_by_key(|(n, _)| *n)
            .filter(|(n, _)| f64::from(*n) >= CAUSE_SHARE * f64::from(all));
        evidence.extend(cause.map(|(n, _)| (of_workload, Evidence::count(n.into()))));
        Finding {
            workload: cause.map(|(_, workload)| WorkloadName::of(workload)),
            severity: Severity::Warning,
            evidence,
            clears_when: format!(
                "there are less than half as many, or about as many as usual, for {} s",
                CALM_MS / 1000
            ),
        }
    }
}
