//! Peers that stall, at every stage of a connection: each loses its place by the deadline of its
//! stage, and an honest agent beside them does not notice.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use hubmeter_proto::v1::{self, bye::Reason};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use rustls::{ClientConfig, ClientConnection, pki_types::ServerName};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
    task::JoinHandle,
    time::timeout,
};

use crate::{
    encryption::{self, ShownKey},
    raw::{Raw, encoded, first_heard, framed},
    rig::{Agent, Collector, hello, login, sample},
    websocket,
};

/// The longest deadline of all stages and some time for a slow machine: a bound, not a measure.
const CLOSED_WITHIN: Duration = Duration::from_secs(90);

/// Stalling peers at each stage.
const EACH: usize = 12;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing at all.
    Tcp,
    /// The head of a TLS record.
    HalfClientHello,
    /// A whole ClientHello, and no answer to what follows it.
    ClientHello,
    /// Half of HTTP/2's preface.
    Preface,
    /// HTTP/2, and no stream on it.
    NoStream,
    /// A stream, and no message on it.
    NoMessage,
    /// The first bytes of a Hello.
    HalfHello,
}

const STAGES: [Stage; 7] = [
    Stage::Tcp,
    Stage::HalfClientHello,
    Stage::ClientHello,
    Stage::Preface,
    Stage::NoStream,
    Stage::NoMessage,
    Stage::HalfHello,
];

impl Stage {
    /// What is sent before nothing more is, below HTTP/2's streams.
    fn bytes(self) -> Vec<u8> {
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        match self {
            Self::HalfClientHello => vec![0x16, 3, 1, 2, 0],
            Self::ClientHello => client_hello(),
            Self::Preface => preface[..12].to_vec(),
            // With an empty SETTINGS.
            Self::NoStream => [&preface[..], &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat(),
            Self::Tcp | Self::NoMessage | Self::HalfHello => Vec::new(),
        }
    }

    /// A peer that stalls here; ends when the collector has closed its connection.
    async fn stall(self, addr: &str) -> JoinHandle<()> {
        if matches!(self, Self::NoMessage | Self::HalfHello) {
            let mut raw = Raw::open(addr, 65_535, &[]).await;
            if self == Self::HalfHello {
                let hello = framed(0, &encoded(v1::up::Body::Hello(hello(9, 1, 1))));
                raw.up.send_data(hello.slice(..9), false).unwrap();
            }
            return tokio::spawn(async move {
                // Answers pings, as a peer would that only wants to keep its place.
                let _ = raw.connection.await;
                drop(raw.up);
            });
        }
        let mut tcp = TcpStream::connect(addr).await.unwrap();
        tcp.write_all(&self.bytes()).await.unwrap();
        tokio::spawn(async move {
            let mut heard = Vec::new();
            let _ = tcp.read_to_end(&mut heard).await;
        })
    }
}

fn client_hello() -> Vec<u8> {
    let config = ClientConfig::builder()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(ShownKey::default()))
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

async fn tcp_collector(dir: &std::path::Path) -> Collector {
    let flags = ["--standalone", "--link-listen", "127.0.0.1:0"];
    Collector::start(dir, &flags, &[]).await
}

/// An agent by TLS, greeted.
async fn honest(collector: &Collector) -> Agent {
    encryption::greeted(collector, &Arc::default(), hello(1, 1, 1)).await
}

/// One figure of `/metrics`.
async fn metric(collector: &Collector, name: &str) -> u64 {
    let (_, text) = collector.get("/metrics").await;
    let text = text.as_str().unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("{name} in {text}"))
        .trim()
        .parse()
        .unwrap()
}

async fn refused(collector: &Collector, reason: &str) -> u64 {
    let name = format!("hubmeter_rejected_total{{reason=\"{reason}\"}}");
    metric(collector, &name).await
}

#[tokio::test]
async fn who_stalls_at_any_stage_loses_its_place_and_disturbs_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let collector = tcp_collector(dir.path()).await;
    let addr = collector.link_addr();
    let mut stalled = Vec::new();
    for stage in STAGES {
        for _ in 0..EACH {
            stalled.push((stage, stage.stall(&addr).await));
        }
    }
    let mut agent = honest(&collector).await;
    for seq in 1..=3 {
        agent.report(seq).await;
        agent.receipt(seq).await;
    }
    for (stage, closed) in stalled {
        let closed = timeout(CLOSED_WITHIN, closed).await;
        assert!(closed.is_ok(), "{stage:?} keeps its place");
    }
    // Each was counted for what it did not do, and nobody for anything else.
    let each = u64::try_from(EACH).unwrap();
    assert_eq!(refused(&collector, "handshake").await, 3 * each);
    assert_eq!(refused(&collector, "no_hello").await, 2 * each);
    assert!(refused(&collector, "no_stream").await >= 2 * each);
    let log = collector.log();
    let lines = log
        .lines()
        .filter(|line| line.contains("\"refused\""))
        .count();
    assert!((3..=12).contains(&lines), "{lines} lines of {log}");
    // The honest one never noticed.
    agent.report(4).await;
    agent.receipt(4).await;
}

#[tokio::test]
async fn who_reads_no_receipts_costs_one_slot_and_its_reports_are_taken() {
    let dir = tempfile::tempdir().unwrap();
    let collector = tcp_collector(dir.path()).await;
    // Nothing may be sent to it, not even its Welcome.
    let raw = Raw::open(&collector.link_addr(), 0, &[]).await;
    let (mut up, _response) = raw.drive();
    let send =
        |up: &mut h2::SendStream<Bytes>, body| up.send_data(framed(0, &encoded(body)), false);
    send(&mut up, v1::up::Body::Hello(hello(3, 1, 1))).unwrap();
    for seq in 1..=1_000 {
        let samples = vec![sample(seq)];
        send(&mut up, v1::up::Body::Report(v1::Report { seq, samples })).unwrap();
    }
    let path = format!("/api/v1/users/{}/server", login());
    collector
        .until(&path, |server| server["memory_used_bytes"] == 1_000_001_000)
        .await;
    assert_eq!(
        metric(&collector, "hubmeter_limit_current{limit=\"sessions\"}").await,
        1
    );
}

#[tokio::test]
async fn who_went_away_without_a_word_is_noticed_by_its_silence_on_pings() {
    let dir = tempfile::tempdir().unwrap();
    let collector = tcp_collector(dir.path()).await;
    let addr = collector.link_addr();
    let tcp = std::net::TcpStream::connect(addr).unwrap();
    tcp.set_nonblocking(true).unwrap();
    // Holds the socket open when nobody speaks for it any more.
    let left = tcp.try_clone().unwrap();
    let tcp = TcpStream::from_std(tcp).unwrap();
    let mut raw = Raw::open_on(tcp, 65_535, &[]).await;
    let greeting = framed(0, &encoded(v1::up::Body::Hello(hello(3, 1, 1))));
    raw.up.send_data(greeting, false).unwrap();
    let (up, connection, response) = (raw.up, raw.connection, raw.response);
    let connection = tokio::spawn(connection);
    let mut body = response.await.unwrap().into_body();
    assert!(matches!(
        first_heard(&mut body).await,
        Some(v1::down::Body::Welcome(_))
    ));
    connection.abort();
    let mut left = TcpStream::from_std(left).unwrap();
    let mut heard = Vec::new();
    let closed = timeout(CLOSED_WITHIN, left.read_to_end(&mut heard)).await;
    assert!(closed.is_ok(), "it keeps its place");
    drop((up, body));
}

#[tokio::test]
async fn compressed_messages_are_refused_before_anything_is_unpacked() {
    let dir = tempfile::tempdir().unwrap();
    let collector = tcp_collector(dir.path()).await;
    for encoding in ["gzip", "zstd", "deflate"] {
        let raw = Raw::open(
            &collector.link_addr(),
            65_535,
            &[("grpc-encoding", encoding)],
        )
        .await;
        let (mut up, response) = raw.drive();
        // A kilobyte that would unpack to a gigabyte is refused for its header alone.
        let _ = up.send_data(framed(1, &[0x1f; 1024]), false);
        let response = response.await.unwrap();
        assert_eq!(response.headers()["grpc-status"], "12", "{encoding}");
    }
    // The flag without the header is no way round.
    let raw = Raw::open(&collector.link_addr(), 65_535, &[]).await;
    let (mut up, response) = raw.drive();
    up.send_data(framed(1, &[0x1f; 1024]), false).unwrap();
    let mut body = response.await.unwrap().into_body();
    assert_eq!(first_heard(&mut body).await, None);
}

#[tokio::test]
async fn without_descriptors_the_collector_waits_and_neither_spins_nor_floods_its_log() {
    let dir = tempfile::tempdir().unwrap();
    let collector = tcp_collector(dir.path()).await;
    let mut agent = honest(&collector).await;
    let pid = Pid::from_raw(collector.pid()).unwrap();
    let open = std::fs::read_dir(format!("/proc/{}/fd", collector.pid()))
        .unwrap()
        .count();
    // What it inherited from us may not be raised, but taken back.
    let usual = getrlimit(Resource::Nofile);
    let limited = Rlimit {
        current: Some(u64::try_from(open).unwrap() + 8),
        maximum: usual.maximum,
    };
    prlimit(Some(pid), Resource::Nofile, limited).unwrap();
    let begun = tokio::time::Instant::now();
    let mut crowd = Vec::new();
    for _ in 0..64 {
        crowd.push(TcpStream::connect(collector.link_addr()).await.unwrap());
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    // Who is in already is not concerned.
    agent.report(1).await;
    agent.receipt(1).await;
    drop(crowd);
    prlimit(Some(pid), Resource::Nofile, usual).unwrap();
    let mut newcomer = honest(&collector).await;
    newcomer.report(1).await;
    newcomer.receipt(1).await;
    let tries = refused(&collector, "open_files").await;
    // One every tenth of a second, as long as it lasted; a loop that spins has thousands.
    let most = begun.elapsed().as_millis() / 100 + 2;
    assert!(
        tries >= 1 && u128::from(tries) <= most,
        "{tries} tries, {most} at most"
    );
    let log = collector.log();
    let lines = log
        .lines()
        .filter(|line| line.contains("open_files"))
        .count();
    assert!(
        lines >= 1 && lines <= 1 + begun.elapsed().as_secs() as usize / 10,
        "{lines}: {log}"
    );
}

#[tokio::test]
async fn by_websocket_too_who_says_nothing_or_half_a_request_is_sent_away() {
    let dir = tempfile::tempdir().unwrap();
    let _collector = Collector::standalone(dir.path()).await;
    let half = tokio::spawn({
        let path = dir.path().join("http");
        async move {
            let mut stream = UnixStream::connect(path).await.unwrap();
            stream
                .write_all(b"GET /link HTTP/1.1\r\nhost:")
                .await
                .unwrap();
            let mut heard = Vec::new();
            let _ = stream.read_to_end(&mut heard).await;
        }
    });
    let mut silent = websocket::Agent::open(dir.path(), None).await.unwrap();
    match silent.hear().await {
        Some(v1::down::Body::Bye(bye)) => assert_eq!(bye.reason(), Reason::Silent),
        other => panic!("no Bye: {other:?}"),
    }
    assert_eq!(silent.hear().await, None);
    let closed = timeout(CLOSED_WITHIN, half).await;
    assert!(closed.is_ok(), "half a request keeps its place");
}
