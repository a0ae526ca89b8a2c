//! `cargo xtask wheel`: the Python package with the static agent in it, for `pip install` and nothing
//! else; and the check that installs one where there is no Node and uses it, and beside it the collector's.
//!
//! The package is put together in a folder of its own: an agent in the checkout's package would end up
//! in every other build of it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::{
    build::{self, Profile},
    checks::TEST_REQUIREMENTS,
    dist, e2e, node,
    progress::{Step, say},
    tools::{self, Tools},
    up,
    venv::{self, Venv},
    workspace::Workspace,
};

mod collector;

/// What makes a wheel.
const BUILDER: &str = "tests/wheel/build.txt";

/// What the check installs it beside.
const BESIDE: &str = "tests/wheel/requirements.txt";

/// What the source archive and the wheel are made of, in `labextension/`.
const PARTS: [&str; 7] = [
    "LICENSE",
    "README.md",
    "hatch_build.py",
    "hubmeter",
    "install.json",
    "jupyter-config",
    "pyproject.toml",
];

/// Left behind by those who run the package where it lies.
const LEFTOVERS: [&str; 2] = ["__pycache__", "bin"];

/// Deeper than any folder of ours: a link to above would not end.
const DEPTH_MAX: usize = 8;

/// The two files.
struct Built {
    wheel: PathBuf,
    source: PathBuf,
}

/// Builds both as they are shipped, and says where they are.
pub(crate) fn run() -> Result<()> {
    let space = Workspace::here()?;
    let tools = tools::find()?;
    let agent = dist::agent(&space)?;
    let (built, _) = build(&space, &tools, &agent, &[BUILDER])?;
    for file in [&built.wheel, &built.source] {
        let bytes = dist::size_bytes(file)?;
        say(&format!(
            "  {} ({:.2} MB)",
            file.display(),
            bytes as f64 / 1e6
        ));
    }
    Ok(())
}

/// Installs a wheel beside every front end there is, without Node, and lets them all look at it.
pub(crate) fn check() -> Result<()> {
    let space = Workspace::here()?;
    let tools = tools::find()?;
    // What is checked is the package: an agent that is built sooner will do.
    let programs = build::programs(&space, Profile::Debug)?;
    let (built, clean) = build(&space, &tools, &programs.agent, &[BUILDER, BESIDE])?;
    let mut step = Step::begin("the wheel in a clean environment");
    let mut pip = clean.pip();
    pip.args(["install", "--force-reinstall", "--no-deps", "--no-index"])
        .arg(&built.wheel);
    step.run(&space.logs, "pip-wheel", pip)?;
    step.done();

    let (of_collector, bare) = collector::install(&space, &tools, &clean, &programs.collector)?;

    let venv = venv::ensure(&space, &tools, &[up::REQUIREMENTS, TEST_REQUIREMENTS])?;
    let mut step = Step::begin("pytest: the wheels, installed");
    let mut command = venv.pytest();
    command
        .arg("tests/wheel")
        .env("HUBMETER_WHEEL", &built.wheel)
        .env("HUBMETER_SOURCE", &built.source)
        .env("HUBMETER_WHEEL_BIN", clean.bin())
        .env("HUBMETER_COLLECTOR_WHEEL", &of_collector.wheel)
        .env("HUBMETER_COLLECTOR_SOURCE", &of_collector.source)
        .env("HUBMETER_COLLECTOR_BIN", bare.bin())
        .current_dir(&space.root);
    step.run(&space.logs, "pytest-wheel", command)?;
    step.done();
    e2e::fronts(&space, &tools, &clean)
}

fn build(
    space: &Workspace,
    tools: &Tools,
    agent: &Path,
    requirements: &[&str],
) -> Result<(Built, Venv)> {
    let venv = venv::ensure(space, tools, &[up::REQUIREMENTS])?;
    node::labextension(space, tools, &venv)?;
    let clean = venv::ensure_at(space, tools, space.target.join("venv-wheel"), requirements)?;
    let mut step = Step::begin("Python package hubmeter: wheel and source archive");
    let source = gather(space, agent)?;
    let out = space.target.join("wheels");
    let built = hatchling(space, &mut step, &clean, &source, &out)?;
    step.done();
    Ok((built, clean))
}

/// Both files in `out`, and nothing else, of the package in `source`.
fn hatchling(
    space: &Workspace,
    step: &mut Step,
    builder: &Venv,
    source: &Path,
    out: &Path,
) -> Result<Built> {
    let _ = fs::remove_dir_all(out);
    let mut command = builder.python();
    command
        .args(["-m", "hatchling", "build", "--directory"])
        .arg(out)
        .current_dir(source);
    step.run(&space.logs, "hatchling", command)?;
    Ok(Built {
        wheel: the_one(out, ".whl")?,
        source: the_one(out, ".tar.gz")?,
    })
}

/// The package with the agent in it, in a folder of its own.
fn gather(space: &Workspace, agent: &Path) -> Result<PathBuf> {
    let from = space.root.join("labextension");
    let to = space.target.join("wheel-source");
    let _ = fs::remove_dir_all(&to);
    fs::create_dir_all(&to).with_context(|| format!("cannot make {}", to.display()))?;
    for part in PARTS {
        copy(&from.join(part), &to.join(part), DEPTH_MAX)?;
    }
    let bin = to.join("hubmeter/bin");
    fs::create_dir_all(&bin)?;
    fs::copy(agent, bin.join("hubmeter-agent"))
        .with_context(|| format!("cannot copy {}", agent.display()))?;
    Ok(to)
}

/// A file, or a folder with what is in it.
fn copy(from: &Path, to: &Path, depth: usize) -> Result<()> {
    if !from.is_dir() {
        fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
        return Ok(());
    }
    if depth == 0 {
        bail!("{} is deeper than a package can be", from.display());
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if !LEFTOVERS.iter().any(|leftover| name == *leftover) {
            copy(&entry.path(), &to.join(&name), depth - 1)?;
        }
    }
    Ok(())
}

fn the_one(dir: &Path, end: &str) -> Result<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("nothing in {}", dir.display()))? {
        let path = entry?.path();
        if path.to_string_lossy().ends_with(end) {
            found.push(path);
        }
    }
    match <[PathBuf; 1]>::try_from(found) {
        Ok([path]) => Ok(path),
        Err(found) => bail!("{} holds {} files {end}", dir.display(), found.len()),
    }
}
