//! The socket of a running agent: found by the server, gone with the agent, back after a fault.

use std::{
    io::{Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::Path,
    process::{Command, Stdio},
};

use crate::rig::{Rig, Running, kill, wait_for};

fn is_well(socket: &Path) -> bool {
    let Ok(mut stream) = UnixStream::connect(socket) else {
        return false;
    };
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.starts_with("HTTP/1.1 200")
}

#[test]
fn the_server_is_told_of_the_socket_and_it_goes_with_the_agent() {
    let rig = Rig::new();
    let mut running = rig.shell("echo ready; echo $HUBMETER_SOCKET; read line; exit 0");
    let told = running.line();
    let by_agent = rig.socket(running.agent.id());
    // Whose environment was taken away finds it by its own pid, as before.
    let by_root = rig.socket(running.root());
    assert_eq!(Path::new(&told), by_agent);
    running.wait_for(&by_root);
    for socket in [&by_agent, &by_root] {
        assert!(is_well(socket));
        let mode = std::fs::metadata(socket).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    running
        .agent
        .stdin
        .take()
        .unwrap()
        .write_all(b"go\n")
        .unwrap();
    assert_eq!(running.code(), Some(0));
    assert_eq!(std::fs::read_dir(rig.runtime.path()).unwrap().count(), 0);
}

#[test]
fn a_chosen_socket_is_told_as_it_is_even_with_a_long_path() {
    let rig = Rig::new();
    let dir = rig.runtime.path().join("d".repeat(200));
    std::fs::create_dir(&dir).unwrap();
    let socket = dir.join("chosen.sock");
    let script = "echo ready; echo $HUBMETER_SOCKET; read line; exit 0";
    let mut command = rig.agent(&["--", "sh", "-c", script]);
    command
        .env("HUBMETER_SOCKET", &socket)
        .stdin(Stdio::piped());
    let mut running = Running::start(command);
    assert_eq!(Path::new(&running.line()), socket);
    running.wait_for(&socket);
    // The kernel takes no such path, so from within the folder.
    let listed = || std::fs::read_dir(&dir).unwrap().count();
    assert_eq!(listed(), 1);
    let fd = std::fs::File::open(&dir).unwrap();
    let short = format!(
        "/proc/self/fd/{}/chosen.sock",
        std::os::fd::AsRawFd::as_raw_fd(&fd)
    );
    assert!(is_well(Path::new(&short)));
    running
        .agent
        .stdin
        .take()
        .unwrap()
        .write_all(b"go\n")
        .unwrap();
    assert_eq!(running.code(), Some(0));
    assert_eq!(listed(), 0, "a chosen folder stays");
}

#[test]
fn an_agent_inside_a_wrapped_server_leaves_the_outer_socket_alone() {
    let rig = Rig::new();
    let inner = format!(
        "{} run -- sh -c 'echo $HUBMETER_SOCKET; sleep 0.1'",
        crate::rig::AGENT
    );
    let script = format!(
        "echo ready; read line; echo $HUBMETER_SOCKET; {inner}; test -S $HUBMETER_SOCKET && echo there"
    );
    let mut running = rig.shell(&script);
    let socket = rig.socket(running.agent.id());
    running.wait_for(&socket);
    running
        .agent
        .stdin
        .take()
        .unwrap()
        .write_all(b"go\n")
        .unwrap();
    let (outer, inner) = (running.line(), running.line());
    assert_ne!(outer, inner);
    assert!(inner.ends_with(".sock"), "{inner}");
    assert_eq!(running.line(), "there");
    assert_eq!(running.code(), Some(0));
}

/// A server of nothing but patience.
struct Server(std::process::Child);

impl Server {
    fn start() -> Self {
        Self(
            Command::new("cat")
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .spawn()
                .unwrap(),
        )
    }

    fn end(&mut self) {
        drop(self.0.stdin.take());
        assert!(self.0.wait().unwrap().success());
    }
}

#[test]
fn beside_a_server_it_ends_when_that_is_gone() {
    let rig = Rig::new();
    let mut server = Server::start();
    let pid = server.0.id();
    let mut agent = rig.agent(&["--pid", &pid.to_string()]).spawn().unwrap();
    wait_for(&rig.socket(pid), &mut agent);
    server.end();
    assert_eq!(agent.wait().unwrap().code(), Some(0));
    assert_eq!(std::fs::read_dir(rig.runtime.path()).unwrap().count(), 0);
}

#[test]
fn beside_a_server_it_ends_at_a_signal_and_leaves_the_server_alone() {
    let rig = Rig::new();
    for signal in ["TERM", "INT", "HUP", "QUIT"] {
        let mut server = Server::start();
        let pid = server.0.id();
        let mut agent = rig.agent(&["--pid", &pid.to_string()]).spawn().unwrap();
        wait_for(&rig.socket(pid), &mut agent);
        kill(&agent.id().to_string(), signal);
        assert_eq!(agent.wait().unwrap().code(), Some(0), "{signal}");
        assert!(server.0.try_wait().unwrap().is_none());
        server.end();
    }
}

#[test]
fn after_a_kill_the_next_agent_takes_the_socket_over() {
    let rig = Rig::new();
    let mut server = Server::start();
    let pid = server.0.id();
    let socket = rig.socket(pid);
    let mut first = rig.agent(&["--pid", &pid.to_string()]).spawn().unwrap();
    wait_for(&socket, &mut first);
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(
        socket.try_exists().unwrap() && !is_well(&socket),
        "no stale socket to recover from"
    );
    let mut second = rig.agent(&["--pid", &pid.to_string()]).spawn().unwrap();
    while !is_well(&socket) {
        assert!(second.try_wait().unwrap().is_none());
        std::thread::yield_now();
    }
    server.end();
    second.wait().unwrap();
    assert!(!socket.try_exists().unwrap());
}

#[test]
fn of_two_agents_beside_one_server_the_first_keeps_the_socket_and_both_live() {
    let rig = Rig::new();
    let mut server = Server::start();
    let pid = server.0.id();
    let socket = rig.socket(pid);
    let mut first = rig.agent(&["--pid", &pid.to_string()]).spawn().unwrap();
    wait_for(&socket, &mut first);
    let mut second = rig.agent(&["--pid", &pid.to_string()]).spawn().unwrap();
    let mut said = String::new();
    let mut log = std::io::BufReader::new(second.stderr.take().unwrap());
    std::io::BufRead::read_line(&mut log, &mut said).unwrap();
    assert!(said.contains("another agent listens there"), "{said}");
    assert!(is_well(&socket));
    assert!(first.try_wait().unwrap().is_none() && second.try_wait().unwrap().is_none());
    server.end();
    for mut agent in [first, second] {
        assert!(agent.wait().unwrap().success());
    }
}
