//! Instructions and system calls of a tick, counted where nothing else can: under valgrind, which
//! executes the program itself, and under strace. Each is the difference of a long run and a short
//! one, so that a start and an end are in neither; neither depends on the machine's load.
//!
//! What the kernel executes for a call nobody counts here. It is derived from the calls by what
//! they cost where a processor could count (Linux 6.18, AMD Zen 5, user part taken off), and is as
//! good as that.

use std::{collections::BTreeMap, ffi::OsString, fs, thread};

use anyhow::{Context, Result, bail, ensure};

use super::{Bed, beside::Agent, sink::Sink};
use crate::{process::on_path, progress::Step, stop};

/// Samples of the two runs. Under valgrind the first tick costs so much that the agent rests.
const SHORT: u64 = 4;
const LONG: u64 = 20;

/// Instructions of the kernel for one call of these, wake-up and loopback included where they are
/// part of it.
const KERNEL: [(&str, f64); 6] = [
    ("clock_gettime", 600.0),
    ("clock_getres", 600.0),
    // Between a resident set's 2,700 and the pid cursor's 5,000; a `stat` has 12,000.
    ("pread64", 4_000.0),
    // A report over loopback TCP, to the collector's socket.
    ("write", 16_000.0),
    ("writev", 16_000.0),
    ("sendto", 16_000.0),
];

/// For any other: there and back.
const KERNEL_LEAST: f64 = 300.0;

/// One tick's.
pub(crate) struct Counts {
    /// The program's own instructions, where valgrind is installed.
    pub(crate) instructions: Option<f64>,
    /// Calls by name, where strace is installed.
    pub(crate) calls: Option<BTreeMap<String, f64>>,
}

// === impl Counts ===

impl Counts {
    /// Runs the agent four times.
    pub(crate) fn of(bed: &Bed<'_>, sink: &mut Sink, step: &mut Step) -> Result<Self> {
        let dir = bed.space.target.join("footprint");
        let log = dir.join("counted.log");
        let under = |tool: &str, arguments: &[&str], log_flag: &str| -> Option<Vec<OsString>> {
            let mut tool = vec![on_path(tool)?.into_os_string()];
            tool.extend(arguments.iter().map(OsString::from));
            tool.push(format!("{log_flag}{}", log.display()).into());
            Some(tool)
        };
        let valgrind = under(
            "valgrind",
            &["--tool=callgrind", "--callgrind-out-file=/dev/null"],
            "--log-file=",
        );
        let strace = under("strace", &["-f", "-c", "-U", "calls,name"], "--output=");
        let mut counted = |tool: Vec<OsString>, samples| {
            let came = run(bed, &tool, samples, sink, step)?;
            let said = fs::read_to_string(&log);
            let said = said.with_context(|| format!("cannot read {}", log.display()))?;
            Ok::<_, anyhow::Error>((came, said))
        };
        // What was said of each run, and by how many ticks the second was longer.
        let mut both = |tool: Option<Vec<OsString>>| -> Result<Option<([String; 2], f64)>> {
            let Some(tool) = tool else { return Ok(None) };
            let (before, short) = counted(tool.clone(), SHORT)?;
            let (after, long) = counted(tool, LONG)?;
            ensure!(after > before, "no more samples came in a longer run");
            Ok(Some(([short, long], (after - before) as f64)))
        };
        let instructions = match both(valgrind)? {
            Some(([short, long], ticks)) => Some((collected(&long)? - collected(&short)?) / ticks),
            None => None,
        };
        let calls = both(strace)?.map(|([short, long], ticks)| {
            let (before, after) = (summary(&short), summary(&long));
            let more = after.into_iter().map(|(name, calls)| {
                let more = calls - before.get(&name).copied().unwrap_or(0.0);
                (name, more / ticks)
            });
            // What is called less than once in several ticks is a start's or an end's.
            more.filter(|(_, calls)| *calls >= 0.05).collect()
        });
        Ok(Self {
            instructions,
            calls,
        })
    }

    /// All calls together.
    pub(crate) fn calls_sum(&self) -> Option<f64> {
        Some(self.calls.as_ref()?.values().sum())
    }

    /// The kernel's instructions, derived.
    pub(crate) fn kernel(&self) -> Option<f64> {
        let cost = |name: &str| {
            let known = KERNEL.iter().find(|(known, _)| *known == name);
            known.map_or(KERNEL_LEAST, |(_, cost)| *cost)
        };
        let calls = self.calls.as_ref()?.iter();
        Some(calls.map(|(name, calls)| calls * cost(name)).sum())
    }
}

/// An agent under `tool` until so many samples came, or more that came together; how many.
fn run(
    bed: &Bed<'_>,
    tool: &[OsString],
    samples: u64,
    sink: &mut Sink,
    step: &mut Step,
) -> Result<u64> {
    sink.forget();
    let agent: Agent = bed.start(tool, sink)?;
    sink.hello()?;
    loop {
        stop::check()?;
        let came = sink.last_report()?.samples;
        step.alive(&format!("{came} of {samples} samples"));
        if came >= samples {
            agent.end()?;
            return Ok(came);
        }
        thread::sleep(stop::GLANCE);
    }
}

/// What valgrind collected.
fn collected(log: &str) -> Result<f64> {
    let Some((_, rest)) = log.split_once("Collected : ") else {
        bail!("valgrind did not count: {log}");
    };
    let digits = rest.lines().next().unwrap_or("").trim();
    digits.parse().context("valgrind's count is no number")
}

/// Calls by name of strace's table.
fn summary(log: &str) -> BTreeMap<String, f64> {
    let rows = log.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let calls: u32 = words.next()?.parse().ok()?;
        Some((words.next()?.to_owned(), f64::from(calls)))
    });
    rows.filter(|(name, _)| name != "total").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_tools_say_is_understood() {
        let valgrind = "==7== Events    : Ir\n==7== Collected : 921961\n==7== \n";
        assert_eq!(collected(valgrind).unwrap(), 921_961.0);
        assert!(collected("==7== killed\n").is_err());
        let strace = "    calls syscall\n--------- ----------------\n       12 pread64\n        \
                      3 write\n--------- ----------------\n       15 total\n";
        let calls = summary(strace);
        assert_eq!(calls.len(), 2);
        assert_eq!((calls["pread64"], calls["write"]), (12.0, 3.0));
        let counts = Counts {
            instructions: None,
            calls: Some(calls),
        };
        assert_eq!(counts.calls_sum(), Some(15.0));
        assert_eq!(counts.kernel(), Some(12.0 * 4_000.0 + 3.0 * 16_000.0));
    }
}
