//! Whether a cgroup is the server's own.
//!
//! A cgroup's figure is the server's only if the cgroup holds nothing but the server's tree, its
//! orphans and its agent, and holds all of the tree. Anything else in it, and the figure is
//! somebody else's too; but the shell that started the server (a batch script, `tini`, `sudo`) is
//! nobody else, as long as it is small enough not to be seen in the figure.

use std::{collections::BTreeSet, iter};

use serde::Serialize;

use super::{
    cgroup::Group,
    faults::{self, Fault},
    file::read_bytes,
    passers::Fate,
    stat::{Statm, page_bytes},
    tree::Tree,
};

/// Strangers named to a person, and looked for: a shared cgroup may hold thousands.
const STRANGERS_NAMED_MAX: usize = 5;

/// Orphans come to it; in a container it is there for the server alone.
const INIT_PID: u32 = 1;

/// What a wrapper may hold: a shell has 4 MiB, `slurmstepd` and `sudo` under 10; a hub that starts
/// servers as its children has a hundred, and is no wrapper.
const WRAPPER_BYTES_MAX: u64 = 16 << 20;

/// A process in a cgroup that is none of the server's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stranger {
    /// Its pid; 0 is one outside of this pid namespace.
    pub pid: u32,
    /// Its short name.
    pub name: String,
}

/// What was found about one cgroup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// `cgroup1:<path>` or `cgroup2:<path>`.
    pub group: String,
    /// Whether its figure is the server's.
    pub own: bool,
    /// Why or why not.
    pub why: String,
    /// Some of those it is shared with.
    pub strangers: Vec<Stranger>,
}

/// Whether the server has a cgroup of its own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ownership {
    pub(crate) own: Option<Group>,
    pub(crate) checked: Vec<Checked>,
    /// Orphans that only the cgroup shows.
    pub(crate) orphans: Vec<u32>,
}

// === impl Ownership ===

impl Ownership {
    /// Looks for the smallest cgroup, from `group` up, that holds the whole tree, and whether it
    /// holds nothing else.
    /// `accounts` says whether a cgroup has the figure that is wanted.
    pub(crate) fn decide(group: Option<&Group>, tree: &Tree, accounts: fn(&Group) -> bool) -> Self {
        let mut ownership = Self::default();
        let Some(group) = group else {
            return ownership;
        };
        let family = Family::of(tree);
        for candidate in group.up() {
            let (checked, verdict) = family.check(&candidate, accounts);
            ownership.checked.push(checked);
            match verdict {
                Verdict::Own(orphans) => {
                    ownership.own = Some(candidate);
                    ownership.orphans = orphans;
                    return ownership;
                }
                Verdict::TooSmall => {}
                Verdict::NotOwn => return ownership,
            }
        }
        ownership
    }
}

/// Whether somebody in `group` or below is none of the server's. What can't be listed counts as
/// somebody, and so does what looks like an orphan: those of the own cgroup are in the tree by now,
/// and in another one it is a daemon of the same user's.
pub(crate) fn has_others(group: &Group, tree: &Tree) -> bool {
    let family = Family::of(tree);
    let Some(pids) = group.pids() else {
        return true;
    };
    let container = family.is_container(&pids);
    pids.iter()
        .map(|&pid| family.relation(pid, container))
        .any(|relation| matches!(relation, Relation::Stranger | Relation::Orphan))
}

/// Who belongs to the server, and who may be beside it.
#[derive(Debug)]
struct Family<'a> {
    tree: &'a Tree,
    root_start_ticks: u64,
    /// From the root's parent up to pid 1.
    ancestors: Vec<u32>,
}

enum Verdict {
    /// The server's own, and these orphans are only seen here.
    Own(Vec<u32>),
    /// Part of the tree is outside: a cgroup above may hold all.
    TooSmall,
    /// Others are in it, so they are in all above, too.
    NotOwn,
}

// === impl Family ===

impl<'a> Family<'a> {
    fn of(tree: &'a Tree) -> Self {
        let root = tree.root();
        Self {
            tree,
            root_start_ticks: root.map_or(0, |root| root.key.start_ticks),
            ancestors: tree.ancestors(tree.root_pid).collect(),
        }
    }

    fn check(&self, group: &Group, accounts: fn(&Group) -> bool) -> (Checked, Verdict) {
        let mut checked = Checked {
            group: group.source(),
            own: false,
            why: String::new(),
            strangers: Vec::new(),
        };
        let mut because = |why: &str| why.clone_into(&mut checked.why);
        if group.is_machine_root() {
            because("is the machine's root cgroup");
            return (checked, Verdict::NotOwn);
        }
        let Some(pids) = group.pids() else {
            because("its processes cannot be listed");
            return (checked, Verdict::NotOwn);
        };
        let container = self.is_container(&pids);
        let mut orphans = Vec::new();
        let mut strangers = Vec::new();
        let mut wrappers = 0_usize;
        for &pid in &pids {
            match self.relation(pid, container) {
                Relation::Member | Relation::Gone => {}
                Relation::Wrapper => wrappers += 1,
                Relation::Orphan => orphans.push(pid),
                Relation::Stranger => strangers.push(pid),
            }
            // A shared cgroup may hold thousands: enough is known.
            if strangers.len() > STRANGERS_NAMED_MAX {
                break;
            }
        }
        if !strangers.is_empty() {
            because(&match strangers.len() {
                1 => "a process in it is not the server's".to_owned(),
                2..=STRANGERS_NAMED_MAX => "processes in it are not the server's".to_owned(),
                _ => {
                    format!("more than {STRANGERS_NAMED_MAX} processes in it are not the server's")
                }
            });
            checked.strangers = strangers
                .iter()
                .take(STRANGERS_NAMED_MAX)
                .map(|&pid| Stranger {
                    pid,
                    name: self.tree.name(pid).unwrap_or_default(),
                })
                .collect();
            return (checked, Verdict::NotOwn);
        }
        let outside = self.outside(&pids);
        if outside > 0 {
            because(&format!(
                "{outside} of the server's processes are outside of it"
            ));
            return (checked, Verdict::TooSmall);
        }
        if !accounts(group) {
            because("accounts nothing");
            return (checked, Verdict::TooSmall);
        }
        because(&match wrappers {
            0 => "holds all of the server and nobody else".to_owned(),
            1 => {
                "holds all of the server, the process it was started by, and nobody else".to_owned()
            }
            n => format!(
                "holds all of the server, the {n} processes it was started by, and nobody else"
            ),
        });
        checked.own = true;
        (checked, Verdict::Own(orphans))
    }

    /// A container's init is there for the server alone, and so are the wrappers between.
    fn is_container(&self, pids: &BTreeSet<u32>) -> bool {
        self.ancestors.contains(&INIT_PID) && pids.contains(&INIT_PID)
    }

    fn outside(&self, pids: &BTreeSet<u32>) -> usize {
        self.tree
            .readings()
            .filter(|reading| !reading.zombie && !pids.contains(&reading.key.pid))
            // It may have ended since it was read.
            .filter(|reading| match self.tree.fate(reading.key.pid) {
                Fate::There(stat) => !stat.is_zombie(),
                Fate::Gone => false,
                Fate::Unread => true,
            })
            .count()
    }

    fn relation(&self, pid: u32, container: bool) -> Relation {
        if self.tree.contains(pid) || self.tree.is_agent(pid) {
            return Relation::Member;
        }
        if self.ancestors.contains(&pid) && (container || self.is_small(pid)) {
            return Relation::Wrapper;
        }
        if pid == 0 {
            return Relation::Stranger;
        }
        let stat = match self.tree.fate(pid) {
            Fate::There(stat) => stat,
            Fate::Gone => return Relation::Gone,
            // Hidden from us is somebody else's.
            Fate::Unread => return Relation::Stranger,
        };
        // Born since the tree was read, or a child of an agent.
        if self.is_below_ours(stat.ppid) {
            return Relation::Member;
        }
        // Re-parented to pid 1, after the server had started. A
        // wrapper that started the server is older; what somebody put here has a parent elsewhere.
        let adopted = stat.ppid == INIT_PID && stat.start_ticks >= self.root_start_ticks;
        if adopted && self.tree.could_be_ours(pid) {
            return Relation::Orphan;
        }
        // One that ended while it was looked at has no ancestors, and would be a stranger.
        match self.tree.fate(pid) {
            Fate::There(now) if now.start_ticks == stat.start_ticks => Relation::Stranger,
            Fate::There(_) | Fate::Gone => Relation::Gone,
            Fate::Unread => Relation::Stranger,
        }
    }

    /// Whether `pid` or somebody above it is the server's. Who is above the root has nobody of the
    /// server's above, so nobody is looked at beyond.
    fn is_below_ours(&self, pid: u32) -> bool {
        let is_ours = |pid: u32| self.tree.contains(pid) || self.is_agent_below_root(pid);
        iter::once(pid)
            .chain(self.tree.ancestors(pid))
            .find(|up| is_ours(*up) || self.ancestors.contains(up))
            .is_some_and(is_ours)
    }

    /// Whether `pid` holds no more than a wrapper does.
    fn is_small(&self, pid: u32) -> bool {
        let path = self.tree.proc_root.join(format!("{pid}/statm"));
        let Some(text) = faults::noted(&path, read_bytes(&path)) else {
            return false;
        };
        let statm = Statm::parse(&text);
        if statm.is_none() {
            faults::note_as(Fault::Malformed, &path);
        }
        statm.is_some_and(|statm| {
            statm.resident_pages.saturating_mul(page_bytes()) <= WRAPPER_BYTES_MAX
        })
    }

    /// Under `run -- CMD` the agent is above the root, and everything is below it.
    fn is_agent_below_root(&self, pid: u32) -> bool {
        self.tree.is_agent(pid) && !self.ancestors.contains(&pid)
    }
}

enum Relation {
    Member,
    /// Above the root, and there for it alone.
    Wrapper,
    Orphan,
    Stranger,
    Gone,
}
