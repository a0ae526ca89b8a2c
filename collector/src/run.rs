//! Builds the stages, joins them, and stops them in the order of the flow.

use std::{
    io,
    sync::{
        Arc,
        mpsc::{SyncSender, sync_channel},
    },
};

use tokio::{
    sync::{broadcast, oneshot, watch},
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    clock::{Clock, SystemClock},
    config::{Addr, Config},
    data_dir::{DataDir, DataDirError},
    forget::{self, ForgetError, People},
    history::{History, HistoryError},
    hub::{HubError, client::HubClient},
    inbox::{
        Batch, Inbox,
        clerk::Clerk,
        journal::{JournalError, SqliteJournal},
    },
    limits,
    link::{
        certificate::{Certificate, CertificateError},
        door::Door,
        doorman::Doorman,
        identify::Identify,
        listen::{self, ListenError},
        session::{Sessions, Settings},
        websocket::Carrier,
    },
    notice::{Outbox, OutboxError, RenderError},
    pipeline::{
        Pipeline, SharedState,
        desk::Desk,
        flush::{Flusher, IdleMarks},
        hub_list::HubList,
        starts::Starts,
        tell::Teller,
    },
    registry::{Registry, RegistryError},
    report::hub_activity::Newest,
    serve::{self, Authority, Serve, Told},
    socket::{BindError, Socket},
    state::CLEARED_MAX,
    stats::{Limit, Stats},
    systemd,
};

mod certificate;
mod keeper;
mod outbox;
mod process;
mod recall;
mod threads;

pub(crate) use process::start_log;
use process::{Asked, Stop};
use threads::Threads;

/// Why the collector does not start or does not go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The data directory.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// Small state.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The inbox.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// History.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// Users who are to be forgotten or renamed.
    #[error("cannot finish what was begun: {0}")]
    Forget(#[from] ForgetError),
    /// Notices.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// Notices' words.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// The hub's client.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// An address.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The link's certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The link.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The system.
    #[error("cannot {what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// A stage ended that must not.
    #[error("the {0} ended; what it held is replayed at the next start")]
    StageEnded(&'static str),
}

/// What the asynchronous side works with.
struct Core {
    config: Config,
    clock: Arc<dyn Clock>,
    stats: Stats,
    registry: Registry,
    history: History,
    state: SharedState,
    changes: broadcast::Sender<Arc<crate::state::Changed>>,
    inbox: Inbox,
    sessions: Sessions,
    outbox: Arc<Outbox>,
    starts: Starts,
    activity: Newest,
    people: People,
    desk: Desk,
    facts: SyncSender<Batch>,
    stop_flusher: SyncSender<()>,
    replayed: oneshot::Receiver<()>,
}

// === building ===

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// It cannot start, or a stage failed.
pub fn run(config: Config) -> Result<(), RunError> {
    start_log();
    process::raise_open_files();
    for name in &config.unknown_variables {
        tracing::warn!(name, "a variable with our prefix means nothing to us");
    }
    for advice in &config.cull.advice {
        tracing::warn!("{advice}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|source| RunError::System {
            what: "start the runtime",
            source,
        })?;
    let data_dir = DataDir::take(&config.data_dir)?;
    let (core, threads) = runtime.block_on(async { build(config, &data_dir) })?;
    let outcome = runtime.block_on(core.serve(threads));
    runtime.shutdown_timeout(limits::SHUTDOWN_TIMEOUT);
    drop(data_dir);
    outcome
}

fn build(config: Config, data_dir: &DataDir) -> Result<(Core, Threads), RunError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let stats = Stats::new();
    stats.limit_set(Limit::FactQueue, limits::FACT_QUEUE);
    // Who was to be forgotten when the program last ended is not read again.
    let registry = forget::finish(data_dir.path(), &clock)?;
    let history = History::open(&config.history, clock.clone())?;
    let journal = SqliteJournal::open(data_dir.path())?;
    let idle_marks = registry.idle_marks()?;
    let state = recall::state(&config, &registry, idle_marks.clone(), clock.now_ms())?;
    let kept = (&registry, &history, &state);
    let (outbox, desk) = outbox::outbox(&config, kept, &clock, &stats)?;
    let (changes, _) = broadcast::channel(limits::CHANGES_QUEUE);
    let (facts, incoming_facts) = sync_channel(limits::FACT_QUEUE);
    let (teller, tells) = sync_channel(limits::TELL_QUEUE);
    let (stop_flusher, flusher_stopped) = sync_channel(0);
    let (inbox, clerk) = Inbox::new(journal, facts.clone(), clock.clone(), stats.clone());
    let settings = session_settings(&config);
    let sessions = Sessions::new(settings, inbox.clone(), clock.clone(), stats.clone());
    let remembered = registry.cleared_episodes(u32::try_from(CLEARED_MAX).unwrap_or(u32::MAX))?;
    let starts = Starts::new(teller.clone(), changes.clone(), clock.clone());
    let pipeline = Pipeline {
        state: state.clone(),
        changes: changes.clone(),
        history: history.clone(),
        teller,
        remembered,
        caught_up: inbox.caught_up(),
        pressure: inbox.pressure().clone(),
        clock: clock.clone(),
        stats: stats.clone(),
    };
    let told_by = (outbox.clone(), registry.clone(), sessions.clone());
    let teller = Teller::new(&config.notice, told_by, stats.clone())?;
    let (tell_replayed, replayed) = oneshot::channel();
    let mut threads = Threads::new();
    threads.spawn("teller", move || teller.run(&tells))?;
    threads.spawn("pipeline", move || {
        pipeline.run(&incoming_facts, tell_replayed);
    })?;
    let people = People::new(&registry, &history, &inbox, &sessions, &clock);
    let flusher = Flusher {
        history: history.clone(),
        inbox: inbox.clone(),
        idle_marks: IdleMarks::new(state.clone(), registry.clone(), &idle_marks),
        gate: people.gate.clone(),
        stats: stats.clone(),
    };
    threads.spawn("flusher", move || flusher.run(&flusher_stopped))?;
    threads.spawn("inbox", move || work(clerk))?;
    let core = Core {
        desk,
        activity: Newest::kept(config.report.clone(), &registry)?,
        config,
        clock,
        stats,
        registry,
        history,
        state,
        changes,
        inbox,
        sessions,
        outbox,
        starts,
        people,
        facts,
        stop_flusher,
        replayed,
    };
    Ok((core, threads))
}

fn work(mut clerk: Clerk<SqliteJournal>) {
    if let Err(e) = clerk.replay() {
        // Ends the stage, and with it the program: going on would acknowledge into the unknown.
        tracing::error!(error = %e, "the inbox cannot be read");
        return;
    }
    clerk.run();
}

fn session_settings(config: &Config) -> Settings {
    Settings {
        streams_max: config.link.streams_max,
        interval: config.link.interval,
        api_url: api_url(config),
    }
}

/// Where people and scripts reach the API, as far as we know.
fn api_url(config: &Config) -> String {
    match (&config.notice.public_url, &config.listen) {
        (Some(url), _) => url.clone(),
        (None, Addr::Tcp(addr)) if config.standalone => format!("http://{addr}/"),
        _ => String::new(),
    }
}

// === impl Core ===

impl Core {
    async fn serve(mut self, mut threads: Threads) -> Result<(), RunError> {
        let http = Socket::bind(&self.config.listen).await?;
        let link = Socket::bind(&self.config.link.listen).await?;
        let metrics = match &self.config.metrics_listen {
            Some(addr) => Some(Socket::bind(addr).await?),
            None => None,
        };
        let (stop, stopping) = watch::channel(false);
        let mut stages: JoinSet<Result<(), RunError>> = JoinSet::new();
        let mut background = self.in_background();
        let authority = match &self.config.hub {
            Some(hub) => Authority::Hub(HubClient::new(hub.clone())?),
            None => Authority::Local(serve::by_kernel()),
        };
        let (doorman, list) = match &authority {
            Authority::Hub(hub) => {
                let list = self.hub_list(hub.clone());
                (Doorman::Hub(list.identify.clone()), Some(list))
            }
            Authority::Local(_) => (Doorman::Local, None),
        };
        let certificate = certificate::of_link(&self.config, &link)?;
        tell_where(&http, &link, metrics.as_ref(), &self.config);
        let carrier = Carrier::new(doorman.clone(), self.sessions.clone());
        let people = self.people(http, metrics, authority, carrier.clone(), stopping.clone());
        stages.spawn(async move {
            serve::run(people).await;
            Ok(())
        });
        let stopping_orders = stopping.clone();
        let mut asked = Asked::new()?;
        // Agents come in once we know how far each of them is.
        let mut outcome = tokio::select! {
            replayed = &mut self.replayed => replayed.err().map(|_| Stop::StageEnded("pipeline")),
            stop = asked.stop(&mut threads) => Some(stop),
        };
        if outcome.is_none() {
            if let Some(list) = list {
                self.follow_hub(list, &mut background);
            }
            let agents = self.agents(link, certificate.as_ref(), doorman, stopping)?;
            stages.spawn(agents);
            if let Some(certificate) = certificate {
                background.spawn(certificate::renew_for_ever(certificate));
            }
            carrier.open();
            self.desk.open(self.facts.clone());
            background.spawn(self.deliveries());
            stages.spawn(self.orders(stopping_orders)?);
            systemd::notify(systemd::READY);
            tracing::info!("ready");
            outcome = tokio::select! {
                stop = asked.stop(&mut threads) => Some(stop),
                Some(ended) = stages.join_next() => {
                    if let Ok(Err(e)) = ended {
                        tracing::error!(error = %e, "a stage failed");
                    }
                    Some(Stop::StageEnded("server"))
                }
            };
        }
        systemd::notify(systemd::STOPPING);
        tracing::info!("stopping");
        self.stop(threads, stages, background, &stop).await;
        match outcome {
            Some(Stop::StageEnded(name)) => Err(RunError::StageEnded(name)),
            _ => Ok(()),
        }
    }

    /// What goes on beside the stages from the start.
    fn in_background(&self) -> JoinSet<()> {
        let mut background = JoinSet::new();
        background.spawn(self.names());
        let (inbox, clock) = (self.inbox.clone(), self.clock.clone());
        background.spawn(async move { inbox.watch_pressure(&*clock).await });
        background
    }

    /// To be run once the desk is open: it is told who was warned by mail.
    fn deliveries(&self) -> impl Future<Output = ()> + use<> {
        let outbox = self.outbox.clone();
        async move { outbox.run().await }
    }

    /// Stops the stages in the order of the flow.
    async fn stop(
        self,
        mut threads: Threads,
        mut stages: JoinSet<Result<(), RunError>>,
        mut background: JoinSet<()>,
        stop: &watch::Sender<bool>,
    ) {
        self.sessions.end_all();
        // The outbox tells the desk what it delivers: it goes first.
        background.shutdown().await;
        self.desk.close();
        let _ = stop.send(true);
        let ended = async { while stages.join_next().await.is_some() {} };
        let _ = timeout(limits::SHUTDOWN_TIMEOUT, ended).await;
        stages.abort_all();
        // What was taken is committed; then nobody sends facts any more.
        self.inbox.close();
        drop(self.facts);
        self.starts.close();
        // The clerk writes its last marks after the flusher's last word.
        drop(self.stop_flusher);
        threads.join("flusher").await;
        threads.join("inbox").await;
        threads.join("pipeline").await;
        threads.join("teller").await;
        if let Err(e) = self.history.flush() {
            tracing::error!(error = %e, "history is not written; the inbox has it");
        }
        tracing::info!("stopped");
    }

    /// To be run once the journal is replayed: what the hub says is of now.
    fn hub_list(&self, hub: HubClient) -> HubList {
        let book = Arc::new(self.registry.clone());
        let (clock, stats) = (self.clock.clone(), self.stats.clone());
        HubList {
            identify: Identify::new(hub.clone(), book, clock.clone(), stats.clone()),
            hub,
            sessions: self.sessions.clone(),
            history: self.history.clone(),
            facts: self.facts.clone(),
            clock,
            stats,
        }
    }

    /// Keeps asking the hub: whose tokens still hold, who is who and was active, what runs.
    fn follow_hub(&self, list: HubList, background: &mut JoinSet<()>) {
        let (identify, sessions) = (list.identify.clone(), self.sessions.clone());
        background.spawn(async move { identify.recheck_for_ever(&sessions).await });
        background.spawn(self.people_of(&list).run());
        let starts = self.starts.clone();
        background.spawn(starts.follow(list.hub.clone(), self.stats.clone()));
        background.spawn(list.run());
    }

    fn people(
        &self,
        http: Socket,
        metrics: Option<Socket>,
        authority: Authority,
        agents: Carrier,
        shutdown: watch::Receiver<bool>,
    ) -> Serve {
        let listener = |socket| match socket {
            Socket::Tcp(listener) => serve::Listener::Tcp(listener),
            Socket::Unix(listener) => serve::Listener::Unix(listener),
        };
        Serve {
            listener: listener(http),
            metrics_listener: metrics.map(listener),
            prefix: self.config.prefix().to_owned(),
            authority,
            state: self.state.clone(),
            changes: self.changes.clone(),
            history: self.history.clone(),
            activity: self.activity.clone(),
            told: Told {
                registry: self.registry.clone(),
                outbox: self.outbox.clone(),
            },
            starts: self.starts.clone(),
            desk: self.desk.clone(),
            agents,
            stats: self.stats.clone(),
            clock: self.clock.clone(),
            per_user: self.config.per_user,
            shutdown,
        }
    }

    fn agents(
        &self,
        link: Socket,
        certificate: Option<&Certificate>,
        doorman: Doorman,
        mut stopping: watch::Receiver<bool>,
    ) -> Result<impl Future<Output = Result<(), RunError>> + use<>, CertificateError> {
        let tls = certificate.map(Certificate::server_config).transpose()?;
        let tls = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
        let door = Door::new(
            tls,
            self.config.link.allow_plaintext,
            self.config.link.streams_max,
            self.sessions.refusals().clone(),
            self.stats.clone(),
        );
        let sessions = self.sessions.clone();
        Ok(async move {
            let stop = async move {
                let _ = stopping.wait_for(|stop| *stop).await;
            };
            let served = listen::serve(link, door, doorman, sessions, stop);
            served.await.map_err(RunError::from)
        })
    }
}

fn tell_where(http: &Socket, link: &Socket, metrics: Option<&Socket>, config: &Config) {
    let text = |socket: &Socket| {
        socket
            .addr()
            .map(|addr| addr.to_string())
            .unwrap_or_default()
    };
    tracing::info!(
        listen = text(http),
        link = text(link),
        metrics = metrics.map(text),
        prefix = config.prefix(),
        data_dir = %config.data_dir.display(),
        standalone = config.standalone,
        "listening"
    );
    if config.per_user.on && metrics.is_some() {
        tracing::warn!("metrics.per_user: whoever reaches metrics.listen reads users' names");
    }
}
