//! What a person sees while it works: a line per step, its last output, and how long it took.
//!
//! Without a terminal there are no moving lines, only a sign of life now and then.

use std::{
    io::{IsTerminal, Write},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::Result;

use crate::process;

/// Without a terminal a long step says that it is alive this often: CI systems end silent jobs.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// Columns of a moving line: fits the narrowest usual terminal.
const COLUMNS: usize = 79;

/// One step at work.
pub(crate) struct Step {
    title: String,
    started: Instant,
    spoke: Instant,
    terminal: bool,
}

/// Now, for the length of our own steps; nothing is decided by it but patience.
#[allow(clippy::disallowed_methods)] // the build tool has no simulated time
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// One line to the person. A closed pipe is no reason to fail.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}

/// What went wrong, to standard error.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Seconds as people read them.
pub(crate) fn seconds(span: Duration) -> String {
    let seconds = span.as_secs();
    if seconds >= 60 {
        format!("{} min {:02} s", seconds / 60, seconds % 60)
    } else {
        format!("{:.1} s", span.as_secs_f64())
    }
}

// === impl Step ===

impl Step {
    /// Says what begins.
    pub(crate) fn begin(title: &str) -> Self {
        let step = Self {
            title: title.to_owned(),
            started: now(),
            spoke: now(),
            terminal: std::io::stdout().is_terminal(),
        };
        if step.terminal {
            step.draw("");
        } else {
            say(&format!("  .. {title}"));
        }
        step
    }

    /// Shows the newest line of output, or that there is life.
    pub(crate) fn alive(&mut self, line: &str) {
        if self.terminal {
            self.draw(line);
        } else if self.spoke.elapsed() >= HEARTBEAT {
            self.spoke = now();
            say(&format!(
                "     {} so far; {}",
                seconds(self.started.elapsed()),
                line.trim()
            ));
        }
    }

    /// Runs a command of this step to its end; says so when it fails.
    pub(crate) fn run(&mut self, logs: &Path, name: &str, command: Command) -> Result<()> {
        let result = process::run(self, logs, name, command);
        if result.is_err() {
            self.end("!!", "");
        }
        result
    }

    /// Says that it went well.
    pub(crate) fn done(self) -> Duration {
        self.end("ok", "")
    }

    /// Says that there was nothing to do.
    pub(crate) fn fresh(self) -> Duration {
        self.end("ok", ", nothing changed")
    }

    /// Says that it went wrong.
    pub(crate) fn failed(self) -> Duration {
        self.end("!!", "")
    }

    fn end(&self, mark: &str, note: &str) -> Duration {
        let span = self.started.elapsed();
        if self.terminal {
            let mut out = std::io::stdout().lock();
            let _ = write!(out, "\r\x1b[2K");
        }
        say(&format!(
            "  {mark} {} ({}{note})",
            self.title,
            seconds(span)
        ));
        span
    }

    fn draw(&self, line: &str) {
        let clean: String = line.chars().filter(|c| !c.is_control()).collect();
        let text = format!(
            "  .. {} ({})  {}",
            self.title,
            seconds(self.started.elapsed()),
            clean.trim()
        );
        let cut: String = text.chars().take(COLUMNS).collect();
        let mut out = std::io::stdout().lock();
        let _ = write!(out, "\r\x1b[2K{cut}");
        let _ = out.flush();
    }
}
