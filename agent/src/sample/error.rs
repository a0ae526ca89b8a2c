//! Why there is no sample: always which file, and what was wrong with it.

use std::{io, path::PathBuf};

/// Why there is no sample.
#[derive(Debug, thiserror::Error)]
pub enum SampleError {
    /// The server's root process is not there (any more).
    #[error("process {pid} is gone")]
    Gone {
        /// Which.
        pid: u32,
    },
    /// There is nothing to read any process from.
    #[error("no processes can be read: {} is not mounted there", path.display())]
    NoProc {
        /// Where it should be.
        path: PathBuf,
    },
    /// The portable reader knows this system not.
    #[error("the portable reader does not work here: {0}")]
    Portable(#[source] sysinfo::Error),
    /// A file of the machine could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file of the machine says something unexpected.
    #[error("cannot find {what} in {}", path.display())]
    Parse {
        /// Which.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
}
