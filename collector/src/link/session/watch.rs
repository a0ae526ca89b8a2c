//! Whether somebody looks at a server.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use tokio::sync::Notify;

use crate::limits;

/// Whether somebody looks. Clones share everything.
#[derive(Clone, Debug)]
pub(super) struct Watch(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    until_ms: AtomicI64,
    begun: Notify,
}

// === impl Watch ===

impl Watch {
    /// Begins as if somebody did.
    pub(super) fn new(now_ms: i64) -> Self {
        Self(Arc::new(Shared {
            until_ms: AtomicI64::new(until_ms(now_ms)),
            begun: Notify::new(),
        }))
    }

    /// Somebody does.
    pub(super) fn look(&self, now_ms: i64) {
        let before_ms = self
            .0
            .until_ms
            .fetch_max(until_ms(now_ms), Ordering::Relaxed);
        if before_ms <= now_ms {
            self.0.begun.notify_one();
        }
    }

    /// Returns when somebody begins to.
    pub(super) async fn begun(&self) {
        self.0.begun.notified().await;
    }

    /// For how long it counts; 0 when nobody looks.
    pub(super) fn left_ms(&self, now_ms: i64) -> u64 {
        let until_ms = self.0.until_ms.load(Ordering::Relaxed);
        u64::try_from(until_ms.saturating_sub(now_ms)).unwrap_or(0)
    }
}

fn until_ms(now_ms: i64) -> i64 {
    now_ms.saturating_add(i64::try_from(limits::WATCHED.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_begins_to_look_is_told_once_and_lasts() {
        let watch = Watch::new(0);
        assert_eq!(watch.left_ms(0), 30_000);
        watch.look(10_000);
        assert_eq!(watch.left_ms(10_000), 30_000);
        assert_eq!(watch.left_ms(40_000), 0);
        watch.look(50_000);
        watch.look(60_000);
        watch.begun().await;
        assert_eq!(watch.left_ms(60_000), 30_000);
        let again = tokio::time::timeout(std::time::Duration::ZERO, watch.begun());
        assert!(again.await.is_err());
    }
}
