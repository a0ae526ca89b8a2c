//! Pieces of open chunks, in one file that stays about as large as an hour needs.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, params};

use super::{Place, ServerId, Stored};
use crate::{
    database,
    history::{HistoryError, tier::Tier},
};

const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS piece (
    tier INTEGER NOT NULL,
    chunk INTEGER NOT NULL, -- its begin, in lengths of the tier's chunks
    server INTEGER NOT NULL,
    number INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (tier, chunk, server, number)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counter (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    number INTEGER NOT NULL -- of the last piece
);
INSERT OR IGNORE INTO counter VALUES (1, 0)";

/// The file of pieces.
pub(super) struct Tail {
    path: PathBuf,
    version: u32,
    read_only: bool,
    /// `None` before the first use, and after a transaction could not even be taken back.
    connection: Option<Connection>,
    /// The number of the last piece, while a transaction is open.
    number: Option<i64>,
}

// === impl Tail ===

impl Tail {
    pub(super) fn open(path: &Path, version: u32) -> Result<Self, HistoryError> {
        Ok(Self {
            path: path.to_owned(),
            version,
            read_only: false,
            connection: Some(connect(path, version)?),
            number: None,
        })
    }

    /// To be read only, beside whoever writes it. Before the first piece was written there is none.
    pub(super) fn read_only(path: &Path, version: u32) -> Self {
        Self {
            path: path.to_owned(),
            version,
            read_only: true,
            connection: None,
            number: None,
        }
    }

    /// What to read from; `None` where there is no file.
    fn reader(&mut self) -> Result<Option<&Connection>, HistoryError> {
        if !self.read_only {
            return self.connection().map(Some);
        }
        if self.connection.is_none() {
            self.connection = database::open_read_only(&self.path)?;
        }
        Ok(self.connection.as_ref())
    }

    fn connection(&mut self) -> Result<&Connection, HistoryError> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => connect(&self.path, self.version)?,
        };
        Ok(self.connection.insert(connection))
    }

    /// Begins a transaction if there is none; gives the number of the last piece.
    fn begin(&mut self) -> Result<i64, HistoryError> {
        if let Some(number) = self.number {
            return Ok(number);
        }
        let db = self.connection()?;
        let begin = || -> rusqlite::Result<i64> {
            db.execute_batch("BEGIN IMMEDIATE")?;
            db.prepare_cached("SELECT number FROM counter")?
                .query_row([], |row| row.get(0))
        };
        match begin() {
            Ok(number) => {
                self.number = Some(number);
                Ok(number)
            }
            Err(source) => {
                self.connection = None;
                Err(HistoryError::sql("begin to write pieces")(source))
            }
        }
    }

    pub(super) fn append(&mut self, place: Place, body: &[u8]) -> Result<(), HistoryError> {
        let number = self.begin()? + 1;
        self.number = Some(number);
        let (tier, chunk) = key(place.tier, place.start_ms);
        self.connection()?
            .prepare_cached("INSERT INTO piece VALUES (?1, ?2, ?3, ?4, ?5)")
            .and_then(|mut insert| insert.execute(params![tier, chunk, place.server, number, body]))
            .map_err(HistoryError::sql("write a piece"))?;
        Ok(())
    }

    pub(super) fn load(&mut self, place: Place) -> Result<Vec<Stored>, HistoryError> {
        let (tier, chunk) = key(place.tier, place.start_ms);
        let read = |db: &Connection| -> rusqlite::Result<Vec<Stored>> {
            db.prepare_cached(
                "SELECT body FROM piece WHERE tier = ?1 AND chunk = ?2 AND server = ?3
                 ORDER BY number",
            )?
            .query_map(params![tier, chunk, place.server], |row| {
                Ok(Stored {
                    start_ms: place.start_ms,
                    is_piece: true,
                    body: row.get(0)?,
                })
            })?
            .collect()
        };
        match self.reader()? {
            Some(db) => read(db).map_err(HistoryError::sql("read pieces")),
            None => Ok(Vec::new()),
        }
    }

    pub(super) fn delete(&mut self, place: Place) -> Result<(), HistoryError> {
        self.begin()?;
        let (tier, chunk) = key(place.tier, place.start_ms);
        self.connection()?
            .prepare_cached("DELETE FROM piece WHERE tier = ?1 AND chunk = ?2 AND server = ?3")
            .and_then(|mut delete| delete.execute(params![tier, chunk, place.server]))
            .map_err(HistoryError::sql("delete pieces"))?;
        Ok(())
    }

    pub(super) fn open_chunks(&mut self, tier: Tier) -> Result<Vec<i64>, HistoryError> {
        let mut chunks = Vec::new();
        let Some(db) = self.reader()? else {
            return Ok(chunks);
        };
        // From one to the next by the key, however many pieces each has.
        let mut query = || -> rusqlite::Result<()> {
            let mut next =
                db.prepare_cached("SELECT min(chunk) FROM piece WHERE tier = ?1 AND chunk > ?2")?;
            let mut after = i64::MIN;
            while let Some(chunk) =
                next.query_row([number_of(tier), after], |row| row.get::<_, Option<i64>>(0))?
            {
                chunks.push(chunk.saturating_mul(tier.chunk_ms()));
                after = chunk;
            }
            Ok(())
        };
        query().map_err(HistoryError::sql("look for pieces"))?;
        Ok(chunks)
    }

    pub(super) fn due(
        &mut self,
        tier: Tier,
        before_ms: i64,
        max: usize,
    ) -> Result<Vec<Place>, HistoryError> {
        let before = before_ms.div_euclid(tier.chunk_ms());
        let read = |db: &Connection| -> rusqlite::Result<Vec<Place>> {
            db.prepare_cached(
                "SELECT DISTINCT chunk, server FROM piece WHERE tier = ?1 AND chunk < ?2
                 ORDER BY chunk, server LIMIT ?3",
            )?
            .query_map(params![number_of(tier), before, max as i64], |row| {
                Ok(Place {
                    tier,
                    start_ms: row.get::<_, i64>(0)?.saturating_mul(tier.chunk_ms()),
                    server: row.get(1)?,
                })
            })?
            .collect()
        };
        read(self.connection()?).map_err(HistoryError::sql("look for pieces"))
    }

    pub(super) fn commit(&mut self) -> Result<(), HistoryError> {
        let Some(number) = self.number.take() else {
            return Ok(());
        };
        let db = self.connection()?;
        let committed = db
            .prepare_cached("UPDATE counter SET number = ?1")
            .and_then(|mut update| update.execute([number]))
            .and_then(|_| db.execute_batch("COMMIT"));
        committed.map_err(|source| {
            self.take_back();
            HistoryError::sql("commit pieces")(source)
        })
    }

    pub(super) fn rollback(&mut self) {
        if self.number.take().is_some() {
            self.take_back();
        }
    }

    /// Takes back what was not committed. The connection is kept, also when a flush failed: a new one
    /// would take what may not have reached the disk for committed, and build on it.
    fn take_back(&mut self) {
        let taken_back = self
            .connection
            .as_ref()
            .is_none_or(|db| db.is_autocommit() || db.execute_batch("ROLLBACK").is_ok());
        if !taken_back {
            self.connection = None;
        }
    }

    /// Deletes the pieces of chunks that end at `before_ms` or earlier.
    pub(super) fn sweep(&mut self, tier: Tier, before_ms: i64) -> Result<(), HistoryError> {
        let before = before_ms.div_euclid(tier.chunk_ms());
        self.connection()?
            .execute(
                "DELETE FROM piece WHERE tier = ?1 AND chunk < ?2",
                [number_of(tier), before],
            )
            .map_err(HistoryError::sql("delete old pieces"))?;
        Ok(())
    }

    pub(super) fn erase(&mut self, server: ServerId) -> Result<u64, HistoryError> {
        // Pages that settled pieces left are made anew, too.
        let erase = |db: &Connection| -> rusqlite::Result<u64> {
            let erased = db.execute("DELETE FROM piece WHERE server = ?1", [server])?;
            database::squeeze(db)?;
            Ok(erased as u64)
        };
        erase(self.connection()?).map_err(HistoryError::sql("erase a server's pieces"))
    }
}

fn connect(path: &Path, version: u32) -> Result<Connection, HistoryError> {
    let connection = database::open(path)?;
    database::check_version(&connection, path, version)?;
    connection
        .execute_batch(SCHEMA)
        .map_err(HistoryError::sql("make the table of pieces"))?;
    Ok(connection)
}

/// The numbers stand in files: never change one.
fn number_of(tier: Tier) -> i64 {
    match tier {
        Tier::Raw => 0,
        Tier::Minute => 1,
        Tier::Hour => 2,
    }
}

fn key(tier: Tier, start_ms: i64) -> (i64, i64) {
    (number_of(tier), start_ms.div_euclid(tier.chunk_ms()))
}
