//! Verified tokens, so that a restart asks the hub nothing. Only their SHA-256 is kept.

use rusqlite::{OptionalExtension, params};

use super::{Registry, RegistryError};
use crate::fact::ServerKey;

impl Registry {
    /// Keeps that the hub said at `verified_ms` whose token this is.
    pub fn remember_token(
        &self,
        sha256: &[u8; 32],
        key: &ServerKey,
        verified_ms: i64,
    ) -> Result<(), RegistryError> {
        self.with("remember a token", |db| {
            db.prepare_cached("INSERT OR REPLACE INTO token VALUES (?1, ?2, ?3, ?4)")?
                .execute(params![
                    sha256.as_slice(),
                    &*key.user,
                    &*key.server,
                    verified_ms
                ])?;
            Ok(())
        })
    }

    /// Whose token it is, and when the hub last said so.
    pub fn known_token(
        &self,
        sha256: &[u8; 32],
    ) -> Result<Option<(ServerKey, i64)>, RegistryError> {
        self.with("look up a token", |db| {
            db.prepare_cached("SELECT user, server, verified_ms FROM token WHERE sha256 = ?1")?
                .query_row([sha256.as_slice()], |row| {
                    let key = ServerKey::new(row.get_ref(0)?.as_str()?, row.get_ref(1)?.as_str()?);
                    Ok((key, row.get(2)?))
                })
                .optional()
        })
    }

    /// Forgets a token that the hub no longer knows.
    pub fn forget_token(&self, sha256: &[u8; 32]) -> Result<(), RegistryError> {
        self.with("forget a token", |db| {
            db.prepare_cached("DELETE FROM token WHERE sha256 = ?1")?
                .execute([sha256.as_slice()])?;
            Ok(())
        })
    }
}
