//! Hours of ticks leave nothing behind. Alone in its file: what is measured is this process.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdout, Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use hubmeter_agent::{
    board::{Board, LinkState, LinkStatus, Reading},
    clock::Clock,
    link::encode,
    meter::Meter,
    rhythm::Rhythm,
    sampler::{PssMode, Sampler, Target},
    spool::{SPOOL_BYTES_MAX, Spool},
};

const INTERVAL_MS: u64 = 5_000;

/// By then the last ten minutes are full, a block of the spool has made room for another, and every
/// buffer has its size.
const TICKS_FULL: u64 = 1_600;

/// More than four hours at 5 s.
const TICKS: u64 = 3_200;

/// A process is born and ends before every so many ticks.
const BIRTH_TICKS: u64 = 10;

/// What an allocator may spread over without anything being kept: 20 bytes a tick.
const GROWTH_BYTES_MAX: u64 = 32 * 1024;

/// Time goes by when it is told to.
struct Hands(AtomicU64);

/// A shell that starts a process for every line it is given, beside two that sleep.
struct Tree {
    shell: Child,
    out: BufReader<ChildStdout>,
}

impl Clock for Hands {
    fn mono_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn wall_ms(&self) -> u64 {
        1_573_941_376_000 + self.mono_ms()
    }
}

impl Tree {
    fn start() -> Self {
        let script = "sleep 1000 & one=$!; sleep 1000 & two=$!; \
                      while read line; do env true; echo done; done; kill $one $two";
        let mut shell = Command::new("sh")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(shell.stdout.take().unwrap());
        Self { shell, out }
    }

    fn bear(&mut self) {
        let stdin = self.shell.stdin.as_mut().unwrap();
        stdin.write_all(b"again\n").unwrap();
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        assert_eq!(line, "done\n");
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        // The end of its input ends it, and its sleepers with it.
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

fn anonymous_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let number = line.unwrap().split_whitespace().next().unwrap();
    1024 * number.parse::<u64>().unwrap()
}

#[test]
fn hours_of_ticks_with_births_and_deaths_leave_no_memory_behind() {
    let mut tree = Tree::start();
    tree.bear();
    let target = Target::this_machine(tree.shell.id());
    let mut sampler = Sampler::new(target, PssMode::Budget).unwrap();
    let clock = Hands(AtomicU64::new(1_000));
    let mut rhythm = Rhythm::new(Duration::from_millis(INTERVAL_MS), 1_000);
    let mut meter = Meter::default();
    let mut spool = Spool::new(SPOOL_BYTES_MAX);
    let board = Board::new(LinkStatus {
        state: LinkState::Streaming,
        ..LinkStatus::default()
    });
    let mut when_full = 0;
    for tick in 1..=TICKS {
        if tick.is_multiple_of(BIRTH_TICKS) {
            tree.bear();
        }
        clock.0.fetch_add(INTERVAL_MS, Ordering::Relaxed);
        let mut sample = sampler.tick(&clock).unwrap();
        rhythm.place(&mut sample);
        spool.push(&encode::sample(&sample));
        // The receipt for the tick before.
        spool.acknowledge(tick - 1);
        let figures = meter.figures(&sample);
        board.show(Reading { sample, figures });
        if tick == TICKS_FULL {
            when_full = anonymous_bytes();
        }
    }
    let grown = anonymous_bytes().saturating_sub(when_full);
    assert_eq!(board.recent().len(), 121);
    assert!(
        grown <= GROWTH_BYTES_MAX,
        "{grown} bytes grew on {when_full}"
    );
}
