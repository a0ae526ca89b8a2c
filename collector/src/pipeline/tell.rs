//! Verdicts become words: to admins by the outbox, to the person at the server by its agent.
//!
//! A thread of its own, since remembering what was told waits for the disk.

use std::{
    collections::HashMap,
    sync::{Arc, mpsc::Receiver},
};

use crate::{
    limits,
    link::{admit::Notice, session::Sessions},
    notice::{NoticeConfig, Outbox, Renderer},
    stats::Stats,
    verdict::{Severity, Verdict},
};

/// What there is to tell.
#[derive(Debug)]
pub enum Tell {
    /// Verdicts raised, updated or cleared.
    Changed(Vec<Verdict>),
    /// Verdicts that are open, for an agent that just came.
    Again(Vec<Verdict>),
}

/// The teller's thread.
pub struct Teller {
    /// Who tells admins.
    pub outbox: Arc<Outbox>,
    /// Who finds the words for users.
    pub words: Renderer,
    /// What is worth telling, and when.
    pub config: NoticeConfig,
    /// Who reaches their agents.
    pub sessions: Sessions,
    /// The collector's own figures.
    pub stats: Stats,
}

/// What the person at the server was told of an open episode; nothing while it did not matter.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Told {
    severity: Severity,
    has_workload: bool,
    matters: bool,
}

// === impl Teller ===

impl Teller {
    /// Tells until nobody has anything to tell.
    pub fn run(self, tells: &Receiver<Tell>) {
        let mut told: HashMap<String, Told> = HashMap::new();
        for tell in tells {
            match tell {
                Tell::Changed(verdicts) => {
                    if let Err(e) = self.outbox.observe(&verdicts) {
                        tracing::error!(error = %e, "verdicts are not kept, admins are not told");
                    }
                    for verdict in &verdicts {
                        if self.is_news(verdict, &mut told) {
                            self.show(verdict);
                        }
                    }
                }
                Tell::Again(verdicts) => {
                    let told_before = |verdict: &Verdict| {
                        told.get(&verdict.episode).is_some_and(|told| told.matters)
                    };
                    for verdict in &verdicts {
                        if told_before(verdict) || self.config.matters(verdict) {
                            self.show(verdict);
                        }
                    }
                }
            }
        }
    }

    /// Whether the person at the server would want to hear of it again.
    fn is_news(&self, verdict: &Verdict, told: &mut HashMap<String, Told>) -> bool {
        if verdict.cleared_ms.is_some() {
            return told
                .remove(&verdict.episode)
                .is_some_and(|told| told.matters);
        }
        if told.len() >= limits::TOLD_MAX {
            told.clear();
        }
        let before = told.get(&verdict.episode).copied();
        let now = Told {
            severity: verdict.severity,
            has_workload: verdict.workload.is_some(),
            matters: before.is_some_and(|before| before.matters) || self.config.matters(verdict),
        };
        told.insert(verdict.episode.clone(), now);
        if before.is_none() {
            self.stats.verdict_raised(verdict.rule);
        }
        now.matters && before != Some(now)
    }

    fn show(&self, verdict: &Verdict) {
        // What is merely good to know is on the pages; it interrupts nobody's work.
        if verdict.severity < Severity::Warning {
            return;
        }
        match self.words.for_user(verdict) {
            Ok(text) => {
                let notice = Notice {
                    verdict: verdict.clone(),
                    text,
                };
                // An agent that is away is told when it comes.
                let _ = self.sessions.notify(&verdict.key, notice);
            }
            Err(e) => tracing::error!(error = %e, "no words for a verdict"),
        }
    }
}
