//! The link over a WebSocket: where nothing but the hub's HTTP proxy can be reached.
//!
//! One message is one binary frame. The collector pings; whoever is not heard for three of its
//! pings is gone.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{
    SinkExt as _, StreamExt as _,
    stream::{SplitSink, SplitStream},
};
use hubmeter_proto::{limits::MESSAGE_BYTES_MAX, v1};
use hyper::header::{AUTHORIZATION, HeaderValue};
use prost::Message as _;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        Error, Message, client::IntoClientRequest as _, http::StatusCode, protocol::WebSocketConfig,
    },
};

use super::connect::{dial::Io, status::Status};

/// What TLS is asked for.
pub(super) const PROTOCOL: &[u8] = b"http/1.1";

/// Three of the collector's pings, which come every 20 s.
const SILENCE_MAX: Duration = Duration::from_secs(65);

/// Messages read ahead: whoever reads waits for nothing else.
const READ_AHEAD: usize = 1;

/// First size of the read buffer: receipts and notices are small.
const BUFFER_BYTES: usize = 1024;

/// Bytes of a refusal's body that are shown.
const REFUSAL_BYTES_MAX: usize = 512;

type Socket = WebSocketStream<Io>;

/// A connection, not upgraded yet.
pub(super) struct Connection {
    io: Io,
    address: String,
}

/// What the collector says.
pub(super) struct Down(mpsc::Receiver<Result<v1::Down, Status>>);

// === impl Connection ===

impl Connection {
    /// On `io`, which is open; nothing is said yet.
    pub(super) fn over(io: Io, authority: &str, path: &str) -> Self {
        // TLS, if there is any, is below: the address is only what the request names.
        let address = format!("ws://{authority}{path}");
        Self { io, address }
    }

    /// Upgrades and starts to carry messages, for as long as both ends are held.
    pub(super) async fn stream(
        self,
        authorization: Option<HeaderValue>,
        up: mpsc::Receiver<Bytes>,
    ) -> Result<Down, Status> {
        let request = self.address.into_client_request();
        let mut request = request.map_err(refusal)?;
        if let Some(value) = authorization {
            request.headers_mut().insert(AUTHORIZATION, value);
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

/// Why the other side does not upgrade, in the link's words.
fn refusal(error: Error) -> Status {
    let Error::Http(response) = error else {
        return Status::unavailable(error.to_string());
    };
    let (parts, body) = (*response).into_parts();
    let body = String::from_utf8_lossy(body.as_deref().unwrap_or_default()).into_owned();
    let said = body[..body.floor_char_boundary(REFUSAL_BYTES_MAX)].trim();
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
            // Nothing more will be said; what the other side has to say still comes.
            receive(&mut frames, &down).await;
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
