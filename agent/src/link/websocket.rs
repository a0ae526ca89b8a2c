//! The link over a WebSocket: where nothing but the hub's HTTP proxy can be reached.
//!
//! One message is one binary frame. The collector pings; whoever is not heard for three of its
//! pings is gone.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{
    SinkExt as _, StreamExt as _,
    stream::{SplitSink, SplitStream},
};
use hubmeter_proto::{REFUSED_HEADER, limits::MESSAGE_BYTES_MAX, v1};
use prost::Message as _;
use rustls::{ClientConfig, crypto, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        ClientRequestBuilder, Error, Message,
        http::{StatusCode, Uri},
        protocol::WebSocketConfig,
    },
};
use tonic::{
    Status,
    metadata::{Ascii, MetadataValue},
};

use super::trust::Trust;

/// Three of the collector's pings, which come every 20 s.
const SILENCE_MAX: Duration = Duration::from_secs(65);

/// Messages read ahead: whoever reads waits for nothing else.
const READ_AHEAD: usize = 1;

/// First size of the read buffer: receipts and notices are small.
const BUFFER_BYTES: usize = 1024;

/// Bytes of a refusal's reason that are shown.
const REFUSAL_BYTES_MAX: usize = 512;

/// What bytes pass over.
trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

type Socket = WebSocketStream<Box<dyn Io>>;

/// A connection, not upgraded yet.
pub(super) struct Connection {
    io: Box<dyn Io>,
    address: String,
}

/// What the collector says.
pub(super) struct Down(mpsc::Receiver<Result<v1::Down, Status>>);

// === impl Connection ===

impl Connection {
    /// Connects; with `trust` over TLS.
    pub(super) async fn open(
        authority: &str,
        path: &str,
        trust: Option<Trust>,
    ) -> io::Result<Self> {
        let (scheme, port) = match trust {
            Some(_) => ("wss", 443),
            None => ("ws", 80),
        };
        let address = format!("{scheme}://{authority}{path}");
        let invalid = |error: &dyn std::fmt::Display| {
            io::Error::new(io::ErrorKind::InvalidInput, error.to_string())
        };
        let uri: Uri = address.parse().map_err(|error| invalid(&error))?;
        let host = uri.host().unwrap_or_default();
        // Uri keeps an IPv6 address' brackets, a name look-up and TLS want it bare.
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let tcp = TcpStream::connect((host.as_str(), uri.port_u16().unwrap_or(port))).await?;
        tcp.set_nodelay(true)?;
        let io: Box<dyn Io> = match trust {
            None => Box::new(tcp),
            Some(trust) => {
                let name = ServerName::try_from(host).map_err(|error| invalid(&error))?;
                let connector = TlsConnector::from(Arc::new(tls(trust)?));
                Box::new(connector.connect(name, tcp).await?)
            }
        };
        Ok(Self { io, address })
    }

    /// Upgrades and starts to carry messages, for as long as both ends are held.
    pub(super) async fn stream(
        self,
        authorization: Option<&MetadataValue<Ascii>>,
        up: mpsc::Receiver<Bytes>,
    ) -> Result<Down, Status> {
        let uri = self
            .address
            .parse()
            .map_err(|_| Status::invalid_argument("the address is none"))?;
        let mut request = ClientRequestBuilder::new(uri);
        if let Some(value) = authorization.and_then(|value| value.to_str().ok()) {
            request = request.with_header("authorization", value);
        }
        let config = WebSocketConfig::default()
            .read_buffer_size(BUFFER_BYTES)
            .write_buffer_size(0)
            .max_write_buffer_size(2 * MESSAGE_BYTES_MAX)
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        let (socket, _) = client_async_with_config(request, self.io, Some(config))
            .await
            .map_err(refusal)?;
        let (down, messages) = mpsc::channel(READ_AHEAD);
        tokio::spawn(carry(socket, up, down));
        Ok(Down(messages))
    }
}

fn tls(trust: Trust) -> io::Result<ClientConfig> {
    let provider = Arc::new(crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    let mut config = builder
        .dangerous() // rustls' word for a judge of one's own, which `trust` is
        .with_custom_certificate_verifier(trust.verifier())
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Why the other side does not upgrade, in the link's words.
fn refusal(error: Error) -> Status {
    let Error::Http(response) = error else {
        return Status::unavailable(error.to_string());
    };
    let (parts, body) = (*response).into_parts();
    // The body may lie in a packet of its own, which nobody waits for.
    let reason = parts.headers.get(REFUSED_HEADER);
    let said = reason.map_or(body.as_deref().unwrap_or_default(), |value| {
        value.as_bytes()
    });
    let said = String::from_utf8_lossy(said).into_owned();
    let said = said[..said.floor_char_boundary(REFUSAL_BYTES_MAX)].trim();
    let text = format!("{} {said}", parts.status);
    match parts.status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Status::unauthenticated(text),
        StatusCode::NOT_FOUND => Status::not_found(format!("no collector there: {text}")),
        _ => Status::unavailable(text),
    }
}

/// Passes messages both ways until one side has enough.
async fn carry(
    socket: Socket,
    mut up: mpsc::Receiver<Bytes>,
    down: mpsc::Sender<Result<v1::Down, Status>>,
) {
    let (mut sink, mut frames) = socket.split();
    tokio::select! {
        () = send(&mut sink, &mut up) => {
            // Nothing more will be said; what the other side has to say still comes, as long as
            // somebody listens.
            tokio::select! {
                () = receive(&mut frames, &down) => {}
                () = down.closed() => {}
            }
        }
        () = receive(&mut frames, &down) => {}
        () = down.closed() => {}
    }
    let _ = sink.close().await;
}

async fn send(sink: &mut SplitSink<Socket, Message>, up: &mut mpsc::Receiver<Bytes>) {
    while let Some(message) = up.recv().await {
        if sink.send(Message::Binary(message)).await.is_err() {
            return;
        }
    }
}

async fn receive(frames: &mut SplitStream<Socket>, down: &mpsc::Sender<Result<v1::Down, Status>>) {
    loop {
        let silent_at = Instant::now() + SILENCE_MAX;
        let frame = tokio::select! {
            frame = frames.next() => frame,
            () = sleep_until(silent_at) => {
                let silent = Status::unavailable("nothing was heard for a minute");
                let _ = down.send(Err(silent)).await;
                return;
            }
        };
        let message = match frame {
            Some(Ok(Message::Binary(bytes))) => {
                v1::Down::decode(bytes).map_err(|error| Status::internal(error.to_string()))
            }
            Some(Ok(Message::Close(_))) | None => return,
            Some(Ok(_)) => continue,
            Some(Err(error)) => Err(Status::unavailable(error.to_string())),
        };
        let broken = message.is_err();
        if down.send(message).await.is_err() || broken {
            return;
        }
    }
}

// === impl Down ===

impl Down {
    /// The next message; `None` at the end.
    pub(super) async fn message(&mut self) -> Result<Option<v1::Down>, Status> {
        self.0.recv().await.transpose()
    }
}
