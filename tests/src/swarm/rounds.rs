//! The collector is killed again and again, at random moments, under agents that go on: what had a
//! receipt must be there in the end, once, under the right name.

use std::{fmt, path::Path, time::Duration};

use anyhow::Result;
use tokio::time::{Instant, sleep};

use super::{
    audit::Audit,
    collector::{Carrier, Collector},
    fleet::{Fleet, Rhythm},
    hub::Hub,
    load::Load,
};

/// Receipts, for each agent, that a collector may give before it is killed: a life is measured by
/// what it got done, so that a slow machine tries as much as a quick one.
const RECEIPTS_MAX: f64 = 2.0;

/// And so long after the last of them: any moment between one commit and the next.
const BETWEEN_COMMITS: Duration = Duration::from_millis(300);

/// A life that gets nothing done ends, too.
const LIFE_MAX: Duration = Duration::from_secs(2);

/// How often it is looked how much got done.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// One in so many is killed while it starts, before it lets agents in.
const KILLED_EARLY: u32 = 8;

/// The longest such a life.
const EARLY_LIFE_MAX: Duration = Duration::from_millis(400);

/// From sample to sample. The wire knows no shorter interval than a second; samples that come as
/// fast as a burst's are taken, too.
const INTERVAL: Duration = Duration::from_secs(1);

/// Samples come twice as fast, so that there is always something under way.
const SAMPLES_EVERY: Duration = Duration::from_millis(500);

/// For what must come about in the end, on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Tokens count as verified for so long: longer than any run.
const TOKENS_KNOWN: Duration = Duration::from_secs(24 * 3600);

/// What is done.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Agents.
    pub agents: usize,
    /// Kills.
    pub rounds: u32,
    /// Moments and ids.
    pub seed: u64,
}

/// What was seen.
#[derive(Clone, Debug)]
pub struct Rounds {
    /// The plan's.
    pub seed: u64,
    /// Kills.
    pub kills: u32,
    /// Of them, before agents were let in.
    pub early: u32,
    /// Kills at which reports were under way without a receipt, and agents streamed.
    pub caught: u32,
    /// Kills after which receipts had come from that life.
    pub fruitful: u32,
    /// Questions about agents' tokens in all lives.
    pub hub_questions: u64,
    /// What history holds in the end.
    pub audit: Audit,
}

/// Kills a collector that lives in `dir` as planned.
///
/// # Errors
/// Something does not start, or does not come right after the last kill.
pub async fn run(plan: Plan, program: &Path, dir: &Path) -> Result<Rounds> {
    let hub = Hub::start(plan.agents).await?;
    let mut collector = Collector::new(program, dir, &hub.api_url, Carrier::Unix)?;
    collector.know_tokens(plan.agents, TOKENS_KNOWN)?;
    let url = collector.url()?;
    let mut random = fastrand::Rng::with_seed(plan.seed);
    let mut fleet = Fleet::new(plan.agents, INTERVAL, random.u64(..))?;
    let rhythm = Rhythm {
        interval: SAMPLES_EVERY,
        ramp: Duration::ZERO,
    };
    let (mut early, mut caught, mut fruitful) = (0, 0, 0);
    for _ in 0..plan.rounds {
        if random.u32(..KILLED_EARLY) == 0 {
            collector.spawn()?;
            sleep(EARLY_LIFE_MAX.mul_f64(random.f64())).await;
            collector.kill()?;
            early += 1;
            continue;
        }
        collector.start().await?;
        let before = fleet.receipted();
        // As new lives of their links: those of real agents would by now wait a minute.
        fleet.connect(&url);
        // In lives only: every start reads all there was, and would take ever longer.
        fleet.sample(&Load::Numbered, &rhythm);
        let wanted = RECEIPTS_MAX * plan.agents as f64 * random.f64();
        let over = Instant::now() + LIFE_MAX;
        while ((fleet.receipted() - before) as f64) < wanted && Instant::now() < over {
            sleep(LOOK_INTERVAL).await;
        }
        sleep(BETWEEN_COMMITS.mul_f64(random.f64())).await;
        let streaming = fleet.streaming();
        collector.kill()?;
        fleet.stop_sampling();
        caught += u32::from(streaming > 0 && fleet.receipted() < fleet.taken());
        fruitful += u32::from(fleet.receipted() > before);
    }
    collector.start().await?;
    fleet.connect(&url);
    fleet.until_streaming(PATIENCE).await?;
    fleet.until_receipted(PATIENCE).await?;
    Ok(Rounds {
        seed: plan.seed,
        kills: plan.rounds,
        early,
        caught,
        fruitful,
        hub_questions: hub.questions(),
        audit: Audit::of(&collector, &fleet, 1).await?,
    })
}

impl fmt::Display for Rounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "seed {}: {} kills, {} of them at a start, {} with reports under way, {} after receipts; \
             {} questions about tokens; {}",
            self.seed,
            self.kills,
            self.early,
            self.caught,
            self.fruitful,
            self.hub_questions,
            self.audit
        )
    }
}
