//! One stream's life: Hello, Welcome, then reports up and receipts down until one side ends it.
//!
//! One task reads and writes in turn and waits for nothing else, so receipts are read at once
//! and the collector is never made to keep frames for us.

use std::{sync::Arc, time::Duration};

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
    time::{Instant, timeout, timeout_at},
};

mod traffic;

use super::{
    Link,
    company::Line,
    connect::{
        self, ConnectError, Down,
        status::{Code, Status},
    },
    credential::CredentialError,
    encode,
    people::Heard,
};
use crate::{settings::CollectorUrl, spool::Reader, stop::Stop};

/// Messages between us and the connection: enough to fill a packet when a backlog is resent.
const SENDS_IN_FLIGHT: usize = 8;

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
    /// What a collector that takes it was told of people.
    heard: Option<Box<Heard>>,
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

/// An open stream.
struct Open {
    up: mpsc::Sender<Bytes>,
    down: Down,
    line: Option<Arc<Line>>,
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
            heard: None,
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
        let line = connection.line();
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
                if let Some(line) = &line {
                    line.make_urgent_from(welcome.urgent_bytes);
                }
                self.welcome(welcome)?;
                Ok(Ok(Open { up, down, line }))
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
        held.people.acknowledge(self.cursor - 1);
        held.people.begin();
        drop(held);
        self.heard = welcome.takes_activity.then(Box::default);
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

fn is_web_address(text: &str) -> bool {
    text.len() <= API_URL_BYTES_MAX
        && (text.starts_with("https://") || text.starts_with("http://"))
        && text.chars().all(|c| c.is_ascii_graphic())
}

fn cut(text: &str, bytes_max: usize) -> String {
    text[..text.floor_char_boundary(bytes_max)].to_owned()
}
