//! `cargo xtask activity`: does a meter keep alive what it measures?
//!
//! Four runs of the same length with the same tab: no meter, ours, jupyter-resource-usage, and that
//! with its CPU figures on. Requests are counted at the proxy, steps of `last_activity` at the proxy,
//! the server and the kernel; beside that what the server's event loop spends and how long it takes
//! to answer. Two run at a time, each with a hub of its own: what is compared is measured at the same
//! time on the same machine, and the whole table takes half as long.

mod pair;
mod table;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::{Value, json};

use crate::{
    e2e::{self, Stage},
    hub::Plan,
    ports::Ports,
    progress::{Step, complain, say},
    workspace::Workspace,
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

/// What of it must not grow. How many steps a number of requests makes is chance, but a step that no
/// request explains was made by somebody else.
const JUDGED: [&str; 3] = ["proxy_steps_alone", "server_steps_alone", "kernel_steps"];

/// So many steps of a phase are nobody's without any meter: a frame of the tab's own socket, an answer that
/// came late. A meter that keeps a server alive makes one a minute at least.
const CHANCE: u64 = 1;

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
    let meters = args.meters();
    if let [meter] = meters[..] {
        let counts = measure(&stage, meter, &peer, args)?;
        say(&table::of(&BTreeMap::from([(meter, counts)]), args));
        return Ok(());
    }
    let mut runs = BTreeMap::new();
    let mut failed = Vec::new();
    for both in meters.chunks(2) {
        for meter in both {
            let _ = fs::remove_file(meter.kept(&stage.space));
        }
        pair::measure(&stage.space, both, args)?;
        for meter in both {
            match Counts::read(&meter.kept(&stage.space)) {
                Ok(counts) => drop(runs.insert(*meter, counts)),
                Err(error) => {
                    complain(&format!("{}: {error:#}", meter.name()));
                    failed.push(meter.name());
                }
            }
        }
        // Written as it comes: an hour of measuring is not lost to the last minute's failure.
        keep(&stage.space, &table::of(&runs, args))?;
    }
    if !failed.is_empty() {
        bail!("not measured: {}", failed.join(", "));
    }
    verdict(&runs)
}

/// Shows the table, and keeps it in a file.
fn keep(space: &Workspace, text: &str) -> Result<()> {
    say(text);
    let file = space.target.join("activity.txt");
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
}

fn verdict(runs: &BTreeMap<Meter, Counts>) -> Result<()> {
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
    let dir = stage.fresh_dir(meter.folder())?;
    let plan = Plan {
        name: meter.folder(),
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
    fs::write(meter.kept(&stage.space), text)?;
    Counts::read(&meter.kept(&stage.space))
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
            if now > before + CHANCE {
                complaints.push(format!("{phase}: {step}: {now}, {before} without"));
            }
        }
    }
    complaints
}

// === impl Activity ===

impl Activity {
    /// What is to be measured.
    fn meters(&self) -> Vec<Meter> {
        Meter::ALL
            .into_iter()
            .filter(|meter| {
                self.only.is_empty() || self.only.iter().any(|only| only == meter.name())
            })
            .collect()
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

    /// Where its hub writes: two run at a time.
    const fn folder(self) -> &'static str {
        match self {
            Self::Off => "activity-off",
            Self::Ours => "activity-ours",
            Self::Peer => "activity-peer",
            Self::PeerCpu => "activity-peer-cpu",
        }
    }

    /// Where its counts are kept.
    fn kept(self, space: &Workspace) -> PathBuf {
        space.target.join(format!("activity-{}.json", self.name()))
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
    fn read(file: &Path) -> Result<Self> {
        let text =
            fs::read_to_string(file).with_context(|| format!("no counts in {}", file.display()))?;
        Ok(Self(serde_json::from_str(&text)?))
    }

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
    fn steps_of_activity_where_there_were_none_are_a_complaint() {
        assert!(judge(&counts(1, 0), &counts(1, CHANCE)).is_empty());
        assert_eq!(judge(&counts(1, 0), &counts(1, CHANCE + 1)).len(), 1);
    }
}
