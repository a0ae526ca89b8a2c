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

use std::{fs::File, path::Path, process::Command};

/// Trees of two sizes: their difference has nothing of what a tick costs anyway.
const FEW: u64 = 5;
const MANY: u64 = 45;

/// Runs of two lengths: their difference has nothing of what a start costs. Below valgrind a tick's
/// time is used up by one newcomer or two, so that all are known only after as many ticks.
const SHORT: usize = 60;
const LONG: usize = 100;

/// Of the 1,500 that an idle process may cost, 600 are the kernel's.
const OPTIMIZED_MAX: u64 = 900;

/// A build for tests has some 4,000. More than this is a look-up or a copy too many.
const UNOPTIMIZED_MAX: u64 = 8_000;

/// Namespaces of processes of one's own, in which nobody else is born: of each birth a tick would
/// ask, too. As root, and as somebody who may have a namespace of users.
const APART: [&[&str]; 2] = [
    &["--pid", "--fork", "--mount-proc"],
    &[
        "--user",
        "--map-root-user",
        "--pid",
        "--fork",
        "--mount-proc",
    ],
];

/// The first process there has its sleepers and is the server; they end with it.
const TREE: &str = "for n in $(seq $1); do sleep 1000 & done; shift; \"$@\" --pid $$";

/// How to get a namespace of processes here.
fn apart() -> Option<&'static [&'static str]> {
    APART.into_iter().find(|way| {
        let tried = Command::new("unshare").args(*way).arg("true").output();
        tried.is_ok_and(|tried| tried.status.success())
    })
}

/// Instructions of an agent that takes `samples` of a tree of `sleepers`.
fn instructions(way: &[&str], sleepers: u64, samples: usize, dir: &Path) -> u64 {
    let log = dir.join("valgrind.log");
    let said = dir.join("samples");
    let ended = Command::new("unshare")
        .args(way)
        .args(["sh", "-c", TREE, "sh", &sleepers.to_string()])
        .args(["valgrind", "--tool=callgrind"])
        .arg("--callgrind-out-file=/dev/null")
        .arg(format!("--log-file={}", log.display()))
        .arg(env!("CARGO_BIN_EXE_hubmeter-agent"))
        .args(["sample", "--every", "100ms", "--pss", "budget"])
        .args(["--format", "json", "--count", &samples.to_string()])
        .stdout(File::create(&said).unwrap())
        .status()
        .unwrap();
    let log = std::fs::read_to_string(log).unwrap();
    assert!(ended.success(), "{log}");
    let said = std::fs::read_to_string(said).unwrap();
    let known = said.lines().nth(SHORT - 1).expect("so many samples");
    let all = format!("\"processes\":{},", sleepers + 1);
    assert!(known.contains(&all), "not all are known yet: {known}");
    let (_, count) = log.split_once("Collected : ").expect(&log);
    let digits = count.lines().next().unwrap();
    digits.trim().parse().unwrap()
}

/// Instructions of one tick of a tree of `sleepers`.
fn of_a_tick(way: &[&str], sleepers: u64, dir: &Path) -> u64 {
    let [short, long] = [SHORT, LONG].map(|samples| instructions(way, sleepers, samples, dir));
    long.saturating_sub(short) / u64::try_from(LONG - SHORT).unwrap()
}

#[test]
fn an_idle_process_costs_few_instructions_of_the_agents_own() {
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("not checked: no valgrind here to count by");
        return;
    }
    let Some(way) = apart() else {
        println!("not checked: no namespace of processes may be had here");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let [few, many] = [FEW, MANY].map(|sleepers| of_a_tick(way, sleepers, dir.path()));
    let per_process = many.saturating_sub(few) / (MANY - FEW);
    println!("{per_process} instructions a process; a tick of {FEW} has {few}, of {MANY} {many}");
    let most = match cfg!(debug_assertions) {
        true => UNOPTIMIZED_MAX,
        false => OPTIMIZED_MAX,
    };
    assert!(per_process > 50, "nothing was counted: {per_process}");
    assert!(per_process <= most, "{per_process} instructions a process");
}
