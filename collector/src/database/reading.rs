//! Reading a database beside whoever writes it, or after.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::{BUSY_TIMEOUT, DatabaseError, connect};

/// Pages that a connection for reading keeps: what leads to a server's chunks, not the chunks.
const READ_CACHE_KIB: i64 = 256;

/// Opens `path` for reading only, beside whoever writes it or after; `None` if it is not there.
/// Where not even SQLite's index of the log can be made (a read-only disk) and no log is left, the
/// file is read as one that nobody changes.
pub fn open_read_only(path: &Path) -> Result<Option<Connection>, DatabaseError> {
    let failed = |source| DatabaseError::of_opening(path, source);
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
        Err(error) if is_left_half(&error) => {
            // A cut came while the file was made. Whoever comes first undoes what is half there;
            // SQLite's locks keep that from a writer who is at it.
            roll_back(path).map_err(|_| failed(error))?;
            open_to_read(path, "").map(Some).map_err(failed)
        }
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

/// Whether a change that was cut off must be undone first, which a reader may not.
fn is_left_half(error: &rusqlite::Error) -> bool {
    error
        .sqlite_error()
        .is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_READONLY_ROLLBACK)
}

fn roll_back(path: &Path) -> rusqlite::Result<()> {
    connect(path)?.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
}

fn has_log(path: &Path) -> bool {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    std::fs::metadata(log).is_ok_and(|log| log.len() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::open;

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
    fn what_a_power_cut_left_half_is_undone_before_it_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let (path, cut) = (dir.path().join("whole.db"), dir.path().join("cut.db"));
        let writer = Connection::open(&path).unwrap();
        writer
            .execute_batch(
                "CREATE TABLE t (n); INSERT INTO t VALUES (1); PRAGMA cache_size = 1; BEGIN;
                 UPDATE t SET n = 2; CREATE TABLE u AS
                 WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 5000)
                 SELECT randomblob(100) AS b FROM c",
            )
            .unwrap();
        // As the disk is when the power goes now: half of it written, and how to undo it.
        std::fs::copy(&path, &cut).unwrap();
        let journal = |of: &str| dir.path().join(format!("{of}.db-journal"));
        std::fs::copy(journal("whole"), journal("cut")).unwrap();
        let alone = open_to_read(&cut, "").unwrap_err();
        assert!(is_left_half(&alone), "{alone}");
        let reader = open_read_only(&cut).unwrap().unwrap();
        let read: i64 = reader
            .query_row("SELECT sum(n) FROM t", [], |row| row.get(0))
            .unwrap();
        assert_eq!(read, 1);
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
