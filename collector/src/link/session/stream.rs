//! A stream past Hello: its messages to the inbox, receipts and notices to its agent.
//!
//! The loop never waits for the inbox, the disk or the peer's socket: what has no room ends the
//! stream with a Bye that says when to come back.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};
use tokio_stream::StreamExt as _;

use super::{Command, Down, End, Live, Messages, Quota, Sessions, after, spread};
use crate::{
    fact::ServerKey,
    inbox::{self, Body, Deposit, Entry, Receipt, Slot, row},
    limits,
    link::admit::{self, ByeReason, ClockOffset, Hello, Incoming, Notice, Outgoing},
    stats::{Count, Limit, Reject},
};

/// A stream past Hello.
pub(super) struct Session {
    pub(super) sessions: Sessions,
    pub(super) id: u64,
    pub(super) key: ServerKey,
    pub(super) hello: Hello,
    pub(super) clock: ClockOffset,
    pub(super) quota: Arc<Mutex<Quota>>,
    pub(super) slot: Slot,
    /// The number the next report must have.
    pub(super) expected_seq: u64,
    pub(super) notices: VecDeque<Box<Notice>>,
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
    pub(super) fn leave(&mut self, end: &End) {
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
        loop {
            let due = receipt_due.is_some() || !self.notices.is_empty();
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
                command = commands.recv() => match command {
                    Some(Command::Notice(notice)) => self.queue(notice),
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

    fn queue(&mut self, notice: Box<Notice>) {
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
