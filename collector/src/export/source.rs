//! Where an export reads: the flags that every kind of it takes.

use std::path::PathBuf;

use clap::Args;

use crate::{
    cli::Failure,
    config::{Config, Flags},
};

/// Which data directory; as `serve` would find it.
#[derive(Debug, Args)]
pub(super) struct Source {
    /// The collector's settings file, for its data_dir.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the collector keeps inbox, state and history.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

// === impl Source ===

impl Source {
    /// The settings; no hub needs to be known.
    pub(super) fn settings(
        &self,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Config, Failure> {
        let flags = Flags {
            config: self.config.clone(),
            data_dir: self.data_dir.clone(),
            ..Flags::default()
        };
        Config::inspect(&flags, environment)
            .map_err(|mistakes| Failure::Usage(mistakes.to_string()))
    }
}
