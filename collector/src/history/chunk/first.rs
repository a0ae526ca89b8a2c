//! The first format: varints of differences, squeezed by zstd. Files of that time are read for as
//! long as they are kept.

use super::{
    Chunk, ChunkError, Column, Format,
    number::{take_byte, take_count, take_instances, take_mask, take_varint, unzigzag},
};

/// Columns and rows of one chunk, and so the bytes before squeezing: every cell at its longest
/// varint with its mask, and the head.
const COLUMNS_MAX: usize = 128;
const ROWS_MAX: usize = 4096;
const PLAIN_BYTES_MAX: usize = ROWS_MAX * COLUMNS_MAX * 16;

/// What follows the format's byte, without the checksum.
pub(super) fn decode(
    expand: &mut zstd::bulk::Decompressor<'static>,
    squeezed: &[u8],
) -> Result<Chunk, ChunkError> {
    // Our own frames say how long they become; the bound is for a file that is not ours.
    let bytes = zstd::zstd_safe::get_frame_content_size(squeezed)
        .ok()
        .flatten()
        .and_then(|bytes| usize::try_from(bytes).ok())
        .ok_or(ChunkError::Squeezed)?;
    if bytes > PLAIN_BYTES_MAX {
        return Err(ChunkError::TooLarge);
    }
    let plain = expand
        .decompress(squeezed, bytes)
        .map_err(|_| ChunkError::Squeezed)?;
    decode_plain(&plain)
}

pub(super) fn decode_plain(mut from: &[u8]) -> Result<Chunk, ChunkError> {
    let from = &mut from;
    let instances = take_instances(from, ROWS_MAX)?;
    let rows = take_count(from, ROWS_MAX)?;
    let columns = take_count(from, COLUMNS_MAX)?;
    let columns = (0..columns)
        .map(|_| take_column(from, rows))
        .collect::<Result<_, _>>()?;
    match from.is_empty() {
        true => Ok(Chunk {
            format: Format::First,
            instances,
            rows,
            columns,
        }),
        false => Err(ChunkError::Trailing),
    }
}

/// Runs of known cells, how many low bits are zero in all of them, then the differences without
/// those, zigzagged; one of zero is followed by how many there are in a row.
fn take_column(from: &mut &[u8], rows: usize) -> Result<Column, ChunkError> {
    let known = take_mask(from, rows)?;
    let shift = u32::from(take_byte(from)?);
    if shift >= i64::BITS {
        return Err(ChunkError::TooLarge);
    }
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
