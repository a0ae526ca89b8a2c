//! The last ten minutes, held small: a row holds only what changed since the one before, names
//! are kept once, times are written when somebody asks. What is given back is what was shown.

mod columns;
mod rows;

use std::{collections::VecDeque, sync::Arc};

use self::rows::Rows;
use super::{RECENT_MAX, RECENT_MS, Reading};
use crate::{
    meter::Figures,
    sample::{MemorySource, Sample, Text, WallTime, Workload, WorkloadKind, vitals::Vitals},
};

/// Readings of the last ten minutes.
#[derive(Debug, Default)]
pub(super) struct Recent {
    rows: Rows,
    /// Whose the rows are, oldest first; one entry for all rows in which that is the same.
    named: VecDeque<Named>,
    /// Room for the next row.
    spare: Vec<u64>,
}

/// The texts of rows that follow each other.
#[derive(Debug)]
struct Named {
    rows: usize,
    limit_source: Option<Text>,
    workloads: Box<[Arc<Name>]>,
}

/// What hardly changes about a workload.
#[derive(Debug, PartialEq)]
struct Name {
    kind: WorkloadKind,
    id: Text,
    name: Text,
    pid: u32,
    notebook: Option<Text>,
}

// === impl Recent ===

impl Recent {
    /// Takes the newest, and lets go of what is too old or too much.
    pub(super) fn push(&mut self, reading: &mut Reading) {
        let from_ms = reading.sample.mono_ms.saturating_sub(RECENT_MS);
        let too_old = |rows: &Rows| {
            rows.oldest()
                .is_some_and(|row| columns::mono_ms(row) < from_ms)
        };
        while self.rows.len() >= RECENT_MAX || too_old(&self.rows) {
            self.pop();
        }
        match self.named.back_mut() {
            Some(last) if last.names(&reading.sample) => last.rows += 1,
            last => {
                let named = Named::after(last.as_deref(), &reading.sample);
                self.named.push_back(named);
            }
        }
        columns::write(reading, &mut self.spare);
        self.rows.push(&mut self.spare);
    }

    /// All of them as they were shown, oldest first.
    pub(super) fn readings(&self) -> Vec<Reading> {
        let mut readings = Vec::with_capacity(self.rows.len());
        let mut named = self
            .named
            .iter()
            .flat_map(|named| std::iter::repeat_n(named, named.rows));
        self.rows.each(|row| {
            if let Some(named) = named.next() {
                readings.push(named.reading(row));
            }
        });
        readings
    }

    fn pop(&mut self) {
        self.rows.pop();
        if let Some(first) = self.named.front_mut() {
            first.rows -= 1;
            if first.rows == 0 {
                self.named.pop_front();
            }
        }
    }
}

// === impl Named ===

impl Named {
    /// The texts of `sample`, shared with `last` where they are the same.
    fn after(last: Option<&Self>, sample: &Sample) -> Self {
        let known = last.map_or(&[][..], |last| &last.workloads);
        Self {
            rows: 1,
            limit_source: sample.memory_limit_source.clone(),
            workloads: sample
                .workloads
                .iter()
                .map(|workload| {
                    let same = known.iter().find(|name| name.is_of(workload));
                    same.map_or_else(|| Arc::new(Name::of(workload)), Arc::clone)
                })
                .collect(),
        }
    }

    fn names(&self, sample: &Sample) -> bool {
        self.limit_source == sample.memory_limit_source
            && self.workloads.len() == sample.workloads.len()
            && self
                .workloads
                .iter()
                .zip(&sample.workloads)
                .all(|(name, workload)| name.is_of(workload))
    }

    fn reading(&self, row: &[u64]) -> Reading {
        let mut reading = Reading {
            sample: self.blank(),
            figures: Figures::default(),
        };
        columns::read(row, &mut reading);
        reading.sample.time = WallTime(reading.sample.wall_ms);
        reading
    }

    /// A sample with its texts and without its numbers.
    fn blank(&self) -> Sample {
        Sample {
            time: WallTime::default(),
            interval_ms: None,
            memory_used_bytes: 0,
            memory_working_set_bytes: None,
            memory_source: MemorySource::Rss,
            memory_age_ms: 0,
            memory_limit_bytes: None,
            memory_limit_source: self.limit_source.clone(),
            memory_limit_enforced: false,
            memory_limit_shared: false,
            rss_bytes: 0,
            pss_bytes: None,
            swap_bytes: None,
            unattributed_bytes: None,
            cpu_millis: 0,
            cpu_cores: None,
            processes: 0,
            threads: 0,
            workloads: self.workloads.iter().map(|name| name.blank()).collect(),
            mono_ms: 0,
            wall_ms: 0,
            burst: false,
            oom_kills: None,
            memory_guarantee_bytes: None,
            cpu_limit_millicores: None,
            cpu_guarantee_millicores: None,
            memory_limit_used_bytes: None,
            memory_corrected_bytes: 0,
            cpu_may_miss: false,
            processes_beyond: 0,
            vitals: Vitals::default(),
            // What ended was told when it did.
            ended: Vec::new(),
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

    fn is_of(&self, workload: &Workload) -> bool {
        self.kind == workload.kind
            && self.pid == workload.pid
            && self.id == workload.id
            && self.name == workload.name
            && self.notebook == workload.notebook
    }

    /// A workload with its texts and without its numbers.
    fn blank(&self) -> Workload {
        Workload {
            kind: self.kind,
            id: self.id.clone(),
            name: self.name.clone(),
            pid: self.pid,
            memory_used_bytes: None,
            rss_bytes: 0,
            pss_bytes: None,
            cpu_millis: 0,
            cpu_cores: None,
            processes: 0,
            threads: 0,
            notebook: self.notebook.clone(),
            state: None,
            idle_ms: None,
            job: None,
            read_bytes: None,
            written_bytes: None,
            remote: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use hubmeter_kinetics::forecast::Forecast;

    use super::*;
    use crate::{
        link::encode::tests::sample,
        sample::{
            WorkloadState,
            vitals::{AgentCost, Disk, DiskSource, MachineUse, OpenFiles, Pressure},
        },
    };

    fn workload(pid: u32, state: WorkloadState, at_ms: u64) -> Workload {
        Workload {
            kind: WorkloadKind::Kernel,
            id: format!("a{pid}").into(),
            name: "python3".into(),
            pid,
            memory_used_bytes: Some(at_ms),
            rss_bytes: 2 * at_ms,
            pss_bytes: None,
            cpu_millis: at_ms / 3,
            cpu_cores: Some(0.1 * at_ms as f64),
            processes: 1,
            threads: 4,
            notebook: Some("train.ipynb".into()),
            state: Some(state),
            idle_ms: Some(9),
            job: None,
            read_bytes: Some(10),
            written_bytes: Some(u64::MAX),
            remote: pid == 8,
        }
    }

    /// A reading in which no number is what another is.
    fn full(at_ms: u64) -> Reading {
        let mut sample = sample(at_ms, 3);
        sample.time = WallTime(sample.wall_ms);
        sample.memory_limit_source = Some("env".into());
        sample.memory_source = MemorySource::Cgroup1;
        sample.unattributed_bytes = Some(-17);
        sample.memory_corrected_bytes = i64::MIN;
        sample.cpu_cores = Some(1.0 / 3.0);
        sample.cpu_may_miss = true;
        sample.processes_beyond = u32::MAX;
        sample.oom_kills = Some(0);
        sample.vitals = Vitals {
            shm_bytes: Some(1),
            memory_pressure: Some(Pressure {
                some_bp: 2,
                full_bp: 3,
            }),
            read_bytes: Some(4),
            written_bytes: Some(5),
            open_files: Some(OpenFiles {
                open: 6,
                limit: 7,
                pid: 8,
            }),
            disk: Some(Disk {
                used_bytes: 9,
                limit_bytes: 10,
                source: DiskSource::Filesystem,
                age_ms: 11,
            }),
            machine: Some(MachineUse {
                memory_bytes: 12,
                memory_available_bytes: 13,
                load_hundredths: 14,
            }),
            job_ends_ms: Some(15),
            agent: AgentCost {
                cpu_millis: Some(16),
                rss_bytes: Some(17),
                ticks_skipped: 18,
            },
        };
        sample.workloads = vec![
            workload(7, WorkloadState::Busy, at_ms),
            workload(8, WorkloadState::Dead, at_ms + 1),
        ];
        Reading {
            sample,
            figures: Figures {
                momentum_bytes: Some(-1),
                trend_bytes_per_second: Some(-0.25),
                forecast: Some(Forecast {
                    seconds_to_limit: 1.5,
                    seconds_to_limit_low: 0.1,
                    seconds_to_limit_high: Some(f64::MAX),
                }),
            },
        }
    }

    #[test]
    fn what_is_given_back_is_what_was_shown_whoever_comes_goes_or_changes_places() {
        let mut bare = full(10_000);
        bare.sample.workloads.clear();
        bare.sample.vitals = Vitals::default();
        bare.sample.memory_limit_source = None;
        bare.figures = Figures::default();
        let mut turned = full(20_000);
        turned.sample.workloads.reverse();
        let mut recent = Recent::default();
        let mut shown = Vec::new();
        for mut reading in [full(5_000), bare, full(15_000), turned, full(25_000)] {
            recent.push(&mut reading);
            shown.push((reading.sample, reading.figures));
        }
        let given: Vec<_> = recent
            .readings()
            .into_iter()
            .map(|reading| (reading.sample, reading.figures))
            .collect();
        assert_eq!(given, shown);
    }

    #[test]
    fn names_are_kept_once_also_when_workloads_change_places() {
        let mut recent = Recent::default();
        for at_ms in [5_000, 10_000, 15_000] {
            let mut reading = full(at_ms);
            if at_ms == 15_000 {
                reading.sample.workloads.reverse();
            }
            recent.push(&mut reading);
        }
        assert_eq!(recent.named.len(), 2);
        let [first, second] = [0, 1].map(|at| &recent.named[at].workloads);
        assert!(Arc::ptr_eq(&first[0], &second[1]) && Arc::ptr_eq(&first[1], &second[0]));
    }

    #[test]
    fn ten_minutes_of_a_busy_server_by_the_second_fit_into_a_hundred_kilobytes() {
        let mut recent = Recent::default();
        for second in 0..3 * RECENT_MAX as u64 {
            let mut reading = full(second * 1_000);
            for (at, workload) in (1..).zip(&mut reading.sample.workloads) {
                workload.rss_bytes = (second * 7_919 * at) % 100_000 * 4_096;
                workload.cpu_cores = Some(1.0 / (second + at) as f64);
            }
            recent.push(&mut reading);
        }
        assert_eq!(recent.rows.len(), RECENT_MAX);
        assert_eq!(recent.named.len(), 1);
        assert!(recent.rows.bytes() <= 100_000, "{}", recent.rows.bytes());
    }
}
