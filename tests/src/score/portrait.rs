//! Pictures of `docs/VERDICTS.md`: a recorded trace, and where its rule was raised and cleared on it.
//!
//! They are drawn from the corpus and from `portraits/` beside it by the code that judges live servers, and a test
//! holds that those in `docs/images` are what it draws.

mod course;
mod drawing;

use std::path::Path;

use anyhow::{Context, Result, ensure};
use hubmeter_collector::{
    state::Policy,
    verdict::{Rule, idle::RESTING_CORES_MAX},
};

use self::{
    course::{Course, Row},
    drawing::Drawing,
};

/// What a picture shows over time: the column its rule looks at.
#[derive(Clone, Copy, Debug)]
enum Shows {
    Memory,
    KernelMemory,
    Cores,
    KernelCores,
    Processes,
    Threads,
    Disk,
    StartsFailed,
}

/// Which limit of memory there was.
#[derive(Clone, Copy, Debug)]
enum Limit {
    /// None that matters.
    Far,
    /// The one that was read.
    Read,
    /// A multiple of the highest of the trace.
    Times(f64),
}

/// Lines across: values and what they are, by the policy, the trace and the limit.
type Marks = fn(&Policy, &Course, Option<u64>) -> Vec<(f64, String)>;

/// One picture: a rule, on a trace.
struct Portrait {
    rule: Rule,
    trace: &'static str,
    shows: Shows,
    limit: Limit,
    /// What was set, and what the rule asks for, in words.
    settings: &'static str,
    policy: fn() -> Policy,
    marks: Marks,
}

/// Cores of a fair share, where a picture shows overuse.
const SHARE_CORES: f64 = 0.25;

const PORTRAITS: [Portrait; 12] = [
    Portrait {
        rule: Rule::RunawayMemory,
        trace: "leak_list-fast-5s",
        shows: Shows::Memory,
        limit: Limit::Times(0.75),
        settings: "policy.runaway_within = 1 h; the picture ends where the limit kills",
        policy: Policy::default,
        marks: limit_mark,
    },
    Portrait {
        rule: Rule::NearLimit,
        trace: "explore-heavy-5s",
        shows: Shows::Memory,
        limit: Limit::Times(1.02),
        settings: "raised at 90 % of the limit, cleared below 85 %",
        policy: Policy::default,
        marks: limit_mark,
    },
    Portrait {
        rule: Rule::Killed,
        trace: "killed-2s",
        shows: Shows::Memory,
        limit: Limit::Read,
        settings: "the cgroup's limit killed the kernel, which Jupyter started anew: open for two minutes at least",
        policy: Policy::default,
        marks: limit_mark,
    },
    Portrait {
        rule: Rule::Idle,
        trace: "quiet_lab-1-5s",
        shows: Shows::Cores,
        limit: Limit::Far,
        settings: "policy.idle_after = 1 h; JupyterLab with a tab open, and nobody there",
        policy: Policy::default,
        marks: |_, _, _| mark(RESTING_CORES_MAX, "0.05 cores, the most that is rest"),
    },
    Portrait {
        rule: Rule::RunawayCpu,
        trace: "runaway_cpu-5s",
        shows: Shows::KernelCores,
        limit: Limit::Far,
        settings: "policy.runaway_cpu_cores = 0.5, policy.runaway_cpu_after = 1 min (0.9 and 5 min if not set)",
        policy: || Policy {
            runaway_cpu_cores: 0.5,
            runaway_cpu_after_ms: 60_000,
            ..Policy::default()
        },
        marks: |policy, _, _| mark(policy.runaway_cpu_cores, "runaway_cpu_cores"),
    },
    Portrait {
        rule: Rule::ProcessStorm,
        trace: "process_storm-5s",
        shows: Shows::Processes,
        limit: Limit::Far,
        settings: "policy.process_storm = 200: from half of it on, where they doubled and still rise",
        policy: Policy::default,
        marks: |policy, _, _| mark(f64::from(policy.process_storm), "process_storm"),
    },
    Portrait {
        rule: Rule::ThreadStorm,
        trace: "thread_storm-5s",
        shows: Shows::Threads,
        limit: Limit::Far,
        settings: "policy.thread_storm = 1000: from half of it on, where they doubled and still rise",
        policy: Policy::default,
        marks: |policy, _, _| mark(f64::from(policy.thread_storm), "thread_storm"),
    },
    Portrait {
        rule: Rule::IdleHog,
        trace: "idle_hog-5s",
        shows: Shows::KernelMemory,
        limit: Limit::Far,
        settings: "policy.idle_hog_after = 2 min, policy.idle_hog_bytes = 256 MiB (2 h and 1 GiB if not set)",
        policy: || Policy {
            idle_hog_after_ms: 120_000,
            idle_hog_bytes: 256 << 20,
            ..Policy::default()
        },
        marks: |policy, _, _| mark(policy.idle_hog_bytes as f64, "idle_hog_bytes"),
    },
    Portrait {
        rule: Rule::Overuse,
        trace: "training-large-5s",
        shows: Shows::Cores,
        limit: Limit::Far,
        settings: "policy.overuse.cpu_cores = 0.25: the score reaches 100 by minutes above 45 % of it",
        policy: || Policy {
            overuse_cpu_cores: SHARE_CORES,
            ..Policy::default()
        },
        marks: |policy, _, _| mark(policy.overuse_cpu_cores, "overuse.cpu_cores"),
    },
    Portrait {
        rule: Rule::DiskNearLimit,
        trace: "disk_near_limit-5s",
        shows: Shows::Disk,
        limit: Limit::Far,
        settings: "policy.disk_near_limit_share = 95 %; cleared below 92 %",
        policy: Policy::default,
        marks: disk_marks,
    },
    Portrait {
        rule: Rule::Silent,
        trace: "silent-5s",
        shows: Shows::Memory,
        limit: Limit::Far,
        settings: "raised after three intervals (15 s) and a second without a report, while the hub says that it is up",
        policy: Policy::default,
        marks: |_, _, _| Vec::new(),
    },
    Portrait {
        rule: Rule::StartFailures,
        trace: "start_failures-5s",
        shows: Shows::StartsFailed,
        limit: Limit::Far,
        settings: "by the hub's counters, asked once a minute; the hook of the hub tells each start at once",
        policy: Policy::default,
        marks: |_, _, _| Vec::new(),
    },
];

/// Every picture, as file name and SVG, of the corpus in `corpus`.
///
/// # Errors
/// A trace that is drawn is not there, or a rule is not raised on its own.
pub fn portraits(corpus: &Path) -> Result<Vec<(String, String)>> {
    PORTRAITS
        .iter()
        .map(|portrait| {
            let name = format!("verdict-{}.svg", portrait.rule.as_str());
            let svg = portrait.svg(corpus).with_context(|| name.clone())?;
            Ok((name, svg))
        })
        .collect()
}

// === impl Portrait ===

impl Portrait {
    fn svg(&self, corpus: &Path) -> Result<String> {
        let mut course = Course::read(corpus, self.trace)?;
        let limit_bytes = match self.limit {
            Limit::Far => None,
            Limit::Read => course.limit_bytes(),
            Limit::Times(times) => Some((course.highest_bytes() as f64 * times) as u64),
        };
        if let (Limit::Times(_), Some(limit_bytes)) = (self.limit, limit_bytes) {
            course = course.below(limit_bytes);
        }
        let policy = (self.policy)();
        let marks = (self.marks)(&policy, &course, limit_bytes);
        let spans = course.spans(self.rule, policy, limit_bytes);
        ensure!(!spans.is_empty(), "the rule is never raised on it");
        let stretches = self.stretches(&course);
        let values = stretches.iter().flatten().map(|(_, value)| *value);
        let highest = values.fold(0.0, f64::max);
        let drawing = Drawing {
            rule: self.rule.as_str(),
            title: format!(
                "{}: {}, at most {}",
                self.trace,
                self.shows.name(),
                self.shows.text(highest)
            ),
            stretches,
            marks,
            spans,
            end_ms: course.rows.last().map_or(1, |row| row.at_ms),
            settings: self.settings,
        };
        Ok(drawing.svg())
    }

    /// What is drawn, broken where nothing was read.
    fn stretches(&self, course: &Course) -> Vec<Vec<(i64, f64)>> {
        let mut stretches: Vec<Vec<(i64, f64)>> = Vec::new();
        let mut before: Option<&Row> = None;
        for row in &course.rows {
            let hole = before.is_none_or(|before| {
                self.shows.needs_every_reading() && row.at_ms - before.at_ms > course.hole_ms()
            });
            let value = self.shows.value(row, before.filter(|_| !hole));
            if hole {
                stretches.push(Vec::new());
            }
            let last = stretches.last_mut();
            if let (Some(value), Some(last)) = (value, last) {
                last.push((row.at_ms, value));
            }
            before = Some(row);
        }
        stretches
    }
}

// === impl Shows ===

impl Shows {
    fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::KernelMemory => "memory of the kernel",
            Self::Cores => "cores in use",
            Self::KernelCores => "cores of an idle kernel",
            Self::Processes => "processes",
            Self::Threads => "threads",
            Self::Disk => "disk of the home",
            Self::StartsFailed => "starts that failed in a row",
        }
    }

    fn text(self, value: f64) -> String {
        match self {
            Self::Memory | Self::KernelMemory | Self::Disk => megabytes(value),
            Self::Cores | Self::KernelCores => format!("{value:.2}"),
            Self::Processes | Self::Threads | Self::StartsFailed => format!("{value:.0}"),
        }
    }

    /// Whether nobody knows what it was between readings that are far from each other; counters go on.
    fn needs_every_reading(self) -> bool {
        !matches!(self, Self::StartsFailed)
    }

    /// Of `row`, and where it is a rate of the one before it, too.
    fn value(self, row: &Row, before: Option<&Row>) -> Option<f64> {
        let cores = |of: fn(&Row) -> Option<u64>| {
            let before = before?;
            let used_ms = of(row)?.checked_sub(of(before)?)?;
            let passed_ms = row.at_ms - before.at_ms;
            (passed_ms > 0).then(|| used_ms as f64 / passed_ms as f64)
        };
        match self {
            Self::Memory => Some(row.memory_used_bytes? as f64),
            Self::KernelMemory => Some(row.kernel_memory_used_bytes? as f64),
            Self::Cores => cores(|row| row.cpu_millis),
            Self::KernelCores => cores(|row| row.kernel_cpu_millis),
            Self::Processes => row.processes.map(f64::from),
            Self::Threads => row.threads.map(f64::from),
            Self::Disk => Some(row.disk_used_bytes? as f64),
            Self::StartsFailed => Some(row.failed_in_a_row? as f64),
        }
    }
}

fn limit_mark(_: &Policy, _: &Course, limit_bytes: Option<u64>) -> Vec<(f64, String)> {
    let limit = limit_bytes.map(|bytes| bytes as f64);
    limit
        .map(|bytes| (bytes, format!("limit {}", megabytes(bytes))))
        .into_iter()
        .collect()
}

fn disk_marks(policy: &Policy, course: &Course, _: Option<u64>) -> Vec<(f64, String)> {
    let size = course.rows.iter().find_map(|row| row.disk_limit_bytes);
    let from = size.map(|bytes| bytes as f64 * policy.disk_near_limit_share);
    from.map(|bytes| (bytes, format!("95 %, {}", megabytes(bytes))))
        .into_iter()
        .collect()
}

fn mark(value: f64, name: &str) -> Vec<(f64, String)> {
    vec![(value, name.to_owned())]
}

fn megabytes(bytes: f64) -> String {
    format!("{:.0} MB", bytes / 1e6)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_pictures_of_the_verdicts_are_what_the_detectors_do_today() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        for (name, drawn) in portraits(&root.join("corpus")).unwrap() {
            let path = root.join("../docs/images").join(&name);
            let kept = fs::read_to_string(path).unwrap_or_default();
            let how = "`cargo xtask score -- --portraits docs/images` draws it anew";
            assert!(kept == drawn, "docs/images/{name} is of another day: {how}");
        }
    }

    #[test]
    fn every_rule_has_a_picture_and_the_documentation_shows_it() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let words = fs::read_to_string(root.join("../docs/VERDICTS.md")).unwrap();
        for rule in Rule::ALL {
            let pictures = PORTRAITS.iter().filter(|portrait| portrait.rule == rule);
            assert_eq!(pictures.count(), 1, "{rule:?}");
            let shown = format!("(images/verdict-{}.svg)", rule.as_str());
            assert!(words.contains(&shown), "docs/VERDICTS.md lacks {shown}");
        }
    }
}
