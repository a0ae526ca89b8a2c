//! What npm makes: the hub page, the JupyterLab extension, the demo's proxy, the browser tests.
//!
//! Always `npm ci`: the lock files decide, nothing is written into the checkout but ignored folders.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{progress::Step, stamp::Stamp, tools::Tools, venv::Venv, workspace::Workspace};

/// What a front end is built from, as far as its folder has it.
const SOURCES: [&str; 8] = [
    "src",
    "style",
    "schema",
    "index.html",
    "package.json",
    "package-lock.json",
    "tsconfig.json",
    "vite.config.ts",
];

/// Builds the hub page into `collector/ui/dist`, where the collector's build finds it.
pub(crate) fn page(space: &Workspace, tools: &Tools) -> Result<()> {
    let dir = space.root.join("collector/ui");
    let dist = dir.join("dist");
    build(
        space,
        tools,
        "hub page",
        "page",
        &dir,
        &dist,
        npm(&dir, &["run", "build"]),
    )
}

/// Builds the JupyterLab extension into the Python package's folder.
pub(crate) fn labextension(space: &Workspace, tools: &Tools, venv: &Venv) -> Result<()> {
    let dir = space.root.join("labextension");
    let built = dir.join("hubmeter/labextension/package.json");
    let mut command = npm(&dir, &["run", "build"]);
    // The builder is a Python program of JupyterLab's: take the environment's own.
    command.env(
        "PATH",
        path_with(&[dir.join("node_modules/.bin"), venv.bin()])?,
    );
    build(
        space,
        tools,
        "JupyterLab extension",
        "labextension",
        &dir,
        &built,
        command,
    )
}

/// Installs configurable-http-proxy under `target/`; the path of its program.
pub(crate) fn proxy(space: &Workspace, tools: &Tools) -> Result<PathBuf> {
    let source = space.root.join("deploy/demo/proxy");
    let dir = space.target.join("chp");
    let program = dir.join("node_modules/.bin/configurable-http-proxy");
    let mut step = Step::begin("configurable-http-proxy");
    let stamp = Stamp::of(
        &space.target,
        "chp",
        std::slice::from_ref(&source),
        &[&tools.node_version],
    )?;
    if stamp.is_fresh(&program) {
        step.fresh();
        return Ok(program);
    }
    stamp.clear();
    fs::create_dir_all(&dir)?;
    for name in ["package.json", "package-lock.json", ".npmrc"] {
        fs::copy(source.join(name), dir.join(name))
            .with_context(|| format!("cannot copy {name} of the demo's proxy"))?;
    }
    step.run(&space.logs, "npm-chp", npm(&dir, &["ci"]))?;
    stamp.set()?;
    step.done();
    Ok(program)
}

/// Installs a folder's packages if its lock file changed.
pub(crate) fn packages(space: &Workspace, tools: &Tools, dir: &Path, name: &str) -> Result<()> {
    let mut step = Step::begin(&format!("npm packages of the {name}"));
    if install(space, tools, dir, name, &mut step)? {
        step.done();
    } else {
        step.fresh();
    }
    Ok(())
}

/// An npm command in `dir`.
pub(crate) fn npm(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new("npm");
    command.args(args).current_dir(dir);
    command
        .env("PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD", "1")
        .env("npm_config_update_notifier", "false");
    command
}

/// PATH with `first` before all else.
pub(crate) fn path_with(first: &[PathBuf]) -> Result<std::ffi::OsString> {
    let old = std::env::var_os("PATH").unwrap_or_default();
    let all = first.iter().cloned().chain(std::env::split_paths(&old));
    std::env::join_paths(all).context("a folder's name holds a colon")
}

fn build(
    space: &Workspace,
    tools: &Tools,
    title: &str,
    name: &str,
    dir: &Path,
    result: &Path,
    command: Command,
) -> Result<()> {
    let mut step = Step::begin(title);
    let sources: Vec<PathBuf> = SOURCES
        .iter()
        .map(|name| dir.join(name))
        .filter(|path| path.try_exists().unwrap_or(false))
        .collect();
    let stamp = Stamp::of(&space.target, name, &sources, &[&tools.node_version])?;
    if stamp.is_fresh(result) {
        step.fresh();
        return Ok(());
    }
    stamp.clear();
    install(space, tools, dir, title, &mut step)?;
    step.run(&space.logs, name, command)?;
    stamp.set()?;
    step.done();
    Ok(())
}

fn install(
    space: &Workspace,
    tools: &Tools,
    dir: &Path,
    name: &str,
    step: &mut Step,
) -> Result<bool> {
    let name = format!("npm-{}", name.replace(' ', "-"));
    let inputs = [dir.join("package.json"), dir.join("package-lock.json")];
    let stamp = Stamp::of(&space.target, &name, &inputs, &[&tools.node_version])?;
    if stamp.is_fresh(&dir.join("node_modules")) {
        return Ok(false);
    }
    stamp.clear();
    step.run(&space.logs, &name, npm(dir, &["ci"]))?;
    stamp.set()?;
    Ok(true)
}
