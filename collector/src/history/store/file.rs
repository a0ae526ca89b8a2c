//! One SQLite file of chunks.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::{Place, ServerId, Stored, files::VERSION};
use crate::{
    database::{self, DatabaseError},
    history::{HistoryError, tier},
};

/// Servers are numbered below this: the place of a chunk is `number within the file × this + server`.
const SERVERS_MAX: i64 = 1 << 32;

/// Chunks of one server in a file of version 1: their place is `server × this + number`.
const FIRST_CHUNKS_PER_FILE: i64 = 1024;

/// A page holds some dozen chunks, so that what does not fit at its end is little.
const PAGE_BYTES: u32 = 64 * 1024;

/// Pages in a file's log before they are put in their places: 4 MiB.
const LOG_PAGES: u32 = 64;

/// A file that is open.
pub(super) struct OpenFile {
    pub(super) connection: Connection,
    pub(super) in_transaction: bool,
    /// Chunks of version 1 may be in it.
    has_first: bool,
    /// Chunks of now may be: not so in a file of version 1 that is only read, when it is opened.
    has_closed: bool,
}

// === impl Place ===

impl Place {
    pub(super) fn file_start_ms(self) -> i64 {
        tier::floor(self.start_ms, self.tier.file_ms())
    }

    fn row(self) -> i64 {
        let number = (self.start_ms - self.file_start_ms()) / self.tier.chunk_ms();
        number * SERVERS_MAX + self.server
    }

    /// Begins and places of the chunks of version 1 that make up this one.
    fn first_rows(self) -> impl Iterator<Item = (i64, i64)> {
        let length_ms = self.tier.first_chunk_ms();
        (0..self.tier.chunk_ms() / length_ms).map(move |at| {
            let start_ms = self.start_ms + at * length_ms;
            let number = (start_ms - self.file_start_ms()) / length_ms;
            (start_ms, self.server * FIRST_CHUNKS_PER_FILE + number)
        })
    }
}

// === impl OpenFile ===

impl OpenFile {
    pub(super) fn open(path: &Path) -> Result<Self, HistoryError> {
        let connection = database::open_paged(path, PAGE_BYTES)?;
        database::check_version(&connection, path, VERSION)?;
        let set_up = || -> rusqlite::Result<()> {
            connection.pragma_update(None, "wal_autocheckpoint", LOG_PAGES)?;
            // So that erasing leaves nothing; chunks are seldom deleted or written again else.
            connection.pragma_update(None, "secure_delete", "ON")?;
            connection.execute_batch(
                "CREATE TABLE IF NOT EXISTS closed (
                    place INTEGER PRIMARY KEY, -- number within the file << 32 | server
                    body BLOB NOT NULL
                )",
            )
        };
        match set_up() {
            Err(e) if database::is_damage(&e) => Err(DatabaseError::damaged(path, e).into()),
            set_up => {
                set_up.map_err(HistoryError::sql("make a table of chunks"))?;
                Self::of(connection)
            }
        }
    }

    /// To be read only; `None` if it is not there.
    pub(super) fn open_read_only(path: &Path) -> Result<Option<Self>, HistoryError> {
        let connection = database::open_read_only(path)?;
        connection.map(Self::of).transpose()
    }

    fn of(connection: Connection) -> Result<Self, HistoryError> {
        let failed = HistoryError::sql("look for tables of chunks");
        let has_first = has_table(&connection, "chunk").map_err(&failed)?;
        let has_closed = has_table(&connection, "closed").map_err(failed)?;
        Ok(Self {
            connection,
            in_transaction: false,
            has_first,
            has_closed,
        })
    }

    pub(super) fn begin(&mut self) -> rusqlite::Result<()> {
        if !self.in_transaction {
            self.connection.execute_batch("BEGIN IMMEDIATE")?;
            self.in_transaction = true;
        }
        Ok(())
    }

    pub(super) fn load(&self, place: Place, to: &mut Vec<Stored>) -> rusqlite::Result<()> {
        let mut take = |query: &str, row: i64, start_ms: i64| -> rusqlite::Result<()> {
            let found = self
                .connection
                .prepare_cached(query)?
                .query_row([row], |row| row.get(0))
                .optional()?;
            to.extend(found.map(|body| Stored {
                start_ms,
                is_piece: false,
                body,
            }));
            Ok(())
        };
        if self.has_first {
            for (start_ms, row) in place.first_rows() {
                take("SELECT body FROM chunk WHERE place = ?1", row, start_ms)?;
            }
        }
        // Whoever writes may have made it meanwhile.
        if self.has_closed || has_table(&self.connection, "closed")? {
            let query = "SELECT body FROM closed WHERE place = ?1";
            take(query, place.row(), place.start_ms)?;
        }
        Ok(())
    }

    pub(super) fn close(&self, place: Place, body: &[u8]) -> rusqlite::Result<()> {
        if self.has_first {
            let mut delete = self
                .connection
                .prepare_cached("DELETE FROM chunk WHERE place = ?1")?;
            for (_, row) in place.first_rows() {
                delete.execute([row])?;
            }
        }
        self.connection
            .prepare_cached("INSERT OR REPLACE INTO closed VALUES (?1, ?2)")?
            .execute(params![place.row(), body])?;
        Ok(())
    }

    pub(super) fn erase(&self, server: ServerId) -> rusqlite::Result<u64> {
        let db = &self.connection;
        let mut erased = db.execute(
            "DELETE FROM closed WHERE place & ?1 = ?2",
            [SERVERS_MAX - 1, server],
        )?;
        if self.has_first {
            let first = server * FIRST_CHUNKS_PER_FILE;
            erased += db.execute(
                "DELETE FROM chunk WHERE place >= ?1 AND place < ?2",
                [first, first + FIRST_CHUNKS_PER_FILE],
            )?;
            // These were written again and again: what they were before lies in free pages.
            db.execute_batch("VACUUM")?;
        }
        database::truncate_log(db)?;
        Ok(erased as u64)
    }
}

fn has_table(connection: &Connection, name: &str) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT count(*) FROM sqlite_schema WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
}
