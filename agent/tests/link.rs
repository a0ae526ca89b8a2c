//! The link against a real gRPC server that acknowledges, cuts, restarts, and says what a
//! collector may say.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

use std::{path::PathBuf, pin::Pin, sync::Arc, time::Duration};

use hubmeter_agent::{
    board::{Board, LinkState, LinkStatus},
    clock::SystemClock,
    link::{Identity, Link, Outbox, credential::Credential},
    sample::{MemorySource, Sample},
    settings::CollectorUrl,
    stop::Stopper,
};
use hubmeter_proto::v1::{
    self,
    bye::Reason,
    down::Body as Down,
    link_server::{self, LinkServer},
    up::Body as Up,
};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_stream::{
    Stream,
    wrappers::{ReceiverStream, TcpListenerStream, UnixListenerStream},
};
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Identity as Certified, Server, ServerTlsConfig},
};

const INSTANCE: [u8; 16] = [7; 16];

/// One stream as the collector sees it; the test plays the collector.
struct Accepted {
    token: Option<String>,
    up: Streaming<v1::Up>,
    down: mpsc::Sender<Result<v1::Down, Status>>,
}

/// A server that hands every stream to the test.
struct Collector(mpsc::Sender<Accepted>);

#[tonic::async_trait]
impl link_server::Link for Collector {
    type StreamStream = Pin<Box<dyn Stream<Item = Result<v1::Down, Status>> + Send>>;

    async fn stream(
        &self,
        request: Request<Streaming<v1::Up>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let token = request
            .metadata()
            .get("authorization")
            .map(|value| value.to_str().unwrap().to_owned());
        if token.as_deref() == Some("Bearer stranger") {
            return Err(Status::unauthenticated("no such token"));
        }
        let (down, messages) = mpsc::channel(64);
        let accepted = Accepted {
            token,
            up: request.into_inner(),
            down,
        };
        self.0.send(accepted).await.unwrap();
        Ok(Response::new(Box::pin(ReceiverStream::new(messages))))
    }
}

/// A listening collector.
struct Listening {
    streams: mpsc::Receiver<Accepted>,
    server: JoinHandle<()>,
    port: u16,
}

impl Listening {
    async fn at(port: u16) -> Self {
        let listener = loop {
            // After a restart the old socket may need a moment to go.
            if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)).await {
                break listener;
            }
            tokio::task::yield_now().await;
        };
        let port = listener.local_addr().unwrap().port();
        let (sender, streams) = mpsc::channel(8);
        let server = tokio::spawn(async move {
            Server::builder()
                .add_service(LinkServer::new(Collector(sender)))
                .serve_with_incoming(TcpListenerStream::new(listener))
                .await
                .unwrap();
        });
        Self {
            streams,
            server,
            port,
        }
    }

    /// The next stream, greeted with a Welcome from `resume_seq` on (`None`: from Hello's first).
    async fn welcome(&mut self, resume_seq: Option<u64>) -> (v1::Hello, Accepted) {
        let mut stream = self.streams.recv().await.unwrap();
        let hello = stream.hello().await;
        let resume_seq = resume_seq.unwrap_or(hello.first_seq);
        stream
            .say(Down::Welcome(v1::Welcome {
                protocol: 1,
                resume_seq,
                ..Default::default()
            }))
            .await;
        (hello, stream)
    }
}

impl Accepted {
    async fn next(&mut self) -> Option<Up> {
        self.up
            .message()
            .await
            .ok()
            .flatten()
            .and_then(|message| message.body)
    }

    async fn hello(&mut self) -> v1::Hello {
        match self.next().await {
            Some(Up::Hello(hello)) => hello,
            other => panic!("no Hello: {other:?}"),
        }
    }

    /// The numbers of the next reports.
    async fn reports(&mut self, count: usize) -> Vec<u64> {
        let mut seqs = Vec::new();
        for _ in 0..count {
            match self.next().await {
                Some(Up::Report(report)) => seqs.push(report.seq),
                other => panic!("no report after {seqs:?}: {other:?}"),
            }
        }
        seqs
    }

    async fn say(&self, body: Down) {
        self.down
            .send(Ok(v1::Down { body: Some(body) }))
            .await
            .unwrap();
    }

    async fn receipt(&self, through_seq: u64) {
        self.say(Down::Receipt(v1::Receipt { through_seq })).await;
    }

    async fn bye(&self, reason: Reason, retry_after_ms: u32) {
        self.say(Down::Bye(v1::Bye {
            reason: reason.into(),
            retry_after_ms,
        }))
        .await;
    }
}

/// The agent's half, without a sampler.
struct Agent {
    outbox: Arc<Outbox>,
    board: Arc<Board>,
    pace: watch::Receiver<Option<Duration>>,
    stopper: Stopper,
    link: JoinHandle<()>,
    sampled: u64,
}

impl Agent {
    fn start(url: &str, token: Option<&str>, spool_bytes: usize) -> Self {
        Self::start_trusting(None, url, token, spool_bytes)
    }

    fn start_trusting(
        ca_file: Option<PathBuf>,
        url: &str,
        token: Option<&str>,
        spool_bytes: usize,
    ) -> Self {
        let outbox = Arc::new(Outbox::new(spool_bytes));
        let board = Arc::new(Board::new(LinkStatus {
            state: LinkState::Off,
            collector: Some(url.to_owned()),
            api_url: None,
        }));
        let pace = watch::Sender::new(None);
        let stopper = Stopper::default();
        let link = Link {
            url: CollectorUrl::parse(url, false).unwrap(),
            ca_file,
            credential: Credential::new(None, token.map(str::to_owned)),
            identity: Identity {
                instance_id: INSTANCE,
                host: "host".to_owned(),
                server_name: "gpu-1".to_owned(),
                interval: Duration::from_secs(5),
            },
            outbox: Arc::clone(&outbox),
            board: Arc::clone(&board),
            pace: pace.clone(),
            clock: Arc::new(SystemClock),
        };
        Self {
            outbox,
            board,
            pace: pace.subscribe(),
            link: tokio::spawn(link.run(stopper.heard_by())),
            stopper,
            sampled: 0,
        }
    }

    fn beside(collector: &Listening) -> Self {
        let url = format!("grpc://127.0.0.1:{}", collector.port);
        Self::start(&url, Some("t0ken"), 512 * 1024)
    }

    fn sample(&mut self, count: u64) {
        for _ in 0..count {
            self.sampled += 1;
            self.outbox.push(&sample(self.sampled * 5_000));
        }
    }
}

fn sample(mono_ms: u64) -> Sample {
    Sample {
        time: String::new(),
        interval_ms: Some(5_000),
        memory_used_bytes: 1 << 30,
        memory_working_set_bytes: None,
        memory_source: MemorySource::Pss,
        memory_age_ms: 0,
        memory_limit_bytes: None,
        memory_limit_source: None,
        memory_limit_enforced: false,
        memory_limit_shared: false,
        rss_bytes: 1 << 30,
        pss_bytes: None,
        swap_bytes: None,
        unattributed_bytes: None,
        cpu_millis: 1,
        cpu_cores: None,
        processes: 1,
        threads: 1,
        workloads: Vec::new(),
        mono_ms,
        wall_ms: mono_ms,
        burst: false,
        oom_kills: None,
        memory_guarantee_bytes: None,
        cpu_limit_millicores: None,
        cpu_guarantee_millicores: None,
        memory_limit_used_bytes: None,
        memory_corrected_bytes: 0,
        cpu_may_miss: false,
        processes_beyond: 0,
        vitals: hubmeter_agent::sample::vitals::Vitals::default(),
        ended: Vec::new(),
    }
}

#[tokio::test]
async fn reports_flow_in_order_under_the_servers_token() {
    let mut collector = Listening::at(0).await;
    let mut agent = Agent::beside(&collector);
    let (hello, mut stream) = collector.welcome(None).await;
    assert_eq!(stream.token.as_deref(), Some("Bearer t0ken"));
    assert_eq!(hello.instance_id, INSTANCE.to_vec());
    assert_eq!((hello.first_seq, hello.next_seq, hello.protocol), (1, 1, 1));
    assert_eq!(
        (hello.interval_ms, hello.server_name.as_str()),
        (5_000, "gpu-1")
    );
    assert!(hello.mono_ms > 0 && hello.wall_ms > 0);
    agent.sample(3);
    assert_eq!(stream.reports(3).await, [1, 2, 3]);
    assert_eq!(agent.board.link().state, LinkState::Streaming);
}

#[tokio::test]
async fn what_has_no_receipt_is_resent_after_a_cut_and_what_has_one_is_not() {
    let mut collector = Listening::at(0).await;
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

#[tokio::test]
async fn a_collector_that_restarts_misses_nothing() {
    let mut collector = Listening::at(0).await;
    let mut agent = Agent::beside(&collector);
    let (_, mut stream) = collector.welcome(None).await;
    agent.sample(4);
    assert_eq!(stream.reports(4).await, [1, 2, 3, 4]);
    let port = collector.port;
    collector.server.abort();
    drop((stream, collector));
    agent.sample(3);
    let mut collector = Listening::at(port).await;
    // The last receipt was lost on its way; the collector knows better than we do.
    let (hello, mut stream) = collector.welcome(Some(4)).await;
    assert_eq!((hello.first_seq, hello.next_seq), (1, 8));
    assert_eq!(stream.reports(4).await, [4, 5, 6, 7]);
    agent.sample(1);
    assert_eq!(stream.reports(1).await, [8]);
}

#[tokio::test]
async fn an_agent_that_starts_before_its_collector_finds_it() {
    let port = {
        let collector = Listening::at(0).await;
        collector.server.abort();
        collector.port
    };
    let mut agent = Agent::start(&format!("grpc://127.0.0.1:{port}"), None, 512 * 1024);
    agent.sample(2);
    assert_eq!(agent.board.link().state, LinkState::Off);
    tokio::task::yield_now().await;
    assert_eq!(agent.board.link().state, LinkState::Connecting);
    let mut collector = Listening::at(port).await;
    let (_, mut stream) = collector.welcome(None).await;
    assert_eq!(stream.token, None);
    assert_eq!(stream.reports(2).await, [1, 2]);
}

#[tokio::test]
async fn what_overflowed_is_declared_as_one_gap() {
    let mut collector = Listening::at(0).await;
    let url = format!("grpc://127.0.0.1:{}", collector.port);
    let mut agent = Agent::start(&url, None, 1_000);
    agent.sample(100);
    let (hello, mut stream) = collector.welcome(Some(1)).await;
    assert!(hello.first_seq > 80);
    match stream.next().await {
        Some(Up::Gap(gap)) => assert_eq!((gap.from_seq, gap.through_seq), (1, hello.first_seq - 1)),
        other => panic!("no gap: {other:?}"),
    }
    assert_eq!(stream.reports(1).await, [hello.first_seq]);
}

#[tokio::test]
async fn a_report_larger_than_the_collector_takes_is_declared_not_sent() {
    let mut collector = Listening::at(0).await;
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

#[tokio::test]
async fn an_agent_whose_place_was_taken_does_not_come_back() {
    let mut collector = Listening::at(0).await;
    let agent = Agent::beside(&collector);
    let (_, stream) = collector.welcome(None).await;
    stream.bye(Reason::Superseded, 0).await;
    agent.link.await.unwrap();
    assert_eq!(agent.board.link().state, LinkState::Off);
    assert!(collector.streams.try_recv().is_err());
}

#[tokio::test]
async fn a_bye_is_obeyed_and_the_agent_comes_back_after_it() {
    let mut collector = Listening::at(0).await;
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

#[tokio::test]
async fn the_collectors_pace_is_passed_on_within_our_bounds() {
    let mut collector = Listening::at(0).await;
    let mut agent = Agent::beside(&collector);
    let (_, stream) = collector.welcome(None).await;
    for (asked_ms, expected) in [(10_000, 10), (1, 1), (3_600_000, 60)] {
        stream
            .say(Down::Pace(v1::Pace {
                interval_ms: asked_ms,
            }))
            .await;
        agent.pace.changed().await.unwrap();
        assert_eq!(
            *agent.pace.borrow_and_update(),
            Some(Duration::from_secs(expected))
        );
    }
    stream.say(Down::Pace(v1::Pace { interval_ms: 0 })).await;
    agent.pace.changed().await.unwrap();
    assert_eq!(*agent.pace.borrow_and_update(), None);
}

#[tokio::test]
async fn a_notice_reaches_the_board_until_it_is_cleared() {
    let mut collector = Listening::at(0).await;
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
    };
    stream.say(Down::Notice(notice.clone())).await;
    let shown = to_come.recv().await.unwrap();
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

#[tokio::test]
async fn stopping_waits_for_the_last_receipt_and_says_goodbye() {
    let mut collector = Listening::at(0).await;
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
async fn a_refused_token_or_a_broken_promise_is_no_end() {
    let mut collector = Listening::at(0).await;
    let url = format!("grpc://127.0.0.1:{}", collector.port);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "stranger").unwrap();
    // `Credential` reads the file at each attempt, so a renewed token is found.
    let board = Arc::new(Board::new(LinkStatus {
        state: LinkState::Off,
        collector: None,
        api_url: None,
    }));
    let stopper = Stopper::default();
    let link = Link {
        url: CollectorUrl::parse(&url, false).unwrap(),
        ca_file: None,
        credential: Credential::new(Some(file.clone()), None),
        identity: Identity {
            instance_id: INSTANCE,
            host: String::new(),
            server_name: String::new(),
            interval: Duration::from_secs(5),
        },
        outbox: Arc::default(),
        board: Arc::clone(&board),
        pace: watch::Sender::new(None),
        clock: Arc::new(SystemClock),
    };
    let link = tokio::spawn(link.run(stopper.heard_by()));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(collector.streams.try_recv().is_err());
    std::fs::write(&file, "friend").unwrap();
    let mut stream = collector.streams.recv().await.unwrap();
    assert_eq!(stream.token.as_deref(), Some("Bearer friend"));
    stream.hello().await;
    // Resuming from a report that was never sent breaks the protocol.
    stream
        .say(Down::Welcome(v1::Welcome {
            protocol: 1,
            resume_seq: 99,
            ..Default::default()
        }))
        .await;
    collector.welcome(None).await;
    stopper.stop();
    link.await.unwrap();
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

#[tokio::test]
async fn a_backlog_of_hours_passes_a_collector_that_reads_slowly() {
    let mut collector = Listening::at(0).await;
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

#[tokio::test]
async fn tls_is_spoken_with_a_collector_that_the_named_file_vouches_for_and_no_other() {
    let certificates = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tls"));
    let read = |name: &str| std::fs::read(certificates.join(name)).unwrap();
    let certified = Certified::from_pem(read("server.pem"), read("server.key"));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, mut streams) = mpsc::channel(1);
    tokio::spawn(
        Server::builder()
            .tls_config(ServerTlsConfig::new().identity(certified))
            .unwrap()
            .add_service(LinkServer::new(Collector(sender)))
            .serve_with_incoming(TcpListenerStream::new(listener)),
    );
    let stranger = Agent::start(&format!("grpcs://localhost:{port}"), Some("t0ken"), 1 << 19);
    let ca_file = Some(certificates.join("ca.pem"));
    for host in ["localhost", "127.0.0.1"] {
        let url = format!("grpcs://{host}:{port}");
        let mut agent = Agent::start_trusting(ca_file.clone(), &url, Some("t0ken"), 1 << 19);
        agent.sample(1);
        let mut stream = streams.recv().await.unwrap();
        assert_eq!(stream.hello().await.next_seq, 2);
        let welcome = v1::Welcome {
            protocol: 1,
            resume_seq: 1,
            ..Default::default()
        };
        stream.say(Down::Welcome(welcome)).await;
        assert_eq!(stream.reports(1).await, [1]);
        agent.link.abort();
    }
    assert_eq!(stranger.board.link().state, LinkState::Connecting);
    assert!(streams.try_recv().is_err());
}

#[tokio::test]
async fn the_real_agent_streams_what_its_server_uses_and_says_goodbye_when_it_ends() {
    let mut collector = Listening::at(0).await;
    let runtime = tempfile::tempdir().unwrap();
    let mut agent = std::process::Command::new(env!("CARGO_BIN_EXE_hubmeter-agent"))
        .args(["run", "--interval", "1", "--name", "gpu-1", "--", "cat"])
        .env(
            "HUBMETER_COLLECTOR",
            format!("grpc://127.0.0.1:{}", collector.port),
        )
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
