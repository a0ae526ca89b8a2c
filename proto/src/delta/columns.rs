//! Every number of a sample by its column: the one list that writing and reading go by.
//!
//! The place of a column is its bit in a mask, so what changes often comes first: a mask without
//! high bits is short. A place never changes its meaning; new columns come last.

use super::{DeltaError, number::Unit};
use crate::v1;

/// One column.
#[derive(Debug)]
pub(super) struct Column {
    /// Its field, for who is told what is wrong with it.
    pub(super) name: &'static str,
    /// What its differences are counted in.
    pub(super) unit: Unit,
    /// Whether it may be unknown.
    pub(super) optional: bool,
}

/// The numbers of one message, column by column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row<const N: usize> {
    values: [u64; N],
    /// A bit for each that is known.
    known: u64,
}

/// A field that is a column: fits into 64 bits, and comes back the same.
trait Field: Sized {
    const OPTIONAL: bool;
    fn value(&self) -> Option<u64>;
    /// `None` when that is no value of the field.
    fn of(value: Option<u64>) -> Option<Self>;
}

/// A field that is always known.
trait Number: Sized + Copy {
    fn bits(self) -> u64;
    fn of_bits(bits: u64) -> Option<Self>;
}

/// `CONSTANT = field: Unit` of each column of a message, in the order of their bits.
macro_rules! columns {
    ($name:ident, $message:ty, $path:literal, [$($constant:ident = $field:ident: $unit:ident),* $(,)?]) => {
        pub(super) mod $name {
            use super::{Column, DeltaError, Field, Row, Unit, v1};

            #[allow(clippy::upper_case_acronyms, non_camel_case_types)] // names of constants
            enum Place { $($constant),* }

            /// How many.
            pub(in super::super) const COUNT: usize = [$(Place::$constant as usize),*].len();

            $(pub(in super::super) const $constant: usize = Place::$constant as usize;)*

            pub(in super::super) const COLUMNS: [Column; COUNT] = [$(Column {
                name: concat!($path, stringify!($field)),
                unit: Unit::$unit,
                optional: optional(|message: &$message| &message.$field),
            }),*];

            const fn optional<M, F: Field>(_: fn(&M) -> &F) -> bool {
                F::OPTIONAL
            }

            /// The row of a message.
            pub(in super::super) fn read(message: &$message) -> Row<COUNT> {
                let mut row = Row::default();
                $(row.set($constant, message.$field.value());)*
                row
            }

            /// Sets the fields of a message.
            pub(in super::super) fn write(
                row: &Row<COUNT>,
                message: &mut $message,
            ) -> Result<(), DeltaError> {
                $(message.$field = Field::of(row.get($constant))
                    .ok_or(DeltaError::new(COLUMNS[$constant].name, "is out of range"))?;)*
                Ok(())
            }
        }
    };
}

columns!(server, v1::Sample, "sample.", [
    MEMORY_USED = memory_used_bytes: Bytes,
    CPU = cpu_millis: One,
    RSS = rss_bytes: Bytes,
    MEMORY_AGE = memory_age_ms: One,
    CORRECTED = memory_corrected_bytes: Bytes,
    THREADS = threads: One,
    PROCESSES = processes: One,
    UNATTRIBUTED = unattributed_bytes: Bytes,
    WORKING_SET = memory_working_set_bytes: Bytes,
    PSS = pss_bytes: Bytes,
    LIMIT_USED = memory_limit_used_bytes: Bytes,
    SWAP = swap_bytes: Bytes,
    INTERVAL = interval_ms: One,
    SOURCE = memory_source: One,
    LIMIT = memory_limit_bytes: Bytes,
    LIMIT_ENFORCED = memory_limit_enforced: One,
    LIMIT_SHARED = memory_limit_shared: One,
    OOM_KILLS = oom_kills: One,
    GUARANTEE = memory_guarantee_bytes: Bytes,
    CPU_LIMIT = cpu_limit_millicores: One,
    CPU_GUARANTEE = cpu_guarantee_millicores: One,
    CPU_MAY_MISS = cpu_may_miss: One,
    PROCESSES_BEYOND = processes_beyond: One,
]);

columns!(vitals, v1::Vitals, "sample.vitals.", [
    AGENT_CPU = agent_cpu_millis: One,
    READ = read_bytes: One,
    WRITTEN = written_bytes: One,
    AGENT_RSS = agent_rss_bytes: Bytes,
    DISK_AGE = disk_age_ms: One,
    DISK_USED = disk_used_bytes: Bytes,
    MACHINE_AVAILABLE = machine_memory_available_bytes: Bytes,
    MACHINE_LOAD = machine_load_hundredths: One,
    SHM = shm_bytes: Bytes,
    PRESSURE_SOME = memory_pressure_some_bp: One,
    PRESSURE_FULL = memory_pressure_full_bp: One,
    OPEN_FILES = open_files: One,
    OPEN_FILES_LIMIT = open_files_limit: One,
    DISK_LIMIT = disk_limit_bytes: Bytes,
    DISK_SOURCE = disk_source: One,
    MACHINE_MEMORY = machine_memory_bytes: Bytes,
    JOB_ENDS = job_ends_ms: One,
    TICKS_SKIPPED = agent_ticks_skipped: One,
]);

columns!(workload, v1::Workload, "sample.workload.", [
    CPU = cpu_millis: One,
    RSS = rss_bytes: Bytes,
    MEMORY_USED = memory_used_bytes: Bytes,
    PSS = pss_bytes: Bytes,
    WRITTEN = written_bytes: One,
    READ = read_bytes: One,
    PROCESSES = processes: One,
    THREADS = threads: One,
    STATE = state: One,
    IDLE = idle_ms: One,
    PID = pid: One,
    REMOTE = remote: One,
]);

// === impl Row ===

impl<const N: usize> Default for Row<N> {
    fn default() -> Self {
        Self {
            values: [0; N],
            known: 0,
        }
    }
}

impl<const N: usize> Row<N> {
    pub(super) fn get(&self, at: usize) -> Option<u64> {
        self.is_known(at).then(|| self.bits(at))
    }

    /// The value, 0 where nobody knows it.
    pub(super) fn bits(&self, at: usize) -> u64 {
        self.values.get(at).copied().unwrap_or(0)
    }

    pub(super) fn is_known(&self, at: usize) -> bool {
        self.known & (1 << at) != 0
    }

    /// A bit for each column that is not what it was `before`.
    pub(super) fn moved(&self, before: &Self) -> u64 {
        let mut moved = self.known ^ before.known;
        for (at, (now, before)) in self.values.iter().zip(&before.values).enumerate() {
            moved |= u64::from(now != before) << at;
        }
        moved
    }

    pub(super) fn set(&mut self, at: usize, value: Option<u64>) {
        if let Some(place) = self.values.get_mut(at) {
            *place = value.unwrap_or(0);
            self.known &= !(1 << at);
            self.known |= u64::from(value.is_some()) << at;
        }
    }
}

// === impl Field ===

impl<T: Number> Field for T {
    const OPTIONAL: bool = false;

    fn value(&self) -> Option<u64> {
        Some(self.bits())
    }

    fn of(value: Option<u64>) -> Option<Self> {
        T::of_bits(value.unwrap_or(0))
    }
}

impl<T: Number> Field for Option<T> {
    const OPTIONAL: bool = true;

    fn value(&self) -> Option<u64> {
        self.map(Number::bits)
    }

    fn of(value: Option<u64>) -> Option<Self> {
        match value {
            Some(bits) => T::of_bits(bits).map(Some),
            None => Some(None),
        }
    }
}

// === impl Number ===

impl Number for u64 {
    fn bits(self) -> u64 {
        self
    }

    fn of_bits(bits: u64) -> Option<Self> {
        Some(bits)
    }
}

impl Number for i64 {
    fn bits(self) -> u64 {
        self.cast_unsigned()
    }

    fn of_bits(bits: u64) -> Option<Self> {
        Some(bits.cast_signed())
    }
}

impl Number for u32 {
    fn bits(self) -> u64 {
        self.into()
    }

    fn of_bits(bits: u64) -> Option<Self> {
        Self::try_from(bits).ok()
    }
}

/// What protobuf makes of an enum.
impl Number for i32 {
    fn bits(self) -> u64 {
        self.cast_unsigned().into()
    }

    fn of_bits(bits: u64) -> Option<Self> {
        u32::try_from(bits).ok().map(u32::cast_signed)
    }
}

impl Number for bool {
    fn bits(self) -> u64 {
        self.into()
    }

    fn of_bits(bits: u64) -> Option<Self> {
        match bits {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}
