//! What is true now: `apply(Fact)`, and nothing else changes it.
//!
//! No clock and no I/O: the same facts in the same order give the same state and the same
//! verdicts, bit for bit.

use std::collections::BTreeMap;

use hubmeter_kinetics::{forecast::Forecast, trend::Trend};

use crate::{
    fact::{InstanceId, Sample, ServerKey, WorkloadKey},
    text::Label,
    verdict::Verdict,
};

/// Whether a server's agent is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Reports arrive.
    Live,
    /// The hub says it is up, or it was a moment ago, and nothing arrives.
    Silent,
    /// Stopped.
    Gone,
}

/// What is known of one server.
#[derive(Clone, Debug)]
pub struct Server {
    /// Which one.
    pub key: ServerKey,
    /// The user's groups, by the hub.
    pub groups: Vec<Label>,
    /// Whether its agent is heard.
    pub phase: Phase,
    /// Machine or container, by the agent.
    pub host: Option<Label>,
    /// When it started: by the hub, else when its agent was first heard.
    pub started_ms: Option<i64>,
    /// When its agent was last heard.
    pub last_seen_ms: Option<i64>,
    /// The hub's idea of its last activity.
    pub hub_last_activity_ms: Option<i64>,
    /// The agent's life that speaks for it.
    pub instance: Option<InstanceId>,
    /// Highest contiguous report applied of that instance.
    pub through_seq: u64,
    /// The newest sample.
    pub latest: Option<Sample>,
    /// Change of rss since the previous base-interval sample of this instance.
    pub momentum_bytes: Option<i64>,
    /// Robust slope of memory_used_bytes.
    pub trend: Option<Trend>,
    /// Time to the limit.
    pub forecast: Option<Forecast>,
    /// Cores in use over the newest interval.
    pub cpu_cores: Option<f64>,
    /// Cores in use per workload over the newest interval.
    pub workload_cpu_cores: BTreeMap<WorkloadKey, f64>,
    /// When each workload was last seen at work.
    pub workload_idle_since_ms: BTreeMap<WorkloadKey, i64>,
    /// The end of the last work, or the server's start; `None` while it works or nobody can tell.
    pub idle_since_ms: Option<i64>,
    /// Why it counts as busy, in words.
    pub busy_reason: Option<String>,
    /// The user asked to keep it until then.
    pub held_until_ms: Option<i64>,
    /// Open verdicts, oldest first.
    pub verdicts: Vec<Verdict>,
}

/// Bounds and habits of judging; from the settings file.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Without work for this long, a server gets an `idle` verdict.
    pub idle_after_ms: i64,
    /// Servers kept in state; beyond it the one longest gone is dropped.
    pub servers_max: usize,
    /// How long a server that stopped stays visible.
    pub gone_kept_ms: i64,
}

/// What one fact changed, for those who tell.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changed {
    /// Servers whose picture changed.
    pub servers: Vec<ServerKey>,
    /// Verdicts raised, updated or cleared by it.
    pub verdicts: Vec<Verdict>,
}

/// Everything that is true now.
#[derive(Debug)]
pub struct State {
    /// Every server known, by key.
    pub servers: BTreeMap<ServerKey, Server>,
    /// Cleared verdicts, newest last, bounded.
    pub cleared: std::collections::VecDeque<Verdict>,
    /// How to judge.
    pub policy: Policy,
}

// === impl Policy ===

impl Default for Policy {
    fn default() -> Self {
        Self {
            idle_after_ms: 60 * 60 * 1000,
            servers_max: 100_000,
            gone_kept_ms: 24 * 60 * 60 * 1000,
        }
    }
}
