//! Signals: what the server would have got, had it been started without us.
//!
//! All are held back from before the server starts and read from a descriptor, so that none is
//! lost and none ends us. Who sent a signal tells whose it is: a person's or a supervisor's is
//! the server's and goes on to it; what the terminal sends goes to the whole group, so the server
//! has it already and must not get it twice (Jupyter asks at the first Ctrl-C and stops at the
//! second); and what we bring upon ourselves, a broken log for one, is nobody else's.

use std::io;

use nix::{
    libc,
    sys::{
        signal::{SigSet, SigmaskHow, Signal as Named},
        signalfd::{SfdFlags, SignalFd, siginfo},
    },
    // The leader of our session may be outside of our pid namespace: then it is 0, which these
    // know and others do not.
    unistd::{getpid, getsid},
};
use rustix::process::Signal;
use rustix_libc_wrappers::process::SignalExt;
use tokio::{
    io::unix::AsyncFd,
    signal::unix::{self, SignalKind},
};

/// Those that ask us to end when no server of ours does.
const END: [Named; 4] = [Named::SIGTERM, Named::SIGINT, Named::SIGHUP, Named::SIGQUIT];

/// All signals held back, and what was held back before.
#[derive(Debug)]
pub struct Held {
    before: SigSet,
}

/// What we listen to.
#[derive(Debug)]
pub struct Signals {
    /// `None` hears nothing.
    fd: Option<AsyncFd<SignalFd>>,
    /// Children would be reaped by the kernel, exit codes and all, without a handler.
    _child: Option<unix::Signal>,
}

/// What came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A child ended, stopped or went on.
    ChildChanged,
    /// For the server.
    PassOn(Signal),
}

/// Where a signal comes from.
#[derive(Clone, Copy, Debug)]
struct Origin {
    /// By the kernel: a terminal, a limit, a timer. Otherwise by a process.
    by_kernel: bool,
    /// By ourselves.
    by_us: bool,
    /// We lead the session, so that the kernel may have told us alone.
    we_lead: bool,
}

// === impl Held ===

impl Held {
    /// Holds all signals back, in this thread and those it starts.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn hold() -> io::Result<Self> {
        let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
        Ok(Self { before })
    }

    /// What was held back before: the server's inheritance.
    #[must_use]
    pub fn before(&self) -> &SigSet {
        &self.before
    }

    /// Goes back to that.
    pub fn release(&self) {
        // Fails only for a way of setting that does not exist.
        let _ = self.before.thread_set_mask();
    }
}

// === impl Signals ===

impl Signals {
    /// Listens to all that is [`Held`]; must be called inside the runtime and before the server
    /// starts.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn listen(_held: &Held) -> io::Result<Self> {
        let child = is_ignored(Named::SIGCHLD, ignored_mask())
            .then(|| unix::signal(SignalKind::child()))
            .transpose()?;
        Ok(Self {
            fd: Some(descriptor(&SigSet::all())?),
            _child: child,
        })
    }

    /// Listens to those only that ask us to end, and were not ignored when we were started
    /// (`nohup`).
    ///
    /// # Errors
    /// When the system refuses.
    pub fn listen_for_end() -> io::Result<Self> {
        let ignored = ignored_mask();
        let mut set = SigSet::empty();
        for signal in END {
            if !is_ignored(signal, ignored) {
                set.add(signal);
            }
        }
        set.thread_block()?;
        Ok(Self {
            fd: Some(descriptor(&set)?),
            _child: None,
        })
    }

    /// Hears nothing.
    #[must_use]
    pub fn deaf() -> Self {
        Self {
            fd: None,
            _child: None,
        }
    }

    /// The next thing to do something about. Dropped halfway, nothing is lost.
    pub async fn next(&mut self) -> Heard {
        loop {
            let info = self.read().await;
            let number = raw(&info);
            if number == libc::SIGCHLD {
                return Heard::ChildChanged;
            }
            if let Some(signal) = Signal::from_raw(number)
                && is_for_server(number, Origin::of(&info))
            {
                return Heard::PassOn(signal);
            }
        }
    }

    /// Waits for a signal that asks us to end.
    pub async fn told_to_end(&mut self) {
        loop {
            let info = self.read().await;
            if END.iter().any(|signal| *signal as i32 == raw(&info)) {
                return;
            }
        }
    }

    async fn read(&mut self) -> siginfo {
        let Some(fd) = &self.fd else {
            return std::future::pending().await;
        };
        loop {
            let Ok(mut ready) = fd.readable().await else {
                return std::future::pending().await;
            };
            let read = ready.try_io(|fd| match fd.get_ref().read_signal() {
                Ok(Some(info)) => Ok(info),
                Ok(None) => Err(io::ErrorKind::WouldBlock.into()),
                Err(error) => Err(error.into()),
            });
            if let Ok(Ok(info)) = read {
                return info;
            }
        }
    }
}

// === impl Origin ===

impl Origin {
    fn of(info: &siginfo) -> Self {
        let own = getpid();
        Self {
            by_kernel: info.ssi_code > 0,
            by_us: info.ssi_pid == own.as_raw().unsigned_abs(),
            we_lead: getsid(None) == Ok(own),
        }
    }
}

/// Whether the server would have got it in our place and has not got it yet.
fn is_for_server(number: i32, origin: Origin) -> bool {
    if origin.by_kernel {
        // A terminal that hangs up tells the leader of the session first of all.
        return number == libc::SIGHUP && origin.we_lead;
    }
    !origin.by_us
}

#[allow(deprecated)] // unsound for types whose descriptor changes; this one's never does
fn descriptor(set: &SigSet) -> io::Result<AsyncFd<SignalFd>> {
    let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
    AsyncFd::new(SignalFd::with_flags(set, flags)?)
}

fn raw(info: &siginfo) -> i32 {
    i32::try_from(info.ssi_signo).unwrap_or(0)
}

fn is_ignored(signal: Named, ignored: u64) -> bool {
    ignored & (1 << (signal as i32 - 1)) != 0
}

/// Signals that were ignored when we were started, bit 0 for signal 1; none where it cannot be
/// told.
fn ignored_mask() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: Origin = Origin {
        by_kernel: false,
        by_us: false,
        we_lead: false,
    };

    #[test]
    fn what_somebody_sends_is_the_servers_whatever_it_is() {
        for number in 1..=64 {
            assert!(is_for_server(number, SENT), "{number}");
        }
    }

    #[test]
    fn what_the_terminal_sends_to_the_group_is_not_sent_twice() {
        let terminal = Origin {
            by_kernel: true,
            ..SENT
        };
        let leader = Origin {
            we_lead: true,
            ..terminal
        };
        for number in [libc::SIGINT, libc::SIGQUIT, libc::SIGTSTP, libc::SIGWINCH] {
            assert!(!is_for_server(number, terminal), "{number}");
            assert!(!is_for_server(number, leader), "{number}");
        }
        assert!(!is_for_server(libc::SIGHUP, terminal));
        assert!(
            is_for_server(libc::SIGHUP, leader),
            "told to the leader alone"
        );
    }

    #[test]
    fn our_own_broken_log_is_not_the_servers() {
        let own = Origin {
            by_us: true,
            ..SENT
        };
        assert!(!is_for_server(libc::SIGPIPE, own));
    }
}
