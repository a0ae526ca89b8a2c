//! The disk that holds the home: how much of it is used, and how much there is.
//!
//! A dead file server must not stop the beat. Whether the home is on one is told by the mount
//! table and by links on local file systems alone. A local file system is asked at once; any other
//! by a child of ours that may hang in our place, one at a time.

pub(crate) mod ask;
pub(crate) mod home;
mod place;
mod probe;

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use nix::libc;

use self::{
    ask::Answer,
    place::{Mounts, Place},
    probe::{Heard, Probe},
};
use super::{
    faults,
    file::read_bytes,
    vitals::{Disk, DiskSource},
};

/// What our program is called, wherever it lies.
const AGENT_NAME: &str = "hubmeter-agent";

/// Between two looks.
const LOOK_MS: u64 = 60_000;

/// An answer older than this says nothing about now.
const OLD_MS: u64 = 15 * 60_000;

/// Follows the disk of one home.
#[derive(Debug)]
pub(crate) struct DiskWatch {
    proc_root: PathBuf,
    root_pid: u32,
    /// What a child of ours runs; `None` where there must be none.
    program: Option<PathBuf>,
    due_ms: u64,
    last: Option<(u64, Answer)>,
    probe: Option<Probe>,
    /// CPU time of the children so far.
    children_ns: u64,
}

// === impl DiskWatch ===

impl DiskWatch {
    /// Looks at nothing yet.
    pub(crate) fn new(proc_root: &Path, root_pid: u32, program: Option<PathBuf>) -> Self {
        Self {
            proc_root: proc_root.to_owned(),
            root_pid,
            program,
            due_ms: 0,
            last: None,
            probe: None,
            children_ns: 0,
        }
    }

    /// Looks when it is time; what is known. Never waits for a file system that may not answer.
    pub(crate) fn look(&mut self, home: Option<&Path>, now_ms: u64) -> Option<Disk> {
        self.hear(now_ms);
        if now_ms >= self.due_ms && self.probe.is_none() {
            self.due_ms = now_ms.saturating_add(LOOK_MS);
            match home {
                Some(home) => self.ask(home, now_ms),
                None => self.last = None,
            }
        }
        let (at_ms, answer) = self.last?;
        let age_ms = now_ms.saturating_sub(at_ms);
        (age_ms <= OLD_MS).then_some(Disk {
            used_bytes: answer.used_bytes,
            limit_bytes: answer.limit_bytes,
            source: match answer.quota {
                true => DiskSource::Quota,
                false => DiskSource::Filesystem,
            },
            age_ms,
        })
    }

    /// CPU time of the children so far.
    pub(crate) fn children_ns(&self) -> u64 {
        self.children_ns
    }

    /// Another home than before: what is known is of that one.
    pub(crate) fn forget(&mut self) {
        (self.due_ms, self.last) = (0, None);
    }

    fn hear(&mut self, now_ms: u64) {
        let Some(probe) = &mut self.probe else { return };
        match probe.hear(now_ms) {
            Heard::Nothing => {}
            Heard::Answer { answer, cpu_ns } => {
                self.children_ns = self.children_ns.saturating_add(cpu_ns);
                self.last = Some((probe.asked_ms(), answer));
                self.probe = None;
            }
            Heard::NoAnswer => self.probe = None,
        }
    }

    fn ask(&mut self, home: &Path, now_ms: u64) {
        let process = self.proc_root.join(self.root_pid.to_string());
        let own = self.proc_root.join("self");
        // A server in another mount namespace sees its home where we may see another one.
        let namespace = |of: &Path| fs::read_link(of.join("ns/mnt")).ok();
        let elsewhere = namespace(&process)
            .zip(namespace(&own))
            .is_some_and(|(theirs, ours)| theirs != ours);
        let seen_from = match elsewhere {
            true => process.join("root"),
            false => PathBuf::from("/"),
        };
        let mounts = match table(&process) {
            // Without all of it what the home is on may be missing, and it must not be touched
            // unknown.
            Err(error) if is_cut(&error) => None,
            Err(_) if elsewhere => None,
            Err(_) => table(&own).ok(),
            Ok(mounts) => Some(mounts),
        };
        let Some(mounts) = mounts else {
            self.last = None;
            return;
        };
        let read_link = |path: &Path| fs::read_link(below(&seen_from, path));
        match mounts.place(home, read_link) {
            Some(Place::Local { path, device }) => {
                let uid = fs::metadata(&process).map(|process| process.uid()).ok();
                let answer =
                    ask::quota(device, uid).or_else(|| ask::size(&below(&seen_from, &path)));
                self.last = answer.map(|answer| (now_ms, answer));
            }
            Some(Place::Remote { path }) => {
                let program = self.program.as_deref();
                // A program on a file server hangs before it is a child.
                let program = program.filter(|program| {
                    let ours = table(&own);
                    let place = ours
                        .as_ref()
                        .ok()
                        .and_then(|ours| ours.place(program, |path| fs::read_link(path)));
                    matches!(place, Some(Place::Local { .. }))
                });
                self.probe = program.and_then(|program| {
                    Probe::start(program, &below(&seen_from, &path), now_ms).ok()
                });
            }
            None => self.last = None,
        }
    }
}

/// What is mounted where, as the process under `dir` sees it. A failure is counted.
fn table(dir: &Path) -> io::Result<Mounts> {
    let path = dir.join("mountinfo");
    let whole = read_bytes(&path).and_then(|text| match text.last() {
        Some(&last) if last != b'\n' => Err(io::ErrorKind::InvalidData.into()),
        _ => Ok(text),
    });
    let text = whole.inspect_err(|error| {
        if !has_ended(error) {
            faults::note(&path, error);
        }
    })?;
    Ok(Mounts::parse(&text))
}

/// Whether the process whose mounts were asked for has let go of them, which it does at its end:
/// until somebody waits for it, opening its table is an invalid argument (`mounts_open_common`
/// in the kernel's `fs/proc_namespace.c`).
fn has_ended(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EINVAL)
}

/// Whether there is more than could be read.
fn is_cut(error: &io::Error) -> bool {
    let kind = error.kind();
    matches!(
        kind,
        io::ErrorKind::FileTooLarge | io::ErrorKind::InvalidData
    )
}

/// An absolute path as seen from another root.
fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// What asks in our place: this very program, where it is an agent and nothing else that uses
/// this library.
pub(crate) fn own_program() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    (program.file_name()? == AGENT_NAME).then_some(program)
}

#[cfg(test)]
mod tests;
