//! `usage.csv`: what users or groups used, measured, per day, week or month.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

use csv::ByteRecord;

use super::ReportError;
use crate::{
    text::{self, Label},
    usage::{Chosen, Known, Reader, Totals, Window, date_of, day_of_ms},
};

/// Rows of one report: 50,000 users for three months of days.
const ROWS_MAX: u64 = 5_000_000;

/// Digits behind the point: 1 KiB for an hour is 0.000001 GiB-hours.
const DIGITS: u32 = 6;

/// KiB × seconds in a GiB-hour.
const GIB_HOUR_KIB_S: i64 = 1024 * 1024 * 3600;

const HOUR_MS: i64 = 60 * 60 * 1000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// Whose use makes a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// A user's.
    User,
    /// That of all users of a group; who is in several counts in each.
    Group,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// Whose use makes a row.
    pub by: By,
    /// Over how much time a row adds up.
    pub window: Window,
    /// Windows from the one that holds this day on.
    pub from_day: i64,
    /// Up to the one that holds this day.
    pub through_day: i64,
}

/// One report under way: a window at a time, so that no answer is ever held whole.
pub struct UsageReport {
    question: Question,
    reader: Reader,
    chosen: Chosen,
    groups: Groups,
    /// The window that comes next.
    day: i64,
    record: ByteRecord,
}

/// The groups of the chosen users: the one without a name holds those that are in none.
struct Groups {
    names: Vec<Label>,
    /// By user: places in `names`.
    of_user: Vec<Vec<usize>>,
}

/// A group's use in one window.
#[derive(Clone, Copy, Default)]
struct OfGroup {
    users: u32,
    totals: Totals,
}

// === impl By ===

impl By {
    /// Both, as they are named.
    pub const ALL: [Self; 2] = [Self::User, Self::Group];

    /// Its name in questions and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Group => "group",
        }
    }
}

// === impl Question ===

impl Question {
    /// Windows that hold anything of `from_ms <= time < to_ms`, each whole; without `from_ms` as
    /// many as fit a page.
    #[must_use]
    pub fn new(by: By, window: Window, from_ms: Option<i64>, to_ms: i64) -> Self {
        let through_day = day_of_ms(to_ms.saturating_sub(1));
        let default_ms = to_ms.saturating_sub(window.span_days() * DAY_MS);
        Self {
            by,
            window,
            from_day: day_of_ms(from_ms.unwrap_or(default_ms)),
            through_day,
        }
    }
}

// === impl UsageReport ===

impl UsageReport {
    /// The report on the servers that `wanted` takes.
    ///
    /// # Errors
    /// The ledger cannot be read, or the answer would be too long.
    pub fn new(
        reader: Reader,
        question: Question,
        wanted: impl Fn(&Known) -> bool,
    ) -> Result<Self, ReportError> {
        let chosen = reader.choose(wanted);
        let groups = Groups::of(&chosen);
        let first_day = reader.first_day()?.unwrap_or(question.through_day);
        let day = question.window.begin(question.from_day.max(first_day));
        let report = Self {
            question,
            reader,
            chosen,
            groups,
            day,
            record: ByteRecord::new(),
        };
        let rows = report.rows_at_most();
        if rows > ROWS_MAX {
            return Err(ReportError::TooManyRows {
                rows,
                rows_max: ROWS_MAX,
            });
        }
        Ok(report)
    }

    /// The names of the columns.
    #[must_use]
    pub fn columns(&self) -> Vec<&'static str> {
        let mut columns = vec!["date", "window"];
        columns.extend_from_slice(match self.question.by {
            By::User => &["user"][..],
            By::Group => &["group", "users"][..],
        });
        columns.extend([
            "servers",
            "memory_gib_hours",
            "cpu_core_hours",
            "hours_covered",
            "hours_unmeasured",
            "memory_peak_bytes",
        ]);
        columns
    }

    /// Writes the names of the columns.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_head(&self, out: &mut csv::Writer<impl io::Write>) -> Result<(), ReportError> {
        out.write_record(self.columns())?;
        Ok(())
    }

    /// Writes the rows of the next window; `false` when there was none left.
    ///
    /// # Errors
    /// The ledger cannot be read, or the rows cannot be written.
    pub fn write_next(
        &mut self,
        out: &mut csv::Writer<impl io::Write>,
    ) -> Result<bool, ReportError> {
        if self.day > self.question.through_day {
            return Ok(false);
        }
        let (window, day) = (self.question.window, self.day);
        self.day = window.end(day);
        self.reader.read(window, day, &mut self.chosen)?;
        let date = date_of(day).to_string();
        let head = [date.as_bytes(), window.as_str().as_bytes()];
        match self.question.by {
            By::User => self.write_users(head, out)?,
            By::Group => self.write_groups(head, out)?,
        }
        Ok(true)
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// The ledger cannot be read, or the rows cannot be written.
    pub fn write(mut self, out: impl io::Write) -> Result<(), ReportError> {
        let mut out = csv::Writer::from_writer(out);
        self.write_head(&mut out)?;
        while self.write_next(&mut out)? {}
        out.flush()?;
        Ok(())
    }

    fn write_users(
        &mut self,
        head: [&[u8]; 2],
        out: &mut csv::Writer<impl io::Write>,
    ) -> Result<(), ReportError> {
        let users = self.chosen.users.iter().zip(self.chosen.totals());
        for (user, totals) in users.filter(|(_, totals)| totals.servers > 0) {
            self.record.clear();
            self.record.extend(head);
            self.record.push_field(text::csv(user).as_bytes());
            push_totals(&mut self.record, totals);
            out.write_byte_record(&self.record)?;
        }
        Ok(())
    }

    fn write_groups(
        &mut self,
        head: [&[u8]; 2],
        out: &mut csv::Writer<impl io::Write>,
    ) -> Result<(), ReportError> {
        let mut of_groups = vec![OfGroup::default(); self.groups.names.len()];
        let users = self.groups.of_user.iter().zip(self.chosen.totals());
        for (groups, totals) in users.filter(|(_, totals)| totals.servers > 0) {
            for group in groups {
                of_groups[*group].users += 1;
                of_groups[*group].totals.add(totals);
            }
        }
        let of_groups = self.groups.names.iter().zip(&of_groups);
        for (name, of_group) in of_groups.filter(|(_, of_group)| of_group.users > 0) {
            self.record.clear();
            self.record.extend(head);
            self.record.push_field(text::csv(name.as_str()).as_bytes());
            push_whole(&mut self.record, of_group.users.into());
            push_totals(&mut self.record, &of_group.totals);
            out.write_byte_record(&self.record)?;
        }
        Ok(())
    }

    fn rows_at_most(&self) -> u64 {
        let days = (self.question.through_day - self.day).max(0) + 1;
        let length = self.question.window.end(self.day) - self.day;
        let windows = u64::try_from(days / length + 1).unwrap_or(u64::MAX);
        let each = match self.question.by {
            By::User => self.chosen.users.len(),
            By::Group => self.groups.names.len(),
        };
        windows.saturating_mul(each as u64)
    }
}

/// What is unknown where nothing was measured is not nothing: its cell is empty.
fn push_totals(record: &mut ByteRecord, totals: &Totals) {
    let measured = totals.covered_ms > 0;
    push_whole(record, totals.servers.into());
    push_share(
        record,
        measured.then_some(totals.memory_kib_s),
        GIB_HOUR_KIB_S,
    );
    push_share(record, measured.then_some(totals.core_ms), HOUR_MS);
    push_share(record, Some(totals.covered_ms), HOUR_MS);
    push_share(record, totals.unmeasured_ms, HOUR_MS);
    match totals.memory_peak_bytes {
        Some(bytes) => push_whole(record, bytes),
        None => record.push_field(b""),
    }
}

fn push_whole(record: &mut ByteRecord, number: i64) {
    record.push_field(number.to_string().as_bytes());
}

/// `sum / unit`, to the nearest in [`DIGITS`] digits, without a detour through floating point.
fn push_share(record: &mut ByteRecord, sum: Option<i64>, unit: i64) {
    let Some(sum) = sum else {
        return record.push_field(b"");
    };
    let scale = 10_i128.pow(DIGITS);
    let unit = i128::from(unit);
    let scaled = (2 * i128::from(sum.max(0)) * scale + unit) / (2 * unit);
    let (whole, rest) = (scaled / scale, scaled % scale);
    let text = format!("{whole}.{rest:0width$}", width = DIGITS as usize);
    record.push_field(text.as_bytes());
}

// === impl Groups ===

impl Groups {
    fn of(chosen: &Chosen) -> Self {
        let none = || Label::clean("", 0);
        let or_none = |groups: &[Label]| match groups {
            [] => vec![none()],
            groups => groups.to_vec(),
        };
        let of_user: Vec<Vec<Label>> = chosen.groups.iter().map(|g| or_none(g)).collect();
        let names: BTreeSet<&Label> = of_user.iter().flatten().collect();
        let places: BTreeMap<&Label, usize> = names
            .iter()
            .enumerate()
            .map(|(at, name)| (*name, at))
            .collect();
        let place = |groups: &Vec<Label>| groups.iter().map(|group| places[group]).collect();
        Self {
            of_user: of_user.iter().map(place).collect(),
            names: names.into_iter().cloned().collect(),
        }
    }
}

/// Whether `known` is `user`'s, and of `group`, where those are asked for.
#[must_use]
pub fn is_asked_for(known: &Known, user: Option<&str>, group: Option<&str>) -> bool {
    let of_user = user.is_none_or(|user| *known.key.user == *user);
    let of_group = group.is_none_or(|group| known.groups.iter().any(|g| g.as_str() == group));
    of_user && of_group
}
