//! What the extension told, tied to processes by start time, so that a reused pid is nobody's.

use std::collections::{HashMap, HashSet};

use super::{
    Names, Tag,
    naming::label,
    told::{Told, ToldEnd, ToldKernel},
};
use crate::sample::{
    Text, WorkloadKind,
    keyed::{KeyMap, PidMap},
    process::{Key, Reading},
};

/// What was told last, and which processes it is about.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    told: Told,
    tied: KeyMap<Claim>,
    unresolved: bool,
}

/// Where in the message a process stands.
#[derive(Clone, Copy, Debug)]
enum Claim {
    Kernel(usize),
    Terminal(usize),
    App(usize),
}

/// What a told process is.
#[derive(Debug)]
pub(super) enum Claimed<'a> {
    Kernel(&'a ToldKernel),
    Terminal(&'a str),
    App(&'a str),
}

// === impl Claims ===

impl Claims {
    /// Takes what is told now; replaces what was told before.
    pub(crate) fn replace(&mut self, told: Told) {
        self.told = told;
        // A pid that is told again is still the process it was tied to.
        let before: HashMap<u32, Key> = self.tied.keys().map(|key| (key.pid, *key)).collect();
        let again = self.claims();
        let again = again.filter_map(|(pid, claim)| Some((*before.get(&pid)?, claim)));
        self.tied = again.collect();
        self.unresolved = true;
    }

    /// Ties told pids to the processes that have them now.
    pub(super) fn resolve(&mut self, by_pid: &PidMap<&Reading>) {
        let alive = |key: &Key| by_pid.get(&key.pid).is_some_and(|r| r.key == *key);
        // What went is nobody's, should its pid come again, until the extension speaks again.
        self.tied.retain(|key, _| alive(key));
        if !self.unresolved {
            return;
        }
        let tied: HashSet<u32> = self.tied.keys().map(|key| key.pid).collect();
        let fresh: Vec<(Key, Claim)> = self
            .claims()
            .filter(|(pid, _)| !tied.contains(pid))
            .filter_map(|(pid, claim)| Some((by_pid.get(&pid)?.key, claim)))
            .collect();
        self.tied.extend(fresh);
        self.unresolved = false;
    }

    /// Whether all that was told is tied.
    pub(super) fn are_resolved(&self) -> bool {
        !self.unresolved
    }

    /// What the extension says this process is.
    pub(super) fn of(&self, key: &Key) -> Option<Claimed<'_>> {
        let told = &self.told;
        Some(match *self.tied.get(key)? {
            Claim::Kernel(at) => Claimed::Kernel(told.kernels.get(at)?),
            Claim::Terminal(at) => Claimed::Terminal(&told.terminals.get(at)?.name),
            Claim::App(at) => Claimed::App(&told.apps.get(at)?.name),
        })
    }

    pub(super) fn kernel_by_id(&self, id: &str) -> Option<&ToldKernel> {
        self.told.kernels.iter().find(|kernel| kernel.id == id)
    }

    /// Whether the server told of this kernel, and so will tell of its end.
    pub(crate) fn knows_kernel(&self, id: &str) -> bool {
        self.kernel_by_id(id).is_some() || self.told.ended.iter().any(|end| end.id == id)
    }

    /// Kernels that run elsewhere: known, not measured.
    pub(crate) fn remote_tags(&self, names: Names) -> impl Iterator<Item = Tag> {
        let remote = self.told.kernels.iter().filter(|k| k.pid.is_none());
        remote.map(move |kernel| Tag {
            kind: WorkloadKind::Kernel,
            id: label(&kernel.id).into(),
            name: names.shown(&kernel.name).into(),
            notebook: (kernel.notebook.as_deref())
                .and_then(|path| names.shown_path(path))
                .map(Text::from),
            state: kernel.state,
            idle_ms: kernel.idle_ms,
        })
    }

    /// What the server knows about the end of a kernel's process.
    pub(crate) fn end_of(&self, id: &str, pid: u32) -> Option<&ToldEnd> {
        let mut ended = self.told.ended.iter();
        ended.find(|end| end.pid == pid && end.id == id)
    }

    /// All pids of the message; of a pid told twice the last claim holds.
    fn claims(&self) -> impl Iterator<Item = (u32, Claim)> {
        let Told {
            kernels,
            terminals,
            apps,
            ..
        } = &self.told;
        let apps = apps.iter().enumerate();
        let apps = apps.map(|(at, app)| (app.pid, Claim::App(at)));
        let terminals = terminals.iter().enumerate();
        let terminals = terminals.filter_map(|(at, t)| Some((t.pid?, Claim::Terminal(at))));
        let kernels = kernels.iter().enumerate();
        let kernels = kernels.filter_map(|(at, k)| Some((k.pid?, Claim::Kernel(at))));
        apps.chain(terminals).chain(kernels)
    }
}
