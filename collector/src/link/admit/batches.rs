//! Samples that were told as differences: told whole again, each as the report it is.

use bytes::Bytes;
use hubmeter_proto::{
    delta::{Batch, Decoder, DeltaError},
    limits as wire, v1,
};
use prost::Message as _;

use super::{ClockOffset, Incoming, Refusal, read_samples};

/// What a stream's batches are read by. Remembers the sample before: some two kilobytes.
#[derive(Debug, Default)]
pub struct Batches(Decoder);

/// One report of a batch.
#[derive(Debug)]
pub struct Unfolded {
    /// Its number.
    pub seq: u64,
    /// A message of protocol 1 that says it whole: it can be read without the ones before.
    pub message: Bytes,
    /// What it means.
    pub incoming: Incoming,
}

// === impl Batches ===

impl Batches {
    /// Reports were left out: what follows must begin whole.
    pub fn interrupt(&mut self) {
        self.0.interrupt();
    }

    /// Reads one and hands on each report from `from_seq` on. Gives the number of its last, known
    /// or new.
    ///
    /// # Errors
    /// What is wrong with it, or what `each` says.
    pub fn read<E: From<Refusal>>(
        &mut self,
        batch: &Bytes,
        from_seq: u64,
        (arrived_ms, mut clock): (i64, ClockOffset),
        mut each: impl FnMut(Unfolded) -> Result<(), E>,
    ) -> Result<u64, E> {
        let mut batch = Batch::read(batch).map_err(Refusal::from)?;
        super::seq("batch.first_seq", batch.first_seq)?;
        if batch.first_seq > from_seq {
            return Err(super::out("batch.first_seq", "leaves reports out").into());
        }
        self.0.begin(&batch).map_err(Refusal::from)?;
        let mut through_seq = batch.first_seq;
        while let Some((seq, sample)) = self.0.next(&mut batch).map_err(Refusal::from)? {
            through_seq = seq;
            if seq >= from_seq {
                let report = unfold(seq, sample, arrived_ms, clock)?;
                clock = clock.heard(&report.incoming, arrived_ms);
                each(report)?;
            }
        }
        Ok(through_seq)
    }

    /// About how many bytes it holds.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.bytes()
    }
}

fn unfold(
    seq: u64,
    sample: v1::Sample,
    arrived_ms: i64,
    clock: ClockOffset,
) -> Result<Unfolded, Refusal> {
    super::number("batch.seq", seq)?;
    let samples = vec![sample];
    let read = read_samples(&samples, arrived_ms, clock)?;
    let report = v1::Report { seq, samples };
    let up = v1::Up {
        body: Some(v1::up::Body::Report(report)),
    };
    let message = up.encode_to_vec();
    if message.len() > wire::MESSAGE_BYTES_MAX {
        return Err(Refusal::TooLarge(message.len()));
    }
    Ok(Unfolded {
        seq,
        message: message.into(),
        incoming: Incoming::Report { seq, samples: read },
    })
}

// === impl Refusal ===

impl From<DeltaError> for Refusal {
    fn from(error: DeltaError) -> Self {
        Self::OutOfBounds {
            field: error.field.to_owned(),
            why: error.why,
        }
    }
}

#[cfg(test)]
mod tests;
