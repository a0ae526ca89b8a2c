//! What is to go where: queued once, delivered until it is taken.
//!
//! The queue is in `state.db` and unique per (episode, channel, phase), so neither a restart nor a
//! replay of facts repeats a notice or loses one. A crash between the other side's yes and our
//! note of it repeats one delivery, with the same message id: the best that can be had.

mod deliver;
mod parcel;
mod queue;
mod warning;

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::sync::{Notify, broadcast};

use super::{
    MailError, NoticeConfig, RenderError, Renderer, WebhookError, address::Addresses, mail::Mail,
    scene::Scenes, webhook::Webhook,
};
use crate::{
    causes::chain,
    clock::Clock,
    fact::ServerKey,
    hub::client::HubClient,
    pipeline::desk::Desk,
    registry::{Registry, RegistryError},
    stats::{Outcome, Outlet, Stats},
    verdict::{Rule, Severity, Verdict},
};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// How long small state is kept: names of notebooks are in it.
const KEPT_MS: i64 = 30 * DAY_MS;

/// Longest sleep: the clock may have been set meanwhile.
const SLEEP_LONGEST: Duration = Duration::from_secs(60);

/// Pause after the registry refused.
const TROUBLE_PAUSE: Duration = Duration::from_secs(10);

/// Open episodes remembered as written; beyond it they are written again, which changes nothing.
const WRITTEN_MAX: usize = 100_000;

/// What a slow listener may be behind.
const EVENTS_QUEUE: usize = 256;

/// What is shown in JupyterLab; nothing of it is queued.
pub(crate) const LAB: &str = "lab";

/// Mail to the admins.
pub(super) const MAIL: &str = "mail";

/// Mail to users about verdicts.
pub(super) const USER_MAIL: &str = "user-mail";

/// Mail to users whose server is about to be stopped.
const WARNING_MAIL: &str = "warning-mail";

/// Mail to users that an admin wrote.
pub(crate) const MESSAGE_MAIL: &str = "message-mail";

/// Queues and delivers notices, and keeps verdict episodes.
pub struct Outbox {
    registry: Registry,
    clock: Arc<dyn Clock>,
    stats: Stats,
    config: NoticeConfig,
    renderer: Renderer,
    mail: Option<Mail>,
    addresses: Option<Addresses>,
    webhooks: Vec<Webhook>,
    scenes: Option<Arc<dyn Scenes>>,
    desk: Option<Desk>,
    written: Mutex<HashMap<String, Written>>,
    wake: Notify,
    events: broadcast::Sender<NoticeEvent>,
}

/// Something happened to a notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoticeEvent {
    /// When.
    pub at_ms: i64,
    /// What it speaks of.
    pub episode: String,
    /// The rule, if a verdict is behind it.
    pub rule: Option<Rule>,
    /// Whose server it speaks of.
    pub key: ServerKey,
    /// Where it was to go.
    pub channel: String,
    /// Which stage of its episode it tells.
    pub phase: String,
    /// What became of it.
    pub outcome: Outcome,
}

/// What was last written of an open episode.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Written {
    severity: Severity,
    has_workload: bool,
    /// It mattered then or before.
    matters: bool,
}

/// What happened so far.
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

/// The outlet behind a channel's name.
fn outlet_of(channel: &str) -> Outlet {
    match channel {
        MAIL => Outlet::Mail,
        USER_MAIL => Outlet::UserMail,
        WARNING_MAIL => Outlet::WarningMail,
        MESSAGE_MAIL => Outlet::MessageMail,
        hook => {
            let kind = hook.split('-').next().unwrap_or_default();
            let known = Outlet::ALL.iter().find(|outlet| outlet.as_str() == kind);
            known.copied().unwrap_or(Outlet::Webhook)
        }
    }
}

// === impl Outbox ===

impl Outbox {
    /// Sets up the channels of `config`; what `registry` holds undelivered goes on.
    pub fn new(
        config: &NoticeConfig,
        registry: Registry,
        clock: Arc<dyn Clock>,
        stats: Stats,
    ) -> Result<Self, OutboxError> {
        let addresses = config.user_mail.as_ref();
        Ok(Self {
            registry,
            clock,
            stats,
            renderer: Renderer::new(config)?,
            mail: config.mail.as_ref().map(Mail::new).transpose()?,
            addresses: addresses.map(|users| Addresses::new(users, None)),
            webhooks: config
                .webhooks
                .iter()
                .map(Webhook::new)
                .collect::<Result<_, _>>()?,
            scenes: None,
            desk: None,
            config: config.clone(),
            written: Mutex::default(),
            wake: Notify::new(),
            events: broadcast::channel(EVENTS_QUEUE).0,
        })
    }

    /// Asks `hub` for addresses, where they are to come from it.
    #[must_use]
    pub fn with_hub(self, hub: &HubClient) -> Self {
        let users = self.config.user_mail.as_ref();
        Self {
            addresses: users.map(|users| Addresses::new(users, Some(hub.clone()))),
            ..self
        }
    }

    /// Puts a picture of what `scenes` knows into mail.
    #[must_use]
    pub fn with_scenes(self, scenes: Arc<dyn Scenes>) -> Self {
        Self {
            scenes: Some(scenes),
            ..self
        }
    }

    /// Says at `desk` who was warned.
    #[must_use]
    pub fn with_desk(self, desk: Desk) -> Self {
        Self {
            desk: Some(desk),
            ..self
        }
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

    /// Something was queued by somebody else.
    pub fn wake(&self) {
        self.wake.notify_one();
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

    /// What happened so far.
    #[must_use]
    pub fn stats(&self) -> OutboxStats {
        OutboxStats {
            sent: self.stats.notices(Outcome::Sent),
            failed: self.stats.notices(Outcome::Failed),
            given_up: self.stats.notices(Outcome::GivenUp),
            capped: self.stats.notices(Outcome::Capped),
        }
    }

    /// Whether users get mail.
    #[must_use]
    pub fn mails_users(&self) -> bool {
        self.mail.is_some() && self.addresses.is_some()
    }

    /// The person at the server of `verdict` is shown it in JupyterLab.
    pub fn shown(&self, verdict: &Verdict, phase: &str) {
        self.in_lab(verdict, phase, Outcome::Sent);
    }

    /// They are not, since they muted its rule.
    pub fn kept_quiet(&self, verdict: &Verdict, phase: &str) {
        self.in_lab(verdict, phase, Outcome::Muted);
    }

    fn in_lab(&self, verdict: &Verdict, phase: &str, outcome: Outcome) {
        self.stats.notice(Outlet::Lab, outcome);
        // Nobody needs to listen.
        let _ = self.events.send(NoticeEvent {
            at_ms: self.clock.now_ms(),
            episode: verdict.episode.clone(),
            rule: Some(verdict.rule),
            key: verdict.key.clone(),
            channel: LAB.to_owned(),
            phase: phase.to_owned(),
            outcome,
        });
    }

    /// Now, by the clock that notices go by.
    pub(crate) fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// Tells of what happens to notices from now on.
    pub fn events(&self) -> broadcast::Receiver<NoticeEvent> {
        self.events.subscribe()
    }

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
        let (next_ms, waiting) = self.waiting(|registry| registry.notices_waiting()).await?;
        self.stats.notices_waiting(waiting);
        let wait = next_ms.map_or(SLEEP_LONGEST, |next_ms| {
            Duration::from_millis(next_ms.saturating_sub(now_ms).max(0) as u64)
        });
        Ok(wait.min(SLEEP_LONGEST))
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
