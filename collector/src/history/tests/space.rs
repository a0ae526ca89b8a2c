//! What goes when space runs out.

use super::*;

/// One row in an hour of each of the last days, the oldest first.
fn days(days: i64) -> Vec<HistoryEntry> {
    let ages = (0..days).rev().zip(1..);
    ages.map(|(days, seq)| entry(seq, sample(NOW_MS - 2 * HOUR_MS - days * DAY_MS, 5), None))
        .collect()
}

fn open(fixture: &Fixture, bounds: Bounds) -> History {
    let config = HistoryConfig {
        bounds,
        ..fixture.config()
    };
    History::open(&config, fixture.clock.clone()).unwrap()
}

#[test]
fn what_takes_too_much_space_goes_oldest_and_finest_first_but_never_the_day_of_now() {
    let fixture = Fixture::new();
    let history = open(&fixture, Bounds::default());
    history.append(1, days(3));
    history.flush().unwrap();
    assert_eq!(fixture.files("raw").len(), 3);
    assert_eq!(history.stats().files_shed, 0);
    drop(history);
    // Nothing is ever enough.
    let bounds = Bounds {
        bytes_max: Some(1),
        ..Bounds::default()
    };
    let history = open(&fixture, bounds);
    history.flush().unwrap();
    assert_eq!(fixture.files("raw"), ["2019-11-17.db"]);
    assert_eq!(history.stats().files_shed, 2);
    assert_eq!(history.read(&query(&[])).unwrap().step_ms, Some(60_000));
    let recent = ReadQuery {
        from_ms: NOW_MS - 3 * HOUR_MS,
        ..query(&[])
    };
    assert_eq!(history.read(&recent).unwrap().step_ms, None);
    assert_eq!(history.read(&recent).unwrap().time.len(), 1);
    let coarse = ReadQuery {
        from_ms: NOW_MS - 5 * DAY_MS,
        step_ms: Some(60_000),
        ..query(&[])
    };
    assert_eq!(
        history.read(&coarse).unwrap().time.len(),
        3,
        "the minutes stay"
    );
}

#[test]
fn a_file_system_that_is_too_full_costs_the_oldest_file() {
    let fixture = Fixture::new();
    let bounds = Bounds {
        bytes_max: None,
        free_min: FreeMin {
            bytes: None,
            percent: Some(100.0),
        },
    };
    let history = open(&fixture, bounds);
    history.append(1, days(2));
    history.flush().unwrap();
    history.flush().unwrap();
    assert_eq!(fixture.files("raw"), ["2019-11-17.db"]);
    assert_eq!(history.stats().files_shed, 1);
}
