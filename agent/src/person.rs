//! What the person at the server does, as far as the server extension tells.
//!
//! Ages come in, moments stay: a moment does not change from tick to tick, so nothing has to be
//! told again.

use hubmeter_proto::v1;
use serde::Deserialize;

use crate::{
    sample::{Sample, WorkloadKind},
    workload::told::Told,
};

/// Input after so long without any is news: the server may be about to be stopped as idle.
const LONG_REST_MS: u64 = 5 * 60 * 1_000;

/// Ages are told in steps; moments this near to each other are one.
const SAME_MS: u64 = 1_000;

/// What somebody did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InputKind {
    /// Keys, pointer, wheel or touch in a visible tab.
    Typing,
    /// Something was run in a kernel.
    Run,
    /// Input to a terminal.
    Terminal,
    /// A file was saved.
    Save,
    /// What a newer extension may call it.
    #[serde(other)]
    Other,
}

/// What is known of the person.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Person {
    input: Option<Input>,
    /// Until when something of the user's own choice keeps the server.
    kept_until_ms: Option<u64>,
    /// Whether a page is open that may show notices.
    page_open: Option<bool>,
}

/// The last thing somebody did; milliseconds since boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Input {
    at_ms: u64,
    kind: Option<InputKind>,
}

// === impl Person ===

impl Person {
    /// Takes what was told at `now_ms`; whether somebody is back after a long rest, or a page was opened:
    /// a warning may wait for it.
    pub fn hear(&mut self, told: &Told, now_ms: u64) -> bool {
        let opened = told.page_open == Some(true) && self.page_open != told.page_open;
        self.page_open = told.page_open.or(self.page_open);
        self.hear_input(told, now_ms) || opened
    }

    fn hear_input(&mut self, told: &Told, now_ms: u64) -> bool {
        let kept_until_ms = told.kept_ms.map(|ms| now_ms.saturating_add(ms));
        let same = |(a, b): (u64, u64)| a.abs_diff(b) <= SAME_MS;
        if !self.kept_until_ms.zip(kept_until_ms).is_some_and(same) {
            self.kept_until_ms = kept_until_ms;
        }
        let Some(input_ms) = told.input_ms else {
            return false;
        };
        let at_ms = now_ms.saturating_sub(input_ms);
        let before_ms = self.input.map(|input| input.at_ms);
        if before_ms.is_some_and(|before_ms| at_ms <= before_ms.saturating_add(SAME_MS)) {
            return false;
        }
        self.input = Some(Input {
            at_ms,
            kind: told.input_kind,
        });
        before_ms.is_none_or(|before_ms| at_ms - before_ms >= LONG_REST_MS)
    }

    /// All that is known of people at `sample`, as the wire has it.
    #[must_use]
    pub fn activity(&self, sample: &Sample) -> v1::Activity {
        let kind = self.input.and_then(|input| input.kind);
        let jobs = sample.workloads.iter().filter_map(|workload| {
            let program = workload.job.as_ref()?;
            (workload.kind == WorkloadKind::Terminal).then(|| v1::Job {
                terminal_id: workload.id.as_str().to_owned(),
                program: program.clone(),
            })
        });
        v1::Activity {
            input_mono_ms: self.input.map(|input| input.at_ms),
            input_kind: kind
                .map_or(v1::InputKind::Unspecified, InputKind::wire)
                .into(),
            kept_until_mono_ms: self.kept_until_ms.filter(|ms| *ms > sample.mono_ms),
            jobs: jobs.collect(),
            page_open: self.page_open,
        }
    }
}

// === impl InputKind ===

impl InputKind {
    fn wire(self) -> v1::InputKind {
        match self {
            Self::Typing => v1::InputKind::Typing,
            Self::Run => v1::InputKind::Run,
            Self::Terminal => v1::InputKind::Terminal,
            Self::Save => v1::InputKind::Save,
            Self::Other => v1::InputKind::Unspecified,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::encode::tests::{sample, workload};

    fn told(body: &str) -> Told {
        Told::from_json(body.as_bytes()).unwrap()
    }

    #[test]
    fn an_age_becomes_a_moment_that_stays_and_only_later_input_moves_it() {
        let mut person = Person::default();
        let run = told(r#"{"input_ms":4000,"input_kind":"run"}"#);
        assert!(person.hear(&run, 100_000), "the first is news");
        let at = |person: &Person| person.activity(&sample(200_000, 1)).input_mono_ms;
        assert_eq!(at(&person), Some(96_000));
        // The same, told again a while later with the rounding of another clock.
        let again = told(r#"{"input_ms":64200,"input_kind":"run"}"#);
        assert!(!person.hear(&again, 160_000));
        assert_eq!(at(&person), Some(96_000));
        assert!(!person.hear(&told("{}"), 170_000), "not told is not undone");
        assert_eq!(at(&person), Some(96_000));
        let typing = told(r#"{"input_ms":0,"input_kind":"typing"}"#);
        assert!(!person.hear(&typing, 180_000), "no long rest before it");
        let activity = person.activity(&sample(200_000, 1));
        assert_eq!(activity.input_mono_ms, Some(180_000));
        assert_eq!(activity.input_kind(), v1::InputKind::Typing);
        assert!(person.hear(&typing, 480_000), "back after five minutes");
    }

    #[test]
    fn what_keeps_the_server_is_told_until_it_ends_or_is_taken_back() {
        let mut person = Person::default();
        person.hear(&told(r#"{"kept_ms":60000}"#), 100_000);
        let until = |person: &Person, at_ms| person.activity(&sample(at_ms, 1)).kept_until_mono_ms;
        assert_eq!(until(&person, 110_000), Some(160_000));
        assert_eq!(until(&person, 160_000), None, "over");
        person.hear(&told(r#"{"kept_ms":null}"#), 120_000);
        assert_eq!(until(&person, 130_000), None, "taken back");
    }

    #[test]
    fn a_page_that_is_opened_is_news_and_one_that_is_closed_is_only_told() {
        let mut person = Person::default();
        let is_open = |person: &Person| person.activity(&sample(1_000, 1)).page_open;
        assert!(!person.hear(&told("{}"), 100));
        assert_eq!(is_open(&person), None, "an older extension does not say");
        for (body, news, open) in [
            (r#"{"page_open":false}"#, false, false),
            (r#"{"page_open":true}"#, true, true),
            (r#"{"page_open":true}"#, false, true),
            (r#"{"page_open":null}"#, false, true),
            (r#"{"page_open":false}"#, false, false),
        ] {
            assert_eq!(person.hear(&told(body), 200), news, "{body}");
            assert_eq!(is_open(&person), Some(open), "{body}");
        }
    }

    #[test]
    fn a_newer_extensions_words_are_no_mistake_and_of_jobs_only_terminals_are_told() {
        let mut person = Person::default();
        person.hear(&told(r#"{"input_ms":1,"input_kind":"thinking"}"#), 100_000);
        let mut sample = sample(100_000, 1);
        for (kind, id) in [
            (WorkloadKind::Terminal, "1"),
            (WorkloadKind::Kernel, "k"),
            (WorkloadKind::Terminal, "2"),
        ] {
            let mut row = workload(1, id);
            (row.kind, row.job) = (kind, (id != "2").then(|| "rsync".to_owned()));
            sample.workloads.push(row);
        }
        let activity = person.activity(&sample);
        assert_eq!(activity.input_kind(), v1::InputKind::Unspecified);
        let jobs: Vec<_> = activity.jobs.iter().map(|job| &*job.terminal_id).collect();
        assert_eq!(jobs, ["1"]);
    }
}
