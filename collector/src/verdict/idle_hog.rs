//! `idle_hog`: a kernel that nobody has used for hours holds much memory.
//!
//! One episode per kernel. It opens after hours without work by the kernel's own account and by
//! its use of CPU; time that nobody measured counts only where Jupyter tells since when it idles.

use super::{
    Evidence, Finding, Rule, Severity, Verdict, View, WorkloadName,
    episode::{clear, raise},
    idle,
};
use crate::{
    fact::{ServerKey, WorkloadKind, WorkloadSample, WorkloadState},
    state::series::WorkloadMeasured,
};

/// Cleared below this share of what makes it open.
pub const CLEARS_BELOW: f64 = 0.8;

/// What is remembered between samples.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct IdleHogs {
    /// The end of the newest hole in the samples.
    measured_from_ms: Option<i64>,
}

// === impl IdleHogs ===

impl IdleHogs {
    /// Looks at a sample; gives the verdicts raised and cleared.
    pub(crate) fn judge(
        &mut self,
        view: &View<'_>,
        key: &ServerKey,
        open: &mut Vec<Verdict>,
    ) -> Vec<Verdict> {
        let at_ms = view.sample.at_ms;
        if view.is_after_hole() {
            self.measured_from_ms = Some(at_ms);
        }
        let much_bytes = much_bytes(view);
        let mut changed = Vec::new();
        if open.iter().any(|verdict| verdict.rule == Rule::IdleHog) {
            changed = clear(open, at_ms, |verdict| {
                let of_kernel = |name: &WorkloadName| kernel(view, name);
                let kernel = verdict.workload.as_ref().and_then(of_kernel);
                let keeps = kernel.is_some_and(|kernel| keeps(view, kernel, much_bytes));
                verdict.rule == Rule::IdleHog && !keeps
            });
        }
        for kernel in &view.sample.workloads {
            if holds_bytes(kernel).is_none_or(|bytes| bytes < much_bytes) {
                continue;
            }
            let Some(since_ms) = self.idle_since_ms(view, kernel) else {
                continue;
            };
            let is_it = |verdict: &Verdict| {
                let id = verdict.workload.as_ref().map(|name| &name.id);
                verdict.rule == Rule::IdleHog && id == Some(&kernel.key.id)
            };
            if at_ms - since_ms >= view.policy.idle_hog_after_ms && !open.iter().any(is_it) {
                let finding = finding(view, kernel, since_ms);
                changed.extend(raise(open, key, Rule::IdleHog, at_ms, finding));
            }
        }
        changed
    }

    /// Since when a kernel idles; `None` while it does not, or nobody knows.
    fn idle_since_ms(&self, view: &View<'_>, kernel: &WorkloadSample) -> Option<i64> {
        if !may_idle(kernel) {
            return None;
        }
        let measured = view.measured.workload(&kernel.key)?;
        let unmeasured_until_ms = self.measured_from_ms.filter(|_| kernel.idle_ms.is_none());
        let since_ms = measured.idle_since_ms;
        Some(unmeasured_until_ms.map_or(since_ms, |ms| since_ms.max(ms)))
    }
}

/// From here on a kernel holds much: the less of what policy says in bytes and as a share.
fn much_bytes(view: &View<'_>) -> u64 {
    let bytes = view.policy.idle_hog_bytes;
    let of_limit = view
        .sample
        .memory_limit_bytes
        .map(|limit_bytes| (limit_bytes as f64 * view.policy.idle_hog_share) as u64);
    of_limit.map_or(bytes, |of_limit| bytes.min(of_limit))
}

/// Memory that is the kernel's alone; `None` for what is no kernel here or was not measured so.
fn holds_bytes(workload: &WorkloadSample) -> Option<u64> {
    let here = workload.key.kind == WorkloadKind::Kernel && !workload.remote;
    workload.memory_used_bytes.filter(|_| here)
}

/// Whether nothing says that it does not idle: without Jupyter's word its CPU decides.
fn may_idle(kernel: &WorkloadSample) -> bool {
    matches!(kernel.state, None | Some(WorkloadState::Idle))
}

fn kernel<'a>(view: &View<'a>, name: &WorkloadName) -> Option<&'a WorkloadSample> {
    view.sample
        .workloads
        .iter()
        .find(|workload| workload.key.kind == WorkloadKind::Kernel && workload.key.id == name.id)
}

/// Whether an episode goes on: since when the kernel idles need not be known any more.
fn keeps(view: &View<'_>, kernel: &WorkloadSample, much_bytes: u64) -> bool {
    let enough = |bytes: u64| bytes as f64 >= CLEARS_BELOW * much_bytes as f64;
    let cores = view
        .measured
        .workload(&kernel.key)
        .and_then(WorkloadMeasured::cpu_cores);
    let after_ms = view.policy.idle_hog_after_ms;
    let ran_lately = kernel
        .idle_ms
        .is_some_and(|ms| i64::try_from(ms).is_ok_and(|ms| ms < after_ms));
    holds_bytes(kernel).is_some_and(enough)
        && may_idle(kernel)
        && !ran_lately
        && cores.is_none_or(|cores| cores <= idle::WORK_CORES)
}

fn finding(view: &View<'_>, kernel: &WorkloadSample, since_ms: i64) -> Finding {
    let bytes = kernel.memory_used_bytes.unwrap_or(0);
    let mut evidence = vec![
        ("idle_since", Evidence::time(since_ms)),
        ("workload_memory_used_bytes", Evidence::count(bytes)),
        (
            "memory_used_bytes",
            Evidence::count(view.sample.memory_used_bytes),
        ),
    ];
    evidence.extend(Evidence::limit(view.sample));
    Finding {
        workload: Some(WorkloadName::of(kernel)),
        severity: Severity::Info,
        evidence,
        clears_when: "the kernel runs a cell, gives memory back or is shut down".to_owned(),
    }
}
