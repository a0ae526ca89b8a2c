//! The plug is pulled: a run of 200 reports is written down, call by call, and what a cut at any
//! moment of it could leave is opened and looked at.

use std::{fmt, fs, io::Write as _, path::Path, process::Command, sync::Arc};

use anyhow::{Context as _, Result, bail};
use hubmeter_collector::clock::ManualClock;

use super::{
    agents::{Agent, INTERVAL_MS},
    case::{self, AGENTS, Broken, REPORTS, TWO_DAYS_MS},
    image::Disk,
    life::Life,
    record::{self, Deed},
    shim::{self, Fault, Shim},
    slots,
};

/// Beside the data, what has a receipt: a line is written after it came, so that the record tells
/// what was promised when.
const PROMISED: &str = "promised";

/// Steps between flushes of history.
const FLUSH_STEPS: u64 = 10;

/// The run is ended and begun again after so many steps: closing and opening are cut, too.
const LIFE_STEPS: u64 = 35;

/// Steps of a run, at most.
const STEPS_MAX: u64 = 6 * REPORTS;

/// Runs that are written down: one on a good disk, and others in which one flush fails.
const RUNS: u64 = 24;

/// Of the flushes of a run, every so many-th fails in one of the others.
const FAILED_FLUSH_STEP: u64 = 7;

/// What was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Power {
    /// Where random moments and losses come from.
    pub seed: u64,
    /// Disks that were built.
    pub images: u64,
    /// Deeds in the records.
    pub deeds: usize,
    /// Reports with a receipt, over all images.
    pub promised: u64,
    /// Images in which something unflushed was lost.
    pub broken: Broken,
}

/// Flushes that fail in a row, at most.
const FAILED_FLUSHES_MAX: u64 = 6;

// === running ===

/// Writes runs down in processes of `program`, then builds `images` and looks at them, with as many
/// threads as `jobs`.
///
/// # Errors
/// A run fails, or an image cannot be built.
pub fn run(program: &Path, root: &Path, images: u64, seed: u64, jobs: u64) -> Result<Power> {
    let mut records = Vec::new();
    for run in 0..RUNS {
        records.push(write_down(program, &root.join(format!("run-{run}")), run)?);
    }
    let deeds = records.iter().map(Vec::len).sum();
    let records = &records;
    let parts = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..jobs)
            .map(|job| {
                let dir = root.join(format!("image-{job}"));
                scope.spawn(move || look(records, &dir, (job..images).step_by(jobs as usize), seed))
            })
            .collect();
        let joined = threads.into_iter().map(std::thread::ScopedJoinHandle::join);
        joined.collect::<Vec<_>>()
    });
    let mut power = Power {
        seed,
        deeds,
        ..Power::default()
    };
    for part in parts {
        let Ok(part) = part else {
            bail!("a panic over an image of seed {seed}");
        };
        let part = part?;
        power.images += part.images;
        power.promised += part.promised;
        power.broken.add(&part.broken);
    }
    Ok(power)
}

fn write_down(program: &Path, dir: &Path, run: u64) -> Result<Vec<Deed>> {
    let data = dir.join("data");
    fs::create_dir_all(&data)?;
    let (control, record) = (dir.join("control"), dir.join("record"));
    drop(Shim::open(&control)?);
    let status = Command::new(program)
        .arg("record")
        .arg(dir)
        .arg(run.to_string())
        .envs(shim::environment(&control, &data, Some(&record))?)
        .status()
        .with_context(|| format!("cannot start {}", program.display()))?;
    if !status.success() {
        bail!("{} ended with {status}", program.display());
    }
    record::read(&record, &data)
}

/// One run, in a process under the shim, which writes it down.
///
/// # Errors
/// The shim is not there, or the run does not come to its end.
pub fn record(dir: &Path, run: u64) -> Result<()> {
    let shim = Shim::of_this_process()?;
    let data = dir.join("data");
    let fault = (run > 0).then(|| Fault {
        kind: slots::KIND_SYNC,
        at: run * FAILED_FLUSH_STEP,
        // The last tries are those of a store that closes its files for good measure.
        lasts: 1 + run % FAILED_FLUSHES_MAX,
    });
    shim.arm(fault)?;
    shim.set(slots::RECORDING, 1)?;
    let clock = Arc::new(ManualClock::at(TWO_DAYS_MS));
    let mut agents: Vec<Agent> = (0..AGENTS).map(|i| Agent::new(i, TWO_DAYS_MS)).collect();
    let mut promised = fs::File::create(data.join(PROMISED))?;
    let mut life = None;
    for step in 1..=STEPS_MAX {
        clock.advance(INTERVAL_MS.into());
        if step % LIFE_STEPS == 0 {
            life = None;
        }
        if life.is_none() {
            life = Life::begin(&data, &clock).ok();
            if let Some(life) = &life {
                agents
                    .iter_mut()
                    .for_each(|agent| agent.come_back(&life.inbox));
            }
        }
        let Some(life) = &mut life else { continue };
        case::hand_in(life, &mut agents);
        let through = agents.iter().map(|agent| agent.through_seq().to_string());
        let line = through.collect::<Vec<_>>().join(" ");
        promised.write_all(format!("{line}\n").as_bytes())?;
        if step % FLUSH_STEPS == 0 {
            life.flush();
        }
        if agents.iter().all(|agent| agent.through_seq() == REPORTS) && step % FLUSH_STEPS == 1 {
            case::close(life);
            return shim.disarm();
        }
    }
    bail!("run {run} does not come to its end")
}

fn look(
    records: &[Vec<Deed>],
    dir: &Path,
    images: impl Iterator<Item = u64>,
    seed: u64,
) -> Result<Power> {
    let mut power = Power::default();
    for image in images {
        let mut random = fastrand::Rng::with_seed(seed.wrapping_add(image));
        let deeds = &records[image as usize % records.len()];
        let cut = random.usize(..=deeds.len());
        let mut disk = Disk::default();
        let mut through = vec![0; AGENTS as usize];
        for deed in &deeds[..cut] {
            if deed.path == Path::new(PROMISED) {
                promise(deed, &mut through);
            } else {
                disk.take(deed, &mut random);
            }
        }
        let _ = fs::remove_dir_all(dir);
        disk.cut(dir, &mut random)?;
        power.images += 1;
        power.promised += through.iter().sum::<u64>();
        let agents: Vec<Agent> = (0..)
            .zip(&through)
            .map(|(index, through_seq)| Agent::known(index, *through_seq, REPORTS))
            .collect();
        let mut broken = Broken::default();
        let clock = Arc::new(ManualClock::at(TWO_DAYS_MS + 3600 * 1000));
        match Life::begin(dir, &clock) {
            Ok(life) => case::judge_stored(&life, &agents, &mut broken),
            Err(e) => broken.tell(format!("it does not open: {e:#}")),
        }
        broken.told = broken
            .told
            .map(|told| format!("image {image} of seed {seed}, cut at {cut}: {told}"));
        power.broken.add(&broken);
    }
    Ok(power)
}

fn promise(deed: &Deed, through: &mut [u64]) {
    if deed.did == slots::DID_WRITE {
        let line = String::from_utf8_lossy(&deed.bytes);
        for (through, seq) in through.iter_mut().zip(line.split_whitespace()) {
            *through = seq.parse().unwrap_or(*through);
        }
    }
}

impl fmt::Display for Power {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "seed {}: {} images of {RUNS} runs ({} deeds), {} reports with a receipt: {} lost, \
             {} twice, {} invented",
            self.seed,
            self.images,
            self.deeds,
            self.promised,
            self.broken.lost,
            self.broken.twice,
            self.broken.invented
        )?;
        if let Some(told) = &self.broken.told {
            write!(f, "\n  {told}")?;
        }
        Ok(())
    }
}
