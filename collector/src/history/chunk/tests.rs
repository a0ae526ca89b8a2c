use proptest::prelude::*;

use super::*;

fn cell() -> impl Strategy<Value = Option<i64>> {
    prop_oneof![
        2 => Just(None),
        4 => Just(Some(7)),
        4 => (0..2_000_000_000_i64).prop_map(Some),
        2 => (-500_000..500_000_i64).prop_map(|pages| Some(pages * 4096)),
        1 => any::<i64>().prop_map(Some),
        1 => Just(Some(i64::MIN)),
    ]
}

/// A column of one kind: wild, steady, counting up, known throughout, growing by the same few
/// steps, or by pages nearly always.
fn column(rows: usize) -> impl Strategy<Value = Column> {
    let known = (0..100_000_i64).prop_map(Some);
    let counter = (0..50_i64, any::<i64>(), 0..1_000_i64);
    let step = prop::sample::select(vec![0, 0, 53_272, 53_280, 88, -57_368, 1_040_384]);
    let pages = (-9_000..9_000_i64, 0..20_i64);
    let grown = |steps: Vec<i64>| -> Column {
        let grow = |sum: &mut i64, step: i64| {
            *sum = sum.wrapping_add(step);
            Some(Some(*sum))
        };
        steps.into_iter().scan(7_i64, grow).collect()
    };
    prop_oneof![
        prop::collection::vec(step, rows).prop_map(grown),
        prop::collection::vec(pages, rows).prop_map(move |steps| {
            let odd = |(pages, odd): (i64, i64)| pages * 4096 + if odd == 0 { 77 } else { 0 };
            grown(steps.into_iter().map(odd).collect())
        }),
        prop::collection::vec(cell(), rows),
        any::<Option<i64>>().prop_map(move |value| vec![value; rows]),
        prop::collection::vec(known, rows),
        prop::collection::vec(0..3_i64, rows).prop_flat_map(move |jitter| {
            counter.clone().prop_map(move |(step, begin, _)| {
                let at = |row: usize| begin.wrapping_add(step * row as i64 + jitter[row]);
                (0..rows).map(|row| Some(at(row))).collect()
            })
        }),
    ]
}

fn chunk() -> impl Strategy<Value = Chunk> {
    (0..80_usize, 0..6_usize, 0..3_usize).prop_flat_map(|(rows, columns, instances)| {
        (
            prop::collection::vec(any::<[u8; 16]>(), instances),
            prop::collection::vec(column(rows), columns),
        )
            .prop_map(move |(instances, columns)| Chunk {
                format: Format::Third,
                instances,
                rows,
                columns,
            })
    })
}

/// Every column resembles the one before, by the one before that.
fn neighbour(place: usize) -> Option<Like> {
    Some(Like {
        column: place.checked_sub(1)?,
        key: place.checked_sub(2),
    })
}

/// And nothing else.
fn only_neighbour(place: usize) -> Option<Like> {
    place.checked_sub(1).map(Like::column)
}

fn with_checksum(mut body: Vec<u8>) -> Vec<u8> {
    let crc = crc32c::crc32c(&body);
    body.extend_from_slice(&crc.to_le_bytes());
    body
}

proptest! {
    #[test]
    fn the_first_columns_read_as_they_do_with_all(chunk in chunk(), columns in 0..8_usize) {
        let mut codec = Codec::new().unwrap();
        let stored = codec.encode(&chunk, neighbour);
        let read = codec.decode_first(&stored, columns).unwrap();
        prop_assert_eq!(read.columns.len(), chunk.columns.len());
        for (at, (read, whole)) in read.columns.iter().zip(&chunk.columns).enumerate() {
            let expected = if at < columns { &whole[..] } else { &[] };
            prop_assert_eq!(&read[..], expected);
        }
    }

    #[test]
    fn every_chunk_reads_back_as_written(chunk in chunk()) {
        let mut codec = Codec::new().unwrap();
        for hint in [neighbour as Hint, only_neighbour, |_| None] {
            let stored = codec.encode(&chunk, hint);
            prop_assert_eq!(codec.decode(&stored), Ok(chunk.clone()));
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused_without_a_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let _ = first::decode_plain(&bytes);
        for format in [Format::Second, Format::Third] {
            let _ = decode_columns(&bytes, format, &mut Vec::new(), COLUMNS_MAX);
        }
        let mut codec = Codec::new().unwrap();
        prop_assert!(codec.decode(&bytes).is_err());
    }

    #[test]
    fn a_damaged_chunk_whose_checksum_was_made_to_fit_is_read_or_refused_without_a_panic(
        chunk in chunk(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in 0..4_usize,
    ) {
        let mut codec = Codec::new().unwrap();
        let mut body = codec.encode(&chunk, neighbour);
        body.truncate(body.len() - 4);
        for (at, byte) in damage {
            let at = 1 + at.index(body.len() - 1);
            body[at] = byte;
        }
        body.truncate(body.len().saturating_sub(cut).max(1));
        if let Ok(read) = codec.decode(&with_checksum(body)) {
            prop_assert!(read.rows * read.columns.len() <= CELLS_MAX);
            prop_assert!(read.columns.iter().all(|column| column.len() == read.rows));
        }
    }
}

fn small() -> Chunk {
    Chunk {
        format: Format::Third,
        instances: vec![[3; 16]],
        rows: 40,
        columns: vec![
            (0..40).map(|at| Some(at * at % 11)).collect(),
            (0..40)
                .map(|at| (at % 7 > 0).then_some(i64::MIN + at))
                .collect(),
        ],
    }
}

#[test]
fn every_flipped_bit_is_noticed() {
    let mut codec = Codec::new().unwrap();
    let stored = codec.encode(&small(), neighbour);
    for bit in 0..stored.len() * 8 {
        let mut damaged = stored.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(codec.decode(&damaged), Err(ChunkError::Checksum), "{bit}");
    }
}

#[test]
fn every_beginning_of_a_chunk_is_refused() {
    let mut codec = Codec::new().unwrap();
    let stored = codec.encode(&small(), neighbour);
    let body = &stored[..stored.len() - 4];
    for length in 0..body.len() {
        let cut = with_checksum(body[..length].to_owned());
        assert!(codec.decode(&cut).is_err(), "{length}");
    }
    let mut longer = body.to_owned();
    longer.extend_from_slice(&[0, 0]);
    assert!(codec.decode(&with_checksum(longer)).is_err());
}

#[test]
fn a_few_bytes_that_claim_a_large_chunk_are_refused() {
    let mut body = vec![Format::Third.byte()];
    put_varint(&mut body, ROWS_MAX as u64);
    put_varint(&mut body, COLUMNS_MAX as u64);
    body.extend_from_slice(&[0; 19]);
    let mut codec = Codec::new().unwrap();
    assert_eq!(
        codec.decode(&with_checksum(body)),
        Err(ChunkError::TooLarge)
    );
    let newer = with_checksum(vec![4, 0, 0, 0, 0, 0]);
    assert_eq!(codec.decode(&newer), Err(ChunkError::Format(4)));
}

#[test]
fn a_steady_column_costs_next_to_nothing() {
    let steady = |columns| Chunk {
        format: Format::Third,
        instances: vec![],
        rows: 720,
        columns: vec![vec![Some(4096); 720]; columns],
    };
    let bytes = |columns| {
        Codec::new()
            .unwrap()
            .encode(&steady(columns), |_| None)
            .len()
    };
    assert!(bytes(11) - bytes(1) <= 31, "{} {}", bytes(11), bytes(1));
}

/// Bits that a chunk of one column takes for each row, more or less.
fn bits_a_row(columns: Vec<Column>, hint: Hint) -> f64 {
    let rows = columns[0].len();
    let chunk = Chunk {
        format: Format::Third,
        instances: vec![],
        rows,
        columns,
    };
    Codec::new().unwrap().encode(&chunk, hint).len() as f64 * 8.0 / rows as f64
}

/// Numbers that nothing foresees, the same in every run.
fn noise(count: usize, below: u64) -> Vec<i64> {
    let mut state = 1_u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        ((state >> 33) % below) as i64
    };
    (0..count).map(|_| next()).collect()
}

#[test]
fn what_is_written_in_pages_but_for_some_costs_its_pages() {
    let steps = noise(720, 4096);
    let grow = |odd: i64| -> Column {
        let grow = |sum: &mut i64, (at, step): (usize, &i64)| {
            *sum += (4000 + step) * 4096 + if at % 100 == 99 { odd } else { 0 };
            Some(Some(*sum))
        };
        steps.iter().enumerate().scan(0, grow).collect()
    };
    let (whole, nearly) = (
        bits_a_row(vec![grow(0)], |_| None),
        bits_a_row(vec![grow(5)], |_| None),
    );
    assert!(nearly < whole + 1.0, "{whole} {nearly}");
}

#[test]
fn steps_that_come_again_cost_little_once_they_were_seen() {
    let which = noise(720, 3);
    let column = |of: [i64; 3]| -> Column {
        let grow = |sum: &mut i64, which: &i64| {
            *sum += of[*which as usize];
            Some(Some(*sum))
        };
        which.iter().scan(0, grow).collect()
    };
    let bits = bits_a_row(vec![column([53_272, 161_001, 98_317])], |_| None);
    assert!(bits < 3.0, "{bits}");
}

#[test]
fn a_distance_that_goes_by_a_third_column_costs_little_once_it_was_seen() {
    let key = noise(720, 5);
    let other = noise(720, 1 << 30);
    let far = key
        .iter()
        .zip(&other)
        .map(|(key, other)| other + key * 5_912_345);
    let known = |cells: Vec<i64>| -> Column { cells.into_iter().map(Some).collect() };
    let columns = vec![
        known(key.clone()),
        known(other.clone()),
        known(far.collect()),
    ];
    let hint: Hint = |place| {
        (place == 2).then_some(Like {
            column: 1,
            key: Some(0),
        })
    };
    let alone = bits_a_row(columns[..2].to_vec(), hint);
    let with = bits_a_row(columns, hint);
    assert!(with < alone + 1.0, "{alone} {with}");
}
