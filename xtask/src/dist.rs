//! `cargo xtask dist`: the agent as one static file that runs on any Linux of its processor.
//!
//! What is missing for it is installed where that needs nobody's word (a rustup target), or by
//! root (the musl compiler for ring's C and assembler); else the line to type is said.

use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result, bail};
use nix::unistd::geteuid;

use crate::{
    build::cargo,
    process::{on_path, output},
    progress::{Step, say},
    workspace::Workspace,
};

/// The C compiler's name on Debian and its kin, and on those whose own C library is musl.
const MUSL_COMPILERS: [&str; 2] = ["musl-gcc", "x86_64-linux-musl-gcc"];

/// The program can lie anywhere in memory; the list of places to correct for that is read at every
/// start and then stays resident. This form of it has a few kB in place of 130.
const RELOCATIONS: &str = "link-arg=-Wl,-z,pack-relative-relocs";

/// Puts together what a running agent never executes, so that it is not resident.
const SELDOM: &str = "agent/seldom.ld";

/// Said here, since cargo forgets a profile's `strip` for a package that has an override in it.
const STRIPPED: &str = "strip=symbols";

/// What the program may be at most: it is copied into every image.
const PROGRAM_BYTES_MAX: u64 = 4_000_000;

/// Builds it and says where it is.
pub(crate) fn run() -> Result<()> {
    let space = Workspace::here()?;
    let agent = agent(&space)?;
    let bytes = size_bytes(&agent)?;
    if bytes > PROGRAM_BYTES_MAX {
        bail!(
            "{} has {bytes} bytes, more than the {PROGRAM_BYTES_MAX} it may have",
            agent.display()
        );
    }
    say(&format!(
        "\n  {} ({:.2} MB): needs no C library; copy it to where servers start",
        agent.display(),
        bytes as f64 / 1e6
    ));
    Ok(())
}

/// The static agent, built.
pub(crate) fn agent(space: &Workspace) -> Result<PathBuf> {
    let target = target()?;
    prepare(space, target)?;
    let mut step = Step::begin("static agent (the first build takes minutes)");
    let mut command = cargo(&space.root);
    command.args(["rustc", "--profile", "dist", "--target", target]);
    command.args(["--package", "hubmeter-agent", "--bin", "hubmeter-agent"]);
    command.args(["--", "-C", STRIPPED, "-C", RELOCATIONS]);
    let order = space.root.join(SELDOM);
    command.args(["-C", &format!("link-arg=-Wl,-T,{}", order.display())]);
    step.run(&space.logs, "dist-build", command)?;
    step.done();
    Ok(space.target.join(target).join("dist/hubmeter-agent"))
}

/// The musl target of this machine's processor.
fn target() -> Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("x86_64-unknown-linux-musl"),
        "aarch64" => Ok("aarch64-unknown-linux-musl"),
        other => bail!("no static build for {other} processors"),
    }
}

fn prepare(space: &Workspace, target: &str) -> Result<()> {
    if !has_target(target) {
        let line = format!("rustup target add {target}");
        if on_path("rustup").is_none() {
            bail!(
                "the standard library for {target} is missing: {line} (or your distribution's \
                 package of it)"
            );
        }
        let mut step = Step::begin(&line);
        let mut command = Command::new("rustup");
        command.args(["target", "add", target]);
        step.run(&space.logs, "rustup", command)?;
        step.done();
    }
    if MUSL_COMPILERS.iter().all(|name| on_path(name).is_none()) {
        let line = "apt-get install --yes musl-tools";
        if !geteuid().is_root() || on_path("apt-get").is_none() {
            bail!(
                "no musl compiler found. Debian, Ubuntu: sudo {line}; Alpine, Arch: package musl"
            );
        }
        let mut step = Step::begin(line);
        let mut command = Command::new("apt-get");
        command.args(["install", "--yes", "musl-tools"]);
        step.run(&space.logs, "apt", command)?;
        step.done();
    }
    Ok(())
}

/// Whether the compiler can build for `target`.
fn has_target(target: &str) -> bool {
    output("rustc", &["--print", "target-libdir", "--target", target])
        .map(PathBuf::from)
        .is_some_and(|dir| dir.is_dir())
}

/// How large a program is.
pub(crate) fn size_bytes(program: &std::path::Path) -> Result<u64> {
    let file = program
        .metadata()
        .with_context(|| format!("no program at {}", program.display()))?;
    Ok(file.len())
}
