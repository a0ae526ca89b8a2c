//! `cargo xtask test`: every check, all of them even when one fails, with the time each took.

use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;

use crate::{
    checks, e2e, identity, outlets,
    progress::{now, say, seconds},
    stop, vm, wheel,
};

/// Slowest checks named at the end.
const SLOWEST: usize = 3;

/// One check that ran.
struct Outcome {
    name: &'static str,
    span: Duration,
    error: Option<String>,
}

type Check = fn() -> Result<()>;

/// In the order of how soon they tell something.
const CHECKS: [(&str, Check); 12] = [
    ("format", checks::format),
    ("units", checks::units),
    ("clippy", checks::clippy),
    ("rust", checks::rust_tests),
    ("vm", vm_at_best),
    ("deny", checks::deny),
    ("python", checks::python),
    ("outlets", outlets::run),
    ("typescript", checks::typescript),
    ("wheel", wheel::check),
    ("identity", identity::run),
    ("e2e", e2e_alone),
];

/// Settings of `cargo xtask test`.
#[derive(Args, Debug)]
pub(crate) struct Test {
    /// Only these: format, units, clippy, rust, vm, deny, python, outlets, typescript, wheel, identity, e2e
    #[arg(value_parser = CHECKS.map(|(name, _)| name))]
    only: Vec<String>,
}

/// Runs every check, prints a table, fails if one failed.
pub(crate) fn run(args: &Test) -> Result<()> {
    let mut outcomes = Vec::new();
    for (name, check) in CHECKS {
        if !args.only.is_empty() && !args.only.iter().any(|only| only == name) {
            continue;
        }
        stop::check()?;
        say(&format!("\n{name}"));
        let begun = now();
        let error = check().err().map(|error| format!("{error:#}"));
        if let Some(error) = &error {
            say(error);
        }
        outcomes.push(Outcome {
            name,
            span: begun.elapsed(),
            error,
        });
    }
    stop::check()?;
    summarise(&outcomes)
}

fn vm_at_best() -> Result<()> {
    vm::run(&vm::Vm::default())
}

fn e2e_alone() -> Result<()> {
    e2e::run(&[])
}

fn summarise(outcomes: &[Outcome]) -> Result<()> {
    say("\nSummary");
    for outcome in outcomes {
        let word = if outcome.error.is_none() {
            "passed"
        } else {
            "FAILED"
        };
        say(&format!(
            "  {word}  {:<16} {:>12}",
            outcome.name,
            seconds(outcome.span)
        ));
    }
    let mut by_time: Vec<&Outcome> = outcomes.iter().collect();
    by_time.sort_by_key(|outcome| std::cmp::Reverse(outcome.span));
    let slowest: Vec<String> = by_time
        .iter()
        .take(SLOWEST)
        .map(|outcome| format!("{} {}", outcome.name, seconds(outcome.span)))
        .collect();
    let all: Duration = outcomes.iter().map(|outcome| outcome.span).sum();
    say(&format!(
        "Slowest: {}; all together {}",
        slowest.join(", "),
        seconds(all)
    ));
    let failed = outcomes
        .iter()
        .filter(|outcome| outcome.error.is_some())
        .count();
    let line = format!("{} passed, {failed} failed", outcomes.len() - failed);
    if failed > 0 {
        bail!("{line}");
    }
    say(&line);
    Ok(())
}
