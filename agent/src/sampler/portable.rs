//! The portable reader: resident sizes, CPU time and tree as every system offers them.
//!
//! It knows no cgroup, no proportional set and no limit but the machine's, and it reads all
//! processes of the machine. It is there for other systems, and as the oracle of the Linux reader.

use std::{collections::HashSet, ffi::OsString, os::unix::ffi::OsStrExt, sync::Arc};

use sysinfo::{Pid, Process, ProcessRefreshKind, ProcessesToUpdate, System, UpdateKind};

use super::{Assembly, Memory, Nearness, SampleError, Target, Tick, eyes::NoEyes, sample};
use crate::{
    clock::Clock,
    sample::{
        MemorySource, Sample,
        kernels::Identity,
        limit::Limit,
        memory::TreeMemory,
        process::{Key, Reading},
    },
    workload::told::Told,
};

const NS_PER_MS: u64 = 1_000_000;

/// Samples one server through `sysinfo`.
#[derive(Debug)]
pub struct PortableSampler {
    target: Target,
    system: System,
    assembly: Assembly,
    nearness: Nearness,
}

// === impl PortableSampler ===

impl PortableSampler {
    /// Starts to follow the server.
    ///
    /// # Errors
    /// Where the library does not know the system.
    pub fn new(target: Target) -> Result<Self, SampleError> {
        Ok(Self {
            system: System::new().map_err(SampleError::Portable)?,
            assembly: Assembly::new(target.root_pid, target.names),
            nearness: Nearness::default(),
            target,
        })
    }

    /// Takes what the server extension knows; replaces what it told before.
    pub fn told(&mut self, told: Told) {
        self.assembly.told(told);
    }

    /// Takes one sample.
    ///
    /// # Errors
    /// [`SampleError::Gone`] when the root process is gone.
    pub fn tick(&mut self, clock: &dyn Clock) -> Result<Sample, SampleError> {
        let (mono_ms, wall_ms) = (clock.mono_ms(), clock.wall_ms());
        self.system.refresh_memory();
        self.system.refresh_processes_specifics(
            ProcessesToUpdate::All,
            true,
            ProcessRefreshKind::nothing()
                .with_memory()
                .with_cpu()
                .with_tasks()
                .with_cmd(UpdateKind::OnlyIfNotSet)
                .with_environ(UpdateKind::OnlyIfNotSet),
        );
        let mut readings = self.readings();
        if readings.is_empty() {
            return Err(SampleError::Gone {
                pid: self.target.root_pid,
            });
        }
        readings.sort_by_key(|reading| reading.key);
        let readings: Vec<&Reading> = readings.iter().collect();
        let tick = Tick {
            readings: &readings,
            mono_ms,
            source: MemorySource::Rss,
            agent: None,
            cgroup: None,
            gone: &[],
            nearness: self.nearness,
            kills: None,
        };
        let assembled = self.assembly.assemble(&tick, &mut NoEyes);
        let tree_memory = TreeMemory::of(readings.iter().copied(), readings.len(), mono_ms);
        let memory = Memory {
            source: MemorySource::Rss,
            used_bytes: tree_memory.rss_bytes,
            working_set_bytes: None,
            swap_bytes: Some(0).filter(|_| self.system.total_swap() == 0),
            age_ms: 0,
        };
        let limit = Some(self.system.total_memory())
            .filter(|&bytes| bytes > 0)
            .map(|bytes| Limit {
                bytes,
                source: "machine".into(),
                enforced: true,
                shared: false,
                group: None,
            });
        let tree_memory = TreeMemory {
            pss_bytes: None,
            ..tree_memory
        };
        let sample = Sample {
            // Nothing is told of children that were waited for.
            cpu_may_miss: true,
            ..sample(
                (mono_ms, wall_ms),
                &memory,
                limit.as_ref(),
                &tree_memory,
                assembled,
            )
        };
        self.nearness.take(&sample);
        Ok(sample)
    }

    /// The root and all below it, without the agent; empty when the root is gone.
    fn readings(&self) -> Vec<Reading> {
        let mut members = Vec::new();
        let mut to_visit = vec![Pid::from_u32(self.target.root_pid)];
        while let Some(pid) = to_visit.pop() {
            let Some(process) = self.system.process(pid) else {
                continue;
            };
            if pid.as_u32() == self.target.own_pid
                || members
                    .iter()
                    .any(|member: &Reading| member.key.pid == pid.as_u32())
            {
                continue;
            }
            members.push(reading(pid, process));
            let processes = self.system.processes().iter();
            to_visit.extend(
                processes
                    // Threads are listed as processes whose parent is their own process.
                    .filter(|(_, child)| child.parent() == Some(pid))
                    .filter(|(_, child)| child.thread_kind().is_none())
                    .map(|(child, _)| *child),
            );
        }
        members
    }
}

fn reading(pid: Pid, process: &Process) -> Reading {
    // Whether the main thread is among its tasks is not told the same everywhere.
    let others = |tasks: &HashSet<Pid>| tasks.iter().filter(|task| **task != pid).count();
    let threads = 1 + process.tasks().map_or(0, others);
    Reading {
        key: Key {
            start_ticks: process.start_time(),
            pid: pid.as_u32(),
        },
        ppid: process.parent().map_or(0, Pid::as_u32),
        threads: u32::try_from(threads).unwrap_or(u32::MAX),
        rss_bytes: process.memory(),
        shared_bytes: 0,
        held_bytes: process.memory(),
        own_ns: process.accumulated_cpu_time().saturating_mul(NS_PER_MS),
        reaped_ns: 0,
        io: None,
        zombie: process.status() == sysinfo::ProcessStatus::Zombie,
        signal: None,
        terminal: None,
        group: 0,
        front_group: None,
        identity: Arc::new(Identity::of(
            &block(process.cmd()),
            &block(process.environ()),
            process.name().to_string_lossy().into_owned(),
        )),
        pss: None,
    }
}

fn block(strings: &[OsString]) -> Vec<u8> {
    let mut block = Vec::new();
    for string in strings {
        block.extend_from_slice(string.as_bytes());
        block.push(0);
    }
    block
}
