//! Pids that the kernel gave out since the last look.
//!
//! It gives them out in a circle, and `/proc/loadavg` ends with the last one of this pid namespace:
//! whoever was born since has one of those between two cursors. So discovery costs what was born
//! since, not what the tree or the machine holds, and neither a thread that forks nor a parent that
//! went hides anybody.

use std::ops::RangeInclusive;

/// Pids looked at in one tick. Each costs less than a tenth of a microsecond when nobody has it;
/// where more were given out the children of those that ran are read instead.
const BORN_MAX: u32 = 1024;

/// Where the kernel was when last looked.
#[derive(Debug, Default)]
pub(crate) struct Births {
    cursor: Option<u32>,
    /// Given out, but nobody answered to them: ended already, a thread, or not yet on any list.
    unborn: Vec<u32>,
}

/// Who may have been born since the last look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Born {
    /// Nobody.
    Nobody,
    /// Somebody among these.
    Among {
        /// Those that did not answer last time: the kernel gives out a pid some instants before
        /// its process can be found.
        again: Vec<u32>,
        fresh: RangeInclusive<u32>,
    },
    /// Too many to look at one by one, or not known.
    Unknown,
}

// === impl Births ===

impl Births {
    /// Who may have been born since the last call, `cursor` being the pid given out last.
    pub(crate) fn since_last(&mut self, cursor: Option<u32>) -> Born {
        let before = std::mem::replace(&mut self.cursor, cursor);
        let again = std::mem::take(&mut self.unborn);
        // Backwards is once around, or more than once.
        let (Some(before), Some(now)) = (before, cursor) else {
            return Born::Unknown;
        };
        match now.checked_sub(before) {
            Some(0) if again.is_empty() => Born::Nobody,
            Some(0..=BORN_MAX) => Born::Among {
                again,
                fresh: before + 1..=now,
            },
            _ => Born::Unknown,
        }
    }

    /// Nobody answers to `pid` yet: it is looked at once more.
    pub(crate) fn not_yet(&mut self, pid: u32) {
        self.unborn.push(pid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn among(again: &[u32], fresh: RangeInclusive<u32>) -> Born {
        let again = again.to_vec();
        Born::Among { again, fresh }
    }

    #[test]
    fn those_between_two_cursors_are_looked_at_and_who_did_not_answer_once_more() {
        let mut births = Births::default();
        assert_eq!(births.since_last(Some(500)), Born::Unknown, "the first");
        assert_eq!(births.since_last(Some(500)), Born::Nobody);
        assert_eq!(births.since_last(Some(503)), among(&[], 501..=503));
        births.not_yet(502);
        let nobody_new = births.since_last(Some(503));
        let Born::Among { again, fresh } = nobody_new else {
            panic!("502 was not asked again");
        };
        assert_eq!((again, fresh.count()), (vec![502], 0));
        assert_eq!(births.since_last(Some(503)), Born::Nobody);
    }

    #[test]
    fn a_storm_a_turn_of_the_circle_and_a_cursor_that_cannot_be_read_are_not_known() {
        let mut births = Births::default();
        births.since_last(Some(500));
        assert_eq!(births.since_last(Some(500 + BORN_MAX + 1)), Born::Unknown);
        assert_eq!(births.since_last(Some(400)), Born::Unknown);
        assert_eq!(births.since_last(None), Born::Unknown);
        assert_eq!(births.since_last(Some(401)), Born::Unknown);
        assert_eq!(births.since_last(Some(402)), among(&[], 402..=402));
    }
}
