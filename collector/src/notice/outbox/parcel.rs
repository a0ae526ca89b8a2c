//! What a row of the queue is about, and whether it is still to go out.

use super::{DAY_MS, MAIL, Outbox, OutboxError, USER_MAIL, WARNING_MAIL, warning::warning_of};
use crate::{
    fact::ServerKey,
    notice::{Phase, WebhookBody},
    registry::{Audience, DueNotice, Message, RegistryError},
    stats::Outcome,
    verdict::{Rule, Severity, Verdict},
    warning::Warning,
};

/// What has to wait does so for this long at least: nothing is asked again at once.
const WAIT_LEAST_MS: i64 = 1_000;

/// A row of the queue and what it tells.
pub(super) struct Parcel {
    pub(super) due: DueNotice,
    pub(super) content: Content,
}

/// What there is to tell.
pub(super) enum Content {
    /// A verdict, at a stage of its episode.
    Verdict(Box<Verdict>, Phase),
    /// What an admin wrote.
    Message(Message),
    /// That a server is about to be stopped.
    Warning(Warning),
}

// === impl Parcel ===

impl Parcel {
    pub(super) fn key(&self) -> ServerKey {
        ServerKey::new(&self.due.user, &self.due.server)
    }

    pub(super) fn rule(&self) -> Option<Rule> {
        match &self.content {
            Content::Verdict(verdict, _) => Some(verdict.rule),
            Content::Warning(_) => Some(Rule::Idle),
            Content::Message(_) => None,
        }
    }

    /// It may share a mail with others.
    pub(super) fn gathers(&self) -> bool {
        let by_mail = [MAIL, USER_MAIL].contains(&&*self.due.channel);
        let calm = |verdict: &Verdict| verdict.severity < Severity::Critical;
        by_mail && matches!(&self.content, Content::Verdict(verdict, _) if calm(verdict))
    }

    /// Both go to the same people.
    pub(super) fn goes_with(&self, other: &Self) -> bool {
        self.due.channel == other.due.channel
            && (self.due.channel == MAIL || self.due.user == other.due.user)
    }

    fn audience(&self) -> Audience {
        match &*self.due.channel {
            USER_MAIL => Audience::User,
            _ => Audience::Admins,
        }
    }
}

// === impl Outbox ===

impl Outbox {
    /// What `due` is about; `None` when it is settled or put off by that.
    pub(super) async fn open(
        &self,
        due: DueNotice,
        now_ms: i64,
    ) -> Result<Option<Parcel>, OutboxError> {
        if due.channel == WARNING_MAIL {
            let Some(warning) = warning_of(&due, now_ms) else {
                self.drop_notice(&due, "it cannot be read").await?;
                return Ok(None);
            };
            let content = Content::Warning(warning);
            return Ok(Some(Parcel { due, content }));
        }
        let episode = due.episode.clone();
        let found = self
            .waiting(move |registry| {
                Ok(match registry.message_of(&episode)? {
                    Some(message) => Some(Content::Message(message)),
                    None => registry.episode(&episode)?.map(|verdict| {
                        // The phase is the row's, filled in below.
                        Content::Verdict(Box::new(verdict), Phase::Opened)
                    }),
                })
            })
            .await?;
        let content = match (found, Phase::of(&due.phase)) {
            (Some(Content::Verdict(verdict, _)), Some(phase)) => Content::Verdict(verdict, phase),
            (Some(message @ Content::Message(_)), _) => message,
            _ => {
                self.drop_notice(&due, "its verdict is gone").await?;
                return Ok(None);
            }
        };
        let parcel = Parcel { due, content };
        match self.obstacle(&parcel, now_ms).await? {
            None => Ok(Some(parcel)),
            Some(Obstacle::Wait(until_ms)) => {
                let id = parcel.due.id;
                let until_ms = until_ms.max(now_ms + WAIT_LEAST_MS);
                self.waiting(move |registry| registry.notice_wait(id, until_ms))
                    .await?;
                Ok(None)
            }
            Some(Obstacle::Drop(why)) => {
                self.drop_notice(&parcel.due, why).await?;
                Ok(None)
            }
            Some(Obstacle::Muted(again_ms)) => {
                self.count(&parcel, Outcome::Muted);
                let id = parcel.due.id;
                self.waiting(move |registry| match again_ms {
                    Some(again_ms) => registry.notice_muted(id, again_ms),
                    None => registry.notice_dropped(id, "muted"),
                })
                .await?;
                Ok(None)
            }
        }
    }

    /// What keeps `parcel` from going out now.
    async fn obstacle(
        &self,
        parcel: &Parcel,
        now_ms: i64,
    ) -> Result<Option<Obstacle>, OutboxError> {
        let Content::Verdict(verdict, phase) = &parcel.content else {
            return Ok(None);
        };
        let again = *phase == Phase::Again;
        if again && verdict.cleared_ms.is_some() {
            return Ok(Some(Obstacle::Drop("over")));
        }
        // It has silences and acknowledgements of its own, and must know what is open.
        if self.is_alertmanager(&parcel.due.channel) {
            return Ok(None);
        }
        let (key, audience, rule) = (parcel.key(), parcel.audience(), verdict.rule.as_str());
        let episode = verdict.episode.clone();
        let may_mute = audience.may_mute(verdict.rule);
        let (muted, seen) = self
            .waiting(move |registry| {
                let muted = registry.muted_until_ms(&key, rule, audience, now_ms)?;
                let muted = muted.filter(|_| may_mute);
                Ok((
                    muted,
                    again && registry.is_acknowledged(&episode, audience)?,
                ))
            })
            .await?;
        if let Some(until_ms) = muted.filter(|_| again) {
            // It may be open still when the mute is over, or unmuted before.
            let look_ms = now_ms + self.config.repeat_ms.unwrap_or(DAY_MS);
            return Ok(Some(Obstacle::Wait(until_ms.min(look_ms))));
        }
        if let Some(until_ms) = muted {
            let open = verdict.cleared_ms.is_none();
            return Ok(Some(Obstacle::Muted(open.then_some(until_ms))));
        }
        if seen {
            return Ok(Some(Obstacle::Drop("acknowledged")));
        }
        let quiet = self.config.quiet.as_ref().filter(|_| parcel.gathers());
        let ends_ms = quiet.and_then(|quiet| quiet.ends_ms(now_ms));
        Ok(ends_ms.map(Obstacle::Wait))
    }

    /// Whether the user of `verdict` wants to hear no more of its rule now. Waits for the disk.
    pub fn is_muted_by_user(&self, verdict: &Verdict) -> Result<bool, RegistryError> {
        let audience = Audience::User;
        if !audience.may_mute(verdict.rule) {
            return Ok(false);
        }
        let (key, rule, now_ms) = (&verdict.key, verdict.rule.as_str(), self.clock.now_ms());
        let until_ms = self.registry.muted_until_ms(key, rule, audience, now_ms)?;
        Ok(until_ms.is_some())
    }

    pub(super) fn is_alertmanager(&self, channel: &str) -> bool {
        let hook = self.webhooks.iter().find(|hook| hook.channel() == channel);
        hook.is_some_and(|hook| hook.body() == WebhookBody::Alertmanager)
    }
}

/// Why a notice does not go out now.
enum Obstacle {
    /// Not before then.
    Wait(i64),
    /// Never, and why.
    Drop(&'static str),
    /// Nobody wants to hear of it; what is open still is told again then.
    Muted(Option<i64>),
}
