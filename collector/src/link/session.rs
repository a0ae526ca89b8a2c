//! One stream's life: Hello, Welcome, then reports up, receipts and notices down.
//!
//! The loop never waits for the inbox, the disk or the peer's socket: what has no room ends the
//! stream with a Bye that says when to come back. The newest stream of a server wins; the older
//! one is told so and leaves.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use hubmeter_proto::{PROTOCOL_VERSION, limits as wire};
use parking_lot::Mutex;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until, timeout},
};
use tonic::{Status, Streaming};

use super::{
    admit::{self, ByeReason, ClockOffset, Hello, Incoming, Notice, Outgoing, Refusal},
    quota::Bucket,
};
use crate::{
    clock::Clock,
    fact::ServerKey,
    inbox::{self, Body, Deposit, Entry, Inbox, Receipt, Slot, row},
    limits,
    stats::{Count, Limit, Reject, Stats},
};

/// Where a stream's messages to the agent go.
pub type Down = mpsc::Sender<Result<Outgoing, Status>>;

/// All live streams. Clones share everything.
#[derive(Clone)]
pub struct Sessions(Arc<Shared>);

struct Shared {
    live: Mutex<HashMap<ServerKey, Live>>,
    quotas: Mutex<HashMap<ServerKey, Arc<Mutex<Quota>>>>,
    next_id: AtomicU64,
    settings: Settings,
    inbox: Inbox,
    clock: Arc<dyn Clock>,
    stats: Stats,
    /// Streams of servers nobody knew: the hub's list is asked for soon after.
    strangers: tokio::sync::Notify,
}

/// What streams are told, and how many there may be.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Streams at once.
    pub streams_max: usize,
    /// The interval agents are asked for; `None` leaves it to them.
    pub interval: Option<Duration>,
    /// Where the HTTP API is; empty when unknown.
    pub api_url: String,
}

/// The registry's side of a stream.
struct Live {
    id: u64,
    commands: mpsc::Sender<Command>,
}

/// What others ask of a stream.
enum Command {
    Notice(Box<Notice>),
    End(ByeReason),
}

/// What one server may still send.
struct Quota {
    streams: Bucket,
    reports: Bucket,
    bytes: Bucket,
}

/// Whose stream it is.
#[derive(Clone, Debug)]
pub enum Owner {
    /// By the hub.
    Server(ServerKey),
    /// By the kernel; which server it is, its agent says.
    Login(String),
}

/// A stream past Hello.
struct Session {
    sessions: Sessions,
    id: u64,
    key: ServerKey,
    hello: Hello,
    clock: ClockOffset,
    quota: Arc<Mutex<Quota>>,
    slot: Slot,
    /// The number the next report must have.
    expected_seq: u64,
    notices: VecDeque<Notice>,
}

/// How a stream ends.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The agent said Bye.
    Farewell,
    /// The connection is gone.
    Cut,
    /// We end it.
    Ours(ByeReason, Duration),
}

/// Time for a Bye to reach the peer's socket.
const BYE_TIMEOUT: Duration = Duration::from_secs(1);
/// Quotas of servers that were quiet are forgotten when there are more of them than live streams
/// and this.
const QUOTAS_SPARE: usize = 1_000;

// === impl Sessions ===

impl Sessions {
    /// No streams yet.
    #[must_use]
    pub fn new(settings: Settings, inbox: Inbox, clock: Arc<dyn Clock>, stats: Stats) -> Self {
        stats.limit_set(Limit::Sessions, settings.streams_max);
        Self(Arc::new(Shared {
            live: Mutex::default(),
            quotas: Mutex::default(),
            next_id: AtomicU64::new(1),
            settings,
            inbox,
            clock,
            stats,
            strangers: tokio::sync::Notify::new(),
        }))
    }

    /// Sends a notice to the person at `key`'s server. False when its agent is not here or its
    /// queue is full; nothing waits.
    #[must_use]
    pub fn notify(&self, key: &ServerKey, notice: Notice) -> bool {
        let live = self.0.live.lock();
        live.get(key).is_some_and(|live| {
            live.commands
                .try_send(Command::Notice(Box::new(notice)))
                .is_ok()
        })
    }

    /// Ends the stream of `key`, if there is one.
    pub fn end(&self, key: &ServerKey, reason: ByeReason) {
        if let Some(live) = self.0.live.lock().get(key) {
            // A full queue means that it is being ended or drowned in notices; it is asked again.
            let _ = live.commands.try_send(Command::End(reason));
        }
    }

    /// Ends all streams: the collector stops.
    pub fn end_all(&self) {
        for live in self.0.live.lock().values() {
            let _ = live.commands.try_send(Command::End(ByeReason::Shutdown));
        }
    }

    /// How many are live.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.live.lock().len()
    }

    /// Returns when a stream has begun since it was last called.
    pub async fn newcomer(&self) {
        self.0.strangers.notified().await;
    }

    /// Lives one stream to its end.
    pub async fn run(&self, owner: Owner, mut messages: Streaming<Bytes>, down: Down) {
        let begun = match timeout(wire::HELLO_TIMEOUT, messages.message()).await {
            Ok(Ok(Some(message))) => self.begin(owner, message),
            Ok(Ok(None) | Err(_)) => return,
            Err(_) => {
                self.0.stats.reject(Reject::NoHello);
                Err(End::Ours(ByeReason::Silent, spread(limits::BYE_PROTOCOL)))
            }
        };
        match begun {
            Ok((mut session, commands, welcome)) => {
                // The queue is empty: this does not wait.
                let _ = down.send(Ok(welcome)).await;
                let end = session.live(&mut messages, commands, &down).await;
                session.leave(&end);
                bye(end, &down).await;
            }
            Err(end) => bye(end, &down).await,
        }
    }

    fn begin(
        &self,
        owner: Owner,
        message: Bytes,
    ) -> Result<(Session, mpsc::Receiver<Command>, Outgoing), End> {
        let shared = &self.0;
        let now_ms = shared.clock.now_ms();
        let hello = match admit::read(&message, now_ms, ClockOffset::NONE) {
            Ok(Incoming::Hello(hello)) => hello,
            Ok(_) => {
                shared.stats.reject(Reject::NoHello);
                return Err(End::Ours(ByeReason::Protocol, spread(limits::BYE_PROTOCOL)));
            }
            Err(refusal) => return Err(self.refused(&refusal)),
        };
        let key = match owner {
            Owner::Server(key) => key,
            Owner::Login(user) => ServerKey::new(&user, hello.server_name.as_str()),
        };
        let quota = self.quota_of(&key, now_ms);
        if let Err(wait_ms) = quota.lock().streams.take(1, now_ms) {
            shared.stats.reject(Reject::Quota);
            let wait = Duration::from_millis(wait_ms);
            return Err(End::Ours(ByeReason::Quota, wait + spread(limits::BYE_BUSY)));
        }
        let through_seq = shared.inbox.through_seq(&key, hello.instance);
        let resume_seq = through_seq
            .map_or(1, |seq| seq.saturating_add(1))
            .min(hello.next_seq);
        let mut session = Session {
            sessions: self.clone(),
            id: shared.next_id.fetch_add(1, Ordering::Relaxed),
            key,
            clock: ClockOffset::at_hello(&hello, now_ms),
            quota,
            slot: Slot::new(),
            expected_seq: resume_seq,
            notices: VecDeque::new(),
            hello,
        };
        let commands = session.enter(message, now_ms)?;
        tracing::debug!(
            server = ?session.key, instance = %session.hello.instance,
            version = %session.hello.version, resume_seq, "agent connected"
        );
        let welcome = Outgoing::Welcome {
            resume_seq,
            interval_ms: shared
                .settings
                .interval
                .map_or(0, |i| u32::try_from(i.as_millis()).unwrap_or(0)),
            api_url: shared.settings.api_url.clone(),
        };
        Ok((session, commands, welcome))
    }

    fn quota_of(&self, key: &ServerKey, now_ms: i64) -> Arc<Mutex<Quota>> {
        let live = self.count();
        let mut quotas = self.0.quotas.lock();
        if quotas.len() >= live + QUOTAS_SPARE {
            quotas.retain(|_, quota| Arc::strong_count(quota) > 1 || !quota.lock().is_full(now_ms));
        }
        let quota = quotas
            .entry(key.clone())
            .or_insert_with(|| Arc::new(Mutex::new(Quota::new(now_ms))));
        Arc::clone(quota)
    }

    /// Counts a refused message and says how its stream ends.
    fn refused(&self, refusal: &Refusal) -> End {
        let (reject, reason) = match refusal {
            Refusal::Undecodable(_) | Refusal::TooLarge(_) | Refusal::Empty => {
                (Reject::Undecodable, ByeReason::Protocol)
            }
            Refusal::OutOfBounds { .. } => (Reject::OutOfBounds, ByeReason::Protocol),
            Refusal::Version(_) => (Reject::Version, ByeReason::Version),
        };
        self.0.stats.reject(reject);
        tracing::debug!(%refusal, "a message was refused");
        End::Ours(reason, spread(limits::BYE_PROTOCOL))
    }
}

// === impl Quota ===

impl Quota {
    fn new(now_ms: i64) -> Self {
        let bucket = |per_second, burst| Bucket::new(per_second, burst, now_ms);
        Self {
            streams: bucket(limits::STREAMS_PER_SECOND, limits::STREAMS_BURST),
            reports: bucket(limits::REPORTS_PER_SECOND, limits::REPORTS_BURST),
            bytes: bucket(limits::REPORT_BYTES_PER_SECOND, limits::REPORT_BYTES_BURST),
        }
    }

    fn message(&mut self, bytes: usize, now_ms: i64) -> Result<(), u64> {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.reports.take(1, now_ms)?;
        self.bytes.take(bytes, now_ms)
    }

    fn is_full(&mut self, now_ms: i64) -> bool {
        self.streams.is_full(now_ms) && self.reports.is_full(now_ms) && self.bytes.is_full(now_ms)
    }
}

// === impl Session ===

impl Session {
    /// Takes the server's place in the registry, hands in the Hello, and ends the stream that was
    /// there before.
    fn enter(&mut self, hello: Bytes, now_ms: i64) -> Result<mpsc::Receiver<Command>, End> {
        let shared = Arc::clone(&self.sessions.0);
        let (commands, receiver) = mpsc::channel(limits::NOTICES_QUEUED_MAX);
        let mut live = shared.live.lock();
        if live.len() >= shared.settings.streams_max && !live.contains_key(&self.key) {
            shared.stats.limit_dropped(Limit::Sessions);
            return Err(End::Ours(ByeReason::Busy, spread(limits::BYE_BUSY)));
        }
        // Under the lock, so that the facts of two streams of a server keep their order.
        let message = Incoming::Hello(self.hello.clone());
        self.deposit(Body::Message(hello), Some(message), now_ms)?;
        let this = Live {
            id: self.id,
            commands,
        };
        if let Some(before) = live.insert(self.key.clone(), this) {
            shared.stats.reject(Reject::Superseded);
            let _ = before
                .commands
                .try_send(Command::End(ByeReason::Superseded));
        }
        shared.stats.limit_now(Limit::Sessions, live.len());
        shared.stats.count(Count::Streams);
        shared.strangers.notify_one();
        Ok(receiver)
    }

    /// Leaves the registry. Where a newer stream speaks for the server, nothing has ended.
    fn leave(&mut self, end: &End) {
        let shared = Arc::clone(&self.sessions.0);
        let mut live = shared.live.lock();
        if live.get(&self.key).is_none_or(|live| live.id != self.id) {
            return;
        }
        live.remove(&self.key);
        shared.stats.limit_now(Limit::Sessions, live.len());
        // The next start tells it, of all streams that were live.
        if matches!(end, End::Ours(ByeReason::Shutdown, _)) {
            return;
        }
        let farewell = *end == End::Farewell;
        let now_ms = shared.clock.now_ms();
        // Without room the state learns it from the silence.
        let _ = self.deposit(Body::Ended { farewell }, None, now_ms);
        tracing::debug!(server = ?self.key, ?end, "agent left");
    }

    async fn live(
        &mut self,
        messages: &mut Streaming<Bytes>,
        mut commands: mpsc::Receiver<Command>,
        down: &Down,
    ) -> End {
        let mut receipts = self.slot.subscribe();
        let interval = Duration::from_millis(self.hello.interval_ms.into());
        let patience = interval * 3 + limits::SILENCE_SLACK;
        let mut silent_at = Instant::now() + patience;
        let mut receipt_due: Option<u64> = None;
        loop {
            let due = receipt_due.is_some() || !self.notices.is_empty();
            tokio::select! {
                message = messages.message() => {
                    let bytes = match message {
                        Ok(Some(bytes)) => bytes,
                        Ok(None) | Err(_) => return End::Cut,
                    };
                    silent_at = Instant::now() + patience;
                    match self.take(bytes) {
                        Ok(None) => {}
                        Ok(Some(through_seq)) => receipt_due = receipt_due.max(Some(through_seq)),
                        Err(end) => return end,
                    }
                }
                changed = receipts.changed() => {
                    let Receipt { through_seq, torn } = latest(changed, &mut receipts);
                    if torn {
                        return End::Ours(ByeReason::Busy, spread(limits::BYE_TORN));
                    }
                    receipt_due = receipt_due.max(Some(through_seq));
                }
                command = commands.recv() => match command {
                    Some(Command::Notice(notice)) => self.queue(*notice),
                    Some(Command::End(reason)) => return End::Ours(reason, after(reason)),
                    // Replaced in the registry before we looked.
                    None => return End::Ours(ByeReason::Superseded, Duration::ZERO),
                },
                () = sleep_until(silent_at) => {
                    self.sessions.0.stats.reject(Reject::Silent);
                    return End::Ours(ByeReason::Silent, Duration::ZERO);
                }
                // A peer that does not read costs one receipt and a few notices.
                permit = down.reserve(), if due => {
                    let Ok(permit) = permit else { return End::Cut };
                    if let Some(through_seq) = receipt_due.take() {
                        permit.send(Ok(Outgoing::Receipt { through_seq }));
                    } else if let Some(notice) = self.notices.pop_front() {
                        permit.send(Ok(Outgoing::Notice(notice)));
                    }
                }
            }
        }
    }

    /// Takes one message; gives the number to acknowledge at once when nothing new is in it.
    fn take(&mut self, bytes: Bytes) -> Result<Option<u64>, End> {
        let shared = Arc::clone(&self.sessions.0);
        let now_ms = shared.clock.now_ms();
        if let Err(wait_ms) = self.quota.lock().message(bytes.len(), now_ms) {
            shared.stats.reject(Reject::Quota);
            return Err(End::Ours(ByeReason::Quota, Duration::from_millis(wait_ms)));
        }
        let message = admit::read(&bytes, now_ms, self.clock)
            .map_err(|refusal| self.sessions.refused(&refusal))?;
        let (from_seq, through_seq) = match &message {
            Incoming::Report { seq, samples } => {
                shared.stats.count(Count::Reports);
                let samples = u64::try_from(samples.len()).unwrap_or(0);
                shared.stats.add(Count::Samples, samples);
                (*seq, *seq)
            }
            Incoming::Gap {
                from_seq,
                through_seq,
            } => {
                shared.stats.count(Count::Gaps);
                (*from_seq, *through_seq)
            }
            Incoming::Bye => return Err(End::Farewell),
            Incoming::Hello(_) => return Err(self.unexpected("a second Hello")),
        };
        if through_seq < self.expected_seq {
            shared.stats.reject(Reject::Duplicate);
            // What is on disk may be acknowledged; what is under way will be.
            let on_disk = shared.inbox.through_seq(&self.key, self.hello.instance);
            return Ok(on_disk.filter(|through| *through >= through_seq));
        }
        if from_seq > self.expected_seq {
            return Err(self.unexpected("a report before the ones it follows"));
        }
        self.deposit(Body::Message(bytes), Some(message), now_ms)?;
        self.expected_seq = through_seq.saturating_add(1);
        Ok(None)
    }

    fn deposit(&self, body: Body, message: Option<Incoming>, now_ms: i64) -> Result<(), End> {
        let entry = Entry {
            key: self.key.clone(),
            instance: self.hello.instance,
            arrived_ms: now_ms,
            clock: self.clock,
            body,
        };
        let meaning = match message {
            Some(message) => row::fact_from(&entry, message),
            None => row::fact_of(&entry),
        };
        let Some((fact, through_seq)) = meaning else {
            return Ok(());
        };
        let deposit = Deposit {
            entry,
            fact,
            through_seq,
            slot: self.slot.clone(),
        };
        let shared = &self.sessions.0;
        shared.inbox.deposit(deposit).map_err(|inbox::Full| {
            shared.stats.reject(Reject::InboxFull);
            End::Ours(ByeReason::Busy, spread(limits::BYE_BUSY))
        })
    }

    fn queue(&mut self, notice: Notice) {
        if self.notices.len() >= limits::NOTICES_QUEUED_MAX {
            self.notices.pop_front();
            self.sessions.0.stats.limit_dropped(Limit::Notices);
        }
        self.notices.push_back(notice);
    }

    fn unexpected(&self, what: &'static str) -> End {
        self.sessions.0.stats.reject(Reject::Unexpected);
        tracing::debug!(server = ?self.key, what, "a message was refused");
        End::Ours(ByeReason::Protocol, spread(limits::BYE_PROTOCOL))
    }
}

fn latest(
    changed: Result<(), watch::error::RecvError>,
    receipts: &mut watch::Receiver<Receipt>,
) -> Receipt {
    // We hold the slot ourselves, so its sender is there.
    debug_assert!(changed.is_ok());
    *receipts.borrow_and_update()
}

/// Says Bye, if it is ours to say, and gives it time to leave.
async fn bye(end: End, down: &Down) {
    let End::Ours(reason, retry_after) = end else {
        return;
    };
    let bye = Outgoing::Bye {
        reason,
        retry_after_ms: u32::try_from(retry_after.as_millis()).unwrap_or(u32::MAX),
    };
    let _ = timeout(BYE_TIMEOUT, down.send(Ok(bye))).await;
}

/// When to come back after a Bye that others asked for.
fn after(reason: ByeReason) -> Duration {
    match reason {
        ByeReason::Shutdown => spread(limits::BYE_SHUTDOWN),
        ByeReason::Unauthenticated => spread(limits::BYE_UNAUTHENTICATED),
        ByeReason::Busy | ByeReason::Quota => spread(limits::BYE_BUSY),
        ByeReason::Protocol | ByeReason::Version => spread(limits::BYE_PROTOCOL),
        ByeReason::Superseded | ByeReason::Silent => Duration::ZERO,
    }
}

/// Somewhere between half of `about` and one and a half: those sent away together come back apart.
fn spread(about: Duration) -> Duration {
    about.mul_f64(0.5 + fraction())
}

fn fraction() -> f64 {
    let mut bytes = [0; 4];
    // Without randomness they come back together; nothing breaks.
    let _ = getrandom::fill(&mut bytes);
    f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
}

/// The protocol both speak: today there is one.
const _: () = assert!(PROTOCOL_VERSION == 1);
