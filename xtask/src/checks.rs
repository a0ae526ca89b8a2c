//! The checks of `cargo xtask test`, each able to run alone: it brings what it needs.

use std::{ffi::OsStr, fs, path::PathBuf, process::Command, thread::available_parallelism};

use anyhow::{Context, Result, bail};

use crate::{
    alertmanager,
    build::cargo,
    flaky, node, process,
    progress::{Step, say},
    tools, up, venv,
    workspace::Workspace,
};

/// What the tests need in the virtual environment beside the demo.
pub(crate) const TEST_REQUIREMENTS: &str = "tests/e2e/requirements.txt";

/// Tests at once: the long ones wait, for disks that hang and agents that keep silent.
const TESTS_PER_PROCESSOR: usize = 2;

/// Where the units say the programs are installed.
const INSTALLED: &str = "/usr/local/bin/hubmeter-";

/// The systemd that knows restarts in steps; older ones ignore the keys and restart evenly.
const STEPS_SINCE: u32 = 254;

/// Those keys.
const STEPS_KEYS: [&str; 2] = ["RestartSteps=", "RestartMaxDelaySec="];

/// A tool that runs for seconds is not worth the minutes of its own release profile.
const BUILT_SOON: [(&str, &str); 3] = [
    ("CARGO_PROFILE_RELEASE_LTO", "off"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1"),
];

/// `cargo fmt --check`
pub(crate) fn format() -> Result<()> {
    cargo_step("rustfmt", &["fmt", "--all", "--check"])
}

/// Clippy, warnings are errors.
pub(crate) fn clippy() -> Result<()> {
    cargo_step(
        "clippy",
        &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ],
    )
}

/// Every Rust test: unit, property, golden, tidy, generated code, both programs together.
pub(crate) fn rust_tests() -> Result<()> {
    // Tests that run the programs find them beside themselves.
    cargo_step(
        "cargo-build-workspace",
        &["build", "--workspace", "--all-targets"],
    )?;
    let alertmanager = alertmanager::find(&Workspace::here()?)?;
    let told: Vec<_> = alertmanager
        .iter()
        .map(|program| (alertmanager::VARIABLE, program.as_os_str()))
        .collect();
    if process::on_path("cargo-nextest").is_some() {
        let threads = (TESTS_PER_PROCESSOR * available_parallelism()?.get()).to_string();
        cargo_step_with(
            &told,
            "cargo-nextest",
            &[
                "nextest",
                "run",
                "--workspace",
                "--no-fail-fast",
                "--test-threads",
                &threads,
            ],
        )?;
        flaky::tell(&Workspace::here()?.logs.join("cargo-nextest.log"))?;
        cargo_step("cargo-test-doc", &["test", "--workspace", "--doc"])
    } else {
        cargo_step_with(
            &told,
            "cargo-test",
            &["test", "--workspace", "--no-fail-fast"],
        )
    }
}

/// The tidy test alone.
pub(crate) fn tidy() -> Result<()> {
    cargo_step(
        "tidy",
        &["test", "--package", "hubmeter-tests", "--test", "tidy"],
    )
}

/// Licences, sources and duplicates of dependencies; advisories where their database can be had.
pub(crate) fn deny() -> Result<()> {
    let space = Workspace::here()?;
    let program = cargo_deny(&space)?;
    let with = |args: &[&str]| {
        let mut command = cargo(&space.root);
        command.env("PATH", node::path_with(&[space.target.join("tools/bin")])?);
        command.arg("deny").args(args);
        Ok::<_, anyhow::Error>(command)
    };
    let mut step = Step::begin(&format!("cargo deny ({})", program.display()));
    step.run(
        &space.logs,
        "deny",
        with(&["check", "bans", "licenses", "sources"])?,
    )?;
    step.done();
    let mut step = Step::begin("cargo deny: advisories");
    if process::run(
        &mut step,
        &space.logs,
        "deny-fetch",
        with(&["fetch", "db"])?,
    )
    .is_err()
    {
        step.done();
        say("     advisories not checked: their database cannot be reached from here");
        return Ok(());
    }
    step.run(
        &space.logs,
        "deny-advisories",
        with(&["check", "advisories"])?,
    )?;
    step.done();
    Ok(())
}

/// The tests of the server extension, and of the idle culler's hook.
pub(crate) fn python() -> Result<()> {
    let space = Workspace::here()?;
    let tools = tools::find()?;
    let venv = venv::ensure(&space, &tools, &[up::REQUIREMENTS, TEST_REQUIREMENTS])?;
    node::labextension(&space, &tools, &venv)?;
    venv::ensure_package(&space, &tools, &venv)?;
    let mut step = Step::begin("pytest");
    let mut command = venv.pytest();
    command
        .env("PATH", node::path_with(&[venv.bin()])?)
        .current_dir(space.root.join("labextension"));
    step.run(&space.logs, "pytest", command)?;
    step.done();
    hook(&space, &venv)
}

/// What jupyterhub-idle-culler asks, against a collector's double.
fn hook(space: &Workspace, venv: &venv::Venv) -> Result<()> {
    let mut step = Step::begin("pytest: the idle culler's hook");
    let mut command = venv.pytest();
    command.current_dir(space.root.join("collector/python"));
    step.run(&space.logs, "pytest-hook", command)?;
    step.done();
    Ok(())
}

/// Types, lint and unit tests of the hub page, the JupyterLab extension and the browser tests.
pub(crate) fn typescript() -> Result<()> {
    let space = Workspace::here()?;
    let tools = tools::find()?;
    for (dir, name) in [
        ("collector/ui", "hub page"),
        ("labextension", "JupyterLab extension"),
        ("tests/e2e", "browser tests"),
    ] {
        let dir = space.root.join(dir);
        node::packages(&space, &tools, &dir, name)?;
        for script in ["check", "lint", "test"] {
            // The browser tests' own `test` needs a hub: it is a step of its own.
            let runs_elsewhere = name == "browser tests" && script == "test";
            if runs_elsewhere || !has_script(&dir.join("package.json"), script)? {
                continue;
            }
            let mut step = Step::begin(&format!("{name}: npm run {script}"));
            let log = format!("npm-{}-{script}", name.replace(' ', "-"));
            step.run(&space.logs, &log, node::npm(&dir, &["run", script]))?;
            step.done();
        }
    }
    Ok(())
}

/// The units, as systemd itself reads them.
pub(crate) fn units() -> Result<()> {
    let space = Workspace::here()?;
    let Some(version) = systemd_version() else {
        say("     units not checked: systemd-analyze is not on this machine");
        return Ok(());
    };
    let mut step = Step::begin(&format!("systemd-analyze verify (systemd {version})"));
    let dir = space.target.join("units");
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir)?;
    let mut command = Command::new("systemd-analyze");
    command.args(["verify", "--man=no", "--recursive-errors=no"]);
    for entry in fs::read_dir(space.root.join("systemd"))? {
        let path = entry?.path();
        if path
            .extension()
            .is_none_or(|extension| extension != "service")
        {
            continue;
        }
        let text = fs::read_to_string(&path)?;
        let copy = dir.join(path.file_name().context("a unit without a name")?);
        fs::write(&copy, checkable(&text, version))?;
        command.arg(copy);
    }
    step.run(&space.logs, "systemd-analyze", command)?;
    let said = process::last_lines(&space.logs.join("systemd-analyze.log"), 20);
    if said.contains(&*dir.to_string_lossy()) {
        step.failed();
        bail!("systemd-analyze is not content:\n{said}");
    }
    step.done();
    Ok(())
}

fn systemd_version() -> Option<u32> {
    let said = process::output("systemd-analyze", &["--version"])?;
    said.split_whitespace().nth(1)?.parse().ok()
}

/// The unit as this machine can check it: programs that are not installed are stood in for, and
/// keys that this systemd would only ignore are left out.
fn checkable(unit: &str, version: u32) -> String {
    unit.lines()
        .filter(|line| {
            version >= STEPS_SINCE || !STEPS_KEYS.iter().any(|key| line.starts_with(key))
        })
        .map(|line| match line.split_once(INSTALLED) {
            Some((before, _)) if line.starts_with("Exec") => format!("{before}/bin/true\n"),
            _ => format!("{line}\n"),
        })
        .collect()
}

fn cargo_step(name: &str, args: &[&str]) -> Result<()> {
    cargo_step_with(&[], name, args)
}

/// The same with more in its environment.
fn cargo_step_with(told: &[(&str, &OsStr)], name: &str, args: &[&str]) -> Result<()> {
    let space = Workspace::here()?;
    let mut step = Step::begin(&format!("cargo {}", args.join(" ")));
    let mut command = cargo(&space.root);
    command.args(args).envs(told.iter().copied());
    step.run(&space.logs, name, command)?;
    step.done();
    Ok(())
}

fn cargo_deny(space: &Workspace) -> Result<PathBuf> {
    let ours = space.target.join("tools/bin/cargo-deny");
    if let Some(found) =
        process::on_path("cargo-deny").or_else(|| ours.is_file().then(|| ours.clone()))
    {
        return Ok(found);
    }
    let mut step =
        Step::begin("cargo-deny is not on PATH: building one under target/tools (minutes, once)");
    let mut command = cargo(&space.root);
    command
        .args(["install", "--locked", "cargo-deny", "--root"])
        .arg(space.target.join("tools"))
        .env("CARGO_TARGET_DIR", space.target.join("tools/build"))
        .envs(BUILT_SOON);
    step.run(&space.logs, "install-cargo-deny", command)?;
    let _ = fs::remove_dir_all(space.target.join("tools/build"));
    step.done();
    Ok(ours)
}

fn has_script(package: &std::path::Path, script: &str) -> Result<bool> {
    let text = fs::read_to_string(package)
        .with_context(|| format!("cannot read {}", package.display()))?;
    let json: serde_json::Value = serde_json::from_str(&text)
        .with_context(|| format!("{} is not JSON", package.display()))?;
    Ok(json["scripts"][script].is_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: &str = "[Service]\nExecStart=/usr/local/bin/hubmeter-agent run\n\
        ReadOnlyPaths=/usr/local/bin/hubmeter-x\nRestartSteps=6\n";

    #[test]
    fn only_commands_of_ours_are_stood_in_for() {
        assert_eq!(
            checkable(UNIT, STEPS_SINCE),
            "[Service]\nExecStart=/bin/true\nReadOnlyPaths=/usr/local/bin/hubmeter-x\nRestartSteps=6\n"
        );
    }

    #[test]
    fn an_old_systemd_is_not_asked_about_keys_it_ignores() {
        assert!(!checkable(UNIT, 252).contains("RestartSteps"));
    }
}
