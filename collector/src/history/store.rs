//! Where chunks lie: SQLite files per tier and stretch of time, or memory.
//!
//! File names are dates and directories are constants: no name of a user, server or workload is
//! ever part of a path. Servers have numbers; a number is never used again, and its row is on the
//! disk before any chunk refers to it.

mod read;

use std::{
    collections::{BTreeMap, HashMap, btree_map::Entry},
    path::{Path, PathBuf},
};

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    HistoryError,
    tier::{self, Tier},
};
use crate::{database, fact::ServerKey};

/// Chunks of one server in one file, at most: the place of a chunk is `server × this + number`.
/// The raw tier's day has 144.
const CHUNKS_PER_FILE_MAX: i64 = 1024;

/// Number of a server within this history.
pub(super) type ServerId = i64;

/// Files of chunks.
pub(super) struct Files {
    dir: PathBuf,
    servers: Connection,
    ids: HashMap<ServerKey, ServerId>,
    open: BTreeMap<(Tier, i64), OpenFile>,
    /// Nothing is made and nothing written, nor is a server's number kept in mind.
    read_only: bool,
}

struct OpenFile {
    connection: Connection,
    in_transaction: bool,
}

/// Chunks in memory, gone with the program.
#[derive(Default)]
pub(super) struct Memory {
    ids: HashMap<ServerKey, ServerId>,
    chunks: BTreeMap<(Tier, ServerId, i64), Vec<u8>>,
}

/// Keeps chunks by (tier, server, start). What was saved is there after [`Store::commit`].
pub(super) trait Store: Send {
    /// The number of a server, if it has one.
    fn server(&mut self, key: &ServerKey) -> Result<Option<ServerId>, HistoryError>;
    /// Gives a number to every server that has none, all at once.
    fn number(&mut self, keys: &mut dyn Iterator<Item = &ServerKey>) -> Result<(), HistoryError>;
    /// One chunk.
    fn load(&mut self, place: Place) -> Result<Option<Vec<u8>>, HistoryError>;
    /// The chunks of a server that begin in `from_ms..to_ms`, oldest first.
    fn load_span(&mut self, span: Span) -> Result<Vec<(i64, Vec<u8>)>, HistoryError> {
        let mut chunks = Vec::new();
        let (tier, server) = (span.tier, span.server);
        for start_ms in tier::starts(tier, span.from_ms, span.to_ms) {
            let place = Place {
                tier,
                server,
                start_ms,
            };
            chunks.extend(self.load(place)?.map(|body| (start_ms, body)));
        }
        Ok(chunks)
    }
    /// Replaces one chunk.
    fn save(&mut self, place: Place, body: Vec<u8>) -> Result<(), HistoryError>;
    /// Puts on the disk all that was saved, finest tier first.
    fn commit(&mut self) -> Result<(), HistoryError>;
    /// Takes back all that was saved since the last commit.
    fn rollback(&mut self);
    /// Lets go of what it holds open of `tier` that ends before `before_ms`.
    fn close(&mut self, tier: Tier, before_ms: i64);
    /// Deletes the chunks of `tier` whose file ends before `before_ms`.
    fn sweep(&mut self, tier: Tier, before_ms: i64) -> Result<(), HistoryError>;
}

/// Names chunks in a row: of one server, by when they begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) tier: Tier,
    pub(super) server: ServerId,
    /// The begin of a chunk.
    pub(super) from_ms: i64,
    pub(super) to_ms: i64,
}

/// Names a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) tier: Tier,
    pub(super) server: ServerId,
    pub(super) start_ms: i64,
}

// === impl Place ===

impl Place {
    fn file_start_ms(self) -> i64 {
        tier::floor(self.start_ms, self.tier.file_ms())
    }

    fn row(self) -> i64 {
        let number = (self.start_ms - self.file_start_ms()) / self.tier.chunk_ms();
        self.server * CHUNKS_PER_FILE_MAX + number
    }
}

// === impl Files ===

impl Files {
    /// Opens `history/` in `data_dir`, making it if need be.
    pub(super) fn open(data_dir: &Path) -> Result<Self, HistoryError> {
        let dir = data_dir.join("history");
        for tier in Tier::ALL {
            database::prepare_dir(&dir.join(tier.name()))?;
        }
        let servers = database::open(&dir.join("servers.db"))?;
        servers
            .execute_batch(
                "CREATE TABLE IF NOT EXISTS server (
                    id INTEGER PRIMARY KEY AUTOINCREMENT,
                    user TEXT NOT NULL,
                    server TEXT NOT NULL,
                    UNIQUE (user, server)
                )",
            )
            .map_err(HistoryError::sql("make the table of servers"))?;
        Ok(Self {
            dir,
            servers,
            ids: HashMap::new(),
            open: BTreeMap::new(),
            read_only: false,
        })
    }

    fn path(&self, tier: Tier, file_start_ms: i64) -> PathBuf {
        self.dir
            .join(tier.name())
            .join(format!("{}.db", date_of(file_start_ms)))
    }

    /// The file that `place` lies in; `None` if there is none and `make` is not set.
    fn file(&mut self, place: Place, make: bool) -> Result<Option<&mut OpenFile>, HistoryError> {
        let (tier, start_ms) = (place.tier, place.file_start_ms());
        let path = self.path(tier, start_ms);
        match self.open.entry((tier, start_ms)) {
            Entry::Occupied(open) => Ok(Some(open.into_mut())),
            Entry::Vacant(vacant) if self.read_only => {
                let opened = database::open_read_only(&path)?;
                Ok(opened.map(|connection| {
                    vacant.insert(OpenFile {
                        connection,
                        in_transaction: false,
                    })
                }))
            }
            Entry::Vacant(vacant) => {
                let there = path
                    .try_exists()
                    .map_err(HistoryError::file("look for", &path))?;
                if !there && !make {
                    return Ok(None);
                }
                let connection = database::open(&path)?;
                connection
                    .execute_batch(
                        "CREATE TABLE IF NOT EXISTS chunk (
                            place INTEGER PRIMARY KEY, -- server * 1024 + number within the file
                            body BLOB NOT NULL
                        )",
                    )
                    .map_err(HistoryError::sql("make a table of chunks"))?;
                Ok(Some(vacant.insert(OpenFile {
                    connection,
                    in_transaction: false,
                })))
            }
        }
    }
}

impl Store for Files {
    fn server(&mut self, key: &ServerKey) -> Result<Option<ServerId>, HistoryError> {
        if let Some(id) = self.ids.get(key) {
            return Ok(Some(*id));
        }
        let id = self
            .servers
            .prepare_cached("SELECT id FROM server WHERE user = ?1 AND server = ?2")
            .and_then(|mut select| {
                select
                    .query_row(params![&*key.user, &*key.server], |row| row.get(0))
                    .optional()
            })
            .map_err(HistoryError::sql("look up a server"))?;
        if let Some(id) = id
            && !self.read_only
        {
            self.ids.insert(key.clone(), id);
        }
        Ok(id)
    }

    fn number(&mut self, keys: &mut dyn Iterator<Item = &ServerKey>) -> Result<(), HistoryError> {
        let mut new = Vec::new();
        for key in keys {
            if self.server(key)?.is_none() {
                new.push(key.clone());
            }
        }
        if new.is_empty() {
            return Ok(());
        }
        let failed = HistoryError::sql("number servers");
        let tx = self.servers.transaction().map_err(&failed)?;
        let mut ids = Vec::with_capacity(new.len());
        for key in &new {
            let id = tx
                .prepare_cached("INSERT INTO server (user, server) VALUES (?1, ?2)")
                .and_then(|mut insert| insert.insert(params![&*key.user, &*key.server]))
                .map_err(&failed)?;
            ids.push(id);
        }
        tx.commit().map_err(&failed)?;
        self.ids.extend(new.into_iter().zip(ids));
        Ok(())
    }

    fn load(&mut self, place: Place) -> Result<Option<Vec<u8>>, HistoryError> {
        let Some(file) = self.file(place, false)? else {
            return Ok(None);
        };
        file.connection
            .prepare_cached("SELECT body FROM chunk WHERE place = ?1")
            .and_then(|mut select| select.query_row([place.row()], |row| row.get(0)).optional())
            .map_err(HistoryError::sql("read a chunk"))
    }

    fn load_span(&mut self, span: Span) -> Result<Vec<(i64, Vec<u8>)>, HistoryError> {
        self.span(span)
    }

    fn save(&mut self, place: Place, body: Vec<u8>) -> Result<(), HistoryError> {
        let Some(file) = self.file(place, true)? else {
            return Ok(()); // made when asked for
        };
        if !file.in_transaction {
            file.connection
                .execute_batch("BEGIN IMMEDIATE")
                .map_err(HistoryError::sql("begin to write chunks"))?;
            file.in_transaction = true;
        }
        file.connection
            .prepare_cached("INSERT OR REPLACE INTO chunk VALUES (?1, ?2)")
            .and_then(|mut insert| insert.execute(params![place.row(), body]))
            .map_err(HistoryError::sql("write a chunk"))?;
        Ok(())
    }

    fn commit(&mut self) -> Result<(), HistoryError> {
        for file in self.open.values_mut().filter(|file| file.in_transaction) {
            file.connection
                .execute_batch("COMMIT")
                .map_err(HistoryError::sql("commit chunks"))?;
            file.in_transaction = false;
        }
        Ok(())
    }

    fn rollback(&mut self) {
        // A connection that cannot even roll back is dropped, and its transaction with it.
        self.open.retain(|_, file| {
            !file.in_transaction || {
                file.in_transaction = false;
                file.connection.execute_batch("ROLLBACK").is_ok()
            }
        });
    }

    fn close(&mut self, tier: Tier, before_ms: i64) {
        self.open.retain(|(of, start_ms), _| {
            *of != tier || start_ms.saturating_add(tier.file_ms()) > before_ms
        });
    }

    fn sweep(&mut self, tier: Tier, before_ms: i64) -> Result<(), HistoryError> {
        self.close(tier, before_ms);
        let dir = self.dir.join(tier.name());
        let failed = HistoryError::file("list", &dir);
        let names = std::fs::read_dir(&dir)
            .and_then(Iterator::collect::<std::io::Result<Vec<_>>>)
            .map_err(failed)?;
        for entry in names {
            let name = entry.file_name();
            let Some(start_ms) = name.to_str().and_then(start_of) else {
                continue; // not ours
            };
            if start_ms.saturating_add(tier.file_ms()) > before_ms {
                continue;
            }
            let path = entry.path();
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(HistoryError::file("delete", &path)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The day a file begins, `2026-11-21`; a time outside the calendar counts as its nearest end.
fn date_of(start_ms: i64) -> String {
    let at = Timestamp::from_millisecond(start_ms).unwrap_or(if start_ms < 0 {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    });
    at.to_zoned(TimeZone::UTC).date().to_string()
}

/// The begin of a file of ours, of its log or of its index, by its name.
fn start_of(name: &str) -> Option<i64> {
    let (date, suffix) = name.split_once(".db")?;
    if !matches!(suffix, "" | "-wal" | "-shm") {
        return None;
    }
    let date: jiff::civil::Date = date.parse().ok()?;
    let since = date
        .to_zoned(TimeZone::UTC)
        .ok()?
        .timestamp()
        .duration_since(Timestamp::UNIX_EPOCH);
    i64::try_from(SignedDuration::as_millis(&since)).ok()
}

// === impl Memory ===

impl Store for Memory {
    fn server(&mut self, key: &ServerKey) -> Result<Option<ServerId>, HistoryError> {
        Ok(self.ids.get(key).copied())
    }

    fn number(&mut self, keys: &mut dyn Iterator<Item = &ServerKey>) -> Result<(), HistoryError> {
        for key in keys {
            let next = self.ids.len() as ServerId;
            self.ids.entry(key.clone()).or_insert(next);
        }
        Ok(())
    }

    fn load(&mut self, place: Place) -> Result<Option<Vec<u8>>, HistoryError> {
        let key = (place.tier, place.server, place.start_ms);
        Ok(self.chunks.get(&key).cloned())
    }

    fn save(&mut self, place: Place, body: Vec<u8>) -> Result<(), HistoryError> {
        self.chunks
            .insert((place.tier, place.server, place.start_ms), body);
        Ok(())
    }

    fn commit(&mut self) -> Result<(), HistoryError> {
        Ok(())
    }

    fn rollback(&mut self) {}

    fn close(&mut self, _tier: Tier, _before_ms: i64) {}

    fn sweep(&mut self, tier: Tier, before_ms: i64) -> Result<(), HistoryError> {
        self.chunks.retain(|(of, _, start_ms), _| {
            *of != tier || start_ms.saturating_add(tier.chunk_ms()) > before_ms
        });
        Ok(())
    }
}
