//! Scenarios of servers where nobody works, or nobody measures.

use super::*;

/// An hour of a server whose samples `change` may change, one every 30 s.
fn hour(change: impl Fn(u64, &mut Sample)) -> State {
    let mut facts = vec![hub(0, None), connected(1, 0)];
    for seq in 1..=121_u64 {
        let after_ms = (seq - 1) * 30_000;
        let mut sample = sample(after_ms, 300 * MB);
        sample.interval_ms = 30_000;
        change(after_ms / 1_000, &mut sample);
        facts.push(report(1, seq, vec![sample]));
    }
    after(&facts)
}

#[test]
fn an_hour_without_work_is_idle_since_the_start() {
    let state = hour(|at_s, sample| sample.cpu_millis = at_s * 20);
    let server = server(&state);
    assert_eq!(
        server.idle_since_ms,
        Some(START_MS),
        "2 % of a core is a server at rest"
    );
    assert_eq!(server.verdicts[0].rule, Rule::Idle);
    assert_eq!(server.busy_reason, None);
}

#[test]
fn a_busy_kernel_a_computing_server_and_a_terminal_at_work_are_not_idle() {
    let busy = hour(|_, sample| sample.workloads[0].state = Some(WorkloadState::Busy));
    let computing = hour(|at_s, sample| {
        sample.cpu_millis = at_s * 900;
        sample.workloads[0].cpu_millis = at_s * 900;
        sample.workloads[0].state = None;
    });
    let terminal = hour(|at_s, sample| {
        sample.cpu_millis = at_s * 800;
        let mut terminal = sample.workloads[0].clone();
        terminal.key.kind = WorkloadKind::Terminal;
        terminal.key.id = label("1");
        terminal.name = label("1");
        terminal.notebook = None;
        terminal.cpu_millis = at_s * 800;
        sample.workloads.push(terminal);
    });
    for (state, reason) in [
        (busy, "kernel train.ipynb busy for 1 h"),
        (computing, "kernel train.ipynb using 0.9 cores"),
        (terminal, "terminal 1 using 0.8 cores"),
    ] {
        let server = server(&state);
        assert_eq!(server.busy_reason.as_deref(), Some(reason));
        assert_eq!(server.idle_since_ms, None);
        assert!(server.verdicts.is_empty(), "{:?}", server.verdicts);
    }
}

#[test]
fn idle_counts_from_the_end_of_the_last_work() {
    let state = hour(|at_s, sample| {
        if at_s <= 600 {
            sample.workloads[0].state = Some(WorkloadState::Busy);
        }
    });
    assert_eq!(server(&state).idle_since_ms, Some(START_MS + 600_000));
    assert!(server(&state).verdicts.is_empty(), "50 min are not an hour");
}

#[test]
fn time_that_nobody_measured_is_not_idle() {
    let mut facts = vec![hub(0, None), connected(1, 0)];
    facts.push(report(1, 1, vec![sample(0, 300 * MB)]));
    facts.push(report(1, 2, vec![sample(5_000, 300 * MB)]));
    facts.push(report(1, 3, vec![sample(7_200_000, 300 * MB)]));
    let state = after(&facts);
    assert_eq!(server(&state).idle_since_ms, Some(START_MS + 7_200_000));
    assert!(server(&state).verdicts.is_empty());
}

#[test]
fn a_night_of_sleep_is_not_idle_and_a_clock_that_jumps_makes_no_verdicts() {
    let night_ms = 8 * 3_600_000;
    let mut facts = vec![hub(0, None), connected(1, 0)];
    for seq in 1..=60_u64 {
        let mut sample = sample(seq * 5_000, 300 * MB);
        match seq {
            0..20 => {}
            20 => {
                sample.interval_ms = u32::try_from(night_ms).unwrap();
                sample.at_ms += night_ms;
            }
            21..40 => sample.at_ms += night_ms,
            _ => sample.at_ms -= night_ms,
        }
        facts.push(report(1, seq, vec![sample]));
    }
    for seen in [22, 23, 40, 62] {
        let state = after(&facts[..seen]);
        let server = server(&state);
        assert!(server.verdicts.is_empty(), "{:?}", server.verdicts);
        let at_ms = server.latest.as_ref().unwrap().at_ms;
        let idle_ms = at_ms - server.idle_since_ms.unwrap();
        assert!(idle_ms <= 100_000, "{idle_ms} ms idle after {seen} facts");
        assert_eq!(
            server.interval_ms, 5_000,
            "sleeping does not slow an agent down"
        );
    }
}

#[test]
fn an_agent_that_came_late_does_not_vouch_for_the_time_before() {
    let mut late = vec![hub(0, None)];
    late.push(report(1, 1, vec![sample(7_200_000, 300 * MB)]));
    let state = after(&late);
    assert_eq!(server(&state).idle_since_ms, Some(START_MS + 7_200_000));
}

#[test]
fn a_workload_is_idle_since_its_server_says() {
    let mut told = sample(600_000, 300 * MB);
    told.workloads[0].idle_ms = Some(400_000);
    let state = after(&[report(1, 1, vec![told])]);
    let since_ms = server(&state).workload_idle_since_ms[&kernel_key()];
    assert_eq!(since_ms, START_MS + 200_000);
}

#[test]
fn an_agent_that_was_never_heard_is_missed_after_two_minutes_and_only_as_information() {
    let mut state = after(&[hub(0, None), tick(119_000)]);
    assert!(server(&state).verdicts.is_empty());
    state.apply(&tick(120_000));
    let verdict = &server(&state).verdicts[0];
    assert_eq!(
        (verdict.rule, verdict.severity),
        (Rule::Silent, Severity::Info)
    );
    assert_eq!(server(&state).instance, None);
    state.apply(&report(1, 1, vec![sample(121_000, 300 * MB)]));
    assert!(server(&state).verdicts.is_empty());
    assert_eq!(server(&state).instance, Some(instance(1)));
}
