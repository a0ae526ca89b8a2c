//! What the kernel says a process uses.

use std::fs;

use anyhow::{Context, Result};
use nix::{time::clock_getcpuclockid, unistd::Pid};

/// One look.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Resident.
    pub rss_bytes: u64,
    /// Its share of what is resident.
    pub pss_bytes: u64,
    /// Of what is resident, in no file.
    pub anon_bytes: u64,
    /// Processor time so far.
    pub cpu_micros: u64,
}

// === impl Cost ===

impl Cost {
    /// Looks at `pid`.
    ///
    /// # Errors
    /// It is gone.
    pub fn of(pid: u32) -> Result<Self> {
        let path = format!("/proc/{pid}/smaps_rollup");
        let rollup = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let cpu = clock_getcpuclockid(Pid::from_raw(pid.cast_signed()))?.now()?;
        Ok(Self {
            rss_bytes: bytes(&rollup, "Rss:")?,
            pss_bytes: bytes(&rollup, "Pss:")?,
            anon_bytes: bytes(&rollup, "Anonymous:")?,
            cpu_micros: u64::try_from(cpu.tv_sec())? * 1_000_000
                + u64::try_from(cpu.tv_nsec())? / 1_000,
        })
    }
}

fn bytes(rollup: &str, key: &str) -> Result<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix(key));
    let kib: u64 = line
        .and_then(|rest| rest.split_whitespace().next())
        .with_context(|| format!("smaps_rollup has no {key}"))?
        .parse()?;
    Ok(1024 * kib)
}
