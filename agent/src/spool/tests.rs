use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const BYTES_MAX: usize = 2_000;
const MESSAGE_BYTES_MAX: usize = 300;

#[derive(Clone, Debug)]
enum Step {
    Tick { workloads: u64 },
    Send { messages: usize },
    Receipt { of_sent: f64 },
    Cut { kept: f64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0u64..4).prop_map(|workloads| Step::Tick { workloads }),
        3 => (1usize..8).prop_map(|messages| Step::Send { messages }),
        2 => (0.0..=1.0).prop_map(|of_sent| Step::Receipt { of_sent }),
        1 => (0.0..=1.0).prop_map(|kept| Step::Cut { kept }),
    ]
}

/// A sample that tells its report's number, and more or less beside it.
fn sample(seq: u64, workloads: u64) -> v1::Sample {
    let workload = |id: u64| v1::Workload {
        id: format!("{id}-{}", "x".repeat(60)),
        rss_bytes: seq.wrapping_mul(0x9e37_79b9_7f4a_7c15),
        ..v1::Workload::default()
    };
    v1::Sample {
        mono_ms: 5_000 * seq,
        rss_bytes: seq,
        workloads: (0..workloads).map(|n| workload(seq / 3 + n)).collect(),
        ..v1::Sample::default()
    }
}

/// What a collector that is honest but may lose its unsynced tail remembers.
#[derive(Default)]
struct Collector {
    decoder: Decoder,
    got: BTreeMap<u64, u64>,
    declared: Vec<u64>,
    durable: u64,
    seen: u64,
}

/// The agent's side of a stream.
struct Stream {
    cursor: u64,
    continues: bool,
}

fn send(spool: &mut Spool, stream: &mut Stream, collector: &mut Collector, messages: usize) {
    for _ in 0..messages {
        match spool.next_from(stream.cursor) {
            Next::Nothing => return,
            Next::Gap {
                from_seq,
                through_seq,
            } => gap(from_seq, through_seq, stream, collector),
            Next::Reports => {
                let together = spool.together(stream.cursor, stream.continues, MESSAGE_BYTES_MAX);
                match together {
                    Some(together) => take(&together, stream, collector),
                    None => {
                        let through_seq = spool.give_up(stream.cursor);
                        gap(stream.cursor, through_seq, stream, collector);
                    }
                }
            }
        }
    }
}

fn take(together: &Together, stream: &mut Stream, collector: &mut Collector) {
    assert!(together.batch.len() <= MESSAGE_BYTES_MAX);
    let mut batch = Batch::read(&together.batch).unwrap();
    collector.decoder.begin(&batch).unwrap();
    while let Some((seq, sample)) = collector.decoder.next(&mut batch).unwrap() {
        assert!(seq <= collector.seen + 1, "order is kept");
        assert_eq!(sample.rss_bytes, seq, "what was kept is told");
        collector.got.insert(seq, sample.rss_bytes);
        collector.seen = collector.seen.max(seq);
        stream.cursor = seq + 1;
    }
    assert_eq!(stream.cursor, together.next_seq);
    stream.continues = true;
}

fn gap(from_seq: u64, through_seq: u64, stream: &mut Stream, collector: &mut Collector) {
    assert!(from_seq <= collector.seen + 1, "no hole before a gap");
    collector.declared.extend(from_seq..=through_seq);
    collector.decoder.interrupt();
    collector.seen = collector.seen.max(through_seq);
    stream.cursor = through_seq + 1;
    stream.continues = false;
}

proptest! {
    #[test]
    fn nothing_is_lost_unless_declared_and_order_and_figures_are_kept(
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let mut spool = Spool::new(BYTES_MAX);
        let mut collector = Collector::default();
        let mut stream = Stream { cursor: 1, continues: false };
        for step in steps {
            match step {
                Step::Tick { workloads } => spool.push(&sample(spool.next_seq(), workloads)),
                Step::Send { messages } => {
                    send(&mut spool, &mut stream, &mut collector, messages);
                }
                Step::Receipt { of_sent } => {
                    let open = collector.seen - collector.durable;
                    collector.durable += (open as f64 * of_sent) as u64;
                    spool.acknowledge(collector.durable);
                }
                Step::Cut { kept } => {
                    // A restarted collector has all it gave a receipt for, perhaps more.
                    let open = collector.seen - collector.durable;
                    let resume = collector.durable + (open as f64 * kept) as u64;
                    collector.got.split_off(&(resume + 1));
                    collector.declared.retain(|seq| *seq <= resume);
                    collector.seen = resume;
                    collector.decoder = Decoder::default();
                    // A Welcome is a receipt too.
                    collector.durable = resume;
                    spool.acknowledge(resume);
                    stream = Stream { cursor: resume + 1, continues: false };
                }
            }
            prop_assert!(spool.bytes() <= BYTES_MAX);
        }
        send(&mut spool, &mut stream, &mut collector, usize::MAX);
        for seq in 1..spool.next_seq() {
            prop_assert!(
                collector.got.contains_key(&seq) || collector.declared.contains(&seq),
                "report {seq} vanished"
            );
        }
    }

    #[test]
    fn one_by_one_the_same_is_read_from_anywhere(
        workloads in prop::collection::vec(0u64..4, 1..60),
        jumps in prop::collection::vec(0.0..1.0f64, 1..20),
    ) {
        let mut spool = Spool::new(1 << 20);
        for count in &workloads {
            spool.push(&sample(spool.next_seq(), *count));
        }
        let mut reader = Reader::default();
        for jump in jumps {
            let from = 1 + (workloads.len() as f64 * jump) as u64;
            for seq in from..(from + 3).min(spool.next_seq()) {
                let read = spool.read(seq, &mut reader).unwrap();
                prop_assert_eq!(read.rss_bytes, seq);
                prop_assert_eq!(read.workloads.len() as u64, workloads[seq as usize - 1]);
            }
        }
        prop_assert_eq!(spool.read(spool.next_seq(), &mut reader), None);
    }
}

#[test]
fn a_receipt_for_what_was_never_sent_frees_only_what_is_there() {
    let mut spool = Spool::new(BYTES_MAX);
    spool.push(&sample(1, 0));
    spool.acknowledge(u64::MAX);
    assert_eq!((spool.first_seq(), spool.next_seq()), (2, 2));
    assert!(spool.is_empty());
    spool.push(&sample(2, 0));
    assert_eq!((spool.first_seq(), spool.next_seq()), (2, 3));
}

#[test]
fn overflow_becomes_one_gap_however_much_is_lost() {
    let mut spool = Spool::new(BYTES_MAX);
    for seq in 1..=100 {
        spool.push(&sample(seq, 3));
    }
    let first = spool.first_seq();
    assert_eq!(
        spool.next_from(1),
        Next::Gap {
            from_seq: 1,
            through_seq: first - 1
        }
    );
    assert_eq!(spool.next_from(first), Next::Reports);
    assert_eq!(spool.dropped(), first - 1);
}

#[test]
fn with_receipts_for_all_little_more_than_two_blocks_are_held() {
    let mut spool = Spool::new(SPOOL_BYTES_MAX);
    for seq in 1..=2_000 {
        spool.push(&sample(seq, 3));
        spool.acknowledge(seq);
        assert!(spool.is_empty());
        assert!(spool.bytes() <= 4 * BLOCK_BYTES, "{} bytes", spool.bytes());
    }
}
