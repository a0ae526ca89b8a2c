//! What one more idle process costs the agent in instructions of its own, counted by valgrind: the
//! same number on every machine, whatever else runs there and whether its processor lets itself be
//! counted.
//!
//! The kernel's part cannot be counted so; it is the calls that `steady.rs` holds, of which an idle
//! process has one: a look at its clock, some 600 instructions.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout
)]

use std::{
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

/// Trees of two sizes: their difference has nothing of what a tick costs anyway.
const FEW: u64 = 10;
const MANY: u64 = 110;

/// Runs of two lengths: their difference has nothing of what a start costs.
const SHORT: u64 = 8;
const LONG: u64 = 24;

/// Of the 1,500 that an idle process may cost, 600 are the kernel's.
const OPTIMIZED_MAX: u64 = 900;

/// A build for tests has some 4,000, and births elsewhere on the machine, of which every tick asks,
/// add to that. More than this is a look-up or a copy too many.
const UNOPTIMIZED_MAX: u64 = 8_000;

/// A shell and its sleepers; they end with the test.
struct Idle(Child);

impl Idle {
    fn start(sleepers: u64) -> Self {
        let script = format!("for n in $(seq {sleepers}); do sleep 1000 & done; echo up; read x");
        let mut child = Command::new("sh")
            .args(["-c", &script])
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

impl Drop for Idle {
    fn drop(&mut self) {
        let _ = killpg(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGKILL);
        let _ = self.0.wait();
    }
}

/// Instructions of an agent that takes `samples` of `idle`.
fn instructions(idle: &Idle, samples: u64, dir: &Path) -> u64 {
    let log = dir.join("valgrind.log");
    let ended = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(format!("--log-file={}", log.display()))
        .arg(env!("CARGO_BIN_EXE_hubmeter-agent"))
        .args(["sample", "--every", "100ms", "--pss", "budget"])
        .args(["--count", &samples.to_string()])
        .args(["--pid", &idle.0.id().to_string()])
        .stdout(Stdio::null())
        .status()
        .unwrap();
    let log = std::fs::read_to_string(log).unwrap();
    assert!(ended.success(), "{log}");
    let (_, count) = log.split_once("Collected : ").expect(&log);
    let digits = count.lines().next().unwrap();
    digits.trim().parse().unwrap()
}

/// Instructions of one tick of a tree of `sleepers`.
fn of_a_tick(sleepers: u64, dir: &Path) -> u64 {
    let idle = Idle::start(sleepers);
    let [short, long] = [SHORT, LONG].map(|samples| instructions(&idle, samples, dir));
    long.saturating_sub(short) / (LONG - SHORT)
}

#[test]
fn an_idle_process_costs_few_instructions_of_the_agents_own() {
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("not checked: no valgrind here to count by");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let [few, many] = [FEW, MANY].map(|sleepers| of_a_tick(sleepers, dir.path()));
    let per_process = many.saturating_sub(few) / (MANY - FEW);
    println!("{per_process} instructions a process; a tick of {FEW} has {few}, of {MANY} {many}");
    let most = match cfg!(debug_assertions) {
        true => UNOPTIMIZED_MAX,
        false => OPTIMIZED_MAX,
    };
    assert!(per_process > 50, "nothing was counted: {per_process}");
    assert!(per_process <= most, "{per_process} instructions a process");
}
