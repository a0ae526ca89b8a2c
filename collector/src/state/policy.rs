//! How to judge: thresholds for everybody, and for who is in a group of the hub's.
//!
//! A group's threshold stands in for everybody's. Who is in several groups gets, for each
//! threshold, the most generous that one of them sets: being let into a group never tightens what
//! another allows. Until the hub has said which groups somebody is in, the most generous of all
//! applies: who is unknown is not accused.

use std::{collections::BTreeMap, sync::Arc};

use crate::{text::Label, verdict::runaway::Patience};

/// Combinations of groups whose policy is kept; beyond it they are worked out again.
const COMBINATIONS_MAX: usize = 1_024;

/// Bounds and habits of judging; from the settings file.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Without work for this long, a server gets an `idle` verdict.
    pub idle_after_ms: i64,
    /// A kernel that is busy for this long without CPU, or a terminal's job, is no work any more.
    pub busy_without_cpu_ms: i64,
    /// Servers kept in state; beyond it the one longest gone is dropped.
    pub servers_max: usize,
    /// How long a server that stopped stays visible.
    pub gone_kept_ms: i64,
    /// Growth that reaches the limit within this time is `runaway_memory`.
    pub runaway_within_ms: i64,
    /// How long growth is watched before it is believed.
    pub patience: Patience,
    /// How long a cleared verdict names its notebook.
    pub names_kept_ms: i64,
    /// Cores in use without a cell for this long are `runaway_cpu`.
    pub runaway_cpu_after_ms: i64,
    /// So many of them.
    pub runaway_cpu_cores: f64,
    /// Processes that are a `process_storm` when they came within a minute.
    pub process_storm: u32,
    /// Threads that are a `thread_storm` when they came within a minute.
    pub thread_storm: u32,
    /// A kernel idle for this long that holds much is an `idle_hog`.
    pub idle_hog_after_ms: i64,
    /// Much: so many bytes,
    pub idle_hog_bytes: u64,
    /// or such a share of the limit.
    pub idle_hog_share: f64,
    /// From this share of the home's disk on it is `disk_near_limit`.
    pub disk_near_limit_share: f64,
    /// Cores that one server may use on a machine shared by many; infinite where none are counted.
    pub overuse_cpu_cores: f64,
    /// Memory that one server may use there; the most there is where none is counted.
    pub overuse_memory_bytes: u64,
    /// From this share of those cores on the score rises.
    pub overuse_cpu_share: f64,
    /// The same for memory.
    pub overuse_memory_share: f64,
    /// How long the score takes to its top at exactly that share.
    pub overuse_rise_ms: i64,
    /// How long it takes from its top to nothing without any use.
    pub overuse_fall_ms: i64,
    /// What is different for a group of the hub's.
    pub groups: BTreeMap<Label, Overrides>,
}

/// What a group has instead of what everybody has.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[allow(missing_docs)] // each is a field of the policy
pub struct Overrides {
    pub idle_after_ms: Option<i64>,
    pub busy_without_cpu_ms: Option<i64>,
    pub runaway_within_ms: Option<i64>,
    pub runaway_cpu_after_ms: Option<i64>,
    pub runaway_cpu_cores: Option<f64>,
    pub process_storm: Option<u32>,
    pub thread_storm: Option<u32>,
    pub idle_hog_after_ms: Option<i64>,
    pub idle_hog_bytes: Option<u64>,
    pub idle_hog_share: Option<f64>,
    pub disk_near_limit_share: Option<f64>,
    pub overuse_cpu_cores: Option<f64>,
    pub overuse_memory_bytes: Option<u64>,
}

/// The policies of those who are in groups; servers with the same ones share theirs.
#[derive(Debug, Default)]
pub(super) struct Policies {
    /// For who is not yet known to be in any group; `None` where that makes no difference.
    pub(super) unknown: Option<Arc<Policy>>,
    known: BTreeMap<Vec<Label>, Arc<Policy>>,
}

/// Sets each field to the most generous of what `$overrides` say, and of what it was if `$keeps`.
macro_rules! most_generous {
    ($policy:ident, $overrides:ident, $keeps:ident, $($field:ident by $pick:ident),+ $(,)?) => {
        $(
            let said = $overrides.iter().filter_map(|overrides| overrides.$field);
            let kept = $keeps.then_some($policy.$field);
            if let Some(value) = said.chain(kept).reduce(|a, b| a.$pick(b)) {
                $policy.$field = value;
            }
        )+
    };
}

// === impl Policy ===

impl Default for Policy {
    fn default() -> Self {
        Self {
            idle_after_ms: 60 * 60 * 1000,
            busy_without_cpu_ms: 12 * 60 * 60 * 1000,
            servers_max: 100_000,
            gone_kept_ms: 24 * 60 * 60 * 1000,
            runaway_within_ms: 60 * 60 * 1000,
            patience: Patience::default(),
            names_kept_ms: 30 * 24 * 60 * 60 * 1000,
            runaway_cpu_after_ms: 5 * 60 * 1000,
            runaway_cpu_cores: 0.9,
            process_storm: 200,
            thread_storm: 1_000,
            idle_hog_after_ms: 2 * 60 * 60 * 1000,
            idle_hog_bytes: 1 << 30,
            idle_hog_share: 0.25,
            disk_near_limit_share: 0.95,
            overuse_cpu_cores: f64::INFINITY,
            overuse_memory_bytes: u64::MAX,
            overuse_cpu_share: 0.45,
            overuse_memory_share: 0.5,
            overuse_rise_ms: 600_000,
            overuse_fall_ms: 1_800_000,
            groups: BTreeMap::new(),
        }
    }
}

impl Policy {
    /// For a member of exactly those of `groups` that have anything of their own.
    #[must_use]
    pub fn of_groups(&self, groups: &[Label]) -> Self {
        let overrides: Vec<&Overrides> = groups
            .iter()
            .filter_map(|group| self.groups.get(group))
            .collect();
        self.with(&overrides, false)
    }

    /// For who may be in any group.
    #[must_use]
    pub fn of_anybody(&self) -> Self {
        let overrides: Vec<&Overrides> = self.groups.values().collect();
        self.with(&overrides, true)
    }

    /// Whether there is a share of a machine to keep to.
    pub(crate) fn counts_overuse(&self) -> bool {
        self.overuse_cpu_cores.is_finite() || self.overuse_memory_bytes < u64::MAX
    }

    fn with(&self, overrides: &[&Overrides], keeps: bool) -> Self {
        let mut policy = Self {
            groups: BTreeMap::new(),
            ..*self
        };
        most_generous!(
            policy, overrides, keeps,
            idle_after_ms by max,
            busy_without_cpu_ms by max,
            runaway_within_ms by min,
            runaway_cpu_after_ms by max,
            runaway_cpu_cores by max,
            process_storm by max,
            thread_storm by max,
            idle_hog_after_ms by max,
            idle_hog_bytes by max,
            idle_hog_share by max,
            disk_near_limit_share by max,
            overuse_cpu_cores by max,
            overuse_memory_bytes by max,
        );
        policy
    }
}

// === impl Policies ===

impl Policies {
    /// Where a hub will say who is in which group.
    pub(super) fn with_hub(policy: &Policy) -> Self {
        Self {
            unknown: (!policy.groups.is_empty()).then(|| Arc::new(policy.of_anybody())),
            known: BTreeMap::new(),
        }
    }

    /// The policy for who is in `groups`; `None` where it is everybody's.
    pub(super) fn of(&mut self, policy: &Policy, groups: &[Label]) -> Option<Arc<Policy>> {
        if policy.groups.is_empty() {
            return None;
        }
        let matching: Vec<Label> = groups
            .iter()
            .filter(|group| policy.groups.contains_key(*group))
            .cloned()
            .collect();
        if matching.is_empty() {
            return None;
        }
        if let Some(known) = self.known.get(&matching) {
            return Some(known.clone());
        }
        if self.known.len() >= COMBINATIONS_MAX {
            self.known.clear();
        }
        let resolved = Arc::new(policy.of_groups(&matching));
        self.known.insert(matching, resolved.clone());
        Some(resolved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::tests::label;

    fn policy() -> Policy {
        let group = |hours: i64, within_ms: Option<i64>| Overrides {
            idle_after_ms: Some(hours * 3_600_000),
            runaway_within_ms: within_ms,
            ..Overrides::default()
        };
        Policy {
            idle_after_ms: 2 * 3_600_000,
            groups: BTreeMap::from([
                (label("course"), group(1, None)),
                (label("staff"), group(8, Some(60_000))),
                (label("physics"), group(4, Some(120_000))),
            ]),
            ..Policy::default()
        }
    }

    #[test]
    fn a_group_may_be_stricter_than_everybody_and_two_are_as_generous_as_one_of_them() {
        let hours = |groups: &[&str]| {
            let groups: Vec<Label> = groups.iter().map(|group| label(group)).collect();
            policy().of_groups(&groups).idle_after_ms / 3_600_000
        };
        assert_eq!(hours(&[]), 2);
        assert_eq!(hours(&["nobody heard of it"]), 2);
        assert_eq!(hours(&["course"]), 1, "stricter than everybody");
        assert_eq!(hours(&["course", "physics"]), 4);
        let both = policy().of_groups(&[label("physics"), label("staff")]);
        assert_eq!(both.runaway_within_ms, 60_000, "later is more generous");
        assert_eq!(both.process_storm, 200, "what no group sets is everybody's");
    }

    #[test]
    fn who_is_not_known_yet_gets_the_most_generous_of_all() {
        let unknown = policy().of_anybody();
        assert_eq!(unknown.idle_after_ms, 8 * 3_600_000);
        assert_eq!(unknown.runaway_within_ms, 60_000);
        let only_stricter = Policy {
            groups: BTreeMap::from([(
                label("course"),
                Overrides {
                    idle_after_ms: Some(1),
                    ..Overrides::default()
                },
            )]),
            ..Policy::default()
        };
        assert_eq!(only_stricter.of_anybody().idle_after_ms, 3_600_000);
    }

    #[test]
    fn members_of_the_same_groups_share_one_policy() {
        let policy = policy();
        let mut policies = Policies::with_hub(&policy);
        let one = policies.of(&policy, &[label("course"), label("x")]);
        let other = policies.of(&policy, &[label("course")]);
        assert!(Arc::ptr_eq(&one.unwrap(), &other.unwrap()));
        assert!(policies.of(&policy, &[label("x")]).is_none());
        assert!(Policies::with_hub(&Policy::default()).unknown.is_none());
    }
}
