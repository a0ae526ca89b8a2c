//! How far every agent is on disk, and what of it outlives the rows it was learnt from.

use std::collections::HashMap;

use crate::{
    fact::{InstanceId, ServerKey},
    limits,
};

/// The last report on disk of every agent's life.
#[derive(Default)]
pub(super) struct HighWater(pub(super) HashMap<ServerKey, Vec<Life>>);

/// How far one life of an agent is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Life {
    pub(super) instance: InstanceId,
    pub(super) through_seq: u64,
    /// When that came.
    pub(super) at_ms: i64,
}

/// What outlives the rows it was learnt from.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Marks {
    /// Rows up to here are safe in history.
    pub(super) checkpoint: i64,
    pub(super) lives: Vec<(ServerKey, Life)>,
}

// === impl HighWater ===

impl HighWater {
    pub(super) fn raise(
        &mut self,
        key: &ServerKey,
        instance: InstanceId,
        through_seq: u64,
        at_ms: i64,
    ) {
        if !self.0.contains_key(key) && self.0.len() >= limits::SERVERS_MAX {
            return; // its agent resends what it keeps; nothing is lost, nothing applied twice
        }
        let lives = self.0.entry(key.clone()).or_default();
        match lives.iter_mut().find(|life| life.instance == instance) {
            Some(life) => {
                life.through_seq = through_seq.max(life.through_seq);
                life.at_ms = at_ms.max(life.at_ms);
            }
            None => {
                if lives.len() >= limits::INSTANCES_PER_SERVER_MAX {
                    lives.remove(0);
                }
                lives.push(Life {
                    instance,
                    through_seq,
                    at_ms,
                });
            }
        }
    }

    pub(super) fn through_seq(&self, key: &ServerKey, instance: InstanceId) -> Option<u64> {
        let lives = self.0.get(key)?;
        let life = lives.iter().find(|life| life.instance == instance)?;
        Some(life.through_seq)
    }

    /// Forgets lives that were silent since before `before_ms`; gives the others.
    pub(super) fn sweep(&mut self, before_ms: i64) -> Vec<(ServerKey, Life)> {
        self.0.retain(|_, lives| {
            lives.retain(|life| life.at_ms >= before_ms);
            !lives.is_empty()
        });
        let lives = self.0.iter();
        lives
            .flat_map(|(key, lives)| lives.iter().map(|life| (key.clone(), *life)))
            .collect()
    }
}
