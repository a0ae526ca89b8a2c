//! Scenarios: a kernel that does something for a while, sampled as the agent samples, and what
//! is said about it.

use proptest::prelude::*;

use super::*;
use crate::{
    fact::{Disk, EndCause, Fact, WorkloadEnd, WorkloadKind, WorkloadState},
    state::{
        Policy, State, invariants,
        tests::{
            MB, START_MS, after, connected, disconnected, hub, instance, kernel_key, label,
            nothing_listed, report, sample, server, tick,
        },
    },
};

mod anything;
mod cpu;
mod holdings;
mod kills;
mod quotas;
mod recorded;
mod shared;
mod storms;
mod unattended;
mod work;

/// What was said, when (seconds), at how much memory.
#[derive(Debug, PartialEq)]
struct Said {
    rule: Rule,
    open: bool,
    at_s: f64,
    used_bytes: u64,
}

/// Runs `used(seconds)` for `for_s` seconds or up to `limit`, sampled every 5 s, and every second
/// while use is half of the limit or more and moving.
fn run(limit_bytes: u64, for_s: u64, used: impl Fn(f64) -> u64) -> (Vec<Said>, State) {
    run_in(
        after(&[hub(0, None), connected(1, 0)]),
        limit_bytes,
        for_s,
        used,
    )
}

fn run_in(
    mut state: State,
    limit_bytes: u64,
    for_s: u64,
    used: impl Fn(f64) -> u64,
) -> (Vec<Said>, State) {
    let mut said = Vec::new();
    let mut before_bytes = used(0.0);
    let mut seq = 0;
    for at_s in 0..=for_s {
        let used_bytes = used(at_s as f64);
        if used_bytes >= limit_bytes {
            break;
        }
        let base = at_s % 5 == 0;
        let moved = used_bytes.abs_diff(before_bytes) > MB;
        if !base && (used_bytes < limit_bytes / 2 || !moved) {
            continue;
        }
        before_bytes = used_bytes;
        seq += 1;
        let mut sample = sample(at_s * 1_000, used_bytes);
        sample.burst = !base;
        sample.memory_limit_bytes = Some(limit_bytes);
        let changed = state.apply(&report(1, seq, vec![sample]));
        for verdict in changed.verdicts {
            let raised = verdict.since_ms == verdict.updated_ms;
            if raised || verdict.cleared_ms.is_some() {
                said.push(Said {
                    rule: verdict.rule,
                    open: verdict.cleared_ms.is_none(),
                    at_s: at_s as f64,
                    used_bytes,
                });
            }
        }
    }
    (said, state)
}

/// When (seconds) rules were raised and cleared.
type Course = Vec<(Rule, bool, u64)>;

/// Samples every 5 s for `for_s` seconds of a server at rest that `edit` makes something of.
fn play(policy: Policy, for_s: u64, mut edit: impl FnMut(u64, &mut Sample)) -> (Course, State) {
    let mut state = State::new(policy);
    state.apply(&connected(1, 0));
    let mut course = Course::new();
    for (seq, at_s) in (1..).zip((0..=for_s).step_by(5)) {
        let mut sample = sample(at_s * 1_000, 300 * MB);
        edit(at_s, &mut sample);
        let changed = state.apply(&report(1, seq, vec![sample]));
        assert_eq!(invariants::check(&state), Ok(()), "after {at_s} s");
        for verdict in changed.verdicts {
            let raised = verdict.since_ms == verdict.updated_ms;
            if raised || verdict.cleared_ms.is_some() {
                course.push((verdict.rule, verdict.cleared_ms.is_none(), at_s));
            }
        }
    }
    (course, state)
}

/// The course of `rule` alone.
fn only(course: &Course, rule: Rule) -> Vec<(bool, u64)> {
    let of_rule = course.iter().filter(|(known, ..)| *known == rule);
    of_rule.map(|(_, open, at_s)| (*open, *at_s)).collect()
}

fn open_of(state: &State, rule: Rule) -> Option<&Verdict> {
    episode::find(&server(state).verdicts, rule)
}

/// When `rule` was first raised.
fn raised(said: &[Said], rule: Rule) -> Option<&Said> {
    said.iter().find(|said| said.rule == rule && said.open)
}

/// A leak of `per_s` MB/s after a minute of rest at 150 MB.
fn leak(mb_per_s: f64) -> impl Fn(f64) -> u64 {
    move |at_s| 150 * MB + ((at_s - 60.0).max(0.0) * mb_per_s * 1e6) as u64
}

#[test]
fn a_leak_is_flagged_well_before_its_limit() {
    for limit_mb in [1_000, 2_000] {
        for mb_per_s in [20.0, 50.0, 100.0] {
            let (said, state) = run(limit_mb * MB, 600, leak(mb_per_s));
            let dies_at_s = 60.0 + (limit_mb as f64 - 150.0) / mb_per_s;
            let flagged = raised(&said, Rule::RunawayMemory)
                .unwrap_or_else(|| panic!("{mb_per_s} MB/s to {limit_mb} MB: {said:?}"));
            let lead_s = dies_at_s - flagged.at_s;
            let possible_s = 0.5 * limit_mb as f64 / mb_per_s;
            // Two samples a second apart are the price of not crying wolf at one big array.
            assert!(
                lead_s >= 0.5 * possible_s - 2.0,
                "{mb_per_s} MB/s to {limit_mb} MB: {lead_s} s of {possible_s} s"
            );
            let verdict = &server(&state).verdicts[0];
            assert_eq!(verdict.rule, Rule::RunawayMemory, "still open at the end");
            let workload = verdict.workload.as_ref().expect("a cause");
            assert_eq!(workload.title.as_str(), "train.ipynb");
        }
    }
}

/// A climb of 20 MB/s of which every step is, or is not, a better reading of what was there.
fn rises_that_are_corrections(corrected: bool) -> Vec<Rule> {
    let mut state = after(&[hub(0, None), connected(1, 0)]);
    let mut raised = Vec::new();
    for seq in 0..40_u64 {
        let mut sample = sample(seq * 1_000, 150 * MB + seq * 20 * MB);
        sample.memory_limit_bytes = Some(1_000 * MB);
        if corrected && seq > 0 {
            sample.memory_corrected_bytes = 20 * MB as i64;
        }
        let changed = state.apply(&report(1, seq + 1, vec![sample]));
        raised.extend(changed.verdicts.iter().map(|verdict| verdict.rule));
        if corrected {
            let server = server(&state);
            assert_eq!(server.forecast, None, "after {seq} samples");
            assert!(server.trend.is_none_or(|t| t.bytes_per_second == 0.0));
        }
    }
    raised
}

#[test]
fn a_better_reading_is_no_growth_and_no_runaway() {
    let grown = rises_that_are_corrections(false);
    assert!(grown.contains(&Rule::RunawayMemory), "{grown:?}");
    let corrected = rises_that_are_corrections(true);
    assert!(!corrected.contains(&Rule::RunawayMemory), "{corrected:?}");
}

#[test]
fn a_leak_is_flagged_although_its_figure_is_corrected_downwards_meanwhile() {
    let mut state = after(&[hub(0, None), connected(1, 0)]);
    let mut raised = Vec::new();
    for seq in 0..40_u64 {
        let over = if seq < 20 { 300 * MB } else { 0 };
        let mut sample = sample(seq * 1_000, 150 * MB + over + seq * 20 * MB);
        sample.memory_limit_bytes = Some(1_000 * MB);
        if seq == 20 {
            sample.memory_corrected_bytes = -300 * MB as i64;
        }
        let changed = state.apply(&report(1, seq + 1, vec![sample]));
        raised.extend(changed.verdicts);
        let open = server(&state).verdicts.iter();
        let runs = open.clone().any(|v| v.rule == Rule::RunawayMemory);
        assert!(runs || seq < 20, "after {seq} samples");
    }
    let episodes: Vec<_> = raised
        .iter()
        .filter(|verdict| verdict.rule == Rule::RunawayMemory)
        .map(|verdict| &verdict.episode)
        .collect();
    assert!(episodes.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn two_hundred_megabytes_a_second_are_flagged_before_four_gigabytes() {
    let (said, _) = run(4_000 * MB, 600, leak(200.0));
    let flagged = raised(&said, Rule::RunawayMemory).expect("flagged");
    assert!(flagged.used_bytes < 2_800 * MB, "{flagged:?}");
}

#[test]
fn a_slow_leak_is_flagged_when_no_more_is_left_than_the_policy_asks_for() {
    let mut state = State::new(Policy {
        runaway_within_ms: 600_000,
        ..Policy::default()
    });
    state.apply(&connected(1, 0));
    let (said, _) = run_in(state, 1_000 * MB, 3_600, leak(0.5));
    let flagged = raised(&said, Rule::RunawayMemory).expect("flagged");
    let left_s = (1_000 * MB - flagged.used_bytes) as f64 / 0.5e6;
    assert!(
        (480.0..=600.0).contains(&left_s),
        "{left_s} s left: {said:?}"
    );
}

#[test]
fn a_leak_behind_a_collectors_saw_tooth_is_flagged() {
    let (said, _) = run(2_000 * MB, 3_600, |at_s| {
        let tooth = (at_s as u64 % 20) * 4 * MB;
        150 * MB + (at_s * 2e6) as u64 + tooth
    });
    assert!(raised(&said, Rule::RunawayMemory).is_some(), "{said:?}");
}

#[test]
fn one_big_array_is_not_a_runaway() {
    for limit_mb in [1_000, 2_000, 4_000] {
        for step_s in 60..66 {
            let (said, _) = run(limit_mb * MB, 900, |at_s| {
                if at_s < f64::from(step_s) {
                    150 * MB
                } else {
                    750 * MB
                }
            });
            assert_eq!(said, [], "limit {limit_mb} MB, allocated at {step_s} s");
        }
    }
}

#[test]
fn an_array_that_is_filled_over_two_seconds_is_not_a_runaway() {
    for start_s in 60..66 {
        let (said, _) = run(2_000 * MB, 900, |at_s| {
            let filled = ((at_s - f64::from(start_s)) / 2.0).clamp(0.0, 1.0);
            150 * MB + (filled * 6e8) as u64
        });
        assert_eq!(said, [], "started at {start_s} s");
    }
}

#[test]
fn a_flat_saw_tooth_is_nothing() {
    for period_s in [7, 20, 33] {
        let (said, _) = run(2_000 * MB, 3_500, |at_s| {
            400 * MB + (at_s as u64 % period_s) * 300 * MB / period_s
        });
        assert_eq!(said, [], "period {period_s} s");
    }
}

#[test]
fn a_plateau_at_91_percent_is_near_the_limit_and_no_runaway() {
    let (said, state) = run(2_000 * MB, 3_000, |at_s| {
        let wobble = (at_s as u64 / 5 % 3) * MB;
        if at_s < 60.0 {
            150 * MB
        } else {
            1_820 * MB + wobble
        }
    });
    assert_eq!(said.len(), 1, "{said:?}");
    assert_eq!(said[0].rule, Rule::NearLimit);
    assert_eq!(server(&state).verdicts[0].severity, Severity::Warning);
}

#[test]
fn training_epochs_that_load_and_release_are_nothing() {
    let (said, _) = run(4_000 * MB, 3_500, |at_s| {
        let epoch_s = at_s % 60.0;
        let loaded = if epoch_s < 45.0 { epoch_s / 45.0 } else { 0.0 };
        800 * MB + (loaded * 6e8) as u64
    });
    assert_eq!(said, []);
}

#[test]
fn loading_a_file_that_then_stays_is_nothing() {
    // 1.2 GB in 24 s on 4 GB: fast, but far from the limit when it ends.
    let (said, _) = run(4_000 * MB, 900, |at_s| {
        150 * MB + ((at_s - 60.0).clamp(0.0, 24.0) * 5e7) as u64
    });
    assert_eq!(said, []);
}

#[test]
fn a_runaway_clears_when_growth_stops_and_not_when_the_limit_is_near() {
    let (said, _) = run(2_000 * MB, 600, |at_s| leak(20.0)(at_s.min(145.0)));
    let order: Vec<_> = said.iter().map(|said| (said.rule, said.open)).collect();
    assert_eq!(
        order,
        [
            (Rule::RunawayMemory, true),
            (Rule::NearLimit, true),
            (Rule::RunawayMemory, false),
        ],
        "{said:?}"
    );
    let cleared_s = said[2].at_s;
    assert!(
        (145.0 + 60.0..=145.0 + 70.0).contains(&cleared_s),
        "{cleared_s}"
    );
}

#[test]
fn a_runaway_clears_when_its_memory_is_given_back() {
    let (said, state) = run(2_000 * MB, 300, |at_s| {
        if at_s < 120.0 {
            leak(20.0)(at_s)
        } else {
            160 * MB
        }
    });
    assert!(raised(&said, Rule::RunawayMemory).is_some());
    assert_eq!(
        said.last().map(|said| (said.open, said.at_s)),
        Some((false, 120.0))
    );
    assert!(server(&state).verdicts.is_empty());
}

#[test]
fn a_kernel_run_again_after_its_restart_is_flagged_again() {
    let twice = |at_s: f64| {
        if at_s < 90.0 {
            leak(50.0)(at_s.min(85.0))
        } else {
            leak(50.0)(at_s - 60.0)
        }
    };
    let mut state = after(&[hub(0, None), connected(1, 0)]);
    let mut raised_at = Vec::new();
    for (seq, at_s) in (1..).zip((0..155).step_by(5)) {
        let mut sample = sample(at_s * 1_000, twice(at_s as f64));
        if at_s >= 90 {
            sample.workloads[0].pid = 9_999;
        }
        let changed = state.apply(&report(1, seq, vec![sample]));
        let raised = |verdict: &Verdict| {
            verdict.rule == Rule::RunawayMemory
                && verdict.since_ms == verdict.updated_ms
                && verdict.cleared_ms.is_none()
        };
        raised_at.extend(changed.verdicts.iter().filter(|v| raised(v)).map(|_| at_s));
    }
    assert_eq!(raised_at.len(), 2, "{raised_at:?}");
    assert!(raised_at[1] < 150, "{raised_at:?}");
}

#[test]
fn a_limit_that_kills_nobody_is_worded_so() {
    let mut facts = vec![connected(1, 0)];
    for seq in 1..20 {
        let mut sample = sample(seq * 5_000, 150 * MB + seq * 100 * MB);
        sample.memory_limit_enforced = false;
        facts.push(report(1, seq, vec![sample]));
    }
    let state = after(&facts);
    let verdicts = &server(&state).verdicts;
    let severity = |rule| verdicts.iter().find(|v| v.rule == rule).map(|v| v.severity);
    assert_eq!(severity(Rule::RunawayMemory), Some(Severity::Warning));
    assert_eq!(severity(Rule::NearLimit), Some(Severity::Info));
    let near = verdicts.iter().find(|v| v.rule == Rule::NearLimit).unwrap();
    assert!(
        near.clears_when.contains("what it was given"),
        "{}",
        near.clears_when
    );
}

#[test]
fn the_same_samples_give_the_same_verdicts_bit_for_bit() {
    let twice = [(); 2].map(|()| {
        let (said, state) = run(2_000 * MB, 600, |at_s| {
            leak(33.3)(at_s) + (at_s as u64 * 7_919) % 9 * MB
        });
        format!("{said:?} {:?} {:?}", state.servers, state.cleared)
    });
    assert_eq!(twice[0], twice[1]);
}

#[test]
fn what_is_remembered_of_a_quiet_server_is_bounded() {
    const { assert!(DETECTORS_BYTES <= 1024) };
    let (course, state) = play(Policy::default(), 3_000, |_, _| {});
    assert_eq!(course, []);
    assert_eq!(
        server(&state).verdicts.capacity(),
        0,
        "nothing was ever kept"
    );
}

fn evidence<'a>(verdict: &'a Verdict, name: &str) -> Option<&'a Evidence> {
    let found = verdict.evidence.iter().find(|(known, _)| *known == name);
    found.map(|(_, evidence)| evidence)
}

/// A repeatable stand-in for noise: −1..=1 from a second and a seed.
fn noise(at_s: f64, seed: u64) -> f64 {
    let mut x = (at_s as u64)
        .wrapping_add(seed << 32)
        .wrapping_mul(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (x >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn a_noisy_leak_is_always_flagged_before_its_limit(
        limit_mb in 1_000_u64..8_000, seconds in 20.0_f64..600.0, rest_s in 0.0_f64..120.0,
        noise_mb in 0.0_f64..10.0, seed in 0_u64..1_000,
    ) {
        let per_s = (limit_mb as f64 - 150.0) / seconds;
        let (said, _) = run(limit_mb * MB, 3_000, |at_s| {
            let risen = (at_s - rest_s).max(0.0) * per_s;
            ((150.0 + risen + noise_mb * noise(at_s, seed)) * 1e6) as u64
        });
        let flagged = raised(&said, Rule::RunawayMemory);
        prop_assert!(flagged.is_some(), "{said:?}");
        let used = flagged.map_or(0, |said| said.used_bytes) as f64 / 1e6 / limit_mb as f64;
        prop_assert!(used < 0.85, "flagged at {used} of the limit");
    }

    #[test]
    fn noise_around_a_level_is_never_a_runaway(
        level in 0.1_f64..0.88, noise_mb in 0.0_f64..100.0, seed in 0_u64..1_000,
    ) {
        let (said, _) = run(4_000 * MB, 1_800, |at_s| {
            ((4_000.0 * level + noise_mb * noise(at_s, seed)) * 1e6) as u64
        });
        prop_assert_eq!(raised(&said, Rule::RunawayMemory), None);
    }

    #[test]
    fn steps_that_stay_are_never_a_runaway(
        steps in prop::collection::vec((5.0_f64..900.0, 10_u64..600), 1..5),
    ) {
        // At most 2.4 GB of 4 GB, each step at once and none near another in time.
        let mut steps = steps;
        steps.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut at_s = 0.0_f64;
        for step in &mut steps {
            at_s = step.0.max(at_s + 90.0);
            step.0 = at_s;
        }
        let (said, _) = run(4_000 * MB, 1_800, |now_s| {
            let before = steps.iter().filter(|(at_s, _)| *at_s <= now_s);
            150 * MB + before.map(|(_, mb)| mb * MB).sum::<u64>()
        });
        prop_assert_eq!(raised(&said, Rule::RunawayMemory), None);
    }
}
