//! The command `cull`: stops at the hub what the collector says may be stopped.
//!
//! ```text
//!  hub: who is there ─► collector: who may be stopped ─► judge (pure) ─► hub: stop, a few at once
//!  (whole, or nothing)  (whole, or everybody is spared)     ▲              │
//!                                                           └─ asked anew ─┘ before each that waited
//! ```
//!
//! What nobody knows is kept: a hub or a collector that does not answer, or not completely, stops
//! nothing. A collector that was silent for over an hour is no longer waited for; then the hub's
//! own idea of activity counts, as it does for jupyterhub-idle-culler.

use std::{sync::Arc, time::Duration};

use crate::{
    clock::{Clock, SystemClock},
    config::{self, Secret},
    hub::{HubError, client::HubClient, reach::Reach},
};

mod answer;
mod judge;
mod round;
mod shown;
#[cfg(test)]
mod tests;

use answer::Collector;
use judge::Wanted;
pub(crate) use shown::Form;

/// Orders to the hub under way at once when none is too many: the hub is one single-threaded
/// process.
const CONCURRENT_MAX: usize = 100;

/// What was asked for.
pub(crate) struct Settings {
    /// The hub's API.
    pub(crate) hub_url: String,
    /// The collector's address, without `/api/v1`.
    pub(crate) collector_url: String,
    /// Ours, for both.
    pub(crate) token: Secret,
    /// How the hub is reached.
    pub(crate) reach: Reach,
    /// Users per page of the hub's list.
    pub(crate) page_users: usize,
    /// Idle for so long; `None` leaves it to the collector's policy.
    pub(crate) timeout: Option<Duration>,
    /// Older than this, at work or not; `None` leaves it to the policy, zero never does.
    pub(crate) max_age: Option<Duration>,
    /// Orders at once; 0 for as many as the hub may ever get.
    pub(crate) concurrency: usize,
    /// Default servers are stopped.
    pub(crate) default_servers: bool,
    /// Named servers are stopped.
    pub(crate) named_servers: bool,
    /// Named servers are forgotten as well.
    pub(crate) remove_named_servers: bool,
    /// Inactive users are deleted.
    pub(crate) users: bool,
    /// Admins among them.
    pub(crate) admin_users: bool,
    /// Nothing is done, only said.
    pub(crate) dry_run: bool,
    /// From one round to the next; `None` ends after the first.
    pub(crate) every: Option<Duration>,
    /// How rounds are told.
    pub(crate) form: Form,
}

/// It could not begin, or what was to be done once could not be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CullError {
    #[error(transparent)]
    Hub(HubError),
    #[error("cannot ask the collector at {url}: {why}")]
    Collector { url: String, why: String },
    #[error("cannot {what}: {source}")]
    System {
        what: &'static str,
        source: std::io::Error,
    },
    #[error("{0}")]
    Round(String),
}

/// Judges and stops, round after round.
struct Culler {
    hub: HubClient,
    collector: Collector,
    settings: Settings,
    wanted: Wanted,
    clock: Arc<dyn Clock>,
    /// Since when the collector does not answer, by the clock since boot.
    silent_since_ms: parking_lot::Mutex<Option<i64>>,
}

// === impl Settings ===

impl Settings {
    /// Culls until told to stop, or once.
    pub(crate) fn run(self) -> Result<(), CullError> {
        let culler = Culler::new(self, Arc::new(SystemClock))?;
        let system = |what| move |source| CullError::System { what, source };
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(system("start"))?
            .block_on(async {
                let mut end = asked_to_end().map_err(system("listen for signals"))?;
                tokio::select! {
                    _ = end.0.recv() => Ok(()),
                    _ = end.1.recv() => Ok(()),
                    ended = culler.run() => ended,
                }
            })
    }
}

type Signals = (tokio::signal::unix::Signal, tokio::signal::unix::Signal);

/// SIGTERM and SIGINT: a round can be left at any point, since the hub carries out what it was told.
fn asked_to_end() -> std::io::Result<Signals> {
    use tokio::signal::unix::{SignalKind, signal};
    Ok((
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    ))
}

// === impl Culler ===

impl Culler {
    fn new(settings: Settings, clock: Arc<dyn Clock>) -> Result<Self, CullError> {
        let hub = config::Hub::api(settings.hub_url.clone(), settings.token.clone());
        let hub = HubClient::reached(hub, &settings.reach).map_err(CullError::Hub)?;
        let wanted = Wanted::of(&settings);
        let collector = Collector::new(&settings, &wanted).map_err(|why| CullError::Collector {
            url: settings.collector_url.clone(),
            why,
        })?;
        Ok(Self {
            hub,
            collector,
            settings,
            wanted,
            clock,
            silent_since_ms: parking_lot::Mutex::new(None),
        })
    }

    async fn run(&self) -> Result<(), CullError> {
        let Some(every) = self.settings.every else {
            let round = self.round().await;
            let failed = round.failed();
            shown::whole(&round, self.settings.form)?;
            return failed.map_or(Ok(()), |why| Err(CullError::Round(why)));
        };
        crate::run::start_log();
        let mut ticks = tokio::time::interval(every);
        // A hub that is slow is not asked more often for it.
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let round = self.round().await;
            shown::log(&round);
            if self.settings.dry_run || self.settings.form == Form::Json {
                shown::whole(&round, self.settings.form)?;
            }
        }
    }

    /// Orders to the hub at once.
    fn concurrency(&self) -> usize {
        match self.settings.concurrency {
            0 => CONCURRENT_MAX,
            some => some.min(CONCURRENT_MAX),
        }
    }
}
