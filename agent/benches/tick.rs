//! What one sample costs, beside what others pay for the same tree:
//! `cargo bench -p hubmeter-agent --bench tick -- [--sleepers 2000] [--cold]`.
//!
//! Builds real trees of 6 and 51 idle processes and prints the CPU time of this process (or of
//! Python's own) a sample: user and system, median of some batches. Hot, that is in a tight loop;
//! with `--cold` also one second apart, which is what an agent pays. `--sleepers N` adds N
//! processes that are none of the tree's. The rows in Python need an interpreter that has
//! psutil: name it by `PYTHON`.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_precision_loss
)]

use std::{
    env, fs,
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use hubmeter_agent::{
    clock::Clock,
    sample::files_opened,
    sampler::{PortableSampler, PssMode, Sampler, Target},
};
use nix::{
    sys::signal::{Signal, killpg},
    time::{ClockId, clock_gettime},
    unistd::Pid,
};

const BATCHES: usize = 7;

/// A batch is as many samples as fit into this much CPU time.
const BATCH_NS: u64 = 40_000_000;

const COLD_SAMPLES: usize = 7;

/// psutil as one would use it with care, and as jupyter-resource-usage 1.3 does at each request.
const PSUTIL: &str = r#"
import sys, time, statistics, psutil
root, cold = psutil.Process(int(sys.argv[1])), sys.argv[2] == "cold"
def careful():
    rss = cpu = 0
    for p in [root] + root.children(recursive=True):
        with p.oneshot():
            rss += p.memory_info().rss
            t = p.cpu_times()
            cpu += t.user + t.system
def handler():
    rss = pss = 0
    for p in [root] + root.children(recursive=True):
        try:
            m = p.memory_full_info()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        rss, pss = rss + m.rss, pss + m.pss
def measure(f):
    f()
    out = []
    for _ in range(7):
        if cold:
            time.sleep(1)
        n, start = 0, time.process_time_ns()
        while True:
            f(); n += 1
            spent = time.process_time_ns() - start
            if cold or spent > 40_000_000:
                break
        out.append(spent / n)
    return statistics.median(out)
for name, f in (("psutil " + psutil.__version__ + ", careful", careful), ("jupyter-resource-usage's way", handler)):
    print(name, measure(f), sep="\t", flush=True)
"#;

/// A process group that goes with its owner.
struct Group(Child);

/// A clock that goes on by `step_ms` at every look.
struct Stepping {
    now_ms: AtomicU64,
    step_ms: u64,
}

/// One line of the table.
struct Row {
    name: String,
    ns: f64,
    /// The median of single samples: those in which nothing had to be looked at again.
    median_ns: Option<u64>,
    /// Files and directories opened: in most samples, and on average.
    opened: Option<(u64, f64)>,
}

// === impl Group ===

impl Group {
    /// Runs a script that says "up" when all of it is there.
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

    /// `processes` in all: a root, and below it shells that each hold three sleepers, one of them
    /// a Python where there is one.
    fn tree(processes: usize, python: Option<&str>) -> Self {
        let third = match python {
            Some(python) => format!("{python} -S -c 'import time; time.sleep(9999)' >&-"),
            None => "sleep 9999".to_owned(),
        };
        let shells = (processes - 1) / 4;
        let sleepers = (processes - 1) % 4;
        let sleeper = "sleep 9999 & ";
        Self::start(&format!(
            "for n in $(seq {shells}); do (sleep 9999 & sleep 9999 & {third} & wait) & done; {}
             sleep 0.5; echo up; read x",
            sleeper.repeat(sleepers)
        ))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let group = Pid::from_raw(i32::try_from(self.0.id()).unwrap());
        let _ = killpg(group, Signal::SIGKILL);
        let _ = self.0.wait();
    }
}

// === impl Stepping ===

impl Stepping {
    fn by(step_ms: u64) -> Self {
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

fn main() {
    let flags: Vec<String> = env::args().skip(1).collect();
    let sleepers = flags
        .iter()
        .position(|flag| flag == "--sleepers")
        .and_then(|at| flags.get(at + 1)?.parse().ok())
        .unwrap_or(0_usize);
    let cold = flags.iter().any(|flag| flag == "--cold");
    let python = python();
    let _others = (sleepers > 0).then(|| {
        Group::start(&format!(
            "for n in $(seq {sleepers}); do sleep 9999 & done; echo up; read x"
        ))
    });
    for processes in [6, 51] {
        let tree = Group::tree(processes, python.as_deref());
        table(&tree, processes, python.as_deref(), false);
        if cold {
            table(&tree, processes, python.as_deref(), true);
        }
    }
}

/// The interpreter itself, not a shim that starts it.
fn python() -> Option<String> {
    let program = env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let out = Command::new(program)
        .args(["-c", "import sys; print(sys.executable)"])
        .output()
        .ok()?;
    let path = String::from_utf8(out.stdout).ok()?.trim().to_owned();
    (!path.is_empty()).then_some(path)
}

fn table(tree: &Group, processes: usize, python: Option<&str>, cold: bool) {
    let pid = tree.0.id();
    let sampler = |mode| {
        let mut sampler = Sampler::new(Target::this_machine(pid), mode).unwrap();
        let sample = sampler.tick(&Stepping::by(0)).unwrap();
        assert_eq!(sample.processes as usize, processes, "the tree is whole");
        sampler
    };
    let mut rows = Vec::new();
    // No time passes, so no proportional set is due; every twelfth tick still looks at everything,
    // as does one after a birth anywhere on the machine.
    let mut steady = sampler(PssMode::Budget);
    let clock = Stepping::by(0);
    rows.push(row("hubmeter, without PSS", cold, || {
        steady.tick(&clock).unwrap();
    }));
    // Proportional sets are read as the budget allows.
    let mut running = sampler(PssMode::Budget);
    let clock = Stepping::by(5_000);
    rows.push(row("hubmeter, as run at 5 s", cold, || {
        running.tick(&clock).unwrap();
    }));
    let mut always = sampler(PssMode::Always);
    rows.push(row("hubmeter, --pss always", cold, || {
        always.tick(&clock).unwrap();
    }));
    let mut portable = PortableSampler::new(Target::this_machine(pid)).unwrap();
    let mut sysinfo = row("sysinfo (--reader sysinfo)", cold, || {
        portable.tick(&clock).unwrap();
    });
    sysinfo.opened = None; // not through our files
    rows.push(sysinfo);
    rows.extend(
        python
            .into_iter()
            .flat_map(|python| psutil(python, pid, cold)),
    );
    let all = fs::read_dir("/proc").unwrap().flatten();
    let all = all
        .filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok())
        .count();
    let how = if cold { "1 s apart" } else { "hot" };
    println!("\n{processes} idle processes of {all} on the machine, {how}");
    println!(
        "{:<34} {:>11} {:>7} {:>11} {:>7} {:>13}",
        "", "\u{b5}s a sample", "median", "ns/process", "ratio", "opens (mean)"
    );
    let least = rows.first().map_or(1.0, |row| row.ns);
    for row in &rows {
        let opened = row.opened.map_or_else(
            || "-".to_owned(),
            |(most, mean)| format!("{most} ({mean:.1})"),
        );
        let median = row
            .median_ns
            .map_or_else(|| "-".to_owned(), |ns| format!("{:.1}", ns as f64 / 1e3));
        println!(
            "{:<34} {:>11.1} {median:>7} {:>11.0} {:>7.1} {opened:>13}",
            row.name,
            row.ns / 1e3,
            row.ns / processes as f64,
            row.ns / least,
        );
    }
}

fn cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).unwrap();
    u64::try_from(time.tv_sec() * 1_000_000_000 + time.tv_nsec()).unwrap()
}

fn row(name: &str, cold: bool, mut sample: impl FnMut()) -> Row {
    sample();
    let mut batches = Vec::new();
    let (mut opened, mut single_ns) = (Vec::new(), Vec::new());
    for _ in 0..if cold { COLD_SAMPLES } else { BATCHES } {
        if cold {
            thread::sleep(Duration::from_secs(1));
        }
        let (mut samples, start) = (0_u32, cpu_ns());
        let mut last = start;
        let spent = loop {
            let before = files_opened();
            sample();
            opened.push(files_opened() - before);
            samples += 1;
            let now = cpu_ns();
            single_ns.push(now - last);
            last = now;
            let spent = now - start;
            if cold || spent > BATCH_NS {
                break spent;
            }
        };
        batches.push(spent as f64 / f64::from(samples));
    }
    batches.sort_by(f64::total_cmp);
    opened.sort_unstable();
    single_ns.sort_unstable();
    let mean = opened.iter().sum::<u64>() as f64 / opened.len() as f64;
    Row {
        name: name.to_owned(),
        ns: batches[batches.len() / 2],
        median_ns: Some(single_ns[single_ns.len() / 2]),
        opened: Some((opened[opened.len() / 2], mean)),
    }
}

/// Python's own rows; none where its interpreter has no psutil.
fn psutil(python: &str, pid: u32, cold: bool) -> Vec<Row> {
    let out = Command::new(python)
        .args(["-c", PSUTIL, &pid.to_string()])
        .arg(if cold { "cold" } else { "hot" })
        .output()
        .unwrap();
    if !out.status.success() {
        println!("left out: {python} has no psutil (set PYTHON)");
    }
    let lines = String::from_utf8_lossy(&out.stdout).into_owned();
    lines
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .map(|(name, ns)| Row {
            name: name.to_owned(),
            ns: ns.parse().unwrap(),
            median_ns: None,
            opened: None,
        })
        .collect()
}
