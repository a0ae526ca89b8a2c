//! What admins wrote to users: kept as long as anybody may ask who wrote what to whom.

use rusqlite::{OptionalExtension as _, Row, params};

use super::{Registry, RegistryError};

/// A message as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its number.
    pub id: i64,
    /// Who wrote it.
    pub user: String,
    /// When.
    pub written_ms: i64,
    /// One line.
    pub subject: String,
    /// What it says.
    pub text: String,
    /// Whom it was for, in words without anybody's name.
    pub filter: String,
    /// How many that were.
    pub recipients: u32,
}

const COLUMNS: &str = "id, user, written_ms, subject, text, filter, recipients";

/// What the number of a message is said by in the outbox.
pub(crate) const MESSAGE_PREFIX: &str = "message-";

// === impl Registry ===

impl Registry {
    /// Writes `message` down, and a mail of it for each of `recipients`; gives its number.
    pub fn put_message(
        &self,
        message: &Message,
        channel: &str,
        recipients: &[(String, String)],
    ) -> Result<i64, RegistryError> {
        self.transact("write a message down", |tx| {
            let id = tx
                .prepare_cached(
                    "INSERT INTO message (user, written_ms, subject, text, filter, recipients)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                )?
                .insert(params![
                    message.user,
                    message.written_ms,
                    message.subject,
                    message.text,
                    message.filter,
                    message.recipients,
                ])?;
            let mut queue = tx.prepare_cached(
                "INSERT INTO notice (episode, channel, phase, user, server, queued_ms, next_ms)
                 VALUES (?1, ?2, 'opened', ?3, ?4, ?5, ?5)",
            )?;
            for (at, (user, server)) in recipients.iter().enumerate() {
                let episode = format!("{MESSAGE_PREFIX}{id}-{at}");
                queue.execute(params![episode, channel, user, server, message.written_ms])?;
            }
            Ok(id)
        })
    }

    /// The message that `episode` of the outbox is of.
    pub fn message_of(&self, episode: &str) -> Result<Option<Message>, RegistryError> {
        let id = episode.strip_prefix(MESSAGE_PREFIX);
        let id = id.and_then(|rest| rest.split('-').next()?.parse::<i64>().ok());
        self.with("read a message", |db| {
            db.prepare_cached(&format!("SELECT {COLUMNS} FROM message WHERE id = ?1"))?
                .query_row([id], message)
                .optional()
        })
    }

    /// The newest messages, newest first.
    pub fn messages(&self, limit: u32) -> Result<Vec<Message>, RegistryError> {
        self.with("read messages", |db| {
            db.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM message ORDER BY id DESC LIMIT ?1"
            ))?
            .query_map([limit], message)?
            .collect()
        })
    }
}

fn message(row: &Row<'_>) -> rusqlite::Result<Message> {
    Ok(Message {
        id: row.get(0)?,
        user: row.get(1)?,
        written_ms: row.get(2)?,
        subject: row.get(3)?,
        text: row.get(4)?,
        filter: row.get(5)?,
        recipients: row.get(6)?,
    })
}
