//! Old agents and new ones: what the first version said, byte for byte, and what the second says.

use crate::{
    rig::{Collector, hello, login, sample},
    websocket,
};
use hubmeter_proto::{
    delta::{Batch, Encoder},
    v1::{self, bye::Reason, down, up},
};

#[allow(dead_code)] // each test needs another part of it
#[path = "../../../tests/fixtures/link/session.rs"]
mod session;

use session::{Said, Session};

/// Waits until the API tells `expected` of our server's samples.
async fn expect_history(collector: &Collector, field: &str, expected: &[u64]) {
    let user = login();
    let path = format!("/api/v1/users/{user}/server/history?from=-1h&fields={field}");
    let expected = serde_json::json!(expected);
    collector
        .until(&path, |answer| answer["columns"][field] == expected)
        .await;
}

fn hello_of(protocol: u32, instance: u8, next_seq: u64) -> v1::Hello {
    v1::Hello {
        protocol,
        ..hello(instance, 1, next_seq)
    }
}

/// Samples as the second version tells them.
struct Teller {
    encoder: Encoder,
    next_seq: u64,
}

impl Teller {
    fn new() -> Self {
        Self {
            encoder: Encoder::default(),
            next_seq: 1,
        }
    }

    /// The next `count` samples in one message.
    fn batch(&mut self, count: u64) -> up::Body {
        let (first_seq, mut samples) = (self.next_seq, Vec::new());
        for _ in 0..count {
            self.encoder.encode(&sample(self.next_seq), &mut samples);
            self.next_seq += 1;
        }
        up::Body::Batch(Batch::write(first_seq == 1, first_seq, &samples).into())
    }
}

#[tokio::test]
async fn a_recorded_agent_of_the_first_version_is_taken_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let collector = Collector::standalone(dir.path()).await;
    let recorded = Session::recorded("protocol1");
    let samples = recorded.samples();
    let mut agent = websocket::Agent::open(dir.path(), None).await.unwrap();
    let mut acknowledged = 0;
    for said in recorded.0 {
        // What the collector of then answered is answered now: a Welcome, a receipt for each.
        match said {
            Said::Agent(message) => agent.say_bytes(message).await,
            Said::Collector(message) => match prost::Message::decode(&message[..]) {
                Ok(v1::Down {
                    body: Some(down::Body::Welcome(then)),
                }) => match agent.hear().await {
                    Some(down::Body::Welcome(now)) => assert_eq!(
                        (now.protocol, now.resume_seq, now.interval_ms, now.hold_ms),
                        (then.protocol, then.resume_seq, then.interval_ms, 0)
                    ),
                    other => panic!("no Welcome: {other:?}"),
                },
                Ok(v1::Down {
                    body: Some(down::Body::Receipt(then)),
                }) => {
                    while acknowledged < then.through_seq {
                        match agent.hear().await {
                            Some(down::Body::Receipt(now)) => acknowledged = now.through_seq,
                            other => panic!("no receipt: {other:?}"),
                        }
                    }
                }
                other => panic!("recorded: {other:?}"),
            },
        }
    }
    assert_eq!(acknowledged, samples.len() as u64);
    let figures = |of: fn(&v1::Sample) -> u64| samples.iter().map(of).collect::<Vec<_>>();
    expect_history(&collector, "rss_bytes", &figures(|sample| sample.rss_bytes)).await;
    expect_history(
        &collector,
        "cpu_millis",
        &figures(|sample| sample.cpu_millis),
    )
    .await;
}

#[tokio::test]
async fn the_newest_version_that_both_speak_is_spoken() {
    let dir = tempfile::tempdir().unwrap();
    let collector = Collector::standalone(dir.path()).await;
    for (theirs, spoken) in [(1, 1), (2, 2), (9, 2)] {
        let instance = u8::try_from(theirs).unwrap();
        let mut agent = collector
            .connect(None, hello_of(theirs, instance, 1))
            .await
            .unwrap();
        assert_eq!(agent.welcome().await.protocol, spoken);
    }
    let mut none = collector.connect(None, hello_of(0, 7, 1)).await.unwrap();
    assert_eq!(none.bye().await.reason(), Reason::Version);
}

#[tokio::test]
async fn samples_told_together_are_each_seen_each_acknowledged_and_outlive_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let collector = Collector::standalone(dir.path()).await;
    let mut agent = collector.connect(None, hello_of(2, 3, 1)).await.unwrap();
    agent.welcome().await;
    let mut teller = Teller::new();
    for count in [1, 12, 5] {
        agent.say(teller.batch(count)).await;
    }
    agent.receipt(18).await;
    let expected: Vec<u64> = (1..=20).map(|seq| 1_000_000_000 + seq).collect();
    expect_history(&collector, "memory_used_bytes", &expected[..18]).await;
    collector.kill();

    let collector = Collector::standalone(dir.path()).await;
    expect_history(&collector, "memory_used_bytes", &expected[..18]).await;
    let mut agent = collector.connect(None, hello_of(2, 3, 19)).await.unwrap();
    assert_eq!(agent.welcome().await.resume_seq, 19);
    // A resend begins whole, where the agent's block does; what is known of it is passed over.
    let mut again = Teller::new();
    agent.say(again.batch(20)).await;
    agent.receipt(20).await;
    expect_history(&collector, "memory_used_bytes", &expected).await;
}

#[tokio::test]
async fn a_difference_to_nothing_and_a_batch_in_the_first_version_are_sent_away() {
    let dir = tempfile::tempdir().unwrap();
    let collector = Collector::standalone(dir.path()).await;
    let follows = || up::Body::Batch(Batch::write(false, 1, &[0]).into());
    let mut after_gap = Teller::new();
    let gap = up::Body::Gap(v1::Gap {
        from_seq: 2,
        through_seq: 5,
    });
    after_gap.batch(1);
    after_gap.next_seq = 6;
    let cases = [
        ("a difference first", 2, vec![follows()]),
        ("a batch in protocol 1", 1, vec![Teller::new().batch(1)]),
        (
            "a difference across a gap",
            2,
            vec![Teller::new().batch(1), gap, after_gap.batch(1)],
        ),
        (
            "noise",
            2,
            vec![up::Body::Batch(vec![1, 1, 0xff, 0xff].into())],
        ),
        ("nothing", 2, vec![up::Body::Batch(vec![].into())]),
    ];
    for (i, (what, protocol, bodies)) in cases.into_iter().enumerate() {
        let instance = u8::try_from(i).unwrap();
        let mut agent = collector
            .connect(None, hello_of(protocol, instance, 1))
            .await
            .unwrap();
        agent.welcome().await;
        for body in bodies {
            agent.say(body).await;
        }
        assert_eq!(agent.bye().await.reason(), Reason::Protocol, "{what}");
    }
}
