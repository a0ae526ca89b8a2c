//! Verdicts become words: to admins by the outbox, to the person at the server by its agent.
//!
//! A thread of its own, since remembering what was told waits for the disk.

use std::{
    collections::HashMap,
    sync::{Arc, mpsc::Receiver},
};

use crate::{
    fact::ServerKey,
    limits,
    link::{admit::Notice, session::Sessions},
    notice::{NoticeConfig, Outbox, Phase, RenderError, Renderer},
    person::PeopleMove,
    registry::Registry,
    stats::Stats,
    verdict::{Rule, Severity, Verdict},
    warning::{KernelEnd, TakenBack, Warned, Warning},
};

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

/// What was told of open episodes.
#[derive(Default)]
struct Memory(HashMap<String, Told>);

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
        for tell in tells {
            match tell {
                Tell::Changed(verdicts) => {
                    if let Err(e) = self.outbox.observe(&verdicts) {
                        tracing::error!(error = %e, "verdicts are not kept, admins are not told");
                    }
                    for verdict in &verdicts {
                        let news = memory.take(verdict, self.config.matters(verdict));
                        self.take(verdict, news, &mut memory);
                    }
                }
                Tell::Again(verdicts) => {
                    for verdict in &verdicts {
                        if memory.has_told(verdict) || self.config.matters(verdict) {
                            self.show(verdict, memory.phase_of(verdict), &mut memory);
                        }
                    }
                }
                Tell::People(people) => {
                    if let Err(e) = self.registry.move_people(people.fates()) {
                        // It is written down what is to be done; the next start does it.
                        people.failed();
                        tracing::error!(error = %e, "users are not moved in state.db");
                    }
                    people.done();
                }
                Tell::Kept(kept) => {
                    if let Err(e) = self.registry.put_warned(&kept) {
                        tracing::error!(error = %e, "a restart may warn users once more");
                    }
                }
                Tell::Warn(warnings) => warnings.iter().for_each(|w| {
                    if self.warn(w) {
                        self.outbox.shown(&w.verdict(), w.stage.as_str());
                    }
                }),
                // The same notice: what is mailed is mailed once, and what is shown counts once.
                Tell::WarnAgain(warnings) => warnings.iter().for_each(|w| {
                    self.warn(w);
                }),
                Tell::TakeBack(taken) => taken.iter().for_each(|t| self.take_back(t)),
                Tell::EndKernels(ends) => ends.iter().for_each(|end| self.end_kernel(end)),
            }
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
        let (server, ends_at_ms) = (&end.key, end.ends_at_ms);
        tracing::info!(?server, %kernel, ends_at_ms, holds_bytes = end.holds_bytes, "{what}");
    }

    /// Shows `verdict`; without a `phase` it was shown before, and only its words are new: no other
    /// notice.
    fn show(&self, verdict: &Verdict, phase: Option<Phase>, memory: &mut Memory) {
        // What is merely good to know is on the pages; it interrupts nobody's work.
        // A kernel that could be shut down is offered: nobody works with it.
        if verdict.severity < Severity::Warning && verdict.rule != Rule::IdleHog {
            return;
        }
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
}

// === impl Memory ===

impl Memory {
    /// What `verdict` is, now that it `matters` or not; what mattered once does so to its end.
    fn take(&mut self, verdict: &Verdict, matters: bool) -> News {
        let before = self.0.get(&verdict.episode).copied();
        let told_before = before.is_some_and(|told| told.matters);
        if verdict.cleared_ms.is_some() {
            self.0.remove(&verdict.episode);
            return if told_before {
                News::Matters
            } else {
                News::Nothing
            };
        }
        if self.0.len() >= limits::TOLD_MAX {
            self.0.clear();
        }
        // What calms down, or does not say any more whose it is, is no news.
        let now = Told {
            severity: before.map_or(verdict.severity, |told| told.severity.max(verdict.severity)),
            has_workload: verdict.workload.is_some()
                || before.is_some_and(|told| told.has_workload),
            matters: told_before || matters,
            shown: before.is_some_and(|told| told.shown),
        };
        self.0.insert(verdict.episode.clone(), now);
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
        let told = self.0.get(&verdict.episode);
        told.is_some_and(|told| told.shown)
    }

    fn note_shown(&mut self, verdict: &Verdict) {
        if let Some(told) = self.0.get_mut(&verdict.episode) {
            told.shown = true;
        }
    }

    fn has_told(&self, verdict: &Verdict) -> bool {
        let told = self.0.get(&verdict.episode);
        told.is_some_and(|told| told.matters)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{text::Label, verdict::WorkloadName};

    fn verdict(rule: Rule) -> Verdict {
        Verdict {
            rule,
            episode: "e".to_owned(),
            key: ServerKey::new("ada", ""),
            workload: None,
            severity: Severity::Critical,
            since_ms: 0,
            updated_ms: 0,
            cleared_ms: None,
            evidence: Vec::new(),
            clears_when: String::new(),
        }
    }

    fn named(verdict: &Verdict) -> Verdict {
        let name = || Label::clean("train.ipynb", 64);
        Verdict {
            workload: Some(WorkloadName {
                id: name(),
                title: name(),
            }),
            ..verdict.clone()
        }
    }

    #[test]
    fn a_death_whose_victim_gets_known_is_one_notice_in_better_words() {
        let mut memory = Memory::default();
        let killed = verdict(Rule::Killed);
        assert_eq!(memory.take(&killed, true), News::Begins { matters: true });
        assert_eq!(memory.phase_of(&killed), Some(Phase::Opened));
        memory.note_shown(&killed);
        assert_eq!(memory.take(&named(&killed), true), News::Words);
        assert_eq!(memory.phase_of(&killed), None, "no notice of its own");
        assert_eq!(memory.take(&killed, true), News::Nothing);
        assert_eq!(memory.take(&named(&killed), true), News::Nothing);
    }

    #[test]
    fn what_no_agent_took_is_opened_when_one_does() {
        let mut memory = Memory::default();
        let killed = verdict(Rule::Killed);
        memory.take(&killed, true);
        assert_eq!(memory.take(&named(&killed), true), News::Words);
        assert_eq!(memory.phase_of(&killed), Some(Phase::Opened));
        memory.note_shown(&killed);
        assert_eq!(memory.phase_of(&killed), None, "an agent that came again");
    }

    #[test]
    fn a_runaway_that_loses_its_culprit_or_calms_down_is_no_news_and_one_that_gets_worse_is() {
        let mut memory = Memory::default();
        let severe = named(&verdict(Rule::RunawayMemory));
        let mild = Verdict {
            severity: Severity::Warning,
            ..severe.clone()
        };
        memory.take(&mild, true);
        assert_eq!(memory.take(&severe, true), News::Worse);
        assert_eq!(memory.take(&mild, true), News::Nothing);
        let nobodys = verdict(Rule::RunawayMemory);
        assert_eq!(memory.take(&nobodys, true), News::Nothing);
        assert_eq!(memory.take(&severe, true), News::Nothing);
    }

    #[test]
    fn a_runaway_is_news_when_its_limit_is_near_and_only_then_is_its_end() {
        let mut verdict = verdict(Rule::RunawayMemory);
        let mut memory = Memory::default();
        let early = memory.take(&verdict, false);
        assert_eq!(early, News::Begins { matters: false });
        assert!(!memory.has_told(&verdict));
        assert_eq!(memory.take(&verdict, false), News::Nothing);
        assert_eq!(memory.take(&verdict, true), News::Matters);
        assert_eq!(
            memory.take(&verdict, false),
            News::Nothing,
            "once is enough"
        );
        assert!(memory.has_told(&verdict), "a new agent is told, too");
        verdict.cleared_ms = Some(1);
        assert_eq!(memory.take(&verdict, false), News::Matters);

        verdict.cleared_ms = None;
        memory.take(&verdict, false);
        verdict.cleared_ms = Some(1);
        assert_eq!(
            memory.take(&verdict, true),
            News::Nothing,
            "it never mattered"
        );
    }
}
