//! Where the collector's memory for an agent goes: a fresh collector for each stage, so many
//! clients that get exactly so far, and the difference to the stage before.

use std::{path::Path, time::Duration};

use anyhow::Result;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until};

use self::client::Client;
use super::{
    collector::{Carrier, Collector},
    cost::Cost,
    fleet::Fleet,
    hub::Hub,
    load::Load,
};

mod client;

/// Connections opened at once: all of them well before the first is closed for its silence.
const OPENING_MAX: usize = 32;

/// After the last client has got so far: what was needed for a moment is given back.
const SETTLING: Duration = Duration::from_millis(1_500);

/// For all agents to get so far.
const PATIENCE: Duration = Duration::from_secs(300);

/// Tokens count as verified for so long: longer than any run.
const TOKENS_KNOWN: Duration = Duration::from_secs(24 * 3600);

/// What agents say their interval is.
const INTERVAL: Duration = Duration::from_secs(5);

/// Reports of a minute, each in its time: what is flushed every ten seconds is flushed as often as
/// with real agents.
const MINUTE_REPORTS: u32 = 12;

/// How far clients get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// A TCP connection; nothing is said.
    Tcp,
    /// And TLS.
    Tls,
    /// And HTTP/2: both ends' settings.
    Http2,
    /// And the stream, with its token; no Hello.
    Stream,
    /// Hello and Welcome: a session, and a server in the state.
    Session,
    /// One report.
    FirstReport,
    /// A minute of reports.
    Minute,
}

/// One line of the account.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// How far clients got.
    pub stage: Stage,
    /// How many.
    pub clients: usize,
    /// The collector before any of them.
    pub empty: Cost,
    /// With all of them.
    pub full: Cost,
}

// === impl Stage ===

impl Stage {
    /// In order, each with all that the ones before it have.
    pub const ALL: [Self; 7] = [
        Self::Tcp,
        Self::Tls,
        Self::Http2,
        Self::Stream,
        Self::Session,
        Self::FirstReport,
        Self::Minute,
    ];

    fn words(self) -> &'static str {
        match self {
            Self::Tcp => "socket: accepted, nothing said",
            Self::Tls => "+ TLS",
            Self::Http2 => "+ HTTP/2",
            Self::Stream => "+ stream, known token",
            Self::Session => "+ Hello, Welcome: session, server in the state",
            Self::FirstReport => "+ one report: series, newest sample",
            Self::Minute => "+ a minute of reports, one in 5 s",
        }
    }

    fn reports(self) -> u32 {
        match self {
            Self::FirstReport => 1,
            Self::Minute => MINUTE_REPORTS,
            _ => 0,
        }
    }
}

// === impl Entry ===

impl Entry {
    /// Lets `clients` get to `stage` with a fresh collector that lives in `dir`.
    ///
    /// # Errors
    /// Something does not start, or a client does not get there.
    pub async fn of(
        stage: Stage,
        clients: usize,
        load: &Load,
        program: &Path,
        dir: &Path,
    ) -> Result<Self> {
        let hub = Hub::start(clients).await?;
        let mut collector = Collector::new(program, dir, &hub.api_url, Carrier::Tls)?;
        collector.know_tokens(clients, TOKENS_KNOWN)?;
        collector.start().await?;
        // One of each kind has come and gone: what is made once is not an agent's.
        drop(Client::open(&collector, Stage::Stream, 0).await?);
        sleep(SETTLING).await;
        let empty = collector.cost()?;
        let full = match stage {
            Stage::Tcp | Stage::Tls | Stage::Http2 | Stage::Stream => {
                let held = open(&collector, stage, clients).await?;
                sleep(SETTLING).await;
                let full = collector.cost()?;
                drop(held);
                full
            }
            Stage::Session | Stage::FirstReport | Stage::Minute => {
                agents(&collector, stage.reports(), clients, load).await?
            }
        };
        Ok(Self {
            stage,
            clients,
            empty,
            full,
        })
    }

    /// Bytes for each client, of memory that is in no file: heap and stacks.
    #[must_use]
    pub fn bytes_each(&self) -> f64 {
        let grown = self.full.anon_bytes as f64 - self.empty.anon_bytes as f64;
        grown / self.clients as f64
    }

    /// For scripts.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "stage": format!("{:?}", self.stage).to_lowercase(), "clients": self.clients,
            "empty_rss_bytes": self.empty.rss_bytes, "empty_anon_bytes": self.empty.anon_bytes,
            "rss_bytes": self.full.rss_bytes, "pss_bytes": self.full.pss_bytes,
            "anon_bytes": self.full.anon_bytes, "bytes_each": self.bytes_each(),
        })
    }
}

/// The account for people.
#[must_use]
pub fn table(entries: &[Entry]) -> String {
    let mut text = String::from(
        "| clients that got so far | clients | RSS, MiB | anonymous, MiB | KiB each | of it new |\n\
         |---|---:|---:|---:|---:|---:|\n",
    );
    let mut before = 0.0;
    for entry in entries {
        let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let each = entry.bytes_each() / 1024.0;
        text.push_str(&format!(
            "| {} | {} | {:.1} | {:.1} | {each:.1} | {:.1} |\n",
            entry.stage.words(),
            entry.clients,
            mebibytes(entry.full.rss_bytes),
            mebibytes(entry.full.anon_bytes),
            each - before,
        ));
        before = each;
    }
    text
}

async fn open(collector: &Collector, stage: Stage, clients: usize) -> Result<Vec<Client>> {
    let mut held = Vec::with_capacity(clients);
    for from in (0..clients).step_by(OPENING_MAX) {
        let mut opening = Vec::new();
        for index in from..(from + OPENING_MAX).min(clients) {
            opening.push(Client::open(collector, stage, index));
        }
        for client in join_all(opening).await {
            held.push(client?);
        }
    }
    Ok(held)
}

/// Drives all at once on this task.
async fn join_all<T>(futures: Vec<impl Future<Output = T>>) -> Vec<T> {
    let mut futures: Vec<_> = futures.into_iter().map(|f| Some(Box::pin(f))).collect();
    let mut done: Vec<Option<T>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(|cx| {
        for (future, done) in futures.iter_mut().zip(&mut done) {
            if let Some(pending) = future
                && let std::task::Poll::Ready(value) = pending.as_mut().poll(cx)
            {
                *done = Some(value);
                *future = None;
            }
        }
        match futures.iter().all(Option::is_none) {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
    done.into_iter().flatten().collect()
}

async fn agents(collector: &Collector, reports: u32, agents: usize, load: &Load) -> Result<Cost> {
    let fleet = Fleet::new(agents, INTERVAL, 1)?;
    fleet.connect(&collector.url()?);
    fleet.until_streaming(PATIENCE).await?;
    let mut next = Instant::now();
    for _ in 0..reports {
        sleep_until(next).await;
        next += INTERVAL;
        for agent in fleet.agents() {
            agent.sample(load);
        }
        fleet.until_receipted(PATIENCE).await?;
    }
    sleep(SETTLING).await;
    collector.cost()
}
