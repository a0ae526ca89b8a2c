//! Without a hub, who calls is the kernel's word: tried with real users of this machine, through
//! processes of theirs that only pass bytes on.

use std::{
    os::unix::{net::UnixStream as StdStream, process::CommandExt as _},
    process::{Child, Command, Stdio},
};

use hubmeter_proto::v1;
use hyper_util::rt::TokioIo;
use nix::unistd::{Uid, User};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
};
use tonic::transport::Endpoint;

use crate::rig::{Agent, Collector, hello};

/// Users that every Linux has.
const DAEMON: u32 = 1;
const NOBODY: u32 = 65_534;

/// Connects as the user it runs as, and passes on what comes and goes.
const RELAY: &str = r#"exec 3<>"/dev/tcp/127.0.0.1/$0"; cat <&3 & exec cat >&3"#;

/// A connection that belongs to somebody else.
struct Relay(Child, Option<UnixStream>);

impl Relay {
    fn to(addr: &str, uid: u32) -> Self {
        let (ours, theirs) = StdStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let port = addr.rsplit_once(':').unwrap().1;
        let child = Command::new("bash")
            // A socket for standard input looks like a remote login, with its settings.
            .args(["--norc", "-c", RELAY, port])
            .uid(uid)
            .current_dir("/")
            .stdin(Stdio::from(std::os::fd::OwnedFd::from(
                theirs.try_clone().unwrap(),
            )))
            .stdout(Stdio::from(std::os::fd::OwnedFd::from(theirs)))
            .process_group(0)
            .spawn()
            .unwrap();
        Self(child, Some(UnixStream::from_std(ours).unwrap()))
    }

    fn stream(&mut self) -> UnixStream {
        self.1.take().unwrap()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let group = nix::unistd::Pid::from_raw(self.0.id().cast_signed());
        let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
        let _ = self.0.wait();
    }
}

/// An agent of `uid`'s, greeted, for a server of its own.
async fn agent(collector: &Collector, uid: u32) -> (Agent, Relay) {
    agent_named(collector, uid, &format!("of-{uid}")).await
}

async fn agent_named(collector: &Collector, uid: u32, server: &str) -> (Agent, Relay) {
    let mut relay = Relay::to(&collector.link_addr(), uid);
    let mut stream = Some(TokioIo::new(relay.stream()));
    let channel = Endpoint::from_static("http://localhost")
        .connect_with_connector(tower::service_fn(move |_| {
            let stream = stream.take();
            async move { stream.ok_or_else(|| std::io::Error::other("one connection only")) }
        }))
        .await
        .unwrap();
    let greeting = v1::Hello {
        server_name: server.to_owned(),
        ..hello(1, 1, 1)
    };
    let mut agent = collector
        .connect_over(channel, None, greeting)
        .await
        .unwrap();
    agent.welcome().await;
    (agent, relay)
}

/// Status and answer for `uid`.
async fn get(addr: &str, uid: u32, path: &str) -> (u16, Value) {
    let mut relay = Relay::to(addr, uid);
    let mut stream = relay.stream();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {addr}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // The relay's own end of it stays open: the length says where the answer ends.
    let text = loop {
        let mut chunk = [0; 4096];
        let read = stream.read(&mut chunk).await.unwrap();
        answer.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&answer).to_lowercase();
        let length = text
            .split_once("content-length: ")
            .and_then(|(_, rest)| rest.split_once("\r\n"))
            .map(|(length, _)| length.parse::<usize>().unwrap());
        let body = text.find("\r\n\r\n").map(|end| text.len() - end - 4);
        if read == 0 || body.is_some_and(|body| length.is_some_and(|length| body >= length)) {
            break String::from_utf8(answer).unwrap();
        }
    };
    let status = text.split(' ').nth(1).unwrap().parse().unwrap();
    let (_, body) = text.split_once("\r\n\r\n").unwrap();
    (status, serde_json::from_str(body).unwrap_or_default())
}

fn name(uid: u32) -> String {
    let user = User::from_uid(Uid::from_raw(uid)).unwrap();
    user.map_or_else(|| format!("uid-{uid}"), |user| user.name)
}

#[tokio::test]
async fn each_user_of_the_machine_writes_and_sees_their_own_rows_and_root_sees_all() {
    if !Uid::effective().is_root() {
        eprintln!("not tried: only root can be several users");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let flags = [
        "--standalone",
        "--link-listen",
        "127.0.0.1:0",
        "--listen",
        "127.0.0.1:0",
    ];
    let collector = Collector::start(dir.path(), &flags, &[]).await;
    let http = collector.listen_addr();
    let mut agents = Vec::new();
    for uid in [DAEMON, NOBODY] {
        let (mut agent, relay) = agent(&collector, uid).await;
        agent.report(1).await;
        agent.receipt(1).await;
        agents.push((agent, relay));
    }
    let rows = async |uid| {
        let (status, list) = get(&http, uid, "/api/v1/servers").await;
        assert_eq!(status, 200, "{list}");
        let row = |row: &Value| format!("{}/{}", row["user"], row["server"]).replace('"', "");
        let mut rows: Vec<_> = list["items"].as_array().unwrap().iter().map(row).collect();
        rows.sort();
        rows
    };
    let own = |uid: u32| format!("{}/of-{uid}", name(uid));
    assert_eq!(rows(DAEMON).await, [own(DAEMON)]);
    assert_eq!(rows(NOBODY).await, [own(NOBODY)]);
    let mut all = vec![own(DAEMON), own(NOBODY)];
    all.sort();
    assert_eq!(rows(0).await, all);
    let others = format!("/api/v1/users/{}/servers/of-{DAEMON}", name(DAEMON));
    assert_eq!(get(&http, NOBODY, &others).await.0, 404);
    assert_eq!(get(&http, DAEMON, &others).await.0, 200);
    assert_eq!(get(&http, 0, &others).await.0, 200);
    // A claim of a name is no way to somebody's rows: the same server name is another server.
    let (mut claims, _relay) = agent_named(&collector, NOBODY, &format!("of-{DAEMON}")).await;
    claims.report(1).await;
    claims.receipt(1).await;
    assert_eq!(rows(DAEMON).await, [own(DAEMON)]);
    drop(agents);
}
