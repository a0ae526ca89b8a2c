//! What the second version said, byte for byte, is read as long as there is a second version.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

use hubmeter_proto::{
    delta::{Batch, Decoder},
    v1::{self, WorkloadKind, up},
};

#[allow(dead_code)] // each test needs another part of it
#[path = "../../tests/fixtures/link/session.rs"]
mod session;

use session::Session;

#[test]
fn a_recorded_session_of_the_second_version_is_read_to_its_end() {
    let mut decoder = Decoder::default();
    let (mut next_seq, mut before_ms, mut most) = (1, 0, 0);
    let mut kernels = 0;
    for up in Session::recorded("protocol2").ups() {
        let up::Body::Batch(bytes) = up else { continue };
        let mut batch = Batch::read(&bytes).unwrap();
        decoder.begin(&batch).unwrap();
        let mut together = 0;
        while let Some((seq, sample)) = decoder.next(&mut batch).unwrap() {
            assert_eq!(seq, next_seq);
            let of_workloads: u64 = sample.workloads.iter().map(|w| w.rss_bytes).sum();
            assert_eq!(sample.rss_bytes, of_workloads, "sums are sums");
            assert!(sample.mono_ms > before_ms);
            (next_seq, before_ms, together) = (seq + 1, sample.mono_ms, together + 1);
            let is_kernel = |w: &&_| v1::Workload::kind(w) == WorkloadKind::Kernel;
            kernels = kernels.max(sample.workloads.iter().filter(is_kernel).count());
        }
        most = most.max(together);
    }
    assert_eq!(kernels, 2);
    assert!(next_seq > 40 && most > 20, "{next_seq}, {most} together");
}
