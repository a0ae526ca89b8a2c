//! `cargo xtask up --demo-day`: a day in the life of the demo hub, in fast motion and for real.
//!
//! The hub, its users' servers and kernels, the mail relay and the web services that are told are
//! real; only the thresholds are short. `tests/day/day.py` plays it and prints the table.

use std::{
    fmt, fs,
    path::Path,
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::{
    build::Profile,
    checks::TEST_REQUIREMENTS,
    hub::{self, Hub, Plan, Scenery},
    ports::{self, Ports},
    process,
    progress::say,
    up::{self, Parts},
    workspace::Workspace,
};

/// Under `target/`.
const NAME: &str = "demo-day";

/// Where the day's settings, scenes and people are.
const DAY: &str = "tests/day";

/// Quiet hours end so many minutes from the start, at the next full one: most of what is no emergency has
/// come by then, on a slow machine too, and what waits for its mail comes in time for the rest of the day.
const QUIET_MINUTES: u64 = 4;

const MINUTES_A_DAY: u64 = 24 * 60;

/// Minutes since 1970 in which mail waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Quiet {
    from: u64,
    to: u64,
}

/// Builds, starts, plays, prints, stops; with `stay` it waits for Ctrl-C before that.
pub(crate) fn run(space: &Workspace, profile: Profile, ports: &Ports, stay: bool) -> Result<()> {
    let parts = up::parts(space, profile, &[up::REQUIREMENTS, TEST_REQUIREMENTS])?;
    let dir = space.target.join(NAME);
    // A disk that was left mounted by a run which was killed would not go.
    clear(space, &parts, &dir);
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let day = space.root.join(DAY);
    let text = fs::read_to_string(day.join("cast.json"))?;
    let cast: Value = serde_json::from_str(&text).context("tests/day/cast.json is not JSON")?;
    let (mail, web) = (ports::free_one()?, ports::free_one()?);
    let quiet = Quiet::from(minute_now()?);
    let plan = Plan {
        name: NAME,
        ports: ports.clone(),
        mail_port: Some(mail),
        for_tests: true,
        proxy_debug: false,
        server_environment: vec![("HUBMETER_INTERVAL".into(), "1".into())],
    };
    let scenery = Scenery {
        config: day.join("jupyterhub_config.py"),
        users: names(&cast),
        collector_config: Some(day.join("collector.toml")),
        collector_environment: settings(ports, mail, web, quiet),
        more: json!({"hook": space.root.join("deploy/hub"), "cast": cast, "broken": dir.join("broken")}),
    };
    let Parts {
        venv,
        proxy,
        programs,
    } = &parts;
    let mut hub = hub::start_in(space, venv, proxy, programs, &plan, &scenery)?;
    let played = with(space, &parts, &hub, &plan, web, quiet);
    if stay && played.is_ok() {
        say("The hub stays up; Ctrl-C stops everything.");
        let _ = up::wait(|| hub.check());
    }
    hub.stop();
    clear(space, &parts, &dir);
    if !played? {
        bail!("the day is not complete: see the table above");
    }
    Ok(())
}

/// Plays the day on `hub`; whether everything came.
fn with(
    space: &Workspace,
    parts: &Parts,
    hub: &Hub,
    plan: &Plan,
    web: u16,
    quiet: Quiet,
) -> Result<bool> {
    let access = &hub.access;
    let file = access.dir.join("day.json");
    let text = json!({
        "url": access.url,
        "hub_port": plan.ports.hub,
        "service_port": plan.ports.service,
        "script_token": access.script_token,
        "test_token": access.test_token,
        "password": access.password,
        "dir": access.dir,
        "mail_port": plan.mail_port,
        "web_port": web,
        "quiet_until": quiet.to * 60,
        "collector": parts.programs.collector,
        "no_cgroup": access.no_cgroup,
        "memory_limit_bytes": hub::MEMORY_LIMIT_BYTES,
        "broken": access.dir.join("broken"),
    });
    hub::write_private(&file, &format!("{text:#}\n"))?;
    process::show(script(space, parts, "--play", &file))
}

/// Takes away the small disk, also when somebody asked to stop.
fn clear(space: &Workspace, parts: &Parts, dir: &Path) {
    // What is still mounted then is named by whoever cannot remove the folder.
    let _ = script(space, parts, "--clear", dir).status();
}

fn script(space: &Workspace, parts: &Parts, what: &str, path: &Path) -> Command {
    let mut command = parts.venv.python();
    command
        .arg("-u")
        .arg(space.root.join(DAY).join("day.py"))
        .arg(what)
        .arg(path)
        .env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// What of the collector's settings differs from start to start.
fn settings(ports: &Ports, mail: u16, web: u16, quiet: Quiet) -> Vec<(String, String)> {
    let url = |path: &str| format!("http://127.0.0.1:{web}/{path}");
    [
        ("LINK_LISTEN", format!("127.0.0.1:{}", ports.link)),
        (
            "NOTICE_PUBLIC_URL",
            format!("http://127.0.0.1:{}/services/hubmeter/", ports.public),
        ),
        ("NOTICE_QUIET", quiet.to_string()),
        ("NOTICE_MAIL_PORT", mail.to_string()),
        ("NOTICE_WEBHOOK_URLS", url("webhook")),
        ("NOTICE_SLACK_URLS", url("slack")),
        ("NOTICE_MATTERMOST_URLS", url("mattermost")),
        ("NOTICE_ALERTMANAGER_URLS", url("")),
    ]
    .map(|(key, value)| (format!("HUBMETER_COLLECTOR_{key}"), value))
    .to_vec()
}

#[allow(clippy::disallowed_methods)] // the build tool has no simulated time
fn minute_now() -> Result<u64> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Ok(since.context("the clock is before 1970")?.as_secs() / 60)
}

fn names(cast: &Value) -> Vec<String> {
    let people = cast["people"].as_object();
    let people = people.into_iter().flat_map(|people| people.keys().cloned());
    people.chain(["admin".to_owned()]).collect()
}

// === impl Quiet ===

impl Quiet {
    /// From this minute on.
    fn from(minute: u64) -> Self {
        Self {
            from: minute,
            to: minute + 1 + QUIET_MINUTES,
        }
    }
}

impl fmt::Display for Quiet {
    /// As the collector reads it, in UTC.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clock = |minute: u64| {
            let of_day = minute % MINUTES_A_DAY;
            format!("{:02}:{:02}", of_day / 60, of_day % 60)
        };
        write!(f, "{}-{}", clock(self.from), clock(self.to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_hours_are_said_by_the_clock_over_midnight_too() {
        assert_eq!(
            Quiet::from(2 * MINUTES_A_DAY + 125).to_string(),
            "02:05-02:10"
        );
        assert_eq!(Quiet::from(MINUTES_A_DAY - 2).to_string(), "23:58-00:03");
    }

    #[test]
    fn everybody_of_the_cast_may_log_in_and_groups_have_nobody_else() {
        let cast: Value = serde_json::from_str(include_str!("../../tests/day/cast.json")).unwrap();
        let names = names(&cast);
        let groups = cast["groups"].as_object().unwrap().values();
        let members: Vec<&str> = groups
            .flat_map(|members| members.as_array().unwrap())
            .map(|member| member.as_str().unwrap())
            .collect();
        assert!(!members.is_empty());
        for name in members.into_iter().chain(["admin"]) {
            assert!(names.iter().any(|known| known == name), "{name}");
        }
    }
}
