//! Since when servers are idle, so that a restart does not make them young again.

use rusqlite::params;

use super::{Registry, RegistryError};
use crate::fact::ServerKey;

impl Registry {
    /// Keeps since when each server is idle; `None` takes the mark away. All or nothing.
    pub fn mark_idle(&self, marks: &[(ServerKey, Option<i64>)]) -> Result<(), RegistryError> {
        if marks.is_empty() {
            return Ok(());
        }
        self.transact("mark idle servers", |tx| {
            let mut put =
                tx.prepare_cached("INSERT OR REPLACE INTO idle_mark VALUES (?1, ?2, ?3)")?;
            let mut take =
                tx.prepare_cached("DELETE FROM idle_mark WHERE user = ?1 AND server = ?2")?;
            for (key, since_ms) in marks {
                match since_ms {
                    Some(since_ms) => put.execute(params![&*key.user, &*key.server, since_ms])?,
                    None => take.execute(params![&*key.user, &*key.server])?,
                };
            }
            Ok(())
        })
    }

    /// Every mark, by user and server.
    pub fn idle_marks(&self) -> Result<Vec<(ServerKey, i64)>, RegistryError> {
        self.with("read idle marks", |db| {
            db.prepare_cached("SELECT user, server, idle_since_ms FROM idle_mark")?
                .query_map([], |row| {
                    let key = ServerKey::new(row.get_ref(0)?.as_str()?, row.get_ref(1)?.as_str()?);
                    Ok((key, row.get(2)?))
                })?
                .collect()
        })
    }
}
