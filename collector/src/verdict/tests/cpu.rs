//! `runaway_cpu`: what is work, and what is not.

use super::*;

/// Thousandths of a core that the kernel and the whole server use from second `from_s` on.
fn spin(sample: &mut Sample, at_s: u64, from_s: u64, until_s: u64, millicores: u64) {
    let spun_s = at_s.clamp(from_s, until_s) - from_s;
    sample.cpu_millis = at_s * 10 + spun_s * millicores;
    sample.workloads[0].cpu_millis = spun_s * millicores;
}

#[test]
fn an_idle_kernel_that_takes_a_core_is_a_runaway_after_five_minutes() {
    let (course, state) = play(Policy::default(), 600, |at_s, sample| {
        spin(sample, at_s, 60, u64::MAX, 990);
    });
    assert_eq!(course, [(Rule::RunawayCpu, true, 365)]);
    let verdict = open_of(&state, Rule::RunawayCpu).unwrap();
    let kernel = verdict.workload.as_ref().expect("a cause");
    assert_eq!(kernel.title.as_str(), "train.ipynb");
    assert_eq!(verdict.severity, Severity::Info, "nobody's limit is near");
    let cores = number_of(verdict, "cpu_cores").unwrap();
    assert!((0.98..=1.0).contains(&cores), "{cores}");
}

#[test]
fn it_clears_when_the_kernel_rests_for_a_minute_and_not_while_it_only_takes_breath() {
    let (course, _) = play(Policy::default(), 1_200, |at_s, sample| {
        // Twenty seconds without CPU, ten minutes in.
        let rest_s = at_s.clamp(600, 620) - 600;
        spin(sample, at_s - rest_s, 60, 800, 990);
    });
    let course = only(&course, Rule::RunawayCpu);
    assert_eq!(course.len(), 2, "{course:?}");
    assert!((875..=890).contains(&course[1].1), "{course:?}");
}

#[test]
fn a_kernel_that_runs_a_cell_works_whatever_it_takes_and_so_does_one_that_nobody_tells_of() {
    for told in [Some(WorkloadState::Busy), None] {
        let (course, _) = play(Policy::default(), 3_600, |at_s, sample| {
            spin(sample, at_s, 60, u64::MAX, 16_000);
            sample.workloads[0].state = told;
        });
        assert_eq!(course, [], "{told:?}");
    }
}

#[test]
fn a_cell_in_a_spinning_kernel_ends_the_verdict_and_it_comes_again_when_the_cell_is_done() {
    let (course, _) = play(Policy::default(), 1_500, |at_s, sample| {
        spin(sample, at_s, 0, u64::MAX, 1_000);
        if (600..900).contains(&at_s) {
            sample.workloads[0].state = Some(WorkloadState::Busy);
        }
    });
    let raised = |&(open, _): &(bool, u64)| open;
    let course = only(&course, Rule::RunawayCpu);
    assert_eq!(
        course.iter().map(raised).collect::<Vec<_>>(),
        [true, false, true]
    );
    assert!((650..=665).contains(&course[1].1), "{course:?}");
}

#[test]
fn short_bursts_of_an_idle_kernel_are_nothing() {
    // Twenty seconds of a core, twenty-five of rest, for an hour.
    let (course, _) = play(Policy::default(), 3_000, |at_s, sample| {
        let spun_s = at_s / 45 * 20 + (at_s % 45).min(20);
        sample.cpu_millis = spun_s * 1_000;
        sample.workloads[0].cpu_millis = spun_s * 1_000;
    });
    assert_eq!(only(&course, Rule::RunawayCpu), []);
}

#[test]
fn a_spin_that_takes_most_of_the_servers_cores_is_a_warning() {
    for (limit_millicores, severity) in [(4_000, Severity::Info), (1_000, Severity::Warning)] {
        let (_, state) = play(Policy::default(), 600, |at_s, sample| {
            spin(sample, at_s, 60, u64::MAX, 990);
            sample.cpu_limit_millicores = Some(limit_millicores);
        });
        let verdict = open_of(&state, Rule::RunawayCpu).unwrap();
        assert_eq!(verdict.severity, severity, "{limit_millicores}");
    }
}

#[test]
fn half_a_core_is_pinned_where_half_a_core_is_all_there_is() {
    for (limit_millicores, raised) in [(Some(500), true), (None, false)] {
        let (course, _) = play(Policy::default(), 600, |at_s, sample| {
            spin(sample, at_s, 60, u64::MAX, 480);
            sample.cpu_limit_millicores = limit_millicores;
        });
        let said = !only(&course, Rule::RunawayCpu).is_empty();
        assert_eq!(said, raised, "{limit_millicores:?}");
    }
}

#[test]
fn a_spin_becomes_a_warning_after_an_hour() {
    let (_, state) = play(Policy::default(), 3_800, |at_s, sample| {
        spin(sample, at_s, 60, u64::MAX, 990);
    });
    let verdict = open_of(&state, Rule::RunawayCpu).unwrap();
    assert_eq!(verdict.severity, Severity::Warning);
}

#[test]
fn what_somebody_runs_in_a_terminal_is_work() {
    let (course, _) = play(Policy::default(), 7_000, |at_s, sample| {
        spin(sample, at_s, 3_000, u64::MAX, 8_000);
        sample.workloads[0].key.kind = WorkloadKind::Terminal;
        sample.workloads[0].state = None;
    });
    assert_eq!(only(&course, Rule::RunawayCpu), []);
}

#[test]
fn an_application_far_past_its_habit_is_told_and_what_it_came_down_from_is_habit() {
    let (course, state) = play(Policy::default(), 12_000, |at_s, sample| {
        let first_s = at_s.clamp(3_000, 4_500) - 3_000;
        let again_s = at_s.clamp(7_000, 9_000) - 7_000;
        let used = at_s * 50 + (first_s + again_s) * 2_000;
        sample.cpu_millis = used;
        sample.workloads[0].cpu_millis = used;
        sample.workloads[0].key.kind = WorkloadKind::App;
        sample.workloads[0].state = None;
    });
    let course = only(&course, Rule::RunawayCpu);
    assert_eq!(course.len(), 2, "once, not twice: {course:?}");
    assert!((3_400..=3_600).contains(&course[0].1), "{course:?}");
    assert!((4_600..=4_900).contains(&course[1].1), "{course:?}");
    assert_eq!(state.cleared[0].severity, Severity::Info);
}

#[test]
fn where_no_workload_is_known_only_a_watched_server_can_be_past_its_habit() {
    let of_whole = |from_s| {
        let (course, _) = play(Policy::default(), from_s + 1_200, |at_s, sample| {
            sample.workloads.clear();
            sample.cpu_millis = at_s * 20 + at_s.max(from_s).saturating_sub(from_s) * 980;
        });
        only(&course, Rule::RunawayCpu)
    };
    assert_eq!(of_whole(60), [], "it may always have worked so");
    let watched = of_whole(3_600);
    assert_eq!(watched.len(), 1, "{watched:?}");
}

#[test]
fn jupyter_itself_gets_a_quarter_of_an_hour() {
    let (course, _) = play(Policy::default(), 1_500, |at_s, sample| {
        sample.cpu_millis = at_s * 1_000;
        sample.workloads[1].cpu_millis = at_s * 1_000;
    });
    let course = only(&course, Rule::RunawayCpu);
    assert_eq!(course.len(), 1);
    assert!((900..=915).contains(&course[0].1), "{course:?}");
}
