//! `cargo xtask accuracy`: what is said of seven workloads, and what the kernel charges for them.
//!
//! Prints the table of docs/ACCURACY.md, made on this machine: a real Jupyter server with
//! jupyter-resource-usage, and our agent beside it.

use anyhow::{Result, bail};
use clap::Args;

use crate::{build, process, progress::say, tools, venv, workspace::Workspace};

/// What the table's script needs.
const REQUIREMENTS: &str = "tests/accuracy/requirements.txt";

/// Settings of `cargo xtask accuracy`.
#[derive(Args, Debug)]
pub(crate) struct Accuracy {
    /// Only workloads with this in their name
    #[arg(long, value_name = "WORDS")]
    only: Option<String>,
}

/// Prepares an environment of its own (jupyter-resource-usage must not be in the demo's) and runs
/// the script.
pub(crate) fn run(args: &Accuracy) -> Result<()> {
    let space = Workspace::here()?;
    let tools = tools::find()?;
    let dir = space.target.join("accuracy/venv");
    let venv = venv::ensure_at(&space, &tools, dir, &[REQUIREMENTS])?;
    let agent = build::agent(&space)?;
    process::adopt_orphans();
    let mut script = venv.python();
    script
        .arg(space.root.join("tests/accuracy/accuracy.py"))
        .arg("--agent")
        .arg(agent)
        .env("PYTHONDONTWRITEBYTECODE", "1");
    if let Some(only) = &args.only {
        script.args(["--only", only]);
    }
    say("");
    let status = script.status();
    process::end_leftovers();
    if !status?.success() {
        bail!("the table could not be made");
    }
    Ok(())
}
