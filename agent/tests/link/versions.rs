//! Old collectors and new ones: what the agent says to each.

use hubmeter_proto::{
    delta::Decoder,
    limits::SAMPLES_PER_REPORT_MAX,
    v1::{self, down::Body as Down, up::Body as Up},
};
use prost::Message as _;

use crate::rig::{Accepted, Agent, Listening};

#[allow(dead_code)] // each test needs another part of it
#[path = "../../../tests/fixtures/link/session.rs"]
mod session;

use session::{Said, Session};

/// The next stream, greeted in protocol 2 with leave to wait for `hold_ms`.
async fn welcome(collector: &mut Listening, resume_seq: u64, hold_ms: u32) -> Accepted {
    let mut stream = collector.streams.recv().await.unwrap();
    assert_eq!(stream.hello().await.protocol, 2);
    let welcome = v1::Welcome {
        protocol: 2,
        resume_seq,
        interval_ms: 10_000,
        hold_ms,
        ..Default::default()
    };
    stream.say(Down::Welcome(welcome)).await;
    stream
}

fn seqs(samples: &[(u64, v1::Sample)]) -> Vec<u64> {
    samples.iter().map(|(seq, _)| *seq).collect()
}

#[tokio::test]
async fn what_waits_goes_together_with_what_must_not() {
    let mut collector = Listening::at(0).await;
    let mut agent = Agent::beside(&collector);
    let mut stream = welcome(&mut collector, 1, 55_000).await;
    // The Welcome has been read.
    agent.pace.changed().await.unwrap();
    let mut decoder = Decoder::default();
    agent.sample(3);
    agent.sample_urgently();
    assert_eq!(seqs(&stream.batch(&mut decoder).await), [1, 2, 3, 4]);
    agent.sample(2);
    stream
        .say(Down::Pace(v1::Pace {
            interval_ms: None,
            hold_ms: Some(0),
        }))
        .await;
    assert_eq!(seqs(&stream.batch(&mut decoder).await), [5, 6]);
    assert_eq!(
        agent.pace.borrow().map(|pace| pace.as_secs()),
        Some(10),
        "what is absent stays"
    );
    agent.sample(1);
    assert_eq!(seqs(&stream.batch(&mut decoder).await), [7]);
}

#[tokio::test]
async fn a_cut_loses_nothing_and_what_is_resent_begins_whole() {
    let mut collector = Listening::at(0).await;
    let mut agent = Agent::beside(&collector);
    let mut stream = welcome(&mut collector, 1, 0).await;
    agent.pace.changed().await.unwrap();
    let mut decoder = Decoder::default();
    let mut got = Vec::new();
    agent.sample(9);
    while got.len() < 9 {
        got.extend(seqs(&stream.batch(&mut decoder).await));
    }
    assert_eq!(got, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    stream.receipt(4).await;
    drop(stream);
    agent.sample(2);
    // Another decoder knows nothing of what was told before.
    let mut stream = welcome(&mut collector, 5, 0).await;
    let (mut decoder, mut got) = (Decoder::default(), Vec::new());
    while got.last() != Some(&11) {
        got.extend(seqs(&stream.batch(&mut decoder).await));
    }
    assert!(got.windows(2).all(|pair| pair[1] == pair[0] + 1), "{got:?}");
    assert!(got[0] <= 5, "{got:?}");
}

#[tokio::test]
async fn hours_without_a_collector_are_told_in_few_messages() {
    let mut collector = Listening::at(0).await;
    let mut agent = Agent::beside(&collector);
    agent.sample(3_600);
    let mut stream = welcome(&mut collector, 1, 0).await;
    let (mut decoder, mut told, mut messages) = (Decoder::default(), Vec::new(), 0);
    while told.last() != Some(&3_600) {
        let batch = stream.batch(&mut decoder).await;
        assert!(batch.len() <= SAMPLES_PER_REPORT_MAX);
        assert!(
            batch
                .iter()
                .all(|(seq, sample)| sample.mono_ms == seq * 5_000)
        );
        told.extend(seqs(&batch));
        messages += 1;
    }
    assert_eq!(told, (1..=3_600).collect::<Vec<_>>());
    assert!(messages <= 70, "{messages} messages");
}

#[tokio::test]
async fn a_recorded_collector_of_the_first_version_hears_the_first_version() {
    let recorded = Session::recorded("protocol1");
    let mut collector = Listening::at(0).await;
    let mut agent = Agent::beside(&collector);
    let mut stream = collector.streams.recv().await.unwrap();
    let mut acknowledged = 0;
    for said in recorded.0 {
        match said {
            // Where the agent of then spoke, ours does.
            Said::Agent(message) => match v1::Up::decode(&message[..]).unwrap().body.unwrap() {
                Up::Hello(then) => {
                    let now = stream.hello().await;
                    assert_eq!(
                        (now.first_seq, now.next_seq),
                        (then.first_seq, then.next_seq)
                    );
                }
                Up::Report(then) => {
                    agent.sample(1);
                    let Some(Up::Report(now)) = stream.next().await else {
                        panic!("no report {}", then.seq);
                    };
                    assert_eq!((now.seq, now.samples.len()), (then.seq, 1));
                    let sample = &now.samples[0];
                    assert_eq!(sample.mono_ms, 5_000 * then.seq, "told whole");
                    assert!(sample.wall_ms > 1_500_000_000_000, "by both clocks");
                }
                Up::Bye(_) => agent.stopper.stop(),
                other => panic!("recorded: {other:?}"),
            },
            Said::Collector(message) => {
                let down = v1::Down::decode(&message[..]).unwrap();
                assert_eq!(
                    down.encode_to_vec(),
                    message,
                    "it goes out as it was recorded"
                );
                if let Some(Down::Receipt(receipt)) = &down.body {
                    acknowledged = receipt.through_seq;
                }
                stream.say(down.body.unwrap()).await;
            }
        }
    }
    assert!(acknowledged > 10);
    assert!(matches!(stream.next().await, Some(Up::Bye(_))));
}
