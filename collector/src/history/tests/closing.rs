//! Chunks that are closed when their hour is over, and what comes later all the same.

use super::*;
use crate::person::{Fate, Fates};

/// Late enough for every hour so far to be closed, and the day's minutes and hours with it.
const AFTERWARDS_MS: i64 = 2 * DAY_MS - 8 * HOUR_MS;

fn sql(fixture: &Fixture, file: &str) -> rusqlite::Connection {
    let path = fixture.dir.path().join("history").join(file);
    rusqlite::Connection::open(path).unwrap()
}

fn count(fixture: &Fixture, file: &str, query: &str) -> i64 {
    sql(fixture, file)
        .query_row(query, [], |row| row.get(0))
        .unwrap()
}

fn pieces(fixture: &Fixture) -> i64 {
    count(fixture, "tail.db", "SELECT count(*) FROM piece")
}

/// What is read of the time up to now, whenever it is asked.
fn everything_then(history: &History) -> Vec<Table> {
    let steps = [Some(60_000), Some(600_000), Some(HOUR_MS)];
    let queries = everything()
        .into_iter()
        .filter(|query| steps.contains(&query.step_ms));
    queries.map(|query| history.read(&query).unwrap()).collect()
}

#[test]
fn a_chunk_is_closed_once_its_hour_is_over_and_reads_as_before() {
    let fixture = Fixture::new();
    let history = fixture.open();
    for at in (0..1_500).step_by(100) {
        history.append(1, entries(1_500)[at..at + 100].to_vec());
        history.flush().unwrap();
    }
    let before = read_all(&history);
    let coarse = everything_then(&history);
    assert!(pieces(&fixture) > 0);
    fixture.clock.advance(HOUR_MS);
    history.flush().unwrap();
    let open_steps = "SELECT count(*) FROM piece WHERE tier = 0";
    assert_eq!(count(&fixture, "tail.db", open_steps), 0);
    assert_eq!(
        count(&fixture, "raw/2019-11-17.db", "SELECT count(*) FROM closed"),
        3
    );
    assert_eq!(read_all(&history), before);
    fixture.clock.advance(AFTERWARDS_MS);
    history.flush().unwrap();
    assert_eq!(pieces(&fixture), 0);
    assert_eq!(everything_then(&history), coarse);
    assert_eq!(everything_then(&fixture.open()), coarse);
}

#[test]
fn what_comes_late_finds_its_closed_chunk() {
    let (late, whole) = (Fixture::new(), Fixture::new());
    let (late_history, whole_history) = (late.open(), whole.open());
    whole_history.append(1, entries(1_500));
    let (some, rest): (Vec<_>, Vec<_>) = entries(1_500).into_iter().partition(|e| e.seq % 3 > 0);
    late_history.append(1, some);
    for fixture in [&late, &whole] {
        fixture.clock.advance(AFTERWARDS_MS);
    }
    late_history.flush().unwrap();
    whole_history.flush().unwrap();
    assert_eq!(pieces(&late), 0);
    late_history.append(2, rest);
    assert_eq!(
        everything_then(&late_history),
        everything_then(&whole_history),
        "pending"
    );
    late_history.flush().unwrap();
    assert_eq!(
        everything_then(&late_history),
        everything_then(&whole_history),
        "stored"
    );
    assert_eq!(
        everything_then(&late.open()),
        everything_then(&whole.open()),
        "opened again"
    );
}

#[test]
fn a_crash_between_closing_a_chunk_and_letting_its_pieces_go_changes_nothing() {
    let fixture = Fixture::new();
    let history = fixture.open();
    history.append(1, entries(1_500));
    history.flush().unwrap();
    let tail = sql(&fixture, "tail.db");
    tail.execute_batch(
        "CREATE TRIGGER crash BEFORE DELETE ON piece BEGIN SELECT RAISE(ABORT, 'crash'); END",
    )
    .unwrap();
    let before = everything_then(&history);
    // What was closed in this flush is taken back with its pieces: make it whole by hand.
    fixture.clock.advance(HOUR_MS);
    assert_eq!(
        history.flush().unwrap(),
        1,
        "the rows are on the disk all the same"
    );
    tail.execute_batch("DROP TRIGGER crash; CREATE TABLE kept AS SELECT * FROM piece")
        .unwrap();
    history.flush().unwrap();
    tail.execute_batch("INSERT OR IGNORE INTO piece SELECT * FROM kept")
        .unwrap();
    assert_eq!(everything_then(&history), before, "both there");
    history.flush().unwrap();
    assert_eq!(everything_then(&fixture.open()), before, "closed again");
}

#[test]
fn closing_that_fails_is_tried_again_and_holds_up_no_checkpoint() {
    let fixture = Fixture::new();
    let history = fixture.open();
    let raw = fixture.dir.path().join("history/raw");
    std::fs::remove_dir(&raw).unwrap();
    std::fs::write(&raw, "in the way").unwrap();
    history.append(5, entries(1_500));
    assert_eq!(history.flush().unwrap(), 5);
    assert_eq!(history.stats().pending_rows, 0);
    std::fs::remove_file(&raw).unwrap();
    std::fs::create_dir(&raw).unwrap();
    history.flush().unwrap();
    assert_eq!(fixture.files("raw"), ["2019-11-17.db"]);
    assert_eq!(history.read(&query(&[])).unwrap().time.len(), 1_500);
}

#[test]
fn the_pieces_of_chunks_are_closed_some_at_a_time() {
    let fixture = Fixture::new();
    let history = fixture.open();
    let servers = SETTLED_PER_FLUSH_MAX as i64 + 10;
    let of = |number: i64| HistoryEntry {
        key: ServerKey::new(&format!("user{number}"), ""),
        ..entry(1, sample(NOW_MS - 2 * HOUR_MS, 5), None)
    };
    history.append(1, (0..servers).map(of).collect());
    history.flush().unwrap();
    let open = "SELECT count(*) FROM piece WHERE tier = 0";
    assert_eq!(count(&fixture, "tail.db", open), 10);
    history.flush().unwrap();
    assert_eq!(count(&fixture, "tail.db", open), 0);
}

#[test]
fn an_erased_server_leaves_no_chunk_and_no_piece_and_others_stay() {
    let fixture = Fixture::new();
    let history = fixture.open();
    let other = ServerKey::new("bob", "");
    let mut all = entries(1_500);
    all.extend(entries(1_500).into_iter().map(|entry| HistoryEntry {
        key: other.clone(),
        ..entry
    }));
    history.append(1, all.clone());
    history.flush().unwrap();
    history.append(2, all);
    let mut asked = query(&["rss_bytes"]);
    asked.key = other;
    let before = history.read(&asked).unwrap();
    let number = "SELECT id FROM server WHERE server != ''"; // the other's is the default one
    let number = count(&fixture, "servers.db", number);
    let fates = Fates::one(&key().user, Fate::Erased);
    history.move_people(&fates).unwrap();
    history.erase_doomed().unwrap();
    assert_eq!(history.read(&asked).unwrap(), before);
    for table in read_all(&history) {
        assert!(table.time.is_empty());
    }
    history.flush().unwrap();
    let closed = format!("SELECT count(*) FROM closed WHERE place & 4294967295 = {number}");
    assert_eq!(count(&fixture, "raw/2019-11-17.db", &closed), 0);
    let pieces = format!("SELECT count(*) FROM piece WHERE server = {number}");
    assert_eq!(count(&fixture, "tail.db", &pieces), 0);
    assert_eq!(history.read(&asked).unwrap(), before);
}
