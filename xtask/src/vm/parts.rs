//! What the virtual machine is made of: an emulator, a distribution's kernel, a shell.
//!
//! As root on Debian and its kin what is missing is installed; the kernel never is, only unpacked
//! under the target folder.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, anyhow, bail};

use crate::{process, progress::Step, workspace::Workspace};

const EMULATOR: &str = "qemu-system-x86_64";

/// Packages that depend on the newest kernel for virtual machines: Debian's, Ubuntu's.
const KERNELS: [&str; 2] = ["linux-image-cloud-amd64", "linux-image-virtual"];

/// What a disk and its quotas need; Ubuntu's kernel has the former built in, and the latter in a
/// package of its own: there the tests of quotas are left out.
const MODULES: [&str; 8] = [
    "virtio_ring",
    "virtio",
    "virtio_pci_modern_dev",
    "virtio_pci_legacy_dev",
    "virtio_pci",
    "virtio_blk",
    "quota_tree",
    "quota_v2",
];

/// Makes a file system.
pub(super) const MKFS: &str = "mkfs.ext4";

/// Where everything is.
pub(super) struct Parts {
    pub(super) emulator: PathBuf,
    /// A shell that needs no library.
    pub(super) shell: PathBuf,
    pub(super) kernel: PathBuf,
    pub(super) modules: Vec<PathBuf>,
}

/// Finds everything, and gets what is missing.
pub(super) fn get(space: &Workspace, dir: &Path) -> Result<Parts> {
    if !cfg!(target_arch = "x86_64") {
        bail!("it is made for x86_64 only");
    }
    let mut missing = Vec::new();
    if process::on_path(EMULATOR).is_none() {
        missing.push("qemu-system-x86");
    }
    if shell().is_none() {
        missing.push("busybox-static");
    }
    if process::on_path(MKFS).is_none() {
        missing.push("e2fsprogs");
    }
    if !missing.is_empty() {
        install(space, &missing)?;
    }
    let unpacked = dir.join("kernel");
    if !unpacked.is_dir() {
        download(space, dir, &unpacked)?;
    }
    let files = files(&unpacked);
    let kernel = files
        .iter()
        .find(|path| name(path).starts_with("vmlinuz-"))
        .with_context(|| format!("no kernel is in {}", unpacked.display()))?;
    let module = |wanted: &&str| {
        let is_it = |path: &&PathBuf| {
            name(path)
                .split_once(".ko")
                .is_some_and(|(stem, _)| stem == *wanted)
        };
        files.iter().find(is_it).cloned()
    };
    Ok(Parts {
        emulator: process::on_path(EMULATOR).with_context(|| format!("no {EMULATOR}"))?,
        shell: shell().context("no busybox that needs no library")?,
        kernel: kernel.clone(),
        modules: MODULES.iter().filter_map(module).collect(),
    })
}

/// A busybox that is linked statically.
fn shell() -> Option<PathBuf> {
    let found = process::on_path("busybox")?;
    // Of a static program ldd says so and fails.
    let name = found.to_string_lossy().into_owned();
    process::output("ldd", &[&name])
        .is_none_or(|said| !said.contains(".so"))
        .then_some(found)
}

fn install(space: &Workspace, packages: &[&str]) -> Result<()> {
    let list = packages.join(" ");
    if !nix::unistd::geteuid().is_root() || process::on_path("apt-get").is_none() {
        bail!("missing: {list} (Debian, Ubuntu: apt install {list})");
    }
    let mut step = Step::begin(&format!("{list}, by apt-get"));
    step.run(&space.logs, "vm-apt-update", apt(&["update"]))?;
    let mut command = apt(&["install", "--yes", "--no-install-recommends"]);
    command.args(packages);
    step.run(&space.logs, "vm-apt-install", command)?;
    step.done();
    Ok(())
}

/// Unpacks the newest kernel for virtual machines into `to`.
fn download(space: &Workspace, dir: &Path, to: &Path) -> Result<()> {
    if process::on_path("apt-get").is_none() {
        bail!("there is no apt-get to get a kernel with");
    }
    let mut step = Step::begin("a kernel for the virtual machine, by apt-get download");
    let package = match kernel_package() {
        Some(package) => package,
        None => {
            // A fresh container knows no packages at all.
            step.run(&space.logs, "vm-apt-update", apt(&["update"]))?;
            kernel_package()
                .ok_or_else(|| anyhow!("none of {} can be had here", KERNELS.join(", ")))?
        }
    };
    let part = dir.join("kernel.part");
    let _ = fs::remove_dir_all(&part);
    fs::create_dir_all(&part)?;
    let mut command = apt(&["download", &package]);
    command.current_dir(&part);
    step.run(&space.logs, "vm-apt-download", command)?;
    let archive = files(&part)
        .into_iter()
        .find(|path| name(path).ends_with(".deb"))
        .with_context(|| format!("apt-get downloaded no {package}"))?;
    let mut command = Command::new("dpkg-deb");
    command.arg("--extract").arg(&archive).arg(&part);
    step.run(&space.logs, "vm-dpkg-deb", command)?;
    fs::remove_file(&archive)?;
    fs::rename(&part, to)?;
    step.done();
    Ok(())
}

fn kernel_package() -> Option<String> {
    KERNELS.iter().find_map(|package| {
        let said = process::output("apt-cache", &["depends", package])?;
        depended(&said)
    })
}

/// The first image that a package for the newest kernel depends on.
fn depended(said: &str) -> Option<String> {
    said.lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|package| package.starts_with("linux-image-"))
        .map(str::to_owned)
}

fn apt(args: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command
        // Its own user may not write into a checkout.
        .args(["-o", "APT::Sandbox::User=root"])
        .args(args)
        .env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// All files below `dir`.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => dirs.push(entry.path()),
                Ok(kind) if kind.is_file() => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_what_the_package_for_the_newest_depends_on() {
        let said = "linux-image-virtual\n  Depends: linux-firmware\n\
            \x20 Depends: linux-image-6.8.0-40-generic\n  Recommends: thermald\n";
        assert_eq!(
            depended(said).as_deref(),
            Some("linux-image-6.8.0-40-generic")
        );
        assert_eq!(depended("linux-image-virtual\n"), None);
    }
}
