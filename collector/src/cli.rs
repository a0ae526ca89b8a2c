//! The command line: what can be asked of the program, and how it ends.

use std::{fmt, fs::File, io, path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{
    causes::chain,
    config::{Config, Flags},
    export::Export,
    replay::{self, ReplayFormat, ReplayOptions},
};

#[cfg(test)]
mod completions;
mod cull;
mod keeper;
mod notice;

/// Usage and configuration errors, as in BSD's `sysexits.h`.
const EX_USAGE: u8 = 64;

/// Knows what every single-user server of a JupyterHub uses, judges it, tells people.
#[derive(Debug, Parser)]
#[command(name = "hubmeter-collector", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Takes reports from agents and answers people and scripts.
    Serve(Serve),
    /// Tells every mistake in a settings file.
    CheckConfig {
        /// The file.
        file: PathBuf,
    },
    /// Judges a recorded series as if it were live.
    Replay(Replay),
    /// Writes what is kept, as files for other tools.
    Export(Export),
    /// Stops servers that are idle, in place of jupyterhub-idle-culler.
    Cull(Box<cull::Cull>),
    /// Erases every trace of a user, also while a collector runs.
    Forget(keeper::Forget),
    /// Copies everything that is kept to a new directory, also while a collector runs.
    Backup(keeper::Backup),
    /// Shows what a notice looks like, and tells nobody.
    Notice(notice::Notice),
}

#[derive(Debug, Args)]
struct Serve {
    /// Settings file (TOML).
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where inbox, state and history are kept.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// No hub: who calls is told by the kernel; loopback and Unix sockets only.
    #[arg(long)]
    standalone: bool,
    /// Where people and scripts come in: host:port or unix:/path.
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Where agents come in.
    #[arg(long, value_name = "ADDR")]
    link_listen: Option<String>,
    /// /metrics alone, open to whoever reaches it.
    #[arg(long, value_name = "ADDR")]
    metrics_listen: Option<String>,
}

#[derive(Debug, Args)]
struct Replay {
    /// The series: timestamp,rss[,cpu_millis][,limit_bytes]
    file: PathBuf,
    /// The limit for rows that bring none.
    #[arg(long, value_name = "N")]
    limit_bytes: Option<u64>,
    /// How rows are written.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Format {
    #[default]
    Table,
    Json,
}

/// How the program ends when not well.
#[derive(Debug)]
pub enum Failure {
    /// The command line or the settings are wrong.
    Usage(String),
    /// Something went wrong.
    Failed(String),
}

// === impl Cli ===

impl Cli {
    /// Does what was asked.
    ///
    /// # Errors
    /// What to say and which code to end with.
    pub fn run(self) -> Result<(), Failure> {
        let environment = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        match self.command {
            Command::Serve(serve) => {
                let config = Config::load(&serve.flags(), environment)
                    .map_err(|mistakes| Failure::Usage(mistakes.to_string()))?;
                crate::run(config).map_err(|e| Failure::Failed(chain(&e)))
            }
            Command::CheckConfig { file } => Config::check(&file, environment)
                .map(|config| config.cull.advise())
                .map_err(|mistakes| Failure::Usage(mistakes.to_string())),
            Command::Replay(replay) => replay.run(),
            Command::Export(export) => export.run(environment),
            Command::Cull(cull) => cull.run(environment),
            Command::Forget(forget) => forget.run(environment.collect()),
            Command::Backup(backup) => backup.run(environment.collect()),
            Command::Notice(notice) => notice.run(environment),
        }
    }
}

impl Serve {
    fn flags(self) -> Flags {
        Flags {
            config: self.config,
            data_dir: self.data_dir,
            standalone: self.standalone,
            listen: self.listen,
            link_listen: self.link_listen,
            metrics_listen: self.metrics_listen,
        }
    }
}

impl Replay {
    fn run(self) -> Result<(), Failure> {
        let failed = |e: &dyn std::error::Error| {
            Failure::Failed(format!("{}: {}", self.file.display(), chain(e)))
        };
        let file = File::open(&self.file).map_err(|e| failed(&e))?;
        let options = ReplayOptions {
            limit_bytes: self.limit_bytes,
            format: match self.format {
                Format::Table => ReplayFormat::Table,
                Format::Json => ReplayFormat::Json,
            },
            ..ReplayOptions::default()
        };
        match replay::replay(file, &options, io::BufWriter::new(io::stdout())) {
            // Whoever read has read enough (`| head`).
            Err(replay::ReplayError::Write(e)) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            replayed => replayed.map_err(|e| failed(&e)),
        }
    }
}

// === impl Failure ===

impl Failure {
    /// The code to end with.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) => ExitCode::from(EX_USAGE),
            Self::Failed(_) => ExitCode::FAILURE,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) | Self::Failed(text) => f.write_str(text.trim_end()),
        }
    }
}
