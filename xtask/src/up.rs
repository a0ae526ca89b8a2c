//! `cargo xtask up`: from a clean clone to a hub one can click in, and back to nothing.

use std::{path::PathBuf, process::Command, thread, time::Duration};

use anyhow::{Result, bail};
use clap::Args;
use nix::unistd::{Pid, getppid, getsid};

use crate::{
    build::{self, Profile, Programs},
    demo_day, http,
    hub::{self, Access, Plan},
    node,
    ports::Ports,
    process::{self, Daemon},
    progress::{Step, now, say},
    stop, tools,
    venv::{self, Venv},
    workspace::Workspace,
};

/// What the demo's virtual environment holds.
pub(crate) const REQUIREMENTS: &str = "deploy/demo/requirements.txt";

/// A lone collector and agent start at once; a busy machine gets half a minute.
const START_PATIENCE: Duration = Duration::from_secs(30);

/// Collector and agent end within seconds: the agent drains for two.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// Settings of `cargo xtask up`.
#[derive(Args, Debug)]
pub(crate) struct Up {
    /// Without a hub: a standalone collector, and one agent on this login session
    #[arg(long)]
    no_hub: bool,
    /// A day in fast motion: every rule and every notice for real, and a table of what came of it
    #[arg(long, conflicts_with = "no_hub")]
    demo_day: bool,
    /// Leave that hub up behind the day, until Ctrl-C
    #[arg(long, requires = "demo_day")]
    stay: bool,
    /// Build as shipped; the first such build takes many minutes longer
    #[arg(long)]
    release: bool,
    #[command(flatten)]
    ports: Ports,
}

/// Everything a demo hub is made of.
pub(crate) struct Parts {
    /// The virtual environment.
    pub(crate) venv: Venv,
    /// configurable-http-proxy.
    pub(crate) proxy: PathBuf,
    /// Agent and collector.
    pub(crate) programs: Programs,
}

/// Builds and starts, waits for Ctrl-C, stops.
pub(crate) fn run(args: &Up) -> Result<()> {
    let space = Workspace::here()?;
    let profile = if args.release {
        Profile::Release
    } else {
        Profile::Debug
    };
    if args.no_hub {
        args.ports.check_standalone()?;
        return standalone(&space, profile, &args.ports);
    }
    args.ports.check_for_hub()?;
    say("Preparing; everything goes into the target folder.");
    if args.demo_day {
        return demo_day::run(&space, profile, &args.ports, args.stay);
    }
    let parts = parts(&space, profile, &[REQUIREMENTS])?;
    let plan = Plan {
        name: "demo",
        ports: args.ports.clone(),
        mail_port: None,
        for_tests: false,
        proxy_debug: false,
        server_environment: Vec::new(),
    };
    args.ports.check_for_hub()?;
    let mut hub = hub::start(&space, &parts.venv, &parts.proxy, &parts.programs, &plan)?;
    explain(&hub.access);
    let ended = wait(|| hub.check());
    say("\nStopping servers, collector, proxy and hub …");
    hub.stop();
    say("Stopped; nothing is left running.");
    ended
}

/// Builds and installs whatever is not there yet.
pub(crate) fn parts(space: &Workspace, profile: Profile, requirements: &[&str]) -> Result<Parts> {
    let tools = tools::find()?;
    let venv = venv::ensure(space, &tools, requirements)?;
    node::page(space, &tools)?;
    node::labextension(space, &tools, &venv)?;
    venv::ensure_package(space, &tools, &venv)?;
    let proxy = node::proxy(space, &tools)?;
    let programs = build::programs(space, profile)?;
    Ok(Parts {
        venv,
        proxy,
        programs,
    })
}

fn explain(access: &Access) {
    let Access {
        url,
        password,
        script_token,
        dir,
        no_cgroup,
        ..
    } = access;
    let limit = match no_cgroup {
        None => "Each server runs in a memory cgroup of its own: 2 GiB, enforced.".to_owned(),
        Some(why) => format!(
            "Servers run without an enforced memory limit, the meter shows 2 GiB as advice: {why}."
        ),
    };
    say(&format!(
        "
JupyterHub   {url}
Hub page     {url}/services/hubmeter/
Log in as    alice, bob or admin; the password of all three: {password}
{limit}

What to try
  1. Log in as alice and open try-me.ipynb: run the cell that takes 600 MB, watch the meter in the
     status bar. Its last cell is a runaway: flagged before the limit, then killed by it.
  2. In a private window log in as admin and open the hub page: every server, live.
     As bob the same page shows bob's rows only.
  3. Ask like a culling script who could be stopped if one minute without work were enough:
       curl -H 'Authorization: token {script_token}' \\
         '{url}/services/hubmeter/api/v1/cull?timeout=60'

Logs, homes and data: {}
Ctrl-C stops everything.",
        dir.display()
    ));
}

/// Waits until somebody asks to stop, or until `check` fails.
pub(crate) fn wait(mut check: impl FnMut() -> Result<()>) -> Result<()> {
    while !stop::wanted() {
        check()?;
        thread::sleep(stop::GLANCE * 4);
    }
    Ok(())
}

fn standalone(space: &Workspace, profile: Profile, ports: &Ports) -> Result<()> {
    tools::c_compiler()?;
    // The page needs Node; without it the collector serves a placeholder, the API all the same.
    match tools::find() {
        Ok(tools) => node::page(space, &tools)?,
        Err(error) => say(&format!("  -- hub page not built: {error}")),
    }
    let programs = build::programs(space, profile)?;
    let dir = space.target.join("standalone");
    process::adopt_orphans();
    let mut collector = Daemon::start(&dir, "collector", collector(&programs, &dir, ports))?;
    let started = wait_answer(&mut collector, ports.public)
        .and_then(|()| Daemon::start(&dir, "agent", agent(&programs, ports)));
    let mut agent = match started {
        Ok(agent) => agent,
        Err(error) => {
            collector.stop(STOP_PATIENCE);
            return Err(error);
        }
    };
    say(&format!(
        "
Page         http://127.0.0.1:{port}/
What to try  curl http://127.0.0.1:{port}/api/v1/servers
             {agent} sample
             {agent} doctor
It watches this login session (process {pid} and all below it). Only this machine can reach it, and
you see your own rows. Logs and data: {dir}
Ctrl-C stops everything.",
        port = ports.public,
        agent = programs.agent.display(),
        pid = session_root(),
        dir = dir.display(),
    ));
    let ended = wait(|| collector.check().and_then(|()| agent.check()));
    say("\nStopping agent and collector …");
    agent.stop(STOP_PATIENCE);
    collector.stop(STOP_PATIENCE);
    process::end_leftovers();
    say("Stopped; nothing is left running.");
    ended
}

fn collector(programs: &Programs, dir: &std::path::Path, ports: &Ports) -> Command {
    let mut command = Command::new(&programs.collector);
    command
        .args(["serve", "--standalone", "--data-dir"])
        .arg(dir.join("data"))
        .args(["--listen", &format!("127.0.0.1:{}", ports.public)])
        .args(["--link-listen", &format!("127.0.0.1:{}", ports.link)]);
    command
}

fn agent(programs: &Programs, ports: &Ports) -> Command {
    let mut command = Command::new(&programs.agent);
    command
        .args([
            "run",
            "--collector",
            &format!("grpc://127.0.0.1:{}", ports.link),
        ])
        .args(["--pid", &session_root().to_string()]);
    command
}

fn wait_answer(collector: &mut Daemon, port: u16) -> Result<()> {
    let step = Step::begin("standalone collector");
    let begun = now();
    while http::status(port, "/readyz") != Some(200) {
        stop::check()?;
        collector.check()?;
        if begun.elapsed() > START_PATIENCE {
            bail!(
                "the collector does not answer; see {}",
                collector.log().display()
            );
        }
        thread::sleep(stop::GLANCE);
    }
    step.done();
    Ok(())
}

/// The login session's first process; the parent where the session's leader is gone or hidden.
fn session_root() -> i32 {
    getsid(None)
        .ok()
        .map(Pid::as_raw)
        .filter(|pid| *pid > 1 && std::path::Path::new("/proc").join(pid.to_string()).is_dir())
        .unwrap_or_else(|| getppid().as_raw())
}
