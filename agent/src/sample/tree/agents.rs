//! The agents in and above the tree: who they are, and what time is theirs.

use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeVal,
};

use super::{super::process::clock_ns, AGENT_NAME, Tree};

// === impl Tree ===

impl Tree {
    /// Whether `pid` is an agent: this one, or another that runs inside the tree.
    pub(crate) fn is_agent(&self, pid: u32) -> bool {
        self.agents.contains(&pid)
    }

    /// The agent among the root's ancestors: it started the server, and orphans come to it.
    pub(crate) fn agent_above(&self) -> Option<u32> {
        let is_agent = |pid: &u32| self.name(*pid).as_deref() == Some(AGENT_NAME);
        self.ancestors(self.root_pid).find(is_agent)
    }

    /// CPU time of what this agent waited for as the server's subreaper.
    pub(crate) fn reaped_by_agent_ns(&self) -> Option<u64> {
        if !self.subreaper {
            return None;
        }
        if self.clocks && self.own_pid == std::process::id() {
            let usage = getrusage(UsageWho::RUSAGE_CHILDREN).ok()?;
            return Some(ns(usage.user_time()) + ns(usage.system_time()));
        }
        Some(self.stat(self.own_pid)?.reaped_ns)
    }

    /// CPU time of those agents, what they waited for left out.
    pub(crate) fn agents_ns(&self, agents: &[u32]) -> u64 {
        let of_clock = |pid: u32| clock_ns(self.clock(pid)?);
        let of_stat = |pid: u32| Some(self.stat(pid)?.own_ns);
        agents
            .iter()
            .filter_map(|&pid| of_clock(pid).or_else(|| of_stat(pid)))
            .sum()
    }
}

fn ns(time: TimeVal) -> u64 {
    let part = |part: i64| u64::try_from(part).unwrap_or(0);
    part(time.tv_sec()) * 1_000_000_000 + part(time.tv_usec()) * 1000
}
