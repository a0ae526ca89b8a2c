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
    notice::{Outbox, Renderer},
    person::PeopleMove,
    registry::Registry,
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
    /// Users were forgotten, deleted or renamed; whatever was told of them is written by now.
    People(PeopleMove),
}

/// The teller's thread.
pub struct Teller {
    /// Who tells admins.
    pub outbox: Arc<Outbox>,
    /// Where episodes and notices are kept.
    pub registry: Registry,
    /// Who finds the words for users.
    pub words: Renderer,
    /// Who reaches their agents.
    pub sessions: Sessions,
    /// The collector's own figures.
    pub stats: Stats,
}

/// What the person at the server was told of an open episode.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Told {
    severity: Severity,
    has_workload: bool,
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
                Tell::Again(verdicts) => verdicts.iter().for_each(|verdict| self.show(verdict)),
                Tell::People(people) => {
                    if let Err(e) = self.registry.move_people(people.fates()) {
                        // It is written down what is to be done; the next start does it.
                        people.failed();
                        tracing::error!(error = %e, "users are not moved in state.db");
                    }
                    people.done();
                }
            }
        }
    }

    /// Whether the person at the server would want to hear of it again.
    fn is_news(&self, verdict: &Verdict, told: &mut HashMap<String, Told>) -> bool {
        if verdict.cleared_ms.is_some() {
            return told.remove(&verdict.episode).is_some();
        }
        if told.len() >= limits::TOLD_MAX {
            told.clear();
        }
        let now = Told {
            severity: verdict.severity,
            has_workload: verdict.workload.is_some(),
        };
        let before = told.insert(verdict.episode.clone(), now);
        if before.is_none() {
            self.stats.verdict_raised(verdict.rule);
        }
        before != Some(now)
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
