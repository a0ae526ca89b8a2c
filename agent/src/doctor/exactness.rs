//! How exact resident sizes are on the running kernel: its quick figure beside its own walk over
//! the pages, of processes that stood still meanwhile.
//!
//! Kernels differ (batched counters by thread before 6.2, by CPU after), and distributions carry
//! changes back: asking is better than knowing the version.

use std::path::Path;

use serde::Serialize;

use crate::sample::{
    file::{field_kb, read_bytes, read_text},
    stat::{Statm, page_bytes},
};

/// Processes compared: enough to see an error, and a few milliseconds at most.
const COMPARED_MAX: usize = 32;

/// Resident size up to which a process is walked: a gigabyte takes milliseconds under its lock.
const WALKED_BYTES_MAX: u64 = 512 << 20;

/// What the comparison showed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Exactness {
    /// Release of the running kernel.
    pub(super) kernel: String,
    /// Processes that could be compared.
    pub(super) compared: usize,
    /// The largest difference of one process; unknown when none could be compared.
    pub(super) off_bytes_max: Option<u64>,
}

// === impl Exactness ===

impl Exactness {
    /// Compares these processes.
    pub(super) fn of(proc_root: &Path, pids: &[u32]) -> Self {
        let offs: Vec<u64> = pids
            .iter()
            .filter_map(|pid| off_bytes(&proc_root.join(pid.to_string())))
            .take(COMPARED_MAX)
            .collect();
        let kernel = rustix::system::uname();
        Self {
            kernel: kernel.release().to_string_lossy().into_owned(),
            compared: offs.len(),
            off_bytes_max: offs.into_iter().max(),
        }
    }

    pub(super) fn words(&self) -> String {
        let kernel = &self.kernel;
        match (self.off_bytes_max, self.compared) {
            (None, _) => format!("resident sizes cannot be checked (kernel {kernel})"),
            (Some(0), 1) => format!("resident size exact, checked on 1 process (kernel {kernel})"),
            (Some(0), n) => {
                format!("resident sizes exact, checked on {n} processes (kernel {kernel})")
            }
            (Some(off), n) => format!(
                "resident sizes off by up to {} KiB per process, checked on {n} (kernel {kernel})",
                off.div_ceil(1024)
            ),
        }
    }
}

/// Between the two figures of one process; `None` when it moved meanwhile or may not be walked.
fn off_bytes(dir: &Path) -> Option<u64> {
    let resident_bytes = || {
        let statm = Statm::parse(&read_bytes(&dir.join("statm")).ok()?)?;
        statm.resident_pages.checked_mul(page_bytes())
    };
    let before = resident_bytes().filter(|&bytes| bytes > 0 && bytes <= WALKED_BYTES_MAX)?;
    let rollup = read_text(&dir.join("smaps_rollup")).ok()?;
    let walked = field_kb(&rollup, "Rss:")?;
    (resident_bytes()? == before).then(|| before.abs_diff(walked))
}
