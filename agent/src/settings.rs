//! What `run` was told: flag, then environment, then `/etc/hubmeter/agent.toml`, then nothing.
//!
//! All mistakes are gathered before any is reported. Whether they end the program is the
//! caller's choice: an agent that starts somebody's server goes on with what is right.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use hubmeter_proto::limits::{INTERVAL_DEFAULT, INTERVAL_MAX, INTERVAL_MIN};
use serde::Deserialize;

use crate::{
    config::{RunArgs, parse_duration}, link::credential::Credential, workload::Names};

pub mod collector_url;

pub use self::collector_url::CollectorUrl;


/// Where the machine's administrator puts what holds for every agent.
pub const FILE: &str = "/etc/hubmeter/agent.toml";

/// Everything `run` works by.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to stream to; `None` keeps everything on this machine.
    pub collector: Option<CollectorUrl>,
    /// Time between base samples.
    pub interval: Duration,
    /// Certificates that vouch for the collector, in place of the machine's.
    pub ca_file: Option<PathBuf>,
    /// Local socket, when somebody chose its place.
    pub socket: Option<PathBuf>,
    /// Proof of who we are.
    pub credential: Credential,
    /// Name of this server for a collector without a hub.
    pub name: String,
    /// How much of names leaves this machine.
    pub names: Names,
    /// Where people and scripts reach the collector, when it does not say so itself.
    pub api_url: Option<String>,
}

/// Where settings come from besides the command line; a trait, so that tests need no real
/// environment.
pub trait Environment {
    /// The variable's value; empty counts as unset.
    fn get(&self, key: &str) -> Option<String>;
}

/// The process's environment.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessEnvironment;

/// A setting that cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{source_name}: {reason}")]
pub struct Mistake {
    /// Flag, variable or file key.
    pub source_name: String,
    /// What is wrong, and with which bound.
    pub reason: String,
    /// Whether it was typed on the command line.
    pub by_flag: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileSettings {
    collector: Option<String>,
    interval: Option<Interval>,
    ca_file: Option<String>,
    socket: Option<String>,
    token_file: Option<String>,
    name: Option<String>,
    names: Option<String>,
    api_url: Option<String>,
}

/// `interval = 5` and `interval = "5s"` mean the same.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Interval {
    Seconds(u64),
    Text(String),
}

/// A text setting with the name people know its source by.
struct Given {
    text: String,
    source_name: String,
    by_flag: bool,
}

// === impl ProcessEnvironment ===

impl Environment for ProcessEnvironment {
    fn get(&self, key: &str) -> Option<String> {
        std::env::var(key).ok().filter(|value| !value.is_empty())
    }
}

// === impl Settings ===

impl Settings {
    /// Gathers every source; what is wrong keeps its default and is listed.
    #[must_use]
    pub fn gather(flags: &RunArgs, env: &impl Environment, file: &Path) -> (Self, Vec<Mistake>) {
        let mut mistakes = Vec::new();
        let from_file = FileSettings::read(file, &mut mistakes);
        let pick = |flag: Option<(&str, &Option<String>)>, variable: &str, key: &str, in_file: Option<String>| {
            if let Some((name, Some(text))) = flag {
                return Some(Given { text: text.clone(), source_name: name.to_owned(), by_flag: true });
            }
            if let Some(text) = env.get(variable) {
                return Some(Given { text, source_name: variable.to_owned(), by_flag: false });
            }
            let source_name = format!("{}: {key}", file.display());
            in_file.map(|text| Given { text, source_name, by_flag: false })
        };

        let allow_plaintext = env.get("HUBMETER_ALLOW_PLAINTEXT").is_some_and(|value| value == "1");
        let collector = pick(
            Some(("--collector", &flags.collector)),
            "HUBMETER_COLLECTOR",
            "collector",
            from_file.collector,
        );
        let interval = pick(
            Some(("--interval", &flags.interval)),
            "HUBMETER_INTERVAL",
            "interval",
            from_file.interval.map(Interval::into_text),
        );
        let name = pick(Some(("--name", &flags.name)), "HUBMETER_NAME", "name", from_file.name);
        let names = pick(None, "HUBMETER_NAMES", "names", from_file.names);
        let ca_file = pick(None, "HUBMETER_CA_FILE", "ca_file", from_file.ca_file);
        let socket = pick(None, "HUBMETER_SOCKET", "socket", from_file.socket);
        let token_file = pick(None, "HUBMETER_TOKEN_FILE", "token_file", from_file.token_file);
        let api_url = pick(None, "HUBMETER_API_URL", "api_url", from_file.api_url);

        let settings = Self {
            collector: judge(collector, &mut mistakes, |text| {
                CollectorUrl::parse(text, allow_plaintext).map_err(|error| error.to_string())
            }),
            interval: judge(interval, &mut mistakes, parse_interval).unwrap_or(INTERVAL_DEFAULT),
            ca_file: ca_file.map(|given| given.text.into()),
            socket: judge(socket, &mut mistakes, absolute),
            credential: Credential::new(
                token_file.map(|given| given.text.into()),
                env.get("JUPYTERHUB_API_TOKEN"),
            ),
            name: name.map(|given| given.text).unwrap_or_default(),
            names: judge(names, &mut mistakes, parse_names).unwrap_or_default(),
            api_url: api_url.map(|given| given.text),
        };
        (settings, mistakes)
    }
}

fn judge<T>(
    given: Option<Given>,
    mistakes: &mut Vec<Mistake>,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Option<T> {
    let given = given?;
    match parse(&given.text) {
        Ok(value) => Some(value),
        Err(reason) => {
            mistakes.push(Mistake {
                source_name: given.source_name,
                reason,
                by_flag: given.by_flag,
            });
            None
        }
    }
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    let interval = parse_duration(text).map_err(|reason| format!("`{text}`: {reason}"))?;
    if (INTERVAL_MIN..=INTERVAL_MAX).contains(&interval) {
        return Ok(interval);
    }
    Err(format!(
        "`{text}` is outside {}s to {}s",
        INTERVAL_MIN.as_secs(),
        INTERVAL_MAX.as_secs()
    ))
}

fn parse_names(text: &str) -> Result<Names, String> {
    <Names as clap::ValueEnum>::from_str(text, false)
        .map_err(|_| format!("`{text}` is not one of base, full, none"))
}

fn absolute(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if path.is_absolute() {
        return Ok(path);
    }
    Err(format!("`{text}` is no absolute path"))
}

// === impl FileSettings ===

impl FileSettings {
    fn read(path: &Path, mistakes: &mut Vec<Mistake>) -> Self {
        let mut mistake = |reason: &dyn fmt::Display| {
            mistakes.push(Mistake {
                source_name: path.display().to_string(),
                reason: reason.to_string(),
                by_flag: false,
            });
            Self::default()
        };
        match std::fs::read_to_string(path) {
            Ok(text) => toml::from_str(&text).unwrap_or_else(|error| mistake(&error)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Self::default(),
            Err(error) => mistake(&error),
        }
    }
}

// === impl Interval ===

impl Interval {
    fn into_text(self) -> String {
        match self {
            Self::Seconds(seconds) => seconds.to_string(),
            Self::Text(text) => text,
        }
    }
}

#[cfg(test)]
mod tests;
