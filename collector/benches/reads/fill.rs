//! Servers with a past: a state, and a history on the disk.

use std::sync::Arc;

use hubmeter_collector::{
    fact::{
        Fact, HubServer, InstanceId, MemorySource, Sample, ServerKey, Vitals, WorkloadKey,
        WorkloadKind, WorkloadSample,
    },
    history::{History, HistoryEntry},
    state::{Policy, State},
    text::Label,
};

use super::MONTHS;

/// Servers that are asked about; they lie evenly among the others, whose hour has a sample a minute.
const ASKED: usize = 500;

/// 2019-11-17T21:56:36.500Z
pub const NOW_MS: i64 = 1_574_027_796_500;

const MINUTE_MS: i64 = 60_000;
const INTERVAL_MS: i64 = 5_000;
/// What servers nobody asks about tell: their chunks are as many, and the files' trees as deep.
const SPARSE_MS: i64 = MINUTE_MS;
/// Past the hour that is asked for.
const SPAN_MS: i64 = 65 * MINUTE_MS;
const MONTH_MS: i64 = 30 * 24 * 60 * MINUTE_MS;
/// Rows appended between flushes: history holds a million.
const ROWS_MAX: usize = 500_000;
/// A flush closes at least that many chunks, as long as some are due.
const CLOSED_PER_FLUSH: usize = 512;
/// Chunks of a month that are closed: its hours, quarters of days and days.
const CHUNKS_A_MONTH: usize = 30 * (24 + 4 + 1);

/// Name of a user, each with one server.
pub fn user(server: usize) -> String {
    format!("user-{server:05}")
}

pub fn key(server: usize) -> ServerKey {
    ServerKey::new(&user(server), "")
}

/// A notebook's memory: pages come and go, now and then a lot of them.
fn rss_bytes(server: usize, at_ms: i64) -> u64 {
    let tick = (at_ms / INTERVAL_MS) as u64;
    let noise = tick
        .wrapping_mul(0x9E37_79B9_7F4A_7C15)
        .wrapping_add(server as u64)
        >> 40;
    let wave = (tick / 60 % 40) * 8_000_000;
    400_000_000 + wave + noise % 300 * 4096
}

fn sample(server: usize, at_ms: i64) -> Sample {
    let rss_bytes = rss_bytes(server, at_ms);
    let since_ms = (at_ms - NOW_MS + 2 * MONTH_MS) as u64;
    let name = |text: &str| Label::clean(text, 128);
    Sample {
        interval_ms: INTERVAL_MS as u32,
        memory_used_bytes: rss_bytes - 30_000_000,
        memory_working_set_bytes: Some(rss_bytes - 10_000_000),
        memory_limit_bytes: Some(4 << 30),
        memory_limit_source: Some(name("cgroup2:/")),
        memory_limit_enforced: true,
        swap_bytes: Some(0),
        cpu_millis: since_ms / 20 + rss_bytes / 4096 % 50,
        vitals: Vitals {
            read_bytes: Some(since_ms * 37),
            written_bytes: Some(since_ms * 11),
            agent_cpu_millis: Some(since_ms / 30_000),
            agent_rss_bytes: Some(2_600_000),
            ..Vitals::default()
        },
        processes: 4,
        threads: 31,
        ..Sample::of_memory(at_ms, since_ms, MemorySource::Cgroup2, rss_bytes)
    }
}

/// Of so many servers one is asked about.
pub fn asked_every(servers: usize) -> usize {
    servers.div_ceil(ASKED).max(1)
}

/// An hour of every server in samples, of those that are asked about as many as there are, and a
/// month of some in minutes.
pub fn history(history: &History, servers: usize) {
    let first_ms = NOW_MS - SPAN_MS;
    let every = asked_every(servers);
    let interval_ms = |server: usize| match server % every {
        0 => INTERVAL_MS,
        _ => SPARSE_MS,
    };
    let mut row = 0;
    let mut append = |server: usize, from_ms: i64, interval_ms: i64, count: usize| {
        row += 1;
        let entry = |at: usize| {
            let at_ms = from_ms + at as i64 * interval_ms;
            let before = rss_bytes(server, at_ms - interval_ms) as i64;
            HistoryEntry {
                key: key(server),
                instance: InstanceId([7; 16]),
                seq: (at_ms / INTERVAL_MS) as u64,
                sample: Arc::new(sample(server, at_ms)),
                momentum_bytes: Some(rss_bytes(server, at_ms) as i64 - before),
                cpu_cores: Some(0.05),
            }
        };
        history.append(row, (0..count).map(entry).collect());
    };
    let flush = || {
        history.flush().expect("written");
    };
    let together = ROWS_MAX / (SPAN_MS / INTERVAL_MS) as usize;
    for begin in (0..servers).step_by(together) {
        for server in begin..servers.min(begin + together) {
            let interval_ms = interval_ms(server);
            append(
                server,
                first_ms,
                interval_ms,
                (SPAN_MS / interval_ms) as usize,
            );
        }
        flush();
        eprint!("\r{begin} of {servers} servers filled ");
    }
    let minutes = ((MONTH_MS - SPAN_MS) / MINUTE_MS) as usize;
    for server in (0..MONTHS).map(|at| at * (servers / MONTHS)) {
        append(server, NOW_MS - MONTH_MS, MINUTE_MS, minutes);
        flush();
    }
    // What is due is closed over minutes; here at once, so that reads find what they find later.
    let due = servers + MONTHS * CHUNKS_A_MONTH;
    for _ in 0..=due.div_ceil(CLOSED_PER_FLUSH) {
        flush();
    }
    eprintln!("\r{servers} servers filled, {MONTHS} of them with a month");
}

/// All of them running.
pub fn state(servers: usize) -> State {
    let mut state = State::new(Policy {
        servers_max: servers.max(1),
        ..Policy::default()
    });
    let at_ms = NOW_MS - INTERVAL_MS;
    let name = |text: &str| Label::clean(text, 128);
    state.apply(&Fact::Hub {
        at_ms,
        servers: (0..servers)
            .map(|server| HubServer {
                key: key(server),
                groups: vec![name(&format!("class-{}", server % 50))],
                started_ms: Some(NOW_MS - 7_200_000),
                last_activity_ms: Some(NOW_MS - 3_600_000),
                ready: true,
            })
            .collect(),
    });
    for server in 0..servers {
        let instance = InstanceId([7; 16]);
        state.apply(&Fact::Connected {
            at_ms,
            key: key(server),
            instance,
            host: name("node-1"),
            interval_ms: INTERVAL_MS as u32,
        });
        let mut sample = sample(server, at_ms);
        sample.workloads = vec![kernel(&sample)];
        state.apply(&Fact::Report {
            arrived_ms: at_ms,
            key: key(server),
            instance,
            seq: 1,
            samples: vec![sample],
        });
    }
    state
}

fn kernel(of: &Sample) -> WorkloadSample {
    let name = |text: &str| Label::clean(text, 128);
    WorkloadSample {
        key: WorkloadKey {
            kind: WorkloadKind::Kernel,
            id: name("0b7f9a3e-6f6c-4a68-93ce-7a4c2f4d8a11"),
        },
        name: name("python3"),
        notebook: Some(name("analysis.ipynb")),
        state: None,
        pid: 4711,
        memory_used_bytes: Some(of.memory_used_bytes / 2),
        rss_bytes: of.rss_bytes / 2,
        pss_bytes: None,
        cpu_millis: of.cpu_millis / 2,
        processes: 1,
        threads: 12,
        idle_ms: None,
        read_bytes: None,
        written_bytes: None,
        remote: false,
    }
}
