//! Notices to be delivered: at most one row per (episode, channel, phase), whatever is replayed.

use rusqlite::{Row, params};

use super::{Registry, RegistryError};

/// What schema version 5 adds: whom notices go to and why they failed, what people say about
/// them, and what admins wrote.
pub(super) const MIGRATION: &str = "
    ALTER TABLE notice ADD COLUMN server TEXT NOT NULL DEFAULT '';
    ALTER TABLE notice ADD COLUMN severity TEXT NOT NULL DEFAULT 'info';
    ALTER TABLE notice ADD COLUMN payload TEXT; -- what it says, where no verdict does
    ALTER TABLE notice ADD COLUMN error TEXT;   -- why the last attempt failed
    CREATE TABLE ack (
        episode TEXT NOT NULL,
        audience TEXT NOT NULL,
        user TEXT NOT NULL,         -- who acknowledged
        acked_ms INTEGER NOT NULL,
        PRIMARY KEY (episode, audience)
    ) WITHOUT ROWID;
    CREATE INDEX ack_user ON ack (user);
    CREATE TABLE mute (
        user TEXT NOT NULL,
        server TEXT NOT NULL,
        rule TEXT NOT NULL,
        audience TEXT NOT NULL,
        until_ms INTEGER NOT NULL,
        PRIMARY KEY (user, server, rule, audience)
    ) WITHOUT ROWID;
    CREATE TABLE message (
        id INTEGER PRIMARY KEY AUTOINCREMENT, -- mail of a message says its number for weeks
        user TEXT NOT NULL,         -- who wrote it
        written_ms INTEGER NOT NULL,
        subject TEXT NOT NULL,
        text TEXT NOT NULL,
        filter TEXT NOT NULL,
        recipients INTEGER NOT NULL
    );
    CREATE INDEX message_user ON message (user);
";

/// Bytes of a failure that is kept.
const ERROR_BYTES_MAX: usize = 300;

/// A notice to be delivered on one channel.
#[derive(Clone, Copy, Debug)]
pub struct NewNotice<'a> {
    /// The episode it speaks of.
    pub episode: &'a str,
    /// Where it is to go.
    pub channel: &'a str,
    /// Which stage of it.
    pub phase: &'a str,
    /// Whose server it speaks of.
    pub user: &'a str,
    /// Which server.
    pub server: &'a str,
    /// How much it mattered then.
    pub severity: &'a str,
    /// What it says, where no verdict does.
    pub payload: Option<&'a str>,
    /// Now.
    pub queued_ms: i64,
    /// When it may go out, at the earliest.
    pub due_ms: i64,
}

/// A notice whose time has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueNotice {
    /// Row.
    pub id: i64,
    /// The episode it speaks of.
    pub episode: String,
    /// Where it is to go.
    pub channel: String,
    /// Which stage of it.
    pub phase: String,
    /// Whose server it speaks of.
    pub user: String,
    /// Which server.
    pub server: String,
    /// What it says, where no verdict does.
    pub payload: Option<String>,
    /// When it was written.
    pub queued_ms: i64,
    /// Failed deliveries so far.
    pub attempts: u32,
}

/// What became of a notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToldNotice {
    /// Row.
    pub id: i64,
    /// The episode it speaks of.
    pub episode: String,
    /// The rule: a verdict's that is still kept, or a warning's.
    pub rule: Option<String>,
    /// Where it was to go.
    pub channel: String,
    /// Which stage of it.
    pub phase: String,
    /// Whose server it speaks of.
    pub user: String,
    /// Which server.
    pub server: String,
    /// How much it mattered when it was written.
    pub severity: String,
    /// When it was written.
    pub queued_ms: i64,
    /// When it is tried next; `None` when it is settled.
    pub next_ms: Option<i64>,
    /// When it was taken.
    pub sent_ms: Option<i64>,
    /// `sent`, or why it will not be.
    pub outcome: Option<String>,
    /// Failed attempts so far.
    pub attempts: u32,
    /// Why the last of them failed.
    pub error: Option<String>,
    /// When the episode was acknowledged, by an admin or the user, whichever asks.
    pub acked_ms: Option<i64>,
}

impl Registry {
    /// Writes `notice` down unless it was ever before. Returns whether it is new.
    pub fn queue_notice(&self, notice: &NewNotice<'_>) -> Result<bool, RegistryError> {
        self.with("queue a notice", |db| {
            let rows = db
                .prepare_cached(
                    "INSERT OR IGNORE INTO notice (episode, channel, phase, user, server,
                        severity, payload, queued_ms, next_ms)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                )?
                .execute(params![
                    notice.episode,
                    notice.channel,
                    notice.phase,
                    notice.user,
                    notice.server,
                    notice.severity,
                    notice.payload,
                    notice.queued_ms,
                    notice.due_ms,
                ])?;
            Ok(rows == 1)
        })
    }

    /// How much a notice of this phase mattered when it was written down for the channel; `None`
    /// when it never was.
    pub fn notice_known(
        &self,
        episode: &str,
        channel: &str,
        phase: &str,
    ) -> Result<Option<String>, RegistryError> {
        self.with("look up a notice", |db| {
            db.prepare_cached(
                "SELECT severity FROM notice
                 WHERE episode = ?1 AND channel = ?2 AND phase = ?3",
            )?
            .query_map(params![episode, channel, phase], |row| row.get(0))?
            .next()
            .transpose()
        })
    }

    /// Up to `limit` notices due at `now_ms`, longest due first.
    pub fn due_notices(&self, now_ms: i64, limit: u32) -> Result<Vec<DueNotice>, RegistryError> {
        self.with("read due notices", |db| {
            db.prepare_cached(
                "SELECT id, episode, channel, phase, user, server, payload, queued_ms, attempts
                 FROM notice WHERE next_ms <= ?1 ORDER BY next_ms, id LIMIT ?2",
            )?
            .query_map(params![now_ms, limit], |row| {
                Ok(DueNotice {
                    id: row.get(0)?,
                    episode: row.get(1)?,
                    channel: row.get(2)?,
                    phase: row.get(3)?,
                    user: row.get(4)?,
                    server: row.get(5)?,
                    payload: row.get(6)?,
                    queued_ms: row.get(7)?,
                    attempts: row.get(8)?,
                })
            })?
            .collect()
        })
    }

    /// When the next undelivered notice is due, and how many there are.
    pub fn notices_waiting(&self) -> Result<(Option<i64>, u64), RegistryError> {
        self.with("find the next notice", |db| {
            db.prepare_cached("SELECT min(next_ms), count(*) FROM notice WHERE next_ms NOT NULL")?
                .query_row([], |row| {
                    Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs()))
                })
        })
    }

    /// The notice was taken by the other side.
    pub fn notice_sent(&self, id: i64, sent_ms: i64) -> Result<(), RegistryError> {
        self.with("settle a notice", |db| {
            db.prepare_cached(
                "UPDATE notice SET next_ms = NULL, sent_ms = ?2, outcome = 'sent', error = NULL
                 WHERE id = ?1",
            )?
            .execute(params![id, sent_ms])?;
            Ok(())
        })
    }

    /// The notice was taken, and its episode is to be told again at `next_ms`. All or nothing; who
    /// was forgotten meanwhile is not written down again.
    pub fn notice_sent_and_again(
        &self,
        id: i64,
        sent_ms: i64,
        next_ms: i64,
    ) -> Result<(), RegistryError> {
        self.transact("settle a notice", |tx| {
            tx.prepare_cached(
                "UPDATE notice SET next_ms = NULL, sent_ms = ?2, outcome = 'sent', error = NULL
                 WHERE id = ?1",
            )?
            .execute(params![id, sent_ms])?;
            tx.prepare_cached(
                "INSERT OR IGNORE INTO notice (episode, channel, phase, user, server, severity,
                    queued_ms, next_ms)
                 SELECT episode, channel, 'again', user, server, 'info', ?2, ?2
                 FROM notice WHERE id = ?1",
            )?
            .execute(params![id, next_ms])?;
            Ok(())
        })
    }

    /// The notice was taken, and is to be sent again at `next_ms`.
    pub fn notice_again(&self, id: i64, sent_ms: i64, next_ms: i64) -> Result<(), RegistryError> {
        self.with("repeat a notice", |db| {
            db.prepare_cached(
                "UPDATE notice SET next_ms = ?3, sent_ms = ?2, queued_ms = ?3, attempts = 0,
                    outcome = 'sent', error = NULL WHERE id = ?1",
            )?
            .execute(params![id, sent_ms, next_ms])?;
            Ok(())
        })
    }

    /// Delivery failed because of `error`; try again at `next_ms`, unless it was settled meanwhile.
    pub fn notice_retry(&self, id: i64, next_ms: i64, error: &str) -> Result<(), RegistryError> {
        let error = crate::text::Label::clean(error, ERROR_BYTES_MAX);
        self.with("put off a notice", |db| {
            db.prepare_cached(
                "UPDATE notice SET next_ms = ?2, attempts = attempts + 1, error = ?3
                 WHERE id = ?1 AND next_ms NOT NULL",
            )?
            .execute(params![id, next_ms, error.as_str()])?;
            Ok(())
        })
    }

    /// The notice waits until `next_ms`; nothing failed.
    pub fn notice_wait(&self, id: i64, next_ms: i64) -> Result<(), RegistryError> {
        self.with("let a notice wait", |db| {
            db.prepare_cached("UPDATE notice SET next_ms = ?2 WHERE id = ?1 AND next_ms NOT NULL")?
                .execute(params![id, next_ms])?;
            Ok(())
        })
    }

    /// The notice will not be delivered; `outcome` says why.
    pub fn notice_dropped(&self, id: i64, outcome: &str) -> Result<(), RegistryError> {
        self.with("drop a notice", |db| {
            db.prepare_cached("UPDATE notice SET next_ms = NULL, outcome = ?2 WHERE id = ?1")?
                .execute(params![id, outcome])?;
            Ok(())
        })
    }

    /// What of `episode` waits for `channel` will not be delivered; `outcome` says why.
    pub fn drop_notices(
        &self,
        episode: &str,
        channel: &str,
        outcome: &str,
    ) -> Result<(), RegistryError> {
        self.with("drop notices", |db| {
            db.prepare_cached(
                "UPDATE notice SET next_ms = NULL, outcome = ?3
                 WHERE episode = ?1 AND channel = ?2 AND next_ms NOT NULL",
            )?
            .execute(params![episode, channel, outcome])?;
            Ok(())
        })
    }

    /// How many notices went out on `channel` after `since_ms`: all, and about `user`.
    pub fn notices_sent_since(
        &self,
        channel: &str,
        user: &str,
        since_ms: i64,
    ) -> Result<(u32, u32), RegistryError> {
        self.with("count notices", |db| {
            db.prepare_cached(
                "SELECT count(*), count(*) FILTER (WHERE user = ?2) FROM notice
                 WHERE channel = ?1 AND sent_ms > ?3",
            )?
            .query_row(params![channel, user, since_ms], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
        })
    }

    /// The newest notices, newest first, and whether `audience` acknowledged their episodes.
    pub fn notices_told(
        &self,
        audience: &str,
        limit: u32,
    ) -> Result<Vec<ToldNotice>, RegistryError> {
        self.with("read notices", |db| {
            db.prepare_cached(
                // A warning of a stop is of no verdict; what it speaks of is an idle server.
                "SELECT n.id, n.episode,
                    iif(n.channel = 'warning-mail', 'idle', e.rule), n.channel, n.phase, n.user, n.server, n.severity,
                    n.queued_ms, n.next_ms, n.sent_ms, n.outcome, n.attempts, n.error, a.acked_ms
                 FROM notice n LEFT JOIN episode e ON e.episode = n.episode
                 LEFT JOIN ack a ON a.episode = n.episode AND a.audience = ?1
                 ORDER BY n.id DESC LIMIT ?2",
            )?
            .query_map(params![audience, limit], told)?
            .collect()
        })
    }
}

fn told(row: &Row<'_>) -> rusqlite::Result<ToldNotice> {
    Ok(ToldNotice {
        id: row.get(0)?,
        episode: row.get(1)?,
        rule: row.get(2)?,
        channel: row.get(3)?,
        phase: row.get(4)?,
        user: row.get(5)?,
        server: row.get(6)?,
        severity: row.get(7)?,
        queued_ms: row.get(8)?,
        next_ms: row.get(9)?,
        sent_ms: row.get(10)?,
        outcome: row.get(11)?,
        attempts: row.get(12)?,
        error: row.get(13)?,
        acked_ms: row.get(14)?,
    })
}
