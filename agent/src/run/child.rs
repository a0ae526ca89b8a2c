//! The server as our child: started, told its signals, waited for.
//!
//! As PID 1 or as subreaper we also inherit its orphans and let none stay a zombie.

use std::{
    ffi::{OsStr, OsString},
    io,
    process::Command,
};

use rustix::process::{
    Pid, Signal, WaitOptions, WaitStatus, kill_process, set_child_subreaper, wait,
};
use tracing::{debug, warn};

use super::signals::{Heard, Signals};

/// The shell's code for a command that is not there.
pub const EXIT_NOT_FOUND: u8 = 127;

/// The shell's code for a command that cannot be run.
pub const EXIT_NOT_EXECUTABLE: u8 = 126;

/// Added to a signal's number, as the shell does.
const EXIT_BY_SIGNAL: u8 = 128;

/// The server.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
}

/// Why it could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start {}: {source}", program.display())]
pub struct StartError {
    program: OsString,
    source: io::Error,
}

/// Orphans of our descendants become our children from here on.
///
/// # Errors
/// When the kernel refuses.
pub fn become_subreaper() -> io::Result<()> {
    Ok(set_child_subreaper(Some(rustix::process::getpid()))?)
}

// === impl StartError ===

impl StartError {
    /// What a shell would end with.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        if self.source.kind() == io::ErrorKind::NotFound {
            EXIT_NOT_FOUND
        } else {
            EXIT_NOT_EXECUTABLE
        }
    }
}

// === impl Child ===

impl Child {
    /// Starts `command` with our standard streams, directory and environment.
    ///
    /// # Errors
    /// What the system says, as a shell would report it.
    pub fn start(command: &[OsString]) -> Result<Self, StartError> {
        let (program, arguments) = match command {
            [program, arguments @ ..] => (program.as_os_str(), arguments),
            [] => (OsStr::new(""), command),
        };
        let failed = |source| StartError {
            program: program.to_owned(),
            source,
        };
        let child = Command::new(program)
            .args(arguments)
            .spawn()
            .map_err(failed)?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        // It is waited for below, together with its orphans.
        pid.map(|pid| Self { pid })
            .ok_or_else(|| failed(io::ErrorKind::InvalidData.into()))
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Passes signals on and reaps until it ends; the code to end with.
    pub async fn wait(&self, mut signals: Signals) -> u8 {
        loop {
            if let Some(code) = self.reap() {
                return code;
            }
            match signals.next().await {
                Heard::ChildChanged => {}
                Heard::PassOn(signal) => self.pass_on(signal),
            }
        }
    }

    /// Reaps everything that has ended; the code if the server has.
    fn reap(&self) -> Option<u8> {
        let mut code = None;
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid == self.pid => code = exit_code(status),
                Ok(Some((pid, _))) => debug!(pid = pid.as_raw_nonzero(), "reaped an orphan"),
                Ok(None) => return code,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    if code.is_none() {
                        // Nothing is left to wait for: somebody else has reaped it.
                        warn!(%error, "the server ended and its exit code is not known");
                        code = Some(1);
                    }
                    return code;
                }
            }
        }
    }

    fn pass_on(&self, signal: Signal) {
        if let Err(error) = kill_process(self.pid, signal) {
            warn!(%error, ?signal, "cannot pass a signal on to the server");
        }
    }
}

/// `None` while it is only stopped or going on.
fn exit_code(status: WaitStatus) -> Option<u8> {
    if let Some(code) = status.exit_status() {
        return Some(u8::try_from(code & 0xff).unwrap_or(1));
    }
    let signal = status.terminating_signal()?;
    Some(u8::try_from(signal).map_or(EXIT_BY_SIGNAL, |signal| {
        EXIT_BY_SIGNAL.saturating_add(signal)
    }))
}
