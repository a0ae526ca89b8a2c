//! The hub's list of running servers, every minute and soon after a newcomer.

use std::sync::{
    Arc,
    mpsc::{SyncSender, TrySendError},
};

use tokio::time::{Instant, sleep};

use crate::{
    clock::Clock,
    fact::Fact,
    history::History,
    hub::client::HubClient,
    inbox::{Batch, Origin},
    limits,
    link::{identify::Identify, session::Sessions},
    stats::{Count, Limit, Stats},
};

/// Asks the hub, tells the pipeline and the doorman.
pub struct HubList {
    /// Whom to ask.
    pub hub: HubClient,
    /// Who checks tokens of servers that are not listed.
    pub identify: Identify,
    /// Who knows newcomers.
    pub sessions: Sessions,
    /// Who keeps when servers ran.
    pub history: History,
    /// Where the list goes.
    pub facts: SyncSender<Batch>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The collector's own figures.
    pub stats: Stats,
}

/// At most one part in this of the hub's time goes into our lists.
const HUB_SHARE: u32 = 10;

// === impl HubList ===

impl HubList {
    /// Asks for ever; to be dropped at the end.
    pub async fn run(self) {
        loop {
            let asked_at = Instant::now();
            self.ask().await;
            let took = asked_at.elapsed();
            // A list that takes long is not asked for more often than the hub can bear.
            let soon = limits::HUB_LIST_SOON.max(took * HUB_SHARE);
            tokio::select! {
                () = sleep(limits::HUB_LIST_INTERVAL) => {}
                // However many they are, one more list tells of all of them.
                () = self.sessions.newcomer() => sleep(soon).await,
            }
        }
    }

    async fn ask(&self) {
        let at_ms = self.clock.now_ms();
        self.stats.count(Count::HubQuestions);
        match self.hub.running_servers().await {
            Ok(servers) => {
                self.identify.note_hub(true);
                self.identify.listed(&servers);
                self.history.note_running(at_ms, &servers);
                let batch = Batch {
                    row: None,
                    origin: Origin::Live,
                    facts: vec![Fact::Hub { at_ms, servers }],
                };
                self.stats.limit_more(Limit::FactQueue);
                if let Err(error) = self.facts.try_send(batch) {
                    self.stats.limit_less(Limit::FactQueue);
                    if matches!(error, TrySendError::Full(_)) {
                        self.stats.limit_dropped(Limit::FactQueue);
                    }
                }
            }
            Err(e) => {
                self.identify.note_hub(false);
                tracing::warn!(error = %e, "the hub's list of servers is not to be had");
            }
        }
    }
}
