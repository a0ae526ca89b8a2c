use hubmeter_kinetics::trend::Trend;

use super::*;
use crate::{
    fact::Fact,
    state::{
        Policy,
        tests::{START_MS, instance, sample, tick},
    },
};

const ON: PerUser = PerUser {
    on: true,
    servers_max: SERVERS_DEFAULT,
};

/// A hub on which each of `keys` runs a server that reported once.
fn state_of(keys: &[(&str, &str)]) -> State {
    let mut state = State::new(Policy::default());
    for (user, server) in keys {
        let key = ServerKey::new(user, server);
        let mut first = sample(0, 300_000_000);
        first.cpu_millis = 12_034;
        state.apply(&Fact::Report {
            arrived_ms: START_MS,
            key,
            instance: instance(1),
            seq: 1,
            samples: vec![first],
        });
    }
    state
}

fn text_of(state: &State, per_user: PerUser) -> String {
    let mut out = String::new();
    Series::copy(state, per_user).write(&mut out);
    out
}

fn used(user: &str, text: &str) -> bool {
    text.contains(&format!(
        "hubmeter_server_memory_used_bytes{{user=\"{user}\","
    ))
}

#[test]
fn hostile_names_stay_inside_their_quotes() {
    let mut state = state_of(&[
        ("ann", ""),
        ("b\"} 1\nhubmeter_agents{state=\"live", "c:\\temp\\"),
        ("n\0l", "\u{202E}gnp.exe"),
        ("אבג", "gpu-1"),
    ]);
    let ann = state.servers.get_mut(&ServerKey::new("ann", "")).unwrap();
    ann.trend = Some(Trend {
        bytes_per_second: -1_234.5,
        low_bytes_per_second: -1_300.0,
        high_bytes_per_second: -1_200.0,
        rising_share: 0.0,
        span_ms: 60_000,
        points: 12,
    });
    let golden = concat!(
        "# HELP hubmeter_server_memory_used_bytes Memory of a server that cannot be given back.\n",
        "# TYPE hubmeter_server_memory_used_bytes gauge\n",
        "hubmeter_server_memory_used_bytes{user=\"ann\",server=\"\"} 300000000\n",
        "hubmeter_server_memory_used_bytes{user=\"b\\\"} 1\\nhubmeter_agents{state=\\\"live\",server=\"c:\\\\temp\\\\\"} 300000000\n",
        "hubmeter_server_memory_used_bytes{user=\"n\0l\",server=\"\u{202E}gnp.exe\"} 300000000\n",
        "hubmeter_server_memory_used_bytes{user=\"אבג\",server=\"gpu-1\"} 300000000\n",
        "# HELP hubmeter_server_memory_limit_bytes Memory limit in force for a server.\n",
        "# TYPE hubmeter_server_memory_limit_bytes gauge\n",
        "hubmeter_server_memory_limit_bytes{user=\"ann\",server=\"\"} 2000000000\n",
        "hubmeter_server_memory_limit_bytes{user=\"b\\\"} 1\\nhubmeter_agents{state=\\\"live\",server=\"c:\\\\temp\\\\\"} 2000000000\n",
        "hubmeter_server_memory_limit_bytes{user=\"n\0l\",server=\"\u{202E}gnp.exe\"} 2000000000\n",
        "hubmeter_server_memory_limit_bytes{user=\"אבג\",server=\"gpu-1\"} 2000000000\n",
        "# HELP hubmeter_server_cpu_seconds_total CPU time of a server since it started.\n",
        "# TYPE hubmeter_server_cpu_seconds_total counter\n",
        "hubmeter_server_cpu_seconds_total{user=\"ann\",server=\"\"} 12.034\n",
        "hubmeter_server_cpu_seconds_total{user=\"b\\\"} 1\\nhubmeter_agents{state=\\\"live\",server=\"c:\\\\temp\\\\\"} 12.034\n",
        "hubmeter_server_cpu_seconds_total{user=\"n\0l\",server=\"\u{202E}gnp.exe\"} 12.034\n",
        "hubmeter_server_cpu_seconds_total{user=\"אבג\",server=\"gpu-1\"} 12.034\n",
        "# HELP hubmeter_server_trend_bytes_per_second Robust slope of a server's memory.\n",
        "# TYPE hubmeter_server_trend_bytes_per_second gauge\n",
        "hubmeter_server_trend_bytes_per_second{user=\"ann\",server=\"\"} -1234.5\n",
    );
    assert_eq!(text_of(&state, ON), golden);
}

#[test]
fn what_nobody_knows_has_no_line() {
    let mut state = state_of(&[("ann", ""), ("bob", "")]);
    let ann = state.servers.get_mut(&ServerKey::new("ann", "")).unwrap();
    ann.latest.as_mut().unwrap().memory_limit_bytes = None;
    let bob = state.servers.get_mut(&ServerKey::new("bob", "")).unwrap();
    bob.latest = None;
    let text = text_of(&state, ON);
    assert!(used("ann", &text) && !text.contains("bob"), "{text}");
    assert!(!text.contains("limit_bytes{"), "{text}");
    assert!(!text.contains("trend_bytes_per_second{"), "{text}");
}

#[test]
fn the_series_of_a_server_that_stopped_or_fell_silent_vanish() {
    let mut state = state_of(&[("ann", ""), ("bob", "")]);
    state.apply(&Fact::Disconnected {
        at_ms: START_MS + 1_000,
        key: ServerKey::new("ann", ""),
        instance: instance(1),
        farewell: true,
    });
    let text = text_of(&state, ON);
    assert!(!used("ann", &text) && used("bob", &text), "{text}");
    state.apply(&tick(600_000));
    let text = text_of(&state, ON);
    assert!(!text.contains("{user="), "{text}");
}

#[test]
fn nothing_is_shown_unless_asked_for() {
    let state = state_of(&[("ann", "")]);
    assert_eq!(text_of(&state, PerUser::default()), "");
}

#[test]
fn beyond_the_bound_servers_are_left_out_and_counted() {
    let state = state_of(&[("ann", ""), ("bob", ""), ("cem", ""), ("dee", "")]);
    let stats = Stats::new();
    let three_gone = PerUser {
        on: true,
        servers_max: 1,
    };
    for _ in 0..2 {
        let series = Series::copy(&state, three_gone);
        series.account(&stats);
        let mut text = String::new();
        series.write(&mut text);
        assert!(used("ann", &text) && !text.contains("bob"), "{text}");
    }
    let told = stats.prometheus_text();
    for line in [
        "hubmeter_limit_current{limit=\"server_series\"} 1",
        "hubmeter_limit_max{limit=\"server_series\"} 1",
        "hubmeter_limit_dropped_total{limit=\"server_series\"} 6",
    ] {
        assert!(told.lines().any(|said| said == line), "{told}");
    }
}
