//! Three questions about the libraries under the link, answered by measurement:
//!
//! 1. Does a gRPC server without descriptors spin in its accept loop? Does ours?
//! 2. Is a connection told (GOAWAY) when it reaches the age limit that tonic offers, if a grace is
//!    set?
//! 3. How much memory does a message of empty sub-messages become?
//!
//! `cargo run --release -p hubmeter-collector --example week_one`, beside a built collector.
#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    clippy::disallowed_methods
)] // its output is its purpose, and times are what it measures

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use hubmeter_proto::{limits::MESSAGE_BYTES_MAX, v1};
use prost::Message as _;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use tonic::transport::Server;

/// How long a server without descriptors is watched.
const WATCH: Duration = Duration::from_secs(3);

/// tonic's own limit of a message, before anybody sets another.
const TONIC_MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

const AGE: Duration = Duration::from_secs(1);
const GRACE: Duration = Duration::from_secs(2);

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("plain") => serve(Server::builder()),
        Some("aged") => serve(
            Server::builder()
                .max_connection_age(AGE)
                .max_connection_age_grace(GRACE),
        ),
        Some(other) => panic!("there is no {other}"),
        None => {
            descriptors();
            age();
            empty_messages();
        }
    }
}

// === 1: descriptors ===

fn descriptors() {
    let mut tonic = child(Command::new(std::env::current_exe().unwrap()).arg("plain"));
    let addr = first_line(&mut tonic).parse().unwrap();
    println!(
        "1. CPU time of a server without descriptors, {} s:",
        WATCH.as_secs()
    );
    println!("   tonic's own listener    {:>6} ms", starved(&tonic, addr));
    end(tonic);

    let program = std::env::current_exe().unwrap();
    let program = program.parent().unwrap().join("../hubmeter-collector");
    if !program.exists() {
        println!("   ours                    not built beside this program");
        return;
    }
    let dir = std::env::temp_dir().join(format!("hubmeter-week-one-{}", std::process::id()));
    let socket = format!("unix:{}", dir.join("http").display());
    let mut ours = child(
        Command::new(program)
            .args(["serve", "--standalone", "--link-listen", "127.0.0.1:0"])
            .args(["--listen", &socket])
            .arg("--data-dir")
            .arg(dir.join("data"))
            .stderr(Stdio::piped()),
    );
    let mut log = BufReader::new(ours.stderr.take().unwrap());
    let addr = loop {
        let mut line = String::new();
        assert!(
            log.read_line(&mut line).unwrap() > 0,
            "the collector has ended"
        );
        let said: serde_json::Value = serde_json::from_str(&line).unwrap();
        if said["fields"]["message"] == "listening" {
            break said["fields"]["link"].as_str().unwrap().parse().unwrap();
        }
    };
    thread::spawn(move || while log.read_line(&mut String::new()).is_ok_and(|read| read > 0) {});
    thread::sleep(Duration::from_secs(1));
    println!("   the collector           {:>6} ms", starved(&ours, addr));
    end(ours);
    let _ = fs::remove_dir_all(dir);
}

/// CPU time that `server` takes while it has no descriptors and peers wait.
fn starved(server: &Child, addr: SocketAddr) -> u128 {
    let pid = i32::try_from(server.id()).unwrap();
    let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let limit = Rlimit {
        current: Some(u64::try_from(open).unwrap() + 4),
        maximum: getrlimit(Resource::Nofile).maximum,
    };
    prlimit(Pid::from_raw(pid), Resource::Nofile, limit).unwrap();
    let waiting: Vec<_> = (0..32).map(|_| TcpStream::connect(addr).unwrap()).collect();
    thread::sleep(Duration::from_millis(200));
    let before = cpu(pid);
    thread::sleep(WATCH);
    let used = cpu(pid) - before;
    drop(waiting);
    used.as_millis()
}

fn cpu(pid: i32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(')').unwrap();
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_secs(1) * u32::try_from(ticks).unwrap()
        / u32::try_from(rustix::param::clock_ticks_per_second()).unwrap()
}

// === 2: age ===

fn age() {
    let mut server = child(Command::new(std::env::current_exe().unwrap()).arg("aged"));
    let addr: SocketAddr = first_line(&mut server).parse().unwrap();
    println!(
        "2. tonic, age limit {} s with a grace of {} s, a connection with a stream on it:",
        AGE.as_secs(),
        GRACE.as_secs()
    );
    let mut connection = TcpStream::connect(addr).unwrap();
    let begun = Instant::now();
    connection
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .unwrap();
    connection.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).unwrap();
    connection.write_all(&request()).unwrap();
    loop {
        let mut head = [0; 9];
        if connection.read_exact(&mut head).is_err() {
            break;
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut body = vec![0; usize::try_from(length).unwrap()];
        if connection.read_exact(&mut body).is_err() {
            break;
        }
        if head[3] == 7 {
            println!(
                "   GOAWAY after            {:>6} ms",
                begun.elapsed().as_millis()
            );
        }
    }
    println!(
        "   closed after            {:>6} ms",
        begun.elapsed().as_millis()
    );
    end(server);
}

/// HEADERS of a stream that stays open.
fn request() -> Vec<u8> {
    let mut fields = vec![0x83, 0x86]; // POST, http
    for (name, value) in [(0x04, "/hubmeter.v1.Link/Stream"), (0x01, "localhost")] {
        fields.push(name);
        fields.push(u8::try_from(value.len()).unwrap());
        fields.extend(value.bytes());
    }
    let value = "application/grpc";
    fields.extend([0x0f, 0x10, u8::try_from(value.len()).unwrap()]);
    fields.extend(value.bytes());
    let length = u32::try_from(fields.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], 1, 4, 0, 0, 0, 1];
    frame.extend(fields);
    frame
}

// === 3: empty sub-messages ===

fn empty_messages() {
    println!("3. a report of empty samples, two bytes each on the wire:");
    for bytes in [MESSAGE_BYTES_MAX, TONIC_MESSAGE_BYTES_MAX] {
        let (resident_kib, samples) = decoded(bytes);
        println!(
            "   {:>5} KiB of message      {samples} samples of {} bytes, {resident_kib} KiB resident, {} times",
            bytes / 1024,
            size_of::<v1::Sample>(),
            resident_kib * 1024 / bytes
        );
    }
}

/// What a message of `bytes` becomes: resident memory and samples.
fn decoded(bytes: usize) -> (usize, usize) {
    let empty = v1::Report {
        seq: 1,
        samples: vec![v1::Sample::default(); (bytes - 16) / 2],
    };
    let body = Some(v1::up::Body::Report(empty));
    let message = v1::Up { body }.encode_to_vec();
    assert!(message.len() <= bytes);
    let before = resident_kib();
    let decoded = v1::Up::decode(&*message).unwrap();
    let after = resident_kib();
    let samples = match &decoded.body {
        Some(v1::up::Body::Report(report)) => report.samples.len(),
        _ => 0,
    };
    (after.saturating_sub(before), samples)
}

fn resident_kib() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * rustix::param::page_size() / 1024
}

// === servers ===

fn serve(mut server: Server) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap());
        let incoming = tonic::transport::server::TcpIncoming::from(listener);
        server
            .add_service(Hangs)
            .serve_with_incoming(incoming)
            .await
            .unwrap();
    });
}

/// A service whose streams say nothing for ever.
#[derive(Clone)]
struct Hangs;

impl tonic::server::NamedService for Hangs {
    const NAME: &'static str = "hubmeter.v1.Link";
}

impl tower::Service<tonic::codegen::http::Request<tonic::body::Body>> for Hangs {
    type Response = tonic::codegen::http::Response<tonic::body::Body>;
    type Error = std::convert::Infallible;
    type Future = std::future::Pending<Result<Self::Response, Self::Error>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: tonic::codegen::http::Request<tonic::body::Body>) -> Self::Future {
        std::future::pending()
    }
}

fn child(command: &mut Command) -> Child {
    command.stdout(Stdio::piped()).spawn().unwrap()
}

fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

fn first_line(child: &mut Child) -> String {
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    line.trim().to_owned()
}
