//! What else slows a server or ends it, from the wire.

use hubmeter_proto::v1;

use super::{
    Admitted,
    bounds::{maybe, out},
};
use crate::fact::{Disk, Vitals};

/// A whole, in hundredths of a percent.
const BASIS_POINTS: u32 = 10_000;

/// Reads them; `at` gives a field's path in the message.
pub(super) fn read(vitals: &v1::Vitals, at: &dyn Fn(&str) -> String) -> Admitted<Vitals> {
    let at = |field: &str| at(&format!("vitals.{field}"));
    for (field, value) in [
        ("shm_bytes", vitals.shm_bytes),
        ("read_bytes", vitals.read_bytes),
        ("written_bytes", vitals.written_bytes),
        ("disk_used_bytes", vitals.disk_used_bytes),
        ("disk_limit_bytes", vitals.disk_limit_bytes),
        ("machine_memory_bytes", vitals.machine_memory_bytes),
        (
            "machine_memory_available_bytes",
            vitals.machine_memory_available_bytes,
        ),
        ("job_ends_ms", vitals.job_ends_ms),
        ("agent_cpu_millis", vitals.agent_cpu_millis),
        ("agent_rss_bytes", vitals.agent_rss_bytes),
        ("agent_ticks_skipped", Some(vitals.agent_ticks_skipped)),
    ] {
        maybe(&at(field), value)?;
    }
    let share = |field: &str, bp: Option<u32>| match bp {
        Some(bp) if bp > BASIS_POINTS => Err(out(&at(field), "over 100 %")),
        bp => Ok(bp),
    };
    let disk = vitals.disk_used_bytes.zip(vitals.disk_limit_bytes);
    Ok(Vitals {
        shm_bytes: vitals.shm_bytes,
        memory_pressure_some_bp: share("memory_pressure_some_bp", vitals.memory_pressure_some_bp)?,
        memory_pressure_full_bp: share("memory_pressure_full_bp", vitals.memory_pressure_full_bp)?,
        read_bytes: vitals.read_bytes,
        written_bytes: vitals.written_bytes,
        open_files: vitals.open_files,
        open_files_limit: vitals.open_files_limit,
        disk: disk.map(|(used_bytes, limit_bytes)| Disk {
            used_bytes,
            limit_bytes,
            quota: vitals.disk_source == i32::from(v1::DiskSource::Quota),
            age_ms: vitals.disk_age_ms.unwrap_or(0),
        }),
        machine_memory_bytes: vitals.machine_memory_bytes,
        machine_memory_available_bytes: vitals.machine_memory_available_bytes,
        machine_load_hundredths: vitals.machine_load_hundredths,
        job_ends_ms: vitals.job_ends_ms.and_then(|ms| i64::try_from(ms).ok()),
        agent_cpu_millis: vitals.agent_cpu_millis,
        agent_rss_bytes: vitals.agent_rss_bytes,
        agent_ticks_skipped: vitals.agent_ticks_skipped,
    })
}
