//! What one stream may do, and what it is told when it does not.

use hubmeter_proto::v1::{self, bye::Reason};

use crate::rig::{Collector, Over, hello, login, sample};

/// Each promise of a stream, whatever carries it.
macro_rules! by_both_carriers {
    ($($promise:ident,)*) => {
        mod by_grpc {
            $(#[tokio::test]
            async fn $promise() {
                super::$promise(super::Over::Grpc).await;
            })*
        }
        mod by_websocket {
            $(#[tokio::test]
            async fn $promise() {
                super::$promise(super::Over::WebSocket).await;
            })*
        }
    };
}

by_both_carriers! {
    a_sample_is_seen_in_the_api,
    the_newest_stream_wins,
    what_breaks_the_protocol_is_sent_away,
    a_gap_is_acknowledged_and_what_follows_it_taken,
    a_report_sent_again_is_acknowledged_again_and_applied_once,
    a_message_over_the_limit_ends_the_stream_not_the_collector,
    a_full_spool_of_small_reports_is_taken_at_once,
    a_flood_is_told_when_to_come_back,
}

async fn a_sample_is_seen_in_the_api(over: Over) {
    let dir = tempfile::tempdir().unwrap();
    let collector = Collector::standalone(dir.path()).await;
    let mut agent = collector.connect_by(over, hello(1, 1, 1)).await.unwrap();
    agent.welcome().await;
    agent.report(1).await;
    agent.receipt(1).await;
    let path = format!("/api/v1/users/{}/server", login());
    let server = collector
        .until(&path, |server| !server["memory_used_bytes"].is_null())
        .await;
    assert_eq!(server["memory_used_bytes"], 1_000_000_001);
    assert_eq!(server["state"], "live");
    assert_eq!(server["host"], "node");
}

async fn the_newest_stream_wins(over: Over) {
    let dir = tempfile::tempdir().unwrap();
    let collector = Collector::standalone(dir.path()).await;
    let mut old = collector.connect_by(over, hello(1, 1, 1)).await.unwrap();
    old.welcome().await;
    let mut new = collector.connect_by(over, hello(2, 1, 1)).await.unwrap();
    new.welcome().await;
    assert_eq!(old.bye().await.reason(), Reason::Superseded);
    new.report(1).await;
    new.receipt(1).await;
}

async fn what_breaks_the_protocol_is_sent_away(over: Over) {
    let dir = tempfile::tempdir().unwrap();
    let collector = Collector::standalone(dir.path()).await;
    let report = |seq, sample| {
        v1::up::Body::Report(v1::Report {
            seq,
            samples: vec![sample],
        })
    };
    let unbounded = v1::Sample {
        rss_bytes: u64::MAX,
        ..sample(1)
    };
    let cases = [
        ("a hole without a Gap", report(3, sample(3))),
        ("a number out of bounds", report(1, unbounded)),
        ("a second Hello", v1::up::Body::Hello(hello(1, 1, 1))),
    ];
    for (i, (what, body)) in cases.into_iter().enumerate() {
        let instance = u8::try_from(i).unwrap();
        let mut agent = collector
            .connect_by(over, hello(instance, 1, 1))
            .await
            .unwrap();
        agent.welcome().await;
        agent.say(body).await;
        let bye = agent.bye().await;
        assert_eq!(bye.reason(), Reason::Protocol, "{what}");
        assert!(bye.retry_after_ms >= 30_000, "{what}");
    }
}

async fn a_gap_is_acknowledged_and_what_follows_it_taken(over: Over) {
    let dir = tempfile::tempdir().unwrap();
    let collector = Collector::standalone(dir.path()).await;
    let mut agent = collector.connect_by(over, hello(1, 4, 5)).await.unwrap();
    assert_eq!(agent.welcome().await.resume_seq, 1);
    agent
        .say(v1::up::Body::Gap(v1::Gap {
            from_seq: 1,
            through_seq: 3,
        }))
        .await;
    agent.report(4).await;
    agent.receipt(4).await;
}

async fn a_report_sent_again_is_acknowledged_again_and_applied_once(over: Over) {
    let dir = tempfile::tempdir().unwrap();
    let collector = Collector::standalone(dir.path()).await;
    let mut agent = collector.connect_by(over, hello(1, 1, 1)).await.unwrap();
    agent.welcome().await;
    agent.report(1).await;
    agent.receipt(1).await;
    agent.report(1).await;
    agent.receipt(1).await;
    let (_, metrics) = collector.get("/metrics").await;
    let metrics = metrics.as_str().unwrap().to_owned();
    assert!(
        metrics.contains("hubmeter_rejected_total{reason=\"duplicate\"} 1"),
        "{metrics}"
    );
}

async fn a_message_over_the_limit_ends_the_stream_not_the_collector(over: Over) {
    let dir = tempfile::tempdir().unwrap();
    let collector = Collector::standalone(dir.path()).await;
    let mut agent = collector.connect_by(over, hello(1, 1, 1)).await.unwrap();
    agent.welcome().await;
    let big = v1::Sample {
        memory_limit_source: "x".repeat(70_000),
        ..sample(1)
    };
    agent
        .say(v1::up::Body::Report(v1::Report {
            seq: 1,
            samples: vec![big],
        }))
        .await;
    while agent.hear().await.is_some() {}
    let mut again = collector.connect_by(over, hello(1, 1, 1)).await.unwrap();
    again.welcome().await;
}

async fn a_full_spool_of_small_reports_is_taken_at_once(over: Over) {
    let dir = tempfile::tempdir().unwrap();
    let collector = Collector::standalone(dir.path()).await;
    let mut agent = collector
        .connect_by(over, hello(1, 1, 3_601))
        .await
        .unwrap();
    agent.welcome().await;
    // Five hours at five seconds, as fast as it goes: each is a small frame of its own, and h2
    // ends a connection whose small frames stay unread.
    for seq in 1..=3_600 {
        agent.report(seq).await;
    }
    agent.receipt(3_600).await;
}

async fn a_flood_is_told_when_to_come_back(over: Over) {
    let dir = tempfile::tempdir().unwrap();
    let collector = Collector::standalone(dir.path()).await;
    let mut agent = collector.connect_by(over, hello(1, 1, 1)).await.unwrap();
    agent.welcome().await;
    for seq in 1..=10_000 {
        agent.report(seq).await;
    }
    let bye = agent.bye().await;
    assert_eq!(bye.reason(), Reason::Quota);
    assert!(bye.retry_after_ms > 0);
    let metrics = collector.get("/metrics").await.1;
    let metrics = metrics.as_str().unwrap().to_owned();
    assert!(
        metrics.contains("hubmeter_rejected_total{reason=\"quota\"} 1"),
        "{metrics}"
    );
}
