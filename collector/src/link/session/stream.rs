//! A stream past Hello: its messages to the inbox, receipts and notices to its agent.
//!
//! The loop never waits for the inbox, the disk or the peer's socket: what has no room ends the
//! stream with a Bye that says when to come back.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use hubmeter_proto::limits as wire;
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, mpsc, watch},
    time::{Instant, sleep_until},
};
use tokio_stream::StreamExt as _;

use super::{
    Command, Down, End, Live, Messages, Quota, Sessions, Watch, after, pacing::Pacing, spread,
};
use crate::{
    fact::ServerKey,
    inbox::{self, Body, Deposit, Entry, Receipt, Slot, row},
    limits,
    link::{
        admit::{
            self, Batches, ByeReason, ClockOffset, Hello, Incoming, Notice, Outgoing, Refusal,
        },
        refusals::Who,
    },
    pressure::Level,
    stats::{Count, Limit, Reject},
};

/// A stream past Hello.
pub(super) struct Session {
    pub(super) sessions: Sessions,
    pub(super) id: u64,
    pub(super) key: ServerKey,
    pub(super) hello: Hello,
    pub(super) clock: ClockOffset,
    /// Our wall clock less our clock since boot, as the offset has it.
    pub(super) wall_less_boot_ms: i64,
    pub(super) quota: Arc<Mutex<Quota>>,
    pub(super) slot: Slot,
    /// The number the next report must have.
    pub(super) expected_seq: u64,
    pub(super) notices: VecDeque<Box<Notice>>,
    /// Reads what is told as differences; `None` in protocol 1.
    pub(super) batches: Option<Box<Batches>>,
    pub(super) watch: Watch,
    /// Whoever has the end of an order to say finds no room for it.
    pub(super) drowned: Arc<Notify>,
}

/// Why a batch was not read to its end.
enum Unread {
    Refused(Refusal),
    Ended(End),
}

// === impl Session ===

impl Session {
    /// Takes the server's place in the registry, hands in the Hello, and ends the stream that was
    /// there before.
    pub(super) fn enter(
        &mut self,
        hello: Bytes,
        now_ms: i64,
    ) -> Result<mpsc::Receiver<Command>, End> {
        let shared = Arc::clone(&self.sessions.0);
        let (commands, receiver) = mpsc::channel(limits::NOTICES_QUEUED_MAX);
        let mut live = shared.live.lock();
        if live.len() >= shared.settings.streams_max && !live.contains_key(&self.key) {
            shared.stats.limit_dropped(Limit::Sessions);
            self.refuse(Reject::Sessions, "as many streams as may be are live");
            return Err(End::Ours(ByeReason::Busy, spread(limits::BYE_BUSY)));
        }
        // Under the lock, so that the facts of two streams of a server keep their order.
        let message = Incoming::Hello(self.hello.clone());
        self.deposit(Body::Message(hello), Some(message), now_ms)?;
        let this = Live {
            id: self.id,
            commands,
            watch: self.watch.clone(),
            drowned: self.drowned.clone(),
        };
        if let Some(before) = live.insert(self.key.clone(), this) {
            self.refuse(Reject::Superseded, "a newer stream took over");
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
    pub(super) fn leave(&mut self, end: &End) {
        while self.unqueue().is_some() {}
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

    pub(super) async fn live(
        &mut self,
        messages: &mut impl Messages,
        mut commands: mpsc::Receiver<Command>,
        down: &Down,
    ) -> End {
        let mut receipts = self.slot.subscribe();
        let interval = Duration::from_millis(self.hello.interval_ms.into());
        let patience = interval * 3 + limits::SILENCE_SLACK;
        let mut silent_at = Instant::now() + patience;
        let mut receipt_due: Option<u64> = None;
        let mut pressure = self.sessions.0.inbox.pressure().subscribe();
        // What Welcome said; more is said when it changes, to those who come later at once.
        let mut pacing = Pacing::welcomed(self.pace_ms(Level::Calm));
        pacing.want_interval(self.pace_ms(*pressure.borrow_and_update()));
        let (watch, drowned) = (self.watch.clone(), self.drowned.clone());
        loop {
            let due = receipt_due.is_some() || pacing.is_news() || !self.notices.is_empty();
            let looked_at = self.watch.left_ms(self.sessions.0.clock.now_ms());
            let unwatched_at = Instant::now() + Duration::from_millis(looked_at);
            tokio::select! {
                message = messages.next() => {
                    let Some(Ok(bytes)) = message else { return End::Cut };
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
                Ok(()) = pressure.changed() => {
                    pacing.want_interval(self.pace_ms(*pressure.borrow_and_update()));
                }
                command = commands.recv() => match command {
                    Some(Command::Notice(notice)) => if let Err(end) = self.queue(notice) {
                        return end;
                    },
                    Some(Command::End(reason)) => return End::Ours(reason, after(reason)),
                    // Replaced in the registry before we looked.
                    None => return End::Ours(ByeReason::Superseded, Duration::ZERO),
                },
                () = drowned.notified() => return self.drowned(),
                () = watch.begun() => if let Err(end) = self.let_hold(&mut pacing) {
                    return end;
                },
                () = sleep_until(unwatched_at), if self.may_hold(&pacing) => {
                    if let Err(end) = self.let_hold(&mut pacing) {
                        return end;
                    }
                }
                () = sleep_until(silent_at) => {
                    self.refuse(Reject::Silent, "nothing came for too long");
                    return End::Ours(ByeReason::Silent, Duration::ZERO);
                }
                // A peer that does not read costs one receipt and a few notices.
                permit = down.reserve(), if due => {
                    let Ok(permit) = permit else { return End::Cut };
                    if let Some(next) = self.say(&mut receipt_due, &mut pacing) {
                        permit.send(Ok(next));
                    }
                }
            }
        }
    }

    /// What to say next, receipts before all else.
    fn say(&mut self, receipt_due: &mut Option<u64>, pacing: &mut Pacing) -> Option<Outgoing> {
        if let Some(through_seq) = receipt_due.take() {
            return Some(Outgoing::Receipt { through_seq });
        }
        pacing
            .tell()
            .or_else(|| self.unqueue().map(Outgoing::Notice))
    }

    /// Takes one message; gives the number to acknowledge at once when nothing new is in it.
    fn take(&mut self, bytes: Bytes) -> Result<Option<u64>, End> {
        let shared = Arc::clone(&self.sessions.0);
        let now_ms = shared.clock.now_ms();
        if let Err(wait_ms) = self.quota.lock().message(bytes.len(), now_ms) {
            self.refuse(Reject::Quota, "too much at once");
            return Err(End::Ours(ByeReason::Quota, Duration::from_millis(wait_ms)));
        }
        self.follow_clock(now_ms);
        let message = admit::read(&bytes, now_ms, self.clock)
            .map_err(|refusal| self.sessions.refused(self.who(), &refusal))?;
        self.clock = self.clock.heard(&message, now_ms);
        if let Incoming::Batch(batch) = &message {
            return self.take_batch(batch, now_ms);
        }
        if let Incoming::Activity(_) | Incoming::Shown(_) = &message {
            self.deposit(Body::Message(bytes), Some(message), now_ms)?;
            return Ok(None);
        }
        if let Some(batches) = &mut self.batches {
            batches.interrupt();
        }
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
            Incoming::Bye | Incoming::Batch(_) => return Err(End::Farewell),
            Incoming::Activity(_) | Incoming::Shown(_) => return Ok(None),
            Incoming::Hello(_) => return Err(self.unexpected("a second Hello")),
        };
        if through_seq < self.expected_seq {
            return Ok(self.known_already(through_seq));
        }
        if from_seq > self.expected_seq {
            return Err(self.unexpected("a report before the ones it follows"));
        }
        self.deposit(Body::Message(bytes), Some(message), now_ms)?;
        self.expected_seq = through_seq.saturating_add(1);
        Ok(None)
    }

    /// Where our clock was set since Hello, the agent's times are told by the new one.
    fn follow_clock(&mut self, now_ms: i64) {
        let wall_less_boot_ms = now_ms.saturating_sub(self.sessions.0.clock.boot_ms());
        let set_by_ms = wall_less_boot_ms.saturating_sub(self.wall_less_boot_ms);
        if set_by_ms.saturating_abs() >= limits::CLOCK_SET_MS_MIN {
            self.clock.offset_ms = self.clock.offset_ms.saturating_add(set_by_ms);
            self.wall_less_boot_ms = wall_less_boot_ms;
        }
    }

    /// Takes the reports of a batch one by one, as if each had come alone.
    fn take_batch(&mut self, batch: &Bytes, now_ms: i64) -> Result<Option<u64>, End> {
        let Some(mut batches) = self.batches.take() else {
            return Err(self.unexpected("a batch in protocol 1"));
        };
        let stats = self.sessions.0.stats.clone();
        let (from_seq, when) = (self.expected_seq, (now_ms, self.clock));
        let read = batches.read(batch, from_seq, when, |report| {
            // Told whole it may be much more than what came.
            let is_first = report.seq == from_seq;
            let bytes = report.message.len();
            if let Err(wait_ms) = self.quota.lock().unfolded(bytes, is_first, now_ms) {
                self.refuse(Reject::Quota, "too much at once");
                let wait = Duration::from_millis(wait_ms);
                return Err(Unread::Ended(End::Ours(ByeReason::Quota, wait)));
            }
            stats.count(Count::Reports);
            stats.add(Count::Samples, 1);
            self.clock = self.clock.heard(&report.incoming, now_ms);
            self.deposit(Body::Message(report.message), Some(report.incoming), now_ms)
                .map_err(Unread::Ended)?;
            self.expected_seq = report.seq.saturating_add(1);
            Ok(())
        });
        self.batches = Some(batches);
        let through_seq = read.map_err(|unread| match unread {
            Unread::Refused(refusal) => self.sessions.refused(self.who(), &refusal),
            Unread::Ended(end) => end,
        })?;
        if through_seq < from_seq {
            return Ok(self.known_already(through_seq));
        }
        Ok(None)
    }

    /// What is on disk may be acknowledged; what is under way will be.
    fn known_already(&self, through_seq: u64) -> Option<u64> {
        let shared = &self.sessions.0;
        shared.stats.reject(Reject::Duplicate);
        let on_disk = shared.inbox.through_seq(&self.key, self.hello.instance);
        on_disk.filter(|through| *through >= through_seq)
    }

    /// Whether the agent can hold reports back and does not yet.
    fn may_hold(&self, pacing: &Pacing) -> bool {
        self.batches.is_some() && pacing.hold_ms() == 0
    }

    /// Gives the agent leave to hold reports back when nobody looks, and takes it back when
    /// somebody does.
    fn let_hold(&self, pacing: &mut Pacing) -> Result<(), End> {
        let now_ms = self.sessions.0.clock.now_ms();
        // Somebody may have looked again while we waited for the end of the last look.
        let hold_ms = match self.watch.left_ms(now_ms) {
            0 => u32::try_from(limits::HOLD.as_millis()).unwrap_or(0),
            _ => 0,
        };
        if self.batches.is_none() || pacing.hold_ms() == hold_ms {
            return Ok(());
        }
        pacing.want_hold(hold_ms);
        self.deposit(Body::Paced { hold_ms }, None, now_ms)
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
            self.refuse(Reject::InboxFull, "the inbox is full");
            End::Ours(ByeReason::Busy, spread(limits::BYE_BUSY))
        })
    }

    fn queue(&mut self, notice: Box<Notice>) -> Result<(), End> {
        if self.notices.len() >= limits::NOTICES_QUEUED_MAX {
            let lost = self.unqueue();
            self.sessions.0.stats.limit_dropped(Limit::Notices);
            if lost.is_some_and(|lost| lost.may_end_order()) {
                return Err(self.drowned());
            }
        }
        self.sessions.0.stats.limit_more(Limit::Notices);
        self.notices.push_back(notice);
        Ok(())
    }

    /// An order whose end cannot be said ends with the stream.
    fn drowned(&self) -> End {
        tracing::info!(server = ?self.key, "a notice that may end an order has no room: the stream ends");
        End::Ours(ByeReason::Busy, spread(limits::BYE_BUSY))
    }

    fn unqueue(&mut self) -> Option<Box<Notice>> {
        let notice = self.notices.pop_front()?;
        self.sessions.0.stats.limit_less(Limit::Notices);
        Some(notice)
    }

    fn who(&self) -> Who {
        Who::Server(self.key.clone())
    }

    fn refuse(&self, reason: Reject, detail: &'static str) {
        self.sessions.0.refusals.refuse(self.who(), reason, detail);
    }

    /// The interval to ask for at `level`; 0 leaves it to the agent.
    fn pace_ms(&self, level: Level) -> u32 {
        let settings = &self.sessions.0.settings;
        let asked_ms = settings.interval.map(|interval| interval.as_millis());
        let asked_ms = asked_ms.map_or(0, |ms| u32::try_from(ms).unwrap_or(0));
        if level < Level::Slow {
            return asked_ms;
        }
        let usual_ms = if asked_ms > 0 {
            asked_ms
        } else {
            self.hello.interval_ms
        };
        let longest_ms = u32::try_from(wire::INTERVAL_MAX.as_millis()).unwrap_or(u32::MAX);
        usual_ms
            .saturating_mul(limits::SHED_INTERVAL_TIMES)
            .min(longest_ms)
    }

    fn unexpected(&self, what: &'static str) -> End {
        self.refuse(Reject::Unexpected, what);
        End::Ours(ByeReason::Protocol, spread(limits::BYE_PROTOCOL))
    }
}

// === impl Unread ===

impl From<Refusal> for Unread {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
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
