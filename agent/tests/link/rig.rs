//! Both ends: a real gRPC server that hands every stream to the test, and the agent's half
//! without a sampler.

use std::{path::PathBuf, pin::Pin, sync::Arc, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _, stream::SplitStream};
use hubmeter_agent::{
    board::{Board, LinkStatus},
    clock::SystemClock,
    link::{Identity, Link, Outbox, carrier::LOOK_AGAIN_FIRST, credential::Credential},
    sample::{MemorySource, Sample, WallTime},
    settings::CollectorUrls,
    stop::Stopper,
};
use hubmeter_proto::{
    delta::{Batch, Decoder},
    v1::{
        self,
        bye::Reason,
        down::Body as Down,
        link_server::{self, LinkServer},
        up::Body as Up,
    },
};
use prost::Message as _;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_stream::{
    Stream,
    wrappers::{ReceiverStream, TcpListenerStream},
};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async,
    tungstenite::{Message, handshake::server as handshake},
};
use tonic::{Request, Response, Status, Streaming, transport::Server};

pub const INSTANCE: [u8; 16] = [7; 16];

/// No wait for the agent is longer; shorter than the minute after which it thinks us gone.
const PATIENCE: Duration = Duration::from_secs(30);

/// What carries the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    Grpc,
    WebSocket,
}

/// One stream as the collector sees it; the test plays the collector.
pub struct Accepted {
    pub token: Option<String>,
    up: Messages,
    down: mpsc::Sender<Result<v1::Down, Status>>,
}

/// What the agent says, read when the test reads.
enum Messages {
    Grpc(Box<Streaming<v1::Up>>),
    WebSocket(Box<SplitStream<WebSocketStream<TcpStream>>>),
}

/// A server that hands every stream to the test.
pub struct Collector(pub mpsc::Sender<Accepted>);

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
            up: Messages::Grpc(Box::new(request.into_inner())),
            down,
        };
        self.0.send(accepted).await.unwrap();
        Ok(Response::new(Box::pin(ReceiverStream::new(messages))))
    }
}

/// The same by WebSocket.
async fn serve_websockets(listener: TcpListener, streams: mpsc::Sender<Accepted>) {
    loop {
        let (tcp, _) = listener.accept().await.unwrap();
        let mut token = None;
        #[allow(clippy::result_large_err)] // the library's own type
        let judge = |request: &handshake::Request, response: handshake::Response| {
            let header = request.headers().get("authorization");
            token = header.map(|value| value.to_str().unwrap().to_owned());
            Ok(response)
        };
        let Ok(socket) = accept_hdr_async(tcp, judge).await else {
            continue;
        };
        let (mut sink, frames) = socket.split();
        let (down, mut messages) = mpsc::channel::<Result<v1::Down, Status>>(64);
        tokio::spawn(async move {
            while let Some(Ok(message)) = messages.recv().await {
                let frame = Message::Binary(message.encode_to_vec().into());
                if sink.send(frame).await.is_err() {
                    return;
                }
            }
            let _ = sink.close().await;
        });
        let up = Messages::WebSocket(Box::new(frames));
        streams.send(Accepted { token, up, down }).await.unwrap();
    }
}

/// A listening collector.
pub struct Listening {
    over: Over,
    pub streams: mpsc::Receiver<Accepted>,
    pub server: JoinHandle<()>,
    pub port: u16,
}

impl Listening {
    pub async fn at(port: u16) -> Self {
        Self::over(Over::Grpc, port).await
    }

    pub async fn over(over: Over, port: u16) -> Self {
        let listener = loop {
            // After a restart the old socket may need a moment to go.
            if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)).await {
                break listener;
            }
            tokio::task::yield_now().await;
        };
        let port = listener.local_addr().unwrap().port();
        let (sender, streams) = mpsc::channel(8);
        let server = match over {
            Over::Grpc => tokio::spawn(async move {
                Server::builder()
                    .add_service(LinkServer::new(Collector(sender)))
                    .serve_with_incoming(TcpListenerStream::new(listener))
                    .await
                    .unwrap();
            }),
            Over::WebSocket => tokio::spawn(serve_websockets(listener, sender)),
        };
        Self {
            over,
            streams,
            server,
            port,
        }
    }

    pub fn url(&self) -> String {
        let port = self.port;
        match self.over {
            Over::Grpc => format!("grpc://127.0.0.1:{port}"),
            Over::WebSocket => format!("ws://127.0.0.1:{port}/services/hubmeter/link"),
        }
    }

    /// The next stream, greeted with a Welcome from `resume_seq` on (`None`: from Hello's first).
    pub async fn welcome(&mut self, resume_seq: Option<u64>) -> (v1::Hello, Accepted) {
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
    pub async fn next(&mut self) -> Option<Up> {
        tokio::time::timeout(PATIENCE, self.next_whenever())
            .await
            .expect("the agent says something, or ends")
    }

    async fn next_whenever(&mut self) -> Option<Up> {
        match &mut self.up {
            Messages::Grpc(stream) => stream.message().await.ok().flatten()?.body,
            Messages::WebSocket(frames) => loop {
                match frames.next().await? {
                    Ok(Message::Binary(bytes)) => return v1::Up::decode(bytes).unwrap().body,
                    Ok(Message::Close(_)) | Err(_) => return None,
                    Ok(_) => {}
                }
            },
        }
    }

    pub async fn hello(&mut self) -> v1::Hello {
        match self.next().await {
            Some(Up::Hello(hello)) => hello,
            other => panic!("no Hello: {other:?}"),
        }
    }

    /// The numbers and samples of the next batch.
    pub async fn batch(&mut self, decoder: &mut Decoder) -> Vec<(u64, v1::Sample)> {
        let bytes = match self.next().await {
            Some(Up::Batch(bytes)) => bytes,
            other => panic!("no batch: {other:?}"),
        };
        let mut batch = Batch::read(&bytes).unwrap();
        decoder.begin(&batch).unwrap();
        std::iter::from_fn(|| decoder.next(&mut batch).unwrap()).collect()
    }

    /// The numbers of the next reports.
    pub async fn reports(&mut self, count: usize) -> Vec<u64> {
        let mut seqs = Vec::new();
        for _ in 0..count {
            match self.next().await {
                Some(Up::Report(report)) => seqs.push(report.seq),
                other => panic!("no report after {seqs:?}: {other:?}"),
            }
        }
        seqs
    }

    pub async fn say(&self, body: Down) {
        self.down
            .send(Ok(v1::Down { body: Some(body) }))
            .await
            .unwrap();
    }

    pub async fn receipt(&self, through_seq: u64) {
        self.say(Down::Receipt(v1::Receipt { through_seq })).await;
    }

    pub async fn bye(&self, reason: Reason, retry_after_ms: u32) {
        self.say(Down::Bye(v1::Bye {
            reason: reason.into(),
            retry_after_ms,
        }))
        .await;
    }
}

/// The agent's half, without a sampler.
pub struct Agent {
    pub outbox: Arc<Outbox>,
    pub board: Arc<Board>,
    pub pace: watch::Receiver<Option<Duration>>,
    pub stopper: Stopper,
    pub link: JoinHandle<()>,
    sampled: u64,
}

impl Agent {
    pub fn start(url: &str, token: Option<&str>, spool_bytes: usize) -> Self {
        let credential = Credential::new(None, token.map(str::to_owned));
        Self::start_trusting(None, url, credential, spool_bytes)
    }

    /// Of several addresses the better ones are tried again about after `look_again_first`.
    pub fn with_addresses(urls: &str, look_again_first: Duration) -> Self {
        let credential = Credential::new(None, Some("t0ken".to_owned()));
        Self::begin(None, urls, look_again_first, credential, 512 * 1024)
    }

    pub fn start_trusting(
        ca_file: Option<PathBuf>,
        url: &str,
        credential: Credential,
        spool_bytes: usize,
    ) -> Self {
        Self::begin(ca_file, url, LOOK_AGAIN_FIRST, credential, spool_bytes)
    }

    fn begin(
        ca_file: Option<PathBuf>,
        urls: &str,
        look_again_first: Duration,
        credential: Credential,
        spool_bytes: usize,
    ) -> Self {
        let outbox = Arc::new(Outbox::new(spool_bytes));
        let board = Arc::new(Board::new(LinkStatus {
            collector: Some(urls.to_owned()),
            ..LinkStatus::default()
        }));
        let pace = watch::Sender::new(None);
        let stopper = Stopper::default();
        let link = Link {
            urls: CollectorUrls::parse(urls, false).unwrap(),
            look_again_first,
            ca_file,
            credential,
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

    pub fn beside(collector: &Listening) -> Self {
        Self::start(&collector.url(), Some("t0ken"), 512 * 1024)
    }

    pub fn sample(&mut self, count: u64) {
        for _ in 0..count {
            self.sampled += 1;
            self.outbox.push(&sample(self.sampled * 5_000), false);
        }
    }

    /// One that must not wait.
    pub fn sample_urgently(&mut self) {
        self.sampled += 1;
        self.outbox.push(&sample(self.sampled * 5_000), true);
    }
}

pub fn sample(mono_ms: u64) -> Sample {
    Sample {
        time: WallTime::default(),
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
