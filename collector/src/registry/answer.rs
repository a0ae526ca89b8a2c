//! What people say about notices: seen, and not now. Admins and users answer for themselves; what
//! one of them silences the other still hears.

use rusqlite::{OptionalExtension as _, params};

use super::{Registry, RegistryError};
use crate::fact::ServerKey;

/// Who is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Whoever looks after the hub.
    Admins,
    /// Whose server it is.
    User,
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
            tx.execute(
                "INSERT OR IGNORE INTO ack VALUES (?1, ?2, ?3, ?4)",
                params![episode, audience.as_str(), by, now_ms],
            )?;
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

    /// No notice of `rule` about `key` to `audience` until then; `None` ends that.
    pub fn mute(
        &self,
        key: &ServerKey,
        rule: &str,
        audience: Audience,
        until_ms: Option<i64>,
    ) -> Result<(), RegistryError> {
        let (user, server) = (&*key.user, &*key.server);
        self.with("mute a rule", |db| {
            match until_ms {
                Some(until_ms) => db
                    .prepare_cached("INSERT OR REPLACE INTO mute VALUES (?1, ?2, ?3, ?4, ?5)")?
                    .execute(params![user, server, rule, audience.as_str(), until_ms])?,
                None => db
                    .prepare_cached(
                        "DELETE FROM mute
                         WHERE user = ?1 AND server = ?2 AND rule = ?3 AND audience = ?4",
                    )?
                    .execute(params![user, server, rule, audience.as_str()])?,
            };
            Ok(())
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
