//! The inbox's thread: gathers, commits, gives receipts, hands on; replays at the start.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{Receiver, RecvTimeoutError, SyncSender},
    },
    time::Duration,
};

use super::{
    Batch, Deposit, Entry, Inbox, Origin, Slot,
    journal::{Journal, JournalError},
    marks::Marks,
    people::{self, Order},
    row,
};
use crate::{
    causes::chain,
    clock::{Clock, Step, Steps},
    fact::Fact,
    limits,
    person::PeopleMove,
    stats::{Count, Limit, Reject, Stats, Unready},
};

/// The inbox's thread.
pub struct Clerk<J> {
    pub(super) inbox: Inbox,
    pub(super) incoming: Receiver<Deposit>,
    pub(super) asked: Receiver<Order>,
    pub(super) journal: J,
    pub(super) onward: SyncSender<Batch>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) stats: Stats,
    pub(super) torn: HashSet<usize>,
    pub(super) torn_slots: Vec<Slot>,
    pub(super) failing: Option<Failing>,
}

/// Since a commit failed.
#[derive(Clone, Copy)]
pub(super) struct Failing {
    pub(super) pause: Duration,
    /// By the clock since boot: the other one may be set back by years.
    pub(super) next_try_boot_ms: i64,
}

/// Missing rows counted at once, at most: more than that is a number that is damaged itself.
const MISSED_MAX: i64 = 1_000;

/// Rows older than needed are deleted this often.
const PRUNE_INTERVAL_MS: i64 = 60_000;

// === impl Clerk ===

impl<J: Journal> Clerk<J> {
    /// Hands on everything the journal holds, then, live, that the collector began. Rows that
    /// cannot be read are counted and skipped.
    ///
    /// # Errors
    /// The journal itself cannot be read.
    pub fn replay(&mut self) -> Result<(), JournalError> {
        let checkpoint = self.recall()?;
        let mut after = 0;
        while let Some(found) = self.journal.read_after(after)? {
            // Rows up to the checkpoint may have been deleted, from the first on.
            let before = if after > 0 { after } else { checkpoint };
            self.miss(before + 1, found.row);
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
            self.stats.limit_more(Limit::FactQueue);
            if self.onward.send(batch).is_err() {
                return Ok(()); // the pipeline has ended, and so shall we
            }
        }
        let newest = self.journal.newest()?;
        self.miss(after.max(checkpoint) + 1, newest.saturating_add(1));
        let at_ms = self.clock.now_ms();
        let began = Batch {
            // Where nothing was before, nothing was missed.
            row: if after > 0 {
                self.note_start(at_ms)
            } else {
                None
            },
            origin: Origin::Live,
            facts: vec![Fact::Started { at_ms }],
        };
        self.stats.limit_more(Limit::FactQueue);
        let _ = self.onward.send(began); // as above
        Ok(())
    }

    /// Counts rows that should be there, from `from` to before `to`.
    fn miss(&self, from: i64, to: i64) {
        if from >= to {
            return;
        }
        for _ in from..to.min(from.saturating_add(MISSED_MAX)) {
            self.stats.reject(Reject::CorruptRow);
        }
        tracing::error!(from, to = to - 1, "rows of the inbox are missing");
    }

    /// Time did not just pass: as at a start, what happened meanwhile nobody saw, and nothing that
    /// is known happened later than now. False when nobody takes facts any more.
    fn note_step(&mut self, step: Step, at_ms: i64) -> bool {
        match step {
            Step::Set { by_ms } => tracing::warn!(by_ms, "the clock was set"),
            Step::Slept { for_ms } => tracing::warn!(for_ms, "nothing ran for a while"),
        }
        let began = Batch {
            row: self.note_start(at_ms),
            origin: Origin::Live,
            facts: vec![Fact::Started { at_ms }],
        };
        self.stats.limit_more(Limit::FactQueue);
        self.onward.send(began).is_ok()
    }

    /// So that a later replay knows when nobody was watching.
    fn note_start(&mut self, at_ms: i64) -> Option<i64> {
        let (payload, crc) = row::encode([&Entry::started(at_ms)].into_iter());
        match self.journal.append(at_ms, crc, &payload) {
            Ok(row) => Some(row),
            Err(e) => {
                // Agents' messages will meet the same, and are kept back until it works.
                tracing::error!(error = %e, "the start is not noted in the inbox");
                None
            }
        }
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
        let mut last_commit_boot_ms = 0;
        let mut last_prune_boot_ms = self.clock.boot_ms();
        let mut steps = Steps::new(&*self.clock);
        self.inbox.0.caught_up.note(self.clock.now_ms());
        loop {
            let open = self.gather(&mut gathered, last_commit_boot_ms);
            let now_ms = self.clock.now_ms();
            if let Some(step) = steps.look(&*self.clock)
                && !self.note_step(step, now_ms)
            {
                return;
            }
            let boot_ms = self.clock.boot_ms();
            if gathered.is_empty() {
                self.inbox.0.caught_up.note(now_ms);
            }
            if !gathered.is_empty() || self.retry_is_due() {
                last_commit_boot_ms = boot_ms;
                if !self.settle(std::mem::take(&mut gathered), now_ms) {
                    return;
                }
            }
            if !open {
                self.tidy(now_ms);
                return;
            }
            if !self.obey(now_ms) {
                return;
            }
            if boot_ms - last_prune_boot_ms >= PRUNE_INTERVAL_MS && self.failing.is_none() {
                last_prune_boot_ms = boot_ms;
                self.tidy(now_ms);
            }
        }
    }

    /// Waits for the first deposit, then takes what comes until a commit is due. False when the
    /// inbox is closed and empty.
    fn gather(&mut self, gathered: &mut Vec<Deposit>, last_commit_boot_ms: i64) -> bool {
        let interval_ms = i64::try_from(limits::COMMIT_INTERVAL.as_millis()).unwrap_or(i64::MAX);
        let mut bytes = 0;
        loop {
            let boot_ms = self.clock.boot_ms();
            let due_boot_ms = last_commit_boot_ms.saturating_add(interval_ms);
            let wait_ms = if gathered.is_empty() {
                // Nothing to commit: look at retries and pruning now and then.
                interval_ms
            } else {
                due_boot_ms - boot_ms
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

    /// Does what was asked for meanwhile. False when nobody takes facts any more.
    fn obey(&mut self, now_ms: i64) -> bool {
        while let Ok(order) = self.asked.try_recv() {
            // Nobody waits for the answer any more: it is done all the same.
            match order {
                Order::Count { fates, done } => {
                    let _ = done.send(people::count(&mut self.journal, &fates));
                }
                Order::Squeeze { done } => {
                    let _ = done.send(self.journal.squeeze());
                }
                Order::Move { people, done } => {
                    // What was handed in before comes before.
                    let mut before = Vec::new();
                    while let Ok(deposit) = self.incoming.try_recv() {
                        self.took(&deposit);
                        before.push(deposit);
                    }
                    if !before.is_empty() && !self.settle(before, now_ms) {
                        return false;
                    }
                    let moved = self.move_people(people, now_ms);
                    let _ = done.send(moved);
                }
            }
        }
        true
    }

    fn move_people(&mut self, people: PeopleMove, now_ms: i64) -> Result<u64, JournalError> {
        let touched = people::rewrite(&mut self.journal, people.fates())?;
        self.inbox.0.high_water.lock().move_people(people.fates());
        self.tidy(now_ms);
        self.stats.limit_more(Limit::FactQueue);
        let batch = Batch {
            row: None,
            origin: Origin::Live,
            facts: vec![Fact::People {
                at_ms: now_ms,
                people,
            }],
        };
        let _ = self.onward.send(batch); // the pipeline has ended: the next start does it
        Ok(touched)
    }

    fn took(&self, deposit: &Deposit) -> usize {
        let shared = &self.inbox.0;
        let bytes = deposit.entry.bytes();
        shared.queued.fetch_sub(1, Ordering::Relaxed);
        shared.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
        bytes
    }

    /// Commits, gives receipts, hands on. False when nobody takes the facts any more. [`Self::run`]
    /// does it with what has gathered; tests do it with what they have.
    pub fn settle(&mut self, deposits: Vec<Deposit>, now_ms: i64) -> bool {
        let shared = &self.inbox.0;
        self.stats
            .limit_now(Limit::InboxQueue, shared.queued.load(Ordering::Relaxed));
        self.stats.limit_now(
            Limit::InboxBytes,
            shared.queued_bytes.load(Ordering::Relaxed),
        );
        let row = if self.failing.is_none() || self.retry_is_due() {
            self.commit(&deposits, now_ms)
        } else {
            None
        };
        match row {
            Some(_) => self.acknowledge(&deposits),
            None => self.tear(&deposits),
        }
        let facts: Vec<Fact> = deposits.into_iter().map(|d| d.fact).collect();
        if facts.is_empty() {
            return true;
        }
        self.stats.limit_more(Limit::FactQueue);
        let batch = Batch {
            row,
            origin: Origin::Live,
            facts,
        };
        self.onward.send(batch).is_ok()
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
                    self.stats.set_trouble(Unready::Journal, None);
                }
                Some(row)
            }
            Err(e) => {
                self.stats.count(Count::CommitFailures);
                self.stats.set_trouble(Unready::Journal, Some(chain(&e)));
                let pause = self
                    .failing
                    .map_or(limits::RETRY_MIN, |f| (f.pause * 2).min(limits::RETRY_MAX));
                let pause_ms = i64::try_from(pause.as_millis()).unwrap_or(i64::MAX);
                self.failing = Some(Failing {
                    pause,
                    next_try_boot_ms: self.clock.boot_ms().saturating_add(pause_ms),
                });
                tracing::error!(
                    error = chain(&e),
                    pause_ms,
                    "the inbox cannot be written: no receipts"
                );
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

    fn retry_is_due(&self) -> bool {
        let boot_ms = self.clock.boot_ms();
        self.failing.is_some_and(|f| boot_ms >= f.next_try_boot_ms)
    }

    /// Writes down what must outlive its rows, and deletes rows that nobody needs any more.
    pub fn tidy(&mut self, now_ms: i64) {
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
