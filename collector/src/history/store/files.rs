//! Chunks in SQLite files.
//!
//! `history/tail.db` has the pieces of open chunks, `history/TIER/DATE.db` the closed ones, in the
//! order of their time: what is closed together lies together, pages fill up and are not written
//! again. File names are dates and directories are constants.

use std::{
    collections::{BTreeMap, HashMap, btree_map::Entry},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, OptionalExtension as _, params};

use super::{
    Place, ServerId, Store, Stored,
    file::OpenFile,
    name::{date_of, start_of},
    people,
    tail::Tail,
};
use crate::{
    database::{self, DatabaseError},
    fact::ServerKey,
    history::{HistoryError, space::Bounds, tier::Tier},
};

/// What the files of a data directory look like. Version 1 had no number of its own: chunks of ten
/// minutes, written again and again, in a table that is read and no longer written. Version 2 had
/// chunks of the second format, which are read.
pub(super) const VERSION: u32 = 3;

/// Files of chunks.
pub(in crate::history) struct Files {
    pub(super) dir: PathBuf,
    pub(super) servers: Connection,
    pub(super) ids: HashMap<ServerKey, ServerId>,
    pub(super) tail: Tail,
    pub(super) open: BTreeMap<(Tier, i64), OpenFile>,
    /// Nothing is made and nothing written, nor is a server's number kept in mind.
    pub(super) read_only: bool,
}

// === impl Files ===

impl Files {
    /// Opens `history/` in `data_dir`, making it if need be.
    pub(in crate::history) fn open(data_dir: &Path) -> Result<Self, HistoryError> {
        let dir = data_dir.join("history");
        for tier in Tier::ALL {
            database::prepare_dir(&dir.join(tier.name()))?;
        }
        let path = dir.join("servers.db");
        let servers = database::open_checked(&path)?;
        database::check_version(&servers, &path, VERSION)?;
        servers
            .execute_batch(
                "CREATE TABLE IF NOT EXISTS server (
                    id INTEGER PRIMARY KEY AUTOINCREMENT,
                    user TEXT NOT NULL,
                    server TEXT NOT NULL,
                    UNIQUE (user, server)
                )",
            )
            .and_then(|()| servers.execute_batch(people::SCHEMA))
            .map_err(HistoryError::sql("make the table of servers"))?;
        Ok(Self {
            tail: Tail::open(&dir.join("tail.db"), VERSION)?,
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
                let opened = match OpenFile::open_read_only(&path) {
                    Err(HistoryError::Database(e @ DatabaseError::Damaged { .. })) => {
                        tracing::error!(error = %e, "a file of history cannot be read");
                        None
                    }
                    opened => opened?,
                };
                Ok(opened.map(|file| vacant.insert(file)))
            }
            Entry::Vacant(vacant) => {
                let there = path
                    .try_exists()
                    .map_err(HistoryError::file("look for", &path))?;
                if !there && !make {
                    return Ok(None);
                }
                let file = match OpenFile::open(&path) {
                    Err(HistoryError::Database(DatabaseError::Damaged { .. })) if make => {
                        database::set_aside(&path)?;
                        OpenFile::open(&path)?
                    }
                    Err(e @ HistoryError::Database(DatabaseError::Damaged { .. })) => {
                        tracing::error!(error = %e, "a file of history cannot be read");
                        return Ok(None);
                    }
                    opened => opened?,
                };
                Ok(Some(vacant.insert(file)))
            }
        }
    }

    /// Sets a file aside that cannot be written because it is damaged: the next try makes a new one.
    fn give_up_if_damaged(
        &mut self,
        key: (Tier, i64),
        error: &rusqlite::Error,
    ) -> Result<(), HistoryError> {
        if database::is_damage(error) {
            self.open.remove(&key);
            database::set_aside(&self.path(key.0, key.1))?;
        }
        Ok(())
    }

    /// Files of `tier`, their logs and indexes, with the begin of their time.
    pub(super) fn list(&self, tier: Tier) -> Result<Vec<(i64, PathBuf)>, HistoryError> {
        let dir = self.dir.join(tier.name());
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&dir).map_err(HistoryError::file("list", &dir))? {
            let entry = entry.map_err(HistoryError::file("list", &dir))?;
            let name = entry.file_name();
            if let Some(start_ms) = name.to_str().and_then(start_of) {
                found.push((start_ms, entry.path()));
            } // else not ours
        }
        Ok(found)
    }

    /// Bytes that all files take on the disk.
    fn bytes(&self) -> Result<u64, HistoryError> {
        let mut paths = Vec::new();
        for tier in Tier::ALL {
            paths.extend(self.list(tier)?.into_iter().map(|(_, path)| path));
        }
        let own = ["tail.db", "tail.db-wal", "servers.db", "servers.db-wal"];
        paths.extend(own.map(|name| self.dir.join(name)));
        let bytes = |path: PathBuf| match std::fs::metadata(&path) {
            Ok(file) => Ok(file.blocks() * 512),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(HistoryError::file("measure", &path)(error)),
        };
        paths.into_iter().map(bytes).sum()
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

    fn closed(&mut self, place: Place) -> Result<Vec<Stored>, HistoryError> {
        let mut closed = Vec::new();
        if let Some(file) = self.file(place, false)? {
            match file.load(place, &mut closed) {
                Err(e) if database::is_damage(&e) => {
                    let file = self.path(place.tier, place.file_start_ms());
                    tracing::error!(error = %e, file = %file.display(), "a chunk of history is lost");
                }
                found => found.map_err(HistoryError::sql("read a chunk"))?,
            }
        }
        Ok(closed)
    }

    fn load(&mut self, place: Place) -> Result<Vec<Stored>, HistoryError> {
        // Pieces first: another connection that closes the chunk meanwhile has it in its file
        // before the pieces go.
        let pieces = self.tail.load(place)?;
        let mut all = self.closed(place)?;
        all.extend(pieces);
        Ok(all)
    }

    fn append(&mut self, place: Place, body: Vec<u8>) -> Result<(), HistoryError> {
        self.tail.append(place, &body)
    }

    fn close(&mut self, place: Place, body: Vec<u8>) -> Result<(), HistoryError> {
        if let Some(file) = self.file(place, true)? {
            let written = file.begin().and_then(|()| file.close(place, &body));
            if let Err(e) = written {
                self.give_up_if_damaged((place.tier, place.file_start_ms()), &e)?;
                return Err(HistoryError::sql("write a chunk")(e));
            }
        } // made when asked for
        self.tail.delete(place)
    }

    fn open_chunks(&mut self, tier: Tier) -> Result<Vec<i64>, HistoryError> {
        self.tail.open_chunks(tier)
    }

    fn due(&mut self, tier: Tier, before_ms: i64, max: usize) -> Result<Vec<Place>, HistoryError> {
        self.tail.due(tier, before_ms, max)
    }

    fn commit(&mut self) -> Result<(), HistoryError> {
        let mut failed = None;
        for (key, file) in self.open.iter_mut().filter(|(_, file)| file.in_transaction) {
            if let Err(e) = file.connection.execute_batch("COMMIT") {
                failed = Some((*key, e));
                break;
            }
            file.in_transaction = false;
        }
        match failed {
            None => self.tail.commit(),
            Some((key, e)) => {
                self.give_up_if_damaged(key, &e)?;
                Err(HistoryError::sql("commit chunks")(e))
            }
        }
    }

    fn rollback(&mut self) {
        // A connection that cannot even roll back is dropped, and its transaction with it. One whose
        // commit failed has often done so by itself; it is kept, since a new one would take what
        // may not have reached the disk for committed, and build on it.
        self.open.retain(|_, file| {
            !file.in_transaction || {
                file.in_transaction = false;
                file.connection.is_autocommit() || file.connection.execute_batch("ROLLBACK").is_ok()
            }
        });
        self.tail.rollback();
    }

    fn release(&mut self, tier: Tier, before_ms: i64) {
        self.open.retain(|(of, start_ms), _| {
            *of != tier || start_ms.saturating_add(tier.file_ms()) > before_ms
        });
    }

    fn sweep(&mut self, tier: Tier, before_ms: i64) -> Result<usize, HistoryError> {
        self.release(tier, before_ms);
        self.tail.sweep(tier, before_ms)?;
        let mut files = 0;
        for (start_ms, path) in self.list(tier)? {
            if start_ms.saturating_add(tier.file_ms()) > before_ms {
                continue;
            }
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(HistoryError::file("delete", &path)(error));
                }
                _ => files += usize::from(path.extension().is_some_and(|ext| ext == "db")),
            }
        }
        Ok(files)
    }

    fn oldest_end_ms(&mut self, tier: Tier, before_ms: i64) -> Result<Option<i64>, HistoryError> {
        let ends = self.list(tier)?.into_iter();
        let ends = ends.map(|(start_ms, _)| start_ms.saturating_add(tier.file_ms()));
        Ok(ends.filter(|end_ms| *end_ms <= before_ms).min())
    }

    fn is_pressed(&mut self, bounds: &Bounds) -> Result<bool, HistoryError> {
        let failed = HistoryError::file("look at the space of", &self.dir);
        let space = rustix::fs::statvfs(&self.dir).map_err(|errno| failed(errno.into()))?;
        let free_bytes = space.f_bavail.saturating_mul(space.f_frsize);
        let all_bytes = space.f_blocks.saturating_mul(space.f_frsize);
        let bytes = match bounds.bytes_max {
            Some(_) => self.bytes()?,
            None => 0,
        };
        Ok(bounds.are_passed(bytes, free_bytes, all_bytes))
    }

    fn erase(&mut self, server: ServerId) -> Result<u64, HistoryError> {
        let mut erased = self.tail.erase(server)?;
        for tier in Tier::ALL {
            for (start_ms, path) in self.list(tier)? {
                if path.extension().is_none_or(|extension| extension != "db") {
                    continue; // a log, emptied with its file
                }
                let place = Place {
                    tier,
                    start_ms,
                    server,
                };
                if let Some(file) = self.file(place, false)? {
                    erased += file
                        .erase(server)
                        .map_err(HistoryError::sql("erase a server's chunks"))?;
                }
            }
        }
        Ok(erased)
    }
}
