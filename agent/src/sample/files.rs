//! Open files: the process that is nearest to its limit on them.
//!
//! A server whose terminals, kernels or sockets used them up fails in odd ways. They leak slowly,
//! so everybody is looked at once a minute, a few at a tick.

use std::{fs, path::Path};

use super::{
    faults::{self, Fault},
    file::{read_bytes, read_dir},
    keyed::KeyMap,
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

/// A limit is read at the first looks, while a program may still set its own, and then in one round of
/// so many: reading it costs ten times what it costs to see how many files are open.
const LIMIT_ROUNDS: u32 = 10;

/// At the first so many.
const LIMIT_ROUNDS_FIRST: u32 = 2;

/// Goes round the processes.
#[derive(Debug, Default)]
pub(crate) struct FilesRound {
    due_ms: u64,
    limits: KeyMap<Known>,
    /// The last one looked at, in a round that is not over.
    after: Option<Key>,
    /// Of the round so far.
    found: Option<OpenFiles>,
    /// Of the last whole round.
    nearest: Option<OpenFiles>,
}

/// A process' limit as last read.
#[derive(Clone, Copy, Debug)]
struct Known {
    limit: u32,
    /// Looks since it was first seen.
    looks: u32,
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
            self.limits
                .retain(|key, _| tree.processes.contains_key(key));
        }
        let after = self.after.take();
        let keys = tree.readings().map(|reading| reading.key);
        for (looked, key) in keys.filter(|key| Some(*key) > after).enumerate() {
            if looked == LOOKS_MAX {
                return;
            }
            self.found = nearer(self.found, self.look_at(proc_root, key, tree.keeps()));
            self.after = Some(key);
        }
        (self.after, self.nearest) = (None, self.found.take());
    }

    /// One process' open files; `None` where it may not be looked at, is gone, or has no limit.
    fn look_at(&mut self, proc_root: &Path, key: Key, kernels: bool) -> Option<OpenFiles> {
        let dir = proc_root.join(key.pid.to_string());
        let open = count(&dir.join("fd"), kernels)?;
        let known = self.limits.get(&key).copied();
        let looks = known.map_or(1, |known| known.looks.saturating_add(1));
        let due = looks <= LIMIT_ROUNDS_FIRST || looks.is_multiple_of(LIMIT_ROUNDS);
        // Near it, it is to be as it is now.
        let known = known.filter(|known| !due && open <= known.limit / 2);
        let limit = known.map_or_else(|| limit(&dir), |known| Some(known.limit))?;
        self.limits.insert(key, Known { limit, looks });
        (limit > 0).then_some(OpenFiles {
            open,
            limit,
            pid: key.pid,
        })
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

/// The soft limit of the process under `dir`.
fn limit(dir: &Path) -> Option<u32> {
    let limits = dir.join("limits");
    let text = faults::noted(&limits, read_bytes(&limits))?;
    let Ok(text) = std::str::from_utf8(&text) else {
        faults::note_as(Fault::Malformed, &limits);
        return None;
    };
    soft_limit(text)
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
    fn a_limit_is_read_at_the_first_looks_then_rarely_and_always_where_it_is_near() {
        let proc = tempfile::tempdir().unwrap();
        let dir = proc.path().join("7");
        fs::create_dir_all(dir.join("fd")).unwrap();
        for fd in 0..5 {
            fs::write(dir.join("fd").join(fd.to_string()), "").unwrap();
        }
        let set = |limit: u32| {
            let line = format!("Max open files            {limit}     524288      files     \n");
            fs::write(dir.join("limits"), line).unwrap();
        };
        let key = Key {
            pid: 7,
            start_ticks: 1,
        };
        let mut round = FilesRound::default();
        let mut look = || round.look_at(proc.path(), key, false).unwrap().limit;
        set(100);
        assert_eq!(look(), 100);
        set(200);
        assert_eq!(look(), 200, "as its program has set it by then");
        set(300);
        assert_eq!([look(), look()], [200; 2]);
        let rest: Vec<u32> = (5..=10).map(|_| look()).collect();
        assert_eq!(rest, [200, 200, 200, 200, 200, 300]);
        set(8);
        let rest: Vec<u32> = (11..=20).map(|_| look()).collect();
        assert_eq!(rest, [vec![300; 9], vec![8]].concat());
        set(6);
        assert_eq!(look(), 6, "five of eight are near it");
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
