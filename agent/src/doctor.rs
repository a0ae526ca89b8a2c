//! `hubmeter-agent doctor`: in words, what is measured here, how, and what cannot be seen.
//!
//! It takes one sample the way `run` does and says how each figure came about. Nothing in its
//! answer is a command line, a variable's value or a token.

use std::{
    fmt::Write as _,
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

use serde::Serialize;

use crate::{
    clock::SystemClock,
    config::{DoctorArgs, Format, RunArgs},
    local::place::Place,
    sample::{
        MemorySource, Sample, WorkloadKind, cpus,
        memory::precision::{Extent, rss_error_bytes},
        own::Checked,
    },
    sampler::{PssMode, SampleError, Sampler, Seen, Target},
    settings::{self, Environment, Mistake, ProcessEnvironment, Settings},
    show::{default_pid, human},
};

/// All that doctor says.
#[derive(Debug, Serialize)]
struct Report {
    version: &'static str,
    pid: u32,
    /// Whether the tree holds a Jupyter server.
    jupyter: bool,
    processes: u32,
    threads: u32,
    workloads: Vec<Seat>,
    memory_used_bytes: u64,
    memory_source: MemorySource,
    memory_why: String,
    cgroups: Vec<Checked>,
    memory_limit_bytes: Option<u64>,
    memory_limit_source: Option<String>,
    memory_limit_enforced: bool,
    memory_limit_shared: bool,
    /// What all that share the limit use of it together.
    memory_limit_used_bytes: Option<u64>,
    cpu_why: String,
    collector: Option<String>,
    collector_advice: Option<String>,
    socket: Option<String>,
    socket_state: String,
    /// What in the settings cannot be used.
    mistakes: Vec<String>,
    /// What cannot be seen or counted here.
    unseen: Vec<String>,
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

/// Runs the command: 0 when all is well, 1 when something cannot be measured or used.
#[must_use]
pub fn run(args: &DoctorArgs) -> ExitCode {
    let pid = args.pid.unwrap_or_else(default_pid);
    let report = match Report::of(pid) {
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
    if written.is_err() || !report.mistakes.is_empty() {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// What doctor says about the server of `target`, with no settings and no socket: for machines
/// built of files.
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
    let (settings, mistakes) = Settings::gather(&RunArgs::default(), &Nothing, Path::new(""));
    let socket = (None, "not looked for".to_owned());
    Ok(Report::on(target, &settings, &mistakes, socket)?.words())
}

// === impl Report ===

impl Report {
    fn of(pid: u32) -> Result<Self, SampleError> {
        let flags = RunArgs::default();
        let (settings, mistakes) =
            Settings::gather(&flags, &ProcessEnvironment, Path::new(settings::FILE));
        let target = Target {
            names: settings.names,
            ..Target::this_machine(pid)
        };
        let socket = socket(&settings, pid);
        Self::on(target, &settings, &mistakes, socket)
    }

    fn on(
        target: Target,
        settings: &Settings,
        mistakes: &[Mistake],
        (socket, socket_state): (Option<String>, String),
    ) -> Result<Self, SampleError> {
        let pid = target.root_pid;
        let mut sampler = Sampler::new(target, PssMode::Budget)?;
        let sample = sampler.tick(&SystemClock)?;
        let seen = sampler.seen();
        Ok(Self {
            version: env!("CARGO_PKG_VERSION"),
            pid,
            jupyter: seen.jupyter,
            processes: sample.processes,
            threads: sample.threads,
            workloads: sample.workloads.iter().map(Seat::of).collect(),
            memory_used_bytes: sample.memory_used_bytes,
            memory_source: sample.memory_source,
            memory_why: memory_why(&sample, &seen),
            cgroups: seen.memory_groups.clone(),
            memory_limit_bytes: sample.memory_limit_bytes,
            memory_limit_source: sample.memory_limit_source.clone(),
            memory_limit_enforced: sample.memory_limit_enforced,
            memory_limit_shared: sample.memory_limit_shared,
            memory_limit_used_bytes: sample.memory_limit_used_bytes,
            cpu_why: match &seen.cpu_group {
                Some(group) => format!("the tree's, and what {group} counted beyond it"),
                None => "the tree's, with the children its processes waited for".to_owned(),
            },
            collector: settings.collector.as_ref().map(ToString::to_string),
            collector_advice: settings.collector.is_none().then(|| {
                format!(
                    "no collector is set, samples stay on this machine: set HUBMETER_COLLECTOR \
                     (c.Spawner.environment on the hub) or `collector` in {}",
                    settings::FILE
                )
            }),
            socket,
            socket_state,
            mistakes: mistakes.iter().map(ToString::to_string).collect(),
            unseen: unseen(&sample, &seen),
        })
    }

    fn words(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let mut say = |topic: &str, words: &str| {
            let _ = writeln!(text, "{topic:<10} {words}");
        };
        say("agent", &format!("hubmeter-agent {}", self.version));
        let what = if self.jupyter {
            "a Jupyter server"
        } else {
            "no Jupyter server is in this tree"
        };
        say(
            "server",
            &format!(
                "pid {} with {} processes and {} threads; {what}",
                self.pid, self.processes, self.threads
            ),
        );
        for seat in &self.workloads {
            say("", &format!("  {}", seat.words()));
        }
        say(
            "memory",
            &format!(
                "{}: {}",
                human(Some(self.memory_used_bytes)),
                self.memory_why
            ),
        );
        for group in &self.cgroups {
            say("", &format!("  {}: {}", group.group, group.why));
            for stranger in &group.strangers {
                say("", &format!("    pid {} {}", stranger.pid, stranger.name));
            }
        }
        say("limit", &self.limit_words());
        say("cpu", &self.cpu_why);
        say(
            "collector",
            self.collector
                .as_deref()
                .or(self.collector_advice.as_deref())
                .unwrap_or_default(),
        );
        let socket = self.socket.as_deref().unwrap_or("none");
        say("socket", &format!("{socket}: {}", self.socket_state));
        for mistake in &self.mistakes {
            say("mistake", mistake);
        }
        if self.unseen.is_empty() {
            say("unseen", "nothing that we know of");
        }
        for unseen in &self.unseen {
            say("unseen", unseen);
        }
        text
    }

    fn limit_words(&self) -> String {
        let Some(source) = &self.memory_limit_source else {
            return "none is known".to_owned();
        };
        let source_words = match source.as_str() {
            "env" => "MEM_LIMIT in the server's environment",
            "machine" => "all the memory of the machine",
            cgroup => cgroup,
        };
        let enforced = if self.memory_limit_enforced {
            "passing it kills"
        } else {
            "nobody enforces it"
        };
        let shared = match (self.memory_limit_shared, self.memory_limit_used_bytes) {
            (false, _) => String::new(),
            (true, None) => "; others use it up, too".to_owned(),
            (true, Some(used)) => format!(
                "; others use it up, too: all together use {} of it",
                human(Some(used))
            ),
        };
        format!(
            "{} from {source_words}; {enforced}{shared}",
            human(self.memory_limit_bytes)
        )
    }
}

// === impl Seat ===

impl Seat {
    fn of(workload: &crate::sample::Workload) -> Self {
        Self {
            kind: workload.kind,
            id: workload.id.clone(),
            name: workload.name.clone(),
            pid: workload.pid,
            processes: workload.processes,
        }
    }

    fn words(&self) -> String {
        let processes = match self.processes {
            1 => "1 process".to_owned(),
            n => format!("{n} processes"),
        };
        match self.kind {
            WorkloadKind::Kernel => format!("kernel {} {}, {processes}", self.name, self.id),
            WorkloadKind::Terminal => format!("terminal {}, {processes}", self.id),
            WorkloadKind::App => format!("app {}, {processes}", self.id),
            WorkloadKind::Server => format!("the server itself, {processes}"),
            WorkloadKind::Other => format!("claimed by nobody, {processes}"),
        }
    }
}

fn memory_why(sample: &Sample, seen: &Seen) -> String {
    match sample.memory_source {
        MemorySource::Cgroup2 | MemorySource::Cgroup1 => {
            "what the server's own cgroup cannot give back".to_owned()
        }
        MemorySource::Pss => {
            let because = if seen.memory_groups.is_empty() {
                "no memory cgroup of the server can be seen"
            } else {
                "no cgroup is the server's alone"
            };
            format!("proportional set sizes over the tree, because {because}")
        }
        MemorySource::Rss => format!(
            "resident set sizes over the tree, which count shared pages more than once, because \
             the proportional sets of {} processes may not be read",
            seen.pss_denied
        ),
    }
}

fn socket(settings: &Settings, pid: u32) -> (Option<String>, String) {
    match Place::beside(settings.socket.as_deref(), pid, &ProcessEnvironment) {
        Ok(place) => {
            let state = if place.is_lively() {
                "an agent listens"
            } else {
                "no agent listens now"
            };
            place.leave();
            (Some(place.path.display().to_string()), state.to_owned())
        }
        Err(error) => (None, error.to_string()),
    }
}

/// What of resident sizes this kernel keeps back.
fn rss_error(sample: &Sample) -> Option<String> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
    let extent = Extent {
        processes: sample.processes,
        threads: sample.threads,
        cpus: cpus::online()?,
    };
    let bytes = rss_error_bytes(&release, extent)?;
    Some(format!(
        "up to {} of the resident set sizes: Linux {} may count pages in batches (exact from \
         6.16 on, and where that was taken back)",
        human(Some(bytes)),
        release.trim()
    ))
}

fn unseen(sample: &Sample, seen: &Seen) -> Vec<String> {
    let mut unseen = Vec::new();
    let mut add = |words: String| unseen.push(words);
    let own_cgroup = matches!(
        sample.memory_source,
        MemorySource::Cgroup1 | MemorySource::Cgroup2
    );
    if !own_cgroup {
        add("files in /dev/shm that no process maps, and memory of the kernel".to_owned());
        add(
            "daemons that left the tree with an empty environment, unless the server was started \
             by `hubmeter-agent run -- …`"
                .to_owned(),
        );
    }
    if sample.cpu_may_miss {
        add(
            "CPU time of orphans between their last sample and their end, unless the server was \
             started by `hubmeter-agent run -- …`"
                .to_owned(),
        );
    }
    if seen.cpu_group.is_none() {
        add("CPU time of children whose parent ignores SIGCHLD".to_owned());
    }
    if let Some(words) = rss_error(sample) {
        add(words);
    }
    if seen.pss_denied > 0 {
        add(format!(
            "the share of {} processes in shared pages: their proportional sets may not be read",
            seen.pss_denied
        ));
    }
    if seen.scans_proc {
        add(
            "nothing more, but discovery is dear: this kernel has no `children` files, all of \
             /proc is read"
                .to_owned(),
        );
    }
    if sample.swap_bytes.is_none() {
        add("how much is swapped out".to_owned());
    }
    unseen
}
