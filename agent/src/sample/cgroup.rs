//! Cgroups: where the server's are, and what they say. Whether one is its own is `own`'s.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use nix::libc;
use serde::Serialize;

use super::{
    faults::{self, Fault},
    file::{self, is_gone, only_number, read_bytes, read_dir, read_text},
    mountinfo::{Membership, memberships, mounts},
};

/// Cgroups looked into below one: containers that run a service manager have some tens.
const GROUPS_MAX: usize = 256;

/// Cgroups above one: Slurm's and Kubernetes' are under ten deep.
const DEPTH_MAX: usize = 64;

/// "Unlimited" in version 1 is the largest number of pages; nothing real is above this.
pub(crate) const UNLIMITED_BYTES: u64 = 1 << 62;

/// Where cgroups are mounted unless a test says otherwise; mount points are under it.
pub(crate) const CGROUP_ROOT: &str = "/sys/fs/cgroup";

/// Which of the two interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Version {
    /// One tree per controller.
    V1,
    /// One tree for all.
    V2,
}

/// One cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    version: Version,
    /// As in `/proc/<pid>/cgroup`.
    path: String,
    dir: PathBuf,
    /// The directory it is mounted on: nothing above can be seen.
    mount: PathBuf,
}

/// The server's cgroups.
#[derive(Clone, Debug, Default)]
pub(crate) struct Groups {
    /// Where its memory is accounted, own or not.
    pub(crate) memory: Option<Group>,
    /// Where its CPU quota is set.
    pub(crate) cpu: Option<Group>,
    /// Where its CPU time is accounted.
    pub(crate) cpuacct: Option<Group>,
}

// === impl Groups ===

impl Groups {
    /// Finds the cgroups of `pid`, whose `/proc/<pid>/cgroup` says `text`.
    pub(crate) fn of(mounts: &Mounts, text: &[u8], pid: u32) -> Self {
        let memberships: Vec<Membership> = memberships(text).collect();
        let find = |controller: &str, proof: &str| {
            // A controller is on version 1 or on 2, never both; where it is on 1 it is named.
            let named = memberships
                .iter()
                .find(|m| m.controllers.iter().any(|c| c == controller));
            let unified = memberships.iter().find(|m| m.hierarchy == 0);
            let v1 = named.and_then(|m| {
                let mount = mounts.0.iter().find(|mount| mount.has(controller))?;
                mount.group(Version::V1, &m.path, pid)
            });
            v1.or_else(|| {
                let mount = mounts.0.iter().find(|mount| mount.controllers.is_none())?;
                let group = mount.group(Version::V2, &unified?.path, pid)?;
                // Hybrid machines mount version 2 without controllers.
                group
                    .up()
                    .any(|up| up.dir.join(proof).is_file())
                    .then_some(group)
            })
        };
        Self {
            memory: find("memory", "memory.stat"),
            cpu: find("cpu", "cpu.max"),
            cpuacct: find("cpuacct", "cpu.stat"),
        }
    }
}

/// Where cgroups are mounted.
#[derive(Debug)]
pub(crate) struct Mounts(Vec<Mount>);

/// A mounted hierarchy.
#[derive(Debug)]
struct Mount {
    /// `None` for version 2.
    controllers: Option<Vec<String>>,
    dir: PathBuf,
    /// Which cgroup is mounted there, as this cgroup namespace names it.
    root: String,
}

// === impl Mounts ===

impl Mounts {
    /// Reads them; `cgroup_root` is where [`CGROUP_ROOT`] is.
    pub(crate) fn read(proc_root: &Path, cgroup_root: &Path) -> Self {
        let path = proc_root.join("self/mountinfo");
        let read = read_bytes(&path);
        if read.as_ref().is_err_and(is_gone) {
            faults::note_as(Fault::Missing, &path);
        }
        let text = faults::noted(&path, read).unwrap_or_default();
        if text.last().is_some_and(|&last| last != b'\n') {
            faults::note_as(Fault::Malformed, &path);
        }
        Self::parse(&text, cgroup_root)
    }

    fn parse(text: &[u8], cgroup_root: &Path) -> Self {
        let mounts = mounts(text)
            .filter(|line| line.fs_type == "cgroup" || line.fs_type == "cgroup2")
            .filter_map(|line| {
                Some(Mount {
                    root: line.root.to_str()?.to_owned(),
                    controllers: (line.fs_type == "cgroup").then_some(line.super_options),
                    dir: match line.mount_point.strip_prefix(CGROUP_ROOT) {
                        Ok(below) => cgroup_root.join(below),
                        Err(_) => line.mount_point,
                    },
                })
            });
        Self(mounts.collect())
    }

    /// Whether there is any.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

// === impl Mount ===

impl Mount {
    fn has(&self, controller: &str) -> bool {
        self.controllers
            .as_ref()
            .is_some_and(|controllers| controllers.iter().any(|c| c == controller))
    }

    /// The cgroup that `/proc/<pid>/cgroup` calls `path`. With cgroup namespaces and bind mounts
    /// path and mount may be named from different roots: the directory that lists `pid` is it.
    fn group(&self, version: Version, path: &str, pid: u32) -> Option<Group> {
        let below_root = path.strip_prefix(self.root.trim_end_matches('/'));
        [below_root, Some(path), Some("/")]
            .into_iter()
            .flatten()
            .filter(|relative| !relative.split('/').any(|part| part == ".."))
            .map(|relative| Group {
                version,
                path: path.to_owned(),
                dir: join(&self.dir, relative),
                mount: self.dir.clone(),
            })
            .find(|group| group.direct_pids().is_some_and(|pids| pids.contains(&pid)))
    }
}

fn join(dir: &Path, relative: &str) -> PathBuf {
    let relative = relative.trim_matches('/');
    if relative.is_empty() {
        dir.to_owned()
    } else {
        dir.join(relative)
    }
}

// === impl Group ===

impl Group {
    /// `cgroup1:<path>` or `cgroup2:<path>`.
    pub(crate) fn source(&self) -> String {
        match self.version {
            Version::V1 => format!("cgroup1:{}", self.path),
            Version::V2 => format!("cgroup2:{}", self.path),
        }
    }

    /// Which interface.
    pub(crate) fn version(&self) -> Version {
        self.version
    }

    /// The directories right below it.
    pub(crate) fn subdirs(&self) -> impl Iterator<Item = PathBuf> + use<> {
        subdirs(&self.dir)
    }

    /// Where a file of it is.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// A file in it.
    pub(crate) fn text(&self, file: &str) -> Option<String> {
        let path = self.dir.join(file);
        faults::noted(&path, read_text(&path))
    }

    /// A file in it that holds one number; `max` and −1 are none.
    pub(crate) fn number(&self, file: &str) -> Option<u64> {
        let text = self.text(file)?;
        let number = only_number(&text);
        if number.is_none() && text != "max\n" && text != "-1\n" {
            faults::note_as(Fault::Malformed, &self.dir.join(file));
        }
        number
    }

    /// This one and all above, as far as they are mounted.
    pub(crate) fn up(&self) -> impl Iterator<Item = Self> + use<> {
        std::iter::successors(Some(self.clone()), Self::parent).take(DEPTH_MAX)
    }

    fn parent(&self) -> Option<Self> {
        if self.dir == self.mount {
            return None;
        }
        let path = match self.path.rsplit_once('/') {
            Some(("", _)) | None => "/".to_owned(),
            Some((above, _)) => above.to_owned(),
        };
        Some(Self {
            version: self.version,
            path,
            dir: self.dir.parent()?.to_owned(),
            mount: self.mount.clone(),
        })
    }

    /// The machine's own root cgroup, which has no limit and accounts nothing.
    pub(super) fn is_machine_root(&self) -> bool {
        self.dir == self.mount
            && match self.version {
                Version::V1 => self.dir.join("release_agent").is_file(),
                Version::V2 => !self.dir.join("cgroup.type").is_file(),
            }
    }

    /// Whether it is `other` or lies below it.
    pub(crate) fn is_at_or_below(&self, other: &Self) -> bool {
        self.dir.starts_with(&other.dir)
    }

    fn direct_pids(&self) -> Option<Vec<u32>> {
        listed(&self.file("cgroup.procs"), &self.text("cgroup.procs")?)
    }

    /// All processes in it and below; `None` when they can't be listed, or are in too many cgroups
    /// to look.
    pub(crate) fn pids(&self) -> Option<BTreeSet<u32>> {
        let mut pids = BTreeSet::new();
        let mut dirs = vec![self.dir.clone()];
        let mut looked = 0;
        while let Some(dir) = dirs.pop() {
            looked += 1;
            if looked > GROUPS_MAX {
                return None;
            }
            let path = dir.join("cgroup.procs");
            match read_text(&path) {
                Ok(text) => pids.extend(listed(&path, &text)?),
                // Removed in between: nobody was in it. The top one must answer.
                Err(error) if dir != self.dir && is_gone(&error) => continue,
                // A threaded cgroup lists nobody: who is in it stands in the one above.
                Err(error) if dir != self.dir && error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                }
                Err(error) => {
                    faults::note(&path, &error);
                    return None;
                }
            }
            match read_dir(&dir) {
                Ok(entries) => dirs.extend(only_dirs(entries)),
                Err(error) if is_gone(&error) => {}
                Err(error) => {
                    faults::note(&dir, &error);
                    return None;
                }
            }
        }
        Some(pids)
    }

    /// The limit set on this very cgroup.
    pub(crate) fn memory_limit(&self) -> Option<u64> {
        if self.is_machine_root() {
            return None;
        }
        let file = match self.version {
            Version::V2 => "memory.max",
            Version::V1 => "memory.limit_in_bytes",
        };
        self.number(file).filter(|&bytes| bytes < UNLIMITED_BYTES)
    }

    /// Whether limits above this cgroup hold for it: in version 1 only with `use_hierarchy`.
    pub(crate) fn inherits_limits(&self) -> bool {
        self.version == Version::V2 || self.number("memory.use_hierarchy") != Some(0)
    }

    /// The CPU quota set on this very cgroup, thousandths of a core.
    pub(crate) fn cpu_limit_millicores(&self) -> Option<u32> {
        let (quota, period): (u64, u64) = match self.version {
            Version::V2 => {
                let text = self.text("cpu.max")?;
                let mut words = text.split_ascii_whitespace();
                (words.next()?.parse().ok()?, words.next()?.parse().ok()?)
            }
            // −1 is no quota and no u64.
            Version::V1 => (
                self.number("cpu.cfs_quota_us")?,
                self.number("cpu.cfs_period_us")?,
            ),
        };
        u32::try_from(quota.saturating_mul(1000).checked_div(period)?).ok()
    }
}

fn subdirs(dir: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = faults::noted(dir, read_dir(dir));
    entries.into_iter().flat_map(only_dirs)
}

fn only_dirs(entries: fs::ReadDir) -> impl Iterator<Item = PathBuf> + use<> {
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .take(GROUPS_MAX)
}

/// Those in a list; `None` when it holds anything but pids.
fn listed(path: &Path, text: &str) -> Option<Vec<u32>> {
    let pids = file::pids(text);
    if pids.is_none() {
        faults::note_as(Fault::Malformed, path);
    }
    pids
}
