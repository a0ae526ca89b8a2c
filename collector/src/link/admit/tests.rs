use proptest::prelude::*;

use super::*;

const HELLO_MS: i64 = 1_800_000_000_000;

fn message(body: v1::up::Body) -> Bytes {
    v1::Up { body: Some(body) }.encode_to_vec().into()
}

fn sample() -> v1::Sample {
    v1::Sample {
        mono_ms: 60_000,
        wall_ms: 1,
        interval_ms: 5_000,
        memory_used_bytes: 1 << 30,
        memory_source: v1::MemorySource::Cgroup2.into(),
        memory_limit_bytes: Some(2 << 30),
        memory_limit_source: "cgroup2:/user.slice".to_owned(),
        rss_bytes: 1 << 29,
        processes: 3,
        threads: 9,
        ..Default::default()
    }
}

fn workload(id: &str) -> v1::Workload {
    v1::Workload {
        kind: v1::WorkloadKind::Kernel.into(),
        id: id.to_owned(),
        ..Default::default()
    }
}

fn hello() -> v1::Hello {
    v1::Hello {
        protocol: 1,
        instance_id: vec![7; 16].into(),
        first_seq: 1,
        next_seq: 1,
        mono_ms: 50_000,
        interval_ms: 5_000,
        host: "node-1".to_owned(),
        ..Default::default()
    }
}

fn clock() -> ClockOffset {
    ClockOffset {
        offset_ms: HELLO_MS - 50_000,
    }
}

fn report(samples: Vec<v1::Sample>) -> Admitted<Vec<Sample>> {
    let body = v1::up::Body::Report(v1::Report { seq: 1, samples });
    match read(&message(body), HELLO_MS + 10_000, clock())? {
        Incoming::Report { samples, .. } => Ok(samples),
        other => unreachable!("{other:?}"),
    }
}

fn refused_field(result: Admitted<impl std::fmt::Debug>) -> String {
    match result {
        Err(Refusal::OutOfBounds { field, .. }) => field,
        other => unreachable!("{other:?}"),
    }
}

#[test]
fn a_sample_keeps_its_numbers_and_what_is_absent_stays_unknown() {
    let read = &report(vec![sample()]).unwrap()[0];
    assert_eq!(read.memory_used_bytes, 1 << 30);
    assert_eq!(read.memory_source, MemorySource::Cgroup2);
    assert_eq!(read.memory_limit_bytes, Some(2 << 30));
    assert_eq!(read.pss_bytes, None);
    assert_eq!(read.swap_bytes, None);
    assert_eq!(read.oom_kills, None);
}

#[test]
fn time_is_told_by_the_clock_since_boot_not_by_the_wall() {
    // Ten seconds after Hello on the agent's own clock, whatever its wall clock claims.
    for wall_ms in [0, 1, u64::MAX] {
        let read = report(vec![v1::Sample {
            wall_ms,
            ..sample()
        }])
        .unwrap();
        assert_eq!(read[0].at_ms, HELLO_MS + 10_000);
    }
}

#[test]
fn time_is_clamped_to_a_window_around_the_arrival() {
    let arrived_ms = HELLO_MS + 10_000;
    for (mono_ms, at) in [(limits::NUMBER_MAX, arrived_ms), (55_000, HELLO_MS + 5_000)] {
        let read = report(vec![v1::Sample {
            mono_ms,
            ..sample()
        }])
        .unwrap();
        assert_eq!(read[0].at_ms, at);
    }
    let old = ClockOffset { offset_ms: 0 };
    let body = v1::up::Body::Report(v1::Report {
        seq: 1,
        samples: vec![sample()],
    });
    let Incoming::Report { samples, .. } = read(&message(body), arrived_ms, old).unwrap() else {
        unreachable!()
    };
    assert_eq!(samples[0].at_ms, arrived_ms - limits::SAMPLE_AGE_MS_MAX);
}

#[test]
fn every_bound_holds_at_the_bound_and_names_its_field_beyond() {
    let max = limits::NUMBER_MAX;
    assert!(
        report(vec![v1::Sample {
            rss_bytes: max,
            ..sample()
        }])
        .is_ok()
    );
    type Case = (&'static str, fn(&mut v1::Sample));
    let cases: [Case; 16] = [
        ("rss_bytes", |s| s.rss_bytes = limits::NUMBER_MAX + 1),
        ("memory_used_bytes", |s| s.memory_used_bytes = u64::MAX),
        ("cpu_millis", |s| s.cpu_millis = u64::MAX),
        ("mono_ms", |s| s.mono_ms = u64::MAX),
        ("memory_working_set_bytes", |s| {
            s.memory_working_set_bytes = Some(u64::MAX);
        }),
        ("memory_limit_bytes", |s| {
            s.memory_limit_bytes = Some(u64::MAX);
        }),
        ("pss_bytes", |s| s.pss_bytes = Some(u64::MAX)),
        ("swap_bytes", |s| s.swap_bytes = Some(u64::MAX)),
        ("oom_kills", |s| s.oom_kills = Some(u64::MAX)),
        ("unattributed_bytes", |s| {
            s.unattributed_bytes = Some(i64::MIN);
        }),
        ("processes", |s| s.processes = limits::PROCESSES_MAX + 1),
        ("threads", |s| s.threads = u32::MAX),
        ("memory_source", |s| s.memory_source = 0),
        ("memory_limit_source", |s| {
            s.memory_limit_source = "x".repeat(513);
        }),
        ("workloads", |s| s.workloads = vec![workload("k"); 65]),
        ("ended", |s| s.ended = vec![v1::Ended::default(); 65]),
    ];
    for (field, spoil) in cases {
        let mut spoilt = sample();
        spoil(&mut spoilt);
        let named = refused_field(report(vec![sample(), spoilt]));
        assert_eq!(named, format!("report.samples[1].{field}"));
    }
    let many = vec![sample(); wire::SAMPLES_PER_REPORT_MAX];
    assert!(report(many).is_ok());
    let too_many = vec![sample(); wire::SAMPLES_PER_REPORT_MAX + 1];
    assert_eq!(refused_field(report(too_many)), "report.samples");
}

#[test]
fn a_workload_is_named_once() {
    let mut twice = sample();
    twice.workloads = vec![workload("k"), workload("k")];
    assert_eq!(
        refused_field(report(vec![twice])),
        "report.samples[0].workloads[1].id"
    );
}

#[test]
fn samples_do_not_go_backwards() {
    let earlier = v1::Sample {
        mono_ms: 59_999,
        ..sample()
    };
    assert_eq!(
        refused_field(report(vec![sample(), earlier])),
        "report.samples[1].mono_ms"
    );
}

#[test]
fn hello_is_checked_field_by_field() {
    type Case = (&'static str, fn(&mut v1::Hello));
    let cases: [Case; 7] = [
        ("hello.instance_id", |h| h.instance_id = vec![7; 15].into()),
        ("hello.first_seq", |h| h.first_seq = 0),
        ("hello.next_seq", |h| h.next_seq = 0),
        ("hello.first_seq", |h| h.first_seq = 2),
        ("hello.interval_ms", |h| h.interval_ms = 999),
        ("hello.interval_ms", |h| h.interval_ms = 60_001),
        ("hello.server_name", |h| h.server_name = "x".repeat(2_000)),
    ];
    for (field, spoil) in cases {
        let mut spoilt = hello();
        spoil(&mut spoilt);
        let result = read(
            &message(v1::up::Body::Hello(spoilt)),
            HELLO_MS,
            ClockOffset::NONE,
        );
        assert_eq!(refused_field(result), field);
    }
    let none = v1::Hello {
        protocol: 0,
        ..hello()
    };
    let result = read(
        &message(v1::up::Body::Hello(none)),
        HELLO_MS,
        ClockOffset::NONE,
    );
    assert_eq!(result, Err(Refusal::Version(0)));
    let newer = v1::Hello {
        protocol: 9,
        ..hello()
    };
    assert!(
        read(
            &message(v1::up::Body::Hello(newer)),
            HELLO_MS,
            ClockOffset::NONE
        )
        .is_ok()
    );
}

#[test]
fn hostile_names_arrive_clean() {
    let mut named = sample();
    named.workloads = vec![v1::Workload {
        name: "a\u{202e}b\n\u{1b}[31m".to_owned(),
        notebook: Some("x".repeat(1_000)),
        ..workload("k")
    }];
    let read = &report(vec![named]).unwrap()[0].workloads[0];
    assert_eq!(read.name.as_str(), "a\u{fffd}b\u{fffd}\u{fffd}[31m");
    assert_eq!(
        read.notebook.as_ref().unwrap().as_str().len(),
        wire::LABEL_BYTES_MAX
    );
}

#[test]
fn a_message_over_the_limit_is_not_even_decoded() {
    let big = Bytes::from(vec![0xff; wire::MESSAGE_BYTES_MAX + 1]);
    assert_eq!(
        read(&big, 0, ClockOffset::NONE),
        Err(Refusal::TooLarge(wire::MESSAGE_BYTES_MAX + 1))
    );
}

#[test]
fn what_we_say_is_what_the_proto_says() {
    let bytes = write(Outgoing::Bye {
        reason: ByeReason::Superseded,
        retry_after_ms: 7,
    });
    let down = v1::Down::decode(&bytes[..]).unwrap();
    let Some(v1::down::Body::Bye(bye)) = down.body else {
        unreachable!()
    };
    assert_eq!(bye.reason(), v1::bye::Reason::Superseded);
    assert_eq!(bye.retry_after_ms, 7);
}

fn assert_bounded(incoming: &Incoming, arrived_ms: i64) {
    let Incoming::Report { samples, .. } = incoming else {
        return;
    };
    assert!(samples.len() <= wire::SAMPLES_PER_REPORT_MAX);
    for sample in samples {
        assert!(sample.at_ms >= arrived_ms - limits::SAMPLE_AGE_MS_MAX);
        assert!(sample.at_ms <= arrived_ms, "the future does not report");
        assert!(sample.memory_used_bytes <= limits::NUMBER_MAX);
        assert!(sample.rss_bytes <= limits::NUMBER_MAX);
        assert!(sample.workloads.len() <= wire::WORKLOADS_PER_SAMPLE_MAX);
        assert!(sample.ended.len() <= wire::ENDED_PER_SAMPLE_MAX);
        for workload in &sample.workloads {
            assert!(workload.key.id.as_str().len() <= wire::LABEL_BYTES_MAX);
            assert!(workload.name.as_str().len() <= wire::LABEL_BYTES_MAX);
            assert!(workload.cpu_millis <= limits::NUMBER_MAX);
        }
    }
}

prop_compose! {
    fn any_workload()(
        kind in -1i32..8, id in ".{0,140}", name in ".{0,200}", state in -1i32..7,
        rss_bytes: u64, cpu_millis in 0u64..1 << 54, memory: Option<u64>, idle_ms: Option<u64>,
    ) -> v1::Workload {
        v1::Workload {
            kind, id, name, state, rss_bytes: rss_bytes >> 9, cpu_millis,
            memory_used_bytes: memory.map(|m| m >> 10), idle_ms, ..Default::default()
        }
    }
}

prop_compose! {
    fn any_sample()(
        mono_ms: u64, memory_used_bytes: u64, rss_bytes: u64, source in 0i32..6,
        limit_source in ".{0,40}", unattributed: Option<i64>, processes: u32,
        workloads in prop::collection::vec(any_workload(), 0..4),
    ) -> v1::Sample {
        v1::Sample {
            mono_ms: mono_ms >> 8, memory_used_bytes: memory_used_bytes >> 10,
            rss_bytes: rss_bytes >> 10, memory_source: source, memory_limit_source: limit_source,
            unattributed_bytes: unattributed.map(|u| u >> 10), processes: processes >> 9,
            workloads, ..Default::default()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_panic_or_pass_a_bound(bytes in prop::collection::vec(any::<u8>(), 0..600), arrived_ms in 0i64..1 << 45, offset_ms: i64) {
        if let Ok(incoming) = read(&bytes.into(), arrived_ms, ClockOffset { offset_ms }) {
            assert_bounded(&incoming, arrived_ms);
        }
    }

    #[test]
    fn no_message_panics_or_passes_a_bound(seq: u64, samples in prop::collection::vec(any_sample(), 0..5), arrived_ms in 0i64..1 << 45, offset_ms: i64) {
        let body = v1::up::Body::Report(v1::Report { seq, samples });
        if let Ok(incoming) = read(&message(body), arrived_ms, ClockOffset { offset_ms }) {
            assert_bounded(&incoming, arrived_ms);
        }
    }

    #[test]
    fn a_damaged_message_is_refused_or_bounded(at in 0usize..200, to: u8, arrived_ms in 0i64..1 << 45) {
        let mut full = sample();
        full.workloads = vec![workload("a"), workload("b")];
        let body = v1::up::Body::Report(v1::Report { seq: 1, samples: vec![full; 3] });
        let mut bytes = message(body).to_vec();
        let at = at % bytes.len();
        bytes[at] = to;
        if let Ok(incoming) = read(&bytes.into(), arrived_ms, clock()) {
            assert_bounded(&incoming, arrived_ms);
        }
    }
}
