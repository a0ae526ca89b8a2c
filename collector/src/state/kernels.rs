//! Which idle kernels are to be shut down, and when: looked at with all servers.
//!
//! Whatever is open as `idle_hog` has idled for as long and holds as much as policy asks. Nothing of this
//! is kept on the disk: after a restart a user is told anew, and has the whole time again.

use std::collections::BTreeMap;

use super::{Changed, Server, State};
use crate::{
    cull::{Judge, Mode, Question, policy::IdleKernels},
    fact::{ServerKey, WorkloadKind},
    text::Label,
    verdict::{Rule, Verdict, WorkloadName, episode},
    warning::KernelEnd,
};

/// A kernel that is open as `idle_hog` so long after it was to go was not shut down: its server could not be
/// told. It is ordered anew.
const ANEW_AFTER_MS: i64 = 5 * 60_000;

/// After an order that changed nothing, the next waits twice as long, up to this: where nothing ever shuts
/// the kernel down, its user is told of it once a day, not all day.
const ANEW_AFTER_MS_MAX: i64 = 24 * 60 * 60_000;

/// What a server's extension was told of one kernel. As many as there are open verdicts.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ordered {
    kernel: WorkloadName,
    episode: String,
    ends_at_ms: i64,
    /// So long after its end it is ordered anew.
    anew_after_ms: i64,
}

/// Orders by server.
pub(super) type Orders = BTreeMap<ServerKey, Vec<Ordered>>;

// === impl State ===

impl State {
    /// Orders what is due, and takes back what no longer is.
    pub(super) fn look_at_kernels(&mut self, now_ms: i64, changed: &mut Changed) {
        let due = self.due_kernels(now_ms);
        // Without a warning there is no time to wait for.
        let lead_ms = self.cull.warn_ms.first().copied().unwrap_or(0);
        let before = std::mem::take(&mut self.promises.kernels);
        let mut after = Orders::new();
        let news = &mut changed.warnings.kernels;
        for (key, orders) in before {
            let server = self.servers.get(&key).filter(|server| server.connected);
            // A server that hears nothing shuts nothing down; one that comes back is told anew.
            let Some(server) = server else { continue };
            for order in orders {
                let is_it = |kernel: &WorkloadName| kernel.id == order.kernel.id;
                let goes_on = due.get(&key).is_some_and(|due| due.iter().any(is_it));
                if goes_on && now_ms.saturating_sub(order.ends_at_ms) < order.anew_after_ms {
                    after.entry(key.clone()).or_default().push(order);
                    continue;
                }
                news.push(said(server, &order, None, now_ms));
                if goes_on {
                    let again = order.again(&key, now_ms, lead_ms);
                    news.push(said(server, &again, Some(again.ends_at_ms), now_ms));
                    after.entry(key.clone()).or_default().push(again);
                }
            }
        }
        for (key, kernels) in due {
            let Some(server) = self.servers.get(&key) else {
                continue;
            };
            let orders = after.entry(key.clone()).or_default();
            for kernel in kernels {
                if orders.iter().any(|order| order.kernel.id == kernel.id) {
                    continue;
                }
                let order = Ordered::new(kernel, &key, now_ms, lead_ms);
                news.push(said(server, &order, Some(order.ends_at_ms), now_ms));
                orders.push(order);
            }
        }
        self.promises.kernels = after;
    }

    /// Kernels that policy shuts down, of servers that hear of it and are not spared.
    fn due_kernels(&self, now_ms: i64) -> BTreeMap<ServerKey, Vec<WorkloadName>> {
        let mut due = BTreeMap::new();
        if self.cull.mode != Mode::Act || self.cull.idle_kernels != IdleKernels::ShutDown {
            return due;
        }
        let mut judge = Judge::new(self, Question::default(), now_ms);
        for (key, server) in &self.servers {
            let mut kernels = hogs(server).peekable();
            if !server.connected || kernels.peek().is_none() {
                continue;
            }
            if judge.judge(server).spared.is_none() {
                due.insert(key.clone(), kernels.cloned().collect());
            }
        }
        due
    }
}

// === impl Ordered ===

impl Ordered {
    /// Of a kernel of `key`, which goes when `lead_ms` are over.
    fn new(kernel: WorkloadName, key: &ServerKey, now_ms: i64, lead_ms: i64) -> Self {
        let about = format!("end {}", kernel.id);
        Self {
            episode: episode::id(Rule::IdleHog, key, &about, now_ms),
            ends_at_ms: now_ms.saturating_add(lead_ms),
            anew_after_ms: ANEW_AFTER_MS,
            kernel,
        }
    }

    /// The same, since nothing came of it.
    fn again(self, key: &ServerKey, now_ms: i64, lead_ms: i64) -> Self {
        let anew_after_ms = self.anew_after_ms.saturating_mul(2).min(ANEW_AFTER_MS_MAX);
        Self {
            anew_after_ms,
            ..Self::new(self.kernel, key, now_ms, lead_ms)
        }
    }
}

fn hogs(server: &Server) -> impl Iterator<Item = &WorkloadName> {
    let open = server.verdicts.iter();
    open.filter(|verdict: &&Verdict| verdict.rule == Rule::IdleHog)
        .filter_map(|verdict| verdict.workload.as_ref())
}

fn said(server: &Server, order: &Ordered, ends_at_ms: Option<i64>, now_ms: i64) -> KernelEnd {
    let id: &Label = &order.kernel.id;
    let workloads = server.latest.iter().flat_map(|sample| &sample.workloads);
    let kernel = workloads
        .filter(|workload| workload.key.kind == WorkloadKind::Kernel)
        .find(|workload| workload.key.id == *id);
    let since_ms = kernel.and_then(|kernel| server.workload_idle_since_ms.get(&kernel.key));
    KernelEnd {
        key: server.key.clone(),
        kernel: order.kernel.clone(),
        episode: order.episode.clone(),
        at_ms: now_ms,
        ends_at_ms,
        idle_ms: since_ms.map(|since_ms| now_ms.saturating_sub(*since_ms).max(0)),
        holds_bytes: kernel.and_then(|kernel| kernel.memory_used_bytes),
    }
}

#[cfg(test)]
mod tests;
