//! What `run` was told: flag, then environment, then `/etc/hubmeter/agent.toml`, then nothing.
//!
//! All mistakes are gathered before any is reported. Whether they end the program is the
//! caller's choice: an agent that starts somebody's server goes on with what is right.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use hubmeter_proto::limits::{INTERVAL_DEFAULT, INTERVAL_MAX, INTERVAL_MIN};

use crate::{
    config::{RunArgs, parse_duration},
    link::credential::Credential,
    workload::Names,
};

pub mod collector_url;

pub use self::collector_url::{CollectorUrl, Pin};

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

/// Keys of the file; each is also `HUBMETER_` and itself in capitals.
const KEYS: [&str; 8] = [
    "collector",
    "interval",
    "ca_file",
    "socket",
    "token_file",
    "name",
    "names",
    "api_url",
];

/// Environment and file, asked by key.
struct Sources<'a, E> {
    env: &'a E,
    file: &'a Path,
    table: toml::Table,
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
        let (sources, mut mistakes) = Sources::read(env, file);
        let allow_plaintext = env.get("HUBMETER_ALLOW_PLAINTEXT").as_deref() == Some("1");
        let collector = sources.pick("collector", flags.collector.as_ref());
        let interval = sources.pick("interval", flags.interval.as_ref());
        let name = sources.pick("name", flags.name.as_ref());
        let [names, ca_file, socket, token_file, api_url] =
            ["names", "ca_file", "socket", "token_file", "api_url"]
                .map(|key| sources.pick(key, None));
        let token_file = token_file.map(|given| given.text.into());
        let settings = Self {
            collector: judge(collector, &mut mistakes, |text| {
                CollectorUrl::parse(text, allow_plaintext).map_err(|error| error.to_string())
            }),
            interval: judge(interval, &mut mistakes, parse_interval).unwrap_or(INTERVAL_DEFAULT),
            ca_file: ca_file.map(|given| given.text.into()),
            socket: judge(socket, &mut mistakes, absolute),
            credential: Credential::new(token_file, env.get("JUPYTERHUB_API_TOKEN")),
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

// === impl Sources ===

impl<'a, E: Environment> Sources<'a, E> {
    /// Reads the file; a missing one says nothing.
    fn read(env: &'a E, file: &'a Path) -> (Self, Vec<Mistake>) {
        let mistake = |reason: String| Mistake {
            source_name: file.display().to_string(),
            reason,
            by_flag: false,
        };
        let read = match std::fs::read_to_string(file) {
            Ok(text) => text
                .parse()
                .map_err(|error: toml::de::Error| mistake(error.to_string())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(toml::Table::new()),
            Err(error) => Err(mistake(error.to_string())),
        };
        let (table, mut mistakes) = match read {
            Ok(table) => (table, Vec::new()),
            Err(mistake) => (toml::Table::new(), vec![mistake]),
        };
        for (key, value) in &table {
            if !KEYS.contains(&key.as_str()) {
                mistakes.push(mistake(format!(
                    "`{key}` is not one of {}",
                    KEYS.join(", ")
                )));
            } else if !value.is_str() && !value.is_integer() {
                mistakes.push(mistake(format!(
                    "`{key}` is neither text nor a whole number"
                )));
            }
        }
        (Self { env, file, table }, mistakes)
    }

    /// The first source that has `key`.
    fn pick(&self, key: &str, flag: Option<&String>) -> Option<Given> {
        let given = |text: String, source_name: String, by_flag: bool| Given {
            text,
            source_name,
            by_flag,
        };
        if let Some(text) = flag {
            return Some(given(text.clone(), format!("--{key}"), true));
        }
        let variable = format!("HUBMETER_{}", key.to_uppercase());
        if let Some(text) = self.env.get(&variable) {
            return Some(given(text, variable, false));
        }
        let text = match self.table.get(key)? {
            toml::Value::String(text) => text.clone(),
            toml::Value::Integer(number) => number.to_string(),
            _ => return None,
        };
        Some(given(
            text,
            format!("{}: {key}", self.file.display()),
            false,
        ))
    }
}

#[cfg(test)]
mod tests;
