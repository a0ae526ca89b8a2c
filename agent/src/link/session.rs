//! One stream's life: Hello, Welcome, then reports up and receipts down until one side ends it.
//!
//! One task reads and writes in turn and waits for nothing else, so receipts are read at once
//! and the collector is never made to keep frames for us.

use std::time::Duration;

use bytes::Bytes;
use hubmeter_proto::{
    PROTOCOL_BATCHES, PROTOCOL_VERSION,
    limits::{
        DRAIN_TIMEOUT, HELLO_TIMEOUT, HOLD_MAX, INTERVAL_MAX, INTERVAL_MIN, LABEL_BYTES_MAX,
        MESSAGE_BYTES_MAX,
    },
    v1::{self, bye::Reason, down::Body},
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout, timeout_at},
};
use tracing::info;

use super::{
    Link,
    connect::{
        self, ConnectError, Down,
        status::{Code, Status},
    },
    credential::CredentialError,
    encode,
};
use crate::{
    board::{NOTICE_TEXT_BYTES_MAX, Notice},
    settings::CollectorUrl,
    spool::{Next, Reader},
    stop::Stop,
};

/// Messages between us and the connection: enough to fill a packet when a backlog is resent.
const SENDS_IN_FLIGHT: usize = 8;

/// Time for our last message to leave after the last receipt came.
const BYE_TIMEOUT: Duration = Duration::from_millis(250);

/// Bytes of the address of the collector's API.
const API_URL_BYTES_MAX: usize = 2 * 1024;

/// One attempt at a stream.
pub(super) struct Session<'a> {
    link: &'a Link,
    url: &'a CollectorUrl,
    /// Everything before has been sent, or is on the collector's disk.
    cursor: u64,
    /// The collector holds the report before the cursor, so that a difference to it can be told.
    continues: bool,
    report_bytes_max: usize,
    /// Reads reports one by one, for a collector that takes no batches.
    reader: Option<Box<Reader>>,
}

/// A stream past its Welcome.
pub(super) struct Live<'a> {
    session: Session<'a>,
    open: Open,
    /// Asked to stop: how long the last receipts are waited for.
    drain_until: Option<Instant>,
}

/// How a stream ended, and how long it was up.
pub(super) struct Ended {
    pub(super) lived: Duration,
    pub(super) outcome: Result<End, SessionError>,
}

/// A stream that ended on purpose.
#[derive(Debug)]
pub(super) enum End {
    /// We were asked to stop.
    Stopped,
    /// Another agent took over.
    Superseded,
    /// The collector wants us to come back later.
    Bye {
        reason: Reason,
        retry_after: Duration,
    },
}

/// A stream that failed.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// No token.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// The collector does not know the token.
    #[error("the collector refused this server's token: {0}")]
    Refused(String),
    /// The stream broke.
    #[error("the stream broke: {0}")]
    Broken(String),
    /// No Welcome in time.
    #[error("the collector did not answer within {} s", HELLO_TIMEOUT.as_secs())]
    Silent,
    /// The collector breaks the protocol.
    #[error("the collector breaks the protocol: {0}")]
    Protocol(&'static str),
}

/// What made the pump look up.
enum Event {
    /// A message, or the collector's end of the stream.
    Message(Option<v1::Down>),
    /// Nothing can be sent any more.
    UpClosed,
    /// The last receipts did not come in time.
    DrainOver,
}

/// An open stream.
struct Open {
    up: mpsc::Sender<Bytes>,
    down: Down,
}

// === impl SessionError ===

impl SessionError {
    /// Whether the collector may have heard our Hello.
    pub(super) fn is_after_hello(&self) -> bool {
        !matches!(self, Self::Connect(_) | Self::Credential(_))
    }
}

impl From<Status> for SessionError {
    fn from(status: Status) -> Self {
        match status.code() {
            Code::Unauthenticated | Code::PermissionDenied => {
                Self::Refused(status.message().to_owned())
            }
            code => Self::Broken(format!("{code:?}: {}", status.message())),
        }
    }
}

// === impl Session ===

impl<'a> Session<'a> {
    pub(super) fn new(link: &'a Link, url: &'a CollectorUrl) -> Self {
        Self {
            link,
            url,
            cursor: 1,
            continues: false,
            report_bytes_max: MESSAGE_BYTES_MAX,
            reader: None,
        }
    }

    /// Connects and greets; what comes back may stream.
    pub(super) async fn begin(mut self, stop: &mut Stop) -> Result<Live<'a>, Ended> {
        let never_up = |outcome| Ended {
            lived: Duration::ZERO,
            outcome,
        };
        let link = self.link;
        let mut drain_until = None;
        let opened = {
            let mut opening = std::pin::pin!(self.open());
            tokio::select! {
                opened = &mut opening => opened,
                () = stop.asked() => {
                    if link.outbox.lock().spool.is_empty() {
                        return Err(never_up(Ok(End::Stopped)));
                    }
                    // A short life's reports go out too, if the collector is quick.
                    let until = Instant::now() + DRAIN_TIMEOUT;
                    drain_until = Some(until);
                    match timeout_at(until, opening).await {
                        Ok(opened) => opened,
                        Err(_) => return Err(never_up(Ok(End::Stopped))),
                    }
                }
            }
        };
        match opened {
            Ok(Ok(open)) => Ok(Live {
                session: self,
                open,
                drain_until,
            }),
            Ok(Err(end)) => Err(never_up(Ok(end))),
            Err(error) => Err(never_up(Err(error))),
        }
    }

    /// Connects and greets. The inner error is an end that the collector chose.
    async fn open(&mut self) -> Result<Result<Open, End>, SessionError> {
        let link = self.link;
        let authorization = link.credential.authorization().await?;
        let connection = connect::connect(self.url, link.ca_file.as_ref()).await?;
        let (up, messages) = mpsc::channel(SENDS_IN_FLIGHT);
        let greet = async {
            // There is room: the channel is new.
            let _ = up.send(encode::hello(self.hello())).await;
            let mut down = connection.stream(authorization, messages).await?;
            let first = down.message().await?.and_then(|message| message.body);
            Ok::<_, SessionError>((down, first))
        };
        let (down, first) = timeout(HELLO_TIMEOUT, greet)
            .await
            .map_err(|_| SessionError::Silent)??;
        match first {
            Some(Body::Welcome(welcome)) => {
                self.welcome(welcome)?;
                Ok(Ok(Open { up, down }))
            }
            Some(Body::Bye(bye)) => Ok(Err(end_of(&bye))),
            Some(_) => Err(SessionError::Protocol("the first message is no Welcome")),
            None => Err(SessionError::Broken("it ended before a Welcome".to_owned())),
        }
    }

    fn hello(&self) -> v1::Hello {
        let link = self.link;
        let held = link.outbox.lock();
        let spool = &held.spool;
        v1::Hello {
            protocol: PROTOCOL_VERSION,
            instance_id: Bytes::copy_from_slice(&link.identity.instance_id),
            first_seq: spool.first_seq(),
            next_seq: spool.next_seq(),
            mono_ms: link.clock.mono_ms(),
            wall_ms: link.clock.wall_ms(),
            interval_ms: u32::try_from(link.identity.interval.as_millis()).unwrap_or(u32::MAX),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            host: cut(&link.identity.host, LABEL_BYTES_MAX),
            server_name: cut(&link.identity.server_name, LABEL_BYTES_MAX),
        }
    }

    fn welcome(&mut self, welcome: v1::Welcome) -> Result<(), SessionError> {
        if welcome.protocol > PROTOCOL_VERSION {
            return Err(SessionError::Protocol("its version is newer than ours"));
        }
        let mut held = self.link.outbox.lock();
        let spool = &mut held.spool;
        self.cursor = welcome.resume_seq.max(1);
        if self.cursor > spool.next_seq() {
            return Err(SessionError::Protocol(
                "it resumes from a report we never sent",
            ));
        }
        spool.acknowledge(self.cursor - 1);
        // Whatever waited for a stream goes now.
        held.due = true;
        drop(held);
        let takes_batches = welcome.protocol >= PROTOCOL_BATCHES;
        self.reader = (!takes_batches).then(Box::default);
        self.hold(if takes_batches { welcome.hold_ms } else { 0 });
        if welcome.report_bytes_max > 0 {
            self.report_bytes_max = usize::try_from(welcome.report_bytes_max)
                .unwrap_or(usize::MAX)
                .min(MESSAGE_BYTES_MAX);
        }
        self.pace(Some(welcome.interval_ms));
        if is_web_address(&welcome.api_url) {
            self.link.board.set_api_url(welcome.api_url);
        }
        Ok(())
    }

    /// Sends and receives until the stream ends. Asked to stop, it only waits for the last
    /// receipts, and says goodbye.
    async fn pump(
        &mut self,
        open: &mut Open,
        stop: &mut Stop,
        mut drain_until: Option<Instant>,
    ) -> Result<End, SessionError> {
        let outbox = &self.link.outbox;
        loop {
            let idle = !self.has_more(drain_until.is_some());
            if drain_until.is_some() && outbox.lock().spool.is_empty() {
                return Ok(say_bye(open).await);
            }
            let event = tokio::select! {
                message = open.down.message() => Event::Message(message?),
                room = open.up.reserve(), if !idle => match room {
                    Ok(room) => {
                        self.send(room);
                        continue;
                    }
                    Err(_) => Event::UpClosed,
                },
                () = outbox.news.notified(), if idle => continue,
                () = stop.asked(), if drain_until.is_none() => {
                    drain_until = Some(Instant::now() + DRAIN_TIMEOUT);
                    continue;
                }
                () = sleep_until(drain_until.unwrap_or_else(Instant::now)), if drain_until.is_some() => {
                    Event::DrainOver
                }
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
                self.link.outbox.lock().spool.acknowledge(through_seq);
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
            Some(Body::Notice(notice)) => self.link.board.notify(shown(&notice)),
            Some(Body::Bye(bye)) => return Ok(Some(end_of(&bye))),
            Some(Body::Welcome(_)) => {
                return Err(SessionError::Protocol("a second Welcome"));
            }
            // A newer collector may say more than we know.
            None => {}
        }
        Ok(None)
    }

    fn hold(&self, hold_ms: u32) {
        let most_ms = u64::try_from(HOLD_MAX.as_millis()).unwrap_or(u64::MAX);
        self.link.outbox.set_hold(u64::from(hold_ms).min(most_ms));
    }

    fn pace(&self, interval_ms: Option<u32>) {
        let Some(interval_ms) = interval_ms else {
            return;
        };
        let interval = (interval_ms > 0)
            .then(|| Duration::from_millis(interval_ms.into()).clamp(INTERVAL_MIN, INTERVAL_MAX));
        self.link.pace.send_if_modified(|pace| {
            let changed = *pace != interval;
            *pace = interval;
            changed
        });
    }

    /// The connection takes no more messages; what it says last tells why.
    async fn why_closed(&self, open: &mut Open) -> SessionError {
        match timeout(BYE_TIMEOUT, open.down.message()).await {
            Ok(Err(status)) => status.into(),
            _ => SessionError::Broken("the collector takes no more messages".to_owned()),
        }
    }
}

// === impl Live ===

impl Live<'_> {
    /// Streams until it ends.
    pub(super) async fn run(&mut self, stop: &mut Stop) -> Ended {
        let since = Instant::now();
        let session = &mut self.session;
        session.link.board.streams_over(session.url);
        // A stream that this one replaces may have sent meanwhile what it still has to.
        session.link.outbox.lock().due = true;
        info!(collector = %session.url, from_seq = session.cursor, "streaming");
        let outcome = session.pump(&mut self.open, stop, self.drain_until).await;
        Ended {
            lived: since.elapsed(),
            outcome,
        }
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

fn end_of(bye: &v1::Bye) -> End {
    match bye.reason() {
        Reason::Superseded => End::Superseded,
        reason => End::Bye {
            reason,
            retry_after: Duration::from_millis(bye.retry_after_ms.into()),
        },
    }
}

fn shown(notice: &v1::Notice) -> Notice {
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
    }
}

fn is_web_address(text: &str) -> bool {
    text.len() <= API_URL_BYTES_MAX
        && (text.starts_with("https://") || text.starts_with("http://"))
        && text.chars().all(|c| c.is_ascii_graphic())
}

fn cut(text: &str, bytes_max: usize) -> String {
    text[..text.floor_char_boundary(bytes_max)].to_owned()
}
