//! The settings file we ship: loads as it is, and names only settings that exist.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use hubmeter_collector::{
    config::{Config, Flags, Mistakes},
    cull::{CullPolicy, policy::Exempt},
    history::HistoryMode,
    notice::UserMailConfig,
    state::Policy,
    verdict::{Rule, Severity},
};

fn shipped() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../systemd/collector.toml");
    fs::read_to_string(file).unwrap()
}

fn load(text: &str) -> Result<Config, Mistakes> {
    let dir = tempfile::tempdir().unwrap();
    for name in [
        "hub-token",
        "mail-password",
        "addresses",
        "link.crt",
        "link.key",
        "jupyterhub_config.py",
    ] {
        fs::write(dir.path().join(name), "not empty").unwrap();
    }
    fs::create_dir(dir.path().join("notices")).unwrap();
    let file = dir.path().join("collector.toml");
    let here = dir.path().to_str().unwrap();
    let text = text.replace("/etc/hubmeter", here);
    fs::write(&file, text.replace("/etc/jupyterhub", here)).unwrap();
    let flags = Flags {
        config: Some(file),
        standalone: !text.contains("\n[hub]"),
        ..Flags::default()
    };
    Config::load(&flags, [])
}

/// Every example switched on: what is commented out and is not a sentence.
fn all_on() -> String {
    shipped()
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(setting) if !setting.is_empty() && !setting.starts_with(' ') => {
                format!("{setting}\n")
            }
            _ => format!("{line}\n"),
        })
        .collect()
}

#[test]
fn the_shipped_file_loads_as_it_is() {
    let config = load(&shipped()).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    assert!(config.notice.mail.is_none() && config.notice.webhooks.is_empty());
    assert!(config.notice.user_mail.is_none(), "a watcher tells no user");
}

#[test]
fn every_example_in_it_is_a_setting_that_exists() {
    let config = load(&all_on()).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    assert!(config.hub.is_some() && config.link.tls.is_some());
    assert!(config.notice.mail.is_some() && config.notice.user_mail.is_some());
    assert_eq!(config.notice.webhooks.len(), 4);
    assert!(config.metrics_listen.is_some());
}

#[test]
fn what_it_calls_a_default_is_one() {
    let bare = load(&shipped()).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let full = load(&all_on()).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    assert_eq!(bare.listen, full.listen);
    assert_eq!(bare.link.listen, full.link.listen);
    assert_eq!(bare.link.streams_max, full.link.streams_max);
    assert_eq!(bare.link.allow_plaintext, full.link.allow_plaintext);
    assert_eq!(bare.per_user, full.per_user);
    // Quotas and groups have no default; the file shows examples.
    let as_bare = Policy {
        overuse_cpu_cores: f64::INFINITY,
        overuse_memory_bytes: u64::MAX,
        groups: BTreeMap::new(),
        ..full.policy.clone()
    };
    assert_eq!(bare.policy, as_bare);
    assert_eq!(full.policy.groups.len(), 1);
    let cull = CullPolicy {
        // Written out, it is what `policy.idle_after` is.
        timeout_ms: None,
        groups: BTreeMap::new(),
        schedules: Vec::new(),
        exempt: Exempt::default(),
        warns_by_mail: bare.cull.policy.warns_by_mail, // users' mail is an example
        ..full.cull.policy.clone()
    };
    assert_eq!(bare.cull.policy, cull);
    assert_eq!(full.cull.policy.timeout_ms, Some(bare.policy.idle_after_ms));
    assert_eq!(full.cull.policy.schedules.len(), 2);
    assert_eq!(bare.notice.within_ms, full.notice.within_ms);
    assert_eq!(bare.history.raw_kept_ms, full.history.raw_kept_ms);
    assert_eq!(bare.history.minute_kept_ms, full.history.minute_kept_ms);
    assert_eq!(bare.history.hour_kept_ms, full.history.hour_kept_ms);
    assert_eq!(bare.history.usage_kept_ms, full.history.usage_kept_ms);
    assert_eq!(bare.report.chart, full.report.chart);
    assert_eq!(bare.history.bounds.free_min, full.history.bounds.free_min);
    let in_files = |config: &Config| matches!(config.history.mode, HistoryMode::Files { .. });
    assert!(in_files(&bare) && in_files(&full));
    assert_eq!(bare.notice.rules, full.notice.rules);
    assert_eq!(bare.notice.cleared, full.notice.cleared);
    assert_eq!(bare.notice.per_day_max, full.notice.per_day_max);
    assert_eq!(bare.notice.per_user_day_max, full.notice.per_user_day_max);
    let users = full.notice.user_mail.as_ref().unwrap();
    let default = UserMailConfig::default();
    assert_eq!(users.per_day_max, default.per_day_max);
    assert_eq!(users.per_user_day_max, default.per_user_day_max);
    assert_eq!(full.link.interval, Some(Duration::from_secs(5)));
}

#[test]
fn on_the_demos_day_admins_are_told_of_every_rule_there_is() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/day/collector.toml");
    let day = load(&fs::read_to_string(file).unwrap()).unwrap_or_else(|wrong| panic!("{wrong}"));
    assert_eq!(
        day.notice.rules,
        Rule::ALL.map(|rule| (rule, Severity::Info))
    );
}
