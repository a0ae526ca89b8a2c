//! Opens a connection and one stream on it: gRPC, or a WebSocket that carries the same messages.
//!
//! The codec passes messages through that were encoded when they were spooled, and keeps its
//! buffers small: a stream carries a few hundred bytes every few seconds.

use std::{path::PathBuf, sync::Arc, time::Duration};

use bytes::{BufMut, Bytes};
use hubmeter_proto::{limits::MESSAGE_BYTES_MAX, v1};
use hyper_util::rt::TokioIo;
use tokio::{net::UnixStream, sync::mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Status, Streaming,
    client::Grpc,
    codec::{BufferSettings, Codec, EncodeBuf, Encoder},
    codegen::http::uri::PathAndQuery,
    metadata::{Ascii, MetadataValue},
    transport::{Channel, ClientTlsConfig, Endpoint},
};
use tonic_prost::{ProstCodec, ProstDecoder};

use super::{
    trust::{Trust, TrustError},
    websocket,
};
use crate::settings::CollectorUrl;

/// Time for name look-up, TCP and TLS.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A ping goes out when nothing was heard for so long; under the minute that address
/// translators commonly keep a quiet connection.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);

/// Time for its answer; then the connection counts as dead.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// HTTP/2 windows: limits, not allocations; under 1 MiB the small-frame budget of the h2 crate
/// shrinks with them.
const WINDOW_BYTES: u32 = 1024 * 1024;

/// Requests waiting inside the channel: there is one stream.
const REQUESTS_WAITING: usize = 1;

/// First size of an encode or decode buffer.
const CODEC_BUFFER_BYTES: usize = 1024;

/// Encoded bytes that are handed to the connection at once.
const CODEC_YIELD_BYTES: usize = 4 * 1024;

const STREAM_PATH: &str = "/hubmeter.v1.Link/Stream";

/// Why no connection could be opened.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// There is nothing to know the collector by.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// Address, network or TLS.
    #[error("cannot connect to {url}")]
    Transport {
        /// Where to.
        url: CollectorUrl,
        /// What stopped it.
        source: tonic::transport::Error,
    },
    /// Network or TLS.
    #[error("cannot connect to {url}")]
    Network {
        /// Where to.
        url: CollectorUrl,
        /// What stopped it.
        source: std::io::Error,
    },
    /// Nothing came back in time.
    #[error("cannot connect to {url} within {} s", CONNECT_TIMEOUT.as_secs())]
    Timeout {
        /// Where to.
        url: CollectorUrl,
    },
}

/// Messages up as they were encoded, messages down by prost.
#[derive(Clone, Copy, Debug, Default)]
struct LinkCodec;

/// Copies what is encoded already.
#[derive(Clone, Copy, Debug, Default)]
struct Encoded;

/// An open connection.
pub(super) enum Connection {
    Grpc(Channel),
    WebSocket(websocket::Connection),
}

/// What the collector says, whatever carries it.
pub(super) enum Down {
    Grpc(Box<Streaming<v1::Down>>),
    WebSocket(websocket::Down),
}

/// Connects to `url`; `ca_file` vouches for it in place of the machine's certificates.
pub(super) async fn connect(
    url: &CollectorUrl,
    ca_file: Option<&PathBuf>,
) -> Result<Connection, ConnectError> {
    let failed = |source| ConnectError::Transport {
        url: url.clone(),
        source,
    };
    let connect = async {
        let channel = match url {
            CollectorUrl::Tls { authority, pin } => {
                let verifier = Trust::of(*pin, ca_file).await?.verifier();
                let endpoint = Endpoint::from_shared(format!("https://{authority}"))
                    .and_then(|endpoint| {
                        endpoint.tls_config_with_verifier(ClientTlsConfig::new(), verifier)
                    })
                    .map_err(failed)?;
                tuned(endpoint).connect().await
            }
            CollectorUrl::Plain { authority } => {
                let endpoint =
                    Endpoint::from_shared(format!("http://{authority}")).map_err(failed)?;
                tuned(endpoint).connect().await
            }
            CollectorUrl::Unix { path } => {
                let path: Arc<std::path::Path> = path.as_path().into();
                let connector = tower::service_fn(move |_| {
                    let path = Arc::clone(&path);
                    async move { UnixStream::connect(path).await.map(TokioIo::new) }
                });
                tuned(Endpoint::from_static("http://localhost"))
                    .connect_with_connector(connector)
                    .await
            }
            CollectorUrl::WebSocket {
                secure,
                authority,
                path,
                pin,
            } => {
                let trust = match secure {
                    true => Some(Trust::of(*pin, ca_file).await?),
                    false => None,
                };
                let connected = websocket::Connection::open(authority, path, trust).await;
                return connected.map(Connection::WebSocket).map_err(|source| {
                    ConnectError::Network {
                        url: url.clone(),
                        source,
                    }
                });
            }
        };
        channel.map(Connection::Grpc).map_err(failed)
    };
    tokio::time::timeout(CONNECT_TIMEOUT, connect)
        .await
        .unwrap_or_else(|_| Err(ConnectError::Timeout { url: url.clone() }))
}

async fn grpc_stream(
    channel: Channel,
    authorization: Option<MetadataValue<Ascii>>,
    up: mpsc::Receiver<Bytes>,
) -> Result<Streaming<v1::Down>, Status> {
    let mut request = Request::new(ReceiverStream::new(up));
    if let Some(value) = authorization {
        request.metadata_mut().insert("authorization", value);
    }
    let mut client = Grpc::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
    client
        .ready()
        .await
        .map_err(|error| Status::from_error(error.into()))?;
    let path = PathAndQuery::from_static(STREAM_PATH);
    Ok(client
        .streaming(request, path, LinkCodec)
        .await?
        .into_inner())
}

fn tuned(endpoint: Endpoint) -> Endpoint {
    endpoint
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .buffer_size(REQUESTS_WAITING)
}

// === impl Connection ===

impl Connection {
    /// Opens the stream; `up` should hold the first message already.
    pub(super) async fn stream(
        self,
        authorization: Option<MetadataValue<Ascii>>,
        up: mpsc::Receiver<Bytes>,
    ) -> Result<Down, Status> {
        match self {
            Self::Grpc(channel) => grpc_stream(channel, authorization, up)
                .await
                .map(|down| Down::Grpc(Box::new(down))),
            Self::WebSocket(connection) => connection
                .stream(authorization.as_ref(), up)
                .await
                .map(Down::WebSocket),
        }
    }
}

// === impl Down ===

impl Down {
    /// The next message; `None` at the end.
    pub(super) async fn message(&mut self) -> Result<Option<v1::Down>, Status> {
        match self {
            Self::Grpc(stream) => stream.message().await,
            Self::WebSocket(stream) => stream.message().await,
        }
    }
}

// === impl LinkCodec ===

impl Codec for LinkCodec {
    type Encode = Bytes;
    type Decode = v1::Down;
    type Encoder = Encoded;
    type Decoder = ProstDecoder<v1::Down>;

    fn encoder(&mut self) -> Self::Encoder {
        Encoded
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<v1::Up, v1::Down>::raw_decoder(buffers())
    }
}

// === impl Encoded ===

impl Encoder for Encoded {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(message);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        buffers()
    }
}

fn buffers() -> BufferSettings {
    BufferSettings::new(CODEC_BUFFER_BYTES, CODEC_YIELD_BYTES)
}
