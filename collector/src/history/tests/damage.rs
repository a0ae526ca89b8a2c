//! Files of history that are damaged, and a clock that would delete them.

use super::*;

/// Late enough for the rows' hour to be closed, and the day's minutes and hours with it.
const AFTERWARDS_MS: i64 = 25 * HOUR_MS;

/// Ten rows, closed in files of every tier.
fn closed(fixture: &Fixture) -> History {
    let history = fixture.open();
    history.append(1, entries(10));
    history.flush().unwrap();
    fixture.clock.advance(AFTERWARDS_MS);
    history.flush().unwrap();
    history
}

/// The rows, which are kept as they came for longer than a day.
fn rows(history: &History) -> usize {
    let query = ReadQuery {
        from_ms: NOW_MS - HOUR_MS,
        ..query(&[])
    };
    history.read(&query).unwrap().time.len()
}

fn damaged(fixture: &Fixture, tier: &str) -> usize {
    let dir = fixture.dir.path().join("history").join(tier);
    let names = std::fs::read_dir(dir).unwrap();
    names
        .filter(|entry| {
            let name = entry.as_ref().unwrap().file_name();
            name.to_str().unwrap().ends_with(".db.damaged-1")
        })
        .count()
}

#[test]
fn a_file_that_is_no_database_is_set_aside_and_history_goes_on() {
    let fixture = Fixture::new();
    drop(closed(&fixture));
    for tier in ["raw", "minute", "hour"] {
        let dir = fixture.dir.path().join("history").join(tier);
        for name in fixture.files(tier) {
            std::fs::write(
                dir.join(name),
                "this was a database once, and no longer is one",
            )
            .unwrap();
        }
    }
    let history = fixture.open();
    assert_eq!(rows(&history), 0);
    history.append(2, entries(12));
    assert_eq!(history.flush().unwrap(), 2);
    assert_eq!(rows(&history), 12);
    for tier in ["raw", "minute", "hour"] {
        assert_eq!(damaged(&fixture, tier), 1, "{tier}");
    }
}

#[test]
fn a_file_that_turns_out_damaged_in_the_middle_is_set_aside_by_the_next_flush() {
    use std::os::unix::fs::FileExt as _;
    let fixture = Fixture::new();
    drop(closed(&fixture));
    let dir = fixture.dir.path().join("history/raw");
    let path = dir.join(&fixture.files("raw")[0]);
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    // Past the first page: it opens, and its table is nonsense.
    file.write_all_at(&[0xff; 4096], 64 * 1024).unwrap();
    let history = fixture.open();
    history.append(2, entries(12));
    let flushes = (0..3).map(|_| history.flush());
    assert_eq!(flushes.filter(Result::is_ok).count().min(1), 1);
    assert_eq!(history.stats().pending_rows, 0);
    assert_eq!(rows(&history), 12);
    assert_eq!(damaged(&fixture, "raw"), 1);
}

#[test]
fn without_the_names_of_servers_it_does_not_begin_and_says_what_to_do() {
    let fixture = Fixture::new();
    drop(fixture.open());
    let names = fixture.dir.path().join("history/servers.db");
    std::fs::write(&names, "gone").unwrap();
    let Err(refused) = History::open(&fixture.config(), fixture.clock.clone()) else {
        panic!("it opened");
    };
    let refused = refused.to_string();
    assert!(
        refused.contains("history/servers.db is damaged"),
        "{refused}"
    );
    assert!(refused.contains("a new history begins"), "{refused}");
}

#[test]
fn a_clock_that_is_ten_years_ahead_for_a_while_deletes_nothing() {
    let fixture = Fixture::new();
    let history = closed(&fixture);
    let files = fixture.files("raw");
    fixture.clock.set(3650 * DAY_MS);
    fixture.clock.advance(HOUR_MS);
    history.flush().unwrap();
    assert_eq!(fixture.files("raw"), files);
    fixture.clock.set(-3650 * DAY_MS);
    fixture.clock.advance(HOUR_MS);
    history.flush().unwrap();
    assert_eq!(rows(&history), 10);
    // What is really old still goes.
    fixture.clock.advance(5 * DAY_MS);
    history.flush().unwrap();
    assert!(fixture.files("raw").is_empty());
}
