//! A recorded series through the live code path: CSV in, one row of judgement per line out.
//!
//! Every line becomes a report of one server and goes through [`State::apply`], so what is printed
//! is what the hub page would have shown. It reads from a reader and writes to a writer, and its
//! only clock is the file's.

mod row;

use std::io::{self, Read, Write};

use hubmeter_kinetics::{
    forecast::Forecast,
    momentum::{gigabytes, momentum_gb},
    trend::Trend,
};
use serde::Serialize;

use crate::{
    fact::{Fact, InstanceId, MemorySource, Sample, ServerKey},
    serve::shape::{VerdictJson, rfc3339},
    state::{Policy, State},
    verdict::Verdict,
};
use row::{Columns, Row};

/// How rows are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplayFormat {
    /// For people.
    #[default]
    Table,
    /// One object a line.
    Json,
}

/// What to replay with.
#[derive(Clone, Debug, Default)]
pub struct ReplayOptions {
    /// The limit for rows that bring none.
    pub limit_bytes: Option<u64>,
    /// How rows are written.
    pub format: ReplayFormat,
    /// How to judge.
    pub policy: Policy,
}

/// Why a replay ended early.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The file can't be read.
    #[error("can't read the series")]
    Read(#[source] csv::Error),
    /// A line is not what was promised.
    #[error("line {line}: {what}")]
    Row {
        /// Counted from 1, the header included.
        line: u64,
        /// What is wrong with it.
        what: String,
    },
    /// The rows can't be written.
    #[error("can't write the rows")]
    Write(#[from] io::Error),
}

/// One row of the contract.
#[derive(Debug, Serialize)]
struct RowJson {
    timestamp: Option<String>,
    rss_bytes: u64,
    mb: f64,
    gb: f64,
    momentum_gb: f64,
    speed_gb: f64,
    rate_bytes_per_second: Option<f64>,
    trend_bytes_per_second: Option<f64>,
    seconds_to_limit: Option<f64>,
    seconds_to_limit_low: Option<f64>,
    seconds_to_limit_high: Option<f64>,
    verdicts: Vec<VerdictJson>,
}

/// A row that waits for the next one, which tells its speed.
struct Judged {
    row: Row,
    momentum_gb: f64,
    rate_bytes_per_second: Option<f64>,
    trend: Option<Trend>,
    forecast: Option<Forecast>,
    verdicts: Vec<Verdict>,
}

/// The state that rows are applied to.
struct Player {
    state: State,
    key: ServerKey,
    limit_bytes: Option<u64>,
    first_ms: i64,
    seq: u64,
    mono_ms: u64,
    previous: Option<Row>,
}

/// Replays `reader` and writes one row per line to `writer`.
pub fn replay(
    reader: impl Read,
    options: &ReplayOptions,
    mut writer: impl Write,
) -> Result<(), ReplayError> {
    if options.format == ReplayFormat::Table {
        write_table_head(&mut writer)?;
    }
    let mut waiting: Option<Judged> = None;
    judge_rows(reader, options, |judged| {
        if let Some(waiting) = waiting.take() {
            let speed_gb = judged.momentum_gb.abs();
            write_row(&mut writer, options.format, &waiting, speed_gb)?;
        }
        waiting = Some(judged);
        Ok(())
    })?;
    if let Some(last) = waiting {
        write_row(&mut writer, options.format, &last, 0.0)?;
    }
    writer.flush()?;
    Ok(())
}

fn judge_rows(
    reader: impl Read,
    options: &ReplayOptions,
    mut each: impl FnMut(Judged) -> Result<(), ReplayError>,
) -> Result<(), ReplayError> {
    let mut csv = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(reader);
    let mut columns = Columns::BY_PLACE;
    let mut player: Option<Player> = None;
    let mut record = csv::StringRecord::new();
    let mut first = true;
    while csv.read_record(&mut record).map_err(ReplayError::Read)? {
        let line = record.position().map_or(0, csv::Position::line);
        let refuse = |what| ReplayError::Row { line, what };
        if std::mem::take(&mut first) && Columns::is_header(&record) {
            columns = Columns::by_name(&record).map_err(refuse)?;
            continue;
        }
        let row = columns.read(&record).map_err(refuse)?;
        let player = player.get_or_insert_with(|| Player::new(options, &row));
        each(player.play(row).map_err(refuse)?)?;
    }
    Ok(())
}

// === impl Player ===

impl Player {
    fn new(options: &ReplayOptions, first: &Row) -> Self {
        let mut policy = options.policy.clone();
        if first.cpu_millis.is_none() {
            // Memory alone does not tell whether somebody works.
            policy.idle_after_ms = i64::MAX;
        }
        Self {
            state: State::new(policy),
            key: ServerKey::new("replay", ""),
            limit_bytes: options.limit_bytes,
            first_ms: first.at.as_millisecond(),
            seq: 0,
            mono_ms: 0,
            previous: None,
        }
    }

    fn play(&mut self, row: Row) -> Result<Judged, String> {
        let previous = self.previous.replace(row);
        if let Some(previous) = previous {
            if row.at < previous.at {
                return Err(format!("{} is before the row above it", row.at));
            }
            if row.cpu_millis.is_some() != previous.cpu_millis.is_some() {
                return Err("cpu_millis is in some rows and not in others".to_owned());
            }
        }
        let sample = self.sample(&row, previous);
        self.seq += 1;
        self.state.apply(&Fact::Report {
            arrived_ms: sample.at_ms,
            key: self.key.clone(),
            instance: InstanceId([0; 16]),
            seq: self.seq,
            samples: vec![sample],
        });
        let server = self.state.servers.get(&self.key);
        Ok(Judged {
            row,
            momentum_gb: previous.map_or(0.0, |p| momentum_gb(p.rss_bytes, row.rss_bytes)),
            rate_bytes_per_second: previous.and_then(|previous| rate(&previous, &row)),
            trend: server.and_then(|server| server.trend),
            forecast: server.and_then(|server| server.forecast),
            verdicts: server.map_or_else(Vec::new, |server| server.verdicts.clone()),
        })
    }

    fn sample(&mut self, row: &Row, previous: Option<Row>) -> Sample {
        let at_ms = row.at.as_millisecond();
        let since_first_ms = u64::try_from(at_ms - self.first_ms).unwrap_or(0);
        // Rows of the same millisecond still come one after the other.
        self.mono_ms = (since_first_ms + 1).max(self.mono_ms + 1);
        let interval_ms = previous.map_or(0, |previous| at_ms - previous.at.as_millisecond());
        let limit_bytes = row.limit_bytes.or(self.limit_bytes);
        Sample {
            interval_ms: u32::try_from(interval_ms).unwrap_or(u32::MAX),
            memory_limit_bytes: limit_bytes,
            memory_limit_enforced: limit_bytes.is_some(),
            cpu_millis: row.cpu_millis.unwrap_or(0),
            processes: row.processes.unwrap_or(0),
            threads: row.threads.unwrap_or(0),
            ..Sample::of_memory(at_ms, self.mono_ms, MemorySource::Rss, row.rss_bytes)
        }
    }
}

/// Bytes per second since the row before; unknown when no time passed.
fn rate(previous: &Row, row: &Row) -> Option<f64> {
    let seconds = row.at.duration_since(previous.at).as_secs_f64();
    let bytes = i128::from(row.rss_bytes) - i128::from(previous.rss_bytes);
    (seconds > 0.0).then(|| bytes as f64 / seconds)
}

// === writing ===

fn write_row(
    writer: &mut impl Write,
    format: ReplayFormat,
    judged: &Judged,
    speed_gb: f64,
) -> Result<(), ReplayError> {
    match format {
        ReplayFormat::Table => write_table_row(writer, judged, speed_gb),
        ReplayFormat::Json => {
            let row = RowJson::new(judged, speed_gb);
            serde_json::to_writer(&mut *writer, &row).map_err(io::Error::from)?;
            writer.write_all(b"\n")
        }
    }
    .map_err(ReplayError::Write)
}

fn write_table_head(writer: &mut impl Write) -> io::Result<()> {
    writeln!(
        writer,
        "{:<23}  {:>14}  {:>10}  {:>10}  {:>11}  {:>9}  verdicts",
        "timestamp", "rss", "momentum", "speed", "trend MB/s", "limit in"
    )
}

fn write_table_row(writer: &mut impl Write, judged: &Judged, speed_gb: f64) -> io::Result<()> {
    let unknown = || "-".to_owned();
    let trend = judged
        .trend
        .map_or_else(unknown, |t| format!("{:.3}", t.bytes_per_second / 1e6));
    let left = judged
        .forecast
        .map_or_else(unknown, |f| format!("{:.0} s", f.seconds_to_limit));
    let verdicts: Vec<&str> = judged.verdicts.iter().map(|v| v.rule.as_str()).collect();
    let line = format!(
        "{:<23}  {:>14}  {:>10.6}  {:>10.6}  {:>11}  {:>9}  {}",
        judged.row.at.strftime("%Y-%m-%d %H:%M:%S%.f").to_string(),
        judged.row.rss_bytes,
        judged.momentum_gb,
        speed_gb,
        trend,
        left,
        verdicts.join(" ")
    );
    writeln!(writer, "{}", line.trim_end())
}

// === impl RowJson ===

impl RowJson {
    fn new(judged: &Judged, speed_gb: f64) -> Self {
        let forecast = judged.forecast;
        Self {
            timestamp: rfc3339(judged.row.at.as_millisecond()),
            rss_bytes: judged.row.rss_bytes,
            mb: judged.row.rss_bytes as f64 / 1000.0_f64.powi(2),
            gb: gigabytes(judged.row.rss_bytes),
            momentum_gb: judged.momentum_gb,
            speed_gb,
            rate_bytes_per_second: judged.rate_bytes_per_second,
            trend_bytes_per_second: judged.trend.map(|trend| trend.bytes_per_second),
            seconds_to_limit: forecast.map(|forecast| forecast.seconds_to_limit),
            seconds_to_limit_low: forecast.map(|forecast| forecast.seconds_to_limit_low),
            seconds_to_limit_high: forecast.and_then(|forecast| forecast.seconds_to_limit_high),
            verdicts: judged.verdicts.iter().map(VerdictJson::from).collect(),
        }
    }
}

#[cfg(test)]
mod tests;
