//! The link over a WebSocket: a real server end, played by the test frame by frame.

use futures_util::{SinkExt as _, StreamExt as _};
use hubmeter_agent::board::LinkState;
use hubmeter_proto::{
    REFUSED_HEADER,
    v1::{self, bye::Reason, down::Body as Down, up::Body as Up},
};
use prost::Message as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async,
    tungstenite::{
        Message,
        handshake::server::{ErrorResponse, Request, Response},
        http::StatusCode,
    },
};

use super::rig::Agent;

const PATH: &str = "/services/hubmeter/link";

pub struct Proxy(TcpListener);

pub struct Stream(WebSocketStream<TcpStream>);

impl Proxy {
    pub async fn start() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    pub fn url(&self) -> String {
        let port = self.0.local_addr().unwrap().port();
        format!("ws://127.0.0.1:{port}{PATH}")
    }

    fn agent(&self) -> Agent {
        Agent::start(&self.url(), Some("t0ken"), 512 * 1024)
    }

    /// The next connection: upgraded, or refused with `status`.
    pub async fn accept(&self, status: Option<StatusCode>) -> Option<Stream> {
        let (tcp, _) = self.0.accept().await.unwrap();
        #[allow(clippy::result_large_err)] // the library's own type
        let judge = |request: &Request, response: Response| {
            assert_eq!(request.uri().path(), PATH);
            assert_eq!(request.headers()["authorization"], "Bearer t0ken");
            match status {
                None => Ok(response),
                Some(status) => {
                    let mut refusal = ErrorResponse::new(Some("not you".to_owned()));
                    *refusal.status_mut() = status;
                    if status == StatusCode::UNAUTHORIZED {
                        let reason = "no such token".parse().unwrap();
                        refusal.headers_mut().insert(REFUSED_HEADER, reason);
                        *refusal.body_mut() = None;
                    }
                    Err(refusal)
                }
            }
        };
        accept_hdr_async(tcp, judge).await.ok().map(Stream)
    }
}

impl Stream {
    pub async fn next(&mut self) -> Option<Up> {
        loop {
            match self.0.next().await? {
                Ok(Message::Binary(bytes)) => return v1::Up::decode(bytes).unwrap().body,
                Ok(Message::Close(_)) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    pub async fn say(&mut self, body: Down) {
        let message = v1::Down { body: Some(body) }.encode_to_vec();
        self.0.send(Message::Binary(message.into())).await.unwrap();
    }

    /// Greets from Hello's first report on.
    pub async fn welcome(&mut self) -> v1::Hello {
        let Some(Up::Hello(hello)) = self.next().await else {
            panic!("no Hello");
        };
        let welcome = v1::Welcome {
            protocol: 1,
            resume_seq: hello.first_seq,
            ..Default::default()
        };
        self.say(Down::Welcome(welcome)).await;
        hello
    }

    pub async fn reports(&mut self, count: usize) -> Vec<u64> {
        let mut seqs = Vec::new();
        while seqs.len() < count {
            match self.next().await {
                Some(Up::Report(report)) => seqs.push(report.seq),
                other => panic!("no report after {seqs:?}: {other:?}"),
            }
        }
        seqs
    }
}

#[tokio::test]
async fn reports_flow_are_acknowledged_and_resent_after_a_cut_as_over_grpc() {
    let proxy = Proxy::start().await;
    let mut agent = proxy.agent();
    let mut stream = proxy.accept(None).await.unwrap();
    stream.welcome().await;
    agent.sample(5);
    assert_eq!(stream.reports(5).await, [1, 2, 3, 4, 5]);
    assert_eq!(agent.board.link().state, LinkState::Streaming);
    stream
        .say(Down::Receipt(v1::Receipt { through_seq: 2 }))
        .await;
    // The receipt is read before the end of what carries it.
    stream.0.close(None).await.unwrap();
    drop(stream);
    let mut stream = proxy.accept(None).await.unwrap();
    let hello = stream.welcome().await;
    assert_eq!((hello.first_seq, hello.next_seq), (3, 6));
    assert_eq!(stream.reports(3).await, [3, 4, 5]);
}

#[tokio::test]
async fn a_refusal_is_no_stream_and_the_agent_comes_back() {
    let proxy = Proxy::start().await;
    let mut agent = proxy.agent();
    for status in [
        StatusCode::SERVICE_UNAVAILABLE,
        StatusCode::NOT_FOUND,
        StatusCode::UNAUTHORIZED,
    ] {
        assert!(proxy.accept(Some(status)).await.is_none());
        assert_eq!(agent.board.link().state, LinkState::Connecting);
    }
    let mut stream = proxy.accept(None).await.unwrap();
    let why = &agent.board.link().passed_over[0].why;
    assert!(why.contains("401 no such token"), "{why}");
    stream.welcome().await;
    agent.sample(1);
    assert_eq!(stream.reports(1).await, [1]);
}

#[tokio::test]
async fn a_frame_that_is_no_message_ends_the_stream_and_the_next_one_misses_nothing() {
    let proxy = Proxy::start().await;
    let mut agent = proxy.agent();
    let mut stream = proxy.accept(None).await.unwrap();
    stream.welcome().await;
    agent.sample(1);
    assert_eq!(stream.reports(1).await, [1]);
    let junk = Message::Binary(vec![0xff; 32].into());
    stream.0.send(junk).await.unwrap();
    let mut stream = proxy.accept(None).await.unwrap();
    assert_eq!(stream.welcome().await.first_seq, 1);
    assert_eq!(stream.reports(1).await, [1]);
}

#[tokio::test]
async fn a_bye_is_obeyed_over_a_websocket_too() {
    let proxy = Proxy::start().await;
    let agent = proxy.agent();
    let mut stream = proxy.accept(None).await.unwrap();
    stream.welcome().await;
    let bye = v1::Bye {
        reason: Reason::Superseded.into(),
        retry_after_ms: 0,
    };
    stream.say(Down::Bye(bye)).await;
    agent.link.await.unwrap();
    assert_eq!(agent.board.link().state, LinkState::Off);
}
