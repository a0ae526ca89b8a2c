mod answers;
mod closing;
mod corpus;
mod damage;
mod earlier;
mod figures;
mod space;
mod usage;

use super::*;
use crate::{clock::ManualClock, fact::MemorySource};

const NOW_MS: i64 = 1_574_000_000_000; // a Sunday in 2019
const STEP_MS: i64 = 5_000;

pub(super) struct Fixture {
    dir: tempfile::TempDir,
    clock: Arc<ManualClock>,
}

impl Fixture {
    pub(super) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            clock: Arc::new(ManualClock::at(NOW_MS)),
        }
    }

    fn config(&self) -> HistoryConfig {
        HistoryConfig::new(HistoryMode::Files {
            data_dir: self.dir.path().to_owned(),
        })
    }

    pub(super) fn open(&self) -> History {
        History::open(&self.config(), self.clock.clone()).unwrap()
    }

    fn files(&self, tier: &str) -> Vec<String> {
        let dir = self.dir.path().join("history").join(tier);
        let mut names: Vec<_> = std::fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.ends_with(".db"))
            .collect();
        names.sort();
        names
    }
}

fn key() -> ServerKey {
    ServerKey::new("../ann.o'x@x.org", "gpu/\u{202e}")
}

fn sample(at_ms: i64, rss_bytes: u64) -> Sample {
    Sample {
        interval_ms: 5_000,
        memory_used_bytes: rss_bytes / 2,
        memory_limit_bytes: Some(2_000_000_000),
        memory_limit_enforced: true,
        swap_bytes: Some(0),
        cpu_millis: 7,
        processes: 3,
        threads: 12,
        ..Sample::of_memory(
            at_ms,
            (at_ms - NOW_MS + 10 * DAY_MS) as u64,
            MemorySource::Pss,
            rss_bytes,
        )
    }
}

fn entry(seq: u64, sample: Sample, momentum_bytes: Option<i64>) -> HistoryEntry {
    HistoryEntry {
        key: key(),
        instance: InstanceId([9; 16]),
        seq,
        sample: Arc::new(sample),
        momentum_bytes,
        cpu_cores: Some(0.25),
    }
}

/// `count` samples up to now, each with a life of its own in numbers.
pub(super) fn entries(count: i64) -> Vec<HistoryEntry> {
    (0..count)
        .map(|at| {
            let rss = 1_000_000 + (at * 7919 % 1000) as u64 * 4096;
            let sample = sample(NOW_MS - (count - at) * STEP_MS, rss);
            entry(at as u64 + 1, sample, (at > 0).then_some(at))
        })
        .collect()
}

pub(super) fn query(fields: &[&str]) -> ReadQuery {
    ReadQuery {
        key: key(),
        from_ms: NOW_MS - DAY_MS,
        to_ms: NOW_MS + 1,
        step_ms: None,
        fields: fields.iter().map(|n| Field::parse(n).unwrap()).collect(),
    }
}

fn everything() -> Vec<ReadQuery> {
    let names: Vec<String> = Column::ALL
        .into_iter()
        .flat_map(|column| {
            [Stat::Mean, Stat::Min, Stat::Max].map(|stat| Field { column, stat }.name())
        })
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    [
        None,
        Some(30_000),
        Some(60_000),
        Some(600_000),
        Some(HOUR_MS),
    ]
    .map(|step_ms| ReadQuery {
        step_ms,
        ..query(&names)
    })
    .into()
}

fn read_all(history: &History) -> Vec<Table> {
    everything()
        .iter()
        .map(|query| history.read(query).unwrap())
        .collect()
}

fn integers(table: &Table, column: usize) -> &[Option<i64>] {
    match &table.columns[column].1 {
        Cells::Integers(cells) => cells,
        other => panic!("not whole numbers: {other:?}"),
    }
}

#[test]
fn the_golden_rows_read_back_with_the_promised_momentum_and_speed() {
    let rss = [
        1_887_293_040_u64,
        1_786_839_040,
        1_797_476_352,
        1_756_991_488,
        1_925_214_208,
        1_802_223_616,
    ];
    let at = |time: &str| -> i64 {
        let time: jiff::Timestamp = format!("2019-11-16T{time}Z").parse().unwrap();
        time.as_millisecond()
    };
    let times = [
        at("21:56:12"),
        at("21:56:16"),
        at("21:56:20"),
        at("21:56:25"),
        at("21:56:30"),
        at("21:56:36"),
    ];
    let fixture = Fixture::new();
    let history = fixture.open();
    let mut entries = Vec::new();
    for (i, (&rss_bytes, &at_ms)) in rss.iter().zip(&times).enumerate() {
        let momentum =
            (i > 0).then(|| hubmeter_kinetics::momentum::momentum_bytes(rss[i - 1], rss_bytes));
        entries.push(entry(i as u64 + 1, sample(at_ms, rss_bytes), momentum));
        // A burst between two base samples takes no part.
        let mut burst = sample(at_ms + 1_000, rss_bytes + 99_000_000);
        burst.burst = true;
        entries.push(entry(i as u64 + 1, burst, Some(99_000_000)));
    }
    history.append(1, entries);
    history.flush().unwrap();
    let table = fixture
        .open()
        .read(&ReadQuery {
            from_ms: times[0],
            to_ms: NOW_MS,
            ..query(&["rss_bytes", "momentum_bytes", "speed_bytes", "burst"])
        })
        .unwrap();
    let base = |cells: &[Option<i64>]| cells.iter().copied().step_by(2).collect::<Vec<_>>();
    let burst =
        |cells: &[Option<i64>]| cells.iter().copied().skip(1).step_by(2).collect::<Vec<_>>();
    let momentum = [
        -100_454_000,
        10_637_312,
        -40_484_864,
        168_222_720,
        -122_990_592,
    ];
    let speed = [
        100_454_000,
        10_637_312,
        40_484_864,
        168_222_720,
        122_990_592,
    ];
    let mut wanted = vec![None];
    wanted.extend(momentum.map(Some));
    assert_eq!(base(integers(&table, 1)), wanted);
    let mut wanted: Vec<_> = speed.map(Some).into();
    wanted.push(None);
    assert_eq!(base(integers(&table, 2)), wanted);
    assert_eq!(burst(integers(&table, 1)), [None; 6]);
    assert_eq!(burst(integers(&table, 2)), [None; 6]);
}

#[test]
fn speed_at_the_end_of_the_answer_knows_the_sample_behind_it() {
    let fixture = Fixture::new();
    let history = fixture.open();
    history.append(1, entries(10));
    let whole = history.read(&query(&["speed_bytes"])).unwrap();
    let cut = history
        .read(&ReadQuery {
            to_ms: whole.time[5],
            ..query(&["speed_bytes"])
        })
        .unwrap();
    assert_eq!(integers(&cut, 0), &integers(&whole, 0)[..5]);
    assert_eq!(integers(&whole, 0)[4], Some(5));
    assert_eq!(integers(&whole, 0)[9], None);
}

#[test]
fn replaying_the_same_entries_changes_nothing() {
    let fixture = Fixture::new();
    let history = fixture.open();
    history.append(1, entries(1_500));
    history.flush().unwrap();
    let once = read_all(&history);
    assert_eq!(once[0].time.len(), 1_500);
    history.append(1, entries(1_500));
    assert_eq!(read_all(&history), once, "pending over stored");
    history.flush().unwrap();
    assert_eq!(read_all(&history), once, "stored again");
}

#[test]
fn what_is_pending_reads_like_what_is_stored() {
    let (pending, stored) = (Fixture::new(), Fixture::new());
    let (pending_history, stored_history) = (pending.open(), stored.open());
    for history in [&pending_history, &stored_history] {
        history.append(1, entries(700));
        history.flush().unwrap();
        history.append(2, entries(900)[700..].to_vec());
    }
    stored_history.flush().unwrap();
    assert_eq!(read_all(&pending_history), read_all(&stored_history));
}

#[test]
fn reading_after_a_restart_equals_reading_before() {
    let fixture = Fixture::new();
    let history = fixture.open();
    history.append(7, entries(1_000));
    assert_eq!(history.flush().unwrap(), 7);
    let before = read_all(&history);
    drop(history);
    assert_eq!(read_all(&fixture.open()), before);
}

#[test]
fn a_crash_loses_only_what_was_not_flushed_and_a_replay_brings_it_back() {
    let fixture = Fixture::new();
    let whole = entries(600);
    let history = fixture.open();
    history.append(1, whole[..400].to_vec());
    assert_eq!(history.flush().unwrap(), 1);
    history.append(2, whole[400..].to_vec());
    let before = read_all(&history);
    drop(history); // without a flush
    let history = fixture.open();
    assert_eq!(history.read(&query(&[])).unwrap().time.len(), 400);
    history.append(2, whole[400..].to_vec());
    assert_eq!(read_all(&history), before);
}

#[test]
fn samples_in_any_order_read_the_same() {
    let (forward, backward) = (Fixture::new(), Fixture::new());
    let (a, b) = (forward.open(), backward.open());
    a.append(1, entries(500));
    a.flush().unwrap();
    for (row, entry) in entries(500).into_iter().rev().enumerate() {
        b.append(row as u64, vec![entry]);
        if row % 50 == 0 {
            b.flush().unwrap();
        }
    }
    b.flush().unwrap();
    assert_eq!(read_all(&a), read_all(&b));
}

#[test]
fn minutes_and_hours_tell_smallest_mean_and_largest() {
    let fixture = Fixture::new();
    let history = fixture.open();
    let minute = tier::floor(NOW_MS - HOUR_MS, 60_000);
    history.append(
        1,
        [(0, 100), (5_000, 200), (10_000, 600)]
            .into_iter()
            .zip(1..)
            .map(|((after, rss), seq)| entry(seq, sample(minute + after, rss), None))
            .collect(),
    );
    history.flush().unwrap();
    for step_ms in [60_000, HOUR_MS] {
        let table = history
            .read(&ReadQuery {
                step_ms: Some(step_ms),
                ..query(&[
                    "rss_bytes_min",
                    "rss_bytes",
                    "rss_bytes_max",
                    "momentum_bytes",
                ])
            })
            .unwrap();
        assert_eq!(table.step_ms, Some(step_ms));
        assert_eq!(table.time, [tier::floor(minute, step_ms)]);
        let cells: Vec<_> = (0..4).map(|at| integers(&table, at)[0]).collect();
        assert_eq!(cells, [Some(100), Some(300), Some(600), None]);
    }
}

#[test]
fn a_step_grows_where_finer_ones_are_no_longer_kept() {
    let fixture = Fixture::new();
    let history = fixture.open();
    let read = |from_ms, step_ms| {
        let query = ReadQuery {
            from_ms,
            step_ms,
            ..query(&[])
        };
        history.read(&query).unwrap().step_ms
    };
    assert_eq!(read(NOW_MS - DAY_MS, None), None);
    assert_eq!(read(NOW_MS - DAY_MS, Some(90_000)), Some(120_000));
    assert_eq!(read(NOW_MS - 3 * DAY_MS, None), Some(60_000));
    assert_eq!(read(NOW_MS - 60 * DAY_MS, Some(60_000)), Some(HOUR_MS));
    assert!(read(i64::MIN, Some(i64::MAX)) >= Some(i64::MAX - HOUR_MS));
}

#[test]
fn a_server_nobody_knows_has_an_empty_history() {
    let table = Fixture::new()
        .open()
        .read(&query(&["burst", "cpu_cores"]))
        .unwrap();
    assert!(table.time.is_empty());
    assert_eq!(table.columns[0].1, Cells::Flags(vec![]));
    assert_eq!(table.columns[1].1, Cells::Numbers(vec![]));
}

#[test]
fn another_server_of_the_same_user_has_its_own_history() {
    let fixture = Fixture::new();
    let history = fixture.open();
    history.append(1, entries(5));
    history.flush().unwrap();
    let other = ReadQuery {
        key: ServerKey::new(&key().user, ""),
        ..query(&[])
    };
    assert!(history.read(&other).unwrap().time.is_empty());
}

#[test]
fn a_damaged_chunk_is_skipped_counted_and_said() {
    let fixture = Fixture::new();
    let history = fixture.open();
    history.append(1, entries(500));
    history.flush().unwrap();
    let whole = history.read(&query(&[])).unwrap();
    let file = &fixture.files("raw")[0];
    let path = fixture.dir.path().join("history/raw").join(file);
    rusqlite::Connection::open(path)
        .unwrap()
        .execute(
            "UPDATE closed SET body = zeroblob(40) WHERE place = (SELECT min(place) FROM closed)",
            [],
        )
        .unwrap();
    let table = history.read(&query(&[])).unwrap();
    assert_eq!(table.chunks_skipped, 1);
    assert_eq!(history.stats().chunks_corrupt, 1);
    assert!(!table.time.is_empty() && table.time.len() < whole.time.len());
    assert!(whole.time.ends_with(&table.time));
}

/// Of this day, in an hour that is over.
const EARLIER_MS: i64 = NOW_MS - 2 * HOUR_MS;

#[test]
fn retention_deletes_whole_files_and_nothing_else() {
    let fixture = Fixture::new();
    let history = fixture.open();
    let days = [10, 4, 1, 0];
    let rows = days.into_iter().zip(1..);
    history.append(
        1,
        rows.map(|(days, seq)| entry(seq, sample(EARLIER_MS - days * DAY_MS, 5), None))
            .collect(),
    );
    std::fs::write(fixture.dir.path().join("history/raw/notes.db"), "mine").unwrap();
    history.flush().unwrap();
    assert_eq!(
        fixture.files("raw"),
        ["2019-11-16.db", "2019-11-17.db", "notes.db"]
    );
    let coarse = ReadQuery {
        from_ms: NOW_MS - 20 * DAY_MS,
        step_ms: Some(60_000),
        ..query(&[])
    };
    assert_eq!(history.read(&coarse).unwrap().time.len(), days.len());
    fixture.clock.advance(5 * DAY_MS);
    history.flush().unwrap();
    assert_eq!(fixture.files("raw"), ["notes.db"]);
    assert_eq!(history.read(&coarse).unwrap().time.len(), days.len());
}

#[test]
fn no_name_becomes_a_path() {
    let fixture = Fixture::new();
    let history = fixture.open();
    history.append(1, entries(3));
    history.flush().unwrap();
    let mut names: Vec<_> = ["raw", "minute", "hour"]
        .iter()
        .flat_map(|tier| fixture.files(tier))
        .collect();
    names.retain(|name| {
        !name
            .bytes()
            .all(|b| b.is_ascii_digit() || b"-.db".contains(&b))
    });
    assert!(names.is_empty(), "{names:?}");
    assert_eq!(std::fs::read_dir(fixture.dir.path()).unwrap().count(), 1);
}

#[test]
fn memory_mode_keeps_the_last_hour_and_writes_nothing() {
    let fixture = Fixture::new();
    let config = HistoryConfig::new(HistoryMode::Memory);
    let history = History::open(&config, fixture.clock.clone()).unwrap();
    history.append(3, entries(100));
    assert_eq!(history.flush().unwrap(), 3);
    assert_eq!(history.read(&query(&[])).unwrap().time.len(), 100);
    fixture.clock.advance(2 * HOUR_MS);
    history.flush().unwrap();
    assert!(history.read(&query(&[])).unwrap().time.is_empty());
    assert_eq!(std::fs::read_dir(fixture.dir.path()).unwrap().count(), 0);
}

#[test]
fn a_disk_that_fails_keeps_the_rows_and_the_checkpoint_where_they_were() {
    let fixture = Fixture::new();
    let history = fixture.open();
    history.append(1, entries(10));
    let tail = rusqlite::Connection::open(fixture.dir.path().join("history/tail.db")).unwrap();
    tail.execute_batch(
        "CREATE TRIGGER full BEFORE INSERT ON piece BEGIN SELECT RAISE(ABORT, 'full'); END",
    )
    .unwrap();
    history.flush().unwrap_err();
    assert_eq!(history.stats().pending_rows, 10);
    tail.execute_batch("DROP TRIGGER full").unwrap();
    assert_eq!(history.flush().unwrap(), 1);
    assert_eq!(history.stats().pending_rows, 0);
    assert_eq!(history.read(&query(&[])).unwrap().time.len(), 10);
}
