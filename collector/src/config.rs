//! Settings: flags over environment over file over what the hub tells its services.
//!
//! The file is TOML; every key can also be set by `HUBMETER_COLLECTOR_` and its dotted name in
//! capitals (`link.listen` is `HUBMETER_COLLECTOR_LINK_LISTEN`). All mistakes are found before
//! anything starts and each says where it is. Secrets are named by file and never printed.

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    history::HistoryConfig, notice::NoticeConfig, report::hub_activity::Labels, serve::PerUser,
    state::Policy,
};

mod cull;
mod draft;
mod notice;
mod policy;
mod read;
mod space;

pub use cull::CullConfig;
pub use draft::{Mistake, Mistakes};

/// Everything that can be set; plain data.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where people and scripts reach the HTTP API.
    pub listen: Addr,
    /// `/metrics` on a listener of its own, without authentication.
    pub metrics_listen: Option<Addr>,
    /// Whether servers have series of their own in `/metrics`.
    pub per_user: PerUser,
    /// Inbox, state and history live here.
    pub data_dir: PathBuf,
    /// No hub: identity is the uid of the local peer.
    pub standalone: bool,
    /// The hub; `None` in standalone.
    pub hub: Option<Hub>,
    /// The agents' way in.
    pub link: Link,
    /// How to judge.
    pub policy: Policy,
    /// Who is stopped when.
    pub cull: CullConfig,
    /// What is kept, and how long.
    pub history: HistoryConfig,
    /// How people are told.
    pub notice: NoticeConfig,
    /// What this hub is called in reports.
    pub report: Labels,
    /// Variables with our prefix that mean nothing to us.
    pub unknown_variables: Vec<String>,
}

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Addr {
    /// `host:port`, resolved.
    Tcp(SocketAddr),
    /// `unix:/path`.
    Unix(PathBuf),
}

/// How to reach the hub, and what we are to it.
#[derive(Clone, Debug)]
pub struct Hub {
    /// `JUPYTERHUB_API_URL`.
    pub api_url: String,
    /// Our own token.
    pub api_token: Secret,
    /// `JUPYTERHUB_HOST`: where the hub is when every server has a host of its own; else empty.
    pub host: String,
    /// `JUPYTERHUB_BASE_URL`, with slashes at both ends.
    pub base_url: String,
    /// Our name as a service.
    pub service_name: String,
    /// Where the proxy puts us, with slashes at both ends.
    pub service_prefix: String,
    /// Our OAuth client id.
    pub client_id: String,
    /// Where the hub sends browsers back to.
    pub oauth_callback_url: String,
    /// How often it is asked for everybody.
    pub people_interval: Duration,
}

/// The agents' way in.
#[derive(Clone, Debug)]
pub struct Link {
    /// Where to listen.
    pub listen: Addr,
    /// Plaintext beyond loopback and Unix sockets.
    pub allow_plaintext: bool,
    /// Certificate and key; without it only plaintext is spoken.
    pub tls: Option<Tls>,
    /// The interval agents are asked for; `None` leaves it to them.
    pub interval: Option<Duration>,
    /// Live streams taken at once.
    pub streams_max: usize,
}

/// Files of a certificate chain and its key, PEM.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The chain, ours first.
    pub cert_file: PathBuf,
    /// The key.
    pub key_file: PathBuf,
}

/// A string that never shows in logs or error texts.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// What the command line of `serve` says; every part is optional.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--config`
    pub config: Option<PathBuf>,
    /// `--data-dir`
    pub data_dir: Option<PathBuf>,
    /// `--standalone`
    pub standalone: bool,
    /// `--listen`
    pub listen: Option<String>,
    /// `--link-listen`
    pub link_listen: Option<String>,
    /// `--metrics-listen`
    pub metrics_listen: Option<String>,
}

// === impl Hub ===

impl Hub {
    /// A hub's API and a token for it, and nothing of what a service with a page needs.
    #[must_use]
    pub fn api(api_url: String, api_token: Secret) -> Self {
        Self {
            api_url,
            api_token,
            host: String::new(),
            base_url: "/".to_owned(),
            service_name: String::new(),
            service_prefix: String::new(),
            client_id: String::new(),
            oauth_callback_url: String::new(),
            people_interval: crate::limits::HUB_PEOPLE_INTERVAL,
        }
    }

    /// The address of a page of the hub, as a browser on our page must ask for it.
    #[must_use]
    pub fn page(&self, path: &str) -> String {
        format!("{}{}hub/{path}", self.host, self.base_url)
    }
}

// === impl Config ===

impl Config {
    /// Reads flags, environment and file.
    ///
    /// # Errors
    /// Every mistake, each with its place.
    pub fn load(
        flags: &Flags,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Mistakes> {
        read::config(flags, environment, read::Purpose::Serve)
    }

    /// Checks a file as `serve` would read it here, except that no hub needs to be known.
    ///
    /// # Errors
    /// Every mistake, each with its place.
    pub fn check(
        file: &Path,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Mistakes> {
        let flags = Flags {
            config: Some(file.to_owned()),
            ..Flags::default()
        };
        read::config(&flags, environment, read::Purpose::Check)
    }

    /// Reads flags, environment and file for somebody who looks at what a collector kept: no hub
    /// needs to be known.
    ///
    /// # Errors
    /// Every mistake, each with its place.
    pub fn inspect(
        flags: &Flags,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Mistakes> {
        read::config(flags, environment, read::Purpose::Check)
    }

    /// Where a collector of these settings keeps everything.
    ///
    /// # Errors
    /// Every mistake, each with its place.
    pub fn data_dir(
        flags: &Flags,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<PathBuf, Mistakes> {
        read::data_dir(flags, environment)
    }

    /// What every path of ours starts with: `/` in standalone.
    #[must_use]
    pub fn prefix(&self) -> &str {
        self.hub.as_ref().map_or("/", |hub| &hub.service_prefix)
    }
}

// === impl Addr ===

impl Addr {
    /// Whether only this machine can reach it.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(addr) => addr.ip().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => write!(f, "{addr}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

// === impl Secret ===

impl Secret {
    /// Wraps what must not be shown.
    #[must_use]
    pub fn new(secret: String) -> Self {
        Self(secret)
    }

    /// The secret, for the one who sends it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"…\"")
    }
}

#[cfg(test)]
mod tests;
