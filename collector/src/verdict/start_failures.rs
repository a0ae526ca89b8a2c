//! `start_failures`: starts of servers fail one after the other, and none succeeds in between.
//!
//! It is about the hub more than about a server: a full cluster, a broken image, a wrong setting.
//! The verdict bears the server whose start failed last; the hub's counters alone name none.

use std::collections::{BTreeSet, VecDeque};

use super::{Evidence, Finding, Rule, Severity, Verdict, episode};
use crate::fact::ServerKey;

/// So many in a row.
const FAILURES_MIN: usize = 2;

/// Within this time.
const WITHIN_MS: i64 = 30 * 60 * 1000;

/// Failures in a row that are remembered.
const REMEMBERED_MAX: usize = 1_024;

/// Episodes that are over and still listed.
const CLEARED_MAX: usize = 64;

/// Who says that starts fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Witness {
    /// The hub's counters, asked once a minute: how many, not whose, and what came first is a guess.
    Counters,
    /// The hook in the hub: each start, at once.
    Hook,
}

/// What became of starts lately.
#[derive(Debug, Default)]
pub struct StartFailures {
    /// Failures since the last success, oldest first.
    run: VecDeque<(i64, ServerKey)>,
    open: Vec<Verdict>,
    cleared: VecDeque<Verdict>,
    witness: Option<Witness>,
}

// === impl StartFailures ===

impl StartFailures {
    /// A start of `key` failed. Gives what changed.
    pub fn failed(&mut self, at_ms: i64, key: &ServerKey, witness: Witness) -> Option<Verdict> {
        if !self.believes(witness) {
            return None;
        }
        self.expire(at_ms);
        if self.run.len() == REMEMBERED_MAX {
            self.run.pop_front();
        }
        self.run.push_back((at_ms, key.clone()));
        self.settle(at_ms, key)
    }

    /// A server started.
    pub fn succeeded(&mut self, at_ms: i64, witness: Witness) -> Option<Verdict> {
        if !self.believes(witness) {
            return None;
        }
        self.run.clear();
        self.settle(at_ms, &ServerKey::new("", ""))
    }

    /// Time has passed.
    pub fn tick(&mut self, at_ms: i64) -> Option<Verdict> {
        let before = self.run.len();
        self.expire(at_ms);
        if self.run.len() == before {
            return None;
        }
        let last = self.run.back();
        let key = last.map_or_else(|| ServerKey::new("", ""), |(_, key)| key.clone());
        self.settle(at_ms, &key)
    }

    /// Users were forgotten or renamed: what is remembered may name them. Gives the open verdict,
    /// cleared and without a name: small state knows by its episode whose it is, if anybody's.
    pub fn forget(&mut self, at_ms: i64) -> Option<Verdict> {
        let nobody = ServerKey::new("", "");
        let cleared = episode::settle(&mut self.open, &nobody, Rule::StartFailures, at_ms, None);
        *self = Self {
            witness: self.witness,
            ..Self::default()
        };
        cleared.map(|cleared| Verdict {
            key: nobody,
            ..cleared
        })
    }

    /// What is open, and after it what is over.
    pub fn verdicts(&self) -> impl Iterator<Item = &Verdict> {
        self.open.iter().chain(&self.cleared)
    }

    /// Once the hook has spoken, it alone counts: the counters would tell everything twice.
    fn believes(&mut self, witness: Witness) -> bool {
        if self.witness < Some(witness) {
            self.run.clear();
        }
        self.witness = self.witness.max(Some(witness));
        self.witness == Some(witness)
    }

    fn expire(&mut self, at_ms: i64) {
        let old = |(failed_ms, _): &(i64, ServerKey)| at_ms - *failed_ms >= WITHIN_MS;
        while self.run.front().is_some_and(old) {
            self.run.pop_front();
        }
    }

    fn settle(&mut self, at_ms: i64, key: &ServerKey) -> Option<Verdict> {
        let finding = (self.run.len() >= FAILURES_MIN).then(|| self.finding());
        let changed = episode::settle(&mut self.open, key, Rule::StartFailures, at_ms, finding)?;
        if changed.cleared_ms.is_some() {
            if self.cleared.len() == CLEARED_MAX {
                self.cleared.pop_front();
            }
            self.cleared.push_back(changed.clone());
        }
        Some(changed)
    }

    fn finding(&self) -> Finding {
        let exact = self.witness == Some(Witness::Hook);
        let first_ms = self.run.front().map_or(0, |(at_ms, _)| *at_ms);
        let last_ms = self.run.back().map_or(0, |(at_ms, _)| *at_ms);
        let count = |n: usize| Evidence::Integer(i64::try_from(n).unwrap_or(i64::MAX));
        let mut evidence = vec![
            ("failures", count(self.run.len())),
            ("last_failure", Evidence::time(last_ms)),
            (
                "within_seconds",
                Evidence::Integer((last_ms - first_ms) / 1000),
            ),
        ];
        if exact {
            let servers: BTreeSet<&ServerKey> = self.run.iter().map(|(_, key)| key).collect();
            evidence.push(("servers", count(servers.len())));
        }
        evidence.push(("approximate", Evidence::Flag(!exact)));
        Finding {
            workload: None,
            severity: if exact {
                Severity::Critical
            } else {
                Severity::Warning
            },
            evidence,
            clears_when: "a server starts, or fewer than two starts failed within 30 minutes"
                .to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::number_of;

    const MINUTE_MS: i64 = 60 * 1000;

    fn key(user: &str) -> ServerKey {
        ServerKey::new(user, "")
    }

    #[test]
    fn two_in_a_row_within_half_an_hour_are_a_verdict_and_a_start_that_works_ends_it() {
        let mut starts = StartFailures::default();
        assert_eq!(starts.failed(0, &key("ann"), Witness::Hook), None);
        let raised = starts.failed(29 * MINUTE_MS, &key("bob"), Witness::Hook);
        let raised = raised.expect("raised");
        assert_eq!(raised.key, key("bob"), "whose start failed last");
        assert_eq!(raised.severity, Severity::Critical);
        assert_eq!(number_of(&raised, "failures"), Some(2.0));
        assert_eq!(number_of(&raised, "servers"), Some(2.0));
        assert_eq!(number_of(&raised, "within_seconds"), Some(29.0 * 60.0));
        let cleared = starts.succeeded(29 * MINUTE_MS + 1, Witness::Hook);
        let cleared = cleared.expect("cleared");
        assert_eq!(cleared.episode, raised.episode);
        assert_eq!(cleared.key, key("bob"));
        assert!(cleared.cleared_ms.is_some());
        assert_eq!(starts.verdicts().count(), 1);
    }

    #[test]
    fn a_start_that_works_in_between_and_half_an_hour_make_it_none() {
        let mut starts = StartFailures::default();
        starts.failed(0, &key("ann"), Witness::Hook);
        starts.succeeded(1, Witness::Hook);
        assert_eq!(starts.failed(2, &key("ann"), Witness::Hook), None);
        let late = starts.failed(2 + 30 * MINUTE_MS, &key("ann"), Witness::Hook);
        assert_eq!(late, None, "not within half an hour");
    }

    #[test]
    fn it_ends_by_itself_when_the_failures_are_old() {
        let mut starts = StartFailures::default();
        starts.failed(0, &key("ann"), Witness::Hook);
        starts.failed(10 * MINUTE_MS, &key("ann"), Witness::Hook);
        assert_eq!(starts.tick(29 * MINUTE_MS), None);
        let cleared = starts.tick(30 * MINUTE_MS).expect("one is old");
        assert_eq!(cleared.cleared_ms, Some(30 * MINUTE_MS));
    }

    #[test]
    fn what_counters_say_is_approximate_and_the_hooks_word_replaces_it() {
        let mut starts = StartFailures::default();
        let nobody = key("");
        starts.failed(0, &nobody, Witness::Counters);
        let raised = starts
            .failed(1, &nobody, Witness::Counters)
            .expect("raised");
        assert_eq!(raised.severity, Severity::Warning);
        assert!(
            raised
                .evidence
                .contains(&("approximate", Evidence::Flag(true)))
        );
        let ended = starts
            .failed(2, &key("ann"), Witness::Hook)
            .expect("one of its own");
        assert!(ended.cleared_ms.is_some());
        assert_eq!(starts.failed(3, &nobody, Witness::Counters), None);
        let raised = starts
            .failed(4, &key("ann"), Witness::Hook)
            .expect("raised");
        assert_eq!(number_of(&raised, "failures"), Some(2.0));
    }

    #[test]
    fn who_is_forgotten_leaves_no_name_and_the_open_verdict_ends() {
        let mut starts = StartFailures::default();
        starts.failed(0, &key("ann"), Witness::Hook);
        let raised = starts.failed(1, &key("ann"), Witness::Hook);
        let cleared = starts.forget(2).expect("it was open");
        assert_eq!(cleared.episode, raised.expect("raised").episode);
        assert_eq!((cleared.cleared_ms, &*cleared.key.user), (Some(2), ""));
        assert_eq!(starts.verdicts().count(), 0);
        assert_eq!(starts.forget(3), None);
    }

    #[test]
    fn however_many_fail_only_so_many_are_remembered() {
        let mut starts = StartFailures::default();
        for at in 0..3 * REMEMBERED_MAX {
            starts.failed(at as i64, &key(&at.to_string()), Witness::Hook);
        }
        assert_eq!(starts.run.len(), REMEMBERED_MAX);
        assert_eq!(starts.verdicts().count(), 1);
    }
}
