//! Opening SQLite files the one safe way: private, write-ahead log, every commit on the disk.
//!
//! SQLite's locks and its shared memory do not work across machines, so a directory on a network
//! file system is refused here, with the way out named, before a file is made.

use std::{
    fs::OpenOptions,
    os::unix::fs::{FileExt as _, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags};

/// How long a statement waits for another connection of ours: longer than any commit takes on a
/// disk that still works.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Folders below the data directory that may hold databases.
const DIRS_DEEP_MAX: u32 = 4;

/// Damaged files of one name that are kept; beyond it the last is replaced.
const SET_ASIDE_MAX: u32 = 9;

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

/// Files set aside that nobody has counted yet.
static SET_ASIDE: AtomicU64 = AtomicU64::new(0);

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

/// Whether the file itself is not what was written.
pub fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    let code = error.sqlite_error_code();
    code.is_some_and(|code| [DatabaseCorrupt, NotADatabase].contains(&code))
}

/// Renames a damaged file, with its log, so that a new one can take its place and somebody can look
/// at it. Nothing of ours may have it open for writing.
pub fn set_aside(path: &Path) -> Result<(), DatabaseError> {
    let name = |end: &str, n: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        if n > 0 {
            name.push(format!(".damaged-{n}"));
        }
        PathBuf::from(name)
    };
    let failed = |source| DatabaseError::File {
        what: "set aside",
        path: path.to_owned(),
        source,
    };
    let is_free = |n: &u32| name("", *n).try_exists().is_ok_and(|taken| !taken);
    let free = (1..=SET_ASIDE_MAX).find(is_free);
    let free = free.unwrap_or(SET_ASIDE_MAX);
    std::fs::rename(path, name("", free)).map_err(failed)?;
    for end in ["-wal", "-shm"] {
        // Without one there was none.
        let _ = std::fs::rename(name(end, 0), name(end, free));
    }
    SET_ASIDE.fetch_add(1, Ordering::Relaxed);
    tracing::error!(path = %path.display(), kept_as = %name("", free).display(),
        "a damaged file is set aside; a new one begins");
    Ok(())
}

/// How many were set aside since this was last asked.
pub fn take_set_aside() -> u64 {
    SET_ASIDE.swap(0, Ordering::Relaxed)
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
