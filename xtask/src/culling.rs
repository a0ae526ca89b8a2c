//! `cargo xtask cull-scenarios`: who is stopped by jupyterhub-idle-culler alone, with our hook, and by
//! our command, side by side on real hubs of both versions with real servers.

use anyhow::Result;
use clap::Args;

use crate::{
    build::{self, Profile},
    identity::HUBS,
    node, process,
    progress::{Step, say},
    tools, venv,
    workspace::Workspace,
};

/// The hub of the quick part: what it shows does not depend on the hub's version.
const QUICK_HUB: &str = "hub-6";

/// Lines of the table and what is wrong with it.
const LINES_SHOWN: usize = 40;

/// Settings of `cargo xtask cull-scenarios`.
#[derive(Args, Debug)]
pub(crate) struct CullScenarios {
    /// Only this hub: hub-5 or hub-6
    #[arg(long, value_parser = HUBS.map(|(hub, _)| hub))]
    hub: Option<String>,
    /// Only these, by their names in tests/culling/scenarios.py; or quick, what every test run does
    names: Vec<String>,
}

/// Runs all scenarios on each hub and prints the tables: a quarter of an hour for each.
pub(crate) fn run(args: &CullScenarios) -> Result<()> {
    for (hub, _) in HUBS {
        if args.hub.as_deref().is_none_or(|only| only == hub) {
            play(hub, &args.names)?;
        }
    }
    Ok(())
}

/// The part that every test run can afford.
pub(crate) fn quick() -> Result<()> {
    play(QUICK_HUB, &["quick".to_owned()])
}

fn play(hub: &str, names: &[String]) -> Result<()> {
    let space = Workspace::here()?;
    let tools = tools::find()?;
    let proxy = node::proxy(&space, &tools)?;
    let programs = build::programs(&space, Profile::Debug)?;
    let dir = space.target.join("identity");
    let requirements = format!("tests/identity/{hub}.txt");
    let venv = venv::ensure_at(&space, &tools, dir.join(hub), &[&requirements])?;
    let mut step = Step::begin(&format!("who is culled ({hub})"));
    let mut command = venv.python();
    command
        .arg(space.root.join("tests/culling/scenarios.py"))
        .args([&dir.join(format!("{hub}-culling")), &dir.join(hub), &proxy])
        .args([&programs.agent, &programs.collector])
        .args(names)
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let name = format!("culling-{hub}");
    step.run(&space.logs, &name, command)?;
    step.done();
    let log = space.logs.join(format!("{name}.log"));
    say(&process::last_lines(&log, LINES_SHOWN));
    Ok(())
}
