//! `idle`: nobody works here.
//!
//! Work is a busy kernel, a program in front in a terminal, CPU above the server's resting level
//! over five minutes, much read or written, or a person ([`work`]). Idle time counts from the end
//! of the last work or from the server's start, and time that nobody measured counts as neither:
//! after a hole the clock starts anew.

mod resting;
mod work;

use self::resting::Resting;
pub use self::{
    resting::RESTING_CORES_MAX,
    work::{FLOW_BYTES_PER_SECOND, PERSON_MS, WORK_MARGIN_CORES, in_words},
};
use super::{Evidence, Finding, Severity, View};
use crate::text::Label;

/// Cores in use right now that are no rest, whatever the server's own level is.
pub const WORK_CORES: f64 = RESTING_CORES_MAX;

/// A server whose agent was first heard this soon after its start was measured from its start.
pub const START_SLACK_MS: i64 = 60_000;

/// A hole in the samples of at least this, and of more than three intervals, was not measured.
pub const HOLE_MS: u64 = 60_000;

/// Bytes of a note in the evidence.
const NOTE_BYTES_MAX: usize = 256;

/// What is remembered between samples.
#[derive(Clone, Debug, Default)]
pub(crate) struct Idle {
    /// The end of the last work, or since when there was anything to see.
    since_ms: Option<i64>,
    works: Option<String>,
    /// What goes on and does not count.
    note: Option<String>,
    /// What it uses at rest; made when there is something to learn.
    resting: Option<Box<Resting>>,
    /// What the open verdict said when it was raised; its numbers do not follow every sample.
    said: Option<Box<Finding>>,
}

// === impl Idle ===

impl Idle {
    /// Idle since before the first sample.
    pub(crate) fn resumed(since_ms: i64) -> Self {
        Self {
            since_ms: Some(since_ms),
            ..Self::default()
        }
    }

    /// Since when nobody works; `None` while somebody does.
    pub(crate) fn since_ms(&self) -> Option<i64> {
        self.since_ms.filter(|_| self.works.is_none())
    }

    /// Why it counts as busy.
    pub(crate) fn busy_reason(&self) -> Option<&str> {
        self.works.as_deref()
    }

    /// What goes on there and does not count as work.
    pub(crate) fn note(&self) -> Option<&str> {
        self.note.as_deref().filter(|_| self.works.is_none())
    }

    pub(crate) fn judge(&mut self, view: &View<'_>) -> Option<Finding> {
        let at_ms = view.sample.at_ms;
        if view.is_after_hole() {
            self.since_ms = Some(at_ms);
        }
        let resting = self.resting.get_or_insert_default();
        let may_rest = !view.is_after_hole() && work::may_rest(view);
        resting.learn(
            view.sample.mono_ms,
            view.measured.cpu_mean_cores(),
            may_rest,
        );
        let found = work::look(view, resting.cores());
        self.note = found.note;
        // Told with samples of before, it has not been done yet.
        let person_ms = view.activity.input_ms.filter(|input_ms| *input_ms <= at_ms);
        self.works = found.work.or_else(|| work::person(view.activity, at_ms));
        if found.goes_on {
            self.since_ms = Some(at_ms);
        }
        let since_ms = *self.since_ms.get_or_insert_with(|| {
            view.started_ms
                .filter(|&started_ms| started_ms <= at_ms && at_ms - started_ms <= START_SLACK_MS)
                .unwrap_or(at_ms)
        });
        // A clock that was set back: what went on meanwhile is not idle time.
        let since_ms = person_ms.map_or(since_ms, |ms| since_ms.max(ms)).min(at_ms);
        self.since_ms = Some(since_ms);
        let idle = self.works.is_none() && at_ms - since_ms >= view.policy.idle_after_ms;
        if !idle {
            self.said = None;
        } else if self.said.is_none() {
            self.said = Some(Box::new(self.finding(view, since_ms)));
        }
        self.said.as_deref().cloned()
    }

    fn finding(&self, view: &View<'_>, since_ms: i64) -> Finding {
        let sample = view.sample;
        let mut evidence = vec![
            ("idle_since", Evidence::time(since_ms)),
            (
                "idle_after_seconds",
                Evidence::Integer(view.policy.idle_after_ms / 1000),
            ),
            (
                "memory_used_bytes",
                Evidence::count(sample.memory_used_bytes),
            ),
        ];
        if let Some(cores) = view.measured.cpu_mean_cores() {
            evidence.push(("cpu_mean_cores", Evidence::Number(cores)));
        }
        if let Some(note) = self.note() {
            let note = Label::clean(note, NOTE_BYTES_MAX);
            evidence.push(("does_not_count", Evidence::Word(note)));
        }
        Finding {
            workload: None,
            severity: Severity::Info,
            evidence,
            clears_when: "somebody works again".to_owned(),
        }
    }
}
