//! Who is there: streams that come and go, the hub's list, and time that passes.

use std::collections::BTreeMap;

use super::{Changed, Measured, Phase, RETIRED_MAX, Server, State, evict};
use crate::{
    fact::{Activity, HubServer, InstanceId, ServerKey},
    text::Label,
    verdict::{Detectors, Rule, Verdict, episode, killed, silent},
};

/// Intervals without a report before a server counts as silent.
pub(crate) const SILENT_AFTER_INTERVALS: i64 = 3;

/// What the network and a tick may add to that.
pub(crate) const SILENT_SLACK_MS: i64 = 1_000;

/// Interval of an agent that has not told its own.
const INTERVAL_UNTOLD_MS: i64 = 5_000;

/// Without a hub, a server that is silent this long and has no stream is gone.
pub(crate) const GONE_WITHOUT_HUB_MS: i64 = 10 * 60 * 1000;

/// Time passes in steps of a second; a step as long as this was sleep.
const ASLEEP_MS: i64 = 30_000;

/// What a server may take to stop: until then the hub may still list it as up.
pub(crate) const STOPPING_MS: i64 = 60_000;

// === impl State ===

impl State {
    pub(super) fn connected(
        &mut self,
        at_ms: i64,
        key: &ServerKey,
        instance: InstanceId,
        host: &Label,
        interval_ms: u32,
    ) -> Changed {
        // The agent takes back what was ordered over the stream before; it is ordered anew.
        self.promises.kernels.remove(key);
        self.say_anew(key);
        let Some(server) = self.server_mut(key) else {
            return Changed::default();
        };
        let mut verdicts = server.adopt(instance, at_ms);
        server.host = Some(host.clone());
        server.interval_ms = interval_ms;
        server.distance_ms = 0;
        server.hold_ms = 0;
        server.hold_ended_ms = None;
        verdicts.extend(server.heard(at_ms));
        Changed::of(key, verdicts)
    }

    pub(super) fn paced(
        &mut self,
        at_ms: i64,
        key: &ServerKey,
        instance: InstanceId,
        hold_ms: u32,
    ) -> Changed {
        if let Some(server) = self.servers.get_mut(key)
            && server.instance == Some(instance)
        {
            server.let_hold(at_ms, hold_ms);
        }
        // Nobody is shown it.
        Changed::default()
    }

    pub(super) fn disconnected(
        &mut self,
        at_ms: i64,
        key: &ServerKey,
        instance: InstanceId,
        farewell: bool,
    ) -> Changed {
        let Some(server) = self.servers.get_mut(key) else {
            return Changed::default();
        };
        if server.instance != Some(instance) {
            return Changed::default();
        }
        server.connected = false;
        server.let_hold(at_ms, 0);
        server.unexplained = !farewell;
        let verdicts = if farewell {
            server.go(at_ms)
        } else {
            Vec::new()
        };
        Changed::of(key, verdicts)
    }

    pub(super) fn hub_list(&mut self, at_ms: i64, listed: &[HubServer]) -> Changed {
        self.hub_heard = true;
        let by_key: BTreeMap<&ServerKey, &HubServer> =
            listed.iter().map(|server| (&server.key, server)).collect();
        let mut changed = Changed::default();
        for (key, server) in &mut self.servers {
            if !by_key.contains_key(key)
                && let Some(verdicts) = server.unlisted(at_ms)
            {
                changed.add(key, verdicts);
            }
        }
        for (key, listed) in by_key {
            let policy = self.policies.of(&self.policy, &listed.groups);
            let Some(server) = self.server_mut(key) else {
                continue;
            };
            server.policy = policy;
            if let Some(verdicts) = server.listed(at_ms, listed) {
                changed.add(key, verdicts);
            }
        }
        changed
    }

    pub(super) fn tick(&mut self, at_ms: i64) -> Changed {
        let mut changed = Changed::default();
        let mut overdue = Vec::new();
        self.wake(at_ms);
        for (key, server) in &mut self.servers {
            let due = server.sequence.expire(at_ms);
            if !due.is_empty() {
                overdue.push((key.clone(), due));
            }
            if let Some(verdicts) = server.wait(at_ms, self.hub_heard) {
                changed.add(key, verdicts);
            }
        }
        for (key, due) in overdue {
            let taken = self.take(&key, due, Vec::new());
            changed.servers.extend(taken.servers);
            changed.verdicts.extend(taken.verdicts);
            changed.taken.extend(taken.taken);
        }
        evict::expire(self, at_ms);
        self.drop_titles(at_ms.saturating_sub(self.policy.names_kept_ms));
        changed
    }

    /// Since when it has listened without a break, as far as can be told at `now_ms`.
    pub(crate) fn listens_since_ms(&self, now_ms: i64) -> Option<i64> {
        // It woke a moment ago, and time has not passed yet.
        let asleep = |ms: i64| now_ms.saturating_sub(ms) >= ASLEEP_MS;
        if self.ticked_ms.is_some_and(asleep) {
            return Some(now_ms);
        }
        // A clock that was ahead is not waited for.
        self.listens_since_ms.map(|ms| ms.min(now_ms))
    }

    /// Notices that the collector's machine slept: nobody's silence was heard meanwhile.
    fn wake(&mut self, at_ms: i64) {
        let before_ms = self.ticked_ms.replace(at_ms);
        let slept = before_ms.is_some_and(|ms| at_ms.saturating_sub(ms) >= ASLEEP_MS);
        if slept {
            self.listens_since_ms = Some(at_ms);
            for server in self.servers.values_mut() {
                server.hold_ended_ms = server.hold_ended_ms.max(Some(at_ms));
            }
        }
    }
}

// === impl Server ===

impl Server {
    /// Whether `instance` spoke for it once and another does now.
    pub(super) fn is_retired(&self, instance: InstanceId) -> bool {
        self.instance != Some(instance) && self.retired.iter().any(|(old, _)| *old == instance)
    }

    /// Lets `instance` speak for it; a new one starts with nothing measured.
    pub(super) fn adopt(&mut self, instance: InstanceId, at_ms: i64) -> Vec<Verdict> {
        if self.instance == Some(instance) {
            return Vec::new();
        }
        // An agent that never said Bye and is replaced died, perhaps with its whole container.
        // While the collector was away, so may have been the Bye.
        self.unexplained |= self.instance.is_some() && self.phase != Phase::Gone && !self.cut_off;
        let verdicts = self.explain(at_ms);
        let again = self.retired.iter().position(|(old, _)| *old == instance);
        let known = again.and_then(|at| self.retired.remove(at));
        let sequence = known.map_or_else(Default::default, |(_, sequence)| sequence);
        let old_sequence = std::mem::replace(&mut self.sequence, sequence);
        if let Some(old) = self.instance.replace(instance) {
            self.retired.push_back((old, old_sequence));
            if self.retired.len() > RETIRED_MAX {
                self.retired.pop_front();
            }
        }
        self.through_seq = self.sequence.through_seq();
        self.measured = Measured::default();
        self.detectors = Detectors::default();
        self.latest = None;
        self.distance_ms = 0;
        self.momentum_bytes = None;
        self.trend = None;
        self.forecast = None;
        self.cpu_cores = None;
        self.workload_cpu_cores.clear();
        self.workload_idle_since_ms.clear();
        self.idle_since_ms = None;
        self.busy_reason = None;
        self.idle_note = None;
        self.kept_until_ms = None;
        // Whatever page was open may be so still: the new one says so within seconds, if it hears of it.
        self.activity = Activity {
            page_open: self.activity.page_open,
            ..Activity::default()
        };
        if !self.started_by_hub {
            self.started_ms = Some(at_ms);
        }
        verdicts
    }

    /// Its agent spoke.
    pub(super) fn heard(&mut self, at_ms: i64) -> Vec<Verdict> {
        self.last_seen_ms = self.last_seen_ms.max(Some(at_ms));
        if !self.started_by_hub {
            let first_heard_ms = self.started_ms.map_or(at_ms, |ms| ms.min(at_ms));
            self.started_ms = Some(first_heard_ms);
        }
        self.phase = Phase::Live;
        self.gone_since_ms = None;
        self.connected = true;
        self.unexplained = false;
        self.cut_off = false;
        episode::clear(&mut self.verdicts, at_ms, |verdict| {
            verdict.rule == Rule::Silent
        })
    }

    /// The hub lists it; `None` when that is no news.
    fn listed(&mut self, at_ms: i64, hub: &HubServer) -> Option<Vec<Verdict>> {
        let news = self.groups != hub.groups
            || self.hub_last_activity_ms != hub.last_activity_ms
            || self.listed != hub.ready
            || (hub.started_ms.is_some() && self.started_ms != hub.started_ms);
        self.groups.clone_from(&hub.groups);
        self.hub_last_activity_ms = hub.last_activity_ms;
        self.listed = hub.ready;
        self.first_listed_ms.get_or_insert(at_ms);
        if hub.started_ms.is_some() {
            self.started_ms = hub.started_ms;
            self.started_by_hub = true;
        }
        // An agent may stop alone; the list may also be older than the farewell.
        let up_again = self.phase == Phase::Gone
            && hub.ready
            && self
                .gone_since_ms
                .is_none_or(|gone_ms| at_ms > gone_ms.saturating_add(STOPPING_MS));
        if up_again {
            self.phase = Phase::Silent;
            self.gone_since_ms = None;
        }
        (news || up_again).then(Vec::new)
    }

    /// The hub does not list it; `None` when that is no news.
    fn unlisted(&mut self, at_ms: i64) -> Option<Vec<Verdict>> {
        if self.phase == Phase::Gone {
            return None;
        }
        // It may have started after the list was made.
        if self.connected && !self.is_overdue(at_ms) {
            let news = std::mem::replace(&mut self.listed, false);
            return news.then(Vec::new);
        }
        self.unexplained |= self.connected;
        Some(self.go(at_ms))
    }

    /// Time passed; `None` when nothing came of it.
    fn wait(&mut self, at_ms: i64, hub_heard: bool) -> Option<Vec<Verdict>> {
        let mut news = false;
        let mut verdicts = killed::expire(&mut self.verdicts, at_ms);
        if self.phase == Phase::Live && self.is_overdue(at_ms) {
            self.phase = Phase::Silent;
            // Nobody measures now.
            self.idle_since_ms = None;
            self.busy_reason = None;
            self.idle_note = None;
            news = true;
        }
        let long_silent = self
            .last_seen_ms
            .is_none_or(|seen_ms| at_ms.saturating_sub(seen_ms) >= GONE_WITHOUT_HUB_MS);
        if self.phase == Phase::Silent && !hub_heard && long_silent {
            verdicts.extend(self.go(at_ms));
            news = true;
        }
        if self.held_until_ms.is_some_and(|until_ms| until_ms <= at_ms) {
            self.held_until_ms = None;
            news = true;
        }
        let silence = silent::judge(self, at_ms);
        let (open, key) = (&mut self.verdicts, &self.key);
        verdicts.extend(episode::settle(open, key, Rule::Silent, at_ms, silence));
        (news || !verdicts.is_empty()).then_some(verdicts)
    }

    fn let_hold(&mut self, at_ms: i64, hold_ms: u32) {
        if self.hold_ms > 0 && hold_ms == 0 {
            self.hold_ended_ms = Some(at_ms);
        }
        self.hold_ms = hold_ms;
    }

    /// Until when its silence was with leave.
    fn silent_from_ms(&self) -> Option<i64> {
        let seen_ms = self.last_seen_ms?;
        let held_ms = seen_ms.saturating_add(self.hold_ms.into());
        Some(held_ms.max(self.hold_ended_ms.unwrap_or(held_ms)))
    }

    fn is_overdue(&self, at_ms: i64) -> bool {
        let interval_ms = match self.interval_ms {
            0 => INTERVAL_UNTOLD_MS,
            told => i64::from(told),
        };
        self.silent_from_ms().is_none_or(|from_ms| {
            at_ms.saturating_sub(from_ms) > SILENT_AFTER_INTERVALS * interval_ms + SILENT_SLACK_MS
        })
    }

    /// It stopped: what was open about it has ended, except why.
    fn go(&mut self, at_ms: i64) -> Vec<Verdict> {
        let mut verdicts = self.explain(at_ms);
        self.phase = Phase::Gone;
        self.gone_since_ms = Some(at_ms);
        self.connected = false;
        self.cut_off = false;
        self.listed = false;
        self.first_listed_ms = None;
        self.stops_at_ms = None;
        self.idle_since_ms = None;
        self.busy_reason = None;
        self.idle_note = None;
        self.kept_until_ms = None;
        self.activity.page_open = None;
        verdicts.extend(episode::clear(&mut self.verdicts, at_ms, |verdict| {
            verdict.rule != Rule::Killed
        }));
        verdicts
    }

    /// If its agent ended without a word: whether the out-of-memory killer did that.
    fn explain(&mut self, at_ms: i64) -> Vec<Verdict> {
        if !std::mem::take(&mut self.unexplained) {
            return Vec::new();
        }
        let Some(last) = &self.latest else {
            return Vec::new();
        };
        let seconds_to_limit = self.forecast.map(|forecast| forecast.seconds_to_limit);
        let finding = self
            .detectors
            .killed
            .infer(last, seconds_to_limit, self.interval_ms);
        finding
            .and_then(|finding| {
                episode::raise(&mut self.verdicts, &self.key, Rule::Killed, at_ms, finding)
            })
            .into_iter()
            .collect()
    }
}

#[cfg(test)]
mod tests;
