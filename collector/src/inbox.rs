//! Commit, then receipt.
//!
//! Every message that changes what is true is written to the journal before anybody is told that
//! it arrived, and only then handed on. One thread owns the journal; it commits what has gathered
//! at most every [`limits::COMMIT_INTERVAL`].
//!
//! Promises:
//! * A receipt covers only reports whose bytes are in a commit that returned.
//! * Facts are handed on in the order of the journal, each with its row.
//! * When the journal fails, receipts stop and facts still go on. A stream that lost a message to
//!   the failure is *torn*: nothing of it is committed or acknowledged any more until it comes
//!   back and resends from the last receipt.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicUsize, Ordering},
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{
    clock::Clock,
    fact::{Fact, InstanceId, ServerKey},
    limits,
    link::admit::ClockOffset,
    pressure::Pressure,
    stats::{Limit, Stats},
};

pub mod clerk;
pub mod journal;
mod marks;
pub mod people;
pub mod row;

use clerk::Clerk;
use journal::Journal;
use marks::HighWater;
use people::Order;

/// A message as it is kept: who sent it, when it came, its bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Whose.
    pub key: ServerKey,
    /// Which life of the agent.
    pub instance: InstanceId,
    /// When it came, by our clock.
    pub arrived_ms: i64,
    /// How its times map to ours.
    pub clock: ClockOffset,
    /// What came.
    pub body: Body,
}

/// What came.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// A message, byte for byte.
    Message(Bytes),
    /// The end of the stream.
    Ended {
        /// Whether the agent said Bye.
        farewell: bool,
    },
    /// The collector began; the entry is nobody's.
    Started,
    /// From now on the agent may hold reports back for so long.
    Paced {
        /// 0 for not at all.
        hold_ms: u32,
    },
}

/// What a stream hands in.
#[derive(Debug)]
pub struct Deposit {
    /// To be kept.
    pub entry: Entry,
    /// What it means.
    pub fact: Fact,
    /// The last report it covers; `None` for what has no number.
    pub through_seq: Option<u64>,
    /// Where its stream looks for receipts.
    pub slot: Slot,
}

/// Where a stream looks for receipts: newer ones replace older ones.
#[derive(Clone, Debug)]
pub struct Slot(Arc<watch::Sender<Receipt>>);

/// What the slot holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// Everything up to here is on disk; 0 before the first.
    pub through_seq: u64,
    /// Something was lost to a failing journal, which works again now: come back and resend.
    pub torn: bool,
}

/// Facts with the row that holds them.
#[derive(Debug)]
pub struct Batch {
    /// The journal's row; `None` when the journal failed, or for what is not kept there.
    pub row: Option<i64>,
    /// Where they come from.
    pub origin: Origin,
    /// What happened, in order.
    pub facts: Vec<Fact>,
}

/// Where facts come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// They happened just now.
    Live,
    /// They were read from the journal at the start.
    Replayed {
        /// History had them safe before the start.
        in_history: bool,
    },
}

/// Up to when everything that came was handed on. Whoever judges silence looks at it: what waits for
/// a slow disk was not silent. Without a clerk at work nothing waits.
#[derive(Clone, Debug)]
pub struct CaughtUp(Arc<AtomicI64>);

/// Where streams hand in. Clones share everything.
#[derive(Clone)]
pub struct Inbox(Arc<Shared>);

struct Shared {
    queue: Mutex<Option<SyncSender<Deposit>>>,
    orders: SyncSender<Order>,
    queued: AtomicUsize,
    queued_bytes: AtomicUsize,
    high_water: Mutex<HighWater>,
    checkpoint: AtomicI64,
    caught_up: CaughtUp,
    pressure: Pressure,
    stats: Stats,
}

/// No room now.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the inbox is full")]
pub struct Full;

// === impl Slot ===

impl Slot {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Receipt::default())))
    }

    /// Follows it.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Receipt> {
        self.0.subscribe()
    }

    fn id(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }
}

impl Default for Slot {
    fn default() -> Self {
        Self::new()
    }
}

// === impl Inbox ===

impl Inbox {
    /// An inbox and the clerk that serves it: run the clerk on a thread of its own.
    pub fn new<J: Journal>(
        journal: J,
        onward: SyncSender<Batch>,
        clock: Arc<dyn Clock>,
        stats: Stats,
    ) -> (Self, Clerk<J>) {
        let (sender, incoming) = sync_channel(limits::INBOX_QUEUE);
        let (orders, asked) = people::orders();
        stats.limit_set(Limit::InboxQueue, limits::INBOX_QUEUE);
        stats.limit_set(Limit::InboxBytes, limits::INBOX_BYTES_MAX);
        let inbox = Self(Arc::new(Shared {
            queue: Mutex::new(Some(sender)),
            orders,
            queued: AtomicUsize::new(0),
            queued_bytes: AtomicUsize::new(0),
            high_water: Mutex::default(),
            checkpoint: AtomicI64::new(0),
            caught_up: CaughtUp::default(),
            pressure: Pressure::new(stats.clone()),
            stats: stats.clone(),
        }));
        let clerk = Clerk {
            inbox: inbox.clone(),
            incoming,
            asked,
            journal,
            onward,
            clock,
            stats,
            torn: HashSet::new(),
            torn_slots: Vec::new(),
            failing: None,
        };
        (inbox, clerk)
    }

    /// Hands in; never waits.
    ///
    /// # Errors
    /// There is no room, or the collector is stopping.
    pub fn deposit(&self, deposit: Deposit) -> Result<(), Full> {
        let shared = &self.0;
        let bytes = deposit.entry.bytes();
        // Before it is there: whoever takes it out at once must find it counted.
        let before = shared.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        shared.queued.fetch_add(1, Ordering::Relaxed);
        let room = before + bytes <= limits::INBOX_BYTES_MAX;
        let sent = room
            && match &*shared.queue.lock() {
                Some(queue) => match queue.try_send(deposit) {
                    Ok(()) => true,
                    Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
                },
                None => false,
            };
        if sent {
            return Ok(());
        }
        shared.queued.fetch_sub(1, Ordering::Relaxed);
        shared.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
        let limit = if room {
            Limit::InboxQueue
        } else {
            Limit::InboxBytes
        };
        shared.stats.limit_dropped(limit);
        Err(Full)
    }

    /// Up to when everything that came was handed on.
    #[must_use]
    pub fn caught_up(&self) -> CaughtUp {
        self.0.caught_up.clone()
    }

    /// What is given up because it is full.
    #[must_use]
    pub fn pressure(&self) -> &Pressure {
        &self.0.pressure
    }

    /// Judges for ever how full it is.
    pub async fn watch_pressure(&self, clock: &dyn Clock) {
        loop {
            tokio::time::sleep(limits::SHED_LOOK_INTERVAL).await;
            self.0.pressure.look(self.percent(), clock.now_ms());
        }
    }

    /// How full it is: by number or by bytes, whichever is more.
    fn percent(&self) -> usize {
        let shared = &self.0;
        let queued = shared.queued.load(Ordering::Relaxed);
        let bytes = shared.queued_bytes.load(Ordering::Relaxed);
        (queued * 100 / limits::INBOX_QUEUE).max(bytes * 100 / limits::INBOX_BYTES_MAX)
    }

    /// The last report of this life that is on disk; `None` when none is.
    #[must_use]
    pub fn through_seq(&self, key: &ServerKey, instance: InstanceId) -> Option<u64> {
        self.0.high_water.lock().through_seq(key, instance)
    }

    /// Everything up to `row` is safe elsewhere; the journal may forget it when it is old enough.
    pub fn checkpoint(&self, row: i64) {
        self.0.checkpoint.fetch_max(row, Ordering::Relaxed);
    }

    /// Takes no more; the clerk commits what is there and ends.
    pub fn close(&self) {
        self.0.queue.lock().take();
    }
}

// === impl CaughtUp ===

impl CaughtUp {
    /// Up to when, besides what batches tell themselves.
    #[must_use]
    pub fn through_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }

    fn note(&self, through_ms: i64) {
        self.0.store(through_ms, Ordering::SeqCst);
    }
}

impl Default for CaughtUp {
    fn default() -> Self {
        Self(Arc::new(AtomicI64::new(i64::MAX)))
    }
}

// === impl Entry ===

impl Entry {
    /// That the collector began at `at_ms`.
    fn started(at_ms: i64) -> Self {
        Self {
            key: ServerKey::new("", ""),
            instance: InstanceId([0; 16]),
            arrived_ms: at_ms,
            clock: ClockOffset::NONE,
            body: Body::Started,
        }
    }

    fn bytes(&self) -> usize {
        row::entry_bytes(self)
    }
}

#[cfg(test)]
mod tests;
