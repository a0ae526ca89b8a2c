//! What people say about notices: seen, and not now. Admins and users answer for themselves; what
//! one of them silences the other still hears.

use rusqlite::{OptionalExtension as _, Row, Transaction, params};

use super::{
    Registry, RegistryError,
    audit::{self, Act, NewDeed},
};
use crate::{fact::ServerKey, verdict::Rule};

/// What schema version 6 adds: who muted what, when, and by the notice of which episode.
pub(super) const MIGRATION: &str = "
    ALTER TABLE mute ADD COLUMN muted_by TEXT NOT NULL DEFAULT '';
    ALTER TABLE mute ADD COLUMN muted_ms INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE mute ADD COLUMN episode TEXT NOT NULL DEFAULT '';
    CREATE INDEX mute_by ON mute (muted_by);
    CREATE INDEX hold_log_by ON hold_log (asked_by);
";

/// What stands before a service's name where the name of who acted is kept: a service is no user of
/// the hub, and not deleted for being in no list of them.
pub(crate) const SERVICE_PREFIX: &str = "service:";

/// Told again this long after an acknowledgement was taken back, at the earliest.
const AGAIN_AFTER_MS: i64 = 60_000;

/// Who is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Whoever looks after the hub.
    Admins,
    /// Whose server it is.
    User,
}

/// No more notices of a rule about a server.
#[derive(Clone, Copy, Debug)]
pub struct Mute<'a> {
    /// Which server.
    pub key: &'a ServerKey,
    /// Which rule.
    pub rule: &'a str,
    /// For whom.
    pub audience: Audience,
    /// Until when; `None` ends it.
    pub until_ms: Option<i64>,
    /// Who asked.
    pub by: &'a str,
    /// By the notice of which episode.
    pub episode: &'a str,
    /// Now.
    pub now_ms: i64,
}

/// What somebody said about notices, and holds still.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// About which episode, or by the notice of which.
    pub episode: String,
    /// Its rule.
    pub rule: String,
    /// About which server.
    pub key: ServerKey,
    /// Who: a user, or a service behind [`SERVICE_PREFIX`]; empty where that is not known any more.
    pub by: String,
    /// When.
    pub at_ms: i64,
    /// The rule is muted until then; `None`: the episode is acknowledged.
    pub until_ms: Option<i64>,
}

// === impl Audience ===

impl Audience {
    /// Its word in the tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admins => "admins",
            Self::User => "user",
        }
    }

    /// Whether they may hear no more of `rule`. Who was working is always told that it was killed:
    /// what they see is gone, and nothing else says why.
    #[must_use]
    pub fn may_mute(self, rule: Rule) -> bool {
        self == Self::Admins || rule != Rule::Killed
    }
}

// === impl Mute ===

impl<'a> Mute<'a> {
    /// For the audit log.
    fn deed(&self) -> NewDeed<'a> {
        NewDeed {
            act: match self.until_ms {
                Some(_) => Act::Mute,
                None => Act::Unmute,
            },
            key: self.key,
            about: self.rule,
            until_ms: self.until_ms,
            by: Some(self.by),
            at_ms: self.now_ms,
        }
    }
}

// === impl Registry ===

impl Registry {
    /// `by` has seen `episode`, for all of `audience`; the first one counts. Returns when.
    pub fn acknowledge(
        &self,
        episode: &str,
        audience: Audience,
        by: &str,
        now_ms: i64,
    ) -> Result<i64, RegistryError> {
        self.transact("acknowledge a notice", |tx| {
            let new = tx.execute(
                "INSERT OR IGNORE INTO ack VALUES (?1, ?2, ?3, ?4)",
                params![episode, audience.as_str(), by, now_ms],
            )?;
            if new > 0 && audience == Audience::Admins {
                audit::note_of_episode(tx, Act::Acknowledge, episode, by, now_ms)?;
            }
            tx.query_row(
                "SELECT acked_ms FROM ack WHERE episode = ?1 AND audience = ?2",
                params![episode, audience.as_str()],
                |row| row.get(0),
            )
        })
    }

    /// Whether somebody of `audience` has seen `episode`.
    pub fn is_acknowledged(
        &self,
        episode: &str,
        audience: Audience,
    ) -> Result<bool, RegistryError> {
        self.with("look for an acknowledgement", |db| {
            db.prepare_cached("SELECT 1 FROM ack WHERE episode = ?1 AND audience = ?2")?
                .exists(params![episode, audience.as_str()])
        })
    }

    /// Nobody has seen `episode` after all, for all of `audience`: it is told again, says `by`. False
    /// where nobody had.
    pub fn take_back_ack(
        &self,
        episode: &str,
        audience: Audience,
        by: &str,
        now_ms: i64,
    ) -> Result<bool, RegistryError> {
        self.transact("take an acknowledgement back", |tx| {
            let taken = tx
                .prepare_cached("DELETE FROM ack WHERE episode = ?1 AND audience = ?2")?
                .execute(params![episode, audience.as_str()])?;
            if taken == 0 {
                return Ok(false);
            }
            if audience == Audience::Admins {
                audit::note_of_episode(tx, Act::TakeBack, episode, by, now_ms)?;
            }
            // What was not told again because of it is.
            tx.prepare_cached(
                "UPDATE notice SET next_ms = ?3, outcome = NULL
                 WHERE episode = ?1 AND (channel = 'user-mail') = ?2 AND phase = 'again'
                    AND next_ms IS NULL AND outcome = 'acknowledged'",
            )?
            .execute(params![
                episode,
                audience == Audience::User,
                now_ms + AGAIN_AFTER_MS
            ])?;
            Ok(true)
        })
    }

    /// No notice of a rule about a server to an audience until then, or again. What they were told of
    /// is told again after it, if it is open still.
    pub fn mute(&self, mute: &Mute<'_>) -> Result<(), RegistryError> {
        let (user, server) = (&*mute.key.user, &*mute.key.server);
        let (rule, audience) = (mute.rule, mute.audience.as_str());
        self.transact("mute a rule", |tx| {
            let changed = match mute.until_ms {
                Some(until_ms) => tx
                    .prepare_cached(
                        "INSERT OR REPLACE INTO mute (user, server, rule, audience, until_ms,
                            muted_by, muted_ms, episode)
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                    )?
                    .execute(params![
                        user,
                        server,
                        rule,
                        audience,
                        until_ms,
                        mute.by,
                        mute.now_ms,
                        mute.episode
                    ])?,
                None => tx
                    .prepare_cached(
                        "DELETE FROM mute
                         WHERE user = ?1 AND server = ?2 AND rule = ?3 AND audience = ?4
                            AND until_ms > ?5",
                    )?
                    .execute(params![user, server, rule, audience, mute.now_ms])?,
            };
            if changed > 0 {
                again_after(tx, mute)?;
                if mute.audience == Audience::Admins {
                    audit::note(tx, &mute.deed())?;
                    audit::bound(tx, false)?;
                }
            }
            Ok(())
        })
    }

    /// The notice `id` is muted until then: its episode is told again after it.
    pub fn notice_muted(&self, id: i64, until_ms: i64) -> Result<(), RegistryError> {
        self.transact("let a muted notice wait", |tx| {
            tx.prepare_cached(
                "UPDATE notice SET next_ms = NULL, outcome = 'muted' WHERE id = ?1",
            )?
            .execute([id])?;
            // One that is to come anyway looks then whether it is muted.
            tx.prepare_cached(
                "INSERT INTO notice (episode, channel, phase, user, server, severity, queued_ms, next_ms)
                 SELECT episode, channel, 'again', user, server, 'info', ?2, ?2
                 FROM notice WHERE id = ?1
                 ON CONFLICT (episode, channel, phase) DO UPDATE SET attempts = 0,
                    queued_ms = excluded.queued_ms, next_ms = excluded.next_ms
                 WHERE next_ms IS NULL",
            )?
            .execute(params![id, until_ms])?;
            Ok(())
        })
    }

    /// What `audience` said and holds at `now_ms`, the newest first: of what is open, and mutes; only
    /// about servers of `user`, where one is named.
    pub fn said(
        &self,
        audience: Audience,
        user: Option<&str>,
        now_ms: i64,
        limit: u32,
    ) -> Result<Vec<Said>, RegistryError> {
        self.with("read what was said about notices", |db| {
            db.prepare_cached(
                "SELECT a.episode, e.rule, e.user, e.server, a.user, a.acked_ms AS at_ms, NULL
                 FROM ack a JOIN episode e ON e.episode = a.episode
                 WHERE a.audience = ?1 AND e.cleared_ms IS NULL AND (?4 IS NULL OR e.user = ?4)
                 UNION ALL SELECT episode, rule, user, server, muted_by, muted_ms, until_ms
                 FROM mute WHERE audience = ?1 AND until_ms > ?2 AND (?4 IS NULL OR user = ?4)
                 ORDER BY at_ms DESC LIMIT ?3",
            )?
            .query_map(params![audience.as_str(), now_ms, limit, user], said)?
            .collect()
        })
    }

    /// Until when notices of `rule` about `key` are muted, if they are at `now_ms`.
    pub fn muted_until_ms(
        &self,
        key: &ServerKey,
        rule: &str,
        audience: Audience,
        now_ms: i64,
    ) -> Result<Option<i64>, RegistryError> {
        let (user, server) = (&*key.user, &*key.server);
        self.with("look whether a rule is muted", |db| {
            db.prepare_cached(
                "SELECT until_ms FROM mute WHERE user = ?1 AND server = ?2 AND rule = ?3
                    AND audience = ?4 AND until_ms > ?5",
            )?
            .query_row(
                params![user, server, rule, audience.as_str(), now_ms],
                |row| row.get(0),
            )
            .optional()
        })
    }
}

/// What is open of what `mute` is about is told again when it is over, on each channel that told or
/// would have told it. Alertmanager is told all along.
fn again_after(tx: &Transaction<'_>, mute: &Mute<'_>) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT INTO notice (episode, channel, phase, user, server, severity, queued_ms, next_ms)
         SELECT n.episode, n.channel, 'again', n.user, n.server, 'info', ?5, ?5
         FROM episode e JOIN notice n ON n.episode = e.episode
         WHERE e.cleared_ms IS NULL AND e.user = ?1 AND e.server = ?2 AND e.rule = ?3
            AND (n.channel = 'user-mail') = ?4 AND n.channel NOT LIKE 'alertmanager-%'
            AND n.phase = 'opened' AND n.outcome IN ('sent', 'muted')
         ON CONFLICT (episode, channel, phase) DO UPDATE SET attempts = 0,
            queued_ms = excluded.queued_ms, next_ms = excluded.next_ms",
    )?
    .execute(params![
        &*mute.key.user,
        &*mute.key.server,
        mute.rule,
        mute.audience == Audience::User,
        mute.until_ms.unwrap_or(mute.now_ms),
    ])?;
    Ok(())
}

fn said(row: &Row<'_>) -> rusqlite::Result<Said> {
    Ok(Said {
        episode: row.get(0)?,
        rule: row.get(1)?,
        key: ServerKey::new(row.get_ref(2)?.as_str()?, row.get_ref(3)?.as_str()?),
        by: row.get(4)?,
        at_ms: row.get(5)?,
        until_ms: row.get(6)?,
    })
}

#[cfg(test)]
mod tests;
