//! A collector process, an agent that says what a test wants, and a client for the API.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use futures_util::{SinkExt as _, StreamExt as _, stream::SplitStream};
use hubmeter_proto::v1::{self, link_client::LinkClient};
use hyper_util::rt::TokioIo;
use prost::Message as _;
use serde_json::Value;
use tokio::{net::UnixStream, sync::mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message};
use tonic::{
    Status, Streaming,
    transport::{Channel, Endpoint},
};

/// No wait in a test is longer; none is measured.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Collector {
    child: Child,
    dir: PathBuf,
    api: reqwest::Client,
}

/// What carries the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    Grpc,
    WebSocket,
}

pub(crate) struct Agent {
    up: mpsc::Sender<v1::Up>,
    pub(crate) down: Down,
}

/// What the collector says, whatever carries it.
pub(crate) enum Down {
    Grpc(Box<Streaming<v1::Down>>),
    WebSocket(Box<SplitStream<WebSocketStream<UnixStream>>>),
}

impl Collector {
    /// Starts without a hub, on Unix sockets in `dir`.
    pub(crate) async fn standalone(dir: &Path) -> Self {
        Self::start(dir, &["--standalone"], &[]).await
    }

    pub(crate) async fn start(dir: &Path, flags: &[&str], environment: &[(&str, &str)]) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let socket = |name: &str| format!("unix:{}", dir.join(name).display());
        let link_flag = ["--link-listen".to_owned(), socket("link")];
        let link_flag = if flags.contains(&"--link-listen") {
            &[]
        } else {
            &link_flag[..]
        };
        let http_flag = ["--listen".to_owned(), socket("http")];
        let http_flag = if flags.contains(&"--listen") {
            &[]
        } else {
            &http_flag[..]
        };
        let child = Command::new(env!("CARGO_BIN_EXE_hubmeter-collector"))
            .arg("serve")
            .args(["--data-dir".as_ref(), dir.join("data").as_os_str()])
            .args(flags)
            .args(link_flag)
            .args(http_flag)
            .env_clear()
            .envs(environment.iter().copied())
            .stderr(Stdio::from(std::fs::File::create(dir.join("log")).unwrap()))
            .spawn()
            .unwrap();
        let api = reqwest::Client::builder()
            .unix_socket(dir.join("http"))
            .timeout(PATIENCE)
            .build()
            .unwrap();
        let mut collector = Self {
            child,
            dir: dir.to_owned(),
            api,
        };
        collector.until_ready().await;
        collector
    }

    async fn until_ready(&mut self) {
        let ready = async {
            loop {
                if let Some(status) = self.child.try_wait().unwrap() {
                    panic!("it ended with {status}: {}", self.log());
                }
                if self.log().contains("\"ready\"") {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, ready)
            .await
            .expect("it gets ready");
    }

    /// Where the link listens, when that is TCP and a port the system chose.
    pub(crate) fn link_addr(&self) -> String {
        self.addr("link")
    }

    /// The same of pages and API.
    pub(crate) fn listen_addr(&self) -> String {
        self.addr("listen")
    }

    fn addr(&self, field: &str) -> String {
        let log = self.log();
        let line = log.lines().find(|line| line.contains("listening")).unwrap();
        let line: Value = serde_json::from_str(line).unwrap();
        line["fields"][field].as_str().unwrap().to_owned()
    }

    /// The fingerprint in the address that the log gives for agents.
    pub(crate) fn pin(&self) -> String {
        let log = self.log();
        let mut lines = log
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        let address = lines
            .find_map(|line| Some(line["fields"]["HUBMETER_COLLECTOR"].as_str()?.to_owned()))
            .unwrap();
        let (_, pin) = address.split_once('#').unwrap();
        pin.to_owned()
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.id().try_into().unwrap()
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap()
    }

    /// SIGKILL: nothing can be tidied up.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; gives the exit code.
    pub(crate) async fn terminate(&mut self) -> Option<i32> {
        let pid = nix::unistd::Pid::from_raw(self.child.id().try_into().unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        let ended = async {
            loop {
                if let Some(status) = self.child.try_wait().unwrap() {
                    return status.code();
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, ended)
            .await
            .expect("it stops")
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        self.get_as(path, None).await
    }

    pub(crate) async fn get_as(&self, path: &str, token: Option<&str>) -> (u16, Value) {
        let mut request = self.api.get(format!("http://localhost{path}"));
        if let Some(token) = token {
            request = request.header("authorization", format!("token {token}"));
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        (
            status,
            serde_json::from_str(&text).unwrap_or(Value::String(text)),
        )
    }

    /// Changes something.
    pub(crate) async fn put(&self, path: &str, token: Option<&str>, body: Value) -> (u16, Value) {
        self.send(reqwest::Method::PUT, path, token, body).await
    }

    /// Says something.
    pub(crate) async fn post(&self, path: &str, token: Option<&str>, body: Value) -> (u16, Value) {
        self.send(reqwest::Method::POST, path, token, body).await
    }

    async fn send(
        &self,
        method: reqwest::Method,
        path: &str,
        token: Option<&str>,
        body: Value,
    ) -> (u16, Value) {
        let request = self.api.request(method, format!("http://localhost{path}"));
        let mut request = request.body(body.to_string());
        if let Some(token) = token {
            request = request.header("authorization", format!("token {token}"));
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap())
    }

    /// Asks until the answer satisfies.
    pub(crate) async fn until(&self, path: &str, good: impl Fn(&Value) -> bool) -> Value {
        let asked = async {
            loop {
                let (_, answer) = self.get(path).await;
                if good(&answer) {
                    return answer;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(answer) => answer,
            Err(_) => panic!("{path}: {:?}", self.get(path).await),
        }
    }

    /// Opens a stream and says Hello.
    pub(crate) async fn connect(
        &self,
        token: Option<&str>,
        hello: v1::Hello,
    ) -> Result<Agent, Status> {
        let path = self.dir.join("link");
        let channel = Endpoint::from_static("http://localhost")
            .connect_with_connector(tower::service_fn(move |_| {
                let path = path.clone();
                async move { UnixStream::connect(path).await.map(TokioIo::new) }
            }))
            .await
            .unwrap();
        self.connect_over(channel, token, hello).await
    }

    /// The same by either carrier.
    pub(crate) async fn connect_by(&self, over: Over, hello: v1::Hello) -> Result<Agent, Status> {
        if over == Over::Grpc {
            return self.connect(None, hello).await;
        }
        let stream = UnixStream::connect(self.dir.join("http")).await.unwrap();
        let (socket, _) = client_async("ws://localhost/link", stream)
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        let (mut sink, frames) = socket.split();
        let (up, mut messages) = mpsc::channel::<v1::Up>(64);
        up.send(wrap(v1::up::Body::Hello(hello))).await.unwrap();
        tokio::spawn(async move {
            while let Some(message) = messages.recv().await {
                let frame = Message::Binary(message.encode_to_vec().into());
                if sink.send(frame).await.is_err() {
                    return;
                }
            }
            let _ = sink.close().await;
        });
        let down = Down::WebSocket(Box::new(frames));
        Ok(Agent { up, down })
    }

    /// The same over a connection that is there already.
    pub(crate) async fn connect_over(
        &self,
        channel: Channel,
        token: Option<&str>,
        hello: v1::Hello,
    ) -> Result<Agent, Status> {
        let (up, messages) = mpsc::channel(64);
        up.send(wrap(v1::up::Body::Hello(hello))).await.unwrap();
        let mut request = tonic::Request::new(ReceiverStream::new(messages));
        if let Some(token) = token {
            let value = format!("Bearer {token}").parse().unwrap();
            request.metadata_mut().insert("authorization", value);
        }
        let down = LinkClient::new(channel).stream(request).await?.into_inner();
        let down = Down::Grpc(Box::new(down));
        Ok(Agent { up, down })
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Down {
    pub(crate) async fn message(&mut self) -> Result<Option<v1::Down>, Status> {
        match self {
            Self::Grpc(stream) => stream.message().await,
            Self::WebSocket(frames) => loop {
                match frames.next().await {
                    Some(Ok(Message::Binary(bytes))) => {
                        return Ok(Some(v1::Down::decode(bytes).unwrap()));
                    }
                    Some(Ok(Message::Close(_))) | None => return Ok(None),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(Status::unavailable(error.to_string())),
                }
            },
        }
    }
}

impl Agent {
    pub(crate) async fn say(&self, body: v1::up::Body) {
        // The collector may have gone: the test sees that from what it hears.
        let _ = self.up.send(wrap(body)).await;
    }

    pub(crate) async fn report(&self, seq: u64) {
        self.say(v1::up::Body::Report(v1::Report {
            seq,
            samples: vec![sample(seq)],
        }))
        .await;
    }

    /// A report of a server that has used nearly all it may.
    pub(crate) async fn report_full(&self, seq: u64) {
        let sample = v1::Sample {
            memory_limit_bytes: Some(1_050_000_000),
            memory_limit_enforced: true,
            ..sample(seq)
        };
        let samples = vec![sample];
        self.say(v1::up::Body::Report(v1::Report { seq, samples }))
            .await;
    }

    /// The next message; `None` at the end, however it came.
    pub(crate) async fn hear(&mut self) -> Option<v1::down::Body> {
        let message = tokio::time::timeout(PATIENCE, self.down.message())
            .await
            .expect("the collector says something");
        message.ok().flatten()?.body
    }

    pub(crate) async fn welcome(&mut self) -> v1::Welcome {
        match self.hear().await {
            Some(v1::down::Body::Welcome(welcome)) => welcome,
            other => panic!("no Welcome: {other:?}"),
        }
    }

    /// Waits until everything through `seq` is acknowledged.
    pub(crate) async fn receipt(&mut self, seq: u64) {
        loop {
            match self.hear().await {
                Some(v1::down::Body::Receipt(receipt)) if receipt.through_seq >= seq => return,
                Some(v1::down::Body::Receipt(_) | v1::down::Body::Notice(_)) => {}
                other => panic!("no receipt: {other:?}"),
            }
        }
    }

    pub(crate) async fn bye(&mut self) -> v1::Bye {
        loop {
            match self.hear().await {
                Some(v1::down::Body::Bye(bye)) => return bye,
                Some(_) => {}
                None => panic!("no Bye"),
            }
        }
    }
}

fn wrap(body: v1::up::Body) -> v1::Up {
    v1::Up { body: Some(body) }
}

/// Waits until something is so: what has a receipt is on the disk, and shown a moment later.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let so = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, so).await;
    assert!(waited.is_ok(), "{what}");
}

pub(crate) fn hello(instance: u8, first_seq: u64, next_seq: u64) -> v1::Hello {
    v1::Hello {
        protocol: 1,
        instance_id: vec![instance; 16].into(),
        first_seq,
        next_seq,
        mono_ms: 1_000_000,
        interval_ms: 5_000,
        host: "node".to_owned(),
        ..Default::default()
    }
}

/// A sample that tells its report's number in its memory figure.
pub(crate) fn sample(seq: u64) -> v1::Sample {
    v1::Sample {
        mono_ms: 1_000_000 + seq,
        interval_ms: if seq == 1 { 0 } else { 1 },
        memory_used_bytes: 1_000_000_000 + seq,
        memory_source: v1::MemorySource::Rss.into(),
        rss_bytes: 1_000_000_000 + seq,
        cpu_millis: seq,
        processes: 1,
        threads: 1,
        ..Default::default()
    }
}

/// Our own login name: whose rows a standalone collector files us under.
pub(crate) fn login() -> String {
    let uid = nix::unistd::getuid();
    nix::unistd::User::from_uid(uid).unwrap().unwrap().name
}
