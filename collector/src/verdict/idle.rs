//! `idle`: nobody works here.
//!
//! Work is a busy kernel, a terminal that uses CPU, or CPU above the server's resting level over
//! five minutes. Idle time counts from the end of the last work or from the server's start, and
//! time that nobody measured counts as neither: after a hole the clock starts anew.

use super::{Evidence, Finding, Severity, View, WorkloadName};
use crate::{
    fact::{WorkloadKey, WorkloadKind, WorkloadSample},
    state::series::WorkloadMeasured,
};

/// Mean cores above which CPU is somebody's work, and below which it is the server at rest
/// (JupyterLab with its language servers stays under it).
pub const WORK_CORES: f64 = 0.05;

/// A server whose agent was first heard this soon after its start was measured from its start.
pub const START_SLACK_MS: i64 = 60_000;

/// A hole in the samples of at least this, and of more than three intervals, was not measured.
pub const HOLE_MS: u64 = 60_000;

/// What is remembered between samples.
#[derive(Clone, Debug, Default)]
pub(crate) struct Idle {
    /// The end of the last work, or since when there was anything to see.
    since_ms: Option<i64>,
    works: Option<String>,
    /// What the open verdict said when it was raised; its numbers do not follow every sample.
    said: Option<Finding>,
}

// === impl Idle ===

impl Idle {
    /// Idle since before the first sample.
    pub(crate) fn resumed(since_ms: i64) -> Self {
        Self {
            since_ms: Some(since_ms),
            ..Self::default()
        }
    }

    /// Since when nobody works; `None` while somebody does.
    pub(crate) fn since_ms(&self) -> Option<i64> {
        self.since_ms.filter(|_| self.works.is_none())
    }

    /// Why it counts as busy.
    pub(crate) fn busy_reason(&self) -> Option<&str> {
        self.works.as_deref()
    }

    pub(crate) fn judge(&mut self, view: &View<'_>) -> Option<Finding> {
        let at_ms = view.sample.at_ms;
        if view.is_after_hole() {
            self.since_ms = Some(at_ms);
        }
        self.works = work(view);
        if self.works.is_some() {
            self.since_ms = Some(at_ms);
        }
        let since_ms = *self.since_ms.get_or_insert_with(|| {
            view.started_ms
                .filter(|&started_ms| started_ms <= at_ms && at_ms - started_ms <= START_SLACK_MS)
                .unwrap_or(at_ms)
        });
        // A clock that was set back: what went on meanwhile is not idle time.
        let since_ms = since_ms.min(at_ms);
        self.since_ms = Some(since_ms);
        let idle = self.works.is_none() && at_ms - since_ms >= view.policy.idle_after_ms;
        if !idle {
            self.said = None;
        } else if self.said.is_none() {
            self.said = Some(finding(view, since_ms));
        }
        self.said.clone()
    }
}

fn finding(view: &View<'_>, since_ms: i64) -> Finding {
    let sample = view.sample;
    let mut evidence = vec![
        ("idle_since", Evidence::time(since_ms)),
        (
            "idle_after_seconds",
            Evidence::Integer(view.policy.idle_after_ms / 1000),
        ),
        (
            "memory_used_bytes",
            Evidence::count(sample.memory_used_bytes),
        ),
    ];
    if let Some(cores) = view.measured.cpu_mean_cores() {
        evidence.push(("cpu_mean_cores", Evidence::Number(cores)));
    }
    Finding {
        workload: None,
        severity: Severity::Info,
        evidence,
        clears_when: "somebody works again".to_owned(),
    }
}

/// Who works, in words; the clearest reason first.
fn work(view: &View<'_>) -> Option<String> {
    let sample = view.sample;
    let busy = |workload: &&WorkloadSample| {
        let measured = view.measured.workload(&workload.key)?;
        (workload.key.kind == WorkloadKind::Kernel)
            .then_some(measured.busy_since_ms)
            .flatten()
    };
    let longest = sample
        .workloads
        .iter()
        .filter_map(|workload| busy(&workload).map(|since_ms| (since_ms, workload)))
        .min_by_key(|&(since_ms, _)| since_ms);
    if let Some((since_ms, workload)) = longest {
        let busy_for = in_words(sample.at_ms.saturating_sub(since_ms));
        return Some(format!("{} busy for {busy_for}", title(workload)));
    }
    let mean = |key: &WorkloadKey| {
        view.measured
            .workload(key)
            .and_then(WorkloadMeasured::cpu_mean_cores)
    };
    let most = |kinds: &[WorkloadKind]| {
        sample
            .workloads
            .iter()
            .filter(|workload| kinds.is_empty() || kinds.contains(&workload.key.kind))
            .filter_map(|workload| mean(&workload.key).map(|cores| (cores, workload)))
            .filter(|&(cores, _)| cores > WORK_CORES)
            .max_by(|a, b| a.0.total_cmp(&b.0))
    };
    if let Some((cores, workload)) = most(&[WorkloadKind::Terminal]) {
        return Some(format!(
            "{} using {}",
            title(workload),
            cores_in_words(cores)
        ));
    }
    let all = view
        .measured
        .cpu_mean_cores()
        .filter(|&cores| cores > WORK_CORES)?;
    Some(match most(&[]) {
        Some((cores, workload)) => format!("{} using {}", title(workload), cores_in_words(cores)),
        None => format!("server using {}", cores_in_words(all)),
    })
}

fn title(workload: &WorkloadSample) -> String {
    let name = WorkloadName::new(&workload.key, &workload.name, workload.notebook.as_ref());
    let kind = workload.key.kind.as_str();
    if name.title.as_str() == kind {
        kind.to_owned()
    } else {
        format!("{kind} {}", name.title)
    }
}

fn cores_in_words(cores: f64) -> String {
    if cores < 0.1 {
        format!("{cores:.2} cores")
    } else {
        format!("{cores:.1} cores")
    }
}

/// `ms` in the largest unit that fits: `40 s`, `12 min`, `3 h`, `2 d`.
#[must_use]
pub fn in_words(ms: i64) -> String {
    let seconds = ms.max(0) / 1000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}
