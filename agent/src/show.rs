//! `hubmeter-agent sample`: samples for a person's eyes or a program's.

mod details;

use std::{
    fmt::Write as _,
    io::{self, Write},
    process::ExitCode,
    thread,
    time::Duration,
};

use nix::unistd::{Pid, getppid, getsid};

use crate::{
    clock::{Clock, SystemClock},
    config::{DiskArgs, Format, Pss, Reader, SampleArgs},
    sample::{
        MemorySource, Sample, Workload,
        details::Details,
        disk::ask,
        file::read_strings,
        kernels::{is_jupyter_server, strings},
        passers::ancestors,
    },
    sampler::{PortableSampler, PssMode, SampleError, Sampler, Target},
    workload::Names,
};

/// Either reader.
enum Eyes {
    Linux(Box<Sampler>),
    Portable(Box<PortableSampler>),
}

/// Why showing ended.
#[derive(Debug, thiserror::Error)]
enum ShowError {
    #[error(transparent)]
    Sample(#[from] SampleError),
    #[error("cannot write the sample: {0}")]
    Write(#[from] io::Error),
    #[error("cannot render the sample: {0}")]
    Render(#[from] serde_json::Error),
}

/// Runs the command.
#[must_use]
pub fn run(args: &SampleArgs, names: Names) -> ExitCode {
    match show(args, names, &mut io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read the rows has seen enough.
        Err(ShowError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            // Nothing is left to do when even the message cannot be written.
            let _ = writeln!(io::stderr(), "hubmeter-agent: {error}");
            ExitCode::FAILURE
        }
    }
}

/// How the root process was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FoundBy {
    /// Somebody named it.
    Flag,
    /// The nearest Jupyter server above this process.
    Jupyter,
    /// The leader of the login session, above this process.
    Session,
    /// The parent process.
    Parent,
}

/// Whom to measure when nobody says: the nearest Jupyter server above this process; else the
/// leader of the login session, if it is above; else the parent process.
#[must_use]
pub fn default_pid() -> u32 {
    find_root().0
}

/// The same, with how it was found.
pub(crate) fn find_root() -> (u32, FoundBy) {
    let proc_root = std::path::Path::new("/proc");
    let above: Vec<u32> = ancestors(proc_root, std::process::id()).collect();
    let jupyter = above.iter().find(|pid| {
        let block = read_strings(&proc_root.join(pid.to_string()).join("cmdline"));
        let arguments: Vec<String> = strings(&block.unwrap_or_default())
            .map(|argument| String::from_utf8_lossy(argument).into_owned())
            .collect();
        is_jupyter_server(&arguments)
    });
    if let Some(pid) = jupyter {
        return (*pid, FoundBy::Jupyter);
    }
    let as_u32 = |pid: Pid| u32::try_from(pid.as_raw()).ok();
    let leader = getsid(None).ok().and_then(as_u32);
    match leader.filter(|pid| above.contains(pid) && *pid != 1) {
        Some(pid) => (pid, FoundBy::Session),
        None => (as_u32(getppid()).unwrap_or(1), FoundBy::Parent),
    }
}

/// Says how full a file system is, in place of an agent that must not hang there.
#[must_use]
pub fn disk(args: &DiskArgs) -> ExitCode {
    ask::answer(args)
}

fn show(args: &SampleArgs, names: Names, out: &mut impl Write) -> Result<(), ShowError> {
    let clock = SystemClock;
    let target = Target {
        names,
        ..Target::this_machine(args.pid.unwrap_or_else(default_pid))
    };
    let mut eyes = Eyes::open(args, target)?;
    let count = args.count.or(args.every.is_none().then_some(1));
    // Several rows asked for without a distance: the usual one.
    let every = args
        .every
        .unwrap_or(hubmeter_proto::limits::INTERVAL_DEFAULT);
    let mut due_ms = clock.mono_ms();
    let mut row = 0;
    loop {
        let sample = eyes.tick(&clock)?;
        match args.format {
            Format::Json => writeln!(out, "{}", json(&sample, args.details)?)?,
            Format::Table => {
                out.write_all(table(&sample).as_bytes())?;
                if args.details {
                    out.write_all(details::table(&sample).as_bytes())?;
                }
            }
        }
        out.flush()?;
        row += 1;
        if count == Some(row) {
            return Ok(());
        }
        // By the clock, not by the sleep: rows don't drift. Missed ones are not made up for.
        due_ms = (due_ms + duration_ms(every)).max(clock.mono_ms());
        thread::sleep(Duration::from_millis(due_ms - clock.mono_ms().min(due_ms)));
        if matches!(args.format, Format::Table) {
            out.write_all(b"\n")?;
        }
    }
}

/// Without `--details` the contract's keys and no other.
fn json(sample: &Sample, details: bool) -> serde_json::Result<String> {
    match details {
        true => serde_json::to_string(&Details(sample)),
        false => serde_json::to_string(sample),
    }
}

fn duration_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

// === impl Eyes ===

impl Eyes {
    fn open(args: &SampleArgs, target: Target) -> Result<Self, SampleError> {
        let pss = match args.pss {
            Pss::Always => PssMode::Always,
            Pss::Budget => PssMode::Budget,
        };
        Ok(match args.reader {
            Reader::Linux => {
                let sampler = Sampler::new(target, pss)?.with_pss_share(args.pss_budget);
                Self::Linux(Box::new(sampler))
            }
            Reader::Sysinfo => Self::Portable(Box::new(PortableSampler::new(target)?)),
        })
    }

    fn tick(&mut self, clock: &dyn Clock) -> Result<Sample, SampleError> {
        match self {
            Self::Linux(sampler) => sampler.tick(clock),
            Self::Portable(sampler) => sampler.tick(clock),
        }
    }
}

/// Width of the first column: a notebook's name of usual length, with its kind and part of its id.
const LABEL_WIDTH: usize = 48;

/// Cells of one row, right-aligned under the head.
struct Row {
    label: String,
    cells: [String; 7],
    pid: String,
}

// === impl Row ===

impl Row {
    fn head() -> Self {
        let cells = [
            "MEMORY", "RSS", "PSS", "CPU TIME", "CORES", "PROCS", "THREADS",
        ];
        Self {
            label: String::new(),
            cells: cells.map(str::to_owned),
            pid: "PID".to_owned(),
        }
    }

    fn total(sample: &Sample) -> Self {
        Self {
            label: "total".to_owned(),
            cells: [
                human(Some(sample.memory_used_bytes)),
                human(Some(sample.rss_bytes)),
                human(sample.pss_bytes),
                seconds(sample.cpu_millis),
                cores(sample.cpu_cores),
                sample.processes.to_string(),
                sample.threads.to_string(),
            ],
            pid: String::new(),
        }
    }

    fn workload(workload: &Workload) -> Self {
        if workload.remote {
            return Self {
                label: format!("  {}", title(workload)),
                cells: [const { "-" }; 7].map(str::to_owned),
                pid: "elsewhere".to_owned(),
            };
        }
        Self {
            label: format!("  {}", title(workload)),
            cells: [
                human(workload.memory_used_bytes),
                human(Some(workload.rss_bytes)),
                human(workload.pss_bytes),
                seconds(workload.cpu_millis),
                cores(workload.cpu_cores),
                workload.processes.to_string(),
                workload.threads.to_string(),
            ],
            // What nobody runs any more has no process.
            pid: match workload.pid {
                0 => "-".to_owned(),
                pid => pid.to_string(),
            },
        }
    }

    fn unattributed(bytes: i64) -> Self {
        let sign = if bytes < 0 { "-" } else { "" };
        let mut cells = [const { String::new() }; 7];
        cells[0] = format!("{sign}{}", human(Some(bytes.unsigned_abs())));
        Self {
            label: "  unattributed".to_owned(),
            cells,
            pid: String::new(),
        }
    }

    fn text(&self) -> String {
        const WIDTHS: [usize; 7] = [10, 10, 10, 10, 7, 6, 8];
        let label: String = self.label.chars().take(LABEL_WIDTH).collect();
        let mut text = format!("{label:<LABEL_WIDTH$}");
        for (cell, width) in self.cells.iter().zip(WIDTHS) {
            // Writing to a String cannot fail.
            let _ = write!(text, " {cell:>width$}");
        }
        let _ = write!(text, "  {}", self.pid);
        format!("{}\n", text.trim_end())
    }
}

/// One sample as a table: the server, and below it its workloads.
fn table(sample: &Sample) -> String {
    let source = match sample.memory_source {
        MemorySource::Cgroup2 => "cgroup2",
        MemorySource::Cgroup1 => "cgroup1",
        MemorySource::Pss => "pss",
        MemorySource::Rss => "rss",
    };
    let mut text = format!(
        "{}  memory {} by {source}, {}\n",
        sample.time,
        human(Some(sample.memory_used_bytes)),
        limit(sample),
    );
    text.push_str(&Row::head().text());
    text.push_str(&Row::total(sample).text());
    for workload in &sample.workloads {
        text.push_str(&Row::workload(workload).text());
    }
    if let Some(bytes) = sample.unattributed_bytes.filter(|&bytes| bytes != 0) {
        text.push_str(&Row::unattributed(bytes).text());
    }
    text
}

fn limit(sample: &Sample) -> String {
    let (Some(bytes), Some(source)) = (sample.memory_limit_bytes, &sample.memory_limit_source)
    else {
        return "no limit known".to_owned();
    };
    let enforced = match sample.memory_limit_enforced {
        true => "",
        false => ", not enforced",
    };
    let shared = match sample.memory_limit_shared {
        true => ", shared with others",
        false => "",
    };
    let percent = sample
        .limited_bytes()
        .saturating_mul(100)
        .checked_div(bytes)
        .unwrap_or(0);
    format!(
        "{percent} % of {} ({source}{enforced}{shared})",
        human(Some(bytes))
    )
}

fn title(workload: &Workload) -> String {
    let kind = match workload.kind {
        crate::sample::WorkloadKind::Kernel => "kernel",
        crate::sample::WorkloadKind::Terminal => "terminal",
        crate::sample::WorkloadKind::App => "app",
        crate::sample::WorkloadKind::Server => "server",
        crate::sample::WorkloadKind::Other => "other",
    };
    let name = workload.notebook.as_deref().unwrap_or(&workload.name);
    match name {
        "" => format!("{kind} {}", workload.id),
        name if name == kind => kind.to_owned(),
        name if workload.id == *name => format!("{kind} {name}"),
        name => {
            // Enough of an id to tell two apart.
            let id: String = workload.id.chars().take(8).collect();
            format!("{kind} {name} [{id}]")
        }
    }
}

/// Bytes for a person: three figures and a unit of 1024.
pub(crate) fn human(bytes: Option<u64>) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let Some(bytes) = bytes else {
        return "-".to_owned();
    };
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    #[allow(clippy::cast_precision_loss)] // three figures are shown
    let mut number = bytes as f64 / 1024.0;
    let mut unit = 0;
    while number >= 999.5 && unit + 1 < UNITS.len() {
        number /= 1024.0;
        unit += 1;
    }
    let digits = match number {
        n if n < 9.995 => 2,
        n if n < 99.95 => 1,
        _ => 0,
    };
    let unit = UNITS.get(unit).copied().unwrap_or_default();
    format!("{number:.digits$} {unit}")
}

fn seconds(millis: u64) -> String {
    let (whole, rest) = (millis / 1000, millis % 1000);
    match whole {
        0..60 => format!("{whole}.{:02} s", rest / 10),
        60..3600 => format!("{}m {:02}s", whole / 60, whole % 60),
        _ => format!("{}h {:02}m", whole / 3600, whole / 60 % 60),
    }
}

fn cores(cores: Option<f64>) -> String {
    cores.map_or_else(|| "-".to_owned(), |cores| format!("{cores:.2}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_with_three_figures() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (600 << 20, "600 MiB"),
            (1023 << 20, "1.00 GiB"),
            (1536 << 20, "1.50 GiB"),
            (10 << 30, "10.0 GiB"),
        ] {
            assert_eq!(human(Some(bytes)), text);
        }
        assert_eq!(human(None), "-");
    }

    #[test]
    fn times_are_shown_in_the_unit_that_fits() {
        assert_eq!(seconds(1_234), "1.23 s");
        assert_eq!(seconds(61_000), "1m 01s");
        assert_eq!(seconds(7_260_000), "2h 01m");
    }
}
