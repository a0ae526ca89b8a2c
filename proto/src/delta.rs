//! The samples of protocol 2: each is told as its difference to the one before.
//!
//! `docs/PROTOCOL.md` has the format byte by byte. Both ends keep the sample before and expect the
//! next to be like it, with time gone by, sums of workloads being sums, and what computes going on
//! computing (`chain`). Only what is otherwise is told, so what does not change costs nothing, and
//! a sample in which all is as expected is one byte.
//!
//! Encoder and decoder are pure and total: they meet in [`v1::Sample`], which they give back as it
//! was, but for its wall clock (nobody reads it) and the order of its workloads.
//!
//! [`v1::Sample`]: crate::v1::Sample

mod chain;
mod columns;
mod decode;
mod encode;
mod number;
#[cfg(test)]
mod tests;

pub use self::{decode::Decoder, encode::Encoder};

/// In a sample's first byte: it was taken between base-interval samples.
const BURST: u8 = 1 << 0;
/// Its time is not as expected.
const TIME: u8 = 1 << 1;
/// Workloads came or went.
const ROSTER: u8 = 1 << 2;
/// Numbers of workloads follow.
const WORKLOADS: u8 = 1 << 3;
/// Numbers of the server follow.
const SERVER: u8 = 1 << 4;
/// Numbers of its vitals follow.
const VITALS: u8 = 1 << 5;
/// Workloads ended.
const ENDED: u8 = 1 << 6;
/// What lies before is not expected to go on.
const KNOT: u8 = 1 << 7;

/// In a batch's first byte: its first sample is told whole.
const WHOLE: u8 = 1 << 0;

/// Bytes before the samples of a batch: what it is, and a number.
pub const BATCH_HEAD_BYTES_MAX: usize = 11;

/// Samples that follow each other, as they go over the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch<'a> {
    /// Whether the first sample is told whole, not as a difference.
    pub whole: bool,
    /// Number of the first sample.
    pub first_seq: u64,
    rest: &'a [u8],
}

/// Which field is wrong, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} {why}")]
pub struct DeltaError {
    /// Its path.
    pub field: &'static str,
    /// What is wrong with it.
    pub why: &'static str,
}

// === impl Batch ===

impl<'a> Batch<'a> {
    /// Bytes of what comes before samples, the first of which has this number.
    #[must_use]
    pub fn head_bytes(first_seq: u64) -> usize {
        1 + number::length(first_seq)
    }

    /// What comes before samples as the [`Encoder`] wrote them, from the one numbered `first_seq` on.
    pub fn write_head(whole: bool, first_seq: u64, out: &mut Vec<u8>) {
        out.push(if whole { WHOLE } else { 0 });
        number::put(first_seq.into(), out);
    }

    /// `samples` with that before them.
    #[must_use]
    pub fn write(whole: bool, first_seq: u64, samples: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::head_bytes(first_seq) + samples.len());
        Self::write_head(whole, first_seq, &mut out);
        out.extend_from_slice(samples);
        out
    }

    /// Takes the head off.
    ///
    /// # Errors
    /// Which field of it is wrong.
    pub fn read(mut bytes: &'a [u8]) -> Result<Self, DeltaError> {
        let Some((head, rest)) = bytes.split_first() else {
            return Err(DeltaError::new("batch", "is empty"));
        };
        bytes = rest;
        if head & !WHOLE != 0 {
            return Err(DeltaError::new("batch", "is of a kind that is not known"));
        }
        let first_seq = number::take_u64(&mut bytes, "batch.first_seq")?;
        if bytes.is_empty() {
            return Err(DeltaError::new("batch.samples", "are none"));
        }
        Ok(Self {
            whole: head & WHOLE != 0,
            first_seq,
            rest: bytes,
        })
    }
}

// === impl DeltaError ===

impl DeltaError {
    const fn new(field: &'static str, why: &'static str) -> Self {
        Self { field, why }
    }
}
