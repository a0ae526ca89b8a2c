//! Small state that must survive a restart: `state.db`.
//!
//! Tokens (as SHA-256 only), verdict episodes, notices to be delivered and what people say about
//! them, since when servers are idle, holds and warnings, what was done to whom, how many people were
//! active, who is who and what becomes of whom. One connection behind a
//! lock, every commit on the disk before the call returns; calls
//! take a fraction of a millisecond of work and one write to the disk, so an asynchronous caller
//! makes them on a blocking thread. Clones share the connection.

mod activity;
mod answer;
mod audit;
mod episode;
mod idle;
mod message;
mod outbox;
mod person;
mod promise;
mod token;

use std::{path::Path, sync::Arc};

use parking_lot::Mutex;
use rusqlite::Connection;

use crate::database::{self, DatabaseError};

pub use activity::read_activity;
pub(crate) use answer::SERVICE_PREFIX;
pub use answer::{Audience, Mute, Said};
pub use audit::{Act, Deed, NewDeed};
pub(crate) use message::MESSAGE_PREFIX;
pub use message::Message;
pub use outbox::{DueNotice, NewNotice, ToldNotice};
pub use person::{Forgotten, StateRows, Unfinished};
pub use promise::HoldAsked;

/// What each schema version adds to the one before; the position is the version. Never edit a
/// step that was released: add one.
const MIGRATIONS: [&str; 7] = [
    "
    CREATE TABLE token (
        sha256 BLOB PRIMARY KEY CHECK (length(sha256) = 32),
        user TEXT NOT NULL,
        server TEXT NOT NULL,
        verified_ms INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE episode (
        episode TEXT PRIMARY KEY,
        rule TEXT NOT NULL,
        user TEXT NOT NULL,
        server TEXT NOT NULL,
        workload_id TEXT,
        workload_title TEXT,
        severity TEXT NOT NULL,
        since_ms INTEGER NOT NULL,
        updated_ms INTEGER NOT NULL,
        cleared_ms INTEGER,
        evidence TEXT NOT NULL,
        clears_when TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX episode_cleared ON episode (cleared_ms);
    CREATE TABLE notice (
        id INTEGER PRIMARY KEY,
        episode TEXT NOT NULL,
        channel TEXT NOT NULL,
        phase TEXT NOT NULL,
        user TEXT NOT NULL,
        queued_ms INTEGER NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0,
        next_ms INTEGER,            -- NULL when it is settled
        sent_ms INTEGER,
        outcome TEXT,
        UNIQUE (episode, channel, phase)
    );
    CREATE INDEX notice_next ON notice (next_ms) WHERE next_ms IS NOT NULL;
    CREATE INDEX notice_sent ON notice (channel, sent_ms) WHERE sent_ms IS NOT NULL;
    CREATE TABLE idle_mark (
        user TEXT NOT NULL,
        server TEXT NOT NULL,
        idle_since_ms INTEGER NOT NULL,
        PRIMARY KEY (user, server)
    ) WITHOUT ROWID;
",
    "
    CREATE TABLE hub_activity (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        counted_ms INTEGER NOT NULL,
        daily INTEGER NOT NULL,
        weekly INTEGER NOT NULL,
        monthly INTEGER NOT NULL,
        cluster TEXT NOT NULL,
        hub TEXT NOT NULL,
        chart TEXT NOT NULL
    );
    ",
    "
    CREATE TABLE person (
        user TEXT PRIMARY KEY,
        created_us INTEGER,         -- by the hub, with the name it says who it is
        missing INTEGER NOT NULL    -- lists of the hub in a row that lacked it; -1: a pseudonym
    ) WITHOUT ROWID;
    CREATE INDEX person_created ON person (created_us);
    CREATE TABLE fate (
        id INTEGER PRIMARY KEY,
        what TEXT NOT NULL,
        asked_ms INTEGER NOT NULL,
        asked_by TEXT NOT NULL,
        user TEXT,                  -- NULL once nothing of it is left
        to_user TEXT,
        done_ms INTEGER,
        rows INTEGER NOT NULL DEFAULT 0
    );
    CREATE INDEX fate_undone ON fate (id) WHERE done_ms IS NULL;
    CREATE INDEX episode_user ON episode (user);
    CREATE INDEX notice_user ON notice (user);
    CREATE INDEX token_user ON token (user);
    CREATE TABLE backup (
        dir TEXT PRIMARY KEY,
        made_ms INTEGER NOT NULL
    ) WITHOUT ROWID;
",
    "
    CREATE TABLE hold (
        user TEXT NOT NULL,
        server TEXT NOT NULL,
        until_ms INTEGER NOT NULL,
        PRIMARY KEY (user, server)
    ) WITHOUT ROWID;
    CREATE TABLE hold_log (
        id INTEGER PRIMARY KEY,
        at_ms INTEGER NOT NULL,
        user TEXT NOT NULL,
        server TEXT NOT NULL,
        until_ms INTEGER,           -- NULL: the hold was ended
        asked_by TEXT NOT NULL
    );
    CREATE INDEX hold_log_user ON hold_log (user, at_ms);
    CREATE TABLE warning (
        user TEXT NOT NULL,
        server TEXT NOT NULL,
        about TEXT NOT NULL,        -- what it is to be stopped for,
        number INTEGER NOT NULL,    -- and since when, or beyond which age
        episode TEXT NOT NULL,
        stage TEXT NOT NULL,
        told_ms INTEGER NOT NULL,
        delivered_ms INTEGER,
        unreachable INTEGER NOT NULL,
        PRIMARY KEY (user, server)
    ) WITHOUT ROWID;
",
    outbox::MIGRATION,
    answer::MIGRATION,
    audit::MIGRATION,
];

/// Who wrote what to whom may be asked for longer than all else: a year.
const MESSAGES_KEPT_LONGER_MS: i64 = 335 * 24 * 60 * 60 * 1000;

/// Handle on `state.db`.
#[derive(Clone)]
pub struct Registry {
    connection: Arc<Mutex<Connection>>,
}

/// Why small state could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The file could not be opened.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// A newer program has written it.
    #[error("state.db has schema {found}, this program knows up to {known}; start the newer one")]
    Newer {
        /// What the file says.
        found: usize,
        /// What we know.
        known: usize,
    },
    /// SQLite refused a statement.
    #[error("cannot {what} in state.db")]
    Sql {
        /// What was tried.
        what: &'static str,
        /// What SQLite says.
        source: rusqlite::Error,
    },
}

// === impl Registry ===

impl Registry {
    /// Opens `state.db` in `data_dir`, making both if need be, and brings its schema up to date.
    pub fn open(data_dir: &Path) -> Result<Self, RegistryError> {
        database::prepare_dir(data_dir)?;
        let mut connection = database::open_checked(&data_dir.join("state.db"))?;
        // What is deleted here named somebody.
        connection
            .pragma_update(None, "secure_delete", "ON")
            .map_err(|source| RegistryError::Sql {
                what: "turn on secure deletion",
                source,
            })?;
        migrate(&mut connection, &MIGRATIONS)?;
        Ok(Self {
            connection: Arc::new(Mutex::new(connection)),
        })
    }

    /// Forgets tokens not verified, verdicts cleared, notices settled, holds and warnings over, and
    /// what was done before `before_ms`.
    pub fn prune(&self, before_ms: i64) -> Result<(), RegistryError> {
        self.transact("prune", |tx| {
            tx.execute("DELETE FROM token WHERE verified_ms < ?1", [before_ms])?;
            tx.execute("DELETE FROM episode WHERE cleared_ms < ?1", [before_ms])?;
            tx.execute(
                "DELETE FROM notice WHERE next_ms IS NULL AND queued_ms < ?1",
                [before_ms],
            )?;
            tx.execute("DELETE FROM ack WHERE acked_ms < ?1", [before_ms])?;
            tx.execute("DELETE FROM mute WHERE until_ms < ?1", [before_ms])?;
            tx.execute(
                "DELETE FROM message WHERE written_ms < ?1",
                [before_ms - MESSAGES_KEPT_LONGER_MS],
            )?;
            tx.execute("DELETE FROM hold WHERE until_ms < ?1", [before_ms])?;
            tx.execute("DELETE FROM hold_log WHERE at_ms < ?1", [before_ms])?;
            tx.execute("DELETE FROM warning WHERE told_ms < ?1", [before_ms])?;
            tx.execute("DELETE FROM deed WHERE at_ms < ?1", [before_ms])?;
            Ok(())
        })
    }

    fn with<T>(
        &self,
        what: &'static str,
        run: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, RegistryError> {
        run(&self.connection.lock()).map_err(|source| RegistryError::Sql { what, source })
    }

    fn transact<T>(
        &self,
        what: &'static str,
        run: impl FnOnce(&rusqlite::Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, RegistryError> {
        let mut connection = self.connection.lock();
        let run = || {
            let tx = connection.transaction()?;
            let result = run(&tx)?;
            tx.commit()?;
            Ok(result)
        };
        run().map_err(|source| RegistryError::Sql { what, source })
    }
}

fn migrate(connection: &mut Connection, steps: &[&str]) -> Result<(), RegistryError> {
    let sql = |source| RegistryError::Sql {
        what: "update the schema",
        source,
    };
    let tx = connection.transaction().map_err(sql)?;
    tx.execute_batch("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)")
        .map_err(sql)?;
    let found: usize = tx
        .query_row(
            "SELECT coalesce(max(version), 0) FROM schema_version",
            [],
            |row| row.get::<_, u32>(0),
        )
        .map_err(sql)? as usize;
    if found > steps.len() {
        return Err(RegistryError::Newer {
            found,
            known: steps.len(),
        });
    }
    for (at, step) in steps.iter().enumerate().skip(found) {
        tx.execute_batch(step).map_err(sql)?;
        tx.execute("INSERT INTO schema_version VALUES (?1)", [at as i64 + 1])
            .map_err(sql)?;
    }
    tx.commit().map_err(sql)
}

#[cfg(test)]
mod tests;
