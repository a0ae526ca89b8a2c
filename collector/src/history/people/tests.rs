use super::*;
use crate::{
    fact::ServerKey,
    history::{
        HistoryEntry, ReadQuery,
        tests::{Fixture, entries, query},
    },
    person::Fate,
};

fn of(user: &str) -> Vec<HistoryEntry> {
    let mut entries = entries(30);
    for entry in &mut entries {
        entry.key = ServerKey::new(user, "gpu");
    }
    entries
}

fn rows(history: &History, user: &str) -> usize {
    let query = ReadQuery {
        key: ServerKey::new(user, "gpu"),
        ..query(&["rss_bytes"])
    };
    history.read(&query).unwrap().time.len()
}

#[test]
fn who_is_forgotten_is_gone_from_the_disk_and_from_what_waits_for_it() {
    let fixture = Fixture::new();
    let history = fixture.open();
    history.append(1, of("ann"));
    history.append(2, of("anna"));
    history.flush().unwrap();
    history.append(3, of("ann"));
    assert_eq!(rows(&history, "ann"), 30);
    let fates = Fates::one("ann", Fate::Erased);
    assert_eq!(history.count_people(&fates).unwrap(), 1);
    assert_eq!(history.move_people(&fates).unwrap(), 1);
    assert_eq!(rows(&history, "ann"), 0);
    assert!(history.erase_doomed().unwrap() > 0);
    assert_eq!(history.erase_doomed().unwrap(), 0, "once");
    history.flush().unwrap();
    assert_eq!(rows(&history, "ann"), 0);
    assert_eq!(rows(&history, "anna"), 30);
    assert_eq!(history.stats().pending_rows, 0);
    // Somebody new of the same name gets a number that was never used.
    history.append(4, of("ann")[..3].to_vec());
    history.flush().unwrap();
    assert_eq!(rows(&history, "ann"), 3);
    assert_eq!(rows(&fixture.open(), "anna"), 30);
}

#[test]
fn chunks_of_the_forgotten_are_erased_even_when_only_the_table_of_servers_was() {
    let fixture = Fixture::new();
    let history = fixture.open();
    history.append(1, of("ann"));
    history.flush().unwrap();
    history
        .move_people(&Fates::one("ann", Fate::Erased))
        .unwrap();
    drop(history); // a crash before the chunks went
    assert!(fixture.open().erase_doomed().unwrap() > 0);
}

#[test]
fn a_rename_takes_history_along_and_names_may_change_places() {
    let fixture = Fixture::new();
    let history = fixture.open();
    history.append(1, of("ann"));
    history.append(1, of("bob")[..7].to_vec());
    history.flush().unwrap();
    history.append(2, of("cleo")[..5].to_vec());
    let fates: Fates = [
        ("ann".into(), Fate::Renamed("bob".into())),
        ("bob".into(), Fate::Renamed("ann".into())),
        ("cleo".into(), Fate::Deleted("deleted-1".into())),
    ]
    .into_iter()
    .collect();
    assert_eq!(history.move_people(&fates).unwrap(), 2);
    let counts =
        |history: &History| ["ann", "bob", "cleo", "deleted-1"].map(|user| rows(history, user));
    assert_eq!(counts(&history), [7, 30, 0, 5]);
    history.flush().unwrap();
    assert_eq!(counts(&fixture.open()), [7, 30, 0, 5]);
}

#[test]
fn two_histories_are_never_made_one() {
    let fixture = Fixture::new();
    let history = fixture.open();
    history.append(1, of("ann"));
    history.append(1, of("bob")[..7].to_vec());
    history.flush().unwrap();
    let fates = Fates::one("ann", Fate::Renamed("bob".into()));
    history.move_people(&fates).unwrap();
    assert_eq!(rows(&history, "bob"), 7, "bob's own");
    let users = history.users().unwrap();
    let other = users.iter().find(|user| user.starts_with("deleted-"));
    assert_eq!(rows(&history, other.unwrap()), 30, "nothing is lost");
}

#[test]
fn in_memory_it_is_the_same() {
    let clock = Arc::new(crate::clock::ManualClock::at(1_574_000_000_000));
    let config = crate::history::HistoryConfig::new(crate::history::HistoryMode::Memory);
    let history = History::open(&config, clock).unwrap();
    history.append(1, of("ann"));
    history.append(1, of("bob"));
    history.flush().unwrap();
    let mut fates = Fates::one("ann", Fate::Erased);
    fates.set("bob", Fate::Renamed("zoe".into()));
    assert_eq!(history.move_people(&fates).unwrap(), 2);
    history.append(2, of("new"));
    history.flush().unwrap();
    let counts = ["ann", "bob", "zoe", "new"].map(|user| rows(&history, user));
    assert_eq!(counts, [0, 0, 30, 30]);
}
