//! When servers ran, by the hub's list: what is to be written of it.
//!
//! A run is a server and when the hub says it was started. It lasts as long as the hub lists it
//! with that start: a list that comes after hours without one stretches it over those hours.

use std::collections::BTreeMap;

use crate::{
    fact::{HubServer, ServerKey},
    limits,
    person::{Fates, Moved},
    text::Label,
};

/// A run that goes on is written this often: a crash loses no more of one that also ended.
const WRITTEN_EVERY_MS: i64 = 10 * 60 * 1000;

/// Runs written at once; the others' turn comes with the next flush, ten seconds later.
const WRITTEN_AT_ONCE_MAX: usize = 5_000;

/// Runs kept: those the hub lists, and as many that ended and are not written.
const RUNS_MAX: usize = 2 * limits::SERVERS_MAX;

/// A run to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct RunNote {
    /// Which server.
    pub key: ServerKey,
    /// When the hub says it was started.
    pub started_ms: i64,
    /// Until when the hub listed it.
    pub until_ms: i64,
    /// The user's groups, where they are news.
    pub groups: Option<Vec<Label>>,
}

/// The runs of the hub's newest list, and of those before what is not written.
#[derive(Debug, Default)]
pub struct Runs(BTreeMap<(ServerKey, i64), Run>);

#[derive(Debug)]
struct Run {
    until_ms: i64,
    written_ms: Option<i64>,
    groups: Vec<Label>,
    groups_written: bool,
    listed: bool,
}

// === impl Runs ===

impl Runs {
    /// Takes the hub's list in, whole.
    pub fn note(&mut self, at_ms: i64, servers: &[HubServer]) {
        for run in self.0.values_mut() {
            run.listed = false;
        }
        for server in servers.iter().filter(|server| server.ready) {
            let Some(started_ms) = server.started_ms else {
                continue;
            };
            let id = (server.key.clone(), started_ms);
            if self.0.len() >= RUNS_MAX && !self.0.contains_key(&id) {
                continue; // the disk has taken nothing for long; the log is full of it
            }
            let run = self.0.entry(id).or_insert_with(|| Run {
                until_ms: started_ms,
                written_ms: None,
                groups: server.groups.clone(),
                groups_written: false,
                listed: true,
            });
            run.until_ms = run.until_ms.max(at_ms);
            run.listed = true;
            if run.groups != server.groups {
                run.groups.clone_from(&server.groups);
                run.groups_written = false;
            }
        }
        self.0.retain(|_, run| run.listed || run.is_news());
    }

    /// What is to be written now.
    #[must_use]
    pub fn due(&self) -> Vec<RunNote> {
        let due = self.0.iter().filter(|(_, run)| run.is_due());
        let note = |((key, started_ms), run): (&(ServerKey, i64), &Run)| RunNote {
            key: key.clone(),
            started_ms: *started_ms,
            until_ms: run.until_ms,
            groups: (!run.groups_written).then(|| run.groups.clone()),
        };
        due.take(WRITTEN_AT_ONCE_MAX).map(note).collect()
    }

    /// Those are on the disk.
    pub fn written(&mut self, notes: &[RunNote]) {
        for note in notes {
            let id = (note.key.clone(), note.started_ms);
            let Some(run) = self.0.get_mut(&id) else {
                continue;
            };
            run.written_ms = Some(note.until_ms);
            // They may have changed while the note was being written.
            run.groups_written |= note.groups.as_ref() == Some(&run.groups);
            if !run.listed && !run.is_news() {
                self.0.remove(&id);
            }
        }
    }

    /// Lets what is not written follow people who are forgotten, deleted or renamed.
    pub fn move_people(&mut self, fates: &Fates) {
        let touched: Vec<_> = self
            .0
            .extract_if(.., |(key, _), _| fates.moved(key) != Moved::Stays)
            .collect();
        for ((key, started_ms), run) in touched {
            if let Moved::To(to) = fates.moved(&key) {
                self.0.insert((to, started_ms), run);
            }
        }
    }
}

// === impl Run ===

impl Run {
    fn is_news(&self) -> bool {
        !self.groups_written || self.written_ms != Some(self.until_ms)
    }

    fn is_due(&self) -> bool {
        let ended = !self.listed && self.is_news();
        let late = self
            .written_ms
            .is_none_or(|written_ms| self.until_ms - written_ms >= WRITTEN_EVERY_MS);
        ended || late || !self.groups_written
    }
}
