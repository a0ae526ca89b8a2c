//! `overuse`, policy of groups, and silence that is none.

use super::*;
use crate::{
    fact::{HubServer, ServerKey},
    state::Overrides,
};

fn shared_machine() -> Policy {
    Policy {
        overuse_cpu_cores: 4.0,
        overuse_memory_bytes: 8_000 * MB,
        ..Policy::default()
    }
}

#[test]
fn a_whole_quota_of_cores_is_overuse_after_four_and_a_half_minutes_and_little_use_forgives_it() {
    let (course, state) = play(shared_machine(), 3_000, |at_s, sample| {
        let used = at_s.min(600) * 4_000;
        sample.cpu_millis = used;
        sample.workloads[0].cpu_millis = used;
        sample.workloads[0].state = Some(WorkloadState::Busy);
    });
    let course = only(&course, Rule::Overuse);
    assert_eq!(
        course,
        [(true, 270), (false, 1_505)],
        "the score falls by less than one in 18 s"
    );
    let verdict = state
        .cleared
        .iter()
        .find(|v| v.rule == Rule::Overuse)
        .unwrap();
    assert_eq!(verdict.severity, Severity::Warning);
    assert_eq!(
        verdict.workload.as_ref().unwrap().title.as_str(),
        "train.ipynb"
    );
}

#[test]
fn cores_and_memory_count_together_and_a_burst_is_forgiven() {
    let (course, _) = play(shared_machine(), 1_000, |at_s, sample| {
        sample.memory_used_bytes = 5_600 * MB;
        sample.memory_limit_bytes = None;
        sample.cpu_millis = at_s * 2_800;
        sample.workloads[0].state = Some(WorkloadState::Busy);
    });
    let course = only(&course, Rule::Overuse);
    // 0.7 of both: 7.778 and 7 in 30 s.
    assert_eq!(course, [(true, 205)]);
    let (course, _) = play(shared_machine(), 2_000, |at_s, sample| {
        sample.cpu_millis = at_s.min(200) * 4_000;
        sample.workloads[0].state = Some(WorkloadState::Busy);
    });
    assert_eq!(only(&course, Rule::Overuse), []);
}

#[test]
fn what_overuse_says_of_a_resource_is_the_use_that_made_its_score() {
    // Bursts of half a minute in a minute, on a share of a tenth of a core that is full at once: the
    // mean of five minutes says nothing of them.
    let policy = Policy {
        overuse_cpu_cores: 0.1,
        overuse_memory_bytes: 8_000 * MB,
        overuse_rise_ms: 20_000,
        overuse_fall_ms: 3_600_000,
        ..Policy::default()
    };
    let (_, state) = play(policy, 400, |at_s, sample| {
        let burst_s = at_s.saturating_sub(300).min(20);
        sample.cpu_millis = burst_s * 100;
        sample.workloads[0].cpu_millis = burst_s * 100;
        sample.memory_used_bytes = 1_000 * MB;
    });
    let verdict = open_of(&state, Rule::Overuse).unwrap();
    let number = |name| super::super::number_of(verdict, name);
    let (mean, from) = (number("cpu_mean_cores"), number("cpu_from_cores"));
    assert!((mean.unwrap() - 0.1).abs() < 1e-9, "{mean:?}");
    assert!((from.unwrap() - 0.045).abs() < 1e-9, "{from:?}");
    assert!(mean > from);
    assert_eq!(number("memory_score"), Some(0.0));
    assert_eq!(
        number("memory_mean_bytes"),
        None,
        "memory is no part of the score, so it is not blamed"
    );
}

#[test]
fn without_a_quota_nothing_is_overuse() {
    let (course, _) = play(Policy::default(), 3_000, |at_s, sample| {
        sample.cpu_millis = at_s * 64_000;
        sample.workloads[0].state = Some(WorkloadState::Busy);
        sample.memory_used_bytes = 1_500 * MB;
    });
    assert_eq!(only(&course, Rule::Overuse), []);
}

fn in_groups(after_ms: i64, groups: &[&str]) -> Fact {
    let server = HubServer {
        key: ServerKey::new("ada", ""),
        groups: groups.iter().map(|group| label(group)).collect(),
        started_ms: Some(START_MS),
        last_activity_ms: None,
        ready: true,
    };
    Fact::Hub {
        at_ms: START_MS + after_ms,
        servers: vec![server],
    }
}

#[test]
fn a_server_is_judged_by_its_users_groups_and_generously_until_they_are_known() {
    let idle_after = |ms| Overrides {
        idle_after_ms: Some(ms),
        ..Overrides::default()
    };
    let policy = Policy {
        groups: [
            (label("course"), idle_after(600_000)),
            (label("staff"), idle_after(7_200_000)),
        ]
        .into(),
        ..Policy::default()
    };
    let raised_s = |groups: Option<&[&str]>| {
        let mut state = State::with_hub(policy.clone());
        if let Some(groups) = groups {
            state.apply(&in_groups(0, groups));
        }
        (1..)
            .zip((0..=9_000_u64).step_by(30))
            .find_map(|(seq, at_s)| {
                let mut sample = sample(at_s * 1_000, 150 * MB);
                sample.interval_ms = 30_000;
                let changed = state.apply(&report(1, seq, vec![sample]));
                let is_idle = |verdict: &Verdict| verdict.rule == Rule::Idle;
                changed.verdicts.iter().any(is_idle).then_some(at_s)
            })
    };
    assert_eq!(raised_s(Some(&["physics"])), Some(3_600));
    assert_eq!(raised_s(Some(&["course"])), Some(600));
    assert_eq!(raised_s(Some(&["course", "staff"])), Some(7_200));
    assert_eq!(raised_s(None), Some(7_200), "may be anybody");
}

#[test]
fn a_batch_job_that_is_over_is_not_silent_and_one_that_is_not_may_be_suspended() {
    let silence = |ends_after_ms: Option<i64>| {
        let mut last = sample(0, 300 * MB);
        last.vitals.job_ends_ms = ends_after_ms.map(|ms| START_MS + ms);
        let mut state = after(&[hub(0, None), report(1, 1, vec![last])]);
        for after_s in 1..=30 {
            state.apply(&tick(after_s * 1_000));
        }
        open_of(&state, Rule::Silent).map(|verdict| verdict.severity)
    };
    assert_eq!(silence(None), Some(Severity::Warning));
    assert_eq!(silence(Some(3_600_000)), Some(Severity::Info));
    assert_eq!(silence(Some(10_000)), None);
}

#[test]
fn a_silence_in_which_the_collectors_machine_slept_is_nobodys() {
    let mut state = after(&[hub(0, None), report(1, 1, vec![sample(0, 300 * MB)])]);
    for after_s in 0..=5 {
        state.apply(&tick(after_s * 1_000));
    }
    let night_ms = 8 * 3_600_000;
    state.apply(&tick(night_ms));
    assert!(
        server(&state).verdicts.is_empty(),
        "agents have just woken, too"
    );
    for after_s in 1..=20 {
        state.apply(&tick(night_ms + after_s * 1_000));
    }
    assert!(
        open_of(&state, Rule::Silent).is_some(),
        "but they do not come"
    );
}
