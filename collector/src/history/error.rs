//! Why history could not be written or read.

use std::path::{Path, PathBuf};

use crate::{database::DatabaseError, usage::UsageError};

/// Why history could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// A file could not be opened.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The ledger of usage.
    #[error(transparent)]
    Usage(#[from] UsageError),
    /// SQLite refused a statement.
    #[error("cannot {what} in history")]
    Sql {
        /// What was tried.
        what: &'static str,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// The system refused.
    #[error("cannot {what} {}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// What chunks are read with could not be made.
    #[error("cannot prepare to read chunks of history")]
    Squeeze(#[source] std::io::Error),
    /// There is nothing to read.
    #[error("{} holds no history; is it a collector's data directory?", .0.display())]
    Nothing(PathBuf),
    /// The question has too long an answer.
    #[error(
        "the answer would be made of more than {rows_max} rows; ask for less time or a longer step"
    )]
    TooManyRows {
        /// The bound.
        rows_max: usize,
    },
}

// === impl HistoryError ===

impl HistoryError {
    pub(super) fn sql(what: &'static str) -> impl Fn(rusqlite::Error) -> Self {
        move |source| Self::Sql { what, source }
    }

    pub(super) fn file(what: &'static str, path: &Path) -> impl Fn(std::io::Error) -> Self {
        move |source| Self::File {
            what,
            path: path.to_owned(),
            source,
        }
    }
}
