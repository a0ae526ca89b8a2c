//! The server as our child: started, told its signals, waited for.
//!
//! It gets what we were given: streams, descriptors, directory, group, limits, held and ignored
//! signals. Only its environment has one line more, where our socket is, and a standard stream that
//! was closed is `/dev/null`: the standard library opens that before our first line, so that no file
//! is taken for a stream, and nothing tells it from a `/dev/null` that we were given (Python's
//! `subprocess.DEVNULL` is open for reading and writing, too). As PID 1 or as subreaper we also
//! inherit its orphans and let none stay a zombie.

use std::{
    ffi::{CString, OsStr, OsString},
    io,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::Path,
};

use nix::{
    spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawnp},
    sys::signal::{SigSet, Signal as Named},
};
use rustix::process::{
    DumpableBehavior, Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process,
    set_child_subreaper, set_dumpable_behavior, wait,
};
use rustix_libc_wrappers::process::SignalExt;
use tracing::{debug, warn};

use super::signals::{Heard, Signals};

/// The shell's code for a command that is not there.
pub const EXIT_NOT_FOUND: u8 = 127;

/// The shell's code for a command that cannot be run.
pub const EXIT_NOT_EXECUTABLE: u8 = 126;

/// Added to a signal's number, as the shell does.
const EXIT_BY_SIGNAL: u8 = 128;

/// Where the server learns of our socket.
const SOCKET_VARIABLE: &str = "HUBMETER_SOCKET";

/// By these a shell's job stops, and the shell waits to hear of it.
const JOB_STOPS: [Named; 3] = [Named::SIGTSTP, Named::SIGTTIN, Named::SIGTTOU];

/// The server.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
}

/// How the server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By itself, with this code.
    Code(u8),
    /// By this signal.
    Signal(i32),
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
    Ok(set_child_subreaper(Some(getpid()))?)
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

// === impl End ===

impl End {
    /// Ends us in the same way. Comes back with the code a shell would show where that cannot be:
    /// no signal of its own ends PID 1, nor one that was ignored when we were started.
    #[must_use]
    pub fn follow(self) -> u8 {
        let number = match self {
            Self::Code(code) => return code,
            Self::Signal(number) => number,
        };
        if getpid() != Pid::INIT {
            die_of(number);
        }
        u8::try_from(number).map_or(EXIT_BY_SIGNAL, |number| {
            EXIT_BY_SIGNAL.saturating_add(number)
        })
    }
}

// === impl Child ===

impl Child {
    /// Starts `command` with `mask` of held signals and, if there is to be one, the place of our
    /// socket.
    ///
    /// # Errors
    /// What the system says, as a shell would report it.
    pub fn start(
        command: &[OsString],
        mask: &SigSet,
        socket: Option<&Path>,
    ) -> Result<Self, StartError> {
        let program = command.first().map_or(OsStr::new(""), OsString::as_os_str);
        spawn(command, mask, socket).map_err(|source| StartError {
            program: program.to_owned(),
            source,
        })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Passes signals on and reaps until it ends.
    pub async fn wait(&self, signals: &mut Signals) -> End {
        loop {
            if let Some(end) = self.reap() {
                return end;
            }
            match signals.next().await {
                Heard::ChildChanged => {}
                Heard::PassOn(signal) => self.pass_on(signal),
            }
        }
    }

    /// Reaps everything that has ended; says how, if the server has.
    fn reap(&self) -> Option<End> {
        let mut end = None;
        loop {
            match wait(WaitOptions::NOHANG | WaitOptions::UNTRACED) {
                Ok(Some((pid, status))) if pid == self.pid => match status.stopping_signal() {
                    Some(signal) => stop_with(signal),
                    None => end = how(status),
                },
                Ok(Some((pid, _))) => debug!(pid = pid.as_raw_nonzero(), "reaped an orphan"),
                Ok(None) => return end,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    if end.is_none() {
                        // Nothing is left to wait for: somebody else has reaped it.
                        warn!(%error, "the server ended and its exit code is not known");
                        end = Some(End::Code(1));
                    }
                    return end;
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

fn spawn(command: &[OsString], mask: &SigSet, socket: Option<&Path>) -> io::Result<Child> {
    let arguments = command
        .iter()
        .map(|argument| CString::new(argument.as_bytes()))
        .collect::<Result<Vec<_>, _>>()?;
    let program = arguments.first().ok_or(io::ErrorKind::NotFound)?;
    let mut attributes = PosixSpawnAttr::init()?;
    attributes.set_sigmask(mask)?;
    // The standard library ignores broken pipes in us; the server shall die of them as ever.
    attributes.set_sigdefault(&SigSet::from(Named::SIGPIPE))?;
    attributes.set_flags(
        PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK | PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF,
    )?;
    let pid = posix_spawnp(
        program,
        &PosixSpawnFileActions::init()?,
        &attributes,
        &arguments,
        &environment(socket),
    )?;
    // It is waited for below, together with its orphans.
    let pid = Pid::from_raw(pid.as_raw()).ok_or(io::ErrorKind::InvalidData)?;
    Ok(Child { pid })
}

/// Ours, with the place of our socket.
fn environment(socket: Option<&Path>) -> Vec<CString> {
    let told = socket.map(|path| (SOCKET_VARIABLE.into(), path.as_os_str().to_owned()));
    std::env::vars_os()
        .filter(|(key, _)| socket.is_none() || key != SOCKET_VARIABLE)
        .chain(told)
        .filter_map(|(key, value): (OsString, OsString)| {
            let mut line = key.into_vec();
            line.push(b'=');
            line.extend_from_slice(value.as_bytes());
            CString::new(line).ok()
        })
        .collect()
}

/// `None` while it only goes on.
fn how(status: WaitStatus) -> Option<End> {
    if let Some(code) = status.exit_status() {
        return Some(End::Code(u8::try_from(code & 0xff).unwrap_or(1)));
    }
    status.terminating_signal().map(End::Signal)
}

/// Stops with the server, so that a shell sees its job stopped; goes on when the shell says so.
/// A server that was stopped from elsewhere is no job of a shell's, and we are needed.
fn stop_with(signal: i32) {
    let Some(signal) = JOB_STOPS.into_iter().find(|job| *job as i32 == signal) else {
        return;
    };
    let one = SigSet::from(signal);
    // The kernel does not stop a group that nobody could continue, nor PID 1.
    let stopped = one
        .thread_unblock()
        .and_then(|()| nix::sys::signal::raise(signal))
        .and_then(|()| one.thread_block());
    if let Err(error) = stopped {
        debug!(%error, %signal, "cannot stop with the server");
    }
}

/// Comes back only when it cannot be done.
fn die_of(number: i32) {
    // The server has left its core; ours would say nothing.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let mut only = SigSet::empty();
    if let Ok(signal) = Named::try_from(number) {
        only.add(signal);
    } else {
        // A real-time signal has no name to be let through by.
        only = SigSet::all();
        for named in Named::iterator() {
            only.remove(named);
        }
    }
    let Some(signal) = Signal::from_raw(number) else {
        return;
    };
    let _ = only.thread_unblock();
    // The standard library's handler of two signals does no more at first than take itself away.
    for _ in 0..2 {
        let _ = kill_process(getpid(), signal);
    }
}
