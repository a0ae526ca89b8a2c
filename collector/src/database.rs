//! Opening SQLite files the one safe way: private, write-ahead log, every commit on the disk.
//!
//! SQLite's locks and its shared memory do not work across machines, so a directory on a network
//! file system is refused here, with the way out named, before a file is made.

use std::{
    fs::OpenOptions,
    os::unix::fs::{FileExt as _, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags};

/// How long a statement waits for another connection of ours: longer than any commit takes on a
/// disk that still works.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Folders below the data directory that may hold databases.
const DIRS_DEEP_MAX: u32 = 4;

/// A log is written once more in pieces of this.
const LOG_PIECE_BYTES: usize = 1 << 20;

/// Magic numbers of file systems whose files other machines may write, from `statfs(2)`.
const NETWORK_FILE_SYSTEMS: [(u32, &str); 7] = [
    (0x6969, "NFS"),
    (0x517B, "SMB"),
    (0xFF53_4D42, "CIFS"),
    (0xFE53_4D42, "SMB2"),
    (0x00C3_6400, "Ceph"),
    (0x5346_414F, "AFS"),
    (0x0BD0_0BD0, "Lustre"),
];

/// Why a database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The directory is shared with other machines.
    #[error(
        "{} is on {kind}, where SQLite can lose data; set data_dir to a local disk, or \
         history.mode = \"memory\" if only the history is to go without one", dir.display()
    )]
    Network {
        /// The directory asked for.
        dir: PathBuf,
        /// What it is on.
        kind: &'static str,
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
    /// SQLite refused.
    #[error("cannot open {} as a database", path.display())]
    Open {
        /// Which file.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
}

/// Makes `dir` if need be, readable for us only, and refuses one that other machines share.
pub fn prepare_dir(dir: &Path) -> Result<(), DatabaseError> {
    use std::os::unix::fs::DirBuilderExt;
    let failed = |what| {
        move |source| DatabaseError::File {
            what,
            path: dir.to_owned(),
            source,
        }
    };
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(failed("make"))?;
    let stat = rustix::fs::statfs(dir)
        .map_err(std::io::Error::from)
        .map_err(failed("look at the file system of"))?;
    // The kernel's type is a machine word; only 32 bits of it carry the number.
    let magic = (stat.f_type as u64 & u64::from(u32::MAX)) as u32;
    match NETWORK_FILE_SYSTEMS
        .iter()
        .find(|(known, _)| *known == magic)
    {
        Some((_, kind)) => Err(DatabaseError::Network {
            dir: dir.to_owned(),
            kind,
        }),
        None => Ok(()),
    }
}

/// Brings to the disk every log that databases under `dir` left behind, though a flush of it may
/// have failed in an earlier life: the kernel then takes its bytes for written, no later flush
/// tries again, and what is committed after them is lost with the power. So they are written once
/// more. Nothing may have a database of `dir` open.
pub fn settle_logs(dir: &Path) -> Result<(), DatabaseError> {
    settle_logs_below(dir, DIRS_DEEP_MAX)
}

fn settle_logs_below(dir: &Path, deep: u32) -> Result<(), DatabaseError> {
    let failed = |what, path: &Path| {
        let path = path.to_owned();
        move |source| DatabaseError::File { what, path, source }
    };
    let entries = std::fs::read_dir(dir)
        .and_then(Iterator::collect::<std::io::Result<Vec<_>>>)
        .map_err(failed("list", dir))?;
    for entry in entries {
        let path = entry.path();
        let kind = entry.file_type().map_err(failed("look at", &path))?;
        if kind.is_dir() && deep > 0 {
            settle_logs_below(&path, deep - 1)?;
        } else if kind.is_file() && path.to_str().is_some_and(|path| path.ends_with("-wal")) {
            settle_log(&path).map_err(failed("write once more", &path))?;
        }
    }
    Ok(())
}

fn settle_log(path: &Path) -> std::io::Result<()> {
    let log = OpenOptions::new().read(true).write(true).open(path)?;
    let length = log.metadata()?.len();
    let mut piece = vec![0; LOG_PIECE_BYTES];
    let mut at = 0;
    while at < length {
        let read = log.read_at(&mut piece, at)?;
        if read == 0 {
            break; // shorter than it was said to be
        }
        log.write_all_at(&piece[..read], at)?;
        at += read as u64;
    }
    log.sync_all()
}

/// Opens `path` for writing, making it with mode 0600. A commit returns when the disk has it.
pub fn open(path: &Path) -> Result<Connection, DatabaseError> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600) // SQLite gives its -wal and -shm files the mode of the main one
        .open(path)
        .map_err(|source| DatabaseError::File {
            what: "make",
            path: path.to_owned(),
            source,
        })?;
    let opened = || -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(
            path,
            OpenFlags::SQLITE_OPEN_READ_WRITE
                | OpenFlags::SQLITE_OPEN_NO_MUTEX
                | OpenFlags::SQLITE_OPEN_NOFOLLOW,
        )?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", "ON")?;
        Ok(connection)
    };
    opened().map_err(|source| DatabaseError::Open {
        path: path.to_owned(),
        source,
    })
}
