//! What real kernels did, recorded by the agent (`tests/corpus`): what is work must stay quiet.

use super::*;

const FORK_STORM: &str = include_str!("recorded/fork_storm-heavy-5s.csv");
const JOBLIB_POOL: &str = include_str!("recorded/joblib_pool-four-5s.csv");
const QUIET_LAB: &str = include_str!("recorded/quiet_lab-1-5s.csv");
const STUCK_THREADS: &str = include_str!("recorded/stuck_threads-quick-5s.csv");
const TRAINING: &str = include_str!("recorded/training-large-5s.csv");

/// The course of a recording whose kernel was `told` to be so; memory's limit is far.
fn course(csv: &str, told: Option<WorkloadState>) -> Course {
    let mut lines = csv.lines();
    let names = "timestamp,rss,cpu_millis,memory_used_bytes,processes,threads";
    assert_eq!(lines.next(), Some(names));
    let rows: Vec<(i64, [u64; 5])> = lines.map(row).collect();
    let mut state = State::new(Policy::default());
    let mut course = Course::new();
    let (first_ms, _) = rows[0];
    let mut before_ms = first_ms;
    for (seq, (at_ms, [rss, cpu, used, processes, threads])) in (1..).zip(rows) {
        let after_ms = u64::try_from(at_ms - first_ms).unwrap();
        let mut sample = sample(after_ms, used.max(100 * MB));
        sample.memory_limit_bytes = Some(64_000 * MB);
        sample.interval_ms = u32::try_from(at_ms - before_ms).unwrap();
        before_ms = at_ms;
        sample.rss_bytes = rss;
        sample.cpu_millis = cpu;
        sample.processes = u32::try_from(processes).unwrap();
        sample.threads = u32::try_from(threads).unwrap();
        let kernel = &mut sample.workloads[0];
        kernel.state = told;
        kernel.cpu_millis = cpu;
        kernel.processes = sample.processes;
        kernel.threads = sample.threads;
        let changed = state.apply(&report(1, seq, vec![sample]));
        assert_eq!(invariants::check(&state), Ok(()));
        for verdict in changed.verdicts {
            if verdict.since_ms == verdict.updated_ms {
                course.push((verdict.rule, true, after_ms / 1_000));
            }
        }
    }
    course
}

fn row(line: &str) -> (i64, [u64; 5]) {
    let (time, numbers) = line.split_once(',').unwrap();
    let at: jiff::civil::DateTime = time.parse().unwrap();
    let at_ms = at.to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp();
    let numbers: Vec<u64> = numbers.split(',').map(|n| n.parse().unwrap()).collect();
    (at_ms.as_millisecond(), numbers.try_into().unwrap())
}

#[test]
fn training_and_pools_and_a_quiet_lab_are_nothing() {
    for (name, csv, told) in [
        ("training", TRAINING, Some(WorkloadState::Busy)),
        ("training untold", TRAINING, None),
        ("joblib", JOBLIB_POOL, Some(WorkloadState::Busy)),
        ("joblib untold", JOBLIB_POOL, None),
        ("quiet", QUIET_LAB, Some(WorkloadState::Idle)),
    ] {
        assert_eq!(course(csv, told), [], "{name}");
    }
}

#[test]
fn processes_that_start_processes_and_threads_that_wait_for_ever_are_storms_while_they_rise() {
    let of = |csv| course(csv, Some(WorkloadState::Busy));
    // A hundred of 150 are there.
    assert_eq!(of(FORK_STORM), [(Rule::ProcessStorm, true, 45)]);
    // 531 of a thousand.
    assert_eq!(of(STUCK_THREADS), [(Rule::ThreadStorm, true, 100)]);
}
