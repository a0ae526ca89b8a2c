//! A child that asks a file system in our place, and may hang there.
//!
//! It is told apart by a descriptor, not by its number: under `run -- CMD` whoever waits for the
//! server's orphans may have waited for it already. When it does not answer in time it is killed;
//! until the kernel lets go of it there is no other.

use std::{
    io::{self, Read},
    os::{
        fd::{AsFd, OwnedFd},
        unix::process::CommandExt,
    },
    path::Path,
    process::{ChildStdout, Command, Stdio},
};

use rustix::{
    io::{Errno, ioctl_fionbio},
    process::{
        Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
    },
};

use super::ask::{self, Answer};

/// A file server that takes longer to say how full it is says nothing to us.
const ANSWER_MS: u64 = 10_000;

/// Bytes of an answer: three numbers.
const ANSWER_BYTES_MAX: usize = 128;

/// A child that was asked.
#[derive(Debug)]
pub(super) struct Probe {
    child: OwnedFd,
    out: ChildStdout,
    asked_ms: u64,
    killed: bool,
}

/// What it said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// Not yet.
    Nothing,
    /// How full the file system is, and what asking cost.
    Answer { answer: Answer, cpu_ns: u64 },
    /// It ended without an answer.
    NoAnswer,
}

// === impl Probe ===

impl Probe {
    /// Asks for `path`.
    pub(super) fn start(program: &Path, path: &Path, now_ms: u64) -> io::Result<Self> {
        can_be_held()?;
        let mut child = Command::new(program)
            .arg0(super::AGENT_NAME)
            .args(["disk", "--"])
            .arg(path)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let number = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let number = number.ok_or(io::ErrorKind::InvalidData)?;
        let out = child.stdout.take().ok_or(io::ErrorKind::InvalidData)?;
        // Nobody can have waited for it yet: they do so in this thread.
        let held = pidfd_open(number, PidfdFlags::empty())
            .and_then(|held| ioctl_fionbio(&out, true).map(|()| held));
        match held {
            Ok(held) => Ok(Self {
                child: held,
                out,
                asked_ms: now_ms,
                killed: false,
            }),
            Err(error) => {
                let _ = child.kill(); // still ours, as above
                let _ = child.try_wait();
                Err(error.into())
            }
        }
    }

    /// When it was asked.
    pub(super) fn asked_ms(&self) -> u64 {
        self.asked_ms
    }

    /// By what it is told apart.
    #[cfg(test)]
    pub(super) fn descriptor(&self) -> &OwnedFd {
        &self.child
    }

    /// Hears what it said by now, without waiting.
    pub(super) fn hear(&mut self, now_ms: u64) -> Heard {
        if !self.has_ended() {
            if now_ms.saturating_sub(self.asked_ms) >= ANSWER_MS && !self.killed {
                self.killed = true;
                let _ = pidfd_send_signal(&self.child, Signal::KILL);
            }
            return Heard::Nothing;
        }
        let mut text = [0; ANSWER_BYTES_MAX];
        let text = self
            .out
            .read(&mut text)
            .ok()
            .and_then(|len| text.get(..len));
        match text.and_then(ask::parse) {
            Some((answer, cpu_ns)) => Heard::Answer { answer, cpu_ns },
            None => Heard::NoAnswer,
        }
    }

    /// Whether it has, and is waited for.
    fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        loop {
            match waitid(WaitId::PidFd(self.child.as_fd()), options) {
                Ok(ended) => return ended.is_some(),
                Err(Errno::INTR) => {}
                // Somebody has waited for it already.
                Err(_) => return true,
            }
        }
    }
}

/// Whether children can be told apart by descriptors (Linux 5.4): else there are to be none.
fn can_be_held() -> io::Result<()> {
    let own = pidfd_open(rustix::process::getpid(), PidfdFlags::empty())?;
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    match waitid(WaitId::PidFd(own.as_fd()), options) {
        // Known, and no child of ours.
        Ok(_) | Err(Errno::CHILD) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        if !self.has_ended() {
            let _ = pidfd_send_signal(&self.child, Signal::KILL);
            // It may take its time, which is not ours to wait: whoever inherits it does.
            let _ = self.has_ended();
        }
    }
}
