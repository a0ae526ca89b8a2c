//! The bounds of memory: how many servers are known, and for how long after they stopped.

use super::{CLEARED_MAX, Phase, Server, State};
use crate::{fact::ServerKey, verdict::Verdict};

// === impl State ===

impl State {
    /// The server `key`, made known if need be; `None` when there is no room. Room is made by
    /// forgetting the one longest gone, never one that runs.
    pub(super) fn server_mut(&mut self, key: &ServerKey) -> Option<&mut Server> {
        if !self.servers.contains_key(key) {
            if self.servers.len() >= self.policy.servers_max && !self.evict_one() {
                self.counts.servers_refused += 1;
                return None;
            }
            let mut server = Server::new(key.clone());
            server.policy.clone_from(&self.policies.unknown);
            server.held_until_ms = self.promises.of(key);
            self.servers.insert(key.clone(), server);
        }
        self.servers.get_mut(key)
    }

    fn evict_one(&mut self) -> bool {
        let longest_gone = self
            .servers
            .values()
            .filter(|server| server.phase == Phase::Gone)
            .min_by_key(|server| server.gone_since_ms)
            .map(|server| server.key.clone());
        let Some(key) = longest_gone else {
            return false;
        };
        self.servers.remove(&key);
        self.counts.servers_evicted += 1;
        true
    }

    /// Keeps a cleared verdict for whoever asks for all of them.
    pub(super) fn remember_cleared(&mut self, verdict: Verdict) {
        if self.cleared.len() >= CLEARED_MAX {
            self.cleared.pop_front();
            self.counts.verdicts_forgotten += 1;
        }
        self.cleared.push_back(verdict);
    }
}

/// Forgets servers that stopped longer ago than policy keeps them.
pub(super) fn expire(state: &mut State, now_ms: i64) {
    let kept_ms = state.policy.gone_kept_ms;
    let known = state.servers.len();
    state.servers.retain(|_, server| {
        let gone_since_ms = server.gone_since_ms.filter(|_| server.phase == Phase::Gone);
        gone_since_ms.is_none_or(|gone_ms| now_ms.saturating_sub(gone_ms) < kept_ms)
    });
    state.counts.servers_expired += (known - state.servers.len()) as u64;
}
