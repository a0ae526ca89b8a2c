//! What history costs: CPU time of its flushes, and bytes on the disk.
//!
//! `cargo bench -p hubmeter-collector --bench store -- flush --servers 10000 --minutes 30`
//! `cargo bench -p hubmeter-collector --bench store -- size --export FOLDER`
//!
//! `size` writes recorded servers into files, prints one JSON object a trace and, if asked, the
//! same cells as text for other engines. `cargo xtask store` runs it and them.

#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stdout
)]

use std::{
    collections::BTreeMap,
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use hubmeter_collector::{
    self as collector,
    clock::ManualClock,
    fact::{InstanceId, ServerKey},
    history::{
        Cells, Column, Field, History, HistoryConfig, HistoryEntry, HistoryMode, ReadQuery, Table,
    },
};

#[path = "../../../tests/fixtures/store/trace.rs"]
mod trace;

use trace::Trace;

const TRACES: [&str; 3] = ["idle", "mixed", "busy"];

/// Of twenty servers of a hub, those that are mixed and busy; the others are idle.
const MIXED_OF_20: usize = 4;
const BUSY_OF_20: usize = 1;

/// 2026-11-01T00:00:00Z, the begin of every tier's chunk.
const BEGIN_MS: i64 = 1_793_491_200_000;

const SECOND_MS: i64 = 1_000;
const HOUR_MS: i64 = 3_600 * SECOND_MS;
const FLUSH_MS: i64 = 10 * SECOND_MS;

/// What agents hold back while nobody looks.
const HELD_MS: i64 = 55 * SECOND_MS;

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    let number = |name: &str, default: usize| {
        let at = arguments.iter().position(|a| a == name);
        at.map_or(default, |at| arguments[at + 1].parse().expect("a number"))
    };
    match arguments.first().map(String::as_str) {
        Some("flush") => flush(number("--servers", 10_000), number("--minutes", 30)),
        Some("size") => {
            let export = arguments.iter().position(|a| a == "--export");
            let export = export.map(|at| PathBuf::from(&arguments[at + 1]));
            size(
                number("--servers", 20),
                number("--hours", 6),
                export.as_deref(),
            );
        }
        _ => println!("say flush or size after --"),
    }
}

fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn open(dir: &Path, clock: &Arc<ManualClock>) -> History {
    let mode = HistoryMode::Files {
        data_dir: dir.to_owned(),
    };
    History::open(&HistoryConfig::new(mode), clock.clone()).unwrap()
}

fn key(server: usize) -> ServerKey {
    ServerKey::new(&format!("user{server}"), "")
}

fn instance(server: usize) -> InstanceId {
    let mut id = [7; 16];
    id[..8].copy_from_slice(&(server as u64).to_le_bytes());
    InstanceId(id)
}

fn bytes_of(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return std::fs::metadata(dir).map_or(0, |file| file.len());
    };
    entries.map(|entry| bytes_of(&entry.unwrap().path())).sum()
}

// === flush ===

/// A hub of `servers` for `minutes` around the end of an hour, a flush every ten seconds.
fn flush(servers: usize, minutes: usize) {
    let traces = TRACES.map(|name| Trace::recorded("store", name));
    let kind = |server: usize| match server % 20 {
        0..BUSY_OF_20 => 2,
        at if at < BUSY_OF_20 + MIXED_OF_20 => 1,
        _ => 0,
    };
    let span_ms = minutes as i64 * 60 * SECOND_MS;
    let begin_ms = BEGIN_MS + HOUR_MS - span_ms / 2;
    let samples = (span_ms / (5 * SECOND_MS)) as usize;
    // One life of each kind; every server of that kind lives it again with its own name.
    let lives =
        [0, 1, 2].map(|kind: usize| traces[kind].entries(&key(0), instance(0), begin_ms, samples));
    let dir = tempfile::tempdir_in(std::env::var("TMPDIR").unwrap_or("/tmp".into())).unwrap();
    let clock = Arc::new(ManualClock::at(begin_ms));
    let history = open(dir.path(), &clock);
    let mut told = vec![0; servers];
    let (mut append, mut flushes, mut worst, mut rows) = (0.0, 0.0, 0.0_f64, 0);
    for (number, now_ms) in (begin_ms..begin_ms + span_ms)
        .step_by(FLUSH_MS as usize)
        .enumerate()
    {
        clock.advance(FLUSH_MS);
        for (server, told) in told.iter_mut().enumerate() {
            // Each has its own second of the 55 in which it tells what it held back.
            let turn_ms = server as i64 * 997 % HELD_MS;
            if (now_ms - begin_ms + HELD_MS - turn_ms) % HELD_MS >= FLUSH_MS {
                continue;
            }
            let life = &lives[kind(server)];
            let fresh = life[*told..]
                .iter()
                .take_while(|e| e.sample.at_ms <= now_ms);
            let key = key(server);
            let entries: Vec<HistoryEntry> = fresh
                .map(|entry| HistoryEntry {
                    key: key.clone(),
                    instance: instance(server),
                    ..entry.clone()
                })
                .collect();
            *told += entries.len();
            rows += entries.len();
            let begin = cpu_seconds();
            history.append(number as u64, entries);
            append += cpu_seconds() - begin;
        }
        let begin = cpu_seconds();
        history.flush().unwrap();
        let took = cpu_seconds() - begin;
        flushes += took;
        worst = worst.max(took);
    }
    let seconds = span_ms as f64 / 1e3;
    println!(
        "{servers} servers, {minutes} min, {rows} rows: append {append:.2} s, flush {flushes:.2} s \
         of CPU = {:.2} % of a core, {:.2} us a row; the longest flush {:.0} ms; {} bytes in files",
        (append + flushes) / seconds * 100.0,
        (append + flushes) / rows as f64 * 1e6,
        worst * 1e3,
        bytes_of(dir.path()),
    );
}

// === size ===

fn size(servers: usize, hours: usize, export: Option<&Path>) {
    for name in TRACES {
        let trace = Trace::recorded("store", name);
        let dir = tempfile::tempdir_in(std::env::var("TMPDIR").unwrap_or("/tmp".into())).unwrap();
        let clock = Arc::new(ManualClock::at(BEGIN_MS));
        let history = open(dir.path(), &clock);
        // Never the same twice: engines that look for repetitions would find them.
        let rows = trace.samples.len().min(hours * 720);
        let all: Vec<Vec<HistoryEntry>> = (0..servers)
            .map(|server| trace.entries(&key(server), instance(server), BEGIN_MS, rows))
            .collect();
        let begin = cpu_seconds();
        // As they come: what each held back, a minute at a time.
        for at in (0..rows).step_by(12) {
            for entries in &all {
                history.append(1, entries[at..(at + 12).min(entries.len())].to_vec());
            }
            clock.advance(60 * SECOND_MS);
            history.flush().unwrap();
        }
        clock.advance(2 * HOUR_MS);
        history.flush().unwrap();
        let cpu = cpu_seconds() - begin;
        let tables = (0..servers).map(|server| table(&history, &key(server)));
        let tables: Vec<Table> = tables.collect();
        drop(history);
        settle(&dir.path().join("history/raw"));
        let (values, cells) = tables
            .iter()
            .map(changed_and_known)
            .fold((0, 0), |sum, of| (sum.0 + of.0, sum.1 + of.1));
        println!(
            "{{\"trace\":\"{name}\",\"servers\":{servers},\"hours\":{hours},\"rows\":{},\
             \"cells\":{cells},\"values\":{values},\"bytes_raw\":{},\"bytes_all\":{},\
             \"cpu_seconds\":{cpu:.3}}}",
            servers * rows,
            bytes_of(&dir.path().join("history/raw")),
            bytes_of(dir.path()),
        );
        if let Some(folder) = export {
            std::fs::create_dir_all(folder).unwrap();
            let prometheus = folder.join(format!("{name}.openmetrics"));
            write_text(&prometheus, &tables, true).unwrap();
            write_text(&folder.join(format!("{name}.prom")), &tables, false).unwrap();
        }
    }
}

/// Puts what is still in logs into the files: the last to close them may have been a reader.
fn settle(dir: &Path) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "db") {
            let file = rusqlite::Connection::open(&path).unwrap();
            let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
            file.query_row(checkpoint, [], |_| Ok(())).unwrap();
        }
    }
}

fn table(history: &History, key: &ServerKey) -> Table {
    let asked = ReadQuery {
        key: key.clone(),
        from_ms: BEGIN_MS - HOUR_MS,
        to_ms: BEGIN_MS + 40 * HOUR_MS,
        step_ms: None,
        fields: Column::ALL.map(Field::from).into(),
    };
    history.read(&asked).unwrap()
}

fn numbers(cells: &Cells) -> Vec<Option<f64>> {
    match cells {
        Cells::Integers(cells) => cells.iter().map(|cell| cell.map(|n| n as f64)).collect(),
        Cells::Numbers(cells) => cells.clone(),
        Cells::Flags(cells) => cells.iter().map(|cell| cell.map(f64::from)).collect(),
    }
}

fn changed_and_known(table: &Table) -> (usize, usize) {
    let (mut changed, mut known) = (0, 0);
    for (_, cells) in &table.columns {
        let cells = numbers(cells);
        known += cells.iter().flatten().count();
        let differs = |pair: &&[Option<f64>]| pair[1].is_some() && pair[0] != pair[1];
        changed += cells.windows(2).filter(differs).count();
    }
    (changed, known)
}

/// All cells as text, one series of a server after the other: OpenMetrics for promtool (seconds,
/// grouped by name, an end), Prometheus' own for the others (milliseconds).
fn write_text(path: &Path, tables: &[Table], openmetrics: bool) -> std::io::Result<()> {
    let mut out = std::io::BufWriter::new(std::fs::File::create(path)?);
    let mut by_name = BTreeMap::<String, Vec<(usize, &Table, Vec<Option<f64>>)>>::new();
    for (server, table) in tables.iter().enumerate() {
        for (field, cells) in &table.columns {
            let of = by_name.entry(field.name()).or_default();
            of.push((server, table, numbers(cells)));
        }
    }
    for (name, series) in &by_name {
        if openmetrics {
            writeln!(out, "# TYPE hub_{name} gauge")?;
        }
        for (server, table, cells) in series {
            for (time, cell) in table.time.iter().zip(cells) {
                let Some(cell) = cell else { continue };
                match openmetrics {
                    true => writeln!(
                        out,
                        "hub_{name}{{user=\"user{server}\"}} {cell} {}.{:03}",
                        time / 1_000,
                        time % 1_000
                    )?,
                    false => writeln!(out, "hub_{name}{{user=\"user{server}\"}} {cell} {time}")?,
                }
            }
        }
    }
    if openmetrics {
        writeln!(out, "# EOF")?;
    }
    out.flush()
}
