//! The link against a real gRPC server that acknowledges, cuts, restarts, and says what a
//! collector may say.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    unreachable_pub
)]

mod carriers;
mod framing;
mod people;
mod renewal;
mod rig;
mod versions;
mod websocket;

use std::time::Duration;

use hubmeter_agent::board::LinkState;
use hubmeter_proto::v1::{
    self, bye::Reason, down::Body as Down, link_server::LinkServer, up::Body as Up,
};
use rig::{Agent, Collector, INSTANCE, Listening, Over};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;

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
    reports_flow_in_order_under_the_servers_token,
    what_has_no_receipt_is_resent_after_a_cut_and_what_has_one_is_not,
    a_collector_that_restarts_misses_nothing,
    an_agent_that_starts_before_its_collector_finds_it,
    what_overflowed_is_declared_as_one_gap,
    a_report_larger_than_the_collector_takes_is_declared_not_sent,
    an_agent_whose_place_was_taken_does_not_come_back,
    a_bye_is_obeyed_and_the_agent_comes_back_after_it,
    the_collectors_pace_is_passed_on_within_our_bounds,
    a_notice_reaches_the_board_until_it_is_cleared,
    stopping_waits_for_the_last_receipt_and_says_goodbye,
    a_backlog_of_hours_passes_a_collector_that_reads_slowly,
    the_real_agent_streams_what_its_server_uses_and_says_goodbye_when_it_ends,
}

async fn reports_flow_in_order_under_the_servers_token(over: Over) {
    let mut collector = Listening::over(over, 0).await;
    let mut agent = Agent::beside(&collector);
    let (hello, mut stream) = collector.welcome(None).await;
    assert_eq!(stream.token.as_deref(), Some("Bearer t0ken"));
    assert_eq!(hello.instance_id, INSTANCE.to_vec());
    assert_eq!((hello.first_seq, hello.next_seq, hello.protocol), (1, 1, 2));
    assert_eq!(
        (hello.interval_ms, hello.server_name.as_str()),
        (5_000, "gpu-1")
    );
    assert!(hello.mono_ms > 0 && hello.wall_ms > 0);
    agent.sample(3);
    assert_eq!(stream.reports(3).await, [1, 2, 3]);
    assert_eq!(agent.board.link().state, LinkState::Streaming);
}

async fn what_has_no_receipt_is_resent_after_a_cut_and_what_has_one_is_not(over: Over) {
    let mut collector = Listening::over(over, 0).await;
    let mut agent = Agent::beside(&collector);
    let (_, mut stream) = collector.welcome(None).await;
    agent.sample(5);
    assert_eq!(stream.reports(5).await, [1, 2, 3, 4, 5]);
    stream.receipt(2).await;
    drop(stream);
    let (hello, mut stream) = collector.welcome(None).await;
    assert_eq!((hello.first_seq, hello.next_seq), (3, 6));
    assert_eq!(stream.reports(3).await, [3, 4, 5]);
}

async fn a_collector_that_restarts_misses_nothing(over: Over) {
    let mut collector = Listening::over(over, 0).await;
    let mut agent = Agent::beside(&collector);
    let (_, mut stream) = collector.welcome(None).await;
    agent.sample(4);
    assert_eq!(stream.reports(4).await, [1, 2, 3, 4]);
    let port = collector.port;
    collector.server.abort();
    drop((stream, collector));
    agent.sample(3);
    let mut collector = Listening::over(over, port).await;
    // The last receipt was lost on its way; the collector knows better than we do.
    let (hello, mut stream) = collector.welcome(Some(4)).await;
    assert_eq!((hello.first_seq, hello.next_seq), (1, 8));
    assert_eq!(stream.reports(4).await, [4, 5, 6, 7]);
    agent.sample(1);
    assert_eq!(stream.reports(1).await, [8]);
}

async fn an_agent_that_starts_before_its_collector_finds_it(over: Over) {
    let (port, url) = {
        let collector = Listening::over(over, 0).await;
        collector.server.abort();
        (collector.port, collector.url())
    };
    let mut agent = Agent::start(&url, None, 512 * 1024);
    agent.sample(2);
    assert_eq!(agent.board.link().state, LinkState::Off);
    tokio::task::yield_now().await;
    assert_eq!(agent.board.link().state, LinkState::Connecting);
    let mut collector = Listening::over(over, port).await;
    let (_, mut stream) = collector.welcome(None).await;
    assert_eq!(stream.token, None);
    assert_eq!(stream.reports(2).await, [1, 2]);
}

async fn what_overflowed_is_declared_as_one_gap(over: Over) {
    let mut collector = Listening::over(over, 0).await;
    let mut agent = Agent::start(&collector.url(), None, 1_000);
    agent.sample(1_000);
    let (hello, mut stream) = collector.welcome(Some(1)).await;
    assert!(hello.first_seq > 500);
    match stream.next().await {
        Some(Up::Gap(gap)) => assert_eq!((gap.from_seq, gap.through_seq), (1, hello.first_seq - 1)),
        other => panic!("no gap: {other:?}"),
    }
    assert_eq!(stream.reports(1).await, [hello.first_seq]);
}

async fn a_report_larger_than_the_collector_takes_is_declared_not_sent(over: Over) {
    let mut collector = Listening::over(over, 0).await;
    let mut agent = Agent::beside(&collector);
    let mut stream = collector.streams.recv().await.unwrap();
    stream.hello().await;
    let welcome = v1::Welcome {
        protocol: 1,
        resume_seq: 1,
        report_bytes_max: 10,
        ..Default::default()
    };
    stream.say(Down::Welcome(welcome)).await;
    agent.sample(1);
    assert!(matches!(
        stream.next().await,
        Some(Up::Gap(v1::Gap {
            from_seq: 1,
            through_seq: 1
        }))
    ));
}

async fn an_agent_whose_place_was_taken_does_not_come_back(over: Over) {
    let mut collector = Listening::over(over, 0).await;
    let agent = Agent::beside(&collector);
    let (_, stream) = collector.welcome(None).await;
    stream.bye(Reason::Superseded, 0).await;
    agent.link.await.unwrap();
    assert_eq!(agent.board.link().state, LinkState::Off);
    assert!(collector.streams.try_recv().is_err());
}

async fn a_bye_is_obeyed_and_the_agent_comes_back_after_it(over: Over) {
    let mut collector = Listening::over(over, 0).await;
    let mut agent = Agent::beside(&collector);
    let (_, stream) = collector.welcome(None).await;
    let said_at = tokio::time::Instant::now();
    stream.bye(Reason::Shutdown, 400).await;
    agent.sample(1);
    let (_, mut stream) = collector.welcome(None).await;
    assert!(
        said_at.elapsed() >= Duration::from_millis(400),
        "it came too early"
    );
    assert_eq!(stream.reports(1).await, [1]);

    // A Bye in place of a Welcome counts the same.
    drop(stream);
    let mut refused = collector.streams.recv().await.unwrap();
    refused.hello().await;
    refused.bye(Reason::Busy, 1).await;
    let (_, mut stream) = collector.welcome(None).await;
    assert_eq!(stream.reports(1).await, [1]);
}

async fn the_collectors_pace_is_passed_on_within_our_bounds(over: Over) {
    let mut collector = Listening::over(over, 0).await;
    let mut agent = Agent::beside(&collector);
    let (_, stream) = collector.welcome(None).await;
    for (asked_ms, expected) in [(10_000, 10), (1, 1), (3_600_000, 60)] {
        stream
            .say(Down::Pace(v1::Pace {
                interval_ms: Some(asked_ms),
                hold_ms: None,
            }))
            .await;
        agent.pace.changed().await.unwrap();
        assert_eq!(
            *agent.pace.borrow_and_update(),
            Some(Duration::from_secs(expected))
        );
    }
    stream.say(Down::Pace(v1::Pace::default())).await;
    agent.pace.changed().await.unwrap();
    assert_eq!(*agent.pace.borrow_and_update(), None);
}

async fn a_notice_reaches_the_board_until_it_is_cleared(over: Over) {
    let mut collector = Listening::over(over, 0).await;
    let agent = Agent::beside(&collector);
    let (_, stream) = collector.welcome(None).await;
    let (_, mut to_come) = agent.board.notices();
    let mut notice = v1::Notice {
        episode: "e1".to_owned(),
        rule: "near_limit".to_owned(),
        severity: v1::Severity::Critical.into(),
        text: "é".repeat(10_000),
        workload_id: String::new(),
        cleared: false,
        stops_in_ms: Some(300_000),
        to_limit_ms: None,
        trend_bytes_per_second: Some(-5),
    };
    stream.say(Down::Notice(notice.clone())).await;
    let shown = to_come.recv().await.unwrap();
    assert!(shown.stops_at.is_some_and(|at| at.0 >= 300_000));
    assert_eq!(
        (shown.to_limit_ms, shown.trend_bytes_per_second),
        (None, Some(-5))
    );
    assert_eq!(
        (shown.severity, shown.workload_id.as_ref(), shown.text.len()),
        ("critical", None, 2048)
    );
    assert_eq!(agent.board.notices().0.len(), 1);
    notice.cleared = true;
    stream.say(Down::Notice(notice)).await;
    assert!(to_come.recv().await.unwrap().cleared);
    assert!(agent.board.notices().0.is_empty());
}

async fn stopping_waits_for_the_last_receipt_and_says_goodbye(over: Over) {
    let mut collector = Listening::over(over, 0).await;
    let mut agent = Agent::beside(&collector);
    let (_, mut stream) = collector.welcome(None).await;
    agent.sample(2);
    agent.stopper.stop();
    assert_eq!(stream.reports(2).await, [1, 2]);
    assert!(!agent.link.is_finished());
    stream.receipt(2).await;
    match stream.next().await {
        Some(Up::Bye(bye)) => assert_eq!(bye.reason(), Reason::Stopping),
        other => panic!("no goodbye: {other:?}"),
    }
    assert!(stream.next().await.is_none());
    drop(stream);
    agent.link.await.unwrap();
}

#[tokio::test]
async fn stopping_does_not_wait_for_a_collector_that_is_not_there() {
    let mut agent = Agent::start("grpc://127.0.0.1:1", None, 512 * 1024);
    agent.sample(1);
    tokio::task::yield_now().await;
    agent.stopper.stop();
    agent.link.await.unwrap();
}

#[tokio::test]
async fn a_unix_socket_carries_the_same_stream() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("link.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let (sender, mut streams) = mpsc::channel(1);
    tokio::spawn(
        Server::builder()
            .add_service(LinkServer::new(Collector(sender)))
            .serve_with_incoming(UnixListenerStream::new(listener)),
    );
    let mut agent = Agent::start(&format!("unix://{}", path.display()), None, 512 * 1024);
    agent.sample(1);
    let mut stream = streams.recv().await.unwrap();
    assert_eq!(stream.hello().await.next_seq, 2);
    stream
        .say(Down::Welcome(v1::Welcome {
            protocol: 1,
            resume_seq: 1,
            ..Default::default()
        }))
        .await;
    assert_eq!(stream.reports(1).await, [1]);
}

async fn a_backlog_of_hours_passes_a_collector_that_reads_slowly(over: Over) {
    let mut collector = Listening::over(over, 0).await;
    let mut agent = Agent::beside(&collector);
    agent.sample(3_000);
    let (hello, mut stream) = collector.welcome(None).await;
    // The reader stalls while small messages pile up: the h2 crate closes connections for less.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let count = usize::try_from(hello.next_seq - hello.first_seq).unwrap();
    let seqs = stream.reports(count).await;
    assert!(seqs.windows(2).all(|pair| pair[1] == pair[0] + 1));
    assert_eq!(*seqs.last().unwrap(), 3_000);
}

async fn the_real_agent_streams_what_its_server_uses_and_says_goodbye_when_it_ends(over: Over) {
    let mut collector = Listening::over(over, 0).await;
    let runtime = tempfile::tempdir().unwrap();
    let mut agent = std::process::Command::new(env!("CARGO_BIN_EXE_hubmeter-agent"))
        .args(["run", "--interval", "1", "--name", "gpu-1", "--", "cat"])
        .env("HUBMETER_COLLECTOR", collector.url())
        .env("JUPYTERHUB_API_TOKEN", "t0ken")
        .env("XDG_RUNTIME_DIR", runtime.path())
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let (hello, mut stream) = collector.welcome(None).await;
    assert_eq!(stream.token.as_deref(), Some("Bearer t0ken"));
    assert_eq!(
        (hello.interval_ms, hello.server_name.as_str()),
        (1_000, "gpu-1")
    );
    let mut last = None;
    for seq in 1..=3 {
        let Some(Up::Report(report)) = stream.next().await else {
            panic!("no report {seq}");
        };
        assert_eq!(report.seq, seq);
        let sample = &report.samples[0];
        assert!(sample.rss_bytes > 0 && sample.processes == 1 && !sample.workloads.is_empty());
        let interval_ms = last.map_or(0, |last| sample.mono_ms - last);
        assert_eq!(u64::from(sample.interval_ms), interval_ms);
        last = Some(sample.mono_ms);
        stream.receipt(seq).await;
    }
    drop(agent.stdin.take());
    loop {
        match stream.next().await {
            Some(Up::Report(report)) => stream.receipt(report.seq).await,
            Some(Up::Bye(bye)) => break assert_eq!(bye.reason(), Reason::Stopping),
            other => panic!("no goodbye: {other:?}"),
        }
    }
    drop(stream);
    let ended = tokio::task::spawn_blocking(move || agent.wait().unwrap())
        .await
        .unwrap();
    assert!(ended.success());
}
