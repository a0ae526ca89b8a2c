//! `/api/v1/events`: what changes, as server-sent events.
//!
//! Nothing is queued per viewer. What changed is written once into a bounded [`Log`] of names; each
//! stream walks it at its own pace and reads the state afresh when it writes, so a slow viewer
//! skips to the latest. Whoever falls off the log's end gets a full picture again. Rows are
//! filtered as they are read, and who is asking is asked again every minute.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    convert::Infallible,
    sync::Arc,
    time::Duration,
};

use axum::{
    extract::{Request, State},
    http::HeaderMap,
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::stream;
use parking_lot::{Mutex, RwLock};
use tokio::{
    sync::{
        broadcast::{self, error::RecvError},
        watch,
    },
    time::{Instant, sleep},
};

use super::{
    Site,
    accept::{Caller, stopped},
    auth::Fingerprint,
    guard::{self, Viewer, visible},
    problem::Problem,
    query::Query,
    shape::{ServerJson, VerdictJson},
    told::NoticeEventJson,
};
use crate::{
    fact::ServerKey,
    limits,
    notice::NoticeEvent,
    pipeline::Changes,
    state::Changed,
    stats::{Limit, Stats},
    verdict::Verdict,
};

/// Changes remembered: ten seconds of 10,000 servers that report every 5 s.
const LOG_ENTRIES_MAX: usize = 20_000;
/// Streams one login may hold: as many tabs, below a browser's six connections per host.
const STREAMS_PER_SESSION_MAX: usize = 3;
/// Streams at once; leaves room for requests among the connections.
const STREAMS_MAX: usize = 1024;
/// Changes within this time go out together: faster than an eye, and a server that samples every
/// second is written once for it.
const GATHER: Duration = Duration::from_millis(250);
/// Proxies cut what is silent for 30 or 60 seconds.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How long a revoked login keeps a stream.
const ASK_AGAIN: Duration = Duration::from_secs(60);
/// A stream says this often that somebody looks; often enough for agents to hold nothing back.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
const _: () = assert!(LOOK_AGAIN.as_millis() < limits::WATCHED.as_millis());

/// What changed, and who watches.
#[derive(Debug)]
pub(crate) struct Live {
    log: RwLock<Log>,
    newest: watch::Sender<u64>,
    streams: Mutex<HashMap<Fingerprint, usize>>,
    stats: Stats,
    /// Tells event ids of this process from those of one before.
    epoch: String,
}

#[derive(Debug)]
struct Log {
    /// Number of the first entry.
    first: u64,
    /// Whoever has seen entries before this number has seen names that are no longer to be shown.
    reset: u64,
    entries: VecDeque<Entry>,
}

#[derive(Clone, Debug)]
enum Entry {
    Server(ServerKey),
    /// Boxed: nearly all are of the other kind.
    Verdict(Box<Verdict>),
    Notice(Box<NoticeEvent>),
    /// What was told before is to be dropped; never in the log.
    Reset,
}

/// One of a login's streams; gives its place back when dropped.
struct Ticket {
    live: Arc<Live>,
    session: Fingerprint,
}

/// A stream's life.
struct Follower {
    site: Arc<Site>,
    viewer: Viewer,
    headers: HeaderMap,
    caller: Option<Caller>,
    newest: watch::Receiver<u64>,
    shutdown: watch::Receiver<bool>,
    /// Everything before this number was written or is pending; `None` before the full picture.
    through: Option<u64>,
    pending: VecDeque<Entry>,
    asked: Instant,
    looked: Option<Instant>,
    _ticket: Ticket,
}

// === impl Live ===

impl Live {
    pub(crate) fn new(now_ms: i64, stats: Stats) -> Self {
        stats.limit_set(Limit::EventStreams, STREAMS_MAX);
        Self {
            log: RwLock::new(Log {
                first: 1,
                reset: 0,
                entries: VecDeque::new(),
            }),
            newest: watch::Sender::new(1),
            streams: Mutex::default(),
            stats,
            epoch: format!("{now_ms:x}"),
        }
    }

    /// Writes down what changes until there is nobody left to change anything.
    pub(crate) async fn follow(self: Arc<Self>, changes: Changes) {
        let mut changes = changes.subscribe();
        loop {
            match changes.recv().await {
                Ok(changed) => self.note(&changed),
                Err(RecvError::Lagged(_)) => self.forget(),
                Err(RecvError::Closed) => return,
            }
        }
    }

    /// Writes down what happens to notices until nobody delivers any.
    pub(crate) async fn follow_notices(
        self: Arc<Self>,
        mut notices: broadcast::Receiver<NoticeEvent>,
    ) {
        loop {
            match notices.recv().await {
                Ok(notice) => self.push(std::iter::once(Entry::Notice(Box::new(notice)))),
                Err(RecvError::Lagged(_)) => self.forget(),
                Err(RecvError::Closed) => return,
            }
        }
    }

    fn note(&self, changed: &Changed) {
        if changed.people {
            // What was noted may name somebody who is to be named no more.
            self.forget();
            let mut log = self.log.write();
            log.reset = log.first;
            return;
        }
        let servers = changed.servers.iter().cloned().map(Entry::Server);
        let verdicts = changed.verdicts.iter().cloned();
        let verdicts = verdicts.map(|verdict| Entry::Verdict(Box::new(verdict)));
        self.push(servers.chain(verdicts));
    }

    fn push(&self, entries: impl Iterator<Item = Entry>) {
        let mut log = self.log.write();
        for entry in entries {
            if log.entries.len() == LOG_ENTRIES_MAX {
                log.entries.pop_front();
                log.first += 1;
            }
            log.entries.push_back(entry);
        }
        self.newest.send_replace(log.next());
    }

    /// Changes were missed: nobody can go on from before.
    fn forget(&self) {
        let mut log = self.log.write();
        log.first = log.next() + 1;
        log.entries.clear();
        self.newest.send_replace(log.first);
    }

    fn id(&self, through: u64) -> String {
        format!("{}-{through}", self.epoch)
    }

    /// Where a stream that was cut may go on.
    fn resume(&self, last_event_id: &str) -> Option<u64> {
        let (epoch, through) = last_event_id.split_once('-')?;
        let through = through.parse().ok()?;
        let known = epoch == self.epoch && through <= self.log.read().next();
        known.then_some(through)
    }

    fn ticket(self: &Arc<Self>, session: Fingerprint) -> Result<Ticket, Problem> {
        let mut streams = self.streams.lock();
        let all: usize = streams.values().sum();
        let own = streams.get(&session).copied().unwrap_or(0);
        if own >= STREAMS_PER_SESSION_MAX || all >= STREAMS_MAX {
            self.stats.limit_dropped(Limit::EventStreams);
            return Err(Problem::too_many(match own {
                STREAMS_PER_SESSION_MAX.. => {
                    format!("this login holds {STREAMS_PER_SESSION_MAX} event streams already")
                }
                _ => format!("{STREAMS_MAX} event streams are open already"),
            }));
        }
        streams.insert(session, own + 1);
        self.stats.limit_now(Limit::EventStreams, all + 1);
        Ok(Ticket {
            live: self.clone(),
            session,
        })
    }
}

impl Log {
    fn next(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// What was written from `from` on, the latest of each once; `None` when some of it is gone.
    fn since(&self, from: u64) -> Option<VecDeque<Entry>> {
        let skip = usize::try_from(from.checked_sub(self.first)?).ok()?;
        let mut servers = BTreeSet::new();
        let mut verdicts = BTreeMap::new();
        let mut notices = Vec::new();
        for entry in self.entries.iter().skip(skip) {
            match entry {
                Entry::Server(key) => drop(servers.insert(key.clone())),
                Entry::Verdict(verdict) => {
                    verdicts.insert(verdict.episode.as_str(), verdict);
                }
                Entry::Notice(notice) => notices.push(notice.clone()),
                Entry::Reset => {}
            }
        }
        let servers = servers.into_iter().map(Entry::Server);
        let verdicts = verdicts.into_values().cloned().map(Entry::Verdict);
        let notices = notices.into_iter().map(Entry::Notice);
        Some(servers.chain(verdicts).chain(notices).collect())
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut streams = self.live.streams.lock();
        if let Some(held) = streams.get_mut(&self.session) {
            *held -= 1;
            if *held == 0 {
                streams.remove(&self.session);
            }
        }
        let all = streams.values().sum();
        self.live.stats.limit_now(Limit::EventStreams, all);
    }
}

// === handler ===

/// Changes as they happen: `server` with a Server, `verdict` with a Verdict, `notice` with what
/// became of a notice. Begins with a `server`
/// for every row that may be seen, unless `Last-Event-ID` lets it go on from there. After `reset`
/// the same begins anew: users were forgotten or renamed, and what was told before may name them.
#[utoipa::path(
    get,
    path = "/api/v1/events",
    params(("Last-Event-ID" = Option<String>, Header, description = "Id of the last event seen")),
    responses((status = 200, body = String, content_type = "text/event-stream")),
)]
pub(crate) async fn events(
    State(site): State<Arc<Site>>,
    viewer: Viewer,
    request: Request,
) -> Result<Response, Problem> {
    Query::parse(request.uri().query())?.finish(&[])?;
    let ticket = site.live.ticket(viewer.session)?;
    let last_event_id = request.headers().get("last-event-id");
    let through = last_event_id
        .and_then(|id| id.to_str().ok())
        .and_then(|id| site.live.resume(id));
    let follower = Follower {
        viewer,
        headers: request.headers().clone(),
        caller: request.extensions().get::<Caller>().cloned(),
        newest: site.live.newest.subscribe(),
        shutdown: site.shutdown.clone(),
        through,
        pending: VecDeque::new(),
        asked: Instant::now(),
        looked: None,
        _ticket: ticket,
        site,
    };
    let events = stream::unfold(follower, |mut follower| async {
        let event = follower.next().await?;
        Some((Ok::<_, Infallible>(event), follower))
    });
    let sse = Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT));
    // Proxies that gather bytes would hold events back.
    Ok(([("x-accel-buffering", "no")], sse).into_response())
}

// === impl Follower ===

impl Follower {
    /// The next event to write; `None` ends the stream.
    async fn next(&mut self) -> Option<Event> {
        loop {
            while let Some(entry) = self.pending.pop_front() {
                if let Some(event) = self.event(&entry) {
                    return Some(self.marked(event));
                }
            }
            if self.asked.elapsed() >= ASK_AGAIN && !self.is_still_let_in().await {
                return None;
            }
            self.look();
            if !self.gather() {
                let again = sleep(LOOK_AGAIN);
                tokio::select! {
                    changed = self.newest.changed() => {
                        changed.ok()?;
                        sleep(GATHER).await;
                    }
                    () = again => {}
                    () = stopped(&mut self.shutdown) => return None,
                }
            }
        }
    }

    /// Says that somebody looks at all that may be seen here.
    fn look(&mut self) {
        if self.looked.is_some_and(|at| at.elapsed() < LOOK_AGAIN) {
            return;
        }
        self.looked = Some(Instant::now());
        let truth = self.site.state.read();
        let seen = visible(&truth, &self.viewer.sight);
        let seen: Vec<ServerKey> = seen.map(|server| server.key.clone()).collect();
        drop(truth);
        self.site.agents.watch(seen.into_iter());
    }

    /// Makes pending what changed since the last time; false when nothing did.
    fn gather(&mut self) -> bool {
        self.newest.mark_unchanged();
        let log = self.site.live.log.read();
        let next = log.next();
        let changed = self.through.and_then(|through| log.since(through));
        let reset = self.through.is_some_and(|through| through < log.reset);
        drop(log);
        self.pending = changed.unwrap_or_else(|| {
            let truth = self.site.state.read();
            let servers = visible(&truth, &self.viewer.sight);
            servers.map(|s| Entry::Server(s.key.clone())).collect()
        });
        if reset {
            self.pending.push_front(Entry::Reset);
        }
        self.through = Some(next);
        !self.pending.is_empty()
    }

    /// The last event of what was gathered carries an id: from there a stream can go on without
    /// having missed anything.
    fn marked(&self, event: Event) -> Event {
        match self.through {
            Some(through) if self.pending.is_empty() => event.id(self.site.live.id(through)),
            _ => event,
        }
    }

    fn event(&self, entry: &Entry) -> Option<Event> {
        let truth = self.site.state.read();
        match entry {
            Entry::Server(key) => {
                let server = truth.servers.get(key)?;
                let seen = self.viewer.sight.sees(server);
                let now_ms = self.site.clock.now_ms();
                seen.then(|| ServerJson::new(server, now_ms))
                    .and_then(|json| Event::default().event("server").json_data(json).ok())
            }
            Entry::Verdict(verdict) => {
                let seen = self.viewer.sight.sees_key(&verdict.key, &truth);
                seen.then(|| VerdictJson::from(&**verdict))
                    .and_then(|json| Event::default().event("verdict").json_data(json).ok())
            }
            Entry::Notice(notice) => {
                let seen = NoticeEventJson::for_viewer(notice, &self.viewer);
                seen.and_then(|json| Event::default().event("notice").json_data(json).ok())
            }
            Entry::Reset => Some(Event::default().event("reset").data("{}")),
        }
    }

    /// Asks again who this is. A hub that does not answer ends nothing.
    async fn is_still_let_in(&mut self) -> bool {
        self.asked = Instant::now();
        match guard::viewer(&self.site, &self.headers, self.caller.as_ref()).await {
            Ok(viewer) => {
                self.viewer = viewer;
                true
            }
            Err(problem) => problem.status() == 503,
        }
    }
}
