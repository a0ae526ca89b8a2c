//! Reports: tables for people who count, as CSV. A table has a fixed order of columns and rows,
//! its units are in its names, and the unknown is an empty cell.

pub mod hub_activity;
pub mod usage;

use std::io;

use crate::usage::UsageError;

/// Why a report could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The ledger cannot be read.
    #[error(transparent)]
    Usage(#[from] UsageError),
    /// It has nowhere to go.
    #[error("cannot write the report")]
    Write(#[from] io::Error),
    /// Too long an answer.
    #[error(
        "the report would have up to {rows} rows, more than {rows_max}; ask for less time or a \
         longer window"
    )]
    TooManyRows {
        /// As many as there may be.
        rows: u64,
        /// The bound.
        rows_max: u64,
    },
}

impl From<csv::Error> for ReportError {
    fn from(error: csv::Error) -> Self {
        // Who stops reading is known by the kind of the error.
        Self::Write(match error.into_kind() {
            csv::ErrorKind::Io(error) => error,
            other => io::Error::other(format!("{other:?}")),
        })
    }
}
