//! The parts put together: the beat, the link and the local socket, started and stopped as one.

use std::{sync::Arc, time::Duration};

use hubmeter_proto::limits::{DRAIN_TIMEOUT, INSTANCE_ID_BYTES};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};
use tracing::{error, warn};

use super::observer::Observer;
use crate::{
    board::{Board, LinkStatus},
    clock::{Clock, SystemClock},
    link::{Identity, Link, Outbox, carrier::LOOK_AGAIN_FIRST},
    local::{
        Local, TOLD_WAITING_MAX,
        place::{Place, PlaceError},
    },
    sampler::Target,
    settings::{CollectorUrls, Settings},
    stop::Stopper,
};

/// Time beyond the link's own drain in which everything must have ended.
const STOP_GRACE: Duration = Duration::from_millis(500);

/// A running agent.
#[derive(Debug)]
pub struct Agent {
    stopper: Stopper,
    observer: JoinHandle<()>,
    link: Option<JoinHandle<()>>,
    local: Option<JoinHandle<()>>,
}

// === impl Agent ===

impl Agent {
    /// Starts all parts inside the runtime. A part that cannot work says so in the log; the
    /// others go on.
    #[must_use]
    pub fn start(settings: &Settings, target: Target, place: Result<Place, PlaceError>) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let stopper = Stopper::default();
        let pace = watch::Sender::new(None);
        let (told, told_by_extension) = mpsc::channel(TOLD_WAITING_MAX);
        let board = Arc::new(Board::new(LinkStatus {
            collector: settings.collector.as_ref().map(CollectorUrls::to_string),
            api_url: settings.api_url.clone(),
            ..LinkStatus::default()
        }));
        let outbox = settings.collector.is_some().then(Arc::<Outbox>::default);

        let local = match place {
            Ok(place) => {
                let local = Local::start(place);
                Some(tokio::spawn(local.serve(Arc::clone(&board), told)))
            }
            Err(error) => {
                error!("no local socket, so no meter: {error}");
                None
            }
        };
        let observer = Observer {
            target,
            pss_share: settings.pss_share,
            clock: Arc::clone(&clock),
            board: Arc::clone(&board),
            outbox: outbox.clone(),
            interval: settings.interval,
            pace: pace.subscribe(),
            told: told_by_extension,
            stop: stopper.heard_by(),
        };
        let link = settings
            .collector
            .clone()
            .zip(outbox)
            .and_then(|(urls, outbox)| {
                let link = Link {
                    urls,
                    look_again_first: LOOK_AGAIN_FIRST,
                    ca_file: settings.ca_file.clone(),
                    credential: settings.credential.clone(),
                    identity: identity(settings)?,
                    outbox,
                    board,
                    pace,
                    clock,
                };
                Some(tokio::spawn(link.run(stopper.heard_by())))
            });
        Self {
            observer: tokio::spawn(observer.run()),
            stopper,
            link,
            local,
        }
    }

    /// Waits until the server's root process is found gone.
    pub async fn root_gone(&mut self) {
        if let Err(error) = (&mut self.observer).await {
            warn!(%error, "sampling broke");
            std::future::pending::<()>().await;
        }
    }

    /// Ends everything: waits for the last receipts, within bounds, and takes the socket away.
    pub async fn stop(self) {
        self.stopper.stop();
        if let Some(link) = self.link {
            let aborts = link.abort_handle();
            if timeout(DRAIN_TIMEOUT + STOP_GRACE, link).await.is_err() {
                aborts.abort();
            }
        }
        if let Some(local) = self.local {
            local.abort();
            let _ = local.await;
        }
        self.observer.abort();
    }
}

fn identity(settings: &Settings) -> Option<Identity> {
    let mut instance_id = [0; INSTANCE_ID_BYTES];
    if let Err(error) = getrandom::fill(&mut instance_id) {
        error!(%error, "no random numbers, so nothing is streamed");
        return None;
    }
    let host = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    Some(Identity {
        instance_id,
        host,
        server_name: settings.name.clone(),
        interval: settings.interval,
    })
}
