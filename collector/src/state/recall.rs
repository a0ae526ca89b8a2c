//! What was known before the collector last ended, beyond what its journal tells.
//!
//! The journal holds the last minutes; a verdict may be open and a server idle for longer. Both are
//! remembered elsewhere and handed in before the replay. An episode that was open comes back under
//! its own name as soon as the replay has reached the time it was raised, and lasts until its rule
//! says otherwise; what the whole replay does not bear out is closed by [`Fact::Started`].
//!
//! [`Fact::Started`]: crate::fact::Fact::Started

use std::collections::BTreeMap;

use super::{Changed, Phase, Server, State};
use crate::{
    fact::ServerKey,
    verdict::{Rule, Verdict, episode, idle::Idle, killed, silent},
};

/// What is remembered of before the start; dropped once the journal is replayed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recalled {
    pub(super) open: BTreeMap<ServerKey, Vec<Verdict>>,
    pub(super) idle: BTreeMap<ServerKey, i64>,
}

// === impl State ===

impl State {
    /// Remembers the verdicts `open` and since when servers are `idle`, for the replay to come.
    pub fn recall(&mut self, open: Vec<Verdict>, idle: Vec<(ServerKey, i64)>) {
        let mut recalled = Recalled {
            open: BTreeMap::new(),
            idle: idle.into_iter().collect(),
        };
        for verdict in open {
            let of_server = recalled.open.entry(verdict.key.clone()).or_default();
            of_server.push(verdict);
        }
        self.recalled = Some(recalled);
    }

    /// Whether the replay still goes on: the picture is not whole yet.
    #[must_use]
    pub fn is_recalling(&self) -> bool {
        self.recalled.is_some()
    }

    /// Since when each server without work is idle, to be remembered; also while nothing is heard
    /// of one, since its agent may be on its way back.
    pub fn idle_marks(&self) -> impl Iterator<Item = (&ServerKey, i64)> {
        self.servers.iter().filter_map(|(key, server)| {
            let since_ms = server.detectors.idle.since_ms()?;
            (server.phase != Phase::Gone).then_some((key, since_ms))
        })
    }

    /// Lets the idle time of `key` go on where it was before the journal begins.
    pub(super) fn resume_idle(&mut self, key: &ServerKey, seq: u64, first_ms: Option<i64>) {
        let (Some(recalled), Some(server)) = (&mut self.recalled, self.servers.get_mut(key)) else {
            return;
        };
        // A life whose first report the journal holds, or a second life, was not there before.
        let is_first = server.latest.is_none() && server.retired.is_empty();
        if !is_first || seq <= 1 {
            return;
        }
        let before = |since_ms: &i64| first_ms.is_some_and(|first_ms| *since_ms <= first_ms);
        if let Some(since_ms) = recalled.idle.remove(key).filter(before) {
            server.detectors.idle = Idle::resumed(since_ms);
        }
    }

    /// Opens again what was open, on the servers that `changed` names.
    pub(super) fn reopen(&mut self, changed: &mut Changed) {
        let Some(recalled) = &mut self.recalled else {
            return;
        };
        if recalled.open.is_empty() {
            return;
        }
        for key in &changed.servers {
            let Some(server) = self.servers.get_mut(key) else {
                continue;
            };
            let (Some(latest), Some(open)) = (&server.latest, recalled.open.get_mut(key)) else {
                continue;
            };
            let reached_ms = latest.at_ms;
            for verdict in open.extract_if(.., |verdict| verdict.since_ms <= reached_ms) {
                server.reopen(verdict, reached_ms, &mut changed.verdicts);
            }
            if open.is_empty() {
                recalled.open.remove(key);
            }
        }
    }

    /// The collector begins: streams ended with its last life, and what it remembered of that and
    /// the replay did not bear out has ended some time since.
    pub(super) fn started(&mut self, at_ms: i64) -> Changed {
        let mut changed = Changed::default();
        self.listens_since_ms = Some(at_ms);
        for (key, server) in &mut self.servers {
            server.cut_off |= std::mem::take(&mut server.connected);
            if server.forget_the_future(at_ms) {
                changed.servers.push(key.clone());
            }
        }
        let recalled = self.recalled.take().unwrap_or_default();
        for verdict in recalled.open.into_values().flatten() {
            if self.outlives(&verdict, at_ms) {
                changed.servers.push(verdict.key.clone());
                if let Some(server) = self.server_mut(&verdict.key) {
                    server.reopen(verdict, at_ms, &mut changed.verdicts);
                }
            } else {
                let mut ended = vec![verdict];
                let ended = episode::clear(&mut ended, at_ms, |_| true);
                changed.verdicts.extend(ended);
            }
        }
        changed
    }

    /// Whether `verdict`, which rests on what the journal does not hold, goes on.
    fn outlives(&mut self, verdict: &Verdict, at_ms: i64) -> bool {
        match verdict.rule {
            Rule::Killed => {
                let Some(server) = self.servers.get_mut(&verdict.key) else {
                    return false;
                };
                // It says why the stream ended: nobody needs to ask again.
                server.unexplained &= server.last_seen_ms > Some(verdict.since_ms);
                at_ms < verdict.since_ms + killed::OPEN_MS
            }
            Rule::Silent if self.hub_heard => {
                // Where the journal knows nothing of it either, it is silent for so much longer.
                let Some(server) = self.server_mut(&verdict.key) else {
                    return false;
                };
                let goes_on = server.phase != Phase::Gone
                    && server.last_seen_ms.is_none_or(|ms| ms <= verdict.since_ms);
                if goes_on {
                    server.be_silent_since(verdict);
                }
                goes_on
            }
            _ => false,
        }
    }
}

// === impl Server ===

impl Server {
    /// What is known of it happened by now: where the clock was ahead and is not any more, times
    /// that lie ahead would hold for years. Whether there were any.
    fn forget_the_future(&mut self, now_ms: i64) -> bool {
        let mut seen = false;
        let times = [
            &mut self.last_seen_ms,
            &mut self.first_listed_ms,
            &mut self.gone_since_ms,
            &mut self.hold_ended_ms,
            &mut self.idle_since_ms,
        ];
        let by_agent = (!self.started_by_hub).then_some(&mut self.started_ms);
        for time in times.into_iter().chain(by_agent) {
            if let Some(at_ms) = time.as_mut().filter(|at_ms| **at_ms > now_ms) {
                *at_ms = now_ms;
                seen = true;
            }
        }
        for verdict in &mut self.verdicts {
            seen |= verdict.updated_ms > now_ms;
            verdict.since_ms = verdict.since_ms.min(now_ms);
            verdict.updated_ms = verdict.updated_ms.min(now_ms);
        }
        seen
    }

    /// Opens `verdict` again, or gives its name to what the replay has raised in its stead.
    fn reopen(&mut self, verdict: Verdict, at_ms: i64, changed: &mut Vec<Verdict>) {
        let is_it = |other: &Verdict| other.episode == verdict.episode;
        if self.verdicts.iter().any(is_it) || changed.iter().any(is_it) {
            return;
        }
        self.detectors.resume(&verdict);
        let stead = |other: &&mut Verdict| match verdict.rule {
            Rule::Killed => false,
            Rule::IdleHog => other.rule == verdict.rule && other.workload == verdict.workload,
            rule => other.rule == rule,
        };
        let Some(other) = self.verdicts.iter_mut().find(stead) else {
            if episode::has_room(&self.verdicts, verdict.rule) {
                self.verdicts.push(verdict);
                self.verdicts.sort_by_key(|verdict| verdict.since_ms);
            }
            return;
        };
        let before = other.clone();
        other.episode = verdict.episode;
        other.since_ms = verdict.since_ms;
        let told_now = changed.iter_mut().rev();
        match told_now
            .into_iter()
            .find(|told| told.episode == before.episode)
        {
            Some(told) => told.clone_from(other),
            None => {
                // It was told under the other name; that one ends here.
                let ended = episode::clear(&mut vec![before], at_ms, |_| true);
                changed.extend(ended);
            }
        }
        self.verdicts.sort_by_key(|verdict| verdict.since_ms);
    }

    /// As it was when `verdict` was raised: the hub lists it and nothing is heard.
    fn be_silent_since(&mut self, verdict: &Verdict) {
        self.phase = Phase::Silent;
        self.idle_since_ms = None;
        self.busy_reason = None;
        self.idle_note = None;
        self.listed = true;
        self.last_seen_ms = self.last_seen_ms.max(silent::last_seen_ms(verdict));
        let listed_ms = verdict.since_ms - silent::NEVER_HEARD_MS;
        self.first_listed_ms.get_or_insert(listed_ms);
    }
}

#[cfg(test)]
mod tests;
