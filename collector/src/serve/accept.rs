//! Connections in: TCP or Unix socket, each with deadlines, all within one bound.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body, http::Request};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
};
use tower::{Service, ServiceExt};

use crate::{
    limits,
    link::refusals::{Refusals, Who},
    peer::Peer,
    stats::{Limit, Reject, Stats},
    text::Label,
};

/// What is under way when we are told to stop gets this long.
const DRAIN_WITHIN: Duration = Duration::from_secs(5);

/// Where requests come in.
#[derive(Debug)]
pub enum Listener {
    /// `host:port`
    Tcp(TcpListener),
    /// `unix:/path`
    Unix(UnixListener),
}

/// The two ends of a local connection, for telling whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// Over TCP.
    Tcp {
        /// Our end.
        local: SocketAddr,
        /// The caller's end.
        remote: SocketAddr,
    },
    /// Over a Unix socket: the system says who.
    Unix {
        /// The caller.
        uid: u32,
    },
}

/// A local caller, as handlers see it.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) peer: Peer,
    pub(super) user: Label,
    /// No browser comes this way.
    pub(super) by_unix_socket: bool,
}

/// Tells whose a local connection is; `None` refuses it. May read `/proc`.
pub type Identify = Arc<dyn Fn(Ends) -> Option<Peer> + Send + Sync>;

/// The kernel's word on whose a connection is.
#[must_use]
pub fn by_kernel() -> Identify {
    Arc::new(|ends| match ends {
        Ends::Unix { uid } => Some(Peer { uid }),
        Ends::Tcp { local, remote } => Peer::of_tcp(remote, local)
            .inspect_err(|error| tracing::debug!(%error, "a local caller is refused"))
            .ok(),
    })
}

/// One of the bounded places.
struct Place {
    _permit: OwnedSemaphorePermit,
    stats: Stats,
}

// === impl Place ===

impl Place {
    fn taken(permit: OwnedSemaphorePermit, stats: Stats) -> Self {
        stats.limit_more(Limit::HttpConnections);
        Self {
            _permit: permit,
            stats,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.stats.limit_less(Limit::HttpConnections);
    }
}

// === impl Listener ===

impl Listener {
    /// Serves `router` until `shutdown` says so.
    pub(crate) async fn serve(
        self,
        router: Router,
        identify: Option<Identify>,
        refusals: Refusals,
        mut shutdown: watch::Receiver<bool>,
    ) {
        let room = Arc::new(Semaphore::new(limits::HTTP_CONNECTIONS_MAX));
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            let permit = tokio::select! {
                permit = room.clone().acquire_owned() => permit,
                () = stopped(&mut shutdown) => break,
            };
            let accepted = tokio::select! {
                accepted = self.accept() => accepted,
                () = stopped(&mut shutdown) => break,
            };
            match accepted {
                Ok((stream, ends)) => {
                    // The semaphore is never closed.
                    let Ok(permit) = permit else { break };
                    let (router, identify) = (router.clone(), identify.clone());
                    let shutdown = shutdown.clone();
                    let place = Place::taken(permit, refusals.stats().clone());
                    connections.spawn(async move {
                        connection(stream, ends, router, identify, shutdown).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    refusals.refuse(
                        Who::Unknown,
                        Reject::OpenFiles,
                        format_args!("cannot accept a connection: {error}"),
                    );
                    tokio::time::sleep(limits::ACCEPT_PAUSE).await;
                }
            }
        }
        let drained = async { while connections.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(DRAIN_WITHIN, drained).await;
    }

    async fn accept(&self) -> io::Result<(Box<dyn Stream>, Ends)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, remote) = listener.accept().await?;
                let local = stream.local_addr()?;
                stream.set_nodelay(true)?; // events are small and must not wait for each other
                Ok((Box::new(stream), Ends::Tcp { local, remote }))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let uid = stream.peer_cred()?.uid();
                Ok((Box::new(stream), Ends::Unix { uid }))
            }
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Returns once `shutdown` says so, or can no longer.
pub(crate) async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    let _ = shutdown.wait_for(|stop| *stop).await;
}

async fn connection(
    stream: Box<dyn Stream>,
    ends: Ends,
    router: Router,
    identify: Option<Identify>,
    mut shutdown: watch::Receiver<bool>,
) {
    let peer = match identify {
        Some(identify) => {
            let told = tokio::task::spawn_blocking(move || {
                let peer = identify(ends)?;
                Some(Caller {
                    peer,
                    user: peer.login(),
                    by_unix_socket: matches!(ends, Ends::Unix { .. }),
                })
            });
            told.await.ok().flatten()
        }
        None => None,
    };
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ends);
        if let Some(peer) = &peer {
            request.extensions_mut().insert(peer.clone());
        }
        answer(router.clone(), request.map(Body::new))
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::HTTP_HEADERS_WITHIN)
        .max_buf_size(limits::HTTP_HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        // Agents' WebSockets leave HTTP behind.
        .with_upgrades();
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = &mut serving => ended,
        () = stopped(&mut shutdown) => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

async fn answer(
    router: Router,
    request: Request<Body>,
) -> Result<axum::response::Response, Infallible> {
    let mut router = router;
    let ready = <Router as ServiceExt<Request<Body>>>::ready(&mut router).await?;
    ready.call(request).await
}
