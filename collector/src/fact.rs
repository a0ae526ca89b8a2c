//! What the stages hand on: trusted facts, in domain types.
//!
//! Nothing here is serializable: wire types are converted in `link/admit`, JSON in `serve`, rows in
//! `inbox` and `history`. All times are milliseconds since the Unix epoch unless the name says
//! `mono` (the agent's clock since boot, for order and rates).

use std::{fmt, sync::Arc};

use crate::{person::PeopleMove, text::Label};

mod activity;
mod vitals;

pub use self::{
    activity::{Activity, InputKind, Job},
    vitals::{Disk, Vitals},
};

/// One single-user server: the hub user and the server's name, `""` for the default one.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerKey {
    /// The hub's name of the user, as the hub says it.
    pub user: Arc<str>,
    /// The server's name.
    pub server: Arc<str>,
}

/// One life of an agent.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InstanceId(pub [u8; 16]);

/// Where the memory figure comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
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

/// What a workload does, as its server says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// Names a workload within its server.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkloadKey {
    /// What it is.
    pub kind: WorkloadKind,
    /// Kernel id, terminal name, or a name of ours.
    pub id: Label,
}

/// One workload at one tick.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkloadSample {
    /// Which one.
    pub key: WorkloadKey,
    /// The kernel's spec, the terminal's name.
    pub name: Label,
    /// File name of its notebook, when told.
    pub notebook: Option<Label>,
    /// What it does, when told.
    pub state: Option<WorkloadState>,
    /// Its top-most process.
    pub pid: u32,
    /// Memory by the server's best source.
    pub memory_used_bytes: Option<u64>,
    /// Sum of resident set sizes.
    pub rss_bytes: u64,
    /// Sum of proportional set sizes.
    pub pss_bytes: Option<u64>,
    /// CPU time so far.
    pub cpu_millis: u64,
    /// Processes now.
    pub processes: u32,
    /// Threads now.
    pub threads: u32,
    /// How long ago it last did what its owner asked for, when told.
    pub idle_ms: Option<u64>,
    /// Bytes through read calls so far: files, pipes, sockets.
    pub read_bytes: Option<u64>,
    /// Bytes through write calls so far.
    pub written_bytes: Option<u64>,
    /// It runs on another machine: known, not measured.
    pub remote: bool,
}

/// Why a workload is no longer there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndCause {
    /// It went away; nobody knows more.
    Gone,
    /// The kernel's out-of-memory killer took it.
    OutOfMemory,
    /// It died of SIGKILL while memory was near its limit, and no counter says who sent it.
    KilledNearLimit,
}

/// A workload that ended since the sample before.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkloadEnd {
    /// Which one.
    pub key: WorkloadKey,
    /// The kernel's spec, the terminal's name.
    pub name: Label,
    /// File name of its notebook, when told.
    pub notebook: Option<Label>,
    /// Why, as far as can be known.
    pub cause: EndCause,
    /// The last memory figure seen.
    pub memory_used_bytes: u64,
}

/// One tick of one server.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// When, by the collector's reading of the agent's clock.
    pub at_ms: i64,
    /// When, by the agent's clock since boot.
    pub mono_ms: u64,
    /// Distance to the previous sample of the same rhythm; 0 for an instance's first.
    pub interval_ms: u32,
    /// Taken between base-interval samples.
    pub burst: bool,
    /// What cannot be given back.
    pub memory_used_bytes: u64,
    /// cAdvisor's number.
    pub memory_working_set_bytes: Option<u64>,
    /// Where the figure comes from.
    pub memory_source: MemorySource,
    /// How old the figure is.
    pub memory_age_ms: u32,
    /// The limit in force.
    pub memory_limit_bytes: Option<u64>,
    /// Where the limit comes from: `cgroup2:<path>`, `cgroup1:<path>`, `env`, `machine`.
    pub memory_limit_source: Option<Label>,
    /// Whether passing the limit kills.
    pub memory_limit_enforced: bool,
    /// Whether others share the limit.
    pub memory_limit_shared: bool,
    /// What the server was promised.
    pub memory_guarantee_bytes: Option<u64>,
    /// Sum of resident set sizes: the number momentum and speed are of.
    pub rss_bytes: u64,
    /// Sum of proportional set sizes.
    pub pss_bytes: Option<u64>,
    /// Swapped out.
    pub swap_bytes: Option<u64>,
    /// Memory that no workload accounts for.
    pub unattributed_bytes: Option<i64>,
    /// CPU time since the root process started.
    pub cpu_millis: u64,
    /// Cores the server may use, in thousandths.
    pub cpu_limit_millicores: Option<u32>,
    /// Cores the server was promised, in thousandths.
    pub cpu_guarantee_millicores: Option<u32>,
    /// Processes now.
    pub processes: u32,
    /// Threads now.
    pub threads: u32,
    /// Out-of-memory kills counted by the cgroup so far.
    pub oom_kills: Option<u64>,
    /// What everybody under the limit uses together, where others share it.
    pub memory_limit_used_bytes: Option<u64>,
    /// How much of the change of `memory_used_bytes` is a better reading of what was there before.
    pub memory_corrected_bytes: i64,
    /// Time of orphans that nobody waits for is not in `cpu_millis`.
    pub cpu_may_miss: bool,
    /// Processes beyond the number that the agent follows.
    pub processes_beyond: u32,
    /// What else slows the server or ends it.
    pub vitals: Vitals,
    /// Largest first.
    pub workloads: Vec<WorkloadSample>,
    /// What ended since the sample before.
    pub ended: Vec<WorkloadEnd>,
}

// === impl Sample ===

impl Sample {
    /// A sample of which no more is known than that `bytes` were resident and in use at `at_ms` of our
    /// clock and `mono_ms` of the agent's.
    #[must_use]
    pub fn of_memory(at_ms: i64, mono_ms: u64, source: MemorySource, bytes: u64) -> Self {
        Self {
            at_ms,
            mono_ms,
            interval_ms: 0,
            burst: false,
            memory_used_bytes: bytes,
            memory_working_set_bytes: None,
            memory_source: source,
            memory_age_ms: 0,
            memory_limit_bytes: None,
            memory_limit_source: None,
            memory_limit_enforced: false,
            memory_limit_shared: false,
            memory_guarantee_bytes: None,
            rss_bytes: bytes,
            pss_bytes: None,
            swap_bytes: None,
            unattributed_bytes: None,
            cpu_millis: 0,
            cpu_limit_millicores: None,
            cpu_guarantee_millicores: None,
            processes: 0,
            threads: 0,
            oom_kills: None,
            memory_limit_used_bytes: None,
            memory_corrected_bytes: 0,
            cpu_may_miss: false,
            processes_beyond: 0,
            vitals: Vitals::default(),
            workloads: Vec::new(),
            ended: Vec::new(),
        }
    }

    /// What counts against the limit: the server's own use, or everybody's who shares it.
    #[must_use]
    pub fn limited_bytes(&self) -> u64 {
        self.memory_limit_used_bytes
            .filter(|_| self.memory_limit_shared)
            .unwrap_or(self.memory_used_bytes)
    }
}

/// A running server as the hub lists it.
#[derive(Clone, Debug, PartialEq)]
pub struct HubServer {
    /// Which one.
    pub key: ServerKey,
    /// The user's groups, sorted.
    pub groups: Vec<Label>,
    /// When it was started.
    pub started_ms: Option<i64>,
    /// The hub's idea of its last activity.
    pub last_activity_ms: Option<i64>,
    /// Whether it is up.
    pub ready: bool,
}

/// Something that happened, with the time it happened at. State, kinetics and verdicts see the
/// world through these and nothing else.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// A stream said Hello.
    Connected {
        /// When.
        at_ms: i64,
        /// Whose it is.
        key: ServerKey,
        /// Which life of the agent.
        instance: InstanceId,
        /// The machine or container it runs on.
        host: Label,
        /// Its base interval.
        interval_ms: u32,
    },
    /// A report arrived.
    Report {
        /// When it arrived.
        arrived_ms: i64,
        /// Whose it is.
        key: ServerKey,
        /// Which life of the agent.
        instance: InstanceId,
        /// Counts up by one from 1 within an instance.
        seq: u64,
        /// Oldest first.
        samples: Vec<Sample>,
    },
    /// The agent had to give up reports.
    Gap {
        /// When it was told.
        at_ms: i64,
        /// Whose they were.
        key: ServerKey,
        /// Which life of the agent.
        instance: InstanceId,
        /// First one lost.
        from_seq: u64,
        /// Last one lost.
        through_seq: u64,
    },
    /// A stream ended.
    Disconnected {
        /// When.
        at_ms: i64,
        /// Whose it was.
        key: ServerKey,
        /// Which life of the agent.
        instance: InstanceId,
        /// Whether the agent said Bye.
        farewell: bool,
    },
    /// An agent was told how long it may hold reports back.
    Paced {
        /// When.
        at_ms: i64,
        /// Whose it is.
        key: ServerKey,
        /// Which life of the agent.
        instance: InstanceId,
        /// 0 for not at all.
        hold_ms: u32,
    },
    /// An agent was told what people do, or that they do no longer; whole.
    Activity {
        /// When it said so.
        at_ms: i64,
        /// Whose it is.
        key: ServerKey,
        /// Which life of the agent.
        instance: InstanceId,
        /// What they do.
        activity: Activity,
    },
    /// Notices were shown to a person in a visible tab; may be said more than once.
    Shown {
        /// When it was said.
        at_ms: i64,
        /// At which server.
        key: ServerKey,
        /// What they were about.
        episodes: Vec<Label>,
    },
    /// The hub's list of running servers, whole.
    Hub {
        /// When it was asked.
        at_ms: i64,
        /// Every running server.
        servers: Vec<HubServer>,
    },
    /// A user asked to keep a server, or took that back.
    Hold {
        /// When.
        at_ms: i64,
        /// Which server.
        key: ServerKey,
        /// Until when; `None` ends the hold.
        until_ms: Option<i64>,
    },
    /// Mail about a warning was taken by a mail server, or has nowhere to go.
    Mailed {
        /// When.
        at_ms: i64,
        /// Whose server.
        key: ServerKey,
        /// Which warning.
        episode: Box<str>,
        /// Whether it was taken; else nobody knows an address.
        taken: bool,
    },
    /// It is time to see who is to be warned of a stop.
    Look {
        /// Now.
        at_ms: i64,
    },
    /// The collector began, after a time in which it saw nothing: every stream of before has ended
    /// unseen.
    Started {
        /// When.
        at_ms: i64,
    },
    /// Users were forgotten, deleted or renamed; the journal has it.
    People {
        /// When.
        at_ms: i64,
        /// Who becomes what.
        people: PeopleMove,
    },
    /// Time has passed.
    Tick {
        /// Now.
        at_ms: i64,
    },
}

// === impl ServerKey ===

impl ServerKey {
    /// The server `server` of `user`.
    #[must_use]
    pub fn new(user: &str, server: &str) -> Self {
        Self {
            user: user.into(),
            server: server.into(),
        }
    }
}

impl fmt::Debug for ServerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}/{:?}", self.user, self.server)
    }
}

// === impl InstanceId ===

impl fmt::Debug for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

// === impl enums ===

impl MemorySource {
    /// The contract's word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cgroup2 => "cgroup2",
            Self::Cgroup1 => "cgroup1",
            Self::Pss => "pss",
            Self::Rss => "rss",
        }
    }
}

impl WorkloadKind {
    /// The contract's word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Terminal => "terminal",
            Self::App => "app",
            Self::Server => "server",
            Self::Other => "other",
        }
    }
}

impl WorkloadState {
    /// The contract's word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Busy => "busy",
            Self::Starting => "starting",
            Self::Dead => "dead",
        }
    }
}
