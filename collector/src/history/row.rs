//! One sample as history keeps it.
//!
//! A row is told apart by when, which life of the agent, which report and which sample in it.

mod first;
mod foresight;
mod layout;

use std::collections::BTreeMap;

use super::{Column, HistoryEntry};

#[cfg(test)]
pub(super) use layout::column_name;
pub(super) use layout::{columns_of, each, from_chunk, hint, to_chunk};

/// What is kept of a sample in every tier; the order is that of steps, samples have their own
/// ([`layout`]). New ones come last in both: a chunk says how many it has, and what was written
/// before they were there has none of them.
pub(super) const METRICS: [Column; 17] = [
    Column::MemoryUsedBytes,
    Column::MemoryWorkingSetBytes,
    Column::MemoryLimitBytes,
    Column::RssBytes,
    Column::SwapBytes,
    Column::CpuMillis,
    Column::CpuCores, // in thousandths
    Column::Processes,
    Column::Threads,
    Column::ShmBytes,
    Column::MemoryPressureSomeBp,
    Column::ReadBytes,
    Column::WrittenBytes,
    Column::DiskUsedBytes,
    Column::DiskLimitBytes,
    Column::AgentCpuMillis,
    Column::AgentRssBytes,
];

/// Metrics of the first chunks there were.
pub(super) const METRICS_MIN: usize = 9;

pub(super) const MEMORY_USED: usize = 0;
const WORKING_SET: usize = 1;
pub(super) const RSS: usize = 3;
pub(super) const CPU_MILLIS: usize = 5;
pub(super) const CPU_MILLICORES: usize = 6;
const PROCESSES: usize = 7;
const THREADS: usize = 8;
const READ: usize = 11;
const WRITTEN: usize = 12;

/// Tells a row from every other of its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RowId {
    pub(super) at_ms: i64,
    pub(super) instance: [u8; 16],
    pub(super) seq: i64,
    pub(super) index: i64,
}

/// One sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) id: RowId,
    pub(super) mono_ms: i64,
    pub(super) interval_ms: i64,
    pub(super) burst: bool,
    pub(super) momentum_bytes: Option<i64>,
    /// In the order of [`METRICS`].
    pub(super) metrics: [Option<i64>; METRICS.len()],
}

/// Rows of one server, in order. Boxed, since a node of the map has room for eleven and a server
/// that was just flushed has one or two.
pub(super) type Rows = BTreeMap<RowId, Box<Row>>;

// === impl RowId ===

impl RowId {
    /// Not after any row at `at_ms`.
    pub(super) fn first(at_ms: i64) -> Self {
        Self {
            at_ms,
            instance: [0; 16],
            seq: i64::MIN,
            index: i64::MIN,
        }
    }
}

// === impl Row ===

impl Row {
    /// The row of `entry`, the `index`th sample of its report.
    pub(super) fn of(entry: &HistoryEntry, index: usize) -> Self {
        let sample = &entry.sample;
        let vitals = &sample.vitals;
        let millicores = entry.cpu_cores.filter(|cores| cores.is_finite());
        Self {
            id: RowId {
                at_ms: sample.at_ms,
                instance: entry.instance.0,
                seq: whole(entry.seq),
                index: whole(index as u64),
            },
            mono_ms: whole(sample.mono_ms),
            interval_ms: i64::from(sample.interval_ms),
            burst: sample.burst,
            momentum_bytes: entry.momentum_bytes.filter(|_| !sample.burst),
            metrics: [
                Some(whole(sample.memory_used_bytes)),
                sample.memory_working_set_bytes.map(whole),
                sample.memory_limit_bytes.map(whole),
                Some(whole(sample.rss_bytes)),
                sample.swap_bytes.map(whole),
                Some(whole(sample.cpu_millis)),
                millicores.map(|cores| (cores * 1000.0).round() as i64),
                Some(i64::from(sample.processes)),
                Some(i64::from(sample.threads)),
                vitals.shm_bytes.map(whole),
                vitals.memory_pressure_some_bp.map(i64::from),
                vitals.read_bytes.map(whole),
                vitals.written_bytes.map(whole),
                vitals.disk.map(|disk| whole(disk.used_bytes)),
                vitals.disk.map(|disk| whole(disk.limit_bytes)),
                vitals.agent_cpu_millis.map(whole),
                vitals.agent_rss_bytes.map(whole),
            ],
        }
    }
}

/// SQLite and the codec count in i64; nothing real reaches its end.
fn whole(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
