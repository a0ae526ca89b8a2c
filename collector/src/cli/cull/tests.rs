use clap::Parser;

use super::*;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    cull: Cull,
}

const TOKEN: (&str, &str) = ("JUPYTERHUB_API_TOKEN", "secret");
const URL: (&str, &str) = ("JUPYTERHUB_API_URL", "http://hub/hub/api");

fn with(words: &[&str], environment: &[(&str, &str)]) -> Result<Settings, String> {
    let line = Line::try_parse_from([&["cull"], words].concat()).map_err(|e| e.to_string())?;
    let owned = environment
        .iter()
        .map(|&(name, value)| (name.to_owned(), value.to_owned()));
    line.cull.settings(owned).map_err(|e| e.to_string())
}

fn settings(words: &[&str]) -> Settings {
    with(words, &[TOKEN, URL]).unwrap()
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[test]
fn nothing_but_the_environment_is_needed() {
    let settings = settings(&[]);
    assert_eq!(settings.hub_url, "http://hub/hub/api");
    assert_eq!(
        settings.collector_url,
        "http://127.0.0.1:9640/services/hubmeter"
    );
    assert_eq!(settings.timeout, None);
    assert_eq!(settings.max_age, None);
    assert_eq!(settings.every, Some(seconds(300)));
    assert_eq!(settings.reach.request_timeout, seconds(60));
    assert_eq!(settings.concurrency, 10);
    assert!(settings.default_servers && settings.named_servers && settings.admin_users);
    assert!(!settings.users && !settings.remove_named_servers && !settings.dry_run);
}

#[test]
fn the_collector_is_below_the_hubs_base_url_unless_told() {
    let base = ("JUPYTERHUB_BASE_URL", "/jh/");
    let settings = with(&[], &[TOKEN, URL, base]).unwrap();
    assert_eq!(
        settings.collector_url,
        "http://127.0.0.1:9640/jh/services/hubmeter"
    );
    let told = ("HUBMETER_API_URL", "http://c/services/m/");
    let settings = with(&[], &[TOKEN, URL, base, told]).unwrap();
    assert_eq!(settings.collector_url, "http://c/services/m/");
    let settings = with(&["--collector=http://d"], &[TOKEN, URL, told]).unwrap();
    assert_eq!(settings.collector_url, "http://d");
}

#[test]
fn the_line_that_tljh_and_z2jh_write_is_taken() {
    let settings = settings(&[
        "--timeout=600",
        "--cull-every=60",
        "--concurrency=5",
        "--max-age=0",
        "--cull-users",
        "--remove-named-servers",
        "--api-page-size=50",
    ]);
    assert_eq!(settings.timeout, Some(seconds(600)));
    assert_eq!(settings.every, Some(seconds(60)));
    assert_eq!(settings.concurrency, 5);
    assert_eq!(settings.max_age, Some(Duration::ZERO));
    assert_eq!(settings.page_users, 50);
    assert!(settings.users && settings.remove_named_servers);
}

#[test]
fn both_versions_spellings_of_a_switch_are_taken() {
    for on in [
        "--cull-users",
        "--cull_users",
        "--cull-users=true",
        "--cull-users=True",
        "--cull_users=1",
        "--IdleCuller.cull_users=True",
    ] {
        assert!(settings(&[on]).users, "{on}");
    }
    assert!(settings(&["--cull-users", "true"]).users);
    for off in [
        "--no-cull-named-servers",
        "--no_cull_named_servers",
        "--cull-named-servers=False",
        "--cull_named_servers=0",
        "--IdleCuller.cull_named_servers=false",
    ] {
        assert!(!settings(&[off]).named_servers, "{off}");
    }
    assert!(with(&["--cull-users=perhaps"], &[TOKEN, URL]).is_err());
}

#[test]
fn the_last_word_on_a_switch_counts() {
    assert!(!settings(&["--cull-users", "--cull-users=False"]).users);
    assert!(!settings(&["--cull-users", "--no-cull-users"]).users);
    assert!(settings(&["--no-cull-users", "--cull-users"]).users);
    let settings = settings(&["--timeout=1", "--timeout=2"]);
    assert_eq!(settings.timeout, Some(seconds(2)));
}

#[test]
fn times_are_seconds_or_say_what_they_are() {
    assert_eq!(settings(&["--timeout", "2h"]).timeout, Some(seconds(7200)));
    let settings = settings(&["--IdleCuller.timeout=7"]);
    assert_eq!(settings.timeout, Some(seconds(7)));
    assert_eq!(settings.every, Some(Duration::from_millis(3500)));
    assert!(with(&["--timeout=soon"], &[TOKEN, URL]).is_err());
    assert!(with(&["--timeout=-5"], &[TOKEN, URL]).is_err());
}

#[test]
fn a_dry_run_is_one_round_unless_a_pace_is_given() {
    assert_eq!(settings(&["--dry-run"]).every, None);
    let paced = settings(&["--dry-run", "--cull-every=60"]);
    assert_eq!(paced.every, Some(seconds(60)));
    assert_eq!(settings(&["--once", "--cull-every=60"]).every, None);
    // No hub is asked without a pause.
    assert_eq!(settings(&["--timeout=0"]).every, Some(EVERY_MIN));
}

#[test]
fn what_is_missing_or_wrong_is_said() {
    let why = |words: &[&str], environment: &[(&str, &str)]| {
        with(words, environment).map(drop).unwrap_err()
    };
    assert!(why(&[], &[TOKEN]).contains("--url or JUPYTERHUB_API_URL"));
    assert!(why(&[], &[URL]).contains("JUPYTERHUB_API_TOKEN"));
    assert!(why(&[], &[URL, ("JUPYTERHUB_API_TOKEN", "")]).contains("JUPYTERHUB_API_TOKEN"));
    let patience = ("JUPYTERHUB_REQUEST_TIMEOUT", "long");
    assert!(why(&[], &[TOKEN, URL, patience]).contains("JUPYTERHUB_REQUEST_TIMEOUT"));
    let certs = ["--ssl-enabled", "--internal-certs-location=/nonexistent"];
    assert!(why(&certs, &[TOKEN, URL]).contains("/nonexistent/hub-internal/hub-internal.key"));
    assert!(why(&["--cull-user"], &[TOKEN, URL]).contains("--cull-users"));
}

#[test]
fn a_pace_of_0_is_half_of_the_timeout_as_it_was_in_1_x() {
    let paced = settings(&["--timeout=600", "--cull-every=0"]);
    assert_eq!(paced.every, Some(seconds(300)));
    assert_eq!(settings(&["--cull_every=0"]).every, Some(seconds(300)));
}

#[test]
fn a_settings_file_of_version_2_is_taken_and_not_read() {
    for config in ["--config=/nonexistent.py", "--IdleCuller.config_file=x.py"] {
        assert_eq!(settings(&[config, "--timeout=7"]).timeout, Some(seconds(7)));
    }
}
