//! What `run` was told: flag, then environment, then `/etc/hubmeter/agent.toml`, then nothing.
//!
//! All mistakes are gathered before any is reported. Whether they end the program is the
//! caller's choice: an agent that starts somebody's server goes on with what is right.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use hubmeter_proto::limits::{INTERVAL_DEFAULT, INTERVAL_MAX, INTERVAL_MIN};

use crate::{
    config::{RunArgs, parse_duration},
    link::credential::Credential,
    sample::memory::budget::PssShare,
    workload::Names,
};

pub mod collector_url;
pub mod collector_urls;
mod file;

pub use self::{
    collector_url::{CollectorUrl, Pin},
    collector_urls::CollectorUrls,
};

/// Where the machine's administrator puts what holds for every agent.
pub const FILE: &str = "/etc/hubmeter/agent.toml";

/// Everything `run` works by.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to stream to; `None` keeps everything on this machine.
    pub collector: Option<CollectorUrls>,
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
    /// What reading proportional sets again may take.
    pub pss_share: PssShare,
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

/// Keys of the file; each is also `HUBMETER_` and itself in capitals, and a flag with dashes.
const KEYS: [&str; 10] = [
    "collector",
    "interval",
    "ca_file",
    "socket",
    "token_file",
    "name",
    "names",
    "api_url",
    "allow_plaintext",
    "pss_budget",
];

/// Environment and file, asked by key.
struct Sources<'a, E> {
    env: &'a E,
    file: &'a Path,
    entries: Vec<file::Entry>,
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
        let (entries, mut mistakes) = file::read(file);
        let sources = Sources { env, file, entries };
        let plaintext_flag = flags.allow_plaintext.then(|| "true".to_owned());
        let allow_plaintext = sources.pick("allow_plaintext", plaintext_flag.as_ref());
        let allow_plaintext = judge(allow_plaintext, &mut mistakes, parse_bool).unwrap_or(false);
        let collector = sources.pick("collector", flags.collector.as_ref());
        let interval = sources.pick("interval", flags.interval.as_ref());
        let name = sources.pick("name", flags.name.as_ref());
        let names = sources.pick("names", flags.names.as_ref());
        let ca_file = sources.pick("ca_file", flags.ca_file.as_ref());
        let socket = sources.pick("socket", flags.socket.as_ref());
        let token_file = sources.pick("token_file", flags.token_file.as_ref());
        let api_url = sources.pick("api_url", flags.api_url.as_ref());
        let pss_budget = sources.pick("pss_budget", flags.pss_budget.as_ref());
        let settings = Self {
            collector: judge(collector, &mut mistakes, |text| {
                CollectorUrls::parse(text, allow_plaintext).map_err(|error| error.to_string())
            }),
            interval: judge(interval, &mut mistakes, parse_interval).unwrap_or(INTERVAL_DEFAULT),
            ca_file: judge(ca_file, &mut mistakes, from_here),
            socket: judge(socket, &mut mistakes, absolute),
            credential: Credential::new(
                judge(token_file, &mut mistakes, from_here),
                env.get("JUPYTERHUB_API_TOKEN"),
            ),
            name: name.map(|given| given.text).unwrap_or_default(),
            names: judge(names, &mut mistakes, parse_names).unwrap_or_default(),
            pss_share: judge(pss_budget, &mut mistakes, PssShare::parse).unwrap_or_default(),
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

fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(format!("`{text}` is not one of 1, true, 0, false")),
    }
}

/// A file by the name that whoever started us uses.
fn from_here(text: &str) -> Result<PathBuf, String> {
    std::path::absolute(text).map_err(|error| format!("`{text}`: {error}"))
}

fn absolute(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if path.is_absolute() {
        return Ok(path);
    }
    Err(format!("`{text}` is no absolute path"))
}

// === impl Sources ===

impl<E: Environment> Sources<'_, E> {
    /// The first source that has `key`.
    fn pick(&self, key: &str, flag: Option<&String>) -> Option<Given> {
        let given = |text: String, source_name: String, by_flag: bool| Given {
            text,
            source_name,
            by_flag,
        };
        if let Some(text) = flag {
            return Some(given(
                text.clone(),
                format!("--{}", key.replace('_', "-")),
                true,
            ));
        }
        let variable = format!("HUBMETER_{}", key.to_uppercase());
        if let Some(text) = self.env.get(&variable) {
            return Some(given(text, variable, false));
        }
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        let place = format!("{}:{}: {key}", self.file.display(), entry.line);
        Some(given(entry.text.clone(), place, false))
    }
}

#[cfg(test)]
mod tests;
