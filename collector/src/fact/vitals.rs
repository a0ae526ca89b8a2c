//! What slows a server or ends it, beside its own use.

/// What else slows a server or ends it, as its agent says. Unknown is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vitals {
    /// Shared memory: `/dev/shm`, System V segments, anonymous shared maps.
    pub shm_bytes: Option<u64>,
    /// Hundredths of a percent of the last ten seconds in which some task waited for memory.
    pub memory_pressure_some_bp: Option<u32>,
    /// The same for all tasks at once.
    pub memory_pressure_full_bp: Option<u32>,
    /// Bytes through read calls since the root process started.
    pub read_bytes: Option<u64>,
    /// Bytes through write calls since the root process started.
    pub written_bytes: Option<u64>,
    /// Open files of the process nearest to its limit.
    pub open_files: Option<u32>,
    /// That limit.
    pub open_files_limit: Option<u32>,
    /// The disk that holds the home.
    pub disk: Option<Disk>,
    /// Memory of the machine.
    pub machine_memory_bytes: Option<u64>,
    /// Memory the machine could give without swapping.
    pub machine_memory_available_bytes: Option<u64>,
    /// Runnable tasks of the machine, mean of one minute, in hundredths.
    pub machine_load_hundredths: Option<u32>,
    /// When the batch job ends.
    pub job_ends_ms: Option<i64>,
    /// CPU time of the agent itself so far.
    pub agent_cpu_millis: Option<u64>,
    /// Resident set of the agent itself.
    pub agent_rss_bytes: Option<u64>,
    /// Ticks the agent skipped.
    pub agent_ticks_skipped: u64,
}

/// The disk that holds a home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Used.
    pub used_bytes: u64,
    /// What there is to use.
    pub limit_bytes: u64,
    /// Whether a quota says so, not the file system's size.
    pub quota: bool,
    /// How old the figures are.
    pub age_ms: u32,
}
