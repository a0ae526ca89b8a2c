//! To the disk now and then: history, the word of it to the inbox, and since when servers are idle.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
};

use tokio::sync::Mutex;

use super::SharedState;
use crate::{
    causes::chain,
    database,
    fact::ServerKey,
    history::History,
    inbox::Inbox,
    limits,
    registry::{Registry, RegistryError},
    stats::{Count, Stats, Unready},
};

/// The flusher's thread.
pub struct Flusher {
    /// What to put on the disk.
    pub history: History,
    /// Who may then forget rows.
    pub inbox: Inbox,
    /// Who is idle.
    pub idle_marks: IdleMarks,
    /// Held while it writes, and by whoever moves users between names.
    pub gate: Arc<Mutex<()>>,
    /// The collector's own figures.
    pub stats: Stats,
}

/// Since when servers are idle, as the registry has it: only what changed is written.
pub struct IdleMarks {
    state: SharedState,
    registry: Registry,
    written: BTreeMap<ServerKey, i64>,
}

// === impl Flusher ===

impl Flusher {
    /// Flushes until `stop` is dropped, and once more then.
    pub fn run(mut self, stop: &Receiver<()>) {
        loop {
            let stopping = !matches!(
                stop.recv_timeout(limits::FLUSH_INTERVAL),
                Err(RecvTimeoutError::Timeout)
            );
            let gate = self.gate.clone();
            let _held = gate.blocking_lock();
            flush_history(&self.history, &self.inbox, &self.stats);
            if let Err(e) = self.idle_marks.write() {
                tracing::error!(
                    error = chain(&e),
                    "since when servers are idle is not written"
                );
            }
            if stopping {
                return;
            }
        }
    }
}

/// Puts history on the disk, and tells the inbox what it may then forget. False when the disk does
/// not take it: the rows stay with the inbox and in memory, and are tried again.
pub fn flush_history(history: &History, inbox: &Inbox, stats: &Stats) -> bool {
    let flushed = history.flush();
    let cause = flushed.as_ref().err().map(|e| chain(e));
    stats.set_trouble(Unready::History, cause);
    stats.add(Count::FilesSetAside, database::take_set_aside());
    match flushed {
        Ok(row) => {
            inbox.checkpoint(i64::try_from(row).unwrap_or(i64::MAX));
            true
        }
        Err(e) => {
            tracing::error!(error = chain(&e), "history is not written");
            false
        }
    }
}

// === impl IdleMarks ===

impl IdleMarks {
    /// Of `state`, in `registry`, which holds `written`.
    #[must_use]
    pub fn new(state: SharedState, registry: Registry, written: &[(ServerKey, i64)]) -> Self {
        Self {
            state,
            registry,
            written: written.iter().cloned().collect(),
        }
    }

    /// Writes what changed since it was last written.
    ///
    /// # Errors
    /// It is not on the disk; the next call tries again.
    pub fn write(&mut self) -> Result<(), RegistryError> {
        let changes = self.changes();
        self.registry.mark_idle(&changes)?;
        for (key, since_ms) in changes {
            match since_ms {
                Some(since_ms) => self.written.insert(key, since_ms),
                None => self.written.remove(&key),
            };
        }
        Ok(())
    }

    fn changes(&self) -> Vec<(ServerKey, Option<i64>)> {
        let state = self.state.read();
        if state.is_recalling() {
            // Who is not in the picture yet may be so in a moment.
            return Vec::new();
        }
        let now: BTreeMap<&ServerKey, i64> = state.idle_marks().collect();
        let set = now
            .iter()
            .filter(|(key, since_ms)| self.written.get(**key) != Some(since_ms))
            .map(|(key, since_ms)| ((*key).clone(), Some(*since_ms)));
        let gone = self
            .written
            .keys()
            .filter(|key| !now.contains_key(key))
            .map(|key| (key.clone(), None));
        set.chain(gone).collect()
    }
}

#[cfg(test)]
mod tests;
