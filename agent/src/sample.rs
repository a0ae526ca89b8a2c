//! One tick's derived numbers for the server and its workloads.
//!
//! The reading of the machine is in the modules below; nothing here touches `/proc`.

pub(crate) mod allowance;
pub(crate) mod births;
pub mod calls;
pub mod cgroup;
pub(crate) mod cpus;
pub(crate) mod crowd;
pub(crate) mod details;
pub(crate) mod disk;
pub mod error;
pub mod faults;
pub(crate) mod file;
pub(crate) mod files;
pub(crate) mod gauges;
#[cfg(test)]
mod hostile;
pub mod io;
pub(crate) mod job;
pub mod kernels;
pub(crate) mod keyed;
pub mod limit;
pub(crate) mod listen;
pub(crate) mod machine;
pub mod memory;
pub(crate) mod mountinfo;
pub(crate) mod orphans;
pub mod own;
pub(crate) mod passers;
pub(crate) mod pressure;
pub mod process;
pub(crate) mod stat;
mod text;
pub(crate) mod tree;
pub mod vitals;

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use self::vitals::Vitals;
pub use self::{file::files_opened, text::Text};

/// Where the memory figure comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MemorySource {
    /// The server's own cgroup, version 2.
    Cgroup2,
    /// The server's own cgroup, version 1.
    Cgroup1,
    /// Proportional set sizes over the process tree.
    Pss,
    /// Resident set sizes over the process tree.
    Rss,
}

/// What a workload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkloadKind {
    /// A notebook's or console's kernel.
    Kernel,
    /// A terminal and all that was started in it.
    Terminal,
    /// A proxied application.
    App,
    /// Jupyter itself.
    Server,
    /// Orphans and what nobody claims.
    Other,
}

/// What a workload does, as the server extension says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkloadState {
    /// Waiting for somebody.
    Idle,
    /// Running a cell.
    Busy,
    /// Coming up.
    Starting,
    /// Gone, not yet cleared away.
    Dead,
}

/// One workload at one tick. The serialized fields are the contract's; the skipped ones are for
/// the link and the meter.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Workload {
    /// What it is.
    pub kind: WorkloadKind,
    /// Kernel id, terminal name, or a name of ours; unique within its kind.
    pub id: Text,
    /// The kernel's spec, the terminal's name.
    pub name: Text,
    /// Its top-most process.
    pub pid: u32,
    /// Memory by the same source as the server's where that can be told apart, else PSS or RSS.
    pub memory_used_bytes: Option<u64>,
    /// Sum of resident set sizes.
    pub rss_bytes: u64,
    /// Sum of proportional set sizes.
    pub pss_bytes: Option<u64>,
    /// CPU time so far, milliseconds.
    pub cpu_millis: u64,
    /// Cores in use since the previous sample.
    pub cpu_cores: Option<f64>,
    /// Processes now.
    pub processes: u32,
    /// Threads now.
    pub threads: u32,
    /// File name of its notebook, without the folder.
    #[serde(skip)]
    pub notebook: Option<Text>,
    /// What it does.
    #[serde(skip)]
    pub state: Option<WorkloadState>,
    /// How long ago it last did what its owner asked for, milliseconds.
    #[serde(skip)]
    pub idle_ms: Option<u64>,
    /// Of a terminal, the program in front of its shell, where names may leave.
    #[serde(skip)]
    pub job: Option<String>,
    /// Bytes through read calls so far: files, pipes, sockets.
    #[serde(skip)]
    pub read_bytes: Option<u64>,
    /// Bytes through write calls so far.
    #[serde(skip)]
    pub written_bytes: Option<u64>,
    /// It runs on another machine: known, not measured.
    #[serde(skip)]
    pub remote: bool,
}

/// Why a workload is no longer there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndCause {
    /// It went away and nobody knows more.
    Gone,
    /// The out-of-memory killer took it: the cgroup's counter moved in the same tick.
    OutOfMemory,
    /// It died of SIGKILL while memory was near its limit, and no counter says who sent it.
    KilledNearLimit,
}

/// A workload that is no longer there.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// What it was.
    pub kind: WorkloadKind,
    /// Kernel id, terminal name.
    pub id: Text,
    /// The kernel's spec, the terminal's name.
    pub name: Text,
    /// File name of its notebook.
    pub notebook: Option<Text>,
    /// Its top-most process.
    pub pid: u32,
    /// Why, as far as can be known.
    pub cause: EndCause,
    /// The last memory figure seen.
    pub memory_used_bytes: u64,
}

/// A moment by the wall clock, milliseconds since the Unix epoch: written as RFC 3339 when somebody
/// reads it, not at every tick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WallTime(pub u64);

/// One tick of the server. Field names, units and order are the contract's (`sample --format json`).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sample {
    /// RFC 3339 UTC with milliseconds.
    pub time: WallTime,
    /// Distance to the previous sample; `None` for the first.
    pub interval_ms: Option<u64>,
    /// What cannot be given back before the out-of-memory killer comes.
    pub memory_used_bytes: u64,
    /// cAdvisor's number.
    pub memory_working_set_bytes: Option<u64>,
    /// Where the figure comes from.
    pub memory_source: MemorySource,
    /// How old the figure is.
    pub memory_age_ms: u64,
    /// The limit in force.
    pub memory_limit_bytes: Option<u64>,
    /// `cgroup2:<path>`, `cgroup1:<path>`, `env` or `machine`.
    pub memory_limit_source: Option<Text>,
    /// Whether passing the limit kills.
    pub memory_limit_enforced: bool,
    /// Whether others share the limit.
    pub memory_limit_shared: bool,
    /// Sum of resident set sizes over the tree.
    pub rss_bytes: u64,
    /// Sum of proportional set sizes over the tree.
    pub pss_bytes: Option<u64>,
    /// Swapped out.
    pub swap_bytes: Option<u64>,
    /// memory_used_bytes less the workloads' sum.
    pub unattributed_bytes: Option<i64>,
    /// CPU time since the root process started, milliseconds; never goes back.
    pub cpu_millis: u64,
    /// Cores in use since the previous sample.
    pub cpu_cores: Option<f64>,
    /// Processes of the tree.
    pub processes: u32,
    /// Threads of the tree.
    pub threads: u32,
    /// Every process of the tree is in exactly one of these; largest first.
    pub workloads: Vec<Workload>,
    /// Milliseconds since boot at which it was taken.
    #[serde(skip)]
    pub mono_ms: u64,
    /// Milliseconds since the Unix epoch at which it was taken.
    #[serde(skip)]
    pub wall_ms: u64,
    /// Taken between base-interval samples because memory moved near the limit.
    #[serde(skip)]
    pub burst: bool,
    /// Out-of-memory kills the cgroup has counted so far.
    #[serde(skip)]
    pub oom_kills: Option<u64>,
    /// `MEM_GUARANTEE`.
    #[serde(skip)]
    pub memory_guarantee_bytes: Option<u64>,
    /// `CPU_LIMIT` or the cgroup's quota, thousandths of a core.
    #[serde(skip)]
    pub cpu_limit_millicores: Option<u32>,
    /// `CPU_GUARANTEE`, thousandths of a core.
    #[serde(skip)]
    pub cpu_guarantee_millicores: Option<u32>,
    /// What everybody under the limit uses together, where others share it.
    #[serde(skip)]
    pub memory_limit_used_bytes: Option<u64>,
    /// How much of the change of `memory_used_bytes` since the previous sample is a better reading
    /// of what was there before: no growth and no release.
    #[serde(skip)]
    pub memory_corrected_bytes: i64,
    /// Time of orphans that nobody waits for is not in `cpu_millis` here.
    #[serde(skip)]
    pub cpu_may_miss: bool,
    /// Processes beyond the number that is followed: counted, not measured.
    #[serde(skip)]
    pub processes_beyond: u32,
    /// What else slows the server or ends it.
    #[serde(skip)]
    pub vitals: Vitals,
    /// What ended since the previous sample.
    #[serde(skip)]
    pub ended: Vec<Ended>,
}

// === impl WallTime ===

impl fmt::Display for WallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&rfc3339(self.0))
    }
}

impl Serialize for WallTime {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&rfc3339(self.0))
    }
}

// === impl Sample ===

impl Sample {
    /// What counts against the limit: the server's own use, or everybody's who shares it.
    #[must_use]
    pub fn limited_bytes(&self) -> u64 {
        self.memory_limit_used_bytes
            .filter(|_| self.memory_limit_shared)
            .unwrap_or(self.memory_used_bytes)
    }
}

// === impl Workload ===

impl Workload {
    /// Takes another's sums in.
    pub(crate) fn absorb(&mut self, other: &Self) {
        let sum = |a: Option<u64>, b: Option<u64>| Some(a?.saturating_add(b?));
        self.memory_used_bytes = sum(self.memory_used_bytes, other.memory_used_bytes);
        self.rss_bytes += other.rss_bytes;
        self.pss_bytes = sum(self.pss_bytes, other.pss_bytes);
        self.cpu_millis = self.cpu_millis.saturating_add(other.cpu_millis);
        self.cpu_cores = self
            .cpu_cores
            .and_then(|cores| Some(cores + other.cpu_cores?));
        self.processes += other.processes;
        self.threads = self.threads.saturating_add(other.threads);
        self.read_bytes = sum(self.read_bytes, other.read_bytes);
        self.written_bytes = sum(self.written_bytes, other.written_bytes);
    }
}

/// A wall-clock time as the contract writes it: UTC, milliseconds, `Z`.
pub(crate) fn rfc3339(wall_ms: u64) -> String {
    let timestamp = i64::try_from(wall_ms)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok())
        .unwrap_or(Timestamp::UNIX_EPOCH);
    format!("{timestamp:.3}")
}

#[cfg(test)]
mod tests {
    #[test]
    fn times_always_have_three_digits_and_a_z() {
        assert_eq!(super::rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(
            super::rfc3339(1_573_941_376_120),
            "2019-11-16T21:56:16.120Z"
        );
    }
}
