//! Real processes to measure: trees, and those that are in nobody's way.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use hubmeter_agent::{
    clock::Clock,
    sampler::{PssMode, Sampler, Target},
};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

/// Pythons in a tree: each is as large as a small kernel.
const PYTHONS_MAX: usize = 12;

/// A process group that goes with its owner.
struct Group(Child);

/// A tree of idle processes.
pub struct Tree {
    group: Group,
    pub processes: usize,
}

/// Processes that are none of the tree's.
pub struct Others(#[allow(dead_code)] Group);

/// A clock that goes on by `step_ms` at every look.
pub struct Stepping {
    now_ms: AtomicU64,
    step_ms: u64,
}

// === impl Group ===

impl Group {
    /// Runs a script that says "up" when all of it is started.
    fn start(script: &str) -> Self {
        let mut child = Command::new("sh")
            .args(["-c", script])
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let out = child.stdout.as_mut().unwrap();
        BufReader::new(out).read_line(&mut line).unwrap();
        assert_eq!(line, "up\n");
        Self(child)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let group = Pid::from_raw(i32::try_from(self.0.id()).unwrap());
        let _ = killpg(group, Signal::SIGKILL);
        let _ = self.0.wait();
    }
}

// === impl Tree ===

impl Tree {
    /// `processes` in all: a root, and below it shells that each hold three sleepers, some of them
    /// a Python where there is one.
    pub fn start(processes: usize, python: Option<&str>) -> Self {
        let third = python.map_or("sleep 9999".to_owned(), |python| {
            format!("{python} -S -c 'import time; time.sleep(9999)'")
        });
        let shells = (processes - 1) / 4;
        let sleepers = (processes - 1) % 4;
        let sleeper = "sleep 9999 >&- & ";
        let group = Group::start(&format!(
            "for n in $(seq {shells}); do
               (sleep 9999 >&- & sleep 9999 >&- &
                if [ $n -le {PYTHONS_MAX} ]; then {third} >&- & else sleep 9999 >&- & fi; wait) &
             done; {} echo up; read x",
            sleeper.repeat(sleepers)
        ));
        let tree = Self { group, processes };
        tree.settle();
        tree
    }

    /// Waits until everybody is there and has gone to sleep.
    fn settle(&self) {
        let mut before = None;
        for _ in 0..600 {
            thread::sleep(Duration::from_millis(200));
            let mut sampler =
                Sampler::new(Target::this_machine(self.pid()), PssMode::Budget).unwrap();
            let mut sample = sampler.tick(&Stepping::by(0)).unwrap();
            while sample.processes_beyond > 0 {
                sample = sampler.tick(&Stepping::by(0)).unwrap();
            }
            let now = (sample.processes as usize == self.processes).then_some(sample.cpu_millis);
            if now.is_some() && now == before {
                return;
            }
            before = now;
        }
        panic!("the tree of {} did not settle", self.processes);
    }

    /// The root.
    pub fn pid(&self) -> u32 {
        self.group.0.id()
    }

    /// Everybody in it, by reading `children` files.
    pub fn pids(&self) -> Vec<u32> {
        let mut pids = Vec::new();
        let mut to_visit = vec![self.pid()];
        while let Some(pid) = to_visit.pop() {
            pids.push(pid);
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
            to_visit.extend(
                children
                    .split_whitespace()
                    .map(|pid| pid.parse::<u32>().unwrap()),
            );
        }
        assert_eq!(pids.len(), self.processes);
        pids
    }
}

// === impl Others ===

impl Others {
    /// Sleepers.
    pub fn sleep(count: usize) -> Self {
        Self(Group::start(&format!(
            "for n in $(seq {count}); do sleep 9999 >&- & done; echo up; read x"
        )))
    }

    /// Somebody who forks all the time.
    pub fn fork(per_second: u32) -> Self {
        let pause = 1.0 / f64::from(per_second);
        // Every fork is one birth, and `sleep` is forked for.
        Self(Group::start(&format!(
            "(while :; do sleep {pause}; done) >&- & echo up; read x"
        )))
    }
}

// === impl Stepping ===

impl Stepping {
    pub fn by(step_ms: u64) -> Self {
        Self {
            now_ms: AtomicU64::new(1_000_000),
            step_ms,
        }
    }
}

impl Clock for Stepping {
    fn mono_ms(&self) -> u64 {
        self.now_ms.fetch_add(self.step_ms, Ordering::Relaxed)
    }

    fn wall_ms(&self) -> u64 {
        1_573_941_376_000
    }
}
