//! One sample into one server: measured, judged, shown.

use std::sync::Arc;

use hubmeter_proto::limits::INTERVAL_MAX;

use super::{Changed, Policy, Server, State, Taken};
use crate::{
    fact::{Activity, InstanceId, Sample, ServerKey},
    verdict::{self, Verdict, View},
};

// === impl State ===

impl State {
    /// What people do at `key`; it is judged with the next sample.
    pub(super) fn activity(
        &mut self,
        key: &ServerKey,
        instance: InstanceId,
        activity: &Activity,
    ) -> Changed {
        let Some(server) = self.servers.get_mut(key) else {
            return Changed::default();
        };
        if server.instance != Some(instance) {
            return Changed::default();
        }
        let had_page = server.has_page();
        server.kept_until_ms = activity.kept_until_ms;
        server.activity.clone_from(activity);
        if server.has_page() && !had_page {
            self.say_anew(key);
        }
        Changed::of(key, Vec::new())
    }
}

// === impl Server ===

impl Server {
    /// Takes one sample in and judges it; `None` when it is not later than the newest.
    pub(super) fn take(&mut self, sample: Sample, policy: &Policy) -> Option<Vec<Verdict>> {
        let before = self.latest.take();
        if let Some(newest) = before.as_ref()
            && sample.mono_ms <= newest.mono_ms
        {
            self.latest = before;
            return None;
        }
        let derived = self.measured.take(&sample);
        if !sample.burst {
            self.momentum_bytes = derived.momentum_bytes;
            self.follow_rhythm(sample.interval_ms);
        }
        self.trend = derived.trend;
        self.forecast = derived.forecast;
        self.cpu_cores = derived.cpu_cores;
        let verdicts = verdict::judge(
            &mut self.detectors,
            &mut self.verdicts,
            &self.key,
            &View {
                sample: &sample,
                before: before.as_ref(),
                measured: &self.measured,
                trend: derived.trend,
                forecast: derived.forecast,
                workload_went: derived.workload_went,
                interval_ms: self.interval_ms,
                started_ms: self.started_ms,
                cpu_cores: derived.cpu_cores,
                activity: &self.activity,
                policy: self.policy.as_deref().unwrap_or(policy),
            },
        );
        self.show_workloads();
        self.show_idle();
        self.latest = Some(sample);
        Some(verdicts)
    }

    /// Lets the detectors look at the newest sample once more, for the bench of what they cost.
    #[doc(hidden)]
    pub fn judge_again(&mut self, policy: &Policy) -> usize {
        let Some(sample) = &self.latest else {
            return 0;
        };
        let view = View {
            sample,
            before: Some(sample),
            measured: &self.measured,
            trend: self.trend,
            forecast: self.forecast,
            workload_went: false,
            interval_ms: self.interval_ms,
            started_ms: self.started_ms,
            cpu_cores: self.cpu_cores,
            activity: &self.activity,
            policy: self.policy.as_deref().unwrap_or(policy),
        };
        verdict::judge(&mut self.detectors, &mut self.verdicts, &self.key, &view).len()
    }

    /// The newest sample as report `seq` brought it.
    pub(super) fn taken(&self, seq: u64) -> Option<Taken> {
        let sample = self.latest.clone()?;
        Some(Taken {
            key: self.key.clone(),
            instance: self.instance?,
            seq,
            momentum_bytes: self.momentum_bytes.filter(|_| !sample.burst),
            cpu_cores: self.cpu_cores,
            sample: Arc::new(sample),
        })
    }

    /// Follows the rhythm that the samples show: two distances alike are one. A single distance
    /// is no promise: a machine that slept for a night has not slowed down.
    fn follow_rhythm(&mut self, distance_ms: u32) {
        let before_ms = std::mem::replace(&mut self.distance_ms, distance_ms);
        let alike = distance_ms.abs_diff(before_ms) <= before_ms / 4;
        if distance_ms > 0 && (alike || self.interval_ms == 0) {
            let max_ms = u32::try_from(INTERVAL_MAX.as_millis()).unwrap_or(u32::MAX);
            self.interval_ms = distance_ms.min(max_ms);
        }
    }

    fn show_workloads(&mut self) {
        self.workload_cpu_cores = self
            .measured
            .workloads()
            .filter_map(|(key, measured)| Some((key.clone(), measured.cpu_cores()?)))
            .collect();
        self.workload_idle_since_ms = self
            .measured
            .workloads()
            .map(|(key, measured)| (key.clone(), measured.idle_since_ms))
            .collect();
    }

    fn show_idle(&mut self) {
        self.idle_since_ms = self.detectors.idle.since_ms();
        self.busy_reason = self.detectors.idle.busy_reason().map(str::to_owned);
        self.idle_note = self.detectors.idle.note().map(str::to_owned);
    }
}
