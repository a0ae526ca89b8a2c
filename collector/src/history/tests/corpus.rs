//! What the recordings that detectors are judged by take in chunks.

use std::path::{Path, PathBuf};

use super::*;
use crate::history::{
    chunk::Codec,
    row::{self, Row},
    tier,
};

/// More than any of the corpus takes for a value today, all together.
const BYTES_A_VALUE_MAX: f64 = 0.45;

/// What some recordings take.
#[derive(Default)]
struct Taken {
    rows: usize,
    values: usize,
    cells: usize,
    bytes: usize,
}

// === impl Taken ===

impl Taken {
    /// Adds one recording, an hour a chunk.
    fn add(&mut self, path: &Path) {
        let rows: Vec<Row> = entries(path).iter().map(|e| Row::of(e, 0)).collect();
        let mut codec = Codec::new().unwrap();
        for hour in rows.chunk_by(|a, b| hour_of(a) == hour_of(b)) {
            let rows: row::Rows = hour
                .iter()
                .map(|row| (row.id, Box::new(row.clone())))
                .collect();
            let chunk = row::to_chunk(&rows, hour_of(&hour[0]));
            let stored = codec.encode(&chunk, row::hint);
            assert_eq!(codec.decode(&stored), Ok(chunk), "{}", path.display());
            self.bytes += stored.len();
        }
        self.rows += rows.len();
        for column in columns(&rows) {
            let differs = |pair: &&[Option<i64>]| pair[1].is_some() && pair[0] != pair[1];
            self.values += column.windows(2).filter(differs).count();
            self.cells += column.iter().flatten().count();
        }
    }

    fn per_value(&self) -> f64 {
        self.bytes as f64 / self.values as f64
    }

    fn print(&self, of: &str) {
        let (rows, bytes) = (self.rows as f64, self.bytes as f64);
        println!(
            "| {of} | {} | {:.1} | {:.2} | {:.3} | {:.2} |",
            self.rows,
            self.values as f64 / rows,
            self.per_value(),
            bytes / self.cells as f64,
            bytes / rows,
        );
    }
}

fn hour_of(row: &Row) -> i64 {
    tier::floor(row.id.at_ms, HOUR_MS)
}

/// All that history tells of `rows`, momentum and the speed that follows from it included.
fn columns(rows: &[Row]) -> Vec<Vec<Option<i64>>> {
    let column = |of: &dyn Fn(&Row) -> Option<i64>| rows.iter().map(of).collect::<Vec<_>>();
    let momentum = column(&|row| row.momentum_bytes);
    let after = momentum.iter().skip(1).map(|cell| cell.map(i64::abs));
    let speed = after.chain([None]).collect();
    let mut columns = vec![
        column(&|row| Some(row.interval_ms)),
        column(&|row| Some(i64::from(row.burst))),
        momentum,
        speed,
    ];
    columns.extend((0..row::METRICS.len()).map(|metric| column(&|row| row.metrics[metric])));
    columns
}

/// A recording as history would have taken it.
fn entries(path: &Path) -> Vec<HistoryEntry> {
    let mut reader = csv::Reader::from_path(path).unwrap();
    let names: Vec<String> = reader
        .headers()
        .unwrap()
        .iter()
        .map(str::to_owned)
        .collect();
    let mut entries: Vec<HistoryEntry> = Vec::new();
    for (at, record) in reader.records().enumerate() {
        let record = record.unwrap();
        let cell = |name: &str| {
            let cell = names.iter().position(|known| known == name);
            cell.map_or(0, |cell| record[cell].parse::<u64>().unwrap())
        };
        let time: jiff::civil::DateTime = record[0].parse().unwrap();
        let zoned = time.to_zoned(jiff::tz::TimeZone::UTC).unwrap();
        let at_ms = zoned.timestamp().as_millisecond();
        let before = entries.last().map(|entry| entry.sample.clone());
        let since = |before: i64| u64::try_from(at_ms - before).unwrap();
        let passed_ms = before.as_ref().map_or(0, |before| since(before.at_ms));
        let rss_bytes = cell("rss");
        let sample = Sample {
            interval_ms: u32::try_from(passed_ms).unwrap(),
            memory_used_bytes: cell("memory_used_bytes"),
            cpu_millis: cell("cpu_millis"),
            processes: cell("processes") as u32,
            threads: cell("threads") as u32,
            ..Sample::of_memory(at_ms, at_ms as u64, MemorySource::Pss, rss_bytes)
        };
        let worked = |before: &Sample| sample.cpu_millis.saturating_sub(before.cpu_millis) as f64;
        entries.push(HistoryEntry {
            key: key(),
            instance: InstanceId([1; 16]),
            seq: at as u64 + 1,
            momentum_bytes: before
                .as_ref()
                .map(|before| rss_bytes as i64 - before.rss_bytes as i64),
            cpu_cores: before
                .as_ref()
                .map(|before| worked(before) / passed_ms as f64),
            sample: Arc::new(sample),
        });
    }
    entries
}

/// `cargo test -p hubmeter-collector --lib history::tests::corpus -- --nocapture`
#[test]
fn the_corpus_reads_back_as_recorded_and_a_value_of_it_takes_as_little_as_promised() {
    let traces = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/corpus/traces");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(traces)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.retain(|path| path.extension().is_some_and(|end| end == "csv"));
    assert!(!paths.is_empty());
    let (mut quick, mut slow) = (Taken::default(), Taken::default());
    for path in &paths {
        let is_quick = path.to_string_lossy().ends_with("-1s.csv");
        if is_quick { &mut quick } else { &mut slow }.add(path);
    }
    let all = Taken {
        rows: quick.rows + slow.rows,
        values: quick.values + slow.values,
        cells: quick.cells + slow.cells,
        bytes: quick.bytes + slow.bytes,
    };
    println!("| recorded | samples | values a sample | bytes a value | a cell | a sample |");
    println!("|---|---:|---:|---:|---:|---:|");
    quick.print("every second");
    slow.print("every 5 s");
    all.print("all");
    assert!(
        all.per_value() <= BYTES_A_VALUE_MAX,
        "{:.3}",
        all.per_value()
    );
}
