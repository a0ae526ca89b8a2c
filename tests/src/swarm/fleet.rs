//! All simulated agents: sampling in time, connected, counted.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use hubmeter_agent::settings::CollectorUrl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use parking_lot::Mutex;
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval_at, sleep, sleep_until},
};

use super::{agent::Agent, load::Load};

/// Agents whose receipts are timed; of more, every so many-th.
const TIMED_MAX: usize = 200;

/// How exactly they are timed.
const TIMED_STEP: Duration = Duration::from_millis(5);

/// A receipt that takes longer counts as this: it is not waited for.
const TIMED_FOR_MAX: Duration = Duration::from_secs(10);

/// Descriptors besides one for each agent.
const FILES_SPARE: u64 = 256;

/// How often it is looked whether something has come about.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Simulated agents.
pub struct Fleet {
    agents: Vec<Arc<Agent>>,
    sampling: JoinSet<()>,
    receipt_millis: Arc<Mutex<Vec<u32>>>,
}

/// How a fleet samples.
#[derive(Clone, Debug)]
pub struct Rhythm {
    /// From one sample to the next.
    pub interval: Duration,
    /// Over how long agents begin, one after another.
    pub ramp: Duration,
}

// === impl Fleet ===

impl Fleet {
    /// `agents` of them, none connected, their ids from `seed`.
    ///
    /// # Errors
    /// The system does not allow that many connections.
    pub fn new(agents: usize, interval: Duration, seed: u64) -> Result<Self> {
        raise_open_files(agents)?;
        let mut random = fastrand::Rng::with_seed(seed);
        let agents = (0..agents).map(|index| Arc::new(Agent::new(index, interval, &mut random)));
        Ok(Self {
            agents: agents.collect(),
            sampling: JoinSet::new(),
            receipt_millis: Arc::default(),
        })
    }

    /// The agents.
    #[must_use]
    pub fn agents(&self) -> &[Arc<Agent>] {
        &self.agents
    }

    /// Connects all at once.
    pub fn connect(&self, url: &CollectorUrl) {
        for agent in &self.agents {
            agent.connect(url);
        }
    }

    /// Connects each within the ramp, and lets it sample from then on.
    pub fn begin(&mut self, url: &CollectorUrl, load: &Load, rhythm: &Rhythm) {
        for agent in &self.agents {
            let (agent, url) = (Arc::clone(agent), url.clone());
            let connect_at = Instant::now() + self.turn(&agent, rhythm.ramp);
            self.sampling.spawn(async move {
                sleep_until(connect_at).await;
                agent.connect(&url);
            });
        }
        self.sample(load, rhythm);
    }

    /// Lets all sample, each at its own moment of the interval, from its turn of the ramp on.
    pub fn sample(&mut self, load: &Load, rhythm: &Rhythm) {
        let timed_every = self.agents.len().div_ceil(TIMED_MAX).max(1);
        for agent in &self.agents {
            let spread = rhythm.ramp.max(rhythm.interval);
            let first = Instant::now() + self.turn(agent, spread);
            let times = agent.index.is_multiple_of(timed_every);
            let times = times.then(|| Arc::clone(&self.receipt_millis));
            let task = sample(
                Arc::clone(agent),
                load.clone(),
                first,
                rhythm.interval,
                times,
            );
            self.sampling.spawn(task);
        }
    }

    /// No more samples.
    pub fn stop_sampling(&mut self) {
        self.sampling.abort_all();
    }

    /// Cuts all links off.
    pub fn cut(&self) {
        for agent in &self.agents {
            agent.cut();
        }
    }

    /// Agents whose reports go out.
    #[must_use]
    pub fn streaming(&self) -> usize {
        self.agents.iter().filter(|a| a.is_streaming()).count()
    }

    /// Reports taken by all.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.agents.iter().map(|agent| agent.taken()).sum()
    }

    /// Reports with a receipt, of all.
    #[must_use]
    pub fn receipted(&self) -> u64 {
        self.agents.iter().map(|agent| agent.through_seq()).sum()
    }

    /// Milliseconds from sample to receipt, sorted, of the agents that are timed; begins anew.
    #[must_use]
    pub fn take_receipt_millis(&self) -> Vec<u32> {
        let mut millis = std::mem::take(&mut *self.receipt_millis.lock());
        millis.sort_unstable();
        millis
    }

    /// Waits until all stream.
    ///
    /// # Errors
    /// Not within `patience`.
    pub async fn until_streaming(&self, patience: Duration) -> Result<()> {
        let all = self.agents.len();
        until("agents stream", patience, || (self.streaming(), all)).await
    }

    /// Waits until every report has its receipt.
    ///
    /// # Errors
    /// Not within `patience`.
    pub async fn until_receipted(&self, patience: Duration) -> Result<()> {
        until("reports have a receipt", patience, || {
            (self.receipted(), self.taken())
        })
        .await
    }

    fn turn(&self, agent: &Agent, over: Duration) -> Duration {
        over.mul_f64(agent.index as f64 / self.agents.len() as f64)
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.cut();
    }
}

async fn sample(
    agent: Arc<Agent>,
    load: Load,
    first: Instant,
    interval: Duration,
    times: Option<Arc<Mutex<Vec<u32>>>>,
) {
    let mut ticks = interval_at(first, interval);
    // A late one is made up for by none: two samples in one millisecond would be one.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let seq = agent.sample(&load);
        if let Some(times) = times.as_ref().filter(|_| agent.is_streaming()) {
            // Beside the samples, which wait for no receipt.
            tokio::spawn(time(Arc::clone(&agent), seq, Arc::clone(times)));
        }
    }
}

/// Waits for the receipt of report `seq`. One that a cut comes before is nobody's measure.
async fn time(agent: Arc<Agent>, seq: u64, times: Arc<Mutex<Vec<u32>>>) {
    let taken = Instant::now();
    while agent.through_seq() < seq && taken.elapsed() < TIMED_FOR_MAX {
        if !agent.is_streaming() {
            return;
        }
        sleep(TIMED_STEP).await;
    }
    let millis = u32::try_from(taken.elapsed().as_millis()).unwrap_or(u32::MAX);
    times.lock().push(millis);
}

async fn until<N: PartialOrd + std::fmt::Display>(
    what: &str,
    patience: Duration,
    look: impl Fn() -> (N, N),
) -> Result<()> {
    let end = Instant::now() + patience;
    loop {
        let (now, all) = look();
        if now >= all {
            return Ok(());
        }
        if Instant::now() > end {
            bail!("{now} of {all} {what} after {} s", patience.as_secs());
        }
        sleep(LOOK_INTERVAL).await;
    }
}

fn raise_open_files(agents: usize) -> Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let wanted = agents as u64 + FILES_SPARE;
    if wanted > hard {
        bail!("{agents} agents need {wanted} descriptors, the limit is {hard}: ulimit -Hn");
    }
    if wanted > soft {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
            .context("cannot raise the limit of open files")?;
    }
    Ok(())
}
