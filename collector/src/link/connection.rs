//! One agent's connection: what it runs over, who is at its other end, and the place it holds.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
    time::{Sleep, sleep},
};
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use super::{door::Place, refusals::Who};
use crate::{limits, peer::Peer, stats::Reject};

/// What a connection is known by.
#[derive(Clone, Debug)]
pub(super) enum Caller {
    Tcp {
        caller: SocketAddr,
        here: SocketAddr,
    },
    Unix(Option<Peer>),
}

/// What a stream knows of its connection.
#[derive(Clone, Debug)]
pub(super) struct Guest {
    pub(super) caller: Caller,
    streams: Arc<AtomicUsize>,
}

/// A stream that lives on a connection.
pub(super) struct LiveStream(Arc<AtomicUsize>);

/// A connection that holds its place.
pub(super) struct Connection {
    io: Io,
    guest: Guest,
    /// Runs while no stream lives; costs nothing while one does.
    idle: Option<Pin<Box<Sleep>>>,
    place: Place,
}

/// What bytes pass over.
pub(super) enum Io {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// Large, and most connections are this: kept out of line so that the others stay small.
    Tls(Box<TlsStream<TcpStream>>),
}

// === impl Caller ===

impl Caller {
    /// By what it is refused.
    pub(super) fn who(&self) -> Who {
        match self {
            Self::Tcp { caller, .. } => Who::Address(caller.ip().to_canonical()),
            Self::Unix(Some(peer)) => Who::Uid(peer.uid),
            Self::Unix(None) => Who::Unknown,
        }
    }
}

// === impl Guest ===

impl Guest {
    /// A stream begins, and lives as long as what is given back.
    pub(super) fn begin(&self) -> LiveStream {
        self.streams.fetch_add(1, Ordering::Relaxed);
        LiveStream(Arc::clone(&self.streams))
    }
}

impl Drop for LiveStream {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

// === impl Connection ===

impl Connection {
    pub(super) fn new(io: Io, caller: Caller, place: Place) -> Self {
        Self {
            io,
            guest: Guest {
                caller,
                streams: Arc::default(),
            },
            idle: None,
            place,
        }
    }

    /// Fails a connection that had no stream for too long, from before its first byte of HTTP/2:
    /// pings answered are no reason to keep a place.
    fn expect_stream(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.guest.streams.load(Ordering::Relaxed) > 0 {
            self.idle = None;
            return Ok(());
        }
        let idle = self
            .idle
            .get_or_insert_with(|| Box::pin(sleep(limits::STREAM_WITHIN)));
        if idle.as_mut().poll(cx).is_pending() {
            return Ok(());
        }
        let refusals = &self.place.door.refusals;
        let who = self.guest.caller.who();
        refusals.refuse(who, Reject::NoStream, "a connection without a stream");
        Err(io::ErrorKind::TimedOut.into())
    }
}

impl Connected for Connection {
    type ConnectInfo = Guest;

    fn connect_info(&self) -> Guest {
        self.guest.clone()
    }
}

/// Calls the same method on whatever it is.
macro_rules! each {
    ($self:ident, $io:ident => $call:expr) => {
        match &mut $self.io {
            Io::Tcp($io) => $call,
            Io::Unix($io) => $call,
            Io::Tls($io) => $call,
        }
    };
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Err(error) = self.expect_stream(cx) {
            return Poll::Ready(Err(error));
        }
        each!(self, io => Pin::new(io).poll_read(cx, buf))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        each!(self, io => Pin::new(io).poll_write(cx, buf))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, io => Pin::new(io).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, io => Pin::new(io).poll_shutdown(cx))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, io => Pin::new(io).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}
