//! All live streams, and how each begins and ends: Hello, Welcome, Bye.
//!
//! The newest stream of a server wins; the older one is told so and leaves. Whoever has no room
//! here is told when to come back.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use hubmeter_proto::{PROTOCOL_BATCHES, limits as wire};
use parking_lot::Mutex;
use tokio::{
    sync::{
        Notify,
        mpsc::{self, error::TrySendError},
    },
    time::timeout,
};
use tokio_stream::{Stream, StreamExt as _};
use tonic::Status;

use super::{
    admit::{self, ByeReason, ClockOffset, Incoming, Notice, Outgoing, Refusal},
    quota::Bucket,
    refusals::{Refusals, Who},
    turnstile::Turnstile,
};
use crate::{
    clock::Clock,
    fact::ServerKey,
    inbox::{Inbox, Slot},
    limits,
    person::Fates,
    pressure::Level,
    stats::{Limit, Reject, Stats},
};

mod pacing;
mod stream;
mod watch;

use stream::Session;
use watch::Watch;

/// Where a stream's messages to the agent go.
pub type Down = mpsc::Sender<Result<Outgoing, Status>>;

/// Where an agent's messages come from, whatever carries them.
pub trait Messages: Stream<Item = Result<Bytes, Status>> + Unpin + Send {}

impl<S: Stream<Item = Result<Bytes, Status>> + Unpin + Send> Messages for S {}

/// All live streams. Clones share everything.
#[derive(Clone)]
pub struct Sessions(Arc<Shared>);

struct Shared {
    live: Mutex<HashMap<ServerKey, Live>>,
    quotas: Mutex<HashMap<ServerKey, Arc<Mutex<Quota>>>>,
    next_id: AtomicU64,
    turnstile: Mutex<Turnstile>,
    settings: Settings,
    inbox: Inbox,
    clock: Arc<dyn Clock>,
    refusals: Refusals,
    stats: Stats,
    /// Streams of servers nobody knew: the hub's list is asked for soon after.
    strangers: Notify,
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
    watch: Watch,
    /// The end of an order found no room.
    drowned: Arc<Notify>,
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

// === impl Sessions ===

impl Sessions {
    /// No streams yet.
    #[must_use]
    pub fn new(settings: Settings, inbox: Inbox, clock: Arc<dyn Clock>, stats: Stats) -> Self {
        stats.limit_set(Limit::Sessions, settings.streams_max);
        stats.limit_set(Limit::Notices, limits::NOTICES_QUEUED_MAX);
        let burst = usize::try_from(limits::ACCEPTS_BURST).unwrap_or(usize::MAX);
        stats.limit_set(Limit::Accepts, burst);
        Self(Arc::new(Shared {
            live: Mutex::default(),
            quotas: Mutex::default(),
            next_id: AtomicU64::new(1),
            turnstile: Mutex::new(Turnstile::new(clock.now_ms())),
            settings,
            inbox,
            refusals: Refusals::new(clock.clone(), stats.clone()),
            clock,
            stats,
            strangers: Notify::new(),
        }))
    }

    /// Sends a notice to the person at `key`'s server. False when its agent is not here or its
    /// queue is full; nothing waits. Where the end of an order has no room, the stream ends: its agent
    /// carries nothing out then.
    #[must_use]
    pub fn notify(&self, key: &ServerKey, notice: Notice) -> bool {
        let live = self.0.live.lock();
        let Some(live) = live.get(key) else {
            return false;
        };
        let ends_order = notice.may_end_order();
        match live.commands.try_send(Command::Notice(Box::new(notice))) {
            Ok(()) => true,
            // The stream is ending already.
            Err(TrySendError::Closed(_)) => false,
            Err(TrySendError::Full(_)) => {
                self.0.stats.limit_dropped(Limit::Notices);
                if ends_order {
                    live.drowned.notify_one();
                }
                false
            }
        }
    }

    /// Ends the stream of `key`, if there is one.
    pub fn end(&self, key: &ServerKey, reason: ByeReason) {
        if let Some(live) = self.0.live.lock().get(key) {
            // A full queue means that it is being ended or drowned in notices; it is asked again.
            let _ = live.commands.try_send(Command::End(reason));
        }
    }

    /// Ends the streams of these users' servers, and forgets what their servers may still send.
    /// True while some of them live.
    pub fn end_users(&self, fates: &Fates) -> bool {
        let is_theirs = |key: &ServerKey| fates.of(&key.user).is_some();
        self.0.quotas.lock().retain(|key, _| !is_theirs(key));
        let live = self.0.live.lock();
        let mut any = false;
        for (_, live) in live.iter().filter(|(key, _)| is_theirs(key)) {
            any = true;
            let _ = live.commands.try_send(Command::End(ByeReason::Busy));
        }
        any
    }

    /// Somebody looks at these servers: their agents hold nothing back for a while.
    pub fn watch(&self, keys: impl Iterator<Item = ServerKey>) {
        let now_ms = self.0.clock.now_ms();
        let live = self.0.live.lock();
        for key in keys {
            if let Some(live) = live.get(&key) {
                live.watch.look(now_ms);
            }
        }
    }

    /// Ends all streams: the collector stops.
    pub fn end_all(&self) {
        for live in self.0.live.lock().values() {
            let _ = live.commands.try_send(Command::End(ByeReason::Shutdown));
        }
    }

    /// Where refusals are counted and told.
    #[must_use]
    pub fn refusals(&self) -> &Refusals {
        &self.0.refusals
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
    pub async fn run(&self, owner: Owner, mut messages: impl Messages, down: Down) {
        if let Err(end) = self.pass(&owner) {
            return bye(end, &down).await;
        }
        let begun = match timeout(wire::HELLO_TIMEOUT, messages.next()).await {
            Ok(Some(Ok(message))) => self.begin(owner, message),
            Ok(None | Some(Err(_))) => return,
            Err(_) => {
                let late = "no Hello in time";
                self.0.refusals.refuse(owner.who(), Reject::NoHello, late);
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

    /// Whether one more stream may begin now, before anything of it is read.
    fn pass(&self, owner: &Owner) -> Result<(), End> {
        let shared = &self.0;
        let now_ms = shared.clock.now_ms();
        let pressure = shared.inbox.pressure();
        if pressure.level() == Level::Closed {
            pressure.gave_up();
            let full = "the inbox is nearly full";
            shared.refusals.refuse(owner.who(), Reject::Shedding, full);
            return Err(End::Ours(ByeReason::Busy, spread(limits::BYE_BUSY)));
        }
        let (passed, used) = {
            let mut turnstile = shared.turnstile.lock();
            (turnstile.pass(now_ms), turnstile.used(now_ms))
        };
        let used = usize::try_from(used).unwrap_or(usize::MAX);
        shared.stats.limit_now(Limit::Accepts, used);
        passed.map_err(|wait| {
            shared.stats.limit_dropped(Limit::Accepts);
            let many = "too many streams begin at once";
            shared.refusals.refuse(owner.who(), Reject::Turnstile, many);
            End::Ours(ByeReason::Busy, wait)
        })
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
                let other = "the first message is no Hello";
                shared.refusals.refuse(owner.who(), Reject::NoHello, other);
                return Err(End::Ours(ByeReason::Protocol, spread(limits::BYE_PROTOCOL)));
            }
            Err(refusal) => return Err(self.refused(owner.who(), &refusal)),
        };
        let key = match owner {
            Owner::Server(key) => key,
            Owner::Login(user) => ServerKey::new(&user, hello.server_name.as_str()),
        };
        let quota = self.quota_of(&key, now_ms);
        if let Err(wait_ms) = quota.lock().streams.take(1, now_ms) {
            let often = "too many streams of one server";
            shared
                .refusals
                .refuse(Who::Server(key), Reject::Quota, often);
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
            wall_less_boot_ms: now_ms.saturating_sub(shared.clock.boot_ms()),
            quota,
            slot: Slot::new(),
            expected_seq: resume_seq,
            notices: VecDeque::new(),
            batches: (hello.protocol >= PROTOCOL_BATCHES).then(Box::default),
            watch: Watch::new(now_ms),
            drowned: Arc::default(),
            hello,
        };
        let commands = session.enter(message, now_ms)?;
        tracing::debug!(
            server = ?session.key, instance = %session.hello.instance,
            version = %session.hello.version, resume_seq, "agent connected"
        );
        let welcome = Outgoing::Welcome {
            protocol: session.hello.protocol,
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
        if quotas.len() >= live + limits::QUOTAS_SPARE {
            quotas.retain(|_, quota| Arc::strong_count(quota) > 1 || !quota.lock().is_full(now_ms));
        }
        let quota = quotas
            .entry(key.clone())
            .or_insert_with(|| Arc::new(Mutex::new(Quota::new(now_ms))));
        Arc::clone(quota)
    }

    /// Counts a refused message and says how its stream ends.
    fn refused(&self, who: Who, refusal: &Refusal) -> End {
        let (reject, reason) = match refusal {
            Refusal::Undecodable(_) | Refusal::TooLarge(_) | Refusal::Empty => {
                (Reject::Undecodable, ByeReason::Protocol)
            }
            Refusal::OutOfBounds { .. } => (Reject::OutOfBounds, ByeReason::Protocol),
            Refusal::Version(_) => (Reject::Version, ByeReason::Version),
        };
        self.0.refusals.refuse(who, reject, refusal);
        End::Ours(reason, spread(limits::BYE_PROTOCOL))
    }
}

// === impl Owner ===

impl Owner {
    /// By what it is refused.
    fn who(&self) -> Who {
        match self {
            Self::Server(key) => Who::Server(key.clone()),
            Self::Login(user) => Who::Server(ServerKey::new(user, "")),
        }
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

    /// One report of a batch, told whole; the message that brought it was the first's.
    fn unfolded(&mut self, bytes: usize, is_first: bool, now_ms: i64) -> Result<(), u64> {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.reports.take(u64::from(!is_first), now_ms)?;
        self.bytes.take(bytes, now_ms)
    }

    fn is_full(&mut self, now_ms: i64) -> bool {
        self.streams.is_full(now_ms) && self.reports.is_full(now_ms) && self.bytes.is_full(now_ms)
    }
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
    let _ = timeout(limits::BYE_TIMEOUT, down.send(Ok(bye))).await;
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

pub(super) fn fraction() -> f64 {
    let mut bytes = [0; 4];
    // Without randomness they come back together; nothing breaks.
    let _ = getrandom::fill(&mut bytes);
    f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests;
