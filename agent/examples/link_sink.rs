//! A collector that keeps nothing: greets every agent, gives receipts, and says what came when.
//!
//! `link_sink [--hold MS] [CERTIFICATE KEY]` listens on a free port of 127.0.0.1, with TLS if it
//! has a certificate, and lets agents hold samples back so long. Like the collector it pings, and
//! says that small messages may lie unread. `cargo xtask footprint` measures agents against it. Its
//! lines, times in
//! nanoseconds of the monotonic clock, bytes and samples as they came so far:
//!
//! ```text
//! listening PORT
//! hello TIME
//! report TIME SEQ BYTES SAMPLES
//! ```
#![allow(clippy::print_stdout, clippy::expect_used)] // its output is its purpose

use std::{
    io,
    pin::Pin,
    sync::atomic::{AtomicU64, Ordering},
    task::{Context, Poll},
    time::Duration,
};

use hubmeter_proto::{
    delta::{Batch, Decoder},
    limits::URGENT_BYTES,
    v1::{
        self,
        down::Body as Down,
        link_server::{self, LinkServer},
        up::Body as Up,
    },
};
use nix::time::{ClockId, clock_gettime};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_stream::{
    Stream, StreamExt,
    wrappers::{ReceiverStream, TcpListenerStream},
};
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Identity, Server, ServerTlsConfig, server::Connected},
};

/// How long the collector gathers reports before it writes them and gives a receipt.
const COMMIT_EVERY: Duration = Duration::from_millis(250);

/// The collector's pings.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes that came through sockets: one agent is measured at a time.
static CAME: AtomicU64 = AtomicU64::new(0);

type Answers = mpsc::Sender<Result<v1::Down, Status>>;

struct Sink {
    hold_ms: u32,
}

/// A connection that counts what comes through it.
struct Counted(TcpStream);

fn now_ns() -> i128 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("a monotonic clock");
    i128::from(now.tv_sec()) * 1_000_000_000 + i128::from(now.tv_nsec())
}

async fn take(mut up: Streaming<v1::Up>, answers: Answers, hold_ms: u32) {
    let mut samples = 0;
    let mut decoder = Decoder::default();
    while let Ok(Some(message)) = up.message().await {
        let now = now_ns();
        match message.body {
            Some(Up::Hello(hello)) => {
                println!("hello {now}");
                let welcome = v1::Welcome {
                    protocol: hello.protocol,
                    resume_seq: hello.first_seq,
                    hold_ms,
                    urgent_bytes: u32::try_from(URGENT_BYTES).unwrap_or(0),
                    ..Default::default()
                };
                answer(&answers, Down::Welcome(welcome)).await;
            }
            Some(Up::Batch(bytes)) => {
                let mut batch = Batch::read(&bytes).expect("a batch");
                let mut seq = batch.first_seq;
                decoder.begin(&batch).expect("what goes on");
                while let Some((of, _)) = decoder.next(&mut batch).expect("a sample") {
                    seq = of;
                    samples += 1;
                }
                let bytes = CAME.load(Ordering::Relaxed);
                println!("report {now} {seq} {bytes} {samples}");
                let answers = answers.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(COMMIT_EVERY).await;
                    let receipt = v1::Receipt { through_seq: seq };
                    answer(&answers, Down::Receipt(receipt)).await;
                });
            }
            _ => {}
        }
    }
}

async fn answer(answers: &Answers, body: Down) {
    // An agent that has gone needs none.
    let _ = answers.send(Ok(v1::Down { body: Some(body) })).await;
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut words = std::env::args_os().skip(1).peekable();
    let mut hold_ms = 0;
    if words.next_if(|word| word == "--hold").is_some() {
        let said = words.next().and_then(|word| word.into_string().ok());
        hold_ms = said.and_then(|ms| ms.parse().ok()).expect("milliseconds");
    }
    let mut files = words;
    let mut server = Server::builder()
        .http2_keepalive_interval(Some(PING_EVERY))
        .http2_keepalive_timeout(Some(PING_TIMEOUT));
    if let (Some(certificate), Some(key)) = (files.next(), files.next()) {
        let read = |path| std::fs::read(path).expect("certificate and key");
        let identity = Identity::from_pem(read(certificate), read(key));
        let tls = ServerTlsConfig::new().identity(identity);
        server = server.tls_config(tls).expect("a certificate and its key");
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("its number").port();
    println!("listening {port}");
    let connections = TcpListenerStream::new(listener).map(|stream| stream.map(Counted));
    server
        .add_service(LinkServer::new(Sink { hold_ms }))
        .serve_with_incoming(connections)
        .await
        .expect("connections");
}

// === impl Sink ===

#[tonic::async_trait]
impl link_server::Link for Sink {
    type StreamStream = Pin<Box<dyn Stream<Item = Result<v1::Down, Status>> + Send>>;

    async fn stream(
        &self,
        request: Request<Streaming<v1::Up>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let (answers, messages) = mpsc::channel(64);
        tokio::spawn(take(request.into_inner(), answers, self.hold_ms));
        Ok(Response::new(Box::pin(ReceiverStream::new(messages))))
    }
}

// === impl Counted ===

impl Connected for Counted {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.0).poll_read(context, buffer);
        let came = buffer.filled().len() - before;
        CAME.fetch_add(came as u64, Ordering::Relaxed);
        polled
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
