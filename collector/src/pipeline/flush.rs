//! History to the disk, and the word of it to the inbox.

use std::sync::mpsc::{Receiver, RecvTimeoutError};

use crate::{history::History, inbox::Inbox, limits};

/// Flushes until `stop` is dropped, and once more then.
pub fn run(history: &History, inbox: &Inbox, stop: &Receiver<()>) {
    loop {
        let stopping = !matches!(
            stop.recv_timeout(limits::FLUSH_INTERVAL),
            Err(RecvTimeoutError::Timeout)
        );
        match history.flush() {
            Ok(row) => inbox.checkpoint(i64::try_from(row).unwrap_or(i64::MAX)),
            // The rows stay with the inbox and in memory, and are tried again.
            Err(e) => tracing::error!(error = %e, "history is not written"),
        }
        if stopping {
            return;
        }
    }
}
