//! The collector that keeps nothing, and what it says.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, sync_channel},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};

use super::carrier::Carrier;
use crate::workspace::Workspace;

/// Lines that wait to be read; more than a run of hours at a sample a second has.
const LINES_MAX: usize = 100_000;

/// Patience with an agent that starts on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running sink; ends with this.
pub(crate) struct Sink {
    child: Child,
    port: u16,
    lines: Receiver<String>,
    last: Report,
}

/// The newest report it has seen.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Report {
    /// Samples that this agent had sent by then: a report may hold several.
    pub(crate) samples: u64,
    /// Bytes that had come through sockets by then.
    pub(crate) bytes: u64,
}

// === impl Sink ===

impl Sink {
    /// Starts it with the tests' certificate where the carrier needs one.
    pub(crate) fn start(space: &Workspace, carrier: Carrier) -> Result<Self> {
        let program = space.target.join("release/examples/link_sink");
        let mut command = Command::new(&program);
        if let Some(hold) = carrier.hold() {
            command.args(["--hold", &hold.as_millis().to_string()]);
        }
        if carrier != Carrier::Plain {
            let certificates = space.root.join("agent/tests/fixtures/tls");
            command.args(["server.pem", "server.key"].map(|name| certificates.join(name)));
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let out = child.stdout.take().context("the sink says nothing")?;
        let (sender, lines) = sync_channel(LINES_MAX);
        thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut sink = Self {
            child,
            port: 0,
            lines,
            last: Report::default(),
        };
        sink.port = sink.wait_for("listening")?.parse()?;
        Ok(sink)
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// When the next agent's first message came, nanoseconds of the monotonic clock.
    pub(crate) fn hello(&mut self) -> Result<i128> {
        Ok(self.wait_for("hello")?.parse()?)
    }

    /// Leaves out what was said so far.
    pub(crate) fn forget(&mut self) {
        while self.lines.try_recv().is_ok() {}
        self.last = Report::default();
    }

    /// The newest report by now.
    pub(crate) fn last_report(&mut self) -> Result<Report> {
        for line in self.lines.try_iter() {
            let words: Vec<&str> = line.split_whitespace().collect();
            if let ["report", _, _, bytes, samples] = words[..] {
                self.last = Report {
                    samples: samples.parse()?,
                    bytes: bytes.parse()?,
                };
            }
        }
        Ok(self.last)
    }

    /// What stands behind `word` in the next line that begins with it.
    fn wait_for(&mut self, word: &str) -> Result<String> {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    if let Some((first, rest)) = line.split_once(' ')
                        && first == word
                    {
                        return Ok(rest.to_owned());
                    }
                }
                Err(RecvTimeoutError::Timeout) => bail!("no {word} came in {PATIENCE:?}"),
                Err(RecvTimeoutError::Disconnected) => bail!("the sink has ended"),
            }
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
