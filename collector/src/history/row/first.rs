//! The first layout of a raw chunk. Files of that time are read for as long as they are kept.

use super::{CPU_MILLICORES, METRICS, METRICS_MIN, Row, RowId, Rows, foresight::Foresight};
use crate::history::chunk::{Chunk, ChunkError};

/// Columns before the metrics: time, instance, report, place in it, offset of the agent's clock,
/// interval, burst, momentum.
const HEAD_COLUMNS: usize = 8;

/// Reads a chunk of the first format.
pub(super) fn from_chunk(chunk: &Chunk, start_ms: i64) -> Result<Rows, ChunkError> {
    let layouts = HEAD_COLUMNS + METRICS_MIN..=HEAD_COLUMNS + METRICS.len();
    if !layouts.contains(&chunk.columns.len()) {
        return Err(ChunkError::Short);
    }
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
        let foreseen = foresight.of(&row);
        row.momentum_bytes = cell(7).map(|miss| miss.wrapping_add(foreseen.momentum));
        if let Some(miss) = &mut row.metrics[CPU_MILLICORES] {
            *miss = miss.wrapping_add(foreseen.millicores);
        }
        foresight.learn(&row);
        rows.insert(row.id, Box::new(row));
    }
    Ok(rows)
}
