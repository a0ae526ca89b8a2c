//! What recorded servers cost in the raw tier, and how fast their chunks are read.
//!
//! A *value* is a field that history tells of a sample and that differs from the sample before;
//! times are none.

use super::*;
use crate as collector;
use crate::history::{
    chunk::{Chunk, Codec},
    row::{self, Row, Rows},
    store::Place,
};

#[path = "../../../../tests/fixtures/store/trace.rs"]
mod trace;

use trace::Trace;

/// What is stored of each trace: a day of this many servers.
const SERVERS: i64 = 500;
const HOURS: usize = 24;

/// Hours of the trace that are put into chunks; a day is these again and again.
const HOURS_CODED: usize = 3;

/// Begin of an hour.
const BEGIN_MS: i64 = 1_573_992_000_000;

/// Begin of its day.
const DAY_BEGIN_MS: i64 = 1_573_948_800_000;

/// What one trace takes.
struct Cost {
    /// Cells that are known, changed or not.
    cells: usize,
    values: usize,
    rows: usize,
    bytes: u64,
}

// === impl Cost ===

impl Cost {
    /// One server by the way everything goes; then its chunks as those of many servers.
    fn of(trace: &Trace) -> Self {
        let fixture = Fixture::new();
        fixture.clock.advance(BEGIN_MS - NOW_MS);
        let history = fixture.open();
        let key = ServerKey::new("user0", "");
        let rows = HOURS_CODED * 720;
        history.append(1, trace.entries(&key, InstanceId([1; 16]), BEGIN_MS, rows));
        fixture.clock.advance((HOURS_CODED as i64 + 2) * HOUR_MS);
        history.flush().unwrap();
        let (values, cells) = values_of(&history);
        drop(history);
        let times = HOURS / HOURS_CODED * SERVERS as usize;
        Self {
            cells: cells * times,
            values: values * times,
            rows: rows * times,
            bytes: copied(fixture.dir.path()),
        }
    }

    fn per_value(&self) -> f64 {
        self.bytes as f64 / self.values as f64
    }
}

/// The raw tier's bytes when all servers' whole day is what the only server's first hours in
/// `from` are.
fn copied(from: &std::path::Path) -> u64 {
    let place = |hour: usize, server| Place {
        tier: Tier::Raw,
        start_ms: DAY_BEGIN_MS + hour as i64 * HOUR_MS,
        server,
    };
    let dir = tempfile::tempdir().unwrap();
    let (mut from, mut to) = (Files::open(from).unwrap(), Files::open(dir.path()).unwrap());
    for hour in 0..HOURS {
        let coded = (BEGIN_MS - DAY_BEGIN_MS) / HOUR_MS + (hour % HOURS_CODED) as i64;
        let stored = from.load(place(coded as usize, 1)).unwrap();
        assert!(stored.len() == 1 && !stored[0].is_piece, "it is closed");
        for server in 1..=SERVERS {
            to.close(place(hour, server), stored[0].body.clone())
                .unwrap();
        }
        to.commit().unwrap();
    }
    drop(to);
    let files = std::fs::read_dir(dir.path().join("history/raw")).unwrap();
    files
        .map(|file| file.unwrap().metadata().unwrap().len())
        .sum()
}

/// Changed and known cells of one server.
fn values_of(history: &History) -> (usize, usize) {
    let table = history
        .read(&ReadQuery {
            key: ServerKey::new("user0", ""),
            from_ms: BEGIN_MS,
            to_ms: BEGIN_MS + 2 * DAY_MS,
            step_ms: None,
            fields: Column::ALL.map(Field::from).into(),
        })
        .unwrap();
    let (mut changed, mut known) = (0, 0);
    let mut count = |cells: Vec<Option<i64>>| {
        known += cells.iter().flatten().count();
        let differs = |pair: &&[Option<i64>]| pair[1].is_some() && pair[0] != pair[1];
        changed += cells.windows(2).filter(differs).count();
    };
    for (_, cells) in table.columns {
        count(match cells {
            Cells::Integers(cells) => cells,
            Cells::Numbers(cells) => {
                let thousandths = |cell: Option<f64>| cell.map(|cell| (cell * 1000.0) as i64);
                cells.into_iter().map(thousandths).collect()
            }
            Cells::Flags(cells) => cells.into_iter().map(|cell| cell.map(i64::from)).collect(),
        });
    }
    (changed, known)
}

#[test]
fn a_value_of_a_recorded_server_takes_as_little_as_promised_in_files_on_the_disk() {
    println!(
        "| recorded server | values a sample | bytes a value | a cell, changed or not | a sample |"
    );
    println!("|---|---:|---:|---:|---:|");
    for (name, bound) in [("idle", 0.49), ("mixed", 0.73), ("busy", 1.12)] {
        let cost = Cost::of(&Trace::recorded("store", name));
        println!(
            "| {name} | {:.1} | {:.2} | {:.3} | {:.2} |",
            cost.values as f64 / cost.rows as f64,
            cost.per_value(),
            cost.bytes as f64 / cost.cells as f64,
            cost.bytes as f64 / cost.rows as f64,
        );
        assert!(cost.per_value() <= bound, "{name}: {}", cost.per_value());
    }
}

/// The first `count` rows of a recorded server, and when they begin.
pub(super) fn rows_of(name: &str, count: usize) -> (Rows, i64) {
    let trace = Trace::recorded("store", name);
    let entries = trace.entries(&key(), InstanceId([1; 16]), BEGIN_MS, count);
    let rows = entries.iter().map(|entry| Row::of(entry, 0));
    (rows.map(|row| (row.id, Box::new(row))).collect(), BEGIN_MS)
}

fn hour_of(name: &str) -> Chunk {
    row::to_chunk(&rows_of(name, 720).0, BEGIN_MS)
}

fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// How fast is for a release build to say:
/// `cargo test --release -p hubmeter-collector --lib figures -- --nocapture`
#[test]
fn a_recorded_hour_reads_back_as_it_was_and_how_fast_is_printed() {
    const TURNS: u32 = if cfg!(debug_assertions) { 10 } else { 2_000 };
    println!("| an hour of a server | bytes | read, million cells/s | to rows | written |");
    println!("|---|---:|---:|---:|---:|");
    for name in ["idle", "mixed", "busy"] {
        let chunk = hour_of(name);
        let mut codec = Codec::new().unwrap();
        let stored = codec.encode(&chunk, row::hint);
        assert_eq!(codec.decode(&stored).as_ref(), Ok(&chunk), "{name}");
        let cells = (chunk.rows * chunk.columns.len()) as f64;
        let mut speed = |mut turn: Box<dyn FnMut(&mut Codec) + '_>, turns: u32| {
            let begin = cpu_seconds();
            (0..turns).for_each(|_| turn(&mut codec));
            cells * f64::from(turns) / (cpu_seconds() - begin) / 1e6
        };
        let read = speed(
            Box::new(|codec| {
                let chunk = std::hint::black_box(codec.decode(&stored).unwrap());
                codec.recycle(chunk);
            }),
            TURNS,
        );
        let rows = speed(
            Box::new(|codec| {
                let chunk = codec.decode(&stored).unwrap();
                let rows = row::from_chunk(&chunk, BEGIN_MS).unwrap();
                codec.recycle(chunk);
                drop(std::hint::black_box(rows));
            }),
            TURNS / 10,
        );
        let written = speed(
            Box::new(|codec| drop(std::hint::black_box(codec.encode(&chunk, row::hint)))),
            TURNS / 10,
        );
        println!(
            "| {name} | {} | {read:.0} | {rows:.0} | {written:.0} |",
            stored.len()
        );
    }
}

/// Bytes that each column of a recorded hour adds, beside how often it changes.
/// `cargo test -p hubmeter-collector --lib figures::what -- --nocapture`
#[test]
fn what_each_column_of_a_recorded_hour_takes_is_printed_and_adds_up() {
    println!("| column | idle | mixed | busy |");
    println!("|---|---:|---:|---:|");
    let hours = ["idle", "mixed", "busy"].map(hour_of);
    let codec = Codec::new().unwrap();
    let bytes = |chunk: &Chunk, columns: usize| {
        let mut cut = chunk.clone();
        cut.columns.truncate(columns);
        codec.encode(&cut, row::hint).len()
    };
    let mut sums = hours.each_ref().map(|hour| bytes(hour, 0));
    for column in 0..hours[0].columns.len() {
        let adds: Vec<String> = hours
            .iter()
            .zip(&mut sums)
            .map(|(hour, sum)| {
                let all = bytes(hour, column + 1);
                let add = all as i64 - *sum as i64;
                *sum = all;
                format!("{:.2}", add as f64 * 8.0 / hour.rows as f64)
            })
            .collect();
        println!("| {} | {} |", row::column_name(column), adds.join(" | "));
    }
    for (hour, sum) in hours.iter().zip(sums) {
        assert_eq!(codec.encode(hour, row::hint).len(), sum);
    }
}
