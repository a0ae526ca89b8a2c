//! `cargo xtask identity`: who may report and who may read, by every kind of token, against real
//! hubs of both versions that we hold ourselves to, each with its real proxy.

use std::{ffi::OsStr, path::PathBuf, thread};

use anyhow::{Result, anyhow, bail};

use crate::{
    build::{self, Profile, Programs},
    culling, node, process,
    progress::{Step, say},
    tools::{self, Tools},
    venv::{self, Venv},
    workspace::Workspace,
};

/// The hubs, by what is installed, and what is tried beside the matrix. How the collector takes a
/// hub that misbehaves does not depend on the hub's version.
pub(crate) const HUBS: [(&str, &[&str]); 2] = [("hub-5", &[]), ("hub-6", &["faults"])];

/// The matrix of tokens.
const MATRIX: Play = Play {
    name: "identity",
    title: "identity matrix",
    script: "tests/identity/matrix.py",
    lines_shown: 40,
};

/// What is tried against a real hub, by a script that starts it and says what it saw.
pub(crate) struct Play {
    /// In the names of its log and of its folder.
    pub(crate) name: &'static str,
    /// As people are told.
    pub(crate) title: &'static str,
    /// In the workspace.
    pub(crate) script: &'static str,
    /// Last lines of what it said that are shown.
    pub(crate) lines_shown: usize,
}

/// What every play needs, ready to run.
pub(crate) struct Stage {
    space: Workspace,
    tools: Tools,
    proxy: PathBuf,
    programs: Programs,
}

/// Runs the matrix against each and prints its table, and then what of culling every run can afford.
pub(crate) fn run() -> Result<()> {
    let stage = Stage::prepare()?;
    for (hub, _) in HUBS {
        stage.install(hub)?;
    }
    // They wait far more than they compute, the faults most: two hubs at once.
    let [(older, no_more), (newer, faults)] = HUBS;
    thread::scope(|scope| {
        let beside = scope.spawn(|| stage.play(&MATRIX, newer, faults));
        let first = stage
            .play(&MATRIX, older, no_more)
            .and_then(|()| culling::quick(&stage));
        let second = beside
            .join()
            .unwrap_or_else(|_| Err(anyhow!("{newer}: this program panicked")));
        match (first, second) {
            (Err(first), Err(second)) => bail!("{older}: {first:#}; {newer}: {second:#}"),
            (first, second) => first.and(second),
        }
    })
}

// === impl Stage ===

impl Stage {
    /// Builds and installs all but the hubs.
    pub(crate) fn prepare() -> Result<Self> {
        let space = Workspace::here()?;
        let tools = tools::find()?;
        let proxy = node::proxy(&space, &tools)?;
        let programs = build::programs(&space, Profile::Debug)?;
        Ok(Self {
            space,
            tools,
            proxy,
            programs,
        })
    }

    /// The virtual environment of `hub`.
    fn install(&self, hub: &str) -> Result<Venv> {
        let dir = self.space.target.join("identity").join(hub);
        let requirements = format!("tests/identity/{hub}.txt");
        venv::ensure_at(&self.space, &self.tools, dir, &[&requirements])
    }

    /// Installs `hub`, plays against it, and shows the end of what was said.
    pub(crate) fn play<S: AsRef<OsStr>>(&self, play: &Play, hub: &str, more: &[S]) -> Result<()> {
        let space = &self.space;
        let dir = space.target.join("identity");
        let venv = self.install(hub)?;
        let mut step = Step::begin(&format!("{} ({hub})", play.title));
        let own = dir.join(format!("{hub}-{}", play.name));
        let mut command = venv.python();
        command
            .arg(space.root.join(play.script))
            .args([&own, &dir.join(hub), &self.proxy])
            .args([&self.programs.agent, &self.programs.collector])
            .args(more)
            .env("PYTHONDONTWRITEBYTECODE", "1");
        let name = format!("{}-{hub}", play.name);
        step.run(&space.logs, &name, command)?;
        step.done();
        let log = space.logs.join(format!("{name}.log"));
        say(&process::last_lines(&log, play.lines_shown));
        Ok(())
    }
}
