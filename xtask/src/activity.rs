//! `cargo xtask activity`: does a meter keep alive what it measures?
//!
//! Four runs of the same length with the same tab: no meter, ours, jupyter-resource-usage, and that
//! with its CPU figures on. Requests are counted at the proxy, steps of `last_activity` at the proxy,
//! the server and the kernel; beside that what the server's event loop spends and how long it takes
//! to answer.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::{Value, json};

use crate::{
    e2e::{self, Stage},
    hub::Plan,
    ports::Ports,
    progress::{Step, say},
};

/// Settings of `cargo xtask activity`.
#[derive(Args, Debug)]
pub(crate) struct Activity {
    /// Length of the phase with a visible tab
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    seconds: u32,
    /// Length of the phases with a hidden tab and without one
    #[arg(long, default_value_t = 120, value_name = "SECONDS")]
    quiet_seconds: u32,
    /// Measure this one only (off, ours, peer, peer+cpu); may be said more than once
    #[arg(long, value_parser = Meter::ALL.map(Meter::name), value_name = "METER")]
    only: Vec<String>,
}

/// The phases of a run, in order.
const PHASES: [&str; 3] = ["visible", "hidden", "closed"];

/// What is counted beside requests, and shown.
const SHOWN: [&str; 5] = [
    "proxy_steps",
    "proxy_steps_alone",
    "server_steps",
    "server_steps_alone",
    "kernel_steps",
];

/// What the server itself spends and takes, and how it is called in the table.
const SPENT: [(&str, &str); 3] = [
    ("loop_ms_per_minute", "loop CPU, ms/min"),
    ("latency_ms_p50", "answer p50, ms"),
    ("latency_ms_p90", "answer p90, ms"),
];

/// What of it must not grow. How many steps a number of requests makes is chance, but a step that no
/// request explains was made by somebody else.
const JUDGED: [&str; 3] = ["proxy_steps_alone", "server_steps_alone", "kernel_steps"];

/// A poll that fires on the edge of a phase falls on either side of it, once for each route.
const EDGE: u64 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Meter {
    Off,
    Ours,
    Peer,
    PeerCpu,
}

/// One run's counts, as the browser run wrote them.
struct Counts(Value);

/// Runs all four, prints a table, fails if ours disturbs.
pub(crate) fn run(args: &Activity) -> Result<()> {
    let stage = e2e::prepare()?;
    let peer = install_peer(&stage)?;
    let mut runs = BTreeMap::new();
    let all = args.only.is_empty();
    for meter in Meter::ALL {
        if !all && !args.only.iter().any(|only| only == meter.name()) {
            continue;
        }
        runs.insert(meter, measure(&stage, meter, &peer, args)?);
        // Written as it comes: an hour of measuring is not lost to the last minute's failure.
        print(&runs, args);
    }
    let (Some(off), Some(ours)) = (runs.get(&Meter::Off), runs.get(&Meter::Ours)) else {
        return Ok(());
    };
    let complaints = judge(off, ours);
    if !complaints.is_empty() {
        bail!("ours disturbs what it measures:\n{}", complaints.join("\n"));
    }
    say("Ours adds no route, no request and no step of last_activity.");
    Ok(())
}

fn measure(stage: &Stage, meter: Meter, peer: &Path, args: &Activity) -> Result<Counts> {
    let dir = stage.fresh_dir("activity")?;
    let plan = Plan {
        name: "activity",
        ports: Ports::free()?,
        mail_port: None,
        for_tests: true,
        proxy_debug: true,
        server_environment: meter.environment(&dir, peer)?,
    };
    let hub = stage.start(&plan)?;
    let (seconds, quiet) = (args.seconds.to_string(), args.quiet_seconds.to_string());
    let environment = [
        ("HUBMETER_ACTIVITY_SECONDS", seconds.as_str()),
        ("HUBMETER_ACTIVITY_QUIET_SECONDS", quiet.as_str()),
    ];
    let ran = stage.playwright(&hub, &plan, "activity.config.ts", &[], &environment);
    hub.stop();
    ran?;
    let text = fs::read_to_string(dir.join("counts.json")).context("the run left no counts")?;
    let counts: Value = serde_json::from_str(&text)?;
    let kept = stage
        .space
        .target
        .join(format!("activity-{}.json", meter.name()));
    fs::write(kept, text)?;
    Ok(Counts(counts))
}

/// jupyter-resource-usage in a folder of its own, so that it is there only when asked for.
fn install_peer(stage: &Stage) -> Result<std::path::PathBuf> {
    let dir = stage.space.target.join("peer");
    let mut step = Step::begin("jupyter-resource-usage");
    if dir.join("etc/jupyter").is_dir() {
        step.fresh();
        return Ok(dir);
    }
    let mut command = stage.parts.venv.python();
    command
        .args(["-m", "pip", "install", "--no-deps", "--target"])
        .arg(&dir)
        .arg("--requirement")
        .arg(stage.dir.join("activity/requirements.txt"));
    step.run(&stage.space.logs, "pip-peer", command)?;
    step.done();
    Ok(dir)
}

fn judge(off: &Counts, ours: &Counts) -> Vec<String> {
    let mut complaints = Vec::new();
    for phase in PHASES {
        for (route, count) in ours.routes(phase) {
            let before = off.routes(phase).get(&route).copied().unwrap_or(0);
            let allowed = if before == 0 { 0 } else { before + EDGE };
            if count > allowed {
                complaints.push(format!(
                    "{phase}: {route}: {count} requests, {before} without"
                ));
            }
        }
        for step in JUDGED {
            let (before, now) = (off.number(phase, step), ours.number(phase, step));
            let allowed = if before == 0 { 0 } else { before + EDGE };
            if now > allowed {
                complaints.push(format!("{phase}: {step}: {now}, {before} without"));
            }
        }
    }
    complaints
}

fn print(runs: &BTreeMap<Meter, Counts>, args: &Activity) {
    let names: Vec<String> = runs
        .keys()
        .map(|one| format!("{:>8}", one.name()))
        .collect();
    say(&format!(
        "\nvisible for {} s, hidden and closed for {} s\n{:24}{}",
        args.seconds,
        args.quiet_seconds,
        "",
        names.join(" ")
    ));
    for phase in PHASES {
        let row = |name: &str, count: &dyn Fn(&Counts) -> u64| {
            let cells: Vec<String> = runs
                .values()
                .map(|run| format!("{:>8}", count(run)))
                .collect();
            say(&format!("  {name:<22}{}", cells.join(" ")));
        };
        say(phase);
        row("requests", &|run| run.routes(phase).values().sum());
        for step in SHOWN {
            row(
                &step.replace('_', " ").replace("alone", "unasked"),
                &|run| run.number(phase, step),
            );
        }
        for (name, title) in SPENT {
            let cells: Vec<String> = runs
                .values()
                .map(|run| run.figure(phase, name))
                .map(|figure| format!("{:>8}", figure.map_or("–".into(), |it| format!("{it:.1}"))))
                .collect();
            say(&format!("  {title:<22}{}", cells.join(" ")));
        }
    }
    say("Requests by route while visible:");
    let mut routes: Vec<String> = runs
        .values()
        .flat_map(|run| run.routes("visible").into_keys())
        .collect();
    routes.sort();
    routes.dedup();
    for route in routes {
        let cells: Vec<String> = runs
            .values()
            .map(|run| {
                format!(
                    "{:>8}",
                    run.routes("visible").get(&route).copied().unwrap_or(0)
                )
            })
            .collect();
        say(&format!("  {}  {route}", cells.join(" ")));
    }
}

// === impl Meter ===

impl Meter {
    const ALL: [Self; 4] = [Self::Off, Self::Ours, Self::Peer, Self::PeerCpu];

    const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Ours => "ours",
            Self::Peer => "peer",
            Self::PeerCpu => "peer+cpu",
        }
    }

    /// What switches our extension off, and the peer on.
    fn environment(self, dir: &Path, peer: &Path) -> Result<Vec<(String, String)>> {
        if self == Self::Ours {
            return Ok(Vec::new());
        }
        let config = dir.join("config");
        fs::create_dir_all(config.join("labconfig"))?;
        let server = json!({
            "ServerApp": {"jpserver_extensions": {"hubmeter": false}},
            "ResourceUseDisplay": {"track_cpu_percent": self == Self::PeerCpu},
        });
        let page = json!({"disabledExtensions": {"hubmeter": true}});
        fs::write(
            config.join("jupyter_server_config.json"),
            server.to_string(),
        )?;
        fs::write(config.join("labconfig/page_config.json"), page.to_string())?;
        let mut all = vec![(
            "JUPYTER_CONFIG_PATH".to_owned(),
            config.to_string_lossy().into_owned(),
        )];
        if self != Self::Off {
            let peer_config = peer.join("etc/jupyter");
            all[0].1 = format!("{}:{}", config.display(), peer_config.display());
            let share = peer.join("share/jupyter").to_string_lossy().into_owned();
            all.push(("JUPYTER_PATH".into(), share));
            all.push(("PYTHONPATH".into(), peer.to_string_lossy().into_owned()));
        }
        Ok(all)
    }
}

// === impl Counts ===

impl Counts {
    fn routes(&self, phase: &str) -> BTreeMap<String, u64> {
        let routes = self.0[phase]["routes"].as_object();
        routes
            .into_iter()
            .flatten()
            .map(|(route, count)| (route.clone(), count.as_u64().unwrap_or(0)))
            .collect()
    }

    fn figure(&self, phase: &str, name: &str) -> Option<f64> {
        self.0[phase][name].as_f64()
    }

    fn number(&self, phase: &str, name: &str) -> u64 {
        self.0[phase][name].as_u64().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(polls: u64, steps: u64) -> Counts {
        Counts(json!({"visible": {"routes": {"GET api/kernels": polls}, "kernel_steps": steps}}))
    }

    #[test]
    fn a_poll_on_the_edge_is_forgiven_and_a_new_route_is_not() {
        assert!(judge(&counts(12, 3), &counts(13, 3)).is_empty());
        assert_eq!(judge(&counts(12, 3), &counts(14, 3)).len(), 1);
        assert_eq!(judge(&counts(0, 3), &counts(1, 3)).len(), 1);
    }

    #[test]
    fn a_step_of_activity_where_there_was_none_is_a_complaint() {
        assert_eq!(judge(&counts(1, 0), &counts(1, 1)).len(), 1);
    }
}
