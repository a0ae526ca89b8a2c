//! What the virtual machine starts from: a shell, the programs with their libraries, a script.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use super::{ENDED, Programs, STARTED, archive::Archive, parts::Parts};
use crate::process;

/// Where the device is that floods the page cache.
const DISK: &str = "/dev/vda";

/// Where the file system with quotas is.
const QUOTA_DISK: &str = "/dev/vdb";

/// Writes the image; returns where it is.
pub(super) fn write(dir: &Path, parts: &Parts, programs: &Programs) -> Result<PathBuf> {
    let mut archive = Archive::default();
    for dir in ["proc", "sys", "dev", "tmp", "run", "root", "modules"] {
        archive.directory(dir);
    }
    archive.device("dev/console", (5, 1));
    archive.program(Path::new("/bin/busybox"), &fs::read(&parts.shell)?);
    let mut libraries = BTreeSet::new();
    for program in [&programs.tests, &programs.agent, &programs.server] {
        archive.program(program, &stripped(dir, program)?);
        libraries.extend(libraries_of(program)?);
    }
    for library in &libraries {
        let content =
            fs::read(library).with_context(|| format!("cannot read {}", library.display()))?;
        archive.program(library, &content);
    }
    for (at, module) in parts.modules.iter().enumerate() {
        let name = format!("/modules/{at:02}.ko");
        archive.program(Path::new(&name), &unpacked(module)?);
    }
    archive.program(Path::new("/init"), script(programs).as_bytes());
    let image = dir.join("initramfs");
    fs::write(&image, archive.finish())
        .with_context(|| format!("cannot write {}", image.display()))?;
    Ok(image)
}

/// The first program: mounts, runs the tests of version 2 and of quotas, says how they ended.
fn script(programs: &Programs) -> String {
    let (tests, server) = (programs.tests.display(), programs.server.display());
    format!(
        "#!/bin/busybox sh
export PATH=/bin
/bin/busybox --install -s /bin
echo \"{STARTED}\"
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/shm
mount -t tmpfs shm /dev/shm
for again in 1 2 3; do
  for module in /modules/*.ko; do insmod $module 2>/dev/null; done
done
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ip link set lo up
export HUBMETER_TEST_REQUIRES_CGROUP2=1 HUBMETER_TEST_SERVER={server}
export HUBMETER_TEST_FLOOD={DISK} HUBMETER_TEST_QUOTA_DISK={QUOTA_DISK} RUST_BACKTRACE=0
{tests} --test-threads=1 --show-output v2_ quota_
echo \"{ENDED}$?.\"
reboot -f
"
    )
}

/// Without what only a debugger needs: the machine's memory holds it all.
fn stripped(dir: &Path, program: &Path) -> Result<Vec<u8>> {
    let out = dir.join("stripped");
    let done = process::on_path("strip").is_some()
        && Command::new("strip")
            .arg("-o")
            .arg(&out)
            .arg(program)
            .status()
            .is_ok_and(|status| status.success());
    let from = if done { &out } else { program };
    fs::read(from).with_context(|| format!("cannot read {}", from.display()))
}

/// The shared libraries of a program, its loader among them.
fn libraries_of(program: &Path) -> Result<Vec<PathBuf>> {
    let name = program.to_string_lossy();
    let said =
        process::output("ldd", &[&name]).with_context(|| format!("ldd cannot read {name}"))?;
    Ok(libraries(&said))
}

fn libraries(said: &str) -> Vec<PathBuf> {
    said.split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(PathBuf::from)
        .collect()
}

/// A kernel module as the kernel itself can read it.
fn unpacked(module: &Path) -> Result<Vec<u8>> {
    let tool = match module.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        _ => return Ok(fs::read(module)?),
    };
    let out = Command::new(tool)
        .arg("-dc")
        .arg(module)
        .output()
        .with_context(|| format!("{tool} is needed for {}", module.display()))?;
    if !out.status.success() {
        bail!("{tool} cannot read {}", module.display());
    }
    Ok(out.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_mounted_over_a_folder_that_programs_may_be_in() {
        // They are where they were built, which may be below /tmp or /home.
        let program = |name: &str| PathBuf::from(name);
        let programs = Programs {
            tests: program("/tmp/a/tests"),
            agent: program("/tmp/a/agent"),
            server: program("/tmp/a/server"),
        };
        let script = script(&programs);
        let mounted = script
            .lines()
            .filter(|line| line.starts_with("mount "))
            .filter_map(|line| line.split_whitespace().last());
        for target in mounted {
            let ours = ["/proc", "/sys", "/dev"]
                .iter()
                .any(|root| target.starts_with(root));
            assert!(ours, "{target}");
        }
    }

    #[test]
    fn libraries_are_the_paths_that_ldd_names() {
        let said = "\tlinux-vdso.so.1 (0x00007ffd)\n\
            \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\
            \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        assert_eq!(
            libraries(said),
            [
                PathBuf::from("/lib/x86_64-linux-gnu/libc.so.6"),
                PathBuf::from("/lib64/ld-linux-x86-64.so.2")
            ]
        );
        assert_eq!(libraries("\tstatically linked\n"), Vec::<PathBuf>::new());
    }
}
