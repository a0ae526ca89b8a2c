//! Applied once, in order: the sequence numbers of one instance.
//!
//! A link delivers in order, but two streams of the same agent may cross after a cut. So a report
//! that comes a little early waits for the ones before it; one that comes far ahead, or waits too
//! long, shows that they are lost. Whatever the order and however often something is sent again,
//! the state sees each report at most once and in rising order.

use std::collections::BTreeMap;

use crate::fact::Sample;

/// Reports that may wait for an earlier one. Streams of one agent cross by what was in flight,
/// a few reports; more than this ahead is a loss, not a crossing.
pub const REORDER_MAX: u64 = 16;

/// How long a report waits for the ones before it.
pub const REORDER_WAIT_MS: i64 = 10_000;

/// Ranges of lost reports remembered per instance; the oldest two are joined beyond it.
pub const GAPS_MAX: usize = 32;

/// Reports first..=last that never came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// First one.
    pub from_seq: u64,
    /// Last one.
    pub through_seq: u64,
}

/// A report whose turn has come, or that waits for it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Due {
    pub(crate) seq: u64,
    pub(crate) arrived_ms: i64,
    pub(crate) samples: Vec<Sample>,
}

/// What became of a report.
#[derive(Debug, PartialEq)]
pub(crate) enum Admission {
    /// It, and what waited for it, may be applied in this order.
    Due(Vec<Due>),
    /// It waits for an earlier one.
    Waits,
    /// It was applied before, or given up.
    Known,
}

/// Where one instance's numbering stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Sequence {
    /// Everything up to here was applied or given up.
    through_seq: u64,
    waiting: BTreeMap<u64, Due>,
    lost: Vec<Lost>,
}

// === impl Sequence ===

impl Sequence {
    pub(crate) fn through_seq(&self) -> u64 {
        self.through_seq
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn lost(&self) -> &[Lost] {
        &self.lost
    }

    /// Takes report `seq` in.
    pub(crate) fn admit(&mut self, seq: u64, due: Due) -> Admission {
        if seq <= self.through_seq || self.waiting.contains_key(&seq) {
            return Admission::Known;
        }
        self.waiting.insert(seq, due);
        let ready = if seq > self.through_seq + REORDER_MAX {
            self.give_up()
        } else {
            self.ready()
        };
        if ready.is_empty() {
            Admission::Waits
        } else {
            Admission::Due(ready)
        }
    }

    /// The agent says that reports `from_seq..=through_seq` are lost.
    pub(crate) fn declare_lost(&mut self, from_seq: u64, through_seq: u64) -> Vec<Due> {
        let from_seq = from_seq.max(self.through_seq + 1);
        if from_seq > through_seq {
            return Vec::new();
        }
        let mut ready = Vec::new();
        if from_seq > self.through_seq + 1 {
            // What lies before the lost range will not come on this stream any more either.
            while let Some((&seq, _)) = self.waiting.first_key_value()
                && seq < from_seq
            {
                ready.extend(self.next());
            }
        }
        self.skip_to(through_seq);
        ready.extend(self.ready());
        ready
    }

    /// Gives up waiting where something has waited since before `now_ms` − [`REORDER_WAIT_MS`].
    pub(crate) fn expire(&mut self, now_ms: i64) -> Vec<Due> {
        let overdue = |due: &Due| now_ms.saturating_sub(due.arrived_ms) >= REORDER_WAIT_MS;
        if self.waiting.values().any(overdue) {
            self.give_up()
        } else {
            Vec::new()
        }
    }

    /// Everything that waits, in order; what is missing in between is lost.
    fn give_up(&mut self) -> Vec<Due> {
        let mut ready = Vec::with_capacity(self.waiting.len());
        while !self.waiting.is_empty() {
            ready.extend(self.next());
        }
        ready
    }

    /// What waits and follows without a hole.
    fn ready(&mut self) -> Vec<Due> {
        let mut ready = Vec::new();
        while self.waiting.contains_key(&(self.through_seq + 1)) {
            ready.extend(self.next());
        }
        ready
    }

    fn next(&mut self) -> Option<Due> {
        let (seq, due) = self.waiting.pop_first()?;
        self.skip_to(seq - 1);
        self.through_seq = seq;
        Some(due)
    }

    /// Moves on to `through_seq`; everything in between that did not come is lost. What came
    /// before the first report ever seen is not: the journal was cut there, or another collector
    /// has it.
    fn skip_to(&mut self, through_seq: u64) {
        if through_seq <= self.through_seq {
            return;
        }
        self.waiting.retain(|&seq, _| seq > through_seq);
        let from_seq = self.through_seq + 1;
        self.through_seq = through_seq;
        if from_seq == 1 {
            return;
        }
        match self.lost.last_mut() {
            Some(last) if last.through_seq + 1 == from_seq => last.through_seq = through_seq,
            _ => self.lost.push(Lost {
                from_seq,
                through_seq,
            }),
        }
        if self.lost.len() > GAPS_MAX {
            let oldest = self.lost.remove(0);
            self.lost[0].from_seq = oldest.from_seq;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(arrived_ms: i64) -> Due {
        Due {
            seq: 0,
            arrived_ms,
            samples: Vec::new(),
        }
    }

    /// Admits `seq` with itself as arrival time; gives the seqs that became due.
    fn admit(sequence: &mut Sequence, seq: u64) -> Vec<u64> {
        match sequence.admit(seq, due(seq as i64)) {
            Admission::Due(ready) => ready.iter().map(|d| d.arrived_ms as u64).collect(),
            Admission::Waits | Admission::Known => Vec::new(),
        }
    }

    #[test]
    fn an_early_report_waits_and_nothing_is_applied_twice() {
        let mut sequence = Sequence::default();
        assert_eq!(admit(&mut sequence, 1), [1]);
        assert!(admit(&mut sequence, 3).is_empty());
        assert!(admit(&mut sequence, 3).is_empty());
        assert_eq!(admit(&mut sequence, 2), [2, 3]);
        assert!(admit(&mut sequence, 2).is_empty());
        assert_eq!(sequence.through_seq(), 3);
        assert!(sequence.lost().is_empty());
    }

    #[test]
    fn a_report_far_ahead_shows_that_the_ones_before_are_lost() {
        let mut sequence = Sequence::default();
        admit(&mut sequence, 1);
        admit(&mut sequence, 4);
        assert_eq!(admit(&mut sequence, 40), [4, 40]);
        let lost = |from_seq, through_seq| Lost {
            from_seq,
            through_seq,
        };
        assert_eq!(sequence.lost(), [lost(2, 3), lost(5, 39)]);
        assert!(admit(&mut sequence, 2).is_empty(), "given up is given up");
    }

    #[test]
    fn a_journal_that_starts_late_is_no_loss() {
        let mut sequence = Sequence::default();
        assert_eq!(admit(&mut sequence, 5_000), [5_000]);
        assert!(sequence.lost().is_empty());
    }

    #[test]
    fn waiting_ends_after_ten_seconds_or_when_the_agent_gives_up() {
        let mut sequence = Sequence::default();
        admit(&mut sequence, 1);
        admit(&mut sequence, 3);
        assert!(sequence.expire(3 + REORDER_WAIT_MS - 1).is_empty());
        assert_eq!(sequence.expire(3 + REORDER_WAIT_MS), [due(3)]);
        admit(&mut sequence, 7);
        assert_eq!(sequence.declare_lost(4, 6), [due(7)]);
        assert_eq!(sequence.through_seq(), 7);
        assert_eq!(sequence.waiting(), 0);
        assert!(sequence.declare_lost(1, 7).is_empty());
    }

    #[test]
    fn remembered_losses_are_bounded_and_cover_all() {
        let mut sequence = Sequence::default();
        admit(&mut sequence, 1);
        for i in 1..=200 {
            admit(&mut sequence, 1 + i * 100);
        }
        assert_eq!(sequence.lost().len(), GAPS_MAX);
        assert_eq!(sequence.lost()[0].from_seq, 2);
    }
}
