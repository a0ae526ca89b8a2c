//! All agents of a hub lose their collector in the same moment and come back when it does.

use std::{path::Path, time::Duration};

use anyhow::Result;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{
    audit::Audit,
    collector::{Carrier, Collector},
    fleet::{Fleet, Rhythm},
    hub::Hub,
    load::Load,
};

/// The timeline has a line for each of these.
const LINE_INTERVAL: Duration = Duration::from_secs(1);

/// How often it is looked in between.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// A storm that lasts longer does not end.
const PATIENCE: Duration = Duration::from_secs(180);

/// Tokens count as verified for so long: a storm's questions are counted, not the rechecks that go
/// on all the time.
const TOKENS_KNOWN: Duration = Duration::from_secs(3600);

/// What is done.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Agents.
    pub agents: usize,
    /// From sample to sample.
    pub interval: Duration,
    /// Over how long they connect at first.
    pub ramp: Duration,
    /// How long they stream before the storm.
    pub calm: Duration,
    /// How the collector ends.
    pub end: End,
    /// How long it is away.
    pub away: Duration,
    /// Ids and phases.
    pub seed: u64,
    /// Of every so many agents, one's history is read at the end.
    pub audit_step: usize,
}

/// How a collector ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// SIGKILL.
    Killed,
    /// SIGTERM: it says goodbye to each.
    Stopped,
}

/// What was seen.
#[derive(Clone, Debug)]
pub struct Storm {
    /// Agents.
    pub agents: usize,
    /// Resident bytes of the collector before, with all streaming.
    pub calm_rss_bytes: u64,
    /// The timeline.
    pub lines: Vec<Line>,
    /// From the start of the new collector until it let agents in.
    pub ready: Duration,
    /// From then until the last agent streamed.
    pub all_streaming: Duration,
    /// From then until every report had its receipt.
    pub all_receipted: Duration,
    /// Questions about tokens, from the end of the old collector to the last agent's return.
    pub hub_questions: u64,
    /// What history holds.
    pub audit: Audit,
}

/// One moment.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// Since agents were let in.
    pub at: Duration,
    /// Agents that stream.
    pub streaming: usize,
    /// Reports without a receipt.
    pub waiting: u64,
    /// Resident bytes of the collector.
    pub rss_bytes: u64,
    /// Its processor time.
    pub cpu: Duration,
}

/// Lets the storm pass over a collector that lives in `dir`.
///
/// # Errors
/// Something does not start, or agents do not come back.
pub async fn run(plan: &Plan, program: &Path, dir: &Path) -> Result<Storm> {
    let hub = Hub::start(plan.agents).await?;
    let mut collector = Collector::new(program, dir, &hub.api_url, Carrier::Tls)?;
    collector.know_tokens(plan.agents, TOKENS_KNOWN)?;
    collector.start().await?;
    let url = collector.url()?;
    let mut fleet = Fleet::new(plan.agents, plan.interval, plan.seed)?;
    let rhythm = Rhythm {
        interval: plan.interval,
        ramp: plan.ramp,
    };
    fleet.begin(&url, &Load::Numbered, &rhythm);
    fleet.until_streaming(PATIENCE).await?;
    sleep(plan.calm).await;
    let calm_rss_bytes = collector.cost()?.rss_bytes;

    let questions_before = hub.questions();
    match plan.end {
        End::Killed => collector.kill()?,
        End::Stopped => collector.terminate().await?,
    }
    sleep(plan.away).await;
    let started = Instant::now();
    collector.start().await?;
    let open = Instant::now();
    let lines = watch(&collector, &fleet, open).await?;
    let all_streaming = open.elapsed();
    let hub_questions = hub.questions() - questions_before;
    fleet.stop_sampling();
    fleet.until_receipted(PATIENCE).await?;
    Ok(Storm {
        agents: plan.agents,
        calm_rss_bytes,
        lines,
        ready: open - started,
        all_streaming,
        all_receipted: open.elapsed(),
        hub_questions,
        audit: Audit::of(&collector, &fleet, plan.audit_step).await?,
    })
}

async fn watch(collector: &Collector, fleet: &Fleet, open: Instant) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    let mut next = open;
    loop {
        let streaming = fleet.streaming();
        let all = streaming == fleet.agents().len();
        if all || Instant::now() >= next {
            next += LINE_INTERVAL;
            let cost = collector.cost()?;
            lines.push(Line {
                at: open.elapsed(),
                streaming,
                waiting: fleet.taken() - fleet.receipted(),
                rss_bytes: cost.rss_bytes,
                cpu: Duration::from_micros(cost.cpu_micros),
            });
        }
        if all {
            return Ok(lines);
        }
        if open.elapsed() > PATIENCE {
            anyhow::bail!("{streaming} of {} agents came back", fleet.agents().len());
        }
        sleep(LOOK_INTERVAL).await;
    }
}

// === impl Storm ===

impl Storm {
    /// For people.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = String::from(
            "| s since agents were let in | streaming | reports without a receipt | RSS, MiB | processor, s |\n\
             |---:|---:|---:|---:|---:|\n",
        );
        for line in &self.lines {
            text.push_str(&format!(
                "| {:.1} | {} | {} | {:.1} | {:.2} |\n",
                line.at.as_secs_f64(),
                line.streaming,
                line.waiting,
                mebibytes(line.rss_bytes),
                line.cpu.as_secs_f64(),
            ));
        }
        text.push_str(&format!(
            "\n{} agents; RSS before {:.1} MiB. Ready {:.1} s after its start, all streaming {:.1} s \
             later, all receipts {:.1} s later. Questions to the hub about tokens: {}.\n{}\n",
            self.agents,
            mebibytes(self.calm_rss_bytes),
            self.ready.as_secs_f64(),
            self.all_streaming.as_secs_f64(),
            self.all_receipted.as_secs_f64(),
            self.hub_questions,
            self.audit,
        ));
        text
    }

    /// For scripts.
    #[must_use]
    pub fn json(&self) -> Value {
        let lines: Vec<Value> = self
            .lines
            .iter()
            .map(|line| {
                json!({
                    "at_ms": millis(line.at), "streaming": line.streaming, "waiting": line.waiting,
                    "rss_bytes": line.rss_bytes, "cpu_ms": millis(line.cpu),
                })
            })
            .collect();
        json!({
            "agents": self.agents, "calm_rss_bytes": self.calm_rss_bytes,
            "ready_ms": millis(self.ready), "all_streaming_ms": millis(self.all_streaming),
            "all_receipted_ms": millis(self.all_receipted), "hub_questions": self.hub_questions,
            "lost": self.audit.lost, "twice": self.audit.twice, "misfiled": self.audit.misfiled,
            "holes": self.audit.holes, "lines": lines,
        })
    }
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
