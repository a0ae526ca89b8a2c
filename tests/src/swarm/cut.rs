//! The network between agents and collector is cut for a while: what was sampled meanwhile comes
//! afterwards, all of it.

use std::{path::Path, time::Duration};

use anyhow::{Result, ensure};
use tokio::time::{Instant, sleep};

use super::{
    audit::Audit,
    collector::{Carrier, Collector},
    fleet::{Fleet, Rhythm},
    hub::Hub,
    load::Load,
    relay::Relay,
};

/// For what must come about, on the slowest machine: an agent waits a minute at most.
const PATIENCE: Duration = Duration::from_secs(180);

/// Before the cut: some receipts.
const CALM: Duration = Duration::from_secs(2);

/// Tokens count as verified for so long: longer than any cut.
const TOKENS_KNOWN: Duration = Duration::from_secs(24 * 3600);

/// What is done.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Agents.
    pub agents: usize,
    /// From sample to sample before the cut.
    pub interval: Duration,
    /// The same in it: ten minutes' worth of reports can be made in seconds.
    pub interval_cut: Duration,
    /// How long nothing gets through.
    pub cut: Duration,
    /// Ids.
    pub seed: u64,
}

/// What was seen.
#[derive(Clone, Debug)]
pub struct Cut {
    /// Most reports that one agent kept meanwhile.
    pub kept_most: u64,
    /// Fewest.
    pub kept_least: u64,
    /// From the healing until every report had its receipt.
    pub caught_up: Duration,
    /// What history holds.
    pub audit: Audit,
}

/// Cuts as planned, before a collector that lives in `dir`.
///
/// # Errors
/// Something does not start, or does not come right.
pub async fn run(plan: Plan, program: &Path, dir: &Path) -> Result<Cut> {
    let hub = Hub::start(plan.agents).await?;
    let mut collector = Collector::new(program, dir, &hub.api_url, Carrier::Tls)?;
    collector.know_tokens(plan.agents, TOKENS_KNOWN)?;
    collector.start().await?;
    let relay = Relay::start(collector.port()).await?;
    let url = collector.url_at(relay.port)?;
    let mut fleet = Fleet::new(plan.agents, plan.interval, plan.seed)?;
    let rhythm = Rhythm {
        interval: plan.interval,
        ramp: Duration::ZERO,
    };
    fleet.begin(&url, &Load::Numbered, &rhythm);
    fleet.until_streaming(PATIENCE).await?;
    sleep(CALM).await;
    let before = fleet.receipted();
    ensure!(before > 0, "no receipts before the cut");

    relay.cut();
    fleet.stop_sampling();
    let rhythm = Rhythm {
        interval: plan.interval_cut,
        ramp: Duration::ZERO,
    };
    fleet.sample(&Load::Numbered, &rhythm);
    sleep(plan.cut).await;
    let kept = fleet.agents().iter().map(|a| a.taken() - a.through_seq());
    let (kept_least, kept_most) = (kept.clone().min(), kept.max());
    relay.heal();
    let healed = Instant::now();
    fleet.stop_sampling();
    fleet.until_receipted(PATIENCE).await?;
    Ok(Cut {
        kept_most: kept_most.unwrap_or(0),
        kept_least: kept_least.unwrap_or(0),
        caught_up: healed.elapsed(),
        audit: Audit::of(&collector, &fleet, 1).await?,
    })
}
