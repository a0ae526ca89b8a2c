//! `hubmeter-swarm`: simulated agents for load; never shipped. It starts the collector that it
//! measures, on a folder of its own.

use std::{io::Write as _, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use hubmeter_tests::{
    program::{clean, say},
    swarm::{
        account::{self, Entry, Stage},
        collector::{Carrier, Collector},
        cut,
        fleet::Rhythm,
        load::Load,
        rounds,
        steady::{self, Steady},
        storm::{self, End, Storm},
    },
};
use serde_json::json;

/// Simulated agents in one process, over the agent's own spool, encoder and link.
///
/// Without further words all stream steadily for a while, and what that costs is told.
#[derive(Debug, Parser)]
#[command(name = "hubmeter-swarm", version, max_term_width = 100)]
struct Cli {
    /// Agents
    #[arg(long, value_name = "N")]
    agents: usize,
    /// From one sample to the next
    #[arg(long, value_name = "DUR", default_value = "5s", value_parser = duration)]
    interval: Duration,
    /// Over how long agents connect at first
    #[arg(long, value_name = "DUR", default_value = "10s", value_parser = duration)]
    ramp: Duration,
    /// How long is measured, or how long before something happens
    #[arg(long = "for", value_name = "DUR", default_value = "30s", value_parser = duration)]
    lasts: Duration,
    /// Servers of a hundred that do nothing
    #[arg(long, value_name = "N", default_value_t = 0)]
    idle_percent: u32,
    /// What agents connect over
    #[arg(long, value_enum, default_value_t = Over::Tls)]
    over: Over,
    /// The port they connect to; otherwise a free one
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Restart the collector after this time; all reconnect: the timeline
    #[arg(long, value_name = "DUR", value_parser = duration, group = "what")]
    reconnect_at: Option<Duration>,
    /// End it by SIGTERM, not SIGKILL
    #[arg(long, requires = "reconnect_at")]
    orderly: bool,
    /// How long it is away
    #[arg(long, value_name = "DUR", default_value = "0s", value_parser = duration)]
    away: Duration,
    /// Cut the network for this time, then look for holes in history
    #[arg(long, value_name = "DUR", value_parser = duration, group = "what")]
    kill_link: Option<Duration>,
    /// Kill the collector so many times at random moments, then look for what is missing
    #[arg(long, value_name = "N", group = "what")]
    rounds: Option<u32>,
    /// The collector's memory for each of N clients, line by line
    #[arg(long, group = "what")]
    account: bool,
    /// Of every so many agents, one's history is read in the end
    #[arg(long, value_name = "N", default_value_t = 1)]
    audit_step: usize,
    /// What random moments and ids come from
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// The collector's program; otherwise the one beside this one
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// Where the collector's data and log go, and stay; otherwise a folder that is removed
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// How figures are printed
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Over {
    /// TCP and TLS, the collector's key pinned
    Tls,
    /// TCP in the clear
    Plain,
    /// A Unix socket
    Unix,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people, as Markdown
    Table,
    /// For scripts, one object
    Json,
}

/// Where a collector lives; removed with this unless it was named.
struct Place {
    dir: PathBuf,
    _removed: Option<tempfile::TempDir>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> Result<()> {
    let program = match &cli.program {
        Some(program) => program.clone(),
        None => Collector::program_beside()?,
    };
    let seed = cli.seed.unwrap_or_else(|| fastrand::u64(..));
    let place = Place::new(cli.dir.as_deref())?;
    if let Some(at) = cli.reconnect_at {
        let storm = storm::run(&cli.storm(at, seed), &program, &place.dir).await?;
        cli.say_storm(&storm)
    } else if let Some(cut) = cli.kill_link {
        cli.say_cut(&cut::run(cli.cut(cut, seed), &program, &place.dir).await?)
    } else if let Some(rounds) = cli.rounds {
        let agents = cli.agents;
        let plan = rounds::Plan {
            agents,
            rounds,
            seed,
        };
        let rounds = rounds::run(plan, &program, &place.dir).await?;
        say(&format!("{rounds}\n"))?;
        clean(rounds.audit.is_clean())
    } else if cli.account {
        cli.account(&program).await
    } else {
        let steady = steady::run(&cli.steady(seed)?, &program, &place.dir).await?;
        cli.say_steady(&steady)
    }
}

// === impl Cli ===

impl Cli {
    fn carrier(&self) -> Carrier {
        match self.over {
            Over::Tls => Carrier::Tls,
            Over::Plain => Carrier::Plain,
            Over::Unix => Carrier::Unix,
        }
    }

    fn steady(&self, seed: u64) -> Result<steady::Plan> {
        Ok(steady::Plan {
            agents: self.agents,
            rhythm: Rhythm {
                interval: self.interval,
                ramp: self.ramp,
            },
            load: Load::recorded(self.idle_percent)?,
            carrier: self.carrier(),
            port: self.port,
            lasts: self.lasts,
            seed,
        })
    }

    fn storm(&self, calm: Duration, seed: u64) -> storm::Plan {
        storm::Plan {
            agents: self.agents,
            interval: self.interval,
            ramp: self.ramp,
            calm,
            end: match self.orderly {
                true => End::Stopped,
                false => End::Killed,
            },
            away: self.away,
            seed,
            audit_step: self.audit_step,
        }
    }

    fn cut(&self, cut: Duration, seed: u64) -> cut::Plan {
        cut::Plan {
            agents: self.agents,
            interval: self.interval,
            interval_cut: self.interval,
            cut,
            seed,
        }
    }

    async fn account(&self, program: &std::path::Path) -> Result<()> {
        let load = Load::recorded(self.idle_percent)?;
        let mut entries = Vec::new();
        for stage in Stage::ALL {
            let place = Place::new(None)?;
            entries.push(Entry::of(stage, self.agents, &load, program, &place.dir).await?);
        }
        match self.format {
            Format::Table => say(&account::table(&entries)),
            Format::Json => {
                let entries: Vec<_> = entries.iter().map(Entry::json).collect();
                say(&format!("{}\n", json!(entries)))
            }
        }
    }

    fn say_steady(&self, steady: &Steady) -> Result<()> {
        match self.format {
            Format::Table => say(&steady.table()),
            Format::Json => say(&format!("{}\n", steady.json())),
        }
    }

    fn say_storm(&self, storm: &Storm) -> Result<()> {
        match self.format {
            Format::Table => say(&storm.table())?,
            Format::Json => say(&format!("{}\n", storm.json()))?,
        }
        clean(storm.audit.is_clean())
    }

    fn say_cut(&self, cut: &cut::Cut) -> Result<()> {
        say(&format!(
            "each agent kept {} to {} reports; all had receipts {:.1} s after the network healed\n{}\n",
            cut.kept_least,
            cut.kept_most,
            cut.caught_up.as_secs_f64(),
            cut.audit
        ))?;
        clean(cut.audit.is_clean())
    }
}

// === impl Place ===

impl Place {
    fn new(named: Option<&std::path::Path>) -> Result<Self> {
        if let Some(dir) = named {
            std::fs::create_dir_all(dir)
                .with_context(|| format!("cannot make {}", dir.display()))?;
            return Ok(Self {
                dir: dir.to_owned(),
                _removed: None,
            });
        }
        let removed = tempfile::tempdir().context("no temporary folder")?;
        Ok(Self {
            dir: removed.path().to_owned(),
            _removed: Some(removed),
        })
    }
}

/// `500ms`, `5s`, `10m`, `1h`; a bare number is seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(char::is_alphabetic);
    let number: u64 = digits
        .parse()
        .map_err(|_| format!("`{text}` is no duration: write 500ms, 5s, 10m or 1h"))?;
    match &text[digits.len()..] {
        "ms" => Ok(Duration::from_millis(number)),
        "" | "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(60 * number)),
        "h" => Ok(Duration::from_secs(3600 * number)),
        _ => Err(format!(
            "`{text}` is no duration: write 500ms, 5s, 10m or 1h"
        )),
    }
}
