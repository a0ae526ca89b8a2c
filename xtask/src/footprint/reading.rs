//! What the kernel says a process costs.

use std::{fs, process::Command};

use anyhow::{Context, Result};
use nix::{time::clock_getcpuclockid, unistd::Pid};

/// One look at a process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    /// Resident.
    pub(crate) rss_bytes: u64,
    /// Of it, in no file.
    pub(crate) anon_bytes: u64,
    /// Its share of what is resident.
    pub(crate) pss_bytes: u64,
    /// Threads.
    pub(crate) threads: u64,
    /// How often it went to sleep by itself, so far: each time something woke it.
    pub(crate) wakeups: u64,
    /// Processor time so far.
    pub(crate) cpu_ns: u64,
}

// === impl Reading ===

impl Reading {
    /// Reads all there is of `pid`.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let read = |name: &str| {
            let path = format!("/proc/{pid}/{name}");
            fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
        };
        let status = read("status")?;
        let rollup = read("smaps_rollup")?;
        let cpu = clock_getcpuclockid(Pid::from_raw(pid.cast_signed()))?.now()?;
        Ok(Self {
            rss_bytes: 1024 * number(&status, "VmRSS:")?,
            anon_bytes: 1024 * number(&status, "RssAnon:")?,
            pss_bytes: 1024 * number(&rollup, "Pss:")?,
            threads: number(&status, "Threads:")?,
            wakeups: number(&status, "voluntary_ctxt_switches:")?,
            cpu_ns: u64::try_from(cpu.tv_sec())? * 1_000_000_000 + u64::try_from(cpu.tv_nsec())?,
        })
    }
}

/// Instructions of `pid` in `seconds`, its own and the kernel's for it; `None` where perf is
/// missing or refused.
pub(crate) fn instructions(pid: u32, seconds: u32) -> Option<(f64, f64)> {
    let out = Command::new("perf")
        .args(["stat", "-x", ",", "-e", "instructions:u,instructions:k"])
        .args(["-p", &pid.to_string()])
        .args(["--", "sleep", &seconds.to_string()])
        .output()
        .ok()
        .filter(|out| out.status.success())?;
    let text = String::from_utf8_lossy(&out.stderr);
    let count = |event: &str| -> Option<f64> {
        let line = text.lines().find(|line| line.contains(event))?;
        line.split(',').next()?.parse().ok()
    };
    Some((count("instructions:u")?, count("instructions:k")?))
}

/// The straight line through (seconds, bytes) by least squares.
pub(crate) fn slope_bytes_per_hour(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x_mean, y_mean) = (mean(|point| point.0), mean(|point| point.1));
    let products: f64 = points
        .iter()
        .map(|(x, y)| (x - x_mean) * (y - y_mean))
        .sum();
    let squares: f64 = points.iter().map(|(x, _)| (x - x_mean).powi(2)).sum();
    if squares > 0.0 {
        products / squares * 3600.0
    } else {
        0.0
    }
}

fn number(text: &str, key: &str) -> Result<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(key))
        .with_context(|| format!("no {key} in what the kernel says"))?;
    let word = line.split_whitespace().next().unwrap_or("");
    word.parse().with_context(|| format!("{key} {word}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_in_its_points_and_a_flat_one_is_flat() {
        let rising: Vec<_> = (0..10)
            .map(|at| (f64::from(at), 5.0 + 2.0 * f64::from(at)))
            .collect();
        assert!((slope_bytes_per_hour(&rising) - 7200.0).abs() < 1e-6);
        assert_eq!(slope_bytes_per_hour(&[(0.0, 3.0), (1.0, 3.0)]), 0.0);
        assert_eq!(slope_bytes_per_hour(&[(0.0, 3.0)]), 0.0);
    }

    #[test]
    fn this_process_has_a_reading() {
        let reading = Reading::of(std::process::id()).unwrap();
        assert!(reading.rss_bytes > reading.anon_bytes && reading.anon_bytes > 0);
        assert!(reading.threads >= 1 && reading.cpu_ns > 0);
    }
}
