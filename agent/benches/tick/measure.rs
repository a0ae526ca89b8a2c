//! CPU time, instructions and calls of one sample.

use std::{thread, time::Duration};

use hubmeter_agent::sample::calls::Calls;
use nix::time::{ClockId, clock_gettime};
use perf_event::{Builder, Counter, events::Hardware};

const BATCHES: usize = 5;

/// A batch is as many samples as fit into this much CPU time.
pub const BATCH_NS: u64 = 40_000_000;

/// How samples follow each other.
pub enum Measure {
    /// In a tight loop.
    Hot,
    /// One second apart, this many.
    Cold(usize),
}

/// One line of the table.
#[derive(Default)]
pub struct Row {
    pub name: String,
    /// CPU time a sample: median of the batches' means.
    pub ns: f64,
    /// The dearest of all samples but one in a hundred.
    pub p99_ns: Option<u64>,
    pub instructions: Option<f64>,
    /// On average.
    pub calls: Option<f64>,
    pub opened: Option<f64>,
}

// === impl Measure ===

impl Measure {
    /// A row of ours, whose calls are counted.
    pub fn counted_row(&self, name: &str, sample: impl FnMut()) -> Row {
        let before = Calls::so_far();
        let mut samples = 0_u32;
        let mut sample = sample;
        let row = self.row(name, || {
            samples += 1;
            sample();
        });
        let calls = Calls::so_far().since(before);
        Row {
            calls: Some(calls.all() as f64 / f64::from(samples)),
            opened: Some(calls.opened as f64 / f64::from(samples)),
            ..row
        }
    }

    /// A row of somebody's.
    pub fn row(&self, name: &str, mut sample: impl FnMut()) -> Row {
        sample();
        let mut counter = instructions();
        let (mut batches, mut single_ns) = (Vec::new(), Vec::new());
        let (mut counted, mut samples) = (0, 0_u32);
        let count = match self {
            Self::Hot => BATCHES,
            Self::Cold(samples) => *samples,
        };
        for _ in 0..count {
            if matches!(self, Self::Cold(_)) {
                thread::sleep(Duration::from_secs(1));
            }
            let (mut in_batch, start) = (0_u32, cpu_ns());
            let mut last = start;
            let counted_before = counter.as_mut().map_or(0, |c| c.read().unwrap());
            let spent = loop {
                sample();
                in_batch += 1;
                let now = cpu_ns();
                single_ns.push(now - last);
                last = now;
                if matches!(self, Self::Cold(_)) || now - start > BATCH_NS {
                    break now - start;
                }
            };
            counted += counter.as_mut().map_or(0, |c| c.read().unwrap()) - counted_before;
            samples += in_batch;
            batches.push(spent as f64 / f64::from(in_batch));
        }
        batches.sort_by(f64::total_cmp);
        single_ns.sort_unstable();
        Row {
            name: name.to_owned(),
            ns: batches[batches.len() / 2],
            p99_ns: single_ns.get(single_ns.len() * 99 / 100).copied(),
            instructions: counter.map(|_| counted as f64 / f64::from(samples)),
            ..Row::default()
        }
    }
}

/// Counts instructions of this thread, user and kernel, if that is permitted.
pub fn instructions() -> Option<Counter> {
    let mut counter = Builder::new(Hardware::INSTRUCTIONS)
        .include_kernel()
        .build()
        .ok()?;
    counter.enable().ok()?;
    Some(counter)
}

/// CPU time of this process.
pub fn cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).unwrap();
    u64::try_from(time.tv_sec() * 1_000_000_000 + time.tv_nsec()).unwrap()
}
