//! Warnings of a stop by mail: queued once per stage, tried until a mail server takes them.
//!
//! Whoever is not told is not stopped, so a warning outlasts the time it speaks of; what is taken
//! back goes out no more. A mail server's yes, and that somebody has no address, go back to the
//! desk.

use serde::{Deserialize, Serialize};

use super::{Outbox, WARNING_MAIL};
use crate::{
    fact::ServerKey,
    registry::{DueNotice, NewNotice, RegistryError},
    verdict::Severity,
    warning::{Stage, TakenBack, Warning},
};

/// What of a warning the queue keeps.
#[derive(Serialize, Deserialize)]
struct Payload {
    idle_ms: Option<i64>,
    stops_at_ms: i64,
}

/// The warning that `due` is about, as of `now_ms`.
pub(super) fn warning_of(due: &DueNotice, now_ms: i64) -> Option<Warning> {
    let kept: Payload = serde_json::from_str(due.payload.as_deref()?).ok()?;
    let waited_ms = (now_ms - due.queued_ms).max(0);
    Some(Warning {
        key: ServerKey::new(&due.user, &due.server),
        stage: Stage::of(&due.phase)?,
        idle_ms: kept.idle_ms.map(|idle_ms| idle_ms + waited_ms),
        stops_at_ms: kept.stops_at_ms,
        at_ms: now_ms,
        episode: due.episode.clone(),
    })
}

// === impl Outbox ===

impl Outbox {
    /// Takes a warning to be mailed to its user. Waits for the disk.
    pub fn warn(&self, warning: &Warning) -> Result<(), RegistryError> {
        if !self.mails_warnings() {
            return Ok(());
        }
        let kept = Payload {
            idle_ms: warning.idle_ms,
            stops_at_ms: warning.stops_at_ms,
        };
        // Two numbers always make JSON.
        let payload = serde_json::to_string(&kept).unwrap_or_default();
        let queued_ms = self.clock.now_ms();
        let new = self.registry.queue_notice(&NewNotice {
            episode: &warning.episode,
            channel: WARNING_MAIL,
            phase: warning.stage.as_str(),
            user: &warning.key.user,
            server: &warning.key.server,
            severity: Severity::Warning.as_str(),
            payload: Some(&payload),
            queued_ms,
            due_ms: queued_ms,
        })?;
        if new {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// A warning holds no more: what of it is not out stays here. Waits for the disk.
    pub fn take_back(&self, taken: &TakenBack) -> Result<(), RegistryError> {
        self.registry
            .drop_notices(&taken.episode, WARNING_MAIL, "taken back")
    }

    /// Whether users are warned by mail.
    fn mails_warnings(&self) -> bool {
        let users = self.config.user_mail.as_ref();
        self.mail.is_some() && users.is_some_and(|users| users.warnings)
    }

    /// Tells the desk that the warning of `due` was taken, or that its user has no address.
    pub(super) fn mailed(&self, due: &DueNotice, taken: bool) {
        let (Some(desk), WARNING_MAIL) = (&self.desk, &*due.channel) else {
            return;
        };
        let key = ServerKey::new(&due.user, &due.server);
        if let Err(error) = desk.mailed(&key, &due.episode, taken) {
            let error = crate::causes::chain(&error);
            tracing::warn!(
                error,
                "that a warning was mailed is not known to who stops servers"
            );
        }
    }
}
