//! Whole numbers as bytes: varints and zigzag.

use super::ChunkError;

pub(super) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

pub(super) fn unzigzag(value: u64) -> i64 {
    ((value >> 1) as i64) ^ -((value & 1) as i64)
}

pub(super) fn put_varint(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

pub(super) fn put_signed(to: &mut Vec<u8>, value: i64) {
    put_varint(to, zigzag(value));
}

pub(super) fn take_byte(from: &mut &[u8]) -> Result<u8, ChunkError> {
    let (byte, rest) = from.split_first().ok_or(ChunkError::Short)?;
    *from = rest;
    Ok(*byte)
}

pub(super) fn take_varint(from: &mut &[u8]) -> Result<u64, ChunkError> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = take_byte(from)?;
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

pub(super) fn take_signed(from: &mut &[u8]) -> Result<i64, ChunkError> {
    Ok(unzigzag(take_varint(from)?))
}

pub(super) fn take_count(from: &mut &[u8], max: usize) -> Result<usize, ChunkError> {
    usize::try_from(take_varint(from)?)
        .ok()
        .filter(|count| *count <= max)
        .ok_or(ChunkError::TooLarge)
}

pub(super) fn take_instances(from: &mut &[u8], max: usize) -> Result<Vec<[u8; 16]>, ChunkError> {
    let count = take_count(from, max)?;
    let mut instances = Vec::new();
    for _ in 0..count {
        let (instance, rest) = from.split_first_chunk::<16>().ok_or(ChunkError::Short)?;
        instances.push(*instance);
        *from = rest;
    }
    Ok(instances)
}

/// Eight to a byte, the first the lowest.
pub(super) fn put_bits(to: &mut Vec<u8>, bits: &[bool]) {
    let byte = |bits: &[bool]| {
        let bits = bits.iter().enumerate();
        bits.fold(0, |byte, (at, bit)| byte | u8::from(*bit) << at)
    };
    to.extend(bits.chunks(8).map(byte));
}

pub(super) fn take_bits(from: &mut &[u8], count: usize) -> Result<Vec<bool>, ChunkError> {
    let (bytes, rest) = from
        .split_at_checked(count.div_ceil(8))
        .ok_or(ChunkError::Short)?;
    *from = rest;
    let bits = bytes
        .iter()
        .flat_map(|byte| (0..8).map(move |at| byte >> at & 1 == 1));
    Ok(bits.take(count).collect())
}

// === which cells are known ===

/// `mask` as lengths of known, unknown, known, … runs, up to the last cell.
pub(super) fn put_mask(to: &mut Vec<u8>, mask: &[bool]) {
    let mut at = 0;
    let mut known = true;
    while at < mask.len() {
        let run = mask[at..].iter().take_while(|cell| **cell == known).count();
        put_varint(to, run as u64);
        at += run;
        known = !known;
    }
}

/// What [`put_mask`] wrote of `rows` cells.
pub(super) fn take_mask(from: &mut &[u8], rows: usize) -> Result<Vec<bool>, ChunkError> {
    let mut mask = Vec::with_capacity(rows);
    let mut known = true;
    while mask.len() < rows {
        let run = take_count(from, rows - mask.len())?;
        if run == 0 && !mask.is_empty() {
            return Err(ChunkError::Short); // only the first run may be empty
        }
        mask.resize(mask.len() + run, known);
        known = !known;
    }
    Ok(mask)
}
