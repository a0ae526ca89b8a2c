//! A stream past Hello: its messages to the inbox, receipts and notices to its agent.
//!
//! The loop never waits for the inbox, the disk or the peer's socket: what has no room ends the
//! stream with a Bye that says when to come back.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use hubmeter_proto::limits as wire;
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
    link::{
        admit::{self, ByeReason, ClockOffset, Hello, Incoming, Notice, Outgoing},
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
    pub(super) quota: Arc<Mutex<Quota>>,
    pub(super) slot: Slot,
    /// The number the next report must have.
    pub(super) expected_seq: u64,
    pub(super) notices: VecDeque<Notice>,
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
        let mut paced_ms = self.pace_ms(Level::Calm);
        let mut pace_ms = self.pace_ms(*pressure.borrow_and_update());
        loop {
            let due = receipt_due.is_some() || !self.notices.is_empty() || pace_ms != paced_ms;
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
                    pace_ms = self.pace_ms(*pressure.borrow_and_update());
                }
                command = commands.recv() => match command {
                    Some(Command::Notice(notice)) => self.queue(*notice),
                    Some(Command::End(reason)) => return End::Ours(reason, after(reason)),
                    // Replaced in the registry before we looked.
                    None => return End::Ours(ByeReason::Superseded, Duration::ZERO),
                },
                () = sleep_until(silent_at) => {
                    self.refuse(Reject::Silent, "nothing came for too long");
                    return End::Ours(ByeReason::Silent, Duration::ZERO);
                }
                // A peer that does not read costs one receipt and a few notices.
                permit = down.reserve(), if due => {
                    let Ok(permit) = permit else { return End::Cut };
                    if let Some(through_seq) = receipt_due.take() {
                        permit.send(Ok(Outgoing::Receipt { through_seq }));
                    } else if pace_ms != paced_ms {
                        permit.send(Ok(Outgoing::Pace { interval_ms: pace_ms }));
                        paced_ms = pace_ms;
                    } else if let Some(notice) = self.unqueue() {
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
            self.refuse(Reject::Quota, "too much at once");
            return Err(End::Ours(ByeReason::Quota, Duration::from_millis(wait_ms)));
        }
        let message = admit::read(&bytes, now_ms, self.clock)
            .map_err(|refusal| self.sessions.refused(self.who(), &refusal))?;
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
            self.refuse(Reject::InboxFull, "the inbox is full");
            End::Ours(ByeReason::Busy, spread(limits::BYE_BUSY))
        })
    }

    fn queue(&mut self, notice: Notice) {
        if self.notices.len() >= limits::NOTICES_QUEUED_MAX {
            self.unqueue();
            self.sessions.0.stats.limit_dropped(Limit::Notices);
        }
        self.sessions.0.stats.limit_more(Limit::Notices);
        self.notices.push_back(notice);
    }

    fn unqueue(&mut self) -> Option<Notice> {
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

fn latest(
    changed: Result<(), watch::error::RecvError>,
    receipts: &mut watch::Receiver<Receipt>,
) -> Receipt {
    // We hold the slot ourselves, so its sender is there.
    debug_assert!(changed.is_ok());
    *receipts.borrow_and_update()
}
