//! The link over a WebSocket: where nothing but the hub's HTTP proxy can be reached.
//!
//! One message is one binary frame. The collector pings; whoever is not heard for three of its
//! pings is gone. As over gRPC, whoever waits for the next message sends and receives meanwhile.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf as _, Bytes, BytesMut};
use hubmeter_proto::v1;
use hyper::header::HeaderValue;
use prost::Message as _;
use tokio::{
    io::{AsyncRead as _, AsyncWrite as _, ReadBuf},
    sync::mpsc,
    time::{Instant, Sleep, sleep_until},
};

use self::frame::{Assembly, Frame};
use super::{
    company::Line,
    connect::{dial::Io, status::Status},
};

mod frame;
mod upgrade;

/// What TLS is asked for.
pub(super) const PROTOCOL: &[u8] = b"http/1.1";

/// Three of the collector's pings, which come every 20 s.
const SILENCE_MAX: Duration = Duration::from_secs(65);

/// Bytes read at once: receipts and notices are small.
const READ_BYTES: usize = 1024;

/// Messages that are there together are sent together up to so many bytes; what does not fit stays
/// in the spool, where it is kept anyway.
const UNSENT_BYTES: usize = 4 * 1024;

/// A connection, not upgraded yet.
pub(super) struct Connection {
    io: Io,
    line: Option<Arc<Line>>,
    authority: String,
    path: String,
}

/// What the collector says, and what is sent meanwhile.
pub(super) struct Down {
    io: Io,
    /// Where messages to send come from; `None` when nothing more is to be sent.
    up: Option<mpsc::Receiver<Bytes>>,
    outgoing: BytesMut,
    /// Whether what was written may wait in a buffer of TLS.
    unflushed: bool,
    incoming: BytesMut,
    assembly: Assembly,
    /// The other side has said its last, and our answer to that is on its way.
    closing: bool,
    line: Option<Arc<Line>>,
    /// Fires when nothing was heard for too long; put off whenever something is.
    silent: Pin<Box<Sleep>>,
}

// === impl Connection ===

impl Connection {
    /// On `io`, which is open; nothing is said yet.
    pub(super) fn over(io: Io, line: Option<Arc<Line>>, authority: &str, path: &str) -> Self {
        Self {
            io,
            line,
            authority: authority.to_owned(),
            path: path.to_owned(),
        }
    }

    /// Upgrades, and is ready to carry messages.
    pub(super) async fn stream(
        mut self,
        authorization: Option<HeaderValue>,
        up: mpsc::Receiver<Bytes>,
    ) -> Result<Down, Status> {
        let asked = upgrade::ask(
            &mut self.io,
            &self.authority,
            &self.path,
            authorization.as_ref(),
        );
        let incoming = asked.await?;
        Ok(Down {
            io: self.io,
            up: Some(up),
            outgoing: BytesMut::new(),
            unflushed: false,
            incoming,
            assembly: Assembly::default(),
            closing: false,
            line: self.line,
            silent: Box::pin(sleep_until(Instant::now() + SILENCE_MAX)),
        })
    }
}

// === impl Down ===

impl Down {
    /// The next message; `None` at the end. Dropped halfway, nothing is lost.
    pub(super) async fn message(&mut self) -> Result<Option<v1::Down>, Status> {
        poll_fn(|context| self.poll_message(context)).await
    }

    fn poll_message(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<v1::Down>, Status>> {
        loop {
            let sent = self.poll_send(context).map_err(|error| broken(&error))?;
            if self.closing {
                // The answer to its Close is out, or will never be.
                return sent.map(|()| Ok(None));
            }
            match self.assembly.next(&mut self.incoming) {
                Ok(Some(Frame::Message(bytes))) => {
                    let message = v1::Down::decode(bytes);
                    let message = message.map_err(|error| Status::internal(error.to_string()))?;
                    return Poll::Ready(Ok(Some(message)));
                }
                Ok(Some(Frame::Ping(payload))) => {
                    let mask = mask().map_err(|error| broken(&error))?;
                    frame::put_pong(&mut self.outgoing, &payload, mask);
                    continue;
                }
                Ok(Some(Frame::Close)) => {
                    self.closing = true;
                    self.up = None;
                    let mask = mask().map_err(|error| broken(&error))?;
                    frame::put_close(&mut self.outgoing, mask);
                    continue;
                }
                Ok(Some(Frame::Other)) => continue,
                Ok(None) => {}
                Err(error) => return Poll::Ready(Err(Status::unavailable(error.to_string()))),
            }
            if let Some(line) = self.line.as_ref().filter(|_| self.silent.is_elapsed()) {
                // What is missed may lie there, unread.
                line.look();
            }
            match self.poll_read(context).map_err(|error| broken(&error))? {
                Poll::Ready(0) => return Poll::Ready(Ok(None)),
                // Not `reset`, which leaves the runtime's wheel to wake us at the old time, too.
                Poll::Ready(_) => self.silent.set(sleep_until(Instant::now() + SILENCE_MAX)),
                Poll::Pending => {
                    ready!(self.silent.as_mut().poll(context));
                    let silent = Status::unavailable("nothing was heard for a minute");
                    return Poll::Ready(Err(silent));
                }
            }
        }
    }

    /// Ready when nothing is left to send, for now.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            while self.outgoing.len() < UNSENT_BYTES
                && let Some(up) = &mut self.up
                && let Poll::Ready(next) = up.poll_recv(context)
            {
                match next {
                    Some(message) => frame::put_message(&mut self.outgoing, &message, mask()?),
                    // What the other side has to say still comes.
                    None => self.up = None,
                }
            }
            if self.outgoing.is_empty() {
                break;
            }
            let written = Pin::new(&mut self.io).poll_write(context, &self.outgoing);
            let bytes = ready!(written)?;
            if bytes == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.outgoing.advance(bytes);
            self.unflushed = true;
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.io).poll_flush(context))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads what is there; 0 is the end.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut bytes = [0; READ_BYTES];
        let mut buffer = ReadBuf::new(&mut bytes);
        ready!(Pin::new(&mut self.io).poll_read(context, &mut buffer))?;
        self.incoming.extend_from_slice(buffer.filled());
        Poll::Ready(Ok(buffer.filled().len()))
    }
}

/// A new one for each frame, as the standard asks for: what proxies see must not be foreseen.
fn mask() -> io::Result<[u8; 4]> {
    let mut mask = [0; 4];
    getrandom::fill(&mut mask).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(mask)
}

fn broken(error: &io::Error) -> Status {
    Status::unavailable(error.to_string())
}
