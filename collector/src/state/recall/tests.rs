use super::*;
use crate::{
    fact::Fact,
    state::{
        Policy, invariants,
        tests::{
            MB, START_MS, ada, after, connected, disconnected, hub, nothing_listed, report, sample,
            server, tick,
        },
    },
    verdict::Verdict,
};

/// Rare, but no hole.
const DISTANCE_MS: u64 = 30_000;

fn started(after_ms: i64) -> Fact {
    Fact::Started {
        at_ms: START_MS + after_ms,
    }
}

/// Two samples a minute, from the `first` minute to the `last`.
fn minutes(first: u64, last: u64, used_bytes: u64) -> Vec<Fact> {
    let fact = |at| report(1, at + 1, vec![sample(at * DISTANCE_MS, used_bytes)]);
    (2 * first..=2 * last).map(fact).collect()
}

/// What a start makes of what the registry and the journal hold.
fn restarted(open: Vec<Verdict>, idle: Vec<(ServerKey, i64)>, journal: &[Fact]) -> State {
    let mut state = State::with_hub(Policy::default());
    state.recall(open, idle);
    for fact in journal {
        state.apply(fact);
        assert_eq!(invariants::check(&state), Ok(()), "after {fact:?}");
    }
    state
}

fn names(verdicts: &[Verdict]) -> Vec<(&str, i64)> {
    let name = |verdict: &'_ Verdict| verdict.since_ms - START_MS;
    verdicts
        .iter()
        .map(|verdict| (verdict.episode.as_str(), name(verdict)))
        .collect()
}

#[test]
fn an_episode_older_than_the_journal_goes_on_under_its_name() {
    let before = after(&minutes(0, 20, 1_900 * MB));
    let open = server(&before).verdicts.clone();
    assert_eq!(names(&open).len(), 1);
    let mut journal = minutes(10, 20, 1_900 * MB);
    journal.push(started(30 * 60_000));
    let state = restarted(open.clone(), Vec::new(), &journal);
    assert_eq!(names(&server(&state).verdicts), names(&open));
    assert!(state.cleared.is_empty());
}

#[test]
fn an_episode_of_the_journals_time_is_not_ended_by_what_came_before_it() {
    let mut journal = minutes(0, 10, 500 * MB);
    journal.extend(minutes(11, 12, 1_900 * MB));
    let open = server(&after(&journal)).verdicts.clone();
    journal.push(started(15 * 60_000));
    let state = restarted(open.clone(), Vec::new(), &journal);
    assert_eq!(names(&server(&state).verdicts), names(&open));
    assert!(state.cleared.is_empty());
}

#[test]
fn an_episode_that_the_replay_does_not_bear_out_is_closed() {
    let open = server(&after(&minutes(0, 20, 1_900 * MB))).verdicts.clone();
    let ended = minutes(10, 20, 500 * MB);
    let state = restarted(open.clone(), Vec::new(), &ended);
    assert!(server(&state).verdicts.is_empty());
    assert_eq!(state.cleared[0].episode, open[0].episode);

    let state = restarted(open.clone(), Vec::new(), &[started(1_800_000)]);
    assert_eq!(state.cleared[0].episode, open[0].episode);
    assert_eq!(state.cleared[0].cleared_ms, Some(START_MS + 1_800_000));
    assert!(!state.is_recalling());
}

#[test]
fn what_happened_while_the_collector_was_away_is_nobodys_death() {
    let mut full = vec![hub(0, None), connected(1, 0)];
    full.extend(minutes(0, 5, 1_900 * MB));
    let killed = |state: &State| {
        let mut open = server(state).verdicts.iter();
        open.any(|verdict| verdict.rule == Rule::Killed)
    };
    let end = |facts: &[Fact]| {
        let mut all = full.clone();
        all.extend_from_slice(facts);
        killed(&restarted(Vec::new(), Vec::new(), &all))
    };
    assert!(!end(&[started(400_000), nothing_listed(401_000)]));
    assert!(!end(&[started(400_000), connected(2, 401_000)]));
    // Heard again since, or cut while the collector still listened: then it did see.
    assert!(end(&[
        started(400_000),
        connected(1, 401_000),
        connected(2, 402_000)
    ]));
    assert!(end(&[
        disconnected(1, 310_000, false),
        started(400_000),
        nothing_listed(401_000)
    ]));
    assert!(!end(&[
        disconnected(1, 310_000, true),
        started(400_000),
        nothing_listed(401_000)
    ]));
}

#[test]
fn a_death_that_was_told_is_not_told_again() {
    let mut journal = vec![hub(0, None), connected(1, 0)];
    journal.extend(minutes(0, 5, 1_900 * MB));
    journal.push(disconnected(1, 310_000, false));
    let mut before = after(&journal);
    before.apply(&nothing_listed(320_000));
    let open = server(&before).verdicts.clone();
    assert_eq!(open[0].rule, Rule::Killed);

    journal.push(started(400_000));
    let mut state = restarted(open.clone(), Vec::new(), &journal);
    let killed = |state: &State| -> Vec<String> {
        let open = server(state).verdicts.iter();
        open.filter(|verdict| verdict.rule == Rule::Killed)
            .map(|verdict| verdict.episode.clone())
            .collect()
    };
    state.apply(&nothing_listed(401_000));
    assert_eq!(killed(&state), [open[0].episode.clone()]);
    state.apply(&tick(320_000 + killed::OPEN_MS));
    assert_eq!(killed(&state), [""; 0]);
}

#[test]
fn a_silent_server_stays_one_episode() {
    let mut before = after(&[hub(0, None), connected(1, 0)]);
    for fact in minutes(0, 1, 500 * MB) {
        before.apply(&fact);
    }
    before.apply(&tick(600_000));
    let open = server(&before).verdicts.clone();
    assert_eq!(open[0].rule, Rule::Silent);
    // Its rows may be in the journal still, or not any more.
    for journal in [minutes(0, 1, 500 * MB), Vec::new()] {
        let mut state = restarted(open.clone(), Vec::new(), &journal);
        state.apply(&started(1_200_000));
        state.apply(&hub(1_201_000, None));
        let changed = state.apply(&tick(1_300_000));
        assert!(changed.verdicts.iter().all(|v| v.cleared_ms.is_none()));
        assert_eq!(names(&server(&state).verdicts), names(&open));
        let changed = state.apply(&connected(1, 1_310_000));
        assert_eq!(changed.verdicts[0].episode, open[0].episode);
        assert!(changed.verdicts[0].cleared_ms.is_some());
    }
}

#[test]
fn idle_time_goes_on_where_it_was_before_the_journal_begins() {
    let since_ms = START_MS - 7_200_000;
    let marks = vec![(ada(), since_ms)];
    let idle = |journal: &[Fact]| {
        let state = restarted(Vec::new(), marks.clone(), journal);
        server(&state).idle_since_ms
    };
    assert_eq!(idle(&minutes(10, 20, 500 * MB)), Some(since_ms));
    // An agent's life that the journal knows from its beginning was not there before.
    assert_eq!(idle(&minutes(0, 20, 500 * MB)), Some(START_MS));
}

#[test]
fn work_in_the_journal_ends_an_older_idle_time() {
    let mut journal = minutes(10, 20, 500 * MB);
    if let Fact::Report { samples, .. } = &mut journal[10] {
        samples[0].workloads[0].state = Some(crate::fact::WorkloadState::Busy);
    }
    let marks = vec![(ada(), START_MS - 7_200_000)];
    let state = restarted(Vec::new(), marks, &journal);
    let worked_ms = START_MS + 15 * 60_000;
    assert_eq!(server(&state).idle_since_ms, Some(worked_ms));
}

#[test]
fn with_a_hub_a_long_silence_in_the_journal_is_not_an_end() {
    let mut journal = minutes(0, 1, 1_900 * MB);
    journal.push(disconnected(1, 70_000, false));
    journal.push(tick(1_000_000));
    let state = restarted(Vec::new(), Vec::new(), &journal);
    assert_eq!(server(&state).phase, Phase::Silent);
}

#[test]
fn idle_marks_are_of_who_does_not_work_and_is_not_gone() {
    let mut state = after(&minutes(0, 2, 500 * MB));
    let marks = |state: &State| -> Vec<i64> { state.idle_marks().map(|(_, ms)| ms).collect() };
    assert_eq!(marks(&state), [START_MS]);
    state.apply(&tick(180_000));
    assert_eq!(marks(&state), [START_MS], "silent: it may be back in time");
    state.apply(&disconnected(1, 190_000, true));
    assert_eq!(marks(&state), [0; 0]);
}

/// Two samples a minute, from the `first` minute to the `last`, of a kernel that takes `cores`.
fn computing(first: u64, last: u64, cores: u64) -> Vec<Fact> {
    let fact = |at| {
        let mut sample = sample(at * DISTANCE_MS, 1_500 * MB);
        sample.interval_ms = 30_000;
        sample.cpu_millis = at * DISTANCE_MS * cores;
        sample.workloads[0].cpu_millis = sample.cpu_millis;
        sample.workloads[0].state = Some(crate::fact::WorkloadState::Busy);
        report(1, at + 1, vec![sample])
    };
    (2 * first..=2 * last).map(fact).collect()
}

#[test]
fn overuse_goes_on_from_its_score_and_a_score_on_its_way_is_found_again_in_the_journal() {
    let policy = Policy {
        overuse_cpu_cores: 4.0,
        ..Policy::default()
    };
    let judged = |open: Vec<Verdict>, facts: &[Fact]| {
        let mut state = State::with_hub(policy.clone());
        state.recall(open, Vec::new());
        for fact in facts {
            state.apply(fact);
        }
        let open = server(&state).verdicts.iter();
        let overuse = open.filter(|verdict| verdict.rule == Rule::Overuse);
        overuse.cloned().collect::<Vec<_>>()
    };
    // Four minutes are not enough; with the minutes of before the restart they are.
    assert_eq!(judged(Vec::new(), &computing(0, 4, 4)), []);
    let open = judged(Vec::new(), &computing(0, 20, 4));
    assert_eq!(open.len(), 1);
    // A journal of its last quarter of an hour in which it uses little: the score has not fallen
    // to half of it from its top.
    let mut journal = computing(21, 35, 0);
    journal.push(started(36 * 60_000));
    assert_eq!(names(&judged(open.clone(), &journal)), names(&open));
    let mut longer = computing(21, 50, 0);
    longer.push(started(51 * 60_000));
    assert_eq!(judged(open, &longer), []);
}

#[test]
fn an_idle_kernel_that_holds_much_is_the_same_episode_after_a_restart() {
    let before = after(&minutes(0, 125, 1_500 * MB));
    let open = server(&before).verdicts.clone();
    let hog = |verdicts: &[Verdict]| -> Vec<String> {
        let hogs = verdicts.iter().filter(|v| v.rule == Rule::IdleHog);
        hogs.map(|verdict| verdict.episode.clone()).collect()
    };
    assert_eq!(hog(&open).len(), 1);
    let mut journal = minutes(110, 125, 1_500 * MB);
    journal.push(started(126 * 60_000));
    let marks = before.idle_marks().map(|(key, ms)| (key.clone(), ms));
    let state = restarted(open.clone(), marks.collect(), &journal);
    assert_eq!(hog(&server(&state).verdicts), hog(&open));
    assert!(state.cleared.is_empty(), "{:?}", state.cleared);
}

#[test]
fn a_spin_and_a_storm_are_the_same_episodes_after_a_restart() {
    let facts = |first: u64, last: u64| -> Vec<Fact> {
        let fact = |at: u64| {
            let mut sample = sample(at * 5_000, 300 * MB);
            sample.cpu_millis = at * 5_000;
            sample.workloads[0].cpu_millis = at * 5_000;
            sample.processes = if at < 30 { 3 } else { 500 };
            report(1, at + 1, vec![sample])
        };
        (12 * first..=12 * last).map(fact).collect()
    };
    let open = server(&after(&facts(0, 10))).verdicts.clone();
    let rules: Vec<_> = open.iter().map(|verdict| verdict.rule).collect();
    assert_eq!(rules, [Rule::ProcessStorm, Rule::RunawayCpu]);
    let mut journal = facts(8, 10);
    journal.push(started(11 * 60_000));
    let state = restarted(open.clone(), Vec::new(), &journal);
    assert_eq!(names(&server(&state).verdicts), names(&open));
}
