//! What both ends remember of the sample before, and what they expect of the next.
//!
//! A number is only sent where it differs from what both ends expect, so a good guess is worth
//! bytes. Guesses are whole numbers that wrap around: none fails, and both ends make the same.

use super::columns::{self, Row};
use crate::v1::MemorySource;

/// Milliseconds of CPU time in a second below which a workload counts as resting: what rests is
/// expected to go on resting, what computes to go on computing.
const RESTS_BELOW_MILLIS: u128 = 20;

/// Beats are whole seconds; a distance this near to one, in parts of it, is one.
const BEAT_PARTS: u64 = 8;

/// What part of a delay moves the beat.
const LATE_PARTS: i64 = 4;

/// Columns whose next value is guessed from more than the one before: for all others that is the guess.
pub(super) const WORKLOAD_GUESSED: u64 = {
    use columns::workload::{CPU, IDLE, MEMORY_USED, PSS};
    1 << CPU | 1 << MEMORY_USED | 1 << PSS | 1 << IDLE
};
pub(super) const SERVER_GUESSED: u64 = {
    use columns::server::{
        CORRECTED, CPU, INTERVAL, LIMIT_USED, MEMORY_AGE, MEMORY_USED, PROCESSES, PSS, RSS,
        THREADS, UNATTRIBUTED, WORKING_SET,
    };
    let sums = 1 << MEMORY_USED | 1 << CPU | 1 << RSS | 1 << THREADS | 1 << PROCESSES;
    let beside = 1 << PSS | 1 << UNATTRIBUTED | 1 << WORKING_SET | 1 << LIMIT_USED;
    sums | beside | 1 << MEMORY_AGE | 1 << INTERVAL | 1 << CORRECTED
};
pub(super) const VITALS_GUESSED: u64 = {
    use columns::vitals::{DISK_AGE, READ, WRITTEN};
    1 << READ | 1 << WRITTEN | 1 << DISK_AGE
};

/// The sample before.
#[derive(Clone, Debug, Default)]
pub(super) struct Chain {
    mono_ms: u64,
    /// Distance of the sample before to the one before it, and the same as it was meant to be; 0
    /// where none is.
    step_ms: u64,
    beat_step_ms: u64,
    /// When the sample before was due, by the beat that the ones before it kept.
    beat_ms: u64,
    /// When the last base-interval sample was.
    base_ms: Option<u64>,
    pub(super) server: Row<{ columns::server::COUNT }>,
    pub(super) limit_source: String,
    pub(super) vitals: Row<{ columns::vitals::COUNT }>,
    pub(super) slots: Vec<Slot>,
}

/// A workload by its place in the list.
#[derive(Clone, Debug, Default)]
pub(super) struct Slot {
    pub(super) kind: i32,
    pub(super) id: String,
    pub(super) name: String,
    pub(super) notebook: Option<String>,
    pub(super) row: Row<{ columns::workload::COUNT }>,
    /// CPU time of the last step.
    pub(super) cpu_step_millis: u64,
    /// Which columns were told last.
    pub(super) mask: u64,
    /// It was idle for all of the last step.
    pub(super) ages: bool,
}

/// When the next sample is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Time {
    pub(super) mono_ms: u64,
    /// Since the sample before.
    pub(super) elapsed_ms: u64,
    /// How long the step before was.
    step_ms: u64,
    /// What `interval_ms` should be.
    interval_ms: u64,
}

/// Totals over the workloads, for numbers of the server that are their sums.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sums([u64; columns::workload::COUNT]);

// === impl Chain ===

impl Chain {
    /// When a sample at `mono_ms` is, beside the one before.
    pub(super) fn time(&self, mono_ms: u64, burst: bool) -> Time {
        let elapsed_ms = mono_ms.wrapping_sub(self.mono_ms);
        Time {
            mono_ms,
            elapsed_ms,
            step_ms: self.step_ms,
            interval_ms: match (burst, self.base_ms) {
                (true, _) => elapsed_ms,
                (false, Some(base_ms)) => mono_ms.wrapping_sub(base_ms),
                (false, None) => 0,
            },
        }
    }

    pub(super) fn expected_mono_ms(&self) -> u64 {
        self.beat_ms.wrapping_add(self.beat_step_ms)
    }

    pub(super) fn sums(&self) -> Sums {
        let mut sums = Sums::default();
        for slot in &self.slots {
            for (at, sum) in sums.0.iter_mut().enumerate() {
                *sum = sum.wrapping_add(slot.row.bits(at));
            }
        }
        sums
    }

    /// About how many bytes it holds on the heap.
    pub(super) fn bytes(&self) -> usize {
        let texts = |slot: &Slot| {
            let notebook = slot.notebook.as_ref().map_or(0, String::capacity);
            slot.id.capacity() + slot.name.capacity() + notebook
        };
        self.limit_source.capacity()
            + self.slots.capacity() * size_of::<Slot>()
            + self.slots.iter().map(texts).sum::<usize>()
    }

    /// Moves on to a sample that was told whole. At a knot nothing older than that is
    /// remembered, so that who begins here and who came from before go on alike.
    pub(super) fn advance(&mut self, time: Time, burst: bool, knot: bool) {
        let expected_ms = self.expected_mono_ms();
        self.mono_ms = time.mono_ms;
        self.step_ms = time.elapsed_ms;
        self.beat_step_ms = beat_of(time.elapsed_ms);
        // One who comes a little late now and then comes by the beat, not by the last delay; one
        // who always does has moved the beat.
        let late_ms = time.mono_ms.wrapping_sub(expected_ms).cast_signed();
        let keeps_beat = late_ms.unsigned_abs() <= self.beat_step_ms / BEAT_PARTS;
        self.beat_ms = match keeps_beat {
            true => expected_ms.wrapping_add_signed(late_ms / LATE_PARTS),
            false => time.mono_ms,
        };
        if !burst {
            self.base_ms = Some(time.mono_ms);
        }
        if knot {
            (self.step_ms, self.beat_step_ms, self.beat_ms) = (0, 0, time.mono_ms);
            self.base_ms = self.base_ms.filter(|_| !burst);
            for slot in &mut self.slots {
                slot.cpu_step_millis = 0;
                slot.ages = false;
                slot.mask = 0;
            }
        }
    }
}

// === impl Slot ===

impl Slot {
    /// What column `at` should be, when those before it are known.
    pub(super) fn expected(
        &self,
        at: usize,
        now: &Row<{ columns::workload::COUNT }>,
        time: Time,
    ) -> u64 {
        use columns::workload::{CPU, IDLE, MEMORY_USED, PSS, RSS};
        let before = self.row.bits(at);
        if WORKLOAD_GUESSED & 1 << at == 0 {
            return before;
        }
        match at {
            CPU => before.wrapping_add(self.expected_cpu_step(time)),
            // Between two readings of its proportional share, use moves as residence does.
            MEMORY_USED => before.wrapping_add(moved(&self.row, now, RSS)),
            PSS => now.bits(MEMORY_USED),
            IDLE if self.ages => before.wrapping_add(time.elapsed_ms),
            _ => before,
        }
    }

    fn expected_cpu_step(&self, time: Time) -> u64 {
        let (step, elapsed) = (
            u128::from(self.cpu_step_millis),
            u128::from(time.elapsed_ms),
        );
        let step_ms = u128::from(time.step_ms);
        if step_ms == 0 || step * 1_000 < RESTS_BELOW_MILLIS * step_ms {
            return 0;
        }
        // Both factors have 64 bits; the low half of the quotient is as good a guess as any.
        (step * elapsed / step_ms) as u64
    }

    /// Takes the place of the row before.
    pub(super) fn replace(&mut self, now: Row<{ columns::workload::COUNT }>, time: Time) {
        use columns::workload::{CPU, IDLE};
        let step = moved(&self.row, &now, CPU);
        // Half of what it was: what computes by fits and starts does so around a mean.
        let mean = (u128::from(self.cpu_step_millis) + u128::from(step)) / 2;
        self.cpu_step_millis = if self.cpu_step_millis == 0 {
            step
        } else {
            mean as u64
        };
        self.ages = moved(&self.row, &now, IDLE) == time.elapsed_ms;
        self.row = now;
    }
}

// === expectations of the server ===

/// What column `at` of the server should be, when those before it are known.
pub(super) fn expected_of_server(
    at: usize,
    before: &Row<{ columns::server::COUNT }>,
    now: &Row<{ columns::server::COUNT }>,
    (sums_before, sums_now): (&Sums, &Sums),
    time: Time,
) -> u64 {
    use columns::{
        server::{
            CORRECTED, CPU, INTERVAL, LIMIT_USED, MEMORY_AGE, MEMORY_USED, PROCESSES, PSS, RSS,
            SOURCE, THREADS, UNATTRIBUTED, WORKING_SET,
        },
        workload,
    };
    if SERVER_GUESSED & 1 << at == 0 {
        return before.bits(at);
    }
    let as_workloads = |of: usize| {
        let change = sums_now.0[of].wrapping_sub(sums_before.0[of]);
        before.bits(at).wrapping_add(change)
    };
    match at {
        MEMORY_USED => as_workloads(workload::MEMORY_USED),
        CPU => as_workloads(workload::CPU),
        RSS => as_workloads(workload::RSS),
        PSS => now.bits(MEMORY_USED),
        THREADS => as_workloads(workload::THREADS),
        PROCESSES => as_workloads(workload::PROCESSES),
        UNATTRIBUTED => now
            .bits(MEMORY_USED)
            .wrapping_sub(sums_now.0[workload::MEMORY_USED]),
        WORKING_SET | LIMIT_USED => before
            .bits(at)
            .wrapping_add(moved(before, now, MEMORY_USED)),
        MEMORY_AGE => grown_older(before.bits(at), time),
        INTERVAL => time.interval_ms,
        // A proportional share that was read again shows what residence did not.
        CORRECTED if before.bits(SOURCE) == MemorySource::Pss as u64 => {
            moved(before, now, MEMORY_USED).wrapping_sub(moved(before, now, RSS))
        }
        CORRECTED => 0,
        _ => before.bits(at),
    }
}

/// What column `at` of the vitals should be.
pub(super) fn expected_of_vitals(
    at: usize,
    before: &Row<{ columns::vitals::COUNT }>,
    (sums_before, sums_now): (&Sums, &Sums),
    time: Time,
) -> u64 {
    use columns::{
        vitals::{DISK_AGE, READ, WRITTEN},
        workload,
    };
    if VITALS_GUESSED & 1 << at == 0 {
        return before.bits(at);
    }
    let as_workloads = |of: usize| {
        let change = sums_now.0[of].wrapping_sub(sums_before.0[of]);
        before.bits(at).wrapping_add(change)
    };
    match at {
        READ => as_workloads(workload::READ),
        WRITTEN => as_workloads(workload::WRITTEN),
        DISK_AGE => before.bits(at).wrapping_add(time.elapsed_ms),
        _ => before.bits(at),
    }
}

/// The distance that one of `step_ms` was meant to be.
fn beat_of(step_ms: u64) -> u64 {
    let seconds = step_ms.saturating_add(500) / 1_000;
    let beat_ms = seconds.saturating_mul(1_000);
    let is_near = step_ms.abs_diff(beat_ms) <= beat_ms / BEAT_PARTS;
    if is_near { beat_ms } else { step_ms }
}

/// How far a column moved.
fn moved<const N: usize>(before: &Row<N>, now: &Row<N>, at: usize) -> u64 {
    now.bits(at).wrapping_sub(before.bits(at))
}

/// What is 0 stays fresh; what has an age gets older.
fn grown_older(before: u64, time: Time) -> u64 {
    match before {
        0 => 0,
        before => before.wrapping_add(time.elapsed_ms),
    }
}
