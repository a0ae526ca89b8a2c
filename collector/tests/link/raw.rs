//! A peer that speaks the link's bytes as it likes.

use axum::http::Request;
use bytes::{BufMut as _, Bytes, BytesMut};
use h2::{
    RecvStream, SendStream,
    client::{Builder, Connection, ResponseFuture, SendRequest},
};
use hubmeter_proto::v1;
use prost::Message as _;
use tokio::net::TcpStream;

/// A stream of gRPC, frame by frame. What is heard is heard as long as `connection` is polled.
pub(crate) struct Raw {
    pub(crate) requests: SendRequest<Bytes>,
    pub(crate) connection: Connection<TcpStream>,
    pub(crate) response: ResponseFuture,
    pub(crate) up: SendStream<Bytes>,
}

impl Raw {
    /// Opens a stream with `headers` beside the usual ones; `window_bytes` is what may be sent to
    /// us.
    pub(crate) async fn open(addr: &str, window_bytes: u32, headers: &[(&str, &str)]) -> Self {
        let tcp = TcpStream::connect(addr).await.unwrap();
        Self::open_on(tcp, window_bytes, headers).await
    }

    pub(crate) async fn open_on(
        tcp: TcpStream,
        window_bytes: u32,
        headers: &[(&str, &str)],
    ) -> Self {
        let mut builder = Builder::new();
        builder.initial_window_size(window_bytes);
        let (requests, connection) = builder.handshake(tcp).await.unwrap();
        let mut requests = requests;
        let mut request = Request::post("http://localhost/hubmeter.v1.Link/Stream")
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).unwrap();
        let (response, up) = requests.send_request(request, false).unwrap();
        Self {
            requests,
            connection,
            response,
            up,
        }
    }

    /// Speaks and listens in the background; gives what is said to us, and the way to say more.
    pub(crate) fn drive(self) -> (SendStream<Bytes>, ResponseFuture) {
        let (connection, requests) = (self.connection, self.requests);
        tokio::spawn(async move {
            let _ = connection.await;
            drop(requests);
        });
        (self.up, self.response)
    }
}

/// A message as gRPC frames it.
pub(crate) fn framed(flags: u8, message: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(flags);
    frame.put_u32(u32::try_from(message.len()).unwrap());
    frame.put_slice(message);
    frame.freeze()
}

pub(crate) fn encoded(body: v1::up::Body) -> Vec<u8> {
    v1::Up { body: Some(body) }.encode_to_vec()
}

/// `message` with a field that nobody knows, so that it has `bytes` in all.
pub(crate) fn padded(mut message: Vec<u8>, bytes: usize) -> Vec<u8> {
    // Field 1000, length-delimited, with a length of three bytes however short.
    message.extend([0xc2, 0x3e]);
    let padding = bytes - message.len() - 3;
    let low = |shift: usize| u8::try_from(padding >> shift & 0x7f).unwrap();
    message.extend([low(0) | 0x80, low(7) | 0x80, low(14)]);
    message.resize(bytes, 0);
    message
}

/// The first message of an answer; `None` when it has none.
pub(crate) async fn first_heard(body: &mut RecvStream) -> Option<v1::down::Body> {
    let mut bytes = BytesMut::new();
    loop {
        if bytes.len() >= 5 {
            let length =
                usize::try_from(u32::from_be_bytes(bytes[1..5].try_into().unwrap())).unwrap();
            if bytes.len() >= 5 + length {
                return v1::Down::decode(&bytes[5..5 + length]).unwrap().body;
            }
        }
        bytes.extend(body.data().await?.ok()?);
    }
}
