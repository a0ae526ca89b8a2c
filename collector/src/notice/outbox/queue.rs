//! What of a verdict is written down for whom.

use super::{MAIL, Outbox, USER_MAIL};
use crate::{
    notice::{
        Phase, WebhookBody,
        settings::{severity_of, worth},
    },
    registry::{NewNotice, RegistryError},
    verdict::{Rule, Severity, Verdict},
};

/// The agent names the victim of an out-of-memory kill up to three samples after the kill: a mail
/// that says which notebook it was is worth the wait.
const NAMING_WAIT_MS: i64 = 20 * 1000;

/// How long to wait for what the verdict does not say yet.
fn naming_wait_ms(verdict: &Verdict) -> i64 {
    let may_be_named =
        verdict.rule == Rule::Killed && verdict.workload.is_none() && verdict.cleared_ms.is_none();
    if may_be_named { NAMING_WAIT_MS } else { 0 }
}

// === impl Outbox ===

impl Outbox {
    /// Queues what `verdict` is worth now that it `matters` or not.
    pub(super) fn queue(&self, verdict: &Verdict, matters: bool) -> Result<(), RegistryError> {
        let mut any = false;
        if worth(&self.config.rules, verdict) {
            let by_mail = self.mail.as_ref().filter(|mail| mail.has_admins());
            let mail = by_mail.map(|_| (MAIL, false));
            let hooks = self.webhooks.iter().map(|hook| {
                let follows = hook.body() == WebhookBody::Alertmanager;
                (hook.channel(), follows)
            });
            for (channel, follows) in mail.into_iter().chain(hooks) {
                any |= self.queue_on(channel, follows, verdict, matters)?;
            }
        }
        let users = self.config.user_mail.as_ref();
        if users.is_some_and(|users| worth(&users.rules, verdict))
            && !verdict.key.user.is_empty()
            && self.mail.is_some()
        {
            any |= self.queue_on(USER_MAIL, false, verdict, matters)?;
        }
        if any {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// `follows`: the other side wants to know when it is over, whatever the settings say.
    fn queue_on(
        &self,
        channel: &str,
        follows: bool,
        verdict: &Verdict,
        matters: bool,
    ) -> Result<bool, RegistryError> {
        let queued_ms = self.clock.now_ms();
        let put = |phase: Phase| {
            self.registry.queue_notice(&NewNotice {
                episode: &verdict.episode,
                channel,
                phase: phase.as_str(),
                user: &verdict.key.user,
                server: &verdict.key.server,
                severity: verdict.severity.as_str(),
                payload: None,
                queued_ms,
                due_ms: self.due_ms(channel, verdict, queued_ms),
            })
        };
        // Before a restart it may have mattered, although its end does not show that.
        let opened = Phase::Opened.as_str();
        let known = self
            .registry
            .notice_known(&verdict.episode, channel, opened)?;
        if !matters && known.is_none() {
            return Ok(false);
        }
        let mut any = put(Phase::Opened)?;
        let before = known.as_deref().and_then(severity_of);
        if verdict.cleared_ms.is_some() {
            if self.config.cleared || follows {
                any |= put(Phase::Cleared)?;
            }
        } else if before.is_some_and(|before| before < verdict.severity) {
            any |= put(Phase::Worse)?;
        }
        Ok(any)
    }

    /// When it goes out at the earliest: mail that is not critical gathers.
    fn due_ms(&self, channel: &str, verdict: &Verdict, queued_ms: i64) -> i64 {
        let by_mail = [MAIL, USER_MAIL].contains(&channel);
        match self.config.digest_ms {
            Some(digest_ms) if by_mail && verdict.severity < Severity::Critical => {
                // Everything of one window has one due time, so it comes out of the queue together.
                (queued_ms.div_euclid(digest_ms) + 1) * digest_ms
            }
            _ => queued_ms + naming_wait_ms(verdict),
        }
    }
}
