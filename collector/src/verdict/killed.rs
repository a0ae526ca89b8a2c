//! `killed`: what the out-of-memory killer took, and its last minute.
//!
//! Seen by the agent (a workload that ended when the cgroup's counter moved), or by the counter
//! alone, or inferred where the whole container died with its agent. Where no counter says who
//! sent the SIGKILL that ended a workload near the limit, memory is the likely cause, not the
//! known one: a warning.

use std::collections::{BTreeSet, VecDeque};

use super::{
    Evidence, Finding, Rule, Severity, Verdict, View, WorkloadName,
    episode::{KILLS_MAX, clear, raise, update},
};
use crate::{
    fact::{EndCause, Sample, ServerKey, WorkloadEnd, WorkloadKey},
    state::series::Minute,
    text::Label,
};

/// How long it stays open if nothing comes back.
pub const OPEN_MS: i64 = 15 * 60 * 1000;

/// How long it stays open at least: Jupyter brings a kernel back within seconds, and somebody
/// should have a chance to see why it was gone.
pub const SHOWN_MS: i64 = 2 * 60 * 1000;

/// A kill that only the counter saw gets its victim's name within this time,
const NAMED_WITHIN_MS: i64 = 30_000;

/// or within this many intervals: the agent waits three ticks for the end of a process, and a moment for
/// Jupyter's word.
const NAMED_WITHIN_INTERVALS: i64 = 5;

/// A server this full that vanishes without a word was killed.
pub const INFERRED_FROM_SHARE: f64 = 0.80;

/// What is remembered between samples.
#[derive(Clone, Debug, Default)]
pub(crate) struct Killed {
    oom_kills: Option<u64>,
    /// The memory of the last minute, before the newest sample.
    minute: Option<Minute>,
    /// Kills without a name, oldest first; as many as may be open.
    nameless: VecDeque<Nameless>,
    /// Workloads that were killed and are not back; as many as verdicts may be open.
    missing: BTreeSet<WorkloadKey>,
}

/// A kill that only the counter saw.
#[derive(Clone, Debug)]
struct Nameless {
    at_ms: i64,
    episode: String,
}

// === impl Killed ===

impl Killed {
    /// Looks at a sample; gives the verdicts raised, named or cleared.
    pub(crate) fn judge(
        &mut self,
        view: &View<'_>,
        key: &ServerKey,
        open: &mut Vec<Verdict>,
    ) -> Vec<Verdict> {
        let at_ms = view.sample.at_ms;
        let named_within_ms =
            (NAMED_WITHIN_INTERVALS * i64::from(view.interval_ms)).max(NAMED_WITHIN_MS);
        self.nameless
            .retain(|nameless| at_ms - nameless.at_ms <= named_within_ms);
        let mut changed = Vec::new();
        let counter = view.sample.oom_kills;
        let kills = match (self.oom_kills, counter) {
            (Some(before), Some(now)) => now.saturating_sub(before),
            // The first count is of a time before us.
            _ => 0,
        };
        self.oom_kills = counter.or(self.oom_kills);

        let mut named = 0;
        for end in &view.sample.ended {
            let nameless = match end.cause {
                EndCause::Gone => continue,
                EndCause::OutOfMemory => {
                    named += 1;
                    self.take_nameless(open)
                }
                // No kill was counted for it.
                EndCause::KilledNearLimit => None,
            };
            self.missing.insert(end.key.clone());
            changed.extend(match nameless {
                Some(verdict) => {
                    let finding = with_victim(verdict, end);
                    update(verdict, at_ms, finding)
                }
                None => {
                    let finding = self.finding(view, Some(end), kills.max(1));
                    raise(open, key, Rule::Killed, at_ms, finding)
                }
            });
        }
        if kills > 0 && named == 0 {
            let finding = self.finding(view, None, kills);
            let raised = raise(open, key, Rule::Killed, at_ms, finding);
            if let Some(verdict) = &raised {
                if self.nameless.len() >= KILLS_MAX {
                    self.nameless.pop_front();
                }
                self.nameless.push_back(Nameless {
                    at_ms,
                    episode: verdict.episode.clone(),
                });
            }
            changed.extend(raised);
        }
        self.minute = view.measured.minute();
        let back = |key: &WorkloadKey| view.sample.workloads.iter().any(|w| w.key == *key);
        self.missing.retain(|key| !back(key));
        let (missing, nameless) = (&self.missing, &self.nameless);
        let is_back = |name: &WorkloadName| !missing.iter().any(|key| key.id == name.id);
        changed.extend(clear(open, at_ms, |verdict| {
            let back = verdict.workload.as_ref().is_none_or(is_back);
            let seen_enough = at_ms >= verdict.since_ms + SHOWN_MS;
            let gets_name = nameless.iter().any(|one| one.episode == verdict.episode);
            verdict.rule == Rule::Killed && back && seen_enough && !gets_name
        }));
        changed
    }

    /// The open verdict that has lacked its victim for longest, if it may get one still.
    fn take_nameless<'a>(&mut self, open: &'a mut [Verdict]) -> Option<&'a mut Verdict> {
        let nameless = self.nameless.pop_front()?;
        open.iter_mut()
            .find(|verdict| verdict.episode == nameless.episode)
    }

    fn finding(&self, view: &View<'_>, end: Option<&WorkloadEnd>, kills: u64) -> Finding {
        let last = view.before.unwrap_or(view.sample);
        let cause = end.map_or(EndCause::OutOfMemory, |end| end.cause);
        let mut evidence = vec![("inferred", Evidence::Flag(false))];
        let severity = match cause {
            EndCause::OutOfMemory | EndCause::Gone => {
                evidence.push(("cause", word("out_of_memory")));
                evidence.push(("kills", Evidence::count(kills)));
                Severity::Critical
            }
            EndCause::KilledNearLimit => {
                evidence.push(("cause", word("killed_near_limit")));
                Severity::Warning
            }
        };
        evidence.extend(end.map(held));
        evidence.extend(last_words(last, self.minute));
        Finding {
            workload: end.map(name),
            severity,
            evidence,
            clears_when: end.map_or_else(|| "2 minutes have passed".to_owned(), clears_when),
        }
    }

    /// The finding for a server that vanished without a word, if its last sample says why.
    pub(crate) fn infer(
        &self,
        last: &Sample,
        seconds_to_limit: Option<f64>,
        interval_ms: u32,
    ) -> Option<Finding> {
        let limit_bytes = last.memory_limit_bytes.filter(|&limit| limit > 0)?;
        let full = last.limited_bytes() as f64 >= INFERRED_FROM_SHARE * limit_bytes as f64;
        let two_intervals_s = 2.0 * f64::from(interval_ms) / 1000.0;
        let about_to = seconds_to_limit.is_some_and(|seconds| seconds <= two_intervals_s);
        if !last.memory_limit_enforced || !(full || about_to) {
            return None;
        }
        let mut evidence = vec![("inferred", Evidence::Flag(true))];
        evidence.extend(last_words(last, self.minute));
        evidence.push(("last_sample", Evidence::time(last.at_ms)));
        Some(Finding {
            workload: None,
            severity: Severity::Critical,
            evidence,
            clears_when: "the server is back for 2 minutes, or after 15 minutes".to_owned(),
        })
    }
}

/// What was found of a kill when only the counter had seen it, now that its victim is known. By now
/// the memory is free again: the last words stay those of then.
fn with_victim(nameless: &Verdict, end: &WorkloadEnd) -> Finding {
    let mut evidence = nameless.evidence.clone();
    let counted = evidence.iter().position(|(key, _)| *key == "kills");
    evidence.insert(counted.map_or(0, |at| at + 1), held(end));
    Finding {
        workload: Some(name(end)),
        severity: nameless.severity,
        evidence,
        clears_when: clears_when(end),
    }
}

fn held(end: &WorkloadEnd) -> (&'static str, Evidence) {
    let bytes = Evidence::count(end.memory_used_bytes);
    ("workload_memory_used_bytes", bytes)
}

fn name(end: &WorkloadEnd) -> WorkloadName {
    WorkloadName::new(&end.key, &end.name, end.notebook.as_ref())
}

fn clears_when(end: &WorkloadEnd) -> String {
    format!("the {} is back, or after 15 minutes", end.key.kind.as_str())
}

/// Ends what has been open long enough.
pub(crate) fn expire(open: &mut Vec<Verdict>, now_ms: i64) -> Vec<Verdict> {
    clear(open, now_ms, |verdict| {
        verdict.rule == Rule::Killed && now_ms >= verdict.since_ms + OPEN_MS
    })
}

fn last_words(last: &Sample, minute: Option<Minute>) -> Vec<(&'static str, Evidence)> {
    let mut evidence = vec![("memory_used_bytes", Evidence::count(last.memory_used_bytes))];
    evidence.extend(Evidence::limit(last));
    if let Some(minute) = minute {
        evidence.extend([
            (
                "last_minute_first_bytes",
                Evidence::count(minute.first_bytes),
            ),
            ("last_minute_max_bytes", Evidence::count(minute.max_bytes)),
            ("last_minute_last_bytes", Evidence::count(minute.last_bytes)),
        ]);
    }
    if let Some(source) = last.memory_limit_source.as_ref().and_then(limit_kind) {
        evidence.push(("memory_limit_kind", Evidence::Word(source)));
    }
    evidence
}

fn word(word: &str) -> Evidence {
    Evidence::Word(Label::clean(word, word.len()))
}

/// `cgroup2` of `cgroup2:<path>`: paths stay on the box.
fn limit_kind(source: &Label) -> Option<Label> {
    let kind = source.as_str().split(':').next()?;
    Some(Label::clean(kind, kind.len()))
}
