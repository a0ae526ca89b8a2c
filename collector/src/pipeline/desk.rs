//! Where people's wishes about their servers come in: holds, and word of delivered warnings.
//!
//! What is asked for is on the disk before it holds, and holds before whoever asked is answered.
//! Open from the end of the replay to the beginning of the end.

use std::{
    sync::{
        Arc,
        mpsc::{SyncSender, TrySendError},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use super::SharedState;
use crate::{
    clock::Clock,
    fact::{Fact, ServerKey},
    inbox::{Batch, Origin},
    limits,
    registry::{Registry, RegistryError},
    stats::{Limit, Stats},
};

/// How often it is looked whether a hold holds.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The desk. Clones share everything.
#[derive(Clone)]
pub struct Desk(Arc<Inner>);

struct Inner {
    registry: Registry,
    state: SharedState,
    clock: Arc<dyn Clock>,
    stats: Stats,
    /// `None` before the replay is through and once the program ends.
    facts: Mutex<Option<SyncSender<Batch>>>,
}

/// Why a wish is not granted.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    /// The program is starting or ending, or has too much to do.
    #[error("the collector takes no wishes now")]
    Closed,
    /// Too many in an hour.
    #[error(
        "this user's holds were changed {} times in an hour",
        limits::HOLD_CHANGES_PER_HOUR_MAX
    )]
    TooMany,
    /// It is not on the disk.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

// === impl Desk ===

impl Desk {
    /// Keeps wishes in `registry`; nothing is taken yet.
    #[must_use]
    pub fn new(
        registry: &Registry,
        state: &SharedState,
        clock: &Arc<dyn Clock>,
        stats: &Stats,
    ) -> Self {
        Self(Arc::new(Inner {
            registry: registry.clone(),
            state: state.clone(),
            clock: clock.clone(),
            stats: stats.clone(),
            facts: Mutex::new(None),
        }))
    }

    /// From now on wishes are taken, and go on to `facts`.
    pub fn open(&self, facts: SyncSender<Batch>) {
        *self.0.facts.lock() = Some(facts);
    }

    /// No more are taken.
    pub fn close(&self) {
        self.0.facts.lock().take();
    }

    /// Keeps `key` until then, or ends its hold. `asked_by` is written into the log of holds.
    ///
    /// # Errors
    /// It does not hold, or that is not known: to be asked again.
    pub async fn hold(
        &self,
        key: &ServerKey,
        until_ms: Option<i64>,
        asked_by: &str,
    ) -> Result<(), DeskError> {
        let inner = &self.0;
        if inner.facts.lock().is_none() {
            return Err(DeskError::Closed);
        }
        let at_ms = inner.clock.now_ms();
        let (registry, kept, by) = (inner.registry.clone(), key.clone(), asked_by.to_owned());
        let put = move || registry.put_hold(&kept, until_ms, &by, at_ms);
        let put = tokio::task::spawn_blocking(put).await;
        if !put.map_err(|_| DeskError::Closed)?? {
            return Err(DeskError::TooMany);
        }
        let key = key.clone();
        self.hand_on(Fact::Hold {
            at_ms,
            key: key.clone(),
            until_ms,
        })?;
        let late = Instant::now() + limits::HOLD_WITHIN;
        while inner.state.read().held_until_ms(&key) != until_ms {
            if Instant::now() >= late {
                return Err(DeskError::Closed);
            }
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// A mail server took the warning `episode` about `key`, or (`taken` is false) nobody knows an
    /// address: then nothing is waited for.
    ///
    /// # Errors
    /// It is not known here that it was.
    pub fn mailed(&self, key: &ServerKey, episode: &str, taken: bool) -> Result<(), DeskError> {
        self.hand_on(Fact::Mailed {
            at_ms: self.0.clock.now_ms(),
            key: key.clone(),
            episode: episode.into(),
            taken,
        })
    }

    fn hand_on(&self, fact: Fact) -> Result<(), DeskError> {
        let stats = &self.0.stats;
        let facts = self.0.facts.lock();
        let facts = facts.as_ref().ok_or(DeskError::Closed)?;
        let batch = Batch {
            row: None,
            origin: Origin::Live,
            facts: vec![fact],
        };
        stats.limit_more(Limit::FactQueue);
        facts.try_send(batch).map_err(|error| {
            stats.limit_less(Limit::FactQueue);
            if matches!(error, TrySendError::Full(_)) {
                stats.limit_dropped(Limit::FactQueue);
            }
            DeskError::Closed
        })
    }
}
