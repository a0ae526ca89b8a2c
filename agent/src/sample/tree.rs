//! Which processes are the server's: the root, its descendants, and its orphans; never an agent.
//!
//! Discovery runs only if a process was born (`/proc/loadavg` ends with the pid namespace's
//! cursor), one vanished, or now and then, because `children` files are documented as racy. A
//! process once followed stays followed until it ends, wherever it is re-parented to.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
};

use nix::{
    sys::{
        resource::{Resource, UsageWho, getrlimit, getrusage},
        time::TimeVal,
    },
    time::{ClockId, clock_getcpuclockid},
    unistd::Pid,
};

use super::{
    error::SampleError,
    faults::{self, Fault},
    file::{self, Lasting, Page, failed, is_gone, read_text},
    gauges,
    orphans::{Orphans, could_be_of},
    passers::{Fate, ancestors, pids, read_stat},
    process::{Key, Process, Reading, clock_ns},
    stat::{self, Stat},
};

/// Ticks after which everything is looked at again: RSS can shrink without its owner running
/// (reclaim), and a `children` file may have missed somebody.
const RESYNC_TICKS: u64 = 12;

/// Processes whose two files stay open, where the limit on descriptors allows it: an open one
/// costs up to 5 KiB of the kernel's memory, charged to the user. Those beyond pay for opening,
/// and only when they did anything.
const KEPT_PROCESSES_MAX: usize = 384;

/// Descriptors of one process.
const PROCESS_DESCRIPTORS: usize = 2;

/// Descriptors that the sampler holds besides: the cgroups' gauges, the pid cursor, the root's
/// membership.
const OTHER_DESCRIPTORS: usize = 3 * gauges::DESCRIPTORS_MAX + 2;

/// What the soft limit on descriptors is where it is not known.
const USUAL_DESCRIPTORS: u64 = 1024;

/// Processes followed. A fork bomb must not take the agent along; what is beyond is counted by
/// nobody, and the pids limit of a container is far below.
pub(crate) const PROCESSES_MAX: usize = 32_768;

/// The agent's own name as the kernel keeps it.
const AGENT_NAME: &str = "hubmeter-agent";

/// The server's processes.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(super) proc_root: PathBuf,
    pub(super) root_pid: u32,
    own_pid: u32,
    subreaper: bool,
    /// Whether pids of this `/proc` are this process' own, so that CPU clocks may be asked.
    clocks: bool,
    /// Whether the kernel has `children` files.
    children_files: bool,
    pub(super) processes: BTreeMap<Key, Process>,
    pub(super) by_pid: HashMap<u32, Key>,
    agents: BTreeSet<u32>,
    /// There, and the server's, but not to be read.
    unread: BTreeSet<u32>,
    orphans: Orphans,
    loadavg: Lasting,
    page: Page,
    cursor: Option<u32>,
    /// Processes whose files stay open.
    kept_max: usize,
    ticks: u64,
}

/// What an update found out about who the server's processes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum News {
    /// The same as before: nobody was born, nobody went.
    Nothing,
    /// Somebody came or went, here or elsewhere on the machine.
    Members,
    /// It is time to look at everything again.
    Resync,
}

// === impl Tree ===

impl Tree {
    /// Starts at `root_pid`.
    pub(crate) fn new(
        proc_root: &Path,
        root_pid: u32,
        own_pid: u32,
        subreaper: bool,
    ) -> Result<Self, SampleError> {
        let dir = proc_root.join(root_pid.to_string());
        let stat = dir.join("stat");
        if fs::symlink_metadata(proc_root.join("self")).is_err() {
            return Err(SampleError::NoProc {
                path: proc_root.to_owned(),
            });
        }
        match fs::metadata(&stat) {
            Ok(_) => {}
            Err(error) if is_gone(&error) => return Err(SampleError::Gone { pid: root_pid }),
            Err(error) => return Err(failed(&stat, error)),
        }
        let children = dir.join(format!("task/{root_pid}/children"));
        let own = std::process::id().to_string();
        let clocks = fs::read_link(proc_root.join("self")).is_ok_and(|to| to == Path::new(&own));
        // Without them (old kernels, `subset=pid`) all is found still, at a higher price.
        for needed in [&children, &proc_root.join("loadavg")] {
            if clocks && fs::metadata(needed).is_err_and(|error| is_gone(&error)) {
                faults::note_as(Fault::Missing, needed);
            }
        }
        Ok(Self {
            proc_root: proc_root.to_owned(),
            root_pid,
            own_pid,
            subreaper,
            clocks,
            children_files: fs::metadata(&children).is_ok(),
            processes: BTreeMap::new(),
            by_pid: HashMap::new(),
            agents: BTreeSet::from([own_pid]),
            unread: BTreeSet::new(),
            orphans: Orphans::new(proc_root, root_pid),
            loadavg: Lasting::new(proc_root.join("loadavg"), clocks),
            page: Page::default(),
            cursor: None,
            kept_max: kept_processes(),
            ticks: 0,
        })
    }

    /// Reads every process that did anything, and finds the new ones. What failed is tried again
    /// at the next tick.
    pub(crate) fn update(&mut self, now_ms: u64) -> Result<News, SampleError> {
        let found = self.look(now_ms);
        match found {
            Ok(_) => self.ticks += 1,
            Err(_) => self.cursor = None,
        }
        found
    }

    /// Has everything looked at again at the next tick.
    pub(crate) fn distrust(&mut self) {
        self.ticks = 0;
    }

    fn look(&mut self, now_ms: u64) -> Result<News, SampleError> {
        let cursor = self.read_cursor();
        let resync = self.ticks.is_multiple_of(RESYNC_TICKS);
        let births = cursor.is_none() || cursor != self.cursor;
        // Before anything else: what is reaped into a parent later must not have been read from
        // that parent now and from the child afterwards, so parents come first.
        let vanished = self.refresh(resync)?;
        let news = match (resync, births || vanished) {
            (true, _) => News::Resync,
            (false, true) => News::Members,
            (false, false) => News::Nothing,
        };
        if news > News::Nothing {
            self.discover()?;
            for pid in self.orphans.find(&self.by_pid, &self.agents, now_ms) {
                self.adopt(pid)?;
            }
        }
        self.cursor = cursor;
        match self.root() {
            Some(root) if !root.is_dead() => Ok(news),
            _ => Err(SampleError::Gone { pid: self.root_pid }),
        }
    }

    /// The root's reading.
    pub(crate) fn root(&self) -> Option<&Reading> {
        let key = self.by_pid.get(&self.root_pid)?;
        self.processes.get(key).map(|process| &process.reading)
    }

    /// Who the root is.
    pub(crate) fn root_pid(&self) -> u32 {
        self.root_pid
    }

    /// All readings, parents before children.
    pub(crate) fn readings(&self) -> impl Iterator<Item = &Reading> {
        self.processes.values().map(|process| &process.reading)
    }

    /// Whether `pid` is one of the server's.
    pub(crate) fn contains(&self, pid: u32) -> bool {
        self.by_pid.contains_key(&pid)
    }

    /// Whether `pid` is an agent: this one, or another that runs inside the tree.
    pub(crate) fn is_agent(&self, pid: u32) -> bool {
        self.agents.contains(&pid)
    }

    /// Whether `children` files serve discovery; else all of `/proc` is read for parents.
    pub(crate) fn has_children_files(&self) -> bool {
        self.children_files
    }

    /// Processes whose proportional set may not be read.
    pub(crate) fn pss_denied(&self) -> usize {
        let denied = |process: &&Process| process.pss_denied;
        self.processes.values().filter(denied).count()
    }

    /// Processes of the server that may not be read at all.
    pub(crate) fn unread(&self) -> usize {
        self.unread.len()
    }

    /// The agent among the root's ancestors: it started the server, and orphans come to it.
    pub(crate) fn agent_above(&self) -> Option<u32> {
        let is_agent = |pid: &u32| self.name(*pid).as_deref() == Some(AGENT_NAME);
        self.ancestors(self.root_pid).into_iter().find(is_agent)
    }

    /// CPU time of what this agent waited for as the server's subreaper.
    pub(crate) fn reaped_by_agent_ns(&self) -> Option<u64> {
        if !self.subreaper {
            return None;
        }
        if self.clocks && self.own_pid == std::process::id() {
            let usage = getrusage(UsageWho::RUSAGE_CHILDREN).ok()?;
            return Some(ns(usage.user_time()) + ns(usage.system_time()));
        }
        Some(self.stat(self.own_pid)?.reaped_ns)
    }

    /// CPU time of the agents, what they waited for left out.
    pub(crate) fn agents_ns(&self) -> u64 {
        let of_clock = |pid: u32| clock_ns(self.clock(pid)?);
        let of_stat = |pid: u32| Some(self.stat(pid)?.own_ns);
        self.agents
            .iter()
            .filter_map(|&pid| of_clock(pid).or_else(|| of_stat(pid)))
            .sum()
    }

    /// Whether there is such a process at all, asked without opening a file.
    pub(crate) fn is_there(&self, pid: u32) -> bool {
        !self.clocks || self.clock(pid).is_some()
    }

    fn clock(&self, pid: u32) -> Option<ClockId> {
        let pid = i32::try_from(pid).ok().filter(|_| self.clocks)?;
        clock_getcpuclockid(Pid::from_raw(pid)).ok()
    }

    /// Whether descriptors may stay open: one of a copied `/proc` would go on telling of what is
    /// no more.
    pub(crate) fn keeps(&self) -> bool {
        self.clocks
    }

    /// Follows an orphan and all below it.
    pub(crate) fn adopt(&mut self, pid: u32) -> Result<(), SampleError> {
        let parents = self.parents_if_needed()?;
        let mut seen: HashSet<u32> = self.by_pid.keys().copied().collect();
        self.walk(vec![pid], &mut seen, parents.as_ref())
    }

    /// Whether nothing speaks against `pid` being an orphan of this server.
    pub(crate) fn could_be_ours(&self, pid: u32) -> bool {
        could_be_of(&self.proc_root, pid, self.root_pid)
    }

    /// From the parent of `pid` up to pid 1.
    pub(crate) fn ancestors(&self, pid: u32) -> Vec<u32> {
        ancestors(&self.proc_root, pid)
    }

    /// A fresh `stat` of any process.
    pub(crate) fn stat(&self, pid: u32) -> Option<Stat> {
        read_stat(&self.proc_root, pid)
    }

    /// A fresh look at any process, for those who must tell a hidden one from none.
    pub(crate) fn fate(&self, pid: u32) -> Fate {
        Fate::of(&self.proc_root, pid, || self.clock(pid).is_some())
    }

    /// The short name of any process.
    pub(crate) fn name(&self, pid: u32) -> Option<String> {
        let path = self.proc_root.join(pid.to_string()).join("stat");
        stat::name(&faults::noted(&path, file::read_bytes(&path))?)
    }

    fn read_cursor(&mut self) -> Option<u32> {
        let text = self.loadavg.text(&mut self.page)?;
        text.split_ascii_whitespace().next_back()?.parse().ok()
    }

    /// Reads what moved; true when somebody vanished.
    fn refresh(&mut self, force: bool) -> Result<bool, SampleError> {
        let mut vanished = Vec::new();
        for (key, process) in &mut self.processes {
            match process.refresh(force) {
                Ok(true) => {}
                Ok(false) => vanished.push(*key),
                Err(error) if key.pid == self.root_pid => return Err(error),
                // Counted; what was last read of it stands.
                Err(_) => {}
            }
        }
        for key in &vanished {
            self.processes.remove(key);
            if self.by_pid.get(&key.pid) == Some(key) {
                self.by_pid.remove(&key.pid);
            }
        }
        // Their children have another parent now, without having run themselves.
        let dead: HashSet<u32> = vanished.iter().map(|key| key.pid).collect();
        for process in self.processes.values_mut() {
            if dead.contains(&process.reading.ppid) {
                let _ = process.refresh(true);
            }
        }
        Ok(!vanished.is_empty())
    }

    fn discover(&mut self) -> Result<(), SampleError> {
        let parents = self.parents_if_needed()?;
        let mut seen = HashSet::new();
        self.agents.retain(|&pid| pid == self.own_pid);
        self.unread.clear();
        self.walk(vec![self.root_pid], &mut seen, parents.as_ref())?;
        if self.subreaper {
            let mine = self.children(self.own_pid, parents.as_ref());
            self.walk(mine, &mut seen, parents.as_ref())?;
        }
        let orphaned: Vec<u32> = self
            .by_pid
            .keys()
            .filter(|pid| !seen.contains(pid))
            .copied()
            .collect();
        self.walk(orphaned, &mut seen, parents.as_ref())
    }

    fn walk(
        &mut self,
        mut to_visit: Vec<u32>,
        seen: &mut HashSet<u32>,
        parents: Option<&HashMap<u32, Vec<u32>>>,
    ) -> Result<(), SampleError> {
        while let Some(pid) = to_visit.pop() {
            if pid == self.own_pid || !seen.insert(pid) {
                continue;
            }
            if !self.by_pid.contains_key(&pid) {
                if self.processes.len() >= PROCESSES_MAX {
                    tracing::warn!(limit = PROCESSES_MAX, "more processes than are followed");
                    return Ok(());
                }
                let keep = self.keeps() && self.processes.len() < self.kept_max;
                let followed = Process::follow(&self.proc_root, pid, self.clocks, keep);
                let process = match followed {
                    Ok(Some(process)) => process,
                    Ok(None) => continue,
                    Err(error) if pid == self.root_pid => return Err(error),
                    // Counted; those below it may be readable.
                    Err(_) => {
                        self.unread.insert(pid);
                        to_visit.extend(self.children(pid, parents));
                        continue;
                    }
                };
                if self.is_foreign_agent(&process.reading) {
                    self.agents.insert(pid);
                    continue;
                }
                self.by_pid.insert(pid, process.reading.key);
                self.processes.insert(process.reading.key, process);
            }
            to_visit.extend(self.children(pid, parents));
        }
        Ok(())
    }

    /// Another agent inside the tree: one that Jupyter started while `sample` is run by hand. Its
    /// name alone proves nothing, anybody may call himself so; the program must be ours.
    fn is_foreign_agent(&self, reading: &Reading) -> bool {
        if reading.key.pid == self.root_pid || reading.identity.name != AGENT_NAME {
            return false;
        }
        let exe = |pid: &str| fs::metadata(self.proc_root.join(pid).join("exe"));
        let (Ok(theirs), Ok(ours)) = (exe(&reading.key.pid.to_string()), exe("self")) else {
            return false;
        };
        use std::os::unix::fs::MetadataExt;
        (theirs.dev(), theirs.ino()) == (ours.dev(), ours.ino())
    }

    fn children(&self, pid: u32, parents: Option<&HashMap<u32, Vec<u32>>>) -> Vec<u32> {
        if let Some(parents) = parents {
            return parents.get(&pid).cloned().unwrap_or_default();
        }
        let tasks = self.proc_root.join(pid.to_string()).join("task");
        let mut children = Vec::new();
        // Every thread has the children it forked itself. Gone in between: no children.
        let threads = faults::noted(&tasks, file::read_dir(&tasks));
        for task in threads.into_iter().flatten().flatten() {
            let path = task.path().join("children");
            let Some(text) = faults::noted(&path, read_text(&path)) else {
                continue;
            };
            match file::pids(&text) {
                Some(pids) => children.extend(pids),
                None => faults::note_as(Fault::Malformed, &path),
            }
        }
        children
    }

    /// Who is whose parent, by reading all of `/proc`: only where `children` files are missing.
    fn parents_if_needed(&self) -> Result<Option<HashMap<u32, Vec<u32>>>, SampleError> {
        if self.children_files {
            return Ok(None);
        }
        let mut parents: HashMap<u32, Vec<u32>> = HashMap::new();
        for pid in pids(&self.proc_root)? {
            match self.fate(pid) {
                Fate::There(stat) => parents.entry(stat.ppid).or_default().push(pid),
                Fate::Gone | Fate::Unread => {}
            }
        }
        Ok(Some(parents))
    }
}

/// How many processes' files may stay open: with all else half of what this process may have
/// open, the other half is the link's, the local socket's and the wrapped command's.
fn kept_processes() -> usize {
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(USUAL_DESCRIPTORS, |(soft, _)| soft);
    kept_of(usize::try_from(limit).unwrap_or(usize::MAX))
}

fn kept_of(descriptors: usize) -> usize {
    let ours = (descriptors / 2).saturating_sub(OTHER_DESCRIPTORS);
    (ours / PROCESS_DESCRIPTORS).min(KEPT_PROCESSES_MAX)
}

fn ns(time: TimeVal) -> u64 {
    let part = |part: i64| u64::try_from(part).unwrap_or(0);
    part(time.tv_sec()) * 1_000_000_000 + part(time.tv_usec()) * 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_descriptors_are_at_most_half_of_those_allowed() {
        for descriptors in [0, 3, 64, 256, 1024, 4096, 1 << 20] {
            let kept = kept_of(descriptors);
            assert!(kept <= KEPT_PROCESSES_MAX);
            let held = kept * PROCESS_DESCRIPTORS + OTHER_DESCRIPTORS;
            assert!(
                kept == 0 || held <= descriptors / 2,
                "{descriptors}: {held}"
            );
        }
        assert!(kept_of(1024) >= 200, "a usual server is kept open whole");
    }
}
