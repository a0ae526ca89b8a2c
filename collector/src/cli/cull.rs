//! `cull`: the flags of jupyterhub-idle-culler, in the spellings of its two versions.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, ValueEnum};

use super::Failure;
use crate::{
    causes::chain,
    config::Secret,
    culler::{CullError, Form, Settings},
    hub::reach::{InternalCerts, Reach},
    limits,
    serve::query::duration_ms,
};

/// jupyterhub-idle-culler's own time for one question to the hub.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Its round when nobody says otherwise: half of its timeout of ten minutes.
const EVERY: Duration = Duration::from_secs(300);

/// No hub is asked more often.
const EVERY_MIN: Duration = Duration::from_secs(1);

/// Where a collector listens on this machine when nobody says otherwise.
const COLLECTOR_DEFAULT: &str = "http://127.0.0.1:9640";

#[cfg(test)]
mod tests;

const HELP: &str = "\
Environment: JUPYTERHUB_API_TOKEN (needed; its scopes: list:users, read:users:activity,
read:servers, delete:servers, and for --cull-users read:users and admin:users), JUPYTERHUB_API_URL,
JUPYTERHUB_BASE_URL, JUPYTERHUB_REQUEST_TIMEOUT (seconds, 60), HUBMETER_API_URL, HUBMETER_LOG.

Times are seconds, or 90s, 15m, 2h. Every flag that is on or off also takes =true or =false, and
--no- before its name; `_` for `-` in names is fine. A hub or a collector that does not answer, or
not completely, stops nothing. A collector that was silent for over an hour is no longer waited
for: then a server goes whose last activity by the hub is older than --timeout, if that is given.
The collector's mode `watch` is for its hook and its warnings: this command acts when it is run.

See first what it would do:
  hubmeter-collector cull --url http://127.0.0.1:8081/hub/api --dry-run";

/// Stops servers that the collector says are idle; in place of jupyterhub-idle-culler.
#[derive(Debug, Args)]
#[command(after_help = HELP, args_override_self = true)]
pub(super) struct Cull {
    /// The hub's API, http, https or http+unix [default: JUPYTERHUB_API_URL]
    #[arg(long, alias = "IdleCuller.url", value_name = "URL")]
    url: Option<String>,
    /// The collector, with its prefix [default: HUBMETER_API_URL, else the service hubmeter on this machine]
    #[arg(long, value_name = "URL")]
    collector: Option<String>,
    /// Stop what is idle for so long [default: what the collector's policy says for each]
    #[arg(long, alias = "IdleCuller.timeout", value_name = "TIME", value_parser = span)]
    timeout: Option<Duration>,
    /// Stop what is older, at work or not; 0 never does [default: the collector's policy]
    #[arg(long, aliases = ["max_age", "IdleCuller.max_age"], value_name = "TIME", value_parser = span)]
    max_age: Option<Duration>,
    /// From one round to the next [default: half of --timeout, else 300]
    #[arg(long, aliases = ["cull_every", "IdleCuller.cull_every"], value_name = "TIME", value_parser = span)]
    cull_every: Option<Duration>,
    /// Requests to the hub at once, 100 at most
    #[arg(
        long,
        alias = "IdleCuller.concurrency",
        value_name = "N",
        default_value_t = 10
    )]
    concurrency: usize,
    /// Users per page of the hub's list; 0 for the hub's own largest
    #[arg(long, aliases = ["api_page_size", "IdleCuller.api_page_size"], value_name = "N", default_value_t = 0)]
    api_page_size: usize,
    #[command(flatten)]
    switches: Switches,
    /// Where the hub wrote them
    #[arg(long, aliases = ["internal_certs_location", "IdleCuller.internal_certs_location"],
          value_name = "DIR", default_value = "internal-ssl")]
    internal_certs_location: PathBuf,
    /// One round, then end
    #[arg(long)]
    once: bool,
    /// Stop nothing, only say what would be; one round unless --cull-every is given
    #[arg(long)]
    dry_run: bool,
    /// Settings of jupyterhub-idle-culler 2, which are Python: not read, with a warning
    #[arg(
        long,
        alias = "IdleCuller.config_file",
        value_name = "FILE",
        hide = true
    )]
    config: Option<PathBuf>,
    /// How a round is written: a table (of --once and --dry-run), or a line of JSON for each server
    #[arg(long, value_enum, default_value_t, value_name = "FORM")]
    format: Format,
}

/// What is on or off.
#[derive(Debug, Args)]
struct Switches {
    /// Delete users, too, who have no server and no activity for as long (600 s without --timeout)
    #[arg(long, aliases = ["cull_users", "IdleCuller.cull_users"], value_name = "BOOL",
          num_args = 0..=1, default_missing_value = "true", value_parser = switch,
          overrides_with = "no_cull_users")]
    cull_users: Option<bool>,
    #[arg(
        long,
        alias = "no_cull_users",
        hide = true,
        overrides_with = "cull_users"
    )]
    no_cull_users: bool,
    /// Admins among them [default: true]
    #[arg(long, aliases = ["cull_admin_users", "IdleCuller.cull_admin_users"], value_name = "BOOL",
          num_args = 0..=1, default_missing_value = "true", value_parser = switch,
          overrides_with = "no_cull_admin_users")]
    cull_admin_users: Option<bool>,
    #[arg(
        long,
        alias = "no_cull_admin_users",
        hide = true,
        overrides_with = "cull_admin_users"
    )]
    no_cull_admin_users: bool,
    /// Stop default servers [default: true]
    #[arg(long, aliases = ["cull_default_servers", "IdleCuller.cull_default_servers"],
          value_name = "BOOL", num_args = 0..=1, default_missing_value = "true",
          value_parser = switch, overrides_with = "no_cull_default_servers")]
    cull_default_servers: Option<bool>,
    #[arg(
        long,
        alias = "no_cull_default_servers",
        hide = true,
        overrides_with = "cull_default_servers"
    )]
    no_cull_default_servers: bool,
    /// Stop named servers [default: true]
    #[arg(long, aliases = ["cull_named_servers", "IdleCuller.cull_named_servers"],
          value_name = "BOOL", num_args = 0..=1, default_missing_value = "true",
          value_parser = switch, overrides_with = "no_cull_named_servers")]
    cull_named_servers: Option<bool>,
    #[arg(
        long,
        alias = "no_cull_named_servers",
        hide = true,
        overrides_with = "cull_named_servers"
    )]
    no_cull_named_servers: bool,
    /// Forget named servers as well when they are stopped
    #[arg(long, aliases = ["remove_named_servers", "IdleCuller.remove_named_servers"],
          value_name = "BOOL", num_args = 0..=1, default_missing_value = "true",
          value_parser = switch, overrides_with = "no_remove_named_servers")]
    remove_named_servers: Option<bool>,
    #[arg(
        long,
        alias = "no_remove_named_servers",
        hide = true,
        overrides_with = "remove_named_servers"
    )]
    no_remove_named_servers: bool,
    /// The hub has internal_ssl: show its certificate, trust its authority
    #[arg(long, aliases = ["ssl_enabled", "IdleCuller.ssl_enabled"], value_name = "BOOL",
          num_args = 0..=1, default_missing_value = "true", value_parser = switch,
          overrides_with = "no_ssl_enabled")]
    ssl_enabled: Option<bool>,
    #[arg(
        long,
        alias = "no_ssl_enabled",
        hide = true,
        overrides_with = "ssl_enabled"
    )]
    no_ssl_enabled: bool,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Format {
    #[default]
    Table,
    Json,
}

fn span(text: &str) -> Result<Duration, String> {
    let ms = duration_ms(text).and_then(|ms| u64::try_from(ms).ok());
    ms.map(Duration::from_millis)
        .ok_or_else(|| "a time is seconds, or such as 90s, 15m, 2h".to_owned())
}

/// As traitlets and tornado read them.
fn switch(text: &str) -> Result<bool, String> {
    match &*text.to_ascii_lowercase() {
        "true" | "1" | "t" | "yes" | "on" => Ok(true),
        "false" | "0" | "f" | "no" | "off" => Ok(false),
        _ => Err("it is true or false".to_owned()),
    }
}

// === impl Cull ===

impl Cull {
    pub(super) fn run(
        self,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(), Failure> {
        if let Some(file) = &self.config {
            crate::run::start_log();
            tracing::warn!(file = %file.display(), "--config is not read: give its settings as flags");
        }
        let settings = self.settings(environment)?;
        settings.run().map_err(|e| match e {
            CullError::Hub(_) | CullError::Collector { .. } => Failure::Usage(chain(&e)),
            e => Failure::Failed(chain(&e)),
        })
    }

    fn settings(
        self,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Settings, Failure> {
        let mut environment: BTreeMap<String, String> = environment.into_iter().collect();
        // What is set to nothing is not set.
        let mut variable = |name: &str| environment.remove(name).filter(|value| !value.is_empty());
        let usage = |text: &str| Failure::Usage(text.to_owned());
        let hub_url = self.url.or_else(|| variable("JUPYTERHUB_API_URL"));
        let hub_url = hub_url.ok_or_else(|| usage("no hub: give --url or JUPYTERHUB_API_URL"))?;
        let token = variable("JUPYTERHUB_API_TOKEN");
        let token = token.ok_or_else(|| usage("no token: set JUPYTERHUB_API_TOKEN"))?;
        let request_timeout = match variable("JUPYTERHUB_REQUEST_TIMEOUT") {
            None => REQUEST_TIMEOUT,
            Some(text) => span(&text)
                .map_err(|why| usage(&format!("JUPYTERHUB_REQUEST_TIMEOUT is {text:?}: {why}")))?,
        };
        let base_url = variable("JUPYTERHUB_BASE_URL").unwrap_or_else(|| "/".to_owned());
        let collector_url = self
            .collector
            .or_else(|| variable("HUBMETER_API_URL"))
            .unwrap_or_else(|| format!("{COLLECTOR_DEFAULT}{base_url}services/hubmeter"));
        // 0 is the idle culler's word for its default.
        let every = self
            .cull_every
            .filter(|every| !every.is_zero())
            .unwrap_or_else(|| self.timeout.map_or(EVERY, |t| t / 2));
        let repeats = !self.once && (!self.dry_run || self.cull_every.is_some());
        let switches = self.switches;
        let ssl = on(switches.ssl_enabled, switches.no_ssl_enabled, false);
        Ok(Settings {
            hub_url,
            collector_url,
            token: Secret::new(token),
            reach: Reach {
                request_timeout,
                internal: certs(ssl, &self.internal_certs_location)?,
            },
            page_users: match self.api_page_size {
                0 => limits::HUB_PAGE_USERS,
                users => users,
            },
            timeout: self.timeout,
            max_age: self.max_age,
            concurrency: self.concurrency,
            default_servers: on(
                switches.cull_default_servers,
                switches.no_cull_default_servers,
                true,
            ),
            named_servers: on(
                switches.cull_named_servers,
                switches.no_cull_named_servers,
                true,
            ),
            remove_named_servers: on(
                switches.remove_named_servers,
                switches.no_remove_named_servers,
                false,
            ),
            users: on(switches.cull_users, switches.no_cull_users, false),
            admin_users: on(
                switches.cull_admin_users,
                switches.no_cull_admin_users,
                true,
            ),
            dry_run: self.dry_run,
            every: repeats.then(|| every.max(EVERY_MIN)),
            form: match self.format {
                Format::Table => Form::Table,
                Format::Json => Form::Json,
            },
        })
    }
}

fn on(given: Option<bool>, not: bool, unless_given: bool) -> bool {
    !not && given.unwrap_or(unless_given)
}

fn certs(ssl: bool, location: &Path) -> Result<Option<InternalCerts>, Failure> {
    let read = ssl.then(|| InternalCerts::read(location)).transpose();
    read.map_err(|e| Failure::Usage(format!("--ssl-enabled: {}", chain(&e))))
}
