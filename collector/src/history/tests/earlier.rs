//! Files of earlier versions, read for as long as there are any; files of later ones, refused.

use std::path::{Path, PathBuf};

use super::*;
use crate::history::{
    chunk::{Codec, Format},
    row,
};

/// A data directory of an earlier version, and when its collector was asked what it knows.
#[derive(Clone, Copy)]
struct Earlier {
    folder: &'static str,
    asked_ms: i64,
}

/// Chunks of ten minutes, of varints.
const FIRST: Earlier = Earlier {
    folder: "data-dir-1",
    asked_ms: 1_795_877_420_000, // 2026-11-28T14:50:20Z
};

/// Pieces of the second format.
const SECOND: Earlier = Earlier {
    folder: "data-dir-2",
    asked_ms: 1_795_907_636_000, // 2026-11-28T23:13:56Z
};

// === impl Earlier ===

impl Earlier {
    /// A copy, to write to.
    fn copied(self) -> Fixture {
        let fixture = Fixture::new();
        fixture.clock.advance(self.asked_ms - NOW_MS);
        copy(&self.recorded("data"), fixture.dir.path());
        fixture
    }

    fn recorded(self, name: &str) -> PathBuf {
        fixtures().join(self.folder).join(name)
    }
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures")
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
fn told(path: &Path) -> (Vec<String>, Vec<Vec<String>>) {
    let mut reader = csv::Reader::from_path(path).unwrap();
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

fn assert_reads_as_told(earlier: Earlier, history: &History) {
    for server in ["one", "two"] {
        for (suffix, step_ms) in [("", None), ("-60s", Some(60_000)), ("-1h", Some(HOUR_MS))] {
            let file = format!("{server}{suffix}.csv");
            let (names, rows) = told(&earlier.recorded(&file));
            let fields = names[1..].iter().map(|name| Field::parse(name).unwrap());
            let table = history
                .read(&ReadQuery {
                    key: ServerKey::new("root", server),
                    from_ms: earlier.asked_ms - 2 * HOUR_MS,
                    to_ms: earlier.asked_ms + 5_000,
                    step_ms,
                    fields: fields.collect(),
                })
                .unwrap();
            assert_eq!(in_words(&table), rows, "{file}");
        }
    }
}

#[test]
fn a_data_directory_of_any_earlier_version_reads_as_when_it_was_written() {
    for earlier in [FIRST, SECOND] {
        let fixture = earlier.copied();
        let history = fixture.open();
        assert_reads_as_told(earlier, &history);
        assert_eq!(history.stats().chunks_corrupt, 0, "{}", earlier.folder);
    }
}

/// `second/*.chunk` are these recordings as the last collector that wrote the second format closed
/// them. Not to be made again.
#[test]
fn closed_chunks_of_the_second_format_read_as_what_was_recorded() {
    for name in ["idle", "mixed", "busy"] {
        let path = fixtures().join(format!("store/second/{name}.chunk"));
        let mut codec = Codec::new().unwrap();
        let chunk = codec.decode(&std::fs::read(path).unwrap()).unwrap();
        assert_eq!(chunk.format, Format::Second);
        let (rows, begin_ms) = figures::rows_of(name, chunk.rows);
        assert_eq!(row::from_chunk(&chunk, begin_ms), Ok(rows), "{name}");
    }
}

#[test]
fn rows_of_now_join_a_chunk_of_any_earlier_version_and_closing_it_leaves_them_there_once() {
    for earlier in [FIRST, SECOND] {
        assert_rows_of_now_join(earlier);
    }
}

fn assert_rows_of_now_join(earlier: Earlier) {
    let asked_ms = earlier.asked_ms;
    let fixture = earlier.copied();
    let history = fixture.open();
    let key = ServerKey::new("root", "one");
    let read = |step_ms| {
        let asked = ReadQuery {
            key: key.clone(),
            from_ms: asked_ms - HOUR_MS,
            to_ms: asked_ms + HOUR_MS,
            step_ms,
            fields: vec![Column::RssBytes.into()],
        };
        history.read(&asked).unwrap()
    };
    let before = read(None).time.len();
    let fresh = HistoryEntry {
        key: key.clone(),
        ..entry(1, sample(asked_ms + 60_000, 77), None)
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
            text.contains(name) && text.contains("99") && text.contains('3'),
            "{text}"
        );
    }
}
