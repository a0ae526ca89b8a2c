//! A tree far larger than anybody's: what its first ticks cost, tick by tick.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
};

use hubmeter_agent::sampler::{PssMode, Sampler, Target};

use crate::{machine::Stepping, measure::cpu_ns};

const TICKS: usize = 60;

/// Forks without running another program: the cheapest processes there are.
const CROWD: &str = r#"
import os, signal, sys
pids = []
for _ in range(int(sys.argv[1])):
    pid = os.fork()
    if pid == 0:
        signal.pause()
    pids.append(pid)
print("up", flush=True)
sys.stdin.readline()
for pid in pids:
    os.kill(pid, signal.SIGKILL)
for _ in pids:
    os.wait()
"#;

pub fn run(processes: usize) {
    let mut root = Command::new("python3")
        .args(["-S", "-c", CROWD, &processes.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(root.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "up\n");
    let mut sampler = Sampler::new(Target::this_machine(root.id()), PssMode::Budget).unwrap();
    let clock = Stepping::by(5_000);
    println!("| tick | ms | followed | beyond | ticks cut so far |");
    println!("|---:|---:|---:|---:|---:|");
    for tick in 1..=TICKS {
        let before = cpu_ns();
        let sample = sampler.tick(&clock).unwrap();
        let ms = (cpu_ns() - before) as f64 / 1e6;
        println!(
            "| {tick} | {ms:.1} | {} | {} | {} |",
            sample.processes,
            sample.processes_beyond,
            sampler.ticks_cut()
        );
    }
    root.stdin.take().unwrap().write_all(b"\n").unwrap();
    root.wait().unwrap();
}
