//! What people were promised: until when their server is kept, and when it stops.
//!
//! Held by name, not by server: a hold outlives the server's agent, and what was told must not be
//! told again because the picture of a server is not whole yet.

use std::collections::BTreeMap;

use super::{Changed, Phase, Server, State, kernels::Orders, people::move_keys};
use crate::{
    cull::{Judge, MAIL_TRIED_MS, Mode, Question},
    fact::{Fact, ServerKey},
    limits,
    person::{Fates, Moved},
    text::Label,
    warning::{self, News, Next, Stage, TakenBack, Warned, Warning},
};

/// What was told of a server that nobody hears of again is forgotten after this. Longer than mail is tried: whoever
/// it never reaches would be warned anew for ever.
const TOLD_KEPT_MS: i64 = 2 * MAIL_TRIED_MS;

/// Holds and warnings, by server.
#[derive(Debug, Default)]
pub(crate) struct Promises {
    holds: BTreeMap<ServerKey, i64>,
    warned: BTreeMap<ServerKey, Warned>,
    pub(super) kernels: Orders,
}

/// What a look found out about one server.
struct Found {
    key: ServerKey,
    stops_at_ms: Option<i64>,
    gone: bool,
    next: Next,
    idle_ms: Option<i64>,
    about: Option<warning::About>,
}

// === impl State ===

impl State {
    /// Remembers what was promised before the start.
    pub fn recall_promises(
        &mut self,
        holds: impl IntoIterator<Item = (ServerKey, i64)>,
        warned: impl IntoIterator<Item = (ServerKey, Warned)>,
    ) {
        self.promises.holds.extend(holds);
        self.promises.warned.extend(warned);
        for (key, until_ms) in &self.promises.holds {
            if let Some(server) = self.servers.get_mut(key) {
                server.held_until_ms = Some(*until_ms);
            }
        }
    }

    /// Until when the user of `key` keeps it.
    #[must_use]
    pub fn held_until_ms(&self, key: &ServerKey) -> Option<i64> {
        self.promises.holds.get(key).copied()
    }

    /// What its user was told of the end of `key`.
    #[must_use]
    pub fn warned(&self, key: &ServerKey) -> Option<&Warned> {
        self.promises.warned.get(key)
    }

    /// Takes in what is about holds and warnings; anything else changes nothing here.
    pub(super) fn promise(&mut self, fact: &Fact) -> Changed {
        match fact {
            Fact::Hold {
                at_ms: _,
                key,
                until_ms,
            } => self.hold(key, *until_ms),
            Fact::Shown {
                at_ms,
                key,
                episodes,
            } => self.shown(*at_ms, key, episodes),
            Fact::Mailed {
                at_ms,
                key,
                episode,
                taken,
            } => self.mailed(*at_ms, key, episode, *taken),
            Fact::Look { at_ms } => self.look(*at_ms),
            _ => Changed::default(),
        }
    }

    fn hold(&mut self, key: &ServerKey, until_ms: Option<i64>) -> Changed {
        let holds = &mut self.promises.holds;
        if holds.get(key).copied() == until_ms {
            return Changed::default();
        }
        match until_ms {
            // As many as there can be servers; the door lets nobody hold what is not there.
            Some(until_ms) if holds.len() < self.policy.servers_max || holds.contains_key(key) => {
                holds.insert(key.clone(), until_ms);
            }
            Some(_) => {
                self.counts.servers_refused += 1;
                return Changed::default();
            }
            None => drop(holds.remove(key)),
        }
        match self.servers.get_mut(key) {
            Some(server) => {
                server.held_until_ms = until_ms;
                Changed::of(key, Vec::new())
            }
            None => Changed::default(),
        }
    }

    /// A warning of `key` was seen: one of `episodes`, or none of them.
    fn shown(&mut self, at_ms: i64, key: &ServerKey, episodes: &[Label]) -> Changed {
        let is_it = |warned: &Warned| {
            episodes
                .iter()
                .any(|shown| shown.as_str() == warned.episode)
        };
        self.deliver(key, is_it, |warned| warned.delivered_ms = Some(at_ms))
    }

    /// Mail about the warning `episode` was taken, or has nowhere to go.
    fn mailed(&mut self, at_ms: i64, key: &ServerKey, episode: &str, taken: bool) -> Changed {
        let is_it = |warned: &Warned| warned.episode == episode;
        self.deliver(key, is_it, |warned| {
            if taken {
                warned.delivered_ms = Some(at_ms);
            } else {
                warned.unreachable = true;
            }
        })
    }

    fn deliver(
        &mut self,
        key: &ServerKey,
        is_it: impl Fn(&Warned) -> bool,
        mark: impl FnOnce(&mut Warned),
    ) -> Changed {
        let mut changed = Changed::default();
        let warned = self.promises.warned.get_mut(key);
        // The first time counts: who was told in time is not told again.
        if let Some(warned) = warned.filter(|warned| warned.delivered_ms.is_none() && is_it(warned))
        {
            mark(warned);
            let kept = (key.clone(), Some(warned.clone()));
            changed.warnings.kept.push(kept);
            changed.servers.push(key.clone());
        }
        changed
    }

    /// Looks at all servers: who is to be warned, and when each stops.
    fn look(&mut self, now_ms: i64) -> Changed {
        let mut changed = Changed::default();
        for key in self.promises.keep_to_time(now_ms) {
            if let Some(server) = self.servers.get_mut(&key)
                && server.held_until_ms.take().is_some()
            {
                changed.servers.push(key);
            }
        }
        self.note_pages(now_ms);
        let found = self.find(now_ms);
        for found in found {
            self.note(found, now_ms, &mut changed);
        }
        let kept = |warned: &Warned| now_ms.saturating_sub(warned.told_ms) < TOLD_KEPT_MS;
        let old = |_: &ServerKey, warned: &mut Warned| !kept(warned);
        for (key, warned) in self.promises.warned.extract_if(.., old) {
            changed.warnings.let_go(key, warned, now_ms);
        }
        self.look_at_kernels(now_ms, &mut changed);
        changed
    }

    /// A page of `key` was opened, or its agent came: what was told before may not be there.
    pub(super) fn say_anew(&mut self, key: &ServerKey) {
        if let Some(warned) = self.promises.warned.get_mut(key) {
            warned.said_ms = None;
        }
    }

    /// From when on a page may have shown what was told; the first time counts.
    fn note_pages(&mut self, now_ms: i64) {
        for (key, warned) in &mut self.promises.warned {
            let waits = warned.delivered_ms.is_none() && warned.page_ms.is_none();
            let shows = |server: &Server| server.connected && server.has_page();
            if waits && self.servers.get(key).is_some_and(shows) {
                warned.page_ms = Some(now_ms);
            }
        }
    }

    /// What is news about any of them.
    fn find(&self, now_ms: i64) -> Vec<Found> {
        let mut judge = Judge::new(self, Question::default(), now_ms);
        let acts = self.cull.mode == Mode::Act;
        let mut found = Vec::new();
        for (key, server) in &self.servers {
            let before = self.promises.warned.get(key);
            if !acts && before.is_none() && server.stops_at_ms.is_none() {
                continue;
            }
            if server.phase == Phase::Gone {
                if before.is_some() || server.stops_at_ms.is_some() {
                    found.push(Found::gone(key));
                }
                continue;
            }
            let judged = judge.judge(server);
            let next = warning::next(&self.cull, &judged, before);
            let stops_at_ms = judged.stops_at_ms().filter(|_| acts);
            if next != Next::Stays || stops_at_ms != server.stops_at_ms {
                let about = judged.due.map(|due| due.about);
                found.push(Found {
                    key: key.clone(),
                    stops_at_ms,
                    gone: false,
                    next,
                    idle_ms: match about {
                        Some(warning::About::Idle { .. }) => judged.idle_ms(),
                        _ => None,
                    },
                    about,
                });
            }
        }
        found
    }

    fn note(&mut self, found: Found, now_ms: i64, changed: &mut Changed) {
        let Found { key, next, .. } = found;
        if let Some(server) = self.servers.get_mut(&key)
            && server.stops_at_ms != found.stops_at_ms
        {
            server.stops_at_ms = found.stops_at_ms;
            changed.servers.push(key.clone());
        }
        let warned = &mut self.promises.warned;
        let news = &mut changed.warnings;
        match (next, found.about) {
            (Next::Warn { stage, stops_at_ms }, Some(about)) => {
                let before = warned.remove(&key);
                let after = told(before, &key, about, stage, now_ms);
                news.kept.push((key.clone(), Some(after.clone())));
                news.warn.push(Warning {
                    key: key.clone(),
                    stage,
                    idle_ms: found.idle_ms,
                    stops_at_ms,
                    at_ms: now_ms,
                    episode: after.episode.clone(),
                });
                warned.insert(key, after);
            }
            (Next::Again { stage, stops_at_ms }, Some(_)) => {
                if let Some(told) = warned.get_mut(&key) {
                    told.said_ms = Some(now_ms);
                    news.warn_again.push(Warning {
                        stage,
                        idle_ms: found.idle_ms,
                        stops_at_ms,
                        at_ms: now_ms,
                        episode: told.episode.clone(),
                        key,
                    });
                }
            }
            (Next::TakeBack, _) => {
                if let Some(before) = warned.remove(&key) {
                    news.let_go(key, before, now_ms);
                }
            }
            // Mail about it may wait still.
            _ if found.gone => {
                if let Some(before) = warned.remove(&key) {
                    news.let_go(key, before, now_ms);
                }
            }
            _ => {}
        }
    }
}

/// What is to be kept once `stage` is told.
fn told(
    before: Option<Warned>,
    key: &ServerKey,
    about: warning::About,
    stage: Stage,
    now_ms: i64,
) -> Warned {
    match before {
        Some(before) => Warned {
            stage,
            told_ms: now_ms,
            said_ms: Some(now_ms),
            ..before
        },
        None => Warned {
            about,
            episode: warning::episode_of(key, now_ms),
            stage,
            told_ms: now_ms,
            delivered_ms: None,
            unreachable: false,
            page_ms: None,
            said_ms: Some(now_ms),
        },
    }
}

// === impl Found ===

impl Found {
    fn gone(key: &ServerKey) -> Self {
        Self {
            key: key.clone(),
            stops_at_ms: None,
            gone: true,
            next: Next::Stays,
            idle_ms: None,
            about: None,
        }
    }
}

// === impl News ===

impl News {
    /// What was `told` of `key` is taken back, and no longer kept.
    fn let_go(&mut self, key: ServerKey, told: Warned, now_ms: i64) {
        self.take_back.push(TakenBack {
            key: key.clone(),
            episode: told.episode,
            at_ms: now_ms,
        });
        self.kept.push((key, None));
    }
}

// === impl Promises ===

impl Promises {
    pub(super) fn of(&self, key: &ServerKey) -> Option<i64> {
        self.holds.get(key).copied()
    }

    /// Lets go of what is over, and of what a clock that was ahead has put out of reach. Gives whose
    /// holds ended.
    fn keep_to_time(&mut self, now_ms: i64) -> Vec<ServerKey> {
        for warned in self.warned.values_mut() {
            warned.told_ms = warned.told_ms.min(now_ms);
            for ms in [
                &mut warned.delivered_ms,
                &mut warned.page_ms,
                &mut warned.said_ms,
            ] {
                *ms = ms.map(|ms| ms.min(now_ms));
            }
        }
        let times = now_ms.saturating_add(1)..=now_ms.saturating_add(limits::HOLD_MS_MAX);
        let ended = |_: &ServerKey, until_ms: &mut i64| !times.contains(until_ms);
        self.holds
            .extract_if(.., ended)
            .map(|(key, _)| key)
            .collect()
    }

    pub(super) fn move_people(&mut self, fates: &Fates) {
        move_keys(&mut self.holds, fates, |_| {});
        move_keys(&mut self.warned, fates, |_| {});
        // Ordered anew, under whatever name.
        self.kernels
            .retain(|key, _| fates.moved(key) == Moved::Stays);
    }
}

#[cfg(test)]
mod tests;
