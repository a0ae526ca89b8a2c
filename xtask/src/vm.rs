//! `cargo xtask vm`: the tests of real cgroups of version 2, and of real quotas, in a small virtual
//! machine.
//!
//! Most machines that build this mount version 2 without controllers, or not where a test may make
//! groups. The virtual machine has a distribution's own kernel, a shell, the agent and the test
//! program and nothing else, and nothing is installed on the machine but the emulator. A machine
//! that cannot have one fails, unless it says that it knows.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

mod archive;
mod image;
mod parts;

use self::parts::Parts;
use crate::{
    build::cargo,
    process::{self, Daemon},
    progress::{Step, now, say},
    stop,
    workspace::Workspace,
};

/// Says that this machine cannot run it, and that whoever set it knows that it did not run.
const WITHOUT: &str = "HUBMETER_TEST_WITHOUT_VM";

/// After this it hangs: the tests take half a minute, without hardware's help twice that, on a
/// machine that is busy otherwise a multiple.
const PATIENCE: Duration = Duration::from_secs(900);

/// Until the kernel has come to its first program: some seconds, without hardware's help ten.
const KVM_START_PATIENCE: Duration = Duration::from_secs(30);

/// Memory of the machine: the largest limit, the page cache of a flood, and what is loaded.
const MEMORY: &str = "1024M";

/// A disk of nothing but zeros, larger than any limit: it floods the page cache.
const DISK_BYTES: u64 = 400 << 20;

/// A disk with a file system that counts by user and by project.
const QUOTA_DISK_BYTES: u64 = 64 << 20;

/// What the emulator says when hardware's help fails in the middle; the machine stands still then.
const KVM_BROKE: &str = "KVM internal error";

/// What the machine says as soon as its first program runs.
const STARTED: &str = "hubmeter-vm: started";

/// What the machine says last.
const ENDED: &str = "hubmeter-vm: ended with ";

/// How a test ends, as it is said: behind its name, or on a line of its own where one of its
/// programs said something in between.
const PASSED: &str = "ok";
const OUTCOMES: [&str; 3] = [PASSED, "FAILED", "ignored"];

/// What a test says that could not run there.
const LEFT_OUT: &str = "left out: ";

/// Settings of `cargo xtask vm`.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct Vm {
    /// What runs the machine; without it hardware's help where there is any
    #[arg(long)]
    accel: Option<Accel>,
}

/// What runs the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Accel {
    /// The processor itself
    Kvm,
    /// A program, ten times slower
    Tcg,
}

/// What a machine is started with.
struct Boot {
    parts: Parts,
    image: PathBuf,
    disk: PathBuf,
    quota_disk: PathBuf,
}

/// How a machine ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// By itself.
    ByItself,
    /// Not a word came from its first program, or hardware's help broke.
    KvmFailed,
}

/// What the machine said about the tests.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    /// Name, and whether it passed.
    tests: Vec<(String, bool)>,
    /// How the test program ended.
    code: Option<i32>,
}

/// Runs it.
pub(crate) fn run(args: &Vm) -> Result<()> {
    if std::env::var_os(WITHOUT).is_some_and(|value| value == "1") {
        say(&format!(
            "     NOT RUN: {WITHOUT}=1 is set; cgroups of version 2 were not tested on a real kernel"
        ));
        return Ok(());
    }
    let space = Workspace::here()?;
    let dir = space.target.join("vm");
    fs::create_dir_all(&dir)?;
    let parts = parts::get(&space, &dir)
        .with_context(|| format!("the virtual machine cannot be had ({WITHOUT}=1 goes without)"))?;
    let programs = programs(&space, &dir)?;
    let image = image::write(&dir, &parts, &programs)?;
    let disk = dir.join("disk");
    File::create(&disk)?.set_len(DISK_BYTES)?;
    let quota_disk = quota_disk(&space, &dir)?;
    let boot = Boot {
        parts,
        image,
        disk,
        quota_disk,
    };
    judge(&run_machine(&space, &dir, &boot, args.accel)?)
}

/// A new file system each time: the tests leave files in it.
fn quota_disk(space: &Workspace, dir: &Path) -> Result<PathBuf> {
    let path = dir.join("quota-disk");
    let _ = fs::remove_file(&path);
    File::create(&path)?.set_len(QUOTA_DISK_BYTES)?;
    let mut command = Command::new(parts::MKFS);
    command.args(["-q", "-O", "quota,project"]).arg(&path);
    let mut step = Step::begin("a file system with quotas");
    step.run(&space.logs, "vm-mkfs", command)?;
    step.done();
    Ok(path)
}

/// What runs inside.
pub(crate) struct Programs {
    /// The tests of real cgroups.
    pub(crate) tests: PathBuf,
    /// The agent, at the place where the tests look for it.
    pub(crate) agent: PathBuf,
    /// The server that obeys.
    pub(crate) server: PathBuf,
}

fn programs(space: &Workspace, dir: &Path) -> Result<Programs> {
    let mut step = Step::begin("test program and agent");
    let mut command = cargo(&space.root);
    command.args([
        "test",
        "--package",
        "hubmeter-agent",
        "--test",
        "cgroups",
        "--no-run",
        "--message-format",
        "json",
    ]);
    step.run(&space.logs, "vm-build", command)?;
    let said = fs::read_to_string(space.logs.join("vm-build.log"))?;
    let built = |name: &str| {
        said.lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .filter(|message| message["target"]["name"] == name)
            .find_map(|message| message["executable"].as_str().map(PathBuf::from))
            .with_context(|| format!("cargo did not say where {name} is"))
    };
    let server = dir.join("server");
    let mut command = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
    command
        .args(["-O1", "-o"])
        .arg(&server)
        .arg(space.root.join("agent/tests/cgroups/server.c"));
    step.run(&space.logs, "vm-server", command)?;
    step.done();
    Ok(Programs {
        tests: built("cgroups")?,
        agent: built("hubmeter-agent")?,
        server,
    })
}

/// Boots the machine, waits for its end; returns its log. Where hardware's help is of no use
/// (inside some virtual machines it is there and fails), it is tried once and no more.
fn run_machine(
    space: &Workspace,
    dir: &Path,
    boot: &Boot,
    accel: Option<Accel>,
) -> Result<PathBuf> {
    let no_kvm = dir.join("kvm-is-of-no-use");
    let accel = accel.unwrap_or_else(|| match no_kvm.is_file() {
        true => Accel::Tcg,
        false => Accel::best(),
    });
    let ended = boot.run(space, accel)?;
    if ended == Ended::KvmFailed && accel == Accel::Kvm {
        say("     /dev/kvm is there but does not run this machine: going on without it");
        fs::write(&no_kvm, "")?;
        boot.run(space, Accel::Tcg)?;
    }
    Ok(space.logs.join("vm.log"))
}

/// Says how each test went; fails unless all passed and the machine came to its end.
fn judge(log: &Path) -> Result<()> {
    let text = String::from_utf8_lossy(&fs::read(log)?).into_owned();
    let told = Told::read(&text);
    for (name, passed) in &told.tests {
        say(&format!(
            "     {}  {name}",
            if *passed { "ok    " } else { "FAILED" }
        ));
    }
    for line in text.lines().filter(|line| line.starts_with(LEFT_OUT)) {
        say(&format!("     NOT RUN: {}", line.trim()));
    }
    let failed = told.tests.iter().filter(|(_, passed)| !passed).count();
    if told.code == Some(0) && failed == 0 && !told.tests.is_empty() {
        return Ok(());
    }
    let why = match told.code {
        None => "the machine did not come to its end".to_owned(),
        Some(code) => format!("{failed} tests failed, the test program ended with {code}"),
    };
    bail!(
        "{why}; the end of {}:\n{}",
        log.display(),
        process::last_lines(log, 80)
    )
}

// === impl Accel ===

impl Accel {
    fn best() -> Self {
        let usable = File::options().read(true).write(true).open("/dev/kvm");
        if usable.is_ok() { Self::Kvm } else { Self::Tcg }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }
}

// === impl Boot ===

impl Boot {
    fn command(&self, accel: Accel) -> Command {
        let mut command = Command::new(&self.parts.emulator);
        command
            .args(["-nodefaults", "-no-reboot", "-display", "none"])
            .args(["-serial", "stdio", "-cpu", "max", "-smp", "2"])
            .args(["-m", MEMORY, "-accel", accel.as_str()])
            .arg("-kernel")
            .arg(&self.parts.kernel)
            .arg("-initrd")
            .arg(&self.image)
            .args(["-append", "console=ttyS0 loglevel=1 panic=-1"])
            .arg("-drive")
            .arg(format!(
                "file={},format=raw,if=virtio,read-only=on",
                self.disk.display()
            ))
            .arg("-drive")
            .arg(format!(
                "file={},format=raw,if=virtio",
                self.quota_disk.display()
            ));
        command
    }

    /// Runs the machine until it ends or is given up; its log is the last one's.
    fn run(&self, space: &Workspace, accel: Accel) -> Result<Ended> {
        let mut step = Step::begin(match accel {
            Accel::Kvm => "virtual machine",
            Accel::Tcg => "virtual machine, without hardware's help (a minute or some)",
        });
        let begun = now();
        let mut machine = Daemon::start(&space.logs, "vm", self.command(accel))?;
        loop {
            if stop::wanted() {
                machine.stop(Duration::from_secs(2));
                bail!("stopped");
            }
            let said = fs::read(machine.log())?;
            let said = String::from_utf8_lossy(&said);
            let over = Told::read(&said).code.is_some() || machine.check().is_err();
            let silent = !said.contains(STARTED);
            let never = accel == Accel::Kvm
                && (said.contains(KVM_BROKE)
                    || silent && (over || begun.elapsed() > KVM_START_PATIENCE));
            if never || over || begun.elapsed() > PATIENCE {
                machine.stop(Duration::from_secs(2));
                if over && !never {
                    step.done();
                } else {
                    step.failed();
                }
                return Ok(if never {
                    Ended::KvmFailed
                } else {
                    Ended::ByItself
                });
            }
            step.alive(said.lines().next_back().unwrap_or_default());
            thread::sleep(stop::GLANCE * 4);
        }
    }
}

// === impl Told ===

impl Told {
    fn read(text: &str) -> Self {
        let mut told = Self::default();
        // A test whose programs said something of their own before it was over.
        let mut open: Option<String> = None;
        for line in text.lines().map(str::trim) {
            if let Some(code) = line.strip_prefix(ENDED) {
                // The full stop says that the number is whole.
                told.code = code.strip_suffix('.').and_then(|code| code.parse().ok());
            }
            let test = line
                .strip_prefix("test ")
                .and_then(|line| line.split_once(" ... "));
            if let Some((name, how)) = test {
                told.tests.extend(open.take().map(|name| (name, false)));
                match OUTCOMES.contains(&how) {
                    true => told.tests.push((name.to_owned(), how == PASSED)),
                    false => open = Some(name.to_owned()),
                }
            } else if OUTCOMES.contains(&line) {
                told.tests
                    .extend(open.take().map(|name| (name, line == PASSED)));
            }
        }
        told.tests.extend(open.map(|name| (name, false)));
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_machine_says_is_read_line_by_line_and_silence_is_no_success() {
        let said = "[    0.1] noise\r\nrunning 2 tests\r\ntest a::b ... ok\r\n\
            test c ... FAILED\r\ntest result: FAILED. 1 passed\r\nhubmeter-vm: ended with 101.\r\n";
        let told = Told::read(said);
        assert_eq!(
            told.tests,
            [("a::b".to_owned(), true), ("c".to_owned(), false)]
        );
        assert_eq!(told.code, Some(101));
        let noisy = "test a ... 2026-11-28T12:38:56Z  WARN a sample cost much\r\nok\r\n\
            test b ... WARN one\r\nWARN two\r\nFAILED\r\ntest c ... WARN\r\ntest d ... ok\r\n";
        let expected = [("a", true), ("b", false), ("c", false), ("d", true)];
        assert_eq!(
            Told::read(noisy).tests,
            expected.map(|(name, passed)| (name.to_owned(), passed))
        );
        assert_eq!(Told::read("Kernel panic - not syncing"), Told::default());
    }
}
