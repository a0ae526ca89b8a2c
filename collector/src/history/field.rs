//! Names of history's columns.

/// A column of the answer: what, and for a step that holds several samples, which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Field {
    /// What.
    pub column: Column,
    /// Which of a step's samples.
    pub stat: Stat,
}

/// What history can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // the contract's names, as `as_str` gives them
pub enum Column {
    IntervalMs,
    Burst,
    MemoryUsedBytes,
    MemoryWorkingSetBytes,
    MemoryLimitBytes,
    RssBytes,
    SwapBytes,
    MomentumBytes,
    SpeedBytes,
    CpuMillis,
    CpuCores,
    Processes,
    Threads,
    ShmBytes,
    MemoryPressureSomeBp,
    ReadBytes,
    WrittenBytes,
    DiskUsedBytes,
    DiskLimitBytes,
    AgentCpuMillis,
    AgentRssBytes,
}

/// Which of a step's samples a column shows. Where rows are the samples themselves, all three are
/// that sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stat {
    /// The mean of the base-interval samples; for counters where they stood last.
    Mean,
    /// The smallest, bursts included.
    Min,
    /// The largest, bursts included.
    Max,
}

// === impl Column ===

impl Column {
    /// Every column, in the order they are shown.
    pub const ALL: [Self; 21] = [
        Self::IntervalMs,
        Self::Burst,
        Self::MemoryUsedBytes,
        Self::MemoryWorkingSetBytes,
        Self::MemoryLimitBytes,
        Self::RssBytes,
        Self::SwapBytes,
        Self::MomentumBytes,
        Self::SpeedBytes,
        Self::CpuMillis,
        Self::CpuCores,
        Self::Processes,
        Self::Threads,
        Self::ShmBytes,
        Self::MemoryPressureSomeBp,
        Self::ReadBytes,
        Self::WrittenBytes,
        Self::DiskUsedBytes,
        Self::DiskLimitBytes,
        Self::AgentCpuMillis,
        Self::AgentRssBytes,
    ];

    /// Whether it only ever counts up, so that of a step it matters where it stood last.
    #[must_use]
    pub fn is_counter(self) -> bool {
        matches!(
            self,
            Self::CpuMillis | Self::ReadBytes | Self::WrittenBytes | Self::AgentCpuMillis
        )
    }

    /// The contract's word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::IntervalMs => "interval_ms",
            Self::Burst => "burst",
            Self::MemoryUsedBytes => "memory_used_bytes",
            Self::MemoryWorkingSetBytes => "memory_working_set_bytes",
            Self::MemoryLimitBytes => "memory_limit_bytes",
            Self::RssBytes => "rss_bytes",
            Self::SwapBytes => "swap_bytes",
            Self::MomentumBytes => "momentum_bytes",
            Self::SpeedBytes => "speed_bytes",
            Self::CpuMillis => "cpu_millis",
            Self::CpuCores => "cpu_cores",
            Self::Processes => "processes",
            Self::Threads => "threads",
            Self::ShmBytes => "shm_bytes",
            Self::MemoryPressureSomeBp => "memory_pressure_some_bp",
            Self::ReadBytes => "read_bytes",
            Self::WrittenBytes => "written_bytes",
            Self::DiskUsedBytes => "disk_used_bytes",
            Self::DiskLimitBytes => "disk_limit_bytes",
            Self::AgentCpuMillis => "agent_cpu_millis",
            Self::AgentRssBytes => "agent_rss_bytes",
        }
    }
}

// === impl Field ===

impl Field {
    /// Reads a column's name, with `_min` or `_max` behind it for a step's extremes.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let named = |name: &str| {
            Column::ALL
                .into_iter()
                .find(|column| column.as_str() == name)
        };
        let with = |name: &str, stat| named(name).map(|column| Self { column, stat });
        with(name, Stat::Mean)
            .or_else(|| with(name.strip_suffix("_min")?, Stat::Min))
            .or_else(|| with(name.strip_suffix("_max")?, Stat::Max))
    }

    /// What [`Self::parse`] reads.
    #[must_use]
    pub fn name(self) -> String {
        let column = self.column.as_str();
        match self.stat {
            Stat::Mean => column.to_owned(),
            Stat::Min => format!("{column}_min"),
            Stat::Max => format!("{column}_max"),
        }
    }
}

impl From<Column> for Field {
    fn from(column: Column) -> Self {
        Self {
            column,
            stat: Stat::Mean,
        }
    }
}
