//! Several addresses of one collector: the first that works, and the better one again when it
//! works again, without a report lost or out of order.

use std::time::Duration;

use hubmeter_agent::board::LinkState;
use hubmeter_proto::v1::{self, bye::Reason, down::Body as Down, up::Body as Up};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::http::StatusCode;

use crate::{
    rig::{Agent, Listening},
    websocket::Proxy,
};

/// Never within a test.
const LATER: Duration = Duration::from_secs(3600);

/// As soon as may be.
const SOON: Duration = Duration::from_millis(20);

/// A port where nobody listens, and where a collector may begin to.
async fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().port()
}

#[tokio::test]
async fn the_first_address_that_works_carries_the_reports_and_why_the_other_does_not_is_told() {
    let (proxy, port) = (Proxy::start().await, free_port().await);
    let urls = format!("grpc://127.0.0.1:{port} {}", proxy.url());
    let mut agent = Agent::with_addresses(&urls, LATER);
    let mut stream = proxy.accept(None).await.unwrap();
    stream.welcome().await;
    agent.sample(2);
    assert_eq!(stream.reports(2).await, [1, 2]);
    let link = agent.board.link();
    assert_eq!(link.state, LinkState::Streaming);
    assert_eq!(
        (link.collector, link.carrier),
        (Some(proxy.url()), Some("websocket"))
    );
    assert_eq!(link.passed_over.len(), 1);
    let over = &link.passed_over[0];
    assert_eq!(over.collector, format!("grpc://127.0.0.1:{port}"));
    assert!(over.why.contains("refused"), "{}", over.why);
}

#[tokio::test]
async fn either_carrier_may_come_first_in_the_settings() {
    let (proxy, mut collector) = (Proxy::start().await, Listening::at(0).await);
    let urls = format!("{} grpc://127.0.0.1:{}", proxy.url(), collector.port);
    let mut agent = Agent::with_addresses(&urls, LATER);
    assert!(proxy.accept(Some(StatusCode::NOT_FOUND)).await.is_none());
    let (_, mut stream) = collector.welcome(None).await;
    agent.sample(1);
    assert_eq!(stream.reports(1).await, [1]);
    let link = agent.board.link();
    assert_eq!(link.carrier, Some("grpc"));
    assert!(link.passed_over[0].why.contains("404"), "{link:?}");
}

#[tokio::test]
async fn a_fallback_is_kept_when_it_breaks_and_nothing_else_is_tried_first() {
    let (proxy, mut collector) = (Proxy::start().await, Listening::at(0).await);
    let closed = free_port().await;
    let urls = format!(
        "grpc://127.0.0.1:{closed} {} grpc://127.0.0.1:{}",
        proxy.url(),
        collector.port
    );
    let mut agent = Agent::with_addresses(&urls, LATER);
    for seq in 1..=3 {
        let mut stream = proxy.accept(None).await.unwrap();
        let hello = stream.welcome().await;
        assert_eq!(hello.first_seq, seq);
        agent.sample(1);
        assert_eq!(stream.reports(1).await, [seq]);
        let receipt = v1::Receipt { through_seq: seq };
        stream.say(Down::Receipt(receipt)).await;
        let bye = v1::Bye {
            reason: Reason::Shutdown.into(),
            retry_after_ms: 1,
        };
        stream.say(Down::Bye(bye)).await;
    }
    assert!(collector.streams.try_recv().is_err());
}

#[tokio::test]
async fn the_better_address_takes_over_when_it_works_and_what_has_no_receipt_goes_with_it() {
    let (proxy, port) = (Proxy::start().await, free_port().await);
    let urls = format!("grpc://127.0.0.1:{port} {}", proxy.url());
    let mut agent = Agent::with_addresses(&urls, SOON);
    let mut old = proxy.accept(None).await.unwrap();
    old.welcome().await;
    agent.sample(4);
    assert_eq!(old.reports(4).await, [1, 2, 3, 4]);
    old.say(Down::Receipt(v1::Receipt { through_seq: 1 })).await;

    let mut collector = Listening::at(port).await;
    let mut new = collector.streams.recv().await.unwrap();
    let hello = new.hello().await;
    assert_eq!((hello.instance_id.len(), hello.next_seq), (16, 5));
    // The old stream carries reports for as long as the new one is not welcome.
    agent.sample(1);
    assert_eq!(old.reports(1).await, [5]);
    // As a collector does: the newest stream wins, and the other is told so. What it had of the
    // old stream is on its disk through 3.
    old.say(Down::Bye(v1::Bye {
        reason: Reason::Superseded.into(),
        retry_after_ms: 0,
    }))
    .await;
    new.say(Down::Welcome(v1::Welcome {
        protocol: 1,
        resume_seq: 4,
        ..Default::default()
    }))
    .await;
    agent.sample(1);
    assert_eq!(new.reports(3).await, [4, 5, 6]);
    while old.next().await.is_some() {}
    let link = agent.board.link();
    assert_eq!(
        (link.state, link.carrier),
        (LinkState::Streaming, Some("grpc"))
    );
    assert_eq!(link.passed_over, []);
    assert!(!agent.link.is_finished());
}

#[tokio::test]
async fn a_better_address_that_answers_no_disturbs_nothing() {
    let (proxy, mut collector) = (Proxy::start().await, Listening::at(0).await);
    let urls = format!("grpc://127.0.0.1:{} {}", collector.port, proxy.url());
    let mut agent = Agent::with_addresses(&urls, SOON);
    // At first it hangs up before it says anything.
    drop(collector.streams.recv().await.unwrap());
    let mut stream = proxy.accept(None).await.unwrap();
    stream.welcome().await;
    for seq in 1..=3 {
        let mut refusing = collector.streams.recv().await.unwrap();
        refusing.hello().await;
        if seq == 2 {
            refusing.bye(Reason::Busy, 60_000).await;
        }
        drop(refusing);
        agent.sample(1);
        assert_eq!(stream.reports(1).await, [seq]);
        stream
            .say(Down::Receipt(v1::Receipt { through_seq: seq }))
            .await;
    }
    assert_eq!(agent.board.link().carrier, Some("websocket"));
}

#[tokio::test]
async fn a_stream_that_our_own_failed_attempt_ended_is_no_other_agent() {
    let (proxy, mut collector) = (Proxy::start().await, Listening::at(0).await);
    let urls = format!("grpc://127.0.0.1:{} {}", collector.port, proxy.url());
    let mut agent = Agent::with_addresses(&urls, SOON);
    drop(collector.streams.recv().await.unwrap());
    let mut stream = proxy.accept(None).await.unwrap();
    stream.welcome().await;
    // It hears the new Hello, lets it win, and breaks before it says so.
    let mut half = collector.streams.recv().await.unwrap();
    half.hello().await;
    drop(half);
    tokio::spawn(async move { while collector.streams.recv().await.is_some() {} });
    stream
        .say(Down::Bye(v1::Bye {
            reason: Reason::Superseded.into(),
            retry_after_ms: 0,
        }))
        .await;
    agent.sample(1);
    let mut again = proxy.accept(None).await.unwrap();
    again.welcome().await;
    assert_eq!(again.reports(1).await, [1]);
}

#[tokio::test]
async fn stopping_while_a_better_address_is_tried_still_drains_and_says_goodbye() {
    let (proxy, mut collector) = (Proxy::start().await, Listening::at(0).await);
    let urls = format!("grpc://127.0.0.1:{} {}", collector.port, proxy.url());
    let mut agent = Agent::with_addresses(&urls, SOON);
    drop(collector.streams.recv().await.unwrap());
    let mut stream = proxy.accept(None).await.unwrap();
    stream.welcome().await;
    agent.sample(1);
    assert_eq!(stream.reports(1).await, [1]);
    let mut hangs = collector.streams.recv().await.unwrap();
    hangs.hello().await;
    agent.stopper.stop();
    stream
        .say(Down::Receipt(v1::Receipt { through_seq: 1 }))
        .await;
    match stream.next().await {
        Some(Up::Bye(bye)) => assert_eq!(bye.reason(), Reason::Stopping),
        other => panic!("no goodbye: {other:?}"),
    }
    drop(stream);
    agent.link.await.unwrap();
}
