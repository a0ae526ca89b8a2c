//! Values before they mean something: each knows where it comes from.
//!
//! [`Draft`] is asked for every key there is; what the file holds and nobody asked for is unknown.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    net::ToSocketAddrs as _,
    path::PathBuf,
    time::Duration,
};

use toml::de::{DeArray, DeTable, DeValue};

use super::Addr;
use crate::notice::MailSecurity;

/// Every variable of ours starts with this.
const PREFIX: &str = "HUBMETER_COLLECTOR_";

/// Where a value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Flag(&'static str),
    Variable(String),
    File { path: PathBuf, line: usize },
    Nowhere,
}

/// Something wrong in the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    place: Place,
    what: String,
}

/// All that is wrong in the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes(pub Vec<Mistake>);

/// A value as written.
#[derive(Clone, Debug)]
pub(super) enum Raw {
    Text(String),
    Integer(String),
    Float(String),
    Boolean(bool),
    List(Vec<Raw>),
    Other(&'static str),
}

/// All values, and what was found wrong so far.
pub(super) struct Draft {
    file: BTreeMap<String, (Raw, Place)>,
    variables: HashMap<String, String>,
    asked: Vec<String>,
    mistakes: Vec<Mistake>,
}

/// Something a [`Raw`] can mean. The error says what was expected.
pub(super) trait Setting: Sized {
    fn read(raw: &Raw) -> Result<Self, String>;
}

// === impl Draft ===

impl Draft {
    pub(super) fn new(environment: impl IntoIterator<Item = (String, String)>) -> Self {
        Self {
            file: BTreeMap::new(),
            variables: environment.into_iter().collect(),
            asked: Vec::new(),
            mistakes: Vec::new(),
        }
    }

    /// Takes in the settings file.
    pub(super) fn read_file(&mut self, path: &std::path::Path) {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) => {
                let place = Place::File {
                    path: path.to_owned(),
                    line: 0,
                };
                self.mistake(place, format!("cannot be read: {e}"));
                return;
            }
        };
        let at = |offset: usize| Place::File {
            path: path.to_owned(),
            line: 1 + text.as_bytes()[..offset.min(text.len())]
                .iter()
                .filter(|&&b| b == b'\n')
                .count(),
        };
        let (table, errors) = DeTable::parse_recoverable(&text);
        for e in errors {
            let place = at(e.span().map_or(0, |span| span.start));
            self.mistake(place, e.message().to_owned());
        }
        flatten("", table.get_ref(), &at, &mut self.file);
    }

    /// The value of `key`, if anybody set it: the variable before the file.
    pub(super) fn take<T: Setting>(&mut self, key: &str) -> Option<T> {
        self.take_placed(key).map(|(value, _)| value)
    }

    /// The keys of the file that start with `prefix` and that nobody asked for yet.
    pub(super) fn keys_below(&self, prefix: &str) -> Vec<(String, Place)> {
        let below = self.file.range(prefix.to_owned()..);
        below
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, (_, place))| (key.clone(), place.clone()))
            .collect()
    }

    /// The same with its place.
    pub(super) fn take_placed<T: Setting>(&mut self, key: &str) -> Option<(T, Place)> {
        let variable = variable_of(key);
        let from_file = self.file.remove(key);
        let from_variable = self
            .variables
            .get(&variable)
            .filter(|value| !value.is_empty())
            .map(|value| (Raw::Text(value.clone()), Place::Variable(variable.clone())));
        self.asked.push(variable);
        let mut taken = None;
        // The file is read even when the variable wins, so that its mistakes are found.
        for (raw, place) in [from_variable, from_file].into_iter().flatten() {
            match T::read(&raw) {
                Ok(value) if taken.is_none() => taken = Some((value, place)),
                Ok(_) => {}
                Err(why) => self.mistake(place, format!("{key}: {why}")),
            }
        }
        taken
    }

    /// The value of a flag.
    pub(super) fn flag<T: Setting>(
        &mut self,
        name: &'static str,
        value: Option<&str>,
    ) -> Option<(T, Place)> {
        match T::read(&Raw::Text(value?.to_owned())) {
            Ok(value) => Some((value, Place::Flag(name))),
            Err(why) => {
                self.mistake(Place::Flag(name), why);
                None
            }
        }
    }

    /// A variable of somebody else, such as the hub; empty counts as absent.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        self.variables
            .get(name)
            .filter(|value| !value.is_empty())
            .cloned()
    }

    pub(super) fn mistake(&mut self, place: Place, what: String) {
        self.mistakes.push(Mistake { place, what });
    }

    /// How many mistakes were found so far.
    pub(super) fn mistakes(&self) -> usize {
        self.mistakes.len()
    }

    /// Ends the asking: what is left in the file is unknown. Gives the variables with our prefix
    /// that nobody asked for; they are no mistakes, since Kubernetes makes such
    /// (`HUBMETER_COLLECTOR_SERVICE_HOST`) for a service of that name.
    pub(super) fn finish(mut self) -> Result<Vec<String>, Mistakes> {
        for (key, (_, place)) in std::mem::take(&mut self.file) {
            self.mistake(place, format!("unknown key {key}"));
        }
        if !self.mistakes.is_empty() {
            self.mistakes.sort_by_key(|m| match &m.place {
                Place::File { line, .. } => (0, *line),
                _ => (1, 0),
            });
            return Err(Mistakes(self.mistakes));
        }
        let mut unknown: Vec<String> = self
            .variables
            .into_keys()
            .filter(|name| name.starts_with(PREFIX) && !self.asked.contains(name))
            .collect();
        unknown.sort();
        Ok(unknown)
    }
}

fn variable_of(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "_").to_uppercase())
}

fn flatten(
    above: &str,
    table: &DeTable<'_>,
    at: &impl Fn(usize) -> Place,
    into: &mut BTreeMap<String, (Raw, Place)>,
) {
    for (key, value) in table {
        let name = if above.is_empty() {
            key.get_ref().to_string()
        } else {
            format!("{above}.{}", key.get_ref())
        };
        match value.get_ref() {
            DeValue::Table(below) => flatten(&name, below, at, into),
            // [[schedule]]: its keys have the table's number before them.
            DeValue::Array(items) if are_tables(items) => {
                for (number, item) in items.iter().enumerate() {
                    if let DeValue::Table(below) = item.get_ref() {
                        flatten(&format!("{name}.{number}"), below, at, into);
                    }
                }
            }
            leaf => {
                into.insert(name, (raw(leaf), at(key.span().start)));
            }
        }
    }
}

fn are_tables(items: &DeArray<'_>) -> bool {
    let is_table = |item: &toml::Spanned<DeValue<'_>>| matches!(item.get_ref(), DeValue::Table(_));
    !items.is_empty() && items.iter().all(is_table)
}

fn raw(value: &DeValue<'_>) -> Raw {
    match value {
        DeValue::String(text) => Raw::Text(text.to_string()),
        DeValue::Integer(n) => Raw::Integer(n.as_str().to_owned()),
        DeValue::Float(n) => Raw::Float(n.as_str().to_owned()),
        DeValue::Boolean(flag) => Raw::Boolean(*flag),
        DeValue::Array(items) => Raw::List(items.iter().map(|item| raw(item.get_ref())).collect()),
        DeValue::Datetime(_) => Raw::Other("a date"),
        DeValue::Table(_) => Raw::Other("a table"),
    }
}

// === impl Setting ===

impl Setting for String {
    fn read(raw: &Raw) -> Result<Self, String> {
        match raw {
            Raw::Text(text) if text.is_empty() => Err("must not be empty".to_owned()),
            Raw::Text(text) => Ok(text.clone()),
            other => Err(format!("expected text, found {other}")),
        }
    }
}

impl Setting for PathBuf {
    fn read(raw: &Raw) -> Result<Self, String> {
        String::read(raw).map(Self::from)
    }
}

impl Setting for bool {
    fn read(raw: &Raw) -> Result<Self, String> {
        match raw {
            Raw::Boolean(flag) => Ok(*flag),
            Raw::Text(text) => match text.as_str() {
                "true" | "1" | "yes" => Ok(true),
                "false" | "0" | "no" => Ok(false),
                _ => Err("expected true or false".to_owned()),
            },
            other => Err(format!("expected true or false, found {other}")),
        }
    }
}

impl Setting for u64 {
    fn read(raw: &Raw) -> Result<Self, String> {
        match raw {
            Raw::Integer(text) | Raw::Text(text) => text
                .replace('_', "")
                .parse()
                .map_err(|_| format!("expected a whole number, found {text:?}")),
            other => Err(format!("expected a whole number, found {other}")),
        }
    }
}

impl Setting for u32 {
    fn read(raw: &Raw) -> Result<Self, String> {
        u64::read(raw)?
            .try_into()
            .map_err(|_| "expected a smaller number".to_owned())
    }
}

impl Setting for u16 {
    fn read(raw: &Raw) -> Result<Self, String> {
        u64::read(raw)?
            .try_into()
            .map_err(|_| "expected a number up to 65535".to_owned())
    }
}

impl Setting for Duration {
    fn read(raw: &Raw) -> Result<Self, String> {
        const EXPECTED: &str =
            "expected a time such as \"90s\", \"10m\", \"2h\" or a number of seconds";
        let text = match raw {
            Raw::Integer(text) | Raw::Float(text) | Raw::Text(text) => text.trim(),
            other => return Err(format!("{EXPECTED}, found {other}")),
        };
        let split = text
            .find(|c: char| c.is_ascii_alphabetic())
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        let scale = match unit {
            "ms" => 0.001,
            "" | "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3_600.0,
            "d" => 86_400.0,
            _ => return Err(format!("{EXPECTED}, found {text:?}")),
        };
        number
            .trim()
            .replace('_', "")
            .parse::<f64>()
            .ok()
            .and_then(|n| Self::try_from_secs_f64(n * scale).ok())
            .ok_or_else(|| format!("{EXPECTED}, found {text:?}"))
    }
}

impl<T: Setting> Setting for Vec<T> {
    /// A list; from a variable, items between commas.
    fn read(raw: &Raw) -> Result<Self, String> {
        match raw {
            Raw::List(items) => items.iter().map(T::read).collect(),
            Raw::Text(text) => text
                .split(',')
                .map(|item| T::read(&Raw::Text(item.trim().to_owned())))
                .collect(),
            other => Err(format!("expected a list, found {other}")),
        }
    }
}

impl Setting for Addr {
    fn read(raw: &Raw) -> Result<Self, String> {
        let text = String::read(raw)?;
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.starts_with('/') {
                Ok(Self::Unix(path.into()))
            } else {
                Err(format!(
                    "the path of a Unix socket starts with /, found {text:?}"
                ))
            };
        }
        let mut found = text
            .to_socket_addrs()
            .map_err(|e| format!("expected host:port or unix:/path, found {text:?} ({e})"))?;
        found
            .next()
            .map(Self::Tcp)
            .ok_or_else(|| format!("{text:?} has no address"))
    }
}

impl Setting for MailSecurity {
    fn read(raw: &Raw) -> Result<Self, String> {
        match raw {
            Raw::Text(text) if text == "none" => Ok(Self::Plain),
            Raw::Text(text) if text == "starttls" => Ok(Self::StartTls),
            Raw::Text(text) if text == "tls" => Ok(Self::Tls),
            _ => Err("expected \"none\", \"starttls\" or \"tls\"".to_owned()),
        }
    }
}

// === Display ===

impl fmt::Display for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.write_str("text"),
            Self::Integer(n) | Self::Float(n) => write!(f, "the number {n}"),
            Self::Boolean(flag) => write!(f, "{flag}"),
            Self::List(_) => f.write_str("a list"),
            Self::Other(what) => f.write_str(what),
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Flag(name) => write!(f, "{name}: {}", self.what),
            Place::Variable(name) => write!(f, "{name} (environment): {}", self.what),
            Place::File { path, line: 0 } => write!(f, "{}: {}", path.display(), self.what),
            Place::File { path, line } => write!(f, "{}:{line}: {}", path.display(), self.what),
            Place::Nowhere => f.write_str(&self.what),
        }
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, mistake) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}
