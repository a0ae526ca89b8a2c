//! The file: days and months of servers, and the runs that days are measured against.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use super::{DAY_MS, FILE, RunNote, UsageError, Window, day_of_ms};
use crate::{database, text::Label};

/// What the file's `user_version` says.
const SCHEMA: i64 = 1;

/// What is in the file. A day's `ran_ms` is NULL while nobody said when the server ran.
const TABLES: &str = "
    CREATE TABLE day (
        day INTEGER NOT NULL,               -- since 1970-01-01, UTC
        server INTEGER NOT NULL,            -- its number in servers.db
        covered_ms INTEGER NOT NULL,
        memory_kib_s INTEGER NOT NULL,
        core_ms INTEGER NOT NULL,
        memory_peak_bytes INTEGER,
        ran_ms INTEGER,
        PRIMARY KEY (day, server)
    ) WITHOUT ROWID;
    CREATE TABLE month (
        month INTEGER NOT NULL,             -- its first day
        server INTEGER NOT NULL,
        covered_ms INTEGER NOT NULL,
        memory_kib_s INTEGER NOT NULL,
        core_ms INTEGER NOT NULL,
        memory_peak_bytes INTEGER,
        unmeasured_ms INTEGER,
        PRIMARY KEY (month, server)
    ) WITHOUT ROWID;
    CREATE TABLE summed (month INTEGER PRIMARY KEY);  -- whose servers are all in month
    CREATE TABLE run (
        server INTEGER NOT NULL,
        started_ms INTEGER NOT NULL,
        until_ms INTEGER NOT NULL,
        PRIMARY KEY (server, started_ms)
    ) WITHOUT ROWID;
    CREATE TABLE begun (day INTEGER NOT NULL);          -- before it nobody asked what ran
    CREATE TABLE grouped (
        server INTEGER PRIMARY KEY,
        told_ms INTEGER NOT NULL,
        names TEXT NOT NULL                 -- a JSON list
    );
";

/// A month is summed up this long after its end: samples come at most two days late.
const MONTH_SETTLES_DAYS: i64 = 3;

/// Runs are kept this long after their end, for the days that another run shares with them.
const RUNS_KEPT_DAYS: i64 = 40;

/// What a server used on one day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DayUse {
    /// Its number.
    pub server: i64,
    /// The day, counted from 1970-01-01.
    pub day: i64,
    /// Time that samples speak for.
    pub covered_ms: i64,
    /// Memory × time.
    pub memory_kib_s: i64,
    /// Cores × time.
    pub core_ms: i64,
    /// The largest memory figure.
    pub memory_peak_bytes: Option<i64>,
}

/// The ledger's writer; there is one.
#[derive(Debug)]
pub struct Ledger {
    db: Connection,
    /// The day it was made: what ran before, nobody asked.
    begun: i64,
    /// What was before this day is forgotten.
    forgotten: i64,
}

// === impl Ledger ===

impl Ledger {
    /// Opens the ledger in `data_dir`'s `history/`, making it if need be.
    ///
    /// # Errors
    /// The file is unfit, or of a newer program.
    pub fn open(data_dir: &Path, now_ms: i64) -> Result<Self, UsageError> {
        let dir = data_dir.join("history");
        database::prepare_dir(&dir)?;
        let mut db = database::open(&dir.join(FILE))?;
        let failed = UsageError::sql("make the tables");
        let tx = db.transaction().map_err(&failed)?;
        let found = schema(&tx)?;
        if found == 0 {
            tx.execute_batch(TABLES).map_err(&failed)?;
            tx.execute("INSERT INTO begun VALUES (?1)", [day_of_ms(now_ms)])
                .map_err(&failed)?;
            tx.pragma_update(None, "user_version", SCHEMA)
                .map_err(&failed)?;
        }
        let begun = tx
            .query_row("SELECT day FROM begun", [], |row| row.get(0))
            .map_err(&failed)?;
        tx.commit().map_err(&failed)?;
        Ok(Self {
            db,
            begun,
            forgotten: i64::MIN,
        })
    }

    /// Puts days and runs on the disk, all or nothing. The same again changes nothing.
    ///
    /// # Errors
    /// None of it is on the disk.
    pub fn write(&mut self, days: &[DayUse], runs: &[(i64, RunNote)]) -> Result<(), UsageError> {
        if days.is_empty() && runs.is_empty() {
            return Ok(());
        }
        let failed = UsageError::sql("write days");
        let tx = self.db.transaction().map_err(&failed)?;
        let mut touched = Vec::new();
        for day in days {
            put_day(&tx, day).map_err(&failed)?;
            touched.push(day.day);
        }
        for (server, run) in runs {
            put_run(&tx, *server, run, self.begun, &mut touched).map_err(&failed)?;
        }
        for day in &mut touched {
            *day = Window::Month.begin(*day);
        }
        touched.sort_unstable();
        touched.dedup();
        for month in touched {
            tx.execute("DELETE FROM summed WHERE month = ?1", [month])
                .map_err(&failed)?;
        }
        tx.commit().map_err(&failed)
    }

    /// Erases all of these servers, bytes and all.
    ///
    /// # Errors
    /// Some of it may be left; the next call goes on.
    pub fn forget(&mut self, servers: &[i64]) -> Result<(), UsageError> {
        if servers.is_empty() {
            return Ok(());
        }
        let failed = UsageError::sql("forget servers");
        self.db
            .pragma_update(None, "secure_delete", "ON")
            .map_err(&failed)?;
        let tx = self.db.transaction().map_err(&failed)?;
        for table in ["day", "month", "run", "grouped"] {
            let delete = format!("DELETE FROM {table} WHERE server = ?1");
            let mut delete = tx.prepare(&delete).map_err(&failed)?;
            for server in servers {
                delete.execute([server]).map_err(&failed)?;
            }
        }
        tx.commit().map_err(&failed)?;
        database::truncate_log(&self.db).map_err(failed)
    }

    /// Sums up months that are over, and forgets days before `before_ms`.
    ///
    /// # Errors
    /// It is tried again by the next call.
    pub fn sweep(&mut self, now_ms: i64, before_ms: i64) -> Result<(), UsageError> {
        self.forget_before(day_of_ms(before_ms), day_of_ms(now_ms))?;
        let failed = UsageError::sql("sum up a month");
        let settled = Window::Month.begin(day_of_ms(now_ms) - MONTH_SETTLES_DAYS);
        let first: Option<i64> = self
            .db
            .query_row("SELECT min(day) FROM day", [], |row| row.get(0))
            .map_err(&failed)?;
        let mut month = first.map_or(settled, |day| Window::Month.begin(day));
        while month < settled {
            let end = Window::Month.end(month);
            self.sum_up(month, end).map_err(&failed)?;
            month = end;
        }
        Ok(())
    }

    fn sum_up(&mut self, month: i64, end: i64) -> rusqlite::Result<()> {
        let tx = self.db.transaction()?;
        let done = tx
            .query_row("SELECT 1 FROM summed WHERE month = ?1", [month], |_| Ok(()))
            .optional()?;
        if done.is_some() {
            return Ok(());
        }
        tx.execute("DELETE FROM month WHERE month = ?1", [month])?;
        tx.execute(
            "INSERT INTO month
             SELECT ?1, server, sum(covered_ms), sum(memory_kib_s), sum(core_ms),
                    max(memory_peak_bytes), sum(max(ran_ms - covered_ms, 0))
             FROM day WHERE day >= ?1 AND day < ?2 GROUP BY server",
            [month, end],
        )?;
        tx.execute("INSERT INTO summed VALUES (?1)", [month])?;
        tx.commit()
    }

    /// Forgets what ended before `day`; a month as long as one of its days is kept.
    fn forget_before(&mut self, day: i64, today: i64) -> Result<(), UsageError> {
        if day <= self.forgotten {
            return Ok(());
        }
        let failed = UsageError::sql("forget what is old");
        let tx = self.db.transaction().map_err(&failed)?;
        let month = Window::Month.begin(day);
        let runs_ms = (today - RUNS_KEPT_DAYS).saturating_mul(DAY_MS);
        for (delete, before) in [
            ("DELETE FROM day WHERE day < ?1", day),
            ("DELETE FROM month WHERE month < ?1", month),
            ("DELETE FROM summed WHERE month < ?1", month),
            ("DELETE FROM run WHERE until_ms < ?1", runs_ms),
        ] {
            tx.execute(delete, [before]).map_err(&failed)?;
        }
        tx.commit().map_err(&failed)?;
        self.forgotten = day;
        Ok(())
    }
}

/// The file's schema; a newer one is refused.
pub(super) fn schema(db: &Connection) -> Result<i64, UsageError> {
    let found: i64 = db
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .map_err(UsageError::sql("read the schema"))?;
    if found > SCHEMA {
        return Err(UsageError::Newer {
            found,
            known: SCHEMA,
        });
    }
    Ok(found)
}

fn put_day(tx: &Transaction<'_>, day: &DayUse) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT INTO day VALUES (?1, ?2, ?3, ?4, ?5, ?6, NULL)
         ON CONFLICT (day, server) DO UPDATE SET
            covered_ms = excluded.covered_ms,
            memory_kib_s = excluded.memory_kib_s,
            core_ms = excluded.core_ms,
            memory_peak_bytes = excluded.memory_peak_bytes",
    )?
    .execute(params![
        day.day,
        day.server,
        day.covered_ms,
        day.memory_kib_s,
        day.core_ms,
        day.memory_peak_bytes
    ])?;
    Ok(())
}

fn put_run(
    tx: &Transaction<'_>,
    server: i64,
    run: &RunNote,
    begun: i64,
    touched: &mut Vec<i64>,
) -> rusqlite::Result<()> {
    if let Some(groups) = &run.groups {
        put_groups(tx, server, run.until_ms, groups)?;
    }
    let known_ms: Option<i64> = tx
        .prepare_cached("SELECT until_ms FROM run WHERE server = ?1 AND started_ms = ?2")?
        .query_row([server, run.started_ms], |row| row.get(0))
        .optional()?;
    if known_ms.is_some_and(|known_ms| known_ms >= run.until_ms) {
        return Ok(());
    }
    tx.prepare_cached(
        "INSERT INTO run VALUES (?1, ?2, ?3)
         ON CONFLICT (server, started_ms) DO UPDATE SET until_ms = excluded.until_ms",
    )?
    .execute([server, run.started_ms, run.until_ms])?;
    let to = day_of_ms(run.until_ms);
    let from = day_of_ms(known_ms.unwrap_or(run.started_ms)).max(begun);
    for day in from..=to {
        put_ran(tx, server, day)?;
        touched.push(day);
    }
    Ok(())
}

/// Computes anew for how long `server` ran on `day`, from all its runs. It never becomes less: a run
/// that is no longer kept was counted when it was.
fn put_ran(tx: &Transaction<'_>, server: i64, day: i64) -> rusqlite::Result<()> {
    let (from_ms, to_ms) = (day * DAY_MS, (day + 1) * DAY_MS);
    let mut select = tx.prepare_cached(
        "SELECT started_ms, until_ms FROM run
         WHERE server = ?1 AND started_ms < ?2 AND until_ms > ?3 ORDER BY started_ms",
    )?;
    let mut runs = select.query([server, to_ms, from_ms])?;
    let (mut ran_ms, mut through_ms) = (0, from_ms);
    while let Some(run) = runs.next()? {
        let (started_ms, until_ms): (i64, i64) = (run.get(0)?, run.get(1)?);
        let begin_ms = started_ms.max(through_ms);
        let end_ms = until_ms.min(to_ms);
        ran_ms += (end_ms - begin_ms).max(0);
        through_ms = through_ms.max(end_ms);
    }
    tx.prepare_cached(
        "INSERT INTO day VALUES (?1, ?2, 0, 0, 0, NULL, ?3)
         ON CONFLICT (day, server) DO UPDATE SET
            ran_ms = max(coalesce(ran_ms, 0), excluded.ran_ms)",
    )?
    .execute([day, server, ran_ms])?;
    Ok(())
}

fn put_groups(
    tx: &Transaction<'_>,
    server: i64,
    told_ms: i64,
    groups: &[Label],
) -> rusqlite::Result<()> {
    let names: Vec<&str> = groups.iter().map(Label::as_str).collect();
    let names = serde_json::Value::from(names).to_string();
    tx.prepare_cached("INSERT OR REPLACE INTO grouped VALUES (?1, ?2, ?3)")?
        .execute(params![server, told_ms, names])?;
    Ok(())
}
