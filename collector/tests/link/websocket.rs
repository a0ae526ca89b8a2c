//! The other carrier: the same stream, frame by frame, under the service's prefix.

use futures_util::{SinkExt as _, StreamExt as _};
use hubmeter_proto::v1::{self, bye::Reason, down, up};
use prost::Message as _;
use tokio::net::UnixStream;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{ClientRequestBuilder, Error, Message},
};

use crate::rig::{Collector, PATIENCE, hello, login, sample};

pub(crate) struct Agent(WebSocketStream<UnixStream>);

impl Agent {
    /// Opens a WebSocket on the collector's HTTP socket.
    pub(crate) async fn open(dir: &std::path::Path, token: Option<&str>) -> Result<Self, Error> {
        Self::open_at(dir, "/link", token).await
    }

    /// The same where the service has a prefix.
    pub(crate) async fn open_at(
        dir: &std::path::Path,
        path: &str,
        token: Option<&str>,
    ) -> Result<Self, Error> {
        let stream = UnixStream::connect(dir.join("http")).await.unwrap();
        let address = format!("ws://localhost{path}");
        let mut request = ClientRequestBuilder::new(address.parse().unwrap());
        if let Some(token) = token {
            request = request.with_header("authorization", format!("token {token}"));
        }
        client_async(request, stream)
            .await
            .map(|(socket, _)| Self(socket))
    }

    async fn say(&mut self, body: up::Body) {
        self.say_bytes(v1::Up { body: Some(body) }.encode_to_vec())
            .await;
    }

    pub(crate) async fn say_bytes(&mut self, message: Vec<u8>) {
        // It may be cut while we still write.
        let _ = self.0.send(Message::Binary(message.into())).await;
    }

    async fn report(&mut self, seq: u64) {
        let samples = vec![sample(seq)];
        self.say(up::Body::Report(v1::Report { seq, samples }))
            .await;
    }

    /// The next message; `None` at the end.
    pub(crate) async fn hear(&mut self) -> Option<down::Body> {
        loop {
            let frame = tokio::time::timeout(PATIENCE, self.0.next())
                .await
                .expect("the collector says something");
            match frame? {
                Ok(Message::Binary(bytes)) => return v1::Down::decode(bytes).unwrap().body,
                Ok(Message::Close(_)) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }
}

#[tokio::test]
async fn a_stream_by_websocket_is_the_same_stream() {
    let dir = tempfile::tempdir().unwrap();
    let collector = Collector::standalone(dir.path()).await;
    let mut agent = Agent::open(dir.path(), None).await.unwrap();
    agent.say(up::Body::Hello(hello(1, 1, 1))).await;
    assert!(matches!(agent.hear().await, Some(down::Body::Welcome(_))));
    for seq in 1..=3 {
        agent.report(seq).await;
    }
    loop {
        match agent.hear().await {
            Some(down::Body::Receipt(receipt)) if receipt.through_seq == 3 => break,
            Some(down::Body::Receipt(_)) => {}
            other => panic!("no receipt: {other:?}"),
        }
    }
    let path = format!("/api/v1/users/{}/server", login());
    collector
        .until(&path, |server| server["memory_used_bytes"] == 1_000_000_003)
        .await;

    // The same server by the other carrier: the newest stream wins.
    let mut newer = collector.connect(None, hello(1, 4, 4)).await.unwrap();
    assert_eq!(newer.welcome().await.resume_seq, 4);
    match agent.hear().await {
        Some(down::Body::Bye(bye)) => assert_eq!(bye.reason(), Reason::Superseded),
        other => panic!("no Bye: {other:?}"),
    }
    assert_eq!(agent.hear().await, None);
}

#[tokio::test]
async fn what_is_no_message_ends_the_stream_and_nobody_elses() {
    let dir = tempfile::tempdir().unwrap();
    let _collector = Collector::standalone(dir.path()).await;
    let junk = [
        Message::Text("hello".into()),
        Message::Binary(vec![0xff; 64].into()),
        Message::Binary(vec![0; 128 * 1024].into()),
    ];
    for message in junk {
        let mut agent = Agent::open(dir.path(), None).await.unwrap();
        // It may be cut while we still write.
        let _ = agent.0.send(message).await;
        while let Some(body) = agent.hear().await {
            assert!(matches!(body, down::Body::Bye(_)), "{body:?}");
        }
    }
    let mut agent = Agent::open(dir.path(), None).await.unwrap();
    agent.say(up::Body::Hello(hello(1, 1, 1))).await;
    assert!(matches!(agent.hear().await, Some(down::Body::Welcome(_))));
}
