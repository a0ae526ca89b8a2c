//! From an accepted socket to a connection that may speak: a place, and TLS or not.
//!
//! One port speaks both. A TLS handshake begins with a byte that HTTP/2's preface does not have, so
//! the first byte decides. Plaintext is let in from this machine only, unless the settings say that
//! the network itself is trusted. Nothing here happens in the accept loop, and nothing of it waits
//! longer than its deadline.

use std::{io, net::SocketAddr, pin::Pin, sync::Arc, task::Poll};

use nix::errno::Errno;
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::timeout,
};
use tokio_rustls::{LazyConfigAcceptor, TlsAcceptor};
use tokio_stream::{Stream, wrappers::ReceiverStream};

use super::{
    connection::{Caller, Connection, Io},
    refusals::{Refusals, Who},
};
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
    pub(super) refusals: Refusals,
    stats: Stats,
}

/// One of the bounded places.
pub(super) struct Place {
    /// Given back before the gauge is read.
    permit: Option<OwnedSemaphorePermit>,
    pub(super) door: Door,
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
        refusals: Refusals,
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
            refusals,
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
                        let Some(place) = self.take(&caller) else {
                            continue;
                        };
                        let (door, let_in) = (self.clone(), let_in.clone());
                        tokio::spawn(async move {
                            if let Some(io) = door.greet(io, &caller).await {
                                let connection = Connection::new(io, caller, place);
                                // Closed: the collector ends, and the connection with it.
                                let _ = let_in.send(Ok(connection)).await;
                            }
                        });
                    }
                    Err(e) if is_for_want_of_room(&e) => {
                        // The kernel would say so again at once.
                        self.stats.limit_dropped(Limit::Connections);
                        self.refusals.refuse(
                            Who::Unknown,
                            Reject::OpenFiles,
                            format_args!("cannot accept agents: {e}"),
                        );
                        tokio::time::sleep(limits::ACCEPT_PAUSE).await;
                    }
                    // Gone before it was accepted: its own affair.
                    Err(e) => self.refusals.refuse(Who::Unknown, Reject::Handshake, e),
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
                let (reject, why) = match refused {
                    Refused::Handshake => (Reject::Handshake, "no handshake, or not in time"),
                    Refused::Plaintext => (Reject::Plaintext, "in the clear from another machine"),
                };
                self.refusals.refuse(caller.who(), reject, why);
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
            return self.shake(tls, stream).await.ok_or(Refused::Handshake);
        }
        let local = caller.ip().to_canonical().is_loopback();
        if local || self.allow_plaintext {
            return Ok(Io::Tcp(stream));
        }
        Err(Refused::Plaintext)
    }

    /// TLS. What is computed is computed by few at once, since more would only make all of them
    /// slower; who lets us wait for bytes keeps nobody from it.
    async fn shake(&self, tls: &TlsAcceptor, stream: TcpStream) -> Option<Io> {
        let hello = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream);
        let hello = timeout(limits::HANDSHAKE_TIMEOUT, hello).await.ok()?.ok()?;
        let mut accept = hello.into_stream(Arc::clone(tls.config()));
        {
            let _permit = self.handshakes.acquire().await;
            self.show_handshakes();
            // The first step has the key exchange and the signature, all that is dear.
            let first = std::future::poll_fn(|cx| {
                Poll::Ready(match Pin::new(&mut accept).poll(cx) {
                    Poll::Ready(done) => Some(done),
                    Poll::Pending => None,
                })
            });
            if let Some(done) = first.await {
                return done.ok().map(|stream| Io::Tls(Box::new(stream)));
            }
        }
        self.show_handshakes();
        let shaken = timeout(limits::HANDSHAKE_TIMEOUT, accept).await.ok()?;
        Some(Io::Tls(Box::new(shaken.ok()?)))
    }

    fn take(&self, caller: &Caller) -> Option<Place> {
        let Ok(permit) = Arc::clone(&self.places).try_acquire_owned() else {
            self.refusals
                .refuse(caller.who(), Reject::Connections, "every place is taken");
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

/// Whether the system had nothing left to make a socket of.
fn is_for_want_of_room(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(
        errno,
        Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM)
    )
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
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;
    use crate::clock::SystemClock;

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
        let (clock, stats) = (Arc::new(SystemClock), Stats::new());
        let refusals = Refusals::new(clock, stats.clone());
        Door::new(None, allow_plaintext, 1, refusals, stats)
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

    /// A door that shows a certificate of the tests.
    fn tls_door() -> Door {
        let file = |name| format!("{}/tests/link/tls/{name}", env!("CARGO_MANIFEST_DIR"));
        let certificates = CertificateDer::pem_file_iter(file("cert.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(file("key.pem")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(certificates.map(Result::unwrap).collect(), key)
            .unwrap();
        let mut door = door(false);
        door.tls = Some(TlsAcceptor::from(Arc::new(config)));
        door
    }

    /// What a client says first.
    fn client_hello() -> Vec<u8> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let name = "localhost".try_into().unwrap();
        let mut client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        bytes
    }

    #[tokio::test]
    async fn who_is_waited_for_in_a_handshake_holds_up_nobody_elses() {
        let door = tls_door();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut stalled = Vec::new();
        for _ in 0..=limits::HANDSHAKES_MAX {
            let mut client = TcpStream::connect(listener.local_addr().unwrap())
                .await
                .unwrap();
            let (stream, caller) = listener.accept().await.unwrap();
            let door = door.clone();
            tokio::spawn(async move { door.greet_tcp(stream, caller).await.is_ok() });
            client.write_all(&client_hello()).await.unwrap();
            stalled.push(client);
        }
        // All have their answer, the one beyond the bound, too, and none says more.
        for client in &mut stalled {
            assert!(client.read_u8().await.is_ok());
        }
        assert_eq!(door.handshakes.available_permits(), limits::HANDSHAKES_MAX);
    }

    #[tokio::test]
    async fn beyond_the_places_nobody_is_taken_and_it_is_counted() {
        let door = door(false);
        let caller = Caller::Unix(None);
        let places: Vec<_> = std::iter::from_fn(|| door.take(&caller)).collect();
        assert_eq!(places.len(), 1 + limits::CONNECTIONS_SPARE);
        drop(places);
        assert!(door.take(&caller).is_some());
    }
}
