//! HTTP/2 on connections that were let in, and the one method of the service.
//!
//! Every setting of HTTP/2 that bounds what a peer can make us hold is set by name. Messages pass
//! as bytes; `admit` gives them meaning.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf as _, BufMut as _, Bytes};
use hubmeter_proto::limits as wire;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Response, Status, Streaming,
    body::Body,
    codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    server::{Grpc, NamedService, StreamingService},
    transport::Server,
};

use super::{
    admit::{self, Outgoing},
    connection::{Caller, Guest},
    door::Door,
    doorman::Doorman,
    identify::Denied,
    refusals::Who,
    session::Sessions,
};
use crate::{limits, peer::Peer, socket::Socket, stats::Reject};

/// Why the link cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The server does not start or ended.
    #[error("the link's server failed: {0}")]
    Server(#[from] tonic::transport::Error),
}

/// The service: one method.
#[derive(Clone)]
struct Service {
    doorman: Doorman,
    sessions: Sessions,
}

/// Messages in as bytes, out as [`Outgoing`].
#[derive(Clone, Copy, Default)]
struct Raw;

const METHOD: &str = "/hubmeter.v1.Link/Stream";
/// What a stream's buffers hold at first: most messages are smaller, and every stream has two.
const BUFFER_BYTES: usize = 512;
/// What is encoded before the socket is given a chance.
const YIELD_BYTES: usize = 8 * 1024;

// === serving ===

/// Serves agents until `stop` resolves; then waits for connections to end.
///
/// # Errors
/// The server failed.
pub async fn serve(
    socket: Socket,
    door: Door,
    doorman: Doorman,
    sessions: Sessions,
    stop: impl Future<Output = ()>,
) -> Result<(), ListenError> {
    let service = Service { doorman, sessions };
    Server::builder()
        .initial_stream_window_size(limits::WINDOW_BYTES)
        .initial_connection_window_size(limits::WINDOW_BYTES)
        .max_concurrent_streams(limits::STREAMS_PER_CONNECTION_MAX)
        .http2_max_header_list_size(limits::HEADER_LIST_BYTES_MAX)
        .http2_keepalive_interval(Some(limits::KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(limits::KEEPALIVE_TIMEOUT))
        .http2_adaptive_window(Some(false))
        .accept_http1(false)
        .add_service(service)
        .serve_with_incoming_shutdown(door.open(socket), stop)
        .await?;
    Ok(())
}

// === impl Service ===

impl Service {
    async fn stream(
        self,
        guest: Option<Guest>,
        request: Request<Streaming<Bytes>>,
    ) -> Result<Response<ReceiverStream<Result<Outgoing, Status>>>, Status> {
        let authorization = request.metadata().get("authorization");
        let authorization = authorization.map(|value| value.as_encoded_bytes());
        let live = guest.as_ref().map(Guest::begin);
        let caller = guest.map(|guest| guest.caller);
        let who = caller.as_ref().map_or(Who::Unknown, Caller::who);
        let admitted = self
            .doorman
            .admit(authorization, peer(caller))
            .await
            .map_err(|denied| self.denied(who, &denied))?;
        let (down, answers) = mpsc::channel(limits::DOWN_QUEUE);
        let messages = request.into_inner();
        tokio::spawn(async move {
            let owner = admitted.owner.clone();
            self.sessions.run(owner, messages, down).await;
            drop((admitted, live));
        });
        Ok(Response::new(ReceiverStream::new(answers)))
    }

    fn denied(&self, who: Who, denied: &Denied) -> Status {
        self.sessions
            .refusals()
            .refuse(who, denied.reason(), denied);
        if denied.is_passing() {
            Status::unavailable(denied.to_string())
        } else {
            Status::unauthenticated(denied.to_string())
        }
    }
}

async fn peer(caller: Option<Caller>) -> Option<Peer> {
    match caller? {
        Caller::Unix(peer) => peer,
        // The kernel's table of connections is a file.
        Caller::Tcp { caller, here } => {
            let peer = tokio::task::spawn_blocking(move || Peer::of_tcp(caller, here).ok());
            peer.await.ok().flatten()
        }
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
                let who = request.extensions().get::<Guest>();
                let who = who.map_or(Who::Unknown, |guest| guest.caller.who());
                let detail = "no such method";
                service
                    .sessions
                    .refusals()
                    .refuse(who, Reject::Unexpected, detail);
                return Ok(Status::unimplemented("no such method").into_http());
            }
            let guest = request.extensions().get::<Guest>().cloned();
            // Compression is never accepted: nothing to gain at this size, and bombs to lose to.
            let mut grpc = Grpc::new(Raw).max_decoding_message_size(wire::MESSAGE_BYTES_MAX);
            Ok(grpc.streaming(Method { service, guest }, request).await)
        })
    }
}

struct Method {
    service: Service,
    guest: Option<Guest>,
}

impl StreamingService<Bytes> for Method {
    type Response = Outgoing;
    type ResponseStream = ReceiverStream<Result<Outgoing, Status>>;
    type Future =
        Pin<Box<dyn Future<Output = Result<Response<Self::ResponseStream>, Status>> + Send>>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        Box::pin(self.service.clone().stream(self.guest.clone(), request))
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
