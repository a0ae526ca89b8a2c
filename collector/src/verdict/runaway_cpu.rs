//! `runaway_cpu`: cores are busy and nobody asked for it.
//!
//! A kernel that runs a cell works, however much it takes, and so does what somebody started in a
//! terminal. Two things are no work: a kernel without a cell, or Jupyter itself, that takes a core
//! for minutes; and an application, or what no workload is known of, that takes far more than it
//! ever did. What came down by itself is habit from then on.

use super::{Evidence, Finding, Severity, Verdict, View, WorkloadName, number_of};
use crate::{
    fact::{WorkloadKey, WorkloadKind, WorkloadSample, WorkloadState},
    state::series::WorkloadMeasured,
    text::Label,
};

/// Of a limit below policy's cores so much is pinned.
pub const PINNED_SHARE: f64 = 0.9;

/// Below this share of the threshold it rests.
pub const REST_SHARE: f64 = 0.5;

/// A rest of so long, or a cell, ends it.
pub const REST_MS: u64 = 60_000;

/// Jupyter itself builds extensions and indexes files: it gets so many times the time.
pub const SERVER_TIMES: u64 = 3;

/// So many times its habit is far.
pub const HABIT_TIMES: f64 = 4.0;

/// Nobody has a habit before it was watched for so long.
pub const WATCHED_MIN_MS: u64 = 30 * 60 * 1000;

/// What it takes becomes its habit after once or twice this time: a mean that climbs must not
/// teach that it is high.
pub const LEARNS_AFTER_MS: u64 = 10 * 60 * 1000;

/// With this share of the server's limit it takes away what the user's own work needs.
pub const WARNING_SHARE: f64 = 0.5;

/// So long is too long to be merely good to know.
pub const WARNING_AFTER_MS: i64 = 60 * 60 * 1000;

/// What is remembered between samples.
#[derive(Clone, Debug, Default)]
pub(crate) struct RunawayCpu {
    pinned: Vec<Pinned>,
    habit: Habit,
    /// What the newest sample was found to be, if it was.
    found: Option<Found>,
}

/// A workload that takes cores without a cell.
#[derive(Clone, Debug)]
struct Pinned {
    key: WorkloadKey,
    pid: u32,
    since_ms: i64,
    first: Reading,
    last: Reading,
}

#[derive(Clone, Copy, Debug)]
struct Reading {
    mono_ms: u64,
    cpu_millis: u64,
}

/// What a server's unattended workloads usually take.
#[derive(Clone, Copy, Debug, Default)]
struct Habit {
    /// The most that it took, a while ago.
    peak_cores: f64,
    /// The most of lately, of which it is not yet known whether it is habit: of this time and the
    /// one before.
    lately_cores: [f64; 2],
    lately_ms: u64,
    watched_ms: u64,
    past: Option<Past>,
}

/// It takes far more.
#[derive(Clone, Copy, Debug)]
struct Past {
    since_ms: i64,
    since_mono_ms: u64,
    last_mono_ms: u64,
    /// From here on it was far.
    far_cores: f64,
    most_cores: f64,
}

#[derive(Clone, Debug)]
struct Found {
    why: Why,
    workload: Option<WorkloadName>,
    since_ms: i64,
    cores: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    NoCell,
    PastHabit,
}

// === impl RunawayCpu ===

impl RunawayCpu {
    /// As `verdict` said when it was last written.
    pub(crate) fn resume(&mut self, verdict: &Verdict) {
        let Some(peak_cores) = number_of(verdict, "habit_cores") else {
            return;
        };
        self.habit.peak_cores = peak_cores;
        self.habit.watched_ms = self.habit.watched_ms.max(WATCHED_MIN_MS);
        let far_cores = number_of(verdict, "far_cores").unwrap_or(0.0);
        self.habit.past.get_or_insert(Past {
            since_ms: verdict.since_ms,
            since_mono_ms: 0,
            last_mono_ms: 0,
            far_cores,
            most_cores: far_cores,
        });
    }

    pub(crate) fn judge(&mut self, view: &View<'_>, open: Option<&Verdict>) -> bool {
        let threshold = threshold_cores(view);
        self.follow_pinned(view, threshold);
        self.habit.follow(view, threshold);
        self.found = self
            .pinned_long(view, threshold, open)
            .or_else(|| self.habit.found(view, open.is_some()));
        self.found.is_some()
    }

    fn follow_pinned(&mut self, view: &View<'_>, threshold: f64) {
        let much = view.cpu_cores.is_some_and(|cores| cores >= threshold);
        if self.pinned.is_empty() && !much {
            return;
        }
        let mono_ms = view.sample.mono_ms;
        self.pinned.retain(|pinned| {
            let is_there = |workload: &WorkloadSample| {
                workload.key == pinned.key && workload.pid == pinned.pid
            };
            view.sample.workloads.iter().any(is_there)
        });
        for workload in view.sample.workloads.iter().filter(|w| runs_no_cell(w)) {
            let measured = view.measured.workload(&workload.key);
            let Some(cores) = measured.and_then(WorkloadMeasured::cpu_cores) else {
                continue;
            };
            let now = Reading {
                mono_ms,
                cpu_millis: workload.cpu_millis,
            };
            match self.pinned.iter_mut().find(|p| p.key == workload.key) {
                Some(pinned) if cores >= REST_SHARE * threshold => pinned.last = now,
                Some(_) => {}
                None if cores >= threshold => self.pinned.push(Pinned {
                    key: workload.key.clone(),
                    pid: workload.pid,
                    since_ms: view.sample.at_ms,
                    first: now,
                    last: now,
                }),
                None => {}
            }
        }
        let rests = |pinned: &Pinned| mono_ms - pinned.last.mono_ms >= REST_MS;
        self.pinned.retain(|pinned| !rests(pinned));
    }

    /// The workload that takes most of those that have done so for long; one that was found goes
    /// on until it rests.
    fn pinned_long(
        &self,
        view: &View<'_>,
        threshold: f64,
        open: Option<&Verdict>,
    ) -> Option<Found> {
        let after_ms = u64::try_from(view.policy.runaway_cpu_after_ms).unwrap_or(0);
        let was_found = open
            .and_then(|verdict| verdict.workload.as_ref())
            .map(|name| &name.id);
        let long = self.pinned.iter().filter(|pinned| {
            let after_ms = match pinned.key.kind {
                WorkloadKind::Server => after_ms.saturating_mul(SERVER_TIMES),
                _ => after_ms,
            };
            let lasted = pinned.lasted_ms() >= after_ms && pinned.cores() >= threshold;
            lasted || was_found == Some(&pinned.key.id)
        });
        let pinned = long.max_by(|a, b| a.cores().total_cmp(&b.cores()))?;
        Some(Found {
            why: Why::NoCell,
            workload: WorkloadName::in_sample(view.sample, &pinned.key),
            since_ms: pinned.since_ms,
            cores: pinned.cores(),
        })
    }

    pub(crate) fn finding(&self, view: &View<'_>) -> Finding {
        let Some(found) = &self.found else {
            return Finding {
                workload: None,
                severity: Severity::Info,
                evidence: Vec::new(),
                clears_when: String::new(),
            };
        };
        let mut evidence = vec![
            ("cpu_cores", Evidence::Number(found.cores)),
            ("cpu_since", Evidence::time(found.since_ms)),
            ("reason", found.why.word()),
        ];
        if found.why == Why::PastHabit {
            let far_cores = self.habit.past.map_or(0.0, |past| past.far_cores);
            evidence.extend([
                ("habit_cores", Evidence::Number(self.habit.peak_cores)),
                ("far_cores", Evidence::Number(far_cores)),
            ]);
        }
        let limit_cores = limit_cores(view);
        evidence.extend(limit_cores.map(|cores| ("cpu_limit_cores", Evidence::Number(cores))));
        let takes_much = limit_cores.is_some_and(|limit| found.cores >= WARNING_SHARE * limit);
        let is_long = view.sample.at_ms - found.since_ms >= WARNING_AFTER_MS;
        let severity = match found.why {
            Why::NoCell if takes_much || is_long => Severity::Warning,
            _ => Severity::Info,
        };
        Finding {
            workload: found.workload.clone(),
            severity,
            evidence,
            clears_when: match found.why {
                Why::NoCell => format!("it rests, or runs a cell, for {} s", REST_MS / 1000),
                Why::PastHabit => "it takes less than half of that for a minute".to_owned(),
            },
        }
    }
}

// === impl Pinned ===

impl Pinned {
    fn lasted_ms(&self) -> u64 {
        self.last.mono_ms - self.first.mono_ms
    }

    /// Mean cores since it began.
    fn cores(&self) -> f64 {
        let used_ms = self.last.cpu_millis.saturating_sub(self.first.cpu_millis);
        match self.lasted_ms() {
            0 => 0.0,
            lasted_ms => used_ms as f64 / lasted_ms as f64,
        }
    }
}

// === impl Habit ===

impl Habit {
    fn follow(&mut self, view: &View<'_>, threshold: f64) {
        let Some(cores) = unattended_cores(view) else {
            return;
        };
        let mono_ms = view.sample.mono_ms;
        let far_cores = (HABIT_TIMES * self.peak_cores).max(threshold);
        if let Some(past) = &mut self.past {
            past.most_cores = past.most_cores.max(cores);
            if cores >= REST_SHARE * past.far_cores {
                past.last_mono_ms = mono_ms;
            } else if mono_ms - past.last_mono_ms >= REST_MS {
                // It came down by itself: that is habit from now on.
                self.peak_cores = self.peak_cores.max(past.most_cores);
                self.past = None;
            }
        } else if self.watched_ms >= WATCHED_MIN_MS && cores >= far_cores {
            self.lately_cores = [0.0; 2];
            self.past = Some(Past {
                since_ms: view.sample.at_ms,
                since_mono_ms: mono_ms,
                last_mono_ms: mono_ms,
                far_cores,
                most_cores: cores,
            });
        } else {
            self.learn(cores, view.passed_ms().unwrap_or(0));
        }
    }

    fn learn(&mut self, cores: f64, passed_ms: u64) {
        self.watched_ms = self.watched_ms.saturating_add(passed_ms);
        self.lately_ms = self.lately_ms.saturating_add(passed_ms);
        let [before, now] = &mut self.lately_cores;
        *now = now.max(cores);
        if self.lately_ms >= LEARNS_AFTER_MS {
            self.lately_ms = 0;
            self.peak_cores = self.peak_cores.max(*before);
            *before = std::mem::take(now);
        }
    }

    fn found(&self, view: &View<'_>, open: bool) -> Option<Found> {
        let past = self.past?;
        let after_ms = u64::try_from(view.policy.runaway_cpu_after_ms).unwrap_or(0);
        let lasted = view.sample.mono_ms - past.since_mono_ms >= after_ms;
        (open || lasted).then(|| Found {
            why: Why::PastHabit,
            workload: most_unattended(view).map(WorkloadName::of),
            since_ms: past.since_ms,
            cores: unattended_cores(view).unwrap_or(past.far_cores),
        })
    }
}

// === impl Why ===

impl Why {
    fn word(self) -> Evidence {
        let word = match self {
            Self::NoCell => "no_cell",
            Self::PastHabit => "past_habit",
        };
        Evidence::Word(Label::clean(word, word.len()))
    }
}

/// So many cores are pinned: policy's, or most of a limit that is less.
fn threshold_cores(view: &View<'_>) -> f64 {
    let cores = view.policy.runaway_cpu_cores;
    limit_cores(view).map_or(cores, |limit| cores.min(PINNED_SHARE * limit))
}

fn limit_cores(view: &View<'_>) -> Option<f64> {
    let millicores = view.sample.cpu_limit_millicores?;
    (millicores > 0).then(|| f64::from(millicores) / 1000.0)
}

/// Whether it is known that nobody asked this workload for anything.
fn runs_no_cell(workload: &WorkloadSample) -> bool {
    let idle_kernel = workload.key.kind == WorkloadKind::Kernel
        && workload.state == Some(WorkloadState::Idle)
        && !workload.remote;
    idle_kernel || workload.key.kind == WorkloadKind::Server
}

/// Neither cells nor a terminal say when this workload works: only habit does.
fn is_unattended(workload: &WorkloadSample) -> bool {
    matches!(workload.key.kind, WorkloadKind::App | WorkloadKind::Other)
}

/// Mean cores of what only habit can judge; where no workload is known, of the server.
fn unattended_cores(view: &View<'_>) -> Option<f64> {
    if view.sample.workloads.is_empty() {
        return view.measured.cpu_mean_cores();
    }
    let unattended = view.sample.workloads.iter().filter(|w| is_unattended(w));
    unattended.map(|workload| mean_cores(view, workload)).sum()
}

fn most_unattended<'a>(view: &View<'a>) -> Option<&'a WorkloadSample> {
    let unattended = view.sample.workloads.iter().filter(|w| is_unattended(w));
    let cores = |workload: &WorkloadSample| mean_cores(view, workload).unwrap_or(0.0);
    unattended.max_by(|a, b| cores(a).total_cmp(&cores(b)))
}

fn mean_cores(view: &View<'_>, workload: &WorkloadSample) -> Option<f64> {
    let measured = view.measured.workload(&workload.key)?;
    measured.cpu_mean_cores()
}
