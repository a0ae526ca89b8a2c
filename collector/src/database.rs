//! Opening SQLite files the one safe way: private, write-ahead log, every commit on the disk.
//!
//! SQLite's locks and its shared memory do not work across machines, so a directory on a network
//! file system is refused here, with the way out named, before a file is made.

mod damage;
mod log;
mod reading;

use std::{
    fs::OpenOptions,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags};

pub use damage::{is_damage, set_aside, take_set_aside};
pub use log::{settle_logs, squeeze, truncate_log};
pub use reading::open_read_only;

/// How long a statement waits for another connection of ours: longer than any commit takes on a
/// disk that still works.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

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
    /// The file is not what was written.
    #[error("{} is damaged; {}", path.display(), advice(path))]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
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
    opened().map_err(|source| DatabaseError::of_opening(path, source))
}

/// The same for a small one without which nothing goes: it is read whole, since what is damaged in
/// the middle would be met at the worst moment.
pub fn open_checked(path: &Path) -> Result<Connection, DatabaseError> {
    let connection = open(path)?;
    let found = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
    match found {
        Ok(found) if found == "ok" => Ok(connection),
        Ok(found) => {
            let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
            let source = rusqlite::Error::SqliteFailure(code, Some(found));
            Err(DatabaseError::damaged(path, source))
        }
        Err(source) => Err(DatabaseError::of_opening(path, source)),
    }
}

/// What to do about a damaged file, as the end of a sentence.
fn advice(path: &Path) -> &'static str {
    match path.file_name().and_then(|name| name.to_str()) {
        Some("inbox.db") => {
            "restore it from a backup, or move it away with its -wal: what agents still keep they \
             send again, what only it held is lost"
        }
        Some("state.db") => {
            "restore it from a backup, or move it away with its -wal: tokens are verified anew, \
             notices and open verdicts of before are forgotten"
        }
        Some("servers.db") => {
            "it says whose history is whose: restore the folder it is in from a backup, or move \
             that folder away and a new history begins"
        }
        _ => "restore it from a backup, or move it away with its -wal",
    }
}

// === impl DatabaseError ===

impl DatabaseError {
    /// That `path` is not what was written.
    pub fn damaged(path: &Path, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        Self::Damaged { path, source }
    }

    fn of_opening(path: &Path, source: rusqlite::Error) -> Self {
        match is_damage(&source) {
            true => Self::damaged(path, source),
            false => Self::Open {
                path: path.to_owned(),
                source,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;

    #[test]
    fn a_damaged_state_is_refused_by_name_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        std::fs::write(
            &path,
            "no database, but as long as the head of one. ".repeat(9),
        )
        .unwrap();
        let refused = open_checked(&path).unwrap_err().to_string();
        assert!(refused.contains("state.db is damaged"), "{refused}");
        assert!(refused.contains("move it away"), "{refused}");
    }

    #[test]
    fn damage_in_the_middle_is_found_before_it_is_met() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        let db = open(&path).unwrap();
        db.execute_batch("CREATE TABLE t (a TEXT); INSERT INTO t VALUES ('x')")
            .unwrap();
        drop(db);
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&[0xff; 64], 4096).unwrap();
        drop(open(&path).unwrap());
        let refused = open_checked(&path).unwrap_err();
        assert!(
            matches!(refused, DatabaseError::Damaged { .. }),
            "{refused}"
        );
    }

    #[test]
    fn logs_left_behind_are_written_once_more_byte_for_byte() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("history/raw");
        std::fs::create_dir_all(&deep).unwrap();
        let log = deep.join("2026-01-01.db-wal");
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| n as u8).collect();
        std::fs::write(&log, &bytes).unwrap();
        settle_logs(dir.path()).unwrap();
        assert!(std::fs::read(&log).unwrap() == bytes);
    }
}
