//! What policy says about stopping: timeouts, ages, exemptions, holds, warnings.
//!
//! A group's value stands in for everybody's; who is in several groups gets, for each, the most
//! generous that one of them sets. Schedules replace the timeout while they hold.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::schedule::{Schedule, Span, merged};
use crate::{fact::ServerKey, text::Label};

/// Warnings before a stop.
pub const WARNINGS_MAX: usize = 2;

/// Whether the answer is acted on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// It only says what policy would do: nobody is warned and nobody is stopped.
    #[default]
    Watch,
    /// Who is due is warned and then stopped by whoever asks.
    Act,
}

/// What becomes of kernels that idle and hold much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IdleKernels {
    /// Their user is told how to shut them down.
    #[default]
    Offer,
    /// Where the mode is to act, their user is warned, and then they are shut down.
    ShutDown,
}

/// Who is stopped when; from the settings file.
#[derive(Clone, Debug, PartialEq)]
pub struct CullPolicy {
    /// Whether the answer is acted on.
    pub mode: Mode,
    /// Without work for this long a server is due; `None`: once it is `idle` by its own policy.
    pub timeout_ms: Option<i64>,
    /// Older than this it is due, at work or not; `None`: never.
    pub max_age_ms: Option<i64>,
    /// A user may keep a server for this long; 0: not at all.
    pub hold_max_ms: i64,
    /// However often a hold is renewed, it puts off the end of a server that nobody works in by no
    /// more than this, or `hold_max_ms` where that is longer.
    pub hold_total_max_ms: i64,
    /// What becomes of idle kernels that hold much.
    pub idle_kernels: IdleKernels,
    /// So long before the end its user is warned, the earliest first; at most [`WARNINGS_MAX`].
    pub warn_ms: Vec<i64>,
    /// Warnings go by mail as well, to every user: one that no mail server took is not delivered.
    pub warns_by_mail: bool,
    /// What is different for a group of the hub's.
    pub groups: BTreeMap<Label, GroupTerms>,
    /// Nights and weekends.
    pub schedules: Vec<Schedule>,
    /// Who is never stopped.
    pub exempt: Exempt,
}

/// What a group has instead of what everybody has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupTerms {
    /// Without work for this long.
    pub timeout_ms: Option<i64>,
    /// Older than this; `Some(None)`: never.
    pub max_age_ms: Option<Option<i64>>,
    /// A hold's length at most.
    pub hold_max_ms: Option<i64>,
    /// The length of renewed ones at most.
    pub hold_total_max_ms: Option<i64>,
}

/// Who is never stopped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exempt {
    /// Users, with all their servers.
    pub users: BTreeSet<String>,
    /// Members of these groups.
    pub groups: BTreeSet<Label>,
    /// Single servers.
    pub servers: Vec<ServerPattern>,
}

/// A server, or all of a name or of a user. `None` is any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerPattern {
    /// Whose.
    pub user: Option<String>,
    /// Its name, `""` for a default one.
    pub server: Option<String>,
}

/// What holds for one server's user.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    /// Without work for this long, outside of `spans`; `None`: as for its `idle` verdict.
    pub timeout_ms: Option<i64>,
    /// Older than this.
    pub max_age_ms: Option<i64>,
    /// A hold's length at most.
    pub hold_max_ms: i64,
    /// By how much holds put off an end at most, renewed or not.
    pub hold_total_max_ms: i64,
    /// The longest timeout of a schedule's; `None`: there is none.
    pub longest_ms: Option<i64>,
    /// When another timeout holds, one after the other.
    pub spans: Vec<Span>,
}

/// The terms of those who are in the same groups, worked out once for one look at all servers.
pub struct Book<'a> {
    policy: &'a CullPolicy,
    now_ms: i64,
    known: BTreeMap<Vec<Label>, Arc<Terms>>,
    everybody: Arc<Terms>,
}

// === impl Mode ===

impl Mode {
    /// Its word in settings and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Watch => "watch",
            Self::Act => "act",
        }
    }
}

// === impl CullPolicy ===

impl Default for CullPolicy {
    fn default() -> Self {
        Self {
            mode: Mode::Watch,
            timeout_ms: None,
            max_age_ms: None,
            hold_max_ms: 24 * 60 * 60 * 1000,
            hold_total_max_ms: 3 * 24 * 60 * 60 * 1000,
            idle_kernels: IdleKernels::Offer,
            warn_ms: vec![15 * 60_000, 5 * 60_000],
            warns_by_mail: false,
            groups: BTreeMap::new(),
            schedules: Vec::new(),
            exempt: Exempt::default(),
        }
    }
}

impl CullPolicy {
    /// How long before the end its user must have been warned; `None`: nobody is warned.
    #[must_use]
    pub fn last_warning_ms(&self) -> Option<i64> {
        self.warn_ms.last().copied()
    }

    /// Whether being in `group` makes a difference.
    fn minds(&self, group: &Label) -> bool {
        self.groups.contains_key(group) || self.schedules.iter().any(|s| s.groups.contains(group))
    }

    /// For a member of `groups`, around `now_ms`.
    #[must_use]
    pub fn terms(&self, groups: &[Label], now_ms: i64) -> Terms {
        let own: Vec<&GroupTerms> = groups.iter().filter_map(|g| self.groups.get(g)).collect();
        let timeout_ms = own.iter().filter_map(|group| group.timeout_ms).max();
        // Never is the most generous age.
        let ages = own.iter().filter_map(|group| group.max_age_ms);
        let max_age_ms = ages
            .reduce(|a, b| a.zip(b).map(|(a, b)| a.max(b)))
            .unwrap_or(self.max_age_ms);
        let hold_max_ms = own.iter().filter_map(|group| group.hold_max_ms).max();
        let hold_max_ms = hold_max_ms.unwrap_or(self.hold_max_ms);
        let hold_total_max_ms = own.iter().filter_map(|group| group.hold_total_max_ms).max();
        let holds = |schedule: &&Schedule| {
            if schedule.groups.is_empty() {
                timeout_ms.is_none()
            } else {
                groups.iter().any(|group| schedule.groups.contains(group))
            }
        };
        let schedules: Vec<&Schedule> = self.schedules.iter().filter(holds).collect();
        let spans: Vec<Span> = schedules.iter().flat_map(|s| s.spans(now_ms)).collect();
        Terms {
            timeout_ms: timeout_ms.or(self.timeout_ms),
            max_age_ms,
            hold_max_ms,
            hold_total_max_ms: hold_total_max_ms
                .unwrap_or(self.hold_total_max_ms)
                .max(hold_max_ms),
            longest_ms: schedules.iter().map(|schedule| schedule.timeout_ms).max(),
            spans: merged(&spans),
        }
    }
}

// === impl Exempt ===

impl Exempt {
    /// Why `key`, whose user is in `groups`, is never stopped.
    #[must_use]
    pub fn reason(&self, key: &ServerKey, groups: &[Label]) -> Option<String> {
        if self.users.contains(&*key.user) {
            return Some("exempt: its user".to_owned());
        }
        if let Some(group) = groups.iter().find(|group| self.groups.contains(*group)) {
            return Some(format!("exempt: group {group}"));
        }
        let servers = self.servers.iter().any(|pattern| pattern.is(key));
        servers.then(|| "exempt: this server".to_owned())
    }
}

// === impl ServerPattern ===

impl ServerPattern {
    fn is(&self, key: &ServerKey) -> bool {
        self.user.as_deref().is_none_or(|user| user == &*key.user)
            && self
                .server
                .as_deref()
                .is_none_or(|server| server == &*key.server)
    }
}

// === impl Terms ===

impl Terms {
    /// The first moment from which a server that idles since `idle_since_ms` is due, in the stretch
    /// of time `now_ms` is in or later. `base_ms` is the timeout where these terms have none.
    #[must_use]
    pub fn due_ms(&self, idle_since_ms: i64, base_ms: i64, now_ms: i64) -> i64 {
        let base_ms = self.timeout_ms.unwrap_or(base_ms);
        let mut begins_ms = i64::MIN;
        for span in &self.spans {
            for (from_ms, to_ms, timeout_ms) in [
                (begins_ms, span.from_ms, base_ms),
                (span.from_ms, span.to_ms, span.timeout_ms),
            ] {
                let due_ms = idle_since_ms.saturating_add(timeout_ms).max(from_ms);
                if to_ms > now_ms && due_ms < to_ms {
                    return due_ms;
                }
            }
            begins_ms = span.to_ms;
        }
        idle_since_ms.saturating_add(base_ms).max(begins_ms)
    }
}

impl Terms {
    /// The latest moment to which holds put off the end of a server that idles since
    /// `idle_since_ms`: whatever the hour's timeout, so that no night begins it anew.
    #[must_use]
    pub fn kept_latest_ms(&self, idle_since_ms: i64, base_ms: i64) -> i64 {
        let timeout_ms = self.timeout_ms.unwrap_or(base_ms);
        let longest_ms = self.longest_ms.map_or(timeout_ms, |ms| ms.max(timeout_ms));
        idle_since_ms
            .saturating_add(longest_ms)
            .saturating_add(self.hold_total_max_ms)
    }
}

// === impl Book ===

impl<'a> Book<'a> {
    /// Of `policy`, as it is at `now_ms`.
    #[must_use]
    pub fn new(policy: &'a CullPolicy, now_ms: i64) -> Self {
        Self {
            policy,
            now_ms,
            known: BTreeMap::new(),
            everybody: Arc::new(policy.terms(&[], now_ms)),
        }
    }

    /// What holds for a member of `groups`.
    pub fn terms(&mut self, groups: &[Label]) -> Arc<Terms> {
        let policy = self.policy;
        let minds = |group: &&Label| policy.minds(group);
        if !groups.iter().any(|group| minds(&group)) {
            return self.everybody.clone();
        }
        let groups: Vec<Label> = groups.iter().filter(minds).cloned().collect();
        if let Some(terms) = self.known.get(&groups) {
            return terms.clone();
        }
        let terms = Arc::new(policy.terms(&groups, self.now_ms));
        self.known.insert(groups, terms.clone());
        terms
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        cull::schedule::tests::{at, nights},
        state::tests::label,
    };

    const HOUR_MS: i64 = 3_600_000;
    const MINUTE_MS: i64 = 60_000;

    fn policy() -> CullPolicy {
        let group = |hours| GroupTerms {
            timeout_ms: Some(hours * HOUR_MS),
            ..GroupTerms::default()
        };
        CullPolicy {
            timeout_ms: Some(HOUR_MS),
            max_age_ms: Some(24 * HOUR_MS),
            groups: BTreeMap::from([
                (label("course"), group(2)),
                (
                    label("gpu"),
                    GroupTerms {
                        max_age_ms: Some(None),
                        hold_max_ms: Some(2 * HOUR_MS),
                        ..group(8)
                    },
                ),
            ]),
            schedules: vec![nights([true; 7])],
            ..CullPolicy::default()
        }
    }

    #[test]
    fn of_several_groups_the_most_generous_counts_and_never_is_the_most_generous_age() {
        let now_ms = at("2026-01-14T12:00:00Z");
        let terms = |groups: &[&str]| {
            let groups: Vec<Label> = groups.iter().map(|group| label(group)).collect();
            policy().terms(&groups, now_ms)
        };
        assert_eq!(terms(&["nobody's"]).timeout_ms, Some(HOUR_MS));
        assert_eq!(terms(&["course"]).timeout_ms, Some(2 * HOUR_MS));
        assert_eq!(terms(&["course", "gpu"]).timeout_ms, Some(8 * HOUR_MS));
        assert_eq!(terms(&["course"]).max_age_ms, Some(24 * HOUR_MS));
        assert_eq!(terms(&["course", "gpu"]).max_age_ms, None);
        assert_eq!(terms(&["gpu"]).hold_max_ms, 2 * HOUR_MS);
    }

    #[test]
    fn holds_put_an_end_off_by_what_policy_says_at_night_as_by_day_and_never_by_less_than_one_hold()
    {
        const DAY_MS: i64 = 24 * HOUR_MS;
        let (noon_ms, night_ms) = (at("2026-01-14T12:00:00Z"), at("2026-01-14T23:00:00Z"));
        let since_ms = at("2026-01-14T10:00:00Z");
        for now_ms in [noon_ms, night_ms, night_ms + DAY_MS] {
            let terms = policy().terms(&[], now_ms);
            let latest_ms = terms.kept_latest_ms(since_ms, HOUR_MS);
            assert_eq!(latest_ms, since_ms + HOUR_MS + 3 * DAY_MS);
        }
        let mut long = policy();
        long.hold_max_ms = 7 * DAY_MS;
        assert_eq!(long.terms(&[], noon_ms).hold_total_max_ms, 7 * DAY_MS);
        let gpu = long.groups.get_mut(&label("gpu")).unwrap();
        gpu.hold_total_max_ms = Some(HOUR_MS);
        let terms = long.terms(&[label("gpu")], noon_ms);
        assert_eq!(terms.hold_total_max_ms, 2 * HOUR_MS, "its hold_max");
    }

    #[test]
    fn a_night_is_for_everybody_but_those_whose_group_has_a_timeout_of_its_own() {
        let now_ms = at("2026-01-14T12:00:00Z");
        assert!(!policy().terms(&[], now_ms).spans.is_empty());
        assert!(policy().terms(&[label("gpu")], now_ms).spans.is_empty());
        let mut named = policy();
        named.schedules[0].groups.insert(label("gpu"));
        assert!(named.terms(&[], now_ms).spans.is_empty());
        assert!(!named.terms(&[label("gpu")], now_ms).spans.is_empty());
    }

    #[test]
    fn who_is_idle_in_the_evening_is_due_when_the_night_begins_and_not_before() {
        let now_ms = at("2026-01-14T18:55:00Z"); // 19:55 in Zurich
        let terms = policy().terms(&[], now_ms);
        let due = |since: &str| terms.due_ms(at(since), HOUR_MS, now_ms);
        assert_eq!(due("2026-01-14T18:30:00Z"), at("2026-01-14T19:00:00Z"));
        assert_eq!(due("2026-01-14T18:50:00Z"), at("2026-01-14T19:10:00Z"));
        assert_eq!(due("2026-01-14T17:50:00Z"), at("2026-01-14T18:50:00Z"));
    }

    #[test]
    fn a_night_that_ended_makes_nobody_due_in_the_morning() {
        let now_ms = at("2026-01-14T06:10:00Z"); // 07:10 in Zurich
        let terms = policy().terms(&[], now_ms);
        let since_ms = at("2026-01-14T05:45:00Z");
        // At 06:05 it was idle for 20 minutes, but nobody asked; now an hour counts again.
        assert_eq!(terms.due_ms(since_ms, HOUR_MS, now_ms), since_ms + HOUR_MS);
    }

    #[test]
    fn a_generous_weekend_puts_off_what_is_due() {
        let mut days = [false; 7];
        (days[5], days[6]) = (true, true);
        let mut policy = policy();
        policy.schedules = vec![Schedule {
            from_minutes: 0,
            to_minutes: 24 * 60,
            timeout_ms: 100 * HOUR_MS,
            ..nights(days)
        }];
        let now_ms = at("2026-01-16T22:40:00Z"); // Friday, 23:40 in Zurich
        let terms = policy.terms(&[], now_ms);
        let since_ms = now_ms - 30 * MINUTE_MS;
        assert_eq!(
            terms.due_ms(since_ms, HOUR_MS, now_ms),
            at("2026-01-18T23:00:00Z"),
            "Monday's midnight"
        );
    }

    proptest! {
        /// Tried minute by minute: it is due at the first moment at which it was idle for as long as
        /// then counts, and at none before.
        #[test]
        fn a_server_is_due_at_the_first_moment_its_hour_allows(
            spans in prop::collection::vec((0..40_i64, 1..20_i64, 0..30_i64), 0..4),
            base_ms in 1..30_i64,
            since_ms in 0..20_i64,
            now_ms in 20..40_i64,
        ) {
            let span = |(from_ms, length_ms, timeout_ms)| Span {
                from_ms,
                to_ms: from_ms + length_ms,
                timeout_ms,
            };
            let spans: Vec<Span> = spans.into_iter().map(span).collect();
            let in_force = |at_ms: i64| {
                let holds = |span: &&Span| (span.from_ms..span.to_ms).contains(&at_ms);
                let longest = spans.iter().filter(holds).map(|span| span.timeout_ms).max();
                longest.unwrap_or(base_ms)
            };
            let first = (now_ms..).find(|at_ms| at_ms - since_ms >= in_force(*at_ms));
            let terms = Terms {
                timeout_ms: None,
                max_age_ms: None,
                hold_max_ms: 0,
                hold_total_max_ms: 0,
                longest_ms: None,
                spans: merged(&spans),
            };
            let due_ms = terms.due_ms(since_ms, base_ms, now_ms);
            prop_assert_eq!(Some(due_ms.max(now_ms)), first);
        }
    }

    #[test]
    fn a_server_is_exempt_by_user_group_or_name() {
        let any = |user: Option<&str>, server: Option<&str>| ServerPattern {
            user: user.map(str::to_owned),
            server: server.map(str::to_owned),
        };
        let exempt = Exempt {
            users: BTreeSet::from(["root".to_owned()]),
            groups: BTreeSet::from([label("staff")]),
            servers: vec![any(None, Some("keep")), any(Some("ann"), Some(""))],
        };
        let is = |user, server, group| {
            let key = ServerKey::new(user, server);
            exempt.reason(&key, &[label(group)]).is_some()
        };
        assert!(is("root", "x", "") && is("bob", "", "staff") && is("bob", "keep", ""));
        assert!(is("ann", "", "") && !is("ann", "gpu", "") && !is("bob", "", ""));
    }
}
