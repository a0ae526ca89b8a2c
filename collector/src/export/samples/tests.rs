use std::sync::Arc;

use super::*;
use crate::{
    clock::ManualClock,
    fact::{InstanceId, MemorySource, Sample},
    history::{Column as Kept, Field, History, HistoryConfig, HistoryEntry, ReadQuery, Table},
    replay::{ReplayFormat, ReplayOptions, replay},
};

const NOW_MS: i64 = 1_574_027_796_000; // 2019-11-17T21:56:36Z
const HOUR_MS: i64 = 60 * 60 * 1000;

/// The last rows of the notebook that momentum and speed come from.
const NOTEBOOK: [u64; 6] = [
    1_887_293_040,
    1_786_839_040,
    1_797_476_352,
    1_756_991_488,
    1_925_214_208,
    1_802_223_616,
];

/// A data directory with the samples of ann's default server.
struct Kept48 {
    dir: tempfile::TempDir,
    history: History,
    seq: u64,
    last_rss: Option<(u8, u64)>,
}

fn sample(at_ms: i64, rss_bytes: u64, burst: bool) -> Sample {
    Sample {
        interval_ms: 5_000,
        burst,
        memory_used_bytes: rss_bytes / 2,
        memory_limit_bytes: Some(2_000_000_000),
        memory_limit_enforced: true,
        cpu_millis: (at_ms - NOW_MS + 100 * HOUR_MS) as u64 / 10,
        processes: 2,
        threads: 9,
        ..Sample::of_memory(
            at_ms,
            (at_ms - NOW_MS + 100 * HOUR_MS) as u64,
            MemorySource::Pss,
            rss_bytes,
        )
    }
}

// === impl Kept48 ===

impl Kept48 {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = HistoryConfig::new(HistoryMode::Files {
            data_dir: dir.path().to_owned(),
        });
        let history = History::open(&config, Arc::new(ManualClock::at(NOW_MS))).unwrap();
        Self {
            dir,
            history,
            seq: 0,
            last_rss: None,
        }
    }

    fn put(&mut self, instance: u8, at_ms: i64, rss: u64, burst: bool) {
        let before = self.last_rss.filter(|(of, _)| *of == instance);
        let momentum = before.map(|(_, before)| rss as i64 - before as i64);
        if !burst {
            self.last_rss = Some((instance, rss));
        }
        self.seq += 1;
        let entry = HistoryEntry {
            key: ServerKey::new("ann", ""),
            instance: InstanceId([instance; 16]),
            seq: self.seq,
            sample: Arc::new(sample(at_ms, rss, burst)),
            momentum_bytes: momentum.filter(|_| !burst),
            cpu_cores: Some(0.25),
        };
        self.history.append(self.seq, vec![entry]);
    }

    /// One after the other, five seconds apart, the last one now.
    fn notebook() -> Self {
        let mut kept = Self::new();
        for (at, rss) in NOTEBOOK.into_iter().enumerate() {
            let back = (NOTEBOOK.len() - 1 - at) as i64;
            kept.put(1, NOW_MS - back * 5_000, rss, false);
        }
        kept.history.flush().unwrap();
        kept
    }

    fn export(
        &self,
        columns: &str,
        from_ms: Option<i64>,
        to_ms: Option<i64>,
        bursts: bool,
    ) -> String {
        let columns = Columns::read(columns).unwrap();
        let query = ArchiveQuery {
            key: ServerKey::new("ann", ""),
            from_ms,
            to_ms,
            columns: columns.kept(),
            bursts,
        };
        let mut archive = Archive::open(self.dir.path()).unwrap();
        let mut out = Vec::new();
        let rows = Rows::csv(&mut out, columns, true).unwrap();
        write(&mut archive, &query, rows).unwrap();
        String::from_utf8(out).unwrap()
    }

    /// What the API would tell.
    fn api(&self, fields: &[Kept]) -> Table {
        let query = ReadQuery {
            key: ServerKey::new("ann", ""),
            from_ms: NOW_MS - 48 * HOUR_MS,
            to_ms: NOW_MS + 1,
            step_ms: None,
            fields: fields.iter().copied().map(Field::from).collect(),
        };
        self.history.read(&query).unwrap()
    }
}

#[test]
fn momentum_and_speed_are_the_notebooks_own() {
    let csv = Kept48::notebook().export("timestamp,rss,momentum,speed", None, None, false);
    let rows: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(rows[0], ["timestamp", "rss", "momentum", "speed"]);
    assert_eq!(rows[1][2], "0", "the first row of a file has no change");
    let golden = [
        ("1786839040", "-0.100454", "0.010637"),
        ("1797476352", "0.010637", "0.040485"),
        ("1756991488", "-0.040485", "0.168223"),
        ("1925214208", "0.168223", "0.122991"),
        ("1802223616", "-0.122991", "0.000000"),
    ];
    for (row, (rss, momentum, speed)) in rows[2..].iter().zip(golden) {
        let rounded = |cell: &str| format!("{:.6}", cell.parse::<f64>().unwrap());
        assert_eq!(row[1], rss);
        assert_eq!([rounded(row[2]), rounded(row[3])], [momentum, speed]);
    }
    assert_eq!(rows.len(), 7);
}

#[test]
fn what_is_exported_replays_to_the_same_momentum_and_speed() {
    let kept = Kept48::notebook();
    let csv = kept.export(columns::DEFAULT, None, None, false);
    let mut replayed = Vec::new();
    let options = ReplayOptions {
        format: ReplayFormat::Json,
        ..ReplayOptions::default()
    };
    replay(csv.as_bytes(), &options, &mut replayed).unwrap();
    let exported = kept.export("gb,momentum_gb,speed_gb", None, None, false);
    let replayed = String::from_utf8(replayed).unwrap();
    assert_eq!(replayed.lines().count(), NOTEBOOK.len());
    for (line, row) in replayed.lines().zip(exported.lines().skip(1)) {
        let cells = row.split(',').map(|cell| cell.parse::<f64>().unwrap());
        for (name, cell) in ["gb", "momentum_gb", "speed_gb"].into_iter().zip(cells) {
            // As text: serde_json's own reader rounds the last bit.
            let (_, rest) = line.split_once(&format!("\"{name}\":")).unwrap();
            let other: f64 = rest.split(',').next().unwrap().parse().unwrap();
            assert_eq!(other.to_bits(), cell.to_bits(), "{name}");
        }
    }
}

/// Two days of a server with bursts, gaps and two lives: more than one slice and one file.
fn eventful() -> Kept48 {
    let mut kept = Kept48::new();
    let mut at_ms = NOW_MS - 40 * HOUR_MS;
    let mut step = 0_u64;
    while at_ms <= NOW_MS {
        let instance = if at_ms < NOW_MS - 10 * HOUR_MS { 1 } else { 2 };
        let burst = step % 7 == 3;
        kept.put(
            instance,
            at_ms,
            1_000_000 + step * 7919 % 1000 * 4096,
            burst,
        );
        step += 1;
        let gap_ms = if step.is_multiple_of(400) {
            3 * HOUR_MS
        } else {
            60_000
        };
        at_ms += gap_ms;
    }
    kept.history.flush().unwrap();
    kept
}

#[test]
fn an_export_over_many_slices_is_what_the_api_tells() {
    let kept = eventful();
    let api = kept.api(&[
        Kept::RssBytes,
        Kept::MomentumBytes,
        Kept::Burst,
        Kept::CpuCores,
    ]);
    let names = "timestamp,rss_bytes,momentum_bytes,burst,cpu_cores";
    let csv = kept.export(names, None, None, true);
    let mut told = Vec::new();
    let mut table = crate::format::csv::CsvTable::new(&mut told, Style::Plain);
    table.header(names.split(',')).unwrap();
    let mut cells = vec![crate::format::Cells::Times(&api.time)];
    cells.extend(
        api.columns
            .iter()
            .map(|(_, cells)| crate::format::Cells::from(cells)),
    );
    table.rows(&cells).unwrap();
    table.finish().unwrap();
    assert_eq!(csv, String::from_utf8(told).unwrap());
    assert!(api.time.len() > 1000, "{}", api.time.len());
}

#[test]
fn speed_is_the_size_of_the_next_rows_momentum_within_one_instance_even_across_slices() {
    let csv = eventful().export(
        "instance,momentum_bytes,speed_bytes,momentum",
        None,
        None,
        false,
    );
    let rows: Vec<Vec<&str>> = csv
        .lines()
        .skip(1)
        .map(|line| line.split(',').collect())
        .collect();
    let mut lives = 0;
    for pair in rows.windows(2) {
        let ([instance, _, speed, _], [next, momentum, _, gb]) = (&pair[0][..], &pair[1][..])
        else {
            panic!("four columns");
        };
        if instance == next {
            assert_eq!(momentum.trim_start_matches('-'), *speed);
        } else {
            lives += 1;
            assert_eq!((*momentum, *speed, *gb), ("", "", "0"));
        }
    }
    assert_eq!(lives, 1);
}

#[test]
fn bursts_come_only_when_asked_for() {
    let kept = eventful();
    let without = kept.export("timestamp,burst", None, None, false);
    let with = kept.export("timestamp,burst", None, None, true);
    assert!(!without.contains("true"));
    assert!(with.contains("true"));
    let base: Vec<&str> = with
        .lines()
        .filter(|line| !line.ends_with("true"))
        .collect();
    assert_eq!(base, without.lines().collect::<Vec<_>>());
}

#[test]
fn from_is_in_the_answer_and_to_is_not() {
    let kept = Kept48::notebook();
    let csv = kept.export(
        "timestamp,speed_bytes,speed",
        Some(NOW_MS - 10_000),
        Some(NOW_MS),
        false,
    );
    assert_eq!(
        csv,
        "timestamp,speed_bytes,speed\n\
         2019-11-17 21:56:26.000,168222720,0.16822272000000016\n\
         2019-11-17 21:56:31.000,122990592,0\n"
    );
    let nothing = kept.export("timestamp", Some(NOW_MS + 1), None, false);
    assert_eq!(nothing, "timestamp\n");
}

#[test]
fn every_name_that_is_told_is_taken_and_any_other_is_refused_with_them() {
    let refused = Columns::read("timestamp,rsss").unwrap_err();
    assert!(
        refused.contains("\"rsss\"") && refused.contains("memory_used_bytes"),
        "{refused}"
    );
    let told = refused.split_once("there are ").unwrap().1;
    for name in told.split(", ") {
        assert!(Columns::read(name).is_ok(), "{name}");
    }
    for bad in [
        "",
        "rss,rss",
        "all,burst",
        "rss_bytes_min",
        "timestamp,,rss",
    ] {
        assert!(Columns::read(bad).is_err(), "{bad}");
    }
}

#[test]
fn times_are_read_as_the_api_and_as_replay_read_them() {
    let read = |text: &str| time("--from", Some(text), NOW_MS).unwrap().unwrap();
    for text in [
        "2019-11-17T21:56:36Z",
        "2019-11-17 21:56:36",
        "2019-11-17 21:56:36.000",
        "2019-11-17T22:56:36+01:00",
        "2019-11-17T21:56:36",
        "now",
        "-0s",
    ] {
        assert_eq!(read(text), NOW_MS, "{text}");
    }
    assert_eq!(read("2019-11-17"), NOW_MS - 78_996_000);
    assert_eq!(read("-1h"), NOW_MS - HOUR_MS);
    assert!(matches!(
        time("--from", Some("soon"), NOW_MS),
        Err(Failure::Usage(_))
    ));
}

#[test]
fn a_reader_that_goes_away_is_no_failure_in_either_format() {
    struct Closed;
    impl io::Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }
    let kept = Kept48::notebook();
    for format in [Format::Csv, Format::Parquet] {
        let columns = Columns::read("all").unwrap();
        let query = ArchiveQuery {
            key: ServerKey::new("ann", ""),
            from_ms: None,
            to_ms: None,
            columns: columns.kept(),
            bursts: false,
        };
        let mut archive = Archive::open(kept.dir.path()).unwrap();
        let rows = match format {
            Format::Csv => Rows::csv(Closed, columns, true),
            Format::Parquet => Rows::parquet(Closed, columns),
        };
        let written = rows.and_then(|rows| write(&mut archive, &query, rows));
        assert!(written.unwrap_err().is_broken_pipe(), "{format:?}");
    }
}
