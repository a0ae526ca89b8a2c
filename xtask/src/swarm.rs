//! `cargo xtask swarm`: simulated agents against a real collector, both as they are shipped.

use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::{build::cargo, process, progress::Step, workspace::Workspace};

/// Settings of `cargo xtask swarm`.
#[derive(Args, Debug)]
pub(crate) struct Swarm {
    /// What `hubmeter-swarm` is told; `--help` lists it
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    args: Vec<String>,
}

/// Builds both programs and runs the swarm.
pub(crate) fn run(args: &Swarm) -> Result<()> {
    let program = build(&Workspace::here()?)?;
    process::adopt_orphans();
    let status = Command::new(&program).args(&args.args).status();
    process::end_leftovers();
    let status = status.with_context(|| format!("cannot start {}", program.display()))?;
    if !status.success() {
        bail!("hubmeter-swarm ended with {status}");
    }
    Ok(())
}

/// Builds the swarm, and the collector beside it.
pub(crate) fn build(space: &Workspace) -> Result<PathBuf> {
    let mut step = Step::begin("collector and swarm (release build; the first takes minutes)");
    // One after the other: together the collector would get the features of the swarm's libraries.
    for package in ["hubmeter-collector", "hubmeter-tests"] {
        let mut command = cargo(&space.root);
        command.args(["build", "--release", "--package", package]);
        step.run(&space.logs, &format!("cargo-build-{package}"), command)?;
    }
    step.done();
    Ok(space.target.join("release/hubmeter-swarm"))
}
