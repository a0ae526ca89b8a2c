//! Reports that have no receipt yet, encoded, in memory.
//!
//! Sequence numbers inside are contiguous: `first_seq..next_seq`. A report leaves when a receipt
//! covers it or when room is needed; then the oldest go, and whoever sends next finds
//! `first_seq` ahead of its cursor and declares the distance as one gap. So nothing is lost
//! without being declared, and nothing about gaps needs to be stored.

use std::collections::VecDeque;

use bytes::Bytes;

/// Bytes kept at most, entries' own cost included: five hours of an ordinary server at 5 s,
/// and the largest single part of the agent's memory.
pub const SPOOL_BYTES_MAX: usize = 512 * 1024;

/// What one entry costs besides its bytes: the entry itself and the heap's share.
const ENTRY_BYTES: usize = size_of::<Bytes>() + 16;

/// A bounded ring of encoded reports.
#[derive(Debug)]
pub struct Spool {
    reports: VecDeque<Bytes>,
    first_seq: u64,
    bytes: usize,
    bytes_max: usize,
    dropped: u64,
}

/// What a sender does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// These had to be given up: tell the collector.
    Gap {
        /// First report given up.
        from_seq: u64,
        /// Last report given up.
        through_seq: u64,
    },
    /// Send this one.
    Report {
        /// Its number.
        seq: u64,
        /// The encoded message.
        message: Bytes,
    },
    /// Everything has been sent.
    Nothing,
}

// === impl Spool ===

impl Spool {
    /// An empty spool of at most `bytes_max` bytes.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self {
            reports: VecDeque::new(),
            first_seq: 1,
            bytes: 0,
            bytes_max,
            dropped: 0,
        }
    }

    /// Number of the oldest report kept; equals [`Self::next_seq`] when none is.
    #[must_use]
    pub fn first_seq(&self) -> u64 {
        self.first_seq
    }

    /// Number the next new report gets.
    #[must_use]
    pub fn next_seq(&self) -> u64 {
        self.first_seq + self.reports.len() as u64
    }

    /// Whether every report has its receipt.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.reports.is_empty()
    }

    /// Bytes in use.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Reports given up so far because there was no room.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Keeps the report that was encoded for [`Self::next_seq`]. The oldest go if there is no
    /// room; one that is larger than all the room is given up itself.
    pub fn push(&mut self, message: Bytes) {
        self.bytes += cost(&message);
        self.reports.push_back(message);
        while self.bytes > self.bytes_max {
            self.pop_oldest();
            self.dropped += 1;
        }
    }

    /// Lets go of everything up to `through_seq`: it is on the collector's disk. More than was
    /// ever there is not believed and changes nothing beyond what is.
    pub fn acknowledge(&mut self, through_seq: u64) {
        while self.first_seq <= through_seq && !self.reports.is_empty() {
            self.pop_oldest();
        }
        if self.reports.is_empty() {
            // An outage's memory is given back.
            self.reports.shrink_to(16);
        }
    }

    /// What to send when everything before `cursor` has been sent.
    #[must_use]
    pub fn next_from(&self, cursor: u64) -> Next {
        if cursor < self.first_seq {
            return Next::Gap {
                from_seq: cursor,
                through_seq: self.first_seq - 1,
            };
        }
        let index = usize::try_from(cursor - self.first_seq).unwrap_or(usize::MAX);
        self.reports
            .get(index)
            .map_or(Next::Nothing, |message| Next::Report {
                seq: cursor,
                message: message.clone(),
            })
    }

    fn pop_oldest(&mut self) {
        if let Some(message) = self.reports.pop_front() {
            self.bytes -= cost(&message);
            self.first_seq += 1;
        }
    }
}

fn cost(message: &Bytes) -> usize {
    message.len() + ENTRY_BYTES
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const BYTES_MAX: usize = 2_000;

    #[derive(Clone, Debug)]
    enum Step {
        Tick { bytes: usize },
        Send { messages: usize },
        Receipt { of_sent: f64 },
        Cut { kept: f64 },
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            5 => (0usize..600).prop_map(|bytes| Step::Tick { bytes }),
            3 => (1usize..8).prop_map(|messages| Step::Send { messages }),
            2 => (0.0..=1.0).prop_map(|of_sent| Step::Receipt { of_sent }),
            1 => (0.0..=1.0).prop_map(|kept| Step::Cut { kept }),
        ]
    }

    /// What a collector that is honest but may lose its unsynced tail remembers.
    #[derive(Default)]
    struct Collector {
        got: BTreeSet<u64>,
        declared: BTreeSet<u64>,
        durable: u64,
        seen: u64,
    }

    fn send(spool: &Spool, cursor: &mut u64, collector: &mut Collector, messages: usize) {
        for _ in 0..messages {
            match spool.next_from(*cursor) {
                Next::Nothing => return,
                Next::Gap {
                    from_seq,
                    through_seq,
                } => {
                    assert_eq!(
                        from_seq,
                        collector.seen + 1,
                        "a gap starts where the order left off"
                    );
                    collector.declared.extend(from_seq..=through_seq);
                    collector.seen = through_seq;
                }
                Next::Report { seq, message } => {
                    assert_eq!(seq, collector.seen + 1, "order is kept");
                    assert_eq!(message.get(..8), Some(&seq.to_be_bytes()[..]));
                    collector.got.insert(seq);
                    collector.seen = seq;
                }
            }
            *cursor = collector.seen + 1;
        }
    }

    proptest! {
        #[test]
        fn nothing_is_lost_unless_declared_and_order_and_bytes_are_kept(
            steps in prop::collection::vec(step(), 1..200),
        ) {
            let mut spool = Spool::new(BYTES_MAX);
            let mut collector = Collector::default();
            let mut cursor = 1;
            for step in steps {
                match step {
                    Step::Tick { bytes } => {
                        let mut message = spool.next_seq().to_be_bytes().to_vec();
                        message.resize(8 + bytes, 0);
                        spool.push(message.into());
                    }
                    Step::Send { messages } => send(&spool, &mut cursor, &mut collector, messages),
                    Step::Receipt { of_sent } => {
                        let open = collector.seen - collector.durable;
                        collector.durable += (open as f64 * of_sent) as u64;
                        spool.acknowledge(collector.durable);
                    }
                    Step::Cut { kept } => {
                        // A restarted collector has all it gave a receipt for, perhaps more.
                        let open = collector.seen - collector.durable;
                        let resume = collector.durable + (open as f64 * kept) as u64;
                        collector.got.split_off(&(resume + 1));
                        collector.declared.split_off(&(resume + 1));
                        collector.seen = resume;
                        // A Welcome is a receipt too.
                        collector.durable = resume;
                        spool.acknowledge(resume);
                        cursor = resume + 1;
                    }
                }
                prop_assert!(spool.bytes() <= BYTES_MAX);
            }
            send(&spool, &mut cursor, &mut collector, usize::MAX);
            for seq in 1..spool.next_seq() {
                prop_assert!(
                    collector.got.contains(&seq) || collector.declared.contains(&seq),
                    "report {seq} vanished"
                );
            }
            prop_assert!(collector.declared.len() as u64 <= spool.dropped());
        }
    }

    #[test]
    fn a_receipt_for_what_was_never_sent_frees_only_what_is_there() {
        let mut spool = Spool::new(BYTES_MAX);
        spool.push(Bytes::from_static(b"one"));
        spool.acknowledge(u64::MAX);
        assert_eq!(
            (spool.first_seq(), spool.next_seq(), spool.bytes()),
            (2, 2, 0)
        );
    }

    #[test]
    fn overflow_becomes_one_gap_however_much_is_lost() {
        let mut spool = Spool::new(BYTES_MAX);
        for _ in 0..100 {
            spool.push(Bytes::from(vec![0; 300]));
        }
        let first = spool.first_seq();
        assert_eq!(
            spool.next_from(1),
            Next::Gap {
                from_seq: 1,
                through_seq: first - 1
            }
        );
        assert!(matches!(spool.next_from(first), Next::Report { .. }));
        assert_eq!(spool.dropped(), first - 1);
    }
}
