//! What was done to users' servers: by somebody for another, and by policy. Holds and messages are
//! written down where they are kept; with them this is the audit log.

use rusqlite::{OptionalExtension as _, Row, Transaction, params};

use super::{Registry, RegistryError};
use crate::fact::ServerKey;

/// What schema version 7 adds.
pub(super) const MIGRATION: &str = "
    CREATE TABLE deed (
        id INTEGER PRIMARY KEY,
        at_ms INTEGER NOT NULL,
        what TEXT NOT NULL,
        user TEXT NOT NULL,
        server TEXT NOT NULL,
        about TEXT NOT NULL,        -- a rule, a kernel, a stage of a warning
        until_ms INTEGER,
        done_by TEXT NOT NULL,      -- '' where it was policy, or somebody who was forgotten
        by_policy INTEGER NOT NULL
    );
    CREATE INDEX deed_user ON deed (user);
    CREATE INDEX deed_done_by ON deed (done_by);
    CREATE INDEX deed_by_policy ON deed (by_policy);
";

/// Deeds of people that are kept, and as many of policy, which does much more: beyond it the oldest go.
const DEEDS_MAX: u32 = 50_000;

/// What is done to somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// An admin knows of an episode.
    Acknowledge,
    /// They do not, after all.
    TakeBack,
    /// Admins hear no more of a rule for a while.
    Mute,
    /// Or again.
    Unmute,
    /// Policy warned of a stop.
    Warn,
    /// Policy has an idle kernel shut down.
    EndKernel,
    /// Or no longer.
    KeepKernel,
}

/// Something that is done now.
#[derive(Clone, Copy, Debug)]
pub struct NewDeed<'a> {
    /// What.
    pub act: Act,
    /// To which server.
    pub key: &'a ServerKey,
    /// A rule, a kernel's id, a stage of a warning.
    pub about: &'a str,
    /// Until when it holds, or when it comes.
    pub until_ms: Option<i64>,
    /// Who did it; `None`: policy.
    pub by: Option<&'a str>,
    /// When.
    pub at_ms: i64,
}

/// Something that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deed {
    /// Tells it from all others.
    pub id: String,
    /// When.
    pub at_ms: i64,
    /// What: the word of an [`Act`], `hold`, `release` or `message`.
    pub what: String,
    /// To which server; `None`: a message, to whom its filter selected.
    pub key: Option<ServerKey>,
    /// A rule, a kernel's id, a stage of a warning, a message's filter.
    pub about: String,
    /// Until when it holds, or when it comes.
    pub until_ms: Option<i64>,
    /// Who: a user, or a service behind its prefix; empty where that is not known any more, or it was
    /// policy.
    pub by: String,
    /// Policy did it.
    pub by_policy: bool,
    /// How many users it was done to.
    pub users: u32,
}

/// Columns of every part of the log, in one order.
const PARTS: &str = "
    SELECT * FROM (
        SELECT 'd' || id, at_ms, what, user, server, about, until_ms, done_by, by_policy, 1
        FROM deed WHERE by_policy = 0 AND (?1 IS NULL OR user = ?1) ORDER BY id DESC LIMIT ?2)
    UNION ALL SELECT * FROM (
        SELECT 'd' || id, at_ms, what, user, server, about, until_ms, done_by, by_policy, 1
        FROM deed WHERE by_policy = 1 AND (?1 IS NULL OR user = ?1) ORDER BY id DESC LIMIT ?2)
    UNION ALL SELECT * FROM (
        SELECT 'h' || id, at_ms, CASE WHEN until_ms IS NULL THEN 'release' ELSE 'hold' END, user,
            server, '', until_ms, asked_by, 0, 1
        FROM hold_log WHERE ?1 IS NULL OR user = ?1 ORDER BY id DESC LIMIT ?2)
    UNION ALL SELECT * FROM (
        SELECT 'm' || id, written_ms, 'message', NULL, NULL, filter, NULL, user, 0, recipients
        FROM message WHERE ?1 IS NULL ORDER BY id DESC LIMIT ?2)";

/// Writes `deed` down with what it is.
pub(super) fn note(tx: &Transaction<'_>, deed: &NewDeed<'_>) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT INTO deed (at_ms, what, user, server, about, until_ms, done_by, by_policy)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?
    .execute(params![
        deed.at_ms,
        deed.act.as_str(),
        &*deed.key.user,
        &*deed.key.server,
        deed.about,
        deed.until_ms,
        deed.by.unwrap_or_default(),
        deed.by.is_none(),
    ])?;
    Ok(())
}

/// The same of whatever `episode` is about.
pub(super) fn note_of_episode(
    tx: &Transaction<'_>,
    act: Act,
    episode: &str,
    by: &str,
    at_ms: i64,
) -> rusqlite::Result<()> {
    let of = tx
        .prepare_cached("SELECT user, server, rule FROM episode WHERE episode = ?1")?
        .query_row([episode], |row| {
            let key = ServerKey::new(row.get_ref(0)?.as_str()?, row.get_ref(1)?.as_str()?);
            Ok((key, row.get::<_, String>(2)?))
        })
        .optional()?;
    // What is not kept any more is nobody's.
    let Some((key, rule)) = of else {
        return Ok(());
    };
    note(
        tx,
        &NewDeed {
            act,
            key: &key,
            about: &rule,
            until_ms: None,
            by: Some(by),
            at_ms,
        },
    )?;
    bound(tx, false)
}

/// Lets the oldest deeds go, of policy or of people.
pub(super) fn bound(tx: &Transaction<'_>, by_policy: bool) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "DELETE FROM deed WHERE by_policy = ?1 AND id <= (
            SELECT id FROM deed WHERE by_policy = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
    )?
    .execute(params![by_policy, DEEDS_MAX])?;
    Ok(())
}

// === impl Act ===

impl Act {
    /// Its word in the table and in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Acknowledge => "ack",
            Self::TakeBack => "take_back",
            Self::Mute => "mute",
            Self::Unmute => "unmute",
            Self::Warn => "warn",
            Self::EndKernel => "end_kernel",
            Self::KeepKernel => "keep_kernel",
        }
    }
}

// === impl Registry ===

impl Registry {
    /// Writes down what was done: all of it or nothing.
    pub fn note_deeds(&self, deeds: &[NewDeed<'_>]) -> Result<(), RegistryError> {
        if deeds.is_empty() {
            return Ok(());
        }
        self.transact("write into the audit log", |tx| {
            for deed in deeds {
                note(tx, deed)?;
            }
            for by_policy in [false, true] {
                if deeds.iter().any(|deed| deed.by.is_none() == by_policy) {
                    bound(tx, by_policy)?;
                }
            }
            Ok(())
        })
    }

    /// What was done, the newest first; only to `user`, where one is named, and then no messages. The
    /// newest `limit` each of people's deeds, of policy's, of holds and of messages: none crowds out others.
    pub fn audit(&self, user: Option<&str>, limit: u32) -> Result<Vec<Deed>, RegistryError> {
        self.with("read the audit log", |db| {
            let mut deeds: Vec<Deed> = db
                .prepare_cached(PARTS)?
                .query_map(params![user, limit], deed_of)?
                .collect::<rusqlite::Result<_>>()?;
            deeds.sort_by_key(|deed| std::cmp::Reverse(deed.at_ms));
            Ok(deeds)
        })
    }
}

fn deed_of(row: &Row<'_>) -> rusqlite::Result<Deed> {
    let user = row.get_ref(3)?.as_str_or_null()?;
    let server = row.get_ref(4)?.as_str_or_null()?;
    Ok(Deed {
        id: row.get(0)?,
        at_ms: row.get(1)?,
        what: row.get(2)?,
        key: user.map(|user| ServerKey::new(user, server.unwrap_or_default())),
        about: row.get(5)?,
        until_ms: row.get(6)?,
        by: row.get(7)?,
        by_policy: row.get(8)?,
        users: row.get(9)?,
    })
}

#[cfg(test)]
mod tests;
