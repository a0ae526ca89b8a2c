//! The page that doctor shows a person: one topic a line, what follows from it indented.

use std::fmt::Write as _;

use super::{Failure, Report, Seat, Usable, of_own_cgroup};
use crate::{
    sample::{
        MemorySource, Sample, WorkloadKind, cpus,
        memory::precision::{Extent, rss_error_bytes},
        vitals::DiskSource,
    },
    sampler::Seen,
    settings::{self, Settings},
    show::{FoundBy, human},
    workload::Names,
};

/// Width of the first column.
const TOPIC_WIDTH: usize = 10;

/// Lines of topic and words.
pub(super) struct Page(String);

// === impl Page ===

impl Page {
    fn say(&mut self, topic: &str, words: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{topic:<TOPIC_WIDTH$} {words}");
    }

    pub(super) fn under(&mut self, words: &str) {
        self.say("", &format!("  {words}"));
    }
}

// === impl Report ===

impl Report {
    pub(super) fn words(&self) -> String {
        let mut page = Page(String::new());
        page.say("agent", &format!("hubmeter-agent {}", self.version));
        self.server(&mut page);
        self.memory(&mut page);
        page.say("limit", &self.limit_words());
        page.say("cpu", &self.cpu_why);
        self.vitals(&mut page);
        page.say("names", self.names_words());
        self.link(&mut page);
        let socket = self.socket.as_deref().unwrap_or("none");
        page.say("socket", &format!("{socket}: {}", self.socket_state));
        page.say("cost", &self.cost_words());
        self.trouble(&mut page);
        page.0
    }

    fn server(&self, page: &mut Page) {
        let what = if self.jupyter {
            "a Jupyter server"
        } else {
            "no Jupyter server is in this tree"
        };
        let found = match self.found_by {
            FoundBy::Flag => "named by --pid",
            FoundBy::Jupyter => "the nearest Jupyter server above this program",
            FoundBy::Session => "the login session's leader, for there is no Jupyter server above",
            FoundBy::Parent => "the parent process, for there is nothing better above",
        };
        page.say(
            "server",
            &format!(
                "pid {} with {} and {}; {what}; {found}",
                self.pid,
                counted(self.processes.into(), "process", "processes"),
                counted(self.threads.into(), "thread", "threads"),
            ),
        );
        for seat in &self.workloads {
            page.under(&seat.words());
        }
    }

    fn memory(&self, page: &mut Page) {
        let used = human(Some(self.memory_used_bytes));
        page.say("memory", &format!("{used}: {}", self.memory_why));
        for group in &self.cgroups {
            page.under(&format!("{}: {}", group.group, group.why));
            for stranger in &group.strangers {
                page.under(&format!("  pid {} {}", stranger.pid, stranger.name));
            }
        }
        let small = usize::try_from(self.processes)
            .unwrap_or(usize::MAX)
            .saturating_sub(self.pss_read + self.pss_denied);
        page.under(&format!(
            "proportional sets: {} read, {} may not be read, {small} too small to be worth it yet",
            self.pss_read, self.pss_denied
        ));
        page.under(&self.rss_exactness.words());
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

    /// What the machine says about them; nothing about those of which it says nothing.
    fn vitals(&self, page: &mut Page) {
        if let Some(disk) = self.vitals.disk {
            let by = match disk.source {
                DiskSource::Quota => "by the quota's account",
                DiskSource::Filesystem => "by everybody on the file system",
            };
            let (used, limit) = (human(Some(disk.used_bytes)), human(Some(disk.limit_bytes)));
            page.say("disk", &format!("{used} of {limit} used at home, {by}"));
        }
        if let Some(pressure) = self.vitals.memory_pressure {
            let percent = |bp: u32| format!("{}.{:02} %", bp / 100, bp % 100);
            page.say(
                "pressure",
                &format!(
                    "some tasks waited for memory {} of the last ten seconds, all {}",
                    percent(pressure.some_bp),
                    percent(pressure.full_bp)
                ),
            );
        }
        if let Some(files) = self.vitals.open_files {
            page.say(
                "files",
                &format!(
                    "pid {} has {} of {} files open, nearest to its limit",
                    files.pid, files.open, files.limit
                ),
            );
        }
        if let Some(ends_ms) = self.vitals.job_ends_ms {
            let ends = crate::sample::rfc3339(ends_ms);
            page.say("job", &format!("the batch job ends at {ends}"));
        }
    }

    fn names_words(&self) -> &'static str {
        match self.names {
            "full" => "full: kernel specs, and notebooks with their folders, leave this machine",
            "none" => "none: no names leave this machine, only kinds and ids",
            _ => "base: kernel specs and notebooks' file names leave this machine, folders do not",
        }
    }

    fn link(&self, page: &mut Page) {
        let collector = self.collector.as_deref();
        let words = collector.or(self.collector_advice.as_deref());
        page.say("collector", words.unwrap_or_default());
        if let Some(running) = &self.running {
            running.say(page);
        }
        if self.collector.is_some() || self.token.from.is_some() {
            let none = "none: nothing is sent as proof of who we are (JUPYTERHUB_API_TOKEN is \
                        not set, nor HUBMETER_TOKEN_FILE)";
            page.say("token", &self.token.words(none));
        }
        if self.collector.is_some() || self.ca_file.from.is_some() {
            let none = "none of our own: the machine's certificates vouch for the collector";
            page.say("ca", &self.ca_file.words(none));
        }
    }

    fn cost_words(&self) -> String {
        let cost = &self.cost;
        format!(
            "the first sample took {} µs of CPU and opened {} files, the next {} µs and {}",
            cost.first_sample_cpu_micros,
            cost.first_sample_files_opened,
            cost.next_sample_cpu_micros,
            cost.next_sample_files_opened
        )
    }

    fn trouble(&self, page: &mut Page) {
        for failure in &self.failures {
            page.say("failed", &failure.words());
        }
        if self.failures.is_empty() {
            page.say("failed", "no reading was refused or failed");
        }
        for unseen in &self.unseen {
            page.say("unseen", unseen);
        }
        if self.unseen.is_empty() {
            page.say("unseen", "nothing that we know of");
        }
        for mistake in &self.mistakes {
            page.say("mistake", mistake);
        }
        for wrong in &self.wrong {
            page.say("wrong", wrong);
        }
        let well = if self.is_well() {
            "all that should work does"
        } else {
            "something that should work does not: see above"
        };
        page.say("verdict", well);
    }
}

// === impl Usable ===

impl Usable {
    fn words(&self, none: &str) -> String {
        match (&self.from, &self.problem) {
            (None, _) => none.to_owned(),
            (Some(from), None) => format!("from {from}, can be used"),
            (Some(from), Some(problem)) => format!("from {from}, cannot be used: {problem}"),
        }
    }
}

// === impl Failure ===

impl Failure {
    pub(super) fn words(&self) -> String {
        let readings = counted(self.count, "reading", "readings");
        let last = self.last.as_ref().map(|path| path.display().to_string());
        let last = last.unwrap_or_default();
        format!("{readings}: {}, last of {last}", self.reason.words())
    }
}

// === impl Seat ===

impl Seat {
    fn words(&self) -> String {
        let processes = counted(self.processes.into(), "process", "processes");
        match self.kind {
            WorkloadKind::Kernel => format!("kernel {} {}, {processes}", self.name, self.id),
            WorkloadKind::Terminal => format!("terminal {}, {processes}", self.id),
            WorkloadKind::App => format!("app {}, {processes}", self.id),
            WorkloadKind::Server => format!("the server itself, {processes}"),
            WorkloadKind::Other => format!("claimed by nobody, {processes}"),
        }
    }
}

fn counted(n: u64, one: &str, many: &str) -> String {
    match n {
        1 => format!("1 {one}"),
        n => format!("{n} {many}"),
    }
}

pub(super) fn names(names: Names) -> &'static str {
    match names {
        Names::Base => "base",
        Names::Full => "full",
        Names::None => "none",
    }
}

pub(super) fn memory_why(sample: &Sample, seen: &Seen) -> String {
    match sample.memory_source {
        MemorySource::Cgroup2 | MemorySource::Cgroup1 => {
            "what the server's own cgroup cannot give back".to_owned()
        }
        MemorySource::Pss => {
            let because = if !seen.cgroups_mounted {
                "no cgroup is mounted here"
            } else if seen.memory_groups.is_empty() {
                "no cgroup that can be read here counts the memory of the server"
            } else {
                "no cgroup is the server's alone"
            };
            format!("proportional set sizes over the tree, because {because}")
        }
        MemorySource::Rss => format!(
            "resident set sizes over the tree, which count shared pages more than once, because \
             the proportional sets of {} may not be read",
            counted(seen.pss_denied as u64, "process", "processes")
        ),
    }
}

pub(super) fn cpu_why(seen: &Seen) -> String {
    match (&seen.cpu_group, seen.agent_above) {
        (Some(group), _) => {
            format!("complete: the tree's, and what {group} counted beyond it")
        }
        (None, Some(pid)) => format!(
            "the tree's, with the children its processes waited for, and daemons that come to \
             the agent {pid} which started the server"
        ),
        (None, None) => "the tree's, with the children its processes waited for; daemons that \
                         leave the tree are not in it"
            .to_owned(),
    }
}

pub(super) fn collector_advice(settings: &Settings) -> Option<String> {
    settings.collector.is_none().then(|| {
        format!(
            "no collector is set, samples stay on this machine: set HUBMETER_COLLECTOR \
             (c.Spawner.environment on the hub) or `collector` in {}",
            settings::FILE
        )
    })
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

pub(super) fn unseen(sample: &Sample, seen: &Seen) -> Vec<String> {
    let mut unseen = Vec::new();
    let mut add = |words: String| unseen.push(words);
    if seen.unread > 0 {
        let them = if seen.unread == 1 { "it" } else { "them" };
        add(format!(
            "{} of the server that could not be read (another user's, as with sudo, or broken): \
             neither memory nor CPU time of {them} is in the figures",
            counted(seen.unread as u64, "process", "processes")
        ));
    }
    if !of_own_cgroup(sample) {
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
            "the share of {} in shared pages: {} may not be read (a setuid program, one that \
             may not be traced, or a kernel before 4.14)",
            counted(seen.pss_denied as u64, "process", "processes"),
            match seen.pss_denied {
                1 => "its proportional set",
                _ => "their proportional sets",
            }
        ));
    }
    if seen.scans_proc {
        add(
            "nothing more, but discovery is dear: this kernel has no `children` files, all of \
             /proc is read"
                .to_owned(),
        );
    }
    if sample.memory_limit_bytes.is_none() {
        add(
            "the limit: no cgroup sets one, MEM_LIMIT is not set, and /proc/meminfo does not \
             say how much memory the machine has"
                .to_owned(),
        );
    }
    if sample.swap_bytes.is_none() {
        add("how much is swapped out".to_owned());
    }
    unseen
}
