//! The last ten minutes, held small: names repeat from sample to sample and are kept once, times
//! are written when somebody asks. What is given back is what was shown.

use std::{collections::VecDeque, sync::Arc};

use super::{RECENT_MAX, RECENT_MS, Reading};
use crate::{
    meter::Figures,
    sample::{Sample, Workload, WorkloadKind, WorkloadState, rfc3339},
};

/// Readings of the last ten minutes.
#[derive(Debug, Default)]
pub(super) struct Recent(VecDeque<Box<Point>>);

/// One reading, without what it shares with its neighbours.
#[derive(Debug)]
struct Point {
    names: Arc<Names>,
    /// Its texts and workloads taken out.
    numbers: Sample,
    figures: Figures,
    loads: Box<[Load]>,
}

/// What hardly changes.
#[derive(Debug, PartialEq)]
struct Names {
    limit_source: Option<String>,
    workloads: Box<[Name]>,
}

#[derive(Debug, PartialEq)]
struct Name {
    kind: WorkloadKind,
    id: String,
    name: String,
    pid: u32,
    notebook: Option<String>,
}

/// One workload's numbers.
#[derive(Debug)]
struct Load {
    memory_used_bytes: Option<u64>,
    rss_bytes: u64,
    pss_bytes: Option<u64>,
    cpu_millis: u64,
    cpu_cores: Option<f64>,
    processes: u32,
    threads: u32,
    state: Option<WorkloadState>,
    idle_ms: Option<u64>,
    read_bytes: Option<u64>,
    written_bytes: Option<u64>,
    remote: bool,
}

// === impl Recent ===

impl Recent {
    /// Takes the newest, and lets go of what is too old or too much.
    pub(super) fn push(&mut self, reading: &Reading) {
        let from_ms = reading.sample.mono_ms.saturating_sub(RECENT_MS);
        let too_old = |point: &Point| point.numbers.mono_ms < from_ms;
        while self.0.len() >= RECENT_MAX || self.0.front().is_some_and(|point| too_old(point)) {
            self.0.pop_front();
        }
        let point = Point::of(reading, self.0.back().map(|last| &last.names));
        self.0.push_back(Box::new(point));
    }

    /// All of them as they were shown, oldest first.
    pub(super) fn readings(&self) -> Vec<Reading> {
        self.0.iter().map(|point| point.reading()).collect()
    }
}

// === impl Point ===

impl Point {
    fn of(reading: &Reading, last: Option<&Arc<Names>>) -> Self {
        let sample = &reading.sample;
        let names = Names {
            limit_source: sample.memory_limit_source.clone(),
            workloads: sample.workloads.iter().map(Name::of).collect(),
        };
        let names = match last {
            Some(last) if **last == names => Arc::clone(last),
            _ => Arc::new(names),
        };
        Self {
            names,
            loads: sample.workloads.iter().map(Load::of).collect(),
            figures: reading.figures,
            numbers: Sample {
                time: String::new(),
                memory_limit_source: None,
                workloads: Vec::new(),
                // What ended was told when it did.
                ended: Vec::new(),
                ..*sample
            },
        }
    }

    fn reading(&self) -> Reading {
        let workloads = self.names.workloads.iter().zip(&self.loads);
        Reading {
            sample: Sample {
                time: rfc3339(self.numbers.wall_ms),
                memory_limit_source: self.names.limit_source.clone(),
                workloads: workloads.map(|(name, load)| load.named(name)).collect(),
                ended: Vec::new(),
                ..self.numbers
            },
            figures: self.figures,
        }
    }
}

// === impl Name ===

impl Name {
    fn of(workload: &Workload) -> Self {
        Self {
            kind: workload.kind,
            id: workload.id.clone(),
            name: workload.name.clone(),
            pid: workload.pid,
            notebook: workload.notebook.clone(),
        }
    }
}

// === impl Load ===

impl Load {
    fn of(workload: &Workload) -> Self {
        Self {
            memory_used_bytes: workload.memory_used_bytes,
            rss_bytes: workload.rss_bytes,
            pss_bytes: workload.pss_bytes,
            cpu_millis: workload.cpu_millis,
            cpu_cores: workload.cpu_cores,
            processes: workload.processes,
            threads: workload.threads,
            state: workload.state,
            idle_ms: workload.idle_ms,
            read_bytes: workload.read_bytes,
            written_bytes: workload.written_bytes,
            remote: workload.remote,
        }
    }

    fn named(&self, name: &Name) -> Workload {
        Workload {
            kind: name.kind,
            id: name.id.clone(),
            name: name.name.clone(),
            pid: name.pid,
            memory_used_bytes: self.memory_used_bytes,
            rss_bytes: self.rss_bytes,
            pss_bytes: self.pss_bytes,
            cpu_millis: self.cpu_millis,
            cpu_cores: self.cpu_cores,
            processes: self.processes,
            threads: self.threads,
            notebook: name.notebook.clone(),
            state: self.state,
            idle_ms: self.idle_ms,
            read_bytes: self.read_bytes,
            written_bytes: self.written_bytes,
            remote: self.remote,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::encode::tests::sample;

    #[test]
    fn what_is_given_back_is_what_was_shown_and_names_are_kept_once() {
        let mut recent = Recent::default();
        let mut shown = Vec::new();
        for (at_ms, source) in [(5_000, "env"), (10_000, "env"), (15_000, "machine")] {
            let mut sample = sample(at_ms, 3);
            sample.memory_limit_source = Some(source.to_owned());
            sample.workloads = vec![Workload {
                kind: WorkloadKind::Kernel,
                id: "a1".to_owned(),
                name: "python3".to_owned(),
                pid: 7,
                memory_used_bytes: Some(at_ms),
                rss_bytes: 2 * at_ms,
                pss_bytes: None,
                cpu_millis: at_ms / 3,
                cpu_cores: Some(0.5),
                processes: 1,
                threads: 4,
                notebook: Some("train.ipynb".to_owned()),
                state: Some(WorkloadState::Busy),
                idle_ms: Some(9),
                read_bytes: Some(10),
                written_bytes: Some(11),
                remote: false,
            }];
            sample.time = rfc3339(sample.wall_ms);
            recent.push(&Reading {
                sample: sample.clone(),
                figures: Figures::default(),
            });
            shown.push(sample);
        }
        let given: Vec<Sample> = recent.readings().into_iter().map(|r| r.sample).collect();
        assert_eq!(given, shown);
        let names: Vec<_> = recent.0.iter().map(|point| &point.names).collect();
        assert!(Arc::ptr_eq(names[0], names[1]));
        assert!(!Arc::ptr_eq(names[1], names[2]));
    }
}
