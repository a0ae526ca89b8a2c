//! Samples that follow each other, the first of them told whole.

use hubmeter_proto::{
    delta::{BATCH_HEAD_BYTES_MAX, Encoder},
    v1,
};

/// What a block costs besides its bytes: itself, and the heap's share of its three parts.
const BLOCK_COST_BYTES: usize = size_of::<Block>() + 3 * 16;

/// Bytes of a message around a batch: its kind and length.
const MESSAGE_HEAD_BYTES_MAX: usize = 1 + 5;

/// A part of the spool.
#[derive(Debug)]
pub(super) struct Block {
    first_seq: u64,
    /// The first sample, told whole.
    whole: Vec<u8>,
    /// All samples, each as its difference to the one before.
    samples: Vec<u8>,
    /// Where each of them ends.
    ends: Vec<u32>,
    closed: bool,
}

// === impl Block ===

impl Block {
    /// An empty one, with room to be full at `full` bytes.
    pub(super) fn new(full: usize) -> Self {
        Self {
            first_seq: 0,
            whole: Vec::new(),
            // Of a quiet server the ends take more.
            samples: Vec::with_capacity(full * 3 / 4),
            ends: Vec::with_capacity(full / 16),
            closed: false,
        }
    }

    /// Begins with `sample`, in place of what was in it.
    pub(super) fn begin(&mut self, first_seq: u64, sample: &v1::Sample, encoder: &mut Encoder) {
        self.first_seq = first_seq;
        self.closed = false;
        self.whole.clear();
        self.samples.clear();
        self.ends.clear();
        encoder.begin(sample, &mut self.whole, &mut self.samples);
        self.ends.push(length(&self.samples));
    }

    /// Goes on with `sample`.
    pub(super) fn push(&mut self, sample: &v1::Sample, encoder: &mut Encoder) {
        encoder.encode(sample, &mut self.samples);
        self.ends.push(length(&self.samples));
    }

    /// Whether it takes more; it is full at `full` bytes.
    pub(super) fn is_open(&self, full: usize) -> bool {
        let ends = self.ends.len() * size_of::<u32>();
        !self.closed && self.whole.len() + self.samples.len() + ends < full
    }

    /// It takes no more.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    /// Gives back the room that it will not need.
    pub(super) fn shrink(&mut self) {
        self.whole.shrink_to_fit();
        self.samples.shrink_to_fit();
        self.ends.shrink_to_fit();
    }

    pub(super) fn first_seq(&self) -> u64 {
        self.first_seq
    }

    /// The number of the report after its last.
    pub(super) fn next_seq(&self) -> u64 {
        self.first_seq + self.ends.len() as u64
    }

    pub(super) fn cost(&self) -> usize {
        let ends = self.ends.capacity() * size_of::<u32>();
        BLOCK_COST_BYTES + self.whole.capacity() + self.samples.capacity() + ends
    }

    /// Reports from `first_seq` on, and how many, as many as fit; the first of the block whole if
    /// that is asked for: then it comes apart. `None` when not even one fits.
    pub(super) fn slices(
        &self,
        first_seq: u64,
        whole: bool,
        count_max: u64,
        bytes_max: usize,
    ) -> Option<([&[u8]; 2], u64)> {
        let at = usize::try_from(first_seq.checked_sub(self.first_seq)?).ok()?;
        let begins = match at.checked_sub(1) {
            Some(before) => *self.ends.get(before)?,
            None => 0,
        };
        let (head, begins) = match whole && at == 0 {
            true => (&*self.whole, *self.ends.first()?),
            false => (&[][..], begins),
        };
        let head_max = head.len() + BATCH_HEAD_BYTES_MAX + MESSAGE_HEAD_BYTES_MAX;
        let room = bytes_max.checked_sub(head_max)?;
        let fits = |end: &&u32| usize::try_from(**end - begins).is_ok_and(|bytes| bytes <= room);
        let count_max = usize::try_from(count_max).ok()?;
        let ends = self.ends.get(at..)?.iter().take(count_max);
        let ends = ends.take_while(fits);
        let count = ends.clone().count();
        let end = usize::try_from(*ends.last()?).ok()?;
        let tail = self.samples.get(usize::try_from(begins).ok()?..end)?;
        Some(([head, tail], count as u64))
    }
}

/// Blocks are full long before four gigabytes.
fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}
