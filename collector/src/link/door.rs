//! From an accepted socket to a connection that may speak: a place, and TLS or not.
//!
//! One port speaks both. A TLS handshake begins with a byte that HTTP/2's preface does not have, so
//! the first byte decides. Plaintext is let in from this machine only, unless the settings say that
//! the network itself is trusted. Nothing here happens in the accept loop, and nothing of it waits
//! longer than its deadline.

use std::{io, net::SocketAddr, sync::Arc};

use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_stream::{Stream, wrappers::ReceiverStream};

use super::connection::{Caller, Connection, Io};
use crate::{
    limits,
    peer::Peer,
    socket::Socket,
    stats::{Limit, Reject, Stats},
};

/// The first byte of a TLS record that opens a handshake (RFC 8446, 5.1).
const TLS_HANDSHAKE: u8 = 0x16;

/// Who is let in, and how.
#[derive(Clone)]
pub struct Door {
    /// `None` speaks plaintext only.
    tls: Option<TlsAcceptor>,
    /// Plaintext from other machines, too.
    allow_plaintext: bool,
    places: Arc<Semaphore>,
    places_max: usize,
    handshakes: Arc<Semaphore>,
    stats: Stats,
}

/// One of the bounded places.
pub(super) struct Place {
    /// Given back before the gauge is read.
    permit: Option<OwnedSemaphorePermit>,
    door: Door,
}

/// Why somebody was not let in.
#[derive(Debug)]
enum Refused {
    /// No byte, no handshake, or not in time.
    Handshake,
    /// In the clear, from another machine.
    Plaintext,
}

// === impl Door ===

impl Door {
    /// Lets in as many as `streams_max` streams need. Without `tls` only plaintext is spoken, with
    /// `allow_plaintext` from other machines, too.
    #[must_use]
    pub fn new(
        tls: Option<TlsAcceptor>,
        allow_plaintext: bool,
        streams_max: usize,
        stats: Stats,
    ) -> Self {
        let places_max = streams_max + limits::CONNECTIONS_SPARE;
        stats.limit_set(Limit::Connections, places_max);
        stats.limit_set(Limit::Handshakes, limits::HANDSHAKES_MAX);
        Self {
            tls,
            allow_plaintext,
            places: Arc::new(Semaphore::new(places_max)),
            places_max,
            handshakes: Arc::new(Semaphore::new(limits::HANDSHAKES_MAX)),
            stats,
        }
    }

    /// Connections that may speak. One without a place is closed at once: its agent backs off,
    /// while one left in the kernel's queue would wait in vain.
    pub(super) fn open(self, socket: Socket) -> impl Stream<Item = io::Result<Connection>> {
        let (let_in, connections) = mpsc::channel(1);
        tokio::spawn(async move {
            loop {
                let accepted = tokio::select! {
                    accepted = accept(&socket) => accepted,
                    () = let_in.closed() => return,
                };
                match accepted {
                    Ok((io, caller)) => {
                        let Some(place) = self.take() else { continue };
                        let (door, let_in) = (self.clone(), let_in.clone());
                        tokio::spawn(async move {
                            if let Some(io) = door.greet(io, &caller).await {
                                let connection = Connection {
                                    io,
                                    caller,
                                    _place: place,
                                };
                                // Closed: the collector ends, and the connection with it.
                                let _ = let_in.send(Ok(connection)).await;
                            }
                        });
                    }
                    Err(e) => {
                        // Out of descriptors (EMFILE, ENFILE): the kernel would say so again at
                        // once.
                        tracing::warn!(error = %e, "cannot accept agents");
                        self.stats.limit_dropped(Limit::Connections);
                        tokio::time::sleep(limits::ACCEPT_PAUSE).await;
                    }
                }
            }
        });
        ReceiverStream::new(connections)
    }

    /// What the connection will speak over; `None` when it is not let in.
    async fn greet(&self, io: Io, caller: &Caller) -> Option<Io> {
        let greeted = match (io, caller) {
            (Io::Tcp(stream), Caller::Tcp { caller, .. }) => self.greet_tcp(stream, *caller).await,
            // A Unix socket's bytes leave no machine.
            (io, _) => Ok(io),
        };
        match greeted {
            Ok(io) => Some(io),
            Err(refused) => {
                self.stats.reject(match refused {
                    Refused::Handshake => Reject::Handshake,
                    Refused::Plaintext => Reject::Plaintext,
                });
                None
            }
        }
    }

    async fn greet_tcp(&self, stream: TcpStream, caller: SocketAddr) -> Result<Io, Refused> {
        let mut first = [0];
        let peeked = timeout(limits::HANDSHAKE_TIMEOUT, stream.peek(&mut first)).await;
        if !matches!(peeked, Ok(Ok(1))) {
            return Err(Refused::Handshake);
        }
        if first == [TLS_HANDSHAKE] {
            let Some(tls) = &self.tls else {
                return Err(Refused::Handshake);
            };
            // More at once would only make all of them slower.
            let _permit = self.handshakes.acquire().await;
            self.show_handshakes();
            let shaken = timeout(limits::HANDSHAKE_TIMEOUT, tls.accept(stream)).await;
            return match shaken {
                Ok(Ok(stream)) => Ok(Io::Tls(Box::new(stream))),
                Ok(Err(_)) | Err(_) => Err(Refused::Handshake),
            };
        }
        let local = caller.ip().to_canonical().is_loopback();
        if local || self.allow_plaintext {
            return Ok(Io::Tcp(stream));
        }
        Err(Refused::Plaintext)
    }

    fn take(&self) -> Option<Place> {
        let Ok(permit) = Arc::clone(&self.places).try_acquire_owned() else {
            self.stats.reject(Reject::Connections);
            self.stats.limit_dropped(Limit::Connections);
            return None;
        };
        self.show();
        Some(Place {
            permit: Some(permit),
            door: self.clone(),
        })
    }

    fn show(&self) {
        let taken = self.places_max - self.places.available_permits();
        self.stats.limit_now(Limit::Connections, taken);
    }

    fn show_handshakes(&self) {
        let taken = limits::HANDSHAKES_MAX - self.handshakes.available_permits();
        self.stats.limit_now(Limit::Handshakes, taken);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(self.permit.take());
        self.door.show();
    }
}

async fn accept(socket: &Socket) -> io::Result<(Io, Caller)> {
    match socket {
        Socket::Tcp(listener) => {
            let (stream, caller) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let here = stream.local_addr()?;
            Ok((Io::Tcp(stream), Caller::Tcp { caller, here }))
        }
        Socket::Unix(listener) => {
            let (stream, _) = listener.accept().await?;
            let peer = Peer::of_unix(&stream).ok();
            Ok((Io::Unix(stream), Caller::Unix(peer)))
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncWriteExt as _, net::TcpListener};

    use super::*;

    /// What the door says to somebody from `caller` whose first bytes are these.
    async fn greeted(door: &Door, caller: &str, first: &[u8]) -> Result<Io, Refused> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        client.write_all(first).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        drop(client);
        door.greet_tcp(stream, caller.parse().unwrap()).await
    }

    fn door(allow_plaintext: bool) -> Door {
        Door::new(None, allow_plaintext, 1, Stats::new())
    }

    #[tokio::test]
    async fn plaintext_is_let_in_from_this_machine_only() {
        let preface = b"PRI * HTTP/2.0";
        for here in [
            "127.0.0.1:9",
            "127.8.8.8:9",
            "[::1]:9",
            "[::ffff:127.0.0.1]:9",
        ] {
            assert!(greeted(&door(false), here, preface).await.is_ok(), "{here}");
        }
        for away in ["10.0.0.1:9", "[fe80::1]:9", "[::ffff:10.0.0.1]:9"] {
            let refused = greeted(&door(false), away, preface).await;
            assert!(matches!(refused, Err(Refused::Plaintext)), "{away}");
            assert!(greeted(&door(true), away, preface).await.is_ok(), "{away}");
        }
    }

    #[tokio::test]
    async fn who_says_nothing_or_half_a_handshake_is_not_let_in() {
        for first in [&b""[..], &[TLS_HANDSHAKE], &[TLS_HANDSHAKE, 3, 1, 0, 0]] {
            let refused = greeted(&door(true), "127.0.0.1:9", first).await;
            assert!(matches!(refused, Err(Refused::Handshake)), "{first:?}");
        }
    }

    #[tokio::test]
    async fn beyond_the_places_nobody_is_taken_and_it_is_counted() {
        let door = door(false);
        let places: Vec<_> = std::iter::from_fn(|| door.take()).collect();
        assert_eq!(places.len(), 1 + limits::CONNECTIONS_SPARE);
        drop(places);
        assert!(door.take().is_some());
    }
}
