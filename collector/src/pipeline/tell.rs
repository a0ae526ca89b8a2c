//! Verdicts become words: to admins by the outbox, to the person at the server by its agent.
//!
//! A thread of its own, since remembering what was told waits for the disk.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
};

use self::quiet::{LOOK_EVERY, Quiet};
use crate::{
    fact::ServerKey,
    limits,
    link::{admit::Notice, session::Sessions},
    notice::{NoticeConfig, Outbox, Phase, RenderError, Renderer},
    person::PeopleMove,
    registry::{Act, NewDeed, Registry},
    stats::Stats,
    verdict::{Rule, Severity, Verdict},
    warning::{KernelEnd, TakenBack, Warned, Warning},
};

mod quiet;

/// What there is to tell.
#[derive(Debug)]
pub enum Tell {
    /// Verdicts raised, updated or cleared.
    Changed(Vec<Verdict>),
    /// Verdicts that are open, for an agent that just came.
    Again(Vec<Verdict>),
    /// Users were forgotten, deleted or renamed; whatever was told of them is written by now.
    People(PeopleMove),
    /// What is to be kept of warnings, before they are told.
    Kept(Vec<(ServerKey, Option<Warned>)>),
    /// Users whose servers stop soon.
    Warn(Vec<Warning>),
    /// The same users once more, who have not seen it.
    WarnAgain(Vec<Warning>),
    /// Users whose servers do not stop any more.
    TakeBack(Vec<TakenBack>),
    /// Servers that are to shut kernels down, or no longer, and their users.
    EndKernels(Vec<KernelEnd>),
}

/// The teller's thread.
pub struct Teller {
    /// Who tells admins.
    outbox: Arc<Outbox>,
    /// Where episodes and notices are kept.
    registry: Registry,
    /// Who finds the words for users.
    words: Renderer,
    /// What is worth telling, and when.
    config: NoticeConfig,
    /// Who reaches their agents.
    sessions: Sessions,
    /// The collector's own figures.
    stats: Stats,
}

/// What the person at the server was told of an open episode; nothing while it did not matter.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Told {
    /// At its worst.
    severity: Severity,
    /// Whose it is was known, then or before.
    has_workload: bool,
    matters: bool,
    /// It reached an agent.
    shown: bool,
}

/// What was told of open episodes, and what was not for a mute.
#[derive(Default)]
struct Memory {
    told: HashMap<String, Told>,
    quiet: Quiet,
}

/// What a change of a verdict is to the person at the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum News {
    /// The episode begins; it may matter already.
    Begins { matters: bool },
    /// Worth telling.
    Matters,
    /// It is more severe than what was told.
    Worse,
    /// Better words for what was told: whose it is. They take the place of those before.
    Words,
    /// Nothing they would want to hear of.
    Nothing,
}

// === impl Teller ===

impl Teller {
    /// Tells admins by the first and users by the last, as `config` says.
    ///
    /// # Errors
    /// The words cannot be found.
    pub fn new(
        config: &NoticeConfig,
        (outbox, registry, sessions): (Arc<Outbox>, Registry, Sessions),
        stats: Stats,
    ) -> Result<Self, RenderError> {
        Ok(Self {
            outbox,
            registry,
            words: Renderer::new(config)?,
            config: config.clone(),
            sessions,
            stats,
        })
    }

    /// Tells until nobody has anything to tell.
    pub fn run(self, tells: &Receiver<Tell>) {
        let mut memory = Memory::default();
        loop {
            match tells.recv_timeout(LOOK_EVERY) {
                Ok(tell) => self.tell(tell, &mut memory),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            for (verdict, phase) in memory.quiet.due(self.outbox.now_ms()) {
                self.show(&verdict, Some(phase), &mut memory);
            }
        }
    }

    fn tell(&self, tell: Tell, memory: &mut Memory) {
        match tell {
            Tell::Changed(verdicts) => {
                if let Err(e) = self.outbox.observe(&verdicts) {
                    tracing::error!(error = %e, "verdicts are not kept, admins are not told");
                }
                for verdict in &verdicts {
                    let news = memory.take(verdict, self.config.matters(verdict));
                    self.take(verdict, news, memory);
                }
            }
            Tell::Again(verdicts) => {
                for verdict in &verdicts {
                    if memory.has_told(verdict) || self.config.matters(verdict) {
                        self.show(verdict, memory.phase_of(verdict), memory);
                    }
                }
            }
            Tell::People(people) => {
                if let Err(e) = self.registry.move_people(people.fates()) {
                    // It is written down what is to be done; the next start does it.
                    people.failed();
                    tracing::error!(error = %e, "users are not moved in state.db");
                }
                memory.quiet.move_people(people.fates());
                people.done();
            }
            Tell::Kept(kept) => {
                if let Err(e) = self.registry.put_warned(&kept) {
                    tracing::error!(error = %e, "a restart may warn users once more");
                }
            }
            Tell::Warn(warnings) => {
                let deeds: Vec<NewDeed<'_>> = warnings.iter().map(deed_of_warning).collect();
                self.note(&deeds);
                warnings.iter().for_each(|w| {
                    if self.warn(w) {
                        self.outbox.shown(&w.verdict(), w.stage.as_str());
                    }
                });
            }
            // The same notice: what is mailed is mailed once, and what is shown counts once.
            Tell::WarnAgain(warnings) => warnings.iter().for_each(|w| {
                self.warn(w);
            }),
            Tell::TakeBack(taken) => taken.iter().for_each(|t| self.take_back(t)),
            Tell::EndKernels(ends) => ends.iter().for_each(|end| self.end_kernel(end)),
        }
    }

    fn take(&self, verdict: &Verdict, news: News, memory: &mut Memory) {
        if matches!(news, News::Begins { .. }) {
            self.stats.verdict_raised(verdict.rule);
        }
        let phase = match news {
            News::Nothing | News::Begins { matters: false } => return,
            News::Matters | News::Begins { matters: true } if verdict.cleared_ms.is_some() => {
                Some(Phase::Cleared)
            }
            News::Worse if memory.was_shown(verdict) => Some(Phase::Worse),
            News::Matters | News::Begins { .. } | News::Worse | News::Words => {
                memory.phase_of(verdict)
            }
        };
        self.show(verdict, phase, memory);
    }

    /// By mail, and in JupyterLab: an agent that is away has no page to show it on. Whether it went there.
    fn warn(&self, warning: &Warning) -> bool {
        if let Err(e) = self.outbox.warn(warning) {
            // Who waits for the mail's delivery waits on: nobody is stopped for it.
            tracing::error!(error = %e, "a warning is not mailed");
        }
        let notice = Notice {
            verdict: warning.verdict(),
            text: warning.to_string(),
            stops_in_ms: u64::try_from(warning.stops_in_ms()).ok(),
        };
        self.sessions.notify(&warning.key, notice)
    }

    fn take_back(&self, taken: &TakenBack) {
        if let Err(e) = self.outbox.take_back(taken) {
            tracing::error!(error = %e, "a warning that holds no more may be mailed");
        }
        let notice = Notice {
            verdict: taken.verdict(),
            text: "your server goes on".to_owned(),
            stops_in_ms: None,
        };
        let verdict = notice.verdict.clone();
        if self.sessions.notify(&taken.key, notice) {
            self.outbox.shown(&verdict, Phase::Cleared.as_str());
        }
    }

    /// In JupyterLab, by the server's own extension, which does it as well.
    fn end_kernel(&self, end: &KernelEnd) {
        let (verdict, kernel) = (end.verdict(), &end.kernel.id);
        let notice = Notice {
            verdict: verdict.clone(),
            text: end.to_string(),
            stops_in_ms: end.ends_in_ms(),
        };
        if !self.sessions.notify(&end.key, notice) {
            return;
        }
        let (phase, what) = match end.ends_at_ms {
            Some(_) => (Phase::Opened, "an idle kernel is to be shut down"),
            None => (Phase::Cleared, "a kernel is no longer to be shut down"),
        };
        self.outbox.shown(&verdict, phase.as_str());
        self.note(&[deed_of_kernel(end)]);
        let (server, ends_at_ms) = (&end.key, end.ends_at_ms);
        tracing::info!(?server, %kernel, ends_at_ms, holds_bytes = end.holds_bytes, "{what}");
    }

    /// Puts what policy does into the audit log.
    fn note(&self, deeds: &[NewDeed<'_>]) {
        if let Err(e) = self.registry.note_deeds(deeds) {
            tracing::error!(error = %e, "what policy did is not in the audit log");
        }
    }

    /// Shows `verdict`; without a `phase` it was shown before, and only its words are new: no other
    /// notice. What its user muted waits; that something is over takes a notice away, and disturbs nobody.
    fn show(&self, verdict: &Verdict, phase: Option<Phase>, memory: &mut Memory) {
        // What is merely good to know is on the pages; it interrupts nobody's work.
        // A kernel that could be shut down is offered: nobody works with it.
        if verdict.severity < Severity::Warning && verdict.rule != Rule::IdleHog {
            return;
        }
        if verdict.cleared_ms.is_none() && self.is_muted(verdict) {
            if let Some(phase) = phase
                && memory.quiet.keep(verdict, phase)
            {
                self.outbox.kept_quiet(verdict, phase.as_str());
            }
            return;
        }
        memory.quiet.let_go(verdict);
        match self.words.for_user(verdict) {
            Ok(text) => {
                let notice = Notice {
                    verdict: verdict.clone(),
                    text,
                    stops_in_ms: None,
                };
                // An agent that is away is told when it comes.
                if self.sessions.notify(&verdict.key, notice) {
                    memory.note_shown(verdict);
                    if let Some(phase) = phase {
                        self.outbox.shown(verdict, phase.as_str());
                    }
                }
            }
            Err(e) => tracing::error!(error = %e, "no words for a verdict"),
        }
    }

    fn is_muted(&self, verdict: &Verdict) -> bool {
        self.outbox.is_muted_by_user(verdict).unwrap_or_else(|e| {
            tracing::error!(error = %e, "it is not known whether a user muted a rule: they are told");
            false
        })
    }
}

fn deed_of_warning(warning: &Warning) -> NewDeed<'_> {
    NewDeed {
        act: Act::Warn,
        key: &warning.key,
        about: warning.stage.as_str(),
        until_ms: Some(warning.stops_at_ms),
        by: None,
        at_ms: warning.at_ms,
    }
}

fn deed_of_kernel(end: &KernelEnd) -> NewDeed<'_> {
    NewDeed {
        act: match end.ends_at_ms {
            Some(_) => Act::EndKernel,
            None => Act::KeepKernel,
        },
        key: &end.key,
        about: end.kernel.id.as_str(),
        until_ms: end.ends_at_ms,
        by: None,
        at_ms: end.at_ms,
    }
}

// === impl Memory ===

impl Memory {
    /// What `verdict` is, now that it `matters` or not; what mattered once does so to its end.
    fn take(&mut self, verdict: &Verdict, matters: bool) -> News {
        let kept_quiet = self.quiet.renew(verdict);
        let before = self.told.get(&verdict.episode).copied();
        let told_before = before.is_some_and(|told| told.matters);
        if verdict.cleared_ms.is_some() {
            self.told.remove(&verdict.episode);
            // Of what they were never shown for a mute they are shown no end.
            let unheard = kept_quiet && before.is_none_or(|told| !told.shown);
            return if told_before && !unheard {
                News::Matters
            } else {
                News::Nothing
            };
        }
        if self.told.len() >= limits::TOLD_MAX {
            self.told.clear();
        }
        // What calms down, or does not say any more whose it is, is no news.
        let now = Told {
            severity: before.map_or(verdict.severity, |told| told.severity.max(verdict.severity)),
            has_workload: verdict.workload.is_some()
                || before.is_some_and(|told| told.has_workload),
            matters: told_before || matters,
            shown: before.is_some_and(|told| told.shown),
        };
        self.told.insert(verdict.episode.clone(), now);
        match before {
            None => News::Begins { matters },
            Some(_) if !now.matters => News::Nothing,
            Some(before) if !before.matters => News::Matters,
            Some(before) if before.severity < now.severity => News::Worse,
            Some(before) if before.has_workload != now.has_workload => News::Words,
            Some(_) => News::Nothing,
        }
    }

    /// The stage that is told with `verdict`, which is open; `None` where it was shown before.
    fn phase_of(&self, verdict: &Verdict) -> Option<Phase> {
        (!self.was_shown(verdict)).then_some(Phase::Opened)
    }

    fn was_shown(&self, verdict: &Verdict) -> bool {
        let told = self.told.get(&verdict.episode);
        told.is_some_and(|told| told.shown)
    }

    fn note_shown(&mut self, verdict: &Verdict) {
        if let Some(told) = self.told.get_mut(&verdict.episode) {
            told.shown = true;
        }
    }

    fn has_told(&self, verdict: &Verdict) -> bool {
        let told = self.told.get(&verdict.episode);
        told.is_some_and(|told| told.matters)
    }
}

#[cfg(test)]
mod tests;
