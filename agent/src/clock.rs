//! The only reader of clocks.
//!
//! Order and rates come from the time since boot, which no administrator sets back; the wall
//! clock is for display only.

use std::time::{SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

/// Tells the time. Everything that samples takes one, so that tests own time.
pub trait Clock: Send + Sync {
    /// Milliseconds since boot; never goes back.
    fn mono_ms(&self) -> u64;
    /// Milliseconds since the Unix epoch.
    fn wall_ms(&self) -> u64;
}

/// Processor time of this thread so far, in microseconds.
#[must_use]
pub fn own_cpu_us() -> u64 {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(0, |spent| {
        let seconds = u64::try_from(spent.tv_sec()).unwrap_or(0);
        seconds * 1_000_000 + u64::try_from(spent.tv_nsec()).unwrap_or(0) / 1_000
    })
}

/// The machine's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

// === impl SystemClock ===

impl Clock for SystemClock {
    fn mono_ms(&self) -> u64 {
        // Fails only for clocks the kernel lacks; every Linux since 2.6.39 has this one.
        clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(0, |since| {
            let seconds = u64::try_from(since.tv_sec()).unwrap_or(0);
            seconds * 1000 + u64::try_from(since.tv_nsec()).unwrap_or(0) / 1_000_000
        })
    }

    #[allow(clippy::disallowed_methods)] // the one place
    fn wall_ms(&self) -> u64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| {
                u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
            })
    }
}
