//! Which processes are the server's: the root, its descendants, and its orphans; never an agent.
//!
//! A tick asks every followed process' CPU clock, and reads those that ran. New ones are found among
//! the pids given out since (`births`), so that a tick costs what the tree did and not what the
//! machine holds; `discovery` has the other ways. A process once followed stays followed until it
//! ends, wherever it is re-parented to. A tick that costs too much goes on where it stopped.

mod agents;
mod discovery;
mod doubt;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fs,
    ops::Bound,
    path::{Path, PathBuf},
};

use nix::{
    sys::resource::{Resource, getrlimit},
    time::{ClockId, clock_getcpuclockid},
    unistd::Pid,
};

use super::{
    allowance::{Allowance, GLANCE, NEWCOMERS_PARTS, READING, TICK_CPU_NS_MAX},
    births::Births,
    calls,
    crowd::Crowd,
    error::SampleError,
    faults::{self, Fault},
    file::{self, Lasting, Line, Page, failed, is_gone},
    gauges,
    keyed::{PidMap, PidSet},
    orphans::{Orphans, could_be_of},
    passers::{Fate, ancestors, read_stat},
    pressure::hundredths,
    process::{Extent, Key, Process, Reading, Refreshed},
    stat::{self, Stat},
};

/// Ticks in which the resident set of everybody is read once, a share at every tick: it can shrink
/// without its owner running, when the kernel reclaims.
const RESYNC_TICKS: u64 = 12;

/// Distance between two looks at what moves rarely: whose the cgroups are, the limits.
const LOOK_AGAIN_MS: u64 = 60_000;

/// Ticks for which news waits for the whole tree to be known: who is in a cgroup can't be told
/// before; in a storm that goes on and on it has to be.
const NEWS_HELD_TICKS_MAX: u64 = 12;

/// Processes whose three files stay open, where the limit on descriptors allows it: an open one
/// costs up to 5 KiB of the kernel's memory, charged to the user. Those beyond pay for opening,
/// and only when they did anything.
const KEPT_PROCESSES_MAX: usize = 512;

/// Descriptors of one process.
const PROCESS_DESCRIPTORS: usize = 3;

/// Descriptors that the sampler holds besides: the cgroups' gauges, the pid cursor, the root's
/// membership, pressure, the machine's memory and kill counter, the agent's own, a child that asks
/// a disk (two).
const OTHER_DESCRIPTORS: usize = 3 * gauges::DESCRIPTORS_MAX + 8;

/// What the soft limit on descriptors is where it is not known.
const USUAL_DESCRIPTORS: u64 = 1024;

/// Processes followed, nearest to the root first: each takes some hundred bytes of the agent's and
/// a tenth of a microsecond a tick. Those beyond are counted. A fork bomb must not take the agent
/// along, and nobody's notebook needs as many.
pub(crate) const PROCESSES_MAX: usize = 4096;

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
    pub(super) by_pid: PidMap<Key>,
    agents: BTreeSet<u32>,
    /// There, and the server's, but not to be read.
    unread: BTreeSet<u32>,
    /// Whether somebody was born since the last look around of whom we may not know whose he is.
    hidden_born: bool,
    /// Last readings of those that went since the previous update.
    gone: Vec<Reading>,
    /// Whether the previous update failed, so that nobody was told of those.
    failed: bool,
    orphans: Orphans,
    births: Births,
    crowd: Crowd,
    /// Processes that are followed at most.
    followed_max: usize,
    load_hundredths: Option<u32>,
    /// Processes whose files stay open.
    kept_max: usize,
    /// Processes followed so far.
    followed: u64,
    loadavg: Lasting,
    page: Page,
    line: Line,
    ticks: u64,
    allowance: Allowance,
    allowance_ns: u64,
    /// Where the next tick goes on, if this one was cut.
    resume: Option<Key>,
    /// Whose children were looked at last, if there was no time for all.
    looked_to: Option<u32>,
    /// Whether this tick was cut.
    cut: bool,
    ticks_cut: u64,
    news: News,
    news_held_ticks: u64,
    looked_ms: Option<u64>,
    /// Whether what could not be read was asked for again at this tick.
    looks_again: bool,
    /// Those that ran since the tick before, and the parents of those that ended.
    moved: Vec<u32>,
    /// Whose children are to be looked at, a share at every tick until this one.
    doubt_until_tick: u64,
    doubtful: Vec<u32>,
    /// Everybody's children by parent, where `children` files are missing; of one tick.
    parents: Option<HashMap<u32, Vec<u32>>>,
}

/// What an update found out about who the server's processes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum News {
    /// The same as before: nobody was born, nobody went.
    Nothing,
    /// Somebody of the server's came or went, or somebody was born who may be an orphan of its.
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
            by_pid: PidMap::default(),
            agents: BTreeSet::from([own_pid]),
            unread: BTreeSet::new(),
            hidden_born: false,
            gone: Vec::new(),
            failed: false,
            orphans: Orphans::new(proc_root, root_pid),
            births: Births::default(),
            crowd: Crowd::default(),
            followed_max: PROCESSES_MAX,
            kept_max: kept_processes(),
            followed: 0,
            loadavg: Lasting::new(proc_root.join("loadavg"), clocks),
            page: Page::default(),
            load_hundredths: None,
            line: Line::default(),
            ticks: 0,
            allowance: Allowance::default(),
            allowance_ns: TICK_CPU_NS_MAX,
            resume: None,
            looked_to: None,
            cut: false,
            ticks_cut: 0,
            news: News::Nothing,
            news_held_ticks: 0,
            looked_ms: None,
            looks_again: false,
            moved: Vec::new(),
            doubt_until_tick: 0,
            doubtful: Vec::new(),
            parents: None,
        })
    }

    /// Reads every process that did anything, and finds the new ones. `None` while so many are new
    /// that the tree is not known whole yet. What failed is tried again at the next tick.
    pub(crate) fn update(&mut self, now_ms: u64) -> Result<Option<News>, SampleError> {
        self.ticks += 1;
        let newcomers_ns = self.allowance_ns / NEWCOMERS_PARTS;
        self.allowance = Allowance::of(self.allowance_ns - newcomers_ns);
        self.parents = None;
        if !std::mem::take(&mut self.failed) {
            self.gone.clear();
        }
        self.look_again(now_ms);
        let cursor = self.read_cursor().filter(|_| self.clocks);
        let born = self.births.since_last(cursor);
        // Before anything else: what is reaped into a parent later must not have been read from
        // that parent now and from the child afterwards, so parents come first.
        let found = self.refresh().and_then(|()| {
            self.allowance.add(newcomers_ns);
            self.discover(born, now_ms)
        });
        if let Err(error) = found {
            self.failed = true;
            self.distrust();
            return Err(error);
        }
        self.cut = self.resume.is_some() || self.crowd.is_due();
        self.ticks_cut += u64::from(self.cut);
        match self.root() {
            Some(root) if !root.is_dead() => Ok(self.take_news(now_ms)),
            _ => Err(SampleError::Gone { pid: self.root_pid }),
        }
    }

    /// Whether this tick was cut short: what it left out kept its last reading.
    pub(crate) fn is_cut(&self) -> bool {
        self.cut
    }

    /// Ticks that were cut short because they cost too much; what they left out kept its last
    /// reading, and came next.
    pub(crate) fn ticks_cut(&self) -> u64 {
        self.ticks_cut
    }

    /// The server's processes that are not followed.
    pub(crate) fn beyond(&self) -> usize {
        self.crowd.len()
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

    /// Last readings of those that went since the previous update.
    pub(crate) fn gone(&self) -> &[Reading] {
        &self.gone
    }

    /// The machine's load, mean of one minute.
    pub(crate) fn load_hundredths(&self) -> Option<u32> {
        self.load_hundredths
    }

    /// Whether `pid` is one of the server's, followed or not.
    pub(crate) fn contains(&self, pid: u32) -> bool {
        self.by_pid.contains_key(&pid) || self.crowd.contains(pid)
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

    /// Whether there is such a process at all, asked without opening a file.
    pub(crate) fn is_there(&self, pid: u32) -> bool {
        !self.clocks || self.clock(pid).is_some()
    }

    fn clock(&self, pid: u32) -> Option<ClockId> {
        cpu_clock(pid).filter(|_| self.clocks)
    }

    /// Whether descriptors may stay open: one of a copied `/proc` would go on telling of what is
    /// no more.
    pub(crate) fn keeps(&self) -> bool {
        self.clocks
    }

    /// Whether nothing speaks against `pid` being an orphan of this server.
    pub(crate) fn could_be_ours(&self, pid: u32) -> bool {
        could_be_of(&self.proc_root, pid, self.root_pid)
    }

    /// From the parent of `pid` up to pid 1.
    pub(crate) fn ancestors(&self, pid: u32) -> impl Iterator<Item = u32> {
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
        let mut words = text.split_ascii_whitespace();
        self.load_hundredths = words.next().and_then(hundredths);
        words.next_back()?.parse().ok()
    }

    /// Reads what moved, and a share of what may have changed without.
    fn refresh(&mut self) -> Result<(), SampleError> {
        let phase = self.ticks % RESYNC_TICKS;
        let doubt = self.ticks <= self.doubt_until_tick;
        self.moved.clear();
        self.doubtful.clear();
        if self.agents.len() > 1 && self.clocks {
            let own_pid = self.own_pid;
            self.agents
                .retain(|&pid| pid == own_pid || cpu_clock(pid).is_some());
        }
        let mut vanished = Vec::new();
        let from = self.resume.take();
        let ranges = [
            (
                from.map_or(Bound::Unbounded, Bound::Included),
                Bound::Unbounded,
            ),
            (
                Bound::Unbounded,
                Bound::Excluded(from.unwrap_or(Key::FIRST)),
            ),
        ];
        'pass: for range in ranges {
            for (key, process) in self.processes.range_mut(range) {
                if !self.allowance.allows(GLANCE) {
                    self.resume = Some(*key);
                    break 'pass;
                }
                let extent = if std::mem::take(&mut process.doubted) {
                    Extent::All
                } else if process.phase == phase {
                    if doubt {
                        self.doubtful.push(key.pid);
                    }
                    Extent::Resident
                } else {
                    Extent::Moved
                };
                match process.refresh(extent, &mut self.line) {
                    Ok(Refreshed::Idle) => {}
                    Ok(Refreshed::Read) => {
                        self.allowance.allows(READING);
                        self.moved.push(key.pid);
                    }
                    Ok(Refreshed::Gone) => vanished.push(*key),
                    Err(error) if key.pid == self.root_pid => return Err(error),
                    // Counted; what was last read of it stands.
                    Err(_) => {}
                }
            }
        }
        self.look_after(from.is_some(), &mut vanished);
        self.bury(&vanished);
        Ok(())
    }

    /// What a child used shows in its parent shortly before the child is gone; after a tick that
    /// was cut, parents are even read after their children. Whoever is gone when all are read is
    /// gone in this tick: in the next it would have been counted twice for a while.
    fn look_after(&self, cut_before: bool, vanished: &mut Vec<Key>) {
        if self.moved.is_empty() {
            return; // nobody waited for anybody
        }
        let moved: PidSet = self.moved.iter().copied().collect();
        let known: HashSet<Key> = vanished.iter().copied().collect();
        let of_those = |process: &&Process| cut_before || moved.contains(&process.reading.ppid);
        let left = self.processes.values().filter(of_those);
        let gone = left.filter(|process| !process.is_there());
        let keys = gone.map(|process| process.reading.key);
        vanished.extend(keys.filter(|key| !known.contains(key)));
    }

    /// Lets go of those that are gone.
    fn bury(&mut self, vanished: &[Key]) {
        if vanished.is_empty() {
            return;
        }
        self.news = self.news.max(News::Members);
        for key in vanished {
            if let Some(process) = self.processes.remove(key) {
                self.moved.push(process.reading.ppid);
                self.gone.push(process.reading);
            }
            if self.by_pid.get(&key.pid) == Some(key) {
                self.by_pid.remove(&key.pid);
            }
        }
        // Their children have another parent now, without having run themselves.
        let dead: HashSet<u32> = vanished.iter().map(|key| key.pid).collect();
        for process in self.processes.values_mut() {
            if dead.contains(&process.reading.ppid) {
                // A fault is counted; what was last read of it stands.
                let _ = process.refresh(Extent::All, &mut self.line);
            }
        }
    }

    /// What is to be said now; `None` while the tree is not known whole.
    fn take_news(&mut self, now_ms: u64) -> Option<News> {
        if self.crowd.is_due() && self.news_held_ticks < NEWS_HELD_TICKS_MAX {
            self.news_held_ticks += 1;
            return None;
        }
        self.news_held_ticks = 0;
        let news = std::mem::replace(&mut self.news, News::Nothing);
        if self.is_look_due(now_ms) {
            self.looked_ms = Some(now_ms);
            self.orphans.find_adopters();
            return Some(News::Resync);
        }
        Some(news)
    }
}

/// The CPU clock of a process; `None` when there is none with this pid.
fn cpu_clock(pid: u32) -> Option<ClockId> {
    calls::clock_asked();
    clock_getcpuclockid(Pid::from_raw(i32::try_from(pid).ok()?)).ok()
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

#[cfg(test)]
mod tests;
