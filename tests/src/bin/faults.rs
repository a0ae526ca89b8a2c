//! `hubmeter-faults`: the store on disks that fail; never shipped.

use std::{io::Write as _, path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use hubmeter_tests::{
    faults::{
        damage::{self, Damage},
        power, sweep,
    },
    program::{clean, say},
};

/// The collector's store on disks that fail, as tables.
#[derive(Debug, Parser)]
#[command(name = "hubmeter-faults", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Let every disk call of a run of 200 reports fail, in every way
    Disk {
        /// Only every so many-th call
        #[arg(long, value_name = "N", default_value_t = 1)]
        stride: u64,
        /// Processes at once
        #[arg(long, value_name = "N", default_value_t = 2)]
        jobs: u64,
    },
    /// Pull the plug at any moment of such a run, and look at what may be left
    Power {
        /// Disks to look at
        #[arg(long, value_name = "N", default_value_t = 10_000)]
        images: u64,
        /// What moments and losses come from
        #[arg(long, value_name = "N")]
        seed: Option<u64>,
        /// Threads
        #[arg(long, value_name = "N", default_value_t = 2)]
        jobs: u64,
    },
    /// Cut bytes off the inbox's log, and flip bits of inbox and history
    Damage {
        /// Only every so many-th byte and bit
        #[arg(long, value_name = "N", default_value_t = 1)]
        stride: u64,
        /// Bits flipped at random, in each kind of file
        #[arg(long, value_name = "N", default_value_t = 5_000)]
        random: u64,
        /// What the random ones come from
        #[arg(long, value_name = "N")]
        seed: Option<u64>,
    },
    /// One run that is written down
    #[command(hide = true)]
    Record { dir: PathBuf, run: u64 },
    /// One process's share of it
    #[command(hide = true)]
    Share {
        dir: PathBuf,
        stride: u64,
        of: u64,
        index: u64,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    match cli.what {
        What::Disk { stride, jobs } => {
            let dir = fast_dir()?;
            let program = std::env::current_exe()?;
            let sweep = sweep::run(&program, dir.path(), stride, jobs)?;
            say(&format!("{sweep}\n"))?;
            clean(sweep.broken().is_none())
        }
        What::Power { images, seed, jobs } => {
            let dir = fast_dir()?;
            let program = std::env::current_exe()?;
            let seed = seed.unwrap_or_else(|| fastrand::u64(..));
            let power = power::run(&program, dir.path(), images, seed, jobs)?;
            say(&format!("{power}\n"))?;
            clean(power.broken.is_none())
        }
        What::Damage {
            stride,
            random,
            seed,
        } => {
            let dir = fast_dir()?;
            let seed = seed.unwrap_or_else(|| fastrand::u64(..));
            let found = damage::all(dir.path(), stride, random, seed)?;
            say(&format!("seed {seed}\n"))?;
            for damage in &found {
                say(&format!("{damage}\n"))?;
            }
            clean(found.iter().all(Damage::is_none))
        }
        What::Record { dir, run } => power::record(&dir, run),
        What::Share {
            dir,
            stride,
            of,
            index,
        } => {
            let share = sweep::Share { stride, of, index };
            say(&sweep::share(&dir, share)?.json().to_string())
        }
    }
}

/// Where flushes cost nothing, if there is such a place: the disk is made up anyway.
fn fast_dir() -> Result<tempfile::TempDir> {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .context("no temporary folder")
}
