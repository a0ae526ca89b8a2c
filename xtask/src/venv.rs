//! The virtual environment under `target/`: JupyterHub, JupyterLab and our Python package.
//!
//! pip's own cache and settings are respected, so that a second clone installs without a network
//! where the first one did.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use crate::{process, progress::Step, stamp::Stamp, tools::Tools, workspace::Workspace};

/// A virtual environment that is ready.
pub(crate) struct Venv {
    dir: PathBuf,
}

/// Makes sure the demo's environment is there with what `requirements` (paths in the workspace)
/// ask for.
pub(crate) fn ensure(space: &Workspace, tools: &Tools, requirements: &[&str]) -> Result<Venv> {
    ensure_at(space, tools, space.target.join("venv"), requirements)
}

/// The same in a folder of its own, for what the demo must not have.
pub(crate) fn ensure_at(
    space: &Workspace,
    tools: &Tools,
    dir: PathBuf,
    requirements: &[&str],
) -> Result<Venv> {
    let venv = Venv { dir };
    let files: Vec<PathBuf> = requirements
        .iter()
        .map(|name| space.root.join(name))
        .collect();
    for (file, name) in files.iter().zip(requirements) {
        install(space, tools, &venv, file, name)?;
    }
    Ok(venv)
}

/// Installs our Python package with its built front end.
pub(crate) fn ensure_package(space: &Workspace, tools: &Tools, venv: &Venv) -> Result<()> {
    let source = space.root.join("labextension");
    let mut step = Step::begin("our Python package in the virtual environment");
    let built = source.join("hubmeter/labextension/package.json");
    let stamp = Stamp::of(
        &space.target,
        "python-package",
        &[source.clone(), built],
        &[&tools.python_version],
    )?;
    if stamp.is_fresh(&venv.dir.join("share/jupyter/labextensions/hubmeter")) {
        step.fresh();
        return Ok(());
    }
    stamp.clear();
    let mut pip = venv.pip();
    pip.args(["install", "--upgrade", "--force-reinstall", "--no-deps"])
        .arg(&source);
    step.run(&space.logs, "pip-package", pip)?;
    stamp.set()?;
    step.done();
    Ok(())
}

fn install(space: &Workspace, tools: &Tools, venv: &Venv, file: &Path, name: &str) -> Result<()> {
    let mut step = Step::begin(&format!("virtual environment: {name}"));
    let stamp = Stamp::of(
        &space.target,
        &format!("{}-{}", venv.name(), name.replace('/', "-")),
        &[file.to_owned()],
        &[&tools.python_version, &space.root.to_string_lossy()],
    )?;
    if stamp.is_fresh(&venv.program("python")) {
        step.fresh();
        return Ok(());
    }
    stamp.clear();
    if !venv.works() {
        let mut make = Command::new(&tools.python);
        make.args(["-m", "venv", "--clear"]).arg(&venv.dir);
        step.run(&space.logs, "venv", make)?;
    }
    let mut pip = venv.pip();
    pip.args(["install", "--requirement"]).arg(file);
    step.run(&space.logs, "pip", pip)?;
    stamp.set()?;
    step.done();
    Ok(())
}

// === impl Venv ===

impl Venv {
    /// Its folder's name: one list of requirements may be in several of them.
    fn name(&self) -> String {
        let name = self.dir.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// A program in it.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.dir.join("bin").join(name)
    }

    /// Its folder of programs, first in the PATH of everything the demo starts.
    pub(crate) fn bin(&self) -> PathBuf {
        self.dir.join("bin")
    }

    /// A Python without the user's own packages and settings.
    pub(crate) fn python(&self) -> Command {
        let mut command = Command::new(self.program("python"));
        command
            .env("PYTHONNOUSERSITE", "1")
            .env_remove("PYTHONPATH")
            .env_remove("PYTHONHOME");
        command
    }

    /// Its pytest, which leaves nothing in the tree and says what it skipped.
    pub(crate) fn pytest(&self) -> Command {
        let mut command = self.python();
        command
            .args(["-m", "pytest", "-ra", "-p", "no:cacheprovider"])
            .env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    /// Its pip.
    pub(crate) fn pip(&self) -> Command {
        let mut command = self.python();
        command.args(["-m", "pip", "--disable-pip-version-check", "--no-input"]);
        command
    }

    /// Whether it is there and its Python still starts: a moved clone or an upgraded system Python
    /// leaves one behind that does not.
    fn works(&self) -> bool {
        let python = self.program("python");
        process::output(
            &python.to_string_lossy(),
            &[
                "-c",
                "import pip, sys; assert sys.prefix != sys.base_prefix",
            ],
        )
        .is_some()
            && std::fs::read_to_string(self.program("pip"))
                .is_ok_and(|pip| pip.contains(&*self.dir.to_string_lossy()))
    }
}
