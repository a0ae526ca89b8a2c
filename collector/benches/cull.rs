//! What asking who may be stopped costs: `cargo bench -p hubmeter-collector --bench cull`.
//!
//! Fills a state with servers in fifty groups under a policy with groups, nights
//! and warnings, serves it on a Unix socket by the real routes, and asks. Prints a Markdown table: wall
//! times at the median and the 99th percentile and processor time of one whole list (every page of
//! 5,000), of a page of 200, of the list by idle time, and of the look at all servers that decides who
//! is warned, which holds the state's lock.
//!
//! * `--servers N`: 50000 unless told
//! * `--reads N`: how often each is asked, 100 unless told
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    unreachable_pub,
    dead_code
)] // its output is its purpose, and times are what it measures

#[path = "reads/ask.rs"]
mod ask;
#[path = "reads/fill.rs"]
mod fill;

use std::{
    collections::BTreeMap,
    env,
    sync::Arc,
    time::{Duration, Instant},
};

use ask::{Client, Cost};
use hubmeter_collector::{
    clock::ManualClock,
    cull::{
        CullPolicy, Mode,
        policy::GroupTerms,
        schedule::{DAY_MINUTES, Schedule},
    },
    fact::Fact,
    history::{History, HistoryConfig, HistoryMode},
    state::State,
    text::Label,
};
use jiff::tz::TimeZone;

/// What `fill` asks of its user; no history is filled here.
pub const MONTHS: usize = 1;

const HOUR_MS: i64 = 3_600_000;

fn flag(name: &str, default: usize) -> usize {
    let given: Vec<String> = env::args().collect();
    let at = given.iter().position(|flag| flag == name);
    let value = at.and_then(|at| given.get(at + 1));
    value.map_or(default, |n| n.parse().expect("a number"))
}

fn policy() -> CullPolicy {
    let group = |at: usize| {
        let terms = GroupTerms {
            timeout_ms: Some((1 + at as i64 % 4) * HOUR_MS),
            ..GroupTerms::default()
        };
        (Label::clean(&format!("class-{at}"), 128), terms)
    };
    let nights = Schedule {
        days: [true; 7],
        from_minutes: 20 * 60,
        to_minutes: 7 * 60,
        zone: TimeZone::get("Europe/Zurich").expect("a zone"),
        timeout_ms: HOUR_MS / 3,
        groups: std::collections::BTreeSet::new(),
    };
    CullPolicy {
        mode: Mode::Act,
        timeout_ms: Some(HOUR_MS / 2),
        groups: (0..20).map(group).collect::<BTreeMap<_, _>>(),
        schedules: vec![
            Schedule {
                days: [false, false, false, false, false, true, true],
                from_minutes: 0,
                to_minutes: DAY_MINUTES,
                ..nights.clone()
            },
            nights,
        ],
        ..CullPolicy::default()
    }
}

fn state(servers: usize) -> State {
    let mut state = fill::state(servers);
    state.cull = Arc::new(policy());
    state
}

fn main() {
    let servers = flag("--servers", 50_000);
    let reads = flag("--reads", 100);
    let dir = tempfile::tempdir().expect("a directory");
    let clock = Arc::new(ManualClock::at(fill::NOW_MS));
    let config = HistoryConfig::new(HistoryMode::Files {
        data_dir: dir.path().to_owned(),
    });
    let history = History::open(&config, clock.clone()).expect("a history");
    println!("| {servers} servers | CPU, ms | p50, ms | p99, ms |\n|---|---:|---:|---:|");
    let mut looked = state(servers);
    let mut times: Vec<Duration> = (0..reads)
        .map(|at| {
            let begun = Instant::now();
            looked.apply(&Fact::Look {
                at_ms: fill::NOW_MS + at as i64 * 5_000,
            });
            begun.elapsed()
        })
        .collect();
    times.sort_unstable();
    let ms = |time: Duration| time.as_secs_f64() * 1_000.0;
    println!(
        "| who is to be warned, all servers | | {:.1} | {:.1} |",
        ms(times[times.len() / 2]),
        ms(times[times.len() * 99 / 100])
    );
    let site = ask::Site::start(history, state(servers), clock, dir.path());
    let mut client = site.client();
    for (title, path) in [
        ("every server, by name", "/api/v1/cull?limit=5000"),
        ("a page of 200, by name", "/api/v1/cull"),
        ("the 200 longest idle", "/api/v1/cull?sort=-idle_seconds"),
        (
            "the 5,000 longest idle",
            "/api/v1/cull?sort=-idle_seconds&limit=5000",
        ),
        ("one user", "/api/v1/cull?user=user-00042"),
    ] {
        let paged = title.starts_with("every");
        let ask = |client: &mut Client| {
            if paged {
                client.pages(path)
            } else {
                client.get(path).1
            }
        };
        for _ in 0..reads.div_ceil(10) {
            ask(&mut client); // warm
        }
        let cost = Cost::of(reads, |_| ask(&mut client));
        println!(
            "| {title} | {:.1} | {:.1} | {:.1} |",
            cost.cpu_ms, cost.p50_ms, cost.p99_ms
        );
    }
}
