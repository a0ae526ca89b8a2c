//! Thousands of processes of 20 ms each, which no reader sees all: their time is counted.
//!
//! Needs Python; without it, or without a writable cgroup of version 1 for the one who needs it,
//! that is said and left out. The ledger's own rules are held against a simulated kernel.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout
)]

use std::{
    fs,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, ChildStdout, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::Duration,
};

use hubmeter_agent::{
    clock::SystemClock,
    sample::Sample,
    sampler::{PssMode, Sampler, Target},
};
use nix::{
    sys::{
        prctl::set_child_subreaper,
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

/// Begins when told to, two at a time, and says how much its 2,000 processes used by their own
/// account; ends with its input.
const SPAWNER: &str = r#"
import os, signal, sys, time
mode, count = sys.argv[1], int(sys.argv[2])
reader, writer = os.pipe()
slots_reader, slots_writer = os.pipe()

def spin():
    while time.process_time() < 0.02:
        pass
    os.write(writer, int(time.process_time() * 1e9).to_bytes(8, "little"))
    os._exit(0)

if mode == "ignored":
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
print("up", flush=True)
sys.stdin.readline()
total = begun = ended = 0
while ended < count:
    while begun < count and begun - ended < 2:
        begun += 1
        pid = os.fork()
        if pid == 0:
            if mode == "orphaned" and os.fork():
                os._exit(0)
            spin()
        if mode == "orphaned":
            os.waitpid(pid, 0)
    total += int.from_bytes(os.read(reader, 8), "little")
    ended += 1
    if mode == "waited":
        os.wait()
print(total // 1000000, flush=True)
sys.stdin.readline()
"#;

/// Thousands: 40 s of CPU time.
const MANY: u32 = 2_000;

/// Enough for 99 % to be told from 98 %, where many would only cost time: so many by
/// `HUBMETER_TEST_PROCESSES=2000`.
const FEW: u32 = 200;

fn few() -> u32 {
    let many = std::env::var("HUBMETER_TEST_PROCESSES");
    many.map_or(FEW, |many| many.parse().unwrap())
}

/// Every test of this file waits for children of the whole process: one at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The root of the measured tree.
struct Spawner {
    child: Child,
    lines: mpsc::Receiver<String>,
    count: u32,
}

impl Spawner {
    fn start(mode: &str, count: u32, prepare: &str) -> Option<Self> {
        let python = Command::new("python3")
            .args(["-c", "import sys; print(sys.executable)"])
            .output();
        let Some(python) = python.ok().filter(|out| out.status.success()) else {
            println!("left out: there is no python3 here");
            return None;
        };
        let python = String::from_utf8(python.stdout).unwrap();
        let exec = format!("{prepare}\nexec {} -c \"$@\"", python.trim());
        let mut child = Command::new("sh")
            .args(["-c", &exec, "sh", SPAWNER, mode, &count.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = lines(child.stdout.take().unwrap());
        assert_eq!(lines.recv().unwrap(), "up");
        Some(Self {
            child,
            lines,
            count,
        })
    }

    fn target(&self) -> Target {
        Target::this_machine(self.child.id())
    }

    /// Lets it work, `meanwhile` ten times a second; its processes' own account in milliseconds.
    fn work(&mut self, mut meanwhile: impl FnMut()) -> u64 {
        use std::io::Write;
        writeln!(self.child.stdin.as_mut().unwrap()).unwrap();
        loop {
            match self.lines.recv_timeout(Duration::from_millis(100)) {
                Ok(line) => {
                    let used_ms = line.parse().unwrap();
                    assert!(used_ms >= u64::from(self.count) * 20, "they worked");
                    return used_ms;
                }
                Err(mpsc::RecvTimeoutError::Timeout) => meanwhile(),
                Err(mpsc::RecvTimeoutError::Disconnected) => panic!("it ended early"),
            }
        }
    }
}

impl Drop for Spawner {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines(out: ChildStdout) -> mpsc::Receiver<String> {
    let (send, lines) = mpsc::sync_channel(8);
    thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

fn cpus() -> u64 {
    let online = fs::read_to_string("/proc/cpuinfo").unwrap();
    online.matches("processor\t").count() as u64
}

/// Takes samples, and holds each against the one before.
struct Watch {
    sampler: Sampler,
    samples: Vec<Sample>,
}

impl Watch {
    fn new(target: Target) -> Self {
        let mut watch = Self {
            sampler: Sampler::new(target, PssMode::Budget).unwrap(),
            samples: Vec::new(),
        };
        watch.tick();
        watch
    }

    fn tick(&mut self) {
        let sample = self.sampler.tick(&SystemClock).unwrap();
        if let Some(before) = self.samples.last() {
            let used = sample.cpu_millis.checked_sub(before.cpu_millis);
            let used = used.expect("CPU time went back");
            let wall = sample.mono_ms - before.mono_ms;
            // Both ends are rounded down to milliseconds.
            assert!(used <= wall * cpus() + 1, "{used} ms in {wall} ms");
            let cores: u64 = cpus();
            assert!(sample.cpu_cores.is_none_or(|used| used <= cores as f64));
        }
        let of_workloads: u64 = sample.workloads.iter().map(|w| w.cpu_millis).sum();
        assert_eq!(of_workloads, sample.cpu_millis);
        self.samples.push(sample);
    }

    /// All that was counted since the first sample.
    fn counted_ms(&self) -> u64 {
        let (first, last) = (self.samples.first().unwrap(), self.samples.last().unwrap());
        last.cpu_millis - first.cpu_millis
    }

    fn may_miss(&self) -> bool {
        self.samples.last().unwrap().cpu_may_miss
    }
}

fn assert_nearly_all(counted_ms: u64, truth_ms: u64) {
    let share = counted_ms as f64 / truth_ms as f64;
    println!("{counted_ms} ms counted of {truth_ms} ms: {share:.4}");
    assert!(share >= 0.99, "{counted_ms} ms counted of {truth_ms} ms");
}

#[test]
fn children_that_are_waited_for_are_counted() {
    let _alone = alone();
    let Some(mut spawner) = Spawner::start("waited", MANY, "") else {
        return;
    };
    let mut watch = Watch::new(spawner.target());
    assert!(watch.may_miss(), "no subreaper, no own cgroup");
    let truth_ms = spawner.work(|| watch.tick());
    watch.tick();
    assert_nearly_all(watch.counted_ms(), truth_ms);
}

fn count_orphans(count: u32) {
    let _alone = alone();
    set_child_subreaper(true).unwrap();
    // The truth, where it can be had; not for the eyes of the one who is tested.
    let groups = Groups::create();
    let join = groups.as_ref().map(Groups::join).unwrap_or_default();
    if let Some(mut spawner) = Spawner::start("orphaned", count, &join) {
        let before_ms = groups.as_ref().map(Groups::used_ms);
        let mut watch = Watch::new(Target {
            subreaper: true,
            cgroup_root: PathBuf::from("/nonexistent"),
            ..spawner.target()
        });
        assert!(!watch.may_miss());
        let truth_ms = spawner.work(|| {
            watch.tick();
            reap();
        });
        reap();
        watch.tick();
        let used_ms = groups.as_ref().map(Groups::used_ms);
        let of_group = used_ms.zip(before_ms).map(|(now, before)| now - before);
        assert_nearly_all(watch.counted_ms(), of_group.unwrap_or(truth_ms));
    }
    set_child_subreaper(false).unwrap();
}

#[test]
fn double_forked_orphans_are_counted_where_the_agent_is_their_subreaper() {
    count_orphans(few());
}

/// As the agent does: whoever ended and came to us. The spawner itself is alive.
fn reap() {
    while let Ok(status) = waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)) {
        if status == WaitStatus::StillAlive {
            return;
        }
    }
}

/// Cgroups of version 1 for memory and CPU time; taken away at the end.
struct Groups(Vec<PathBuf>);

impl Groups {
    fn create() -> Option<Self> {
        let name = format!("hubmeter-cpu-{}", std::process::id());
        let mut groups = Self(Vec::new());
        for kind in ["memory", "cpuacct"] {
            let dir = PathBuf::from("/sys/fs/cgroup").join(kind).join(&name);
            if let Err(error) = fs::create_dir(&dir) {
                println!("left out: cannot make {}: {error}", dir.display());
                return None;
            }
            groups.0.push(dir);
        }
        Some(groups)
    }

    fn join(&self) -> String {
        let join = |dir: &PathBuf| format!("echo $$ > {}/cgroup.procs", dir.display());
        self.0.iter().map(join).collect::<Vec<_>>().join("\n")
    }

    fn used_ms(&self) -> u64 {
        let text = fs::read_to_string(self.0[1].join("cpuacct.usage")).unwrap();
        text.trim().parse::<u64>().unwrap() / 1_000_000
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        for dir in &self.0 {
            // Busy for a moment after the last process went.
            for _ in 0..100 {
                if fs::remove_dir(dir).is_ok() {
                    break;
                }
                thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

#[test]
fn children_of_a_parent_that_ignores_sigchld_are_counted_in_an_own_cgroup() {
    count_ignored(few());
}

fn count_ignored(count: u32) {
    let _alone = alone();
    let Some(groups) = Groups::create() else {
        return;
    };
    let Some(mut spawner) = Spawner::start("ignored", count, &groups.join()) else {
        return;
    };
    let before_ms = groups.used_ms();
    let mut watch = Watch::new(spawner.target());
    assert!(!watch.may_miss());
    let own_ms = spawner.work(|| watch.tick());
    watch.tick();
    let truth_ms = groups.used_ms() - before_ms;
    assert!(truth_ms >= own_ms, "the cgroup holds them all");
    assert_nearly_all(watch.counted_ms(), truth_ms);
    assert!(watch.counted_ms() <= truth_ms + 1);
    drop(spawner);
}
