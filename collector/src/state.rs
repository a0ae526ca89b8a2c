//! What is true now: `apply(Fact)`, and nothing else changes it.
//!
//! No clock and no I/O: the same facts in the same order give the same state and the same
//! verdicts, bit for bit.

pub mod dedupe;
pub mod evict;
pub mod invariants;
pub mod series;

mod intake;
mod kernels;
mod people;
mod policy;
mod presence;
mod promises;
mod recall;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use hubmeter_kinetics::{forecast::Forecast, trend::Trend};

use crate::{
    cull::CullPolicy,
    fact::{Activity, Fact, InstanceId, Sample, ServerKey, WorkloadKey},
    text::Label,
    verdict::{Detectors, Verdict},
    warning::News,
};
use dedupe::{Admission, Due, Lost, Sequence};
use policy::Policies;
pub use policy::{Overrides, Policy};
use promises::Promises;
use recall::Recalled;
use series::Measured;

/// Cleared verdicts kept for whoever asks for `state=all`: a day of a busy hub.
pub const CLEARED_MAX: usize = 4_096;

/// Former instances of a server whose numbering is remembered, so that nothing they send again is
/// applied again.
pub const RETIRED_MAX: usize = 8;

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
    /// What goes on there and does not count as work, in words.
    pub idle_note: Option<String>,
    /// Until when the user has asked something else to keep it (jupyter-keepalive).
    pub kept_until_ms: Option<i64>,
    /// The user asked to keep it until then.
    pub held_until_ms: Option<i64>,
    /// Policy stops it then, if nobody works until then; `None` also where policy only watches.
    pub stops_at_ms: Option<i64>,
    /// Open verdicts, oldest first.
    pub verdicts: Vec<Verdict>,
    /// How to judge it; `None`: as everybody.
    pub(crate) policy: Option<Arc<Policy>>,
    /// Its agent's base interval; 0 while unknown.
    pub interval_ms: u32,
    /// How long its agent may hold reports back.
    pub hold_ms: u32,
    /// Since when it may not any more: before, it may have been silent with leave.
    pub(crate) hold_ended_ms: Option<i64>,
    /// The hub lists it as up.
    pub listed: bool,
    /// When the hub first listed it.
    pub first_listed_ms: Option<i64>,
    /// Since when it is gone.
    pub gone_since_ms: Option<i64>,
    pub(crate) started_by_hub: bool,
    /// Distance of the newest base sample to the one before.
    pub(crate) distance_ms: u32,
    pub(crate) connected: bool,
    /// Its stream ended without a word, and nobody has asked why yet.
    pub(crate) unexplained: bool,
    /// Its stream ended because the collector did: how it went on, nobody saw.
    pub(crate) cut_off: bool,
    /// What people do there, as its agent was told.
    pub(crate) activity: Activity,
    pub(crate) sequence: Sequence,
    pub(crate) retired: VecDeque<(InstanceId, Sequence)>,
    pub(crate) measured: Measured,
    pub(crate) detectors: Detectors,
}

/// What was left out or let go, by reason; counts up for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Reports applied before, or given up.
    pub reports_known: u64,
    /// Reports of an instance that another one has replaced.
    pub reports_superseded: u64,
    /// Samples not later than the one before.
    pub samples_out_of_order: u64,
    /// Servers forgotten a while after they stopped.
    pub servers_expired: u64,
    /// Servers forgotten early because there was no room.
    pub servers_evicted: u64,
    /// Facts about servers there was no room for.
    pub servers_refused: u64,
    /// Cleared verdicts forgotten because there was no room.
    pub verdicts_forgotten: u64,
}

/// What one fact changed, for those who tell.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changed {
    /// Servers whose picture changed.
    pub servers: Vec<ServerKey>,
    /// Verdicts raised, updated or cleared by it.
    pub verdicts: Vec<Verdict>,
    /// Samples applied by it, in order, each once.
    pub taken: Vec<Taken>,
    /// Users were forgotten, deleted or renamed: what was told before may name them.
    pub people: bool,
    /// Who is to be warned of a stop, or was.
    pub warnings: News,
}

/// A sample that was applied, and what it told beside the one before.
#[derive(Clone, Debug, PartialEq)]
pub struct Taken {
    /// Whose.
    pub key: ServerKey,
    /// Which life of the agent.
    pub instance: InstanceId,
    /// Number of the report that brought it.
    pub seq: u64,
    /// What was measured.
    pub sample: Arc<Sample>,
    /// Change of rss since the previous base-interval sample; `None` for a burst sample.
    pub momentum_bytes: Option<i64>,
    /// Cores in use over the sample's interval.
    pub cpu_cores: Option<f64>,
}

/// Everything that is true now.
#[derive(Debug)]
pub struct State {
    /// Every server known, by key.
    pub servers: BTreeMap<ServerKey, Server>,
    /// Cleared verdicts, newest last, bounded.
    pub cleared: VecDeque<Verdict>,
    /// How to judge.
    pub policy: Policy,
    /// Who is stopped when.
    pub cull: Arc<CullPolicy>,
    /// What was left out, by reason.
    pub counts: Counts,
    /// How to judge who is in groups.
    policies: Policies,
    /// Whether there is a hub's list; without one, silence alone tells that a server is gone.
    pub(crate) hub_heard: bool,
    /// When time last passed.
    ticked_ms: Option<i64>,
    /// Since when nobody's silence went unheard: the collector's start, or its last wake from sleep.
    listens_since_ms: Option<i64>,
    /// What is remembered of before the start, until the journal is replayed.
    pub(crate) recalled: Option<Recalled>,
    /// Until when servers are held, and what was told of their end.
    promises: Promises,
}

// === impl State ===

impl State {
    /// Nothing known yet.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self {
            servers: BTreeMap::new(),
            cleared: VecDeque::new(),
            policy,
            cull: Arc::default(),
            counts: Counts::default(),
            policies: Policies::default(),
            ticked_ms: None,
            listens_since_ms: None,
            hub_heard: false,
            recalled: None,
            promises: Promises::default(),
        }
    }

    /// Nothing known yet, and a hub that will say who is up: no silence, however long, tells that
    /// a server is gone.
    #[must_use]
    pub fn with_hub(policy: Policy) -> Self {
        Self {
            hub_heard: true,
            policies: Policies::with_hub(&policy),
            ..Self::new(policy)
        }
    }

    /// How to judge `server`: by its user's groups.
    #[must_use]
    pub fn policy_of<'a>(&'a self, server: &'a Server) -> &'a Policy {
        server.policy.as_deref().unwrap_or(&self.policy)
    }

    /// Takes one fact in; tells what it changed.
    pub fn apply(&mut self, fact: &Fact) -> Changed {
        let mut changed = match fact {
            Fact::Connected {
                at_ms,
                key,
                instance,
                host,
                interval_ms,
            } => self.connected(*at_ms, key, *instance, host, *interval_ms),
            Fact::Report {
                arrived_ms,
                key,
                instance,
                seq,
                samples,
            } => {
                let due = Due {
                    seq: *seq,
                    arrived_ms: *arrived_ms,
                    samples: samples.clone(),
                };
                self.report(key, *instance, due)
            }
            Fact::Gap {
                at_ms: _,
                key,
                instance,
                from_seq,
                through_seq,
            } => self.gap(key, *instance, *from_seq, *through_seq),
            Fact::Disconnected {
                at_ms,
                key,
                instance,
                farewell,
            } => self.disconnected(*at_ms, key, *instance, *farewell),
            Fact::Paced {
                at_ms,
                key,
                instance,
                hold_ms,
            } => self.paced(*at_ms, key, *instance, *hold_ms),
            Fact::Activity {
                at_ms: _,
                key,
                instance,
                activity,
            } => self.activity(key, *instance, activity),
            Fact::Hub { at_ms, servers } => self.hub_list(*at_ms, servers),
            Fact::Hold { .. } | Fact::Shown { .. } | Fact::Mailed { .. } | Fact::Look { .. } => {
                self.promise(fact)
            }
            Fact::Started { at_ms } => self.started(*at_ms),
            Fact::People { at_ms: _, people } => self.move_people(people.fates()),
            Fact::Tick { at_ms } => self.tick(*at_ms),
        };
        self.reopen(&mut changed);
        for verdict in &changed.verdicts {
            if verdict.cleared_ms.is_some() {
                self.remember_cleared(verdict.clone());
            }
        }
        debug_assert_eq!(invariants::check_changed(self, &changed), Ok(()));
        changed
    }

    fn report(&mut self, key: &ServerKey, instance: InstanceId, due: Due) -> Changed {
        let (seq, arrived_ms) = (due.seq, due.arrived_ms);
        let Some(server) = self.server_mut(key) else {
            return Changed::default();
        };
        if server.is_retired(instance) {
            self.counts.reports_superseded += 1;
            return Changed::default();
        }
        let verdicts = server.adopt(instance, arrived_ms);
        let first_ms = due.samples.first().map(|sample| sample.at_ms);
        self.resume_idle(key, seq, first_ms);
        let Some(server) = self.servers.get_mut(key) else {
            return Changed::default();
        };
        let due = match server.sequence.admit(seq, due) {
            Admission::Due(due) => due,
            Admission::Waits => Vec::new(),
            Admission::Known => {
                self.counts.reports_known += 1;
                Vec::new()
            }
        };
        if due.is_empty() && verdicts.is_empty() {
            return Changed::default();
        }
        self.take(key, due, verdicts)
    }

    fn gap(
        &mut self,
        key: &ServerKey,
        instance: InstanceId,
        from_seq: u64,
        through_seq: u64,
    ) -> Changed {
        match self.servers.get_mut(key) {
            Some(server) if server.instance == Some(instance) => {
                let due = server.sequence.declare_lost(from_seq, through_seq);
                server.through_seq = server.sequence.through_seq();
                self.take(key, due, Vec::new())
            }
            _ => Changed::default(),
        }
    }

    /// Applies reports whose turn has come.
    fn take(&mut self, key: &ServerKey, due: Vec<Due>, mut verdicts: Vec<Verdict>) -> Changed {
        let Some(server) = self.servers.get_mut(key) else {
            return Changed::default();
        };
        server.through_seq = server.sequence.through_seq();
        let mut taken = Vec::new();
        for due in due {
            verdicts.extend(server.heard(due.arrived_ms));
            for sample in due.samples {
                match server.take(sample, &self.policy) {
                    Some(changed) => {
                        verdicts.extend(changed);
                        taken.extend(server.taken(due.seq));
                    }
                    None => self.counts.samples_out_of_order += 1,
                }
            }
        }
        Changed {
            taken,
            ..Changed::of(key, verdicts)
        }
    }
}

// === impl Server ===

impl Server {
    /// Nothing known but its name.
    #[must_use]
    pub fn new(key: ServerKey) -> Self {
        Self {
            key,
            groups: Vec::new(),
            phase: Phase::Silent,
            host: None,
            started_ms: None,
            last_seen_ms: None,
            hub_last_activity_ms: None,
            instance: None,
            through_seq: 0,
            latest: None,
            momentum_bytes: None,
            trend: None,
            forecast: None,
            cpu_cores: None,
            workload_cpu_cores: BTreeMap::new(),
            workload_idle_since_ms: BTreeMap::new(),
            idle_since_ms: None,
            busy_reason: None,
            idle_note: None,
            kept_until_ms: None,
            held_until_ms: None,
            stops_at_ms: None,
            verdicts: Vec::new(),
            policy: None,
            interval_ms: 0,
            hold_ms: 0,
            hold_ended_ms: None,
            listed: false,
            first_listed_ms: None,
            gone_since_ms: None,
            started_by_hub: false,
            distance_ms: 0,
            connected: false,
            unexplained: false,
            cut_off: false,
            activity: Activity::default(),
            sequence: Sequence::default(),
            retired: VecDeque::new(),
            measured: Measured::default(),
            detectors: Detectors::default(),
        }
    }

    /// Whether a page of it is open that may show notices, as far as was heard.
    pub(crate) fn has_page(&self) -> bool {
        self.activity.page_open == Some(true)
    }

    /// Size of the change to the newest base-interval sample.
    #[must_use]
    pub fn speed_bytes(&self) -> Option<u64> {
        self.momentum_bytes.map(i64::unsigned_abs)
    }

    /// Reports of this instance that never came.
    #[must_use]
    pub fn lost(&self) -> &[Lost] {
        self.sequence.lost()
    }
}

// === impl Changed ===

impl Changed {
    fn of(key: &ServerKey, verdicts: Vec<Verdict>) -> Self {
        Self {
            servers: vec![key.clone()],
            verdicts,
            ..Self::default()
        }
    }

    fn add(&mut self, key: &ServerKey, verdicts: Vec<Verdict>) {
        self.servers.push(key.clone());
        self.verdicts.extend(verdicts);
    }
}

#[cfg(test)]
pub(crate) mod tests;
