//! The demo hub: JupyterHub with proxy, collector and users, all of it under one folder.
//!
//! `up`, the end-to-end tests and the activity runs start this very same thing; they differ in
//! ports, folder and what they set in the servers' environment.

use std::{
    fs::{self, OpenOptions},
    io::{Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::Stdio,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Map, Value, json};

use crate::{
    build::Programs,
    http,
    node::path_with,
    ports::Ports,
    process::{self, Daemon},
    progress::{Step, now, say},
    stop,
    venv::Venv,
    workspace::Workspace,
};

/// What each demo server may use: enough for JupyterLab and two kernels, soon reached on purpose.
pub(crate) const MEMORY_LIMIT_BYTES: u64 = 2 * 1024 * 1024 * 1024;

/// Who may log in; the last is the admin.
pub(crate) const USERS: [&str; 3] = ["alice", "bob", "admin"];

/// Hub, proxy and collector start in seconds; on a busy machine with cold caches in a minute.
const START_PATIENCE: Duration = Duration::from_secs(120);

/// The hub stops the users' servers before it goes: each may take some seconds.
const STOP_PATIENCE: Duration = Duration::from_secs(30);

/// Longest runtime folder: a Unix socket's path ends at 107 bytes, and names come behind it.
const RUNTIME_PATH_MAX: usize = 60;

/// Bytes of randomness in a secret; in hexadecimal well under the hub's 64 characters.
const SECRET_BYTES: usize = 16;

/// What a caller decides.
pub(crate) struct Plan {
    /// Folder under `target/` for all that the hub and its users write.
    pub(crate) name: &'static str,
    /// Where it listens.
    pub(crate) ports: Ports,
    /// Port of a mail relay on loopback that gets the admin's notices.
    pub(crate) mail_port: Option<u16>,
    /// A token that may act for users is made.
    pub(crate) for_tests: bool,
    /// The proxy logs every request.
    pub(crate) proxy_debug: bool,
    /// More variables for the users' servers.
    pub(crate) server_environment: Vec<(String, String)>,
}

/// What is different where a hub is not the demo's own.
pub(crate) struct Scenery {
    /// The hub's settings, in the workspace.
    pub(crate) config: PathBuf,
    /// Who may log in.
    pub(crate) users: Vec<String>,
    /// The collector's settings; without them they are written at every start.
    pub(crate) collector_config: Option<PathBuf>,
    /// More of the collector's environment.
    pub(crate) collector_environment: Vec<(String, String)>,
    /// What else the hub's settings want to know.
    pub(crate) more: Value,
}

/// A demo hub that answers.
pub(crate) struct Hub {
    /// How people and scripts get in.
    pub(crate) access: Access,
    daemon: Daemon,
    runtimes: Runtimes,
    cgroup: Option<Cgroup>,
}

/// Addresses and secrets of a demo hub.
pub(crate) struct Access {
    /// The hub's address, without a slash at the end.
    pub(crate) url: String,
    /// Every user's password.
    pub(crate) password: String,
    /// The culling script's token.
    pub(crate) script_token: String,
    /// The tests' token; empty outside tests.
    pub(crate) test_token: String,
    /// Where it writes.
    pub(crate) dir: PathBuf,
    /// Why servers have no enforced limit, if they have none.
    pub(crate) no_cgroup: Option<String>,
}

/// A parent group for the servers' memory cgroups; goes with this value.
struct Cgroup {
    path: PathBuf,
    python: PathBuf,
    script: PathBuf,
}

/// The folder of sockets and runtime files; goes with this value.
struct Runtimes(PathBuf);

/// Starts the hub and waits until it and the collector answer.
pub(crate) fn start(
    space: &Workspace,
    venv: &Venv,
    proxy: &Path,
    programs: &Programs,
    plan: &Plan,
) -> Result<Hub> {
    start_in(space, venv, proxy, programs, plan, &Scenery::demo(space))
}

/// The same with settings and users of its own.
pub(crate) fn start_in(
    space: &Workspace,
    venv: &Venv,
    proxy: &Path,
    programs: &Programs,
    plan: &Plan,
    scenery: &Scenery,
) -> Result<Hub> {
    let mut step = Step::begin("JupyterHub with the collector as its service");
    let (access, cgroup, runtimes) = prepare(space, venv, proxy, programs, plan, scenery)?;
    process::adopt_orphans();
    let mut command = venv.python();
    command
        .arg(venv.program("jupyterhub"))
        .arg("--config")
        .arg(&scenery.config)
        .current_dir(&access.dir)
        .env("HUBMETER_DEMO", access.dir.join("demo.json"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PATH", path_with(&[venv.bin()])?);
    let daemon = Daemon::start(&access.dir, "jupyterhub", command)?;
    let mut hub = Hub {
        access,
        daemon,
        runtimes,
        cgroup,
    };
    if let Err(error) = hub.wait_ready(&mut step, &plan.ports) {
        step.failed();
        hub.stop();
        return Err(error);
    }
    step.done();
    Ok(hub)
}

fn prepare(
    space: &Workspace,
    venv: &Venv,
    proxy: &Path,
    programs: &Programs,
    plan: &Plan,
    scenery: &Scenery,
) -> Result<(Access, Option<Cgroup>, Runtimes)> {
    let dir = space.target.join(plan.name);
    let state = dir.join("hub");
    // The hub's own state starts anew: what it knew of processes is true for one life only.
    let _ = fs::remove_dir_all(&state);
    fs::create_dir_all(&state).with_context(|| format!("cannot make {}", state.display()))?;
    let runtimes = Runtimes::make(&dir)?;
    let (cgroup, no_cgroup) = Cgroup::make(space, venv, plan.name)?;
    let access = Access {
        url: format!("http://127.0.0.1:{}", plan.ports.public),
        password: kept_secret(&dir.join("password"))?,
        script_token: kept_secret(&dir.join("script-token"))?,
        test_token: if plan.for_tests {
            secret()?
        } else {
            String::new()
        },
        dir: dir.clone(),
        no_cgroup,
    };
    let collector_config = match &scenery.collector_config {
        Some(theirs) => theirs.clone(),
        None => {
            let ours = dir.join("collector.toml");
            fs::write(&ours, collector_settings(plan, &access))?;
            ours
        }
    };
    let collector = [
        programs.collector.as_os_str(),
        "serve".as_ref(),
        "--config".as_ref(),
        collector_config.as_os_str(),
        "--data-dir".as_ref(),
        dir.join("collector").as_os_str(),
    ]
    .map(|word| word.to_string_lossy().into_owned());
    let settings = json!({
        "deploy": space.root.join("deploy/demo"),
        "state": state,
        "homes": dir.join("home"),
        "runtimes": runtimes.0,
        "ports": {
            "public": plan.ports.public, "hub": plan.ports.hub, "proxy": plan.ports.proxy,
            "service": plan.ports.service, "link": plan.ports.link,
        },
        "proxy": [proxy],
        "proxy_debug": plan.proxy_debug,
        "singleuser": venv.program("jupyterhub-singleuser"),
        "users": scenery.users,
        "password": access.password,
        "script_token": access.script_token,
        "test_token": access.test_token,
        "memory_limit_bytes": MEMORY_LIMIT_BYTES,
        "cgroup": cgroup.as_ref().map(|group| &group.path),
        "link_pin": dir.join("collector/link.pin"),
        "server_environment": server_environment(plan, programs),
        "collector": collector,
        "collector_environment": collector_environment(scenery),
        "more": scenery.more,
    });
    write_private(&dir.join("demo.json"), &format!("{settings:#}\n"))?;
    Ok((access, cgroup, runtimes))
}

fn server_environment(plan: &Plan, programs: &Programs) -> Map<String, Value> {
    let mut all = Map::new();
    all.insert(
        "HUBMETER_AGENT".into(),
        programs.agent.to_string_lossy().into(),
    );
    for (name, value) in &plan.server_environment {
        all.insert(name.clone(), value.clone().into());
    }
    all
}

fn collector_environment(scenery: &Scenery) -> Map<String, Value> {
    let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| "info".into());
    let mut all = Map::from_iter([("RUST_LOG".to_owned(), Value::from(filter))]);
    for (name, value) in &scenery.collector_environment {
        all.insert(name.clone(), value.clone().into());
    }
    all
}

fn collector_settings(plan: &Plan, access: &Access) -> String {
    let mut text = format!(
        "# Written by `cargo xtask`, anew at every start.\n\
         [link]\nlisten = \"127.0.0.1:{}\"\n\n\
         [notice]\npublic_url = \"{}/services/hubmeter/\"\n",
        plan.ports.link, access.url
    );
    if let Some(port) = plan.mail_port {
        text.push_str(&format!(
            "\n[notice.mail]\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"none\"\n\
             from = \"hubmeter@example.org\"\nto = [\"admin@example.org\"]\n"
        ));
    }
    text
}

/// The secret in `file`, made if there is none: logins stay the same from start to start.
fn kept_secret(file: &Path) -> Result<String> {
    if let Ok(old) = fs::read_to_string(file)
        && old.trim().len() == SECRET_BYTES * 2
    {
        return Ok(old.trim().to_owned());
    }
    let new = secret()?;
    write_private(file, &format!("{new}\n"))?;
    Ok(new)
}

fn secret() -> Result<String> {
    let mut bytes = [0; SECRET_BYTES];
    fs::File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut bytes))
        .context("cannot read /dev/urandom")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

pub(crate) fn write_private(file: &Path, text: &str) -> Result<()> {
    let _ = fs::remove_file(file);
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
        .and_then(|mut out| out.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write {}", file.display()))
}

// === impl Scenery ===

impl Scenery {
    /// The demo's own.
    pub(crate) fn demo(space: &Workspace) -> Self {
        Self {
            config: space.root.join("deploy/demo/jupyterhub_config.py"),
            users: USERS.map(str::to_owned).to_vec(),
            collector_config: None,
            collector_environment: Vec::new(),
            more: Value::Null,
        }
    }
}

// === impl Hub ===

impl Hub {
    /// Fails if the hub has ended by itself.
    pub(crate) fn check(&mut self) -> Result<()> {
        self.daemon.check()
    }

    /// Where the hub, the proxy and the collector write their log.
    pub(crate) fn log(&self) -> &Path {
        self.daemon.log()
    }

    /// Stops servers, collector, proxy and hub, and takes away what they leave.
    pub(crate) fn stop(self) {
        self.daemon.stop(STOP_PATIENCE);
        process::end_leftovers();
        drop(self.cgroup);
        drop(self.runtimes);
    }

    fn wait_ready(&mut self, step: &mut Step, ports: &Ports) -> Result<()> {
        let begun = now();
        loop {
            stop::check()?;
            self.daemon.check()?;
            // The hub first, at its own port: until it is up the proxy only logs errors.
            let hub = http::status(ports.hub, "/hub/api/");
            let collector =
                hub.and_then(|_| http::status(ports.public, "/services/hubmeter/readyz"));
            if hub == Some(200) && collector == Some(200) {
                return Ok(());
            }
            if begun.elapsed() > START_PATIENCE {
                bail!(
                    "not ready after {} s (hub: {}, collector: {}); see {}",
                    START_PATIENCE.as_secs(),
                    shown(hub),
                    shown(collector),
                    self.daemon.log().display()
                );
            }
            step.alive(&process::last_lines(self.daemon.log(), 1));
            thread::sleep(stop::GLANCE * 4);
        }
    }
}

fn shown(status: Option<u16>) -> String {
    status.map_or_else(|| "no answer".into(), |code| format!("status {code}"))
}

// === impl Cgroup ===

impl Cgroup {
    /// The group, or why there is none.
    fn make(space: &Workspace, venv: &Venv, name: &str) -> Result<(Option<Self>, Option<String>)> {
        let script = space.root.join("deploy/demo/cgroup.py");
        let out = venv
            .python()
            .arg(&script)
            .arg("make")
            .arg(format!("hubmeter-{name}-{}", std::process::id()))
            .arg(MEMORY_LIMIT_BYTES.to_string())
            .stdin(Stdio::null())
            .output()
            .context("cannot run deploy/demo/cgroup.py")?;
        let answer: Value = serde_json::from_slice(&out.stdout).map_err(|_| {
            anyhow!(
                "deploy/demo/cgroup.py failed:\n{}",
                String::from_utf8_lossy(&out.stderr)
            )
        })?;
        if let Some(path) = answer["path"].as_str() {
            let python = venv.program("python");
            return Ok((
                Some(Self {
                    path: path.into(),
                    python,
                    script,
                }),
                None,
            ));
        }
        Ok((None, answer["why"].as_str().map(str::to_owned)))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let removed = std::process::Command::new(&self.python)
            .arg(&self.script)
            .arg("remove")
            .arg(&self.path)
            .stdin(Stdio::null())
            .status();
        if !removed.is_ok_and(|status| status.success()) || self.path.is_dir() {
            say(&format!("  !! left behind: {}", self.path.display()));
        }
    }
}

// === impl Runtimes ===

impl Runtimes {
    fn make(dir: &Path) -> Result<Self> {
        let near = dir.join("run");
        let path = if near.as_os_str().len() <= RUNTIME_PATH_MAX {
            near
        } else {
            std::env::temp_dir().join(format!("hubmeter-run-{}", std::process::id()))
        };
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
        Ok(Self(path))
    }
}

impl Drop for Runtimes {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
