use hubmeter_proto::delta::Encoder;

use super::*;
use crate::link::admit::read;

#[allow(dead_code)] // each test needs another part of it
#[path = "../../../../../tests/fixtures/link/session.rs"]
mod session;

use session::Session;

const NOW: (i64, ClockOffset) = (1_000, ClockOffset::NONE);

fn sample(seq: u64) -> v1::Sample {
    v1::Sample {
        mono_ms: seq,
        memory_source: v1::MemorySource::Rss.into(),
        rss_bytes: seq << 20,
        workloads: vec![v1::Workload {
            kind: v1::WorkloadKind::Kernel.into(),
            id: "k".to_owned(),
            rss_bytes: seq << 20,
            ..v1::Workload::default()
        }],
        ..v1::Sample::default()
    }
}

/// The samples of those numbers, the first told whole.
fn batch(seqs: std::ops::RangeInclusive<u64>) -> Bytes {
    let (mut encoder, mut samples) = (Encoder::default(), Vec::new());
    for seq in seqs.clone() {
        encoder.encode(&sample(seq), &mut samples);
    }
    Batch::write(true, *seqs.start(), &samples).into()
}

fn read_from(
    batches: &mut Batches,
    batch: &Bytes,
    from_seq: u64,
) -> Result<Vec<Unfolded>, Refusal> {
    let mut reports = Vec::new();
    batches.read(batch, from_seq, NOW, |report| {
        reports.push(report);
        Ok::<_, Refusal>(())
    })?;
    Ok(reports)
}

#[test]
fn each_report_is_kept_as_a_message_that_means_the_same_by_itself() {
    let reports = read_from(&mut Batches::default(), &batch(1..=5), 1).unwrap();
    assert_eq!(reports.len(), 5);
    for report in reports {
        let again = read(&report.message, NOW.0, NOW.1).unwrap();
        assert_eq!(again, report.incoming);
        match again {
            Incoming::Report { seq, samples } => {
                assert_eq!((seq, samples.len()), (report.seq, 1));
                assert_eq!(samples[0].workloads[0].rss_bytes, seq << 20);
            }
            other => panic!("no report: {other:?}"),
        }
    }
}

#[test]
fn what_is_known_is_passed_over_and_what_is_missing_refused() {
    let seqs = |batch: &Bytes, from_seq| {
        let read = read_from(&mut Batches::default(), batch, from_seq);
        read.map(|reports| reports.iter().map(|report| report.seq).collect::<Vec<_>>())
    };
    assert_eq!(seqs(&batch(3..=6), 5), Ok(vec![5, 6]));
    assert_eq!(seqs(&batch(3..=6), 7), Ok(vec![]));
    assert!(matches!(
        seqs(&batch(3..=6), 2),
        Err(Refusal::OutOfBounds { field, .. }) if field == "batch.first_seq"
    ));
}

#[test]
fn figures_out_of_bounds_are_refused_by_name_however_they_are_told() {
    let mut samples = Vec::new();
    let large = v1::Sample {
        rss_bytes: u64::MAX,
        ..sample(1)
    };
    Encoder::default().encode(&large, &mut samples);
    let batch = Batch::write(true, 1, &samples).into();
    assert!(matches!(
        read_from(&mut Batches::default(), &batch, 1),
        Err(Refusal::OutOfBounds { field, .. }) if field == "report.samples[0].rss_bytes"
    ));
}

#[test]
fn what_a_stream_remembers_of_a_recorded_busy_server_is_small() {
    let (mut encoder, mut batches) = (Encoder::default(), Batches::default());
    let mut most = 0;
    for (at, sample) in Session::recorded("busy").samples().iter().enumerate() {
        let (seq, mut bytes) = (at as u64 + 1, Vec::new());
        encoder.encode(sample, &mut bytes);
        let batch = Batch::write(seq == 1, seq, &bytes).into();
        read_from(&mut batches, &batch, seq).unwrap();
        most = most.max(batches.bytes());
    }
    println!("{most} bytes");
    assert!(most <= 4_096, "{most} bytes");
}
