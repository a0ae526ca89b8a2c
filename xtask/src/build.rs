//! Cargo's part: the two programs.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use crate::{progress::Step, workspace::Workspace};

/// How the programs are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// As they are shipped.
    Release,
    /// As tests build them: sooner there, slower at work.
    Debug,
}

/// The two programs, built.
#[derive(Clone)]
pub(crate) struct Programs {
    /// `hubmeter-agent`
    pub(crate) agent: PathBuf,
    /// `hubmeter-collector`
    pub(crate) collector: PathBuf,
}

/// Builds agent and collector. The hub page must be built before: the collector carries it.
pub(crate) fn programs(space: &Workspace, profile: Profile) -> Result<Programs> {
    let (title, folder) = match profile {
        Profile::Release => (
            "agent and collector (release build; the first takes minutes)",
            "release",
        ),
        Profile::Debug => (
            "agent and collector (debug build; the first takes minutes)",
            "debug",
        ),
    };
    let mut step = Step::begin(title);
    let mut command = cargo(&space.root);
    command.args([
        "build",
        "--package",
        "hubmeter-agent",
        "--package",
        "hubmeter-collector",
    ]);
    if profile == Profile::Release {
        command.arg("--release");
    }
    step.run(&space.logs, "cargo-build", command)?;
    step.done();
    let dir = space.target.join(folder);
    Ok(Programs {
        agent: dir.join("hubmeter-agent"),
        collector: dir.join("hubmeter-collector"),
    })
}

/// Builds the agent alone, as it is shipped.
pub(crate) fn agent(space: &Workspace) -> Result<PathBuf> {
    let mut step = Step::begin("agent (release build; the first takes minutes)");
    let mut command = cargo(&space.root);
    command.args(["build", "--release", "--package", "hubmeter-agent"]);
    step.run(&space.logs, "cargo-build-agent", command)?;
    step.done();
    Ok(space.target.join("release/hubmeter-agent"))
}

/// The cargo that runs us, in `dir`, without what it told us about ourselves.
pub(crate) fn cargo(dir: &Path) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(dir);
    for (name, _) in std::env::vars_os() {
        let name_text = name.to_string_lossy();
        if name_text.starts_with("CARGO_PKG_") || name_text == "CARGO_MANIFEST_DIR" {
            command.env_remove(&name);
        }
    }
    command
}
