//! What an assignment looks up in `/proc` about few processes, and only when it is made anew.

use std::{path::PathBuf, sync::Arc};

use crate::{
    sample::{faults, file, keyed::KeyMap, listen, process::Key},
    workload::Eyes,
};

/// Processes whose cgroup is remembered: orphans and kernels.
const REMEMBERED_MAX: usize = 1024;

/// Looks at this machine.
#[derive(Debug)]
pub(super) struct ProcEyes {
    proc_root: PathBuf,
    cgroups: KeyMap<Option<Arc<[u8]>>>,
}

/// Sees nothing: for readers that have no `/proc`.
#[derive(Debug)]
pub(super) struct NoEyes;

// === impl ProcEyes ===

impl ProcEyes {
    pub(super) fn new(proc_root: PathBuf) -> Self {
        Self {
            proc_root,
            cgroups: KeyMap::default(),
        }
    }

    /// Looks again at those that could not be seen.
    pub(super) fn distrust(&mut self) {
        self.cgroups.retain(|_, cgroup| cgroup.is_some());
    }
}

impl Eyes for ProcEyes {
    fn listens(&mut self, processes: &[Key]) -> bool {
        let pids: Vec<u32> = processes.iter().map(|key| key.pid).collect();
        listen::any_listens(&self.proc_root, &pids)
    }

    fn cgroup(&mut self, process: Key) -> Option<Arc<[u8]>> {
        if let Some(known) = self.cgroups.get(&process) {
            return known.clone();
        }
        if self.cgroups.len() >= REMEMBERED_MAX {
            self.cgroups.clear();
        }
        let path = self.proc_root.join(process.pid.to_string()).join("cgroup");
        let text = faults::noted(&path, file::read_bytes(&path));
        let text = text.filter(|text| !text.is_empty());
        let cgroup: Option<Arc<[u8]>> = text.map(Into::into);
        self.cgroups.insert(process, cgroup.clone());
        cgroup
    }
}

// === impl NoEyes ===

impl Eyes for NoEyes {
    fn listens(&mut self, _: &[Key]) -> bool {
        false
    }

    fn cgroup(&mut self, _: Key) -> Option<Arc<[u8]>> {
        None
    }
}
