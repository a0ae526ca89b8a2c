//! Readings and notices as JSON for the meter.
//!
//! The sample in full, with what `sample --details` leaves out because it is not a tick's number:
//! notebooks and states, the meter's figures, the link, and what the agent itself costs.

use serde_json::{Map, Value, json};

use crate::{
    board::{LinkStatus, Notice, Reading},
    sample::{Workload, details::Details},
};

/// One reading. `null` is "unknown".
#[must_use]
pub fn sample(reading: &Reading, link: &LinkStatus) -> Value {
    let mut value = serde_json::to_value(Details(&reading.sample)).unwrap_or_default();
    let Some(fields) = value.as_object_mut() else {
        return value;
    };
    if let Some(workloads) = fields.get_mut("workloads").and_then(Value::as_array_mut) {
        for (value, workload) in workloads.iter_mut().zip(&reading.sample.workloads) {
            if let Some(fields) = value.as_object_mut() {
                add_activity(fields, workload);
            }
        }
    }
    let figures = &reading.figures;
    let forecast = figures.forecast;
    let more = [
        ("burst", json!(reading.sample.burst)),
        ("momentum_bytes", json!(figures.momentum_bytes)),
        (
            "trend_bytes_per_second",
            json!(figures.trend_bytes_per_second),
        ),
        (
            "seconds_to_limit",
            json!(forecast.map(|f| f.seconds_to_limit)),
        ),
        (
            "seconds_to_limit_low",
            json!(forecast.map(|f| f.seconds_to_limit_low)),
        ),
        (
            "seconds_to_limit_high",
            json!(forecast.and_then(|f| f.seconds_to_limit_high)),
        ),
        ("link", json!(link)),
        ("agent", agent()),
    ];
    fields.extend(more.map(|(key, value)| (key.to_owned(), value)));
    value
}

/// The readings of the last ten minutes. What the agent costs and how the link is are of now.
#[must_use]
pub fn recent(readings: &[Reading], link: &LinkStatus) -> Value {
    let items: Vec<_> = readings
        .iter()
        .map(|reading| sample(reading, link))
        .collect();
    json!({ "items": items })
}

/// One line of the stream.
#[must_use]
pub fn sample_line(reading: &Reading, link: &LinkStatus) -> Vec<u8> {
    line(&json!({ "type": "sample", "data": sample(reading, link) }))
}

/// One line of the stream.
#[must_use]
pub fn notice_line(notice: &Notice) -> Vec<u8> {
    line(&json!({ "type": "notice", "data": notice }))
}

fn line(value: &Value) -> Vec<u8> {
    let mut line = value.to_string().into_bytes();
    line.push(b'\n');
    line
}

fn add_activity(fields: &mut Map<String, Value>, workload: &Workload) {
    if workload.remote {
        // Known, not measured: unknown is null, never 0.
        for unknown in ["pid", "rss_bytes", "cpu_millis", "threads"] {
            fields.insert(unknown.to_owned(), Value::Null);
        }
    }
    fields.insert("remote".to_owned(), json!(workload.remote));
    fields.insert("notebook".to_owned(), json!(workload.notebook));
    fields.insert("state".to_owned(), json!(workload.state));
    let idle_seconds = workload.idle_ms.map(|idle| idle as f64 / 1000.0);
    fields.insert("idle_seconds".to_owned(), json!(idle_seconds));
}

fn agent() -> Value {
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "rss_bytes": own_rss_bytes(),
        "cpu_millis": own_cpu_millis(),
        "readings_failed": crate::sample::faults::Faults::so_far(),
    })
}

fn own_rss_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * u64::try_from(rustix::param::page_size()).ok()?)
}

fn own_cpu_millis() -> Option<u64> {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let seconds = u64::try_from(spent.tv_sec).ok()?;
    Some(seconds * 1000 + u64::try_from(spent.tv_nsec).ok()? / 1_000_000)
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_the_agent_could_not_read_is_told_by_reason() {
        let agent = super::agent();
        let failed = agent["readings_failed"].as_object().unwrap();
        let reasons: Vec<&str> = failed.keys().map(String::as_str).collect();
        let wanted = [
            "denied",
            "io",
            "malformed",
            "missing",
            "timed_out",
            "too_large",
        ];
        assert_eq!(reasons, wanted);
        assert!(failed.values().all(|count| count == 0));
    }
}
