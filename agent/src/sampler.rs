//! One server, tick by tick: reads the machine, tells workloads apart, derives rates.

use std::path::PathBuf;

use crate::{
    clock::Clock,
    sample::Sample,
    workload::{Names, told::Told},
};

/// What is sampled, and through which eyes.
#[derive(Clone, Debug)]
pub struct Target {
    /// The server's root process.
    pub root_pid: u32,
    /// Where `/proc` is; tests build their own.
    pub proc_root: PathBuf,
    /// Where cgroups are mounted; tests build their own.
    pub cgroup_root: PathBuf,
    /// The agent itself: never part of what it measures.
    pub own_pid: u32,
    /// Whether the agent is the subreaper that orphans of the server come to (`run -- CMD`).
    pub subreaper: bool,
    /// How much of names may leave.
    pub names: Names,
}

/// When proportional set sizes are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PssMode {
    /// At every tick, of every process.
    Always,
    /// Rarely, and within a budget of time.
    Budget,
}

/// Why there is no sample.
#[derive(Debug, thiserror::Error)]
pub enum SampleError {
    /// The server's root process is not there (any more).
    #[error("process {pid} is gone")]
    Gone {
        /// Which.
        pid: u32,
    },
    /// A file of the machine could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file of the machine says something unexpected.
    #[error("cannot understand {}: {what}", path.display())]
    Parse {
        /// Which.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
}

/// Samples one server.
#[derive(Debug)]
pub struct Sampler {
    target: Target,
    pss: PssMode,
    told: Told,
}

// === impl Target ===

impl Target {
    /// The server rooted at `root_pid` on this machine, measured by this process.
    #[must_use]
    pub fn this_machine(root_pid: u32) -> Self {
        Self {
            root_pid,
            proc_root: PathBuf::from("/proc"),
            cgroup_root: PathBuf::from("/sys/fs/cgroup"),
            own_pid: std::process::id(),
            subreaper: false,
            names: Names::Base,
        }
    }
}

// === impl Sampler ===

impl Sampler {
    /// Opens what stays open and finds the limit.
    ///
    /// # Errors
    /// When the root process is not there or `/proc` cannot be read.
    pub fn new(target: Target, pss: PssMode) -> Result<Self, SampleError> {
        Ok(Self {
            target,
            pss,
            told: Told::default(),
        })
    }

    /// Takes one sample.
    ///
    /// # Errors
    /// [`SampleError::Gone`] when the root process is gone, else which file failed.
    pub fn tick(&mut self, _clock: &dyn Clock) -> Result<Sample, SampleError> {
        let _ = (&self.pss, &self.told);
        Err(SampleError::Gone {
            pid: self.target.root_pid,
        })
    }

    /// Takes what the server extension knows; replaces what it told before.
    pub fn told(&mut self, told: Told) {
        self.told = told;
    }
}
