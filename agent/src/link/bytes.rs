//! What recorded servers cost on the wire, byte by byte, beside what others would send for the same.
//!
//! `cargo test -p hubmeter-agent --lib bytes -- --nocapture` prints the table of
//! `docs/PERFORMANCE.md`.

use std::collections::BTreeMap;

use hubmeter_proto::{limits::MESSAGE_BYTES_MAX, v1};

use super::{encode, seldom::Seldom};
use crate::spool::{SPOOL_BYTES_MAX, Spool};

mod peers;
#[allow(dead_code)] // each test needs another part of it
#[path = "../../../tests/fixtures/link/session.rs"]
mod session;

use session::Session;

/// Around every message: an HTTP/2 frame's head, gRPC's, and what TLS 1.3 puts around a record.
/// `tests/link/framing.rs` holds it against a real connection.
const FRAME_BYTES: usize = 9 + 5 + 22;

/// Samples in a message while nobody looks: 55 s at 5 s.
const HELD: usize = 12;

/// Samples that belong to a server's start: workloads come, names are told.
const START: usize = HELD;

const SECONDS_PER_HOUR: f64 = 3_600.0;
const INTERVAL_SECONDS: f64 = 5.0;

/// Bytes for each changed value, on a busy server, framing and TLS counted.
const BUDGET: f64 = 2.5;

/// What the API tells of one sample, by name.
type Values = BTreeMap<String, i128>;

/// A recorded server.
struct Server {
    samples: Vec<v1::Sample>,
    /// What the API tells of each.
    values: Vec<Values>,
}

/// Bytes of one way to tell a server's samples.
struct Cost {
    start: usize,
    rest: usize,
}

// === impl Server ===

impl Server {
    fn recorded(name: &str) -> Self {
        let samples = Session::recorded(name).samples();
        let mut values: Vec<Values> = Vec::new();
        for (at, sample) in samples.iter().enumerate() {
            let before = at.checked_sub(1).map(|at| &samples[at]);
            values.push(values_of(sample, before));
        }
        Self { samples, values }
    }

    /// Values that differ from the sample before, after the start; `measured`: without those that
    /// the collector derives.
    fn changed(&self, measured: bool) -> usize {
        let counts = |name: &str| !(measured && is_derived(name));
        let pairs = self.values[START - 1..].windows(2);
        pairs
            .map(|pair| {
                let differs = |(name, value): &(&String, &i128)| {
                    counts(name) && pair[0].get(*name) != Some(*value)
                };
                pair[1].iter().filter(differs).count()
            })
            .sum()
    }

    /// By the agent's own code: what is seldom told, the spool, its messages of `held` samples.
    fn ours(&self, held: usize) -> Cost {
        let (mut spool, mut seldom) = (Spool::new(SPOOL_BYTES_MAX), Seldom::default());
        let (mut cost, mut cursor) = (Cost { start: 0, rest: 0 }, 1);
        for (at, sample) in self.samples.iter().enumerate() {
            let mut told = sample.clone();
            seldom.hold_back(&mut told);
            spool.push(&told);
            if (at + 1) % held != 0 && at + 1 != self.samples.len() {
                continue;
            }
            let together = spool
                .together(cursor, cursor > 1, MESSAGE_BYTES_MAX)
                .unwrap();
            assert_eq!(
                (together.first_seq, together.next_seq),
                (cursor, spool.next_seq())
            );
            cursor = together.next_seq;
            cost.add(at, FRAME_BYTES + encode::batch(together.batch).len());
        }
        cost
    }

    /// As protocol 1 told them: each whole, in a message of its own.
    fn first_version(&self) -> Cost {
        let mut cost = Cost { start: 0, rest: 0 };
        for (at, sample) in self.samples.iter().enumerate() {
            let message = encode::report(at as u64 + 1, sample.clone());
            cost.add(at, FRAME_BYTES + message.len());
        }
        cost
    }

    /// Others tell `held` samples in a message as `tell` says; their own requests' headers are not
    /// counted.
    fn others(&self, held: usize, tell: fn(&[(u64, &Values)]) -> Vec<u8>) -> Cost {
        let mut cost = Cost { start: 0, rest: 0 };
        let times = self.samples.iter().map(|sample| sample.wall_ms);
        let told: Vec<_> = times.zip(&self.values).collect();
        for (message, told) in told.chunks(held).enumerate() {
            let last = message * held + told.len() - 1;
            cost.add(last, FRAME_BYTES + tell(told).len());
        }
        cost
    }
}

// === impl Cost ===

impl Cost {
    fn add(&mut self, at: usize, bytes: usize) {
        match at < START {
            true => self.start += bytes,
            false => self.rest += bytes,
        }
    }

    fn row(&self, what: &str, server: &Server) -> String {
        let rest = self.rest as f64;
        let samples = (server.samples.len() - START) as f64;
        format!(
            "| {what} | {:.2} | {:.2} | {:.1} | {:.1} | {} |",
            rest / server.changed(false) as f64,
            rest / server.changed(true) as f64,
            rest / samples,
            rest / samples * SECONDS_PER_HOUR / INTERVAL_SECONDS / 1_000.0,
            self.start,
        )
    }
}

/// What the collector makes of others.
fn is_derived(name: &str) -> bool {
    ["cpu_cores", "momentum_bytes"].contains(&name)
}

/// Every number, switch and state that a sample gives to `Server` or to history. Left out: times and
/// what only grows with them (`idle_seconds`), texts, and what needs more than two samples (trend,
/// forecast, speed).
fn values_of(sample: &v1::Sample, before: Option<&v1::Sample>) -> Values {
    let vitals = sample.vitals.unwrap_or_default();
    let mut values = Values::new();
    let mut add = |name: &str, value: Option<i128>| {
        values.extend(value.map(|value| (name.to_owned(), value)));
    };
    for (name, value) in [
        ("interval_ms", Some(sample.interval_ms.into())),
        ("burst", Some(sample.burst.into())),
        ("memory_used_bytes", Some(sample.memory_used_bytes)),
        ("memory_working_set_bytes", sample.memory_working_set_bytes),
        ("memory_source", Some(sample.memory_source as u64)),
        ("memory_limit_bytes", sample.memory_limit_bytes),
        (
            "memory_limit_enforced",
            Some(sample.memory_limit_enforced.into()),
        ),
        (
            "memory_limit_shared",
            Some(sample.memory_limit_shared.into()),
        ),
        ("memory_guarantee_bytes", sample.memory_guarantee_bytes),
        ("rss_bytes", Some(sample.rss_bytes)),
        ("swap_bytes", sample.swap_bytes),
        ("cpu_millis", Some(sample.cpu_millis)),
        (
            "cpu_limit_cores",
            sample.cpu_limit_millicores.map(u64::from),
        ),
        (
            "cpu_guarantee_cores",
            sample.cpu_guarantee_millicores.map(u64::from),
        ),
        ("processes", Some(sample.processes.into())),
        ("threads", Some(sample.threads.into())),
        ("shm_bytes", vitals.shm_bytes),
        (
            "memory_pressure_some_bp",
            vitals.memory_pressure_some_bp.map(u64::from),
        ),
        ("read_bytes", vitals.read_bytes),
        ("written_bytes", vitals.written_bytes),
        ("disk_used_bytes", vitals.disk_used_bytes),
        ("disk_limit_bytes", vitals.disk_limit_bytes),
        ("agent_cpu_millis", vitals.agent_cpu_millis),
        ("agent_rss_bytes", vitals.agent_rss_bytes),
    ] {
        add(name, value.map(i128::from));
    }
    if let Some(before) = before {
        let momentum = i128::from(sample.rss_bytes) - i128::from(before.rss_bytes);
        add("momentum_bytes", Some(momentum));
        let cores = cores(sample.cpu_millis, before.cpu_millis, sample, before);
        add("cpu_cores", Some(cores));
    }
    for workload in &sample.workloads {
        let of = |field: &str| format!("{field} {} {}", workload.kind, workload.id);
        let used = workload.memory_used_bytes.map(i128::from);
        add(&of("workload_memory_used_bytes"), used);
        add(&of("workload_state"), Some(workload.state.into()));
        let is = |other: &&v1::Workload| (other.kind, &other.id) == (workload.kind, &workload.id);
        if let Some(before) = before
            && let Some(other) = before.workloads.iter().find(is)
        {
            let cores = cores(workload.cpu_millis, other.cpu_millis, sample, before);
            add(&of("workload_cpu_cores"), Some(cores));
        }
    }
    values
}

/// Cores in use, in millionths.
fn cores(now: u64, then: u64, sample: &v1::Sample, before: &v1::Sample) -> i128 {
    let elapsed_ms = i128::from(sample.mono_ms - before.mono_ms);
    (i128::from(now) - i128::from(then)) * 1_000_000 / elapsed_ms
}

#[test]
fn a_changed_value_of_a_recorded_busy_server_costs_at_most_two_and_a_half_bytes() {
    println!(
        "| | bytes a changed value | of the measured alone | bytes a sample | kB a server-hour | first minute, bytes |"
    );
    println!("|---|---:|---:|---:|---:|---:|");
    for name in ["idle", "mixed", "busy"] {
        let server = Server::recorded(name);
        let samples = (server.samples.len() - START) as f64;
        println!(
            "| **{name}**: {:.1} of {} values change in a sample, {:.1} of them measured | | | | | |",
            server.changed(false) as f64 / samples,
            server.values.last().unwrap().len(),
            server.changed(true) as f64 / samples,
        );
        let held = server.ours(HELD);
        println!("{}", held.row("hubmeter, nobody looks", &server));
        println!(
            "{}",
            server.ours(1).row("hubmeter, somebody looks", &server)
        );
        println!(
            "{}",
            server.first_version().row("hubmeter, protocol 1", &server)
        );
        let text = server.others(1, peers::prometheus_text);
        println!("{}", text.row("Prometheus text, each scrape", &server));
        let remote = server.others(HELD, peers::remote_write);
        println!(
            "{}",
            remote.row("remote write 1.0, a minute together", &server)
        );
        let otlp = server.others(HELD, peers::otlp);
        println!("{}", otlp.row("OTLP, a minute together", &server));
        if name == "busy" {
            let per_value = held.rest as f64 / server.changed(false) as f64;
            assert!(per_value <= BUDGET, "{per_value} bytes");
        }
        for other in [&text, &remote, &otlp] {
            assert!(held.rest < other.rest, "{name}: others are cheaper");
        }
    }
}

/// As long as a spool must bridge.
const OUTAGE_SAMPLES: u64 = 5 * 60 * 60 / 5;

#[test]
fn five_hours_of_a_recorded_server_fit_into_the_spool_however_busy_it_is() {
    for name in ["idle", "mixed", "busy"] {
        let samples = Session::recorded(name).samples();
        let (mut spool, mut seldom) = (Spool::new(SPOOL_BYTES_MAX), Seldom::default());
        for tick in 0..OUTAGE_SAMPLES {
            // Its eight minutes again and again; where they begin anew everything jumps.
            let at = usize::try_from(tick).unwrap() % samples.len();
            let mut told = samples[at].clone();
            told.mono_ms = samples[0].mono_ms + tick * 5_000;
            seldom.hold_back(&mut told);
            spool.push(&told);
        }
        assert_eq!((spool.first_seq(), spool.dropped()), (1, 0), "{name}");
        println!("{name}: {} bytes hold five hours", spool.bytes());
    }
}
