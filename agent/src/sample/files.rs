//! Open files: the process that is nearest to its limit on them.
//!
//! A server whose terminals, kernels or sockets used them up fails in odd ways. They leak slowly,
//! so everybody is looked at once a minute, a few at a tick.

use std::{fs, path::Path};

use super::{
    faults::{self, Fault},
    file::{read_bytes, read_dir},
    process::Key,
    tree::Tree,
    vitals::OpenFiles,
};

/// Between the starts of two rounds.
const ROUND_MS: u64 = 60_000;

/// Processes looked at in one tick: each costs up to 10 µs.
const LOOKS_MAX: usize = 32;

/// Descriptors counted one by one where the kernel (before 6.2) does not say how many there are:
/// thousands take milliseconds, and more than this is more than the usual limits allow.
const COUNTED_MAX: usize = 4_096;

/// Goes round the processes.
#[derive(Debug, Default)]
pub(crate) struct FilesRound {
    due_ms: u64,
    /// The last one looked at, in a round that is not over.
    after: Option<Key>,
    /// Of the round so far.
    found: Option<OpenFiles>,
    /// Of the last whole round.
    nearest: Option<OpenFiles>,
}

// === impl FilesRound ===

impl FilesRound {
    /// Looks at the next few, if it is time; the nearest of all.
    pub(crate) fn look(&mut self, tree: &Tree, proc_root: &Path, now_ms: u64) -> Option<OpenFiles> {
        if self.after.is_some() || now_ms >= self.due_ms {
            self.go_on(tree, proc_root, now_ms);
        }
        let lives = |files: &OpenFiles| tree.contains(files.pid);
        self.nearest = self.nearest.filter(lives);
        nearer(self.nearest, self.found.filter(lives))
    }

    fn go_on(&mut self, tree: &Tree, proc_root: &Path, now_ms: u64) {
        if self.after.is_none() {
            self.due_ms = now_ms.saturating_add(ROUND_MS);
            self.found = None;
        }
        let after = self.after.take();
        let keys = tree.readings().map(|reading| reading.key);
        for (looked, key) in keys.filter(|key| Some(*key) > after).enumerate() {
            if looked == LOOKS_MAX {
                return;
            }
            self.found = nearer(self.found, look_at(proc_root, key.pid, tree.keeps()));
            self.after = Some(key);
        }
        (self.after, self.nearest) = (None, self.found.take());
    }
}

/// The one of which less is left, as a share.
fn nearer(one: Option<OpenFiles>, other: Option<OpenFiles>) -> Option<OpenFiles> {
    let (Some(a), Some(b)) = (one, other) else {
        return one.or(other);
    };
    let share = |of: OpenFiles, over: OpenFiles| u64::from(of.open) * u64::from(over.limit);
    Some(if share(b, a) > share(a, b) { b } else { a })
}

/// One process' open files; `None` where it may not be looked at, is gone, or has no limit.
fn look_at(proc_root: &Path, pid: u32, kernels: bool) -> Option<OpenFiles> {
    let dir = proc_root.join(pid.to_string());
    let limits = dir.join("limits");
    let text = faults::noted(&limits, read_bytes(&limits))?;
    let Ok(text) = std::str::from_utf8(&text) else {
        faults::note_as(Fault::Malformed, &limits);
        return None;
    };
    let limit = soft_limit(text)?;
    let open = count(&dir.join("fd"), kernels)?;
    (limit > 0).then_some(OpenFiles { open, limit, pid })
}

/// Since Linux 6.2 the directory's size is how many there are; before, it is 0. A copy of `/proc`
/// has sizes of its own.
fn count(dir: &Path, kernels: bool) -> Option<u32> {
    let size = fs::metadata(dir).ok()?.len();
    if kernels && size > 0 {
        return u32::try_from(size).ok();
    }
    let entries = faults::noted(dir, read_dir(dir))?;
    let counted = entries.take(COUNTED_MAX).count();
    u32::try_from(counted).ok()
}

/// Of `/proc/<pid>/limits`; `None` when there is none.
fn soft_limit(text: &str) -> Option<u32> {
    let line = text
        .split_inclusive('\n')
        .find_map(|line| line.strip_prefix("Max open files"))?;
    // Not ended, it was cut.
    line.strip_suffix('\n')?
        .split_ascii_whitespace()
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(open: u32, limit: u32) -> Option<OpenFiles> {
        let pid = open;
        Some(OpenFiles { open, limit, pid })
    }

    #[test]
    fn nearest_is_by_share_not_by_number() {
        assert_eq!(
            nearer(files(900, 1024), files(5_000, 1_048_576)),
            files(900, 1024)
        );
        assert_eq!(nearer(files(900, 1024), files(63, 64)), files(63, 64));
        assert_eq!(nearer(None, files(1, 2)), files(1, 2));
        assert_eq!(
            nearer(files(u32::MAX, u32::MAX), files(1, u32::MAX))
                .unwrap()
                .open,
            u32::MAX
        );
    }

    #[test]
    fn the_soft_limit_is_the_first_number_and_unlimited_is_none() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
            Max core file size        0                    unlimited            bytes     \n\
            Max open files            1024                 524288               files     \n";
        assert_eq!(soft_limit(text), Some(1024));
        assert_eq!(soft_limit(&text.replace("1024  ", "unlimited")), None);
        assert_eq!(soft_limit("Max open"), None);
    }
}
