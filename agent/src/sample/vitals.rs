//! What else slows a server or ends it, beside the contract's numbers. Unknown is `None`, never 0.

use serde::Serialize;

/// One tick's other signs of life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Vitals {
    /// Shared memory of the server: `/dev/shm`, System V segments, anonymous shared maps.
    pub shm_bytes: Option<u64>,
    /// Waiting for memory, as the kernel's pressure stall information says.
    pub memory_pressure: Option<Pressure>,
    /// Bytes through read calls since the root process started: files, pipes, sockets.
    pub read_bytes: Option<u64>,
    /// Bytes through write calls, likewise.
    pub written_bytes: Option<u64>,
    /// Of the process nearest to its limit on open files.
    pub open_files: Option<OpenFiles>,
    /// Where the home is.
    pub disk: Option<Disk>,
    /// The whole machine.
    pub machine: Option<MachineUse>,
    /// When the batch job ends: milliseconds since the Unix epoch.
    pub job_ends_ms: Option<u64>,
    /// What the agent itself costs.
    pub agent: AgentCost,
}

/// Shares of the last ten seconds in which tasks waited for memory, in hundredths of a percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Pressure {
    /// Some task waited.
    pub some_bp: u32,
    /// Every task that could have run waited.
    pub full_bp: u32,
}

/// Open files of one process, and how many it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct OpenFiles {
    /// Now.
    pub open: u32,
    /// Its soft limit.
    pub limit: u32,
    /// The process.
    pub pid: u32,
}

/// The disk that holds the home.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Disk {
    /// Used, by the quota's account where there is one, else by everybody on the file system.
    pub used_bytes: u64,
    /// What there is to use.
    pub limit_bytes: u64,
    /// Who says so.
    pub source: DiskSource,
    /// How old the figures are.
    pub age_ms: u64,
}

/// Who bounds the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DiskSource {
    /// A quota of the user or of the folder.
    Quota,
    /// The size of the file system.
    Filesystem,
}

/// The machine as all who are on it use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MachineUse {
    /// Memory there is.
    pub memory_bytes: u64,
    /// Memory that could be had without swapping.
    pub memory_available_bytes: u64,
    /// Runnable tasks, mean of one minute, in hundredths.
    pub load_hundredths: u32,
}

/// What the agent itself costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AgentCost {
    /// Its CPU time so far.
    pub cpu_millis: Option<u64>,
    /// Its resident set.
    pub rss_bytes: Option<u64>,
    /// Ticks it came too late for, or gave up because they cost too much.
    pub ticks_skipped: u64,
}
