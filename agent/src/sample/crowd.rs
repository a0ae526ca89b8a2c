//! The server's processes that are not followed: found and not yet looked at, because the tick's
//! time was spent, or beyond the number that is followed. They are counted, not measured.

use std::collections::VecDeque;

use super::keyed::PidSet;

/// Processes counted at most; a pid namespace of the usual size holds half as many.
const COUNTED_MAX: usize = 65_536;

/// A process that is known by its pid only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) pid: u32,
    /// The tick at which it was found: later its pid may be another's.
    pub(crate) tick: u64,
    /// Whether its own children were looked for.
    pub(crate) expanded: bool,
}

/// Those that are known and not followed.
#[derive(Debug, Default)]
pub(crate) struct Crowd {
    /// To be looked at next.
    due: VecDeque<Found>,
    /// There is no room for them.
    beyond: VecDeque<Found>,
    known: PidSet,
}

// === impl Crowd ===

impl Crowd {
    /// Takes one more in; nothing when it is known, or there are too many to count.
    pub(crate) fn push(&mut self, pid: u32, tick: u64) {
        if self.known.len() < COUNTED_MAX && self.known.insert(pid) {
            self.due.push_back(Found {
                pid,
                tick,
                expanded: false,
            });
        }
    }

    /// The next to be looked at, those found first first: the nearest to the root.
    pub(crate) fn pop(&mut self) -> Option<Found> {
        let found = self.due.pop_front()?;
        self.known.remove(&found.pid);
        Some(found)
    }

    /// There is no room for `found`, whose children are known now.
    pub(crate) fn put_beyond(&mut self, found: Found) {
        if self.known.insert(found.pid) {
            self.beyond.push_back(Found {
                expanded: true,
                ..found
            });
        }
    }

    /// There is room again for this many.
    pub(crate) fn make_due(&mut self, room: usize) {
        for _ in 0..room {
            let Some(found) = self.beyond.pop_front() else {
                return;
            };
            self.due.push_back(found);
        }
    }

    /// Asks `lives` of one in `share`, those first that were not asked longest.
    pub(crate) fn forget_dead(&mut self, share: usize, lives: impl Fn(u32) -> bool) {
        for _ in 0..self.beyond.len().div_ceil(share) {
            let Some(found) = self.beyond.pop_front() else {
                return;
            };
            if lives(found.pid) {
                self.beyond.push_back(found);
            } else {
                self.known.remove(&found.pid);
            }
        }
    }

    /// The pid was given out anew: who had it is gone.
    pub(crate) fn forget(&mut self, pid: u32) {
        if self.known.remove(&pid) {
            self.due.retain(|found| found.pid != pid);
            self.beyond.retain(|found| found.pid != pid);
        }
    }

    /// Whether it is one of them.
    pub(crate) fn contains(&self, pid: u32) -> bool {
        self.known.contains(&pid)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether somebody is still to be looked at.
    pub(crate) fn is_due(&self) -> bool {
        !self.due.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_is_counted_once_wherever_he_waits() {
        let mut crowd = Crowd::default();
        for pid in [7, 8, 9, 8] {
            crowd.push(pid, 1);
        }
        assert_eq!(crowd.len(), 3);
        let seven = crowd.pop().unwrap();
        assert_eq!((seven.pid, seven.expanded), (7, false));
        assert_eq!(crowd.len(), 2);
        crowd.put_beyond(seven);
        crowd.push(7, 2);
        assert_eq!(crowd.len(), 3);
        crowd.make_due(5);
        let order: Vec<(u32, bool)> = std::iter::from_fn(|| crowd.pop())
            .map(|found| (found.pid, found.expanded))
            .collect();
        assert_eq!(order, [(8, false), (9, false), (7, true)]);
        assert!(!crowd.is_due() && crowd.len() == 0);
    }

    #[test]
    fn the_dead_are_forgotten_some_at_a_time_and_a_pid_that_comes_again_at_once() {
        let mut crowd = Crowd::default();
        for pid in 1..=10 {
            crowd.push(pid, 1);
            let found = crowd.pop().unwrap();
            crowd.put_beyond(found);
        }
        crowd.forget(10);
        assert_eq!(crowd.len(), 9);
        crowd.forget_dead(3, |_| false);
        assert_eq!(crowd.len(), 6, "a third of nine");
        for _ in 0..3 {
            crowd.forget_dead(3, |pid| pid > 5);
        }
        assert_eq!(crowd.len(), 4, "6 to 9 live");
    }

    #[test]
    fn a_crowd_is_counted_up_to_a_bound() {
        let mut crowd = Crowd::default();
        for pid in 0..100_000 {
            crowd.push(pid, 1);
        }
        assert_eq!(crowd.len(), COUNTED_MAX);
    }
}
