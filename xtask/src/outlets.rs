//! `cargo xtask test outlets`: what pandas and pyarrow make of history and exports.

use anyhow::Result;

use crate::{
    build::{self, Profile},
    progress::Step,
    tools, venv,
    workspace::Workspace,
};

/// What reads them: more than the demo's environment needs to carry.
const REQUIREMENTS: &str = "tests/outlets/requirements.txt";

/// Starts a collector and an agent, and reads what they give out.
pub(crate) fn run() -> Result<()> {
    let space = Workspace::here()?;
    let tools = tools::find()?;
    build::programs(&space, Profile::Debug)?;
    let dir = space.target.join("venv-outlets");
    let venv = venv::ensure_at(&space, &tools, dir, &[REQUIREMENTS])?;
    let mut step = Step::begin("pytest: history and exports by pandas and pyarrow");
    let mut command = venv.pytest();
    command
        .arg("tests/outlets")
        .env("HUBMETER_PROGRAMS", space.target.join("debug"))
        .current_dir(&space.root);
    step.run(&space.logs, "pytest-outlets", command)?;
    step.done();
    Ok(())
}
