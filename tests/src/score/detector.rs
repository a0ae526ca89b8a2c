//! What is judged: ours, by the code that judges live servers, and the interface of the others.

use hubmeter_collector::{
    fact::{Fact, InstanceId, MemorySource, Sample, ServerKey},
    state::{Policy, State},
    verdict::Rule,
};

use super::corpus::Point;

/// What a detector says of one sample.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Says {
    /// Its alarm is open.
    pub alarm: bool,
    /// Seconds to the limit it believes in: earliest, and latest (`None`: perhaps never).
    pub seconds_to_limit: Option<(f64, Option<f64>)>,
}

/// Looks at one server's samples, oldest first, and warns of its limit.
pub trait Detector {
    /// Looks at the next sample.
    fn see(&mut self, point: &Point, limit_bytes: u64) -> Says;
}

/// Rules of ours, through the state as live samples go: an alarm is open while a verdict of one of them is.
pub struct Ours {
    rules: Vec<Rule>,
    state: State,
    key: ServerKey,
    seq: u64,
    previous_ms: Option<i64>,
}

// === impl Ours ===

impl Ours {
    /// Judged by `rules` under `policy`.
    #[must_use]
    pub fn of(rules: &[Rule], policy: Policy) -> Self {
        Self {
            rules: rules.to_vec(),
            state: State::new(policy),
            key: ServerKey::new("corpus", ""),
            seq: 0,
            previous_ms: None,
        }
    }
}

impl Default for Ours {
    /// `runaway_memory`.
    fn default() -> Self {
        Self::of(&[Rule::RunawayMemory], Policy::default())
    }
}

impl Detector for Ours {
    fn see(&mut self, point: &Point, limit_bytes: u64) -> Says {
        let interval_ms = point.at_ms - self.previous_ms.unwrap_or(point.at_ms);
        self.previous_ms = Some(point.at_ms);
        self.seq += 1;
        self.state.apply(&Fact::Report {
            arrived_ms: point.at_ms,
            key: self.key.clone(),
            instance: InstanceId([0; 16]),
            seq: self.seq,
            samples: vec![sample(point, interval_ms, limit_bytes)],
        });
        let Some(server) = self.state.servers.get(&self.key) else {
            return Says::default();
        };
        Says {
            alarm: server
                .verdicts
                .iter()
                .any(|verdict| self.rules.contains(&verdict.rule)),
            seconds_to_limit: server.forecast.map(|forecast| {
                (
                    forecast.seconds_to_limit_low,
                    forecast.seconds_to_limit_high,
                )
            }),
        }
    }
}

fn sample(point: &Point, interval_ms: i64, limit_bytes: u64) -> Sample {
    Sample {
        interval_ms: u32::try_from(interval_ms).unwrap_or(u32::MAX),
        memory_used_bytes: point.used_bytes,
        memory_limit_bytes: Some(limit_bytes),
        memory_limit_enforced: true,
        cpu_millis: point.cpu_millis,
        processes: point.processes,
        threads: point.threads,
        ..Sample::of_memory(
            point.at_ms,
            u64::try_from(point.at_ms).unwrap_or(0) + 1,
            MemorySource::Pss,
            point.rss_bytes,
        )
    }
}
