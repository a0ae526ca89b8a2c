//! What `sample --details` adds to the table: a line each, only of what is known.

use std::fmt::Write as _;

use super::{human, seconds, title};
use crate::sample::{
    Sample, rfc3339,
    vitals::{DiskSource, Vitals},
};

/// Width of the names in front.
const NAME_WIDTH: usize = 14;

/// The lines under the table.
pub(super) fn table(sample: &Sample) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: Option<String>| {
        let value = value.unwrap_or_else(|| "unknown".to_owned());
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name:<NAME_WIDTH$}{value}");
    };
    let vitals = &sample.vitals;
    line("swap", sample.swap_bytes.map(|bytes| human(Some(bytes))));
    line(
        "shared memory",
        vitals.shm_bytes.map(|bytes| human(Some(bytes))),
    );
    line("pressure", pressure(vitals));
    line(
        "read, written",
        moved(vitals.read_bytes, vitals.written_bytes),
    );
    for workload in &sample.workloads {
        let moved = moved(workload.read_bytes, workload.written_bytes);
        line(&format!("  {}  ", title(workload)), moved);
    }
    line("open files", open_files(vitals));
    line("disk of home", disk(vitals));
    line("machine", machine(vitals));
    if let Some(ends_ms) = vitals.job_ends_ms {
        line("batch job", Some(format!("ends {}", rfc3339(ends_ms))));
    }
    if let Some(bytes) = sample.memory_limit_used_bytes {
        let used = format!("{} used by all under the limit", human(Some(bytes)));
        line("shared limit", Some(used));
    }
    if sample.processes_beyond > 0 {
        line(
            "not followed",
            Some(format!("{} processes", sample.processes_beyond)),
        );
    }
    if sample.cpu_may_miss {
        let why = "of orphans that nobody waits for is not in the CPU time";
        line("not counted", Some(why.to_owned()));
    }
    line("this agent", agent(vitals));
    text
}

fn pressure(vitals: &Vitals) -> Option<String> {
    let pressure = vitals.memory_pressure?;
    let percent = |bp: u32| format!("{}.{:02} %", bp / 100, bp % 100);
    Some(format!(
        "{} of the last ten seconds somebody waited for memory, {} everybody",
        percent(pressure.some_bp),
        percent(pressure.full_bp)
    ))
}

fn moved(read_bytes: Option<u64>, written_bytes: Option<u64>) -> Option<String> {
    let (read, written) = read_bytes.zip(written_bytes)?;
    Some(format!("{}, {}", human(Some(read)), human(Some(written))))
}

fn open_files(vitals: &Vitals) -> Option<String> {
    let files = vitals.open_files?;
    Some(format!(
        "{} of {} in process {}, the nearest to its limit",
        files.open, files.limit, files.pid
    ))
}

fn disk(vitals: &Vitals) -> Option<String> {
    let disk = vitals.disk?;
    let source = match disk.source {
        DiskSource::Quota => "quota",
        DiskSource::Filesystem => "file system",
    };
    Some(format!(
        "{} of {} ({source})",
        human(Some(disk.used_bytes)),
        human(Some(disk.limit_bytes))
    ))
}

fn machine(vitals: &Vitals) -> Option<String> {
    let machine = vitals.machine?;
    let load = machine.load_hundredths;
    Some(format!(
        "{} of {} available, load {}.{:02}",
        human(Some(machine.memory_available_bytes)),
        human(Some(machine.memory_bytes)),
        load / 100,
        load % 100
    ))
}

fn agent(vitals: &Vitals) -> Option<String> {
    let agent = vitals.agent;
    let (cpu_millis, rss_bytes) = agent.cpu_millis.zip(agent.rss_bytes)?;
    Some(format!(
        "{} of CPU, {}",
        seconds(cpu_millis),
        human(Some(rss_bytes))
    ))
}
