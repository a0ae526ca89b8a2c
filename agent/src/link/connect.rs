//! Opens a connection and one stream on it: gRPC, or a WebSocket that carries the same messages.
//!
//! Messages are passed through as they were encoded when they were spooled.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use hubmeter_proto::v1;
use hyper::header::HeaderValue;
use tokio::{sync::mpsc, time::timeout};

use self::status::Status;
use super::{
    company::Line,
    trust::{Trust, TrustError},
    websocket,
};
use crate::settings::CollectorUrl;

mod bell;
pub(super) mod dial;
mod grpc;
mod keep_alive;
pub(super) mod status;

/// Time for name look-up, TCP and TLS.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Ports where an address names none.
const HTTP_PORT: u16 = 80;
const HTTPS_PORT: u16 = 443;

/// Whom a request over a Unix socket is addressed to: HTTP wants a name.
const UNIX_AUTHORITY: &str = "localhost";

/// Why no connection could be opened.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// There is nothing to know the collector by.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// Address, network or TLS.
    #[error("cannot connect to {url}")]
    Network {
        /// Where to.
        url: CollectorUrl,
        /// What stopped it.
        source: io::Error,
    },
    /// Nothing came back in time.
    #[error("cannot connect to {url} within {} s", CONNECT_TIMEOUT.as_secs())]
    Timeout {
        /// Where to.
        url: CollectorUrl,
    },
}

/// An open connection.
pub(super) struct Connection {
    carrier: Carrier,
    /// A Unix socket has none.
    line: Option<Arc<Line>>,
}

enum Carrier {
    Grpc(Box<grpc::Connection>),
    WebSocket(websocket::Connection),
}

/// What the collector says, whatever carries it.
pub(super) enum Down {
    Grpc(Box<grpc::Stream>),
    WebSocket(websocket::Down),
}

/// Connects to `url`; `ca_file` vouches for it in place of the machine's certificates.
pub(super) async fn connect(
    url: &CollectorUrl,
    ca_file: Option<&PathBuf>,
) -> Result<Connection, ConnectError> {
    let connecting = async {
        let trust = match url {
            CollectorUrl::Tls { pin, .. }
            | CollectorUrl::WebSocket {
                secure: true, pin, ..
            } => Some(Trust::of(*pin, ca_file).await?),
            _ => None,
        };
        open(url, trust)
            .await
            .map_err(|source| ConnectError::Network {
                url: url.clone(),
                source,
            })
    };
    timeout(CONNECT_TIMEOUT, connecting)
        .await
        .unwrap_or_else(|_| Err(ConnectError::Timeout { url: url.clone() }))
}

async fn open(url: &CollectorUrl, trust: Option<Trust>) -> io::Result<Connection> {
    let secure = trust.is_some();
    let default_port = if secure { HTTPS_PORT } else { HTTP_PORT };
    let (io, line, authority) = match url {
        CollectorUrl::Tls { authority, .. } | CollectorUrl::Plain { authority } => {
            let (io, line) = dial::tcp(authority, default_port, trust, grpc::PROTOCOL).await?;
            (io, Some(line), authority.as_str())
        }
        CollectorUrl::Unix { path } => (dial::unix(path).await?, None, UNIX_AUTHORITY),
        CollectorUrl::WebSocket {
            authority, path, ..
        } => {
            let (io, line) = dial::tcp(authority, default_port, trust, websocket::PROTOCOL).await?;
            let connection =
                websocket::Connection::over(io, Some(Arc::clone(&line)), authority, path);
            return Ok(Connection {
                carrier: Carrier::WebSocket(connection),
                line: Some(line),
            });
        }
    };
    let connection = grpc::Connection::begin(io, line.clone(), authority, secure)
        .await
        .map_err(|status| io::Error::other(status.message().to_owned()))?;
    Ok(Connection {
        carrier: Carrier::Grpc(Box::new(connection)),
        line,
    })
}

// === impl Connection ===

impl Connection {
    /// What ticks know of it; `None` where small messages cannot wait.
    pub(super) fn line(&self) -> Option<Arc<Line>> {
        self.line.clone()
    }

    /// Opens the stream; `up` should hold the first message already.
    pub(super) async fn stream(
        self,
        authorization: Option<HeaderValue>,
        up: mpsc::Receiver<Bytes>,
    ) -> Result<Down, Status> {
        match self.carrier {
            Carrier::Grpc(connection) => {
                let stream = connection.stream(authorization, up).await?;
                Ok(Down::Grpc(Box::new(stream)))
            }
            Carrier::WebSocket(connection) => connection
                .stream(authorization, up)
                .await
                .map(Down::WebSocket),
        }
    }
}

// === impl Down ===

impl Down {
    /// The next message; `None` at the end. What goes up is sent meanwhile.
    pub(super) async fn message(&mut self) -> Result<Option<v1::Down>, Status> {
        match self {
            Self::Grpc(stream) => stream.message().await,
            Self::WebSocket(stream) => stream.message().await,
        }
    }
}
