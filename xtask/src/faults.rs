//! `cargo xtask faults`: every disk call fails, the plug is pulled, bytes are damaged; as tables.

use std::{process::Command, thread};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::{build::cargo, process, progress::Step, progress::say, workspace::Workspace};

/// Settings of `cargo xtask faults`.
#[derive(Args, Debug)]
pub(crate) struct Faults {
    /// Only every so many-th disk call, byte and bit
    #[arg(long, value_name = "N", default_value_t = 1)]
    stride: u64,
    /// Disks after a power cut that are looked at
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    images: u64,
}

/// Builds what it takes and runs all of it, also when one part finds something.
pub(crate) fn run(args: &Faults) -> Result<()> {
    let space = Workspace::here()?;
    let mut step =
        Step::begin("collector, shim and faults (release build; the first takes minutes)");
    for package in ["hubmeter-collector", "hubmeter-shim", "hubmeter-tests"] {
        let mut command = cargo(&space.root);
        command.args(["build", "--release", "--package", package]);
        step.run(&space.logs, &format!("cargo-build-{package}"), command)?;
    }
    step.done();
    let program = space.target.join("release/hubmeter-faults");
    let jobs = thread::available_parallelism()
        .map_or(1, usize::from)
        .to_string();
    let (stride, images) = (args.stride.to_string(), args.images.to_string());
    let parts: [(&str, &[&str]); 3] = [
        ("disk", &["disk", "--stride", &stride, "--jobs", &jobs]),
        ("power", &["power", "--images", &images, "--jobs", &jobs]),
        ("damage", &["damage", "--stride", &stride]),
    ];
    process::adopt_orphans();
    let mut broken = Vec::new();
    for (name, words) in parts {
        say(&format!("\n{name}"));
        let status = Command::new(&program).args(words).status();
        let status = status.with_context(|| format!("cannot start {}", program.display()))?;
        if !status.success() {
            broken.push(name);
        }
    }
    process::end_leftovers();
    if !broken.is_empty() {
        bail!("a promise was broken: {}", broken.join(", "));
    }
    Ok(())
}
