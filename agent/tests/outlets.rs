//! Command lines and environments never leave the box: a secret in either is in nothing that the
//! agent says, by whatever outlet, however much of names may be shown.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    os::unix::{net::UnixStream, process::CommandExt},
    path::Path,
    process::{Child, Command, Stdio},
};

use hubmeter_agent::{
    board::{LinkState, LinkStatus, Reading},
    clock::SystemClock,
    link::encode,
    local::view,
    meter::Figures,
    sampler::{PssMode, Sampler, Target},
    workload::Names,
};

const AGENT: &str = env!("CARGO_BIN_EXE_hubmeter-agent");

/// In an argument, in a variable's value, in a variable's name, in a folder's name.
const SECRETS: [&str; 4] = [
    "s3cretArgument",
    "s3cretValue",
    "s3cretVariable",
    "s3cretFolder",
];

const ID: &str = "303cc6cc-1f7e-4b62-9a43-d41f2e6b0a11";

/// A server with a kernel, a terminal's shell, an application and an aide, all of them with
/// secrets.
struct Server(Child);

impl Server {
    fn start(dir: &Path) -> Self {
        let [argument, value, variable, folder] = SECRETS;
        let jupyter = dir.join("jupyter-server");
        // A kernel by its file, a language server, and one more that says nothing.
        let script = format!(
            "#!/bin/sh\n\
             JPY_SESSION_NAME=/{folder}/train.ipynb sh -c 'sleep 600; :' --token={argument} /x/{folder}/kernel-{ID}.json &\n\
             sh -c 'sleep 600; :' {argument} &\n\
             sh /dev/stdin {argument} <<'END' &\nsleep 600; :\nEND\n\
             echo up; wait\n"
        );
        fs::write(&jupyter, script).unwrap();
        let mut child = Command::new("sh")
            .arg(&jupyter)
            .args(["--IdentityProvider.token", argument])
            .arg0("/usr/bin/python3")
            .env(variable, value)
            .env("JUPYTERHUB_API_TOKEN", value)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let out = child.stdout.as_mut().unwrap();
        BufReader::new(out).read_line(&mut line).unwrap();
        assert_eq!(line, "up\n");
        let server = Self(child);
        // Between fork and exec a child still has its parent's arguments.
        while !below(server.pid()).into_iter().any(is_the_kernel) {
            std::thread::yield_now();
        }
        server
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for pid in below(self.pid()) {
            let pid = nix::unistd::Pid::from_raw(pid.try_into().unwrap());
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
        let _ = self.0.wait();
    }
}

fn is_the_kernel(pid: u32) -> bool {
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&arguments).contains(ID)
}

/// A process and all below it.
fn below(pid: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let children = children.unwrap_or_default();
    let mut all = vec![pid];
    for child in children.split_whitespace() {
        all.extend(below(child.parse().unwrap()));
    }
    all
}

fn assert_silent(outlet: &str, said: &[u8]) {
    assert!(!said.is_empty(), "{outlet} said nothing");
    let said = String::from_utf8_lossy(said);
    for secret in SECRETS {
        assert!(!said.contains(secret), "{outlet}: {secret} in {said}");
    }
}

fn output(arguments: &[&str], names: &str) -> Vec<u8> {
    let output = Command::new(AGENT)
        .args(arguments)
        .env("HUBMETER_NAMES", names)
        .output()
        .unwrap();
    [output.stdout, output.stderr].concat()
}

fn get(socket: &Path, path: &str) -> Vec<u8> {
    let mut stream = UnixStream::connect(socket).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}

#[test]
fn no_argument_and_no_variable_is_in_what_is_sent_shown_or_served() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    for names in [Names::Base, Names::None] {
        let target = Target {
            names,
            ..Target::this_machine(server.pid())
        };
        let mut sampler = Sampler::new(target, PssMode::Always).unwrap();
        for _ in 0..2 {
            let sample = sampler.tick(&SystemClock).unwrap();
            let all = format!("{:?}", sample.workloads);
            assert!(all.contains(ID), "the kernel is found: {all}");
            assert_eq!(all.contains("train.ipynb"), names == Names::Base, "{all}");
            assert_silent("sample", format!("{sample:?}").as_bytes());
            assert_silent("wire", &encode::report(1, encode::sample(&sample)));
            let reading = Reading {
                sample,
                figures: Figures::default(),
            };
            let link = LinkStatus {
                state: LinkState::Connecting,
                ..LinkStatus::default()
            };
            assert_silent("stream", &view::sample_line(&reading, &link));
        }
    }
}

#[test]
fn no_argument_and_no_variable_is_in_what_the_program_prints_logs_or_answers() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let pid = server.pid().to_string();
    for names in ["base", "none"] {
        for format in ["table", "json"] {
            for command in ["sample", "doctor"] {
                let said = output(&[command, "--pid", &pid, "--format", format], names);
                assert_silent(command, &said);
            }
        }
    }
    let socket = dir.path().join("a.sock");
    let mut agent = Command::new(AGENT)
        .args(["run", "--pid", &pid, "--interval", "1s"])
        .env("HUBMETER_SOCKET", &socket)
        .env("RUST_LOG", "trace")
        .env_remove("HUBMETER_COLLECTOR")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let served = (0..600).find_map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        let up = UnixStream::connect(&socket).is_ok();
        let answer = if up {
            get(&socket, "/v1/sample")
        } else {
            Vec::new()
        };
        String::from_utf8_lossy(&answer)
            .contains("workloads")
            .then_some(answer)
    });
    assert_silent("/v1/sample", &served.unwrap());
    assert_silent("/v1/recent", &get(&socket, "/v1/recent"));
    let agent_pid = nix::unistd::Pid::from_raw(agent.id().try_into().unwrap());
    nix::sys::signal::kill(agent_pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    let mut log = Vec::new();
    agent.stderr.take().unwrap().read_to_end(&mut log).unwrap();
    agent.wait().unwrap();
    log.extend(b"(end of the log)");
    assert_silent("log", &log);
}
