//! What a cgroup says at every tick, through descriptors that stay open.

use super::{
    cgroup::{Group, Version},
    faults::{self, Fault},
    file::{Lasting, Page, Places, field, only_number},
};

/// Cgroups of version 1 below one whose kill counter stays open; those beyond pay for opening.
/// A server's own has hardly any.
const BELOW_KEPT_MAX: usize = 8;

/// Descriptors that one cgroup's gauges hold at most.
pub(crate) const DESCRIPTORS_MAX: usize = 5 + BELOW_KEPT_MAX;

/// Lines of `memory.stat`: what of files is rarely and often used, then what else can be given back
/// or, in version 1, what is swapped out, and shared memory.
const KEYS_V2: [&str; 4] = ["inactive_file", "active_file", "slab_reclaimable", "shmem"];
const KEYS_V1: [&str; 4] = [
    "total_inactive_file",
    "total_active_file",
    "total_swap",
    "total_shmem",
];

/// What is known of one cgroup's use of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GroupMemory {
    pub(crate) used_bytes: u64,
    pub(crate) working_set_bytes: u64,
    pub(crate) swap_bytes: Option<u64>,
    /// `/dev/shm`, System V segments, anonymous shared maps.
    pub(crate) shm_bytes: Option<u64>,
}

/// The gauges of one cgroup.
#[derive(Debug)]
pub(crate) struct Gauges {
    group: Group,
    memory_stat: Lasting,
    stat_places: Places<4>,
    memory_usage: Lasting,
    swap: Lasting,
    cpu: Lasting,
    kills: Lasting,
    /// Kill counters of version 1 that the cgroup's own does not hold.
    kills_below: Vec<Lasting>,
    page: Page,
}

// === impl Gauges ===

impl Gauges {
    /// Opens nothing yet; with `keep` false nothing stays open.
    pub(crate) fn new(group: Group, keep: bool) -> Self {
        let file = |v1: &str, v2: &str| {
            let name = match group.version() {
                Version::V1 => v1,
                Version::V2 => v2,
            };
            Lasting::new(group.file(name), keep)
        };
        let mut gauges = Self {
            memory_stat: file("memory.stat", "memory.stat"),
            stat_places: Places::default(),
            memory_usage: file("memory.usage_in_bytes", "memory.current"),
            swap: file("memory.stat", "memory.swap.current"),
            cpu: file("cpuacct.usage", "cpu.stat"),
            kills: file("memory.oom_control", "memory.events"),
            kills_below: Vec::new(),
            page: Page::default(),
            group,
        };
        gauges.look_below(keep);
        gauges
    }

    /// Version 2 counts kills below with the cgroup's own, version 1 each cgroup its own: these
    /// are looked for again now and then.
    pub(crate) fn look_below(&mut self, keep: bool) {
        if self.group.version() == Version::V2 {
            return;
        }
        let mut before = std::mem::take(&mut self.kills_below);
        let dirs = self.group.subdirs();
        self.kills_below = dirs
            .map(|dir| dir.join("memory.oom_control"))
            .enumerate()
            .map(
                |(at, path)| match before.iter().position(|b| b.path() == path) {
                    Some(open) => before.swap_remove(open),
                    None => Lasting::new(path, keep && at < BELOW_KEPT_MAX),
                },
            )
            .collect();
    }

    /// Whose they are.
    pub(crate) fn group(&self) -> &Group {
        &self.group
    }

    /// What the whole cgroup uses, less what the kernel gives back under pressure.
    pub(crate) fn memory(&mut self) -> Option<GroupMemory> {
        let used = number(&mut self.memory_usage, &mut self.page)?;
        let v2 = self.group.version() == Version::V2;
        let swap_of_v2 = v2.then(|| number(&mut self.swap, &mut self.page)).flatten();
        let stat = self.memory_stat.bytes(&mut self.page)?;
        let keys = if v2 { KEYS_V2 } else { KEYS_V1 };
        let [inactive_file, active_file, slab_or_swap, shm_bytes] =
            self.stat_places.fields(stat, keys);
        let slab = slab_or_swap.filter(|_| v2);
        let given_back = inactive_file
            .zip(active_file)
            .and_then(|(inactive, active)| {
                inactive.checked_add(active)?.checked_add(slab.unwrap_or(0))
            });
        // More than there is cannot be given back, and without these lines nobody knows what can:
        // then the figure is unknown, not zero and not everything.
        let known = inactive_file.zip(given_back.and_then(|bytes| used.checked_sub(bytes)));
        let Some((inactive_file, used_bytes)) = known else {
            faults::note_as(Fault::Malformed, self.memory_stat.path());
            return None;
        };
        Some(GroupMemory {
            used_bytes,
            working_set_bytes: used.saturating_sub(inactive_file),
            swap_bytes: if v2 { swap_of_v2 } else { slab_or_swap },
            shm_bytes,
        })
    }

    /// CPU time of all that is and was in it.
    pub(crate) fn cpu_ns(&mut self) -> Option<u64> {
        match self.group.version() {
            Version::V2 => {
                let usec = field(self.cpu.text(&mut self.page)?, "usage_usec")?;
                Some(usec.saturating_mul(1000))
            }
            Version::V1 => number(&mut self.cpu, &mut self.page),
        }
    }

    /// Processes the out-of-memory killer took from it.
    pub(crate) fn oom_kills(&mut self) -> Option<u64> {
        let own = field(self.kills.text(&mut self.page)?, "oom_kill")?;
        let page = &mut self.page;
        let below = self
            .kills_below
            .iter_mut()
            .filter_map(|kills| field(kills.text(page)?, "oom_kill"));
        Some(own.saturating_add(below.sum()))
    }
}

/// A file that holds one number.
fn number(file: &mut Lasting, page: &mut Page) -> Option<u64> {
    let number = only_number(file.text(page)?);
    if number.is_none() {
        faults::note_as(Fault::Malformed, file.path());
    }
    number
}
