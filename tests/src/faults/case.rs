//! One run of 200 reports on a disk that fails at one call, judged.
//!
//! While the disk fails, whatever was handed in must be seen, nothing may have a receipt that is
//! not on the disk, and where receipts are missing the reason is said. What a crash at the end of
//! that would leave is opened and looked at. Then the disk works again, and everything must come
//! right by itself.

use std::{fs, path::Path, sync::Arc};

use anyhow::{Context as _, Result};
use hubmeter_collector::clock::ManualClock;

use super::{
    agents::{Agent, INTERVAL_MS},
    life::Life,
    shim::{Fault, Shim},
    slots,
};

/// Agents of a run.
pub const AGENTS: u64 = 2;

/// Reports of each.
pub const REPORTS: u64 = 100;

/// When a run within one hour begins.
pub const START_MS: i64 = 1_800_000_000_000;

/// When a run of two days begins: the first day ends with the first half of the reports.
pub const TWO_DAYS_MS: i64 = DAY_END_MS - HALF_MS;

/// 2027-01-16T00:00:00Z: an hour, a quarter of a day and a day end, and with them a chunk of every
/// tier.
const DAY_END_MS: i64 = 1_800_057_600_000;

const HALF_MS: i64 = REPORTS as i64 / 2 * INTERVAL_MS as i64;

/// How far apart the flushes are that close what the first half is in: past the time that is left
/// for late rows, first of the samples, then of minutes and hours.
const CLOSE_AFTER_MS: [i64; 3] = [4 * 60 * 1000, 27 * 60 * 1000, 10 * 1000];

/// Seconds of a run on the disk that fails: all reports twice over.
const STEPS: u64 = 2 * REPORTS;

/// Seconds after which it must have come right: the longest pause between tries, and all reports.
const STEPS_TO_RECOVER: u64 = 120 + STEPS;

/// Seconds between flushes of history.
const FLUSH_STEPS: u64 = 10;

/// What became of a run. Everything but the first three must be 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Calls that failed.
    pub failed: u64,
    /// Reports with a receipt when the disk worked again, of those handed in.
    pub receipted: u64,
    /// Whether a life could begin on the disk that fails.
    pub began: bool,
    /// What was broken.
    pub broken: Broken,
}

/// Broken promises, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Broken {
    /// Reports with a receipt that are not there.
    pub lost: u64,
    /// Reports that are there more than once.
    pub twice: u64,
    /// Rows that nobody sent.
    pub invented: u64,
    /// Reports handed in that the live view has not seen.
    pub unseen: u64,
    /// Runs without receipts in which no reason was given.
    pub unsaid: u64,
    /// Runs that did not come right afterwards.
    pub stuck: u64,
    /// The first, in words.
    pub told: Option<String>,
}

/// Files and agents of a run.
struct Run {
    clock: Arc<ManualClock>,
    agents: Vec<Agent>,
    life: Option<Life>,
    step: u64,
}

/// Runs with `fault`, in `root`, whose folder `data` is what the shim looks at.
///
/// # Errors
/// What has nothing to do with the fault.
pub fn run(root: &Path, shim: &Shim, fault: Option<Fault>) -> Result<Outcome> {
    let (data, copy) = (root.join("data"), root.join("copy"));
    clear(&data)?;
    let mut run = Run::new();
    let mut outcome = Outcome::default();
    shim.arm(fault)?;
    for _ in 0..STEPS {
        run.step(&data);
        if run.is_done() && run.step.is_multiple_of(FLUSH_STEPS) {
            break;
        }
    }
    run.close();
    outcome.failed = shim.get(slots::FAILED)?;
    shim.disarm()?;
    outcome.began = run.life.is_some();
    outcome.receipted = run.agents.iter().map(Agent::through_seq).sum();
    run.judge_live(&mut outcome.broken);
    copy_files(&data, &copy)?;
    match Life::begin(&copy, &run.clock) {
        Ok(life) => judge_stored(&life, &run.agents, &mut outcome.broken),
        Err(e) => outcome
            .broken
            .tell(format!("what is left does not open: {e:#}")),
    }
    run.recover(&data, &mut outcome.broken);
    Ok(outcome)
}

// === impl Run ===

impl Run {
    fn new() -> Self {
        Self {
            clock: Arc::new(ManualClock::at(TWO_DAYS_MS)),
            agents: (0..AGENTS).map(|i| Agent::new(i, TWO_DAYS_MS)).collect(),
            life: None,
            step: 0,
        }
    }

    /// One second: a start if there is no life, a report of every agent, a flush now and then.
    fn step(&mut self, data: &Path) {
        self.step += 1;
        self.clock.advance(INTERVAL_MS.into());
        if self.life.is_none() {
            self.life = Life::begin(data, &self.clock).ok();
            if let Some(life) = &self.life {
                self.agents
                    .iter_mut()
                    .for_each(|agent| agent.come_back(&life.inbox));
            }
        }
        let Some(life) = &mut self.life else { return };
        hand_in(life, &mut self.agents);
        if self.step.is_multiple_of(FLUSH_STEPS) {
            life.flush();
        }
    }

    fn close(&mut self) {
        if let Some(life) = &mut self.life {
            close(life);
        }
    }

    fn is_done(&self) -> bool {
        self.agents
            .iter()
            .all(|agent| agent.through_seq() == REPORTS)
    }

    fn judge_live(&self, broken: &mut Broken) {
        let Some(life) = &self.life else { return };
        for agent in &self.agents {
            let server = life.state.servers.get(agent.key());
            let seen = server.map_or(0, |server| server.through_seq);
            if seen < agent.handed_in() {
                broken.unseen += agent.handed_in() - seen;
                broken.tell(format!("{} of {} seen", seen, agent.handed_in()));
            }
        }
        if !self.is_done() && life.stats.unready().is_empty() {
            broken.unsaid += 1;
            broken.tell("receipts are missing and no reason is given".to_owned());
        }
    }

    /// On a disk that works: every report gets its receipt and is in history, once.
    fn recover(&mut self, data: &Path, broken: &mut Broken) {
        let end = self.step + STEPS_TO_RECOVER;
        while self.step < end && !self.is_done() {
            self.step(data);
        }
        self.close();
        let flushed = self.life.as_mut().is_some_and(Life::flush);
        let Some(life) = self.life.as_ref().filter(|_| flushed && self.is_done()) else {
            broken.stuck += 1;
            broken.tell("it does not come right".to_owned());
            return;
        };
        if !life.stats.unready().is_empty() {
            broken.stuck += 1;
            broken.tell(format!("still unready: {:?}", life.stats.unready()));
        }
        judge_stored(life, &self.agents, broken);
        for agent in &self.agents {
            let all = (agent.figure(1), agent.figure(REPORTS));
            match life.extremes(agent.key()) {
                Ok(found) if found == Some(all) => {}
                found => {
                    broken.stuck += 1;
                    broken.tell(format!("minutes of {found:?} where samples are of {all:?}"));
                }
            }
        }
    }
}

// === impl Broken ===

impl Broken {
    /// Nothing.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.told.is_none()
    }

    /// Something else is, in words.
    pub fn tell(&mut self, what: String) {
        self.told.get_or_insert(what);
    }

    /// Adds what another run broke.
    pub fn add(&mut self, other: &Self) {
        self.lost += other.lost;
        self.twice += other.twice;
        self.invented += other.invented;
        self.unseen += other.unseen;
        self.unsaid += other.unsaid;
        self.stuck += other.stuck;
        if let Some(told) = &other.told {
            self.tell(told.clone());
        }
    }
}

/// Every agent looks for its receipt and hands in its next report.
pub fn hand_in(life: &mut Life, agents: &mut [Agent]) {
    use hubmeter_collector::clock::Clock as _;
    let now_ms = life.clock.now_ms();
    let inbox = life.inbox.clone();
    let reports = agents.iter_mut().filter_map(|agent| {
        agent.look(&inbox);
        agent.hand_in(REPORTS, now_ms)
    });
    let reports = reports.collect();
    life.settle(reports);
    agents.iter_mut().for_each(|agent| agent.look(&inbox));
}

/// The first half's time for late rows is over, and its chunks are closed.
pub fn close(life: &mut Life) {
    for after_ms in CLOSE_AFTER_MS {
        life.clock.advance(after_ms);
        life.flush();
    }
}

/// Looks at the history of every agent: what has a receipt is there, nothing is there twice, and
/// nothing that was never sent.
pub fn judge_stored(life: &Life, agents: &[Agent], broken: &mut Broken) {
    for agent in agents {
        let figures = match life.figures(agent.key()) {
            Ok(figures) => figures,
            Err(e) => {
                broken.lost += agent.through_seq();
                broken.tell(format!("history cannot be read: {e:#}"));
                continue;
            }
        };
        let mut times = vec![0_u32; REPORTS as usize + 1];
        for figure in figures {
            let seq = figure.checked_sub(agent.figure(0));
            let seq = seq.filter(|seq| (1..=agent.handed_in()).contains(seq));
            match seq.and_then(|seq| times.get_mut(usize::try_from(seq).ok()?)) {
                Some(times) => *times += 1,
                None => {
                    broken.invented += 1;
                    broken.tell(format!(
                        "a row {figure} that {} never sent",
                        agent.key().user
                    ));
                }
            }
        }
        for (seq, times) in (0..).zip(times).skip(1) {
            if times == 0 && seq <= agent.through_seq() {
                broken.lost += 1;
                let through_seq = agent.through_seq();
                broken.tell(format!("no report {seq} of {through_seq} with a receipt"));
            } else if times > 1 {
                broken.twice += 1;
                broken.tell(format!("report {seq} {times} times"));
            }
        }
    }
}

fn clear(dir: &Path) -> Result<()> {
    if dir.try_exists()? {
        fs::remove_dir_all(dir).with_context(|| format!("cannot clear {}", dir.display()))?;
    }
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))
}

/// Copies every file of a folder of folders, over what was there.
///
/// # Errors
/// The disk they are on refuses.
pub fn copy_files(from: &Path, to: &Path) -> Result<()> {
    clear(to)?;
    for entry in fs::read_dir(from)? {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name()))?;
        if path.is_dir() {
            copy_files(&path, &to.join(name))?;
        } else {
            fs::copy(&path, to.join(name))?;
        }
    }
    Ok(())
}
