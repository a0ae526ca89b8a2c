//! What the agent holds while a TLS stream is open: its own memory, one thread, and a wake-up for
//! the tick alone; from a collector that does not say what may lie unread, one for each receipt, too.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

use std::{
    fs,
    path::{Path, PathBuf},
    pin::Pin,
    process::{Child, Command, Stdio},
};

use hubmeter_proto::{
    delta::Batch,
    limits::URGENT_BYTES,
    v1::{
        self,
        down::Body as Down,
        link_server::{self, LinkServer},
        up::Body as Up,
    },
};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_stream::{
    Stream,
    wrappers::{ReceiverStream, TcpListenerStream},
};
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Identity, Server, ServerTlsConfig},
};

/// Heap, stack and maps of its own. The program's relocated constants are left out: a test build
/// has many times more of them than a shipped one.
const OWN_BYTES_MAX: u64 = 600_000;

/// Reports after which everything has its size.
const SETTLED: u64 = 3;

/// Reports over which wake-ups are counted.
const COUNTED: u64 = 6;

/// A receipt that comes in two pieces, a page that had to be waited for.
const WAKEUPS_SPARE: u64 = 2;

type Answers = mpsc::Sender<Result<v1::Down, Status>>;

/// Hands every stream to the test.
struct Collector(mpsc::Sender<(Streaming<v1::Up>, Answers)>);

/// Ends with the test, however that ends.
struct Agent(Child);

#[tonic::async_trait]
impl link_server::Link for Collector {
    type StreamStream = Pin<Box<dyn Stream<Item = Result<v1::Down, Status>> + Send>>;

    async fn stream(
        &self,
        request: Request<Streaming<v1::Up>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let (answers, messages) = mpsc::channel(8);
        self.0.send((request.into_inner(), answers)).await.unwrap();
        Ok(Response::new(Box::pin(ReceiverStream::new(messages))))
    }
}

impl Agent {
    /// Beside this test, trusting the machine's roots, which are the test's CA here.
    fn start(port: u16, ca: &Path, runtime: &Path) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_hubmeter-agent"))
            .args(["run", "--interval", "1"])
            .env_clear()
            .env("HUBMETER_COLLECTOR", format!("grpcs://127.0.0.1:{port}"))
            .env("JUPYTERHUB_API_TOKEN", "t0ken")
            .env("SSL_CERT_FILE", ca)
            .env("XDG_RUNTIME_DIR", runtime)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }

    fn status(&self, key: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        let number = line.unwrap().split_whitespace().next().unwrap();
        number.parse().unwrap()
    }

    /// Anonymous memory that lies in no map of a file.
    fn own_bytes(&self) -> u64 {
        let maps = fs::read_to_string(format!("/proc/{}/smaps", self.0.id())).unwrap();
        let mut of_a_file = false;
        let mut kib = 0;
        for line in maps.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            if words[0].contains('-') {
                of_a_file = words.get(5).is_some_and(|name| name.starts_with('/'));
            } else if words[0] == "Anonymous:" && !of_a_file {
                kib += words[1].parse::<u64>().unwrap();
            }
        }
        1024 * kib
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn answer(answers: &Answers, body: Down) {
    let message = v1::Down { body: Some(body) };
    answers.send(Ok(message)).await.unwrap();
}

/// Takes a report that came in a message of its own, without a receipt; its number.
async fn hear(up: &mut Streaming<v1::Up>) -> u64 {
    let Some(Up::Batch(bytes)) = up.message().await.unwrap().unwrap().body else {
        panic!("no reports");
    };
    Batch::read(&bytes).unwrap().first_seq
}

/// Takes `count` reports and gives their receipts.
async fn take(up: &mut Streaming<v1::Up>, answers: &Answers, count: u64) {
    for _ in 0..count {
        let through_seq = hear(up).await;
        answer(answers, Down::Receipt(v1::Receipt { through_seq })).await;
    }
}

#[tokio::test]
async fn with_a_tls_stream_open_it_is_small_has_one_thread_and_wakes_for_ticks_only() {
    let (with_receipts, without) = wakeups(u32::try_from(URGENT_BYTES).unwrap()).await;
    let most = COUNTED + 1 + WAKEUPS_SPARE;
    assert!(
        with_receipts <= most && without <= most,
        "{with_receipts} wake-ups in {COUNTED} ticks with receipts, {without} without"
    );
}

#[tokio::test]
async fn an_older_collectors_receipts_wake_it_once_each_at_most() {
    let (with_receipts, without) = wakeups(0).await;
    // The last receipt may come in the second half.
    assert!(
        with_receipts <= 2 * COUNTED + WAKEUPS_SPARE && without <= COUNTED + 1 + WAKEUPS_SPARE,
        "{with_receipts} wake-ups in {COUNTED} ticks with receipts, {without} without"
    );
}

/// Wake-ups in [`COUNTED`] ticks whose reports get receipts, and in as many without, from a
/// collector that says that less than `urgent_bytes` may lie unread.
async fn wakeups(urgent_bytes: u32) -> (u64, u64) {
    let certificates = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tls"));
    let read = |name: &str| fs::read(certificates.join(name)).unwrap();
    let identity = Identity::from_pem(read("server.pem"), read("server.key"));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, mut streams) = mpsc::channel(1);
    tokio::spawn(
        Server::builder()
            .tls_config(ServerTlsConfig::new().identity(identity))
            .unwrap()
            .add_service(LinkServer::new(Collector(sender)))
            .serve_with_incoming(TcpListenerStream::new(listener)),
    );
    let runtime = tempfile::tempdir().unwrap();
    let agent = Agent::start(port, &certificates.join("ca.pem"), runtime.path());
    let (mut up, answers) = streams.recv().await.unwrap();
    let Some(Up::Hello(hello)) = up.message().await.unwrap().unwrap().body else {
        panic!("no Hello");
    };
    let welcome = v1::Welcome {
        protocol: hello.protocol,
        resume_seq: hello.first_seq,
        urgent_bytes,
        ..Default::default()
    };
    answer(&answers, Down::Welcome(welcome)).await;

    take(&mut up, &answers, SETTLED).await;
    let before = agent.status("voluntary_ctxt_switches:");
    take(&mut up, &answers, COUNTED).await;
    let between = agent.status("voluntary_ctxt_switches:");
    for _ in 0..COUNTED {
        hear(&mut up).await;
    }
    let with_receipts = between - before;
    let without = agent.status("voluntary_ctxt_switches:") - between;
    assert_eq!(agent.status("Threads:"), 1);
    let own = agent.own_bytes();
    assert!(own <= OWN_BYTES_MAX, "{own} bytes");
    (with_receipts, without)
}
