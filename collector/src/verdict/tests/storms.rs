//! `process_storm` and `thread_storm`: a storm, a pool, a leak.

use super::*;

/// Processes of the kernel beside Jupyter's own.
fn with_processes(sample: &mut Sample, processes: u64) {
    let processes = u32::try_from(processes).unwrap();
    sample.workloads[0].processes = processes;
    sample.processes = processes + 6;
}

fn with_threads(sample: &mut Sample, threads: u64) {
    let threads = u32::try_from(threads).unwrap();
    sample.workloads[0].threads = threads;
    sample.threads = threads + 20;
}

#[test]
fn processes_that_start_processes_are_a_storm_with_a_cause() {
    // Four a second, as far as it gets.
    let (course, state) = play(Policy::default(), 400, |at_s, sample| {
        with_processes(sample, 2 + at_s.saturating_sub(200) * 4);
    });
    assert_eq!(course.len(), 1, "{course:?}");
    assert_eq!(course[0].0, Rule::ProcessStorm);
    assert!((220..=250).contains(&course[0].2), "{course:?}");
    let verdict = open_of(&state, Rule::ProcessStorm).unwrap();
    assert_eq!(verdict.severity, Severity::Warning);
    let cause = verdict.workload.as_ref().expect("a cause");
    assert_eq!(cause.title.as_str(), "train.ipynb");
    assert!(
        number_of(verdict, "processes").unwrap() > 500.0,
        "told anew each minute"
    );
}

#[test]
fn a_pool_comes_at_once_and_stays_and_is_no_storm() {
    for workers in [8, 32, 64, 128, 180] {
        let (course, _) = play(Policy::default(), 1_200, |at_s, sample| {
            let pool = if (300..900).contains(&at_s) {
                workers
            } else {
                0
            };
            with_processes(sample, 2 + pool);
            with_threads(sample, 10 + pool * 4);
        });
        assert_eq!(course, [], "{workers} workers");
    }
}

#[test]
fn a_bomb_that_goes_off_between_two_samples_is_a_storm() {
    let (course, _) = play(Policy::default(), 400, |at_s, sample| {
        with_processes(sample, if at_s < 200 { 2 } else { 3_000 });
    });
    assert_eq!(course, [(Rule::ProcessStorm, true, 200)]);
}

#[test]
fn a_storm_is_over_a_minute_after_half_of_it_is_gone() {
    let (course, _) = play(Policy::default(), 900, |at_s, sample| {
        let storm = if (200..500).contains(&at_s) { 400 } else { 0 };
        with_processes(sample, 2 + storm);
    });
    assert_eq!(
        course,
        [
            (Rule::ProcessStorm, true, 200),
            (Rule::ProcessStorm, false, 560)
        ]
    );
}

#[test]
fn what_stays_for_long_becomes_habit_and_what_beats_around_the_bound_is_one_episode() {
    let (course, _) = play(Policy::default(), 7_200, |at_s, sample| {
        let storm = if at_s < 200 {
            0
        } else {
            250 + at_s / 5 % 2 * 60
        };
        with_processes(sample, 2 + storm);
    });
    let course = only(&course, Rule::ProcessStorm);
    assert_eq!(course.len(), 2, "{course:?}");
    assert!((1_500..5_000).contains(&course[1].1), "{course:?}");
}

#[test]
fn processes_that_are_never_collected_are_a_storm_in_the_end() {
    let (course, _) = play(Policy::default(), 2_000, |at_s, sample| {
        with_processes(sample, 2 + at_s / 2);
    });
    let course = only(&course, Rule::ProcessStorm);
    assert_eq!(course.len(), 1);
    assert!((760..=830).contains(&course[0].1), "{course:?}");
}

#[test]
fn threads_that_never_end_are_a_storm_and_those_of_linear_algebra_are_not() {
    let (course, state) = play(Policy::default(), 300, |at_s, sample| {
        with_threads(sample, 10 + at_s.saturating_sub(60) * 10);
    });
    assert_eq!(course.len(), 1, "{course:?}");
    assert_eq!(course[0].0, Rule::ThreadStorm);
    assert!((105..=130).contains(&course[0].2), "{course:?}");
    assert!(
        open_of(&state, Rule::ThreadStorm)
            .unwrap()
            .workload
            .is_some()
    );

    let (course, _) = play(Policy::default(), 900, |at_s, sample| {
        // Five kernels that load it one after the other, 64 threads each.
        with_threads(sample, 20 + (at_s / 100).min(5) * 64);
    });
    assert_eq!(course, []);
}

#[test]
fn a_count_that_nobody_made_and_a_hole_are_no_storm() {
    let (course, _) = play(Policy::default(), 900, |at_s, sample| {
        let counted = at_s % 50 != 0;
        with_processes(sample, 900);
        sample.processes = if counted { 906 } else { 0 };
        sample.threads = 0;
    });
    assert_eq!(course, [], "nine hundred are its habit");

    let mut state = State::new(Policy::default());
    let mut raised = Vec::new();
    for (seq, at_s) in [(1, 0), (2, 5), (3, 10), (4, 4_000), (5, 4_005)] {
        let mut sample = sample(at_s * 1_000, 300 * MB);
        with_processes(&mut sample, if at_s < 100 { 4 } else { 300 });
        raised.extend(state.apply(&report(1, seq, vec![sample])).verdicts);
    }
    assert_eq!(raised, [], "an hour is no minute");
}
