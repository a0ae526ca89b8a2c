//! Follows how starts of servers end: by the hook in the hub, else by the hub's counters.
//!
//! Beside the state, since a server that never started is none: what is judged here is the hub.

use std::sync::{Arc, mpsc::SyncSender};

use parking_lot::Mutex;
use tokio::{sync::broadcast::error::RecvError, time::sleep};

use super::{Changes, tell::Tell};
use crate::{
    clock::Clock,
    fact::ServerKey,
    hub::{client::HubClient, spawns::Spawns},
    limits,
    state::Changed,
    stats::{Count, Stats},
    verdict::{
        Verdict,
        start_failures::{StartFailures, Witness},
    },
};

/// Failures that one look at the counters may bring; more change nothing.
const FAILURES_PER_LOOK_MAX: u64 = 100;

/// Knows what became of starts lately. Clones share it.
#[derive(Clone)]
pub struct Starts(Arc<Inner>);

struct Inner {
    failures: Mutex<StartFailures>,
    /// `None` once the program ends.
    teller: Mutex<Option<SyncSender<Tell>>>,
    changes: Changes,
    clock: Arc<dyn Clock>,
}

// === impl Starts ===

impl Starts {
    /// Nothing known yet; what is found goes to `teller` and `changes`.
    #[must_use]
    pub fn new(teller: SyncSender<Tell>, changes: Changes, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Inner {
            failures: Mutex::default(),
            teller: Mutex::new(Some(teller)),
            changes,
            clock,
        }))
    }

    /// A start of `key` worked, or not. Waits for room where verdicts are told.
    pub fn ended(&self, key: &ServerKey, worked: bool, witness: Witness) {
        let now_ms = self.0.clock.now_ms();
        let changed = {
            let mut failures = self.0.failures.lock();
            if worked {
                failures.succeeded(now_ms, witness)
            } else {
                failures.failed(now_ms, key, witness)
            }
        };
        self.tell(changed);
    }

    /// What is open, and after it what is over.
    #[must_use]
    pub fn verdicts(&self) -> Vec<Verdict> {
        self.0.failures.lock().verdicts().cloned().collect()
    }

    /// Tells nothing from now on, so that the teller can end.
    pub fn close(&self) {
        self.0.teller.lock().take();
    }

    /// Asks `hub` for its counters for ever; to be dropped at the end.
    pub async fn follow(self, hub: HubClient, stats: Stats) {
        let watching = self.clone();
        let forgetting = watching.forget_people();
        let counting = async {
            let mut before = None;
            loop {
                before = self.count(&hub, before, &stats).await;
                let starts = self.clone();
                // To tell may have to wait.
                let _ = tokio::task::spawn_blocking(move || starts.tick()).await;
                sleep(limits::HUB_LIST_INTERVAL).await;
            }
        };
        tokio::select! {
            () = counting => {}
            () = forgetting => {}
        }
    }

    fn tick(&self) {
        let now_ms = self.0.clock.now_ms();
        let changed = self.0.failures.lock().tick(now_ms);
        self.tell(changed);
    }

    async fn count(
        &self,
        hub: &HubClient,
        before: Option<Spawns>,
        stats: &Stats,
    ) -> Option<Spawns> {
        stats.count(Count::HubQuestions);
        match hub.spawns().await {
            Ok(Some(now)) => {
                let starts = self.clone();
                // To tell may have to wait.
                let taken = tokio::task::spawn_blocking(move || starts.compare(before, now));
                let _ = taken.await;
                Some(now)
            }
            Ok(None) => None,
            Err(error) => {
                stats.count(Count::HubFailures);
                let error = crate::causes::chain(&error);
                tracing::debug!(error, "how starts ended is not to be had");
                before
            }
        }
    }

    /// Within one look successes count as first: that is why it is approximate.
    fn compare(&self, before: Option<Spawns>, now: Spawns) {
        let Some(before) = before else { return };
        // A hub that began anew counts from 0.
        let since = |now: u64, before: u64| now.checked_sub(before).unwrap_or(now);
        let nobody = ServerKey::new("", "");
        if since(now.succeeded, before.succeeded) > 0 {
            self.ended(&nobody, true, Witness::Counters);
        }
        let failed = since(now.failed, before.failed).min(FAILURES_PER_LOOK_MAX);
        for _ in 0..failed {
            self.ended(&nobody, false, Witness::Counters);
        }
    }

    /// Names that are no longer to be told are in nothing that is remembered here.
    async fn forget_people(self) {
        let mut changes = self.0.changes.subscribe();
        loop {
            match changes.recv().await {
                Ok(changed) if changed.people => {
                    let starts = self.clone();
                    // To tell may have to wait.
                    let _ = tokio::task::spawn_blocking(move || starts.forget()).await;
                }
                // To miss some of what changes is no news about people: an open verdict stays.
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            }
        }
    }

    fn forget(&self) {
        let now_ms = self.0.clock.now_ms();
        let cleared = self.0.failures.lock().forget(now_ms);
        self.tell(cleared);
    }

    fn tell(&self, changed: Option<Verdict>) {
        let Some(verdict) = changed else { return };
        let teller = self.0.teller.lock().clone();
        if let Some(teller) = teller {
            // It ends after us, unless the program is ending anyway.
            let _ = teller.send(Tell::Changed(vec![verdict.clone()]));
        }
        // Nobody listens: fine.
        let _ = self.0.changes.send(Arc::new(Changed {
            verdicts: vec![verdict],
            ..Changed::default()
        }));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;
    use crate::{clock::ManualClock, verdict::number_of};

    #[test]
    fn counters_that_grow_are_starts_that_ended_and_a_hub_that_began_anew_is_none() {
        let (teller, told) = sync_channel(64);
        let clock = Arc::new(ManualClock::at(1_000));
        let starts = Starts::new(teller, tokio::sync::broadcast::channel(8).0, clock);
        let counted = |succeeded, failed| Spawns { succeeded, failed };
        starts.compare(None, counted(5, 5));
        assert!(told.try_recv().is_err(), "what was before nobody saw");
        starts.compare(Some(counted(5, 5)), counted(5, 7));
        let Ok(Tell::Changed(verdicts)) = told.try_recv() else {
            panic!("nothing is told");
        };
        assert_eq!(number_of(&verdicts[0], "failures"), Some(2.0));
        assert_eq!(&*verdicts[0].key.user, "");
        starts.compare(Some(counted(5, 7)), counted(1, 0));
        let Ok(Tell::Changed(verdicts)) = told.try_recv() else {
            panic!("its end is not told");
        };
        assert!(verdicts[0].cleared_ms.is_some());
        assert_eq!(starts.verdicts().len(), 1);
        starts.forget();
        assert_eq!(starts.verdicts().len(), 0);
        assert!(told.try_recv().is_err(), "nothing was open");
        starts.compare(Some(counted(1, 0)), counted(1, 2));
        assert!(told.try_recv().is_ok());
        starts.forget();
        let Ok(Tell::Changed(verdicts)) = told.try_recv() else {
            panic!("the end of what was open is not told");
        };
        assert!(verdicts[0].cleared_ms.is_some());
    }
}
