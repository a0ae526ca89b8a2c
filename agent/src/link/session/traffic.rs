//! What goes up and what comes down while a stream lives.

use std::time::Duration;

use bytes::Bytes;
use hubmeter_proto::{
    limits::{DRAIN_TIMEOUT, LABEL_BYTES_MAX},
    v1::{self, bye::Reason, down::Body},
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};
use tracing::info;

use super::{End, Ended, Live, Open, Session, SessionError, cut, end_of};
use crate::{
    board::{NOTICE_TEXT_BYTES_MAX, Notice},
    link::encode,
    sample::WallTime,
    spool::Next,
    stop::Stop,
};

/// Time for our last message to leave after the last receipt came.
const BYE_TIMEOUT: Duration = Duration::from_millis(250);

/// What made the pump look up.
enum Event {
    /// A message, or the collector's end of the stream.
    Message(Option<v1::Down>),
    /// Nothing can be sent any more.
    UpClosed,
    /// The last receipts did not come in time.
    DrainOver,
}

// === impl Live ===

impl Live<'_> {
    /// Streams until it ends.
    pub(in crate::link) async fn run(&mut self, stop: &mut Stop) -> Ended {
        let since = Instant::now();
        let session = &mut self.session;
        session.link.board.streams_over(session.url);
        // A stream that this one replaces may have sent meanwhile what it still has to.
        session.link.outbox.lock().due = true;
        session.link.outbox.company.join(self.open.line.as_ref());
        info!(collector = %session.url, from_seq = session.cursor, "streaming");
        let outcome = session.pump(&mut self.open, stop, self.drain_until).await;
        Ended {
            lived: since.elapsed(),
            outcome,
        }
    }
}

// === impl Session ===

impl Session<'_> {
    /// Sends and receives until the stream ends. Asked to stop, it only waits for the last
    /// receipts, and says goodbye.
    async fn pump(
        &mut self,
        open: &mut Open,
        stop: &mut Stop,
        mut drain_until: Option<Instant>,
    ) -> Result<End, SessionError> {
        let outbox = &self.link.outbox;
        if drain_until.is_some() {
            open.hurry();
        }
        // Both are waited for as long as the stream lives, and made once: each costs as much as a
        // small message.
        let mut asked = std::pin::pin!(stop.asked());
        let mut drained = std::pin::pin!(at(drain_until));
        loop {
            let idle = !self.has_more(drain_until.is_some());
            if drain_until.is_some() && outbox.lock().spool.is_empty() {
                return Ok(say_bye(open).await);
            }
            let event = tokio::select! {
                // What is to go is handed over before the connection is driven, once for all of it.
                biased;
                () = outbox.news.notified(), if idle => continue,
                room = open.up.reserve(), if !idle => match room {
                    Ok(room) => {
                        self.send(room);
                        continue;
                    }
                    Err(_) => Event::UpClosed,
                },
                message = open.down.message() => Event::Message(message?),
                () = &mut asked, if drain_until.is_none() => {
                    drain_until = Some(Instant::now() + DRAIN_TIMEOUT);
                    drained.set(at(drain_until));
                    open.hurry();
                    continue;
                }
                () = &mut drained, if drain_until.is_some() => Event::DrainOver,
            };
            match event {
                Event::Message(Some(message)) => {
                    if let Some(end) = self.receive(message)? {
                        return Ok(end);
                    }
                }
                Event::Message(None) => {
                    return Err(SessionError::Broken("the collector closed it".to_owned()));
                }
                Event::UpClosed => return Err(self.why_closed(open).await),
                Event::DrainOver => return Ok(say_bye(open).await),
            }
        }
    }

    /// Whether something is to be sent now.
    fn has_more(&self, drains: bool) -> bool {
        let mut held = self.link.outbox.lock();
        if !held.due && !drains {
            return false;
        }
        let more = held.spool.next_from(self.cursor) != Next::Nothing;
        if !more {
            held.all_sent();
        }
        more
    }

    fn send(&mut self, room: mpsc::Permit<'_, Bytes>) {
        let outbox = &self.link.outbox;
        let of_people = self.heard.as_mut().and_then(|heard| {
            let now_ms = self.link.clock.mono_ms();
            outbox.lock().people.next(heard, self.cursor, now_ms)
        });
        if let Some(message) = of_people {
            return room.send(message);
        }
        let next = outbox.lock().spool.next_from(self.cursor);
        let message = match next {
            Next::Gap {
                from_seq,
                through_seq,
            } => self.gap(from_seq, through_seq),
            Next::Reports if self.reader.is_some() => self.report(),
            Next::Reports => self.batch(),
            Next::Nothing => return,
        };
        room.send(message);
    }

    fn batch(&mut self) -> Bytes {
        let mut held = self.link.outbox.lock();
        let bytes_max = self.report_bytes_max;
        match held.spool.together(self.cursor, self.continues, bytes_max) {
            Some(together) => {
                self.cursor = together.next_seq;
                self.continues = true;
                encode::batch(together.batch)
            }
            None => {
                let through_seq = held.spool.give_up(self.cursor);
                drop(held);
                self.gap(self.cursor, through_seq)
            }
        }
    }

    fn report(&mut self) -> Bytes {
        let (seq, clock) = (self.cursor, &self.link.clock);
        let sample = self.reader.as_mut().and_then(|reader| {
            let held = self.link.outbox.lock();
            held.spool.read(seq, reader)
        });
        let message = sample.map(|mut sample| {
            // The spool keeps one clock; what the other showed then is as far back.
            let ago_ms = clock.mono_ms().saturating_sub(sample.mono_ms);
            sample.wall_ms = clock.wall_ms().saturating_sub(ago_ms);
            encode::report(seq, sample)
        });
        match message.filter(|message| message.len() <= self.report_bytes_max) {
            Some(message) => {
                self.cursor = seq + 1;
                message
            }
            None => self.gap(seq, seq),
        }
    }

    /// What comes after it is told whole.
    fn gap(&mut self, from_seq: u64, through_seq: u64) -> Bytes {
        self.cursor = through_seq + 1;
        self.continues = false;
        encode::gap(from_seq, through_seq)
    }

    fn receive(&self, message: v1::Down) -> Result<Option<End>, SessionError> {
        match message.body {
            Some(Body::Receipt(receipt)) => {
                // What was not sent cannot have been received.
                let through_seq = receipt.through_seq.min(self.cursor - 1);
                let mut held = self.link.outbox.lock();
                held.spool.acknowledge(through_seq);
                held.people.acknowledge(through_seq);
            }
            // In protocol 1 an interval that is not there is 0.
            Some(Body::Pace(pace)) if self.reader.is_some() => {
                self.pace(Some(pace.interval_ms.unwrap_or(0)));
            }
            Some(Body::Pace(pace)) => {
                self.pace(pace.interval_ms);
                if let Some(hold_ms) = pace.hold_ms {
                    self.hold(hold_ms);
                }
            }
            Some(Body::Notice(notice)) => {
                let wall_ms = self.link.clock.wall_ms();
                self.link.board.notify(shown(&notice, wall_ms));
            }
            Some(Body::Bye(bye)) => return Ok(Some(end_of(&bye))),
            Some(Body::Welcome(_)) => {
                return Err(SessionError::Protocol("a second Welcome"));
            }
            // A newer collector may say more than we know.
            None => {}
        }
        Ok(None)
    }

    /// The connection takes no more messages; what it says last tells why.
    async fn why_closed(&self, open: &mut Open) -> SessionError {
        match timeout(BYE_TIMEOUT, open.down.message()).await {
            Ok(Err(status)) => status.into(),
            _ => SessionError::Broken("the collector takes no more messages".to_owned()),
        }
    }
}

// === impl Open ===

impl Open {
    /// No tick will come that reads what is small.
    fn hurry(&self) {
        if let Some(line) = &self.line {
            line.hurry();
        }
    }
}

/// Ends then, or never.
async fn at(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}

async fn say_bye(open: &mut Open) -> End {
    let goodbye = async {
        let _ = open.up.send(encode::bye(Reason::Stopping)).await;
        // The collector ends its side when it has read ours.
        while let Ok(Some(_)) = open.down.message().await {}
    };
    let _ = timeout(BYE_TIMEOUT, goodbye).await;
    End::Stopped
}

fn shown(notice: &v1::Notice, wall_ms: u64) -> Notice {
    let workload_id = cut(&notice.workload_id, LABEL_BYTES_MAX);
    Notice {
        episode: cut(&notice.episode, LABEL_BYTES_MAX),
        rule: cut(&notice.rule, LABEL_BYTES_MAX),
        severity: match notice.severity() {
            v1::Severity::Critical => "critical",
            v1::Severity::Warning => "warning",
            v1::Severity::Info | v1::Severity::Unspecified => "info",
        },
        text: cut(&notice.text, NOTICE_TEXT_BYTES_MAX),
        workload_id: (!workload_id.is_empty()).then_some(workload_id),
        cleared: notice.cleared,
        stops_at: (notice.stops_in_ms).map(|ms| WallTime(wall_ms.saturating_add(ms))),
        to_limit_ms: notice.to_limit_ms,
        trend_bytes_per_second: notice.trend_bytes_per_second,
    }
}
