//! `cargo xtask identity`: who may report and who may read, by every kind of token, against real
//! hubs of both versions that we hold ourselves to, each with its real proxy.

use anyhow::Result;

use crate::{
    build::{self, Profile},
    culling, node, process,
    progress::{Step, say},
    tools, venv,
    workspace::Workspace,
};

/// The hubs, by what is installed, and what is tried beside the matrix. How the collector takes a
/// hub that misbehaves does not depend on the hub's version.
pub(crate) const HUBS: [(&str, &[&str]); 2] = [("hub-5", &[]), ("hub-6", &["faults"])];

/// Runs the matrix against each and prints its table, and then what of culling every run can afford.
pub(crate) fn run() -> Result<()> {
    let space = Workspace::here()?;
    let tools = tools::find()?;
    let proxy = node::proxy(&space, &tools)?;
    let programs = build::programs(&space, Profile::Debug)?;
    let dir = space.target.join("identity");
    for (hub, more) in HUBS {
        let requirements = format!("tests/identity/{hub}.txt");
        let venv = venv::ensure_at(&space, &tools, dir.join(hub), &[&requirements])?;
        let mut step = Step::begin(&format!("identity matrix ({hub})"));
        let mut command = venv.python();
        command
            .arg(space.root.join("tests/identity/matrix.py"))
            .args([&dir.join(format!("{hub}-bed")), &dir.join(hub), &proxy])
            .args([&programs.agent, &programs.collector])
            .args(more)
            .env("PYTHONDONTWRITEBYTECODE", "1");
        let name = format!("identity-{hub}");
        step.run(&space.logs, &name, command)?;
        step.done();
        say(&process::last_lines(
            &space.logs.join(format!("{name}.log")),
            40,
        ));
    }
    culling::quick()
}
