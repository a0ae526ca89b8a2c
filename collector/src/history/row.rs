//! One sample as history keeps it, and the layout of a raw chunk.
//!
//! A row is told apart by when, which life of the agent, which report and which sample in it;
//! values that can be foreseen from the rows before (momentum, cores) are stored as the miss,
//! which is nearly always nothing.

use std::collections::BTreeMap;

use super::{
    Column, HistoryEntry,
    chunk::{self, Chunk, ChunkError},
};

/// What is kept of a sample in every tier; the order is the layout. New ones come last: a chunk
/// says how many it has, and what was written before they were there has none of them.
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
pub(super) const RSS: usize = 3;
pub(super) const CPU_MILLIS: usize = 5;
pub(super) const CPU_MILLICORES: usize = 6;

/// Columns of a raw chunk before the metrics: time, instance, report, place in it, offset of the
/// agent's clock, interval, burst, momentum.
pub(super) const HEAD_COLUMNS: usize = 8;

/// Where these are.
pub(super) const TIME: usize = 0;
pub(super) const INSTANCE: usize = 1;
pub(super) const SEQ: usize = 2;
pub(super) const INDEX: usize = 3;
pub(super) const MONO: usize = 4;
pub(super) const INTERVAL: usize = 5;
pub(super) const BURST: usize = 6;
pub(super) const MOMENTUM: usize = 7;

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

/// What the rows of one chunk so far say about the next.
#[derive(Default)]
pub(super) struct Foresight {
    /// Per instance: the newest row's CPU time and clock, the newest base row's rss.
    last: BTreeMap<[u8; 16], Last>,
}

#[derive(Clone, Copy, Default)]
struct Last {
    base_rss: Option<i64>,
    cpu: Option<(i64, i64)>,
}

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

impl Row {
    /// As much of a row as [`Foresight`] looks at.
    pub(super) fn for_foresight(
        instance: [u8; 16],
        mono_ms: i64,
        burst: bool,
        metric: impl Fn(usize) -> Option<i64>,
    ) -> Self {
        let mut metrics = [None; METRICS.len()];
        metrics[RSS] = metric(RSS);
        metrics[CPU_MILLIS] = metric(CPU_MILLIS);
        Self {
            id: RowId {
                instance,
                ..RowId::first(0)
            },
            mono_ms,
            interval_ms: 0,
            burst,
            momentum_bytes: None,
            metrics,
        }
    }
}

/// SQLite and the codec count in i64; nothing real reaches its end.
fn whole(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

// === layout of a raw chunk ===

/// Lays `rows` out in columns; beyond a chunk's bound the newest are left out.
pub(super) fn to_chunk(rows: &Rows, start_ms: i64) -> Chunk {
    let mut chunk = Chunk {
        instances: Vec::new(),
        rows: rows.len().min(chunk::ROWS_MAX),
        columns: vec![Vec::with_capacity(rows.len()); HEAD_COLUMNS + METRICS.len()],
    };
    let mut foresight = Foresight::default();
    let (mut at_ms, mut seq) = (start_ms, 0);
    for row in rows.values().take(chunk::ROWS_MAX) {
        let instance = chunk
            .instances
            .iter()
            .position(|known| *known == row.id.instance)
            .unwrap_or_else(|| {
                chunk.instances.push(row.id.instance);
                chunk.instances.len() - 1
            });
        let (momentum, millicores) = foresight.of(row);
        let mut cells = [None; HEAD_COLUMNS + METRICS.len()];
        cells[0] = Some(row.id.at_ms.wrapping_sub(at_ms));
        cells[1] = Some(whole(instance as u64));
        cells[2] = Some(row.id.seq.wrapping_sub(seq));
        cells[3] = Some(row.id.index);
        cells[4] = Some(row.mono_ms.wrapping_sub(row.id.at_ms));
        cells[5] = Some(row.interval_ms);
        cells[6] = Some(i64::from(row.burst));
        cells[7] = row.momentum_bytes.map(|now| now.wrapping_sub(momentum));
        cells[HEAD_COLUMNS..].copy_from_slice(&row.metrics);
        if let Some(now) = &mut cells[HEAD_COLUMNS + CPU_MILLICORES] {
            *now = now.wrapping_sub(millicores);
        }
        for (column, cell) in chunk.columns.iter_mut().zip(cells) {
            column.push(cell);
        }
        (at_ms, seq) = (row.id.at_ms, row.id.seq);
        foresight.learn(row);
    }
    chunk
}

/// Refuses a chunk that is not of rows, today's or earlier ones.
pub(super) fn check_layout(chunk: &Chunk) -> Result<(), ChunkError> {
    let layouts = HEAD_COLUMNS + METRICS_MIN..=HEAD_COLUMNS + METRICS.len();
    if layouts.contains(&chunk.columns.len()) {
        Ok(())
    } else {
        Err(ChunkError::Short)
    }
}

/// Reads what [`to_chunk`] laid out.
pub(super) fn from_chunk(chunk: &Chunk, start_ms: i64) -> Result<Rows, ChunkError> {
    check_layout(chunk)?;
    let mut rows = Rows::new();
    let mut foresight = Foresight::default();
    let (mut at_ms, mut seq) = (start_ms, 0_i64);
    for place in 0..chunk.rows {
        let cell = |column: usize| chunk.columns.get(column)?[place];
        let must = |column: usize| cell(column).ok_or(ChunkError::Short);
        let instance = usize::try_from(must(1)?)
            .ok()
            .and_then(|at| chunk.instances.get(at))
            .ok_or(ChunkError::Short)?;
        at_ms = at_ms.wrapping_add(must(0)?);
        seq = seq.wrapping_add(must(2)?);
        let mut row = Row {
            id: RowId {
                at_ms,
                instance: *instance,
                seq,
                index: must(3)?,
            },
            mono_ms: must(4)?.wrapping_add(at_ms),
            interval_ms: must(5)?,
            burst: must(6)? != 0,
            momentum_bytes: None,
            metrics: std::array::from_fn(|metric| cell(HEAD_COLUMNS + metric)),
        };
        let (momentum, millicores) = foresight.of(&row);
        row.momentum_bytes = cell(7).map(|miss| miss.wrapping_add(momentum));
        if let Some(miss) = &mut row.metrics[CPU_MILLICORES] {
            *miss = miss.wrapping_add(millicores);
        }
        foresight.learn(&row);
        rows.insert(row.id, Box::new(row));
    }
    Ok(rows)
}

// === impl Foresight ===

impl Foresight {
    /// Momentum and cores (in thousandths) as the rows before suggest; 0 where they are silent.
    /// Looks at nothing that is not known before the two are.
    pub(super) fn of(&self, row: &Row) -> (i64, i64) {
        let last = self.last.get(&row.id.instance).copied().unwrap_or_default();
        let momentum = match (last.base_rss, row.metrics[RSS]) {
            (Some(before), Some(now)) => now.wrapping_sub(before),
            _ => 0,
        };
        let millicores = match (last.cpu, row.metrics[CPU_MILLIS]) {
            (Some((cpu, mono)), Some(now)) if row.mono_ms > mono => {
                let worked = i128::from(now) - i128::from(cpu);
                let passed = i128::from(row.mono_ms) - i128::from(mono);
                i64::try_from((worked * 1000 + passed / 2).div_euclid(passed)).unwrap_or(0)
            }
            _ => 0,
        };
        (momentum, millicores)
    }

    pub(super) fn learn(&mut self, row: &Row) {
        let last = self.last.entry(row.id.instance).or_default();
        if !row.burst {
            last.base_rss = row.metrics[RSS];
        }
        last.cpu = row.metrics[CPU_MILLIS].map(|cpu| (cpu, row.mono_ms));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn row()(
            at_ms in 0..600_000_i64,
            instance in 0..3_u8,
            seq in 0..5_i64,
            index in 0..2_i64,
            mono_ms in prop_oneof![0..600_000_i64, Just(i64::MAX), Just(i64::MIN)],
            burst in any::<bool>(),
            momentum_bytes in any::<Option<i64>>(),
            metrics in any::<[Option<i64>; METRICS.len()]>(),
        ) -> Row {
            let id = RowId { at_ms, instance: [instance; 16], seq, index };
            Row { id, mono_ms, interval_ms: 5_000, burst, momentum_bytes, metrics }
        }
    }

    proptest! {
        #[test]
        fn rows_read_back_as_laid_out(rows in prop::collection::vec(row(), 0..50)) {
            let rows: Rows = rows.into_iter().map(|row| (row.id, Box::new(row))).collect();
            let chunk = to_chunk(&rows, 0);
            prop_assert_eq!(from_chunk(&chunk, 0), Ok(rows));
        }

        #[test]
        fn a_chunk_of_any_earlier_layout_is_read_and_what_it_lacks_is_unknown(
            rows in prop::collection::vec(row(), 0..50),
            metrics in METRICS_MIN..=METRICS.len(),
        ) {
            let mut rows: Rows = rows.into_iter().map(|row| (row.id, Box::new(row))).collect();
            let mut chunk = to_chunk(&rows, 0);
            chunk.columns.truncate(HEAD_COLUMNS + metrics);
            for row in rows.values_mut() {
                row.metrics[metrics..].fill(None);
            }
            prop_assert_eq!(from_chunk(&chunk, 0), Ok(rows));
        }

        #[test]
        fn fewer_columns_than_ever_or_more_than_known_are_refused(
            rows in prop::collection::vec(row(), 1..5),
        ) {
            let rows: Rows = rows.into_iter().map(|row| (row.id, Box::new(row))).collect();
            let mut chunk = to_chunk(&rows, 0);
            chunk.columns.push(vec![None; chunk.rows]);
            prop_assert_eq!(from_chunk(&chunk, 0), Err(ChunkError::Short));
            chunk.columns.truncate(HEAD_COLUMNS + METRICS_MIN - 1);
            prop_assert_eq!(from_chunk(&chunk, 0), Err(ChunkError::Short));
        }
    }
}
