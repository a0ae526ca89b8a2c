//! Columns of whole numbers → bytes, and back.
//!
//! A chunk is a few columns. Of each, what is foreseen from the rows before and from other columns
//! costs nothing ([`column`]); the rest is coded by how often it came before ([`entropy`]). A
//! CRC32C guards what is stored. Arithmetic wraps, so every i64 comes back as it went in.
//!
//! Stored: the format's byte; as varints the rows, columns and instances (each 16 bytes follow); a
//! bit for each column, whether it is all zeros; as varints how long the two next parts are; what
//! foresees each other column; bits; symbols; CRC32C.

mod alphabet;
mod column;
mod entropy;
mod first;
mod foresee;
mod number;

use self::{
    entropy::{Reader, Writer},
    number::{put_bits, put_varint, take_bits, take_byte, take_count, take_instances},
};

/// Rows of one chunk. A server at one sample a second has 3,600 in its hour; the rest is room for
/// several lives of its agent. More than that is somebody's flood.
pub(super) const ROWS_MAX: usize = 16 * 1024;

/// Columns of one chunk: the widest tier's, with room.
const COLUMNS_MAX: usize = 128;

/// Cells of one chunk: what a few bytes that are not ours can make a reader hold, 8 MiB.
const CELLS_MAX: usize = ROWS_MAX * 32;

/// Cells of a column that is kept to be used again: a server's usual hour.
const SPARE_CELLS_MAX: usize = 1024;

/// Cells of one column.
pub(super) type Column = Vec<Option<i64>>;

/// What a column resembles, for those that resemble another.
pub(super) type Hint = fn(usize) -> Option<Like>;

/// What a column resembles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Like {
    /// The column whose changes are like this one's.
    pub(super) column: usize,
    /// The one by which goes how far the two are apart.
    pub(super) key: Option<usize>,
}

/// How a chunk is told, and which columns its tier gave it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Format {
    /// Until November 2026: read, never written.
    First,
    /// Until the end of November 2026: read, never written.
    Second,
    /// Now.
    #[default]
    Third,
}

/// What a chunk holds, before it means anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Chunk {
    /// How it was told.
    pub(super) format: Format,
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
    #[error("format {0} is unknown: a newer program wrote it")]
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
    #[error("it is coded as no chunk is")]
    Coding,
}

/// Writes chunks, and reads those of every format.
pub(super) struct Codec {
    expand: zstd::bulk::Decompressor<'static>,
    /// Columns to be used again: a new one each time is a third of the work of reading.
    spare: Vec<Column>,
}

// === impl Like ===

impl Like {
    /// The column that changes as this one, and nothing else.
    pub(super) const fn column(column: usize) -> Self {
        Self { column, key: None }
    }

    /// Whether what it needs is told before the column at `place`.
    fn is_before(self, place: usize) -> bool {
        self.column < place && self.key.is_none_or(|key| key < place)
    }
}

// === impl Format ===

impl Format {
    const fn byte(self) -> u8 {
        match self {
            Self::First => 1,
            Self::Second => 2,
            Self::Third => 3,
        }
    }
}

// === impl Codec ===

impl Codec {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self {
            expand: zstd::bulk::Decompressor::new()?,
            spare: Vec::new(),
        })
    }

    /// The bytes to be stored, in the format of now.
    pub(super) fn encode(&self, chunk: &Chunk, hint: Hint) -> Vec<u8> {
        let mut stored = vec![Format::Third.byte()];
        put_varint(&mut stored, chunk.rows as u64);
        put_varint(&mut stored, chunk.columns.len() as u64);
        put_varint(&mut stored, chunk.instances.len() as u64);
        for instance in &chunk.instances {
            stored.extend_from_slice(instance);
        }
        let nothing: Vec<bool> = chunk.columns.iter().map(column::is_nothing).collect();
        put_bits(&mut stored, &nothing);
        let mut head = Vec::new();
        let mut rest = Writer::default();
        let mut stir = vec![0; chunk.rows];
        for place in (0..chunk.columns.len()).filter(|place| !nothing[*place]) {
            column::put(
                &mut head,
                &mut rest,
                &mut stir,
                &chunk.columns,
                place,
                hint(place),
            );
        }
        let mut coded = Vec::new();
        let bits = rest.finish(&mut coded);
        put_varint(&mut stored, head.len() as u64);
        put_varint(&mut stored, bits as u64);
        stored.extend_from_slice(&head);
        stored.extend_from_slice(&coded);
        let crc = crc32c::crc32c(&stored);
        stored.extend_from_slice(&crc.to_le_bytes());
        stored
    }

    /// What [`Self::encode`] was given.
    pub(super) fn decode(&mut self, stored: &[u8]) -> Result<Chunk, ChunkError> {
        self.decode_first(stored, COLUMNS_MAX)
    }

    /// The same with the cells of the first `columns` at least; the others may have none.
    pub(super) fn decode_first(
        &mut self,
        stored: &[u8],
        columns: usize,
    ) -> Result<Chunk, ChunkError> {
        let (mut body, crc) = stored.split_last_chunk::<4>().ok_or(ChunkError::Short)?;
        if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
            return Err(ChunkError::Checksum);
        }
        match take_byte(&mut body)? {
            byte if byte == Format::First.byte() => first::decode(&mut self.expand, body),
            byte if byte == Format::Second.byte() => {
                decode_columns(body, Format::Second, &mut self.spare, columns)
            }
            byte if byte == Format::Third.byte() => {
                decode_columns(body, Format::Third, &mut self.spare, columns)
            }
            byte => Err(ChunkError::Format(byte)),
        }
    }

    /// Takes back what is no longer needed.
    pub(super) fn recycle(&mut self, chunk: Chunk) {
        let usual = |column: &Column| (1..=SPARE_CELLS_MAX).contains(&column.capacity());
        let room = COLUMNS_MAX.saturating_sub(self.spare.len());
        let columns = chunk.columns.into_iter().filter(usual).take(room);
        self.spare.extend(columns.map(|mut column| {
            column.clear();
            column
        }));
    }
}

/// Reads what follows the byte of the second or third format; in the second no column is without a
/// head.
fn decode_columns(
    mut from: &[u8],
    format: Format,
    spare: &mut Vec<Column>,
    wanted: usize,
) -> Result<Chunk, ChunkError> {
    let from = &mut from;
    let rows = take_count(from, ROWS_MAX)?;
    let columns = take_count(from, COLUMNS_MAX)?;
    if rows * columns > CELLS_MAX {
        return Err(ChunkError::TooLarge);
    }
    let instances = take_instances(from, ROWS_MAX)?;
    let nothing = match format {
        Format::First | Format::Second => vec![false; columns],
        Format::Third => take_bits(from, columns)?,
    };
    let head_bytes = take_count(from, usize::MAX)?;
    let bits_bytes = take_count(from, usize::MAX)?;
    let (mut head, coded) = from.split_at_checked(head_bytes).ok_or(ChunkError::Short)?;
    let (bits, symbols) = coded
        .split_at_checked(bits_bytes)
        .ok_or(ChunkError::Short)?;
    let mut rest = Reader::new(bits, symbols)?;
    let mut stir = vec![0; rows];
    let mut chunk = Chunk {
        format,
        instances,
        rows,
        columns: Vec::with_capacity(columns),
    };
    for nothing in nothing.into_iter().take(wanted) {
        let mut cells = spare.pop().unwrap_or_default();
        if nothing {
            cells.resize(rows, Some(0));
            chunk.columns.push(cells);
            continue;
        }
        let column = column::take(cells, &mut head, &mut rest, &mut stir, &chunk.columns, rows)?;
        chunk.columns.push(column);
    }
    if wanted < columns {
        // A column is told after those before it. What follows is not looked at, and the checksum
        // was right.
        chunk.columns.resize_with(columns, Column::new);
        return Ok(chunk);
    }
    if !head.is_empty() {
        return Err(ChunkError::Trailing);
    }
    rest.finish()?;
    Ok(chunk)
}

#[cfg(test)]
mod tests;
