//! The idle tree, and the agent beside it.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nix::{
    sys::signal::{Signal, killpg},
    time::{ClockId, clock_gettime},
    unistd::Pid,
};

use super::carrier::Carrier;
use crate::{progress::now, workspace::Workspace};

/// A shell and five sleepers.
const TREE: &str = "for n in 1 2 3 4 5; do sleep 99999 & done; echo up; read x";

/// Where the machine's roots are, by distribution.
const ROOT_FILES: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// Six idle processes; they end with this.
pub(crate) struct Tree(Child);

/// A running agent; ends with this.
pub(crate) struct Agent {
    child: Child,
    log: PathBuf,
    started: Instant,
    started_ns: i128,
}

// === impl Tree ===

impl Tree {
    /// Starts them and waits until they are there.
    pub(crate) fn start() -> Result<Self> {
        let mut child = Command::new("sh")
            .args(["-c", TREE])
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start sh")?;
        let mut line = String::new();
        let out = child.stdout.as_mut().context("sh says nothing")?;
        BufReader::new(out).read_line(&mut line)?;
        ensure!(line == "up\n", "the tree did not start: {line:?}");
        Ok(Self(child))
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = killpg(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGKILL);
        let _ = self.0.wait();
    }
}

// === impl Agent ===

impl Agent {
    /// Starts one beside `tree`, with an environment of its own; `tool` and its arguments, if
    /// any, run it.
    pub(crate) fn start(
        tool: &[OsString],
        program: &Path,
        space: &Workspace,
        carrier: Carrier,
        port: u16,
        tree: &Tree,
        interval: u32,
    ) -> Result<Self> {
        let dir = space.target.join("footprint");
        let log = dir.join("agent.log");
        let mut command = match tool.split_first() {
            Some((tool, arguments)) => {
                let mut command = Command::new(tool);
                command.args(arguments).arg(program);
                command
            }
            None => Command::new(program),
        };
        command
            .args(["run", "--pid", &tree.0.id().to_string()])
            .args(["--interval", &interval.to_string()])
            .env_clear()
            .env(
                "HUBMETER_COLLECTOR",
                format!("{}://127.0.0.1:{port}", carrier.scheme()),
            )
            .env("HUBMETER_SOCKET", dir.join("agent.sock"))
            .env("JUPYTERHUB_API_TOKEN", "none")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .process_group(0);
        let ca = space.root.join("agent/tests/fixtures/tls/ca.pem");
        match carrier {
            Carrier::Plain => {}
            Carrier::Tls | Carrier::Held => {
                command.env("HUBMETER_CA_FILE", ca);
            }
            Carrier::Roots => {
                command.env("SSL_CERT_FILE", roots_with(&ca, &dir)?);
            }
        }
        let started = now();
        let started_ns = monotonic_ns()?;
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Self {
            child,
            log,
            started,
            started_ns,
        })
    }

    /// Just before it was started, nanoseconds of the monotonic clock.
    pub(crate) fn started_ns(&self) -> i128 {
        self.started_ns
    }

    /// How long it has run.
    pub(crate) fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end, and waits until it and the tool that runs it have.
    pub(crate) fn end(mut self) -> Result<()> {
        killpg(
            Pid::from_raw(self.child.id().cast_signed()),
            Signal::SIGTERM,
        )?;
        self.child.wait().context("cannot wait for the agent")?;
        Ok(())
    }

    /// What it complained of.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The machine's roots, with one more that vouches for our sink.
fn roots_with(ca: &Path, dir: &Path) -> Result<PathBuf> {
    let roots = ROOT_FILES
        .iter()
        .find_map(|path| fs::read(path).ok())
        .context("this machine has no certificates in a place we know")?;
    let all = dir.join("roots.pem");
    fs::write(&all, [roots, fs::read(ca)?].concat())?;
    Ok(all)
}

fn monotonic_ns() -> Result<i128> {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC)?;
    Ok(i128::from(now.tv_sec()) * 1_000_000_000 + i128::from(now.tv_nsec()))
}
