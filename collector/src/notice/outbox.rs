//! What is to go where: queued once, delivered until it is taken.
//!
//! The queue is in `state.db` and unique per (episode, channel, phase), so neither a restart nor a
//! replay of facts repeats a notice or loses one. A crash between the other side's yes and our
//! note of it repeats one delivery, with the same message id: the best that can be had.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{
    MailError, Notice, NoticeConfig, Phase, RenderError, Renderer, WebhookError, mail::Mail,
    webhook::Webhook,
};
use crate::{
    causes::chain,
    clock::Clock,
    registry::{DueNotice, NewNotice, Registry, RegistryError},
    verdict::{Rule, Severity, Verdict},
};

/// Notices taken from the queue at once.
const DUE_MAX: u32 = 32;

/// First pause after a failed delivery; doubles up to the longest.
const RETRY_FIRST_MS: i64 = 30 * 1000;

/// The agent names the victim of an out-of-memory kill up to three samples after the kill: a mail
/// that says which notebook it was is worth the wait.
const NAMING_WAIT_MS: i64 = 20 * 1000;

/// Longest pause between attempts.
const RETRY_LONGEST_MS: i64 = 60 * 60 * 1000;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// A notice that nobody took for this long is news no more.
const GIVE_UP_MS: i64 = DAY_MS;

/// How long small state is kept: names of notebooks are in it.
const KEPT_MS: i64 = 30 * DAY_MS;

/// Longest sleep: the clock may have been set meanwhile.
const SLEEP_LONGEST: Duration = Duration::from_secs(60);

/// Pause after the registry refused.
const TROUBLE_PAUSE: Duration = Duration::from_secs(10);

/// Open episodes remembered as written; beyond it they are written again, which changes nothing.
const WRITTEN_MAX: usize = 100_000;

const MAIL: &str = "mail";

/// Queues and delivers notices to admins, and keeps verdict episodes.
pub struct Outbox {
    registry: Registry,
    clock: Arc<dyn Clock>,
    config: NoticeConfig,
    renderer: Renderer,
    mail: Option<Mail>,
    webhooks: Vec<Webhook>,
    written: Mutex<HashMap<String, Written>>,
    wake: Notify,
    counters: Counters,
}

/// What was last written of an open episode.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Written {
    severity: Severity,
    has_workload: bool,
    /// It mattered then or before.
    matters: bool,
}

#[derive(Default)]
struct Counters {
    sent: AtomicU64,
    failed: AtomicU64,
    given_up: AtomicU64,
    capped: AtomicU64,
}

/// What happened so far, for the metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutboxStats {
    /// Notices taken by the other side.
    pub sent: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Notices that were never taken.
    pub given_up: u64,
    /// Notices held back because their channel or user had enough for the day.
    pub capped: u64,
}

/// Why the outbox could not be set up or go on.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// Small state.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// Mail's settings.
    #[error(transparent)]
    Mail(#[from] MailError),
    /// A web service's settings.
    #[error(transparent)]
    Webhook(#[from] WebhookError),
    /// A template.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// The thread that writes small state is gone.
    #[error("cannot run on a thread that may wait")]
    Thread(#[from] tokio::task::JoinError),
}

/// What one delivery came to.
enum Delivery {
    Sent,
    Failed(Box<dyn std::error::Error + Send + Sync>),
    NoSuchChannel,
}

/// How long to wait for what the verdict does not say yet.
fn naming_wait_ms(verdict: &Verdict) -> i64 {
    let may_be_named =
        verdict.rule == Rule::Killed && verdict.workload.is_none() && verdict.cleared_ms.is_none();
    if may_be_named { NAMING_WAIT_MS } else { 0 }
}

// === impl Outbox ===

impl Outbox {
    /// Sets up the channels of `config`; what `registry` holds undelivered goes on.
    pub fn new(
        config: &NoticeConfig,
        registry: Registry,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OutboxError> {
        Ok(Self {
            registry,
            clock,
            renderer: Renderer::new(config.public_url.clone())?,
            mail: config.mail.as_ref().map(Mail::new).transpose()?,
            webhooks: config
                .webhooks
                .iter()
                .map(Webhook::new)
                .collect::<Result<_, _>>()?,
            config: config.clone(),
            written: Mutex::default(),
            wake: Notify::new(),
            counters: Counters::default(),
        })
    }

    /// Takes verdicts raised, updated or cleared: keeps their episodes, queues what is worth a
    /// notice. Waits for the disk, and touches it only when something is new.
    pub fn observe(&self, verdicts: &[Verdict]) -> Result<(), RegistryError> {
        for verdict in verdicts {
            let before = self.written.lock().get(&verdict.episode).copied();
            let now = Written {
                severity: verdict.severity,
                has_workload: verdict.workload.is_some(),
                matters: before.is_some_and(|before| before.matters)
                    || self.config.matters(verdict),
            };
            let open = verdict.cleared_ms.is_none();
            if open && before == Some(now) {
                continue;
            }
            self.registry.put_episode(verdict)?;
            self.queue(verdict, now.matters)?;
            let mut written = self.written.lock();
            if !open {
                written.remove(&verdict.episode);
                continue;
            }
            if written.len() >= WRITTEN_MAX {
                written.clear();
            }
            written.insert(verdict.episode.clone(), now);
        }
        Ok(())
    }

    /// Delivers what is due, for ever; to be dropped at the end of the program.
    pub async fn run(&self) {
        let mut prune_ms = i64::MIN;
        loop {
            let pause = match self.pass(&mut prune_ms).await {
                Ok(pause) => pause,
                Err(error) => {
                    tracing::error!(error = %chain(&error), "notices cannot be worked on");
                    TROUBLE_PAUSE
                }
            };
            // A wake-up in between is remembered.
            let _ = tokio::time::timeout(pause, self.wake.notified()).await;
        }
    }

    /// Delivers what is due now, once. Returns how many notices it worked on.
    pub async fn deliver_due(&self) -> Result<usize, OutboxError> {
        let now_ms = self.clock.now_ms();
        let due = self
            .waiting(move |registry| registry.due_notices(now_ms, DUE_MAX))
            .await?;
        let worked_on = due.len();
        let mut down = HashSet::new();
        for notice in due {
            self.deliver(notice, &mut down).await?;
        }
        Ok(worked_on)
    }

    /// What happened so far.
    #[must_use]
    pub fn stats(&self) -> OutboxStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        OutboxStats {
            sent: read(&self.counters.sent),
            failed: read(&self.counters.failed),
            given_up: read(&self.counters.given_up),
            capped: read(&self.counters.capped),
        }
    }

    // === queueing ===

    fn queue(&self, verdict: &Verdict, matters: bool) -> Result<(), RegistryError> {
        let worth = self
            .config
            .rules
            .iter()
            .any(|(rule, from)| *rule == verdict.rule && verdict.severity >= *from);
        if !worth {
            return Ok(());
        }
        let webhooks = self.webhooks.iter().map(Webhook::channel);
        let queued_ms = self.clock.now_ms();
        let due_ms = queued_ms + naming_wait_ms(verdict);
        let mut any = false;
        for channel in self.mail.iter().map(|_| MAIL).chain(webhooks) {
            let put = |phase: Phase| {
                self.registry.queue_notice(&NewNotice {
                    episode: &verdict.episode,
                    channel,
                    phase: phase.as_str(),
                    user: &verdict.key.user,
                    queued_ms,
                    due_ms,
                })
            };
            // Before a restart it may have mattered, although its end does not show that.
            let opened = Phase::Opened.as_str();
            let told = matters
                || self
                    .registry
                    .notice_known(&verdict.episode, channel, opened)?;
            if !told {
                continue;
            }
            any |= put(Phase::Opened)?;
            if verdict.cleared_ms.is_some() && self.config.cleared {
                any |= put(Phase::Cleared)?;
            }
        }
        if any {
            self.wake.notify_one();
        }
        Ok(())
    }

    // === delivering ===

    async fn pass(&self, prune_ms: &mut i64) -> Result<Duration, OutboxError> {
        let now_ms = self.clock.now_ms();
        if now_ms >= *prune_ms {
            self.waiting(move |registry| registry.prune(now_ms - KEPT_MS))
                .await?;
            *prune_ms = now_ms + DAY_MS;
        }
        if self.deliver_due().await? > 0 {
            return Ok(Duration::ZERO); // there may be more
        }
        let next_ms = self.waiting(|registry| registry.next_notice_ms()).await?;
        let wait = next_ms.map_or(SLEEP_LONGEST, |next_ms| {
            Duration::from_millis(next_ms.saturating_sub(now_ms).max(0) as u64)
        });
        Ok(wait.min(SLEEP_LONGEST))
    }

    /// `down` are channels that failed in this pass: one timeout is enough for all their notices.
    async fn deliver(&self, due: DueNotice, down: &mut HashSet<String>) -> Result<(), OutboxError> {
        let now_ms = self.clock.now_ms();
        if down.contains(&due.channel) {
            return self.put_off(&due, now_ms).await;
        }
        let episode = due.episode.clone();
        let verdict = self
            .waiting(move |registry| registry.episode(&episode))
            .await?;
        let Some(verdict) = verdict else {
            return self.drop_notice(&due, "its verdict is gone").await;
        };
        let Some(last_words) = self.room(&due, now_ms).await? else {
            self.counters.capped.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(
                channel = due.channel,
                episode = due.episode,
                "a notice is held back: its channel or user had enough for 24 hours"
            );
            return self.drop_notice(&due, "capped").await;
        };
        let phase = match due.phase.as_str() {
            "cleared" => Phase::Cleared,
            _ => Phase::Opened,
        };
        let notice = self.renderer.notice(&verdict, phase, last_words)?;
        match self.hand_over(&due.channel, &notice, now_ms).await {
            Delivery::Sent => {
                self.counters.sent.fetch_add(1, Ordering::Relaxed);
                let id = due.id;
                self.waiting(move |registry| registry.notice_sent(id, now_ms))
                    .await
            }
            Delivery::Failed(error) => {
                self.counters.failed.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(
                    channel = due.channel, attempts = due.attempts + 1, error = %chain(&*error),
                    "a notice was not delivered"
                );
                down.insert(due.channel.clone());
                self.put_off(&due, now_ms).await
            }
            Delivery::NoSuchChannel => self.drop_notice(&due, "no such channel").await,
        }
    }

    async fn hand_over(&self, channel: &str, notice: &Notice, now_ms: i64) -> Delivery {
        if let Some(mail) = self.mail.as_ref().filter(|_| channel == MAIL) {
            return match mail.send(notice, now_ms).await {
                Ok(()) => Delivery::Sent,
                Err(error) => Delivery::Failed(error.into()),
            };
        }
        match self.webhooks.iter().find(|hook| hook.channel() == channel) {
            None => Delivery::NoSuchChannel,
            Some(webhook) => match webhook.send(notice).await {
                Ok(()) => Delivery::Sent,
                Err(error) => Delivery::Failed(error.into()),
            },
        }
    }

    /// Whether the day has room for one more: `None` if not; the last one says that it is.
    async fn room(
        &self,
        due: &DueNotice,
        now_ms: i64,
    ) -> Result<Option<Option<&'static str>>, OutboxError> {
        let (channel, user) = (due.channel.clone(), due.user.clone());
        let (sent, about_user) = self
            .waiting(move |registry| registry.notices_sent_since(&channel, &user, now_ms - DAY_MS))
            .await?;
        let (max, user_max) = (self.config.per_day_max, self.config.per_user_day_max);
        Ok(match (sent + 1, about_user + 1) {
            (sent, about_user) if sent > max || about_user > user_max => None,
            (sent, _) if sent == max => Some(Some(
                "This was the last notice for the next hours: the day's bound is reached. \
                 The hub page shows what else happens.",
            )),
            (_, about_user) if about_user == user_max => Some(Some(
                "This was the last notice about this user for the next hours: the day's bound \
                 is reached. The hub page shows what else happens.",
            )),
            _ => Some(None),
        })
    }

    async fn put_off(&self, due: &DueNotice, now_ms: i64) -> Result<(), OutboxError> {
        if now_ms - due.queued_ms >= GIVE_UP_MS {
            self.counters.given_up.fetch_add(1, Ordering::Relaxed);
            tracing::error!(
                channel = due.channel,
                episode = due.episode,
                "a notice is given up: nobody took it for a day"
            );
            return self.drop_notice(due, "given up").await;
        }
        let pause_ms = RETRY_FIRST_MS << due.attempts.min(7);
        let (id, next_ms) = (due.id, now_ms + pause_ms.min(RETRY_LONGEST_MS));
        self.waiting(move |registry| registry.notice_retry(id, next_ms))
            .await
    }

    async fn drop_notice(&self, due: &DueNotice, why: &'static str) -> Result<(), OutboxError> {
        let id = due.id;
        self.waiting(move |registry| registry.notice_dropped(id, why))
            .await
    }

    /// Runs `work` where waiting for the disk holds nobody up.
    async fn waiting<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Registry) -> Result<T, RegistryError> + Send + 'static,
    ) -> Result<T, OutboxError> {
        let registry = self.registry.clone();
        Ok(tokio::task::spawn_blocking(move || work(&registry)).await??)
    }
}
