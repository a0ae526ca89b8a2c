//! `forget` and `backup`: orders to the collector at work in the data directory, or done here where
//! none is.

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::{Args, ValueEnum};
use jiff::Timestamp;

use super::Failure;
use crate::{
    backup,
    causes::chain,
    clock::{Clock as _, SystemClock},
    config::{Config, Flags},
    control::{self, ForgetAnswer, ForgetOrder, HoldOrder},
    data_dir::{DataDir, DataDirError},
    forget::{self, ForgetError},
    registry::Registry,
};

#[derive(Debug, Args)]
pub(super) struct Forget {
    /// The hub's name of the user, exactly.
    user: String,
    #[command(flatten)]
    place: Place,
    /// Only tell what is kept.
    #[arg(long)]
    dry_run: bool,
    /// How the answer is written.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, Args)]
pub(super) struct Backup {
    /// Where to; must not be there yet, or be empty.
    dir: PathBuf,
    #[command(flatten)]
    place: Place,
}

/// Whose data.
#[derive(Debug, Args)]
struct Place {
    /// Settings file (TOML).
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where inbox, state and history are kept.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    #[default]
    Table,
    Json,
}

/// What keeps a backup whole while it is made.
#[allow(dead_code)] // held, not read
enum Held {
    ByCollector(control::Hold),
    ByUs(DataDir),
}

type Environment = Vec<(String, String)>;

// === impl Place ===

impl Place {
    fn data_dir(self, environment: Environment) -> Result<PathBuf, Failure> {
        let flags = Flags {
            config: self.config,
            data_dir: self.data_dir,
            ..Flags::default()
        };
        let dir = Config::data_dir(&flags, environment)
            .map_err(|mistakes| Failure::Usage(mistakes.to_string()))?;
        if dir.is_dir() {
            return Ok(dir);
        }
        // To make one would only hide that it is the wrong one.
        let why = format!("{}: there is no such data directory", dir.display());
        Err(Failure::Failed(why))
    }
}

/// The data directory, taken; `None` while a collector is at work there.
fn take(dir: &Path) -> Result<Option<DataDir>, Failure> {
    match DataDir::take(dir) {
        Ok(taken) => Ok(Some(taken)),
        Err(DataDirError::InUse(_)) => Ok(None),
        Err(e) => Err(Failure::Failed(chain(&e))),
    }
}

// === impl Forget ===

impl Forget {
    pub(super) fn run(self, environment: Environment) -> Result<(), Failure> {
        if self.user.is_empty() {
            return Err(Failure::Usage("the user's name is empty".to_owned()));
        }
        let dir = self.place.data_dir(environment)?;
        let answer = match take(&dir)? {
            None => {
                let order = ForgetOrder {
                    user: self.user.clone(),
                    dry_run: self.dry_run,
                };
                control::ask(&dir, "forget", &order).map_err(|e| Failure::Failed(chain(&e)))?
            }
            Some(taken) => offline(taken.path(), &self.user, self.dry_run)
                .map_err(|e| Failure::Failed(chain(&e)))?,
        };
        let written = match self.format {
            Format::Json => serde_json::to_writer(io::stdout(), &answer)
                .map_err(io::Error::from)
                .and_then(|()| writeln!(io::stdout())),
            Format::Table => io::stdout().write_all(table(&answer, self.dry_run).as_bytes()),
        };
        match written {
            Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
                Err(Failure::Failed(format!("cannot write the answer: {e}")))
            }
            _ => Ok(()),
        }
    }
}

fn offline(dir: &Path, user: &str, dry_run: bool) -> Result<ForgetAnswer, ForgetError> {
    let clock = SystemClock;
    let mut stores = forget::offline(dir, Arc::new(clock))?;
    if dry_run {
        let traces = stores.traces(user)?;
        return if traces.is_empty() {
            Err(ForgetError::Unknown)
        } else {
            Ok(traces.into())
        };
    }
    let asked_by = format!("uid {}", nix::unistd::getuid());
    Ok(stores.forget(user, &asked_by, &clock)?.into())
}

fn table(answer: &ForgetAnswer, dry_run: bool) -> String {
    let mut lines = vec![if dry_run {
        "kept of this user (nothing was erased):".to_owned()
    } else {
        "erased; a server that still runs reports anew, as of somebody unknown:".to_owned()
    }];
    let counts = [
        ("servers with history", answer.servers),
        ("chunks of history", answer.chunks),
        ("messages in the inbox", answer.messages),
        ("verdicts", answer.episodes),
        ("notices", answer.notices),
        ("verified tokens", answer.tokens),
        ("idle marks", answer.idle_marks),
        ("holds, warnings and what was done to them", answer.promises),
    ];
    for (what, count) in counts {
        // Chunks are counted as they go.
        if !(dry_run && what == "chunks of history") {
            lines.push(format!("  {count:>9} {what}"));
        }
    }
    if !answer.backups.is_empty() {
        lines
            .push("backups were made, and may hold the user; they are yours to delete:".to_owned());
    }
    for (dir, made_ms) in &answer.backups {
        let made = Timestamp::from_millisecond(*made_ms).unwrap_or_default();
        lines.push(format!("  {made:.0} {dir}"));
    }
    lines
        .push("the hub, mail that was sent, and the system's log are not ours to erase".to_owned());
    lines.join("\n") + "\n"
}

// === impl Backup ===

impl Backup {
    pub(super) fn run(self, environment: Environment) -> Result<(), Failure> {
        let data_dir = self.place.data_dir(environment)?;
        let failed = |e: &dyn std::error::Error| Failure::Failed(chain(e));
        let dir = std::path::absolute(&self.dir).map_err(|e| failed(&e))?;
        let backup = dir.to_string_lossy().into_owned();
        // Either way nobody is forgotten or renamed while it is made.
        let held = match take(&data_dir)? {
            None => {
                let order = HoldOrder { backup };
                Held::ByCollector(control::hold(&data_dir, &order).map_err(|e| failed(&e))?)
            }
            Some(taken) => {
                let registry = Registry::open(taken.path()).map_err(|e| failed(&e))?;
                let noted = registry.note_backup(&backup, SystemClock.now_ms());
                noted.map_err(|e| failed(&e))?;
                Held::ByUs(taken)
            }
        };
        let copied = backup::make(&data_dir, &dir).map_err(|e| failed(&e))?;
        drop(held);
        let (files, bytes) = (copied.files, copied.bytes);
        // Where nobody reads it, it is done all the same.
        let _ = writeln!(
            io::stdout(),
            "{}: {files} files, {bytes} bytes",
            dir.display()
        );
        Ok(())
    }
}
