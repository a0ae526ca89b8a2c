//! What the collector counts about itself, for `/metrics`.
//!
//! Every refusal has a reason from [`Reject`], every bound a current value, a limit and a count of
//! what it cost ([`Limit`]). No label holds anything a user wrote.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use parking_lot::Mutex;
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::verdict::Rule;

macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident => $word:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$vmeta])* $variant,)* }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The word in the metric's label.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl EncodeLabelValue for $name {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
                EncodeLabelValue::encode(&self.as_str(), encoder)
            }
        }
    };
}

mod notices;
mod trouble;

pub use notices::{Outcome, Outlet};

words! {
    /// Why something was refused.
    Reject {
        /// A stream without a bearer token.
        NoToken => "no_token",
        /// The hub does not know the token.
        UnknownToken => "unknown_token",
        /// The token is good, but not a server's own: a visitor's, a service's, a person's.
        WrongToken => "wrong_token",
        /// The hub could not be asked.
        HubUnreachable => "hub_unreachable",
        /// Too many questions to the hub already.
        VerifyBudget => "verify_budget",
        /// The uid of a local caller could not be told.
        UnknownPeer => "unknown_peer",
        /// No room for one more connection.
        Connections => "connections",
        /// Too many streams began at once.
        Turnstile => "turnstile",
        /// No room for one more stream.
        Sessions => "sessions",
        /// The inbox is too full for newcomers.
        Shedding => "shedding",
        /// No descriptors were left to accept with.
        OpenFiles => "open_files",
        /// A connection without a stream.
        NoStream => "no_stream",
        /// The TLS handshake failed or took too long.
        Handshake => "handshake",
        /// In the clear from another machine.
        Plaintext => "plaintext",
        /// The first message was not a Hello, or came too late.
        NoHello => "no_hello",
        /// The protocol versions have nothing in common.
        Version => "version",
        /// A message could not be decoded.
        Undecodable => "undecodable",
        /// A field passed its bound.
        OutOfBounds => "out_of_bounds",
        /// A message that does not belong there.
        Unexpected => "unexpected",
        /// One server sent too much, too fast.
        Quota => "quota",
        /// The inbox had no room.
        InboxFull => "inbox_full",
        /// Nothing came for too long.
        Silent => "silent",
        /// A newer stream for the same server took over.
        Superseded => "superseded",
        /// A report that is already on disk.
        Duplicate => "duplicate",
        /// A row of the inbox whose checksum is wrong.
        CorruptRow => "corrupt_row",
    }
}

words! {
    /// A bound whose fill is worth watching.
    Limit {
        /// Connections to the link.
        Connections => "connections",
        /// TLS handshakes under way.
        Handshakes => "handshakes",
        /// Connections to pages, API and the agents' WebSockets.
        HttpConnections => "http_connections",
        /// Streams past Hello.
        Sessions => "sessions",
        /// Streams that may begin at once.
        Accepts => "accepts",
        /// What is given up because the inbox is full: 1 history, 2 the interval, 3 newcomers.
        Shedding => "shedding",
        /// Reports waiting for the inbox.
        InboxQueue => "inbox_queue",
        /// Bytes waiting for the inbox.
        InboxBytes => "inbox_bytes",
        /// Notices waiting for streams; the bound is one stream's.
        Notices => "notices",
        /// Facts waiting for the pipeline.
        FactQueue => "fact_queue",
        /// Questions to the hub under way.
        VerifyConcurrent => "verify_concurrent",
        /// Servers in state.
        Servers => "servers",
        /// Browsers that listen for events.
        EventStreams => "event_streams",
        /// Servers with series of their own; each scrape counts those that were left out.
        ServerSeries => "server_series",
    }
}

words! {
    /// What is simply counted.
    Count {
        /// Reports accepted.
        Reports => "reports",
        /// Samples in them.
        Samples => "samples",
        /// Gaps that agents declared.
        Gaps => "gaps",
        /// Streams past Hello.
        Streams => "streams",
        /// Inbox commits.
        Commits => "inbox_commits",
        /// Inbox commits that failed.
        CommitFailures => "inbox_commit_failures",
        /// Damaged files of history that were set aside.
        FilesSetAside => "files_set_aside",
        /// Questions asked of the hub.
        HubQuestions => "hub_questions",
        /// Questions the hub did not answer.
        HubFailures => "hub_failures",
        /// Rows that history let go because their server had too many in an hour.
        HistoryRowsDropped => "history_rows_dropped",
        /// Times that history could not read a stored chunk.
        HistoryChunksCorrupt => "history_chunks_corrupt",
        /// History's files deleted before their time because space ran out.
        HistoryFilesShed => "history_files_shed",
    }
}

words! {
    /// A part that keeps the collector from being ready.
    Unready {
        /// The inbox is still being replayed.
        Replaying => "replaying",
        /// The inbox cannot be written: nothing is acknowledged.
        Journal => "journal",
        /// History cannot be written: it waits in memory and in the inbox.
        History => "history",
        /// The hub does not answer: nobody new is let in.
        Hub => "hub",
    }
}

// === impl Count ===

impl Count {
    fn help(self) -> &'static str {
        match self {
            Self::Reports => "Reports accepted",
            Self::Samples => "Samples in accepted reports",
            Self::Gaps => "Gaps declared by agents",
            Self::Streams => "Streams past Hello",
            Self::Commits => "Inbox commits",
            Self::CommitFailures => "Inbox commits that failed",
            Self::FilesSetAside => "Damaged files of history set aside",
            Self::HubQuestions => "Questions asked of the hub",
            Self::HubFailures => "Questions the hub did not answer",
            Self::HistoryRowsDropped => "Rows of history beyond a server's hour",
            Self::HistoryChunksCorrupt => "Times a stored chunk of history could not be read",
            Self::HistoryFilesShed => "Files of history deleted early because space ran out",
        }
    }
}

words! {
    /// Whether a server's agent is heard.
    AgentState {
        /// Reports arrive.
        Live => "live",
        /// It should report and does not.
        Silent => "silent",
        /// Its server stopped.
        Gone => "gone",
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: Reject,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfLimit {
    limit: Limit,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRule {
    rule: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfState {
    state: AgentState,
}

/// The collector's counters and gauges. Cheap to clone; every clone counts together.
#[derive(Clone, Debug)]
pub struct Stats(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Registry,
    counters: Vec<(Count, Counter)>,
    rejected: Family<Reason, Counter>,
    limit_current: Family<OfLimit, Gauge>,
    limit_max: Family<OfLimit, Gauge>,
    limit_dropped: Family<OfLimit, Counter>,
    agents: Family<OfState, Gauge>,
    verdicts: Family<OfRule, Gauge>,
    verdicts_total: Family<OfRule, Counter>,
    notices: notices::Notices,
    unready: [AtomicBool; Unready::ALL.len()],
    causes: Mutex<[Option<String>; Unready::ALL.len()]>,
}

// === impl Stats ===

impl Stats {
    /// All at zero.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("hubmeter");
        let mut counters = Vec::new();
        for &count in Count::ALL {
            let counter = Counter::default();
            registry.register(count.as_str(), count.help(), counter.clone());
            counters.push((count, counter));
        }
        let inner = Inner {
            counters,
            rejected: family(&mut registry, "rejected", "Refused, by reason"),
            limit_current: family(&mut registry, "limit_current", "How full each bound is"),
            limit_max: family(&mut registry, "limit_max", "Where each bound is"),
            limit_dropped: family(&mut registry, "limit_dropped", "What each bound has cost"),
            agents: family(
                &mut registry,
                "agents",
                "Servers by how their agent is heard",
            ),
            verdicts: family(&mut registry, "verdicts", "Open verdicts"),
            verdicts_total: family(&mut registry, "verdicts", "Verdicts ever raised"),
            notices: notices::Notices::new(&mut registry),
            unready: Default::default(),
            causes: Mutex::default(),
            registry,
        };
        for &reason in Reject::ALL {
            drop(inner.rejected.get_or_create(&Reason { reason }));
        }
        for &limit in Limit::ALL {
            drop(inner.limit_current.get_or_create(&OfLimit { limit }));
            drop(inner.limit_max.get_or_create(&OfLimit { limit }));
            drop(inner.limit_dropped.get_or_create(&OfLimit { limit }));
        }
        for &state in AgentState::ALL {
            drop(inner.agents.get_or_create(&OfState { state }));
        }
        for rule in Rule::ALL {
            let rule = rule.as_str();
            drop(inner.verdicts.get_or_create(&OfRule { rule }));
            drop(inner.verdicts_total.get_or_create(&OfRule { rule }));
        }
        Self(Arc::new(inner))
    }

    /// One more of `what`.
    pub fn count(&self, what: Count) {
        self.add(what, 1);
    }

    /// `n` more of `what`.
    pub fn add(&self, what: Count, n: u64) {
        if let Some((_, counter)) = self.0.counters.iter().find(|(c, _)| *c == what) {
            counter.inc_by(n);
        }
    }

    /// What somebody else counts, who says that it is at `total`.
    pub fn reached(&self, what: Count, total: u64) {
        if let Some((_, counter)) = self.0.counters.iter().find(|(c, _)| *c == what) {
            counter.inner().fetch_max(total, Ordering::Relaxed);
        }
    }

    /// How often `what` was counted.
    #[must_use]
    pub fn counted(&self, what: Count) -> u64 {
        self.0
            .counters
            .iter()
            .find(|(c, _)| *c == what)
            .map_or(0, |(_, counter)| counter.get())
    }

    /// Something was refused.
    pub fn reject(&self, reason: Reject) {
        self.0.rejected.get_or_create(&Reason { reason }).inc();
    }

    /// How often `reason` was counted.
    #[must_use]
    pub fn rejected(&self, reason: Reject) -> u64 {
        self.0.rejected.get_or_create(&Reason { reason }).get()
    }

    /// Where a bound is.
    pub fn limit_set(&self, limit: Limit, max: usize) {
        self.0
            .limit_max
            .get_or_create(&OfLimit { limit })
            .set(i64::try_from(max).unwrap_or(i64::MAX));
    }

    /// How full a bound is.
    pub fn limit_now(&self, limit: Limit, current: usize) {
        self.0
            .limit_current
            .get_or_create(&OfLimit { limit })
            .set(i64::try_from(current).unwrap_or(i64::MAX));
    }

    /// One more in a bound that nobody else counts.
    pub fn limit_more(&self, limit: Limit) {
        self.0.limit_current.get_or_create(&OfLimit { limit }).inc();
    }

    /// One less in it.
    pub fn limit_less(&self, limit: Limit) {
        self.0.limit_current.get_or_create(&OfLimit { limit }).dec();
    }

    /// A bound cost something.
    pub fn limit_dropped(&self, limit: Limit) {
        self.limit_dropped_many(limit, 1);
    }

    /// A bound cost `n` things at once.
    pub fn limit_dropped_many(&self, limit: Limit, n: u64) {
        self.0
            .limit_dropped
            .get_or_create(&OfLimit { limit })
            .inc_by(n);
    }

    /// How many servers are in `state`.
    pub fn agents(&self, state: AgentState, n: usize) {
        self.0
            .agents
            .get_or_create(&OfState { state })
            .set(i64::try_from(n).unwrap_or(i64::MAX));
    }

    /// How many verdicts of `rule` are open.
    pub fn verdicts_open(&self, rule: Rule, n: usize) {
        let rule = rule.as_str();
        self.0
            .verdicts
            .get_or_create(&OfRule { rule })
            .set(i64::try_from(n).unwrap_or(i64::MAX));
    }

    /// A verdict was raised.
    pub fn verdict_raised(&self, rule: Rule) {
        let rule = rule.as_str();
        self.0.verdicts_total.get_or_create(&OfRule { rule }).inc();
    }

    /// Whether `part` keeps the collector from being ready.
    pub fn set_unready(&self, part: Unready, unready: bool) {
        self.0.unready[part as usize].store(unready, Ordering::Relaxed);
    }

    /// What keeps the collector from being ready; empty when nothing does.
    #[must_use]
    pub fn unready(&self) -> Vec<Unready> {
        Unready::ALL
            .iter()
            .copied()
            .filter(|&part| self.0.unready[part as usize].load(Ordering::Relaxed))
            .collect()
    }

    /// Everything in Prometheus' text format, version 0.0.4. (In OpenMetrics the gauge
    /// `hubmeter_verdicts` and the counter `hubmeter_verdicts_total` would be one family.)
    #[must_use]
    pub fn prometheus_text(&self) -> String {
        let mut open = String::new();
        // Writing into a string does not fail.
        let _ = encode(&mut open, &self.0.registry);
        let mut out = String::with_capacity(open.len());
        let mut help = None;
        for line in open.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                help = rest.split_once(' ');
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let name = match rest.split_once(' ') {
                    Some((name, "counter")) => format!("{name}_total"),
                    Some((name, _)) => name.to_owned(),
                    None => continue,
                };
                let kind = rest.rsplit(' ').next().unwrap_or_default();
                if let Some((_, text)) = help.take() {
                    out.push_str(&format!("# HELP {name} {text}\n"));
                }
                out.push_str(&format!("# TYPE {name} {kind}\n"));
            } else if !line.starts_with('#') {
                out.push_str(line);
                out.push('\n');
            }
        }
        out
    }
}

impl Default for Stats {
    fn default() -> Self {
        Self::new()
    }
}

fn family<S, M>(registry: &mut Registry, name: &str, help: &str) -> Family<S, M>
where
    S: Clone + std::hash::Hash + Eq + EncodeLabelSet + std::fmt::Debug + Send + Sync + 'static,
    M: Default + Clone + std::fmt::Debug + Send + Sync + 'static,
    Family<S, M>: prometheus_client::encoding::EncodeMetric + Default,
{
    let family = Family::<S, M>::default();
    registry.register(name, help, family.clone());
    family
}

#[cfg(test)]
mod tests;
