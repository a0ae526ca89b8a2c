//! A sample in full, for whoever wants to know more than the contract's keys: those first, as
//! they are, then what is beside them.

use serde::{Serialize, Serializer, ser::SerializeMap};

use super::{Sample, Workload};

/// A sample with everything that is known of a tick.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Details<'a>(pub(crate) &'a Sample);

/// A workload likewise.
#[derive(Serialize)]
struct WorkloadDetails<'a> {
    #[serde(flatten)]
    workload: &'a Workload,
    read_bytes: Option<u64>,
    written_bytes: Option<u64>,
    remote: bool,
}

// === impl Details ===

impl Serialize for Details<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let sample = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("time", &sample.time)?;
        map.serialize_entry("interval_ms", &sample.interval_ms)?;
        map.serialize_entry("memory_used_bytes", &sample.memory_used_bytes)?;
        let working_set = &sample.memory_working_set_bytes;
        map.serialize_entry("memory_working_set_bytes", working_set)?;
        map.serialize_entry("memory_source", &sample.memory_source)?;
        map.serialize_entry("memory_age_ms", &sample.memory_age_ms)?;
        map.serialize_entry("memory_limit_bytes", &sample.memory_limit_bytes)?;
        map.serialize_entry("memory_limit_source", &sample.memory_limit_source)?;
        map.serialize_entry("memory_limit_enforced", &sample.memory_limit_enforced)?;
        map.serialize_entry("memory_limit_shared", &sample.memory_limit_shared)?;
        map.serialize_entry("rss_bytes", &sample.rss_bytes)?;
        map.serialize_entry("pss_bytes", &sample.pss_bytes)?;
        map.serialize_entry("swap_bytes", &sample.swap_bytes)?;
        map.serialize_entry("unattributed_bytes", &sample.unattributed_bytes)?;
        map.serialize_entry("cpu_millis", &sample.cpu_millis)?;
        map.serialize_entry("cpu_cores", &sample.cpu_cores)?;
        map.serialize_entry("processes", &sample.processes)?;
        map.serialize_entry("threads", &sample.threads)?;
        let workloads: Vec<_> = sample.workloads.iter().map(WorkloadDetails::of).collect();
        map.serialize_entry("workloads", &workloads)?;
        map.serialize_entry("memory_limit_used_bytes", &sample.memory_limit_used_bytes)?;
        map.serialize_entry("memory_corrected_bytes", &sample.memory_corrected_bytes)?;
        map.serialize_entry("cpu_may_miss", &sample.cpu_may_miss)?;
        map.serialize_entry("processes_beyond", &sample.processes_beyond)?;
        map.serialize_entry("vitals", &sample.vitals)?;
        map.end()
    }
}

// === impl WorkloadDetails ===

impl<'a> WorkloadDetails<'a> {
    fn of(workload: &'a Workload) -> Self {
        Self {
            workload,
            read_bytes: workload.read_bytes,
            written_bytes: workload.written_bytes,
            remote: workload.remote,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        link::encode::tests::sample,
        sample::{WorkloadKind, vitals::Pressure},
    };

    #[test]
    fn the_contracts_keys_come_first_and_unchanged_and_unknown_is_null() {
        let mut sample = sample(5_000, 7);
        sample.workloads = vec![Workload {
            kind: WorkloadKind::Kernel,
            id: "a1".into(),
            name: "python3".into(),
            pid: 7,
            memory_used_bytes: Some(1),
            rss_bytes: 2,
            pss_bytes: None,
            cpu_millis: 3,
            cpu_cores: Some(0.5),
            processes: 1,
            threads: 4,
            notebook: None,
            state: None,
            idle_ms: None,
            job: None,
            read_bytes: Some(10),
            written_bytes: None,
            remote: false,
        }];
        sample.vitals.memory_pressure = Some(Pressure {
            some_bp: 12,
            full_bp: 0,
        });
        let contract = serde_json::to_string(&sample).unwrap();
        let details = serde_json::to_string(&Details(&sample)).unwrap();
        let of_workload = r#","read_bytes":10,"written_bytes":null,"remote":false"#;
        let expected = contract.strip_suffix("}]}").unwrap().to_owned()
            + of_workload
            + "}],"
            + r#""memory_limit_used_bytes":null,"memory_corrected_bytes":0,"#
            + r#""cpu_may_miss":false,"processes_beyond":0,"vitals":{"shm_bytes":null,"#
            + r#""memory_pressure":{"some_bp":12,"full_bp":0},"read_bytes":null,"#
            + r#""written_bytes":null,"open_files":null,"disk":null,"machine":null,"#
            + r#""job_ends_ms":null,"#
            + r#""agent":{"cpu_millis":null,"rss_bytes":null,"ticks_skipped":0}}}"#;
        assert_eq!(details, expected);
    }
}
