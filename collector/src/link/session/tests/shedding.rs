//! What streams are asked for and refused when there is too much of something.

use hubmeter_proto::v1;
use prost::Message as _;
use tokio_stream::wrappers::ReceiverStream;

use super::super::*;
use crate::{
    clock::ManualClock,
    inbox::{clerk::Clerk, journal::SqliteJournal},
};

pub(super) const START_MS: i64 = 1_800_000_000_000;

/// Streams over an inbox that nobody empties.
pub(super) struct Bench {
    pub(super) sessions: Sessions,
    inbox: Inbox,
    clock: Arc<ManualClock>,
    pub(super) stats: Stats,
    _clerk: Clerk<SqliteJournal>,
    _dir: tempfile::TempDir,
}

/// An agent at one of them.
pub(super) struct Agent {
    up: mpsc::Sender<Result<Bytes, Status>>,
    pub(super) down: mpsc::Receiver<Result<Outgoing, Status>>,
}

impl Bench {
    pub(super) fn new(interval: Option<Duration>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let journal = SqliteJournal::open(dir.path()).unwrap();
        let (clock, stats) = (Arc::new(ManualClock::at(START_MS)), Stats::new());
        let (facts, _) = std::sync::mpsc::sync_channel(1);
        let (inbox, clerk) = Inbox::new(journal, facts, clock.clone(), stats.clone());
        let settings = Settings {
            streams_max: 100_000,
            interval,
            api_url: String::new(),
        };
        let sessions = Sessions::new(settings, inbox.clone(), clock.clone(), stats.clone());
        Self {
            sessions,
            inbox,
            clock,
            stats,
            _clerk: clerk,
            _dir: dir,
        }
    }

    /// A stream of `user`'s that says Hello with an interval of five seconds.
    pub(super) async fn agent(&self, user: &str) -> Agent {
        let (up, messages) = mpsc::channel(8);
        let (answers, down) = mpsc::channel(limits::DOWN_QUEUE);
        let hello = v1::Hello {
            protocol: 1,
            instance_id: vec![1; 16].into(),
            first_seq: 1,
            next_seq: 1,
            mono_ms: 1,
            interval_ms: 5_000,
            host: "node".to_owned(),
            ..Default::default()
        };
        let body = Some(v1::up::Body::Hello(hello));
        up.send(Ok(v1::Up { body }.encode_to_vec().into()))
            .await
            .unwrap();
        let owner = Owner::Server(ServerKey::new(user, ""));
        let sessions = self.sessions.clone();
        tokio::spawn(async move {
            sessions
                .run(owner, ReceiverStream::new(messages), answers)
                .await;
        });
        Agent { up, down }
    }
}

impl Agent {
    pub(super) async fn hear(&mut self) -> Option<Outgoing> {
        let heard = timeout(Duration::from_secs(20), self.down.recv()).await;
        heard.expect("it says something").transpose().unwrap()
    }

    pub(super) async fn welcome(&mut self) {
        let heard = self.hear().await;
        assert!(matches!(heard, Some(Outgoing::Welcome { .. })), "{heard:?}");
    }
}

fn paced(interval_ms: u32) -> Option<Outgoing> {
    Some(Outgoing::Pace {
        interval_ms: Some(interval_ms),
        hold_ms: None,
    })
}

pub(super) fn busy(heard: &Option<Outgoing>) -> Option<u32> {
    match heard {
        Some(Outgoing::Bye {
            reason: ByeReason::Busy,
            retry_after_ms,
        }) => Some(*retry_after_ms),
        _ => None,
    }
}

#[tokio::test]
async fn when_the_inbox_fills_agents_are_asked_for_a_longer_interval_and_then_for_the_usual_one() {
    for (settings, asked_ms, usual_ms) in [
        (None, 10_000, 0),
        (Some(Duration::from_secs(10)), 20_000, 10_000),
        (Some(Duration::from_secs(60)), 60_000, 60_000),
    ] {
        let bench = Bench::new(settings);
        let mut agent = bench.agent("ann").await;
        agent.welcome().await;
        let pressure = bench.inbox.pressure();
        pressure.look(limits::SHED_INTERVAL_PERCENT, bench.clock.now_ms());
        if asked_ms != usual_ms {
            let paced = paced(asked_ms);
            assert_eq!(agent.hear().await, paced);
        }
        // Who comes now is asked at once.
        let mut later = bench.agent("bob").await;
        later.welcome().await;
        if asked_ms != usual_ms {
            let paced = paced(asked_ms);
            assert_eq!(later.hear().await, paced);
        }
        for _ in 0..4 {
            pressure.look(0, bench.clock.now_ms());
            bench.clock.advance(limits::SHED_RELIEF_MS);
            pressure.look(0, bench.clock.now_ms());
        }
        if asked_ms != usual_ms {
            let paced = paced(usual_ms);
            assert_eq!(agent.hear().await, paced);
        }
        drop((agent.up, later.up));
    }
}

#[tokio::test]
async fn a_nearly_full_inbox_takes_nobody_new_and_keeps_those_who_stream() {
    let bench = Bench::new(None);
    let mut agent = bench.agent("ann").await;
    agent.welcome().await;
    bench
        .inbox
        .pressure()
        .look(limits::SHED_NEWCOMERS_PERCENT, 0);
    let mut newcomer = bench.agent("bob").await;
    assert!(busy(&newcomer.hear().await).is_some_and(|ms| ms >= 5_000));
    assert_eq!(newcomer.hear().await, None);
    assert_eq!(bench.stats.rejected(Reject::Shedding), 1);
    assert!(matches!(agent.hear().await, Some(Outgoing::Pace { .. })));
    assert_eq!(bench.sessions.count(), 1);
}

#[tokio::test]
async fn a_crowd_is_let_in_at_a_rate_and_the_rest_is_told_times_that_differ() {
    let bench = Bench::new(None);
    let mut waits = Vec::new();
    let owner = Owner::Server(ServerKey::new("ann", ""));
    for number in 0..limits::ACCEPTS_BURST + 200 {
        match bench.sessions.pass(&owner) {
            Ok(()) => assert!(number < limits::ACCEPTS_BURST, "{number}"),
            Err(End::Ours(ByeReason::Busy, wait)) => waits.push(wait),
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(waits.len(), 200);
    waits.sort();
    waits.dedup();
    assert!(waits.len() > 150, "{} different times", waits.len());
    assert_eq!(bench.stats.rejected(Reject::Turnstile), 200);
    bench.clock.advance(1_000);
    assert!(bench.sessions.pass(&owner).is_ok());
}

#[test]
fn a_server_may_send_its_quota_at_once_and_not_one_report_or_byte_more() {
    let mut quota = Quota::new(0);
    for _ in 0..limits::REPORTS_BURST {
        assert_eq!(quota.message(1, 0), Ok(()));
    }
    assert!(quota.message(1, 0).is_err());
    // The rate from then on.
    for _ in 0..limits::REPORTS_PER_SECOND {
        assert_eq!(quota.message(1, 1_000), Ok(()));
    }
    assert!(quota.message(1, 1_000).is_err());

    let burst = usize::try_from(limits::REPORT_BYTES_BURST).unwrap();
    for (bytes, fits) in [(burst - 1, true), (burst, true), (burst + 1, false)] {
        assert_eq!(Quota::new(0).message(bytes, 0).is_ok(), fits, "{bytes}");
    }
}

#[tokio::test]
async fn a_server_may_open_so_many_streams_at_once_and_not_one_more() {
    let bench = Bench::new(None);
    for number in 1..=limits::STREAMS_BURST {
        let mut agent = bench.agent("ann").await;
        let heard = agent.hear().await;
        assert!(
            matches!(heard, Some(Outgoing::Welcome { .. })),
            "{number}: {heard:?}"
        );
    }
    let heard = bench.agent("ann").await.hear().await;
    assert!(
        matches!(
            heard,
            Some(Outgoing::Bye {
                reason: ByeReason::Quota,
                ..
            })
        ),
        "{heard:?}"
    );
    // Somebody else's streams are their own.
    bench.agent("bob").await.welcome().await;
}
