//! Readings → workloads: every process of the tree is in exactly one.
//!
//! Best source first: what the server extension told (exact pids), a `kernel-<id>.json` in any
//! argument of the top-most process, a terminal's shell by its terminal and environment. Children
//! of Jupyter that are neither are applications if they wait for connections, as proxied ones
//! must, and else aides that belong to the server: language servers, `git`. An orphan stays
//! with the workload it was seen in; one never seen before goes by the session name, terminal or
//! cgroup it inherited. What is left is `other`.

mod assign;
pub(crate) mod candidates;
mod claims;
pub(crate) mod foreground;
mod naming;
pub mod told;

use std::sync::Arc;

use crate::{
    rate::Owner,
    sample::{
        Text, WorkloadKind, WorkloadState,
        kernels::Identity,
        keyed::{KeyMap, PidMap},
        process::{Key, Reading},
    },
};
use assign::Assigner;
pub(crate) use claims::Claims;
#[cfg(test)]
pub(crate) use naming::label;

/// How much of a workload's name may leave the agent (`HUBMETER_NAMES`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Names {
    /// Kernel specs and notebooks' file names, without folders.
    #[default]
    Base,
    /// Notebooks with their whole path.
    Full,
    /// No names at all: kinds and ids only.
    None,
}

/// A workload's name tag.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tag {
    pub(crate) kind: WorkloadKind,
    pub(crate) id: Text,
    pub(crate) name: Text,
    pub(crate) notebook: Option<Text>,
    pub(crate) state: Option<WorkloadState>,
    pub(crate) idle_ms: Option<u64>,
}

/// What an assignment has to look up about few processes besides their readings.
pub(crate) trait Eyes {
    /// Whether any of these waits for connections.
    fn listens(&mut self, processes: &[Key]) -> bool;

    /// Which cgroup it is in.
    fn cgroup(&mut self, process: Key) -> Option<Arc<[u8]>>;
}

/// Whose each process is.
#[derive(Debug, Default)]
pub(crate) struct Assignment {
    owners: KeyMap<Owner>,
    /// What it was made of.
    features: Vec<Features>,
    /// By top-most process, the server's among them.
    pub(crate) tags: KeyMap<Tag>,
    /// Aides of the server with all below them: an application listens only some time after
    /// its start.
    candidates: KeyMap<Vec<Key>>,
}

/// All of a process that decides whose it is.
#[derive(Debug)]
struct Features {
    key: Key,
    ppid: u32,
    dead: bool,
    terminal: Option<String>,
    identity: Arc<Identity>,
}

// === impl Tag ===

impl Tag {
    /// What nobody claims.
    pub(crate) fn other(names: Names) -> Self {
        Self {
            kind: WorkloadKind::Other,
            id: "other".into(),
            name: names.shown("other").into(),
            notebook: None,
            state: None,
            idle_ms: None,
        }
    }
}

// === impl Features ===

impl Features {
    fn of(reading: &Reading) -> Self {
        Self {
            key: reading.key,
            ppid: reading.ppid,
            dead: reading.is_dead(),
            terminal: reading.terminal.clone(),
            identity: reading.identity.clone(),
        }
    }

    fn is_of(&self, reading: &Reading) -> bool {
        self.key == reading.key
            && self.ppid == reading.ppid
            && self.dead == reading.is_dead()
            && self.terminal == reading.terminal
            && Arc::ptr_eq(&self.identity, &reading.identity)
    }
}

// === impl Assignment ===

impl Assignment {
    /// Assigns every process. `readings` come parents first; `root_pid` is the server's; `self`
    /// is how it was before.
    pub(crate) fn renew(
        &self,
        readings: &[&Reading],
        root_pid: u32,
        claims: &mut Claims,
        names: Names,
        eyes: &mut dyn Eyes,
    ) -> Self {
        let by_pid: PidMap<&Reading> = readings.iter().map(|r| (r.key.pid, *r)).collect();
        claims.resolve(&by_pid);
        let assigner = Assigner::new(by_pid, readings, root_pid, claims, names, self);
        let mut renewed = assigner.run(readings, eyes);
        renewed.features = readings.iter().copied().map(Features::of).collect();
        renewed
    }

    /// Whether it would come out the same for these: most ticks change nothing it is made of.
    pub(crate) fn holds(&self, readings: &[&Reading], claims: &Claims) -> bool {
        claims.are_resolved()
            && self.features.len() == readings.len()
            && self.features.iter().zip(readings).all(|(f, r)| f.is_of(r))
    }

    /// Whose this process is.
    pub(crate) fn owner(&self, key: &Key) -> Owner {
        self.owners.get(key).copied().unwrap_or(Owner::Other)
    }

    /// Processes that lived when it was made.
    pub(crate) fn living(&self) -> impl Iterator<Item = Key> {
        let living = self.features.iter().filter(|features| !features.dead);
        living.map(|features| features.key)
    }

    /// Aides of the server with all below them.
    pub(crate) fn candidates(&self) -> &KeyMap<Vec<Key>> {
        &self.candidates
    }
}
