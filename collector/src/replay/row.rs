//! One line of a CSV file: `timestamp,rss[,cpu_millis][,limit_bytes]`; by name also what else a
//! recording of an agent's has.

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

/// What a line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) at: Timestamp,
    pub(super) rss_bytes: u64,
    pub(super) cpu_millis: Option<u64>,
    pub(super) limit_bytes: Option<u64>,
    pub(super) processes: Option<u32>,
    pub(super) threads: Option<u32>,
}

/// Which column is where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Columns {
    timestamp: usize,
    rss: usize,
    cpu_millis: Option<usize>,
    limit_bytes: Option<usize>,
    processes: Option<usize>,
    threads: Option<usize>,
    /// How many the header names; without one, between two and four.
    named: Option<usize>,
}

// === impl Columns ===

impl Columns {
    /// Without a header, by place.
    pub(super) const BY_PLACE: Self = Self {
        timestamp: 0,
        rss: 1,
        cpu_millis: Some(2),
        limit_bytes: Some(3),
        processes: None,
        threads: None,
        named: None,
    };

    /// Whether `record` is a header: it names its first column instead of giving a time.
    pub(super) fn is_header(record: &csv::StringRecord) -> bool {
        record.iter().any(|name| cleaned(name) == "timestamp")
    }

    /// By the names of a header.
    pub(super) fn by_name(header: &csv::StringRecord) -> Result<Self, String> {
        let mut places = [None; 7];
        for (place, name) in header.iter().enumerate() {
            let column = match cleaned(name).as_str() {
                "timestamp" => 0,
                "rss" | "rss_bytes" => 1,
                "cpu_millis" => 2,
                "limit_bytes" | "memory_limit_bytes" => 3,
                "processes" => 4,
                "threads" => 5,
                // What is replayed is rss; recordings have the truer figure beside it.
                "memory_used_bytes" => 6,
                other => return Err(format!("the header names an unknown column {other:?}")),
            };
            if places[column].replace(place).is_some() {
                return Err(format!("the header names {name:?} twice"));
            }
        }
        let [
            timestamp,
            rss,
            cpu_millis,
            limit_bytes,
            processes,
            threads,
            _,
        ] = places;
        Ok(Self {
            timestamp: timestamp.ok_or("the header names no column timestamp")?,
            rss: rss.ok_or("the header names no column rss")?,
            cpu_millis,
            limit_bytes,
            processes,
            threads,
            named: Some(header.len()),
        })
    }

    /// Reads a line.
    pub(super) fn read(&self, record: &csv::StringRecord) -> Result<Row, String> {
        let fits = match self.named {
            Some(named) => record.len() == named,
            None => (2..=4).contains(&record.len()),
        };
        if !fits {
            let wanted = self
                .named
                .map_or_else(|| "2 to 4".to_owned(), |named| named.to_string());
            return Err(format!(
                "{} columns where {wanted} are expected",
                record.len()
            ));
        }
        let cell = |place: usize| record.get(place).unwrap_or("").trim();
        let optional = |place: Option<usize>, name: &str| match place.map(cell) {
            None | Some("") => Ok(None),
            Some(text) => whole_number(text, name).map(Some),
        };
        Ok(Row {
            at: time(cell(self.timestamp))?,
            rss_bytes: whole_number(cell(self.rss), "rss")?,
            cpu_millis: optional(self.cpu_millis, "cpu_millis")?,
            limit_bytes: optional(self.limit_bytes, "limit_bytes")?,
            processes: optional(self.processes, "processes")?.map(count),
            threads: optional(self.threads, "threads")?.map(count),
        })
    }
}

/// A column's name without what editors and exports put around it.
fn cleaned(name: &str) -> String {
    name.trim_start_matches('\u{FEFF}')
        .trim()
        .to_ascii_lowercase()
}

/// `YYYY-MM-DD HH:MM:SS[.f…]` in UTC, or RFC 3339.
fn time(text: &str) -> Result<Timestamp, String> {
    let text = text.trim_start_matches('\u{FEFF}');
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    let bad = || format!("timestamp {text:?} is neither YYYY-MM-DD HH:MM:SS nor RFC 3339");
    // A date alone would parse as midnight: it is not what was promised.
    let with_time = text.len() >= "YYYY-MM-DD HH:MM:SS".len();
    let civil: DateTime = text.parse().ok().filter(|_| with_time).ok_or_else(bad)?;
    let zoned = civil.to_zoned(TimeZone::UTC).map_err(|_| bad())?;
    Ok(zoned.timestamp())
}

fn count(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn whole_number(text: &str, name: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| format!("{name} {text:?} is not a whole number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: &[&str]) -> Result<Row, String> {
        Columns::BY_PLACE.read(&csv::StringRecord::from(cells.to_vec()))
    }

    #[test]
    fn both_forms_of_time_are_read_as_utc() {
        let expected = Timestamp::from_millisecond(1_573_941_376_250).unwrap();
        for text in [
            "2019-11-16 21:56:16.25",
            "2019-11-16T21:56:16.250Z",
            "2019-11-16T22:56:16.25+01:00",
            "2019-11-16T21:56:16.250000",
        ] {
            assert_eq!(row(&[text, "1"]).unwrap().at, expected, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let says = |cells: &[&str]| row(cells).unwrap_err();
        assert!(says(&["yesterday", "1"]).contains("timestamp \"yesterday\""));
        assert!(says(&["2019-11-16", "1"]).contains("timestamp"));
        assert!(says(&["2019-11-16 21:56:16", "-1"]).contains("rss \"-1\""));
        assert!(says(&["2019-11-16 21:56:16", "1.5"]).contains("rss \"1.5\""));
        assert!(says(&["2019-11-16 21:56:16", ""]).contains("rss \"\""));
        assert!(says(&["2019-11-16 21:56:16"]).contains("1 columns"));
        assert!(says(&["2019-11-16 21:56:16", "1", "x"]).contains("cpu_millis \"x\""));
        assert!(says(&["2019-11-16 21:56:16", "1", "2", "3", "4"]).contains("5 columns"));
    }

    #[test]
    fn a_recording_may_tell_what_else_was_counted() {
        let header = "timestamp,rss,cpu_millis,memory_used_bytes,processes,threads";
        let record = |line: &str| csv::StringRecord::from(line.split(',').collect::<Vec<_>>());
        let columns = Columns::by_name(&record(header)).unwrap();
        let row = columns
            .read(&record("2019-11-16 21:56:16,7,8,9,10,11"))
            .unwrap();
        assert_eq!((row.processes, row.threads), (Some(10), Some(11)));
        assert_eq!((row.rss_bytes, row.limit_bytes), (7, None));
    }

    #[test]
    fn a_header_may_leave_columns_out_but_not_invent_them() {
        let header = |names: &[&str]| Columns::by_name(&csv::StringRecord::from(names.to_vec()));
        let columns = header(&["timestamp", "rss", "limit_bytes"]).unwrap();
        let record = csv::StringRecord::from(vec!["2019-11-16 21:56:16", "7", "9"]);
        let row = columns.read(&record).unwrap();
        assert_eq!(
            (row.rss_bytes, row.cpu_millis, row.limit_bytes),
            (7, None, Some(9))
        );
        assert!(
            header(&["timestamp", "limit"])
                .unwrap_err()
                .contains("\"limit\"")
        );
        assert!(header(&["timestamp"]).unwrap_err().contains("rss"));
        assert!(
            header(&["timestamp", "rss", "rss"])
                .unwrap_err()
                .contains("twice")
        );
    }
}
