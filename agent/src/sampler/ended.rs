//! What ended since the previous tick: kernels, terminals and apps that somebody will miss, and
//! whether memory was why.
//!
//! The kernel's counter says that the out-of-memory killer came, not whom it took. Of the
//! processes that went since, those that died of SIGKILL or that may have are believed to be its
//! victims, largest first; a worker that was taken is no workload's end. What the Jupyter server
//! knows (somebody asked for the end, the signal it waited for) outweighs every guess, and a
//! guess about one of its kernels waits a moment for its word.

use std::path::Path;

use hubmeter_proto::limits::ENDED_PER_SAMPLE_MAX;

use crate::{
    rate::Owner,
    sample::{
        EndCause, Ended, Sample, Workload, WorkloadKind,
        file::{Lasting, Page, field},
        keyed::{KeyMap, KeySet},
        process::{Key, Reading},
    },
    workload::Claims,
};

/// Ticks for which an out-of-memory kill waits for its victim to end: the killer counts first, and
/// giving back a hundred gigabytes takes the victim seconds.
const OOM_CLAIM_TICKS: u64 = 3;

/// How long a guess waits for the server's word: it polls its kernels every 3 s, and tells of an
/// end that was asked for when it is done.
const WORD_MS: u64 = 3_000;

/// Ends that wait at once; what is beyond is told as it is guessed.
const WAITING_MAX: usize = ENDED_PER_SAMPLE_MAX;

/// Use of the limit, in percent, from which a SIGKILL is believed to be about memory.
const NEAR_PERCENT: u64 = 80;

/// Intervals within which reaching the limit is near.
const NEAR_INTERVALS: u64 = 2;

const SIGKILL: u8 = 9;

/// One kind of kill counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counter {
    /// Of a cgroup that is this server's alone: every kill took one of its processes.
    Own,
    /// Of a cgroup that others share, or of the whole machine: a kill may be somebody else's.
    Shared,
}

/// Out-of-memory kills so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KillCount {
    pub(crate) counter: Counter,
    pub(crate) kills: u64,
}

/// A process that lived at the previous tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Departed {
    pub(super) key: Key,
    /// What it held when it last held anything.
    pub(super) held_bytes: u64,
    /// The signal it died of, 0 for none, where that could be seen.
    pub(super) signal: Option<u8>,
}

/// What one tick says about ends.
pub(super) struct Ends<'a> {
    pub(super) mono_ms: u64,
    pub(super) departed: &'a [Departed],
    /// The largest process that is left.
    pub(super) largest_bytes: u64,
    pub(super) limit_bytes: Option<u64>,
    /// Whether memory was near its limit before.
    pub(super) near_limit: bool,
    pub(super) kills: Option<KillCount>,
    pub(super) claims: &'a Claims,
}

/// What somebody will miss, should it not be there at the next tick.
#[derive(Debug, Default)]
pub(super) struct Endings {
    missable: Option<KeyMap<Ended>>,
    /// Room for the next tick's.
    spare: KeyMap<Ended>,
    /// Those that hold nothing any more and are not dead yet: whether memory was near its limit
    /// when they last held anything. Who gives back a hundred gigabytes is on its way out for
    /// seconds, and nothing is near its limit after that.
    fading: KeyMap<bool>,
    kills: Kills,
    waiting: Vec<Waiting>,
}

/// Out-of-memory kills that found no victim yet.
#[derive(Debug, Default)]
struct Kills {
    counted: Option<KillCount>,
    unclaimed: u64,
    until_tick: u64,
    tick: u64,
}

/// An end whose cause is a guess.
#[derive(Debug)]
struct Waiting {
    /// With the cause it is told with if nobody says anything.
    guess: Ended,
    /// With the cause it is told with if it died of SIGKILL and nobody asked for it.
    if_killed: EndCause,
    until_ms: u64,
}

/// The machine's own kill counter, where no cgroup's is to be had.
#[derive(Debug)]
pub(super) struct MachineKills {
    vmstat: Lasting,
    last: Option<u64>,
    /// Processes that were dead or gone at the previous look.
    over: usize,
}

/// Whether memory is near its limit, or soon will be.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Nearness {
    used_bytes: Option<u64>,
    limit_bytes: Option<u64>,
    near: bool,
}

// === impl MachineKills ===

impl MachineKills {
    pub(super) fn new(proc_root: &Path, keep: bool) -> Self {
        Self {
            vmstat: Lasting::new(proc_root.join("vmstat"), keep),
            last: None,
            over: 0,
        }
    }

    /// The count, as last read where there is no reason to `look` and nobody died: the file is
    /// long.
    pub(super) fn count(&mut self, look: bool, over: usize) -> Option<KillCount> {
        let died = over != std::mem::replace(&mut self.over, over);
        if look || died || self.last.is_none() {
            let mut page = Page::default();
            let text = self.vmstat.text(&mut page);
            self.last = text.and_then(|text| field(text, "oom_kill"));
        }
        let kills = self.last?;
        Some(KillCount {
            counter: Counter::Shared,
            kills,
        })
    }
}

// === impl Nearness ===

impl Nearness {
    /// Takes the newest sample.
    pub(super) fn take(&mut self, sample: &Sample) {
        let used = sample
            .memory_limit_used_bytes
            .unwrap_or(sample.memory_used_bytes);
        let growth = used.saturating_sub(self.used_bytes.unwrap_or(used));
        self.near = sample.memory_limit_bytes.is_some_and(|limit| {
            used >= limit / 100 * NEAR_PERCENT || used + NEAR_INTERVALS * growth >= limit
        });
        self.used_bytes = Some(used);
        self.limit_bytes = sample.memory_limit_bytes;
    }

    /// As of the newest sample.
    pub(super) fn is_near(self) -> bool {
        self.near
    }

    /// The limit then.
    pub(super) fn limit_bytes(self) -> Option<u64> {
        self.limit_bytes
    }
}

// === impl Endings ===

impl Endings {
    /// What is missed since the previous tick, with what is known of its cause.
    pub(super) fn ended(&mut self, workloads: &[(Owner, Workload)], ends: &Ends<'_>) -> Vec<Ended> {
        self.kills.count(ends.kills);
        let mut told = self.decide_waiting(ends);
        let Some(missable) = &self.missable else {
            return told;
        };
        // What goes on under another name has not ended.
        let over: Vec<(&Departed, &Ended)> = ends
            .departed
            .iter()
            .filter_map(|departed| Some((departed, missable.get(&departed.key)?)))
            .filter(|(departed, _)| {
                let owner = Owner::Root(departed.key);
                !workloads.iter().any(|(of, _)| *of == owner)
            })
            .collect();
        let taken = self.kills.claim(ends, &over);
        for (departed, ended) in over {
            let oom = taken.contains(&departed.key);
            let faded = self.fading.get(&departed.key);
            let near_limit = ends.near_limit || faded.is_some_and(|&near| near);
            match judge(departed, ended, oom, near_limit, ends) {
                Ok(cause) => told.push(Ended {
                    cause,
                    ..ended.clone()
                }),
                Err(waiting) if self.waiting.len() < WAITING_MAX => self.waiting.push(waiting),
                Err(waiting) => told.push(waiting.guess),
            }
        }
        told.sort_by_key(|ended| std::cmp::Reverse(ended.memory_used_bytes));
        if told.len() > ENDED_PER_SAMPLE_MAX {
            tracing::warn!(
                count = told.len(),
                limit = ENDED_PER_SAMPLE_MAX,
                "more workloads ended at once than are told"
            );
            told.truncate(ENDED_PER_SAMPLE_MAX);
        }
        told
    }

    /// Keeps what there is as it will be told.
    pub(super) fn remember(&mut self, workloads: &[(Owner, Workload)]) {
        let mut missable = std::mem::take(&mut self.spare);
        for (owner, workload) in workloads {
            let Owner::Root(root) = *owner else { continue };
            if matches!(
                workload.kind,
                WorkloadKind::Kernel | WorkloadKind::Terminal | WorkloadKind::App
            ) {
                let mut told = Ended::of(workload);
                // A large process on its way out shows nothing for a while before it is a zombie:
                // what will be told is what it held before.
                if told.memory_used_bytes == 0
                    && let Some(before) = self.missable.as_ref().and_then(|m| m.get(&root))
                {
                    told.memory_used_bytes = before.memory_used_bytes;
                }
                missable.insert(root, told);
            }
        }
        if let Some(mut before) = self.missable.replace(missable) {
            before.clear();
            self.spare = before;
        }
    }

    /// Keeps who is on its way out; `near_limit` is of the tick before, when it still held memory.
    pub(super) fn note_fading(&mut self, readings: &[&Reading], near_limit: bool) {
        let fading = readings
            .iter()
            .filter(|reading| reading.rss_bytes == 0 && !reading.is_dead())
            .map(|reading| reading.key);
        self.fading = fading
            .map(|key| (key, self.fading.get(&key).copied().unwrap_or(near_limit)))
            .collect();
    }

    fn decide_waiting(&mut self, ends: &Ends<'_>) -> Vec<Ended> {
        let mut told = Vec::new();
        self.waiting.retain(|waiting| {
            let mut ended = waiting.guess.clone();
            if let Some(word) = ends.claims.end_of(&ended.id, ended.pid) {
                let killed = !word.asked && word.signal == Some(SIGKILL);
                ended.cause = if killed {
                    waiting.if_killed
                } else {
                    EndCause::Gone
                };
            } else if ends.mono_ms < waiting.until_ms {
                return true;
            }
            told.push(ended);
            false
        });
        told
    }
}

/// Why it ended; an error is a guess that should wait for the server's word.
fn judge(
    departed: &Departed,
    ended: &Ended,
    oom: bool,
    near_limit: bool,
    ends: &Ends<'_>,
) -> Result<EndCause, Waiting> {
    let word = ends.claims.end_of(&ended.id, ended.pid);
    let signal = departed.signal.or(word.and_then(|word| word.signal));
    let asked = word.is_some_and(|word| word.asked);
    let if_killed = match (oom, near_limit) {
        _ if asked || signal.is_some_and(|signal| signal != SIGKILL) => EndCause::Gone,
        (true, _) => EndCause::OutOfMemory,
        (false, true) => EndCause::KilledNearLimit,
        (false, false) => EndCause::Gone,
    };
    let guess = match if_killed {
        EndCause::KilledNearLimit if signal.is_none() => EndCause::Gone,
        cause => cause,
    };
    // A SIGKILL that the counter confirms needs no word.
    let sure = word.is_some()
        || if_killed == EndCause::Gone
        || (oom && signal == Some(SIGKILL))
        || !(ended.kind == WorkloadKind::Kernel && ends.claims.knows_kernel(&ended.id));
    if sure {
        return Ok(guess);
    }
    Err(Waiting {
        guess: Ended {
            cause: guess,
            ..ended.clone()
        },
        if_killed,
        until_ms: ends.mono_ms.saturating_add(WORD_MS),
    })
}

// === impl Ended ===

impl Ended {
    /// As it will be told if it is not there next time.
    fn of(workload: &Workload) -> Self {
        Self {
            kind: workload.kind,
            id: workload.id.clone(),
            name: workload.name.clone(),
            notebook: workload.notebook.clone(),
            pid: workload.pid,
            cause: EndCause::Gone,
            memory_used_bytes: workload.memory_used_bytes.unwrap_or(workload.rss_bytes),
        }
    }
}

// === impl Kills ===

impl Kills {
    fn count(&mut self, now: Option<KillCount>) {
        self.tick += 1;
        if let (Some(now), Some(before)) = (now, self.counted)
            && now.counter == before.counter
            && now.kills > before.kills
        {
            self.unclaimed += now.kills - before.kills;
            self.until_tick = self.tick + OOM_CLAIM_TICKS;
        }
        if self.tick > self.until_tick {
            self.unclaimed = 0;
        }
        self.counted = now.or(self.counted);
    }

    /// Whom the kills took, of those that went now; `over` are workloads' top-most processes.
    fn claim(&mut self, ends: &Ends<'_>, over: &[(&Departed, &Ended)]) -> KeySet {
        let mut taken = KeySet::default();
        if self.unclaimed == 0 {
            return taken;
        }
        let main = |key: &Key| over.iter().find(|(departed, _)| departed.key == *key);
        let asked = |key: &Key| {
            let word = main(key).and_then(|(_, ended)| ends.claims.end_of(&ended.id, ended.pid));
            word.is_some_and(|word| word.asked || word.signal.is_some_and(|s| s != SIGKILL))
        };
        let mut victims: Vec<&Departed> = ends
            .departed
            .iter()
            .filter(|departed| departed.signal.is_none_or(|signal| signal == SIGKILL))
            .filter(|departed| !asked(&departed.key))
            .filter(|departed| self.may_be(departed, main(&departed.key).is_some(), ends))
            .collect();
        victims.sort_by_key(|departed| {
            std::cmp::Reverse((departed.signal.is_some(), departed.held_bytes))
        });
        for victim in victims {
            if self.unclaimed == 0 {
                break;
            }
            self.unclaimed -= 1;
            taken.insert(victim.key);
        }
        taken
    }

    /// Whether it looks like a victim. The killer takes the largest; what it takes may have grown
    /// fast since it was last read.
    fn may_be(&self, departed: &Departed, main: bool, ends: &Ends<'_>) -> bool {
        let held = departed.held_bytes;
        let shared = self.counted.map(|count| count.counter) == Some(Counter::Shared);
        if departed.signal == Some(SIGKILL) {
            return true;
        }
        if shared {
            // Somebody else's kill, unless it was worth it.
            return ends.limit_bytes.is_some_and(|limit| held >= limit / 4);
        }
        main || held >= ends.largest_bytes / 2
    }
}
