//! Processes that are not followed: looked at once, to tell whose they are.

use std::{io, iter, path::Path};

use super::{
    error::SampleError,
    faults::{self, Fault},
    file::{self, failed, is_gone},
    stat::Stat,
};

/// Parents between a process and pid 1: a bound against a changing table, not a real depth.
const ANCESTORS_MAX: usize = 128;

/// What can be said of any process.
pub(crate) enum Fate {
    /// It is there.
    There(Stat),
    /// It is not, or not any more.
    Gone,
    /// It is there, and says nothing to us: hidden, another's, or unreadable just now.
    Unread,
}

// === impl Fate ===

impl Fate {
    /// Of `pid`. `has_clock` says whether a process of that number has a CPU clock: `hidepid`
    /// says that there is nobody, and the clock of whoever it is knows better.
    pub(crate) fn of(proc_root: &Path, pid: u32, has_clock: impl FnOnce() -> bool) -> Self {
        let path = proc_root.join(pid.to_string()).join("stat");
        match file::read_bytes(&path) {
            Ok(text) => match Stat::parse(&text) {
                Some(stat) => Self::There(stat),
                None => {
                    faults::note_as(Fault::Malformed, &path);
                    Self::Unread
                }
            },
            Err(error) if is_gone(&error) && !has_clock() => Self::Gone,
            // That there are others whom we may not look at is no fault.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Self::Unread,
            Err(error) => {
                faults::note(&path, &error);
                Self::Unread
            }
        }
    }
}

/// All pids under a `/proc`.
pub(crate) fn pids(proc_root: &Path) -> Result<Vec<u32>, SampleError> {
    let entries = file::read_dir(proc_root).map_err(|error| {
        faults::note(proc_root, &error);
        failed(proc_root, error)
    })?;
    Ok(entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect())
}

/// From the parent of `pid` up to pid 1, each looked up when it is asked for.
pub(crate) fn ancestors(proc_root: &Path, pid: u32) -> impl Iterator<Item = u32> {
    let mut at = pid;
    iter::from_fn(move || {
        // The kernel is no process.
        let parent = (at != 0).then(|| read_stat(proc_root, at))??.ppid;
        at = parent;
        (parent != 0).then_some(parent)
    })
    .take(ANCESTORS_MAX)
}

/// A fresh `stat`; `None` when it is gone, or after counting why it could not be read.
pub(crate) fn read_stat(proc_root: &Path, pid: u32) -> Option<Stat> {
    let path = proc_root.join(pid.to_string()).join("stat");
    let stat = Stat::parse(&faults::noted(&path, file::read_bytes(&path))?);
    if stat.is_none() {
        faults::note_as(Fault::Malformed, &path);
    }
    stat
}
