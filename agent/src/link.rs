//! The link to the collector: one stream after another, for as long as the agent lives.
//!
//! It never holds back sampling: samples go into the [`Outbox`], and whatever happens here
//! happens between ticks. It says what is wrong once per trouble, not once per attempt.

use std::{
    error::Error,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use hubmeter_proto::limits::INSTANCE_ID_BYTES;
use tokio::{sync::watch, time::Instant};
use tracing::{debug, info, warn};

use self::{
    backoff::Backoff,
    credential::Credential,
    session::{End, Session, SessionError},
};
use crate::{
    board::{Board, LinkState},
    clock::Clock,
    settings::CollectorUrl,
    stop::Stop,
};

pub use self::outbox::Outbox;

pub mod backoff;
#[cfg(test)]
mod bytes;
pub mod connect;
pub mod credential;
pub mod encode;
mod outbox;
mod renewed;
mod seldom;
pub mod session;
mod trust;
mod websocket;

/// Who we say we are. Only the token is believed.
#[derive(Clone, Debug)]
pub struct Identity {
    /// This life of the agent.
    pub instance_id: [u8; INSTANCE_ID_BYTES],
    /// Name of the machine or container.
    pub host: String,
    /// Name of the server, for a collector without a hub.
    pub server_name: String,
    /// Base interval.
    pub interval: Duration,
}

/// Everything a stream needs.
pub struct Link {
    /// Where to.
    pub url: CollectorUrl,
    /// Certificates that vouch for the collector.
    pub ca_file: Option<PathBuf>,
    /// Proof of who we are.
    pub credential: Credential,
    /// Who we say we are.
    pub identity: Identity,
    /// What is to be sent.
    pub outbox: Arc<Outbox>,
    /// Where notices and the link's state are shown.
    pub board: Arc<Board>,
    /// The interval the collector wants; `None` leaves it to us.
    pub pace: watch::Sender<Option<Duration>>,
    /// The agent's clocks.
    pub clock: Arc<dyn Clock>,
}

// === impl Link ===

impl Link {
    /// Streams until it is to stop, another agent takes over, or there is nothing more to
    /// hope for.
    pub async fn run(self, mut stop: Stop) {
        let mut backoff = Backoff::new(fastrand::Rng::new());
        let mut last_trouble = String::new();
        loop {
            self.board.set_link_state(LinkState::Connecting);
            let session = Session::new(&self);
            let Some(ended) = unless_it_panics(session.run(&mut stop)).await else {
                // The panic itself is in the log.
                let wait = backoff.wait_after(Duration::ZERO, Duration::ZERO);
                if !wait_unless_stopped(Instant::now() + wait, &mut stop).await {
                    break;
                }
                continue;
            };
            let retry_after = match ended.outcome {
                Ok(End::Stopped) => break,
                Ok(End::Superseded) => {
                    info!(collector = %self.url, "another agent reports for this server, this one stops");
                    break;
                }
                Ok(End::Bye {
                    reason,
                    retry_after,
                }) => {
                    info!(collector = %self.url, ?reason, "the collector ended the stream");
                    retry_after
                }
                Err(error) => {
                    self.tell_once(&error, &mut last_trouble);
                    Duration::ZERO
                }
            };
            if ended.lived > Duration::ZERO {
                last_trouble.clear();
            }
            self.board.set_link_state(LinkState::Connecting);
            let wait = backoff.wait_after(ended.lived, retry_after);
            debug!(?wait, "coming back");
            if !wait_unless_stopped(Instant::now() + wait, &mut stop).await {
                break;
            }
        }
        self.board.set_link_state(LinkState::Off);
    }

    fn tell_once(&self, error: &SessionError, last_trouble: &mut String) {
        let trouble = with_causes(error);
        if trouble == *last_trouble {
            debug!(collector = %self.url, trouble, "still no stream");
        } else {
            warn!(collector = %self.url, "{trouble}; reports are kept and sent later");
            *last_trouble = trouble;
        }
    }
}

/// What `future` comes to; `None` when it panics, as libraries do where no thread is to be had: a
/// user at the limit of processes shall be seen again when there are fewer.
async fn unless_it_panics<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(
        |cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(poll) => poll.map(Some),
            Err(_) => std::task::Poll::Ready(None),
        },
    )
    .await
}

/// True when `until` came first.
async fn wait_unless_stopped(until: Instant, stop: &mut Stop) -> bool {
    tokio::select! {
        () = tokio::time::sleep_until(until) => true,
        () = stop.asked() => false,
    }
}

/// An error with everything that caused it, on one line.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_on_the_way_is_no_end() {
        let panics = async {
            tokio::task::yield_now().await;
            assert_eq!(1, 2, "for the test");
        };
        assert_eq!(unless_it_panics(panics).await, None);
        assert_eq!(unless_it_panics(async { 3 }).await, Some(3));
    }
}
