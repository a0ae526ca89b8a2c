//! Who works at a server, and how to say it: the clearest reason first.

use super::super::{View, WorkloadName};
use crate::{
    fact::{Activity, InputKind, WorkloadKind, WorkloadSample, WorkloadState},
    state::series::WorkloadMeasured,
};

/// Cores beyond the resting level that are somebody's work, as a mean of five minutes.
pub const WORK_MARGIN_CORES: f64 = 0.01;

/// Bytes a second, read or written, that are work, as a mean of a minute.
pub const FLOW_BYTES_PER_SECOND: f64 = 65_536.0;

/// How long a person counts as there after what they did last: a browser says it at most every
/// five minutes, and an agent may hold that back for one.
pub const PERSON_MS: i64 = 6 * 60 * 1_000;

/// What a sample shows.
pub(super) struct Found {
    /// Who works.
    pub(super) work: Option<String>,
    /// That work goes on now.
    pub(super) goes_on: bool,
    /// What goes on and does not count.
    pub(super) note: Option<String>,
}

/// A workload with what was measured of it.
type Measured<'a> = (&'a WorkloadSample, &'a WorkloadMeasured);

/// Whether nobody is known to compute, so that what is used is what the server uses at rest.
pub(super) fn may_rest(view: &View<'_>) -> bool {
    view.sample.workloads.iter().all(|workload| {
        let idle = workload.state == Some(WorkloadState::Idle);
        match workload.key.kind {
            // Of one that nobody tells of it is not known.
            WorkloadKind::Kernel => idle,
            WorkloadKind::Terminal => workload.state != Some(WorkloadState::Busy),
            WorkloadKind::App | WorkloadKind::Server | WorkloadKind::Other => true,
        }
    })
}

/// Who works, where the server rests at `resting_cores`.
pub(super) fn look(view: &View<'_>, resting_cores: f64) -> Found {
    let workloads: Vec<Measured<'_>> = view
        .sample
        .workloads
        .iter()
        .filter_map(|workload| Some((workload, view.measured.workload(&workload.key)?)))
        .collect();
    let of_kind = |kind| {
        let workloads = workloads.iter().copied();
        workloads.filter(move |(workload, _)| workload.key.kind == kind)
    };
    let (kernel, stuck) = longest_busy(view, of_kind(WorkloadKind::Kernel));
    let (terminal, waits) = longest_busy(view, of_kind(WorkloadKind::Terminal));
    let note = stuck.or(waits).map(|busy| {
        let busy_for = in_words(busy_ms(view, busy));
        let title = title(view, busy.0);
        format!("{title} busy for {busy_for} without CPU, which counts no more")
    });
    let work = kernel
        .map(|busy| {
            let busy_for = in_words(busy_ms(view, busy));
            format!("{} busy for {busy_for}", title(view, busy.0))
        })
        .or_else(|| terminal.map(|job| job_in_words(view, job)))
        .or_else(|| computes(view, &workloads, resting_cores))
        .or_else(|| flows(view, &workloads));
    Found {
        goes_on: work.is_some(),
        work,
        note,
    }
}

/// What a person did last, as long as it says that they are there.
pub(super) fn person(activity: &Activity, at_ms: i64) -> Option<String> {
    let ago_ms = at_ms
        .checked_sub(activity.input_ms?)
        .filter(|ms| *ms >= 0)?;
    let did = match activity.input_kind {
        Some(InputKind::Typing) => "typing",
        Some(InputKind::Run) => "ran a cell",
        Some(InputKind::Terminal) => "typing in a terminal",
        Some(InputKind::Save) => "saved a file",
        None => "somebody was there",
    };
    (ago_ms < PERSON_MS).then(|| format!("{did} {} ago", in_words(ago_ms)))
}

/// Who is busy longest: of those who count, and of those who do not any more.
fn longest_busy<'a>(
    view: &View<'_>,
    workloads: impl Iterator<Item = Measured<'a>>,
) -> (Option<Measured<'a>>, Option<Measured<'a>>) {
    let busy = workloads.filter(|(_, measured)| measured.busy_since_ms.is_some());
    let (stuck, works): (Vec<_>, Vec<_>) = busy.partition(|(workload, measured)| {
        let quiet_ms = view.sample.at_ms.saturating_sub(measured.quiet_since_ms);
        // What runs elsewhere computes unseen.
        !workload.remote && quiet_ms >= view.policy.busy_without_cpu_ms
    });
    let longest = |busy: Vec<Measured<'a>>| {
        let busy = busy.into_iter();
        busy.min_by_key(|(_, measured)| measured.busy_since_ms)
    };
    (longest(works), longest(stuck))
}

fn busy_ms(view: &View<'_>, (_, measured): Measured<'_>) -> i64 {
    let since_ms = measured.busy_since_ms.unwrap_or(view.sample.at_ms);
    view.sample.at_ms.saturating_sub(since_ms)
}

fn job_in_words(view: &View<'_>, job: Measured<'_>) -> String {
    let (workload, measured) = job;
    let title = title(view, workload);
    if measured.flows(workload.key.kind)
        && let Some(words) = flow_in_words(measured)
    {
        return format!("{title} {words}");
    }
    let cores = measured.cpu_mean_cores();
    match cores.filter(|cores| *cores > super::RESTING_CORES_MAX) {
        Some(cores) => format!("{title} using {}", cores_in_words(cores)),
        None => format!("{title} running for {}", in_words(busy_ms(view, job))),
    }
}

/// CPU beyond what the server uses at rest, and whose most of it is.
fn computes(view: &View<'_>, workloads: &[Measured<'_>], resting_cores: f64) -> Option<String> {
    let beyond = resting_cores + WORK_MARGIN_CORES;
    let all = view
        .measured
        .cpu_mean_cores()
        .filter(|cores| *cores > beyond)?;
    let most = workloads
        .iter()
        .filter_map(|(workload, measured)| Some((measured.cpu_mean_cores()?, *workload)))
        .filter(|(cores, _)| *cores > WORK_MARGIN_CORES)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    Some(match most {
        Some((cores, workload)) => {
            let title = title(view, workload);
            format!("{title} using {}", cores_in_words(cores))
        }
        None => format!("server using {}", cores_in_words(all)),
    })
}

fn flows(view: &View<'_>, workloads: &[Measured<'_>]) -> Option<String> {
    let fastest = |measured: &WorkloadMeasured| {
        let rates = measured.rates();
        rates.map_or(0.0, |rates| rates.read.max(rates.written))
    };
    let (workload, measured) = workloads
        .iter()
        .filter(|(workload, measured)| measured.flows(workload.key.kind))
        .max_by(|(_, a), (_, b)| fastest(a).total_cmp(&fastest(b)))?;
    let words = flow_in_words(measured)?;
    Some(format!("{} {words}", title(view, workload)))
}

fn flow_in_words(measured: &WorkloadMeasured) -> Option<String> {
    let rates = measured.rates()?;
    Some(if rates.read >= rates.written {
        format!("reading {}", rate_in_words(rates.read))
    } else {
        format!("writing {}", rate_in_words(rates.written))
    })
}

/// What people call it; a terminal by the program in front, where that is told.
fn title(view: &View<'_>, workload: &WorkloadSample) -> String {
    let kind = workload.key.kind.as_str();
    if workload.key.kind == WorkloadKind::Terminal
        && let Some(program) = view.activity.job_in(&workload.key.id)
        && !program.is_empty()
    {
        return format!("{kind}: {program}");
    }
    let name = WorkloadName::new(&workload.key, &workload.name, workload.notebook.as_ref());
    if name.title.as_str() == kind {
        kind.to_owned()
    } else {
        format!("{kind} {}", name.title)
    }
}

fn cores_in_words(cores: f64) -> String {
    if cores < 0.1 {
        format!("{cores:.2} cores")
    } else {
        format!("{cores:.1} cores")
    }
}

/// `70 kB/s`, `40 MB/s`, `1.2 GB/s`.
fn rate_in_words(bytes_per_second: f64) -> String {
    let (value, unit) = match bytes_per_second {
        rate if rate < 999_500.0 => (rate / 1e3, "kB/s"),
        rate if rate < 999_500_000.0 => (rate / 1e6, "MB/s"),
        rate => (rate / 1e9, "GB/s"),
    };
    if value < 9.95 {
        format!("{value:.1} {unit}")
    } else {
        format!("{value:.0} {unit}")
    }
}

/// `ms` in the largest unit that fits: `40 s`, `12 min`, `3 h`, `2 d`.
#[must_use]
pub fn in_words(ms: i64) -> String {
    let seconds = ms.max(0) / 1000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_said_in_the_unit_that_fits() {
        let said = [65_537.0, 1_000_000.0, 40_000_000.0, 1.25e9].map(rate_in_words);
        assert_eq!(said, ["66 kB/s", "1.0 MB/s", "40 MB/s", "1.2 GB/s"]);
    }
}
