//! What reading the ledger of usage costs, by how many servers are in it.
//!
//!     cargo bench -p hubmeter-collector --bench usage [-- 1000 10000 50000]
//!
//! A ledger of a year is filled: every server ran and was measured every day, every tenth user has
//! a second server, and groups have 30 users each. Then the reports people ask for are made, each
//! several times on a file that the system has in memory; the best and the median are told, as
//! Markdown.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]
#![allow(clippy::disallowed_methods)] // it measures time
#![allow(clippy::print_stdout)] // and prints what it measured

use std::{
    hint::black_box,
    path::Path,
    time::{Duration, Instant},
};

use hubmeter_collector::{
    fact::ServerKey,
    report::usage::{By, Question, UsageReport, is_asked_for},
    text::Label,
    usage::{DayUse, Ledger, Reader, RunNote, Window},
};
use rusqlite::{Connection, params};

const SIZES: [i64; 3] = [1_000, 10_000, 50_000];
const DAYS: i64 = 365;
const TODAY: i64 = 20_790; // 2026-12-03
const DAY_MS: i64 = 24 * 60 * 60 * 1000;
const GROUP_USERS: i64 = 30;
const REPEATS: usize = 7;

/// What is read, and how long it may take with 50,000 servers.
struct Case {
    what: &'static str,
    by: By,
    window: Window,
    days: i64,
    user: Option<&'static str>,
    group: Option<&'static str>,
    budget: Duration,
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[rustfmt::skip]
const CASES: [Case; 8] = [
    Case { what: "a user's month, by day",     by: By::User,  window: Window::Day,   days: 30,  user: Some("u-7"), group: None,        budget: ms(150) },
    Case { what: "a user's year, by day",      by: By::User,  window: Window::Day,   days: 365, user: Some("u-7"), group: None,        budget: ms(150) },
    Case { what: "a user's year, by month",    by: By::User,  window: Window::Month, days: 365, user: Some("u-7"), group: None,        budget: ms(150) },
    Case { what: "a group's month, by day",    by: By::Group, window: Window::Day,   days: 30,  user: None,        group: Some("g-3"), budget: ms(150) },
    Case { what: "a group's year, by month",   by: By::Group, window: Window::Month, days: 365, user: None,        group: Some("g-3"), budget: ms(200) },
    Case { what: "all users' month, by day",   by: By::User,  window: Window::Day,   days: 30,  user: None,        group: None,        budget: ms(3_000) },
    Case { what: "all groups' month, by day",  by: By::Group, window: Window::Day,   days: 30,  user: None,        group: None,        budget: ms(2_000) },
    Case { what: "all users' year, by month",  by: By::User,  window: Window::Month, days: 365, user: None,        group: None,        budget: ms(3_000) },
];

fn main() {
    let sizes: Vec<i64> = std::env::args()
        .filter_map(|word| word.parse().ok())
        .collect();
    let sizes = if sizes.is_empty() {
        SIZES.to_vec()
    } else {
        sizes
    };
    println!("| servers | ledger, MiB | bytes a server-day | filled in, s |\n|---|---|---|---|");
    let ledgers: Vec<_> = sizes.iter().map(|servers| filled(*servers)).collect();
    println!("\n| report | servers | rows | KiB of CSV | best, ms | median, ms | budget, ms |");
    println!("|---|---|---|---|---|---|---|");
    let mut late = 0;
    for case in &CASES {
        for (servers, dir) in sizes.iter().zip(&ledgers) {
            let (rows, bytes) = sizes_of(&report(dir.path(), case));
            let mut spans: Vec<Duration> = (0..REPEATS)
                .map(|_| {
                    let begun = Instant::now();
                    black_box(report(dir.path(), case));
                    begun.elapsed()
                })
                .collect();
            spans.sort_unstable();
            let (best, median) = (spans[0], spans[REPEATS / 2]);
            late += usize::from(best > case.budget);
            println!(
                "| {} | {servers} | {rows} | {} | {:.1} | {:.1} | {} |",
                case.what,
                bytes / 1024,
                best.as_secs_f64() * 1e3,
                median.as_secs_f64() * 1e3,
                case.budget.as_millis()
            );
        }
    }
    println!("\n{late} of them take longer than their budget");
}

fn sizes_of(csv: &[u8]) -> (usize, usize) {
    (
        csv.iter().filter(|byte| **byte == b'\n').count() - 1,
        csv.len(),
    )
}

/// The whole way of a report, from opening the file on.
fn report(dir: &Path, case: &Case) -> Vec<u8> {
    let reader = Reader::open(dir).unwrap().expect("a ledger");
    let to_ms = (TODAY + 1) * DAY_MS;
    let from_ms = Some(to_ms - case.days * DAY_MS);
    let question = Question::new(case.by, case.window, from_ms, to_ms);
    let wanted = |known: &_| is_asked_for(known, case.user, case.group);
    let mut out = Vec::new();
    UsageReport::new(reader, question, wanted)
        .unwrap()
        .write(&mut out)
        .unwrap();
    out
}

/// A ledger with a year of so many servers.
fn filled(servers: i64) -> tempfile::TempDir {
    let begun = Instant::now();
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let now_ms = TODAY * DAY_MS + DAY_MS / 2;
    let mut ledger = Ledger::open(dir.path(), now_ms - DAYS * DAY_MS).unwrap();
    let names = Connection::open(dir.path().join("history/servers.db")).unwrap();
    names
        .execute_batch(
            "CREATE TABLE server (id INTEGER PRIMARY KEY, user TEXT, server TEXT); BEGIN",
        )
        .unwrap();
    let mut runs = Vec::new();
    for id in 0..servers {
        // Every eleventh is the second server of the user before.
        let (user, server) = if id % 11 == 10 {
            (id - 1, "gpu")
        } else {
            (id, "")
        };
        let user = format!("u-{user}");
        names
            .execute(
                "INSERT INTO server VALUES (?1, ?2, ?3)",
                params![id, user, server],
            )
            .unwrap();
        let group = format!("g-{}", id / GROUP_USERS);
        let run = RunNote {
            key: ServerKey::new(&user, server),
            started_ms: now_ms - DAY_MS / 2,
            until_ms: now_ms,
            groups: Some(vec![Label::clean(&group, 64)]),
        };
        runs.push((id, run));
    }
    names.execute_batch("COMMIT").unwrap();
    for day in TODAY - DAYS..=TODAY {
        let days: Vec<DayUse> = (0..servers).map(|id| used(id, day)).collect();
        ledger.write(&days, &[]).unwrap();
    }
    ledger.write(&[], &runs).unwrap();
    ledger.sweep(now_ms, 0).unwrap();
    drop(ledger); // the last to leave puts the log into the file
    let bytes = std::fs::metadata(dir.path().join("history/usage.db"))
        .unwrap()
        .len();
    println!(
        "| {servers} | {} | {:.1} | {:.0} |",
        bytes >> 20,
        bytes as f64 / (servers * (DAYS + 1)) as f64,
        begun.elapsed().as_secs_f64()
    );
    dir
}

/// Figures as real ones: of different lengths, none foreseeable.
fn used(server: i64, day: i64) -> DayUse {
    let noise = (server.wrapping_mul(0x9E37_79B9) ^ day.wrapping_mul(0x85EB_CA6B)) & 0xFFFF;
    let covered_ms = 3_600_000 + noise * 900;
    DayUse {
        server,
        day,
        covered_ms,
        memory_kib_s: covered_ms * (900_000 + noise * 20) / 1000,
        core_ms: covered_ms * noise / 0x2_0000,
        memory_peak_bytes: Some((1_000_000 + noise * 40) * 1024),
    }
}
