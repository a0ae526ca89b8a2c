//! All agents stream, and nothing happens: what it costs, and how long receipts take.

use std::{path::Path, time::Duration};

use anyhow::Result;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{
    collector::{Carrier, Collector},
    fleet::{Fleet, Rhythm},
    hub::Hub,
    load::Load,
};

/// For all to stream.
const PATIENCE: Duration = Duration::from_secs(300);

/// Tokens count as verified for so long: longer than any run.
const TOKENS_KNOWN: Duration = Duration::from_secs(24 * 3600);

/// What is done.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Agents.
    pub agents: usize,
    /// From sample to sample.
    pub rhythm: Rhythm,
    /// What their servers do.
    pub load: Load,
    /// What they connect over.
    pub carrier: Carrier,
    /// The link's port, where it matters which.
    pub port: Option<u16>,
    /// How long is measured.
    pub lasts: Duration,
    /// Ids.
    pub seed: u64,
}

/// What was seen.
#[derive(Clone, Debug)]
pub struct Steady {
    /// Agents.
    pub agents: usize,
    /// Of them, streaming at the end.
    pub streaming: usize,
    /// How long was measured.
    pub span: Duration,
    /// Reports taken in that time.
    pub taken: u64,
    /// Receipts for reports in that time.
    pub receipted: u64,
    /// From sample to receipt, sorted, milliseconds.
    pub receipt_millis: Vec<u32>,
    /// Questions about tokens since the start.
    pub hub_questions: u64,
    /// Processor time of the collector in that time.
    pub cpu: Duration,
    /// Its resident bytes at the end.
    pub rss_bytes: u64,
    /// Resident bytes for each agent, less what it has with none.
    pub bytes_per_agent: u64,
}

/// Measures a collector that lives in `dir`.
///
/// # Errors
/// Something does not start, or not all agents stream.
pub async fn run(plan: &Plan, program: &Path, dir: &Path) -> Result<Steady> {
    let hub = Hub::start(plan.agents).await?;
    let mut collector = Collector::new(program, dir, &hub.api_url, plan.carrier)?;
    if let Some(port) = plan.port {
        collector = collector.on_port(port);
    }
    collector.know_tokens(plan.agents, TOKENS_KNOWN)?;
    collector.start().await?;
    let empty = collector.cost()?;
    let mut fleet = Fleet::new(plan.agents, plan.rhythm.interval, plan.seed)?;
    fleet.begin(&collector.url()?, &plan.load, &plan.rhythm);
    sleep(plan.rhythm.ramp).await;
    fleet.until_streaming(PATIENCE).await?;
    // One round of samples, so that every server is known.
    sleep(plan.rhythm.interval).await;

    let before = collector.cost()?;
    let (taken, receipted) = (fleet.taken(), fleet.receipted());
    drop(fleet.take_receipt_millis());
    let begun = Instant::now();
    sleep(plan.lasts).await;
    let after = collector.cost()?;
    let own_bytes = after.rss_bytes.saturating_sub(empty.rss_bytes);
    Ok(Steady {
        agents: plan.agents,
        streaming: fleet.streaming(),
        span: begun.elapsed(),
        taken: fleet.taken() - taken,
        receipted: fleet.receipted() - receipted,
        receipt_millis: fleet.take_receipt_millis(),
        hub_questions: hub.questions(),
        cpu: Duration::from_micros(after.cpu_micros - before.cpu_micros),
        rss_bytes: after.rss_bytes,
        bytes_per_agent: own_bytes / plan.agents.max(1) as u64,
    })
}

// === impl Steady ===

impl Steady {
    /// For people.
    #[must_use]
    pub fn table(&self) -> String {
        let quantile = |share| {
            self.quantile(share)
                .map_or_else(|| "–".to_owned(), |millis| millis.to_string())
        };
        let per_report = self.cpu.as_secs_f64() * 1e6 / self.taken.max(1) as f64;
        format!(
            "| agents | streaming | reports | receipts | receipt p50, ms | p99, ms | questions to the hub | \
             collector, cores | µs a report | RSS, MiB | KiB an agent |\n\
             |---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n\
             | {} | {} | {} | {} | {} | {} | {} | {:.3} | {per_report:.0} | {:.1} | {:.1} |\n",
            self.agents,
            self.streaming,
            self.taken,
            self.receipted,
            quantile(0.5),
            quantile(0.99),
            self.hub_questions,
            self.cpu.as_secs_f64() / self.span.as_secs_f64(),
            self.rss_bytes as f64 / f64::from(1 << 20),
            self.bytes_per_agent as f64 / 1024.0,
        )
    }

    /// For scripts.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "agents": self.agents, "streaming": self.streaming, "reports": self.taken,
            "receipts": self.receipted, "receipt_p50_ms": self.quantile(0.5),
            "receipt_p99_ms": self.quantile(0.99), "hub_questions": self.hub_questions,
            "span_ms": u64::try_from(self.span.as_millis()).ok(),
            "cpu_us": u64::try_from(self.cpu.as_micros()).ok(), "rss_bytes": self.rss_bytes,
            "bytes_per_agent": self.bytes_per_agent,
        })
    }

    /// The receipt time that this share of reports kept to; `None` when none was timed.
    fn quantile(&self, share: f64) -> Option<u32> {
        let last = self.receipt_millis.len().checked_sub(1)?;
        self.receipt_millis
            .get((last as f64 * share) as usize)
            .copied()
    }
}
