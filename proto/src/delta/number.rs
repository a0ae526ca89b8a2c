//! Whole numbers as bytes: seven bits in each, the lowest first; differences so that small ones of
//! either sign are short.

use super::DeltaError;

/// Bits of a number in each byte.
const BITS: u32 = 7;

/// Set where more bytes follow.
const MORE: u8 = 1 << BITS;

/// Bytes of one number: 64 bits, a sign's worth of unit and one more for "unknown" fit into 70.
const BYTES_MAX: u32 = 10;

/// What a difference of bytes usually is a multiple of: memory comes in pages.
const PAGE_BYTES: i64 = 4096;

/// What it is else: the kernel tells proportional shares in these.
const KIB_BYTES: i64 = 1024;

/// What the differences of a column are counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// Ones.
    One,
    /// Pages if they can be, else KiB if they can be, else bytes.
    Bytes,
}

// === impl Unit ===

impl Unit {
    /// A difference as one number: 66 bits at most.
    pub(super) fn fold(self, difference: u64) -> u128 {
        let signed = difference.cast_signed();
        match self {
            Self::One => u128::from(zigzag(signed)),
            Self::Bytes if signed % PAGE_BYTES == 0 => u128::from(zigzag(signed / PAGE_BYTES)) << 1,
            Self::Bytes if signed % KIB_BYTES == 0 => {
                u128::from(zigzag(signed / KIB_BYTES)) << 2 | 0b01
            }
            Self::Bytes => u128::from(zigzag(signed)) << 2 | 0b11,
        }
    }

    /// The difference that such a number tells; `None` when it tells none.
    pub(super) fn unfold(self, folded: u128) -> Option<u64> {
        let (folded, multiple) = match (self, folded & 0b11) {
            (Self::One, _) => (folded, 1),
            (Self::Bytes, 0b01) => (folded >> 2, KIB_BYTES),
            (Self::Bytes, 0b11) => (folded >> 2, 1),
            (Self::Bytes, _) => (folded >> 1, PAGE_BYTES),
        };
        let difference = unzigzag(u64::try_from(folded).ok()?);
        Some(difference.wrapping_mul(multiple).cast_unsigned())
    }
}

/// Bytes of a number of 64 bits.
pub(super) fn length(number: u64) -> usize {
    let bits = u64::BITS - (number | 1).leading_zeros();
    bits.div_ceil(BITS) as usize
}

/// Appends a number.
pub(super) fn put(mut number: u128, out: &mut Vec<u8>) {
    while number >= u128::from(MORE) {
        out.push(number.to_le_bytes()[0] | MORE);
        number >>= BITS;
    }
    out.push(number.to_le_bytes()[0]);
}

/// Takes a number off the front.
pub(super) fn take(bytes: &mut &[u8], field: &'static str) -> Result<u128, DeltaError> {
    let mut number = 0;
    for at in 0..BYTES_MAX {
        let Some((byte, rest)) = bytes.split_first() else {
            return Err(DeltaError::new(field, "is cut off"));
        };
        *bytes = rest;
        number |= u128::from(byte & !MORE) << (at * BITS);
        if *byte < MORE {
            return Ok(number);
        }
    }
    Err(DeltaError::new(field, "is longer than any number"))
}

/// Takes a number of at most 64 bits off the front.
pub(super) fn take_u64(bytes: &mut &[u8], field: &'static str) -> Result<u64, DeltaError> {
    u64::try_from(take(bytes, field)?).map_err(|_| DeltaError::new(field, "is over 64 bits"))
}

/// Takes a number of at most 32 bits off the front.
pub(super) fn take_u32(bytes: &mut &[u8], field: &'static str) -> Result<u32, DeltaError> {
    u32::try_from(take(bytes, field)?).map_err(|_| DeltaError::new(field, "is over 32 bits"))
}

/// Appends a text with its length before it.
pub(super) fn put_text(text: &str, out: &mut Vec<u8>) {
    put(text.len() as u128, out);
    out.extend_from_slice(text.as_bytes());
}

/// Takes a text of at most `bytes_max` off the front.
pub(super) fn take_text(
    bytes: &mut &[u8],
    bytes_max: usize,
    field: &'static str,
) -> Result<String, DeltaError> {
    let length = take(bytes, field)?;
    take_text_of(bytes, length, bytes_max, field)
}

/// The same of a length that was read already.
pub(super) fn take_text_of(
    bytes: &mut &[u8],
    length: u128,
    bytes_max: usize,
    field: &'static str,
) -> Result<String, DeltaError> {
    let length = usize::try_from(length)
        .ok()
        .filter(|length| *length <= bytes_max)
        .ok_or(DeltaError::new(field, "is too long"))?;
    let Some((text, rest)) = bytes.split_at_checked(length) else {
        return Err(DeltaError::new(field, "is cut off"));
    };
    *bytes = rest;
    let text = std::str::from_utf8(text).map_err(|_| DeltaError::new(field, "is not UTF-8"))?;
    Ok(text.to_owned())
}

/// 0, −1, 1, −2 … as 0, 1, 2, 3 …
pub(super) fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

/// The way back.
pub(super) fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}
