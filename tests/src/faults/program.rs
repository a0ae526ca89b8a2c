//! A whole collector, as it is run, on a disk or under a clock that misbehaves, with agents that go
//! on reporting: what it says, what it shows, and what is kept in the end.

use std::{ffi::OsString, future::Future, path::Path, time::Duration};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::swarm::{
    audit::Audit,
    collector::{Carrier, Collector},
    fleet::{Fleet, Rhythm},
    hub::{self, Hub},
    load::Load,
};

/// Agents under a collector.
pub const AGENTS: usize = 8;

/// From sample to sample as the wire has it.
const INTERVAL: Duration = Duration::from_secs(4);

/// Tokens count as verified for so long: longer than any test.
const TOKENS_KNOWN: Duration = Duration::from_secs(24 * 3600);

/// For what must come about, on the slowest machine: the longest pause between tries is in it.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// How often it is looked.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Agents, their hub and the collector.
pub struct Bed {
    /// The collector.
    pub collector: Collector,
    /// The agents.
    pub fleet: Fleet,
    _hub: Hub,
}

// === impl Bed ===

impl Bed {
    /// Starts all of them in `dir`, the collector with `environment`, and waits until every agent
    /// has a receipt.
    ///
    /// # Errors
    /// Something does not start.
    pub async fn start(dir: &Path, environment: Vec<(&'static str, OsString)>) -> Result<Self> {
        let hub = Hub::start(AGENTS).await?;
        let program = Collector::program_beside()?;
        let collector = Collector::new(&program, dir, &hub.api_url, Carrier::Unix)?;
        let mut collector = collector.with_environment(environment);
        collector.know_tokens(AGENTS, TOKENS_KNOWN)?;
        collector.start().await?;
        let mut fleet = Fleet::new(AGENTS, INTERVAL, fastrand::u64(..))?;
        fleet.connect(&collector.url()?);
        let rhythm = Rhythm {
            interval: INTERVAL,
            ramp: Duration::ZERO,
        };
        fleet.sample(&Load::Numbered, &rhythm);
        let bed = Self {
            collector,
            fleet,
            _hub: hub,
        };
        let all = AGENTS as u64 * 3;
        until("receipts at the start", async || {
            Ok(bed.fleet.receipted() >= all)
        })
        .await?;
        Ok(bed)
    }

    /// Waits until it says that `reason` stands in its way; gives what it says in words.
    ///
    /// # Errors
    /// It does not say so.
    pub async fn until_unready(&self, reason: &str) -> Result<String> {
        let said = || async {
            let said = self.collector.readiness().await?;
            let details = said["details"].as_array().cloned().unwrap_or_default();
            let detail = details
                .into_iter()
                .find(|detail| detail["reason"] == reason);
            let words = |detail: Value| format!("{} ({})", detail["text"], detail["cause"]);
            Ok::<_, anyhow::Error>(detail.map(words))
        };
        until(reason, async || Ok(said().await?.is_some())).await?;
        said()
            .await?
            .with_context(|| format!("{reason} passed at once"))
    }

    /// Waits until nothing stands in its way and every report has its receipt.
    ///
    /// # Errors
    /// It does not come right.
    pub async fn until_well(&self) -> Result<()> {
        until("readiness", async || {
            Ok(self.collector.readiness().await?["ready"] == true)
        })
        .await?;
        let taken = self.fleet.taken();
        until(
            "every receipt",
            async || Ok(self.fleet.receipted() >= taken),
        )
        .await
    }

    /// Waits until the live view shows a report of every agent that was taken after this began,
    /// though no receipt comes.
    ///
    /// # Errors
    /// It does not.
    pub async fn until_seen(&self) -> Result<()> {
        for agent in self.fleet.agents() {
            let after = agent.taken();
            let path = format!("/api/v1/users/{}/server", hub::user(agent.index));
            until("a fresh figure", async || {
                let server = self.collector.get(&path).await?;
                let shown = server
                    .as_ref()
                    .and_then(|s| s["memory_used_bytes"].as_u64());
                Ok(shown > Some(crate::swarm::load::number(agent.index, after)))
            })
            .await?;
        }
        Ok(())
    }

    /// No more samples; what history holds of what was promised.
    ///
    /// # Errors
    /// The collector does not answer.
    pub async fn audit(&mut self) -> Result<Audit> {
        self.fleet.stop_sampling();
        self.fleet.until_receipted(PATIENCE).await?;
        Audit::of(&self.collector, &self.fleet, 1).await
    }

    /// Rules of verdicts there were.
    ///
    /// # Errors
    /// The collector does not answer.
    pub async fn rules(&self) -> Result<Vec<String>> {
        let verdicts = self.collector.get("/api/v1/verdicts?state=all").await?;
        let items = verdicts.as_ref().and_then(|list| list["items"].as_array());
        let rule = |item: &Value| item["rule"].as_str().unwrap_or_default().to_owned();
        Ok(items.into_iter().flatten().map(rule).collect())
    }
}

/// Waits until `look` says yes.
///
/// # Errors
/// It does not within [`PATIENCE`], or fails.
pub async fn until<F>(what: &str, mut look: impl FnMut() -> F) -> Result<()>
where
    F: Future<Output = Result<bool>>,
{
    let end = Instant::now() + PATIENCE;
    while !look().await? {
        if Instant::now() > end {
            bail!("no {what} after {} s", PATIENCE.as_secs());
        }
        sleep(LOOK_INTERVAL).await;
    }
    Ok(())
}
