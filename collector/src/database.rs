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
    /// A newer program has written it.
    #[error(
        "{} has version {found}, this program knows up to {known}; start the newer one",
        path.display()
    )]
    Newer {
        /// Which file.
        path: PathBuf,
        /// What the file says.
        found: u32,
        /// What we know.
        known: u32,
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
    match network_kind(magic) {
        Some(kind) => Err(DatabaseError::Network {
            dir: dir.to_owned(),
            kind,
        }),
        None => Ok(()),
    }
}

/// What a file system that other machines may write is called.
fn network_kind(magic: u32) -> Option<&'static str> {
    let known = NETWORK_FILE_SYSTEMS
        .iter()
        .find(|(known, _)| *known == magic);
    known.map(|(_, kind)| *kind)
}

/// Opens `path` for writing, making it with mode 0600. A commit returns when the disk has it.
pub fn open(path: &Path) -> Result<Connection, DatabaseError> {
    open_with(path, None)
}

/// The same; a file that is new gets pages of `page_bytes`.
pub fn open_paged(path: &Path, page_bytes: u32) -> Result<Connection, DatabaseError> {
    open_with(path, Some(page_bytes))
}

/// Refuses a file that a newer program wrote, and marks others as of `version`. A file without a
/// mark has version 0.
pub fn check_version(
    connection: &Connection,
    path: &Path,
    version: u32,
) -> Result<(), DatabaseError> {
    let failed = |source| DatabaseError::Open {
        path: path.to_owned(),
        source,
    };
    let found: u32 = connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(failed)?;
    if found > version {
        return Err(DatabaseError::Newer {
            path: path.to_owned(),
            found,
            known: version,
        });
    }
    if found < version {
        connection
            .pragma_update(None, "user_version", version)
            .map_err(failed)?;
    }
    Ok(())
}

fn open_with(path: &Path, page_bytes: Option<u32>) -> Result<Connection, DatabaseError> {
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
        let connection = connect(path)?;
        if let Some(page_bytes) = page_bytes {
            connection.pragma_update(None, "page_size", page_bytes)?;
        }
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", "ON")?;
        Ok(connection)
    };
    opened().map_err(|source| DatabaseError::of_opening(path, source))
}

/// To a file that is there.
fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_NOFOLLOW,
    )?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(connection)
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

    #[test]
    fn a_directory_that_other_machines_share_is_refused_with_the_way_out() {
        // As linux/magic.h and the file systems' own headers have them.
        for (magic, kind) in [
            (0x6969, "NFS"),
            (0xFF53_4D42, "CIFS"),
            (0xFE53_4D42, "SMB2"),
            (0x00C3_6400, "Ceph"),
        ] {
            assert_eq!(network_kind(magic), Some(kind));
        }
        let (ext4, tmpfs, overlay, xfs, btrfs) =
            (0xEF53, 0x0102_1994, 0x794C_7630, 0x5846_5342, 0x9123_683E);
        for local in [ext4, tmpfs, overlay, xfs, btrfs] {
            assert_eq!(network_kind(local), None);
        }
        let refused = DatabaseError::Network {
            dir: "/home/hub".into(),
            kind: "NFS",
        };
        let text = refused.to_string();
        for part in [
            "/home/hub is on NFS",
            "data_dir",
            "history.mode = \"memory\"",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn a_file_of_a_newer_version_is_refused_and_an_older_one_marked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("some.db");
        let file = open(&path).unwrap();
        check_version(&file, &path, 2).unwrap();
        check_version(&file, &path, 3).unwrap();
        let error = check_version(&file, &path, 2).unwrap_err().to_string();
        assert!(
            error.contains("version 3") && error.contains("up to 2"),
            "{error}"
        );
    }
}
