//! Child processes: steps that end by themselves, daemons that we end, and what is left of them.
//!
//! Every child leads a process group of its own and writes to a log file; nothing started here
//! outlives this program.

use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use nix::{
    sys::{
        signal::{Signal, kill, killpg},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

use crate::{
    progress::{Step, now},
    stop,
};

/// How long a step's group may take to end after SIGTERM.
const STEP_PATIENCE: Duration = Duration::from_secs(5);

/// Lines of a failed step's log that are shown.
const SHOWN_LINES: usize = 60;

/// Bytes of a log looked at for its last lines.
const TAIL_BYTES: u64 = 64 * 1024;

/// A program that runs until it is told to stop.
pub(crate) struct Daemon {
    name: String,
    child: Child,
    log: PathBuf,
}

/// Runs `command` to its end, its output in `logs/<name>.log`, its last line in `step`.
pub(crate) fn run(step: &mut Step, logs: &Path, name: &str, mut command: Command) -> Result<()> {
    stop::check()?;
    let log = open_log(logs, name, &mut command)?;
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start {program}"))?;
    let status = wait(&mut child, step, &log)?;
    if status.success() {
        return Ok(());
    }
    Err(anyhow!(
        "{name} ended with {status}; the end of {}:\n{}",
        log.display(),
        last_lines(&log, SHOWN_LINES)
    ))
}

/// Runs `command` to its end; what it says goes to the person as it comes. Whether it went well.
pub(crate) fn show(mut command: Command) -> Result<bool> {
    stop::check()?;
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot start {program}"))?;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        if stop::wanted() {
            end_group(&mut child);
            bail!("stopped");
        }
        thread::sleep(stop::GLANCE * 4);
    }
}

/// The trimmed standard output of a short command, or `None` if it cannot run or fails.
pub(crate) fn output(program: &str, args: &[&str]) -> Option<String> {
    let out = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    out.status
        .success()
        .then(|| String::from_utf8_lossy(&out.stdout).trim().to_owned())
}

/// The path of `program` on PATH.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
}

/// The last `count` lines of a log.
pub(crate) fn last_lines(log: &Path, count: usize) -> String {
    let text = tail(log).unwrap_or_default();
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// Makes orphans of our children ours, so that `end_leftovers` finds them.
pub(crate) fn adopt_orphans() {
    // Refused only by kernels older than any we run on; then there is nothing to adopt.
    let _ = nix::sys::prctl::set_child_subreaper(true);
}

/// Ends every child that is still there, orphans of ours included.
pub(crate) fn end_leftovers() {
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let begun = now();
        while begun.elapsed() < STEP_PATIENCE {
            reap();
            let left = children_of(std::process::id());
            if left.is_empty() {
                return;
            }
            for pid in left {
                let _ = kill(Pid::from_raw(pid), signal);
            }
            thread::sleep(stop::GLANCE);
        }
    }
}

fn open_log(logs: &Path, name: &str, command: &mut Command) -> Result<PathBuf> {
    fs::create_dir_all(logs).with_context(|| format!("cannot make {}", logs.display()))?;
    let path = logs.join(format!("{name}.log"));
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    command
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .process_group(0);
    Ok(path)
}

fn wait(child: &mut Child, step: &mut Step, log: &Path) -> Result<ExitStatus> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if stop::wanted() {
            end_group(child);
            bail!("stopped");
        }
        step.alive(&last_lines(log, 1));
        thread::sleep(stop::GLANCE * 4);
    }
}

fn end_group(child: &mut Child) {
    let group = Pid::from_raw(child.id().cast_signed());
    let _ = killpg(group, Signal::SIGTERM);
    let begun = now();
    while begun.elapsed() < STEP_PATIENCE && matches!(child.try_wait(), Ok(None)) {
        thread::sleep(stop::GLANCE);
    }
    let _ = killpg(group, Signal::SIGKILL);
    let _ = child.wait();
}

fn reap() {
    while let Ok(status) = waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)) {
        if status == WaitStatus::StillAlive {
            return;
        }
    }
}

fn children_of(parent: u32) -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| parent_of(*pid) == Some(parent))
        .collect()
}

fn parent_of(pid: i32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything: what counts is behind the last one.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

fn tail(log: &Path) -> std::io::Result<String> {
    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

// === impl Daemon ===

impl Daemon {
    /// Starts `command`, its output in `logs/<name>.log`.
    pub(crate) fn start(logs: &Path, name: &str, mut command: Command) -> Result<Self> {
        stop::check()?;
        let log = open_log(logs, name, &mut command)?;
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {program}"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log,
        })
    }

    /// Fails, with the end of its log, if it has ended by itself.
    pub(crate) fn check(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!(
                "{} ended with {status}; the end of {}:\n{}",
                self.name,
                self.log.display(),
                last_lines(&self.log, SHOWN_LINES)
            );
        }
        Ok(())
    }

    /// Asks it to end, waits for it, and takes what is left of its group away.
    pub(crate) fn stop(mut self, patience: Duration) {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        let _ = kill(pid, Signal::SIGTERM);
        let begun = now();
        while begun.elapsed() < patience && matches!(self.child.try_wait(), Ok(None)) {
            thread::sleep(stop::GLANCE);
        }
        end_group(&mut self.child);
    }

    /// Where its output is.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }
}
