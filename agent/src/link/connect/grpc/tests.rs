//! One stream against a server of frames, played by the test, under a clock that jumps.

use std::{
    io,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use h2::server;
use hyper::{Response, header::HeaderValue};
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf},
    time::Instant,
};

use super::*;

type Server = server::Connection<DuplexStream, Bytes>;
type Respond = server::SendResponse<Bytes>;

/// Both ends of a connection, the stream asked for but not answered.
type Asked = (
    mpsc::Sender<Bytes>,
    tokio::task::JoinHandle<Result<Stream, Status>>,
    Server,
    hyper::Request<RecvStream>,
    Respond,
);

/// Counts how often it is asked for bytes.
struct Counted {
    io: DuplexStream,
    reads: Arc<AtomicU32>,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

/// Whether nothing comes that is there already.
async fn waits(stream: &mut Stream) -> bool {
    poll_fn(|context| Poll::Ready(stream.poll_message(context).is_pending())).await
}

async fn asked() -> Asked {
    asked_over(|ours| Box::new(ours)).await
}

async fn asked_over(wrap: impl FnOnce(DuplexStream) -> Io + Send + 'static) -> Asked {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let (up, messages) = mpsc::channel(8);
    up.send(Bytes::from_static(b"hello")).await.unwrap();
    let opening = tokio::spawn(async move {
        let connection = Connection::begin(wrap(ours), None, "hub:8443", true).await?;
        let token = HeaderValue::from_static("Bearer t0ken");
        connection.stream(Some(token), messages).await
    });
    let mut server = server::handshake(theirs).await.unwrap();
    let (request, respond) = server.accept().await.unwrap().unwrap();
    (up, opening, server, request, respond)
}

/// Keeps the server's side of the connection going.
fn serve(mut server: Server) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move { while server.accept().await.is_some() {} })
}

fn accepted() -> Response<()> {
    let response = Response::builder().header(CONTENT_TYPE, GRPC);
    response.body(()).unwrap()
}

/// A message as a server sends it.
fn framed(message: &v1::Down) -> BytesMut {
    let mut bytes = BytesMut::new();
    put(&mut bytes, &message.encode_to_vec());
    bytes
}

fn receipt(through_seq: u64) -> v1::Down {
    let receipt = v1::Receipt { through_seq };
    v1::Down {
        body: Some(v1::down::Body::Receipt(receipt)),
    }
}

#[tokio::test]
async fn a_request_is_what_grpc_asks_for_and_messages_pass_both_ways_however_they_are_cut() {
    let (up, opening, server, request, mut respond) = asked().await;
    let (head, mut body) = request.into_parts();
    assert_eq!(head.method, Method::POST);
    assert_eq!(head.uri.to_string(), format!("https://hub:8443{PATH}"));
    for (name, value) in [
        ("te", "trailers"),
        ("content-type", GRPC),
        ("authorization", "Bearer t0ken"),
    ] {
        assert_eq!(head.headers[name], value);
    }
    let mut outlet = respond.send_response(accepted(), false).unwrap();
    let serving = serve(server);
    let mut stream = opening.await.unwrap().unwrap();
    let first = body.data().await.unwrap().unwrap();
    assert_eq!(&first[..], b"\0\0\0\0\x05hello");

    let bytes = [framed(&receipt(1)), framed(&receipt(2))].concat();
    for piece in bytes.chunks(3) {
        outlet
            .send_data(Bytes::copy_from_slice(piece), false)
            .unwrap();
    }
    assert_eq!(stream.message().await, Ok(Some(receipt(1))));
    assert_eq!(stream.message().await, Ok(Some(receipt(2))));
    // Three that are there together travel together.
    for _ in 0..3 {
        up.send(Bytes::from_static(b"report")).await.unwrap();
    }
    let sending = tokio::spawn(async move { stream.message().await });
    let together = body.data().await.unwrap().unwrap();
    assert_eq!(together.len(), 3 * (PREFIX_BYTES + 6));
    let mut trailers = HeaderMap::new();
    trailers.insert(GRPC_STATUS, HeaderValue::from_static("0"));
    outlet.send_trailers(trailers).unwrap();
    assert_eq!(sending.await.unwrap(), Ok(None));
    serving.abort();
}

#[tokio::test]
async fn a_refusal_is_told_in_the_collectors_words_at_the_start_and_at_the_end() {
    let refused = |headers: &mut HeaderMap| {
        headers.insert(GRPC_STATUS, HeaderValue::from_static("16"));
        headers.insert(GRPC_MESSAGE, HeaderValue::from_static("no%20such%20token"));
    };
    let expected = Status::new(Code::Unauthenticated, "no such token");
    let (_up, opening, server, _request, mut respond) = asked().await;
    let mut response = accepted();
    refused(response.headers_mut());
    respond.send_response(response, true).unwrap();
    let serving = serve(server);
    assert_eq!(opening.await.unwrap().err(), Some(expected.clone()));
    serving.abort();

    let (_up, opening, server, _request, mut respond) = asked().await;
    let mut outlet = respond.send_response(accepted(), false).unwrap();
    let serving = serve(server);
    let mut stream = opening.await.unwrap().unwrap();
    outlet
        .send_data(framed(&receipt(1)).freeze(), false)
        .unwrap();
    let mut trailers = HeaderMap::new();
    refused(&mut trailers);
    outlet.send_trailers(trailers).unwrap();
    assert_eq!(stream.message().await, Ok(Some(receipt(1))));
    assert_eq!(stream.message().await, Err(expected));
    serving.abort();
}

#[tokio::test]
async fn what_answers_without_being_a_collector_is_named() {
    for (status, kind, code) in [
        (502, "text/html", Code::Unavailable),
        (404, "text/html", Code::Unimplemented),
        (200, "text/html", Code::Unknown),
    ] {
        let (_up, opening, server, _request, mut respond) = asked().await;
        let response = Response::builder()
            .status(status)
            .header(CONTENT_TYPE, kind);
        respond
            .send_response(response.body(()).unwrap(), true)
            .unwrap();
        let serving = serve(server);
        let refused = opening.await.unwrap().err().unwrap();
        assert_eq!(refused.code(), code, "{refused:?}");
        serving.abort();
    }
}

#[test]
fn a_message_that_is_compressed_too_large_or_none_is_an_error_before_its_bytes_are_there() {
    let take = |bytes: &[u8]| take(&mut BytesMut::from(bytes));
    assert_eq!(take(&[0, 0, 0]), Ok(None));
    assert_eq!(take(&[0, 0, 0, 0, 2, 1]), Ok(None));
    let codes = [
        &[1, 0, 0, 0, 0][..],
        &[0, 0xff, 0xff, 0xff, 0xff],
        &[0, 0, 0, 0, 1, 0xff],
    ]
    .map(|bytes| take(bytes).unwrap_err().code());
    assert_eq!(
        codes,
        [Code::Internal, Code::ResourceExhausted, Code::Internal]
    );
}

#[tokio::test(start_paused = true)]
async fn a_collector_that_says_nothing_is_asked_and_one_that_does_not_answer_is_gone() {
    let (_up, opening, mut server, _request, mut respond) = asked().await;
    let _outlet = respond.send_response(accepted(), false).unwrap();
    let opening = async { opening.await.unwrap().unwrap() };
    let mut stream = tokio::select! {
        stream = opening => stream,
        _ = server.accept() => panic!("no second stream"),
    };
    let begun = Instant::now();
    // It answers pings, for as long as it is driven.
    let serving = serve(server);
    let silent = tokio::time::timeout(Duration::from_secs(300), stream.message()).await;
    assert!(silent.is_err(), "it lives: {silent:?}");
    assert!(begun.elapsed() >= Duration::from_secs(300));

    let (_up, opening, mut server, _request, mut respond) = asked().await;
    let _outlet = respond.send_response(accepted(), false).unwrap();
    let opening = async { opening.await.unwrap().unwrap() };
    let mut stream = tokio::select! {
        stream = opening => stream,
        _ = server.accept() => panic!("no second stream"),
    };
    // Now nobody drives it: it is there, and deaf.
    let begun = Instant::now();
    let ended = stream.message().await;
    assert_eq!(ended.unwrap_err().code(), Code::Unavailable);
    assert!(begun.elapsed() <= Duration::from_secs(40));
    serving.abort();
}

#[tokio::test(start_paused = true)]
async fn as_long_as_something_wakes_us_often_no_timer_does() {
    let (_up, opening, server, _request, mut respond) = asked().await;
    let mut outlet = respond.send_response(accepted(), false).unwrap();
    let serving = serve(server);
    let mut stream = opening.await.unwrap().unwrap();
    for tick in 1..=60 {
        tokio::time::sleep(Duration::from_secs(5)).await;
        outlet
            .send_data(framed(&receipt(tick)).freeze(), false)
            .unwrap();
        assert_eq!(stream.message().await, Ok(Some(receipt(tick))));
        let due_in = stream.keep_alive.next_look() - Instant::now();
        assert!(due_in > Duration::from_secs(5 + 4), "{due_in:?}");
    }
    serving.abort();
}

#[tokio::test]
async fn a_connection_that_asks_for_nothing_is_left_alone_and_what_came_together_is_read_at_once() {
    let reads = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&reads);
    let wrap = move |io| -> Io { Box::new(Counted { io, reads: counted }) };
    let (up, opening, server, request, mut respond) = asked_over(wrap).await;
    let mut body = request.into_body();
    let mut outlet = respond.send_response(accepted(), false).unwrap();
    let serving = serve(server);
    let mut stream = opening.await.unwrap().unwrap();
    let reads = || reads.load(Ordering::Relaxed);
    // Until both sides have said all that belongs to a beginning.
    for _ in 0..100 {
        assert!(waits(&mut stream).await);
        tokio::task::yield_now().await;
    }
    let quiet = reads();
    for _ in 0..100 {
        assert!(waits(&mut stream).await);
    }
    assert_eq!(reads(), quiet);

    // What is to go goes all the same, and what comes is read.
    assert_eq!(
        &body.data().await.unwrap().unwrap()[..],
        b"\0\0\0\0\x05hello"
    );
    up.send(Bytes::from_static(b"report")).await.unwrap();
    assert!(waits(&mut stream).await);
    assert_eq!(
        &body.data().await.unwrap().unwrap()[..],
        b"\0\0\0\0\x06report"
    );
    for seq in 1..=5 {
        let message = framed(&receipt(seq)).freeze();
        outlet.send_data(message, false).unwrap();
    }
    assert_eq!(stream.message().await, Ok(Some(receipt(1))));
    let first = reads();
    assert!(first > quiet);
    for seq in 2..=5 {
        assert_eq!(stream.message().await, Ok(Some(receipt(seq))));
    }
    assert_eq!(reads(), first);
    serving.abort();
}
