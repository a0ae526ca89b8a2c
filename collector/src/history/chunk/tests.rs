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

/// A column of one kind: wild, steady, counting up, or known throughout.
fn column(rows: usize) -> impl Strategy<Value = Column> {
    let known = (0..100_000_i64).prop_map(Some);
    let counter = (0..50_i64, any::<i64>(), 0..1_000_i64);
    prop_oneof![
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
                format: Format::Second,
                instances,
                rows,
                columns,
            })
    })
}

/// Every column resembles the one before.
fn neighbour(place: usize) -> Option<usize> {
    place.checked_sub(1)
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
        for hint in [neighbour as Hint, |_| None] {
            let stored = codec.encode(&chunk, hint);
            prop_assert_eq!(codec.decode(&stored), Ok(chunk.clone()));
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused_without_a_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let _ = first::decode_plain(&bytes);
        let _ = decode_second(&bytes, &mut Vec::new(), COLUMNS_MAX);
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
        format: Format::Second,
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
    let mut body = vec![Format::Second.byte()];
    put_varint(&mut body, ROWS_MAX as u64);
    put_varint(&mut body, COLUMNS_MAX as u64);
    body.extend_from_slice(&[0, 0, 0]);
    let mut codec = Codec::new().unwrap();
    assert_eq!(
        codec.decode(&with_checksum(body)),
        Err(ChunkError::TooLarge)
    );
    let newer = with_checksum(vec![3, 0, 0, 0, 0, 0]);
    assert_eq!(codec.decode(&newer), Err(ChunkError::Format(3)));
}

#[test]
fn a_steady_column_costs_next_to_nothing() {
    let steady = |columns| Chunk {
        format: Format::Second,
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
    assert!(bytes(11) - bytes(1) <= 30, "{} {}", bytes(11), bytes(1));
}
