//! `run -- CMD` with the real binary: the server comes first, whatever becomes of the agent.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

use std::{
    io::{BufRead, BufReader, Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream, process::CommandExt},
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use tempfile::TempDir;

/// A place for home and socket, and the agent's command in it.
struct Place {
    home: TempDir,
    runtime: TempDir,
}

impl Place {
    fn new() -> Self {
        Self {
            home: tempfile::tempdir().unwrap(),
            runtime: tempfile::tempdir().unwrap(),
        }
    }

    fn agent(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hubmeter-agent"));
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.home.path())
            .env("XDG_RUNTIME_DIR", self.runtime.path())
            .arg("run")
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.agent(arguments).output().unwrap()
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Starts the agent with a shell that says `ready` and hands over what it printed so far.
fn start(mut command: Command) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut child = command.spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    (child, out)
}

fn kill(pid: u32, signal: &str) {
    let done = Command::new("kill")
        .args([signal, &pid.to_string()])
        .status()
        .unwrap();
    assert!(done.success());
}

#[test]
fn the_servers_exit_code_is_ours() {
    let place = Place::new();
    for code in [0, 1, 7, 64, 255] {
        let output = place.run(&["--", "sh", "-c", &format!("exit {code}")]);
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
    }
}

#[test]
fn a_server_killed_by_a_signal_ends_us_with_128_and_its_number() {
    let output = Place::new().run(&["sh", "-c", "kill -KILL $$"]);
    assert_eq!(output.status.code(), Some(137));
}

#[test]
fn a_missing_command_is_127_and_one_that_cannot_run_126() {
    let place = Place::new();
    let output = place.run(&["--", "no-such-command"]);
    assert_eq!(output.status.code(), Some(127));
    assert!(
        stderr(&output).contains("no-such-command"),
        "{}",
        stderr(&output)
    );
    assert_eq!(place.run(&["--", "/etc/passwd"]).status.code(), Some(126));
    assert_eq!(place.run(&["--", "/"]).status.code(), Some(126));
}

#[test]
fn standard_streams_and_arguments_reach_the_server_as_they_are() {
    let place = Place::new();
    let mut child = place
        .agent(&[
            "--interval",
            "1s",
            "--",
            "sh",
            "-c",
            "cat; echo \"$@\" >&2",
            "sh",
            "--pid",
            "-x",
            "a b",
        ])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"through\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.stdout, b"through\n");
    assert_eq!(stderr(&output), "--pid -x a b\n");
}

#[test]
fn signals_reach_the_server_and_its_answer_is_ours() {
    let place = Place::new();
    for (signal, code) in [
        ("TERM", 21),
        ("INT", 22),
        ("HUP", 23),
        ("USR1", 24),
        ("QUIT", 25),
    ] {
        // A shell's `wait` is cut short by a trapped signal, a foreground command is not.
        let script = format!("trap 'kill $!; exit {code}' {signal}; sleep 60 & echo ready; wait");
        let (mut child, _out) = start(place.agent(&["--", "sh", "-c", &script]));
        kill(child.id(), &format!("-{signal}"));
        assert_eq!(child.wait().unwrap().code(), Some(code), "{signal}");
    }
}

#[test]
fn a_signal_that_was_ignored_stays_ignored_for_the_server() {
    let place = Place::new();
    let agent = env!("CARGO_BIN_EXE_hubmeter-agent");
    let script = format!("trap '' HUP; exec {agent} run -- sh -c 'echo ready; read line; exit 3'");
    let mut command = Command::new("sh");
    command
        .args(["-c", &script])
        .env("HOME", place.home.path())
        .env("XDG_RUNTIME_DIR", place.runtime.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let (mut child, _out) = start(command);
    kill(child.id(), "-HUP");
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(3));
}

#[test]
fn orphans_are_reaped_and_do_not_end_us() {
    let place = Place::new();
    let script = "(sh -c 'exec sleep 0' &) ; (sh -c 'exit 5' &); echo ready; read line; exit 6";
    let mut command = place.agent(&["--", "sh", "-c", script]);
    command.stdin(Stdio::piped());
    let (mut child, _out) = start(command);
    // Both orphans were handed to us before `ready`; the list holds zombies, too.
    let children = format!("/proc/{0}/task/{0}/children", child.id());
    while std::fs::read_to_string(&children)
        .unwrap()
        .split_whitespace()
        .count()
        > 1
    {
        std::thread::yield_now();
    }
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(6));
}

#[test]
fn a_bad_flag_ends_with_64_and_names_the_bound_before_anything_starts() {
    let place = Place::new();
    for interval in ["0", "0.5s", "61s", "2m", "-5", "often"] {
        let output = place.run(&["--interval", interval, "--", "echo", "started"]);
        assert_eq!(output.status.code(), Some(64), "{interval}");
        assert!(
            stderr(&output).contains("--interval"),
            "{}",
            stderr(&output)
        );
        assert!(output.stdout.is_empty());
    }
    assert!(stderr(&place.run(&["--interval", "61", "true"])).contains("1s to 60s"));
    let output = place.run(&["--collector", "wss://hub/link", "true"]);
    assert_eq!(output.status.code(), Some(64));
    assert!(stderr(&output).contains("gRPC only"), "{}", stderr(&output));
}

#[test]
fn mistakes_of_the_environment_are_told_and_the_server_starts() {
    let place = Place::new();
    let output = place
        .agent(&["--", "echo", "started"])
        .env("HUBMETER_INTERVAL", "0")
        .env("HUBMETER_COLLECTOR", "http://nonsense")
        .env("HUBMETER_NAMES", "?")
        .env("HUBMETER_SOCKET", "/proc/nonsense/a.sock")
        .env("HUBMETER_TOKEN_FILE", "/nonexistent")
        .env("HUBMETER_LOG", "warn")
        .output()
        .unwrap();
    assert!(output.status.success());
    assert_eq!(output.stdout, b"started\n");
    for variable in ["HUBMETER_INTERVAL", "HUBMETER_COLLECTOR", "HUBMETER_NAMES"] {
        assert!(stderr(&output).contains(variable), "{}", stderr(&output));
    }
}

#[test]
fn without_a_command_the_same_mistakes_end_with_64_all_at_once() {
    let output = Place::new()
        .agent(&[])
        .env("HUBMETER_INTERVAL", "0")
        .env("HUBMETER_NAMES", "?")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(64));
    for variable in ["HUBMETER_INTERVAL", "HUBMETER_NAMES"] {
        assert!(stderr(&output).contains(variable), "{}", stderr(&output));
    }
}

#[test]
fn an_absent_collector_and_a_closed_log_do_not_touch_the_server() {
    let place = Place::new();
    let mut command = place.agent(&[
        "--collector",
        "grpc://127.0.0.1:1",
        "--",
        "sh",
        "-c",
        "sleep 0.3; exit 4",
    ]);
    let mut child = command.env("HUBMETER_LOG", "trace").spawn().unwrap();
    drop(child.stderr.take());
    assert_eq!(child.wait().unwrap().code(), Some(4));
}

#[test]
fn home_stays_empty_and_may_be_unwritable_or_missing() {
    let place = Place::new();
    let in_home = place.home.path().join("agent.sock");
    for socket in [None, Some(&in_home)] {
        let mut command = place.agent(&["--", "sh", "-c", "sleep 0.2; exit 9"]);
        // The only runtime directory offered is under home, too.
        command.env("XDG_RUNTIME_DIR", place.home.path());
        if let Some(socket) = socket {
            command.env("HUBMETER_SOCKET", socket);
        }
        assert_eq!(command.output().unwrap().status.code(), Some(9));
        assert_eq!(std::fs::read_dir(place.home.path()).unwrap().count(), 0);
    }
    std::fs::set_permissions(place.home.path(), std::fs::Permissions::from_mode(0o500)).unwrap();
    assert_eq!(place.run(&["sh", "-c", "exit 9"]).status.code(), Some(9));
    let missing = place
        .agent(&["sh", "-c", "exit 9"])
        .env("HOME", "/nonexistent")
        .output()
        .unwrap();
    assert_eq!(missing.status.code(), Some(9));
}

#[test]
fn the_socket_is_named_after_the_root_process_and_goes_with_the_agent() {
    let place = Place::new();
    let script = "echo ready; read line; exit 0";
    let mut command = place.agent(&["--", "sh", "-c", script]);
    command.stdin(Stdio::piped());
    let (mut child, _out) = start(command);
    let children = format!("/proc/{0}/task/{0}/children", child.id());
    let root = std::fs::read_to_string(children).unwrap();
    let socket = place
        .runtime
        .path()
        .join(format!("hubmeter/{}.sock", root.trim()));
    wait_for(&socket, &mut child);
    let mut stream = UnixStream::connect(&socket).unwrap();
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    assert!(child.wait().unwrap().success());
    assert!(!socket.try_exists().unwrap());
}

#[test]
fn beside_a_server_it_ends_when_that_is_gone() {
    let place = Place::new();
    let mut server = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    let mut agent = place
        .agent(&["--pid", &server.id().to_string()])
        .spawn()
        .unwrap();
    let socket = place
        .runtime
        .path()
        .join(format!("hubmeter/{}.sock", server.id()));
    wait_for(&socket, &mut agent);
    drop(server.stdin.take());
    server.wait().unwrap();
    assert_eq!(agent.wait().unwrap().code(), Some(0));
    assert!(!socket.try_exists().unwrap());
}

#[test]
fn beside_a_server_it_ends_at_a_signal_and_leaves_the_server_alone() {
    let place = Place::new();
    let mut server = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    let mut agent = place
        .agent(&["--pid", &server.id().to_string()])
        .spawn()
        .unwrap();
    let socket = place
        .runtime
        .path()
        .join(format!("hubmeter/{}.sock", server.id()));
    wait_for(&socket, &mut agent);
    kill(agent.id(), "-TERM");
    assert_eq!(agent.wait().unwrap().code(), Some(0));
    assert!(server.try_wait().unwrap().is_none());
    drop(server.stdin.take());
    assert!(server.wait().unwrap().success());
}

#[test]
fn a_process_that_is_not_there_is_said_so() {
    let output = Place::new().run(&["--pid", "4194300"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("4194300"), "{}", stderr(&output));
}

/// Waits until `path` is there, as long as the agent that should make it lives.
fn wait_for(path: &Path, agent: &mut Child) {
    while !path.try_exists().unwrap() {
        assert!(agent.try_wait().unwrap().is_none(), "the agent ended early");
        std::thread::yield_now();
    }
}

#[test]
fn a_process_group_of_its_own_changes_nothing() {
    let place = Place::new();
    let mut command = place.agent(&["sh", "-c", "exit 8"]);
    assert_eq!(
        command.process_group(0).output().unwrap().status.code(),
        Some(8)
    );
}
