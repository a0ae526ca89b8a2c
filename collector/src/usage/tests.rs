//! The ledger against what it was given.

use super::*;
use crate::{
    database,
    fact::{HubServer, ServerKey},
    person::{Fate, Fates},
    text::Label,
};

const HOUR_MS: i64 = 60 * 60 * 1000;
const TODAY: i64 = 20_000; // 2024-10-04
const TODAY_MS: i64 = TODAY * DAY_MS;

struct Fixture {
    dir: tempfile::TempDir,
    ledger: Ledger,
    runs: Runs,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("history")).unwrap();
        let servers = database::open(&dir.path().join("history").join(SERVERS_FILE)).unwrap();
        servers
            .execute_batch(
                "CREATE TABLE server (id INTEGER PRIMARY KEY, user TEXT, server TEXT);
                 INSERT INTO server VALUES (1, 'ann', ''), (2, 'ann', 'gpu'), (3, 'bob', '');",
            )
            .unwrap();
        let ledger = Ledger::open(dir.path(), TODAY_MS - 40 * DAY_MS).unwrap();
        Self {
            dir,
            ledger,
            runs: Runs::default(),
        }
    }

    /// The hub lists server 1 as started at `started_ms`, and nothing else.
    fn list(&mut self, at_ms: i64, started_ms: i64, groups: &[&str]) {
        let server = HubServer {
            key: ServerKey::new("ann", ""),
            groups: groups.iter().map(|name| Label::clean(name, 99)).collect(),
            started_ms: Some(started_ms),
            last_activity_ms: None,
            ready: true,
        };
        self.runs.note(at_ms, &[server]);
        self.write(&[]);
    }

    fn write(&mut self, days: &[DayUse]) {
        let due = self.runs.due();
        let runs: Vec<_> = due.iter().cloned().map(|run| (1, run)).collect();
        self.ledger.write(days, &runs).unwrap();
        self.runs.written(&due);
    }

    /// What ann's and bob's servers used in the window that holds `day`.
    fn totals(&self, window: Window, day: i64) -> [Totals; 2] {
        let reader = Reader::open(self.dir.path()).unwrap().unwrap();
        let mut both = reader.choose(|_| true);
        reader.read(window, window.begin(day), &mut both).unwrap();
        let totals = [0, 1].map(|at| both.totals()[at]);
        // One by one it is the same as all at once.
        for (at, user) in ["ann", "bob"].into_iter().enumerate() {
            for one_by_one in [false, true] {
                let mut one = reader.choose(|known| &*known.key.user == user);
                one.read_one_by_one(one_by_one);
                reader.read(window, window.begin(day), &mut one).unwrap();
                assert_eq!(one.totals(), &totals[at..=at], "{user} {one_by_one}");
            }
        }
        totals
    }

    fn ann(&self, window: Window, day: i64) -> Totals {
        self.totals(window, day)[0]
    }
}

fn day(server: i64, day: i64, hours: i64) -> DayUse {
    DayUse {
        server,
        day,
        covered_ms: hours * HOUR_MS,
        memory_kib_s: hours * 3600 * 1024,
        core_ms: hours * HOUR_MS / 2,
        memory_peak_bytes: Some(hours << 20),
    }
}

#[test]
fn a_day_written_again_replaces_itself_and_another_adds_to_the_window() {
    let mut fixture = Fixture::new();
    for _ in 0..2 {
        let days = [day(1, TODAY, 2), day(2, TODAY, 3), day(1, TODAY - 1, 4)];
        fixture.write(&days);
    }
    let [ann, bob] = fixture.totals(Window::Day, TODAY);
    let expected = Totals {
        servers: 2,
        covered_ms: 5 * HOUR_MS,
        unmeasured_ms: None,
        memory_kib_s: 5 * 3600 * 1024,
        core_ms: 5 * HOUR_MS / 2,
        memory_peak_bytes: Some(3 << 20),
    };
    assert_eq!((ann, bob), (expected, Totals::default()));
    let week = fixture.ann(Window::Week, TODAY);
    assert_eq!((week.servers, week.covered_ms), (2, 9 * HOUR_MS));
}

#[test]
fn hours_that_nobody_measured_are_those_the_hub_says_it_ran_beyond_those_covered() {
    let mut fixture = Fixture::new();
    fixture.write(&[day(1, TODAY, 2)]);
    assert_eq!(
        fixture.ann(Window::Day, TODAY).unmeasured_ms,
        None,
        "nobody said"
    );
    let started_ms = TODAY_MS - 3 * HOUR_MS;
    fixture.list(TODAY_MS + 5 * HOUR_MS, started_ms, &[]);
    let unmeasured = |fixture: &Fixture, day| fixture.ann(Window::Day, day).unmeasured_ms;
    assert_eq!(unmeasured(&fixture, TODAY - 1), Some(3 * HOUR_MS));
    assert_eq!(unmeasured(&fixture, TODAY), Some(3 * HOUR_MS));
    assert_eq!(
        fixture.ann(Window::Week, TODAY).unmeasured_ms,
        Some(6 * HOUR_MS)
    );
    // More covered than the hub knows of is no debt to another day.
    fixture.write(&[day(1, TODAY, 9)]);
    assert_eq!(unmeasured(&fixture, TODAY), Some(0));
}

#[test]
fn an_outage_of_ours_is_bridged_when_the_hub_still_has_the_same_start() {
    let mut fixture = Fixture::new();
    fixture.list(TODAY_MS + HOUR_MS, TODAY_MS, &[]);
    // A new collector, nine hours later, knows nothing of the list before.
    fixture.runs = Runs::default();
    fixture.list(TODAY_MS + 10 * HOUR_MS, TODAY_MS, &[]);
    let ran_ms = fixture.ann(Window::Day, TODAY).unmeasured_ms;
    assert_eq!(ran_ms, Some(10 * HOUR_MS));
    // A new start: what was between the lists, nobody knows.
    fixture.list(TODAY_MS + 20 * HOUR_MS, TODAY_MS + 19 * HOUR_MS, &[]);
    let ran_ms = fixture.ann(Window::Day, TODAY).unmeasured_ms;
    assert_eq!(ran_ms, Some(11 * HOUR_MS));
}

#[test]
fn runs_that_overlap_count_once() {
    let mut fixture = Fixture::new();
    fixture.list(TODAY_MS + 5 * HOUR_MS, TODAY_MS, &[]);
    fixture.list(TODAY_MS + 6 * HOUR_MS, TODAY_MS + 2 * HOUR_MS, &[]);
    let ran_ms = fixture.ann(Window::Day, TODAY).unmeasured_ms;
    assert_eq!(ran_ms, Some(6 * HOUR_MS));
}

#[test]
fn a_run_that_goes_on_is_written_every_ten_minutes_and_at_its_end() {
    let mut fixture = Fixture::new();
    let ran_ms = |fixture: &Fixture| fixture.ann(Window::Day, TODAY).unmeasured_ms;
    let minute_ms = HOUR_MS / 60;
    for minute in [1, 5, 10] {
        fixture.list(TODAY_MS + minute * minute_ms, TODAY_MS, &[]);
        assert_eq!(ran_ms(&fixture), Some(minute_ms));
    }
    fixture.list(TODAY_MS + 11 * minute_ms, TODAY_MS, &[]);
    assert_eq!(ran_ms(&fixture), Some(11 * minute_ms));
    fixture.list(TODAY_MS + 15 * minute_ms, TODAY_MS, &[]);
    fixture.runs.note(TODAY_MS + 16 * minute_ms, &[]);
    fixture.write(&[]);
    assert_eq!(ran_ms(&fixture), Some(15 * minute_ms));
    assert_eq!(fixture.runs.due(), []);
}

#[test]
fn what_ran_before_the_ledger_was_begun_nobody_asked() {
    let mut fixture = Fixture::new();
    let begun = TODAY - 40;
    fixture.list(begun * DAY_MS + HOUR_MS, (begun - 300) * DAY_MS, &[]);
    let of = |day| fixture.ann(Window::Day, day).unmeasured_ms;
    assert_eq!((of(begun - 1), of(begun)), (None, Some(HOUR_MS)));
}

#[test]
fn a_server_that_is_not_ready_or_has_no_start_does_not_run() {
    let mut runs = Runs::default();
    let server = |ready, started_ms| HubServer {
        key: ServerKey::new("ann", ""),
        groups: Vec::new(),
        started_ms,
        last_activity_ms: None,
        ready,
    };
    runs.note(TODAY_MS, &[server(false, Some(1)), server(true, None)]);
    assert_eq!(runs.due(), []);
}

#[test]
fn groups_are_those_the_hub_told_last() {
    let mut fixture = Fixture::new();
    let groups = |fixture: &Fixture| {
        let reader = Reader::open(fixture.dir.path()).unwrap().unwrap();
        let of = |known: &Known| known.groups.iter().map(|g| g.to_string()).collect();
        reader.known().iter().map(of).collect::<Vec<Vec<String>>>()
    };
    fixture.list(TODAY_MS, TODAY_MS, &["a\"b", "c"]);
    // Of all of ann's servers, those that do not run too.
    let both = vec!["a\"b".to_owned(), "c".to_owned()];
    assert_eq!(groups(&fixture), [both.clone(), both, vec![]]);
    fixture.list(TODAY_MS + 1000, TODAY_MS, &["d"]);
    assert_eq!(groups(&fixture)[1], ["d"]);
    fixture.list(TODAY_MS + 2000, TODAY_MS, &[]);
    assert_eq!(groups(&fixture)[0], [""; 0]);
}

#[test]
fn a_month_that_is_over_tells_the_same_from_its_sum_as_from_its_days() {
    let mut fixture = Fixture::new();
    let month = Window::Month.begin(TODAY) - 1; // the last day of the month before
    let days = [
        day(1, month, 2),
        day(2, month, 3),
        day(3, month - 7, 5),
        day(1, month + 1, 7),
    ];
    fixture.write(&days);
    fixture.list(month * DAY_MS + 4 * HOUR_MS, month * DAY_MS, &[]);
    let before = fixture.totals(Window::Month, month);
    let never_ms = -i64::from(i32::MAX);
    let now_ms = (month + 10) * DAY_MS;
    fixture.ledger.sweep(now_ms, never_ms).unwrap();
    assert_eq!(summed(&fixture), 1);
    assert_eq!(fixture.totals(Window::Month, month), before);
    assert_eq!(before[0].unmeasured_ms, Some(2 * HOUR_MS));
    // A sample that comes late all the same makes the sum void.
    fixture.write(&[day(3, month - 7, 6)]);
    assert_eq!(summed(&fixture), 0);
    let after = fixture.totals(Window::Month, month);
    assert_eq!(after[1].covered_ms, 6 * HOUR_MS);
    fixture.ledger.sweep(now_ms, never_ms).unwrap();
    assert_eq!(fixture.totals(Window::Month, month), after);
}

fn summed(fixture: &Fixture) -> i64 {
    let file = fixture.dir.path().join("history").join(FILE);
    let db = database::open_read_only(&file).unwrap().unwrap();
    db.query_row("SELECT count(*) FROM summed", [], |row| row.get(0))
        .unwrap()
}

#[test]
fn a_month_is_not_summed_up_while_samples_may_still_come() {
    let mut fixture = Fixture::new();
    let next = Window::Month.end(TODAY);
    fixture.write(&[day(1, TODAY, 2)]);
    fixture.ledger.sweep((next + 2) * DAY_MS, 0).unwrap();
    assert_eq!(summed(&fixture), 0);
    fixture.ledger.sweep((next + 3) * DAY_MS, 0).unwrap();
    assert_eq!(summed(&fixture), 1);
}

#[test]
fn what_is_older_than_it_is_kept_is_forgotten() {
    let mut fixture = Fixture::new();
    fixture.write(&[day(1, TODAY - 40, 2), day(1, TODAY, 3)]);
    let before_ms = TODAY_MS - 39 * DAY_MS;
    fixture.ledger.sweep(TODAY_MS, before_ms).unwrap();
    assert_eq!(fixture.ann(Window::Day, TODAY - 40), Totals::default());
    assert_eq!(fixture.ann(Window::Day, TODAY).covered_ms, 3 * HOUR_MS);
}

#[test]
fn who_is_forgotten_leaves_no_row_and_nobody_else_loses_one() {
    let mut fixture = Fixture::new();
    fixture.write(&[day(1, TODAY - 40, 2), day(1, TODAY, 2), day(3, TODAY, 3)]);
    fixture.list(TODAY_MS + HOUR_MS, TODAY_MS, &["secret"]);
    fixture.ledger.sweep(TODAY_MS, 0).unwrap();
    fixture.runs.move_people(&Fates::one("ann", Fate::Erased));
    fixture.ledger.forget(&[1]).unwrap();
    fixture.write(&[]);
    for window in Window::ALL {
        let [ann, bob] = fixture.totals(window, TODAY);
        assert_eq!((ann, bob.covered_ms), (Totals::default(), 3 * HOUR_MS));
        assert_eq!(fixture.ann(window, TODAY - 40), Totals::default());
    }
    let reader = Reader::open(fixture.dir.path()).unwrap().unwrap();
    assert!(reader.known().iter().all(|known| known.groups.is_empty()));
}

#[test]
fn a_ledger_of_a_newer_program_is_refused_by_writer_and_reader() {
    let fixture = Fixture::new();
    let file = fixture.dir.path().join("history").join(FILE);
    let db = database::open(&file).unwrap();
    db.pragma_update(None, "user_version", 9).unwrap();
    let newer = |error| matches!(error, UsageError::Newer { found: 9, known: 1 });
    assert!(newer(Ledger::open(fixture.dir.path(), 0).unwrap_err()));
    assert!(newer(Reader::open(fixture.dir.path()).unwrap_err()));
}

#[test]
fn no_ledger_is_no_error() {
    let dir = tempfile::tempdir().unwrap();
    assert!(Reader::open(dir.path()).unwrap().is_none());
}
