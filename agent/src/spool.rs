//! Reports that have no receipt yet, in memory.
//!
//! A report is one sample. They are kept as the wire tells them, each as its difference to the one
//! before, in blocks that begin with a sample told whole: so that a resend begins at any block and
//! an hour takes a few tens of kilobytes. The first sample of a block is kept as a difference, too,
//! so that a stream that goes on passes from block to block without telling anything whole again.
//!
//! Sequence numbers inside are contiguous up to `next_seq`. Blocks leave when receipts cover them or
//! when room is needed; then the oldest goes, and whoever sends next finds the oldest report ahead of
//! its cursor and declares the distance as one gap. So nothing is lost without being declared, and
//! nothing about gaps needs to be stored.

use std::collections::VecDeque;

use hubmeter_proto::{
    delta::{Batch, Decoder, Encoder},
    limits::SAMPLES_PER_REPORT_MAX,
    v1,
};

use self::block::Block;

mod block;

/// Bytes kept at most, blocks' own cost included: more than five hours of an ordinary server at
/// 5 s, and the largest single part of the agent's memory.
pub const SPOOL_BYTES_MAX: usize = 512 * 1024;

/// A block is full from here on: some sixth of it is the sample told whole, and a spool that
/// overflows gives up less than a hundredth of what it has.
const BLOCK_BYTES: usize = 4 * 1024;

/// Blocks at least, however small the spool.
const BLOCKS_MIN: usize = 16;

/// A bounded ring of reports.
#[derive(Debug)]
pub struct Spool {
    encoder: Encoder,
    blocks: VecDeque<Block>,
    /// The last block that left: the next takes its room, so that hours leave no holes in the heap.
    spare: Option<Block>,
    next_seq: u64,
    /// Everything up to here has its receipt.
    through_seq: u64,
    bytes_max: usize,
    dropped: u64,
}

/// What a sender does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// These had to be given up: tell the collector.
    Gap {
        /// First report given up.
        from_seq: u64,
        /// Last report given up.
        through_seq: u64,
    },
    /// Reports are there.
    Reports,
    /// Everything has been sent.
    Nothing,
}

/// Reports as they go over the wire together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Together {
    /// A batch of `hubmeter_proto::delta`.
    pub batch: Vec<u8>,
    /// The number of its first report; before the one asked for where only a whole block helps.
    pub first_seq: u64,
    /// The number of the report after its last.
    pub next_seq: u64,
}

/// Reads reports one by one, for a collector that takes no batches.
#[derive(Debug, Default)]
pub struct Reader {
    decoder: Decoder,
    next_seq: Option<u64>,
}

// === impl Spool ===

impl Spool {
    /// An empty spool of at most `bytes_max` bytes.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self {
            encoder: Encoder::default(),
            blocks: VecDeque::new(),
            spare: None,
            next_seq: 1,
            through_seq: 0,
            bytes_max,
            dropped: 0,
        }
    }

    /// Number of the oldest report without a receipt that is kept; equals [`Self::next_seq`] when
    /// none is.
    #[must_use]
    pub fn first_seq(&self) -> u64 {
        self.kept_from().max(self.through_seq + 1)
    }

    /// Number the next new report gets.
    #[must_use]
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Whether every report has its receipt.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.first_seq() == self.next_seq
    }

    /// Bytes in use.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.blocks.iter().chain(&self.spare).map(Block::cost).sum()
    }

    /// Reports without a receipt given up so far because there was no room.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Keeps `sample` as the report [`Self::next_seq`]. The oldest go if there is no room; one that
    /// is larger than all the room is given up itself.
    pub fn push(&mut self, sample: &v1::Sample) {
        let full = BLOCK_BYTES.min(self.bytes_max / BLOCKS_MIN);
        match self.blocks.back_mut() {
            Some(open) if open.is_open(full) => open.push(sample, &mut self.encoder),
            before => {
                if let Some(before) = before {
                    before.close();
                }
                // An outage: what lies behind the newest stays for long.
                if let Some(at) = self.blocks.len().checked_sub(2)
                    && let Some(behind) = self.blocks.get_mut(at)
                {
                    behind.shrink();
                }
                let mut block = self.spare.take().unwrap_or_else(|| Block::new(full));
                block.begin(self.next_seq, sample, &mut self.encoder);
                self.blocks.push_back(block);
            }
        }
        self.next_seq += 1;
        self.let_go_of_acknowledged();
        if self.bytes() > self.bytes_max {
            self.spare = None;
        }
        while self.bytes() > self.bytes_max
            && let Some(oldest) = self.blocks.pop_front()
        {
            let lost_from = oldest.first_seq().max(self.through_seq + 1);
            self.dropped += oldest.next_seq().saturating_sub(lost_from);
        }
    }

    /// Lets go of everything up to `through_seq`: it is on the collector's disk. More than was
    /// ever there is not believed and changes nothing beyond what is.
    pub fn acknowledge(&mut self, through_seq: u64) {
        self.through_seq = through_seq.min(self.next_seq - 1).max(self.through_seq);
        self.let_go_of_acknowledged();
    }

    /// The newest block stays until it is full: the stream goes on in it.
    fn let_go_of_acknowledged(&mut self) {
        while self.blocks.len() > 1
            && let Some(oldest) = self.blocks.front()
            && oldest.next_seq() <= self.through_seq + 1
        {
            self.spare = self.blocks.pop_front();
        }
        // An outage's memory is given back.
        self.blocks.shrink_to(self.blocks.len().max(BLOCKS_MIN));
    }

    /// What to send when everything before `cursor` has been sent.
    #[must_use]
    pub fn next_from(&self, cursor: u64) -> Next {
        let kept_from = self.kept_from();
        if cursor < kept_from {
            return Next::Gap {
                from_seq: cursor,
                through_seq: kept_from - 1,
            };
        }
        if cursor < self.next_seq {
            Next::Reports
        } else {
            Next::Nothing
        }
    }

    /// As many reports from `cursor` on as fit into one message of `bytes_max`. Who does not
    /// `continue` from the report before is told from the beginning of a block. `None` when there
    /// are none, or when the first of them alone is too large.
    #[must_use]
    pub fn together(&self, cursor: u64, continues: bool, bytes_max: usize) -> Option<Together> {
        let block = self.block_of(cursor)?;
        let first_seq = if continues { cursor } else { block.first_seq() };
        let count_max = SAMPLES_PER_REPORT_MAX as u64;
        let (samples, mut count) = block.slices(first_seq, !continues, count_max, bytes_max)?;
        let samples_bytes = samples.map(<[u8]>::len).iter().sum::<usize>();
        // Without room to spare it becomes a part of the message as it is.
        let mut batch = Vec::with_capacity(Batch::head_bytes(first_seq) + samples_bytes);
        Batch::write_head(!continues, first_seq, &mut batch);
        let head_bytes = batch.len();
        samples
            .iter()
            .for_each(|part| batch.extend_from_slice(part));
        // The next block goes on where this one ends.
        while let Some(next) = self.block_of(first_seq + count)
            && let Some(room) = bytes_max.checked_sub(batch.len() - head_bytes)
            && let Some((more, more_count)) =
                next.slices(first_seq + count, false, count_max - count, room)
        {
            more.iter().for_each(|part| batch.extend_from_slice(part));
            count += more_count;
        }
        Some(Together {
            batch,
            first_seq,
            next_seq: first_seq + count,
        })
    }

    /// Report `cursor` alone; `None` when it is not there.
    pub fn read(&self, cursor: u64, reader: &mut Reader) -> Option<v1::Sample> {
        let mut continues = reader.next_seq == Some(cursor);
        loop {
            let block = self.block_of(cursor)?;
            let seq = match (continues, reader.next_seq) {
                (true, Some(seq)) => seq,
                _ => block.first_seq(),
            };
            let (samples, _) = block.slices(seq, !continues, 1, usize::MAX)?;
            let bytes = Batch::write(!continues, seq, &samples.concat());
            let mut batch = Batch::read(&bytes).ok()?;
            reader.decoder.begin(&batch).ok()?;
            let (_, sample) = reader.decoder.next(&mut batch).ok()??;
            reader.next_seq = Some(seq + 1);
            if seq == cursor {
                return Some(sample);
            }
            continues = true;
        }
    }

    /// Gives up the block of `cursor`, from there on: what is in it cannot be told. Gives the last
    /// report given up.
    pub fn give_up(&mut self, cursor: u64) -> u64 {
        let last_seq = self.block_of(cursor).map(|block| block.next_seq() - 1);
        if last_seq.is_some_and(|seq| seq + 1 == self.next_seq)
            && let Some(open) = self.blocks.back_mut()
        {
            // What comes next must not depend on it.
            open.close();
        }
        last_seq.unwrap_or(cursor)
    }

    fn kept_from(&self) -> u64 {
        self.blocks.front().map_or(self.next_seq, Block::first_seq)
    }

    fn block_of(&self, seq: u64) -> Option<&Block> {
        let at = self.blocks.partition_point(|block| block.next_seq() <= seq);
        self.blocks.get(at).filter(|block| block.first_seq() <= seq)
    }
}

#[cfg(test)]
mod tests;
