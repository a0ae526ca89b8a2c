//! The worked example of `docs/PROTOCOL.md` is what the codec writes and reads.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

use std::path::Path;

use hubmeter_proto::{
    delta::{Batch, Decoder, Encoder},
    v1,
};

const MIB: u64 = 1 << 20;

/// The bytes of the document's block: before `|` in each line.
fn documented() -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/PROTOCOL.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, block) = text
        .split_once("```text batch\n")
        .expect("the block is there");
    let (block, _) = block.split_once("```").unwrap();
    let lines = block.lines().map(|line| line.split('|').next().unwrap());
    let words = lines.flat_map(str::split_whitespace);
    words
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect()
}

fn sample(mono_ms: u64, interval_ms: u32, kernel_mib: u64, cpu_millis: u64) -> v1::Sample {
    let bytes = kernel_mib * MIB;
    v1::Sample {
        mono_ms,
        interval_ms,
        memory_used_bytes: bytes,
        memory_source: v1::MemorySource::Pss.into(),
        memory_limit_bytes: Some(2_048 * MIB),
        memory_limit_source: "env".to_owned(),
        rss_bytes: bytes,
        swap_bytes: Some(0),
        unattributed_bytes: Some(0),
        cpu_millis,
        processes: 1,
        threads: 14,
        workloads: vec![v1::Workload {
            kind: v1::WorkloadKind::Kernel.into(),
            id: "k1".to_owned(),
            name: "python3".to_owned(),
            state: v1::WorkloadState::Busy.into(),
            pid: 300,
            memory_used_bytes: Some(bytes),
            rss_bytes: bytes,
            cpu_millis,
            processes: 1,
            threads: 14,
            ..v1::Workload::default()
        }],
        vitals: Some(v1::Vitals::default()),
        ..v1::Sample::default()
    }
}

fn samples() -> [v1::Sample; 4] {
    [
        sample(100_000, 0, 100, 2_000),
        sample(105_000, 5_000, 100, 2_000),
        sample(110_000, 5_000, 100, 2_000),
        sample(115_002, 5_002, 101, 2_600),
    ]
}

#[test]
fn the_documents_example_is_what_the_codec_writes() {
    let (mut encoder, mut bytes) = (Encoder::default(), Vec::new());
    let [first, rest @ ..] = samples();
    encoder.begin(&first, &mut bytes, &mut Vec::new());
    for sample in &rest {
        encoder.encode(sample, &mut bytes);
    }
    let batch = Batch::write(true, 7, &bytes);
    assert_eq!(documented(), batch, "{batch:02x?}");
}

#[test]
fn the_documents_example_reads_as_the_document_says() {
    let bytes = documented();
    let mut batch = Batch::read(&bytes).unwrap();
    let mut decoder = Decoder::default();
    decoder.begin(&batch).unwrap();
    for (at, expected) in samples().into_iter().enumerate() {
        assert_eq!(
            decoder.next(&mut batch),
            Ok(Some((7 + at as u64, expected)))
        );
    }
    assert_eq!(decoder.next(&mut batch), Ok(None));
}
