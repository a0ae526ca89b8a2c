//! Files of earlier versions, read for as long as there are any; files of later ones, refused.

use std::path::Path;

use super::*;

/// When the first layout's files were made, and their answers asked for.
const ASKED_MS: i64 = 1_795_877_420_000; // 2026-11-28T14:50:20Z

/// A copy of `tests/fixtures/data-dir-1`, to write to.
fn first_version() -> Fixture {
    let fixture = Fixture::new();
    fixture.clock.advance(ASKED_MS - NOW_MS);
    copy(&recorded("data"), fixture.dir.path());
    fixture
}

fn recorded(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/fixtures/data-dir-1")
        .join(name)
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&to).unwrap();
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), &to).unwrap();
        }
    }
}

/// What the collector that wrote the files answered, row by row as it wrote them.
fn told(name: &str) -> (Vec<String>, Vec<Vec<String>>) {
    let mut reader = csv::Reader::from_path(recorded(name)).unwrap();
    let names = reader
        .headers()
        .unwrap()
        .iter()
        .map(str::to_owned)
        .collect();
    let row =
        |row: csv::Result<csv::StringRecord>| row.unwrap().iter().map(str::to_owned).collect();
    (names, reader.records().map(row).collect())
}

fn in_words(table: &Table) -> Vec<Vec<String>> {
    let cell = |cells: &Cells, at: usize| match cells {
        Cells::Integers(cells) => cells[at].map(|cell| cell.to_string()),
        Cells::Numbers(cells) => cells[at].map(|cell| cell.to_string()),
        Cells::Flags(cells) => cells[at].map(|cell| cell.to_string()),
    };
    let rows = table.time.iter().enumerate().map(|(at, time)| {
        let time = jiff::Timestamp::from_millisecond(*time).unwrap();
        let cells = table
            .columns
            .iter()
            .map(|(_, cells)| cell(cells, at).unwrap_or_default());
        std::iter::once(format!("{time:.3}")).chain(cells).collect()
    });
    rows.collect()
}

fn assert_reads_as_told(history: &History) {
    for server in ["one", "two"] {
        for (suffix, step_ms) in [("", None), ("-60s", Some(60_000)), ("-1h", Some(HOUR_MS))] {
            let file = format!("{server}{suffix}.csv");
            let (names, rows) = told(&file);
            let fields = names[1..].iter().map(|name| Field::parse(name).unwrap());
            let table = history
                .read(&ReadQuery {
                    key: ServerKey::new("root", server),
                    from_ms: ASKED_MS - 2 * HOUR_MS,
                    to_ms: ASKED_MS + 5_000,
                    step_ms,
                    fields: fields.collect(),
                })
                .unwrap();
            assert_eq!(in_words(&table), rows, "{file}");
        }
    }
}

#[test]
fn a_data_directory_of_the_first_layout_reads_as_when_it_was_written() {
    let fixture = first_version();
    let history = fixture.open();
    assert_reads_as_told(&history);
    assert_eq!(history.stats().chunks_corrupt, 0);
}

#[test]
fn rows_of_now_join_a_chunk_of_the_first_layout_and_closing_it_leaves_them_there_once() {
    let fixture = first_version();
    let history = fixture.open();
    let key = ServerKey::new("root", "one");
    let read = |step_ms| {
        let asked = ReadQuery {
            key: key.clone(),
            from_ms: ASKED_MS - HOUR_MS,
            to_ms: ASKED_MS + HOUR_MS,
            step_ms,
            fields: vec![Column::RssBytes.into()],
        };
        history.read(&asked).unwrap()
    };
    let before = read(None).time.len();
    let fresh = HistoryEntry {
        key: key.clone(),
        ..entry(1, sample(ASKED_MS + 60_000, 77), None)
    };
    history.append(1, vec![fresh]);
    history.flush().unwrap();
    let joined = [read(None), read(Some(60_000)), read(Some(HOUR_MS))];
    assert_eq!(joined[0].time.len(), before + 1);
    fixture.clock.advance(DAY_MS);
    history.flush().unwrap();
    history.flush().unwrap();
    assert_eq!(
        [read(None), read(Some(60_000)), read(Some(HOUR_MS))],
        joined
    );
}

#[test]
fn files_of_a_newer_version_are_refused_with_both_versions() {
    for name in ["servers.db", "tail.db"] {
        let fixture = Fixture::new();
        drop(fixture.open());
        let path = fixture.dir.path().join("history").join(name);
        let file = rusqlite::Connection::open(&path).unwrap();
        file.pragma_update(None, "user_version", 99).unwrap();
        drop(file);
        let error = History::open(&fixture.config(), fixture.clock.clone())
            .err()
            .unwrap();
        let text = error.to_string();
        assert!(
            text.contains(name) && text.contains("99") && text.contains('2'),
            "{text}"
        );
    }
}
