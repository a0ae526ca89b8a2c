//! Signals: what the server would have got, had it been started without us.
//!
//! A signal that was ignored when we were started stays ignored, for the server too (`nohup`).
//! One that the terminal sends goes to the whole foreground group, so the server has it already
//! and must not get it twice: Jupyter asks at the first Ctrl-C and stops at the second.

use std::io;

use rustix::process::{Signal, getpgrp};
use tokio::signal::unix::{self, SignalKind};

/// What is passed on. The rest either cannot be caught or is about ourselves.
const PASSED_ON: [Signal; 8] = [
    Signal::TERM,
    Signal::INT,
    Signal::QUIT,
    Signal::HUP,
    Signal::USR1,
    Signal::USR2,
    Signal::WINCH,
    Signal::CONT,
];

/// Those that the terminal sends by itself.
const FROM_TERMINAL: [Signal; 3] = [Signal::INT, Signal::QUIT, Signal::WINCH];

/// Those that ask us to end when no server of ours does.
const END: [Signal; 4] = [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT];

/// What we listen to.
#[derive(Debug)]
pub struct Signals {
    child: Option<unix::Signal>,
    passed_on: Vec<(Signal, unix::Signal)>,
}

/// What came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A child ended, stopped or went on.
    ChildChanged,
    /// For the server.
    PassOn(Signal),
}

// === impl Signals ===

impl Signals {
    /// Listens from here on; must be called inside the runtime and before the server starts.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn listen() -> io::Result<Self> {
        let ignored = ignored_mask();
        let mut passed_on = Vec::with_capacity(PASSED_ON.len());
        for signal in PASSED_ON {
            let number = signal.as_raw();
            if ignored & (1 << (number - 1)) == 0 {
                passed_on.push((signal, unix::signal(SignalKind::from_raw(number))?));
            }
        }
        Ok(Self {
            child: Some(unix::signal(SignalKind::child())?),
            passed_on,
        })
    }

    /// Hears nothing.
    #[must_use]
    pub fn deaf() -> Self {
        Self {
            child: None,
            passed_on: Vec::new(),
        }
    }

    /// The next thing to do something about.
    pub async fn next(&mut self) -> Heard {
        loop {
            let heard = std::future::poll_fn(|cx| {
                if self
                    .child
                    .as_mut()
                    .is_some_and(|child| child.poll_recv(cx).is_ready())
                {
                    return std::task::Poll::Ready(Heard::ChildChanged);
                }
                for (signal, stream) in &mut self.passed_on {
                    if stream.poll_recv(cx).is_ready() {
                        return std::task::Poll::Ready(Heard::PassOn(*signal));
                    }
                }
                std::task::Poll::Pending
            })
            .await;
            match heard {
                Heard::PassOn(signal) if FROM_TERMINAL.contains(&signal) && in_foreground() => {}
                heard => return heard,
            }
        }
    }

    /// Waits for a signal that asks us to end.
    pub async fn told_to_end(&mut self) {
        std::future::poll_fn(|cx| {
            let told = self
                .passed_on
                .iter_mut()
                .any(|(signal, stream)| stream.poll_recv(cx).is_ready() && END.contains(signal));
            if told {
                std::task::Poll::Ready(())
            } else {
                std::task::Poll::Pending
            }
        })
        .await;
    }
}

/// Whether our group, and so the server, is the terminal's foreground group.
fn in_foreground() -> bool {
    rustix::termios::tcgetpgrp(std::io::stdin()).is_ok_and(|group| group == getpgrp())
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
