use proptest::prelude::*;

use super::*;
use crate::{
    limits::{SAMPLES_PER_REPORT_MAX, WORKLOADS_PER_SAMPLE_MAX},
    v1,
};

/// A number as it is in life, or as only a stranger would send it.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 0u64..20_000,
        4 => (0u64..1 << 24).prop_map(|pages| pages * 4096),
        2 => (0u64..1 << 24).prop_map(|kib| kib * 1024),
        1 => any::<u64>(),
        1 => prop::sample::select(vec![0, 1, u64::MAX, u64::MAX - 1, 1 << 63, (1 << 63) - 1]),
    ]
}

fn maybe() -> impl Strategy<Value = Option<u64>> {
    prop::option::weighted(0.8, number())
}

fn text() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["", "a", "python3", "é".repeat(64).leak() as &str])
        .prop_map(str::to_owned)
}

fn workload() -> impl Strategy<Value = v1::Workload> {
    let ids = (0i32..6, 0u32..8);
    let texts = (text(), prop::option::of(text()));
    (
        ids,
        texts,
        prop::collection::vec(maybe(), 6),
        number(),
        number(),
        any::<u32>(),
        any::<bool>(),
    )
        .prop_map(
            |((kind, id), (name, notebook), maybe, rss_bytes, cpu_millis, small, remote)| {
                v1::Workload {
                    kind,
                    id: id.to_string(),
                    name,
                    notebook,
                    state: small as i32 % 5,
                    pid: small,
                    memory_used_bytes: maybe[0],
                    rss_bytes,
                    pss_bytes: maybe[1],
                    cpu_millis,
                    processes: small % 7,
                    threads: small,
                    idle_ms: maybe[2],
                    read_bytes: maybe[3],
                    written_bytes: maybe[4],
                    remote,
                }
            },
        )
}

fn vitals() -> impl Strategy<Value = v1::Vitals> {
    (prop::collection::vec(maybe(), 12), any::<u32>(), number()).prop_map(
        |(maybe, small, skipped)| v1::Vitals {
            shm_bytes: maybe[0],
            memory_pressure_some_bp: maybe[1].map(|_| small),
            memory_pressure_full_bp: maybe[2].map(|_| small / 2),
            read_bytes: maybe[3],
            written_bytes: maybe[4],
            open_files: maybe[5].map(|_| small),
            open_files_limit: maybe[6].map(|_| small),
            disk_used_bytes: maybe[7],
            disk_limit_bytes: maybe[8],
            disk_source: small as i32,
            disk_age_ms: maybe[9].map(|_| small),
            machine_memory_bytes: maybe[10],
            machine_memory_available_bytes: maybe[11],
            machine_load_hundredths: maybe[0].map(|_| small),
            job_ends_ms: maybe[1],
            agent_cpu_millis: maybe[2],
            agent_rss_bytes: maybe[3],
            agent_ticks_skipped: skipped,
        },
    )
}

fn ended() -> impl Strategy<Value = v1::Ended> {
    (workload(), number()).prop_map(|(workload, memory_used_bytes)| v1::Ended {
        kind: workload.kind,
        id: workload.id,
        name: workload.name,
        notebook: workload.notebook,
        pid: workload.pid,
        cause: workload.state,
        memory_used_bytes,
    })
}

fn sample() -> impl Strategy<Value = v1::Sample> {
    let lists = (
        prop::collection::vec(workload(), 0..6),
        prop::collection::vec(ended(), 0..2),
    );
    let numbers = (
        prop::collection::vec(number(), 4),
        prop::collection::vec(maybe(), 9),
    );
    (
        lists,
        numbers,
        vitals(),
        text(),
        any::<u32>(),
        any::<bool>(),
    )
        .prop_map(
            |((mut workloads, ended), (numbers, maybe), vitals, source, small, flag)| {
                workloads.sort_by(|a, b| (a.kind, &a.id).cmp(&(b.kind, &b.id)));
                workloads.dedup_by(|a, b| (a.kind, &a.id) == (b.kind, &b.id));
                v1::Sample {
                    mono_ms: numbers[0],
                    wall_ms: 0,
                    interval_ms: small,
                    burst: flag,
                    memory_used_bytes: numbers[1],
                    memory_working_set_bytes: maybe[0],
                    memory_source: small as i32 % 5,
                    memory_age_ms: small / 3,
                    memory_limit_bytes: maybe[1],
                    memory_limit_source: source,
                    memory_limit_enforced: flag,
                    memory_limit_shared: !flag,
                    rss_bytes: numbers[2],
                    pss_bytes: maybe[2],
                    swap_bytes: maybe[3],
                    unattributed_bytes: maybe[4].map(u64::cast_signed),
                    cpu_millis: numbers[3],
                    processes: small,
                    threads: small % 9,
                    oom_kills: maybe[5],
                    memory_guarantee_bytes: maybe[6],
                    cpu_limit_millicores: maybe[7].map(|_| small),
                    cpu_guarantee_millicores: None,
                    workloads,
                    ended,
                    memory_limit_used_bytes: maybe[8],
                    memory_corrected_bytes: numbers[0].cast_signed(),
                    cpu_may_miss: flag,
                    processes_beyond: small % 3,
                    vitals: Some(vitals),
                }
            },
        )
}

/// Samples of one server: most like the one before, some not.
fn samples() -> impl Strategy<Value = Vec<v1::Sample>> {
    let steps = prop::collection::vec((sample(), 0u8..10, 0u64..10_000), 1..20);
    steps.prop_map(|steps| {
        let mut samples: Vec<v1::Sample> = Vec::new();
        for (fresh, likeness, late_ms) in steps {
            let next = match samples.last() {
                Some(last) if likeness > 2 => v1::Sample {
                    mono_ms: last.mono_ms.wrapping_add(late_ms),
                    rss_bytes: if likeness > 6 {
                        last.rss_bytes
                    } else {
                        fresh.rss_bytes
                    },
                    workloads: if likeness > 4 {
                        last.workloads.clone()
                    } else {
                        fresh.workloads
                    },
                    ended: Vec::new(),
                    ..last.clone()
                },
                _ => fresh,
            };
            samples.push(next);
        }
        samples
    })
}

fn in_order(mut sample: v1::Sample) -> v1::Sample {
    sample
        .workloads
        .sort_by(|a, b| (a.kind, &a.id).cmp(&(b.kind, &b.id)));
    sample
}

/// All of `samples` in one batch.
fn written(samples: &[v1::Sample]) -> Vec<u8> {
    let (mut encoder, mut bytes) = (Encoder::default(), Vec::new());
    for (at, sample) in samples.iter().enumerate() {
        match at {
            0 => encoder.begin(sample, &mut bytes, &mut Vec::new()),
            _ => encoder.encode(sample, &mut bytes),
        }
    }
    Batch::write(true, 1, &bytes)
}

fn read(bytes: &[u8]) -> Result<Vec<v1::Sample>, DeltaError> {
    let mut batch = Batch::read(bytes)?;
    let mut decoder = Decoder::default();
    decoder.begin(&batch)?;
    let mut samples = Vec::new();
    while let Some((_, sample)) = decoder.next(&mut batch)? {
        samples.push(in_order(sample));
    }
    Ok(samples)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))] // of up to 20 samples each
    #[test]
    fn any_samples_come_back_as_they_were(samples in samples()) {
        let expected: Vec<_> = samples.iter().cloned().map(in_order).collect();
        prop_assert_eq!(read(&written(&samples)), Ok(expected));
    }

    /// Blocks begin anywhere; who comes from before and who begins there read the same.
    #[test]
    fn whoever_begins_at_a_block_reads_what_the_others_read(
        samples in samples(),
        blocks in prop::collection::vec(any::<bool>(), 20),
    ) {
        let mut encoder = Encoder::default();
        let mut through = Vec::new();
        // What each who began somewhere was told.
        let mut tails: Vec<(usize, Vec<u8>)> = Vec::new();
        for (at, sample) in samples.iter().enumerate() {
            let (mut whole, mut bytes) = (Vec::new(), Vec::new());
            if at == 0 || blocks[at] {
                encoder.begin(sample, &mut whole, &mut bytes);
            } else {
                encoder.encode(sample, &mut bytes);
            }
            through.extend_from_slice(&bytes);
            for (_, tail) in &mut tails {
                tail.extend_from_slice(&bytes);
            }
            if !whole.is_empty() {
                tails.push((at, whole));
            }
        }
        let expected: Vec<_> = samples.iter().cloned().map(in_order).collect();
        prop_assert_eq!(read(&Batch::write(true, 1, &through)), Ok(expected.clone()));
        for (at, tail) in tails {
            let told = read(&Batch::write(true, 1, &tail));
            prop_assert_eq!(told, Ok(expected[at..].to_vec()), "from {}", at);
        }
    }

    #[test]
    fn what_is_cut_off_is_told_or_ends_between_two_samples(samples in samples(), cut in 0.0..1.0f64) {
        let bytes = written(&samples);
        let kept = (bytes.len() as f64 * cut) as usize;
        let expected: Vec<_> = samples.into_iter().map(in_order).collect();
        match read(&bytes[..kept]) {
            Ok(read) => prop_assert!(expected.starts_with(&read)),
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }

    #[test]
    fn no_bytes_make_it_panic_or_grow(
        samples in samples(),
        noise in prop::collection::vec(any::<u8>(), 1..400),
        at in 0.0..1.0f64,
    ) {
        let mut bytes = written(&samples);
        let at = (bytes.len() as f64 * at) as usize;
        bytes.splice(at.., noise.iter().copied());
        let strangers = Batch::write(true, 1, &noise);
        for bytes in [&bytes, &strangers] {
            if let Ok(read) = read(bytes) {
                prop_assert!(read.len() <= SAMPLES_PER_REPORT_MAX);
                prop_assert!(read.iter().all(|s| s.workloads.len() <= WORKLOADS_PER_SAMPLE_MAX));
            }
        }
    }
}

fn quiet(mono_ms: u64) -> v1::Sample {
    v1::Sample {
        mono_ms,
        interval_ms: 5_000,
        memory_used_bytes: 100 << 20,
        rss_bytes: 120 << 20,
        vitals: Some(v1::Vitals::default()),
        ..Default::default()
    }
}

#[test]
fn a_sample_in_which_nothing_changed_is_one_byte() {
    let mut encoder = Encoder::default();
    let mut bytes = Vec::new();
    for tick in 1..=3 {
        encoder.encode(&quiet(tick * 5_000), &mut bytes);
    }
    bytes.clear();
    for tick in 4..=15 {
        encoder.encode(&quiet(tick * 5_000), &mut bytes);
    }
    assert_eq!(bytes, [0; 12]);
}

#[test]
fn what_nobody_knows_is_not_zero() {
    let known = v1::Sample {
        swap_bytes: Some(0),
        ..quiet(1)
    };
    let samples = [quiet(1), known.clone(), known, quiet(2)];
    let read = read(&written(&samples)).unwrap();
    let swap: Vec<_> = read.iter().map(|sample| sample.swap_bytes).collect();
    assert_eq!(swap, [None, Some(0), Some(0), None]);
}

#[test]
fn a_difference_without_what_it_differs_from_is_refused() {
    let mut decoder = Decoder::default();
    let follows = |first_seq| Batch::write(false, first_seq, &[0]);
    let refused = DeltaError::new("batch.first_seq", "does not follow");
    let mut bytes = follows(1);
    assert_eq!(decoder.begin(&Batch::read(&bytes).unwrap()), Err(refused));
    let whole = written(&[quiet(1), quiet(2)]);
    let mut batch = Batch::read(&whole).unwrap();
    decoder.begin(&batch).unwrap();
    while decoder.next(&mut batch).unwrap().is_some() {}
    bytes = follows(4);
    assert_eq!(
        decoder.clone().begin(&Batch::read(&bytes).unwrap()),
        Err(refused)
    );
    bytes = follows(3);
    decoder
        .clone()
        .begin(&Batch::read(&bytes).unwrap())
        .unwrap();
    decoder.interrupt();
    assert_eq!(decoder.begin(&Batch::read(&bytes).unwrap()), Err(refused));
}

#[test]
fn each_wrong_field_is_named() {
    let cases: [(&[u8], &str); 11] = [
        (&[], "batch is empty"),
        (&[2, 1, 0], "batch is of a kind that is not known"),
        (&[1, 0x80], "batch.first_seq is cut off"),
        (&[1, 1], "batch.samples are none"),
        (&[1, 1, TIME, 0xff], "sample.mono_ms is cut off"),
        (&[1, 1, ROSTER, 1], "sample.workloads.went was never there"),
        (&[1, 1, ROSTER, 0, 65], "sample.workloads.came are too many"),
        (
            &[1, 1, ROSTER, 0, 1, 1, 0x81, 1],
            "sample.workload.id is too long",
        ),
        (
            &[1, 1, WORKLOADS, 1, 0],
            "sample.workloads has one never named",
        ),
        (
            &[1, 1, SERVER, 0x80, 0x80, 0x80, 8],
            "sample has a column that is not known",
        ),
        (&[1, 1, ENDED, 0xff, 1], "sample.ended are too many"),
    ];
    for (bytes, told) in cases {
        assert_eq!(read(bytes).unwrap_err().to_string(), told);
    }
    let mut many = vec![1, 1];
    many.resize(2 + SAMPLES_PER_REPORT_MAX + 1, 0);
    assert_eq!(
        read(&many).unwrap_err().to_string(),
        "batch.samples are too many"
    );
    let out_of_range = [1, 1, SERVER, 0x20, 0x80, 0x80, 0x80, 0x80, 0x40];
    assert_eq!(
        read(&out_of_range).unwrap_err().to_string(),
        "sample.threads is out of range"
    );
}

proptest! {
    #[test]
    fn a_batchs_head_takes_as_many_bytes_as_it_is_given_room_for(first_seq: u64) {
        let mut head = Vec::new();
        for seq in [0, first_seq, first_seq >> 32, first_seq >> 57, u64::MAX] {
            head.clear();
            Batch::write_head(false, seq, &mut head);
            prop_assert_eq!(head.len(), Batch::head_bytes(seq));
            prop_assert!(head.len() <= BATCH_HEAD_BYTES_MAX);
        }
    }
}
