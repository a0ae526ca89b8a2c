//! How many people were active, of the hub's list of everybody.

use std::sync::Arc;

use crate::{
    clock::Clock,
    hub::everybody::Everybody,
    registry::Registry,
    report::hub_activity::{Activity, Newest},
};

/// Counts, and tells the reports.
pub struct Census {
    /// Where the count is kept.
    pub registry: Registry,
    /// And told.
    pub newest: Newest,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

// === impl Census ===

impl Census {
    /// Counts `everybody`, whom the hub was asked for at `at_ms`. What was counted before stays if
    /// the list does not tell, and says how old it is.
    pub(super) async fn take(&self, at_ms: i64, everybody: &Everybody) {
        let activity = match everybody.last_activities() {
            Ok(last_ms) => Activity::count(at_ms, last_ms),
            Err(e) => {
                tracing::warn!(error = %e, "who was active is not to be had from the hub");
                return;
            }
        };
        self.newest.put(activity);
        let (registry, labels) = (self.registry.clone(), self.newest.labels.clone());
        let kept = tokio::task::spawn_blocking(move || registry.put_activity(&activity, &labels));
        if let Ok(Err(e)) = kept.await {
            tracing::error!(error = %e, "how many were active is not written");
        }
    }
}
