//! Notices that find no room, and what that means for an order that one of them ends.

use super::{
    super::*,
    shedding::{Agent, Bench, START_MS, busy},
};
use crate::{text::Label, verdict::WorkloadName, warning::KernelEnd};

fn key() -> ServerKey {
    ServerKey::new("ada", "")
}

/// An idle kernel is to be shut down.
fn order() -> Notice {
    notice(Some(START_MS + 900_000))
}

/// It no longer is.
fn order_ends() -> Notice {
    notice(None)
}

fn notice(ends_at_ms: Option<i64>) -> Notice {
    let end = KernelEnd {
        key: key(),
        kernel: WorkloadName {
            id: Label::clean("k1", 64),
            title: Label::clean("train.ipynb", 64),
        },
        episode: "e".to_owned(),
        at_ms: START_MS,
        ends_at_ms,
        idle_ms: None,
        holds_bytes: None,
    };
    Notice {
        verdict: end.verdict(),
        text: end.to_string(),
        stops_in_ms: end.ends_in_ms(),
    }
}

/// As many as wait for a stream, told in one breath: it takes none of them in between.
fn fill(bench: &Bench, first: &Notice) {
    assert!(bench.sessions.notify(&key(), first.clone()));
    for nth in 1..limits::NOTICES_QUEUED_MAX {
        assert!(bench.sessions.notify(&key(), order()), "{nth}");
    }
}

/// Until the stream took all that was told.
async fn taken(bench: &Bench) {
    let room = || bench.sessions.0.live.lock()[&key()].commands.capacity();
    while room() < limits::NOTICES_QUEUED_MAX {
        tokio::task::yield_now().await;
    }
}

async fn ends_as_busy(agent: &mut Agent) {
    loop {
        match agent.hear().await {
            Some(Outgoing::Notice(_)) => {}
            heard => return assert!(busy(&heard).is_some(), "{heard:?}"),
        }
    }
}

#[tokio::test]
async fn a_notice_without_room_is_counted_and_one_that_ends_an_order_ends_the_stream() {
    let bench = Bench::new(None);
    let mut agent = bench.agent("ada").await;
    agent.welcome().await;
    let dropped = || {
        let name = "hubmeter_limit_dropped_total{limit=\"notices\"}";
        let text = bench.stats.prometheus_text();
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.map(|count| count.trim().to_owned())
    };
    fill(&bench, &order());
    assert_eq!(dropped().as_deref(), Some("0"));
    assert!(!bench.sessions.notify(&key(), order()));
    assert!(!bench.sessions.notify(&key(), order_ends()));
    assert_eq!(dropped().as_deref(), Some("2"));
    ends_as_busy(&mut agent).await;
}

#[tokio::test]
async fn the_end_of_an_order_that_gives_way_to_newer_notices_ends_the_stream() {
    let bench = Bench::new(None);
    let mut agent = bench.agent("ada").await;
    agent.welcome().await;
    // The socket has its fill, and nobody reads it.
    for _ in 0..limits::DOWN_QUEUE {
        assert!(bench.sessions.notify(&key(), order()));
    }
    while agent.down.len() < limits::DOWN_QUEUE {
        tokio::task::yield_now().await;
    }
    fill(&bench, &order_ends());
    taken(&bench).await;
    assert!(bench.sessions.notify(&key(), order()));
    // Nobody makes room before the stream takes it.
    let gone = async {
        while bench.sessions.count() > 0 {
            tokio::task::yield_now().await;
        }
    };
    let gone = timeout(Duration::from_secs(20), gone).await;
    gone.expect("the stream ends");
    ends_as_busy(&mut agent).await;
}
