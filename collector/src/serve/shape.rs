//! The JSON shapes of the contract (`Server`, `Verdict`, the answer about culling) and nothing else.
//!
//! Every field is always there; what nobody knows is `null`. Times are RFC 3339 UTC with
//! milliseconds and `Z`. A number that is not finite is unknown. Strings were cleaned when they
//! came in ([`crate::text`]); serde escapes them for JSON.

use serde::{Serialize, Serializer, ser::SerializeMap};
use utoipa::ToSchema;

use crate::{
    cull::{CullRow, kept_in_words},
    fact::{WorkloadSample, WorkloadState},
    limits,
    state::{Phase, Server},
    verdict::{Evidence, Verdict},
};

/// One single-user server as it is now.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = Server)]
pub struct ServerJson {
    /// The hub's name of the user.
    pub user: String,
    /// The server's name, `""` for the default one.
    pub server: String,
    /// The user's groups in the hub.
    pub groups: Vec<String>,
    /// `live`, `silent` or `gone`.
    #[schema(value_type = String, pattern = "^(live|silent|gone)$")]
    pub state: &'static str,
    /// Machine or container, as the agent says.
    pub host: Option<String>,
    /// When it started.
    pub started: Option<String>,
    /// When its agent was last heard.
    pub last_seen: Option<String>,
    /// The agent's base interval.
    pub interval_ms: Option<u32>,
    /// Memory that cannot be given back.
    pub memory_used_bytes: Option<u64>,
    /// cAdvisor's number.
    pub memory_working_set_bytes: Option<u64>,
    /// `cgroup2`, `cgroup1`, `pss` or `rss`.
    #[schema(value_type = Option<String>, pattern = "^(cgroup2|cgroup1|pss|rss)$")]
    pub memory_source: Option<&'static str>,
    /// The limit in force.
    pub memory_limit_bytes: Option<u64>,
    /// `cgroup2:<path>`, `cgroup1:<path>`, `env` or `machine`.
    pub memory_limit_source: Option<String>,
    /// Whether passing the limit kills.
    pub memory_limit_enforced: Option<bool>,
    /// Whether others share the limit.
    pub memory_limit_shared: Option<bool>,
    /// What the server was promised.
    pub memory_guarantee_bytes: Option<u64>,
    /// Sum of resident set sizes.
    pub rss_bytes: Option<u64>,
    /// Swapped out.
    pub swap_bytes: Option<u64>,
    /// Change of `rss_bytes` since the sample before; `null` for an instance's first.
    pub momentum_bytes: Option<i64>,
    /// Size of that change: the speed of the sample before.
    pub speed_bytes: Option<u64>,
    /// Robust slope of `memory_used_bytes`.
    pub trend_bytes_per_second: Option<f64>,
    /// Seconds until the limit if the trend goes on.
    pub seconds_to_limit: Option<f64>,
    /// Earliest believed.
    pub seconds_to_limit_low: Option<f64>,
    /// Latest believed; `null` also when "never" is believable.
    pub seconds_to_limit_high: Option<f64>,
    /// Cores in use.
    pub cpu_cores: Option<f64>,
    /// Cores it may use.
    pub cpu_limit_cores: Option<f64>,
    /// Cores it was promised.
    pub cpu_guarantee_cores: Option<f64>,
    /// How long nothing was done in it; 0 while it works, `null` when nobody can tell.
    pub idle_seconds: Option<u64>,
    /// Since when.
    pub idle_since: Option<String>,
    /// Why it counts as busy.
    pub busy_reason: Option<String>,
    /// The hub's idea of its last activity.
    pub hub_last_activity: Option<String>,
    /// The user asked to keep it until then.
    pub held_until: Option<String>,
    /// When policy will stop it.
    pub stops_at: Option<String>,
    /// Processes now.
    pub processes: Option<u32>,
    /// Threads now.
    pub threads: Option<u32>,
    /// Largest first.
    pub workloads: Vec<WorkloadJson>,
    /// Open verdicts, oldest first.
    pub verdicts: Vec<VerdictJson>,
}

/// Processes that belong together.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = Workload)]
pub struct WorkloadJson {
    /// `kernel`, `terminal`, `app`, `server` or `other`.
    #[schema(value_type = String, pattern = "^(kernel|terminal|app|server|other)$")]
    pub kind: &'static str,
    /// Kernel id, terminal name.
    pub id: String,
    /// The kernel's spec, the terminal's name.
    pub name: String,
    /// File name of its notebook.
    pub notebook: Option<String>,
    /// `idle`, `busy`, `starting` or `dead`, as its server says.
    #[schema(value_type = Option<String>, pattern = "^(idle|busy|starting|dead)$")]
    pub state: Option<&'static str>,
    /// Its share of the server's memory.
    pub memory_used_bytes: Option<u64>,
    /// Cores in use.
    pub cpu_cores: Option<f64>,
    /// How long it did nothing.
    pub idle_seconds: Option<u64>,
}

/// A judgement with its evidence.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = Verdict)]
pub struct VerdictJson {
    /// The rule's name.
    #[schema(value_type = String, example = "runaway_memory")]
    pub rule: &'static str,
    /// The same from raising to clearing.
    pub episode: String,
    /// The hub's name of the user.
    pub user: String,
    /// The server's name, `""` for the default one.
    pub server: String,
    /// Id of the workload it speaks of, as in `workloads[].id`; `null` when it is about the
    /// server. What people call it is `evidence.workload_title`.
    pub workload: Option<String>,
    /// `info`, `warning` or `critical`.
    #[schema(value_type = String, pattern = "^(info|warning|critical)$")]
    pub severity: &'static str,
    /// `open` or `cleared`.
    #[schema(value_type = String, pattern = "^(open|cleared)$")]
    pub state: &'static str,
    /// When it was raised.
    pub since: Option<String>,
    /// When its evidence last changed.
    pub updated: Option<String>,
    /// When it was cleared.
    pub cleared: Option<String>,
    /// What it rests on, in the order to be read. Units are the ends of the names.
    #[schema(value_type = Object)]
    pub evidence: EvidenceJson,
    /// What ends it, in words.
    pub clears_when: String,
}

/// Whether a running server may be stopped, and why.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = CullAnswer)]
pub struct CullJson {
    /// The hub's name of the user.
    pub user: String,
    /// The server's name, `""` for the default one.
    pub server: String,
    /// How long nothing was done in it; 0 while it works, `null` when nobody can tell.
    pub idle_seconds: Option<u64>,
    /// Since when.
    pub idle_since: Option<String>,
    /// Policy would stop it now.
    pub cull: bool,
    /// Why, or why not.
    pub reason: String,
    /// The user asked to keep it until then.
    pub held_until: Option<String>,
    /// When its user was warned.
    pub warned_at: Option<String>,
    /// When policy will stop it.
    pub stops_at: Option<String>,
}

/// An object whose keys keep the order in which they are to be read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EvidenceJson(pub Vec<(&'static str, Evidence)>);

// === impl times ===

/// RFC 3339 UTC with milliseconds and `Z`; `None` for a time no calendar holds.
#[must_use]
pub fn rfc3339(at_ms: i64) -> Option<String> {
    let at = jiff::Timestamp::from_millisecond(at_ms).ok()?;
    Some(format!("{at:.3}"))
}

/// Whole seconds from `since_ms` to `now_ms`, never negative.
#[must_use]
pub fn seconds_since(since_ms: i64, now_ms: i64) -> u64 {
    u64::try_from(now_ms.saturating_sub(since_ms)).map_or(0, |passed_ms| passed_ms / 1000)
}

/// How long nothing was done in `server`: 0 while it works, `None` when nobody can tell.
#[must_use]
pub fn idle_seconds(server: &Server, now_ms: i64) -> Option<u64> {
    match (server.idle_since_ms, &server.busy_reason) {
        (Some(since_ms), _) => Some(seconds_since(since_ms, now_ms)),
        (None, Some(_)) => Some(0),
        (None, None) => None,
    }
}

fn finite(number: f64) -> Option<f64> {
    number.is_finite().then_some(number)
}

fn cores(millicores: u32) -> f64 {
    f64::from(millicores) / 1000.0
}

// === impl ServerJson ===

impl ServerJson {
    /// What is known of `server` at `now_ms`.
    #[must_use]
    pub fn new(server: &Server, now_ms: i64) -> Self {
        let latest = server.latest.as_ref();
        let forecast = server.forecast.as_ref();
        Self {
            user: server.key.user.to_string(),
            server: server.key.server.to_string(),
            groups: server.groups.iter().map(ToString::to_string).collect(),
            state: phase_word(server.phase),
            host: server.host.as_ref().map(ToString::to_string),
            started: server.started_ms.and_then(rfc3339),
            last_seen: server.last_seen_ms.and_then(rfc3339),
            interval_ms: Some(server.interval_ms).filter(|ms| *ms > 0),
            memory_used_bytes: latest.map(|s| s.memory_used_bytes),
            memory_working_set_bytes: latest.and_then(|s| s.memory_working_set_bytes),
            memory_source: latest.map(|s| s.memory_source.as_str()),
            memory_limit_bytes: latest.and_then(|s| s.memory_limit_bytes),
            memory_limit_source: latest
                .and_then(|s| s.memory_limit_source.as_ref())
                .map(ToString::to_string),
            memory_limit_enforced: latest.map(|s| s.memory_limit_enforced),
            memory_limit_shared: latest.map(|s| s.memory_limit_shared),
            memory_guarantee_bytes: latest.and_then(|s| s.memory_guarantee_bytes),
            rss_bytes: latest.map(|s| s.rss_bytes),
            swap_bytes: latest.and_then(|s| s.swap_bytes),
            momentum_bytes: server.momentum_bytes,
            speed_bytes: server.speed_bytes(),
            trend_bytes_per_second: server.trend.and_then(|t| finite(t.bytes_per_second)),
            seconds_to_limit: forecast.and_then(|f| finite(f.seconds_to_limit)),
            seconds_to_limit_low: forecast.and_then(|f| finite(f.seconds_to_limit_low)),
            seconds_to_limit_high: forecast
                .and_then(|f| f.seconds_to_limit_high)
                .and_then(finite),
            cpu_cores: server.cpu_cores.and_then(finite),
            cpu_limit_cores: latest.and_then(|s| s.cpu_limit_millicores).map(cores),
            cpu_guarantee_cores: latest.and_then(|s| s.cpu_guarantee_millicores).map(cores),
            idle_seconds: idle_seconds(server, now_ms),
            idle_since: server.idle_since_ms.and_then(rfc3339),
            // Nobody works there, and yet it is not there to be stopped.
            busy_reason: server.busy_reason.clone().or_else(|| {
                // It is kept no longer once it was as long as there is.
                let goes_on = server.stops_at_ms.is_none_or(|ms| ms > now_ms);
                kept_in_words(server, limits::HOLD_MS_MAX, now_ms).filter(|_| goes_on)
            }),
            hub_last_activity: server.hub_last_activity_ms.and_then(rfc3339),
            held_until: server
                .held_until_ms
                .filter(|until_ms| *until_ms > now_ms)
                .and_then(rfc3339),
            stops_at: server.stops_at_ms.and_then(rfc3339),
            processes: latest.map(|s| s.processes),
            threads: latest.map(|s| s.threads),
            workloads: latest.map_or_else(Vec::new, |sample| {
                let told = sample.workloads.iter();
                told.map(|w| WorkloadJson::new(server, w, now_ms)).collect()
            }),
            verdicts: server.verdicts.iter().map(VerdictJson::from).collect(),
        }
    }
}

/// The contract's word for it.
#[must_use]
pub fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Live => "live",
        Phase::Silent => "silent",
        Phase::Gone => "gone",
    }
}

// === impl WorkloadJson ===

impl WorkloadJson {
    /// What is known of `workload` of `server` at `now_ms`.
    #[must_use]
    pub fn new(server: &Server, workload: &WorkloadSample, now_ms: i64) -> Self {
        let cpu_cores = server.workload_cpu_cores.get(&workload.key);
        let idle_since_ms = server.workload_idle_since_ms.get(&workload.key);
        Self {
            kind: workload.key.kind.as_str(),
            id: workload.key.id.to_string(),
            name: workload.name.to_string(),
            notebook: workload.notebook.as_ref().map(ToString::to_string),
            state: workload.state.map(WorkloadState::as_str),
            memory_used_bytes: workload.memory_used_bytes,
            cpu_cores: cpu_cores.copied().and_then(finite),
            idle_seconds: idle_since_ms
                .map(|since_ms| seconds_since(*since_ms, now_ms))
                .or_else(|| workload.idle_ms.map(|idle_ms| idle_ms / 1000)),
        }
    }
}

// === impl VerdictJson ===

impl From<&Verdict> for VerdictJson {
    fn from(verdict: &Verdict) -> Self {
        let mut evidence = verdict.evidence.clone();
        let title = verdict.workload.as_ref().map(|workload| &workload.title);
        if let Some(title) = title
            && !evidence.iter().any(|(name, _)| *name == WORKLOAD_TITLE)
        {
            evidence.insert(0, (WORKLOAD_TITLE, Evidence::Word(title.clone())));
        }
        Self {
            rule: verdict.rule.as_str(),
            episode: verdict.episode.clone(),
            user: verdict.key.user.to_string(),
            server: verdict.key.server.to_string(),
            workload: verdict.workload.as_ref().map(|w| w.id.to_string()),
            severity: verdict.severity.as_str(),
            state: match verdict.cleared_ms {
                None => "open",
                Some(_) => "cleared",
            },
            since: rfc3339(verdict.since_ms),
            updated: rfc3339(verdict.updated_ms),
            cleared: verdict.cleared_ms.and_then(rfc3339),
            evidence: EvidenceJson(evidence),
            clears_when: verdict.clears_when.clone(),
        }
    }
}

/// Key of the evidence that says what people call the workload: a kernel that died is no longer
/// among the server's workloads, so its verdict has to bring the name along.
const WORKLOAD_TITLE: &str = "workload_title";

// === impl CullJson ===

impl From<&CullRow> for CullJson {
    fn from(row: &CullRow) -> Self {
        let idle_ms = row.idle_ms.and_then(|ms| u64::try_from(ms).ok());
        Self {
            user: row.key.user.to_string(),
            server: row.key.server.to_string(),
            idle_seconds: idle_ms.map(|ms| ms / 1000),
            idle_since: row.idle_since_ms.and_then(rfc3339),
            cull: row.cull,
            reason: row.reason.clone(),
            held_until: row.held_until_ms.and_then(rfc3339),
            warned_at: row.warned_at_ms.and_then(rfc3339),
            stops_at: row.stops_at_ms.and_then(rfc3339),
        }
    }
}

// === impl EvidenceJson ===

impl Serialize for EvidenceJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, evidence) in &self.0 {
            match evidence {
                Evidence::Integer(value) => map.serialize_entry(name, value)?,
                Evidence::Number(value) => map.serialize_entry(name, &finite(*value))?,
                Evidence::Flag(value) => map.serialize_entry(name, value)?,
                Evidence::Word(value) => map.serialize_entry(name, value.as_str())?,
            }
        }
        map.end()
    }
}

#[cfg(test)]
mod tests;
