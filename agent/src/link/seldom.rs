//! Figures that nobody is shown and that change at every look: they are told once a minute.

use hubmeter_proto::v1;

/// How often they are told.
const EVERY_MS: u64 = 60_000;

/// What was told last.
#[derive(Debug, Default)]
pub(super) struct Seldom {
    told_ms: Option<u64>,
    machine: Machine,
    workloads: Vec<Io>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Machine {
    memory_bytes: Option<u64>,
    memory_available_bytes: Option<u64>,
    load_hundredths: Option<u32>,
}

/// What went through a workload's read and write calls.
#[derive(Debug)]
struct Io {
    kind: i32,
    pid: u32,
    read_bytes: Option<u64>,
    written_bytes: Option<u64>,
}

// === impl Seldom ===

impl Seldom {
    /// Leaves them as they were told last, unless it is time. The server's own totals and all
    /// workloads' memory and time are told always.
    pub(super) fn hold_back(&mut self, sample: &mut v1::Sample) {
        let age_ms = self
            .told_ms
            .map(|told_ms| sample.mono_ms.saturating_sub(told_ms));
        if age_ms.is_none_or(|age_ms| age_ms >= EVERY_MS) {
            self.tell(sample);
            return;
        }
        if let Some(vitals) = &mut sample.vitals {
            vitals.machine_memory_bytes = self.machine.memory_bytes;
            vitals.machine_memory_available_bytes = self.machine.memory_available_bytes;
            vitals.machine_load_hundredths = self.machine.load_hundredths;
        }
        for workload in &mut sample.workloads {
            workload.pss_bytes = None;
            match self.workloads.iter().find(|io| io.is_of(workload)) {
                Some(io) => {
                    workload.read_bytes = io.read_bytes;
                    workload.written_bytes = io.written_bytes;
                }
                // As old as it is, it is told now.
                None => self.workloads.push(Io::of(workload)),
            }
        }
    }

    fn tell(&mut self, sample: &v1::Sample) {
        self.told_ms = Some(sample.mono_ms);
        if let Some(vitals) = &sample.vitals {
            self.machine = Machine {
                memory_bytes: vitals.machine_memory_bytes,
                memory_available_bytes: vitals.machine_memory_available_bytes,
                load_hundredths: vitals.machine_load_hundredths,
            };
        }
        self.workloads.clear();
        self.workloads.extend(sample.workloads.iter().map(Io::of));
    }
}

// === impl Io ===

impl Io {
    fn of(workload: &v1::Workload) -> Self {
        Self {
            kind: workload.kind,
            pid: workload.pid,
            read_bytes: workload.read_bytes,
            written_bytes: workload.written_bytes,
        }
    }

    /// Two of a kind have not the same top-most process; those without one have no figures.
    fn is_of(&self, workload: &v1::Workload) -> bool {
        self.kind == workload.kind && self.pid == workload.pid
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(mono_ms: u64) -> v1::Sample {
        let workload = |pid| v1::Workload {
            pid,
            rss_bytes: mono_ms,
            read_bytes: Some(mono_ms + u64::from(pid)),
            ..v1::Workload::default()
        };
        v1::Sample {
            mono_ms,
            workloads: (1..=2 + u32::from(mono_ms > 10_000))
                .map(workload)
                .collect(),
            vitals: Some(v1::Vitals {
                read_bytes: Some(mono_ms),
                machine_load_hundredths: u32::try_from(mono_ms).ok(),
                ..v1::Vitals::default()
            }),
            ..v1::Sample::default()
        }
    }

    #[test]
    fn only_once_a_minute_they_are_new_and_all_else_is_always() {
        let mut seldom = Seldom::default();
        for (mono_ms, told_ms) in [
            (5_000, 5_000),
            (10_000, 5_000),
            (64_999, 5_000),
            (65_000, 65_000),
        ] {
            let mut told = sample(mono_ms);
            seldom.hold_back(&mut told);
            let vitals = told.vitals.unwrap();
            assert_eq!(vitals.machine_load_hundredths, u32::try_from(told_ms).ok());
            assert_eq!(vitals.read_bytes, Some(mono_ms));
            assert_eq!(told.workloads[1].read_bytes, Some(told_ms + 2));
            assert_eq!(told.workloads[0].rss_bytes, mono_ms);
        }
    }

    #[test]
    fn a_workload_that_came_meanwhile_is_told_as_it_came() {
        let mut seldom = Seldom::default();
        let came: Vec<_> = [10_000, 15_000, 20_000]
            .into_iter()
            .map(|mono_ms| {
                let mut told = sample(mono_ms);
                seldom.hold_back(&mut told);
                told.workloads
                    .get(2)
                    .and_then(|workload| workload.read_bytes)
            })
            .collect();
        assert_eq!(came, [None, Some(15_003), Some(15_003)]);
    }
}
