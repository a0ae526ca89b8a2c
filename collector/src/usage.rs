//! What was used, by day and month: the ledger behind the reports.
//!
//! A day of a server is computed whole from its hours and replaced, never added to, so that a
//! replay changes nothing. Servers go by history's numbers: no name of anybody is in the ledger but
//! those of groups. Beside what was measured stands how long the hub says that the server ran: the
//! rest is time that nobody measured, and never counts as unused.

mod calendar;
mod ledger;
mod read;
mod runs;

pub use calendar::{Window, date_of, day_of_ms};
pub use ledger::{DayUse, Ledger};
pub use read::{Chosen, Known, Reader, Totals};
pub use runs::{RunNote, Runs};

use crate::database::DatabaseError;

/// File of the ledger, in `history/`.
const FILE: &str = "usage.db";

/// File with the servers' numbers, in `history/`.
const SERVERS_FILE: &str = "servers.db";

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Why the ledger could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// The file could not be opened.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// SQLite refused a statement.
    #[error("cannot {what} in the ledger of usage")]
    Sql {
        /// What was tried.
        what: &'static str,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// A newer program has written it.
    #[error("usage.db has schema {found}, this program knows {known}; start the newer one")]
    Newer {
        /// What the file says.
        found: i64,
        /// What we know.
        known: i64,
    },
}

// === impl UsageError ===

impl UsageError {
    fn sql(what: &'static str) -> impl Fn(rusqlite::Error) -> Self {
        move |source| Self::Sql { what, source }
    }
}

#[cfg(test)]
mod tests;
