//! The agents' sockets: accepting, TLS, HTTP/2, and the one method of the service.
//!
//! The accept loop is ours: it has a bound, and it pauses when descriptors run out. Every setting
//! of HTTP/2 that bounds what a peer can make us hold is set by name. Messages pass as bytes;
//! `admit` gives them meaning.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Buf as _, BufMut as _, Bytes};
use hubmeter_proto::limits as wire;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
};
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{
    Request, Response, Status, Streaming,
    body::Body,
    codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    server::{Grpc, NamedService, StreamingService},
    transport::{
        Identity as Certificate, Server, ServerTlsConfig,
        server::{Connected, TlsConnectInfo},
    },
};

use super::{
    admit::{self, Outgoing},
    identify::{self, Denied, Identify},
    session::{Owner, Sessions},
};
use crate::{
    config::Tls,
    limits,
    peer::Peer,
    socket::Socket,
    stats::{Limit, Reject, Stats},
};

/// Why the link cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The certificate or its key is not to be had.
    #[error("cannot read {}: {source}", path.display())]
    Certificate {
        /// Which file.
        path: std::path::PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The server does not start or ended.
    #[error("the link's server failed: {0}")]
    Server(#[from] tonic::transport::Error),
}

/// How callers are told apart.
#[derive(Clone)]
pub enum Doorman {
    /// By their token.
    Hub(Identify),
    /// By their uid.
    Local,
}

/// What a connection is known by.
#[derive(Clone, Debug)]
enum Caller {
    Tcp {
        caller: SocketAddr,
        here: SocketAddr,
    },
    Unix(Option<Peer>),
}

/// A connection that holds its place.
struct Connection {
    io: Io,
    caller: Caller,
    _place: Place,
}

enum Io {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// One of the bounded places.
struct Place {
    /// Given back before the gauge is read.
    permit: Option<OwnedSemaphorePermit>,
    gauge: Gauge,
}

#[derive(Clone)]
struct Gauge {
    places: Arc<Semaphore>,
    max: usize,
    stats: Stats,
}

/// The service: one method.
#[derive(Clone)]
struct Service {
    doorman: Doorman,
    sessions: Sessions,
    stats: Stats,
}

/// Messages in as bytes, out as [`Outgoing`].
#[derive(Clone, Copy, Default)]
struct Raw;

const METHOD: &str = "/hubmeter.v1.Link/Stream";
/// What a stream's buffers hold at first: most messages are smaller.
const BUFFER_BYTES: usize = 1024;
/// What is encoded before the socket is given a chance.
const YIELD_BYTES: usize = 8 * 1024;

// === serving ===

/// Serves agents until `stop` resolves; then waits for connections to end.
///
/// # Errors
/// The certificate is unusable, or the server failed.
pub async fn serve(
    socket: Socket,
    tls: Option<&Tls>,
    doorman: Doorman,
    sessions: Sessions,
    streams_max: usize,
    stats: Stats,
    stop: impl Future<Output = ()>,
) -> Result<(), ListenError> {
    let mut server = Server::builder()
        .initial_stream_window_size(limits::WINDOW_BYTES)
        .initial_connection_window_size(limits::WINDOW_BYTES)
        .max_concurrent_streams(limits::STREAMS_PER_CONNECTION_MAX)
        .http2_max_header_list_size(limits::HEADER_LIST_BYTES_MAX)
        .http2_keepalive_interval(Some(limits::KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(limits::KEEPALIVE_TIMEOUT))
        .http2_adaptive_window(Some(false))
        .accept_http1(false);
    if let Some(tls) = tls {
        let identity = Certificate::from_pem(read(&tls.cert_file)?, read(&tls.key_file)?);
        let config = ServerTlsConfig::new()
            .identity(identity)
            .timeout(limits::HANDSHAKE_TIMEOUT);
        server = server.tls_config(config)?;
    }
    let max = streams_max + limits::CONNECTIONS_SPARE;
    stats.limit_set(Limit::Connections, max);
    let gauge = Gauge {
        places: Arc::new(Semaphore::new(max)),
        max,
        stats: stats.clone(),
    };
    let service = Service {
        doorman,
        sessions,
        stats,
    };
    server
        .add_service(service)
        .serve_with_incoming_shutdown(incoming(socket, gauge), stop)
        .await?;
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, ListenError> {
    std::fs::read(path).map_err(|source| ListenError::Certificate {
        path: path.to_owned(),
        source,
    })
}

/// Accepted connections, each with a place. One without a place is closed at once: its agent backs
/// off, while one left in the kernel's queue would wait in vain.
fn incoming(socket: Socket, gauge: Gauge) -> impl Stream<Item = io::Result<Connection>> {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        while !sender.is_closed() {
            let accepted = tokio::select! {
                accepted = accept(&socket) => accepted,
                () = sender.closed() => return,
            };
            match accepted {
                Ok((io, caller)) => {
                    let Some(place) = gauge.take() else { continue };
                    let connection = Connection {
                        io,
                        caller,
                        _place: place,
                    };
                    if sender.send(Ok(connection)).await.is_err() {
                        return;
                    }
                }
                Err(e) => {
                    // Out of descriptors (EMFILE, ENFILE): the kernel would say so again at once.
                    tracing::warn!(error = %e, "cannot accept agents");
                    gauge.stats.limit_dropped(Limit::Connections);
                    tokio::time::sleep(limits::ACCEPT_PAUSE).await;
                }
            }
        }
    });
    ReceiverStream::new(receiver)
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

// === impl Gauge, Place ===

impl Gauge {
    fn take(&self) -> Option<Place> {
        let Ok(permit) = Arc::clone(&self.places).try_acquire_owned() else {
            self.stats.reject(Reject::Connections);
            self.stats.limit_dropped(Limit::Connections);
            return None;
        };
        self.show();
        Some(Place {
            permit: Some(permit),
            gauge: self.clone(),
        })
    }

    fn show(&self) {
        let taken = self.max - self.places.available_permits();
        self.stats.limit_now(Limit::Connections, taken);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(self.permit.take());
        self.gauge.show();
    }
}

// === impl Service ===

impl Service {
    async fn stream(
        self,
        caller: Option<Caller>,
        request: Request<Streaming<Bytes>>,
    ) -> Result<Response<ReceiverStream<Result<Outgoing, Status>>>, Status> {
        let header = request.metadata().get("authorization");
        let (owner, token) = match &self.doorman {
            Doorman::Hub(identify) => {
                let token = identify::bearer(header.map(|value| value.as_encoded_bytes()))
                    .map_err(|denied| self.denied(&denied))?;
                let verified = identify
                    .server(&token)
                    .await
                    .map_err(|denied| self.denied(&denied))?;
                let key = verified.key.clone();
                identify.watch(token.clone(), verified);
                (Owner::Server(key), Some((identify.clone(), token)))
            }
            Doorman::Local => (Owner::Login(self.login(caller).await?), None),
        };
        let (down, answers) = mpsc::channel(limits::DOWN_QUEUE);
        let messages = request.into_inner();
        tokio::spawn(async move {
            self.sessions.run(owner, messages, down).await;
            if let Some((identify, token)) = token {
                identify.unwatch(&token);
            }
        });
        Ok(Response::new(ReceiverStream::new(answers)))
    }

    fn denied(&self, denied: &Denied) -> Status {
        self.stats.reject(denied.reason());
        if denied.is_passing() {
            Status::unavailable(denied.to_string())
        } else {
            Status::unauthenticated(denied.to_string())
        }
    }

    async fn login(&self, caller: Option<Caller>) -> Result<String, Status> {
        let peer = match caller {
            Some(Caller::Unix(peer)) => peer,
            Some(Caller::Tcp { caller, here }) => {
                tokio::task::spawn_blocking(move || Peer::of_tcp(caller, here).ok())
                    .await
                    .ok()
                    .flatten()
            }
            None => None,
        };
        let peer = peer.ok_or_else(|| {
            self.stats.reject(Reject::UnknownPeer);
            Status::unauthenticated("who calls cannot be told")
        })?;
        Ok(peer.login().as_str().to_owned())
    }
}

impl NamedService for Service {
    const NAME: &'static str = "hubmeter.v1.Link";
}

impl tower::Service<tonic::codegen::http::Request<Body>> for Service {
    type Response = tonic::codegen::http::Response<Body>;
    type Error = std::convert::Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: tonic::codegen::http::Request<Body>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            if request.uri().path() != METHOD {
                return Ok(Status::unimplemented("no such method").into_http());
            }
            let extensions = request.extensions();
            let caller = extensions
                .get::<Caller>()
                .or_else(|| {
                    let tls = extensions.get::<TlsConnectInfo<Caller>>();
                    tls.map(TlsConnectInfo::get_ref)
                })
                .cloned();
            // Compression is never accepted: nothing to gain at this size, and bombs to lose to.
            let mut grpc = Grpc::new(Raw).max_decoding_message_size(wire::MESSAGE_BYTES_MAX);
            Ok(grpc.streaming(Method { service, caller }, request).await)
        })
    }
}

struct Method {
    service: Service,
    caller: Option<Caller>,
}

impl StreamingService<Bytes> for Method {
    type Response = Outgoing;
    type ResponseStream = ReceiverStream<Result<Outgoing, Status>>;
    type Future =
        Pin<Box<dyn Future<Output = Result<Response<Self::ResponseStream>, Status>> + Send>>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        Box::pin(self.service.clone().stream(self.caller.clone(), request))
    }
}

// === impl Raw ===

impl Codec for Raw {
    type Encode = Outgoing;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Outgoing;
    type Error = Status;

    fn encode(&mut self, item: Outgoing, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put_slice(&admit::write(item));
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER_BYTES, YIELD_BYTES)
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        // A copy of its own: a slice would keep the connection's whole buffer alive in the inbox.
        let mut message = vec![0; from.remaining()];
        from.copy_to_slice(&mut message);
        Ok(Some(message.into()))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER_BYTES, YIELD_BYTES)
    }
}

// === impl Connection ===

impl Connected for Connection {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Io::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Io::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Io::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Io::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Io::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Io::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Io::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}
