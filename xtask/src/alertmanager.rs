//! A real Alertmanager for the tests: the machine's own, else Debian's package, unpacked.
//!
//! Unpacked and not installed: no service is started, nothing is left outside the target folder,
//! and where the package lists are there it takes no root.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result, ensure};

use crate::{
    process,
    progress::{Step, say},
    workspace::Workspace,
};

/// Names a program of one's own, for the tests as well.
pub(crate) const VARIABLE: &str = "HUBMETER_ALERTMANAGER";

/// The package, and the program in it.
const NAME: &str = "prometheus-alertmanager";

/// The program; `None`, and a word to the person, where it cannot be had.
pub(crate) fn find(space: &Workspace) -> Result<Option<PathBuf>> {
    let named = std::env::var_os(VARIABLE).map(PathBuf::from);
    if let Some(found) = named.or_else(|| process::on_path(NAME)) {
        return Ok(Some(found));
    }
    let dir = space.target.join("tools/alertmanager");
    let program = dir.join("usr/bin").join(NAME);
    if program.is_file() {
        return Ok(Some(program));
    }
    for tool in ["apt-get", "dpkg-deb"] {
        if process::on_path(tool).is_none() {
            say(&format!(
                "     no {NAME}, and no {tool} to bring it: its test does not run"
            ));
            return Ok(None);
        }
    }
    let mut step = Step::begin("Alertmanager: Debian's package, unpacked under target/tools");
    let unpacked = unpack(&mut step, space, &dir).and_then(|()| {
        ensure!(
            program.is_file(),
            "its package has no {}",
            program.display()
        );
        Ok(())
    });
    match unpacked {
        Ok(()) => {
            step.done();
            Ok(Some(program))
        }
        Err(error) => {
            step.failed();
            say(&format!("     its test does not run: {error:#}"));
            crate::stop::check()?;
            Ok(None)
        }
    }
}

fn unpack(step: &mut Step, space: &Workspace, dir: &std::path::Path) -> Result<()> {
    let _ = fs::remove_dir_all(dir);
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let mut apt = |args: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(args).current_dir(dir);
        process::run(step, &space.logs, "apt-get-alertmanager", command)
    };
    if let Err(error) = apt(&["download", NAME]) {
        // A container often comes without package lists; only root may bring them.
        if !nix::unistd::geteuid().is_root() {
            return Err(error);
        }
        apt(&["update"])?;
        apt(&["download", NAME])?;
    }
    let package = fs::read_dir(dir)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|end| end == "deb"))
        .with_context(|| format!("apt-get brought no package into {}", dir.display()))?;
    let mut extract = Command::new("dpkg-deb");
    extract.arg("--extract").arg(&package).arg(dir);
    process::run(step, &space.logs, "dpkg-deb-alertmanager", extract)?;
    let _ = fs::remove_file(package);
    Ok(())
}
