//! The end-to-end run: the demo hub of `up`, a real mail server, a real browser.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::{
    build::Profile,
    checks::TEST_REQUIREMENTS,
    flaky, http,
    hub::{self, Hub, Plan},
    node,
    ports::{self, Ports},
    process::{self, Daemon},
    progress::{Step, now, say},
    stop,
    tools::{self, Tools},
    up::{self, Parts},
    venv::Venv,
    workspace::Workspace,
};

/// The mail sink is a small Python program.
const SINK_PATIENCE: Duration = Duration::from_secs(20);

/// What the browser tests need, ready to run.
pub(crate) struct Stage {
    /// Where things are.
    pub(crate) space: Workspace,
    /// The demo's parts.
    pub(crate) parts: Parts,
    /// The browser.
    pub(crate) chromium: PathBuf,
    /// `tests/e2e`
    pub(crate) dir: PathBuf,
}

/// Brings everything, runs Playwright, takes everything away.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let stage = prepare()?;
    let mail_port = ports::free_one()?;
    let plan = Plan {
        name: "e2e",
        ports: Ports::free()?,
        mail_port: Some(mail_port),
        for_tests: true,
        proxy_debug: false,
        server_environment: Vec::new(),
    };
    let dir = stage.fresh_dir(plan.name)?;
    let sink = start_sink(&stage, &dir, mail_port)?;
    let hub = match stage.start(&plan) {
        Ok(hub) => hub,
        Err(error) => {
            sink.stop(SINK_PATIENCE);
            return Err(error);
        }
    };
    if let Some(why) = &hub.access.no_cgroup {
        say(&format!(
            "     no memory cgroup for servers: nothing can be killed for real ({why})"
        ));
    }
    let result = stage.playwright(&hub, &plan, "playwright.config.ts", args, &[]);
    hub.stop();
    sink.stop(SINK_PATIENCE);
    result
}

/// Lets every front end there is look at a plain server from `clean`, which has our wheel.
pub(crate) fn fronts(space: &Workspace, tools: &Tools, clean: &Venv) -> Result<()> {
    let chromium = chromium(space)?;
    let e2e = space.root.join("tests/e2e");
    node::packages(space, tools, &e2e, "browser tests")?;
    let classic = space.target.join("peer-classic");
    if !classic.is_dir() {
        let mut step = Step::begin("jupyter-resource-usage for the classic notebook");
        let mut pip = clean.pip();
        pip.args(["install", "--no-deps", "--target"])
            .arg(&classic)
            .arg("--requirement")
            .arg(space.root.join("tests/wheel/classic.txt"));
        step.run(&space.logs, "pip-classic", pip)?;
        step.done();
    }
    let dir = space.target.join("fronts");
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir)?;
    let place = json!({"bin": clean.bin(), "dir": dir, "chromium": chromium, "classic": classic});
    let mut step = Step::begin("Playwright (fronts.config.ts)");
    let mut command = Command::new(e2e.join("node_modules/.bin/playwright"));
    command
        .args(["test", "--config", "fronts.config.ts"])
        .current_dir(&e2e)
        .env("HUBMETER_FRONTS", place.to_string())
        .env("PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD", "1");
    step.run(&dir, "playwright", command)?;
    step.done();
    say(&process::last_lines(&dir.join("playwright.log"), 4));
    Ok(())
}

/// Builds, installs, finds the browser.
pub(crate) fn prepare() -> Result<Stage> {
    let space = Workspace::here()?;
    let tools = tools::find()?;
    let chromium = chromium(&space)?;
    let parts = up::parts(
        &space,
        Profile::Debug,
        &[up::REQUIREMENTS, TEST_REQUIREMENTS],
    )?;
    let dir = space.root.join("tests/e2e");
    node::packages(&space, &tools, &dir, "browser tests")?;
    Ok(Stage {
        space,
        parts,
        chromium,
        dir,
    })
}

fn chromium(space: &Workspace) -> Result<PathBuf> {
    if let Some(found) = tools::chromium() {
        return Ok(found);
    }
    let root = nix::unistd::geteuid().is_root();
    if !root || process::on_path("apt-get").is_none() {
        bail!(
            "no Chromium found: install it (Debian, Ubuntu: apt install chromium), \
             or name one in HUBMETER_CHROMIUM"
        );
    }
    let mut step = Step::begin("Chromium, by apt-get");
    for args in [
        &["update"][..],
        &["install", "--yes", "--no-install-recommends", "chromium"],
    ] {
        let mut command = Command::new("apt-get");
        command.args(args).env("DEBIAN_FRONTEND", "noninteractive");
        step.run(&space.logs, "apt-get", command)?;
    }
    step.done();
    tools::chromium().context("apt-get installed chromium, but it is not on PATH")
}

fn start_sink(stage: &Stage, dir: &Path, port: u16) -> Result<Daemon> {
    let mut command = stage.parts.venv.python();
    command
        .arg(stage.dir.join("smtp_sink.py"))
        .arg(port.to_string())
        .arg(dir.join("mail"));
    let mut sink = Daemon::start(dir, "smtp-sink", command)?;
    let begun = now();
    while !http::listens(port) {
        sink.check()?;
        if stop::wanted() || begun.elapsed() > SINK_PATIENCE {
            sink.stop(SINK_PATIENCE);
            bail!("the tests' mail server did not start");
        }
        thread::sleep(stop::GLANCE);
    }
    Ok(sink)
}

// === impl Stage ===

impl Stage {
    /// An empty folder for a hub: tests begin without history.
    pub(crate) fn fresh_dir(&self, name: &str) -> Result<PathBuf> {
        let dir = self.space.target.join(name);
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        Ok(dir)
    }

    /// Starts the hub.
    pub(crate) fn start(&self, plan: &Plan) -> Result<Hub> {
        let Parts {
            venv,
            proxy,
            programs,
        } = &self.parts;
        hub::start(&self.space, venv, proxy, programs, plan)
    }

    /// Runs Playwright against it.
    pub(crate) fn playwright(
        &self,
        hub: &Hub,
        plan: &Plan,
        config: &str,
        args: &[String],
        environment: &[(&str, &str)],
    ) -> Result<()> {
        let access = &hub.access;
        let file = access.dir.join("access.json");
        let text = json!({
            "url": access.url,
            "password": access.password,
            "scriptToken": access.script_token,
            "testToken": access.test_token,
            "proxyApi": format!("http://127.0.0.1:{}", plan.ports.proxy),
            "dir": access.dir,
            "hubLog": hub.log(),
            "mail": access.dir.join("mail"),
            "screenshots": self.space.target.join("screenshots"),
            "chromium": self.chromium,
            "enforced": access.no_cgroup.is_none(),
            "memoryLimitBytes": hub::MEMORY_LIMIT_BYTES,
        });
        fs::write(&file, format!("{text:#}\n"))?;
        let mut step = Step::begin(&format!("Playwright ({config})"));
        let mut command = Command::new(self.dir.join("node_modules/.bin/playwright"));
        command
            .args(["test", "--config", config])
            .args(args)
            .current_dir(&self.dir)
            .env("HUBMETER_E2E", &file)
            .env("PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD", "1")
            .envs(environment.iter().copied());
        step.run(&access.dir, "playwright", command)?;
        step.done();
        let log = access.dir.join("playwright.log");
        say(&process::last_lines(&log, 4));
        flaky::tell(&log)
    }
}
