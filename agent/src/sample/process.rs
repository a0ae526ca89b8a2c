//! One followed process: descriptors that stay open and the last reading.
//!
//! In steady state one CPU-clock read tells whether a process did anything at all; only then its
//! files are read again. What changes without it doing anything is its resident set, which the
//! kernel may reclaim, and its parent, which may end: those are read when somebody asks. The clock
//! is addressed by pid and silently reads the next owner of a reused pid, so a moved clock is
//! believed only after the kept descriptor still answers.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use nix::{
    time::{ClockId, clock_getcpuclockid, clock_gettime},
    unistd::Pid,
};

use super::{
    calls,
    error::SampleError,
    faults::{self, Fault},
    file::{Kept, Line, failed, field_kb, is_gone, read_bytes, read_dir, read_text},
    io::Io,
    kernels::Identity,
    stat::{self, RESIDENT_BYTES_MAX, Stat, Statm},
};

/// Names a process for ever: pids come again, start times with them don't.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Since boot, in ticks. First, so that keys order parents before children.
    pub start_ticks: u64,
    /// Process id.
    pub pid: u32,
}

/// What one process uses at one tick.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Which process.
    pub key: Key,
    /// Its parent.
    pub ppid: u32,
    /// Threads.
    pub threads: u32,
    /// Resident set.
    pub rss_bytes: u64,
    /// Of it, file and shared memory.
    pub shared_bytes: u64,
    /// Resident set when it last had any: what is dead holds nothing.
    pub held_bytes: u64,
    /// Its own CPU time.
    pub own_ns: u64,
    /// CPU time of children it waited for.
    pub reaped_ns: u64,
    /// What it read and wrote; unknown where that may not be read.
    pub io: Option<Io>,
    /// Dead, waiting to be reaped.
    pub zombie: bool,
    /// The signal it died of, 0 for none, where that may be seen.
    pub signal: Option<u8>,
    /// Its pseudo-terminal.
    pub terminal: Option<String>,
    /// Its process group.
    pub group: u32,
    /// The process group in front of its terminal; unknown without one.
    pub front_group: Option<u32>,
    /// What it says about itself.
    pub identity: Arc<Identity>,
    /// The last reading of its proportional set.
    pub pss: Option<PssReading>,
}

/// A proportional set size, and what the resident set was then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PssReading {
    /// Proportional set.
    pub pss_bytes: u64,
    /// Of it, the share in pages that others map, too.
    pub common_bytes: u64,
    /// Its share of swap.
    pub swap_bytes: u64,
    /// Resident set at that moment.
    pub rss_bytes: u64,
    /// When: milliseconds since boot.
    pub at_ms: u64,
    /// What reading it cost, CPU time of ours.
    pub cost_ns: u64,
    /// What shared pages had moved between the tree's processes by then.
    pub moved_before_bytes: u64,
}

/// One followed process.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) reading: Reading,
    /// Whether the kernel refused its proportional set: not asked again until all is looked at.
    pub(crate) pss_denied: bool,
    /// Whether something it says about itself could not be read.
    identity_cut: bool,
    /// First seen at this tick.
    pub(crate) new: bool,
    /// At which of the ticks between two looks at its resident set it is due.
    pub(crate) phase: u64,
    /// Whether something of it may have been missed: all of it is read again.
    pub(crate) doubted: bool,
    keep: bool,
    dir: PathBuf,
    stat: Kept,
    statm: Kept,
    io: Option<Kept>,
    clock: Option<ClockId>,
    /// Where the arguments lie: the same in a parent and its forks, another in every program.
    pub(crate) arg_start: u64,
    /// Where its environment ended when it was asked what it says: nowhere yet if that was amid
    /// an `exec`, and then it said nothing, or only a part.
    env_end: u64,
    tty: u32,
}

/// How much of a process is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// What it did since, if it did anything.
    Moved,
    /// That, or else its resident set.
    Resident,
    /// Everything.
    All,
}

/// What reading a process found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refreshed {
    /// It did nothing.
    Idle,
    /// It ran, or everything of it was read anyway.
    Read,
    /// It is not there any more.
    Gone,
}

// === impl Key ===

impl Key {
    /// Nobody's, and before everybody's.
    pub(crate) const FIRST: Self = Self {
        start_ticks: 0,
        pid: 0,
    };
}

// === impl Reading ===

impl Reading {
    /// Over, and only waits to be waited for. A main thread may end before the others do.
    pub(crate) fn is_dead(&self) -> bool {
        self.zombie && self.threads <= 1
    }
}

// === impl Process ===

impl Process {
    /// Follows `pid`; `None` when it is gone already. What may not be read or says nonsense is
    /// counted and an error. `clocks` says whether pids of this `/proc` are our own, so that CPU
    /// clocks may be asked; `keep` whether descriptors may stay open.
    pub(crate) fn follow(
        proc_root: &Path,
        pid: u32,
        clocks: bool,
        keep: bool,
        line: &mut Line,
    ) -> Result<Option<Self>, SampleError> {
        let dir = proc_root.join(pid.to_string());
        let clock = i32::try_from(pid)
            .ok()
            .filter(|_| clocks)
            .map(Pid::from_raw);
        let hidden = || clock.is_some_and(|pid| clock_getcpuclockid(pid).is_ok());
        let open = |name: &str| {
            let path = dir.join(name);
            match Kept::open(path.clone(), keep) {
                Ok(kept) => Ok(Some(kept)),
                // `hidepid` says that there is nobody; its clock knows better.
                Err(error) if is_gone(&error) && hidden() => {
                    Err(counted(&path, io::ErrorKind::PermissionDenied.into()))
                }
                Err(error) if is_gone(&error) => Ok(None),
                Err(error) => Err(counted(&path, error)),
            }
        };
        let (Some(stat_file), Some(statm)) = (open("stat")?, open("statm")?) else {
            return Ok(None);
        };
        let text = match stat_file.read(line) {
            Ok(text) => text,
            Err(error) if is_gone(&error) => return Ok(None),
            Err(error) => return Err(counted(stat_file.path(), error)),
        };
        let stat = parse_stat(stat_file.path(), text)?;
        let name = stat::name(text).unwrap_or_default();
        let clock = clock.and_then(|pid| clock_getcpuclockid(pid).ok());
        let (identity, identity_cut) = Identity::read(&dir, name);
        let mut process = Self {
            reading: Reading {
                key: Key {
                    pid,
                    start_ticks: stat.start_ticks,
                },
                ppid: stat.ppid,
                threads: stat.threads,
                rss_bytes: 0,
                shared_bytes: 0,
                held_bytes: 0,
                own_ns: 0,
                reaped_ns: 0,
                io: None,
                zombie: false,
                signal: None,
                terminal: stat.terminal(),
                group: stat.group,
                front_group: stat.front_group,
                identity: Arc::new(identity),
                pss: None,
            },
            pss_denied: false,
            identity_cut,
            new: true,
            // With all of it, below.
            io: None,
            phase: 0,
            doubted: false,
            keep,
            dir,
            stat: stat_file,
            statm,
            clock,
            arg_start: stat.arg_start,
            env_end: stat.env_end,
            tty: stat.tty,
        };
        let there = process.refresh(Extent::All, line)? != Refreshed::Gone;
        Ok(there.then_some(process))
    }

    /// Reads it again as far as `extent` says. A fault is counted and an error, and what was last
    /// read stands.
    pub(crate) fn refresh(
        &mut self,
        extent: Extent,
        line: &mut Line,
    ) -> Result<Refreshed, SampleError> {
        let clock_ns = match self.clock.map(clock_ns) {
            None => None,
            Some(Some(ns)) => Some(ns),
            Some(None) => return Ok(Refreshed::Gone),
        };
        let idle = clock_ns == Some(self.reading.own_ns);
        // Who is over does nothing any more, and is to be seen when it is waited for.
        if idle && extent == Extent::Moved && !self.reading.zombie {
            return Ok(Refreshed::Idle);
        }
        let statm = match self.statm.read(line) {
            Ok(text) => Statm::parse(text)
                .ok_or_else(|| malformed(self.statm.path(), "resident and shared pages"))?,
            Err(error) if is_gone(&error) => return Ok(Refreshed::Gone),
            Err(error) => return Err(counted(self.statm.path(), error)),
        };
        if idle && extent == Extent::Resident {
            let outlived = self.reading.zombie && !self.reading.is_dead();
            self.take_resident(self.resident(statm, outlived));
            return Ok(Refreshed::Idle);
        }
        if extent == Extent::All && self.io.is_none() {
            self.open_io();
        }
        let io = self.read_io(line);
        let (stat, name) = match self.stat.read(line) {
            Ok(text) => (
                parse_stat(self.stat.path(), text)?,
                stat::name_bytes(text).unwrap_or_default(),
            ),
            Err(error) if is_gone(&error) => return Ok(Refreshed::Gone),
            Err(error) => return Err(counted(self.stat.path(), error)),
        };
        if stat.start_ticks != self.reading.key.start_ticks {
            return Ok(Refreshed::Gone);
        }
        if stat.is_waited_for() {
            // Its parent shows already what it used: to count it here, too, would be twice.
            (self.reading.zombie, self.reading.signal) = (true, stat.death_signal());
            return Ok(Refreshed::Gone);
        }
        if extent == Extent::All {
            self.pss_denied = false;
        }
        self.reading.io = io;
        let statm = self.resident(statm, stat.is_zombie() && stat.threads > 1);
        self.take(&stat, statm, name, clock_ns, extent);
        Ok(Refreshed::Read)
    }

    /// Not everybody's may be read, and not every kernel has it.
    fn open_io(&mut self) {
        let path = self.dir.join("io");
        self.io = faults::noted(&path, Kept::open(path.clone(), self.keep));
    }

    /// Whether it has not been waited for yet, as far as its clock tells.
    pub(crate) fn is_there(&self) -> bool {
        self.clock.is_none_or(|clock| clock_ns(clock).is_some())
    }

    fn read_io(&mut self, line: &mut Line) -> Option<Io> {
        let file = self.io.as_ref()?;
        match file.read(line) {
            Ok(text) => {
                let io = Io::parse(text);
                if io.is_none() {
                    faults::note_as(Fault::Malformed, file.path());
                }
                io
            }
            // It ended since: what it told last was true.
            Err(error) if is_gone(&error) => self.reading.io,
            Err(error) => {
                faults::note(file.path(), &error);
                // Not asked again until all is looked at: a refusal may be written down somewhere.
                if error.kind() == io::ErrorKind::PermissionDenied {
                    self.io = None;
                }
                None
            }
        }
    }

    fn take(
        &mut self,
        stat: &Stat,
        statm: Statm,
        name: &[u8],
        clock_ns: Option<u64>,
        extent: Extent,
    ) {
        let another = (stat.arg_start, stat.env_end) != (self.arg_start, self.env_end)
            || !same_name(&self.reading.identity.name, name);
        let again = another || (extent == Extent::All && self.identity_cut);
        if again && stat.has_memory && !stat.is_zombie() {
            // Another program than before: a child between fork and exec carries its parent's
            // arguments. What is dead or about to be has none, and stays what it was.
            if stat.arg_start != self.arg_start {
                self.reading.pss = None; // of memory that is no more
            }
            (self.arg_start, self.env_end) = (stat.arg_start, stat.env_end);
            let name = String::from_utf8_lossy(name).into_owned();
            let (identity, cut) = Identity::read(&self.dir, name);
            self.identity_cut = cut;
            if identity != *self.reading.identity || another {
                self.reading.identity = Arc::new(identity);
            }
        }
        self.take_resident(statm);
        let reading = &mut self.reading;
        (reading.ppid, reading.group, reading.front_group) =
            (stat.ppid, stat.group, stat.front_group);
        reading.threads = stat.threads;
        reading.own_ns = clock_ns.unwrap_or(stat.own_ns);
        reading.reaped_ns = stat.reaped_ns;
        (reading.zombie, reading.signal) = (stat.is_zombie(), stat.death_signal());
        if stat.tty != self.tty {
            self.tty = stat.tty;
            reading.terminal = stat.terminal();
        }
        if reading.is_dead() {
            reading.pss = None;
        }
    }

    fn take_resident(&mut self, statm: Statm) {
        let page_bytes = stat::page_bytes();
        self.reading.rss_bytes = statm.resident_pages.saturating_mul(page_bytes);
        self.reading.shared_bytes = statm.shared_pages.saturating_mul(page_bytes);
        if self.reading.rss_bytes > 0 {
            self.reading.held_bytes = self.reading.rss_bytes;
        }
    }

    /// What it holds, `statm` being what its main thread says: one that ended before the others
    /// says nothing of the memory they hold; each of them does.
    fn resident(&self, statm: Statm, outlived: bool) -> Statm {
        let of_other = || {
            let path = self.other_thread()?.join("statm");
            let text = faults::noted(&path, read_bytes(&path))?;
            let statm = Statm::parse(&text);
            if statm.is_none() {
                faults::note_as(Fault::Malformed, &path);
            }
            statm
        };
        outlived.then(of_other).flatten().unwrap_or(statm)
    }

    fn other_thread(&self) -> Option<PathBuf> {
        let main = self.reading.key.pid.to_string();
        let tasks = self.dir.join("task");
        let mut threads = faults::noted(&tasks, read_dir(&tasks))?.flatten();
        let other = threads.find(|thread| thread.file_name() != main.as_str())?;
        Some(other.path())
    }

    /// Whether something of it was not to be had: it may be, later.
    pub(crate) fn is_partly_read(&self) -> bool {
        self.pss_denied || self.identity_cut
    }

    /// Reads the proportional set: costs microseconds per megabyte, under the process' own lock.
    pub(crate) fn read_pss(&mut self, now_ms: u64) {
        if self.pss_denied || self.reading.is_dead() {
            return;
        }
        let other = self.reading.zombie.then(|| self.other_thread()).flatten();
        let path = other.as_ref().unwrap_or(&self.dir).join("smaps_rollup");
        let text = match read_text(&path) {
            Ok(text) => text,
            Err(error) if error.raw_os_error() == Some(nix::libc::ESRCH) => String::new(),
            // The directory went with the process; a kernel without the file has the directory.
            Err(error) if is_gone(&error) && !self.dir.is_dir() => String::new(),
            Err(error) => {
                self.pss_denied = true;
                match Fault::of(&error) {
                    Some(fault) => faults::note_as(fault, &path),
                    None => faults::note_as(Fault::Missing, &path),
                }
                return;
            }
        };
        if text.is_empty() {
            // It ends since it was read, and holds nothing any more. What it died of is to be read
            // once it is dead: till then it is not over.
            self.doubted = true;
            (self.reading.rss_bytes, self.reading.shared_bytes) = (0, 0);
            self.reading.pss = None;
            return;
        }
        let Some(pss_bytes) = field_kb(&text, "Pss:").filter(|&at| at <= RESIDENT_BYTES_MAX) else {
            faults::note_as(Fault::Malformed, &path);
            return;
        };
        let private = |key| field_kb(&text, key);
        let private_bytes = match (private("Private_Clean:"), private("Private_Dirty:")) {
            (Some(clean), Some(dirty)) => clean.saturating_add(dirty),
            _ => pss_bytes, // not told
        };
        self.reading.pss = Some(PssReading {
            pss_bytes,
            common_bytes: pss_bytes.saturating_sub(private_bytes),
            swap_bytes: field_kb(&text, "SwapPss:").unwrap_or(0),
            // Not this file's own figure: on kernels where statm is approximate the same error
            // in both ends of the difference cancels out.
            rss_bytes: self.reading.rss_bytes,
            at_ms: now_ms,
            cost_ns: 0,
            moved_before_bytes: 0,
        });
    }
}

/// What a CPU clock shows; `None` when its process is gone.
pub(crate) fn clock_ns(clock: ClockId) -> Option<u64> {
    calls::clock_asked();
    let time = clock_gettime(clock).ok()?;
    let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec()).unwrap_or(0);
    Some(seconds * 1_000_000_000 + nanos)
}

/// Whether `kept` is what these bytes became as text.
fn same_name(kept: &str, bytes: &[u8]) -> bool {
    kept.as_bytes() == bytes || kept == String::from_utf8_lossy(bytes)
}

fn parse_stat(path: &Path, text: &[u8]) -> Result<Stat, SampleError> {
    Stat::parse(text).ok_or_else(|| malformed(path, "the fields of stat"))
}

fn counted(path: &Path, error: io::Error) -> SampleError {
    faults::note(path, &error);
    failed(path, error)
}

fn malformed(path: &Path, what: &'static str) -> SampleError {
    faults::note_as(Fault::Malformed, path);
    SampleError::Parse {
        path: path.to_owned(),
        what,
    }
}
