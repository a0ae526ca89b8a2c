//! A crowd and a storm: the tree stays known, or is counted, and no tick runs away.
//!
//! The processes are real and cheap: forks of a small Python that only wait.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout
)]

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use hubmeter_agent::{
    clock::SystemClock,
    sample::Sample,
    sampler::{PssMode, Sampler, Target},
};
use nix::time::{ClockId, clock_gettime};

/// What a tick may cost with all that is around the reading of processes: the reading itself is held to
/// 20 ms by the agent.
const TICK_MS_MAX: u64 = 250;

/// Obeys: `fork N`, `kill N` (the newest), `storm N` (as many births, each ended at once), `daemon`
/// (one that leaves the tree by forking twice).
const SERVER: &str = r#"
import os, signal, sys
pids = []
def child():
    signal.pause()
    os._exit(0)
print("up", flush=True)
for line in sys.stdin:
    word, *args = line.split()
    n = int(args[0]) if args else 0
    if word == "fork":
        for _ in range(n):
            pid = os.fork()
            if pid == 0:
                child()
            pids.append(pid)
        print("done", flush=True)
    elif word == "kill":
        for _ in range(n):
            os.kill(pids[-1], signal.SIGKILL)
            os.waitpid(pids.pop(), 0)
        print("done", flush=True)
    elif word == "storm":
        for _ in range(n):
            pid = os.fork()
            if pid == 0:
                os._exit(0)
            os.waitpid(pid, 0)
        print("done", flush=True)
    elif word == "daemon":
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            if os.fork() == 0:
                os.setsid()
                os.write(write, str(os.getpid()).encode())
                child()
            os._exit(0)
        os.waitpid(pid, 0)
        pids.append(int(os.read(read, 20)))
        print("done", flush=True)
for pid in pids:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
"#;

/// Every server has its own token, or they would claim each other's orphans.
static SERVERS: AtomicU32 = AtomicU32::new(0);

struct Server {
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

// === impl Server ===

impl Server {
    fn start() -> Option<Self> {
        let number = SERVERS.fetch_add(1, Ordering::Relaxed);
        let token = format!("crowd-{}-{number}", std::process::id());
        let spawned = Command::new("python3")
            .args(["-S", "-c", SERVER])
            .env("JUPYTERHUB_API_TOKEN", token)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = match spawned {
            Ok(child) => child,
            Err(error) => {
                println!("left out: no Python: {error}");
                return None;
            }
        };
        let mut server = Self {
            orders: child.stdin.take(),
            answers: BufReader::new(child.stdout.take().unwrap()),
            child,
        };
        assert_eq!(server.answer(), "up");
        Some(server)
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    fn order(&mut self, order: &str) -> String {
        writeln!(self.orders.as_mut().unwrap(), "{order}").unwrap();
        self.answer()
    }

    fn sampler(&self) -> Sampler {
        Sampler::new(Target::this_machine(self.child.id()), PssMode::Budget).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.orders = None; // it kills its children and ends
        let _ = self.child.wait();
    }
}

fn own_cpu_ms() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap();
    u64::try_from(time.tv_sec() * 1000 + time.tv_nsec() / 1_000_000).unwrap()
}

fn tick(sampler: &mut Sampler) -> Sample {
    let (before, cut_before) = (own_cpu_ms(), sampler.ticks_cut());
    let sample = sampler.tick(&SystemClock).unwrap();
    let ms = own_cpu_ms() - before;
    assert!(ms <= TICK_MS_MAX, "a tick of {ms} ms of CPU");
    if sampler.ticks_cut() > cut_before {
        assert_eq!(sample.cpu_cores, None, "time of more than this interval");
    }
    sample
}

/// Ticks until the sample is as wanted; within a bound, so that what never comes is a failure.
fn until(sampler: &mut Sampler, ticks_max: usize, wanted: impl Fn(&Sample) -> bool) -> Sample {
    let mut last = tick(sampler);
    for _ in 0..ticks_max {
        if wanted(&last) {
            return last;
        }
        last = tick(sampler);
    }
    assert!(
        wanted(&last),
        "after {ticks_max} ticks: {} processes and {} beyond",
        last.processes,
        last.processes_beyond
    );
    last
}

#[test]
fn three_thousand_processes_are_taken_in_over_some_ticks_and_let_go_of_at_once() {
    let Some(mut server) = Server::start() else {
        return;
    };
    let mut sampler = server.sampler();
    assert_eq!(tick(&mut sampler).processes, 1);
    server.order("fork 3000");
    // Debug builds need some hundred ticks of 20 ms.
    let whole = until(&mut sampler, 600, |sample| sample.processes == 3001);
    assert_eq!(whole.processes_beyond, 0);
    let of_workloads: u32 = whole.workloads.iter().map(|w| w.processes).sum();
    assert_eq!(of_workloads, 3001);
    server.order("kill 3000");
    let alone = until(&mut sampler, 600, |sample| sample.processes == 1);
    assert!(alone.cpu_millis >= whole.cpu_millis);
    println!("{} ticks were cut", sampler.ticks_cut());
}

#[test]
fn a_storm_of_births_hides_nobody_who_stays() {
    let Some(mut server) = Server::start() else {
        return;
    };
    let mut sampler = server.sampler();
    tick(&mut sampler);
    let mut cpu_millis = 0;
    for round in 1..=3 {
        // More births than are asked one by one, and one of them stays.
        server.order("storm 1500");
        server.order("fork 1");
        server.order("storm 50");
        let sample = tick(&mut sampler);
        assert_eq!(sample.processes, 1 + round, "found in the very next tick");
        assert!(sample.cpu_millis >= cpu_millis);
        cpu_millis = sample.cpu_millis;
    }
}

#[test]
fn who_is_born_between_two_ticks_is_found_in_the_next_and_so_is_one_that_left_the_tree() {
    let Some(mut server) = Server::start() else {
        return;
    };
    let mut sampler = server.sampler();
    for _ in 0..20 {
        tick(&mut sampler);
    }
    server.order("fork 2");
    // A pid is given out some instants before its process can be found: one tick more at most.
    until(&mut sampler, 1, |sample| sample.processes == 3);
    // Orphaned before anybody saw it: the environment it inherited tells.
    server.order("daemon");
    until(&mut sampler, 1, |sample| sample.processes == 4);
}
