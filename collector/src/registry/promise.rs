//! What people were promised: holds, with a log of who asked for them, and warnings that were told.

use rusqlite::{OptionalExtension as _, Row, params};

use super::{Registry, RegistryError};
use crate::{
    fact::ServerKey,
    limits,
    warning::{About, Stage, Warned},
};

const HOUR_MS: i64 = 60 * 60 * 1000;

/// Who asked for which hold, when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldAsked {
    /// When it was asked.
    pub at_ms: i64,
    /// For which server.
    pub key: ServerKey,
    /// Until when; `None` ended it.
    pub until_ms: Option<i64>,
    /// Who: a user's name, or a service's behind its prefix; empty where they were forgotten.
    pub asked_by: String,
}

// === impl Registry ===

impl Registry {
    /// Keeps or ends a hold, and who asked for it. False when this user's holds were changed too
    /// often lately: nothing is changed then.
    pub fn put_hold(
        &self,
        key: &ServerKey,
        until_ms: Option<i64>,
        asked_by: &str,
        now_ms: i64,
    ) -> Result<bool, RegistryError> {
        self.transact("keep a hold", |tx| {
            let (user, server) = (&*key.user, &*key.server);
            let before: Option<i64> = tx
                .prepare_cached("SELECT until_ms FROM hold WHERE user = ?1 AND server = ?2")?
                .query_row([user, server], |row| row.get(0))
                .optional()?;
            if before == until_ms {
                return Ok(true);
            }
            let lately: u32 = tx
                .prepare_cached("SELECT count(*) FROM hold_log WHERE user = ?1 AND at_ms > ?2")?
                .query_row(params![user, now_ms - HOUR_MS], |row| row.get(0))?;
            if lately >= limits::HOLD_CHANGES_PER_HOUR_MAX {
                return Ok(false);
            }
            match until_ms {
                Some(until_ms) => tx
                    .prepare_cached("INSERT OR REPLACE INTO hold VALUES (?1, ?2, ?3)")?
                    .execute(params![user, server, until_ms])?,
                None => tx
                    .prepare_cached("DELETE FROM hold WHERE user = ?1 AND server = ?2")?
                    .execute([user, server])?,
            };
            tx.prepare_cached(
                "INSERT INTO hold_log (at_ms, user, server, until_ms, asked_by)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![now_ms, user, server, until_ms, asked_by])?;
            Ok(true)
        })
    }

    /// Every hold that lasts beyond `now_ms`.
    pub fn holds(&self, now_ms: i64) -> Result<Vec<(ServerKey, i64)>, RegistryError> {
        self.with("read holds", |db| {
            db.prepare_cached("SELECT user, server, until_ms FROM hold WHERE until_ms > ?1")?
                .query_map([now_ms], |row| Ok((key_of(row)?, row.get(2)?)))?
                .collect()
        })
    }

    /// Who asked for which holds, the newest first.
    pub fn holds_asked(&self, limit: u32) -> Result<Vec<HoldAsked>, RegistryError> {
        self.with("read who asked for holds", |db| {
            db.prepare_cached(
                "SELECT user, server, at_ms, until_ms, asked_by FROM hold_log
                 ORDER BY id DESC LIMIT ?1",
            )?
            .query_map([limit], |row| {
                Ok(HoldAsked {
                    key: key_of(row)?,
                    at_ms: row.get(2)?,
                    until_ms: row.get(3)?,
                    asked_by: row.get(4)?,
                })
            })?
            .collect()
        })
    }

    /// Keeps what was told of the end of servers; `None`: nothing any more. All or nothing.
    pub fn put_warned(&self, warned: &[(ServerKey, Option<Warned>)]) -> Result<(), RegistryError> {
        self.transact("keep what was warned of", |tx| {
            let mut put = tx.prepare_cached(
                "INSERT OR REPLACE INTO warning VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?;
            let mut take =
                tx.prepare_cached("DELETE FROM warning WHERE user = ?1 AND server = ?2")?;
            for (key, warned) in warned {
                let Some(warned) = warned else {
                    take.execute([&*key.user, &*key.server])?;
                    continue;
                };
                let (about, number) = warned.about.parts();
                put.execute(params![
                    &*key.user,
                    &*key.server,
                    about,
                    number,
                    warned.episode,
                    warned.stage.as_str(),
                    warned.told_ms,
                    warned.delivered_ms,
                    warned.unreachable,
                ])?;
            }
            Ok(())
        })
    }

    /// Everything that was told and not taken back.
    pub fn warned(&self) -> Result<Vec<(ServerKey, Warned)>, RegistryError> {
        self.with("read what was warned of", |db| {
            db.prepare_cached(
                "SELECT user, server, about, number, episode, stage, told_ms, delivered_ms,
                        unreachable FROM warning",
            )?
            .query_map([], warned_of)?
            .filter_map(Result::transpose)
            .collect()
        })
    }
}

/// `None` for a word that this version does not know.
fn warned_of(row: &Row<'_>) -> rusqlite::Result<Option<(ServerKey, Warned)>> {
    let about = About::of(row.get_ref(2)?.as_str()?, row.get(3)?);
    let stage = Stage::of(row.get_ref(5)?.as_str()?);
    let (Some(about), Some(stage)) = (about, stage) else {
        return Ok(None);
    };
    let warned = Warned {
        about,
        episode: row.get(4)?,
        stage,
        told_ms: row.get(6)?,
        delivered_ms: row.get(7)?,
        unreachable: row.get(8)?,
        page_ms: None,
        said_ms: None,
    };
    Ok(Some((key_of(row)?, warned)))
}

fn key_of(row: &Row<'_>) -> rusqlite::Result<ServerKey> {
    Ok(ServerKey::new(
        row.get_ref(0)?.as_str()?,
        row.get_ref(1)?.as_str()?,
    ))
}

#[cfg(test)]
mod tests;
