//! What a peer can reach holds at its bound, one below it, and not one beyond.

use hubmeter_proto::{
    limits::MESSAGE_BYTES_MAX,
    v1::{self, bye::Reason, down::Body},
};

use crate::{
    raw::{Raw, encoded, first_heard, framed, padded},
    rig::{Collector, hello},
    websocket,
};

/// Bytes of all header fields of a stream; `limits::HEADER_LIST_BYTES_MAX` of the collector.
const HEADER_LIST_BYTES_MAX: usize = 8 * 1024;

async fn tcp_collector(dir: &std::path::Path) -> Collector {
    let flags = ["--standalone", "--link-listen", "127.0.0.1:0"];
    Collector::start(dir, &flags, &[]).await
}

#[tokio::test]
async fn a_message_may_have_all_its_bytes_and_not_one_more_by_both_carriers() {
    let dir = tempfile::tempdir().unwrap();
    let collector = tcp_collector(dir.path()).await;
    for (bytes, fits) in [
        (MESSAGE_BYTES_MAX - 1, true),
        (MESSAGE_BYTES_MAX, true),
        (MESSAGE_BYTES_MAX + 1, false),
    ] {
        let message = padded(encoded(v1::up::Body::Hello(hello(5, 1, 1))), bytes);
        assert_eq!(message.len(), bytes);
        let raw = Raw::open(&collector.link_addr(), 65_535, &[]).await;
        let (mut up, response) = raw.drive();
        up.send_data(framed(0, &message), false).unwrap();
        let mut body = response.await.unwrap().into_body();
        let heard = first_heard(&mut body).await;
        assert_eq!(
            matches!(heard, Some(Body::Welcome(_))),
            fits,
            "{bytes} by gRPC: {heard:?}"
        );

        let mut socket = websocket::Agent::open(dir.path(), None).await.unwrap();
        socket.say_bytes(message).await;
        let heard = socket.hear().await;
        assert_eq!(
            matches!(heard, Some(Body::Welcome(_))),
            fits,
            "{bytes} by WebSocket: {heard:?}"
        );
    }
}

#[tokio::test]
async fn headers_may_fill_their_room_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let collector = tcp_collector(dir.path()).await;
    // The usual ones take some 250 bytes of it, each field 32 more than its text.
    for (bytes, fits) in [
        (HEADER_LIST_BYTES_MAX - 512, true),
        (HEADER_LIST_BYTES_MAX, false),
    ] {
        let long = "x".repeat(bytes);
        let raw = Raw::open(&collector.link_addr(), 65_535, &[("x", &long)]).await;
        let (mut up, response) = raw.drive();
        let _ = up.send_data(
            framed(0, &encoded(v1::up::Body::Hello(hello(5, 1, 1)))),
            false,
        );
        let answered = match response.await {
            Ok(response) if response.status() == 200 => {
                first_heard(&mut response.into_body()).await.is_some()
            }
            _ => false,
        };
        assert_eq!(answered, fits, "{bytes} bytes");
    }
}

#[tokio::test]
async fn a_connection_carries_a_few_streams_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let collector = tcp_collector(dir.path()).await;
    let mut raw = Raw::open(&collector.link_addr(), 65_535, &[]).await;
    raw.up
        .send_data(
            framed(0, &encoded(v1::up::Body::Hello(hello(5, 1, 1)))),
            false,
        )
        .unwrap();
    let requests = raw.requests.clone();
    let (_up, response) = raw.drive();
    response.await.unwrap();
    // As the collector's SETTINGS have it: a peer that goes by another number is refused by h2.
    assert_eq!(requests.current_max_send_streams(), 4);
}

#[tokio::test]
async fn as_many_servers_stream_as_the_settings_say_and_the_next_is_told_when_to_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let environment = [("HUBMETER_COLLECTOR_LINK_STREAMS_MAX", "3")];
    let collector = Collector::start(dir.path(), &["--standalone"], &environment).await;
    let named = |name: &str| v1::Hello {
        server_name: name.to_owned(),
        ..hello(1, 1, 1)
    };
    let mut live = Vec::new();
    for name in ["a", "b", "c"] {
        let mut agent = collector.connect(None, named(name)).await.unwrap();
        agent.welcome().await;
        live.push(agent);
    }
    let mut fourth = collector.connect(None, named("d")).await.unwrap();
    let bye = fourth.bye().await;
    assert_eq!(bye.reason(), Reason::Busy);
    assert!(bye.retry_after_ms >= 5_000, "{bye:?}");
    // Who takes over its own place needs none.
    let mut again = collector.connect(None, named("c")).await.unwrap();
    again.welcome().await;
    let (_, metrics) = collector.get("/metrics").await;
    let metrics = metrics.as_str().unwrap();
    for line in [
        "hubmeter_limit_current{limit=\"sessions\"} 3",
        "hubmeter_limit_max{limit=\"sessions\"} 3",
        "hubmeter_limit_dropped_total{limit=\"sessions\"} 1",
        "hubmeter_rejected_total{reason=\"sessions\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
}

#[tokio::test]
async fn every_bound_is_told_with_what_is_in_it_where_it_is_and_what_it_cost() {
    let dir = tempfile::tempdir().unwrap();
    let collector = Collector::standalone(dir.path()).await;
    let (_, metrics) = collector.get("/metrics").await;
    let metrics = metrics.as_str().unwrap();
    let limits: Vec<&str> = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("hubmeter_limit_max{limit=\""))
        .filter_map(|rest| rest.split_once("\"} "))
        // Questions to the hub: there is none here.
        .filter(|(limit, _)| *limit != "verify_concurrent")
        .map(|(limit, max)| {
            assert_ne!(max, "0", "{limit} has no bound");
            limit
        })
        .collect();
    assert!(limits.len() >= 12, "{limits:?}");
    for limit in limits {
        for figure in ["limit_current", "limit_dropped_total"] {
            let line = format!("hubmeter_{figure}{{limit=\"{limit}\"}} ");
            assert!(metrics.contains(&line), "{line}");
        }
    }
}
