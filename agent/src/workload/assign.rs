//! Who is whose: the rules, in the order in which they are believed.

use std::collections::{HashMap, HashSet};

use super::{Assignment, Claims, Eyes, Names, Tag, claims::Claimed, naming::label};
use crate::{
    rate::Owner,
    sample::{
        Text, WorkloadKind,
        keyed::{KeyMap, PidMap},
        process::{Key, Reading},
    },
};

/// Makes one assignment.
pub(super) struct Assigner<'a> {
    by_pid: PidMap<&'a Reading>,
    claims: &'a Claims,
    names: Names,
    /// From the root down to the Jupyter server: wrappers belong to the server.
    chain: HashSet<u32>,
    /// The Jupyter server itself.
    jupyter_pid: Option<u32>,
    root_pid: u32,
    before: &'a Assignment,
    by_id: HashMap<(WorkloadKind, Text), Key>,
    /// Notebook → the kernel that serves it.
    sessions: HashMap<String, Key>,
    /// Pseudo-terminal → the terminal whose shell is on it.
    terminals: HashMap<String, Key>,
    out: Assignment,
}

// === impl Assigner ===

impl<'a> Assigner<'a> {
    pub(super) fn new(
        by_pid: PidMap<&'a Reading>,
        readings: &[&Reading],
        root_pid: u32,
        claims: &'a Claims,
        names: Names,
        before: &'a Assignment,
    ) -> Self {
        let jupyter = readings.iter().find(|r| r.identity.jupyter);
        let jupyter_pid = jupyter.map(|reading| reading.key.pid);
        Self {
            chain: chain(&by_pid, root_pid, jupyter_pid),
            by_pid,
            claims,
            names,
            jupyter_pid,
            root_pid,
            before,
            by_id: HashMap::new(),
            sessions: HashMap::new(),
            terminals: HashMap::new(),
            out: Assignment::default(),
        }
    }

    pub(super) fn run(mut self, readings: &[&'a Reading], eyes: &mut dyn Eyes) -> Assignment {
        for reading in readings {
            let owner = self.owner_of(reading);
            self.out.owners.insert(reading.key, owner);
        }
        self.find_homes(readings, eyes);
        self.out
    }

    fn owner_of(&mut self, reading: &Reading) -> Owner {
        let key = reading.key;
        if self.chain.contains(&key.pid) {
            return self.server(key);
        }
        let parent = self.by_pid.get(&reading.ppid);
        let parent = parent.filter(|parent| parent.key != key);
        let inherited = parent.and_then(|parent| self.out.owners.get(&parent.key).copied());
        if reading.is_dead() {
            // It holds nothing, its arguments went with its memory, and its time comes to its
            // parent when that waits for it: it is nobody's workload any more.
            return inherited.unwrap_or_else(|| self.server(key));
        }
        let claims = self.claims;
        match claims.of(&key) {
            Some(Claimed::Kernel(told)) => {
                let tag = self.kernel_tag(&told.id, reading);
                return self.open(key, tag);
            }
            Some(Claimed::Terminal(name)) => return self.terminal(name, reading),
            Some(Claimed::App(name)) => return self.app(name, reading),
            None => {}
        }
        let inside = inherited.filter(|owner| self.kind(*owner) != Some(WorkloadKind::Server));
        let inside = inside.filter(|owner| *owner != Owner::Other);
        // A kernel that VS Code starts is a kernel, though VS Code is an application.
        let in_app = inside.is_some_and(|owner| self.kind(owner) == Some(WorkloadKind::App));
        if let Some(id) = reading.identity.kernel_id.as_ref()
            && (inside.is_none() || in_app)
        {
            let tag = self.kernel_tag(id, reading);
            return self.open(key, tag);
        }
        if let Some(inside) = inside {
            return inside;
        }
        let left_alone = parent.is_none() || self.chain.contains(&reading.ppid);
        if left_alone && let Some(owner) = self.stays(reading) {
            return owner;
        }
        if let Some(tty) = reading.terminal.as_deref()
            && reading.identity.terminal_env
        {
            if left_alone && let Some(shell) = self.terminals.get(tty) {
                return self.out.owners.get(shell).copied().unwrap_or(Owner::Other);
            }
            if self.chain.contains(&reading.ppid) {
                return self.terminal(tty, reading);
            }
        }
        Owner::Other
    }

    /// Where it was before it lost its parent, as long as that is there.
    fn stays(&self, reading: &Reading) -> Option<Owner> {
        let before = self.before.owners.get(&reading.key).copied()?;
        let Owner::Root(root) = before else {
            return None;
        };
        let is_there = root != reading.key && self.out.tags.contains_key(&root);
        (is_there && self.kind(before) != Some(WorkloadKind::Server)).then_some(before)
    }

    /// What no rule found is an orphan of a kernel or terminal, an application, an aide of the
    /// server, or really nobody's.
    fn find_homes(&mut self, readings: &[&Reading], eyes: &mut dyn Eyes) {
        let mut below: KeyMap<Vec<Key>> = KeyMap::default();
        let mut heads: PidMap<Key> = PidMap::default();
        for reading in readings {
            if self.out.owners.get(&reading.key) != Some(&Owner::Other) {
                continue;
            }
            let head = heads.get(&reading.ppid).copied().unwrap_or(reading.key);
            heads.insert(reading.key.pid, head);
            below.entry(head).or_default().push(reading.key);
        }
        for reading in readings {
            let Some(family) = below.get(&reading.key) else {
                continue;
            };
            let owner = self.home_of(reading, family, eyes);
            for key in family {
                self.out.owners.insert(*key, owner);
            }
        }
    }

    fn home_of(&mut self, head: &Reading, family: &[Key], eyes: &mut dyn Eyes) -> Owner {
        let orphan = !self.by_pid.contains_key(&head.ppid);
        let of_jupyter = self.jupyter_pid == Some(head.ppid);
        if !orphan && !of_jupyter {
            return Owner::Other;
        }
        let session = head.identity.session.as_ref();
        if let Some(kernel) = session.and_then(|session| self.sessions.get(session)) {
            return self.out.owners.get(kernel).copied().unwrap_or(Owner::Other);
        }
        if let Some(owner) = self.by_cgroup(head.key, eyes).filter(|_| orphan) {
            return owner;
        }
        if !of_jupyter {
            return Owner::Other;
        }
        let was_app = self.before.tags.get(&head.key);
        let was_app = was_app.is_some_and(|tag| tag.kind == WorkloadKind::App);
        if was_app || eyes.listens(family) {
            return self.app(&head.identity.program, head);
        }
        self.out.candidates.insert(head.key, family.to_vec());
        self.server(head.key)
    }

    /// The kernel whose cgroup it is in, where kernels have cgroups of their own.
    fn by_cgroup(&self, key: Key, eyes: &mut dyn Eyes) -> Option<Owner> {
        let cgroup = eyes.cgroup(key)?;
        let root = self.by_pid.get(&self.root_pid)?;
        if eyes.cgroup(root.key).as_ref() == Some(&cgroup) {
            return None;
        }
        let mut kernels = self.out.tags.iter();
        let kernel = kernels.find(|(root, tag)| {
            tag.kind == WorkloadKind::Kernel && eyes.cgroup(**root).as_ref() == Some(&cgroup)
        });
        kernel.map(|(root, _)| Owner::Root(*root))
    }

    fn kind(&self, owner: Owner) -> Option<WorkloadKind> {
        match owner {
            Owner::Root(root) => self.out.tags.get(&root).map(|tag| tag.kind),
            Owner::Other => None,
        }
    }

    /// Opens a workload, or joins the one that has this id already.
    fn open(&mut self, key: Key, tag: Tag) -> Owner {
        let root = *self.by_id.entry((tag.kind, tag.id.clone())).or_insert(key);
        self.out.tags.entry(root).or_insert(tag);
        Owner::Root(root)
    }

    fn server(&mut self, key: Key) -> Owner {
        let root = self.by_pid.get(&self.root_pid).map_or(key, |root| root.key);
        let tag = self.plain_tag(WorkloadKind::Server, "server".to_owned(), "server");
        self.open(root, tag)
    }

    fn terminal(&mut self, name: &str, shell: &Reading) -> Owner {
        if let Some(tty) = &shell.terminal {
            self.terminals.entry(tty.clone()).or_insert(shell.key);
        }
        let tag = self.plain_tag(WorkloadKind::Terminal, label(name), name);
        self.open(shell.key, tag)
    }

    /// Its id is its name, so that it is the same after a restart; where names stay here or two
    /// have one name, the pid tells them apart.
    fn app(&mut self, name: &str, reading: &Reading) -> Owner {
        let named = label(name);
        let taken = |id: &String| {
            let of = (self.by_id).get(&(WorkloadKind::App, Text::from(id.as_str())));
            of.is_some_and(|root| *root != reading.key)
        };
        let id = match self.names {
            Names::None => format!("app-{}", reading.key.pid),
            Names::Base | Names::Full if taken(&named) => {
                label(&format!("{name}-{}", reading.key.pid))
            }
            Names::Base | Names::Full => named,
        };
        let tag = self.plain_tag(WorkloadKind::App, id, name);
        self.open(reading.key, tag)
    }

    fn plain_tag(&self, kind: WorkloadKind, id: String, name: &str) -> Tag {
        Tag {
            kind,
            id: id.into(),
            name: self.names.shown(name).into(),
            notebook: None,
            state: None,
            idle_ms: None,
        }
    }

    fn kernel_tag(&mut self, id: &str, reading: &Reading) -> Tag {
        let told = self.claims.kernel_by_id(id);
        let session = reading.identity.session.as_deref();
        if let Some(session) = session {
            let serves = self.sessions.entry(session.to_owned());
            serves.or_insert(reading.key);
        }
        let notebook = told
            .and_then(|told| told.notebook.as_deref())
            .or(session)
            .and_then(|path| self.names.shown_path(path))
            .map(Text::from);
        let name = told.map(|told| told.name.as_str()).unwrap_or_default();
        let name = match name {
            // The kernel's spec is not known from outside; the program is the next best.
            "" => &reading.identity.name,
            name => name,
        };
        Tag {
            notebook,
            state: told.and_then(|told| told.state),
            idle_ms: told.and_then(|told| told.idle_ms),
            ..self.plain_tag(WorkloadKind::Kernel, label(id), name)
        }
    }
}

/// From the root down to the Jupyter server below it.
fn chain(by_pid: &PidMap<&Reading>, root_pid: u32, jupyter_pid: Option<u32>) -> HashSet<u32> {
    let mut chain = HashSet::from([root_pid]);
    let mut at = jupyter_pid;
    let mut below = Vec::new();
    while let Some(pid) = at {
        if pid == root_pid || below.len() > by_pid.len() {
            chain.extend(below);
            break;
        }
        below.push(pid);
        at = by_pid.get(&pid).map(|reading| reading.ppid);
    }
    chain
}
