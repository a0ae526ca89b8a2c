//! `notice --preview`: what people would be told, without telling anybody.

use std::{
    io::{self, Write as _},
    path::PathBuf,
};

use clap::{Args, ValueEnum, builder::PossibleValuesParser};

use super::Failure;
use crate::{
    causes::chain,
    clock::{Clock as _, SystemClock},
    config::Config,
    notice::{self, NoticeConfig, PreviewFormat, Reader},
    verdict::Rule,
};

#[derive(Debug, Args)]
pub(super) struct Notice {
    /// Shows the mail of an example of this rule.
    #[arg(long, value_name = "RULE", required = true,
          value_parser = PossibleValuesParser::new(Rule::ALL.map(Rule::as_str)))]
    preview: String,
    /// What of it: subject and text, the HTML as a browser shows it, or the picture alone.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// To whom.
    #[arg(long, value_enum, default_value_t)]
    to: To,
    /// Settings file (TOML): for links, runbooks and templates.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Format {
    #[default]
    Text,
    Html,
    Png,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum To {
    #[default]
    Admin,
    User,
}

// === impl Notice ===

impl Notice {
    pub(super) fn run(
        self,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(), Failure> {
        let config = match &self.config {
            None => NoticeConfig::default(),
            Some(file) => Config::check(file, environment)
                .map(|config| config.notice)
                .map_err(|mistakes| Failure::Usage(mistakes.to_string()))?,
        };
        let rule = Rule::ALL
            .into_iter()
            .find(|rule| rule.as_str() == self.preview);
        let rule = rule.ok_or_else(|| Failure::Usage(format!("no rule {}", self.preview)))?;
        let reader = match self.to {
            To::Admin => Reader::Admin,
            To::User => Reader::User,
        };
        let format = match self.format {
            Format::Text => PreviewFormat::Text,
            Format::Html => PreviewFormat::Html,
            Format::Png => PreviewFormat::Png,
        };
        let shown = notice::preview(&config, rule, reader, format, SystemClock.now_ms())
            .map_err(|e| Failure::Failed(chain(&*e)))?;
        match io::stdout().write_all(&shown) {
            // Whoever read has read enough (`| head`).
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written.map_err(|e| Failure::Failed(format!("cannot write: {e}"))),
        }
    }
}
