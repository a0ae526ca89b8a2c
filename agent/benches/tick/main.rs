//! What one sample costs, beside what others pay for the same tree:
//! `PYTHON=python-with-psutil cargo bench -p hubmeter-agent --bench tick -- [flags]`.
//!
//! Builds real trees of idle processes and prints Markdown tables: CPU time of this process (or of
//! Python's own) a sample, user and system; instructions, user and kernel, where the kernel lets
//! us count them; calls of the kernel. *Hot* is in a tight loop, *cold* one second apart, which is
//! what an agent pays. Without flags it takes some five minutes.
//!
//! * `--quick`: hot, without other processes
//! * `--long`: cold everywhere, with more samples
//! * `--only N`: only the tree of N processes
//! * `--calls`: nothing but what the kernel takes for a whole tick, call by call
//! * `--crowd N`: nothing but a tree of N processes, tick by tick (30000 needs some GB of memory)
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    unreachable_pub
)]

mod calls;
mod crowd;
mod floor;
mod machine;
mod measure;
mod peers;
mod table;

use std::env;

use hubmeter_agent::sampler::{PssMode, Sampler, Target};
use machine::{Others, Stepping, Tree};
use measure::{Measure, Row};

/// Processes of the trees: a root and 5, 50, 500 below it.
const TREES: [usize; 3] = [6, 51, 501];

/// Processes that are nobody's here.
const OTHERS: usize = 2000;

/// Births elsewhere a second, on a busy machine.
const BIRTHS_PER_S: u32 = 200;

/// What is asked of the bench.
struct Flags(Vec<String>);

// === impl Flags ===

impl Flags {
    fn has(&self, flag: &str) -> bool {
        self.0.iter().any(|given| given == flag)
    }

    fn number(&self, flag: &str) -> Option<usize> {
        let at = self.0.iter().position(|given| given == flag)?;
        Some(
            self.0
                .get(at + 1)?
                .parse()
                .expect("a number after the flag"),
        )
    }
}

fn main() {
    let flags = Flags(env::args().skip(1).collect());
    if let Some(processes) = flags.number("--crowd") {
        return crowd::run(processes);
    }
    if flags.has("--calls") {
        return calls::run();
    }
    let python = peers::python();
    let only = flags.number("--only");
    let trees = || {
        TREES
            .into_iter()
            .filter(|n| only.is_none_or(|only| only == *n))
    };
    let cold_samples = if flags.has("--long") { 15 } else { 5 };
    for processes in trees() {
        let tree = Tree::start(processes, python.as_deref());
        all(&tree, python.as_deref(), &Measure::Hot, "");
        // Psutil alone would take the 500 processes' minutes.
        if flags.has("--long") || (processes <= 51 && !flags.has("--quick")) {
            let cold = Measure::Cold(cold_samples);
            all(&tree, python.as_deref(), &cold, "");
        }
    }
    if flags.has("--quick") {
        return;
    }
    for processes in trees() {
        let tree = Tree::start(processes, python.as_deref());
        let _others = Others::sleep(OTHERS);
        all(&tree, python.as_deref(), &Measure::Hot, "");
        if flags.has("--long") {
            let cold = Measure::Cold(cold_samples);
            all(&tree, python.as_deref(), &cold, "");
        }
    }
    for processes in trees().filter(|&n| n <= 51) {
        let tree = Tree::start(processes, python.as_deref());
        let _others = Others::fork(BIRTHS_PER_S);
        let how = format!(", {BIRTHS_PER_S} births a second elsewhere");
        table::print(
            &tree,
            &ours(&tree, &Measure::Cold(cold_samples)),
            &Measure::Cold(0),
            &how,
        );
    }
}

fn all(tree: &Tree, python: Option<&str>, measure: &Measure, how: &str) {
    let mut rows = ours(tree, measure);
    rows.push(measure.row("floor: pid cursor, CPU clocks, statm", {
        let mut floor = floor::Floor::of(tree.pids());
        move || floor.pass()
    }));
    rows.extend(peers::rows(tree, python, measure));
    table::print(tree, &rows, measure, how);
}

/// Our own rows.
fn ours(tree: &Tree, measure: &Measure) -> Vec<Row> {
    let row = |name: &str, mode: PssMode, step_ms: u64| {
        let mut sampler = Sampler::new(Target::this_machine(tree.pid()), mode).unwrap();
        let clock = Stepping::by(step_ms);
        // The first ticks find everybody and look again.
        for _ in 0..30 {
            sampler.tick(&clock).unwrap();
        }
        let sample = sampler.tick(&clock).unwrap();
        assert_eq!(
            sample.processes as usize, tree.processes,
            "the tree is whole"
        );
        measure.counted_row(name, || {
            sampler.tick(&clock).unwrap();
        })
    };
    vec![
        row("**hubmeter**, as run every 5 s", PssMode::Budget, 5_000),
        row("**hubmeter**, nothing due", PssMode::Budget, 0),
        row("**hubmeter**, `--pss always`", PssMode::Always, 5_000),
    ]
}
