//! The layout of a raw chunk: which column holds what.
//!
//! Samples come in seconds of their own clock: time is told as whole seconds since the row before
//! and how far off that rhythm the row is.

use super::{
    CPU_MILLICORES, MEMORY_USED, METRICS, METRICS_MIN, PROCESSES, READ, RSS, Row, RowId, Rows,
    THREADS, WORKING_SET, WRITTEN, first, foresight::Foresight, whole,
};
use crate::history::chunk::{self, Chunk, ChunkError, Format, Like};

/// Columns before the metrics: seconds, how far off them, instance, report, place in it, offset
/// of the agent's clock, interval, burst, momentum.
const HEAD_COLUMNS: usize = 9;

const SECONDS: usize = 0;
const OFF: usize = 1;
const INSTANCE: usize = 2;
const SEQ: usize = 3;
const INDEX: usize = 4;
const MONO: usize = 5;
const INTERVAL: usize = 6;
const BURST: usize = 7;
const MOMENTUM: usize = 8;

/// Intervals are whole seconds.
const BEAT_MS: i64 = 1_000;

/// Metrics in the order of their columns: what another is foreseen by comes before it. Processes
/// say how far rss and used memory are apart, since what forked children share counts in rss for
/// each; what is written comes in whole pages more often than what is read.
const ORDER: [usize; METRICS.len()] = [
    PROCESSES,
    THREADS,
    MEMORY_USED,
    WORKING_SET,
    2,
    RSS,
    4,
    5,
    CPU_MILLICORES,
    9,
    10,
    WRITTEN,
    READ,
    13,
    14,
    15,
    16,
];

/// Where each metric's column is behind the head.
const PLACES: [usize; METRICS.len()] = {
    let mut places = [usize::MAX; METRICS.len()];
    let mut at = 0;
    while at < ORDER.len() {
        places[ORDER[at]] = at;
        at += 1;
    }
    places
};

/// Metrics of the first chunks in that order.
const ORDERED_MIN: usize = 17;

/// The rhythm of a chunk's rows.
struct Beat {
    /// Begin of the rhythm's seconds, known with the first row.
    origin_ms: Option<i64>,
    start_ms: i64,
    seconds: i64,
}

/// What a column resembles.
pub(in crate::history) fn hint(column: usize) -> Option<Like> {
    let metric = *ORDER.get(column.checked_sub(HEAD_COLUMNS)?)?;
    let (other, key) = match metric {
        RSS => (MEMORY_USED, Some(PROCESSES)),
        WORKING_SET => (MEMORY_USED, None),
        THREADS => (PROCESSES, None),
        READ => (WRITTEN, None),
        _ => return None,
    };
    let place = |metric: usize| HEAD_COLUMNS + PLACES[metric];
    Some(Like {
        column: place(other),
        key: key.map(place),
    })
}

/// What a column holds, for tables of figures.
#[cfg(test)]
pub(in crate::history) fn column_name(column: usize) -> &'static str {
    const HEAD: [&str; HEAD_COLUMNS] = [
        "seconds",
        "off them",
        "instance",
        "report",
        "place in it",
        "clock",
        "interval_ms",
        "burst",
        "momentum_bytes",
    ];
    match column.checked_sub(HEAD_COLUMNS) {
        None => HEAD[column],
        Some(place) => METRICS[ORDER[place]].as_str(),
    }
}

// === impl Beat ===

impl Beat {
    fn new(start_ms: i64) -> Self {
        Self {
            origin_ms: None,
            start_ms,
            seconds: 0,
        }
    }

    /// Whole seconds since the row before, and how far off them this one is.
    fn tell(&mut self, at_ms: i64) -> (i64, i64) {
        let (seconds, off_ms) = match self.origin_ms {
            None => {
                let since_ms = at_ms.wrapping_sub(self.start_ms);
                let off_ms = since_ms.rem_euclid(BEAT_MS);
                self.origin_ms = Some(self.start_ms.wrapping_add(off_ms));
                (since_ms.div_euclid(BEAT_MS), off_ms)
            }
            Some(origin_ms) => {
                let since_ms = at_ms.wrapping_sub(origin_ms);
                let seconds = since_ms.wrapping_add(BEAT_MS / 2).div_euclid(BEAT_MS);
                (
                    seconds,
                    since_ms.wrapping_sub(seconds.wrapping_mul(BEAT_MS)),
                )
            }
        };
        let passed = seconds.wrapping_sub(self.seconds);
        self.seconds = seconds;
        (passed, off_ms)
    }

    /// What was told.
    fn hear(&mut self, passed: i64, off_ms: i64) -> i64 {
        self.seconds = self.seconds.wrapping_add(passed);
        let since_ms = self.seconds.wrapping_mul(BEAT_MS).wrapping_add(off_ms);
        match self.origin_ms {
            None => {
                self.origin_ms = Some(self.start_ms.wrapping_add(off_ms));
                self.start_ms.wrapping_add(since_ms)
            }
            Some(origin_ms) => origin_ms.wrapping_add(since_ms),
        }
    }
}

// === layout ===

/// Lays `rows` out in columns; beyond a chunk's bound the newest are left out.
pub(in crate::history) fn to_chunk(rows: &Rows, start_ms: i64) -> Chunk {
    let mut chunk = Chunk {
        format: Format::Third,
        instances: Vec::new(),
        rows: rows.len().min(chunk::ROWS_MAX),
        columns: vec![Vec::with_capacity(rows.len()); HEAD_COLUMNS + METRICS.len()],
    };
    let mut foresight = Foresight::default();
    let mut beat = Beat::new(start_ms);
    let mut seq = 0;
    for row in rows.values().take(chunk::ROWS_MAX) {
        let instance = chunk
            .instances
            .iter()
            .position(|known| *known == row.id.instance)
            .unwrap_or_else(|| {
                chunk.instances.push(row.id.instance);
                chunk.instances.len() - 1
            });
        let foreseen = foresight.of(row);
        let (passed, off_ms) = beat.tell(row.id.at_ms);
        let mut cells = [None; HEAD_COLUMNS + METRICS.len()];
        cells[SECONDS] = Some(passed);
        cells[OFF] = Some(off_ms);
        cells[INSTANCE] = Some(whole(instance as u64));
        cells[SEQ] = Some(row.id.seq.wrapping_sub(seq));
        cells[INDEX] = Some(row.id.index);
        cells[MONO] = Some(row.mono_ms.wrapping_sub(row.id.at_ms));
        cells[INTERVAL] = Some(row.interval_ms.wrapping_sub(foreseen.interval_ms));
        cells[BURST] = Some(i64::from(row.burst));
        cells[MOMENTUM] = row
            .momentum_bytes
            .map(|now| now.wrapping_sub(foreseen.momentum));
        cells[HEAD_COLUMNS..].copy_from_slice(&ORDER.map(|metric| row.metrics[metric]));
        if let Some(now) = &mut cells[HEAD_COLUMNS + PLACES[CPU_MILLICORES]] {
            *now = now.wrapping_sub(foreseen.millicores);
        }
        for (column, cell) in chunk.columns.iter_mut().zip(cells) {
            column.push(cell);
        }
        seq = row.id.seq;
        foresight.learn(row);
    }
    chunk
}

/// How many columns, from the first on, hold what is before the metrics and these `metrics`, in a
/// chunk of any layout.
pub(in crate::history) fn columns_of(metrics: impl Iterator<Item = usize>) -> usize {
    let ends = metrics.map(|metric| metric.max(PLACES[metric]) + 1);
    HEAD_COLUMNS + ends.max().unwrap_or(0)
}

/// Reads what [`to_chunk`] laid out, or what the first layout was.
pub(in crate::history) fn from_chunk(chunk: &Chunk, start_ms: i64) -> Result<Rows, ChunkError> {
    if chunk.format == Format::First {
        return first::from_chunk(chunk, start_ms);
    }
    let mut rows = Vec::with_capacity(chunk.rows);
    each(chunk, start_ms, |row| {
        rows.push((row.id, Box::new(row.clone())));
    })?;
    // In order already, so that the map is built in one go.
    Ok(rows.into_iter().collect())
}

/// Hands on the rows of a chunk of the second format or of now in their order. What needs a column without cells is
/// unknown, or wrong if it is foreseen by it: momentum by rss, cores by CPU time.
pub(in crate::history) fn each(
    chunk: &Chunk,
    start_ms: i64,
    mut each: impl FnMut(&Row),
) -> Result<(), ChunkError> {
    let (least, places) = match chunk.format {
        Format::First | Format::Second => (METRICS_MIN, std::array::from_fn(|metric| metric)),
        Format::Third => (ORDERED_MIN, PLACES),
    };
    let layouts = HEAD_COLUMNS + least..=HEAD_COLUMNS + METRICS.len();
    if !layouts.contains(&chunk.columns.len()) {
        return Err(ChunkError::Short);
    }
    let mut foresight = Foresight::default();
    let mut beat = Beat::new(start_ms);
    let mut seq = 0_i64;
    for place in 0..chunk.rows {
        let cell = |column: usize| *chunk.columns.get(column)?.get(place)?;
        let must = |column: usize| cell(column).ok_or(ChunkError::Short);
        let instance = usize::try_from(must(INSTANCE)?)
            .ok()
            .and_then(|at| chunk.instances.get(at))
            .ok_or(ChunkError::Short)?;
        let at_ms = beat.hear(must(SECONDS)?, must(OFF)?);
        seq = seq.wrapping_add(must(SEQ)?);
        let mut row = Row {
            id: RowId {
                at_ms,
                instance: *instance,
                seq,
                index: must(INDEX)?,
            },
            mono_ms: must(MONO)?.wrapping_add(at_ms),
            interval_ms: must(INTERVAL)?,
            burst: must(BURST)? != 0,
            momentum_bytes: None,
            metrics: places.map(|place| cell(HEAD_COLUMNS + place)),
        };
        let foreseen = foresight.of(&row);
        row.interval_ms = row.interval_ms.wrapping_add(foreseen.interval_ms);
        row.momentum_bytes = cell(MOMENTUM).map(|miss| miss.wrapping_add(foreseen.momentum));
        if let Some(miss) = &mut row.metrics[CPU_MILLICORES] {
            *miss = miss.wrapping_add(foreseen.millicores);
        }
        foresight.learn(&row);
        each(&row);
    }
    Ok(())
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
            interval_ms in 0..10_000_i64,
            burst in any::<bool>(),
            momentum_bytes in any::<Option<i64>>(),
            metrics in any::<[Option<i64>; METRICS.len()]>(),
        ) -> Row {
            let id = RowId { at_ms, instance: [instance; 16], seq, index };
            Row { id, mono_ms, interval_ms, burst, momentum_bytes, metrics }
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
            // Columns were in the order of the metrics.
            let ordered = chunk.columns.split_off(HEAD_COLUMNS);
            chunk.columns.extend(PLACES.map(|place| ordered[place].clone()));
            chunk.columns.truncate(HEAD_COLUMNS + metrics);
            chunk.format = Format::Second;
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
            chunk.columns.truncate(HEAD_COLUMNS + ORDERED_MIN - 1);
            prop_assert_eq!(from_chunk(&chunk, 0), Err(ChunkError::Short));
            chunk.format = Format::Second;
            chunk.columns.truncate(HEAD_COLUMNS + METRICS_MIN - 1);
            prop_assert_eq!(from_chunk(&chunk, 0), Err(ChunkError::Short));
        }
    }
}
