//! Tokens and certificates that are renewed, missing, or swapped while we run: the next connect
//! goes by what is there then.

use std::{
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::Duration,
};

use hubmeter_agent::{board::LinkState, link::credential::Credential};
use hubmeter_proto::v1::{self, bye::Reason, down::Body as Down, link_server::LinkServer};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Identity as Certified, Server, ServerTlsConfig};

use crate::rig::{Accepted, Agent, Collector, Listening};

/// A token file as Kubernetes mounts one: a link to a link to a folder that is swapped whole.
struct Mounted {
    dir: TempDir,
}

impl Mounted {
    fn new(name: &str, content: &[u8]) -> Self {
        let mounted = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        mounted.swap(1, name, content);
        symlink(Path::new("..data").join(name), mounted.path(name)).unwrap();
        mounted
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The new folder takes the place of the old in one step, which then goes.
    fn swap(&self, generation: u32, name: &str, content: &[u8]) {
        let folder = format!("..{generation}");
        std::fs::create_dir(self.path(&folder)).unwrap();
        std::fs::write(self.path(&folder).join(name), content).unwrap();
        symlink(&folder, self.path("..data_tmp")).unwrap();
        std::fs::rename(self.path("..data_tmp"), self.path("..data")).unwrap();
        let _ = std::fs::remove_dir_all(self.path(&format!("..{}", generation - 1)));
    }
}

fn agent_with_token(collector: &Listening, file: &Path) -> Agent {
    let url = format!("grpc://127.0.0.1:{}", collector.port);
    let credential = Credential::new(Some(file.to_owned()), None);
    Agent::start_trusting(None, &url, credential, 1 << 19)
}

/// The token of the next stream, which is then cut.
async fn token_of_next(collector: &mut Listening) -> Option<String> {
    let (_, stream) = collector.welcome(None).await;
    stream.bye(Reason::Shutdown, 1).await;
    stream.token
}

#[tokio::test]
async fn a_token_that_is_renewed_in_place_is_used_at_the_next_connect() {
    let mut collector = Listening::at(0).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "one\n").unwrap();
    let _agent = agent_with_token(&collector, &file);
    let (_, stream) = collector.welcome(None).await;
    assert_eq!(stream.token.as_deref(), Some("Bearer one"));
    std::fs::write(&file, "two\n").unwrap();
    stream.bye(Reason::Shutdown, 1).await;
    assert_eq!(
        token_of_next(&mut collector).await.as_deref(),
        Some("Bearer two")
    );
}

#[tokio::test]
async fn a_token_that_is_removed_and_made_again_ends_nothing() {
    let mut collector = Listening::at(0).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    let mut agent = agent_with_token(&collector, &file);
    agent.sample(1);
    let is_tried = || async {
        for _ in 0..200 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    is_tried().await;
    assert!(
        collector.streams.try_recv().is_err(),
        "it went without its token"
    );
    std::fs::write(&file, "one").unwrap();
    let (_, mut stream) = collector.welcome(None).await;
    assert_eq!(stream.token.as_deref(), Some("Bearer one"));
    assert_eq!(stream.reports(1).await, [1]);
    std::fs::remove_file(&file).unwrap();
    agent.sample(1);
    assert_eq!(
        stream.reports(1).await,
        [2],
        "the stream that is there goes on"
    );
    drop(stream);
    is_tried().await;
    assert!(collector.streams.try_recv().is_err());
    std::fs::write(&file, "three").unwrap();
    let (_, mut stream) = collector.welcome(None).await;
    assert_eq!(stream.token.as_deref(), Some("Bearer three"));
    assert_eq!(stream.reports(2).await, [1, 2]);
}

#[tokio::test]
async fn a_token_that_is_swapped_by_link_is_used_at_the_next_connect() {
    let mut collector = Listening::at(0).await;
    let mounted = Mounted::new("token", b"one");
    let _agent = agent_with_token(&collector, &mounted.path("token"));
    let (_, stream) = collector.welcome(None).await;
    assert_eq!(stream.token.as_deref(), Some("Bearer one"));
    mounted.swap(2, "token", b"two");
    stream.bye(Reason::Shutdown, 1).await;
    assert_eq!(
        token_of_next(&mut collector).await.as_deref(),
        Some("Bearer two")
    );
}

#[tokio::test]
async fn a_token_file_that_never_ends_or_never_answers_holds_nothing_up() {
    let mut collector = Listening::at(0).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    let fifo = std::process::Command::new("mkfifo")
        .arg(&file)
        .status()
        .unwrap();
    assert!(fifo.success());
    let _agent = agent_with_token(&collector, &file);
    tokio::time::sleep(Duration::from_millis(20)).await;
    std::fs::remove_file(&file).unwrap();
    symlink("/dev/zero", &file).unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, "one").unwrap();
    assert_eq!(
        token_of_next(&mut collector).await.as_deref(),
        Some("Bearer one")
    );
}

#[tokio::test]
async fn a_refused_token_or_a_broken_promise_is_no_end() {
    let mut collector = Listening::at(0).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "stranger").unwrap();
    let agent = agent_with_token(&collector, &file);
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
    agent.stopper.stop();
    agent.link.await.unwrap();
}

/// A collector behind TLS, and the folder with its certificates.
struct Secured {
    streams: mpsc::Receiver<Accepted>,
    port: u16,
    _server: JoinHandle<()>,
}

fn certificate(name: &str) -> Vec<u8> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls");
    std::fs::read(dir.join(name)).unwrap()
}

/// Vouches for somebody, but not for our collector.
fn stranger() -> Vec<u8> {
    certificate("stranger.pem")
}

impl Secured {
    async fn start() -> Self {
        let certified = Certified::from_pem(certificate("server.pem"), certificate("server.key"));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, streams) = mpsc::channel(1);
        let server = tokio::spawn(async move {
            Server::builder()
                .tls_config(ServerTlsConfig::new().identity(certified))
                .unwrap()
                .add_service(LinkServer::new(Collector(sender)))
                .serve_with_incoming(TcpListenerStream::new(listener))
                .await
                .unwrap();
        });
        Self {
            streams,
            port,
            _server: server,
        }
    }

    fn agent(&self, host: &str, ca_file: Option<PathBuf>) -> Agent {
        self.agent_at(&format!("grpcs://{host}:{}", self.port), ca_file)
    }

    fn agent_at(&self, url: &str, ca_file: Option<PathBuf>) -> Agent {
        let credential = Credential::new(None, Some("t0ken".to_owned()));
        Agent::start_trusting(ca_file, url, credential, 1 << 19)
    }

    /// The next stream is one that works.
    async fn carries(&mut self, agent: &mut Agent) -> Accepted {
        agent.sample(1);
        let mut stream = self.streams.recv().await.unwrap();
        let hello = stream.hello().await;
        let welcome = v1::Welcome {
            protocol: 1,
            resume_seq: hello.next_seq - 1,
            ..Default::default()
        };
        stream.say(Down::Welcome(welcome)).await;
        assert_eq!(stream.reports(1).await, [hello.next_seq - 1]);
        stream
    }

    async fn lets_nobody_in(&mut self) {
        for _ in 0..200 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(self.streams.try_recv().is_err());
    }
}

#[tokio::test]
async fn tls_is_spoken_with_a_collector_that_the_named_file_vouches_for_and_no_other() {
    let mut collector = Secured::start().await;
    let stranger = collector.agent("localhost", None);
    let dir = tempfile::tempdir().unwrap();
    let ca_file = dir.path().join("ca.pem");
    std::fs::write(&ca_file, certificate("ca.pem")).unwrap();
    for host in ["localhost", "127.0.0.1"] {
        let mut agent = collector.agent(host, Some(ca_file.clone()));
        collector.carries(&mut agent).await;
        agent.link.abort();
    }
    assert_eq!(stranger.board.link().state, LinkState::Connecting);
    assert!(collector.streams.try_recv().is_err());
}

#[tokio::test]
async fn certificates_that_are_renewed_removed_or_made_again_count_from_the_next_connect() {
    let mut collector = Secured::start().await;
    let dir = tempfile::tempdir().unwrap();
    let ca_file = dir.path().join("ca.pem");
    let mut agent = collector.agent("localhost", Some(ca_file.clone()));
    collector.lets_nobody_in().await;
    std::fs::write(&ca_file, stranger()).unwrap();
    collector.lets_nobody_in().await;
    std::fs::write(&ca_file, certificate("ca.pem")).unwrap();
    let stream = collector.carries(&mut agent).await;
    std::fs::remove_file(&ca_file).unwrap();
    drop(stream);
    collector.lets_nobody_in().await;
    std::fs::write(&ca_file, certificate("ca.pem")).unwrap();
    collector.carries(&mut agent).await;
}

#[tokio::test]
async fn certificates_that_are_swapped_by_link_count_from_the_next_connect() {
    let mut collector = Secured::start().await;
    let mounted = Mounted::new("ca.pem", &certificate("ca.pem"));
    let mut agent = collector.agent("localhost", Some(mounted.path("ca.pem")));
    let stream = collector.carries(&mut agent).await;
    mounted.swap(2, "ca.pem", &stranger());
    drop(stream);
    collector.lets_nobody_in().await;
    mounted.swap(3, "ca.pem", &certificate("ca.pem"));
    collector.carries(&mut agent).await;
}

/// SHA-256 of the public key in a certificate, as hexadecimal digits.
fn fingerprint(pem: &[u8]) -> String {
    let certificate = CertificateDer::from_pem_slice(pem).unwrap();
    let certificate = webpki::EndEntityCert::try_from(&certificate).unwrap();
    let digest = Sha256::digest(certificate.subject_public_key_info());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn a_pinned_key_is_trusted_by_itself_and_any_other_is_not_whoever_signed_it() {
    let mut collector = Secured::start().await;
    let at = |pin: &str| format!("grpcs://127.0.0.1:{}#sha256:{pin}", collector.port);
    let (right, wrong) = (
        at(&fingerprint(&certificate("server.pem"))),
        at(&fingerprint(&stranger())),
    );
    let dir = tempfile::tempdir().unwrap();
    let ca_file = dir.path().join("ca.pem");
    std::fs::write(&ca_file, certificate("ca.pem")).unwrap();
    // The file vouches for the collector; the pin says that this is another.
    let mistaken = collector.agent_at(&wrong, Some(ca_file));
    collector.lets_nobody_in().await;
    assert_eq!(mistaken.board.link().state, LinkState::Connecting);
    // Nobody vouches for it, and its name is not in its certificate: the key is enough.
    let mut agent = collector.agent_at(&right, None);
    collector.carries(&mut agent).await;
}
