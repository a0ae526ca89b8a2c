//! Finding new members of the tree.
//!
//! The usual way is to ask who was born since: one CPU-clock question for each pid given out, one
//! `stat` for each that lives, whose parent says whether it is ours. Where more were born than can
//! be asked, the `children` files of those that ran are read, and of those above them, to whom
//! orphans may have come: who forks spends CPU time. Those files are documented as racy, so after that
//! everybody's are looked at again, a share at every tick.

use std::collections::HashMap;

use super::{
    super::{
        allowance::OPENING,
        births::Born,
        crowd::Found,
        faults::{self, Fault},
        file::{self, read_text},
        keyed::PidSet,
        passers::{Fate, pids},
        process::{Process, Reading},
    },
    AGENT_NAME, News, RESYNC_TICKS, SampleError, Tree,
};

// === impl Tree ===

impl Tree {
    /// Takes in those that are new.
    pub(super) fn discover(&mut self, born: Born, now_ms: u64) -> Result<(), SampleError> {
        self.forget_unread();
        if !self.by_pid.contains_key(&self.root_pid) {
            self.crowd.push(self.root_pid, self.ticks);
        }
        match born {
            Born::Nobody => {}
            Born::Among { again, fresh } => {
                for pid in again {
                    self.is_born(pid);
                }
                for pid in fresh {
                    if !self.is_born(pid) {
                        self.births.not_yet(pid);
                    }
                }
            }
            Born::Unknown => self.look_around(now_ms)?,
        }
        for pid in std::mem::take(&mut self.doubtful) {
            self.look(pid)?;
        }
        if self.crowd.len() > 0 {
            let clocks = self.clocks;
            let lives = |pid: u32| !clocks || super::cpu_clock(pid).is_some();
            self.crowd
                .forget_dead(usize::try_from(RESYNC_TICKS).unwrap_or(1), lives);
            self.crowd.make_due(self.room());
        }
        self.take_in()
    }

    /// Follows an orphan and all below it.
    pub(crate) fn adopt(&mut self, pid: u32) -> Result<(), SampleError> {
        if !self.by_pid.contains_key(&pid) {
            self.crowd.push(pid, self.ticks);
        }
        self.take_in()
    }

    /// Whether somebody answers to `pid`, which was given out lately. If it is the server's it is
    /// found by that.
    fn is_born(&mut self, pid: u32) -> bool {
        if !self.is_there(pid) {
            return false;
        }
        if pid == self.own_pid || self.by_pid.contains_key(&pid) {
            return true;
        }
        // Whoever had the pid before is gone.
        self.agents.remove(&pid);
        self.crowd.forget(pid);
        self.unread.remove(&pid);
        let stat = match self.fate(pid) {
            Fate::There(stat) => stat,
            Fate::Gone => return true, // it ended in between
            Fate::Unread => {
                self.hidden_born = true;
                return true;
            }
        };
        let adopted = self.orphans.adopts(stat.ppid) && !self.subreaper;
        if self.is_parent_ours(stat.ppid) || (adopted && self.orphans.is_marked(pid, &self.by_pid))
        {
            self.crowd.push(pid, self.ticks);
        } else if adopted || stat.ppid == 0 {
            // Perhaps an orphan that only the cgroup shows, or somebody sent into the container.
            self.news = self.news.max(News::Members);
        }
        true
    }

    fn is_parent_ours(&self, ppid: u32) -> bool {
        self.contains(ppid)
            || self.unread.contains(&ppid)
            || (self.subreaper && ppid == self.own_pid)
    }

    /// Looks where new ones may be when nobody can say who was born.
    fn look_around(&mut self, now_ms: u64) -> Result<(), SampleError> {
        self.doubt_until_tick = self.ticks + RESYNC_TICKS;
        // An agent inside the tree may be gone, and its pid another's.
        for pid in self.agents.clone() {
            if pid != self.own_pid {
                self.agents.remove(&pid);
                self.crowd.push(pid, self.ticks - 1);
            }
        }
        if self.subreaper {
            self.look(self.own_pid)?;
        } else {
            // Who left the tree before it was seen is in no file that is looked at here.
            self.news = self.news.max(News::Members);
        }
        // Those that are known to be new wait no longer for those who may be.
        self.take_in()?;
        let after = self.looked_to.take();
        let (before, ahead): (Vec<u32>, Vec<u32>) = self
            .suspects()
            .into_iter()
            .partition(|pid| Some(*pid) <= after);
        let mut turns = [ahead, before];
        turns.iter_mut().for_each(|pids| pids.sort_unstable());
        let mut last = None;
        for pid in turns.concat() {
            if !self.allowance.allows(OPENING) {
                self.looked_to = last.or(after);
                break;
            }
            last = Some(pid);
            self.look(pid)?;
        }
        // First all that can be found from above: orphans of those are ours by their parents.
        self.take_in()?;
        if !self.subreaper {
            for pid in self.orphans.find(&self.by_pid, &self.agents, now_ms) {
                self.crowd.push(pid, self.ticks);
            }
        }
        Ok(())
    }

    /// Those that may have new children: those that ran, and all above them.
    fn suspects(&self) -> PidSet {
        let mut suspects = PidSet::default();
        if !self.clocks {
            suspects.extend(self.by_pid.keys());
            return suspects;
        }
        for &pid in self.moved.iter().chain([&self.root_pid]) {
            let mut at = pid;
            while let Some(key) = self.by_pid.get(&at) {
                if !suspects.insert(at) {
                    break;
                }
                at = self.processes.get(key).map_or(0, |p| p.reading.ppid);
            }
        }
        suspects
    }

    /// Puts the children of `pid` that are not known into the crowd.
    fn look(&mut self, pid: u32) -> Result<(), SampleError> {
        for child in self.children(pid)? {
            let known = self.by_pid.contains_key(&child)
                || self.agents.contains(&child)
                || self.unread.contains(&child);
            if !known {
                self.crowd.push(child, self.ticks);
            }
        }
        Ok(())
    }

    /// Follows those that are found, as far as there are time and room.
    fn take_in(&mut self) -> Result<(), SampleError> {
        while self.crowd.is_due() && self.allowance.allows(OPENING) {
            if let Some(found) = self.crowd.pop() {
                self.visit(found)?;
            }
        }
        Ok(())
    }

    fn visit(&mut self, found: Found) -> Result<(), SampleError> {
        let pid = found.pid;
        if pid == self.own_pid || self.by_pid.contains_key(&pid) {
            return Ok(());
        }
        if self.room() == 0 {
            self.crowd.put_beyond(found);
            return if found.expanded {
                Ok(())
            } else {
                self.look(pid)
            };
        }
        let keep = self.keeps() && self.processes.len() < self.kept_max;
        let followed = Process::follow(&self.proc_root, pid, self.clocks, keep, &mut self.line);
        let mut process = match followed {
            Ok(Some(process)) => process,
            Ok(None) => return Ok(()),
            Err(error) if pid == self.root_pid => return Err(error),
            // Counted; those below it may be readable.
            Err(_) => {
                self.unread.insert(pid);
                return self.look(pid);
            }
        };
        if found.tick < self.ticks && !self.is_still_ours(&process.reading) {
            return Ok(());
        }
        if self.is_foreign_agent(&process.reading) {
            self.agents.insert(pid);
            return Ok(());
        }
        self.followed += 1;
        process.phase = self.followed % RESYNC_TICKS;
        self.news = self.news.max(News::Members);
        self.by_pid.insert(pid, process.reading.key);
        self.processes.insert(process.reading.key, process);
        self.look(pid)
    }

    /// Of one that was found some ticks ago: its pid may be another's.
    fn is_still_ours(&self, reading: &Reading) -> bool {
        let root_start = self.root().map_or(0, |root| root.key.start_ticks);
        reading.key.pid == self.root_pid
            || self.is_parent_ours(reading.ppid)
            || (self.orphans.adopts(reading.ppid)
                && reading.key.start_ticks >= root_start
                && self.could_be_ours(reading.key.pid))
    }

    /// Another agent inside the tree: one that Jupyter started while `sample` is run by hand. Its
    /// name alone proves nothing, anybody may call himself so; the program must be ours.
    fn is_foreign_agent(&self, reading: &Reading) -> bool {
        // A child of this one may go by another name (`sample::disk`).
        let may_be = reading.ppid == self.own_pid || reading.identity.name == AGENT_NAME;
        if reading.key.pid == self.root_pid || !may_be {
            return false;
        }
        let exe = |pid: &str| std::fs::metadata(self.proc_root.join(pid).join("exe"));
        let (Ok(theirs), Ok(ours)) = (exe(&reading.key.pid.to_string()), exe("self")) else {
            return false;
        };
        use std::os::unix::fs::MetadataExt;
        (theirs.dev(), theirs.ino()) == (ours.dev(), ours.ino())
    }

    fn children(&mut self, pid: u32) -> Result<Vec<u32>, SampleError> {
        if !self.children_files {
            let children = self.children_by_parent()?.get(&pid);
            return Ok(children.cloned().unwrap_or_default());
        }
        let tasks = self.proc_root.join(pid.to_string()).join("task");
        let mut children = Vec::new();
        // Every thread has the children it forked itself. Gone in between: no children.
        let threads = faults::noted(&tasks, file::read_dir(&tasks));
        for task in threads.into_iter().flatten().flatten() {
            let path = task.path().join("children");
            let Some(text) = faults::noted(&path, read_text(&path)) else {
                continue;
            };
            match file::pids(&text) {
                Some(pids) => children.extend(pids),
                None => faults::note_as(Fault::Malformed, &path),
            }
        }
        Ok(children)
    }

    /// Whose children everybody is, by reading all of `/proc`: only where `children` files are
    /// missing.
    fn children_by_parent(&mut self) -> Result<&HashMap<u32, Vec<u32>>, SampleError> {
        let by_parent = match self.parents.take() {
            Some(by_parent) => by_parent,
            None => {
                let mut by_parent: HashMap<u32, Vec<u32>> = HashMap::new();
                for pid in pids(&self.proc_root)? {
                    match self.fate(pid) {
                        Fate::There(stat) => by_parent.entry(stat.ppid).or_default().push(pid),
                        Fate::Gone | Fate::Unread => {}
                    }
                }
                by_parent
            }
        };
        Ok(self.parents.insert(by_parent))
    }
}
