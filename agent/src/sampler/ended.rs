//! What ended since the previous tick: kernels, terminals and apps that somebody will miss, and
//! whether memory was why.

use hubmeter_proto::limits::ENDED_PER_SAMPLE_MAX;

use crate::{
    rate::Owner,
    sample::{EndCause, Ended, Workload, WorkloadKind, keyed::KeyMap},
};

/// Ticks for which an out-of-memory kill waits for its victim to end: the killer counts first, and
/// giving back a hundred gigabytes takes the victim seconds.
const OOM_CLAIM_TICKS: u64 = 3;

/// What somebody will miss, should it not be there at the next tick.
#[derive(Debug, Default)]
pub(super) struct Endings {
    missable: Option<KeyMap<Ended>>,
    kills: Kills,
}

/// Out-of-memory kills that found no victim yet.
#[derive(Debug, Default)]
struct Kills {
    counted: Option<u64>,
    unclaimed: u64,
    until_tick: u64,
    tick: u64,
}

// === impl Endings ===

impl Endings {
    /// What is missed since the previous tick, those that the out-of-memory killer took marked.
    pub(super) fn ended(
        &mut self,
        workloads: &[(Owner, Workload)],
        oom_kills: Option<u64>,
    ) -> Vec<Ended> {
        self.kills.count(oom_kills);
        let Some(missable) = &self.missable else {
            return Vec::new();
        };
        let mut ended: Vec<Ended> = missable
            .iter()
            .filter(|(root, _)| {
                !workloads
                    .iter()
                    .any(|(owner, _)| *owner == Owner::Root(**root))
            })
            .map(|(_, ended)| ended.clone())
            .collect();
        // The killer takes the largest.
        ended.sort_by_key(|ended| std::cmp::Reverse(ended.memory_used_bytes));
        for ended in &mut ended {
            if self.kills.claim() {
                ended.cause = EndCause::OutOfMemory;
            }
        }
        if ended.len() > ENDED_PER_SAMPLE_MAX {
            tracing::warn!(
                count = ended.len(),
                limit = ENDED_PER_SAMPLE_MAX,
                "more workloads ended at once than are told"
            );
            ended.truncate(ENDED_PER_SAMPLE_MAX);
        }
        ended
    }

    /// Keeps what there is as it will be told.
    pub(super) fn remember(&mut self, workloads: &[(Owner, Workload)]) {
        let mut missable = KeyMap::default();
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
        self.missable = Some(missable);
    }
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
    fn count(&mut self, oom_kills: Option<u64>) {
        self.tick += 1;
        if let (Some(now), Some(before)) = (oom_kills, self.counted)
            && now > before
        {
            self.unclaimed += now - before;
            self.until_tick = self.tick + OOM_CLAIM_TICKS;
        }
        if self.tick > self.until_tick {
            self.unclaimed = 0;
        }
        self.counted = oom_kills.or(self.counted);
    }

    fn claim(&mut self) -> bool {
        let claimed = self.unclaimed > 0;
        self.unclaimed = self.unclaimed.saturating_sub(1);
        claimed
    }
}
