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
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicUsize, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{
    clock::Clock,
    fact::{Fact, InstanceId, ServerKey},
    limits,
    link::admit::ClockOffset,
    stats::{Count, Limit, Reject, Stats, Unready},
};

pub mod journal;
pub mod row;

use journal::{Journal, JournalError};

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

/// Where streams hand in. Clones share everything.
#[derive(Clone)]
pub struct Inbox(Arc<Shared>);

struct Shared {
    queue: Mutex<Option<SyncSender<Deposit>>>,
    queued: AtomicUsize,
    queued_bytes: AtomicUsize,
    high_water: Mutex<HighWater>,
    checkpoint: AtomicI64,
    stats: Stats,
}

/// The last report on disk of every agent's life.
#[derive(Default)]
struct HighWater(HashMap<ServerKey, Vec<Life>>);

/// How far one life of an agent is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Life {
    instance: InstanceId,
    through_seq: u64,
    /// When that came.
    at_ms: i64,
}

/// What outlives the rows it was learnt from.
#[derive(Debug, Default, PartialEq, Eq)]
struct Marks {
    /// Rows up to here are safe in history.
    checkpoint: i64,
    lives: Vec<(ServerKey, Life)>,
}

/// No room now.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the inbox is full")]
pub struct Full;

/// The inbox's thread.
pub struct Clerk<J> {
    inbox: Inbox,
    incoming: Receiver<Deposit>,
    journal: J,
    onward: SyncSender<Batch>,
    clock: Arc<dyn Clock>,
    stats: Stats,
    torn: HashSet<usize>,
    torn_slots: Vec<Slot>,
    failing: Option<Failing>,
}

/// Since a commit failed.
#[derive(Clone, Copy)]
struct Failing {
    pause: Duration,
    next_try_ms: i64,
}

/// Rows older than needed are deleted this often.
const PRUNE_INTERVAL_MS: i64 = 60_000;

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

// === impl HighWater ===

impl HighWater {
    fn raise(&mut self, key: &ServerKey, instance: InstanceId, through_seq: u64, at_ms: i64) {
        if !self.0.contains_key(key) && self.0.len() >= limits::SERVERS_MAX {
            return; // its agent resends what it keeps; nothing is lost, nothing applied twice
        }
        let lives = self.0.entry(key.clone()).or_default();
        match lives.iter_mut().find(|life| life.instance == instance) {
            Some(life) => {
                life.through_seq = through_seq.max(life.through_seq);
                life.at_ms = at_ms.max(life.at_ms);
            }
            None => {
                if lives.len() >= limits::INSTANCES_PER_SERVER_MAX {
                    lives.remove(0);
                }
                lives.push(Life {
                    instance,
                    through_seq,
                    at_ms,
                });
            }
        }
    }

    fn through_seq(&self, key: &ServerKey, instance: InstanceId) -> Option<u64> {
        let lives = self.0.get(key)?;
        let life = lives.iter().find(|life| life.instance == instance)?;
        Some(life.through_seq)
    }

    /// Forgets lives that were silent since before `before_ms`; gives the others.
    fn sweep(&mut self, before_ms: i64) -> Vec<(ServerKey, Life)> {
        self.0.retain(|_, lives| {
            lives.retain(|life| life.at_ms >= before_ms);
            !lives.is_empty()
        });
        let lives = self.0.iter();
        lives
            .flat_map(|(key, lives)| lives.iter().map(|life| (key.clone(), *life)))
            .collect()
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
        stats.limit_set(Limit::InboxQueue, limits::INBOX_QUEUE);
        stats.limit_set(Limit::InboxBytes, limits::INBOX_BYTES_MAX);
        let inbox = Self(Arc::new(Shared {
            queue: Mutex::new(Some(sender)),
            queued: AtomicUsize::new(0),
            queued_bytes: AtomicUsize::new(0),
            high_water: Mutex::default(),
            checkpoint: AtomicI64::new(0),
            stats: stats.clone(),
        }));
        let clerk = Clerk {
            inbox: inbox.clone(),
            incoming,
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
        let before = shared.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
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
            shared.queued.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        shared.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
        let limit = if room {
            Limit::InboxQueue
        } else {
            Limit::InboxBytes
        };
        shared.stats.limit_dropped(limit);
        Err(Full)
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

// === impl Entry ===

impl Entry {
    fn bytes(&self) -> usize {
        row::entry_bytes(self)
    }
}

// === impl Clerk ===

impl<J: Journal> Clerk<J> {
    /// Hands on everything the journal holds, then an empty live batch. Rows that cannot be read
    /// are counted and skipped.
    ///
    /// # Errors
    /// The journal itself cannot be read.
    pub fn replay(&mut self) -> Result<(), JournalError> {
        let checkpoint = self.recall()?;
        let mut after = 0;
        while let Some(found) = self.journal.read_after(after)? {
            after = found.row;
            let Some(entries) = row::decode(&found.payload, found.crc) else {
                self.stats.reject(Reject::CorruptRow);
                tracing::error!(row = found.row, "a row of the inbox is corrupt and skipped");
                continue;
            };
            let batch = Batch {
                row: Some(found.row),
                origin: Origin::Replayed {
                    in_history: found.row <= checkpoint,
                },
                facts: self.read_entries(&entries),
            };
            if self.onward.send(batch).is_err() {
                return Ok(()); // the pipeline has ended, and so shall we
            }
        }
        let done = Batch {
            row: None,
            origin: Origin::Live,
            facts: Vec::new(),
        };
        let _ = self.onward.send(done); // as above
        Ok(())
    }

    /// Takes in what outlived its rows; gives the checkpoint.
    fn recall(&mut self) -> Result<i64, JournalError> {
        let Some((crc, payload)) = self.journal.marks()? else {
            return Ok(0);
        };
        let Some(marks) = row::decode_marks(&payload, crc) else {
            // Agents resend what they keep, history takes what it has once more: no loss.
            self.stats.reject(Reject::CorruptRow);
            return Ok(0);
        };
        let mut high_water = self.inbox.0.high_water.lock();
        for (key, life) in &marks.lives {
            high_water.raise(key, life.instance, life.through_seq, life.at_ms);
        }
        self.inbox.checkpoint(marks.checkpoint);
        Ok(marks.checkpoint)
    }

    fn read_entries(&self, entries: &[Entry]) -> Vec<Fact> {
        let mut facts = Vec::with_capacity(entries.len());
        for entry in entries {
            let Some((fact, through_seq)) = row::fact_of(entry) else {
                self.stats.reject(Reject::CorruptRow);
                continue;
            };
            if let Some(seq) = through_seq {
                let mut high_water = self.inbox.0.high_water.lock();
                high_water.raise(&entry.key, entry.instance, seq, entry.arrived_ms);
            }
            facts.push(fact);
        }
        facts
    }

    /// Commits and hands on until the inbox is closed.
    pub fn run(mut self) {
        let mut gathered = Vec::new();
        let mut last_commit_ms = 0;
        let mut last_prune_ms = self.clock.now_ms();
        loop {
            let open = self.gather(&mut gathered, last_commit_ms);
            let now_ms = self.clock.now_ms();
            if !gathered.is_empty() || self.retry_is_due(now_ms) {
                last_commit_ms = now_ms;
                if !self.settle(std::mem::take(&mut gathered), now_ms) {
                    return;
                }
            }
            if !open {
                self.tidy(now_ms);
                return;
            }
            if now_ms - last_prune_ms >= PRUNE_INTERVAL_MS && self.failing.is_none() {
                last_prune_ms = now_ms;
                self.tidy(now_ms);
            }
        }
    }

    /// Waits for the first deposit, then takes what comes until a commit is due. False when the
    /// inbox is closed and empty.
    fn gather(&mut self, gathered: &mut Vec<Deposit>, last_commit_ms: i64) -> bool {
        let interval_ms = i64::try_from(limits::COMMIT_INTERVAL.as_millis()).unwrap_or(i64::MAX);
        let mut bytes = 0;
        loop {
            let now_ms = self.clock.now_ms();
            let due_ms = last_commit_ms
                .saturating_add(interval_ms)
                .min(now_ms + interval_ms);
            let wait_ms = if gathered.is_empty() {
                // Nothing to commit: look at retries and pruning now and then.
                interval_ms
            } else {
                due_ms - now_ms
            };
            if !gathered.is_empty() && (wait_ms <= 0 || bytes >= limits::ROW_BYTES_MAX) {
                // What is already there shares the commit.
                while bytes < limits::ROW_BYTES_MAX
                    && let Ok(deposit) = self.incoming.try_recv()
                {
                    bytes += self.took(&deposit);
                    gathered.push(deposit);
                }
                return true;
            }
            let wait = Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0));
            match self.incoming.recv_timeout(wait) {
                Ok(deposit) => {
                    bytes += self.took(&deposit);
                    gathered.push(deposit);
                }
                Err(RecvTimeoutError::Timeout) if gathered.is_empty() => return true,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
    }

    fn took(&self, deposit: &Deposit) -> usize {
        let shared = &self.inbox.0;
        let bytes = deposit.entry.bytes();
        shared.queued.fetch_sub(1, Ordering::Relaxed);
        shared.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
        bytes
    }

    /// Commits, gives receipts, hands on. False when nobody takes the facts any more.
    fn settle(&mut self, deposits: Vec<Deposit>, now_ms: i64) -> bool {
        let shared = &self.inbox.0;
        self.stats
            .limit_now(Limit::InboxQueue, shared.queued.load(Ordering::Relaxed));
        self.stats.limit_now(
            Limit::InboxBytes,
            shared.queued_bytes.load(Ordering::Relaxed),
        );
        let row = if self.failing.is_none() || self.retry_is_due(now_ms) {
            self.commit(&deposits, now_ms)
        } else {
            None
        };
        match row {
            Some(_) => self.acknowledge(&deposits),
            None => self.tear(&deposits),
        }
        let facts: Vec<Fact> = deposits.into_iter().map(|d| d.fact).collect();
        facts.is_empty()
            || self
                .onward
                .send(Batch {
                    row,
                    origin: Origin::Live,
                    facts,
                })
                .is_ok()
    }

    fn commit(&mut self, deposits: &[Deposit], now_ms: i64) -> Option<i64> {
        let whole = deposits
            .iter()
            .filter(|d| !self.torn.contains(&d.slot.id()));
        let (payload, crc) = row::encode(whole.map(|d| &d.entry));
        match self.journal.append(now_ms, crc, &payload) {
            Ok(row) => {
                self.stats.count(Count::Commits);
                if self.failing.take().is_some() {
                    tracing::info!("the inbox can be written again");
                    self.stats.set_unready(Unready::Journal, false);
                }
                Some(row)
            }
            Err(e) => {
                self.stats.count(Count::CommitFailures);
                self.stats.set_unready(Unready::Journal, true);
                let pause = self
                    .failing
                    .map_or(limits::RETRY_MIN, |f| (f.pause * 2).min(limits::RETRY_MAX));
                let pause_ms = i64::try_from(pause.as_millis()).unwrap_or(i64::MAX);
                self.failing = Some(Failing {
                    pause,
                    next_try_ms: now_ms.saturating_add(pause_ms),
                });
                tracing::error!(error = %e, pause_ms, "the inbox cannot be written: no receipts");
                None
            }
        }
    }

    fn acknowledge(&mut self, deposits: &[Deposit]) {
        {
            let mut high_water = self.inbox.0.high_water.lock();
            for deposit in deposits {
                if self.torn.contains(&deposit.slot.id()) {
                    continue;
                }
                if let Some(seq) = deposit.through_seq {
                    let entry = &deposit.entry;
                    high_water.raise(&entry.key, entry.instance, seq, entry.arrived_ms);
                }
            }
        }
        for deposit in deposits {
            if let Some(seq) = deposit.through_seq
                && !self.torn.contains(&deposit.slot.id())
            {
                deposit.slot.0.send_if_modified(|receipt| {
                    let newer = seq > receipt.through_seq;
                    receipt.through_seq = seq.max(receipt.through_seq);
                    newer
                });
            }
        }
        // The journal works: torn streams may resend. A stream keeps its mark until it is gone,
        // so nothing it still has under way is taken for whole.
        for slot in &self.torn_slots {
            slot.0
                .send_if_modified(|receipt| !std::mem::replace(&mut receipt.torn, true));
        }
        self.forget_ended_slots();
    }

    /// Slots that only we hold: their streams are gone, with all they had under way.
    fn forget_ended_slots(&mut self) {
        let torn = &mut self.torn;
        self.torn_slots.retain(|slot| {
            let alive = Arc::strong_count(&slot.0) > 1;
            if !alive {
                torn.remove(&slot.id());
            }
            alive
        });
    }

    fn tear(&mut self, deposits: &[Deposit]) {
        self.forget_ended_slots();
        for deposit in deposits {
            if self.torn.insert(deposit.slot.id()) {
                self.torn_slots.push(deposit.slot.clone());
            }
        }
    }

    fn retry_is_due(&self, now_ms: i64) -> bool {
        self.failing.is_some_and(|f| now_ms >= f.next_try_ms)
    }

    /// Writes down what must outlive its rows, and deletes rows that nobody needs any more.
    fn tidy(&mut self, now_ms: i64) {
        let marks = Marks {
            checkpoint: self.inbox.0.checkpoint.load(Ordering::Relaxed),
            lives: {
                let mut high_water = self.inbox.0.high_water.lock();
                high_water.sweep(now_ms - limits::LIVES_KEPT_MS)
            },
        };
        let (payload, crc) = row::encode_marks(&marks);
        let before_ms = now_ms - limits::ROWS_KEPT_MS;
        let tidied = self
            .journal
            .set_marks(crc, &payload)
            .and_then(|()| self.journal.prune(marks.checkpoint, before_ms));
        if let Err(e) = tidied {
            tracing::warn!(error = %e, "old rows of the inbox are not deleted");
        }
    }
}

#[cfg(test)]
mod tests;
