//! `cargo xtask cull-scenarios`: who is stopped by jupyterhub-idle-culler alone, with our hook, and by
//! our command, side by side on real hubs of both versions with real servers.

use anyhow::Result;
use clap::Args;

use crate::identity::{HUBS, Play, Stage};

/// The hub of the quick part: what it shows does not depend on the hub's version.
const QUICK_HUB: &str = "hub-6";

/// The scenarios; what is shown is the table and what is wrong with it.
const SCENARIOS: Play = Play {
    name: "culling",
    title: "who is culled",
    script: "tests/culling/scenarios.py",
    lines_shown: 40,
};

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
    let stage = Stage::prepare()?;
    for (hub, _) in HUBS {
        if args.hub.as_deref().is_none_or(|only| only == hub) {
            stage.play(&SCENARIOS, hub, &args.names)?;
        }
    }
    Ok(())
}

/// The part that every test run can afford.
pub(crate) fn quick(stage: &Stage) -> Result<()> {
    stage.play(&SCENARIOS, QUICK_HUB, &["quick"])
}
