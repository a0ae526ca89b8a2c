//! What a simulated server does: a recorded notebook, or numbers that say which report they are of.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use hubmeter_agent::sample::{
    MemorySource, Sample, WallTime, Workload, WorkloadKind, vitals::Vitals,
};

/// A JupyterLab-like tree of a server and one kernel that loads, computes and frees, a row a
/// second: `hubmeter-agent sample --every 1s --format json`, reduced to these columns.
const RECORDED: &str = include_str!("../../fixtures/notebook.csv");

/// Its first line.
const COLUMNS: &str =
    "server_used,server_rss,server_cpu_millis,kernel_used,kernel_rss,kernel_cpu_millis";

/// Kernels of a server at most; a third of the servers has each number.
const KERNELS_MAX: usize = 3;

/// Bytes between the figures of one agent and the next, in a numbered load: more than any run has
/// reports.
pub const NUMBERED_STRIDE: u64 = 10_000_000;

/// What the limit is: far from anything recorded, so that nothing bursts or is judged.
const LIMIT_BYTES: u64 = 64 << 30;

/// How servers behave.
#[derive(Clone, Debug)]
pub enum Load {
    /// As recorded, each server at another time of it; of a hundred, `idle_percent` stand still.
    Recorded {
        /// What was recorded.
        trace: Arc<Trace>,
        /// Servers of a hundred that do nothing.
        idle_percent: u32,
    },
    /// `memory_used_bytes` tells agent and report, for [`super::audit`].
    Numbered,
}

/// What was recorded, second by second.
#[derive(Debug)]
pub struct Trace(Vec<Row>);

#[derive(Clone, Copy, Debug)]
struct Row {
    server: Figures,
    kernel: Figures,
}

#[derive(Clone, Copy, Debug)]
struct Figures {
    used_bytes: u64,
    rss_bytes: u64,
    cpu_millis: u64,
}

/// When a sample is taken, and as which report.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The report it will be.
    pub seq: u64,
    /// Since boot.
    pub mono_ms: u64,
    /// Since the epoch.
    pub wall_ms: u64,
    /// Since the agent began.
    pub age_ms: u64,
    /// Since its sample before.
    pub interval_ms: Option<u64>,
}

// === impl Load ===

impl Load {
    /// The recorded one.
    ///
    /// # Errors
    /// The recording is damaged.
    pub fn recorded(idle_percent: u32) -> Result<Self> {
        let trace = Arc::new(Trace::parse(RECORDED)?);
        Ok(Self::Recorded {
            trace,
            idle_percent,
        })
    }

    /// What agent `index` sees at `moment`.
    #[must_use]
    pub fn sample(&self, index: usize, moment: Moment) -> Sample {
        match self {
            Self::Numbered => numbered(index, moment),
            Self::Recorded {
                trace,
                idle_percent,
            } => {
                let idle = index % 100 < *idle_percent as usize;
                let age_ms = if idle { 0 } else { moment.age_ms };
                trace.sample(index, age_ms, moment)
            }
        }
    }
}

/// The figure that says whose report it is and which.
#[must_use]
pub fn number(index: usize, seq: u64) -> u64 {
    (index as u64 + 1) * NUMBERED_STRIDE + seq
}

fn numbered(index: usize, moment: Moment) -> Sample {
    let bytes = number(index, moment.seq);
    let figures = Figures {
        used_bytes: bytes,
        rss_bytes: bytes,
        cpu_millis: moment.age_ms / 100,
    };
    let server = workload(WorkloadKind::Server, "server".to_owned(), figures);
    sample(vec![server], moment)
}

// === impl Trace ===

impl Trace {
    fn parse(text: &str) -> Result<Self> {
        let mut lines = text.lines();
        if lines.next() != Some(COLUMNS) {
            bail!("the recording does not begin with {COLUMNS}");
        }
        let rows = lines.map(Row::parse).collect::<Result<Vec<_>>>()?;
        if rows.len() < 2 {
            bail!("the recording has no rows");
        }
        Ok(Self(rows))
    }

    /// A server whose kernels are each at another time of the recording.
    fn sample(&self, index: usize, age_ms: u64, moment: Moment) -> Sample {
        let kernels = 1 + index % KERNELS_MAX;
        let mut workloads: Vec<_> = (0..kernels)
            .map(|kernel| {
                let id = format!("{index:08x}-0000-4000-8000-{kernel:012x}");
                // Coprime to the recording's length, so that neighbours are far apart.
                let phase = index * 37 + kernel * 61;
                let figures = self.at(phase, age_ms, |row| row.kernel);
                workload(WorkloadKind::Kernel, id, figures)
            })
            .collect();
        let server = self.at(index * 37, age_ms, |row| row.server);
        workloads.push(workload(WorkloadKind::Server, "server".to_owned(), server));
        sample(workloads, moment)
    }

    /// The row at `age_ms` after `phase` seconds; what only grows goes on growing at the end.
    fn at(&self, phase: usize, age_ms: u64, of: impl Fn(&Row) -> Figures) -> Figures {
        let rows = &self.0;
        let second = phase % rows.len() + usize::try_from(age_ms / 1000).unwrap_or(0);
        let (laps, at) = (second / rows.len(), second % rows.len());
        let lap_millis = rows.last().map_or(0, |last| of(last).cpu_millis);
        let figures = of(&rows[at]);
        Figures {
            cpu_millis: laps as u64 * lap_millis + figures.cpu_millis,
            ..figures
        }
    }
}

impl Row {
    fn parse(line: &str) -> Result<Self> {
        let cells = line
            .split(',')
            .map(str::parse)
            .collect::<Result<Vec<u64>, _>>()
            .with_context(|| format!("the recording has a row `{line}`"))?;
        let [a, b, c, d, e, f] = cells[..] else {
            bail!("the recording has a row `{line}`");
        };
        let figures = |used_bytes, rss_bytes, cpu_millis| Figures {
            used_bytes,
            rss_bytes,
            cpu_millis,
        };
        Ok(Self {
            server: figures(a, b, c),
            kernel: figures(d, e, f),
        })
    }
}

fn workload(kind: WorkloadKind, id: String, figures: Figures) -> Workload {
    Workload {
        kind,
        name: if kind == WorkloadKind::Kernel {
            "python3".into()
        } else {
            id.as_str().into()
        },
        id: id.into(),
        pid: 1,
        memory_used_bytes: Some(figures.used_bytes),
        rss_bytes: figures.rss_bytes,
        pss_bytes: Some(figures.used_bytes),
        cpu_millis: figures.cpu_millis,
        cpu_cores: None,
        processes: 1,
        threads: 1,
        notebook: None,
        state: None,
        idle_ms: None,
        job: None,
        read_bytes: None,
        written_bytes: None,
        remote: false,
    }
}

fn sample(workloads: Vec<Workload>, moment: Moment) -> Sample {
    let sum = |of: fn(&Workload) -> u64| workloads.iter().map(of).sum::<u64>();
    let used_bytes = sum(|workload| workload.memory_used_bytes.unwrap_or(0));
    let count = u32::try_from(workloads.len()).unwrap_or(u32::MAX);
    Sample {
        time: WallTime::default(),
        interval_ms: moment.interval_ms,
        memory_used_bytes: used_bytes,
        memory_working_set_bytes: None,
        memory_source: MemorySource::Pss,
        memory_age_ms: 0,
        memory_limit_bytes: Some(LIMIT_BYTES.max(2 * used_bytes)),
        memory_limit_source: Some("env".into()),
        memory_limit_enforced: true,
        memory_limit_shared: false,
        rss_bytes: sum(|workload| workload.rss_bytes),
        pss_bytes: Some(used_bytes),
        swap_bytes: Some(0),
        unattributed_bytes: Some(0),
        cpu_millis: sum(|workload| workload.cpu_millis),
        cpu_cores: None,
        processes: count,
        threads: count,
        workloads,
        mono_ms: moment.mono_ms,
        wall_ms: moment.wall_ms,
        burst: false,
        oom_kills: Some(0),
        memory_guarantee_bytes: None,
        cpu_limit_millicores: None,
        cpu_guarantee_millicores: None,
        memory_limit_used_bytes: None,
        memory_corrected_bytes: 0,
        cpu_may_miss: false,
        processes_beyond: 0,
        vitals: Vitals::default(),
        ended: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(age_ms: u64) -> Moment {
        Moment {
            seq: 1,
            mono_ms: age_ms,
            wall_ms: age_ms,
            age_ms,
            interval_ms: None,
        }
    }

    #[test]
    fn a_recorded_servers_processor_time_never_goes_back_and_its_workloads_are_the_whole() {
        let load = Load::recorded(0).unwrap();
        for index in [0, 1, 2, 99] {
            let mut before = 0;
            for second in 0..1_000_u64 {
                let sample = load.sample(index, moment(second * 1_000));
                assert!(sample.cpu_millis >= before, "agent {index}, {second} s");
                before = sample.cpu_millis;
                let parts: u64 = sample.workloads.iter().map(|w| w.rss_bytes).sum();
                assert_eq!(parts, sample.rss_bytes);
            }
        }
    }

    #[test]
    fn idle_servers_stand_still_and_others_do_not() {
        let load = Load::recorded(50).unwrap();
        let figures = |index, second: u64| {
            let sample = load.sample(index, moment(second * 1_000));
            (sample.rss_bytes, sample.cpu_millis)
        };
        assert_eq!(figures(49, 0), figures(49, 150));
        assert_ne!(figures(50, 0), figures(50, 150));
    }
}
