//! What the process owes the system: signals, log, descriptors.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

use super::{RunError, threads::Threads};

/// Why we stop.
pub(super) enum Stop {
    Asked,
    StageEnded(&'static str),
}

/// SIGTERM and SIGINT.
pub(super) struct Asked {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Asked {
    pub(super) fn new() -> Result<Self, RunError> {
        let listen = |kind| {
            signal(kind).map_err(|source| RunError::System {
                what: "listen for signals",
                source,
            })
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    /// Returns when we are to stop.
    pub(super) async fn stop(&mut self, threads: &mut Threads) -> Stop {
        tokio::select! {
            _ = self.terminate.recv() => Stop::Asked,
            _ = self.interrupt.recv() => Stop::Asked,
            Some(name) = threads.ended.recv() => Stop::StageEnded(name),
        }
    }
}

/// JSON lines, except to a terminal; `HUBMETER_LOG` filters (`info` when unset).
pub(crate) fn start_log() {
    use std::io::IsTerminal as _;
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_env("HUBMETER_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    // Somebody who embeds us may have a log already.
    let _ = if io::stderr().is_terminal() {
        log.try_init()
    } else {
        log.json().try_init()
    };
}

/// As many descriptors as we may have: each agent and each browser is one.
pub(super) fn raise_open_files() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map(|()| hard));
    match raised {
        Ok(open_files) => tracing::debug!(open_files, "open files"),
        Err(e) => tracing::warn!(error = %e, "the limit of open files stays as it is"),
    }
}
