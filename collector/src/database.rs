//! Opening SQLite files the one safe way: private, write-ahead log, every commit on the disk.
//!
//! SQLite's locks and its shared memory do not work across machines, so a directory on a network
//! file system is refused here, with the way out named, before a file is made.

use std::{
    fs::OpenOptions,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags};

/// How long a statement waits for another connection of ours: longer than any commit takes on a
/// disk that still works.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Pages that a connection for reading keeps: what leads to a server's chunks, not the chunks.
const READ_CACHE_KIB: i64 = 256;

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

/// Opens `path` for reading only, beside whoever writes it or after; `None` if it is not there.
/// Where not even SQLite's index of the log can be made (a read-only disk) and no log is left, the
/// file is read as one that nobody changes.
pub fn open_read_only(path: &Path) -> Result<Option<Connection>, DatabaseError> {
    let failed = |source| DatabaseError::Open {
        path: path.to_owned(),
        source,
    };
    let there = || {
        path.try_exists().map_err(|source| DatabaseError::File {
            what: "look for",
            path: path.to_owned(),
            source,
        })
    };
    if !there()? {
        return Ok(None);
    }
    match open_to_read(path, "") {
        Ok(connection) => Ok(Some(connection)),
        Err(_) if !there()? => Ok(None), // deleted meanwhile
        Err(error) if has_log(path) => Err(failed(error)),
        Err(_) => open_to_read(path, "&immutable=1").map(Some).map_err(failed),
    }
}

fn open_to_read(path: &Path, more: &str) -> rusqlite::Result<Connection> {
    let escaped = percent_encoding::percent_encode(
        path.as_os_str().as_encoded_bytes(),
        percent_encoding::NON_ALPHANUMERIC,
    );
    let connection = Connection::open_with_flags(
        format!("file:{escaped}?mode=ro{more}"),
        OpenFlags::SQLITE_OPEN_READ_ONLY
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_URI,
    )?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "cache_size", -READ_CACHE_KIB)?;
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?; // opens the log
    Ok(connection)
}

fn has_log(path: &Path) -> bool {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    std::fs::metadata(log).is_ok_and(|log| log.len() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_sees_what_was_committed_beside_the_writer_and_after_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("odd name?%20#.db");
        assert!(open_read_only(&path).unwrap().is_none());
        assert!(!path.try_exists().unwrap(), "a reader makes nothing");
        let writer = open(&path).unwrap();
        writer
            .execute_batch("CREATE TABLE t (n); INSERT INTO t VALUES (1); BEGIN IMMEDIATE; INSERT INTO t VALUES (2)")
            .unwrap();
        let count = |connection: &Connection| -> i64 {
            let count = connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0));
            count.unwrap()
        };
        let reader = open_read_only(&path).unwrap().unwrap();
        assert_eq!(count(&reader), 1);
        writer.execute_batch("COMMIT").unwrap();
        assert_eq!(count(&reader), 2);
        assert!(reader.execute_batch("INSERT INTO t VALUES (3)").is_err());
        drop((reader, writer));
        assert_eq!(count(&open_read_only(&path).unwrap().unwrap()), 2);
    }

    #[test]
    fn a_file_that_is_no_database_is_refused_with_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("servers.db");
        std::fs::write(&path, [b'x'; 4096]).unwrap();
        let refused = open_read_only(&path).unwrap_err().to_string();
        assert!(refused.contains("servers.db"), "{refused}");
    }
}
