//! The data directory: ours alone, on a disk of this machine.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use crate::database::{self, DatabaseError};

/// A data directory that no other collector uses while this lives.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

/// Why the directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// It cannot be made, or is on a network file system.
    #[error(transparent)]
    Unfit(#[from] DatabaseError),
    /// Another collector is at work there.
    #[error("{} is in use by another collector", .0.display())]
    InUse(PathBuf),
    /// The system refused.
    #[error("cannot lock {}: {source}", path.display())]
    Lock {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

// === impl DataDir ===

impl DataDir {
    /// Makes the directory if need be (mode 0700) and takes it.
    ///
    /// # Errors
    /// It is unfit or taken.
    pub fn take(path: &Path) -> Result<Self, DataDirError> {
        database::prepare_dir(path)?;
        let lock_path = path.join("lock");
        let failed = |source| DataDirError::Lock {
            path: lock_path.clone(),
            source,
        };
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&lock_path)
            .map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {
                // Nobody else has anything open here.
                database::settle_logs(path)?;
                Ok(Self {
                    path: path.to_owned(),
                    _lock: lock,
                })
            }
            Err(TryLockError::WouldBlock) => Err(DataDirError::InUse(path.to_owned())),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn it_is_private_and_taken_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/data");
        let taken = DataDir::take(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        assert!(matches!(DataDir::take(&path), Err(DataDirError::InUse(_))));
        drop(taken);
        assert!(DataDir::take(&path).is_ok());
    }
}
