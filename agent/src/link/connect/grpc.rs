//! gRPC as far as one stream needs it, over an HTTP/2 connection of its own.
//!
//! Whoever waits for the next message drives the connection meanwhile: no task, no channel and no
//! timer stand between the beat and the socket, so that a tick is one wake-up and the program
//! holds no client for what it never asks for.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use h2::{Reason, RecvStream, SendStream, client};
use hubmeter_proto::{limits::MESSAGE_BYTES_MAX, v1};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode, Uri, Version,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, TE, USER_AGENT},
};
use percent_encoding::percent_decode;
use prost::Message as _;
use tokio::sync::mpsc;

use super::{
    bell::Bell,
    dial::Io,
    keep_alive::KeepAlive,
    status::{Code, Status},
};
use crate::link::company::Line;

/// What TLS is asked for.
pub(super) const PROTOCOL: &[u8] = b"h2";

/// HTTP/2 windows: limits, not allocations; under 1 MiB the small-frame budget of the h2 crate
/// shrinks with them.
const WINDOW_BYTES: u32 = 1024 * 1024;

/// Bytes that wait for the socket: what does not fit stays in the spool, where it is kept anyway.
const UNSENT_BYTES_MAX: usize = 16 * 1024;

/// Messages that are there together are sent together up to so many bytes: a backlog in frames of
/// its own for each would cost the other side more than its budget for small ones.
const CHUNK_BYTES: usize = 4 * 1024;

/// Headers of a response: a few lines are usual.
const HEADERS_BYTES_MAX: u32 = 16 * 1024;

/// A message begins with whether it is compressed, which we never ask for, and its length.
const PREFIX_BYTES: usize = 5;

const PATH: &str = "/hubmeter.v1.Link/Stream";
const GRPC: &str = "application/grpc";
const AGENT: &str = concat!("hubmeter-agent/", env!("CARGO_PKG_VERSION"));
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// An open connection, without a stream yet.
pub(in crate::link) struct Connection {
    http: client::Connection<Io, Bytes>,
    requests: client::SendRequest<Bytes>,
    uri: Uri,
    line: Option<Arc<Line>>,
}

/// The stream: messages that come, and those taken from the channel that go.
pub(in crate::link) struct Stream {
    http: client::Connection<Io, Bytes>,
    /// Set when it may not be driven any more.
    over: bool,
    /// Where messages to send come from; `None` when nothing more can be sent.
    up: Option<mpsc::Receiver<Bytes>>,
    outlet: SendStream<Bytes>,
    outgoing: BytesMut,
    inlet: Inlet,
    incoming: BytesMut,
    /// A message came the last time: more may lie there.
    received: bool,
    keep_alive: KeepAlive,
    /// Whether the connection is to be driven.
    bell: Bell,
    line: Option<Arc<Line>>,
}

/// The collector's half.
enum Inlet {
    Awaited(client::ResponseFuture),
    Open(RecvStream),
    Ended,
}

// === impl Connection ===

impl Connection {
    /// Begins to speak HTTP/2 over `io`; nothing is waited for.
    pub(super) async fn begin(
        io: Io,
        line: Option<Arc<Line>>,
        authority: &str,
        secure: bool,
    ) -> Result<Self, Status> {
        let uri = Uri::builder()
            .scheme(if secure { "https" } else { "http" })
            .authority(authority)
            .path_and_query(PATH)
            .build()
            .map_err(|error| Status::new(Code::InvalidArgument, error.to_string()))?;
        let (requests, http) = client::Builder::new()
            .enable_push(false)
            .initial_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .max_send_buffer_size(UNSENT_BYTES_MAX)
            .max_header_list_size(HEADERS_BYTES_MAX)
            .handshake(io)
            .await
            .map_err(|error| status_of(&error))?;
        Ok(Self {
            http,
            requests,
            uri,
            line,
        })
    }

    /// Opens the stream; `up` should hold the first message already.
    pub(super) async fn stream(
        mut self,
        authorization: Option<HeaderValue>,
        up: mpsc::Receiver<Bytes>,
    ) -> Result<Stream, Status> {
        let no_pings = || Status::internal("the connection's pings are taken");
        let keep_alive = KeepAlive::of(self.http.ping_pong().ok_or_else(no_pings)?);
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri;
        *request.version_mut() = Version::HTTP_2;
        let headers = request.headers_mut();
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(GRPC));
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        if let Some(value) = authorization {
            headers.insert(AUTHORIZATION, value);
        }
        let sent = self.requests.send_request(request, false);
        let (response, outlet) = sent.map_err(|error| status_of(&error))?;
        let mut stream = Stream {
            http: self.http,
            over: false,
            up: Some(up),
            outlet,
            outgoing: BytesMut::new(),
            inlet: Inlet::Awaited(response),
            incoming: BytesMut::new(),
            received: false,
            keep_alive,
            bell: Bell::default(),
            line: self.line,
        };
        poll_fn(|context| stream.poll_opened(context)).await?;
        Ok(stream)
    }
}

// === impl Stream ===

impl Stream {
    /// The next message; `None` at the end. Dropped halfway, nothing is lost.
    pub(super) async fn message(&mut self) -> Result<Option<v1::Down>, Status> {
        poll_fn(|context| self.poll_message(context)).await
    }

    fn poll_opened(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Status>> {
        let driven = self.drive(context);
        let Inlet::Awaited(response) = &mut self.inlet else {
            return Poll::Ready(Ok(()));
        };
        if let Poll::Ready(response) = Pin::new(response).poll(context) {
            let response = response.map_err(|error| status_of(&error))?;
            self.inlet = Inlet::of(response)?;
            return Poll::Ready(Ok(()));
        }
        driven?;
        Poll::Pending
    }

    fn poll_message(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<v1::Down>, Status>> {
        // Of receipts that came together each has its message, and they all came by one drive.
        if std::mem::take(&mut self.received) {
            let message = self.poll_receive(context);
            if message.is_ready() {
                return message;
            }
        }
        let driven = self.drive(context);
        // What came before the end counts before the end.
        let message = self.poll_receive(context);
        if message.is_ready() {
            return message;
        }
        driven?;
        if self.over {
            return Poll::Ready(Ok(None));
        }
        Poll::Pending
    }

    /// Sends what there is, reads what came, and keeps the connection alive. The connection itself
    /// is left alone while it asks for nothing.
    fn drive(&mut self, context: &mut Context<'_>) -> Result<(), Status> {
        self.send(context);
        if self.over {
            return Ok(());
        }
        if let Some(line) = self.line.as_ref().filter(|_| self.keep_alive.is_due()) {
            // What it waits for may lie there, unread.
            line.look();
        }
        let looks = self.line.as_ref().is_some_and(|line| line.looks());
        if looks || self.bell.rings(context) {
            let heard_before = self.heard_bytes();
            let mut context = Context::from_waker(self.bell.answer(context));
            if let Poll::Ready(ended) = Pin::new(&mut self.http).poll(&mut context) {
                self.over = true;
                return ended.map_err(|error| status_of(&error));
            }
            if self.heard_bytes() != heard_before {
                self.keep_alive.heard();
            }
        }
        self.keep_alive.look(context)
    }

    /// Bytes that came so far, where they are counted.
    fn heard_bytes(&self) -> u64 {
        self.line.as_ref().map_or(0, |line| line.heard_bytes())
    }

    /// Hands messages over as far as the other side and the socket take them. What cannot be sent
    /// is not asked for any more, which the session sees; what the collector says last tells why.
    fn send(&mut self, context: &mut Context<'_>) {
        if let Poll::Ready(end_of_stream) = self.poll_send(context) {
            self.up = None;
            if end_of_stream {
                let _ = self.outlet.send_data(Bytes::new(), true);
            }
        }
    }

    /// Ready when there is nothing more to send: true if nothing more is to be, false if nothing
    /// more can be.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        loop {
            while !self.outgoing.is_empty() {
                self.outlet.reserve_capacity(self.outgoing.len());
                let room = match self.outlet.capacity() {
                    0 => match ready!(self.outlet.poll_capacity(context)) {
                        Some(Ok(room)) => room,
                        Some(Err(_)) | None => return Poll::Ready(false),
                    },
                    room => room,
                };
                let part = self.outgoing.split_to(room.min(self.outgoing.len()));
                if !part.is_empty() && self.outlet.send_data(part.freeze(), false).is_err() {
                    return Poll::Ready(false);
                }
            }
            let Some(up) = &mut self.up else {
                return Poll::Pending;
            };
            let Some(first) = ready!(up.poll_recv(context)) else {
                return Poll::Ready(true);
            };
            put(&mut self.outgoing, &first);
            while self.outgoing.len() < CHUNK_BYTES
                && let Ok(next) = up.try_recv()
            {
                put(&mut self.outgoing, &next);
            }
        }
    }

    fn poll_receive(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<v1::Down>, Status>> {
        loop {
            if let Some(message) = take(&mut self.incoming)? {
                self.received = true;
                return Poll::Ready(Ok(Some(message)));
            }
            let Inlet::Open(inlet) = &mut self.inlet else {
                return Poll::Ready(Ok(None));
            };
            match ready!(inlet.poll_data(context)) {
                Some(Ok(data)) => {
                    self.keep_alive.heard();
                    let _ = inlet.flow_control().release_capacity(data.len());
                    self.incoming.extend_from_slice(&data);
                }
                // It will not read the rest of ours, and has said all of its own.
                Some(Err(error)) if error.reason() == Some(Reason::NO_ERROR) => {
                    self.inlet = Inlet::Ended;
                }
                Some(Err(error)) => return Poll::Ready(Err(status_of(&error))),
                None => {
                    let trailers = ready!(inlet.poll_trailers(context));
                    self.inlet = Inlet::Ended;
                    let trailers = trailers.map_err(|error| status_of(&error))?;
                    refusal(&trailers.unwrap_or_default()).map_or(Ok(()), Err)?;
                }
            }
        }
    }
}

// === impl Inlet ===

impl Inlet {
    fn of(response: Response<RecvStream>) -> Result<Self, Status> {
        let (head, inlet) = response.into_parts();
        if let Some(refusal) = refusal(&head.headers) {
            return Err(refusal);
        }
        if head.status != StatusCode::OK {
            let code = Code::of_http(head.status.as_u16());
            return Err(Status::new(code, format!("HTTP {}", head.status)));
        }
        let speaks_grpc = head
            .headers
            .get(CONTENT_TYPE)
            .is_some_and(|value| value.as_bytes().starts_with(GRPC.as_bytes()));
        if !speaks_grpc {
            return Err(Status::new(Code::Unknown, "what answers is no collector"));
        }
        Ok(Self::Open(inlet))
    }
}

/// A message in front of which its length stands.
fn put(outgoing: &mut BytesMut, message: &[u8]) {
    outgoing.reserve(PREFIX_BYTES + message.len());
    outgoing.put_u8(0);
    outgoing.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    outgoing.put_slice(message);
}

/// The first message of what came, once it is whole.
fn take(incoming: &mut BytesMut) -> Result<Option<v1::Down>, Status> {
    let mut prefix = &incoming[..];
    if prefix.len() < PREFIX_BYTES {
        return Ok(None);
    }
    let compressed = prefix.get_u8();
    let length = usize::try_from(prefix.get_u32()).unwrap_or(usize::MAX);
    if compressed != 0 {
        return Err(Status::internal("a compressed message, and we take none"));
    }
    if length > MESSAGE_BYTES_MAX {
        let text = format!("a message of {length} bytes, and we take {MESSAGE_BYTES_MAX}");
        return Err(Status::new(Code::ResourceExhausted, text));
    }
    if prefix.len() < length {
        return Ok(None);
    }
    incoming.advance(PREFIX_BYTES);
    let message = v1::Down::decode(incoming.split_to(length).freeze())
        .map_err(|error| Status::internal(error.to_string()))?;
    Ok(Some(message))
}

/// What headers or trailers refuse.
fn refusal(headers: &HeaderMap) -> Option<Status> {
    let number = headers.get(GRPC_STATUS)?.as_bytes();
    if number == b"0" {
        return None;
    }
    let message = headers.get(GRPC_MESSAGE).map_or(&[][..], |m| m.as_bytes());
    let message = percent_decode(message).decode_utf8_lossy().into_owned();
    Some(Status::new(Code::of_number(number), message))
}

fn status_of(error: &h2::Error) -> Status {
    let code = match error.reason() {
        Some(Reason::CANCEL) => Code::Cancelled,
        Some(Reason::ENHANCE_YOUR_CALM) => Code::ResourceExhausted,
        Some(Reason::REFUSED_STREAM) | None => Code::Unavailable,
        Some(_) => Code::Internal,
    };
    Status::new(code, error.to_string())
}

#[cfg(test)]
mod tests;
