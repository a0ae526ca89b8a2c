//! How many people were active, asked of the hub every hour.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use crate::{
    clock::Clock,
    hub::client::HubClient,
    limits,
    registry::Registry,
    report::hub_activity::{Activity, Newest},
    stats::{Count, Stats},
};

/// Asks the hub, tells the reports.
pub struct Census {
    /// Whom to ask.
    pub hub: HubClient,
    /// Where the count is kept.
    pub registry: Registry,
    /// And told.
    pub newest: Newest,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The collector's own figures.
    pub stats: Stats,
}

// === impl Census ===

impl Census {
    /// Asks for ever, once what is known is an interval old; to be dropped at the end.
    pub async fn run(self) {
        let now_ms = self.clock.now_ms();
        let known_ms = self.newest.get().map(|known| known.counted_ms);
        let age_ms = known_ms.and_then(|known_ms| u64::try_from(now_ms - known_ms).ok());
        if let Some(age_ms) = age_ms {
            // A restart asks nothing anew: the hub has enough to do.
            sleep(limits::CENSUS_INTERVAL.saturating_sub(Duration::from_millis(age_ms))).await;
        }
        loop {
            let pause = if self.ask().await {
                limits::CENSUS_INTERVAL
            } else {
                limits::CENSUS_AGAIN
            };
            sleep(pause).await;
        }
    }

    /// Whether the hub answered. What it said before stays, and tells how old it is.
    async fn ask(&self) -> bool {
        let at_ms = self.clock.now_ms();
        let counted = self
            .hub
            .last_activities(|| self.stats.count(Count::HubQuestions));
        let activity = match counted.await {
            Ok(last_ms) => Activity::count(at_ms, last_ms.into_iter()),
            Err(e) => {
                tracing::warn!(error = %e, "who was active is not to be had from the hub");
                return false;
            }
        };
        self.newest.put(activity);
        let (registry, labels) = (self.registry.clone(), self.newest.labels.clone());
        let kept = tokio::task::spawn_blocking(move || registry.put_activity(&activity, &labels));
        if let Ok(Err(e)) = kept.await {
            tracing::error!(error = %e, "how many were active is not written");
        }
        true
    }
}
