//! The sampler on the machine the tests run on: real processes, real cgroups, a real kill.
//!
//! What a machine doesn't offer (Python, a writable memory cgroup of version 1) is said and left
//! out; the same rules are held on machines built of files.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout
)]

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use hubmeter_agent::{
    clock::SystemClock,
    sample::{EndCause, MemorySource, Sample, WorkloadKind},
    sampler::{PortableSampler, PssMode, Sampler, Target},
};

const MIB: u64 = 1 << 20;
const AGENT: &str = env!("CARGO_BIN_EXE_hubmeter-agent");

/// A process that is killed when the test ends, with its answers.
struct Server {
    child: Child,
    answers: BufReader<std::process::ChildStdout>,
}

/// A "server" that obeys: `alloc MB`, `kernel`, `kalloc MB`, `spin N`. The kernel's
/// arguments carry a connection file's name.
const SERVER: &str = r#"
import subprocess, sys
KERNEL = 'import sys\nheld = []\nfor line in sys.stdin:\n    b = bytearray(int(line) << 20)\n    b[::4096] = b"x" * len(b[::4096])\n    held.append(b)\n    print("held", flush=True)\n'
held, kernel = [], None
print("up", flush=True)
for line in sys.stdin:
    word, *args = line.split()
    if word == "alloc":
        b = bytearray(int(args[0]) << 20)
        b[::4096] = b"x" * len(b[::4096])
        held.append(b)
    elif word == "kernel":
        kernel = subprocess.Popen([sys.executable, "-c", KERNEL, "-f", "/run/kernel-real-1.json"],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    elif word == "kalloc":
        kernel.stdin.write((args[0] + "\n").encode()); kernel.stdin.flush()
        if not kernel.stdout.readline():
            print("killed", kernel.wait(), flush=True)
            continue
    elif word == "spin":
        for _ in range(int(args[0])):
            subprocess.run([sys.executable, "-S", "-c", "for i in range(300000): pass"])
    print("done", flush=True)
"#;

impl Server {
    /// Starts it; `None` where there is no Python. `prepare` is run by the shell before.
    fn start(prepare: &str) -> Option<Self> {
        let python = Command::new("python3").arg("-c").arg("").status();
        if !python.is_ok_and(|status| status.success()) {
            println!("left out: there is no python3 here");
            return None;
        }
        // The interpreter itself, not a shim that starts it.
        let out = Command::new("python3")
            .args(["-c", "import sys; print(sys.executable)"])
            .output()
            .unwrap();
        let python = String::from_utf8(out.stdout).unwrap();
        let mut child = Command::new("sh")
            .arg("-c")
            .arg(format!("{prepare}\nexec {} -c \"$0\"", python.trim()))
            .arg(SERVER)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        let mut server = Self { child, answers };
        assert_eq!(server.answer(), "up");
        Some(server)
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    fn ask(&mut self, what: &str) -> String {
        writeln!(self.child.stdin.as_mut().unwrap(), "{what}").unwrap();
        self.answer()
    }

    fn sampler(&self) -> Sampler {
        Sampler::new(Target::this_machine(self.pid()), PssMode::Always).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Its kernel reads from a pipe of the server's and ends with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn assert_sums(sample: &Sample) {
    let workloads = &sample.workloads;
    let rss: u64 = workloads.iter().map(|w| w.rss_bytes).sum();
    let cpu: u64 = workloads.iter().map(|w| w.cpu_millis).sum();
    assert_eq!(rss, sample.rss_bytes);
    assert_eq!(cpu, sample.cpu_millis);
}

#[test]
fn the_linux_reader_and_the_portable_one_agree_on_a_real_tree() {
    let Some(mut server) = Server::start("") else {
        return;
    };
    server.ask("alloc 64");
    server.ask("kernel");
    server.ask("kalloc 48");
    let sample = server.sampler().tick(&SystemClock).unwrap();
    let target = Target::this_machine(server.pid());
    let oracle = PortableSampler::new(target)
        .unwrap()
        .tick(&SystemClock)
        .unwrap();
    assert_sums(&sample);
    assert_sums(&oracle);
    assert_eq!(sample.processes, 2);
    assert_eq!(oracle.processes, 2);
    assert_eq!(sample.threads, oracle.threads);
    let apart = sample.rss_bytes.abs_diff(oracle.rss_bytes);
    assert!(apart <= 2 * MIB, "RSS {apart} bytes apart");
    assert!(sample.rss_bytes > 112 * MIB);
    let apart = sample.cpu_millis.abs_diff(oracle.cpu_millis);
    assert!(apart <= 60, "CPU {apart} ms apart");
    let pss = sample.pss_bytes.unwrap();
    assert!(pss > 112 * MIB && pss < sample.rss_bytes);
    let kernel = |sample: &Sample| {
        let found = sample.workloads.iter().find(|w| w.id == "real-1").cloned();
        found.expect("the kernel")
    };
    assert_eq!(kernel(&sample).kind, WorkloadKind::Kernel);
    assert!(kernel(&sample).rss_bytes > 48 * MIB);
    assert_eq!(kernel(&oracle).pid, kernel(&sample).pid);
}

#[test]
fn time_of_children_that_came_and_went_between_samples_is_counted() {
    let Some(mut server) = Server::start("") else {
        return;
    };
    let mut sampler = server.sampler();
    let before = sampler.tick(&SystemClock).unwrap();
    server.ask("spin 10");
    let after = sampler.tick(&SystemClock).unwrap();
    assert_sums(&after);
    assert_eq!(after.processes, 1);
    // The kernel's own account of the children it waited for, in ticks of 10 ms.
    let stat = fs::read_to_string(format!("/proc/{}/stat", server.pid())).unwrap();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    let reaped_ms: u64 =
        (fields[13].parse::<u64>().unwrap() + fields[14].parse::<u64>().unwrap()) * 10;
    assert!(reaped_ms > 50, "the children did work");
    assert!(after.cpu_millis >= before.cpu_millis + reaped_ms);
}

#[test]
fn an_orphan_that_was_seen_before_stays_the_servers() {
    let mut root = Command::new("sh")
        .args(["-c", "sh -c 'sleep 300 & echo $$ $!; read x'; read y"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(root.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let pids: Vec<i32> = line
        .split_whitespace()
        .map(|pid| pid.parse().unwrap())
        .collect();
    let target = Target::this_machine(root.id());
    let mut sampler = Sampler::new(target, PssMode::Budget).unwrap();
    let before = sampler.tick(&SystemClock).unwrap();
    kill(pids[0]);
    // The root waits for the shell; then the sleeper has another parent.
    let orphaned = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", pids[1])).unwrap();
        !stat.contains(&format!(") S {} ", pids[0]))
    };
    while !orphaned() {
        thread::sleep(Duration::from_millis(5));
    }
    let after = sampler.tick(&SystemClock).unwrap();
    kill(pids[1]);
    root.kill().unwrap();
    root.wait().unwrap();
    assert_sums(&after);
    assert_eq!(before.processes, 3);
    let orphan = after.workloads.iter().find(|w| w.id == "other").unwrap();
    assert!(after.workloads.iter().any(|w| w.id == "server"));
    assert!(
        (1..=2).contains(&orphan.processes),
        "the zombie may still be there"
    );
}

fn kill(pid: i32) {
    let pid = nix::unistd::Pid::from_raw(pid);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
}

/// A memory cgroup of version 1; taken away at the end.
struct Group(PathBuf);

impl Group {
    fn create(name: &str, limit_bytes: u64) -> Option<Self> {
        let dir = PathBuf::from("/sys/fs/cgroup/memory").join(name);
        if let Err(error) = fs::create_dir(&dir) {
            println!(
                "left out: cannot make the cgroup {}: {error}",
                dir.display()
            );
            return None;
        }
        let group = Self(dir);
        let limit = group.0.join("memory.limit_in_bytes");
        if let Err(error) = fs::write(limit, limit_bytes.to_string()) {
            println!("left out: cannot limit a cgroup: {error}");
            return None;
        }
        Some(group)
    }

    fn procs(&self) -> String {
        self.0.join("cgroup.procs").display().to_string()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Busy for a moment after the last process went.
        for _ in 0..100 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn a_real_cgroup_gives_figure_and_limit_and_its_killer_is_named() {
    const LIMIT: u64 = 192 * MIB;
    let name = format!("hubmeter-test-{}", std::process::id());
    let Some(group) = Group::create(&name, LIMIT) else {
        return;
    };
    let Some(mut server) = Server::start(&format!("echo $$ > {}", group.procs())) else {
        return;
    };
    server.ask("alloc 40");
    server.ask("kernel");
    server.ask("kalloc 60");
    let mut sampler = server.sampler();
    let sample = sampler.tick(&SystemClock).unwrap();
    assert_sums(&sample);
    assert_eq!(sample.memory_source, MemorySource::Cgroup1);
    assert_eq!(sample.memory_limit_bytes, Some(LIMIT));
    let source = sample.memory_limit_source.clone().unwrap();
    assert_eq!(source, format!("cgroup1:/{name}"));
    assert!(sample.memory_limit_enforced && !sample.memory_limit_shared);
    assert!(sample.memory_used_bytes > 100 * MIB && sample.memory_used_bytes < LIMIT);
    assert!(sample.memory_working_set_bytes.unwrap() >= sample.memory_used_bytes);
    let kills = sample.oom_kills.expect("the counter");

    // Somebody else in it, and the figure is the tree's; the limit is shared.
    let mut stranger = Command::new("sleep").arg("300").spawn().unwrap();
    fs::write(group.procs(), stranger.id().to_string()).unwrap();
    let shared = sampler.tick(&SystemClock).unwrap();
    assert_eq!(shared.memory_source, MemorySource::Pss);
    assert!(shared.memory_limit_shared);
    let pid = server.pid().to_string();
    let (_, words, _) = agent(&["doctor", "--pid", &pid]);
    assert!(words.contains("all together use 1"), "{words}");
    let (_, table, _) = agent(&["sample", "--pid", &pid]);
    assert!(table.contains(", shared with others)"), "{table}");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    let sample = sampler.tick(&SystemClock).unwrap();
    assert_eq!(sample.memory_source, MemorySource::Cgroup1);

    // The kernel goes beyond the limit and is killed for it.
    let answer = server.ask("kalloc 400");
    assert_eq!(answer, "killed -9");
    let sample = sampler.tick(&SystemClock).unwrap();
    assert_sums(&sample);
    assert_eq!(sample.oom_kills, Some(kills + 1));
    assert_eq!(sample.ended.len(), 1, "{:?}", sample.ended);
    assert_eq!(sample.ended[0].id, "real-1");
    assert_eq!(sample.ended[0].cause, EndCause::OutOfMemory);
    assert!(sample.ended[0].memory_used_bytes > 60 * MIB);
    drop(server);
}

fn agent(args: &[&str]) -> (Option<i32>, String, String) {
    let out = Command::new(AGENT).args(args).output().unwrap();
    (
        out.status.code(),
        String::from_utf8(out.stdout).unwrap(),
        String::from_utf8(out.stderr).unwrap(),
    )
}

#[test]
fn json_has_the_contracts_fields_in_their_order_one_object_a_line() {
    let Some(server) = Server::start("") else {
        return;
    };
    let pid = server.pid().to_string();
    let (code, out, _) = agent(&[
        "sample", "--pid", &pid, "--format", "json", "--every", "100ms", "--count", "3",
    ]);
    assert_eq!(code, Some(0));
    let rows: Vec<&str> = out.lines().collect();
    assert_eq!(rows.len(), 3);
    assert!(rows[0].contains(r#""interval_ms":null"#));
    let keys = [
        "time",
        "interval_ms",
        "memory_used_bytes",
        "memory_working_set_bytes",
        "memory_source",
        "memory_age_ms",
        "memory_limit_bytes",
        "memory_limit_source",
        "memory_limit_enforced",
        "memory_limit_shared",
        "rss_bytes",
        "pss_bytes",
        "swap_bytes",
        "unattributed_bytes",
        "cpu_millis",
        "cpu_cores",
        "processes",
        "threads",
        "workloads",
    ];
    let inner = [
        "kind",
        "id",
        "name",
        "pid",
        "memory_used_bytes",
        "rss_bytes",
        "pss_bytes",
        "cpu_millis",
        "cpu_cores",
        "processes",
        "threads",
    ];
    for row in rows {
        let (outer, workloads) = row.split_once(r#","workloads":["#).unwrap();
        let object: serde_json::Value = serde_json::from_str(row).unwrap();
        assert_eq!(object.as_object().unwrap().len(), keys.len());
        assert_eq!(
            object["workloads"][0].as_object().unwrap().len(),
            inner.len()
        );
        assert_in_order(outer, &keys[..keys.len() - 1]);
        assert_in_order(workloads.split('}').next().unwrap(), &inner);
    }
}

fn assert_in_order(text: &str, keys: &[&str]) {
    let at: Vec<usize> = keys
        .iter()
        .map(|key| text.find(&format!("\"{key}\":")).unwrap())
        .collect();
    assert!(at.is_sorted(), "{text}");
}

#[test]
fn what_cannot_be_done_is_said_with_the_right_code() {
    for (args, code, says) in [
        (vec!["sample", "--every", "50ms"], 64, "100ms to 1h"),
        (vec!["sample", "--every", "2h"], 64, "100ms to 1h"),
        (vec!["sample", "--count", "0"], 64, "--count"),
        (vec!["sample", "--pid", "0"], 64, "--pid"),
        (vec!["sample", "--format", "xml"], 64, "--format"),
        (
            vec!["sample", "--pid", "4194304"],
            1,
            "process 4194304 is gone",
        ),
        (
            vec!["doctor", "--pid", "4194304"],
            1,
            "process 4194304 is gone",
        ),
        (vec!["fly"], 64, "fly"),
    ] {
        let (got, _, err) = agent(&args);
        assert_eq!(got, Some(code), "{args:?}");
        assert!(err.contains(says), "{args:?}: {err}");
    }
}

#[test]
fn the_agent_inside_the_tree_does_not_measure_itself() {
    let out = Command::new("sh")
        .arg("-c")
        .arg(format!("{AGENT} sample --pid $$ --format json; :"))
        .output()
        .unwrap();
    let sample: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(sample["processes"], 1);
}

#[test]
fn doctor_says_where_each_figure_is_from() {
    let Some(server) = Server::start("") else {
        return;
    };
    let pid = server.pid().to_string();
    let (code, words, err) = agent(&["doctor", "--pid", &pid]);
    assert_eq!(code, Some(0), "{err}");
    for topic in [
        "server",
        "memory",
        "limit",
        "cpu",
        "collector",
        "socket",
        "unseen",
    ] {
        let said = words.lines().any(|line| line.starts_with(topic));
        assert!(said, "{topic} in {words}");
    }
    let (_, json, _) = agent(&["doctor", "--pid", &pid, "--format", "json"]);
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(report["pid"].to_string(), pid);
}
