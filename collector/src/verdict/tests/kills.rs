//! Scenarios of the out-of-memory killer: seen, counted, inferred.

use super::*;

fn killed_at(after_ms: u64, named: bool, back: bool) -> Fact {
    let mut died = sample(after_ms, 120 * MB);
    died.oom_kills = Some(1);
    if !back {
        died.workloads.remove(0);
    }
    if named {
        died.ended.push(WorkloadEnd {
            key: kernel_key(),
            name: label("python3"),
            notebook: Some(label("train.ipynb")),
            cause: EndCause::OutOfMemory,
            memory_used_bytes: 1_800 * MB,
        });
    }
    report(1, after_ms / 5_000 + 1, vec![died])
}

/// A kernel's end that the out-of-memory killer was to blame for.
fn killed_end(id: &str) -> WorkloadEnd {
    WorkloadEnd {
        key: WorkloadKey {
            kind: WorkloadKind::Kernel,
            id: label(id),
        },
        name: label("python3"),
        notebook: None,
        cause: EndCause::OutOfMemory,
        memory_used_bytes: 1_800 * MB,
    }
}

fn growing() -> Vec<Fact> {
    let of = |i: u64| report(1, i + 1, vec![sample(i * 5_000, 150 * MB + i * 300 * MB)]);
    [connected(1, 0)]
        .into_iter()
        .chain((0..6).map(of))
        .collect()
}

#[test]
fn after_a_kill_no_climb_is_told_that_went_with_its_kernel() {
    let mut state = after(&growing());
    assert!(
        server(&state)
            .trend
            .is_some_and(|t| t.bytes_per_second > 5e7)
    );
    state.apply(&killed_at(30_000, true, false));
    for seq in 8..20 {
        let now = server(&state);
        assert!(now.trend.is_none_or(|t| t.bytes_per_second.abs() < 1.0));
        assert_eq!(now.forecast, None);
        let runs = now.verdicts.iter().any(|v| v.rule == Rule::RunawayMemory);
        assert!(!runs, "{:?}", now.verdicts);
        let mut quiet = sample((seq - 1) * 5_000, 120 * MB);
        quiet.oom_kills = Some(1);
        state.apply(&report(1, seq, vec![quiet]));
    }
}

#[test]
fn a_killed_kernel_is_named_with_its_last_minute_until_it_is_back() {
    let mut facts = growing();
    facts.push(killed_at(30_000, true, false));
    let mut state = after(&facts);
    let kills = |state: &State| -> Vec<Verdict> {
        let open = server(state).verdicts.iter();
        open.filter(|v| v.rule == Rule::Killed).cloned().collect()
    };
    let [verdict] = &kills(&state)[..] else {
        panic!("{:?}", kills(&state))
    };
    assert_eq!(
        verdict.workload.as_ref().unwrap().title.as_str(),
        "train.ipynb"
    );
    let bytes = |mb: u64| Some(Evidence::Integer((mb * MB) as i64));
    assert_eq!(
        evidence(verdict, "memory_used_bytes").cloned(),
        bytes(1_650)
    );
    assert_eq!(
        evidence(verdict, "memory_limit_bytes").cloned(),
        bytes(2_000)
    );
    assert_eq!(
        evidence(verdict, "last_minute_first_bytes").cloned(),
        bytes(150)
    );
    assert_eq!(
        evidence(verdict, "last_minute_max_bytes").cloned(),
        bytes(1_650)
    );
    assert_eq!(
        evidence(verdict, "workload_memory_used_bytes").cloned(),
        bytes(1_800)
    );
    assert_eq!(evidence(verdict, "inferred"), Some(&Evidence::Flag(false)));

    let mut seq = 7;
    let mut back_at = |state: &mut State, after_ms: u64| {
        seq += 1;
        let mut back = sample(after_ms, 200 * MB);
        back.oom_kills = Some(1);
        state.apply(&report(1, seq, vec![back]));
    };
    back_at(&mut state, 35_000);
    assert_eq!(
        kills(&state).len(),
        1,
        "it is shown for two minutes at least"
    );
    back_at(&mut state, 150_000);
    assert_eq!(kills(&state), []);
}

#[test]
fn a_kernel_killed_near_the_limit_is_a_warning_that_says_so_and_counts_no_kill() {
    let mut facts = growing();
    let mut died = sample(30_000, 120 * MB);
    died.workloads.remove(0);
    died.ended.push(WorkloadEnd {
        key: kernel_key(),
        name: label("python3"),
        notebook: None,
        cause: EndCause::KilledNearLimit,
        memory_used_bytes: 1_800 * MB,
    });
    facts.push(report(1, 7, vec![died]));
    let state = after(&facts);
    let mut open = server(&state).verdicts.iter();
    let verdict = open.find(|v| v.rule == Rule::Killed).unwrap();
    assert_eq!(verdict.severity, Severity::Warning);
    let cause = Evidence::Word(label("killed_near_limit"));
    assert_eq!(evidence(verdict, "cause"), Some(&cause));
    assert_eq!(evidence(verdict, "kills"), None);
    assert_eq!(evidence(verdict, "inferred"), Some(&Evidence::Flag(false)));
    assert!(evidence(verdict, "workload_memory_used_bytes").is_some());
}

#[test]
fn a_killed_kernel_that_stays_away_is_told_for_a_quarter_of_an_hour() {
    let mut facts = growing();
    facts.push(killed_at(30_000, true, false));
    let mut state = after(&facts);
    state.apply(&tick(30_000 + killed::OPEN_MS - 1));
    assert!(episode::is_open(&server(&state).verdicts, Rule::Killed));
    state.apply(&tick(30_000 + killed::OPEN_MS));
    assert!(!episode::is_open(&server(&state).verdicts, Rule::Killed));
}

#[test]
fn a_kill_that_only_the_counter_saw_gets_its_name_when_it_is_told() {
    let mut facts = growing();
    facts.push(killed_at(30_000, false, true));
    let mut state = after(&facts);
    let find = |state: &State| {
        let open = &server(state).verdicts;
        open.iter()
            .filter(|v| v.rule == Rule::Killed)
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(find(&state)[0].workload, None);
    let told = |verdict: &Verdict| {
        let of = |key| evidence(verdict, key).cloned();
        [
            of("memory_used_bytes"),
            of("last_minute_max_bytes"),
            of("last_minute_last_bytes"),
        ]
    };
    let before = told(&find(&state)[0]);
    assert_eq!(before[0], Some(Evidence::Integer((1_650 * MB) as i64)));
    state.apply(&killed_at(35_000, true, false));
    let named = find(&state);
    assert_eq!(
        told(&named[0]),
        before,
        "its last minute, not the one after it"
    );
    assert_eq!(named.len(), 1, "one death, one episode");
    assert_eq!(named[0].workload.as_ref().unwrap().id.as_str(), "8f3a");
}

#[test]
fn two_kills_in_a_row_that_the_counter_saw_first_are_two_episodes_with_a_name_each() {
    let mut state = after(&growing());
    for (i, kills) in [(6, 1), (7, 2)] {
        let mut counted = sample(i * 5_000, 120 * MB);
        counted.oom_kills = Some(kills);
        state.apply(&report(1, i + 1, vec![counted]));
    }
    let mut told = sample(40_000, 120 * MB);
    told.oom_kills = Some(2);
    told.ended = ["8f3a", "77b1"].map(killed_end).into();
    state.apply(&report(1, 9, vec![told]));
    let kills = server(&state).verdicts.iter();
    let names: Vec<_> = kills
        .filter(|verdict| verdict.rule == Rule::Killed)
        .map(|verdict| verdict.workload.as_ref().map(|named| named.id.as_str()))
        .collect();
    assert_eq!(names, [Some("8f3a"), Some("77b1")]);
}

#[test]
fn a_victim_that_is_named_four_slow_samples_later_is_the_same_death() {
    let mut state = after(&[connected(1, 0)]);
    for i in 0..8_u64 {
        let mut sample = sample(i * 30_000, 150 * MB);
        sample.interval_ms = 30_000;
        sample.oom_kills = Some(u64::from(i >= 3));
        if i == 7 {
            sample.ended.push(killed_end("8f3a"));
        }
        state.apply(&report(1, i + 1, vec![sample]));
    }
    let all = server(&state).verdicts.iter().chain(&state.cleared);
    let kills: Vec<_> = all.filter(|v| v.rule == Rule::Killed).collect();
    assert_eq!(kills.len(), 1, "{kills:?}");
    assert!(kills[0].workload.is_some());
}

#[test]
fn a_runaway_ends_at_the_kill_also_where_the_counter_saw_it_before_the_victim_was_gone() {
    let mut state = after(&growing());
    assert!(episode::is_open(
        &server(&state).verdicts,
        Rule::RunawayMemory
    ));
    // The victim is a zombie still: memory is free, its kernel is on the list.
    let changed = state.apply(&killed_at(30_000, false, true)).verdicts;
    let runaway = changed.iter().find(|v| v.rule == Rule::RunawayMemory);
    assert!(
        runaway.is_some_and(|v| v.cleared_ms.is_some()),
        "{changed:?}"
    );
    for seq in 8..20 {
        let mut next = sample((seq - 1) * 5_000, 120 * MB);
        next.oom_kills = Some(1);
        if seq == 9 {
            next.ended.push(killed_end("8f3a"));
        }
        let told = state.apply(&report(1, seq, vec![next])).verdicts;
        let again = told.iter().find(|v| v.rule == Rule::RunawayMemory);
        assert_eq!(again, None, "at sample {seq}");
    }
}

#[test]
fn kills_counted_before_the_agent_came_are_not_news() {
    let mut first = sample(0, 500 * MB);
    first.oom_kills = Some(7);
    let state = after(&[report(1, 1, vec![first])]);
    assert!(server(&state).verdicts.is_empty());
}

#[test]
fn a_full_server_that_vanishes_without_a_word_was_killed() {
    let dies = |farewell| {
        let mut facts = vec![hub(0, None)];
        facts.extend(growing());
        facts.push(disconnected(1, 26_000, farewell));
        facts
    };
    let died = |state: &State| {
        let open = &server(state).verdicts;
        let killed = open.iter().find(|v| v.rule == Rule::Killed)?;
        assert_eq!(evidence(killed, "inferred"), Some(&Evidence::Flag(true)));
        Some(killed.since_ms - START_MS)
    };
    let mut replaced = after(&dies(false));
    assert_eq!(died(&replaced), None, "it may come back yet");
    replaced.apply(&connected(2, 40_000));
    assert_eq!(died(&replaced), Some(40_000));

    let mut stopped = after(&dies(false));
    stopped.apply(&nothing_listed(60_000));
    assert_eq!(died(&stopped), Some(60_000));

    let mut reconnected = after(&dies(false));
    reconnected.apply(&connected(1, 30_000));
    reconnected.apply(&connected(2, 40_000));
    assert_eq!(died(&reconnected), Some(40_000));

    let mut said_bye = after(&dies(true));
    said_bye.apply(&connected(2, 40_000));
    assert_eq!(died(&said_bye), None);
}
