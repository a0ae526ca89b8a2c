//! Orphans that left the tree before anybody saw them: found by the environment they inherited.
//!
//! A daemon that forks twice between two ticks is in no tree any more. It still carries the
//! server's own token, or says which server its kernel came from. An empty environment hides it;
//! then only the server's own cgroup or a subreaper sees it. Whoever is born while we look is asked
//! at once; all of the machine only where births were missed, and rarely.

use std::{
    collections::{BTreeSet, HashSet},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::{
    faults,
    file::{read_bytes, read_strings},
    kernels::variable,
    keyed::PidMap,
    passers::{ancestors, pids, read_stat},
    process::Key,
};

/// Distance between two looks at processes outside the tree: each costs a microsecond or two per
/// new process of the machine, and an orphan that lives shorter is none of interest.
const SCAN_EVERY_MS: u64 = 60_000;

/// What marks a process as the server's.
#[derive(Debug)]
struct Marker {
    token: Option<Vec<u8>>,
    start_ticks: u64,
}

/// Looks for them, rarely.
#[derive(Debug)]
pub(crate) struct Orphans {
    proc_root: PathBuf,
    root_pid: u32,
    scanned_ms: Option<u64>,
    /// Orphans come to pid 1 or to a subreaper above the server.
    adopters: Vec<u32>,
    /// Pids looked at and found to be somebody else's.
    foreign: HashSet<u32>,
}

// === impl Orphans ===

impl Orphans {
    pub(crate) fn new(proc_root: &Path, root_pid: u32) -> Self {
        Self {
            proc_root: proc_root.to_owned(),
            root_pid,
            scanned_ms: None,
            adopters: Vec::new(),
            foreign: HashSet::new(),
        }
    }

    /// Finds out who is above the server: rarely somebody else than before.
    pub(crate) fn find_adopters(&mut self) {
        self.adopters = ancestors(&self.proc_root, self.root_pid).collect();
        self.adopters.push(1);
    }

    /// Whether orphans of the server come to `pid`, as known so far.
    pub(crate) fn adopts(&self, pid: u32) -> bool {
        self.adopters.contains(&pid)
    }

    /// Whether `pid`, which an adopter has, carries the server's mark. Where that cannot be told
    /// now all are looked at again soon.
    pub(crate) fn is_marked(&mut self, pid: u32, tree: &PidMap<Key>) -> bool {
        let marker = self.marker();
        let marked = marker.and_then(|marker| self.is_ours(pid, &marker, tree));
        if marked.is_none() {
            self.scanned_ms = None;
        }
        marked.unwrap_or(false)
    }

    /// New orphans of the tree; looks at most every [`SCAN_EVERY_MS`], and only at pids that it
    /// has not seen before.
    pub(crate) fn find(
        &mut self,
        tree: &PidMap<Key>,
        agents: &BTreeSet<u32>,
        now_ms: u64,
    ) -> Vec<u32> {
        let due = self
            .scanned_ms
            .is_none_or(|then| now_ms.saturating_sub(then) >= SCAN_EVERY_MS);
        if !due {
            return Vec::new();
        }
        self.scanned_ms = Some(now_ms);
        self.find_adopters();
        let Some(marker) = self.marker() else {
            self.scanned_ms = None;
            return Vec::new();
        };
        // A /proc that can't be listed (hidepid hides, it does not fail) has no orphans to find.
        let Ok(all) = pids(&self.proc_root) else {
            self.scanned_ms = None;
            return Vec::new();
        };
        let all: HashSet<u32> = all.into_iter().collect();
        self.foreign.retain(|pid| all.contains(pid));
        let mut found = Vec::new();
        for pid in all {
            if tree.contains_key(&pid) || agents.contains(&pid) || self.foreign.contains(&pid) {
                continue;
            }
            match self.is_ours(pid, &marker, tree) {
                Some(true) => found.push(pid),
                Some(false) => {
                    self.foreign.insert(pid);
                }
                // Nothing to go by: it is looked at again.
                None => {}
            }
        }
        found
    }

    /// `None` when it cannot be told now.
    fn marker(&self) -> Option<Marker> {
        let path = self.environ_of(self.root_pid);
        let environ = match read_strings(&path) {
            Ok(environ) => environ,
            Err(error) => {
                faults::note(&path, &error);
                if error.kind() != io::ErrorKind::PermissionDenied {
                    return None;
                }
                Vec::new()
            }
        };
        Some(Marker {
            token: variable(&environ, "JUPYTERHUB_API_TOKEN").map(<[u8]>::to_vec),
            start_ticks: read_stat(&self.proc_root, self.root_pid)?.start_ticks,
        })
    }

    /// `None` when it cannot be told now.
    fn is_ours(&self, pid: u32, marker: &Marker, tree: &PidMap<Key>) -> Option<bool> {
        let environ = match read_strings(&self.environ_of(pid)) {
            Ok(environ) => environ,
            // Another user's. That there are some is no fault.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Vec::new(),
            Err(error) => {
                faults::note(&self.environ_of(pid), &error);
                return None;
            }
        };
        let same_token = marker.token.is_some()
            && variable(&environ, "JUPYTERHUB_API_TOKEN") == marker.token.as_deref();
        let from_here = variable(&environ, "JPY_PARENT_PID")
            .and_then(|pid| std::str::from_utf8(pid).ok()?.parse().ok())
            .is_some_and(|pid: u32| tree.contains_key(&pid));
        if !same_token && !from_here {
            return Some(false); // or a thread of the kernel
        }
        let stat = read_stat(&self.proc_root, pid)?;
        // Older ones are the wrappers that the server was started by.
        Some(stat.start_ticks >= marker.start_ticks && self.adopts(stat.ppid))
    }

    fn environ_of(&self, pid: u32) -> PathBuf {
        self.proc_root.join(pid.to_string()).join("environ")
    }
}

/// Whether nothing speaks against `pid` being the server's: same owner, and no other server's
/// token in its environment.
pub(crate) fn could_be_of(proc_root: &Path, pid: u32, root_pid: u32) -> bool {
    let dir = |pid: u32| proc_root.join(pid.to_string());
    let theirs = owner(&dir(pid));
    if theirs.is_none() || theirs != owner(&dir(root_pid)) {
        return false;
    }
    let environ = |pid: u32| {
        let path = dir(pid).join("environ");
        faults::noted(&path, read_strings(&path)).unwrap_or_default()
    };
    let (their_environ, our_environ) = (environ(pid), environ(root_pid));
    let token = |environ| variable(environ, "JUPYTERHUB_API_TOKEN");
    let other_server =
        token(&their_environ).is_some() && token(&their_environ) != token(&our_environ);
    !other_server
}

/// Who started it. Of what may not be traced (`ssh-agent`) even the directory is root's, so the
/// directory is asked only where there is no `status`.
fn owner(dir: &Path) -> Option<u32> {
    let path = dir.join("status");
    match read_bytes(&path) {
        Ok(text) => {
            let line = text
                .split(|&b| b == b'\n')
                .find_map(|l| l.strip_prefix(b"Uid:\t"))?;
            let real = line.split(|byte| byte.is_ascii_whitespace()).next()?;
            std::str::from_utf8(real).ok()?.parse().ok()
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            std::fs::metadata(dir).ok().map(|meta| meta.uid())
        }
        Err(error) => {
            faults::note(&path, &error);
            None
        }
    }
}
