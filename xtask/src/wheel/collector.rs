//! The wheel `hubmeter-collector`: the program as a script, and the arbiter of jupyterhub-idle-culler.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::{Built, DEPTH_MAX, copy, hatchling};
use crate::{
    process,
    progress::Step,
    tools::Tools,
    venv::{self, Venv},
    workspace::Workspace,
};

/// All that the package asks for.
const REQUIREMENTS: &str = "tests/wheel/collector.txt";

/// What the source archive and the wheel are made of, in `collector/python/`.
const PARTS: [&str; 6] = [
    "LICENSE",
    "README.md",
    "hatch_build.py",
    "hubmeter_collector",
    "pyproject.toml",
    "tests",
];

/// Both files, by what `builder` has, with `program` in the wheel; and an environment that has the wheel and
/// what it asks for, nothing else.
pub(super) fn install(
    space: &Workspace,
    tools: &Tools,
    builder: &Venv,
    program: &Path,
) -> Result<(Built, Venv)> {
    let dir = space.target.join("venv-wheel-collector");
    let clean = venv::ensure_at(space, tools, dir, &[REQUIREMENTS])?;
    let mut step = Step::begin("Python package hubmeter-collector: wheel and source archive");
    let source = gather(space, program)?;
    let out = space.target.join("wheels-collector");
    let built = hatchling(space, &mut step, builder, &source, &out)?;
    step.done();
    let mut step = Step::begin("the collector's wheel in a clean environment");
    let mut pip = clean.pip();
    pip.args(["install", "--force-reinstall", "--no-deps", "--no-index"])
        .arg(&built.wheel);
    step.run(&space.logs, "pip-wheel-collector", pip)?;
    step.done();
    Ok((built, clean))
}

/// The package with the program in it, in a folder of its own.
fn gather(space: &Workspace, program: &Path) -> Result<PathBuf> {
    let from = space.root.join("collector/python");
    let to = space.target.join("wheel-source-collector");
    let _ = fs::remove_dir_all(&to);
    let bin = to.join("bin");
    fs::create_dir_all(&bin).with_context(|| format!("cannot make {}", bin.display()))?;
    for part in PARTS {
        copy(&from.join(part), &to.join(part), DEPTH_MAX)?;
    }
    let inside = bin.join("hubmeter-collector");
    if !stripped(program, &inside) {
        fs::copy(program, &inside).with_context(|| format!("cannot copy {}", program.display()))?;
    }
    Ok(to)
}

/// A program of a debug build is packed in seconds without what debuggers read, in half a minute with it.
fn stripped(from: &Path, to: &Path) -> bool {
    let Some(strip) = process::on_path("strip") else {
        return false;
    };
    let mut command = Command::new(strip);
    command.arg("--strip-debug").arg("-o").arg(to).arg(from);
    command.output().is_ok_and(|output| output.status.success())
}
