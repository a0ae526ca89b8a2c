//! What is held without use: idle kernels with much memory, and a full disk.

use super::*;
use crate::fact::WorkloadSample;

const HOUR_S: u64 = 3_600;

/// Samples a minute for `minutes`; the state at the end, and what was raised or cleared.
fn minutes(minutes: u64, mut edit: impl FnMut(u64, &mut Sample)) -> (Course, State) {
    play(Policy::default(), minutes * 60, |at_s, sample| {
        sample.memory_limit_bytes = Some(64_000 * MB);
        edit(at_s, sample);
    })
}

fn kernel_with(id: &str, bytes: u64) -> WorkloadSample {
    let mut kernel = sample(0, bytes + 100 * MB).workloads.remove(0);
    kernel.key.id = label(id);
    kernel.notebook = Some(label(&format!("{id}.ipynb")));
    kernel
}

#[test]
fn a_kernel_that_idles_for_two_hours_with_much_is_named_and_a_small_one_is_not() {
    let (course, state) = minutes(130, |_, sample| {
        sample.workloads[0] = kernel_with("large", 3_000 * MB);
        sample.workloads.push(kernel_with("small", 200 * MB));
    });
    assert_eq!(only(&course, Rule::IdleHog), [(true, 2 * HOUR_S)]);
    let verdict = open_of(&state, Rule::IdleHog).unwrap();
    assert_eq!(verdict.severity, Severity::Info);
    assert_eq!(
        verdict.workload.as_ref().unwrap().title.as_str(),
        "large.ipynb"
    );
    let held = number_of(verdict, "workload_memory_used_bytes").unwrap();
    assert_eq!(held as u64, 3_000 * MB);
}

#[test]
fn a_quarter_of_a_small_limit_is_much() {
    let (course, _) = play(Policy::default(), 2 * HOUR_S, |_, sample| {
        sample.workloads[0] = kernel_with("k", 500 * MB);
    });
    assert_eq!(only(&course, Rule::IdleHog), [(true, 2 * HOUR_S)]);
}

#[test]
fn each_kernel_is_an_episode_of_its_own_and_there_is_a_bound() {
    let (_, state) = minutes(121, |_, sample| {
        sample.workloads = (0..7)
            .map(|n| kernel_with(&format!("k{n}"), 2_000 * MB))
            .collect();
    });
    let open = &server(&state).verdicts;
    let hogs = open.iter().filter(|verdict| verdict.rule == Rule::IdleHog);
    let names: std::collections::BTreeSet<_> = hogs.clone().map(|hog| &hog.episode).collect();
    assert_eq!(
        (hogs.count(), names.len()),
        (episode::HOGS_MAX, episode::HOGS_MAX)
    );
}

#[test]
fn a_cell_or_memory_given_back_or_a_new_process_ends_it() {
    type Edit = fn(&mut Sample);
    let ends: [Edit; 4] = [
        |sample| sample.workloads[0].state = Some(WorkloadState::Busy),
        |sample| sample.workloads[0].memory_used_bytes = Some(100 * MB),
        |sample| sample.workloads[0].idle_ms = Some(1_000),
        |sample| sample.workloads.clear(),
    ];
    for (n, end) in ends.into_iter().enumerate() {
        let (course, _) = minutes(130, |at_s, sample| {
            sample.workloads[0] = kernel_with("k", 3_000 * MB);
            if at_s >= 7_500 {
                end(sample);
            }
        });
        let course = only(&course, Rule::IdleHog);
        assert_eq!(course, [(true, 2 * HOUR_S), (false, 7_500)], "way {n}");
    }
}

#[test]
fn a_kernel_at_work_is_no_hog_by_its_state_or_by_its_cpu() {
    let (course, _) = minutes(150, |at_s, sample| {
        let mut busy = kernel_with("busy", 3_000 * MB);
        busy.state = Some(WorkloadState::Busy);
        let mut computes = kernel_with("computes", 3_000 * MB);
        computes.state = None;
        computes.cpu_millis = at_s * 500;
        sample.workloads = vec![busy, computes];
    });
    assert_eq!(only(&course, Rule::IdleHog), []);
}

#[test]
fn time_that_nobody_measured_makes_no_hog_unless_jupyter_tells_since_when_it_idles() {
    let after_hole = |idle_ms: Option<u64>| {
        let mut state = State::new(Policy::default());
        let mut raised = Vec::new();
        for (seq, at_s) in [(1, 0), (2, 5), (3, 10), (4, 10_000), (5, 10_005)] {
            let mut sample = sample(at_s * 1_000, 1_800 * MB);
            sample.workloads[0].idle_ms = idle_ms;
            raised.extend(state.apply(&report(1, seq, vec![sample])).verdicts);
        }
        raised.iter().any(|verdict| verdict.rule == Rule::IdleHog)
    };
    assert!(!after_hole(None));
    assert!(after_hole(Some(3 * HOUR_S * 1_000)));
}

fn disk(used_percent: u64, quota: bool, age_ms: u32) -> Option<Disk> {
    Some(Disk {
        used_bytes: used_percent * MB,
        limit_bytes: 100 * MB,
        quota,
        age_ms,
    })
}

#[test]
fn a_disk_is_near_its_limit_from_95_percent_until_it_is_below_92() {
    let (course, _) = play(Policy::default(), 500, |at_s, sample| {
        let used_percent = match at_s {
            0..100 => 94,
            100..200 => 95,
            200..300 => 93,
            _ => 91,
        };
        sample.vitals.disk = disk(used_percent, true, 0);
    });
    assert_eq!(
        course,
        [
            (Rule::DiskNearLimit, true, 100),
            (Rule::DiskNearLimit, false, 300)
        ]
    );
}

#[test]
fn a_quota_is_the_users_own_and_a_file_system_is_not() {
    for (used, quota, severity, words) in [
        (96, true, Severity::Warning, "of the quota"),
        (100, true, Severity::Critical, "of the quota"),
        (96, false, Severity::Info, "of the file system"),
        (100, false, Severity::Warning, "of the file system"),
    ] {
        let (_, state) = play(Policy::default(), 10, |_, sample| {
            sample.vitals.disk = disk(used, quota, 0);
        });
        let verdict = open_of(&state, Rule::DiskNearLimit).unwrap();
        assert_eq!(verdict.severity, severity, "{used} {quota}");
        assert!(
            verdict.clears_when.contains(words),
            "{}",
            verdict.clears_when
        );
    }
}

#[test]
fn an_old_reading_of_a_disk_raises_nothing_and_ends_nothing_at_once() {
    let (course, _) = play(Policy::default(), 300, |_, sample| {
        sample.vitals.disk = disk(99, true, disk_near_limit::OLD_MS + 1);
    });
    assert_eq!(course, []);
    let (course, _) = play(Policy::default(), 400, |at_s, sample| {
        let age_ms = match at_s {
            0..100 => 0,
            100..200 => disk_near_limit::OLD_MS + 1,
            _ => disk_near_limit::FORGOTTEN_MS + 1,
        };
        let used_percent = if at_s < 100 { 99 } else { 0 };
        sample.vitals.disk = disk(used_percent, true, age_ms);
    });
    assert_eq!(
        course,
        [
            (Rule::DiskNearLimit, true, 0),
            (Rule::DiskNearLimit, false, 200)
        ]
    );
}
