use bytes::Bytes;

use super::*;
use crate::{
    fact::{InstanceId, ServerKey},
    inbox::{journal::SqliteJournal, marks::Life},
    link::admit::ClockOffset,
    person::Fate,
};

fn entry(user: &str, message: &'static str) -> Entry {
    Entry {
        key: ServerKey::new(user, "gpu"),
        instance: InstanceId([1; 16]),
        arrived_ms: 5,
        clock: ClockOffset { offset_ms: 9 },
        body: Body::Message(Bytes::from_static(message.as_bytes())),
    }
}

fn life() -> Life {
    Life {
        instance: InstanceId([1; 16]),
        through_seq: 7,
        at_ms: 5,
    }
}

/// Rows of two users each, one of them torn, and marks of all.
fn journal(dir: &std::path::Path) -> SqliteJournal {
    let mut journal = SqliteJournal::open(dir).unwrap();
    for entries in [
        vec![entry("ann", "a1"), entry("anna", "b1"), Entry::started(3)],
        vec![entry("anna", "b2")],
        vec![entry("ann", "a2")],
    ] {
        let (payload, crc) = row::encode(entries.iter());
        journal.append(1, crc, &payload).unwrap();
    }
    let (payload, crc) = row::encode([&entry("ann", "torn")].into_iter());
    journal.append(1, crc ^ 1, &payload).unwrap();
    let marks = Marks {
        checkpoint: 2,
        lives: ["ann", "anna"]
            .map(|user| (ServerKey::new(user, "gpu"), life()))
            .into(),
    };
    let (payload, crc) = row::encode_marks(&marks);
    journal.set_marks(crc, &payload).unwrap();
    journal
}

fn rows(journal: &mut SqliteJournal) -> Vec<(i64, Vec<Entry>)> {
    let (mut after, mut rows) = (0, Vec::new());
    while let Some(found) = journal.read_after(after).unwrap() {
        after = found.row;
        rows.push((found.row, row::decode(&found.payload, found.crc).unwrap()));
    }
    rows
}

fn marked(journal: &mut SqliteJournal) -> Marks {
    let (crc, payload) = journal.marks().unwrap().unwrap();
    row::decode_marks(&payload, crc).unwrap()
}

#[test]
fn who_is_forgotten_leaves_the_others_rows_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = journal(dir.path());
    let fates = Fates::one("ann", Fate::Erased);
    assert_eq!(count(&mut journal, &fates).unwrap(), 2);
    assert_eq!(rewrite(&mut journal, &fates).unwrap(), 2);
    let left = [
        (1, vec![entry("anna", "b1"), Entry::started(3)]),
        (2, vec![entry("anna", "b2")]),
        (3, vec![]),
        // A row that no start can read may name anybody.
        (4, vec![]),
    ];
    assert_eq!(rows(&mut journal), left);
    let marks = marked(&mut journal);
    assert_eq!(marks.checkpoint, 2);
    assert_eq!(marks.lives, [(ServerKey::new("anna", "gpu"), life())]);
    assert_eq!(rewrite(&mut journal, &fates).unwrap(), 0, "once");
    journal.squeeze().unwrap();
    for name in ["inbox.db", "inbox.db-wal"] {
        let bytes = std::fs::read(dir.path().join(name)).unwrap();
        for needle in ["a1", "a2", "torn"] {
            let there = bytes
                .windows(needle.len())
                .any(|at| at == needle.as_bytes());
            assert!(!there, "{needle} in {name}");
        }
    }
}

/// How long is for a release build to say, of 15 minutes of 10,000 servers nobody looks at:
/// `cargo test --release -p hubmeter-collector --lib large_inbox -- --nocapture`
#[test]
fn in_a_large_inbox_one_users_entries_go_and_no_others_and_how_long_it_takes_is_printed() {
    const ROWS: usize = if cfg!(debug_assertions) { 100 } else { 3_600 };
    const PER_ROW: usize = 46;
    const SERVERS: usize = 10_000;
    // About a batch of an idle server's minute.
    const MESSAGE: &str = match std::str::from_utf8(&[b'm'; 400]) {
        Ok(message) => message,
        Err(_) => "",
    };
    let dir = tempfile::tempdir().unwrap();
    let mut journal = SqliteJournal::open(dir.path()).unwrap();
    let user = |at: usize| format!("user{}", at % SERVERS);
    for row in 0..ROWS {
        let entries = (0..PER_ROW).map(|at| entry(&user(row * PER_ROW + at), MESSAGE));
        let entries: Vec<Entry> = entries.collect();
        let (payload, crc) = row::encode(entries.iter());
        journal.append(1, crc, &payload).unwrap();
    }
    let fates = Fates::one("user0", Fate::Erased);
    let of_user = (ROWS * PER_ROW).div_ceil(SERVERS) as u64;
    let spent = |what: &str, work: &mut dyn FnMut()| {
        let begin = cpu_seconds();
        work();
        println!("{what}: {:.2} s of CPU", cpu_seconds() - begin);
    };
    println!(
        "{ROWS} rows of {PER_ROW} messages of {} bytes",
        MESSAGE.len()
    );
    spent("count", &mut || {
        assert_eq!(count(&mut journal, &fates).unwrap(), of_user);
    });
    spent("rewrite", &mut || {
        assert_eq!(rewrite(&mut journal, &fates).unwrap(), of_user);
    });
    spent("squeeze", &mut || journal.squeeze().unwrap());
    let left: usize = rows(&mut journal).iter().map(|(_, of)| of.len()).sum();
    assert_eq!(left as u64, (ROWS * PER_ROW) as u64 - of_user);
}

fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

#[test]
fn names_that_change_places_change_them_in_every_row_and_mark() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = journal(dir.path());
    let fates: Fates = [
        ("ann".into(), Fate::Renamed("anna".into())),
        ("anna".into(), Fate::Renamed("ann".into())),
    ]
    .into_iter()
    .collect();
    assert_eq!(rewrite(&mut journal, &fates).unwrap(), 4);
    let kept = rows(&mut journal);
    assert_eq!(kept[0].1[..2], [entry("anna", "a1"), entry("ann", "b1")]);
    assert_eq!(kept[2].1, [entry("anna", "a2")]);
    let users: Vec<_> = marked(&mut journal)
        .lives
        .iter()
        .map(|(key, _)| key.user.to_string())
        .collect();
    assert_eq!(users, ["anna", "ann"]);
}

#[test]
fn what_an_agent_may_resend_follows_its_user() {
    let mut high_water = HighWater::default();
    let (ann, zoe) = (ServerKey::new("ann", ""), ServerKey::new("zoe", ""));
    high_water.raise(&ann, InstanceId([1; 16]), 7, 5);
    high_water.move_people(&Fates::one("ann", Fate::Renamed("zoe".into())));
    assert_eq!(high_water.through_seq(&ann, InstanceId([1; 16])), None);
    assert_eq!(high_water.through_seq(&zoe, InstanceId([1; 16])), Some(7));
    high_water.move_people(&Fates::one("zoe", Fate::Erased));
    assert_eq!(high_water.through_seq(&zoe, InstanceId([1; 16])), None);
}
