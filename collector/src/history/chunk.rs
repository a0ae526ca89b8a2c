//! Columns of whole numbers → bytes, and back.
//!
//! A column is its mask of known cells as run lengths, then how many low bits are zero in all of
//! them (memory comes in pages), then the known cells without those as differences, each zigzagged
//! into a varint; a difference of zero is followed by how many there are in a row. A
//! chunk is a few columns, squeezed by zstd and guarded by a CRC32C over what is stored. Arithmetic
//! wraps, so every i64 comes back as it went in.

/// Rows of one chunk. A server at one sample a second has 600 in its ten minutes; the rest is room
/// for several lives of its agent. More than that is somebody's flood.
pub(super) const ROWS_MAX: usize = 4096;

/// Columns of one chunk: the widest tier's, with room.
const COLUMNS_MAX: usize = 128;

/// Bytes before squeezing: every cell at its longest varint with its mask, and the head.
const PLAIN_BYTES_MAX: usize = ROWS_MAX * COLUMNS_MAX * 16;

/// Effort of zstd: measured on chunks of a kilobyte, higher levels gain nothing.
const ZSTD_LEVEL: i32 = 3;

/// First byte of a stored chunk.
const FORMAT: u8 = 1;

/// Cells of one column.
pub(super) type Column = Vec<Option<i64>>;

/// What a chunk holds, before it means anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Chunk {
    /// Lives of agents that rows refer to by position.
    pub(super) instances: Vec<[u8; 16]>,
    /// Number of rows; every column has as many cells.
    pub(super) rows: usize,
    /// The columns.
    pub(super) columns: Vec<Column>,
}

/// Why a stored chunk could not be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ChunkError {
    #[error("the checksum does not match")]
    Checksum,
    #[error("format {0} is unknown")]
    Format(u8),
    #[error("it ends early")]
    Short,
    #[error("a number is longer than 64 bits")]
    Varint,
    #[error("it claims more than a chunk may hold")]
    TooLarge,
    #[error("something follows its end")]
    Trailing,
    #[error("zstd cannot expand it")]
    Squeezed,
}

/// Squeezes and unsqueezes, keeping zstd's tables between chunks.
pub(super) struct Codec {
    squeeze: zstd::bulk::Compressor<'static>,
    expand: zstd::bulk::Decompressor<'static>,
}

// === impl Codec ===

impl Codec {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self {
            squeeze: zstd::bulk::Compressor::new(ZSTD_LEVEL)?,
            expand: zstd::bulk::Decompressor::new()?,
        })
    }

    /// The bytes to be stored.
    pub(super) fn encode(&mut self, chunk: &Chunk) -> std::io::Result<Vec<u8>> {
        let mut plain = Vec::with_capacity(chunk.rows * chunk.columns.len() + 64);
        put_varint(&mut plain, chunk.instances.len() as u64);
        for instance in &chunk.instances {
            plain.extend_from_slice(instance);
        }
        put_varint(&mut plain, chunk.rows as u64);
        put_varint(&mut plain, chunk.columns.len() as u64);
        for column in &chunk.columns {
            put_column(&mut plain, column);
        }
        let mut stored = vec![FORMAT];
        stored.extend(self.squeeze.compress(&plain)?);
        let crc = crc32c::crc32c(&stored);
        stored.extend_from_slice(&crc.to_le_bytes());
        Ok(stored)
    }

    /// What [`Self::encode`] was given.
    pub(super) fn decode(&mut self, stored: &[u8]) -> Result<Chunk, ChunkError> {
        self.decode_some(stored, |_| true)
    }

    /// The same, but columns that are not `wanted` come back without cells.
    pub(super) fn decode_some(
        &mut self,
        stored: &[u8],
        wanted: impl Fn(usize) -> bool,
    ) -> Result<Chunk, ChunkError> {
        let (body, crc) = stored.split_last_chunk::<4>().ok_or(ChunkError::Short)?;
        if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
            return Err(ChunkError::Checksum);
        }
        let (format, squeezed) = body.split_first().ok_or(ChunkError::Short)?;
        if *format != FORMAT {
            return Err(ChunkError::Format(*format));
        }
        // Our own frames say how long they become; the bound is for a file that is not ours.
        let bytes = zstd::zstd_safe::get_frame_content_size(squeezed)
            .ok()
            .flatten()
            .and_then(|bytes| usize::try_from(bytes).ok())
            .ok_or(ChunkError::Squeezed)?;
        if bytes > PLAIN_BYTES_MAX {
            return Err(ChunkError::TooLarge);
        }
        let plain = self
            .expand
            .decompress(squeezed, bytes)
            .map_err(|_| ChunkError::Squeezed)?;
        decode_plain(&plain, wanted)
    }
}

fn decode_plain(mut from: &[u8], wanted: impl Fn(usize) -> bool) -> Result<Chunk, ChunkError> {
    let from = &mut from;
    let instances = take_count(from, ROWS_MAX)?;
    let mut chunk = Chunk::default();
    for _ in 0..instances {
        let (instance, rest) = from.split_first_chunk::<16>().ok_or(ChunkError::Short)?;
        chunk.instances.push(*instance);
        *from = rest;
    }
    chunk.rows = take_count(from, ROWS_MAX)?;
    for column in 0..take_count(from, COLUMNS_MAX)? {
        chunk.columns.push(if wanted(column) {
            take_column(from, chunk.rows)?
        } else {
            skip_column(from, chunk.rows)?;
            Column::new()
        });
    }
    if from.is_empty() {
        Ok(chunk)
    } else {
        Err(ChunkError::Trailing)
    }
}

// === columns ===

fn put_column(to: &mut Vec<u8>, cells: &[Option<i64>]) {
    // The mask: lengths of known, unknown, known, … runs, up to the last cell.
    let mut at = 0;
    let mut known = true;
    while at < cells.len() {
        let run = cells[at..]
            .iter()
            .take_while(|cell| cell.is_some() == known)
            .count();
        put_varint(to, run as u64);
        at += run;
        known = !known;
    }
    let bits = cells.iter().flatten().fold(0, |bits, cell| bits | cell);
    let shift = if bits == 0 { 0 } else { bits.trailing_zeros() };
    to.push(shift as u8); // below 64
    let mut previous = 0_i64;
    let mut zeros = 0_u64;
    for cell in cells.iter().flatten().map(|cell| cell >> shift) {
        let difference = cell.wrapping_sub(previous);
        previous = cell;
        if difference == 0 {
            zeros += 1;
            continue;
        }
        put_zeros(to, &mut zeros);
        put_varint(to, zigzag(difference));
    }
    put_zeros(to, &mut zeros);
}

fn put_zeros(to: &mut Vec<u8>, zeros: &mut u64) {
    if *zeros > 0 {
        to.push(0);
        put_varint(to, *zeros);
        *zeros = 0;
    }
}

fn take_column(from: &mut &[u8], rows: usize) -> Result<Column, ChunkError> {
    let mut known = Vec::with_capacity(rows);
    let mut present = true;
    while known.len() < rows {
        let run = take_count(from, rows - known.len())?;
        if run == 0 && !known.is_empty() {
            return Err(ChunkError::Short); // only the first run may be empty
        }
        known.resize(known.len() + run, present);
        present = !present;
    }
    let (shift, rest) = from.split_first().ok_or(ChunkError::Short)?;
    let shift = u32::from(*shift);
    if shift >= i64::BITS {
        return Err(ChunkError::TooLarge);
    }
    *from = rest;
    let mut previous = 0_i64;
    let mut zeros = 0_usize;
    let mut cells = Vec::with_capacity(rows);
    for known in known {
        if !known {
            cells.push(None);
            continue;
        }
        if zeros > 0 {
            zeros -= 1;
        } else {
            match take_varint(from)? {
                0 => {
                    zeros = take_count(from, rows)?
                        .checked_sub(1)
                        .ok_or(ChunkError::Short)?;
                }
                other => previous = previous.wrapping_add(unzigzag(other)),
            }
        }
        cells.push(Some(previous << shift));
    }
    if zeros > 0 {
        return Err(ChunkError::Trailing);
    }
    Ok(cells)
}

/// Goes past what [`take_column`] would read.
fn skip_column(from: &mut &[u8], rows: usize) -> Result<(), ChunkError> {
    let (mut seen, mut known, mut present) = (0, 0, true);
    while seen < rows {
        let run = take_count(from, rows - seen)?;
        if run == 0 && seen > 0 {
            return Err(ChunkError::Short);
        }
        seen += run;
        known += if present { run } else { 0 };
        present = !present;
    }
    let (_shift, rest) = from.split_first().ok_or(ChunkError::Short)?;
    *from = rest;
    while known > 0 {
        known -= match take_varint(from)? {
            0 => take_count(from, known)?.max(1),
            _ => 1,
        };
    }
    Ok(())
}

// === numbers ===

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn unzigzag(value: u64) -> i64 {
    ((value >> 1) as i64) ^ -((value & 1) as i64)
}

fn put_varint(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

fn take_varint(from: &mut &[u8]) -> Result<u64, ChunkError> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = from.split_first().ok_or(ChunkError::Short)?;
        *from = rest;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return Err(ChunkError::Varint);
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(ChunkError::Varint)
}

fn take_count(from: &mut &[u8], max: usize) -> Result<usize, ChunkError> {
    usize::try_from(take_varint(from)?)
        .ok()
        .filter(|count| *count <= max)
        .ok_or(ChunkError::TooLarge)
}

#[cfg(test)]
mod tests {
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

    fn chunk() -> impl Strategy<Value = Chunk> {
        (0..80_usize, 0..6_usize, 0..3_usize).prop_flat_map(|(rows, columns, instances)| {
            (
                prop::collection::vec(any::<[u8; 16]>(), instances),
                prop::collection::vec(prop::collection::vec(cell(), rows), columns),
            )
                .prop_map(move |(instances, columns)| Chunk {
                    instances,
                    rows,
                    columns,
                })
        })
    }

    proptest! {
        #[test]
        fn every_chunk_reads_back_as_written(chunk in chunk()) {
            let mut codec = Codec::new().unwrap();
            let stored = codec.encode(&chunk).unwrap();
            prop_assert_eq!(codec.decode(&stored), Ok(chunk));
        }

        #[test]
        fn columns_nobody_wants_come_without_cells_and_the_others_whole(
            chunk in chunk(),
            wanted in any::<u8>(),
        ) {
            let mut codec = Codec::new().unwrap();
            let stored = codec.encode(&chunk).unwrap();
            let wanted = |column: usize| wanted >> column & 1 == 1;
            let mut some = chunk;
            for (at, column) in some.columns.iter_mut().enumerate() {
                if !wanted(at) {
                    column.clear();
                }
            }
            prop_assert_eq!(codec.decode_some(&stored, wanted), Ok(some));
        }

        #[test]
        fn any_bytes_are_read_or_refused_without_a_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let _ = decode_plain(&bytes, |_| true);
            let _ = decode_plain(&bytes, |_| false);
            let mut codec = Codec::new().unwrap();
            prop_assert!(codec.decode(&bytes).is_err());
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let mut codec = Codec::new().unwrap();
        let stored = codec
            .encode(&Chunk {
                instances: vec![[3; 16]],
                rows: 3,
                columns: vec![vec![Some(5), None, Some(i64::MIN)]],
            })
            .unwrap();
        for bit in 0..stored.len() * 8 {
            let mut damaged = stored.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(codec.decode(&damaged), Err(ChunkError::Checksum), "{bit}");
        }
    }

    #[test]
    fn a_steady_column_costs_next_to_nothing() {
        let mut bytes = Vec::new();
        put_column(&mut bytes, &[Some(4096); 120]);
        assert!(bytes.len() <= 7, "{}", bytes.len());
    }
}
