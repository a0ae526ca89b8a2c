//! What judging costs: nanoseconds a sample and bytes a server, with many servers. Prints Markdown.
//!
//! `cargo bench -p hubmeter-collector --bench verdicts [-- SERVERS]`. Times are of this thread's
//! processor, each server in turn as on a hub, so that little of it is in a cache.

#![allow(clippy::print_stdout)]

use std::fs;

use hubmeter_collector::{
    fact::{
        Fact, InstanceId, MemorySource, Sample, ServerKey, WorkloadKey, WorkloadKind,
        WorkloadSample, WorkloadState,
    },
    state::{Policy, State},
    text::Label,
    verdict::DETECTORS_BYTES,
};
use nix::time::{ClockId, clock_gettime};

const SERVERS: u32 = 50_000;

/// Samples a server: past the longest horizon that a quiet one is judged by.
const ROUNDS: u64 = 80;

/// Of those the last, which are timed.
const TIMED: u64 = 10;

/// Samples made before they are applied; few, so that they do not count as state.
const AT_ONCE: usize = 500;

const INTERVAL_MS: u64 = 5_000;

const START_MS: i64 = 1_767_225_600_000;

const MB: u64 = 1_000_000;

/// What the kernel of every server does.
#[derive(Clone, Copy)]
enum Kernel {
    Idles,
    Computes,
    Spins,
}

struct Cost {
    apply_ns: f64,
    judge_ns: f64,
    state_bytes: f64,
    open: usize,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let asked = std::env::args().skip(1).find_map(|arg| arg.parse().ok());
    let servers: u32 = asked.unwrap_or(SERVERS);
    println!("What judging costs, {servers} servers of 4 workloads, a sample each in turn:\n");
    println!("| kernel | policy | whole sample applied | of it all rules | open |");
    println!("|---|---|---|---|---|");
    // Only of the first can be seen what it takes: the others use its memory again.
    let mut state_bytes = None;
    let shared = Policy {
        overuse_cpu_cores: 16.0,
        overuse_memory_bytes: 64_000 * MB,
        ..Policy::default()
    };
    for (name, kernel) in [
        ("idles", Kernel::Idles),
        ("computes", Kernel::Computes),
        ("spins", Kernel::Spins),
    ] {
        for (of, policy) in [("default", Policy::default()), ("overuse", shared.clone())] {
            let cost = cost(servers, kernel, policy)?;
            println!(
                "| {name} | {of} | {:.0} ns | {:.0} ns | {} |",
                cost.apply_ns, cost.judge_ns, cost.open
            );
            state_bytes.get_or_insert(cost.state_bytes);
        }
    }
    let state_bytes = state_bytes.unwrap_or(0.0);
    println!(
        "\nState: {state_bytes:.0} bytes a server, of which {DETECTORS_BYTES} are the rules'."
    );
    Ok(())
}

fn cost(servers: u32, kernel: Kernel, policy: Policy) -> Result<Cost, Box<dyn std::error::Error>> {
    let keys: Vec<ServerKey> = (0..servers)
        .map(|n| ServerKey::new(&format!("user-{n}"), ""))
        .collect();
    let resident_before = resident_bytes()?;
    let mut state = State::new(policy.clone());
    let mut apply_ns = 0;
    for round in 0..ROUNDS {
        for keys in keys.chunks(AT_ONCE) {
            let facts: Vec<Fact> = keys.iter().map(|key| report(key, round, kernel)).collect();
            let began_ns = cpu_ns()?;
            for fact in &facts {
                std::hint::black_box(state.apply(fact));
            }
            if round >= ROUNDS - TIMED {
                apply_ns += cpu_ns()? - began_ns;
            }
        }
    }
    let resident = resident_bytes()?.saturating_sub(resident_before);
    let open = state.servers.values().map(|s| s.verdicts.len()).sum();
    let began_ns = cpu_ns()?;
    for _ in 0..TIMED {
        for server in state.servers.values_mut() {
            std::hint::black_box(server.judge_again(&policy));
        }
    }
    let judge_ns = cpu_ns()? - began_ns;
    let samples = (u64::from(servers) * TIMED) as f64;
    Ok(Cost {
        apply_ns: apply_ns as f64 / samples,
        judge_ns: judge_ns as f64 / samples,
        state_bytes: resident as f64 / f64::from(servers),
        open,
    })
}

/// Two kernels, a terminal and Jupyter.
fn workloads(round: u64, kernel: Kernel, cpu_millis: u64) -> Vec<WorkloadSample> {
    let state = match kernel {
        Kernel::Computes => WorkloadState::Busy,
        Kernel::Idles | Kernel::Spins => WorkloadState::Idle,
    };
    let label = |text: &str| Label::clean(text, 64);
    let workload = |kind, id: &str, state, cpu_millis| WorkloadSample {
        key: WorkloadKey {
            kind,
            id: label(id),
        },
        name: label("python3"),
        notebook: None,
        state,
        pid: 4_711,
        memory_used_bytes: Some(150 * MB + round % 3 * MB),
        rss_bytes: 150 * MB,
        pss_bytes: None,
        cpu_millis,
        processes: 1,
        threads: 12,
        idle_ms: None,
        read_bytes: None,
        written_bytes: None,
        remote: false,
    };
    vec![
        workload(WorkloadKind::Kernel, "8f3a-1", Some(state), cpu_millis),
        workload(WorkloadKind::Kernel, "8f3a-2", Some(WorkloadState::Idle), 0),
        workload(WorkloadKind::Terminal, "1", None, 0),
        workload(WorkloadKind::Server, "jupyter", None, round * 20),
    ]
}

/// One sample of a server.
fn report(key: &ServerKey, round: u64, kernel: Kernel) -> Fact {
    let mono_ms = 1_000_000 + round * INTERVAL_MS;
    let at_ms = START_MS + (round * INTERVAL_MS).cast_signed();
    let cpu_millis = match kernel {
        Kernel::Idles => 0,
        Kernel::Computes | Kernel::Spins => round * INTERVAL_MS,
    };
    let sample = Sample {
        interval_ms: 5_000,
        memory_used_bytes: 600 * MB + round % 3 * 4 * MB,
        memory_limit_bytes: Some(4_000 * MB),
        memory_limit_enforced: true,
        cpu_millis: cpu_millis + round * 20,
        cpu_limit_millicores: Some(4_000),
        processes: 4,
        threads: 48,
        oom_kills: Some(0),
        workloads: workloads(round, kernel, cpu_millis),
        ..Sample::of_memory(at_ms, mono_ms, MemorySource::Cgroup2, 600 * MB)
    };
    Fact::Report {
        arrived_ms: at_ms,
        key: key.clone(),
        instance: InstanceId([1; 16]),
        seq: round + 1,
        samples: vec![sample],
    }
}

fn cpu_ns() -> nix::Result<u64> {
    let now = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
    let (seconds, nanoseconds) = (now.tv_sec(), now.tv_nsec());
    Ok(seconds.cast_unsigned() * 1_000_000_000 + nanoseconds.cast_unsigned())
}

fn resident_bytes() -> Result<u64, Box<dyn std::error::Error>> {
    let statm = fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = statm
        .split_whitespace()
        .nth(1)
        .ok_or("statm has no second number")?
        .parse()?;
    Ok(pages * rustix::param::page_size() as u64)
}
