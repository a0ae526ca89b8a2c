//! Notices to be delivered: at most one row per (episode, channel, phase), whatever is replayed.

use rusqlite::params;

use super::{Registry, RegistryError};

/// A notice to be delivered on one channel.
#[derive(Clone, Copy, Debug)]
pub struct NewNotice<'a> {
    /// The episode it speaks of.
    pub episode: &'a str,
    /// Where it is to go.
    pub channel: &'a str,
    /// `opened` or `cleared`.
    pub phase: &'a str,
    /// Whose server it speaks of.
    pub user: &'a str,
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
    /// `opened` or `cleared`.
    pub phase: String,
    /// Whose server it speaks of.
    pub user: String,
    /// When it was written.
    pub queued_ms: i64,
    /// Failed deliveries so far.
    pub attempts: u32,
}

impl Registry {
    /// Writes `notice` down unless it was ever before. Returns whether it is new.
    pub fn queue_notice(&self, notice: &NewNotice<'_>) -> Result<bool, RegistryError> {
        self.with("queue a notice", |db| {
            let rows = db
                .prepare_cached(
                    "INSERT OR IGNORE INTO notice (episode, channel, phase, user, queued_ms, next_ms)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                )?
                .execute(params![
                    notice.episode,
                    notice.channel,
                    notice.phase,
                    notice.user,
                    notice.queued_ms,
                    notice.due_ms,
                ])?;
            Ok(rows == 1)
        })
    }

    /// Whether a notice of this phase was ever written down for the channel.
    pub fn notice_known(
        &self,
        episode: &str,
        channel: &str,
        phase: &str,
    ) -> Result<bool, RegistryError> {
        self.with("look up a notice", |db| {
            db.prepare_cached(
                "SELECT 1 FROM notice WHERE episode = ?1 AND channel = ?2 AND phase = ?3",
            )?
            .exists(params![episode, channel, phase])
        })
    }

    /// Up to `limit` notices due at `now_ms`, longest due first.
    pub fn due_notices(&self, now_ms: i64, limit: u32) -> Result<Vec<DueNotice>, RegistryError> {
        self.with("read due notices", |db| {
            db.prepare_cached(
                "SELECT id, episode, channel, phase, user, queued_ms, attempts FROM notice
                 WHERE next_ms <= ?1 ORDER BY next_ms, id LIMIT ?2",
            )?
            .query_map(params![now_ms, limit], |row| {
                Ok(DueNotice {
                    id: row.get(0)?,
                    episode: row.get(1)?,
                    channel: row.get(2)?,
                    phase: row.get(3)?,
                    user: row.get(4)?,
                    queued_ms: row.get(5)?,
                    attempts: row.get(6)?,
                })
            })?
            .collect()
        })
    }

    /// When the next undelivered notice is due.
    pub fn next_notice_ms(&self) -> Result<Option<i64>, RegistryError> {
        self.with("find the next notice", |db| {
            db.prepare_cached("SELECT min(next_ms) FROM notice WHERE next_ms IS NOT NULL")?
                .query_row([], |row| row.get(0))
        })
    }

    /// The notice was taken by the other side.
    pub fn notice_sent(&self, id: i64, sent_ms: i64) -> Result<(), RegistryError> {
        self.with("settle a notice", |db| {
            db.prepare_cached(
                "UPDATE notice SET next_ms = NULL, sent_ms = ?2, outcome = 'sent' WHERE id = ?1",
            )?
            .execute(params![id, sent_ms])?;
            Ok(())
        })
    }

    /// Delivery failed; try again at `next_ms`.
    pub fn notice_retry(&self, id: i64, next_ms: i64) -> Result<(), RegistryError> {
        self.with("put off a notice", |db| {
            db.prepare_cached(
                "UPDATE notice SET next_ms = ?2, attempts = attempts + 1 WHERE id = ?1",
            )?
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
}
