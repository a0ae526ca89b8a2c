//! `export samples`: what one server used, a row for each sample.

mod columns;
mod write;

use std::io;

use clap::{Args, ValueEnum};
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

use self::{columns::Columns, write::Rows};
use super::source::Source;
use crate::{
    causes::chain,
    cli::Failure,
    clock::{Clock as _, SystemClock},
    config::Config,
    fact::ServerKey,
    format::time::{Style, TimeText},
    history::{Archive, ArchiveEnd, ArchiveQuery, HistoryError, HistoryMode},
    serve::time_ms,
    text::Label,
};

/// Bytes of a name in a message: as many as a hub's name may have.
const NAME_BYTES_MAX: usize = 255;

/// Which rows, which columns, and how they are written.
#[derive(Debug, Args)]
pub(super) struct Samples {
    /// The hub's name of the user.
    #[arg(long, value_name = "USER")]
    user: String,
    /// The server's name; the default server unless told.
    #[arg(long, value_name = "SERVER", default_value = "")]
    server: String,
    /// From, included: RFC 3339, "YYYY-MM-DD HH:MM:SS" in UTC, or before now such as -1h.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    from: Option<String>,
    /// To, not included; the same.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    to: Option<String>,
    /// Names with commas between, in the order they are written; or all.
    #[arg(long, value_name = "NAMES", default_value = columns::DEFAULT)]
    columns: String,
    /// Rows only.
    #[arg(long)]
    no_header: bool,
    /// Also the samples between base intervals, while something moved.
    #[arg(long)]
    burst: bool,
    /// How it is written.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    source: Source,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    #[default]
    Csv,
    Parquet,
}

/// Why an export ended early.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExportError {
    /// The history cannot be read.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// Nobody takes what is written.
    #[error("cannot write the samples")]
    Write(#[from] io::Error),
    /// It cannot be written as Parquet.
    #[error("cannot write the samples as Parquet")]
    Parquet(#[from] parquet::errors::ParquetError),
}

// === impl Samples ===

impl Samples {
    pub(super) fn run(
        self,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(), Failure> {
        let columns = Columns::read(&self.columns).map_err(Failure::Usage)?;
        let now_ms = SystemClock.now_ms();
        let from_ms = time("--from", self.from.as_deref(), now_ms)?;
        let to_ms = time("--to", self.to.as_deref(), now_ms)?;
        if let (Some(from_ms), Some(to_ms)) = (from_ms, to_ms)
            && from_ms >= to_ms
        {
            let what = "--from is before --to, not after";
            return Err(Failure::Usage(what.to_owned()));
        }
        if self.no_header && self.format == Format::Parquet {
            let what = "--no-header is for CSV: Parquet always names its columns";
            return Err(Failure::Usage(what.to_owned()));
        }
        let mut archive = self.open(&self.source.settings(environment)?)?;
        let query = ArchiveQuery {
            key: ServerKey::new(&self.user, &self.server),
            from_ms,
            to_ms,
            columns: columns.kept(),
            bursts: self.burst,
        };
        let out = io::BufWriter::new(io::stdout());
        let rows = match self.format {
            Format::Csv => Rows::csv(out, columns, !self.no_header),
            Format::Parquet => Rows::parquet(out, columns),
        };
        match rows.and_then(|rows| write(&mut archive, &query, rows)) {
            Ok((rows, end)) => {
                self.say_what_lacks(from_ms, rows, end);
                Ok(())
            }
            // Whoever read has read enough (`| head`).
            Err(error) if error.is_broken_pipe() => Ok(()),
            Err(error) => Err(Failure::Failed(chain(&error))),
        }
    }

    /// The history, if the server is in it.
    fn open(&self, settings: &Config) -> Result<Archive, Failure> {
        let failed = |error: HistoryError| Failure::Failed(chain(&error));
        if settings.history.mode == HistoryMode::Memory {
            let what = "history.mode is \"memory\": nothing is on the disk; ask the running \
                        collector for …/history?format=csv";
            return Err(Failure::Failed(what.to_owned()));
        }
        let archive = Archive::open(&settings.data_dir).map_err(failed)?;
        let known = archive.servers_of(&self.user).map_err(failed)?;
        if known.contains(&self.server) {
            return Ok(archive);
        }
        let user = quoted(&self.user);
        let dir = settings.data_dir.display();
        Err(Failure::Failed(if known.is_empty() {
            format!("{dir} holds nothing of a user {user}")
        } else {
            let known: Vec<String> = known.iter().map(|name| quoted(name)).collect();
            let (server, known) = (quoted(&self.server), known.join(", "));
            format!(
                "{dir} holds nothing of a server {server} of {user}; --server is one of {known}"
            )
        }))
    }

    /// On standard error, so that the file is what it would be anyway.
    fn say_what_lacks(&self, from_ms: Option<i64>, rows: u64, end: ArchiveEnd) {
        let warn = |what: &str| {
            use io::Write as _;
            // Where nobody listens, nothing is lost.
            let _ = writeln!(io::stderr(), "{what}");
        };
        let mut text = TimeText::new(Style::Plain);
        let mut written = |at_ms: i64| text.of(at_ms).unwrap_or_default().to_owned();
        if let (Some(from_ms), Some(oldest_ms)) = (from_ms, end.oldest_ms)
            && from_ms < oldest_ms
        {
            let oldest = written(oldest_ms);
            warn(&format!(
                "samples before {oldest} are no longer kept (history.raw_kept); the API has \
                 minutes and hours of then: …/history?step=1m"
            ));
        }
        if end.chunks_skipped > 0 {
            let skipped = end.chunks_skipped;
            warn(&format!(
                "{skipped} stored chunks could not be read; their rows are missing"
            ));
        }
        if rows == 0 {
            let (user, server) = (quoted(&self.user), quoted(&self.server));
            warn(&format!(
                "no samples of server {server} of {user} in that time"
            ));
        }
    }
}

/// Returns how many rows were written.
fn write<W: io::Write + Send>(
    archive: &mut Archive,
    query: &ArchiveQuery,
    mut rows: Rows<W>,
) -> Result<(u64, ArchiveEnd), ExportError> {
    let end = archive.samples(query, |slice| rows.put(slice))?;
    let written = rows.finish()?;
    Ok((written, end))
}

/// A flag's time: as the API takes it, or as `replay` does.
fn time(flag: &str, text: Option<&str>, now_ms: i64) -> Result<Option<i64>, Failure> {
    let Some(text) = text else {
        return Ok(None);
    };
    let plain = || {
        let civil: DateTime = text.parse().ok()?;
        let zoned = civil.to_zoned(TimeZone::UTC).ok()?;
        Some(Timestamp::from(zoned).as_millisecond())
    };
    let read = time_ms(text, now_ms).or_else(plain);
    read.map(Some).ok_or_else(|| {
        Failure::Usage(format!(
            "{flag} is a time such as 2026-01-31T08:00:00Z, \"2026-01-31 08:00:00\" or -1h, not \
             {text:?}"
        ))
    })
}

/// A name in a message, cleaned and in quotes.
fn quoted(name: &str) -> String {
    format!("{:?}", Label::clean(name, NAME_BYTES_MAX))
}

// === impl ExportError ===

impl ExportError {
    fn is_broken_pipe(&self) -> bool {
        let broken = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
        match self {
            Self::Write(error) => broken(error),
            Self::Parquet(parquet::errors::ParquetError::External(error)) => {
                error.downcast_ref().is_some_and(broken)
            }
            Self::Parquet(_) | Self::History(_) => false,
        }
    }
}

#[cfg(test)]
mod tests;
