//! What is told of people beside reports, and to whom.

use hubmeter_proto::{
    delta::Decoder,
    v1::{self, down::Body as Down, up::Body as Up},
};

use crate::rig::{Accepted, Agent, Listening};

fn welcome(resume_seq: u64, takes_activity: bool) -> Down {
    Down::Welcome(v1::Welcome {
        protocol: 2,
        resume_seq,
        takes_activity,
        ..v1::Welcome::default()
    })
}

fn at_work(agent: &Agent) -> v1::Activity {
    let activity = v1::Activity {
        input_mono_ms: Some(7_000),
        input_kind: v1::InputKind::Typing.into(),
        ..v1::Activity::default()
    };
    agent.outbox.note(activity.clone());
    agent.outbox.show(vec!["e1".to_owned()]);
    activity
}

async fn greeted(collector: &mut Listening, resume_seq: u64, takes: bool) -> Accepted {
    let mut stream = collector.streams.recv().await.unwrap();
    stream.hello().await;
    stream.say(welcome(resume_seq, takes)).await;
    stream
}

#[tokio::test]
async fn what_people_do_comes_before_the_next_report_and_what_they_saw_until_that_is_on_disk() {
    let mut collector = Listening::at(0).await;
    let mut agent = Agent::beside(&collector);
    let activity = at_work(&agent);
    agent.sample(1);
    let shown = v1::Shown {
        episodes: vec!["e1".to_owned()],
    };
    let mut stream = greeted(&mut collector, 1, true).await;
    assert_eq!(stream.next().await, Some(Up::Activity(activity.clone())));
    assert_eq!(stream.next().await, Some(Up::Shown(shown.clone())));
    let mut decoder = Decoder::default();
    assert_eq!(stream.batch(&mut decoder).await.len(), 1);
    // Cut without a receipt: all of it again.
    drop(stream);
    let mut stream = greeted(&mut collector, 1, true).await;
    assert_eq!(stream.next().await, Some(Up::Activity(activity.clone())));
    assert_eq!(stream.next().await, Some(Up::Shown(shown)));
    let mut decoder = Decoder::default();
    assert_eq!(stream.batch(&mut decoder).await.len(), 1);
    // With one, what was seen is not told again, and what did not change is not either.
    drop(stream);
    let mut stream = greeted(&mut collector, 2, true).await;
    agent.sample(1);
    assert_eq!(stream.next().await, Some(Up::Activity(activity)));
    let mut decoder = Decoder::default();
    for last_seq in [2, 3] {
        let batch = stream.batch(&mut decoder).await;
        assert_eq!(batch.last().map(|(seq, _)| *seq), Some(last_seq));
        agent.sample(1);
    }
}

#[tokio::test]
async fn a_collector_that_does_not_say_that_it_takes_it_hears_nothing_of_people() {
    let mut collector = Listening::at(0).await;
    let mut agent = Agent::beside(&collector);
    at_work(&agent);
    agent.sample(1);
    let mut stream = greeted(&mut collector, 1, false).await;
    let mut decoder = Decoder::default();
    assert_eq!(stream.batch(&mut decoder).await.len(), 1);
}
