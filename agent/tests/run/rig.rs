//! A home, a runtime directory, and the agent's command between them.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Output, Stdio},
};

use tempfile::TempDir;

pub const AGENT: &str = env!("CARGO_BIN_EXE_hubmeter-agent");

/// Where one agent lives.
pub struct Rig {
    pub home: TempDir,
    pub runtime: TempDir,
}

/// An agent and what its server prints.
pub struct Running {
    pub agent: Child,
    out: BufReader<ChildStdout>,
}

impl Rig {
    pub fn new() -> Self {
        Self {
            home: tempfile::tempdir().unwrap(),
            runtime: tempfile::tempdir().unwrap(),
        }
    }

    /// A command in the rig's environment and no other, from its home.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
            .env("HOME", self.home.path())
            .env("XDG_RUNTIME_DIR", self.runtime.path())
            .current_dir(self.runtime.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub fn agent(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(AGENT);
        command.arg("run").args(arguments);
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.agent(arguments).output().unwrap()
    }

    /// The agent with a shell that says `ready` first.
    pub fn shell(&self, script: &str) -> Running {
        let mut command = self.agent(&["--", "bash", "-c", script]);
        command.stdin(Stdio::piped());
        Running::start(command)
    }

    pub fn socket(&self, pid: u32) -> PathBuf {
        self.runtime.path().join(format!("hubmeter/{pid}.sock"))
    }
}

impl Running {
    /// Starts a command that says `ready` first.
    pub fn start(mut command: Command) -> Self {
        let mut agent = command.spawn().unwrap();
        let out = BufReader::new(agent.stdout.take().unwrap());
        let mut running = Self { agent, out };
        assert_eq!(running.line(), "ready");
        running
    }

    /// What the server says next; empty at its end.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    pub fn kill(&self, signal: &str) {
        kill(&self.agent.id().to_string(), signal);
    }

    /// The server's root process.
    pub fn root(&self) -> u32 {
        self.children()[0].parse().unwrap()
    }

    fn children(&self) -> Vec<String> {
        let children = format!("/proc/{0}/task/{0}/children", self.agent.id());
        let children = std::fs::read_to_string(children).unwrap_or_default();
        children.split_whitespace().map(str::to_owned).collect()
    }

    /// Waits until `path` is there, as long as the agent that should make it lives.
    pub fn wait_for(&mut self, path: &Path) {
        wait_for(path, &mut self.agent);
    }

    pub fn code(&mut self) -> Option<i32> {
        self.agent.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // For tests that failed. Who still has a process there must not leave its server behind.
        if matches!(self.agent.try_wait(), Ok(None)) {
            for server in self.children() {
                let _ = Command::new("kill")
                    .args(["-s", "KILL", "--", &server])
                    .status();
            }
        }
        let _ = self.agent.kill();
        let _ = self.agent.wait();
    }
}

pub fn wait_for(path: &Path, agent: &mut Child) {
    while !path.try_exists().unwrap() {
        assert!(agent.try_wait().unwrap().is_none(), "the agent ended early");
        std::thread::yield_now();
    }
}

pub fn kill(pid: &str, signal: &str) {
    let done = Command::new("kill")
        .args(["-s", signal, "--", pid])
        .status()
        .unwrap();
    assert!(done.success());
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A field of `/proc/<pid>/stat` by its number in `proc(5)`.
pub fn stat(pid: u32, field: usize) -> String {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    rest.split(' ').nth(field - 3).unwrap().to_owned()
}

/// Whether namespaces can be made here; says so where not, so that nobody takes the test for run.
pub fn may_unshare(test: &str) -> bool {
    let works = Command::new("unshare")
        .args(["-m", "-p", "-f", "--mount-proc", "true"])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !works {
        println!("NOT RUN: {test}: this user may not make namespaces (root may)");
    }
    works
}
