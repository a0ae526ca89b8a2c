//! One round: ask, judge, stop.

use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use tokio::sync::Mutex;

use super::{
    Culler,
    answer::{Answer, AskError},
    judge::{Basis, Judgement},
};
use crate::{
    causes::chain,
    hub::{
        HubError,
        stop::{Carried, HubRunning, HubUser},
    },
};

/// A collector that is silent for no longer spares everybody.
const SILENT_SPARED_MS: i64 = 60 * 60 * 1000;

/// Whoever is stopped was judged no longer ago: stopping many takes minutes, in which people come
/// back.
const ANSWER_FRESH_MS: i64 = 30_000;

/// What came of a round.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// By user and server; a user's own row after those of their servers.
    pub(super) rows: Vec<Told>,
    /// Why the round knew less than it should.
    pub(super) trouble: Option<String>,
}

/// One server, or one user, and what became of it.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) user: String,
    /// `None` for the user as such.
    pub(super) server: Option<String>,
    pub(super) outcome: Outcome,
    pub(super) judgement: Judgement,
}

/// What became of a server or user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Nothing.
    Kept,
    /// It would be stopped, were this no dry run.
    Would,
    /// Stopped, or deleted.
    Out,
    /// The hub takes long to stop it.
    Slowly,
    /// It was gone already.
    Gone,
    /// The hub did not do it.
    Failed,
}

/// What a round goes by.
enum Known {
    Answer(Mutex<Fresh>),
    Spare(String),
    Hub,
}

/// An answer, and when it was given by the clock since boot.
struct Fresh {
    answer: Arc<Answer>,
    at_ms: i64,
}

// === impl Culler ===

impl Culler {
    /// One round. What cannot be known stops nothing.
    pub(super) async fn round(&self) -> Round {
        let users = match self.users().await {
            Ok(users) => users,
            Err(e) => {
                return Round {
                    trouble: Some(format!("nothing is stopped: {}", chain(&e))),
                    ..Round::default()
                };
            }
        };
        let (known, trouble) = self.known().await;
        let known = &known;
        let mut rows: Vec<Told> = stream::iter(users)
            .map(|user| self.user(user, known))
            .buffer_unordered(self.concurrency())
            .flat_map(stream::iter)
            .collect()
            .await;
        let place = |told: &Told| {
            (
                told.user.clone(),
                told.server.is_none(),
                told.server.clone(),
            )
        };
        rows.sort_by_key(place);
        Round { rows, trouble }
    }

    /// Everybody whom the round is about.
    async fn users(&self) -> Result<Vec<HubUser>, HubError> {
        let page = self.settings.page_users;
        let mut users = self.hub.users_in("ready", page).await?;
        if self.settings.users {
            users.extend(self.hub.users_in("inactive", page).await?);
        }
        Ok(users)
    }

    /// What is gone by, and what is wrong with it.
    async fn known(&self) -> (Known, Option<String>) {
        let asked = self.collector.ask().await;
        let now_ms = self.clock.boot_ms();
        let mut silent_since_ms = self.silent_since_ms.lock();
        match asked {
            Ok(answer) => {
                *silent_since_ms = None;
                let answer = Arc::new(answer);
                let at_ms = now_ms;
                (Known::Answer(Mutex::new(Fresh { answer, at_ms })), None)
            }
            Err(e) => {
                let since_ms = *silent_since_ms.get_or_insert(now_ms);
                let silent_ms = now_ms.saturating_sub(since_ms);
                let why = chain(&e);
                if silent_ms > SILENT_SPARED_MS {
                    let trouble = format!("the hub's last_activity is gone by: {why}");
                    return (Known::Hub, Some(trouble));
                }
                let trouble = format!("nothing is stopped: {why}");
                let spared = "unknown, so kept: the collector does not answer".to_owned();
                (Known::Spare(spared), Some(trouble))
            }
        }
    }

    /// One user with their servers, one after the other.
    async fn user(&self, user: HubUser, known: &Known) -> Vec<Told> {
        let mut told = Vec::with_capacity(user.servers.len() + 1);
        for server in &user.servers {
            told.push(self.server(&user, server, known).await);
        }
        let runs =
            |told: &Told| !matches!(told.outcome, Outcome::Out | Outcome::Gone | Outcome::Would);
        if self.settings.users && !told.iter().any(runs) {
            told.push(self.person(&user).await);
        }
        told
    }

    async fn server(&self, user: &HubUser, server: &HubRunning, known: &Known) -> Told {
        let mut judgement = self.judge(user, server, known, false).await;
        if judgement.stop && !self.settings.dry_run {
            judgement = self.judge(user, server, known, true).await;
        }
        let (outcome, judgement) = if !judgement.stop {
            (Outcome::Kept, judgement)
        } else if self.settings.dry_run {
            (Outcome::Would, judgement)
        } else {
            let remove = self.settings.remove_named_servers;
            let stopped = self.hub.stop(&user.name, &server.name, remove).await;
            carried(stopped, judgement)
        };
        Told {
            user: user.name.clone(),
            server: Some(server.name.clone()),
            outcome,
            judgement,
        }
    }

    /// Judges one server; with `now`, by an answer that is fresh.
    async fn judge(
        &self,
        user: &HubUser,
        server: &HubRunning,
        known: &Known,
        now: bool,
    ) -> Judgement {
        let answer = match known {
            Known::Answer(fresh) => match self.fresh(fresh, now).await {
                Ok(answer) => Some(answer),
                Err(e) => {
                    return Judgement {
                        reason: format!("unknown by now, so kept: {}", chain(&e)),
                        ..Judgement::default()
                    };
                }
            },
            _ => None,
        };
        let basis = match (known, &answer) {
            (_, Some(answer)) => Basis::Answer(answer),
            (Known::Spare(why), _) => Basis::Spare(why),
            _ => Basis::Hub,
        };
        self.wanted.judge(user, server, basis, self.clock.now_ms())
    }

    /// The answer; with `now`, asked anew when it has become old.
    async fn fresh(&self, fresh: &Mutex<Fresh>, now: bool) -> Result<Arc<Answer>, AskError> {
        // Held while asking: all who wait for a new answer want the same one.
        let mut fresh = fresh.lock().await;
        let age_ms = self.clock.boot_ms().saturating_sub(fresh.at_ms);
        if now && age_ms > ANSWER_FRESH_MS {
            let answer = Arc::new(self.collector.ask().await?);
            let at_ms = self.clock.boot_ms();
            *fresh = Fresh { answer, at_ms };
        }
        Ok(Arc::clone(&fresh.answer))
    }

    /// A user of whom nothing runs any more.
    async fn person(&self, user: &HubUser) -> Told {
        let judgement = self.wanted.judge_user(user, self.clock.now_ms());
        let (outcome, judgement) = if !judgement.stop {
            (Outcome::Kept, judgement)
        } else if self.settings.dry_run {
            (Outcome::Would, judgement)
        } else {
            self.delete(user, judgement).await
        };
        Told {
            user: user.name.clone(),
            server: None,
            outcome,
            judgement,
        }
    }

    /// Deletes a user, unless they came back: the hub would stop their new server for it.
    async fn delete(&self, user: &HubUser, judgement: Judgement) -> (Outcome, Judgement) {
        match self.hub.user_now(&user.name).await {
            Ok(Some(now)) if !now.servers.is_empty() => {
                let reason = "they came back meanwhile".to_owned();
                let judgement = Judgement {
                    stop: false,
                    reason,
                    ..judgement
                };
                (Outcome::Kept, judgement)
            }
            Ok(Some(_)) => carried(self.hub.delete_user(&user.name).await, judgement),
            Ok(None) => (Outcome::Gone, judgement),
            Err(e) => carried(Err(e), judgement),
        }
    }
}

fn carried(carried: Result<Carried, HubError>, mut judgement: Judgement) -> (Outcome, Judgement) {
    let outcome = match carried {
        Ok(Carried::Out) => Outcome::Out,
        Ok(Carried::Slowly) => Outcome::Slowly,
        Ok(Carried::Gone) => Outcome::Gone,
        Err(e) => {
            judgement.reason = format!("{}; {}", judgement.reason, chain(&e));
            Outcome::Failed
        }
    };
    (outcome, judgement)
}

// === impl Round ===

impl Round {
    /// Why it was no whole success, if so.
    pub(super) fn failed(&self) -> Option<String> {
        let failed = |told: &&Told| told.outcome == Outcome::Failed;
        match (&self.trouble, self.rows.iter().filter(failed).count()) {
            (Some(trouble), _) => Some(trouble.clone()),
            (None, 0) => None,
            (None, count) => Some(format!("the hub failed to stop {count}; see above")),
        }
    }
}

// === impl Outcome ===

impl Outcome {
    /// In a word, of a server or of a user.
    pub(super) fn as_str(self, of_user: bool) -> &'static str {
        match (self, of_user) {
            (Self::Kept, _) => "keep",
            (Self::Would, false) => "stop",
            (Self::Would, true) => "delete",
            (Self::Out, false) => "stopped",
            (Self::Out, true) => "deleted",
            (Self::Slowly, _) => "slow",
            (Self::Gone, _) => "gone",
            (Self::Failed, _) => "failed",
        }
    }
}
