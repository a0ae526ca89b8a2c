//! Bytes that are cut off or flipped: what was damaged is noticed or harmless, nothing is invented,
//! and nothing panics.

use std::{
    collections::BTreeSet,
    fmt, fs,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{Arc, mpsc::sync_channel},
};

use anyhow::{Context as _, Result};
use hubmeter_collector::{
    clock::ManualClock,
    fact::Fact,
    inbox::{Inbox, clerk::Clerk, journal::SqliteJournal},
    stats::{Reject, Stats},
};

use super::{
    agents::{Agent, INTERVAL_MS},
    case::{self, AGENTS, Broken, START_MS, copy_files},
    life::Life,
};

/// Commits in the log whose end is cut off: some more than 64 KiB.
const LOG_STEPS: u64 = 12;

/// Commits in the database of which a page is flipped.
const PAGE_STEPS: u64 = 60;

/// What is cut off at most, byte by byte.
const TAIL_BYTES: u64 = 64 << 10;

/// Bytes of a page of SQLite.
const PAGE_BYTES: u64 = 4096;

/// What every row holds: the name of the first agent's user.
const ROW_MARK: &[u8] = b"user-0";

/// Facts of a replay.
const FACTS_MAX: usize = 10_000;

/// What damage did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// What was damaged.
    pub what: String,
    /// Cases.
    pub cases: u64,
    /// Nothing was lost by it.
    pub harmless: u64,
    /// Something was lost, and exactly that was counted, or the file was refused.
    pub noticed: u64,
    /// The log ends earlier, as after a power cut.
    pub shorter: u64,
    /// Something was lost, and nobody noticed.
    pub unnoticed: u64,
    /// Reports that were never sent.
    pub invented: u64,
    /// The first that is wrong.
    pub told: Option<String>,
}

/// What a replay found.
struct Found {
    /// Whose reports, and which.
    reports: BTreeSet<(u64, u64)>,
    invented: u64,
    corrupt: u64,
    refused: bool,
}

// === cases ===

/// All of them: every `stride`-th byte and bit, and `random` bits of each kind of file.
///
/// # Errors
/// The files cannot be made.
pub fn all(root: &Path, stride: u64, random: u64, seed: u64) -> Result<Vec<Damage>> {
    let mut all = vec![torn_log(root, stride)?, flipped_page(root, stride)?];
    all.extend(flipped_anywhere(root, random, seed)?);
    all.push(flipped_history(root, random, seed)?);
    Ok(all)
}

/// Cuts the log of the inbox off at every `stride`-th byte of its tail.
///
/// # Errors
/// The files cannot be made.
pub fn torn_log(root: &Path, stride: u64) -> Result<Damage> {
    let base = Base::new(root, LOG_STEPS, "inbox.db-wal", true)?;
    let mut damage = Damage::of("log of the inbox cut off at a byte");
    let length = base.bytes.len() as u64;
    let (mut newest, mut at) = (0, length.saturating_sub(TAIL_BYTES));
    while at <= length {
        base.restore(|file| file.set_len(at))?;
        let found = base.replay()?;
        damage.cases += 1;
        damage.invented += found.invented;
        let is_prefix = found
            .reports
            .iter()
            .all(|(agent, seq)| *seq == 1 || found.reports.contains(&(*agent, seq - 1)));
        // Never less than a shorter log had, and never with a hole.
        let count = found.reports.len();
        if !is_prefix || count < newest || found.refused {
            damage.unnoticed += 1;
            damage.tell(format!("cut at {at}: {count} reports after {newest}"));
        } else if found.reports.len() < base.sent() {
            damage.shorter += 1;
        } else {
            damage.harmless += 1;
        }
        newest = newest.max(count);
        at += stride;
    }
    Ok(damage)
}

/// Flips every `stride`-th bit of a page of the inbox that holds rows.
///
/// # Errors
/// The files cannot be made.
pub fn flipped_page(root: &Path, stride: u64) -> Result<Damage> {
    let base = Base::new(root, PAGE_STEPS, "inbox.db", false)?;
    let page = base.fullest_page();
    let bits = (0..PAGE_BYTES * 8).step_by(usize::try_from(stride)?);
    base.flip(
        "bit of a page of the inbox flipped",
        bits.map(|bit| page * PAGE_BYTES * 8 + bit),
        false,
    )
}

/// Flips `count` random bits, one after another, anywhere in the inbox or in its log.
///
/// # Errors
/// The files cannot be made.
pub fn flipped_anywhere(root: &Path, count: u64, seed: u64) -> Result<[Damage; 2]> {
    let mut random = fastrand::Rng::with_seed(seed);
    let base = Base::new(root, PAGE_STEPS, "inbox.db", false)?;
    let length = base.bytes.len() as u64 * 8;
    let bits: Vec<u64> = (0..count).map(|_| random.u64(..length)).collect();
    let database = base.flip("bit of the inbox flipped", bits.into_iter(), false)?;
    let base = Base::new(root, LOG_STEPS, "inbox.db-wal", true)?;
    let length = base.bytes.len() as u64 * 8;
    let bits: Vec<u64> = (0..count).map(|_| random.u64(..length)).collect();
    let log = base.flip("bit of the inbox's log flipped", bits.into_iter(), true)?;
    Ok([database, log])
}

/// Flips `count` random bits, one after another, in a file of history's finest tier: in bytes that hold
/// something, since few rows fill little of its pages.
///
/// # Errors
/// The files cannot be made.
pub fn flipped_history(root: &Path, count: u64, seed: u64) -> Result<Damage> {
    let mut random = fastrand::Rng::with_seed(seed);
    let raw = root.join("base/history/raw");
    let (base, agents) = Base::with_history(root, &raw)?;
    let mut damage = Damage::of("bit of a file of history flipped");
    let used: Vec<u64> = (0..)
        .zip(&base.bytes)
        .filter_map(|(at, byte)| (*byte != 0).then_some(at))
        .collect();
    for _ in 0..count {
        let byte = random.choice(&used).context("an empty file")?;
        let bit = byte * 8 + random.u64(..8);
        base.restore(|file| flip(file, &base.bytes, bit))?;
        let clock = Arc::new(ManualClock::at(START_MS + 60_000));
        damage.cases += 1;
        let mut broken = Broken::default();
        match Life::begin(&base.data, &clock) {
            Ok(life) => case::judge_stored(&life, &agents, &mut broken),
            Err(_) => damage.noticed += 1,
        }
        damage.invented += broken.invented + broken.twice;
        match broken.told {
            None => damage.harmless += 1,
            // What cannot be read is missing from the answer, and counted there.
            Some(_) if broken.lost > 0 => damage.noticed += 1,
            Some(told) => damage.tell(format!("bit {bit}: {told}")),
        }
    }
    Ok(damage)
}

// === impl Damage ===

impl Damage {
    fn of(what: &str) -> Self {
        Self {
            what: what.to_owned(),
            ..Self::default()
        }
    }

    /// Whether everything was noticed or harmless.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.unnoticed + self.invented == 0
    }

    fn tell(&mut self, what: String) {
        self.told.get_or_insert(what);
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} cases, {} harmless, {} noticed, {} end earlier, {} unnoticed, {} invented",
            self.what,
            self.cases,
            self.harmless,
            self.noticed,
            self.shorter,
            self.unnoticed,
            self.invented
        )?;
        if let Some(told) = &self.told {
            write!(f, "\n  {told}")?;
        }
        Ok(())
    }
}

/// After so long every hour so far is over, and history has closed its chunks.
const HOUR_OVER_MS: i64 = 64 * 60 * 1000;

/// Files of a run, one of which is damaged again and again.
struct Base {
    base: PathBuf,
    data: PathBuf,
    file: PathBuf,
    bytes: Vec<u8>,
    agents: Vec<Agent>,
    steps: u64,
}

// === impl Base ===

impl Base {
    /// A run of `steps` commits, whose `file` is to be damaged; with its log, as a crash leaves it,
    /// or without, as an orderly end does.
    fn new(root: &Path, steps: u64, file: &str, crashed: bool) -> Result<Self> {
        let (live, base) = (root.join("live"), root.join("base"));
        let _ = fs::remove_dir_all(&live);
        fs::create_dir_all(&live)?;
        let (mut life, mut agents) = begin(&live)?;
        for _ in 0..steps {
            life.clock.advance(INTERVAL_MS.into());
            case::hand_in(&mut life, &mut agents);
        }
        if crashed {
            copy_files(&live, &base)?;
        } else {
            drop(life);
            copy_files(&live, &base)?;
        }
        let _ = fs::remove_dir_all(base.join("history"));
        let _ = fs::remove_file(base.join("inbox.db-shm"));
        let bytes = fs::read(base.join(file)).with_context(|| format!("no {file}"))?;
        Ok(Self {
            data: root.join("data"),
            file: file.into(),
            base,
            bytes,
            agents,
            steps,
        })
    }

    /// The same with everything in history and nothing in the inbox.
    fn with_history(root: &Path, raw: &Path) -> Result<(Self, Vec<Agent>)> {
        let mut base = Self::new(root, PAGE_STEPS, "inbox.db", false)?;
        let (mut life, mut agents) = begin(&root.join("live"))?;
        case::hand_in(&mut life, &mut agents);
        life.flush();
        // The hour ends, and its chunks are closed into the file.
        life.clock.advance(HOUR_OVER_MS);
        life.flush();
        drop(life);
        copy_files(&root.join("live"), &base.base)?;
        for end in ["", "-wal", "-shm"] {
            let _ = fs::remove_file(base.base.join(format!("inbox.db{end}")));
        }
        let file = fs::read_dir(raw)?.next().context("no file of history")??;
        base.bytes = fs::read(file.path())?;
        base.file = file.path().strip_prefix(&base.base)?.to_owned();
        Ok((base, agents))
    }

    /// The page with most rows on it, whole.
    fn fullest_page(&self) -> u64 {
        let pages = self
            .bytes
            .chunks(usize::try_from(PAGE_BYTES).unwrap_or(usize::MAX));
        let rows = |page: &[u8]| {
            page.windows(ROW_MARK.len())
                .filter(|w| *w == ROW_MARK)
                .count()
        };
        let fullest = (0..).zip(pages).max_by_key(|(_, page)| rows(page));
        fullest.map_or(0, |(place, _)| place)
    }

    fn sent(&self) -> usize {
        usize::try_from(self.steps * AGENTS).unwrap_or(usize::MAX)
    }

    fn flip(&self, what: &str, bits: impl Iterator<Item = u64>, is_log: bool) -> Result<Damage> {
        let mut damage = Damage::of(what);
        for bit in bits {
            self.restore(|file| flip(file, &self.bytes, bit))?;
            let found = self.replay()?;
            damage.cases += 1;
            damage.invented += found.invented;
            let lost = self.sent().saturating_sub(found.reports.len());
            // A row holds a report of each agent. A row's number that is damaged counts for more.
            let exact = found.corrupt * AGENTS >= lost as u64;
            if lost == 0 && !found.refused {
                damage.harmless += 1;
            } else if found.refused || (found.corrupt > 0 && exact) {
                damage.noticed += 1;
            } else if is_log && found.corrupt == 0 {
                damage.shorter += 1;
            } else {
                damage.unnoticed += 1;
                let corrupt = found.corrupt;
                damage.tell(format!(
                    "bit {bit}: {lost} reports lost, {corrupt} rows counted"
                ));
            }
        }
        Ok(damage)
    }

    /// Puts the files back and damages one.
    fn restore(&self, damage: impl FnOnce(&fs::File) -> std::io::Result<()>) -> Result<()> {
        copy_files(&self.base, &self.data)?;
        let file = fs::OpenOptions::new()
            .write(true)
            .open(self.data.join(&self.file))?;
        Ok(damage(&file)?)
    }

    fn replay(&self) -> Result<Found> {
        let mut found = Found {
            reports: BTreeSet::new(),
            invented: 0,
            corrupt: 0,
            refused: true,
        };
        let clock = Arc::new(ManualClock::at(START_MS + 3600 * 1000));
        let Ok(journal) = SqliteJournal::open(&self.data) else {
            return Ok(found);
        };
        let (onward, facts) = sync_channel(FACTS_MAX);
        let stats = Stats::new();
        let (_inbox, mut clerk): (Inbox, Clerk<_>) =
            Inbox::new(journal, onward, clock, stats.clone());
        found.refused = clerk.replay().is_err();
        found.corrupt = stats.rejected(Reject::CorruptRow);
        for fact in facts.try_iter().flat_map(|batch| batch.facts) {
            let Fact::Report {
                key, seq, samples, ..
            } = fact
            else {
                continue;
            };
            let figures = samples.iter().map(|sample| sample.memory_used_bytes);
            let agent = self.agents.iter().position(|agent| *agent.key() == key);
            match agent {
                Some(agent) if figures.eq([self.agents[agent].figure(seq)]) => {
                    found.reports.insert((agent as u64, seq));
                }
                _ => found.invented += 1,
            }
        }
        Ok(found)
    }
}

fn begin(live: &Path) -> Result<(Life, Vec<Agent>)> {
    let clock = Arc::new(ManualClock::at(START_MS));
    let mut agents: Vec<Agent> = (0..AGENTS).map(|i| Agent::new(i, START_MS)).collect();
    let life = Life::begin(live, &clock)?;
    agents
        .iter_mut()
        .for_each(|agent| agent.come_back(&life.inbox));
    Ok((life, agents))
}

fn flip(file: &fs::File, bytes: &[u8], bit: u64) -> std::io::Result<()> {
    let at = bit / 8;
    let byte = bytes
        .get(usize::try_from(at).unwrap_or(usize::MAX))
        .copied();
    file.write_all_at(&[byte.unwrap_or_default() ^ (1 << (bit % 8))], at)
}
