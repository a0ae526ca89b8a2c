//! What is work and what is not, each with its opposite.

use super::*;
use crate::{
    fact::{Activity, InputKind, Job, WorkloadSample},
    state::tests::{ada, kernel},
    verdict::idle::{FLOW_BYTES_PER_SECOND, PERSON_MS},
};

const QUIET_LAB: &str = include_str!("recorded/quiet_lab-1-5s.csv");

const HOUR_S: u64 = 3_600;

/// What `did` says, told `at_s` after the start.
fn told(at_s: u64, activity: Activity) -> Fact {
    Fact::Activity {
        at_ms: START_MS + at_s as i64 * 1_000,
        key: ada(),
        instance: instance(1),
        activity,
    }
}

fn did(at_s: u64, kind: InputKind) -> Activity {
    Activity {
        input_ms: Some(START_MS + at_s as i64 * 1_000),
        input_kind: Some(kind),
        ..Activity::default()
    }
}

/// A server for `for_s` seconds, sampled every half minute; `edit` makes something of it.
fn live(policy: Policy, activity: &[Fact], for_s: u64, edit: impl Fn(u64, &mut Sample)) -> State {
    let mut state = State::new(policy);
    for fact in [hub(0, None), connected(1, 0)] {
        state.apply(&fact);
    }
    for (seq, at_s) in (1..).zip((0..=for_s).step_by(30)) {
        for fact in activity {
            if matches!(fact, Fact::Activity { at_ms, .. } if (*at_ms - START_MS) / 1_000 == at_s as i64)
            {
                state.apply(fact);
            }
        }
        let mut sample = sample(at_s * 1_000, 300 * MB);
        sample.interval_ms = 30_000;
        edit(at_s, &mut sample);
        state.apply(&report(1, seq, vec![sample]));
        assert_eq!(invariants::check(&state), Ok(()), "after {at_s} s");
    }
    state
}

fn usual(for_s: u64, edit: impl Fn(u64, &mut Sample)) -> State {
    live(Policy::default(), &[], for_s, edit)
}

/// Why it is busy, and since when (seconds) it is idle.
fn verdict_of(state: &State) -> (Option<&str>, Option<i64>) {
    let server = server(state);
    let since_s = server.idle_since_ms.map(|ms| (ms - START_MS) / 1_000);
    (server.busy_reason.as_deref(), since_s)
}

/// CPU of the server and its kernel, in thousandths of a core.
fn uses(sample: &mut Sample, millis: u64) {
    sample.cpu_millis = millis;
    sample.workloads[0].cpu_millis = millis;
}

fn terminal(state: WorkloadState) -> WorkloadSample {
    let mut terminal = kernel(MB);
    terminal.key.kind = WorkloadKind::Terminal;
    terminal.key.id = label("1");
    terminal.name = label("1");
    terminal.notebook = None;
    terminal.pid = 99;
    terminal.state = Some(state);
    terminal
}

#[test]
fn one_percent_above_what_a_server_rests_at_is_work_and_less_is_not() {
    // It rests at 1 %; after three hours somebody uses more.
    let with = |milli_cores: u64| {
        usual(4 * HOUR_S, |at_s, sample| {
            let more = at_s.saturating_sub(3 * HOUR_S) * milli_cores;
            uses(sample, at_s * 10 + more);
        })
    };
    let state = with(14);
    let reason = Some("kernel train.ipynb using 0.02 cores");
    assert_eq!(verdict_of(&state).0, reason);
    assert_eq!(verdict_of(&with(7)), (None, Some(0)));
}

#[test]
fn before_it_is_known_at_what_a_server_rests_six_percent_are_work_and_five_are_not() {
    let with = |milli_cores| usual(1_800, move |at_s, sample| uses(sample, at_s * milli_cores));
    assert_eq!(verdict_of(&with(55)), (None, Some(0)));
    let reason = Some("kernel train.ipynb using 0.07 cores");
    assert_eq!(verdict_of(&with(65)), (reason, None));
}

#[test]
fn what_a_busy_kernel_uses_is_not_what_its_server_rests_at() {
    // Four hours at 4 %, busy; then idle, at 4 % by a thread that goes on.
    let with = |busy_s: u64| {
        usual(busy_s + 1_800, move |at_s, sample| {
            uses(
                sample,
                at_s * 10 + at_s.min(busy_s) * 30 + at_s.saturating_sub(busy_s) * 48,
            );
            if at_s < busy_s {
                sample.workloads[0].state = Some(WorkloadState::Busy);
            }
        })
    };
    let state = with(4 * HOUR_S);
    assert_eq!(
        verdict_of(&state),
        (None, Some(4 * HOUR_S as i64 - 30)),
        "nothing was learnt, so 5.8 % are below 6 %"
    );
}

#[test]
fn a_program_in_front_in_a_terminal_is_work_and_a_shell_at_its_prompt_is_not() {
    let with = |state, jobs: &[&str]| {
        let jobs = jobs.iter().map(|program| Job {
            terminal: label("1"),
            program: label(program),
        });
        let activity = Activity {
            jobs: jobs.collect(),
            ..Activity::default()
        };
        live(
            Policy::default(),
            &[told(0, activity)],
            HOUR_S,
            move |at_s, sample| {
                let mut terminal = terminal(state);
                terminal.processes = 2;
                terminal.read_bytes = Some(at_s * 40_000_000 * u64::from(at_s > 1_800));
                terminal.written_bytes = Some(0);
                if jobs_read_nothing(state) {
                    terminal.read_bytes = Some(0);
                }
                sample.workloads.push(terminal);
            },
        )
    };
    let busy = with(WorkloadState::Busy, &["rsync"]);
    assert_eq!(
        verdict_of(&busy),
        (Some("terminal: rsync reading 40 MB/s"), None)
    );
    let untold = with(WorkloadState::Busy, &[]);
    assert_eq!(
        verdict_of(&untold),
        (Some("terminal 1 reading 40 MB/s"), None)
    );
    assert_eq!(verdict_of(&with(WorkloadState::Idle, &[])), (None, Some(0)));
}

/// At its prompt nothing is read.
fn jobs_read_nothing(state: WorkloadState) -> bool {
    state == WorkloadState::Idle
}

#[test]
fn a_job_that_only_waits_is_work_in_words() {
    let state = usual(HOUR_S, |_, sample| {
        sample.workloads.push(terminal(WorkloadState::Busy));
    });
    let reason = Some("terminal 1 running for 1 h");
    assert_eq!(verdict_of(&state), (reason, None));
}

#[test]
fn more_than_64_kib_a_second_is_work_but_never_the_servers_own_or_nobodys() {
    let with = |kind, bytes_per_second: u64| {
        usual(1_800, move |at_s, sample| {
            let workload = &mut sample.workloads[0];
            workload.key.kind = kind;
            // Told once a minute.
            let told_s = at_s / 60 * 60;
            workload.written_bytes = Some(told_s * bytes_per_second);
            workload.read_bytes = Some(0);
        })
    };
    let much = FLOW_BYTES_PER_SECOND as u64 + 4_465;
    for (kind, reason) in [
        (WorkloadKind::Kernel, "kernel train.ipynb writing 70 kB/s"),
        (WorkloadKind::App, "app train.ipynb writing 70 kB/s"),
        (
            WorkloadKind::Terminal,
            "terminal train.ipynb writing 70 kB/s",
        ),
    ] {
        assert_eq!(verdict_of(&with(kind, much)), (Some(reason), None));
        let little = with(kind, FLOW_BYTES_PER_SECOND as u64);
        assert_eq!(verdict_of(&little), (None, Some(0)), "{kind:?}");
    }
    for kind in [WorkloadKind::Server, WorkloadKind::Other] {
        assert_eq!(
            verdict_of(&with(kind, 100 * much)),
            (None, Some(0)),
            "{kind:?}"
        );
    }
}

#[test]
fn a_person_is_there_for_minutes_and_then_idle_counts_from_what_they_did() {
    let acts = [told(1_800, did(1_800, InputKind::Typing))];
    let after_s = |for_s| live(Policy::default(), &acts, for_s, |_, _| {});
    assert_eq!(verdict_of(&after_s(1_770)), (None, Some(0)));
    let writing = after_s(1_800 + 240);
    assert_eq!(verdict_of(&writing), (Some("typing 4 min ago"), None));
    let gone = after_s(1_800 + PERSON_MS as u64 / 1_000);
    assert_eq!(verdict_of(&gone), (None, Some(1_800)));
    for (kind, reason) in [
        (InputKind::Run, "ran a cell 30 s ago"),
        (InputKind::Terminal, "typing in a terminal 30 s ago"),
        (InputKind::Save, "saved a file 30 s ago"),
    ] {
        let acts = [told(600, did(600, kind))];
        let state = live(Policy::default(), &acts, 630, |_, _| {});
        assert_eq!(verdict_of(&state), (Some(reason), None));
    }
}

#[test]
fn what_a_person_did_before_the_agent_was_asked_does_not_make_a_server_younger() {
    let acts = [told(1_800, did(60, InputKind::Typing))];
    let state = live(Policy::default(), &acts, 2_400, |_, _| {});
    assert_eq!(verdict_of(&state), (None, Some(60)));
}

#[test]
fn a_forgotten_tab_that_polls_saves_nobody() {
    // Jupyter answers requests: 2 % of a core and 200 kB/s, all of it its own.
    let state = usual(2 * HOUR_S, |at_s, sample| {
        sample.cpu_millis = at_s * 20;
        sample.workloads[1].cpu_millis = at_s * 20;
        sample.workloads[1].read_bytes = Some(at_s * 200_000);
        sample.workloads[1].written_bytes = Some(at_s * 200_000);
    });
    assert_eq!(verdict_of(&state), (None, Some(0)));
    assert!(open_of(&state, Rule::Idle).is_some());
}

#[test]
fn a_kernel_that_is_busy_without_cpu_counts_until_the_policy_ends_that_and_the_note_says_so() {
    let policy = Policy {
        busy_without_cpu_ms: 2 * 3_600_000,
        ..Policy::default()
    };
    let waits = |for_s, milli_cores: u64| {
        live(policy.clone(), &[], for_s, move |at_s, sample| {
            sample.workloads[0].state = Some(WorkloadState::Busy);
            uses(sample, at_s * milli_cores);
        })
    };
    let still = waits(2 * HOUR_S - 30, 0);
    assert_eq!(
        verdict_of(&still),
        (Some("kernel train.ipynb busy for 1 h"), None)
    );
    let over = waits(4 * HOUR_S, 0);
    assert_eq!(verdict_of(&over), (None, Some(2 * HOUR_S as i64 - 30)));
    let note = "kernel train.ipynb busy for 4 h without CPU, which counts no more";
    assert_eq!(server(&over).idle_note.as_deref(), Some(note));
    let verdict = open_of(&over, Rule::Idle).expect("idle");
    let word = evidence(verdict, "does_not_count").expect("a note");
    assert!(matches!(word, Evidence::Word(word) if word.as_str().contains("without CPU")));
    // 2 % of a core are a training that waits for its disk.
    let computes = waits(4 * HOUR_S, 20);
    assert_eq!(
        verdict_of(&computes),
        (Some("kernel train.ipynb busy for 4 h"), None)
    );
    assert_eq!(server(&computes).idle_note, None);
}

#[test]
fn a_kernel_elsewhere_and_one_that_reads_are_busy_for_as_long_as_they_say() {
    let policy = Policy {
        busy_without_cpu_ms: 3_600_000,
        ..Policy::default()
    };
    for (remote, bytes_per_second) in [(true, 0), (false, 1_000_000)] {
        let state = live(policy.clone(), &[], 3 * HOUR_S, |at_s, sample| {
            let kernel = &mut sample.workloads[0];
            kernel.state = Some(WorkloadState::Busy);
            kernel.remote = remote;
            kernel.read_bytes = Some(at_s * bytes_per_second);
            kernel.written_bytes = Some(0);
        });
        let reason = Some("kernel train.ipynb busy for 3 h");
        assert_eq!(verdict_of(&state), (reason, None));
    }
    let job = live(policy, &[], 3 * HOUR_S, |_, sample| {
        sample.workloads.push(terminal(WorkloadState::Busy));
    });
    assert_eq!(verdict_of(&job), (None, Some(HOUR_S as i64 - 30)));
}

#[test]
fn a_workloads_idle_time_never_goes_back_although_its_owner_tells_of_long_ago() {
    // Told idle since the start, and yet it computes for a while.
    let state = usual(HOUR_S, |at_s, sample| {
        uses(sample, at_s.min(1_200) * 500);
        sample.workloads[0].idle_ms = Some(at_s * 1_000);
    });
    let since_ms = server(&state).workload_idle_since_ms[&kernel_key()];
    assert_eq!(since_ms, START_MS + 1_200_000);
}

#[test]
fn a_recorded_jupyterlab_that_nobody_uses_is_idle_from_its_first_minute_on() {
    let mut rows = QUIET_LAB.lines().skip(1).map(|line| {
        let cpu = line.split(',').nth(2).unwrap();
        cpu.parse::<u64>().unwrap()
    });
    let mut state = after(&[hub(0, None), connected(1, 0)]);
    let first = rows.next().unwrap();
    for (seq, cpu) in (1..).zip(rows) {
        let mut sample = sample(seq * 5_000, 300 * MB);
        uses(&mut sample, cpu - first);
        state.apply(&report(1, seq, vec![sample]));
    }
    let (reason, since_s) = verdict_of(&state);
    assert_eq!(reason, None);
    assert!(since_s.is_some_and(|since_s| since_s <= 60), "{since_s:?}");
}

#[test]
fn what_keeps_a_server_is_known_until_its_agent_is_another() {
    let until_ms = START_MS + 9_000_000;
    let keeps = Activity {
        kept_until_ms: Some(until_ms),
        ..Activity::default()
    };
    let mut state = live(Policy::default(), &[told(30, keeps.clone())], 60, |_, _| {});
    assert_eq!(server(&state).kept_until_ms, Some(until_ms));
    state.apply(&connected(2, 90_000));
    assert_eq!(server(&state).kept_until_ms, None);
    // The old one has nothing to say any more.
    state.apply(&told(91, keeps));
    assert_eq!(server(&state).kept_until_ms, None);
}

/// One step of a server's life: seconds that pass, and what goes on at their end.
#[derive(Clone, Debug)]
struct Step {
    seconds: u64,
    busy: bool,
    cpu_millis: u64,
    input: bool,
    bytes: u64,
}

fn step() -> impl Strategy<Value = Step> {
    let seconds = prop_oneof![8 => Just(5_u64), 2 => 1_u64..60, 1 => 60_u64..8_000];
    let cpu_millis = prop_oneof![3 => 0_u64..100, 1 => 0_u64..5_000];
    let bytes = prop_oneof![3 => Just(0_u64), 1 => 0_u64..20_000_000];
    (
        seconds,
        prop::bool::weighted(0.05),
        cpu_millis,
        prop::bool::weighted(0.05),
        bytes,
    )
        .prop_map(|(seconds, busy, cpu_millis, input, bytes)| Step {
            seconds,
            busy,
            cpu_millis,
            input,
            bytes,
        })
}

fn lived(steps: &[Step]) -> Result<State, TestCaseError> {
    let mut state = after(&[hub(0, None), connected(1, 0)]);
    let (mut at_s, mut cpu, mut bytes) = (0, 0, 0);
    let mut idle_before: Option<i64> = None;
    for (seq, step) in (1..).zip(steps) {
        at_s += step.seconds;
        cpu += step.cpu_millis;
        bytes += step.bytes;
        if step.input {
            state.apply(&told(at_s, did(at_s, InputKind::Typing)));
        }
        let mut sample = sample(at_s * 1_000, 300 * MB);
        let at_ms = sample.at_ms;
        uses(&mut sample, cpu);
        sample.workloads[0].read_bytes = Some(bytes);
        sample.workloads[0].written_bytes = Some(0);
        if step.busy {
            sample.workloads[0].state = Some(WorkloadState::Busy);
        }
        state.apply(&report(1, seq, vec![sample]));
        let server = server(&state);
        prop_assert_eq!(server.busy_reason.is_some(), server.idle_since_ms.is_none());
        if let Some(since_ms) = server.idle_since_ms {
            prop_assert!(since_ms <= at_ms, "idle since a time to come");
            prop_assert!(
                idle_before.is_none_or(|before| since_ms >= before),
                "moved back"
            );
            let hole = seq > 1 && step.seconds >= 60 && step.seconds > 15;
            prop_assert!(
                !hole || since_ms == at_ms,
                "a hole of {} s counts",
                step.seconds
            );
            idle_before = Some(since_ms);
        }
        if step.busy || step.input {
            prop_assert!(server.busy_reason.is_some());
        }
    }
    Ok(state)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn idle_time_never_begins_earlier_than_it_did_nor_in_a_hole_nor_in_the_future(
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let once = lived(&steps)?;
        let again = lived(&steps)?;
        prop_assert_eq!(format!("{:?}", once.servers), format!("{:?}", again.servers));
    }
}
