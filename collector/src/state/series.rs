//! The fixed-size rings behind one server's figures: memory for the trend, CPU for rates and
//! means, the same in small per workload.
//!
//! All distances are of the agent's clock since boot; a wall clock that jumps changes nothing.

use std::collections::BTreeMap;

pub(crate) mod flow;

use hubmeter_kinetics::{
    forecast::{Forecast, Outlook, forecast},
    momentum::momentum_bytes,
    series::{Point, Series},
    tracker::{HORIZON_MIDDLE_MS, Tracker},
    trend::{POINTS_MAX, Trend},
};

use self::flow::{Flow, Rates};
use crate::{
    fact::{MemorySource, Sample, WorkloadKey, WorkloadKind, WorkloadSample, WorkloadState},
    verdict::idle::{FLOW_BYTES_PER_SECOND, RESTING_CORES_MAX, WORK_MARGIN_CORES},
};

/// Over how long CPU is averaged when it is asked whether somebody works.
pub const CPU_MEAN_MS: u64 = 300_000;

/// Below this the CPU mean says nothing.
pub const CPU_MEAN_MIN_MS: u64 = 10_000;

/// A fall by more than this share, when a workload went, is that workload's memory.
const WENT_SHARE: f64 = 0.1;

/// Samples of a workload further apart than this, three of the longest intervals, leave a hole.
const HOLE_MS: u64 = 180_000;

/// Points a CPU mean is made of: one in 20 s.
const CPU_POINTS: usize = 16;

/// CPU time over the last minutes.
#[derive(Clone, Debug)]
pub(crate) struct CpuWindow(Series<CPU_POINTS>);

/// What one server keeps besides its newest sample.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measured {
    memory: Tracker,
    memory_source: Option<MemorySource>,
    /// Of everybody's use of the limit, while others share it.
    shared: Option<Box<Tracker>>,
    cpu: CpuWindow,
    previous_base_rss: Option<u64>,
    previous_cpu: Option<Counter>,
    oom_kills: Option<u64>,
    /// Boxed, since a node of the map has room for eleven and most servers have two or three.
    workloads: BTreeMap<WorkloadKey, Box<WorkloadMeasured>>,
}

/// What one workload keeps; as many as the newest sample has.
#[derive(Clone, Debug)]
pub(crate) struct WorkloadMeasured {
    pid: u32,
    memory: Series<POINTS_MAX>,
    cpu: CpuWindow,
    previous_cpu: Counter,
    cpu_cores: Option<f64>,
    flow: Flow,
    /// Since when it is busy without a break.
    pub(crate) busy_since_ms: Option<i64>,
    /// When it was last seen to do anything while it was busy, or was not measured.
    pub(crate) quiet_since_ms: i64,
    /// When it was last seen at work.
    worked_ms: Option<i64>,
    /// When it was last at work, by its own account or ours, else when it was first seen.
    pub(crate) idle_since_ms: i64,
}

/// A counter's reading.
#[derive(Clone, Copy, Debug)]
struct Counter {
    mono_ms: u64,
    cpu_millis: u64,
}

/// What a sample means in the light of the ones before.
#[derive(Clone, Debug)]
pub(crate) struct Derived {
    /// `None` for an instance's first base sample and for a burst sample.
    pub(crate) momentum_bytes: Option<i64>,
    pub(crate) trend: Option<Trend>,
    pub(crate) forecast: Option<Forecast>,
    pub(crate) cpu_cores: Option<f64>,
    /// A workload of the sample before is gone or was started anew, or the out-of-memory killer came:
    /// it may be told samples later whom it took.
    pub(crate) workload_went: bool,
}

/// The workload behind a rise.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Cause {
    pub(crate) key: WorkloadKey,
    pub(crate) bytes_per_second: f64,
    /// Its share of everything that rose, 0..=1.
    pub(crate) share: f64,
}

/// The last minute of memory in three numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Minute {
    pub(crate) first_bytes: u64,
    pub(crate) max_bytes: u64,
    pub(crate) last_bytes: u64,
}

// === impl Measured ===

impl Measured {
    /// Takes `sample` in; it is later than the ones before.
    pub(crate) fn take(&mut self, sample: &Sample) -> Derived {
        let source_before = self.memory_source.replace(sample.memory_source);
        if source_before != Some(sample.memory_source) && sample.memory_corrected_bytes == 0 {
            // Another way of counting is not growth; how much it makes was not said.
            self.memory.clear();
        }
        self.memory.correct(sample.memory_corrected_bytes);
        let workload_went = self.take_workloads(sample) | self.take_kills(sample);
        if workload_went && self.fell_to(sample.memory_used_bytes) {
            // What climbed is gone, and its climb with it.
            self.memory.clear();
        }
        self.memory.push(Point {
            mono_ms: sample.mono_ms,
            bytes: sample.memory_used_bytes,
        });
        let momentum = (!sample.burst)
            .then(|| self.previous_base_rss.replace(sample.rss_bytes))
            .flatten()
            .map(|previous| momentum_bytes(previous, sample.rss_bytes));
        let counter = Counter {
            mono_ms: sample.mono_ms,
            cpu_millis: sample.cpu_millis,
        };
        let cpu_cores = self
            .previous_cpu
            .replace(counter)
            .and_then(|previous| counter.cores_since(previous));
        self.cpu.push(counter);

        let outlook = self.memory.outlook();
        let forecast = self.forecast(sample, outlook);
        Derived {
            momentum_bytes: momentum,
            trend: outlook.map(|outlook| outlook.trend),
            forecast,
            cpu_cores,
            workload_went,
        }
    }

    /// Whether `used_bytes` is so much less than before that what went took its share with it.
    fn fell_to(&self, used_bytes: u64) -> bool {
        let before_bytes = self.memory.newest().map_or(0, |newest| newest.bytes);
        before_bytes.saturating_sub(used_bytes) as f64 > WENT_SHARE * before_bytes as f64
    }

    /// When the limit is reached: by the server, or by all together who share it.
    fn forecast(&mut self, sample: &Sample, own: Option<Outlook>) -> Option<Forecast> {
        let used_bytes = sample.limited_bytes();
        let outlook = if sample.memory_limit_shared {
            let shared = self.shared.get_or_insert_default();
            shared.push(Point {
                mono_ms: sample.mono_ms,
                bytes: used_bytes,
            });
            shared.outlook()
        } else {
            self.shared = None;
            own
        };
        forecast(used_bytes, sample.memory_limit_bytes?, &outlook?)
    }

    /// Takes the workloads in; whether one of those before is not among them.
    fn take_workloads(&mut self, sample: &Sample) -> bool {
        let mut before = std::mem::take(&mut self.workloads);
        let mut went = false;
        for workload in &sample.workloads {
            let known = before.remove(&workload.key);
            let same = |known: &WorkloadMeasured| known.pid == workload.pid;
            went |= known.as_ref().is_some_and(|known| !same(known));
            let known = known.filter(|known| same(known));
            let mut measured =
                known.unwrap_or_else(|| Box::new(WorkloadMeasured::new(workload, sample.at_ms)));
            measured.take(workload, sample.mono_ms, sample.at_ms);
            self.workloads.insert(workload.key.clone(), measured);
        }
        went || !before.is_empty()
    }

    /// Takes the kill counter in; whether it moved.
    fn take_kills(&mut self, sample: &Sample) -> bool {
        let before = self.oom_kills;
        self.oom_kills = sample.oom_kills.or(before);
        matches!((before, sample.oom_kills), (Some(before), Some(now)) if now > before)
    }

    /// Mean cores over the last [`CPU_MEAN_MS`].
    pub(crate) fn cpu_mean_cores(&self) -> Option<f64> {
        self.cpu.mean_cores()
    }

    pub(crate) fn workload(&self, key: &WorkloadKey) -> Option<&WorkloadMeasured> {
        self.workloads.get(key).map(|measured| &**measured)
    }

    pub(crate) fn workloads(&self) -> impl Iterator<Item = (&WorkloadKey, &WorkloadMeasured)> {
        self.workloads
            .iter()
            .map(|(key, measured)| (key, &**measured))
    }

    /// The workload that rose most over the last `span_ms`, if any did.
    pub(crate) fn cause(&self, span_ms: u64) -> Option<Cause> {
        let span_ms = span_ms.min(HORIZON_MIDDLE_MS);
        let rise = |measured: &WorkloadMeasured| {
            let first = measured.memory.within(span_ms).next();
            let newest = measured.memory.newest();
            first.zip(newest).map_or(0, |(first, newest)| {
                newest.bytes.saturating_sub(first.bytes)
            })
        };
        let all: u64 = self
            .workloads
            .values()
            .map(|measured| rise(measured))
            .fold(0, u64::saturating_add);
        let (key, measured) = self
            .workloads
            .iter()
            .rev() // of equals the first key wins
            .max_by_key(|(_, measured)| rise(measured))?;
        let first = measured.memory.within(span_ms).next()?;
        let newest = measured.memory.newest()?;
        let own = rise(measured);
        (own > 0 && newest.mono_ms > first.mono_ms).then(|| Cause {
            key: key.clone(),
            bytes_per_second: own as f64 * 1000.0 / (newest.mono_ms - first.mono_ms) as f64,
            share: own as f64 / all as f64,
        })
    }

    /// The last minute of memory, the newest sample included.
    pub(crate) fn minute(&self) -> Option<Minute> {
        let first = self.memory.minute().next()?;
        let last = self.memory.newest()?;
        let max_bytes = self.memory.minute().map(|point| point.bytes).max()?;
        Some(Minute {
            first_bytes: first.bytes,
            max_bytes,
            last_bytes: last.bytes,
        })
    }
}

// === impl WorkloadMeasured ===

impl WorkloadMeasured {
    fn new(workload: &WorkloadSample, at_ms: i64) -> Self {
        Self {
            pid: workload.pid,
            memory: Series::new(HORIZON_MIDDLE_MS / (POINTS_MAX as u64 - 1)),
            cpu: CpuWindow::default(),
            previous_cpu: Counter {
                mono_ms: u64::MAX,
                cpu_millis: workload.cpu_millis,
            },
            cpu_cores: None,
            flow: Flow::default(),
            busy_since_ms: None,
            quiet_since_ms: at_ms,
            worked_ms: None,
            idle_since_ms: at_ms,
        }
    }

    fn take(&mut self, workload: &WorkloadSample, mono_ms: u64, at_ms: i64) {
        self.memory.push(Point {
            mono_ms,
            bytes: workload.memory_used_bytes.unwrap_or(workload.rss_bytes),
        });
        let counter = Counter {
            mono_ms,
            cpu_millis: workload.cpu_millis,
        };
        let after_hole = mono_ms.saturating_sub(self.previous_cpu.mono_ms) > HOLE_MS;
        self.cpu_cores = counter.cores_since(self.previous_cpu);
        self.previous_cpu = counter;
        self.cpu.push(counter);
        self.flow
            .take(mono_ms, workload.read_bytes, workload.written_bytes);

        let busy = workload.state == Some(WorkloadState::Busy);
        self.busy_since_ms = busy.then(|| self.busy_since_ms.map_or(at_ms, |ms| ms.min(at_ms)));
        let computes = |cores: Option<f64>, more: f64| cores.is_some_and(|cores| cores > more);
        if !busy
            || after_hole
            || self.flows(workload.key.kind)
            || computes(self.cpu_mean_cores(), WORK_MARGIN_CORES)
        {
            self.quiet_since_ms = at_ms;
        }
        // A clock that was set back: nothing is quiet since later.
        self.quiet_since_ms = self.quiet_since_ms.min(at_ms);
        if busy || self.flows(workload.key.kind) || computes(self.cpu_cores, RESTING_CORES_MAX) {
            self.worked_ms = Some(at_ms);
        }
        let told_ms = workload.idle_ms.and_then(|ms| i64::try_from(ms).ok());
        let told_ms = told_ms.map(|idle_ms| at_ms.saturating_sub(idle_ms));
        if let Some(since_ms) = told_ms.max(self.worked_ms) {
            self.idle_since_ms = since_ms.min(at_ms);
        }
    }

    /// Whether it reads or writes as only work does; Jupyter's own traffic says nothing, and what
    /// nobody claims gets what ended workloads moved.
    pub(crate) fn flows(&self, kind: WorkloadKind) -> bool {
        use WorkloadKind::{App, Kernel, Terminal};
        let much = |rates: Rates| rates.read.max(rates.written) > FLOW_BYTES_PER_SECOND;
        matches!(kind, Kernel | Terminal | App) && self.flow.rates().is_some_and(much)
    }

    /// How fast it reads and writes.
    pub(crate) fn rates(&self) -> Option<Rates> {
        self.flow.rates()
    }

    /// Cores over the newest interval.
    pub(crate) fn cpu_cores(&self) -> Option<f64> {
        self.cpu_cores
    }

    /// Mean cores over the last [`CPU_MEAN_MS`].
    pub(crate) fn cpu_mean_cores(&self) -> Option<f64> {
        self.cpu.mean_cores()
    }
}

// === impl Counter ===

impl Counter {
    /// Cores between `previous` and this; unknown when no time passed or the counter went back.
    fn cores_since(self, previous: Self) -> Option<f64> {
        let wall_ms = self.mono_ms.checked_sub(previous.mono_ms)?;
        let cpu_ms = self.cpu_millis.checked_sub(previous.cpu_millis)?;
        (wall_ms > 0).then(|| cpu_ms as f64 / wall_ms as f64)
    }
}

// === impl CpuWindow ===

impl Default for CpuWindow {
    fn default() -> Self {
        Self(Series::new(CPU_MEAN_MS / (CPU_POINTS as u64 - 1)))
    }
}

impl CpuWindow {
    /// A counter is a series like any other: its "bytes" are milliseconds of CPU.
    fn push(&mut self, counter: Counter) {
        if let Some(newest) = self.0.newest()
            && counter.cpu_millis < newest.bytes
        {
            self.0.clear();
        }
        self.0.push(Point {
            mono_ms: counter.mono_ms,
            bytes: counter.cpu_millis,
        });
    }

    fn mean_cores(&self) -> Option<f64> {
        let first = self.0.within(CPU_MEAN_MS).next()?;
        let newest = self.0.newest()?;
        let wall_ms = newest.mono_ms - first.mono_ms;
        (wall_ms >= CPU_MEAN_MIN_MS).then(|| (newest.bytes - first.bytes) as f64 / wall_ms as f64)
    }
}
