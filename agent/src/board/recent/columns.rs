//! Every number of a reading as a row of integers, and back.
//!
//! One walk names each number once and serves both ways, so that what is written and what is
//! read cannot fall apart; and it takes the structures to pieces by name, so that a new field is
//! missed by the compiler before it is missed by a person.

use hubmeter_kinetics::forecast::Forecast;

use super::Reading;
use crate::{
    meter::Figures,
    sample::{
        MemorySource, Sample, Workload, WorkloadState,
        vitals::{AgentCost, Disk, DiskSource, MachineUse, OpenFiles, Pressure, Vitals},
    },
};

/// Where a row holds the time of its sample.
const MONO_MS_AT: usize = 0;

/// What stands for numbers that are not there; never shown.
const NO_DISK: Disk = Disk {
    used_bytes: 0,
    limit_bytes: 0,
    source: DiskSource::Quota,
    age_ms: 0,
};
const NO_PRESSURE: Pressure = Pressure {
    some_bp: 0,
    full_bp: 0,
};
const NO_OPEN_FILES: OpenFiles = OpenFiles {
    open: 0,
    limit: 0,
    pid: 0,
};
const NO_MACHINE: MachineUse = MachineUse {
    memory_bytes: 0,
    memory_available_bytes: 0,
    load_hundredths: 0,
};
const NO_FORECAST: Forecast = Forecast {
    seconds_to_limit: 0.0,
    seconds_to_limit_low: 0.0,
    seconds_to_limit_high: None,
};

/// Fits into 64 bits, and comes back the same.
trait Number: Copy {
    fn bits(self) -> u64;
    fn of_bits(bits: u64) -> Self;
}

/// Goes along a row.
trait Walker {
    fn number(&mut self, value: &mut impl Number);

    fn option<T: Number + Default>(&mut self, value: &mut Option<T>) {
        self.known(value, T::default(), |walker, value| walker.number(value));
    }

    /// Whether it is known is a number too; every row has the same order, known or not.
    fn known<T: Copy>(
        &mut self,
        value: &mut Option<T>,
        absent: T,
        each: impl FnOnce(&mut Self, &mut T),
    ) {
        let mut is_known = value.is_some();
        self.number(&mut is_known);
        let mut inner = value.unwrap_or(absent);
        each(self, &mut inner);
        *value = is_known.then_some(inner);
    }
}

/// Writes a row; leaves what it walks over as it was.
struct Writer<'a>(&'a mut Vec<u64>);

/// Reads a row into what it walks over. Beyond the row's end everything is 0.
struct Reader<'a>(std::slice::Iter<'a, u64>);

/// Puts the numbers of `reading` into `row`, in place of what it held.
pub(super) fn write(reading: &mut Reading, row: &mut Vec<u64>) {
    row.clear();
    walk(reading, &mut Writer(row));
}

/// Sets the numbers of `reading`, whose workloads are there already.
pub(super) fn read(row: &[u64], reading: &mut Reading) {
    walk(reading, &mut Reader(row.iter()));
}

/// When the row's sample was taken.
pub(super) fn mono_ms(row: &[u64]) -> u64 {
    row.get(MONO_MS_AT).copied().unwrap_or(0)
}

fn walk(reading: &mut Reading, walker: &mut impl Walker) {
    let Reading { sample, figures } = reading;
    walk_sample(sample, walker);
    walk_figures(figures, walker);
    for workload in &mut sample.workloads {
        walk_workload(workload, walker);
    }
}

fn walk_sample(sample: &mut Sample, walker: &mut impl Walker) {
    let Sample {
        time: _,
        interval_ms,
        memory_used_bytes,
        memory_working_set_bytes,
        memory_source,
        memory_age_ms,
        memory_limit_bytes,
        memory_limit_source: _,
        memory_limit_enforced,
        memory_limit_shared,
        rss_bytes,
        pss_bytes,
        swap_bytes,
        unattributed_bytes,
        cpu_millis,
        cpu_cores,
        processes,
        threads,
        workloads: _,
        mono_ms,
        wall_ms,
        burst,
        oom_kills,
        memory_guarantee_bytes,
        cpu_limit_millicores,
        cpu_guarantee_millicores,
        memory_limit_used_bytes,
        memory_corrected_bytes,
        cpu_may_miss,
        processes_beyond,
        vitals,
        ended: _,
    } = sample;
    walker.number(mono_ms); // first: MONO_MS_AT
    walker.number(wall_ms);
    walker.option(interval_ms);
    walker.number(burst);
    walker.number(memory_used_bytes);
    walker.option(memory_working_set_bytes);
    walker.number(memory_source);
    walker.number(memory_age_ms);
    walker.option(memory_limit_bytes);
    walker.number(memory_limit_enforced);
    walker.number(memory_limit_shared);
    walker.option(memory_limit_used_bytes);
    walker.number(memory_corrected_bytes);
    walker.option(memory_guarantee_bytes);
    walker.number(rss_bytes);
    walker.option(pss_bytes);
    walker.option(swap_bytes);
    walker.option(unattributed_bytes);
    walker.number(cpu_millis);
    walker.option(cpu_cores);
    walker.number(cpu_may_miss);
    walker.option(cpu_limit_millicores);
    walker.option(cpu_guarantee_millicores);
    walker.number(processes);
    walker.number(processes_beyond);
    walker.number(threads);
    walker.option(oom_kills);
    walk_vitals(vitals, walker);
}

fn walk_vitals(vitals: &mut Vitals, walker: &mut impl Walker) {
    let Vitals {
        shm_bytes,
        memory_pressure,
        read_bytes,
        written_bytes,
        open_files,
        disk,
        machine,
        job_ends_ms,
        agent,
    } = vitals;
    walker.option(shm_bytes);
    walker.known(memory_pressure, NO_PRESSURE, |walker, pressure| {
        let Pressure { some_bp, full_bp } = pressure;
        walker.number(some_bp);
        walker.number(full_bp);
    });
    walker.option(read_bytes);
    walker.option(written_bytes);
    walker.known(open_files, NO_OPEN_FILES, |walker, files| {
        let OpenFiles { open, limit, pid } = files;
        walker.number(open);
        walker.number(limit);
        walker.number(pid);
    });
    walker.known(disk, NO_DISK, |walker, disk| {
        let Disk {
            used_bytes,
            limit_bytes,
            source,
            age_ms,
        } = disk;
        walker.number(used_bytes);
        walker.number(limit_bytes);
        walker.number(source);
        walker.number(age_ms);
    });
    walker.known(machine, NO_MACHINE, |walker, machine| {
        let MachineUse {
            memory_bytes,
            memory_available_bytes,
            load_hundredths,
        } = machine;
        walker.number(memory_bytes);
        walker.number(memory_available_bytes);
        walker.number(load_hundredths);
    });
    walker.option(job_ends_ms);
    let AgentCost {
        cpu_millis,
        rss_bytes,
        ticks_skipped,
    } = agent;
    walker.option(cpu_millis);
    walker.option(rss_bytes);
    walker.number(ticks_skipped);
}

fn walk_figures(figures: &mut Figures, walker: &mut impl Walker) {
    let Figures {
        momentum_bytes,
        trend_bytes_per_second,
        forecast,
    } = figures;
    walker.option(momentum_bytes);
    walker.option(trend_bytes_per_second);
    walker.known(forecast, NO_FORECAST, |walker, forecast| {
        let Forecast {
            seconds_to_limit,
            seconds_to_limit_low,
            seconds_to_limit_high,
        } = forecast;
        walker.number(seconds_to_limit);
        walker.number(seconds_to_limit_low);
        walker.option(seconds_to_limit_high);
    });
}

fn walk_workload(workload: &mut Workload, walker: &mut impl Walker) {
    let Workload {
        kind: _,
        id: _,
        name: _,
        pid: _,
        memory_used_bytes,
        rss_bytes,
        pss_bytes,
        cpu_millis,
        cpu_cores,
        processes,
        threads,
        notebook: _,
        state,
        idle_ms,
        // Told as it is now, and kept by nobody.
        job: _,
        read_bytes,
        written_bytes,
        remote,
    } = workload;
    walker.option(memory_used_bytes);
    walker.number(rss_bytes);
    walker.option(pss_bytes);
    walker.number(cpu_millis);
    walker.option(cpu_cores);
    walker.number(processes);
    walker.number(threads);
    walker.known(state, WorkloadState::Idle, |walker, state| {
        walker.number(state);
    });
    walker.option(idle_ms);
    walker.option(read_bytes);
    walker.option(written_bytes);
    walker.number(remote);
}

// === impl Writer ===

impl Walker for Writer<'_> {
    fn number(&mut self, value: &mut impl Number) {
        self.0.push(value.bits());
    }

    fn option<T: Number + Default>(&mut self, value: &mut Option<T>) {
        let bits = value.unwrap_or_default().bits();
        self.0.extend_from_slice(&[value.is_some().into(), bits]);
    }
}

// === impl Reader ===

impl Walker for Reader<'_> {
    fn number(&mut self, value: &mut impl Number) {
        *value = Number::of_bits(self.0.next().copied().unwrap_or(0));
    }
}

// === impl Number ===

impl Number for u64 {
    fn bits(self) -> u64 {
        self
    }

    fn of_bits(bits: u64) -> Self {
        bits
    }
}

impl Number for u32 {
    fn bits(self) -> u64 {
        self.into()
    }

    fn of_bits(bits: u64) -> Self {
        Self::try_from(bits).unwrap_or(Self::MAX)
    }
}

impl Number for bool {
    fn bits(self) -> u64 {
        self.into()
    }

    fn of_bits(bits: u64) -> Self {
        bits != 0
    }
}

impl Number for i64 {
    /// Small numbers of either sign have few bits.
    fn bits(self) -> u64 {
        ((self << 1) ^ (self >> 63)).cast_unsigned()
    }

    fn of_bits(bits: u64) -> Self {
        (bits >> 1).cast_signed() ^ -(bits & 1).cast_signed()
    }
}

impl Number for f64 {
    /// Round numbers end in zeros: turned around, they have few bits.
    fn bits(self) -> u64 {
        self.to_bits().swap_bytes()
    }

    fn of_bits(bits: u64) -> Self {
        Self::from_bits(bits.swap_bytes())
    }
}

impl Number for MemorySource {
    fn bits(self) -> u64 {
        self as u64
    }

    fn of_bits(bits: u64) -> Self {
        [Self::Cgroup2, Self::Cgroup1, Self::Pss]
            .into_iter()
            .find(|source| source.bits() == bits)
            .unwrap_or(Self::Rss)
    }
}

impl Number for WorkloadState {
    fn bits(self) -> u64 {
        self as u64
    }

    fn of_bits(bits: u64) -> Self {
        [Self::Idle, Self::Busy, Self::Starting]
            .into_iter()
            .find(|state| state.bits() == bits)
            .unwrap_or(Self::Dead)
    }
}

impl Number for DiskSource {
    fn bits(self) -> u64 {
        self as u64
    }

    fn of_bits(bits: u64) -> Self {
        if bits == Self::Quota.bits() {
            Self::Quota
        } else {
            Self::Filesystem
        }
    }
}
