use super::*;
use crate::{
    fact::{InstanceId, MemorySource, Sample, ServerKey, WorkloadKey, WorkloadKind},
    text::Label,
    verdict::{Rule, Severity, WorkloadName},
};
use hubmeter_kinetics::{forecast::Forecast, trend::Trend};

const NOW_MS: i64 = 1_574_027_796_500; // 2019-11-17T21:56:36.500Z

fn label(text: &str) -> Label {
    Label::clean(text, 128)
}

fn unheard(user: &str, server: &str) -> Server {
    Server::new(ServerKey::new(user, server))
}

fn kernel() -> WorkloadSample {
    WorkloadSample {
        key: WorkloadKey {
            kind: WorkloadKind::Kernel,
            id: label("8f3a"),
        },
        name: label("python3"),
        notebook: Some(label("fit \"<b>\".ipynb")),
        state: Some(WorkloadState::Busy),
        pid: 42,
        memory_used_bytes: Some(1_500_000_000),
        rss_bytes: 1_600_000_000,
        pss_bytes: None,
        cpu_millis: 9_000,
        processes: 1,
        threads: 8,
        idle_ms: Some(2_500),
        read_bytes: None,
        written_bytes: None,
        remote: false,
    }
}

fn sample() -> Sample {
    Sample {
        interval_ms: 5_000,
        memory_used_bytes: 1_700_000_000,
        memory_working_set_bytes: Some(1_750_000_000),
        memory_limit_bytes: Some(2_147_483_648),
        memory_limit_source: Some(label("cgroup2:/demo")),
        memory_limit_enforced: true,
        swap_bytes: Some(0),
        unattributed_bytes: Some(-4096),
        cpu_millis: 12_000,
        cpu_limit_millicores: Some(1_500),
        processes: 3,
        threads: 19,
        oom_kills: Some(0),
        workloads: vec![kernel()],
        ..Sample::of_memory(NOW_MS - 500, 5_000, MemorySource::Cgroup2, 1_802_223_616)
    }
}

fn verdict() -> Verdict {
    Verdict {
        rule: Rule::RunawayMemory,
        episode: "e1".to_owned(),
        key: ServerKey::new("ann.o@x.org", "gpu-1"),
        workload: Some(WorkloadName {
            id: label("8f3a"),
            title: label("fit.ipynb"),
        }),
        severity: Severity::Critical,
        since_ms: NOW_MS - 10_000,
        updated_ms: NOW_MS,
        cleared_ms: None,
        evidence: vec![
            ("rate_bytes_per_second", Evidence::Number(1.5)),
            ("limit_bytes", Evidence::Integer(2_147_483_648)),
            ("enforced", Evidence::Flag(true)),
            ("broken", Evidence::Number(f64::NAN)),
        ],
        clears_when: "growth stops".to_owned(),
    }
}

fn full() -> Server {
    let mut server = unheard("ann.o@x.org", "gpu-1");
    server.phase = Phase::Live;
    server.groups = vec![label("class-a")];
    server.host = Some(label("node-1"));
    server.started_ms = Some(NOW_MS - 3_600_000);
    server.last_seen_ms = Some(NOW_MS - 500);
    server.interval_ms = 5_000;
    server.instance = Some(InstanceId([7; 16]));
    server.latest = Some(sample());
    server.momentum_bytes = Some(-122_991_000);
    server.trend = Some(Trend {
        bytes_per_second: 1_048_576.0,
        low_bytes_per_second: 1.0,
        high_bytes_per_second: 2.0,
        rising_share: 1.0,
        span_ms: 60_000,
        points: 12,
    });
    server.forecast = Some(Forecast {
        seconds_to_limit: 426.75,
        seconds_to_limit_low: 300.0,
        seconds_to_limit_high: Some(f64::INFINITY),
    });
    server.cpu_cores = Some(0.75);
    server.workload_cpu_cores.insert(kernel().key, 0.5);
    server.busy_reason = Some("kernel fit.ipynb computes".to_owned());
    server.verdicts = vec![verdict()];
    server
}

#[test]
fn a_full_server_has_the_contracts_fields_in_the_contracts_order() {
    let json = serde_json::to_string(&ServerJson::new(&full(), NOW_MS)).unwrap();
    let expected = concat!(
        r#"{"user":"ann.o@x.org","server":"gpu-1","groups":["class-a"],"state":"live","#,
        r#""host":"node-1","started":"2019-11-17T20:56:36.500Z","#,
        r#""last_seen":"2019-11-17T21:56:36.000Z","interval_ms":5000,"#,
        r#""memory_used_bytes":1700000000,"memory_working_set_bytes":1750000000,"#,
        r#""memory_source":"cgroup2","memory_limit_bytes":2147483648,"#,
        r#""memory_limit_source":"cgroup2:/demo","memory_limit_enforced":true,"#,
        r#""memory_limit_shared":false,"memory_guarantee_bytes":null,"rss_bytes":1802223616,"#,
        r#""swap_bytes":0,"momentum_bytes":-122991000,"speed_bytes":122991000,"#,
        r#""trend_bytes_per_second":1048576.0,"seconds_to_limit":426.75,"#,
        r#""seconds_to_limit_low":300.0,"seconds_to_limit_high":null,"cpu_cores":0.75,"#,
        r#""cpu_limit_cores":1.5,"cpu_guarantee_cores":null,"idle_seconds":0,"#,
        r#""idle_since":null,"busy_reason":"kernel fit.ipynb computes","#,
        r#""hub_last_activity":null,"held_until":null,"stops_at":null,"processes":3,"#,
        r#""threads":19,"workloads":[{"kind":"kernel","id":"8f3a","name":"python3","#,
        r#""notebook":"fit \"<b>\".ipynb","state":"busy","memory_used_bytes":1500000000,"#,
        r#""cpu_cores":0.5,"idle_seconds":2}],"verdicts":[{"rule":"runaway_memory","#,
        r#""episode":"e1","user":"ann.o@x.org","server":"gpu-1","workload":"8f3a","#,
        r#""severity":"critical","state":"open","since":"2019-11-17T21:56:26.500Z","#,
        r#""updated":"2019-11-17T21:56:36.500Z","cleared":null,"evidence":{"#,
        r#""workload_title":"fit.ipynb","rate_bytes_per_second":1.5,"#,
        r#""limit_bytes":2147483648,"enforced":true,"broken":null},"#,
        r#""clears_when":"growth stops"}]}"#,
    );
    assert_eq!(json, expected);
}

#[test]
fn a_server_nobody_heard_has_every_field_and_null_for_the_unknown() {
    let unknown = serde_json::to_value(ServerJson::new(&unheard("bob", ""), NOW_MS)).unwrap();
    let known = serde_json::to_value(ServerJson::new(&full(), NOW_MS)).unwrap();
    let unknown = unknown.as_object().unwrap();
    let names = |object: &serde_json::Map<_, _>| object.keys().cloned().collect::<Vec<String>>();
    assert_eq!(names(unknown), names(known.as_object().unwrap()));
    let zeros: Vec<_> = unknown.iter().filter(|(_, v)| **v == 0).collect();
    assert!(zeros.is_empty(), "unknown shown as 0: {zeros:?}");
    assert!(unknown["memory_limit_enforced"].is_null());
    assert!(unknown["idle_seconds"].is_null());
}

#[test]
fn the_first_sample_of_an_instance_has_neither_momentum_nor_speed() {
    let mut server = full();
    server.momentum_bytes = None;
    let json = ServerJson::new(&server, NOW_MS);
    assert_eq!((json.momentum_bytes, json.speed_bytes), (None, None));
}

#[test]
fn idle_time_counts_from_the_end_of_the_last_work_and_is_never_negative() {
    let mut server = full();
    server.busy_reason = None;
    server.idle_since_ms = Some(NOW_MS - 61_999);
    assert_eq!(ServerJson::new(&server, NOW_MS).idle_seconds, Some(61));
    assert_eq!(
        ServerJson::new(&server, NOW_MS - 100_000).idle_seconds,
        Some(0)
    );
}

#[test]
fn a_cleared_verdict_says_so() {
    let mut cleared = verdict();
    cleared.cleared_ms = Some(NOW_MS);
    let json = VerdictJson::from(&cleared);
    assert_eq!(json.state, "cleared");
    assert_eq!(json.cleared.as_deref(), Some("2019-11-17T21:56:36.500Z"));
}

#[test]
fn a_time_no_calendar_holds_is_unknown() {
    assert_eq!(rfc3339(i64::MAX), None);
    assert_eq!(rfc3339(NOW_MS).as_deref(), Some("2019-11-17T21:56:36.500Z"));
}
