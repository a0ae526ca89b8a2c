//! `hubmeter-agent doctor`: in words, what is measured here, how, and what cannot be seen.
//!
//! It takes one sample the way `run` does and says how each figure came about. Nothing in its
//! answer is a command line, a variable's value or a token.

mod exactness;
mod running;
mod words;

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use serde::Serialize;

use self::{exactness::Exactness, running::Running};
use crate::{
    clock::{Clock, SystemClock},
    config::{DoctorArgs, Format, RunArgs},
    local::place::Place,
    sample::{
        MemorySource, Sample, WorkloadKind,
        faults::{self, Fault, Faults},
        files_opened,
        own::Checked,
        vitals::Vitals,
    },
    sampler::{PssMode, SampleError, Sampler, Seen, Target},
    settings::{self, Environment, ProcessEnvironment, Settings},
    show::{FoundBy, find_root},
};

/// All that doctor says.
#[derive(Debug, Serialize)]
struct Report {
    version: &'static str,
    pid: u32,
    found_by: FoundBy,
    /// Whether the tree holds a Jupyter server.
    jupyter: bool,
    processes: u32,
    threads: u32,
    /// Processes of the server that may not be read at all.
    processes_unread: usize,
    workloads: Vec<Seat>,
    memory_used_bytes: u64,
    memory_source: MemorySource,
    memory_age_ms: u64,
    memory_why: String,
    /// Processes whose proportional set was read, and those whose may not be.
    pss_read: usize,
    pss_denied: usize,
    rss_exactness: Exactness,
    cgroups: Vec<Checked>,
    memory_limit_bytes: Option<u64>,
    memory_limit_source: Option<String>,
    memory_limit_enforced: bool,
    memory_limit_shared: bool,
    /// What all that share the limit use of it together.
    memory_limit_used_bytes: Option<u64>,
    cpu_complete: CpuComplete,
    cpu_why: String,
    vitals: Vitals,
    names: &'static str,
    collector: Option<String>,
    collector_advice: Option<String>,
    /// The link of the agent that runs here, as it says itself.
    running: Option<Running>,
    token: Usable,
    ca_file: Usable,
    socket: Option<String>,
    socket_state: String,
    /// What in the settings cannot be used.
    mistakes: Vec<String>,
    /// What should work, and does not.
    wrong: Vec<String>,
    /// What cannot be seen or counted here.
    unseen: Vec<String>,
    /// Readings that were refused or failed while the sample was taken.
    readings_failed: Faults,
    failures: Vec<Failure>,
    cost: Cost,
}

/// Whose time is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum CpuComplete {
    /// Everybody's: the own cgroup counts it.
    Cgroup,
    /// All but that of children whose parent ignores their end.
    Subreaper,
    /// All but that and that of daemons.
    Tree,
}

/// Something from a file or a variable, which is never shown itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Usable {
    /// Where it is looked for; none when nothing is set.
    from: Option<String>,
    /// Why it cannot be used.
    problem: Option<String>,
}

/// One reason for which readings failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Failure {
    reason: Fault,
    count: u64,
    /// The last file.
    last: Option<PathBuf>,
}

/// What the one sample cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
struct Cost {
    /// The first sample finds everything; those after it cost a hundredth.
    first_sample_cpu_micros: u64,
    first_sample_files_opened: u64,
    next_sample_cpu_micros: u64,
    next_sample_files_opened: u64,
}

/// One workload, named.
#[derive(Debug, Serialize)]
struct Seat {
    kind: WorkloadKind,
    id: String,
    name: String,
    pid: u32,
    processes: u32,
}

/// What a doctor goes by, so that tests bring their own.
struct Visit<'a, E> {
    target: Target,
    found_by: FoundBy,
    settings: Settings,
    mistakes: Vec<String>,
    /// Where the socket's place is asked for; none where it is not looked for.
    environment: Option<&'a E>,
}

/// Runs the command: 0 when all is well, 1 when something cannot be measured or used.
#[must_use]
pub fn run(args: &DoctorArgs) -> ExitCode {
    let (pid, found_by) = match args.pid {
        Some(pid) => (pid, FoundBy::Flag),
        None => find_root(),
    };
    let flags = RunArgs::default();
    let (settings, mistakes) =
        Settings::gather(&flags, &ProcessEnvironment, Path::new(settings::FILE));
    let visit = Visit {
        target: Target {
            names: settings.names,
            ..Target::this_machine(pid)
        },
        found_by,
        settings,
        mistakes: mistakes.iter().map(ToString::to_string).collect(),
        environment: Some(&ProcessEnvironment),
    };
    let report = match visit.report(&SystemClock) {
        Ok(report) => report,
        Err(error) => {
            // Nothing is left to do when even the message cannot be written.
            let _ = writeln!(io::stderr(), "hubmeter-agent: {error}");
            return ExitCode::FAILURE;
        }
    };
    let text = match args.format {
        Format::Table => report.words(),
        Format::Json => match serde_json::to_string(&report) {
            Ok(json) => format!("{json}\n"),
            Err(_) => return ExitCode::FAILURE,
        },
    };
    let written = io::stdout().lock().write_all(text.as_bytes());
    if written.is_err() || !report.is_well() {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// The page about the server of `target`, without settings and socket: for machines built of
/// files.
///
/// # Errors
/// When no sample can be taken.
pub fn words_on(target: Target) -> Result<String, SampleError> {
    struct Nothing;
    impl Environment for Nothing {
        fn get(&self, _: &str) -> Option<String> {
            None
        }
    }
    let (settings, _) = Settings::gather(&RunArgs::default(), &Nothing, Path::new(""));
    let visit = Visit::<Nothing> {
        target,
        found_by: FoundBy::Flag,
        settings,
        mistakes: Vec::new(),
        environment: None,
    };
    Ok(visit.report(&SystemClock)?.words())
}

// === impl Visit ===

impl<E: Environment> Visit<'_, E> {
    fn report(self, clock: &dyn Clock) -> Result<Report, SampleError> {
        let pid = self.target.root_pid;
        let proc_root = self.target.proc_root.clone();
        let mut cost = Cost::default();
        let before = Faults::so_far();
        let mut sampler = Sampler::new(self.target, PssMode::Budget)?;
        let sample = cost.first(|| sampler.tick(clock))?;
        let readings_failed = Faults::so_far().since(&before);
        let failures = failures(&readings_failed);
        let seen = sampler.seen();
        cost.next(|| sampler.tick(clock))?;
        let (socket, socket_state, running) = match self.environment {
            Some(environment) => socket(&self.settings, pid, environment),
            None => (None, Ok("not looked for".to_owned()), None),
        };
        let mut report = Report {
            version: env!("CARGO_PKG_VERSION"),
            pid,
            found_by: self.found_by,
            jupyter: seen.jupyter,
            processes: sample.processes,
            threads: sample.threads,
            processes_unread: seen.unread,
            workloads: sample.workloads.iter().map(Seat::of).collect(),
            memory_used_bytes: sample.memory_used_bytes,
            memory_source: sample.memory_source,
            memory_age_ms: sample.memory_age_ms,
            memory_why: words::memory_why(&sample, &seen),
            pss_read: seen.pss_read,
            pss_denied: seen.pss_denied,
            rss_exactness: Exactness::of(&proc_root, &seen.pids),
            cgroups: seen.memory_groups.clone(),
            memory_limit_bytes: sample.memory_limit_bytes,
            memory_limit_source: sample.memory_limit_source.as_deref().map(str::to_owned),
            memory_limit_enforced: sample.memory_limit_enforced,
            memory_limit_shared: sample.memory_limit_shared,
            memory_limit_used_bytes: sample.memory_limit_used_bytes,
            cpu_complete: CpuComplete::of(&seen),
            cpu_why: words::cpu_why(&seen),
            vitals: sample.vitals,
            names: words::names(self.settings.names),
            collector: self.settings.collector.as_ref().map(ToString::to_string),
            collector_advice: words::collector_advice(&self.settings),
            running: running.filter(|_| self.settings.collector.is_some()),
            token: token(&self.settings),
            ca_file: ca_file(&self.settings),
            wrong: Vec::new(),
            socket,
            socket_state: socket_state.clone().unwrap_or_else(|error| error),
            mistakes: self.mistakes,
            unseen: words::unseen(&sample, &seen),
            readings_failed,
            failures,
            cost,
        };
        report.wrong = report.find_wrong(socket_state.err());
        Ok(report)
    }
}

fn token(settings: &Settings) -> Usable {
    let problem = waited_for(settings.credential.authorization())
        .and_then(|token| token.map_err(|error| error.to_string()));
    let given = !matches!(problem, Ok(None));
    let from = match settings.credential.file() {
        Some(file) => file.display().to_string(),
        None => "JUPYTERHUB_API_TOKEN".to_owned(),
    };
    Usable {
        from: given.then_some(from),
        problem: problem.err(),
    }
}

/// What the link finds out while it runs, waited for here. What hangs for good is left behind.
fn waited_for<T>(found: impl Future<Output = T>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .build()
        .map_err(|error| error.to_string())?;
    let found = runtime.block_on(found);
    runtime.shutdown_background();
    Ok(found)
}

fn ca_file(settings: &Settings) -> Usable {
    let read = settings.ca_file.as_deref().map(regular);
    Usable {
        from: settings
            .ca_file
            .as_ref()
            .map(|file| file.display().to_string()),
        problem: match read {
            Some(Err(error)) => Some(error.to_string()),
            Some(Ok(bytes)) if !bytes.starts_with(b"-----BEGIN") && !has_certificate(&bytes) => {
                Some("no certificate in PEM form is in it".to_owned())
            }
            _ => None,
        },
    }
}

/// What is in a regular file: another kind would be waited for.
fn regular(path: &Path) -> io::Result<Vec<u8>> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    std::fs::read(path)
}

fn has_certificate(bytes: &[u8]) -> bool {
    const HEAD: &[u8] = b"-----BEGIN CERTIFICATE-----";
    bytes.windows(HEAD.len()).any(|window| window == HEAD)
}

fn socket(
    settings: &Settings,
    pid: u32,
    environment: &impl Environment,
) -> (Option<String>, Result<String, String>, Option<Running>) {
    match Place::beside(settings.socket.as_deref(), pid, environment) {
        Ok(place) => {
            let state = if place.is_lively() {
                "an agent listens"
            } else {
                "no agent listens now"
            };
            let running = Running::at(&place);
            place.leave();
            let path = place.path.display().to_string();
            (Some(path), Ok(state.to_owned()), running)
        }
        Err(error) => (None, Err(error.to_string()), None),
    }
}

fn failures(failed: &Faults) -> Vec<Failure> {
    let reasons = Fault::ALL.into_iter();
    reasons
        .map(|reason| Failure {
            reason,
            count: failed.count(reason),
            last: faults::last(reason),
        })
        .filter(|failure| failure.count > 0)
        .collect()
}

// === impl CpuComplete ===

impl CpuComplete {
    fn of(seen: &Seen) -> Self {
        match (&seen.cpu_group, seen.agent_above) {
            (Some(_), _) => Self::Cgroup,
            (None, Some(_)) => Self::Subreaper,
            (None, None) => Self::Tree,
        }
    }
}

// === impl Cost ===

impl Cost {
    fn first<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let (done, micros, opened) = measured(work);
        (self.first_sample_cpu_micros, self.first_sample_files_opened) = (micros, opened);
        done
    }

    fn next<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let (done, micros, opened) = measured(work);
        (self.next_sample_cpu_micros, self.next_sample_files_opened) = (micros, opened);
        done
    }
}

fn measured<T>(work: impl FnOnce() -> T) -> (T, u64, u64) {
    let (micros, opened) = (own_cpu_micros(), files_opened());
    let done = work();
    (
        done,
        own_cpu_micros().saturating_sub(micros),
        files_opened() - opened,
    )
}

fn own_cpu_micros() -> u64 {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let part = |part: i64| u64::try_from(part).unwrap_or(0);
    part(spent.tv_sec) * 1_000_000 + part(spent.tv_nsec) / 1000
}

// === impl Report ===

impl Report {
    /// Whether all that should work does.
    fn is_well(&self) -> bool {
        self.mistakes.is_empty() && self.wrong.is_empty()
    }

    /// What was set up and cannot be used, and readings that fail for no good reason. What the
    /// machine does not allow or offer is only not seen.
    fn find_wrong(&self, no_socket: Option<String>) -> Vec<String> {
        let mut wrong = Vec::new();
        wrong.extend(no_socket.map(|why| format!("no local socket, so no meter: {why}")));
        wrong.extend(self.token.problem.clone());
        wrong.extend(self.running.as_ref().and_then(Running::wrong));
        if let (Some(file), Some(problem)) = (&self.ca_file.from, &self.ca_file.problem) {
            wrong.push(format!("cannot use the CA file {file}: {problem}"));
        }
        for failure in &self.failures {
            if matches!(failure.reason, Fault::Denied | Fault::Missing) {
                continue;
            }
            wrong.push(failure.words());
        }
        wrong
    }
}

// === impl Seat ===

impl Seat {
    fn of(workload: &crate::sample::Workload) -> Self {
        Self {
            kind: workload.kind,
            id: workload.id.as_str().to_owned(),
            name: workload.name.as_str().to_owned(),
            pid: workload.pid,
            processes: workload.processes,
        }
    }
}

/// Whether the memory figure is that of the server's own cgroup.
fn of_own_cgroup(sample: &Sample) -> bool {
    matches!(
        sample.memory_source,
        MemorySource::Cgroup1 | MemorySource::Cgroup2
    )
}

#[cfg(test)]
mod tests;
