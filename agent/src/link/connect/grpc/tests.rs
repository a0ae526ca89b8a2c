//! One stream against a server of frames, played by the test, under a clock that jumps.

use std::time::Duration;

use h2::server;
use hyper::{Response, header::HeaderValue};
use tokio::{io::DuplexStream, time::Instant};

use super::*;

type Server = server::Connection<DuplexStream, Bytes>;
type Respond = server::SendResponse<Bytes>;

/// Both ends of a connection, the stream asked for but not answered.
async fn asked() -> (
    mpsc::Sender<Bytes>,
    tokio::task::JoinHandle<Result<Stream, Status>>,
    Server,
    hyper::Request<RecvStream>,
    Respond,
) {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let (up, messages) = mpsc::channel(8);
    up.send(Bytes::from_static(b"hello")).await.unwrap();
    let opening = tokio::spawn(async move {
        let connection = Connection::begin(Box::new(ours), None, "hub:8443", true).await?;
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
