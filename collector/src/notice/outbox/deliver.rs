//! Handing over what is due: one attempt per channel that is down, pauses that grow, a day's bound.

use std::{collections::HashMap, error::Error};

use super::{
    DAY_MS, MAIL, MESSAGE_MAIL, NoticeEvent, Outbox, OutboxError, USER_MAIL, WARNING_MAIL,
    outlet_of,
    parcel::{Content, Parcel},
};
use crate::{
    causes::chain,
    notice::{Letter, Notice, Phase, Reader, mail::Receiver},
    registry::DueNotice,
    stats::Outcome,
};

/// Notices taken from the queue at once; as many share a mail at most.
const DUE_MAX: u32 = 32;

/// First pause after a failed delivery; doubles up to the longest.
const RETRY_FIRST_MS: i64 = 30 * 1000;

/// Longest pause between attempts.
const RETRY_LONGEST_MS: i64 = 60 * 60 * 1000;

/// A notice that nobody took for this long is news no more.
const GIVE_UP_MS: i64 = DAY_MS;

/// Alertmanager takes an alert for over that it has not heard of for some time.
pub(crate) const ALERT_AGAIN_MS: i64 = 10 * 60 * 1000;

/// What one delivery came to.
enum Delivery {
    Sent,
    /// The other side is not to be had: nothing else is tried there now.
    Failed(Box<dyn Error + Send + Sync>),
    /// This one failed; another may go through.
    FailedAlone(Box<dyn Error + Send + Sync>),
    Never(&'static str, Option<Outcome>),
}

/// All of it goes by one SMTP server.
fn lane(channel: &str) -> &str {
    match channel {
        USER_MAIL | WARNING_MAIL | MESSAGE_MAIL => MAIL,
        other => other,
    }
}

/// When `due` is tried next, now that it failed.
fn retry_ms(due: &DueNotice, now_ms: i64) -> i64 {
    let pause_ms = RETRY_FIRST_MS << due.attempts.min(7);
    now_ms + pause_ms.min(RETRY_LONGEST_MS)
}

// === impl Outbox ===

impl Outbox {
    /// Delivers what is due now, once. Returns how many notices it worked on.
    pub async fn deliver_due(&self) -> Result<usize, OutboxError> {
        let now_ms = self.clock.now_ms();
        let due = self
            .waiting(move |registry| registry.due_notices(now_ms, DUE_MAX))
            .await?;
        let worked_on = due.len();
        let mut batches: Vec<Vec<Parcel>> = Vec::new();
        for due in due {
            let Some(parcel) = self.open(due, now_ms).await? else {
                continue;
            };
            let gathers = self.config.digest_ms.is_some() && parcel.gathers();
            let batch = batches.iter_mut().find(|batch| {
                let first = batch.first();
                gathers && first.is_some_and(|first| first.gathers() && first.goes_with(&parcel))
            });
            match batch {
                Some(batch) => batch.push(parcel),
                None => batches.push(vec![parcel]),
            }
        }
        let mut down = HashMap::new();
        for batch in batches {
            self.deliver(batch, &mut down, now_ms).await?;
        }
        Ok(worked_on)
    }

    /// `down` are lanes that failed in this pass, and until when: one timeout is enough for all
    /// their notices.
    async fn deliver(
        &self,
        batch: Vec<Parcel>,
        down: &mut HashMap<String, i64>,
        now_ms: i64,
    ) -> Result<(), OutboxError> {
        let Some(lane) = batch.first().map(|first| lane(&first.due.channel)) else {
            return Ok(());
        };
        if let Some(until_ms) = down.get(lane) {
            for parcel in &batch {
                self.hold_back(parcel, *until_ms, now_ms).await?;
            }
            return Ok(());
        }
        let lane = lane.to_owned();
        let (batch, last_words) = self.with_room(batch, now_ms).await?;
        let Some(first) = batch.first() else {
            return Ok(());
        };
        match self.hand_over(&batch, first, last_words, now_ms).await? {
            Delivery::Sent => {
                for parcel in &batch {
                    self.count(parcel, Outcome::Sent);
                    self.mailed(&parcel.due, true);
                    self.settle(parcel, now_ms).await?;
                }
            }
            Delivery::Failed(error) => {
                down.insert(lane, retry_ms(&first.due, now_ms));
                self.failed(&batch, first, &*error, now_ms).await?;
            }
            Delivery::FailedAlone(error) => self.failed(&batch, first, &*error, now_ms).await?,
            Delivery::Never(why, outcome) => {
                for parcel in &batch {
                    if let Some(outcome) = outcome {
                        self.count(parcel, outcome);
                    }
                    self.mailed(&parcel.due, false);
                    self.drop_notice(&parcel.due, why).await?;
                }
            }
        }
        Ok(())
    }

    /// What of `batch` the day has room for, and what is to be said with it.
    async fn with_room(
        &self,
        batch: Vec<Parcel>,
        now_ms: i64,
    ) -> Result<(Vec<Parcel>, Option<&'static str>), OutboxError> {
        let (mut kept, mut last_words) = (Vec::new(), None);
        for parcel in batch {
            // One user who had enough is no reason to tell nothing of the others.
            if let Some(words) = self.room(&parcel, now_ms).await? {
                if kept.is_empty() {
                    last_words = words;
                }
                kept.push(parcel);
                continue;
            }
            self.count(&parcel, Outcome::Capped);
            self.drop_notice(&parcel.due, "capped").await?;
            tracing::warn!(
                channel = parcel.due.channel,
                "a notice is held back: its channel or user had enough for 24 hours"
            );
        }
        Ok((kept, last_words))
    }

    async fn failed(
        &self,
        batch: &[Parcel],
        first: &Parcel,
        error: &(dyn Error + Send + Sync),
        now_ms: i64,
    ) -> Result<(), OutboxError> {
        let (channel, attempts) = (&first.due.channel, first.due.attempts + 1);
        let error = chain(error);
        tracing::warn!(channel, attempts, error, "a notice was not delivered");
        self.count(first, Outcome::Failed);
        for parcel in batch {
            self.put_off(parcel, now_ms, &error).await?;
        }
        Ok(())
    }

    async fn hand_over(
        &self,
        batch: &[Parcel],
        first: &Parcel,
        last_words: Option<&str>,
        now_ms: i64,
    ) -> Result<Delivery, OutboxError> {
        let channel = &*first.due.channel;
        let hook = self.webhooks.iter().find(|hook| hook.channel() == channel);
        if let (Some(hook), Content::Verdict(verdict, phase)) = (hook, &first.content) {
            let notice = self
                .renderer
                .notice(verdict, *phase, Reader::Admin, last_words)?;
            return Ok(match hook.send(&notice, now_ms).await {
                Ok(()) => Delivery::Sent,
                Err(error) => Delivery::Failed(error.into()),
            });
        }
        let reader = match channel {
            MAIL => Reader::Admin,
            USER_MAIL | WARNING_MAIL | MESSAGE_MAIL => Reader::User,
            _ => return Ok(Delivery::Never("no such channel", None)),
        };
        let Some(mail) = &self.mail else {
            return Ok(Delivery::Never("no such channel", None));
        };
        let to = match (reader, &self.addresses) {
            (Reader::Admin, _) if mail.has_admins() => Receiver::Admins,
            (Reader::Admin, _) | (Reader::User, None) => {
                return Ok(Delivery::Never("no such channel", None));
            }
            (Reader::User, Some(addresses)) => match addresses.of(&first.due.user).await {
                Ok(Some(address)) => Receiver::One(address),
                Ok(None) => {
                    return Ok(Delivery::Never("no address", Some(Outcome::NoAddress)));
                }
                Err(error) => return Ok(Delivery::FailedAlone(error.into())),
            },
        };
        let letter = self
            .letter(batch, first, reader, last_words, now_ms)
            .await?;
        Ok(match mail.send(&letter, &to, now_ms).await {
            Ok(()) => Delivery::Sent,
            // It may be about one address; it may be about us, so it is tried again.
            Err(error) if reader == Reader::User && error.may_be_alone() => {
                Delivery::FailedAlone(error.into())
            }
            Err(error) => Delivery::Failed(error.into()),
        })
    }

    async fn letter(
        &self,
        batch: &[Parcel],
        first: &Parcel,
        reader: Reader,
        last_words: Option<&str>,
        now_ms: i64,
    ) -> Result<Letter, OutboxError> {
        let (verdict, phase) = match &first.content {
            Content::Message(message) => return Ok(self.renderer.message(message, &first.due)?),
            Content::Warning(warning) => return Ok(self.renderer.warning(warning)?),
            Content::Verdict(verdict, phase) => (verdict, *phase),
        };
        let write = |parcel: &Parcel| match &parcel.content {
            Content::Verdict(verdict, phase) => {
                let notice = self.renderer.notice(verdict, *phase, reader, None);
                Some(notice.map_err(OutboxError::from))
            }
            Content::Message(_) | Content::Warning(_) => None,
        };
        if batch.len() > 1 {
            let notices: Vec<Notice> = batch.iter().filter_map(write).collect::<Result<_, _>>()?;
            return Ok(self.renderer.digest(&notices, last_words)?);
        }
        let scene = match &self.scenes {
            None => None,
            Some(scenes) => {
                let (scenes, verdict) = (scenes.clone(), verdict.clone());
                tokio::task::spawn_blocking(move || scenes.of(&verdict, now_ms)).await?
            }
        };
        let notice = self
            .renderer
            .letter(verdict, phase, reader, last_words, scene.as_ref())?;
        Ok(notice)
    }

    /// Whether the day has room for one more: `None` if not; the last one says that it is.
    async fn room(
        &self,
        parcel: &Parcel,
        now_ms: i64,
    ) -> Result<Option<Option<&'static str>>, OutboxError> {
        let (channel, user) = (parcel.due.channel.clone(), parcel.due.user.clone());
        let bounds = match (&*channel, &self.config.user_mail) {
            // Bounded by the alerts there are, by how many an admin writes to, and by policy.
            (MESSAGE_MAIL | WARNING_MAIL, _) => return Ok(Some(None)),
            _ if self.is_alertmanager(&channel) => return Ok(Some(None)),
            (USER_MAIL, Some(users)) => (users.per_day_max, users.per_user_day_max),
            _ => (self.config.per_day_max, self.config.per_user_day_max),
        };
        let (sent, about_user) = self
            .waiting(move |registry| registry.notices_sent_since(&channel, &user, now_ms - DAY_MS))
            .await?;
        let by_admins = parcel.due.channel != USER_MAIL;
        let (max, user_max) = bounds;
        Ok(match (sent + 1, about_user + 1) {
            (sent, about_user) if sent > max || about_user > user_max => None,
            (sent, _) if sent == max && by_admins => Some(Some(
                "This was the last notice for the next hours: the day's bound is reached. \
                 The hub page shows what else happens.",
            )),
            (_, about_user) if about_user == user_max && by_admins => Some(Some(
                "This was the last notice about this user for the next hours: the day's bound \
                 is reached. The hub page shows what else happens.",
            )),
            (_, about_user) if about_user == user_max => Some(Some(
                "This was the last mail about your server for the next hours: the day's bound is \
                 reached. The meter in JupyterLab shows what else happens.",
            )),
            _ => Some(None),
        })
    }

    /// `parcel` was taken; what of it is to be told again, and when.
    async fn settle(&self, parcel: &Parcel, now_ms: i64) -> Result<(), OutboxError> {
        let again_ms = match &parcel.content {
            Content::Verdict(verdict, phase) if *phase != Phase::Cleared => {
                let open = verdict.cleared_ms.is_none();
                let pause_ms = if self.is_alertmanager(&parcel.due.channel) {
                    Some(ALERT_AGAIN_MS)
                } else {
                    self.config
                        .repeat_ms
                        .filter(|_| parcel.due.channel != USER_MAIL)
                };
                pause_ms.filter(|_| open).map(|pause_ms| now_ms + pause_ms)
            }
            _ => None,
        };
        let due = parcel.due.clone();
        self.waiting(move |registry| match again_ms {
            Some(again_ms) if due.phase == Phase::Again.as_str() => {
                registry.notice_again(due.id, now_ms, again_ms)
            }
            Some(again_ms) => registry.notice_sent_and_again(due.id, now_ms, again_ms),
            None => registry.notice_sent(due.id, now_ms),
        })
        .await
    }

    async fn put_off(&self, parcel: &Parcel, now_ms: i64, error: &str) -> Result<(), OutboxError> {
        if self.is_given_up(parcel, now_ms).await? {
            return Ok(());
        }
        let (id, next_ms) = (parcel.due.id, retry_ms(&parcel.due, now_ms));
        let error = error.to_owned();
        self.waiting(move |registry| registry.notice_retry(id, next_ms, &error))
            .await
    }

    /// `parcel` was not tried: its lane is down until then.
    async fn hold_back(
        &self,
        parcel: &Parcel,
        until_ms: i64,
        now_ms: i64,
    ) -> Result<(), OutboxError> {
        if self.is_given_up(parcel, now_ms).await? {
            return Ok(());
        }
        let id = parcel.due.id;
        self.waiting(move |registry| registry.notice_wait(id, until_ms))
            .await
    }

    /// Gives `parcel` up if it is old. Of a warning the state knows by itself for how long mail is tried.
    async fn is_given_up(&self, parcel: &Parcel, now_ms: i64) -> Result<bool, OutboxError> {
        let due = &parcel.due;
        if now_ms - due.queued_ms < GIVE_UP_MS || self.stays_news(parcel) {
            return Ok(false);
        }
        self.count(parcel, Outcome::GivenUp);
        tracing::error!(
            channel = due.channel,
            episode = due.episode,
            "a notice is given up: nobody took it for a day"
        );
        self.drop_notice(due, "given up").await?;
        Ok(true)
    }

    /// What is open still is no old news to Alertmanager, nor to whoever is reminded of it.
    fn stays_news(&self, parcel: &Parcel) -> bool {
        let Content::Verdict(verdict, phase) = &parcel.content else {
            return false;
        };
        let follows = *phase == Phase::Again || self.is_alertmanager(&parcel.due.channel);
        verdict.cleared_ms.is_none() && follows
    }

    pub(super) async fn drop_notice(
        &self,
        due: &DueNotice,
        why: &'static str,
    ) -> Result<(), OutboxError> {
        let id = due.id;
        self.waiting(move |registry| registry.notice_dropped(id, why))
            .await
    }

    /// Counts what became of `parcel`, and tells whoever watches.
    pub(super) fn count(&self, parcel: &Parcel, outcome: Outcome) {
        self.stats.notice(outlet_of(&parcel.due.channel), outcome);
        // Nobody needs to listen.
        let _ = self.events.send(NoticeEvent {
            at_ms: self.clock.now_ms(),
            episode: parcel.due.episode.clone(),
            rule: parcel.rule(),
            key: parcel.key(),
            channel: parcel.due.channel.clone(),
            phase: parcel.due.phase.clone(),
            outcome,
        });
    }
}
