//! The collector process: started on a folder of its own, killed, restarted, asked.

use std::{
    ffi::OsString,
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use hubmeter_agent::{
    clock::{Clock as _, SystemClock},
    settings::CollectorUrl,
};
use hubmeter_collector::{config::Secret, link::identify, registry::Registry};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rusqlite::Connection;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

use super::{cost::Cost, hub};

/// Below the ports that the system gives to whoever connects: one of thousands of agents would
/// take a restarted collector's port from it.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// Ports tried before there is said to be none.
const PORTS_TRIED: usize = 50;

/// A start that takes longer has failed: a busy machine, an unoptimized build, a full inbox.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// One answer of the API.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// How often it is looked whether something has come about.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// The prefix of its API behind the hub's proxy.
const PREFIX: &str = "/services/hubmeter";

/// What agents connect over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// TCP and TLS with the collector's own key, pinned.
    Tls,
    /// TCP in the clear, on this machine.
    Plain,
    /// A Unix socket.
    Unix,
}

/// A collector and the folder it lives in.
pub struct Collector {
    program: PathBuf,
    dir: PathBuf,
    hub_api_url: String,
    carrier: Carrier,
    environment: Vec<(&'static str, OsString)>,
    port: u16,
    api: reqwest::Client,
    metrics: reqwest::Client,
    child: Option<Child>,
    /// Where the log of this start begins.
    log_from: u64,
}

// === impl Collector ===

impl Collector {
    /// One that is not started yet.
    ///
    /// # Errors
    /// No port, or no client for its sockets.
    pub fn new(program: &Path, dir: &Path, hub_api_url: &str, carrier: Carrier) -> Result<Self> {
        // Somebody may have installed it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = |socket: &str| {
            reqwest::Client::builder()
                .unix_socket(dir.join(socket))
                .timeout(ANSWER_TIMEOUT)
                .build()
        };
        Ok(Self {
            program: program.to_owned(),
            api: client("http")?,
            metrics: client("metrics")?,
            dir: dir.to_owned(),
            hub_api_url: hub_api_url.to_owned(),
            carrier,
            environment: Vec::new(),
            port: free_port()?,
            child: None,
            log_from: 0,
        })
    }

    /// The same with its link on `port` of this machine.
    #[must_use]
    pub fn on_port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// The same with these variables, too.
    #[must_use]
    pub fn with_environment(mut self, environment: Vec<(&'static str, OsString)>) -> Self {
        self.environment = environment;
        self
    }

    /// The program beside this one, or beside the folder of tests that this one is in.
    ///
    /// # Errors
    /// It was not built.
    pub fn program_beside() -> Result<PathBuf> {
        let here = std::env::current_exe()?;
        let near = here.ancestors().skip(1).take(2);
        let found = near
            .map(|dir| dir.join("hubmeter-collector"))
            .find(|program| program.is_file());
        found.with_context(|| {
            format!(
                "no hubmeter-collector beside {}: build it first, cargo build -p hubmeter-collector",
                here.display()
            )
        })
    }

    /// Writes into its folder that the hub said whose the agents' tokens are. It counts as said
    /// `ahead` from now, so that for so long none is due to be asked about again, and whoever
    /// counts questions counts those of agents that come in.
    ///
    /// # Errors
    /// The folder cannot be used.
    pub fn know_tokens(&self, agents: usize, ahead: Duration) -> Result<()> {
        let data = self.data_dir();
        fs::create_dir_all(&data)?;
        drop(Registry::open(&data)?);
        let mut db = Connection::open(data.join("state.db"))?;
        let verified_ms = now_ms()? + i64::try_from(ahead.as_millis())?;
        let all = db.transaction()?;
        {
            let mut insert = all.prepare("INSERT OR REPLACE INTO token VALUES (?1, ?2, '', ?3)")?;
            for index in 0..agents {
                let hash = identify::hash(&Secret::new(hub::token(index)));
                insert.execute((hash.as_slice(), hub::user(index), verified_ms))?;
            }
        }
        all.commit()?;
        Ok(())
    }

    /// Starts the process, and does not wait for anything.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn(&mut self) -> Result<()> {
        let socket = |name: &str| format!("unix:{}", self.dir.join(name).display());
        let link = match self.carrier {
            Carrier::Tls | Carrier::Plain => format!("127.0.0.1:{}", self.port),
            Carrier::Unix => socket("link"),
        };
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_file())?;
        self.log_from = log.metadata()?.len();
        let passed_on = ["HUBMETER_LOG", "LD_PRELOAD", "MALLOC_ARENA_MAX"];
        let passed_on = passed_on
            .iter()
            .filter_map(|name| Some((name, std::env::var_os(name)?)));
        let child = Command::new(&self.program)
            .arg("serve")
            .args(["--data-dir".as_ref(), self.data_dir().as_os_str()])
            .args(["--listen", &socket("http"), "--link-listen", &link])
            .args(["--metrics-listen", &socket("metrics")])
            .env_clear()
            .envs(passed_on)
            .envs([
                ("JUPYTERHUB_API_URL", self.hub_api_url.as_str()),
                ("JUPYTERHUB_API_TOKEN", hub::SERVICE_TOKEN),
                ("JUPYTERHUB_SERVICE_NAME", hub::SERVICE_NAME),
                ("JUPYTERHUB_BASE_URL", "/"),
            ])
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stderr(Stdio::from(log))
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        self.child = Some(child);
        Ok(())
    }

    /// Starts it and waits until agents are let in.
    ///
    /// # Errors
    /// It cannot be started, ends, or does not get ready.
    pub async fn start(&mut self) -> Result<()> {
        self.spawn()?;
        self.until_ready().await
    }

    /// Waits until agents are let in.
    ///
    /// # Errors
    /// It ends, or does not get ready.
    pub async fn until_ready(&mut self) -> Result<()> {
        let until = Instant::now() + START_TIMEOUT;
        while !self.log()?.contains("\"ready\"") {
            let child = self.child.as_mut().context("it was not started")?;
            if let Some(status) = child.try_wait()? {
                bail!("the collector ended with {status}: {}", self.log()?);
            }
            if Instant::now() > until {
                bail!("the collector does not get ready: {}", self.log()?);
            }
            sleep(LOOK_INTERVAL).await;
        }
        Ok(())
    }

    /// What agents are told.
    ///
    /// # Errors
    /// It has not made its key yet.
    pub fn url(&self) -> Result<CollectorUrl> {
        self.url_at(self.port)
    }

    /// The same through another port of this machine.
    ///
    /// # Errors
    /// It has not made its key yet.
    pub fn url_at(&self, port: u16) -> Result<CollectorUrl> {
        let text = match self.carrier {
            Carrier::Tls => {
                let pin = self.data_dir().join("link.pin");
                let pin = fs::read_to_string(&pin)
                    .with_context(|| format!("cannot read {}", pin.display()))?;
                format!("grpcs://127.0.0.1:{port}#{}", pin.trim())
            }
            Carrier::Plain => format!("grpc://127.0.0.1:{port}"),
            Carrier::Unix => format!("unix://{}", self.dir.join("link").display()),
        };
        Ok(CollectorUrl::parse(&text, false)?)
    }

    /// The port of its link.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// SIGKILL: nothing can be tidied up.
    ///
    /// # Errors
    /// It was not running.
    pub fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().context("it was not started")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// SIGTERM, and waits for the end.
    ///
    /// # Errors
    /// It was not running, or ends badly.
    pub async fn terminate(&mut self) -> Result<()> {
        let mut child = self.child.take().context("it was not started")?;
        kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM)?;
        let ended = async {
            loop {
                if let Some(status) = child.try_wait()? {
                    return Ok::<_, anyhow::Error>(status);
                }
                sleep(LOOK_INTERVAL).await;
            }
        };
        let status = timeout(START_TIMEOUT, ended)
            .await
            .context("the collector does not stop")??;
        if !status.success() {
            bail!("the collector ended with {status}: {}", self.log()?);
        }
        Ok(())
    }

    /// What it costs now.
    ///
    /// # Errors
    /// It is not running.
    pub fn cost(&self) -> Result<Cost> {
        Cost::of(self.child.as_ref().context("it was not started")?.id())
    }

    /// One of its own figures, such as `hubmeter_reports_total`.
    ///
    /// # Errors
    /// It does not answer, or has no such figure.
    pub async fn figure(&self, name: &str) -> Result<u64> {
        let request = self.metrics.get("http://localhost/metrics");
        let text = request.send().await?.error_for_status()?.text().await?;
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let value = line.with_context(|| format!("the collector has no figure {name}"))?;
        Ok(value.trim().parse()?)
    }

    /// What its API says at `path`, to somebody who may see everything; `None` where it knows
    /// nothing.
    ///
    /// # Errors
    /// It does not answer, or refuses.
    pub async fn get(&self, path: &str) -> Result<Option<Value>> {
        let response = self
            .api
            .get(format!("http://localhost{PREFIX}{path}"))
            .header("authorization", format!("token {}", hub::ADMIN_TOKEN))
            .send()
            .await?;
        if response.status().as_u16() == 404 {
            return Ok(None);
        }
        let text = response.error_for_status()?.text().await?;
        Ok(Some(serde_json::from_str(&text)?))
    }

    /// Whether it can do its work, and what it says where it cannot.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn readiness(&self) -> Result<Value> {
        let request = self.api.get(format!("http://localhost{PREFIX}/readyz"));
        let text = request.send().await?.text().await?;
        Ok(serde_json::from_str(&text)?)
    }

    /// What it has said since it was last started.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn log(&self) -> Result<String> {
        let all = fs::read(self.log_file())?;
        let from = usize::try_from(self.log_from)?.min(all.len());
        Ok(String::from_utf8_lossy(&all[from..]).into_owned())
    }

    fn log_file(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// Where it keeps its data.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

fn free_port() -> Result<u16> {
    (0..PORTS_TRIED)
        .map(|_| fastrand::u16(PORTS))
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .context("no free port on 127.0.0.1")
}

/// The wall clock, as the collector keeps it.
fn now_ms() -> Result<i64> {
    Ok(i64::try_from(SystemClock.wall_ms())?)
}
