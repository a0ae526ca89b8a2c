//! Who looks decides how long an agent may wait.

use std::sync::mpsc::sync_channel;

use hubmeter_proto::v1;
use prost::Message as _;
use tokio_stream::wrappers::ReceiverStream;

use super::super::*;
use crate::{
    clock::ManualClock,
    inbox::{clerk::Clerk, journal::SqliteJournal},
};

const PATIENCE: Duration = Duration::from_secs(20);

/// One stream, without a connection below it and without anybody who writes its inbox.
struct Bench {
    sessions: Sessions,
    clock: Arc<ManualClock>,
    up: mpsc::Sender<Result<Bytes, Status>>,
    down: mpsc::Receiver<Result<Outgoing, Status>>,
    /// Nobody runs it: what is deposited stays in the queue.
    _clerk: Clerk<SqliteJournal>,
    _dir: tempfile::TempDir,
}

impl Bench {
    async fn welcomed(protocol: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(1_000_000));
        let (onward, _) = sync_channel(1);
        let journal = SqliteJournal::open(dir.path()).unwrap();
        let stats = Stats::new();
        let (inbox, clerk) = Inbox::new(journal, onward, clock.clone(), stats.clone());
        let settings = Settings {
            streams_max: 1,
            interval: None,
            api_url: String::new(),
        };
        let sessions = Sessions::new(settings, inbox, clock.clone(), stats);
        let (up, messages) = mpsc::channel(8);
        let (answers, down) = mpsc::channel(limits::DOWN_QUEUE);
        let running = sessions.clone();
        tokio::spawn(async move {
            let messages = ReceiverStream::new(messages);
            running.run(Owner::Server(key()), messages, answers).await;
        });
        let mut bench = Self {
            sessions,
            clock,
            up,
            down,
            _clerk: clerk,
            _dir: dir,
        };
        let hello = v1::Hello {
            protocol,
            instance_id: vec![1; 16].into(),
            first_seq: 1,
            next_seq: 1,
            interval_ms: 5_000,
            ..v1::Hello::default()
        };
        bench.say(v1::up::Body::Hello(hello)).await;
        assert!(matches!(bench.hear().await, Outgoing::Welcome { .. }));
        bench
    }

    async fn say(&self, body: v1::up::Body) {
        let message = v1::Up { body: Some(body) }.encode_to_vec();
        self.up.send(Ok(message.into())).await.unwrap();
    }

    /// A message that makes the stream look at the time.
    async fn gap(&self, seq: u64) {
        self.say(v1::up::Body::Gap(v1::Gap {
            from_seq: seq,
            through_seq: seq,
        }))
        .await;
    }

    async fn hear(&mut self) -> Outgoing {
        let heard = timeout(PATIENCE, self.down.recv()).await;
        heard.expect("it says something").unwrap().unwrap()
    }

    /// A minute after anybody looked.
    async fn unseen(&self, seq: u64) {
        let looked_ms = i64::try_from(limits::WATCHED.as_millis()).unwrap();
        self.clock.advance(2 * looked_ms);
        self.gap(seq).await;
    }
}

fn held(hold_ms: u32) -> Outgoing {
    Outgoing::Pace {
        interval_ms: None,
        hold_ms: Some(hold_ms),
    }
}

fn key() -> ServerKey {
    ServerKey::new("ada", "")
}

#[tokio::test]
async fn leave_to_wait_is_given_when_nobody_looks_and_taken_back_when_somebody_does() {
    let mut bench = Bench::welcomed(2).await;
    for round in 1..=2 {
        bench.unseen(round).await;
        assert_eq!(bench.hear().await, held(55_000));
        bench
            .sessions
            .watch([key(), ServerKey::new("bob", "")].into_iter());
        assert_eq!(bench.hear().await, held(0));
    }
}

#[tokio::test]
async fn an_agent_of_the_first_version_is_never_told_of_leave() {
    let mut bench = Bench::welcomed(1).await;
    bench.unseen(1).await;
    bench.sessions.watch(std::iter::once(key()));
    bench.sessions.end(&key(), ByeReason::Superseded);
    assert!(matches!(bench.hear().await, Outgoing::Bye { .. }));
}
