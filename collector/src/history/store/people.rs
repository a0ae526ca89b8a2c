//! Servers of users who are forgotten, deleted or renamed.
//!
//! Chunks know numbers, never names: a rename is one row. Who is forgotten leaves doomed numbers
//! behind, in the same transaction, so that their chunks are erased even after a crash.

use std::sync::Arc;

use rusqlite::params;

use super::{Files, Memory, ServerId, Store as _};
use crate::{
    database,
    fact::ServerKey,
    history::HistoryError,
    person::{Fate, Fates, Moved, PSEUDONYM_PREFIX, waiting},
};

/// Moves servers between users.
pub(in crate::history) trait People {
    /// Everybody there is history of.
    fn users(&mut self) -> Result<Vec<Arc<str>>, HistoryError>;
    /// How many servers the fates touch.
    fn count(&mut self, fates: &Fates) -> Result<u64, HistoryError>;
    /// Meets the fates in the table of servers; gives how many those touched.
    fn move_people(&mut self, fates: &Fates) -> Result<u64, HistoryError>;
    /// No longer believes what it knew of the servers that the fates touch.
    fn unlearn(&mut self, fates: &Fates);
    /// Servers whose users were forgotten and of whom something may be left.
    fn doomed(&mut self) -> Result<Vec<ServerId>, HistoryError>;
    /// Erases the chunks of doomed servers; gives how many.
    fn erase_doomed(&mut self) -> Result<u64, HistoryError>;
    /// Leaves no name on free pages or in logs.
    fn squeeze(&mut self) -> Result<(), HistoryError>;
}

/// Where doomed numbers are kept.
pub(super) const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS doomed (id INTEGER PRIMARY KEY)";

// === impl Files ===

impl People for Files {
    fn users(&mut self) -> Result<Vec<Arc<str>>, HistoryError> {
        let read = || -> rusqlite::Result<Vec<Arc<str>>> {
            self.servers
                .prepare_cached("SELECT DISTINCT user FROM server")?
                .query_map([], |row| Ok(row.get_ref(0)?.as_str()?.into()))?
                .collect()
        };
        read().map_err(HistoryError::sql("read whose servers there are"))
    }

    fn count(&mut self, fates: &Fates) -> Result<u64, HistoryError> {
        let count = || -> rusqlite::Result<u64> {
            let mut select = self
                .servers
                .prepare_cached("SELECT count(*) FROM server WHERE user = ?1")?;
            let counts = fates
                .iter()
                .map(|(user, _)| select.query_row([&**user], |row| row.get::<_, i64>(0)));
            counts.sum::<rusqlite::Result<i64>>().map(i64::unsigned_abs)
        };
        count().map_err(HistoryError::sql("count servers"))
    }

    fn move_people(&mut self, fates: &Fates) -> Result<u64, HistoryError> {
        let moved = move_servers(&mut self.servers, fates)
            .map_err(HistoryError::sql("move servers between users"))?;
        self.unlearn(fates);
        Ok(moved)
    }

    fn unlearn(&mut self, fates: &Fates) {
        let is_touched = |user: &str| {
            fates
                .iter()
                .any(|(from, fate)| **from == *user || fate.name().is_some_and(|to| **to == *user))
        };
        self.ids.retain(|key, _| !is_touched(&key.user));
    }

    fn doomed(&mut self) -> Result<Vec<ServerId>, HistoryError> {
        self.servers
            .prepare_cached("SELECT id FROM doomed")
            .and_then(|mut select| select.query_map([], |row| row.get(0))?.collect())
            .map_err(HistoryError::sql("read which servers are doomed"))
    }

    fn erase_doomed(&mut self) -> Result<u64, HistoryError> {
        let doomed = self.doomed()?;
        if doomed.is_empty() {
            return Ok(0);
        }
        let mut erased = 0;
        for server in doomed {
            erased += self.erase(server)?;
        }
        self.servers
            .execute_batch("DELETE FROM doomed")
            .map_err(HistoryError::sql("write down what was erased"))?;
        Ok(erased)
    }

    fn squeeze(&mut self) -> Result<(), HistoryError> {
        database::squeeze(&self.servers).map_err(HistoryError::sql("squeeze the table of servers"))
    }
}

fn move_servers(servers: &mut rusqlite::Connection, fates: &Fates) -> rusqlite::Result<u64> {
    servers.pragma_update(None, "secure_delete", "ON")?;
    let tx = servers.transaction()?;
    let mut moved = 0;
    // First all leave their names, then they take the new ones: names may change places.
    for (at, (user, fate)) in fates.iter().enumerate() {
        if *fate == Fate::Erased {
            tx.execute(
                "INSERT OR IGNORE INTO doomed SELECT id FROM server WHERE user = ?1",
                [&**user],
            )?;
            moved += tx.execute("DELETE FROM server WHERE user = ?1", [&**user])?;
        } else {
            moved += tx.execute(
                "UPDATE server SET user = ?2 WHERE user = ?1",
                params![&**user, waiting(at)],
            )?;
        }
    }
    for (at, (_, fate)) in fates.iter().enumerate() {
        let Some(name) = fate.name() else { continue };
        // Where the new name has such a server already, two histories would be one.
        tx.execute(
            "UPDATE server SET user = ?3 || lower(hex(randomblob(8)))
             WHERE user = ?1 AND server IN (SELECT server FROM server WHERE user = ?2)",
            params![waiting(at), &**name, PSEUDONYM_PREFIX],
        )?;
        tx.execute(
            "UPDATE server SET user = ?2 WHERE user = ?1",
            params![waiting(at), &**name],
        )?;
    }
    tx.commit()?;
    Ok(moved as u64)
}

// === impl Memory ===

impl People for Memory {
    fn users(&mut self) -> Result<Vec<Arc<str>>, HistoryError> {
        Ok(self.ids.keys().map(|key| key.user.clone()).collect())
    }

    fn count(&mut self, fates: &Fates) -> Result<u64, HistoryError> {
        let touched = |key: &&ServerKey| fates.moved(key) != Moved::Stays;
        Ok(self.ids.keys().filter(touched).count() as u64)
    }

    fn move_people(&mut self, fates: &Fates) -> Result<u64, HistoryError> {
        let touched: Vec<_> = self
            .ids
            .extract_if(|key, _| fates.moved(key) != Moved::Stays)
            .collect();
        let moved = touched.len() as u64;
        for (key, id) in touched {
            match fates.moved(&key) {
                Moved::To(to) => {
                    self.ids.insert(to, id);
                }
                Moved::Gone | Moved::Stays => {
                    self.erase(id)?;
                }
            }
        }
        Ok(moved)
    }

    fn unlearn(&mut self, _fates: &Fates) {}

    fn doomed(&mut self) -> Result<Vec<ServerId>, HistoryError> {
        Ok(Vec::new())
    }

    fn erase_doomed(&mut self) -> Result<u64, HistoryError> {
        Ok(0)
    }

    fn squeeze(&mut self) -> Result<(), HistoryError> {
        Ok(())
    }
}
