//! Where rows are kept: a small trait, and SQLite behind it.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension as _, params};

use crate::database::{self, DatabaseError};

/// Keeps rows in order; an append that returned survives a power cut.
pub trait Journal: Send {
    /// Adds a row and gives its number, larger than any before.
    ///
    /// # Errors
    /// It is not on the disk.
    fn append(&mut self, at_ms: i64, crc: u32, payload: &[u8]) -> Result<i64, JournalError>;

    /// The first row after `row`.
    ///
    /// # Errors
    /// The journal cannot be read.
    fn read_after(&mut self, row: i64) -> Result<Option<Kept>, JournalError>;

    /// The number of the newest row there ever was, so that missing ones are noticed.
    ///
    /// # Errors
    /// The journal cannot be read.
    fn newest(&mut self) -> Result<i64, JournalError>;

    /// The checksum and bytes of the last [`Journal::set_marks`].
    ///
    /// # Errors
    /// The journal cannot be read.
    fn marks(&mut self) -> Result<Option<(u32, Vec<u8>)>, JournalError>;

    /// Keeps `payload` beside the rows, instead of the one before.
    ///
    /// # Errors
    /// It is not on the disk.
    fn set_marks(&mut self, crc: u32, payload: &[u8]) -> Result<(), JournalError>;

    /// Deletes the first rows, up to `through`, that were written before `before_ms`: never one
    /// behind one that stays, so that a row that is missing was lost.
    ///
    /// # Errors
    /// They are still there.
    fn prune(&mut self, through: i64, before_ms: i64) -> Result<(), JournalError>;

    /// Keeps `payload` as `row`, instead of what it held.
    ///
    /// # Errors
    /// It is not on the disk.
    fn replace(&mut self, row: i64, crc: u32, payload: &[u8]) -> Result<(), JournalError>;

    /// Leaves nothing in the file that is not in a row.
    ///
    /// # Errors
    /// Something may be left.
    fn squeeze(&mut self) -> Result<(), JournalError>;
}

/// A row as it was read; whether it is whole is for its checksum to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its number.
    pub row: i64,
    /// CRC32C of the payload when it was written.
    pub crc: u32,
    /// What it holds.
    pub payload: Vec<u8>,
}

/// Why the journal could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file could not be opened.
    #[error(transparent)]
    Open(#[from] DatabaseError),
    /// SQLite refused a statement.
    #[error("cannot {what} the inbox: {source}")]
    Sql {
        /// What was tried.
        what: &'static str,
        /// What SQLite says.
        source: rusqlite::Error,
    },
}

/// Rows in `inbox.db`.
pub struct SqliteJournal {
    path: PathBuf,
    /// Kept over a failed flush: its log goes on where the last commit that worked ended, and so
    /// writes anew whatever may not have reached the disk. A connection opened afterwards would take
    /// that for committed, build on it, and lose all of it with the power. `None` when it could not
    /// be opened, or is of no use any more.
    connection: Option<Connection>,
}

/// Rows written this long after what is deleted are of a clock that was ahead.
const AHEAD_MS: i64 = 24 * 60 * 60 * 1000;
/// What the file looks like. The first ones had no number, and look the same.
const VERSION: u32 = 1;

const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS batch (
    row INTEGER PRIMARY KEY AUTOINCREMENT, -- never used again, also after a prune
    at_ms INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    payload BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS marks (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    crc INTEGER NOT NULL,
    payload BLOB NOT NULL
)";

// === impl SqliteJournal ===

impl SqliteJournal {
    /// Opens `inbox.db` in `data_dir`, making it if need be.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(data_dir: &Path) -> Result<Self, JournalError> {
        let path = data_dir.join("inbox.db");
        let connection = Some(connect(&path)?);
        Ok(Self { path, connection })
    }

    fn with<T>(
        &mut self,
        what: &'static str,
        run: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, JournalError> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => connect(&self.path)?,
        };
        let result = run(&connection);
        if !result.as_ref().is_err_and(is_beyond_use) {
            self.connection = Some(connection);
        }
        result.map_err(|source| match database::is_damage(&source) {
            true => DatabaseError::damaged(&self.path, source).into(),
            false => JournalError::Sql { what, source },
        })
    }
}

impl Journal for SqliteJournal {
    fn append(&mut self, at_ms: i64, crc: u32, payload: &[u8]) -> Result<i64, JournalError> {
        self.with("write", |db| {
            db.prepare_cached("INSERT INTO batch (at_ms, crc, payload) VALUES (?1, ?2, ?3)")?
                .insert(params![at_ms, crc, payload])
        })
    }

    fn read_after(&mut self, row: i64) -> Result<Option<Kept>, JournalError> {
        self.with("read", |db| {
            db.prepare_cached(
                "SELECT row, crc, payload FROM batch WHERE row > ?1 ORDER BY row LIMIT 1",
            )?
            .query_row([row], |found| {
                if found.get::<_, i64>(0)? <= row {
                    // Only where a number is damaged; going on would not end.
                    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
                    let what = "rows are out of order".to_owned();
                    return Err(rusqlite::Error::SqliteFailure(code, Some(what)));
                }
                // What is of another kind is a damaged row, not a failure to read. It is no row that
                // holds nothing either, whose checksum is zero.
                let (crc, payload) = match (found.get(1), found.get(2)) {
                    (Ok(crc), Ok(payload)) => (crc, payload),
                    _ => (u32::MAX, Vec::new()),
                };
                Ok(Kept {
                    row: found.get(0)?,
                    crc,
                    payload,
                })
            })
            .optional()
        })
    }

    fn newest(&mut self) -> Result<i64, JournalError> {
        self.with("read the newest row of", |db| {
            let newest = "SELECT max(
                coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'batch'), 0),
                coalesce((SELECT max(row) FROM batch), 0))";
            db.query_row(newest, [], |found| found.get(0))
        })
    }

    fn marks(&mut self) -> Result<Option<(u32, Vec<u8>)>, JournalError> {
        self.with("read the marks of", |db| {
            db.query_row("SELECT crc, payload FROM marks", [], |found| {
                Ok((found.get(0)?, found.get(1)?))
            })
            .optional()
        })
    }

    fn set_marks(&mut self, crc: u32, payload: &[u8]) -> Result<(), JournalError> {
        self.with("mark", |db| {
            db.prepare_cached("INSERT OR REPLACE INTO marks VALUES (1, ?1, ?2)")?
                .execute(params![crc, payload])
                .map(drop)
        })
    }

    fn prune(&mut self, through: i64, before_ms: i64) -> Result<(), JournalError> {
        self.with("prune", |db| {
            // A row of a clock that was ahead is as old as its neighbours.
            let ahead_ms = before_ms.saturating_add(AHEAD_MS);
            db.prepare_cached(
                "DELETE FROM batch WHERE row <= ?1 AND row < (
                    SELECT coalesce(min(row), ?1 + 1) FROM batch WHERE at_ms BETWEEN ?2 AND ?3)",
            )?
            .execute([through, before_ms, ahead_ms])
            .map(drop)
        })
    }

    fn replace(&mut self, row: i64, crc: u32, payload: &[u8]) -> Result<(), JournalError> {
        self.with("rewrite", |db| {
            db.prepare_cached("UPDATE batch SET crc = ?2, payload = ?3 WHERE row = ?1")?
                .execute(params![row, crc, payload])
                .map(drop)
        })
    }

    fn squeeze(&mut self) -> Result<(), JournalError> {
        self.with("squeeze", database::squeeze)
    }
}

/// Whether a new connection may do better.
fn is_beyond_use(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{
        CannotOpen, DatabaseCorrupt, FileLockingProtocolFailed, NotADatabase,
    };
    let beyond = [
        CannotOpen,
        DatabaseCorrupt,
        FileLockingProtocolFailed,
        NotADatabase,
    ];
    error
        .sqlite_error_code()
        .is_some_and(|code| beyond.contains(&code))
}

fn connect(path: &Path) -> Result<Connection, JournalError> {
    let connection = database::open(path)?;
    database::check_version(&connection, path, VERSION)?;
    connection
        .execute_batch(SCHEMA)
        .map_err(|source| JournalError::Sql {
            what: "set up",
            source,
        })?;
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_whose_columns_became_others_is_damaged_and_never_one_that_holds_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = SqliteJournal::open(dir.path()).unwrap();
        // A flipped bit in the head of a record shifts its columns: a checksum that is bytes, no payload.
        for (crc, payload) in [("x'00'", "''"), ("x'00'", "x''"), ("0", "''")] {
            let row = journal.append(1, crc32c::crc32c(b"held"), b"held").unwrap();
            let damage =
                format!("UPDATE batch SET crc = {crc}, payload = {payload} WHERE row = {row}");
            let connection = journal.connection.as_ref().unwrap();
            connection.execute(&damage, []).unwrap();
            let kept = journal.read_after(row - 1).unwrap().unwrap();
            assert_ne!(crc32c::crc32c(&kept.payload), kept.crc, "{damage}");
        }
    }

    #[test]
    fn a_file_without_a_version_is_read_and_one_of_a_newer_version_refused() {
        let dir = tempfile::tempdir().unwrap();
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../tests/fixtures/data-dir-1/data/inbox.db");
        std::fs::copy(fixture, dir.path().join("inbox.db")).unwrap();
        let mut journal = SqliteJournal::open(dir.path()).unwrap();
        let first = journal.read_after(0).unwrap().unwrap();
        assert!(crate::inbox::row::decode(&first.payload, first.crc).is_some());
        let appended = journal.append(1, 2, b"more").unwrap();
        assert!(appended > first.row);
        let connection = journal.connection.take().unwrap();
        connection.pragma_update(None, "user_version", 7).unwrap();
        drop(connection);
        let error = SqliteJournal::open(dir.path()).err().unwrap().to_string();
        assert!(
            error.contains("inbox.db has version 7") && error.contains("up to 1"),
            "{error}"
        );
    }
}
