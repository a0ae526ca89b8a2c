//! One followed process: descriptors that stay open and the last reading.
//!
//! In steady state one CPU-clock read tells whether a process did anything at all; only then its
//! files are read again. The clock is addressed by pid and silently reads the next owner of a
//! reused pid, so a moved clock is believed only after the kept descriptor still answers.

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
    error::SampleError,
    faults::{self, Fault},
    file::{Kept, Line, failed, field_kb, is_gone, read_bytes, read_dir, read_text},
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
    /// Its own CPU time.
    pub own_ns: u64,
    /// CPU time of children it waited for.
    pub reaped_ns: u64,
    /// Dead, waiting to be reaped.
    pub zombie: bool,
    /// Its pseudo-terminal.
    pub terminal: Option<String>,
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
    /// Its share of swap.
    pub swap_bytes: u64,
    /// Resident set at that moment.
    pub rss_bytes: u64,
    /// When: milliseconds since boot.
    pub at_ms: u64,
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
    dir: PathBuf,
    stat: Kept,
    statm: Kept,
    clock: Option<ClockId>,
    arg_start: u64,
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
    /// counted and an error. `clocks` says whether pids of this `/proc`
    /// are our own, so that CPU clocks may be asked; `keep` whether descriptors may stay open.
    pub(crate) fn follow(
        proc_root: &Path,
        pid: u32,
        clocks: bool,
        keep: bool,
    ) -> Result<Option<Self>, SampleError> {
        let dir = proc_root.join(pid.to_string());
        let clock = i32::try_from(pid)
            .ok()
            .filter(|_| clocks)
            .map(Pid::from_raw);
        let hidden = || clock.is_some_and(|pid| clock_getcpuclockid(pid).is_ok());
        let mut line = Line::default();
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
        let text = match stat_file.read(&mut line) {
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
                own_ns: 0,
                reaped_ns: 0,
                zombie: false,
                terminal: stat.terminal(),
                identity: Arc::new(identity),
                pss: None,
            },
            pss_denied: false,
            identity_cut,
            new: true,
            dir,
            stat: stat_file,
            statm,
            clock,
            arg_start: stat.arg_start,
        };
        Ok(process.refresh(true)?.then_some(process))
    }

    /// Reads it again if it did anything since, or in any case with `force`. False: it is gone.
    /// A fault is counted and an error, and what was last read stands.
    pub(crate) fn refresh(&mut self, force: bool) -> Result<bool, SampleError> {
        let clock_ns = match self.clock.map(clock_ns) {
            None => None,
            Some(Some(ns)) => Some(ns),
            Some(None) => return Ok(false),
        };
        if !force && clock_ns == Some(self.reading.own_ns) {
            return Ok(true);
        }
        let mut line = Line::default();
        let statm = match self.statm.read(&mut line) {
            Ok(text) => Statm::parse(text)
                .ok_or_else(|| malformed(self.statm.path(), "resident and shared pages"))?,
            Err(error) if is_gone(&error) => return Ok(false),
            Err(error) => return Err(counted(self.statm.path(), error)),
        };
        let (stat, name) = match self.stat.read(&mut line) {
            Ok(text) => (parse_stat(self.stat.path(), text)?, stat::name(text)),
            Err(error) if is_gone(&error) => return Ok(false),
            Err(error) => return Err(counted(self.stat.path(), error)),
        };
        if stat.start_ticks != self.reading.key.start_ticks {
            return Ok(false);
        }
        if force {
            self.pss_denied = false;
        }
        let outlived = stat.is_zombie() && stat.threads > 1;
        let statm = outlived.then(|| self.outlived()).flatten().unwrap_or(statm);
        self.take(&stat, statm, name.unwrap_or_default(), clock_ns, force);
        Ok(true)
    }

    fn take(
        &mut self,
        stat: &Stat,
        statm: Statm,
        name: String,
        clock_ns: Option<u64>,
        force: bool,
    ) {
        let page_bytes = procfs::page_size();
        let another = stat.arg_start != self.arg_start || name != self.reading.identity.name;
        let again = another || (force && self.identity_cut);
        if again && !stat.is_zombie() {
            // Another program than before: a child between fork and exec carries its parent's
            // arguments. What is dead has none, and stays what it was.
            self.arg_start = stat.arg_start;
            let (identity, cut) = Identity::read(&self.dir, name);
            self.identity_cut = cut;
            if identity != *self.reading.identity || another {
                self.reading.identity = Arc::new(identity);
            }
        }
        let reading = &mut self.reading;
        reading.ppid = stat.ppid;
        reading.threads = stat.threads;
        reading.rss_bytes = statm.resident_pages.saturating_mul(page_bytes);
        reading.shared_bytes = statm.shared_pages.saturating_mul(page_bytes);
        reading.own_ns = clock_ns.unwrap_or(stat.own_ns);
        reading.reaped_ns = stat.reaped_ns;
        reading.zombie = stat.is_zombie();
        reading.terminal = stat.terminal();
        if reading.is_dead() {
            reading.pss = None;
        }
    }

    /// A main thread that ended before the others says nothing of the memory they hold; each of
    /// them does.
    fn outlived(&self) -> Option<Statm> {
        Statm::parse(&read_bytes(&self.other_thread()?.join("statm")).ok()?)
    }

    fn other_thread(&self) -> Option<PathBuf> {
        let main = self.reading.key.pid.to_string();
        let mut threads = read_dir(&self.dir.join("task")).ok()?.flatten();
        let other = threads.find(|thread| thread.file_name() != main.as_str())?;
        Some(other.path())
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
            // It died since it was read, and holds nothing any more.
            self.reading.zombie = true;
            (self.reading.rss_bytes, self.reading.shared_bytes) = (0, 0);
            self.reading.pss = None;
            return;
        }
        let Some(pss_bytes) = field_kb(&text, "Pss:").filter(|&at| at <= RESIDENT_BYTES_MAX) else {
            faults::note_as(Fault::Malformed, &path);
            return;
        };
        self.reading.pss = Some(PssReading {
            pss_bytes,
            swap_bytes: field_kb(&text, "SwapPss:").unwrap_or(0),
            // Not this file's own figure: on kernels where statm is approximate the same error
            // in both ends of the difference cancels out.
            rss_bytes: self.reading.rss_bytes,
            at_ms: now_ms,
        });
    }
}

/// What a CPU clock shows; `None` when its process is gone.
pub(crate) fn clock_ns(clock: ClockId) -> Option<u64> {
    let time = clock_gettime(clock).ok()?;
    let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec()).unwrap_or(0);
    Some(seconds * 1_000_000_000 + nanos)
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
