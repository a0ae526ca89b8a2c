//! Who is who, what is to become of whom, and who was forgotten when.
//!
//! A fate is written down before it is met, and its names are taken out once it is: a crash in
//! between is made good at the next start. What stays is when, by whom asked, and how many rows.

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use super::{Registry, RegistryError, SERVICE_PREFIX};
use crate::person::{Fate, Fates, PSEUDONYM_PREFIX, Person, waiting};

/// Rows about people in `state.db`, by table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateRows {
    /// Verified tokens.
    pub tokens: u64,
    /// Verdict episodes.
    pub episodes: u64,
    /// Notices, sent or not.
    pub notices: u64,
    /// Since when servers are idle.
    pub idle_marks: u64,
    /// Holds, who asked for them, warnings, and what was done to them.
    pub promises: u64,
}

/// Fates that were begun and not finished.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unfinished {
    /// Their rows.
    pub ids: Vec<i64>,
    /// Those of them that were met everywhere: files are left to be tidied.
    pub met: Vec<i64>,
    /// Those whose names are still written down: to be met again.
    pub fates: Fates,
}

/// A user who was forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forgotten {
    /// When it was asked.
    pub asked_ms: i64,
    /// By whom: a uid.
    pub asked_by: String,
    /// When nothing was left; `None` while it goes on.
    pub done_ms: Option<i64>,
    /// Rows that were erased.
    pub rows: u64,
}

/// Channels by which users get mail.
const USER_CHANNELS: [&str; 3] = ["user-mail", "warning-mail", "message-mail"];

/// Tables with a column `user`.
const TABLES: [&str; 12] = [
    "token",
    "episode",
    "notice",
    "idle_mark",
    "person",
    "ack",
    "mute",
    "message",
    "hold",
    "hold_log",
    "warning",
    "deed",
];

/// Columns that name who acted for somebody else, beside [`TABLES`].
const ACTED: [(&str, &str); 3] = [
    ("hold_log", "asked_by"),
    ("mute", "muted_by"),
    ("deed", "done_by"),
];

// === impl Registry ===

impl Registry {
    /// Everybody something is kept of here, and who that is.
    pub fn people(&self) -> Result<Vec<Person>, RegistryError> {
        self.with("read who is who", |db| {
            db.prepare_cached(
                "SELECT user, max(created_us), max(missing) FROM (
                    SELECT user, created_us, missing FROM person
                    UNION ALL SELECT user, NULL, NULL FROM token
                    UNION ALL SELECT user, NULL, NULL FROM episode
                    UNION ALL SELECT user, NULL, NULL FROM notice
                    UNION ALL SELECT user, NULL, NULL FROM idle_mark
                    UNION ALL SELECT user, NULL, NULL FROM ack WHERE user NOT LIKE ?1
                    UNION ALL SELECT user, NULL, NULL FROM mute
                    UNION ALL SELECT user, NULL, NULL FROM message WHERE user NOT LIKE ?1
                    UNION ALL SELECT user, NULL, NULL FROM hold
                    UNION ALL SELECT user, NULL, NULL FROM hold_log
                    UNION ALL SELECT user, NULL, NULL FROM warning
                    UNION ALL SELECT user, NULL, NULL FROM deed
                    UNION ALL SELECT asked_by, NULL, NULL FROM hold_log
                    WHERE asked_by <> '' AND asked_by NOT LIKE ?1
                    UNION ALL SELECT muted_by, NULL, NULL FROM mute
                    WHERE muted_by <> '' AND muted_by NOT LIKE ?1
                    UNION ALL SELECT done_by, NULL, NULL FROM deed
                    WHERE done_by <> '' AND done_by NOT LIKE ?1
                 ) GROUP BY user",
            )?
            .query_map([format!("{SERVICE_PREFIX}%")], |row| {
                Ok(Person {
                    user: row.get_ref(0)?.as_str()?.into(),
                    created_us: row.get(1)?,
                    missing: row.get::<_, Option<i64>>(2)?.unwrap_or(0),
                })
            })?
            .collect()
        })
    }

    /// Who is known under this name.
    pub fn person(&self, user: &str) -> Result<Option<Person>, RegistryError> {
        self.with("look up who is who", |db| {
            db.prepare_cached("SELECT created_us, missing FROM person WHERE user = ?1")?
                .query_row([user], |row| {
                    Ok(Person {
                        user: user.into(),
                        created_us: row.get(0)?,
                        missing: row.get(1)?,
                    })
                })
                .optional()
        })
    }

    /// Whether somebody of another name than `user` was made at this very time.
    pub fn made_at(&self, created_us: i64, user: &str) -> Result<bool, RegistryError> {
        self.with("look up who was made when", |db| {
            db.prepare_cached("SELECT 1 FROM person WHERE created_us = ?1 AND user <> ?2")?
                .exists(params![created_us, user])
        })
    }

    /// Keeps who is who.
    pub fn put_people(&self, people: &[Person]) -> Result<(), RegistryError> {
        self.transact("keep who is who", |tx| {
            let mut put = tx.prepare_cached("INSERT OR REPLACE INTO person VALUES (?1, ?2, ?3)")?;
            for person in people {
                put.execute(params![&*person.user, person.created_us, person.missing])?;
            }
            Ok(())
        })
    }

    /// What is kept of `user` here.
    pub fn count_of(&self, user: &str) -> Result<StateRows, RegistryError> {
        self.with("count what is kept of a user", |db| {
            let count = |table: &str| count(db, table, user);
            Ok(StateRows {
                tokens: count("token")?,
                episodes: count("episode")?,
                notices: count("notice")?,
                idle_marks: count("idle_mark")?,
                promises: count("hold")? + count("hold_log")? + count("warning")? + count("deed")?,
            })
        })
    }

    /// Whether a row about `user` is left here.
    pub fn knows(&self, user: &str) -> Result<bool, RegistryError> {
        self.with("look for a user", |db| {
            for table in TABLES {
                if count(db, table, user)? > 0 {
                    return Ok(true);
                }
            }
            for (table, by) in ACTED {
                let any = format!("SELECT 1 FROM {table} WHERE {by} = ?1");
                if db.prepare_cached(&any)?.exists([user])? {
                    return Ok(true);
                }
            }
            Ok(false)
        })
    }

    /// Meets `fates` here.
    pub fn move_people(&self, fates: &Fates) -> Result<StateRows, RegistryError> {
        self.transact("move what is kept of users", |tx| move_people(tx, fates))
    }

    /// Notebooks' names in verdicts last touched before `before_ms` give way to ids.
    pub fn drop_titles(&self, before_ms: i64) -> Result<u64, RegistryError> {
        self.with("take out names of notebooks", |db| {
            let rows = db
                .prepare_cached(
                    "UPDATE episode SET workload_title = workload_id
                     WHERE cleared_ms < ?1 AND workload_title <> workload_id",
                )?
                .execute([before_ms])?;
            Ok(rows as u64)
        })
    }

    // === fates ===

    /// Writes down what is to become of whom; gives the rows' numbers.
    pub fn begin_fates(
        &self,
        fates: &Fates,
        asked_by: &str,
        now_ms: i64,
    ) -> Result<Vec<i64>, RegistryError> {
        self.transact("write down what is to be done", |tx| {
            let mut insert = tx.prepare_cached(
                "INSERT INTO fate (what, asked_ms, asked_by, user, to_user)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )?;
            let mut ids = Vec::new();
            for (user, fate) in fates.iter() {
                // One that failed before is met by this one: the name may be somebody else's by
                // the next start.
                tx.prepare_cached("DELETE FROM fate WHERE user = ?1 AND done_ms IS NULL")?
                    .execute([&**user])?;
                let to = fate.name().map(|name| &**name);
                ids.push(insert.insert(params![fate.as_str(), now_ms, asked_by, &**user, to])?);
            }
            Ok(ids)
        })
    }

    /// What a crash left half done.
    pub fn unfinished_fates(&self) -> Result<Unfinished, RegistryError> {
        self.with("read what is to be done", |db| {
            let mut unfinished = Unfinished::default();
            let mut select = db.prepare_cached(
                "SELECT id, what, user, to_user FROM fate WHERE done_ms IS NULL ORDER BY id",
            )?;
            let mut rows = select.query([])?;
            while let Some(row) = rows.next()? {
                let id: i64 = row.get(0)?;
                let (what, user): (String, Option<String>) = (row.get(1)?, row.get(2)?);
                unfinished.ids.push(id);
                if user.is_none() {
                    unfinished.met.push(id);
                }
                let to: Option<String> = row.get(3)?;
                if let (Some(user), Some(fate)) = (user, Fate::of(&what, to.as_deref())) {
                    unfinished.fates.set(&user, fate);
                }
            }
            Ok(unfinished)
        })
    }

    /// Takes the names out of `ids`, and what the file remembers of them: free pages, log. What is
    /// kept of a fate then is that it was met at `now_ms`, and how many `rows` it took.
    pub fn finish_fates(&self, ids: &[i64], rows: u64, now_ms: i64) -> Result<(), RegistryError> {
        let rows = i64::try_from(rows).unwrap_or(i64::MAX);
        self.transact("take out names", |tx| {
            let mut update = tx.prepare_cached(
                "UPDATE fate SET user = NULL, to_user = NULL, rows = max(rows, ?2) WHERE id = ?1",
            )?;
            for id in ids {
                update.execute(params![id, rows])?;
            }
            Ok(())
        })?;
        self.with("squeeze", crate::database::squeeze)?;
        self.transact("write down what was done", |tx| {
            let mut update = tx.prepare_cached("UPDATE fate SET done_ms = ?2 WHERE id = ?1")?;
            for id in ids {
                update.execute(params![id, now_ms])?;
            }
            Ok(())
        })
    }

    /// Who was forgotten, newest first: never a name.
    pub fn forgotten(&self, limit: u32) -> Result<Vec<Forgotten>, RegistryError> {
        self.with("read who was forgotten", |db| {
            db.prepare_cached(
                "SELECT asked_ms, asked_by, done_ms, rows FROM fate WHERE what = 'forget'
                 ORDER BY id DESC LIMIT ?1",
            )?
            .query_map([limit], |row| {
                Ok(Forgotten {
                    asked_ms: row.get(0)?,
                    asked_by: row.get(1)?,
                    done_ms: row.get(2)?,
                    rows: row.get::<_, i64>(3)?.unsigned_abs(),
                })
            })?
            .collect()
        })
    }

    // === backups ===

    /// Keeps that a backup was made, for those who must look into it later.
    pub fn note_backup(&self, dir: &str, made_ms: i64) -> Result<(), RegistryError> {
        self.with("note a backup", |db| {
            db.prepare_cached("INSERT OR REPLACE INTO backup VALUES (?1, ?2)")?
                .execute(params![dir, made_ms])?;
            Ok(())
        })
    }

    /// Backups made, oldest first.
    pub fn backups(&self, limit: u32) -> Result<Vec<(String, i64)>, RegistryError> {
        self.with("read which backups were made", |db| {
            db.prepare_cached("SELECT dir, made_ms FROM backup ORDER BY made_ms LIMIT ?1")?
                .query_map([limit], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        })
    }
}

/// Whoever acted for somebody else has a name, too: it follows who is renamed, and what they did stays
/// without it when they are forgotten. First all leave theirs, then they take the new ones.
fn move_actors(tx: &Transaction<'_>, fates: &Fates) -> rusqlite::Result<()> {
    for (table, by) in ACTED {
        let mut rename =
            tx.prepare_cached(&format!("UPDATE {table} SET {by} = ?2 WHERE {by} = ?1"))?;
        for (at, (user, _)) in fates.iter().enumerate() {
            rename.execute(params![&**user, waiting(at)])?;
        }
        for (at, (_, fate)) in fates.iter().enumerate() {
            let name = fate.name().map_or("", |name| &**name);
            rename.execute(params![waiting(at), name])?;
        }
    }
    Ok(())
}

fn count(db: &Connection, table: &str, user: &str) -> rusqlite::Result<u64> {
    db.prepare_cached(&format!("SELECT count(*) FROM {table} WHERE user = ?1"))?
        .query_row([user], |row| row.get(0))
        .map(i64::unsigned_abs)
}

/// Whose mail waits for an account that is gone gets it no more, and what a mail server said of
/// their address goes.
fn settle_mail(tx: &Transaction<'_>, user: &str) -> rusqlite::Result<()> {
    tx.prepare_cached("UPDATE notice SET error = NULL WHERE user = ?1")?
        .execute([user])?;
    let mut settle = tx.prepare_cached(
        "UPDATE notice SET next_ms = NULL, outcome = 'user deleted'
         WHERE user = ?1 AND channel = ?2 AND next_ms NOT NULL",
    )?;
    for channel in USER_CHANNELS {
        settle.execute([user, channel])?;
    }
    Ok(())
}

fn move_people(tx: &Transaction<'_>, fates: &Fates) -> rusqlite::Result<StateRows> {
    let mut rows = StateRows::default();
    // First all leave their names, then they take the new ones: names may change places.
    for (at, (user, fate)) in fates.iter().enumerate() {
        let tokens = tx
            .prepare_cached("DELETE FROM token WHERE user = ?1")?
            .execute([&**user])?;
        rows.tokens += tokens as u64;
        if fates.takes_titles(user) {
            tx.prepare_cached("UPDATE episode SET workload_title = workload_id WHERE user = ?1")?
                .execute([&**user])?;
        }
        if matches!(fate, Fate::Deleted(_)) {
            settle_mail(tx, user)?;
        }
        let leave = |table: &str| -> rusqlite::Result<u64> {
            let left = match fate {
                Fate::Erased => tx
                    .prepare_cached(&format!("DELETE FROM {table} WHERE user = ?1"))?
                    .execute([&**user])?,
                Fate::Deleted(_) | Fate::Renamed(_) => tx
                    .prepare_cached(&format!("UPDATE {table} SET user = ?2 WHERE user = ?1"))?
                    .execute(params![&**user, waiting(at)])?,
            };
            Ok(left as u64)
        };
        rows.episodes += leave("episode")?;
        rows.notices += leave("notice")?;
        rows.idle_marks += leave("idle_mark")?;
        rows.promises += leave("hold")? + leave("hold_log")? + leave("warning")? + leave("deed")?;
        for table in ["person", "ack", "mute", "message"] {
            leave(table)?;
        }
    }
    move_actors(tx, fates)?;
    for (at, (_, fate)) in fates.iter().enumerate() {
        let Some(name) = fate.name() else { continue };
        for table in TABLES {
            tx.prepare_cached(&format!(
                "UPDATE OR REPLACE {table} SET user = ?2 WHERE user = ?1"
            ))?
            .execute(params![waiting(at), &**name])?;
        }
        if name.starts_with(PSEUDONYM_PREFIX) {
            tx.prepare_cached("INSERT OR REPLACE INTO person VALUES (?1, NULL, -1)")?
                .execute([&**name])?;
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests;
