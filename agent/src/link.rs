//! The link to the collector: one stream after another, for as long as the agent lives.
//!
//! It never holds back sampling: samples go into the [`Outbox`], and whatever happens here
//! happens between ticks. It says what is wrong once per trouble, not once per attempt.

use std::{
    error::Error,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use hubmeter_proto::limits::INSTANCE_ID_BYTES;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tracing::{debug, info, warn};

use self::{
    backoff::Backoff,
    carrier::Choice,
    credential::Credential,
    session::{End, Ended, Live, Session, SessionError},
};
use crate::{
    board::{Board, LinkState},
    clock::Clock,
    settings::{CollectorUrl, CollectorUrls},
    stop::Stop,
};

pub use self::outbox::Outbox;

pub mod backoff;
#[cfg(test)]
mod bytes;
pub mod carrier;
mod company;
pub mod connect;
pub mod credential;
pub mod encode;
mod outbox;
mod people;
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
    /// Where to, the preferred first.
    pub urls: CollectorUrls,
    /// About when, on a fallback, the better addresses are tried again for the first time.
    pub look_again_first: Duration,
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
        let urls = self.urls.as_slice();
        let mut backoff = Backoff::new(fastrand::Rng::new());
        let mut choice = Choice::new(urls.len(), self.look_again_first, fastrand::Rng::new());
        let mut troubles = vec![String::new(); urls.len()];
        loop {
            self.board.set_link_state(LinkState::Connecting);
            let mut at = choice.next();
            let life = self.live(&mut at, &mut choice, &mut troubles, &mut stop);
            // A panic itself is in the log.
            let ended = unless_it_panics(life).await;
            let (lived, retry_after) = match ended {
                None => (Duration::ZERO, Duration::ZERO),
                Some(Ended {
                    outcome: Ok(End::Stopped),
                    ..
                }) => break,
                Some(Ended {
                    outcome: Ok(End::Superseded),
                    ..
                }) => {
                    info!(collector = %urls[at], "another agent reports for this server, this one stops");
                    break;
                }
                Some(Ended {
                    lived,
                    outcome:
                        Ok(End::Bye {
                            reason,
                            retry_after,
                        }),
                }) => {
                    info!(collector = %urls[at], ?reason, "the collector ended the stream");
                    choice.works(at);
                    (lived, retry_after)
                }
                Some(Ended {
                    lived,
                    outcome: Err(error),
                }) => {
                    self.tell_once(&urls[at], &error, &mut troubles[at]);
                    if lived == Duration::ZERO && choice.fails(at, Instant::now()) {
                        continue;
                    }
                    (lived, Duration::ZERO)
                }
            };
            self.board.set_link_state(LinkState::Connecting);
            let wait = backoff.wait_after(lived, retry_after);
            debug!(?wait, "coming back");
            if !wait_unless_stopped(Instant::now() + wait, &mut stop).await {
                break;
            }
        }
        self.board.set_link_state(LinkState::Off);
    }

    /// Streams over the address `at`, and over a better one as soon as that works again: the new
    /// stream is there before the old one goes, and resends what has no receipt. `at` is then the
    /// one that carried it last.
    async fn live(
        &self,
        at: &mut usize,
        choice: &mut Choice,
        troubles: &mut [String],
        stop: &mut Stop,
    ) -> Ended {
        let begun = Session::new(self, &self.urls.as_slice()[*at]).begin(stop);
        let mut live = match begun.await {
            Ok(live) => live,
            Err(ended) => return ended,
        };
        loop {
            choice.works(*at);
            troubles[*at].clear();
            let mut looking = stop.clone();
            let better = {
                let streaming = std::pin::pin!(live.run(stop));
                self.better_than(*at, choice, troubles, &mut looking, streaming)
                    .await
            };
            match better {
                Err(ended) => return ended,
                Ok((better_at, better)) => {
                    *at = better_at;
                    live = better;
                }
            }
        }
    }

    /// A stream over an address before `at`, tried now and then while `streaming` lives; its end
    /// when it ends first.
    async fn better_than<'a>(
        &'a self,
        at: usize,
        choice: &mut Choice,
        troubles: &mut [String],
        stop: &mut Stop,
        mut streaming: Pin<&mut impl Future<Output = Ended>>,
    ) -> Result<(usize, Live<'a>), Ended> {
        let better = &self.urls.as_slice()[..at];
        if better.is_empty() {
            return Err(streaming.await);
        }
        let mut greeted = false;
        loop {
            let look_at = Instant::now() + choice.look_again_after();
            tokio::select! {
                ended = &mut streaming => return Err(not_by_us(ended, greeted)),
                () = sleep_until(look_at) => {}
            }
            for (place, url) in better.iter().enumerate() {
                let mut attempt = std::pin::pin!(Session::new(self, url).begin(stop));
                let outcome = tokio::select! {
                    outcome = &mut attempt => outcome,
                    // Our own Hello may be what ended it: then what comes of that goes on.
                    ended = &mut streaming => {
                        if matches!(ended.outcome, Ok(End::Stopped)) {
                            return Err(ended);
                        }
                        return attempt
                            .await
                            .map(|live| (place, live))
                            .map_err(|_| not_by_us(ended, true));
                    }
                };
                match outcome {
                    Ok(live) => {
                        info!(collector = %url, "a better way to the collector works again");
                        return Ok((place, live));
                    }
                    Err(Ended {
                        outcome: Err(error),
                        ..
                    }) => {
                        greeted |= error.is_after_hello();
                        self.tell_once(url, &error, &mut troubles[place]);
                    }
                    Err(_) => greeted = true,
                }
            }
        }
    }

    fn tell_once(&self, url: &CollectorUrl, error: &SessionError, last_trouble: &mut String) {
        let trouble = with_causes(error);
        if trouble == *last_trouble {
            debug!(collector = %url, trouble, "still no stream");
        } else {
            warn!(collector = %url, "{trouble}; reports are kept and sent later");
            self.board.passed_over(url, &trouble);
            *last_trouble = trouble;
        }
    }
}

/// A stream that ended because a Hello of our own took its place has not been taken over by
/// another agent.
fn not_by_us(ended: Ended, greeted: bool) -> Ended {
    match ended.outcome {
        Ok(End::Superseded) if greeted => Ended {
            lived: ended.lived,
            outcome: Err(SessionError::Broken(
                "another stream of ours took its place and failed".to_owned(),
            )),
        },
        outcome => Ended { outcome, ..ended },
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
        () = sleep_until(until) => true,
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
