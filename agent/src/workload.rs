//! Readings → workloads: every process of the tree is in exactly one.
//!
//! Best source first: what the server extension told (exact pids), a `kernel-<id>.json` in any
//! argument of the top-most process, a terminal's shell by its terminal and environment; for
//! orphans the session name they inherited. What is left is the server itself or `other`.

pub mod told;

use std::{
    collections::{HashMap, HashSet},
    path::Path,
    sync::Arc,
};

use hubmeter_proto::limits::LABEL_BYTES_MAX;

use crate::{
    rate::Owner,
    sample::{
        WorkloadKind, WorkloadState,
        kernels::Identity,
        keyed::{KeyMap, PidMap},
        process::{Key, Reading},
    },
};
use told::{Told, ToldKernel};

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
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) notebook: Option<String>,
    pub(crate) state: Option<WorkloadState>,
    pub(crate) idle_ms: Option<u64>,
}

/// Whose each process is.
#[derive(Debug, Default)]
pub(crate) struct Assignment {
    owners: KeyMap<Owner>,
    /// What it was made of.
    features: Vec<Features>,
    /// By top-most process, the server's among them.
    pub(crate) tags: KeyMap<Tag>,
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

/// What the extension told, tied to processes by start time, so that a reused pid is nobody's.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    told: Told,
    kernels: KeyMap<usize>,
    terminals: KeyMap<usize>,
    unresolved: bool,
}

// === impl Tag ===

impl Tag {
    /// What nobody claims.
    pub(crate) fn other(names: Names) -> Self {
        let name = match names {
            Names::None => "",
            Names::Base | Names::Full => "other",
        };
        Self {
            kind: WorkloadKind::Other,
            id: "other".to_owned(),
            name: name.to_owned(),
            notebook: None,
            state: None,
            idle_ms: None,
        }
    }
}

// === impl Claims ===

impl Claims {
    /// Takes what is told now; replaces what was told before.
    pub(crate) fn replace(&mut self, told: Told) {
        let keep_kernels: HashMap<u32, Key> = self.kernels.keys().map(|k| (k.pid, *k)).collect();
        let keep_terminals: HashMap<u32, Key> =
            self.terminals.keys().map(|k| (k.pid, *k)).collect();
        self.kernels.clear();
        self.terminals.clear();
        // A pid that is told again is still the process it was tied to.
        for (index, kernel) in told.kernels.iter().enumerate() {
            if let Some(key) = kernel.pid.and_then(|pid| keep_kernels.get(&pid)) {
                self.kernels.insert(*key, index);
            }
        }
        for (index, terminal) in told.terminals.iter().enumerate() {
            if let Some(key) = terminal.pid.and_then(|pid| keep_terminals.get(&pid)) {
                self.terminals.insert(*key, index);
            }
        }
        self.told = told;
        self.unresolved = true;
    }

    /// Ties told pids to the processes that have them now.
    fn resolve(&mut self, by_pid: &PidMap<&Reading>) {
        let alive = |key: &Key| by_pid.get(&key.pid).is_some_and(|r| r.key == *key);
        // What went is nobody's, should its pid come again, until the extension speaks again.
        self.kernels.retain(|key, _| alive(key));
        self.terminals.retain(|key, _| alive(key));
        if !self.unresolved {
            return;
        }
        let tied: HashSet<u32> = self
            .kernels
            .keys()
            .chain(self.terminals.keys())
            .map(|key| key.pid)
            .collect();
        let find = |pid: Option<u32>| {
            pid.filter(|pid| !tied.contains(pid))
                .and_then(|pid| by_pid.get(&pid))
        };
        for (index, kernel) in self.told.kernels.iter().enumerate() {
            if let Some(reading) = find(kernel.pid) {
                self.kernels.insert(reading.key, index);
            }
        }
        for (index, terminal) in self.told.terminals.iter().enumerate() {
            if let Some(reading) = find(terminal.pid) {
                self.terminals.insert(reading.key, index);
            }
        }
        self.unresolved = false;
    }

    fn kernel(&self, key: &Key) -> Option<&ToldKernel> {
        self.told.kernels.get(*self.kernels.get(key)?)
    }

    fn kernel_by_id(&self, id: &str) -> Option<&ToldKernel> {
        self.told.kernels.iter().find(|kernel| kernel.id == id)
    }

    fn terminal_name(&self, key: &Key) -> Option<&str> {
        let terminal = self.told.terminals.get(*self.terminals.get(key)?)?;
        Some(&terminal.name)
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
    /// Assigns every process. `readings` come parents first; `root` is the server's.
    pub(crate) fn of(
        readings: &[&Reading],
        root_pid: u32,
        claims: &mut Claims,
        names: Names,
    ) -> Self {
        let by_pid: PidMap<&Reading> = readings.iter().map(|r| (r.key.pid, *r)).collect();
        claims.resolve(&by_pid);
        let mut assigner = Assigner {
            by_pid,
            claims,
            names,
            jupyter: jupyter_chain(readings, root_pid),
            root_pid,
            by_id: HashMap::new(),
            sessions: HashMap::new(),
            out: Self::default(),
        };
        for reading in readings {
            assigner.assign(reading);
        }
        assigner.join_orphans(readings);
        assigner.out.features = readings.iter().copied().map(Features::of).collect();
        assigner.out
    }

    /// Whether it would come out the same for these: most ticks change nothing it is made of.
    pub(crate) fn holds(&self, readings: &[&Reading], claims: &Claims) -> bool {
        !claims.unresolved
            && self.features.len() == readings.len()
            && self.features.iter().zip(readings).all(|(f, r)| f.is_of(r))
    }

    /// Whose this process is.
    pub(crate) fn owner(&self, key: &Key) -> Owner {
        self.owners.get(key).copied().unwrap_or(Owner::Other)
    }
}

/// From the root down to the Jupyter server below it: wrappers belong to the server.
fn jupyter_chain(readings: &[&Reading], root_pid: u32) -> HashSet<u32> {
    let parents: PidMap<u32> = readings.iter().map(|r| (r.key.pid, r.ppid)).collect();
    let mut chain = HashSet::from([root_pid]);
    let server = readings.iter().find(|r| r.identity.jupyter);
    let mut at = server.map(|server| server.key.pid);
    let mut below = Vec::new();
    while let Some(pid) = at {
        if pid == root_pid || below.len() > readings.len() {
            chain.extend(below);
            break;
        }
        below.push(pid);
        at = parents.get(&pid).copied();
    }
    chain
}

struct Assigner<'a> {
    by_pid: PidMap<&'a Reading>,
    claims: &'a Claims,
    names: Names,
    jupyter: HashSet<u32>,
    root_pid: u32,
    by_id: HashMap<(WorkloadKind, String), Key>,
    /// Notebook → the kernel that serves it.
    sessions: HashMap<String, Key>,
    out: Assignment,
}

// === impl Assigner ===

impl Assigner<'_> {
    fn assign(&mut self, reading: &Reading) {
        let owner = self.owner_of(reading);
        self.out.owners.insert(reading.key, owner);
    }

    fn owner_of(&mut self, reading: &Reading) -> Owner {
        let key = reading.key;
        if self.jupyter.contains(&key.pid) {
            return self.server(key);
        }
        let parent = self
            .by_pid
            .get(&reading.ppid)
            .filter(|parent| parent.key != key);
        let inherited = parent.and_then(|parent| self.out.owners.get(&parent.key).copied());
        if reading.is_dead() {
            // It holds nothing, its arguments went with its memory, and its time comes to its
            // parent when that waits for it: it is nobody's workload any more.
            return inherited.unwrap_or_else(|| self.server(key));
        }
        let inside = match inherited {
            Some(Owner::Root(root)) => self
                .out
                .tags
                .get(&root)
                .filter(|tag| tag.kind != WorkloadKind::Server)
                .map(|_| Owner::Root(root)),
            _ => None,
        };
        if let Some(told) = self.claims.kernel(&key) {
            let tag = self.kernel_tag(&told.id.clone(), reading);
            return self.open(key, tag);
        }
        if let Some(name) = self.claims.terminal_name(&key) {
            let tag = self.terminal_tag(name);
            return self.open(key, tag);
        }
        if let Some(inside) = inside {
            return inside;
        }
        if let Some(id) = &reading.identity.kernel_id {
            let tag = self.kernel_tag(id, reading);
            return self.open(key, tag);
        }
        let below_jupyter = self.jupyter.contains(&reading.ppid);
        if let (true, true, Some(terminal)) = (
            below_jupyter,
            reading.identity.terminal_env,
            &reading.terminal,
        ) {
            let tag = self.terminal_tag(terminal);
            return self.open(key, tag);
        }
        Owner::Other
    }

    /// Opens a workload, or joins the one that has this id already.
    fn open(&mut self, key: Key, tag: Tag) -> Owner {
        let root = *self.by_id.entry((tag.kind, tag.id.clone())).or_insert(key);
        self.out.tags.entry(root).or_insert(tag);
        Owner::Root(root)
    }

    fn server(&mut self, key: Key) -> Owner {
        let root = self.by_pid.get(&self.root_pid).map_or(key, |root| root.key);
        let tag = Tag {
            kind: WorkloadKind::Server,
            id: "server".to_owned(),
            name: self.shown("server"),
            notebook: None,
            state: None,
            idle_ms: None,
        };
        self.open(root, tag)
    }

    fn kernel_tag(&mut self, id: &str, reading: &Reading) -> Tag {
        let told = self.claims.kernel_by_id(id);
        let session = reading.identity.session.as_deref();
        if let Some(session) = session {
            self.sessions
                .entry(session.to_owned())
                .or_insert(reading.key);
        }
        let notebook = told
            .and_then(|told| told.notebook.as_deref())
            .or(session)
            .and_then(|path| self.shown_path(path));
        let name = told.map(|told| told.name.as_str()).unwrap_or_default();
        let name = match name {
            // The kernel's spec is not known from outside; the program is the next best.
            "" => self.shown(&reading.identity.name),
            name => self.shown(name),
        };
        Tag {
            kind: WorkloadKind::Kernel,
            id: label(id),
            name,
            notebook,
            state: told.and_then(|told| told.state),
            idle_ms: told.and_then(|told| told.idle_ms),
        }
    }

    fn terminal_tag(&self, name: &str) -> Tag {
        Tag {
            kind: WorkloadKind::Terminal,
            id: label(name),
            name: self.shown(name),
            notebook: None,
            state: None,
            idle_ms: None,
        }
    }

    /// Orphans carry the session name of the kernel they came from.
    fn join_orphans(&mut self, readings: &[&Reading]) {
        let mut joined: PidMap<Owner> = PidMap::default();
        for reading in readings {
            let pid = reading.key.pid;
            let orphan = !self.by_pid.contains_key(&reading.ppid) && pid != self.root_pid;
            if self.out.owner(&reading.key) != Owner::Other {
                continue;
            }
            let owner = if orphan {
                let session = reading.identity.session.as_ref();
                session
                    .and_then(|session| self.sessions.get(session))
                    .map(|kernel| self.out.owner(kernel))
            } else {
                joined.get(&reading.ppid).copied()
            };
            if let Some(owner) = owner {
                joined.insert(pid, owner);
                self.out.owners.insert(reading.key, owner);
            }
        }
    }

    fn shown(&self, name: &str) -> String {
        match self.names {
            Names::None => String::new(),
            Names::Base | Names::Full => label(name),
        }
    }

    fn shown_path(&self, path: &str) -> Option<String> {
        match self.names {
            Names::None => None,
            Names::Full => Some(label(path)),
            Names::Base => Path::new(path)
                .file_name()
                .map(|name| label(&name.to_string_lossy())),
        }
    }
}

/// A string fit to leave: bounded, without control characters.
pub(crate) fn label(text: &str) -> String {
    let mut label = String::new();
    for c in text.chars() {
        let c = if c.is_control() { '\u{fffd}' } else { c };
        if label.len() + c.len_utf8() > LABEL_BYTES_MAX {
            break;
        }
        label.push(c);
    }
    label
}
