//! `cargo xtask score`: how well detectors judge the corpus of recorded kernels.

use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::{build::cargo, progress::Step, workspace::Workspace};

/// Settings of `cargo xtask score`.
#[derive(Args, Debug)]
pub(crate) struct Score {
    /// What `hubmeter-score` is told; `--help` lists it
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

/// Builds the scorer and runs it; pictures of what went wrong go to `target/score`.
pub(crate) fn run(args: &Score) -> Result<()> {
    let space = Workspace::here()?;
    let mut step = Step::begin("the scorer (release build)");
    let mut command = cargo(&space.root);
    command.args([
        "build",
        "--release",
        "--package",
        "hubmeter-tests",
        "--bin",
        "hubmeter-score",
    ]);
    step.run(&space.logs, "cargo-build-score", command)?;
    step.done();
    let program = space.target.join("release/hubmeter-score");
    let status = Command::new(&program)
        .arg("--corpus")
        .arg(space.root.join("tests/corpus"))
        .arg("--pictures")
        .arg(space.target.join("score"))
        .args(&args.args)
        .status()
        .with_context(|| format!("cannot start {}", program.display()))?;
    if !status.success() {
        bail!("hubmeter-score ended with {status}");
    }
    Ok(())
}
