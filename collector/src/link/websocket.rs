//! The link over a WebSocket: for agents that reach nothing but the hub's HTTP proxy.
//!
//! One message of the link is one binary frame; order, bounds, identity, receipts and Bye are the
//! same as over gRPC, by the same code. Browsers cannot open one: they send no `Authorization`.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use bytes::Bytes;
use futures_util::{
    SinkExt as _, StreamExt as _,
    stream::{SplitSink, SplitStream},
};
use hubmeter_proto::limits as wire;
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval_at, timeout},
};
use tokio_stream::Stream;
use tonic::Status;

use super::{
    admit::{self, Notice, Outgoing},
    doorman::{Admitted, Doorman},
    identify::Denied,
    refusals::{Refusals, Who},
    session::Sessions,
};
use crate::{fact::ServerKey, limits, peer::Peer};

/// Takes agents that come by WebSocket. Clones share everything.
#[derive(Clone)]
pub struct Carrier {
    doorman: Doorman,
    sessions: Sessions,
    open: Arc<AtomicBool>,
}

/// Why an agent is not let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The collector does not know yet how far each agent is.
    #[error("the collector is starting")]
    Starting,
    /// The caller does not pass.
    #[error(transparent)]
    Denied(#[from] Denied),
}

// === impl Carrier ===

impl Carrier {
    /// Closed until [`Carrier::open`].
    #[must_use]
    pub fn new(doorman: Doorman, sessions: Sessions) -> Self {
        Self {
            doorman,
            sessions,
            open: Arc::default(),
        }
    }

    /// Where refusals are counted and told.
    pub(crate) fn refusals(&self) -> &Refusals {
        self.sessions.refusals()
    }

    /// From now on agents are taken.
    pub fn open(&self) {
        self.open.store(true, Ordering::Release);
    }

    /// Somebody looks at these servers: whatever carries their agents' streams, nothing is held back.
    pub fn watch(&self, keys: impl Iterator<Item = ServerKey>) {
        self.sessions.watch(keys);
    }

    /// Sends a notice to the person at `key`'s server, by whatever carries its agent's stream. False
    /// when there is none.
    #[must_use]
    pub fn notify(&self, key: &ServerKey, notice: Notice) -> bool {
        self.sessions.notify(key, notice)
    }

    /// Asks who calls, before anything is upgraded.
    ///
    /// # Errors
    /// They are not let in now, or not at all.
    pub async fn admit(
        &self,
        who: Who,
        authorization: Option<&[u8]>,
        peer: impl Future<Output = Option<Peer>>,
    ) -> Result<Admitted, Refused> {
        if !self.open.load(Ordering::Acquire) {
            return Err(Refused::Starting);
        }
        let admitted = self.doorman.admit(authorization, peer).await;
        Ok(admitted.inspect_err(|denied| self.refusals().refuse(who, denied.reason(), denied))?)
    }

    /// Lives the stream of somebody who was let in.
    #[must_use]
    pub fn carry(self, upgrade: WebSocketUpgrade, admitted: Admitted) -> axum::response::Response {
        upgrade
            .max_message_size(wire::MESSAGE_BYTES_MAX)
            .max_frame_size(wire::MESSAGE_BYTES_MAX)
            .read_buffer_size(limits::WEBSOCKET_BUFFER_BYTES)
            .write_buffer_size(0)
            .max_write_buffer_size(wire::MESSAGE_BYTES_MAX)
            .on_upgrade(move |socket| async move {
                let (down, answers) = mpsc::channel(limits::DOWN_QUEUE);
                let (sink, frames) = socket.split();
                let mut writing = Box::pin(write(sink, answers));
                let reading = self
                    .sessions
                    .run(admitted.owner.clone(), messages(frames), down);
                tokio::pin!(reading);
                tokio::select! {
                    () = &mut reading => {
                        // What was said last, Bye, gets time to leave.
                        let _ = timeout(limits::WEBSOCKET_CLOSE_TIMEOUT, writing).await;
                    }
                    // The socket takes nothing more. The answers' end tells the session.
                    () = &mut writing => {
                        drop(writing);
                        reading.await;
                    }
                }
                drop(admitted);
            })
    }
}

/// What the agent says, ended by its first frame that is neither a message nor WebSocket's own.
fn messages(
    frames: SplitStream<WebSocket>,
) -> impl Stream<Item = Result<Bytes, Status>> + Unpin + Send {
    let messages = frames.filter_map(|frame| {
        std::future::ready(match frame {
            // A copy of its own: a slice would keep the connection's buffer alive in the inbox.
            Ok(Message::Binary(bytes)) => Some(Ok(Bytes::copy_from_slice(&bytes))),
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_)) => None,
            Ok(Message::Text(_)) => Some(Err(Status::invalid_argument("text is not spoken"))),
            Err(error) => Some(Err(Status::unavailable(error.to_string()))),
        })
    });
    Box::pin(messages)
}

/// Writes until the session has nothing more to say; pings keep proxies from cutting what is
/// silent.
async fn write(
    mut sink: SplitSink<WebSocket, Message>,
    mut answers: mpsc::Receiver<Result<Outgoing, Status>>,
) {
    let every = limits::WEBSOCKET_PING_INTERVAL;
    let mut pings = interval_at(tokio::time::Instant::now() + every, every);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let frame = tokio::select! {
            answer = answers.recv() => match answer {
                Some(Ok(answer)) => Message::Binary(admit::write(answer).into()),
                Some(Err(_)) | None => break,
            },
            _ = pings.tick() => Message::Ping(Bytes::new()),
        };
        if sink.send(frame).await.is_err() {
            return;
        }
    }
    let _ = sink.close().await;
}
