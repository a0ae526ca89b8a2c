//! What a message costs around its bytes, counted on a real connection with TLS: the figure that
//! `link::bytes` counts with.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use hubmeter_agent::link::credential::Credential;
use hubmeter_proto::v1::{self, down::Body as Down, link_server::LinkServer};
use prost::Message as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Identity, Server, ServerTlsConfig};

use crate::rig::{Agent, Collector};

/// HTTP/2's frame, gRPC's head, TLS 1.3's record.
const FRAME_BYTES: usize = 9 + 5 + 22;

fn certificates(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tls")).join(name)
}

/// A way to `port` that counts what the agent sends.
async fn counted_way(port: u16, sent: Arc<AtomicUsize>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let way = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (agent, _) = listener.accept().await.unwrap();
        let collector = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let (mut from_agent, mut to_agent) = agent.into_split();
        let (mut from_collector, mut to_collector) = collector.into_split();
        tokio::spawn(async move { copy(&mut from_collector, &mut to_agent).await });
        let mut bytes = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from_agent.read(&mut bytes).await {
            // Counted before it can arrive.
            sent.fetch_add(count, Ordering::SeqCst);
            to_collector.write_all(&bytes[..count]).await.unwrap();
        }
    });
    way
}

#[tokio::test]
async fn a_message_costs_thirty_six_bytes_around_its_own() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, mut streams) = mpsc::channel(1);
    let read = |name| std::fs::read(certificates(name)).unwrap();
    let identity = Identity::from_pem(read("server.pem"), read("server.key"));
    tokio::spawn(
        Server::builder()
            .tls_config(ServerTlsConfig::new().identity(identity))
            .unwrap()
            .add_service(LinkServer::new(Collector(sender)))
            .serve_with_incoming(TcpListenerStream::new(listener)),
    );
    let sent = Arc::new(AtomicUsize::new(0));
    let way = counted_way(port, Arc::clone(&sent)).await;
    let mut agent = Agent::start_trusting(
        Some(certificates("ca.pem")),
        &format!("grpcs://localhost:{way}"),
        Credential::new(None, None),
        1 << 19,
    );
    let mut stream = streams.recv().await.unwrap();
    stream.hello().await;
    let welcome = v1::Welcome {
        protocol: 2,
        resume_seq: 1,
        ..Default::default()
    };
    stream.say(Down::Welcome(welcome)).await;
    // What the connection itself has to say at its beginning has been said.
    agent.sample(1);
    stream.next().await.unwrap();
    for seq in 2..=6 {
        let before = sent.load(Ordering::SeqCst);
        agent.sample(1);
        let body = stream.next().await.unwrap();
        let message = v1::Up { body: Some(body) }.encode_to_vec();
        let came = sent.load(Ordering::SeqCst) - before;
        assert_eq!(came, message.len() + FRAME_BYTES, "report {seq}");
    }
}
