//! One agent's connection: what it runs over, who is at its other end, and the place it holds.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use super::door::Place;
use crate::peer::Peer;

/// What a connection is known by.
#[derive(Clone, Debug)]
pub(super) enum Caller {
    Tcp {
        caller: SocketAddr,
        here: SocketAddr,
    },
    Unix(Option<Peer>),
}

/// A connection that holds its place.
pub(super) struct Connection {
    pub(super) io: Io,
    pub(super) caller: Caller,
    pub(super) _place: Place,
}

/// What bytes pass over.
pub(super) enum Io {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// Large, and most connections are this: kept out of line so that the others stay small.
    Tls(Box<TlsStream<TcpStream>>),
}

// === impl Connection ===

impl Connected for Connection {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller.clone()
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
