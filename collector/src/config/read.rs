//! The list of keys: what each means, its default, and what does not go together.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    Addr, Config, Flags, Hub, Link, Mistakes, Secret, Tls,
    draft::{Draft, Place, Setting},
};
use crate::{
    history::{HistoryConfig, HistoryMode},
    limits,
    notice::NoticeConfig,
    report::hub_activity::Labels,
    serve::PerUser,
    text::Label,
};

/// HTTP when nobody says otherwise.
const LISTEN_DEFAULT: &str = "127.0.0.1:9640";
/// The link when nobody says otherwise.
const LINK_LISTEN_DEFAULT: &str = "127.0.0.1:9641";
/// The hub's domain when nothing tells it.
const DOMAIN_DEFAULT: &str = "localhost";
/// 2i2c's chart of a plain hub.
const CHART_DEFAULT: &str = "basehub";

/// What the settings are for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Serve,
    Check,
}

pub(super) fn config(
    flags: &Flags,
    environment: impl IntoIterator<Item = (String, String)>,
    purpose: Purpose,
) -> Result<Config, Mistakes> {
    let mut draft = Draft::new(environment);
    let file = flags.config.clone().or_else(|| {
        draft
            .variable("HUBMETER_COLLECTOR_CONFIG")
            .map(PathBuf::from)
    });
    if let Some(file) = &file {
        draft.read_file(file);
    }
    draft.take::<PathBuf>("config"); // only meaningful as a variable
    let standalone_set: Option<(bool, Place)> = draft.take_placed("standalone");
    let standalone = flags.standalone || standalone_set.is_some_and(|(on, _)| on);
    let hub = hub(&mut draft, standalone, purpose);
    let service_url = draft.variable("JUPYTERHUB_SERVICE_URL");

    let listen_flag = draft.flag("--listen", flags.listen.as_deref());
    let listen_set = draft.take_placed("listen");
    let (listen, listen_place) = listen_flag
        .or(listen_set)
        .or_else(|| service_listen(&mut draft, standalone, service_url.as_deref()))
        .or_else(|| default_addr(LISTEN_DEFAULT))
        .unwrap_or_else(unspecified);
    let (metrics, per_user) = metrics(&mut draft, flags);
    let (link, link_place) = link(&mut draft, flags);
    if standalone {
        let taken = [(&listen, &listen_place), (&link.listen, &link_place)];
        let metrics = metrics.iter().map(|(addr, place)| (addr, place));
        for (addr, place) in taken.into_iter().chain(metrics) {
            if !addr.is_local() {
                let what =
                    format!("standalone listens on loopback or a Unix socket only, not on {addr}");
                draft.mistake(place.clone(), what);
            }
        }
    }
    let data_dir_set: Option<PathBuf> = draft.take("data_dir");
    let data_dir = flags
        .data_dir
        .clone()
        .or(data_dir_set)
        .unwrap_or_else(|| default_data_dir(&draft));
    let policy = super::policy::policy(&mut draft);
    let history = history(&mut draft, &data_dir);
    let notice = super::notice::notice(&mut draft, hub.is_some());
    let users = notice.user_mail.as_ref();
    let by_mail = notice.mail.is_some() && users.is_some_and(|users| users.warnings);
    let cull = super::cull::cull(&mut draft, &policy, by_mail);
    let report = report(&mut draft, &notice, hub.as_ref());
    let unknown_variables = draft.finish()?;
    Ok(Config {
        listen,
        metrics_listen: metrics.map(|(addr, _)| addr),
        per_user,
        data_dir,
        standalone,
        hub,
        link,
        policy,
        cull,
        history,
        notice,
        report,
        unknown_variables,
    })
}

fn hub(draft: &mut Draft, standalone: bool, purpose: Purpose) -> Option<Hub> {
    let api_url: Option<String> = draft.take("hub.api_url");
    let token_file: Option<(PathBuf, Place)> = draft.take_placed("hub.api_token_file");
    let service_name: Option<String> = draft.take("hub.service_name");
    let service_prefix: Option<String> = draft.take("hub.service_prefix");
    let base_url: Option<String> = draft.take("hub.base_url");
    let client_id: Option<String> = draft.take("hub.client_id");
    let callback: Option<String> = draft.take("hub.oauth_callback_url");
    let people_interval: Option<Duration> = draft.take("hub.people_interval");
    let token = match token_file {
        Some(file) => secret_file(draft, "hub.api_token_file", file),
        None => draft.variable("JUPYTERHUB_API_TOKEN").map(Secret::new),
    };
    if standalone {
        return None;
    }
    let api_url = api_url.or_else(|| draft.variable("JUPYTERHUB_API_URL"));
    let (Some(api_url), Some(api_token)) = (api_url, token) else {
        if purpose == Purpose::Serve {
            draft.mistake(
                Place::Nowhere,
                "no hub: set hub.api_url and hub.api_token_file (or JUPYTERHUB_API_URL and \
                 JUPYTERHUB_API_TOKEN, as the hub does for its services), or --standalone"
                    .to_owned(),
            );
        }
        return None;
    };
    let service_name = service_name
        .or_else(|| draft.variable("JUPYTERHUB_SERVICE_NAME"))
        .unwrap_or_else(|| "hubmeter".to_owned());
    let base_url = slashed(
        base_url
            .or_else(|| draft.variable("JUPYTERHUB_BASE_URL"))
            .unwrap_or_else(|| "/".to_owned()),
    );
    let service_prefix = slashed(
        service_prefix
            .or_else(|| draft.variable("JUPYTERHUB_SERVICE_PREFIX"))
            .unwrap_or_else(|| format!("{base_url}services/{service_name}/")),
    );
    Some(Hub {
        host: draft.variable("JUPYTERHUB_HOST").unwrap_or_default(),
        api_url,
        api_token,
        client_id: client_id
            .or_else(|| draft.variable("JUPYTERHUB_CLIENT_ID"))
            .unwrap_or_else(|| format!("service-{service_name}")),
        oauth_callback_url: callback
            .or_else(|| draft.variable("JUPYTERHUB_OAUTH_CALLBACK_URL"))
            .unwrap_or_else(|| format!("{service_prefix}oauth_callback")),
        base_url,
        service_name,
        service_prefix,
        people_interval: people_interval
            .unwrap_or(limits::HUB_PEOPLE_INTERVAL)
            .max(limits::HUB_PEOPLE_INTERVAL_MIN),
    })
}

fn link(draft: &mut Draft, flags: &Flags) -> (Link, Place) {
    let flag = draft.flag("--link-listen", flags.link_listen.as_deref());
    let set = draft.take_placed("link.listen");
    let (listen, place) = flag
        .or(set)
        .or_else(|| default_addr(LINK_LISTEN_DEFAULT))
        .unwrap_or_else(unspecified);
    let cert_file: Option<PathBuf> = draft.take("link.tls.cert_file");
    let key_file: Option<PathBuf> = draft.take("link.tls.key_file");
    let tls = match (cert_file, key_file) {
        (Some(cert_file), Some(key_file)) => Some(Tls {
            cert_file,
            key_file,
        }),
        (None, None) => None,
        _ => {
            draft.mistake(
                Place::Nowhere,
                "link.tls.cert_file and link.tls.key_file go together".to_owned(),
            );
            None
        }
    };
    let interval = draft.take_placed::<Duration>("link.interval");
    if let Some((interval, place)) = &interval
        && !(hubmeter_proto::limits::INTERVAL_MIN..=hubmeter_proto::limits::INTERVAL_MAX)
            .contains(interval)
    {
        draft.mistake(place.clone(), "link.interval: from 1s to 60s".to_owned());
    }
    let streams_max: Option<u64> = draft.take("link.streams_max");
    let link = Link {
        listen,
        allow_plaintext: draft.take("link.allow_plaintext").unwrap_or(false),
        tls,
        interval: interval.map(|(interval, _)| interval),
        streams_max: streams_max
            .and_then(|n| usize::try_from(n).ok())
            .unwrap_or(limits::STREAMS_DEFAULT)
            .clamp(1, limits::SERVERS_MAX),
    };
    (link, place)
}

/// Where `/metrics` is, and whether servers have series of their own.
fn metrics(draft: &mut Draft, flags: &Flags) -> (Option<(Addr, Place)>, PerUser) {
    let flag = draft.flag("--metrics-listen", flags.metrics_listen.as_deref());
    let set = draft.take_placed("metrics.listen");
    let mut per_user = PerUser::default();
    per_user.on = draft.take("metrics.per_user").unwrap_or(per_user.on);
    if let Some((servers_max, place)) = draft.take_placed::<u64>("metrics.per_user_max") {
        per_user.servers_max = usize::try_from(servers_max).unwrap_or(usize::MAX);
        if !(1..=limits::SERVERS_MAX).contains(&per_user.servers_max) {
            let most = limits::SERVERS_MAX;
            let what = format!("metrics.per_user_max: expected 1 to {most} servers");
            draft.mistake(place, what);
        }
    }
    (flag.or(set), per_user)
}

/// Where everything is kept, whatever else is set: for commands that need no more.
pub(super) fn data_dir(
    flags: &Flags,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<PathBuf, Mistakes> {
    // The whole file is read, so that its mistakes are told here as well.
    config(flags, environment, Purpose::Check).map(|config| config.data_dir)
}

fn history(draft: &mut Draft, data_dir: &Path) -> HistoryConfig {
    let files = HistoryMode::Files {
        data_dir: data_dir.to_owned(),
    };
    let mode = match draft.take_placed::<String>("history.mode") {
        Some((mode, place)) => match mode.as_str() {
            "files" => files,
            "memory" => HistoryMode::Memory,
            _ => {
                let what = "history.mode: expected \"files\" or \"memory\"".to_owned();
                draft.mistake(place, what);
                files
            }
        },
        None => files,
    };
    let default = HistoryConfig::new(mode);
    HistoryConfig {
        raw_kept_ms: millis(draft, "history.raw_kept", default.raw_kept_ms),
        minute_kept_ms: millis(draft, "history.minute_kept", default.minute_kept_ms),
        hour_kept_ms: millis(draft, "history.hour_kept", default.hour_kept_ms),
        usage_kept_ms: millis(draft, "history.usage_kept", default.usage_kept_ms),
        bounds: super::space::bounds(draft),
        ..default
    }
}

pub(super) fn millis(draft: &mut Draft, key: &str, default_ms: i64) -> i64 {
    let set: Option<Duration> = draft.take(key);
    set.map_or(default_ms, |time| {
        i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
    })
}

/// What the hub is called. Its domain is that of the hub's public address, else of what links in
/// notices start with, else of the API that we ask.
fn report(draft: &mut Draft, notice: &NoticeConfig, hub: Option<&Hub>) -> Labels {
    let label = |text: &str| Label::clean(text, limits::HUB_NAME_BYTES_MAX);
    let said = [
        draft.variable("JUPYTERHUB_PUBLIC_HUB_URL"),
        notice.public_url.clone(),
        hub.map(|hub| hub.host.clone()),
        hub.map(|hub| hub.api_url.clone()),
    ];
    let domain = said.iter().flatten().find_map(|url| domain_of(url));
    let name = draft.take::<String>("report.hub").or(domain);
    let name = label(name.as_deref().unwrap_or(DOMAIN_DEFAULT));
    let cluster = draft.take::<String>("report.cluster");
    let chart = draft.take::<String>("report.chart");
    Labels {
        cluster: cluster.map_or_else(|| name.clone(), |cluster| label(&cluster)),
        hub: name,
        chart: label(chart.as_deref().unwrap_or(CHART_DEFAULT)),
    }
}

fn domain_of(url: &str) -> Option<String> {
    let url = reqwest::Url::parse(url).ok()?;
    // The host of http+unix is a path.
    let named = matches!(url.scheme(), "http" | "https");
    url.host_str()
        .filter(|_| named)
        .map(str::to_owned)
        .filter(|host| !host.is_empty())
}

/// What the hub wants its managed service to listen on.
fn service_listen(draft: &mut Draft, standalone: bool, url: Option<&str>) -> Option<(Addr, Place)> {
    if standalone {
        return None;
    }
    let place = Place::Variable("JUPYTERHUB_SERVICE_URL".to_owned());
    let host = url?
        .strip_prefix("http://")
        .map(|rest| rest.split('/').next().unwrap_or_default());
    match host.map(|host| Addr::read(&super::draft::Raw::Text(host.to_owned()))) {
        Some(Ok(addr)) => Some((addr, place)),
        _ => {
            draft.mistake(place, "expected http://host:port/…".to_owned());
            None
        }
    }
}

fn default_addr(text: &str) -> Option<(Addr, Place)> {
    text.parse()
        .ok()
        .map(|addr| (Addr::Tcp(addr), Place::Nowhere))
}

/// Stands in where a mistake was found already; nothing listens there.
fn unspecified() -> (Addr, Place) {
    (Addr::Unix(PathBuf::new()), Place::Nowhere)
}

/// systemd's `StateDirectory=`, else `/var/lib/hubmeter` for root, else the user's own state.
fn default_data_dir(draft: &Draft) -> PathBuf {
    if let Some(dirs) = draft.variable("STATE_DIRECTORY") {
        return dirs.split(':').next().unwrap_or(&dirs).into();
    }
    if nix::unistd::geteuid().is_root() {
        return "/var/lib/hubmeter".into();
    }
    let state = draft
        .variable("XDG_STATE_HOME")
        .map(PathBuf::from)
        .or_else(|| {
            draft
                .variable("HOME")
                .map(|home| PathBuf::from(home).join(".local/state"))
        });
    state.map_or_else(|| "hubmeter".into(), |dir| dir.join("hubmeter"))
}

pub(super) fn secret_file(
    draft: &mut Draft,
    key: &str,
    (path, place): (PathBuf, Place),
) -> Option<Secret> {
    match std::fs::read_to_string(&path) {
        Ok(text) if !text.trim().is_empty() => Some(Secret::new(text.trim().to_owned())),
        Ok(_) => {
            draft.mistake(place, format!("{key}: {} is empty", path.display()));
            None
        }
        Err(e) => {
            draft.mistake(place, format!("{key}: cannot read {}: {e}", path.display()));
            None
        }
    }
}

fn slashed(path: String) -> String {
    format!("/{}/", path.trim_matches('/')).replace("//", "/")
}
