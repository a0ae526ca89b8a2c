//! Figures of single servers, for hubs that ask for them (`metrics.per_user`).
//!
//! The only series whose labels somebody else chose. Off unless asked for, and bounded: each server
//! costs whoever scrapes four series.

use std::fmt::Write as _;

use crate::{
    fact::ServerKey,
    state::{Phase, Server, State},
    stats::{Limit, Stats},
    text,
};

/// Servers with series of their own when the settings say nothing: 20,000 series, which a small
/// Prometheus takes, and 2 MB a scrape.
const SERVERS_DEFAULT: usize = 5_000;

/// Whether servers have series of their own, and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerUser {
    /// Whether any has.
    pub on: bool,
    /// Servers that have at most; the first by name.
    pub servers_max: usize,
}

/// What one server shows.
struct Figures {
    key: ServerKey,
    memory_used_bytes: u64,
    memory_limit_bytes: Option<u64>,
    cpu_millis: u64,
    trend_bytes_per_second: Option<f64>,
}

/// One metric of all servers.
struct Metric {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    /// `None` where nobody knows: then there is no line.
    value: fn(&Figures) -> Option<String>,
}

/// A copy of what servers show.
pub(super) struct Series {
    on: bool,
    servers_max: usize,
    figures: Vec<Figures>,
    left_out: usize,
}

const METRICS: [Metric; 4] = [
    Metric {
        name: "hubmeter_server_memory_used_bytes",
        kind: "gauge",
        help: "Memory of a server that cannot be given back",
        value: |figures| Some(figures.memory_used_bytes.to_string()),
    },
    Metric {
        name: "hubmeter_server_memory_limit_bytes",
        kind: "gauge",
        help: "Memory limit in force for a server",
        value: |figures| figures.memory_limit_bytes.map(|bytes| bytes.to_string()),
    },
    Metric {
        name: "hubmeter_server_cpu_seconds_total",
        kind: "counter",
        help: "CPU time of a server since it started",
        value: |figures| {
            let (seconds, millis) = (figures.cpu_millis / 1000, figures.cpu_millis % 1000);
            Some(format!("{seconds}.{millis:03}"))
        },
    },
    Metric {
        name: "hubmeter_server_trend_bytes_per_second",
        kind: "gauge",
        help: "Robust slope of a server's memory",
        value: |figures| {
            figures
                .trend_bytes_per_second
                .map(|slope| slope.to_string())
        },
    },
];

// === impl PerUser ===

impl Default for PerUser {
    fn default() -> Self {
        Self {
            on: false,
            servers_max: SERVERS_DEFAULT,
        }
    }
}

// === impl Series ===

impl Series {
    /// Copies what `state` knows of servers that are heard. No text is made here: the state waits.
    pub(super) fn copy(state: &State, per_user: PerUser) -> Self {
        let mut series = Self {
            on: per_user.on,
            servers_max: per_user.servers_max,
            figures: Vec::new(),
            left_out: 0,
        };
        if !per_user.on {
            return series;
        }
        for server in state.servers.values() {
            if series.figures.len() < series.servers_max {
                series.figures.extend(Figures::of(server));
            } else {
                series.left_out += usize::from(Figures::of(server).is_some());
            }
        }
        series
    }

    /// Says how full the bound is and what it cost this time.
    pub(super) fn account(&self, stats: &Stats) {
        stats.limit_set(Limit::ServerSeries, self.servers_max);
        stats.limit_now(Limit::ServerSeries, self.figures.len());
        stats.limit_dropped_many(Limit::ServerSeries, self.left_out as u64);
    }

    /// Appends the series to `out`; nothing where they are off.
    pub(super) fn write(&self, out: &mut String) {
        if !self.on {
            return;
        }
        let labels = |figures: &Figures| {
            let [user, server] = [&figures.key.user, &figures.key.server].map(|v| text::prom(v));
            format!("{{user=\"{user}\",server=\"{server}\"}}")
        };
        let labels: Vec<_> = self.figures.iter().map(labels).collect();
        for metric in METRICS {
            let Metric {
                name, kind, help, ..
            } = metric;
            // Writing into a string does not fail.
            let _ = writeln!(out, "# HELP {name} {help}.\n# TYPE {name} {kind}");
            for (figures, labels) in self.figures.iter().zip(&labels) {
                if let Some(value) = (metric.value)(figures) {
                    let _ = writeln!(out, "{name}{labels} {value}");
                }
            }
        }
    }
}

// === impl Figures ===

impl Figures {
    /// What `server` shows; `None` for one that stopped or is not heard: what it used last is not
    /// what it uses.
    fn of(server: &Server) -> Option<Self> {
        let latest = server.latest.as_ref()?;
        (server.phase == Phase::Live).then(|| Self {
            key: server.key.clone(),
            memory_used_bytes: latest.memory_used_bytes,
            memory_limit_bytes: latest.memory_limit_bytes,
            cpu_millis: latest.cpu_millis,
            trend_bytes_per_second: server
                .trend
                .map(|trend| trend.bytes_per_second)
                .filter(|slope| slope.is_finite()),
        })
    }
}

#[cfg(test)]
mod tests;
