//! The command line: what may be asked, within which bounds.
//!
//! A bad value ends with [`EXIT_USAGE`] and names the field and its bound, before anything runs.

use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{sample::memory::budget::PssShare, workload::Names};

/// Exit code for mistakes in usage or configuration (`EX_USAGE`).
pub const EXIT_USAGE: u8 = 64;

/// Shortest distance between rows of `sample`: below it the agent would measure itself.
pub const EVERY_MIN: Duration = Duration::from_millis(100);

/// Longest distance between rows of `sample`.
pub const EVERY_MAX: Duration = Duration::from_secs(3600);

/// Most rows of `sample`: a year at the shortest distance, so only a slip of the finger is above.
pub const COUNT_MAX: u64 = 400_000_000;

/// What `--help` ends with: what people come for.
const EXAMPLES: &str = "\
Examples:
  hubmeter-agent sample                    what the server around this shell uses now
  hubmeter-agent sample --every 5s         the same, every five seconds
  hubmeter-agent doctor                    what is measured here, how, and what is not
  hubmeter-agent run -- jupyterhub-singleuser --port 8888
                                           start a server and watch it

Settings go by flag, then environment (HUBMETER_...), then /etc/hubmeter/agent.toml.
HUBMETER_LOG says what is logged: error, warn (the default), info, debug.";

/// What `run --help` ends with.
const RUN_EXAMPLES: &str = "\
Examples:
  hubmeter-agent run --collector grpcs://hub.example.org:9641 -- jupyterhub-singleuser
  hubmeter-agent run --pid 4711            watch a server that is there already

With CMD the agent is a parent that takes nothing away: signals go on to CMD, its exit code or
signal is the agent's, and when something is wrong with the agent CMD runs all the same.
CMD finds the local socket in HUBMETER_SOCKET.

Each setting is also a key of /etc/hubmeter/agent.toml: the flag's name with _ for -.";

/// hubmeter's agent: what one single-user server really uses.
#[derive(Debug, Parser)]
#[command(name = "hubmeter-agent", version, about, after_help = EXAMPLES, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the agent can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watch a server and stream what it uses; with CMD, start that server and end with its code.
    #[command(after_help = RUN_EXAMPLES, next_line_help = true)]
    Run(RunArgs),
    /// Print what a server and its workloads use now.
    Sample(SampleArgs),
    /// Say in words what is measured here, how, and what cannot be seen.
    Doctor(DoctorArgs),
    /// Say how full a file system is, in place of an agent that must not hang there.
    #[command(hide = true)]
    Disk(DiskArgs),
}

/// `hubmeter-agent run`. Settings are text here: flags, environment and file go through the same
/// judge in [`crate::settings`].
#[derive(Clone, Debug, Default, Args)]
pub struct RunArgs {
    /// The server's root process [default: the parent process]
    #[arg(long, verbatim_doc_comment, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "command")]
    pub pid: Option<u32>,
    /// Time between samples: `5s`, `1m`, bare seconds; 1s to 60s [env: HUBMETER_INTERVAL]
    /// [default: 5s]
    #[arg(
        long,
        verbatim_doc_comment,
        value_name = "DUR",
        allow_hyphen_values = true
    )]
    pub interval: Option<String>,
    /// CPU time that reading proportional set sizes again may take on average, in per cent of a
    /// core; 0 to 5, 0 reads each process once [env: HUBMETER_PSS_BUDGET] [default: 0.02]
    #[arg(
        long,
        verbatim_doc_comment,
        value_name = "PERCENT",
        allow_hyphen_values = true
    )]
    pub pss_budget: Option<String>,
    /// Where the meter's socket is, never under the home [env: HUBMETER_SOCKET]
    /// [default: $XDG_RUNTIME_DIR/hubmeter/, else /tmp/hubmeter-<uid>/]
    #[arg(long, verbatim_doc_comment, value_name = "PATH")]
    pub socket: Option<String>,
    /// How much of notebooks' names leaves this machine: base (file names), full (with folders),
    /// none [env: HUBMETER_NAMES] [default: base]
    #[arg(long, verbatim_doc_comment, value_name = "HOW")]
    pub names: Option<String>,
    /// Collector to stream to: grpcs://host:port, wss://host/services/hubmeter/link, grpc://host:port
    /// (loopback) or unix:///path. Of several with blanks between them the first that works is used
    /// [env: HUBMETER_COLLECTOR] [default: none, everything stays on this machine]
    #[arg(
        long,
        verbatim_doc_comment,
        value_name = "URL",
        help_heading = "Collector"
    )]
    pub collector: Option<String>,
    /// File with the server's hub token, read anew at each connect [env: HUBMETER_TOKEN_FILE]
    /// [default: the token in JUPYTERHUB_API_TOKEN]
    #[arg(
        long,
        verbatim_doc_comment,
        value_name = "PATH",
        help_heading = "Collector"
    )]
    pub token_file: Option<String>,
    /// Certificates that vouch for the collector, read anew at each connect
    /// [env: HUBMETER_CA_FILE] [default: the machine's]
    #[arg(
        long,
        verbatim_doc_comment,
        value_name = "PATH",
        help_heading = "Collector"
    )]
    pub ca_file: Option<String>,
    /// Allow grpc:// beyond loopback, where the network itself is trusted
    /// [env: HUBMETER_ALLOW_PLAINTEXT]
    #[arg(long, verbatim_doc_comment, help_heading = "Collector")]
    pub allow_plaintext: bool,
    /// Name of this server for a collector without a hub [env: HUBMETER_NAME]
    #[arg(
        long,
        verbatim_doc_comment,
        value_name = "NAME",
        help_heading = "Collector"
    )]
    pub name: Option<String>,
    /// The collector's HTTP API, for people and scripts [env: HUBMETER_API_URL]
    /// [default: what the collector says]
    #[arg(
        long,
        verbatim_doc_comment,
        value_name = "URL",
        help_heading = "Collector"
    )]
    pub api_url: Option<String>,
    /// The server to start, with its arguments
    #[arg(
        value_name = "CMD",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub command: Vec<std::ffi::OsString>,
}

/// `hubmeter-agent sample`.
#[derive(Debug, Args)]
pub struct SampleArgs {
    /// The server's root process [default: the nearest Jupyter server above this process, else
    /// the leader of its login session, else its parent]
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pub pid: Option<u32>,
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
    /// Go on sampling at this distance: `500ms`, `5s`, `1m`, bare seconds; 100ms to 1h
    #[arg(long, value_name = "DUR", value_parser = parse_every)]
    pub every: Option<Duration>,
    /// Stop after so many samples, 5 s apart without --every [default: 1, endless with --every]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=COUNT_MAX))]
    pub count: Option<u64>,
    /// Show what else slows the server or ends it: input and output, disk, open files, the machine
    #[arg(long)]
    pub details: bool,
    /// Read proportional set sizes at every sample, or rarely within a budget of time
    #[arg(long, value_enum, default_value_t = Pss::Always)]
    pub pss: Pss,
    /// With `--pss budget`: what that may take on average, in per cent of a core; 0 to 5, 0 reads
    /// each process once
    #[arg(env = "HUBMETER_PSS_BUDGET", long, value_name = "PERCENT", default_value = "0.02", value_parser = PssShare::parse)]
    pub pss_budget: PssShare,
    /// Read /proc and cgroups, or what every system offers (no limit, no cgroup, no PSS)
    #[arg(long, value_enum, default_value_t = Reader::Linux)]
    pub reader: Reader,
    /// How much of names to show
    #[arg(env = "HUBMETER_NAMES", long, hide = true, value_enum, default_value_t = Names::Base)]
    pub names: Names,
}

/// `hubmeter-agent doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// The server's root process [default: the nearest Jupyter server above this process, else
    /// the leader of its login session, else its parent]
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pub pid: Option<u32>,
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
}

/// `hubmeter-agent disk`, which agents run themselves.
#[derive(Debug, Args)]
pub struct DiskArgs {
    /// A path on the file system
    pub path: std::path::PathBuf,
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned columns with units, for people.
    Table,
    /// One JSON object a line, for programs.
    Json,
}

/// When proportional set sizes are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Pss {
    /// At every sample.
    Always,
    /// Rarely, within a budget of time; what `run` does.
    Budget,
}

/// Who reads the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Reader {
    /// `/proc` and cgroups.
    Linux,
    /// The portable library.
    Sysinfo,
}

/// Reads a duration: a number with `ms`, `s`, `m` or `h`; without a unit, seconds.
///
/// # Errors
/// When it is not that.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits_end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits_end);
    let millis_per_unit = match unit {
        "ms" => 1.0,
        "" | "s" => 1e3,
        "m" => 60e3,
        "h" => 3600e3,
        _ => return Err(format!("unknown unit `{unit}`: use ms, s, m or h")),
    };
    let number: f64 = number
        .parse()
        .map_err(|_| "not a duration: try 500ms, 5s or 1m".to_owned())?;
    Duration::try_from_secs_f64(number * millis_per_unit / 1e3)
        .map_err(|_| "longer than any duration".to_owned())
}

fn parse_every(text: &str) -> Result<Duration, String> {
    let every = parse_duration(text)?;
    if !(EVERY_MIN..=EVERY_MAX).contains(&every) {
        return Err("outside 100ms to 1h".to_owned());
    }
    Ok(every)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_number_is_seconds_and_units_are_known() {
        for (text, millis) in [
            ("5", 5000),
            ("500ms", 500),
            ("1.5s", 1500),
            ("1m", 60_000),
            ("1h", 3_600_000),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(millis)),
                "{text}"
            );
        }
        for text in ["", "s", "5d", "-5", "1.2.3s", "5 s", "."] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn every_is_held_to_its_bounds_and_the_message_names_them() {
        assert!(parse_every("100ms").is_ok());
        assert!(parse_every("1h").is_ok());
        for text in ["99ms", "0", "61m"] {
            assert_eq!(parse_every(text), Err("outside 100ms to 1h".to_owned()));
        }
        let refused = Cli::try_parse_from(["hubmeter-agent", "sample", "--every", "1ms"])
            .unwrap_err()
            .to_string();
        assert!(refused.contains("--every"), "{refused}");
        assert!(refused.contains("100ms to 1h"), "{refused}");
    }

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
