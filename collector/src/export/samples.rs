//! `export samples`: rows of one server.

use clap::{Args, ValueEnum};

use super::source::Source;
use crate::cli::Failure;

/// Which rows, which columns, and how they are written.
#[derive(Debug, Args)]
pub(super) struct Samples {
    /// The hub's name of the user.
    #[arg(long, value_name = "USER")]
    user: String,
    /// The server's name; the default server unless told.
    #[arg(long, value_name = "SERVER", default_value = "")]
    server: String,
    /// From, included: RFC 3339, YYYY-MM-DD HH:MM:SS in UTC, or before now such as -1h.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    from: Option<String>,
    /// To, not included; the same.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    to: Option<String>,
    /// Names with commas between, or all.
    #[arg(
        long,
        value_name = "NAMES",
        default_value = "timestamp,rss,cpu_millis,limit_bytes"
    )]
    columns: String,
    /// Rows only.
    #[arg(long)]
    no_header: bool,
    /// Also the rows between base intervals, while something moved.
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

// === impl Samples ===

impl Samples {
    pub(super) fn run(
        self,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(), Failure> {
        let _settings = self.source.settings(environment)?;
        Err(Failure::Failed("not written yet".to_owned()))
    }
}
