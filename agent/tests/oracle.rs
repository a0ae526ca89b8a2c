//! The Linux reader against those who read the same another way: the portable reader, and the
//! kernel's exact account of every mapping.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout
)]

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use hubmeter_agent::{
    clock::SystemClock,
    sample::Sample,
    sampler::{PortableSampler, PssMode, Sampler, Target},
};

/// A tree that rests: threads, a fork that shares and a fork of that, an exec'ed child, a zombie.
const TREE: &str = r#"
import os, subprocess, sys, threading, time
held = bytearray(96 << 20)
held[::4096] = b"x" * len(held[::4096])
for _ in range(5):
    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
ready, say = os.pipe()
def rest():
    os.write(say, b"x")
    time.sleep(600)
    os._exit(0)
def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
if os.fork() == 0:
    own = b"y" * (20 << 20)
    burn(0.3)
    if os.fork() == 0:
        rest()
    rest()
subprocess.Popen(["sleep", "600"])
if os.fork() == 0:
    burn(0.2)
    os._exit(0)
if os.fork() == 0:
    os._exit(0)
os.wait()
while len(os.read(ready, 1)) < 1:
    pass
os.read(ready, 1)
time.sleep(0.5)
print("up", flush=True)
sys.stdin.readline()
"#;

/// Processes: the root, two forks, the sleeper, and what was not waited for.
const PROCESSES: u32 = 5;

struct Tree(Child);

impl Tree {
    fn start() -> Option<Self> {
        let python = Command::new("python3")
            .args(["-c", "import sys; print(sys.executable)"])
            .output();
        let Some(python) = python.ok().filter(|out| out.status.success()) else {
            println!("left out: there is no python3 here");
            return None;
        };
        let mut child = Command::new(String::from_utf8(python.stdout).unwrap().trim())
            .args(["-c", TREE])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let out = child.stdout.take().unwrap();
        BufReader::new(out).read_line(&mut line).unwrap();
        assert_eq!(line, "up\n");
        Some(Self(child))
    }

    fn target(&self) -> Target {
        Target::this_machine(self.0.id())
    }

    fn pids(&self) -> Vec<u32> {
        let mut pids = vec![self.0.id()];
        let mut at = 0;
        while let Some(pid) = pids.get(at) {
            let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
            let children: Vec<u32> = tasks
                .flatten()
                .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
                .flat_map(|text| -> Vec<u32> {
                    text.split_whitespace()
                        .map(|p| p.parse().unwrap())
                        .collect()
                })
                .collect();
            pids.extend(children);
            at += 1;
        }
        pids
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        for pid in self.pids().into_iter().rev() {
            let pid = nix::unistd::Pid::from_raw(pid.cast_signed());
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
        let _ = self.0.wait();
    }
}

fn linux(tree: &Tree) -> Sample {
    let mut sampler = Sampler::new(tree.target(), PssMode::Always).unwrap();
    sampler.tick(&SystemClock).unwrap()
}

/// Sum of a field over the exact account of every process; a zombie has none.
fn rollup(tree: &Tree, field: &str) -> u64 {
    let of = |pid: u32| -> u64 {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(field));
        let kib = line.and_then(|line| line.split_whitespace().nth(1));
        kib.map_or(0, |kib| kib.parse::<u64>().unwrap() * 1024)
    };
    tree.pids().into_iter().map(of).sum()
}

/// By how much resident sizes may be off on this kernel, as docs/ACCURACY.md has it.
fn rss_error_bytes(sample: &Sample) -> u64 {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split('.').map_while(|n| n.parse::<u32>().ok());
    let version = (numbers.next().unwrap(), numbers.next().unwrap_or(0));
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap();
    let cpus = cpuinfo.matches("processor\t").count() as u64;
    let pages = match version {
        v if v >= (6, 16) => 0,
        v if v >= (6, 2) => u64::from(sample.processes) * cpus * (2 * cpus).max(32),
        _ => u64::from(sample.threads) * 64,
    };
    3 * pages * 4096
}

#[test]
fn resident_sizes_are_those_of_every_mapping_within_what_the_kernel_keeps_back() {
    let Some(tree) = Tree::start() else {
        return;
    };
    let sample = linux(&tree);
    let exact = rollup(&tree, "Rss:");
    let apart = sample.rss_bytes.abs_diff(exact);
    assert!(
        apart <= rss_error_bytes(&sample),
        "{apart} bytes of {exact}"
    );
    assert!(exact > 300 << 20, "three processes map the same 96 MiB");
    // What else maps the same libraries comes and goes meanwhile, other tests among them: of each of
    // the three some megabytes, where a page counted twice would be 96.
    let pss = rollup(&tree, "Pss:");
    let apart = sample.pss_bytes.unwrap_or(0).abs_diff(pss);
    assert!(sample.pss_bytes.is_some(), "every process could be read");
    assert!(apart <= 12 << 20, "PSS {apart} bytes apart of {pss}");
    assert!(
        sample.memory_used_bytes < exact / 2,
        "shared pages count once"
    );
}

#[test]
fn both_readers_say_the_same_of_threads_forks_and_zombies() {
    let Some(tree) = Tree::start() else {
        return;
    };
    let sample = linux(&tree);
    let mut portable = PortableSampler::new(tree.target()).unwrap();
    let oracle = portable.tick(&SystemClock).unwrap();
    assert_eq!(sample.processes, PROCESSES);
    assert_eq!(oracle.processes, PROCESSES);
    assert_eq!(sample.threads, oracle.threads);
    assert!(sample.threads >= PROCESSES + 5);
    let apart = sample.rss_bytes.abs_diff(oracle.rss_bytes);
    let allowed = rss_error_bytes(&sample) + (1 << 20);
    assert!(apart <= allowed, "RSS {apart} bytes apart");
    // The portable reader knows ticks of 10 ms, and nothing of children that are gone.
    let ticks = u64::from(PROCESSES) * 20;
    assert!(sample.cpu_millis + ticks >= oracle.cpu_millis);
    assert!(sample.cpu_millis <= oracle.cpu_millis + ticks + 100);
    assert!(oracle.cpu_millis >= 500, "forks and the zombie worked");
    for workload in &sample.workloads {
        let of = |w: &&hubmeter_agent::sample::Workload| w.id == workload.id;
        let other = oracle
            .workloads
            .iter()
            .find(of)
            .expect("the same workloads");
        assert_eq!(other.processes, workload.processes);
        assert_eq!((other.kind, other.pid), (workload.kind, workload.pid));
    }
}
