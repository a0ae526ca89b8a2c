//! `export usage`: what users or groups used, as `usage.csv`.

use std::io::{self, Write as _};

use clap::{Args, ValueEnum};

use super::source::Source;
use crate::{
    causes::chain,
    cli::Failure,
    clock::{Clock as _, SystemClock},
    report::{
        ReportError,
        usage::{By, Question, UsageReport, is_asked_for},
    },
    serve::date_ms,
    usage::{Reader, Window},
};

/// Whose use, over how much time.
#[derive(Debug, Args)]
pub(super) struct Usage {
    /// Whose use makes a row.
    #[arg(long, value_enum, default_value_t)]
    by: ByWord,
    /// Over how much time a row adds up, in UTC; weeks begin on Monday.
    #[arg(long, value_enum, default_value_t)]
    window: WindowWord,
    /// The first window holds this: YYYY-MM-DD, RFC 3339, or before now such as -30d. Unless told
    /// 30 days, 26 weeks or 12 months ago.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    from: Option<String>,
    /// The windows end before this; the same, and now unless told.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    to: Option<String>,
    /// Only this user's.
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Only users of this group.
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    #[command(flatten)]
    source: Source,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum ByWord {
    #[default]
    User,
    Group,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum WindowWord {
    #[default]
    Day,
    Week,
    Month,
}

// === impl Usage ===

impl Usage {
    pub(super) fn run(
        self,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(), Failure> {
        let settings = self.source.settings(environment)?;
        let question = self.question()?;
        let failed = |error: ReportError| Failure::Failed(chain(&error));
        let reader = Reader::open(&settings.data_dir).map_err(|error| failed(error.into()))?;
        let reader = reader.ok_or_else(|| {
            let dir = settings.data_dir.display();
            Failure::Failed(format!("{dir}: no collector has kept usage here"))
        })?;
        let (user, group) = (self.user.as_deref(), self.group.as_deref());
        let wanted = |known: &_| is_asked_for(known, user, group);
        let report = UsageReport::new(reader, question, wanted).map_err(failed)?;
        let mut out = io::BufWriter::new(io::stdout());
        match report.write(&mut out) {
            // Whoever read has read enough (`| head`).
            Err(ReportError::Write(e)) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written.and_then(|()| Ok(out.flush()?)).map_err(failed),
        }
    }

    fn question(&self) -> Result<Question, Failure> {
        let now_ms = SystemClock.now_ms();
        let time_ms = |name: &str, text: &Option<String>| {
            let Some(text) = text else {
                return Ok(None);
            };
            date_ms(text, now_ms).map(Some).ok_or_else(|| {
                Failure::Usage(format!(
                    "{name}: expected a date such as 2026-01-31, a time such as \
                     2026-01-31T08:00:00Z or -30d, not {text:?}"
                ))
            })
        };
        let to_ms = time_ms("--to", &self.to)?.unwrap_or(now_ms + 1);
        let from_ms = time_ms("--from", &self.from)?;
        if from_ms.is_some_and(|from_ms| from_ms >= to_ms) {
            return Err(Failure::Usage(
                "--from is before --to, not after".to_owned(),
            ));
        }
        let by = match self.by {
            ByWord::User => By::User,
            ByWord::Group => By::Group,
        };
        let window = match self.window {
            WindowWord::Day => Window::Day,
            WindowWord::Week => Window::Week,
            WindowWord::Month => Window::Month,
        };
        Ok(Question::new(by, window, from_ms, to_ms))
    }
}
