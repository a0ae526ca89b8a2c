//! How often an aide of the server is asked whether it became an application: soon after its
//! start and then ever more rarely, since looking at descriptors is dear.

use super::{Assignment, Eyes};
use crate::sample::{keyed::KeyMap, process::Key};

/// From one look to the next, at first; doubled each time. Applications listen some seconds after
/// their start; what does not listen after a minute hardly ever will.
const FIRST_STEP_MS: u64 = 1_000;

/// What is known of every aide.
#[derive(Debug, Default)]
pub(crate) struct Candidates(KeyMap<Asked>);

#[derive(Clone, Copy, Debug)]
struct Asked {
    next_ms: u64,
    step_ms: u64,
    listens: bool,
}

/// Eyes that look at an aide only when it is due.
pub(crate) struct Patient<'a> {
    pub(crate) candidates: &'a mut Candidates,
    pub(crate) eyes: &'a mut dyn Eyes,
    pub(crate) now_ms: u64,
}

// === impl Patient ===

impl Patient<'_> {
    /// Whether an aide turned out to be an application since the assignment was made.
    pub(crate) fn any_listens(&mut self, assignment: &Assignment) -> bool {
        let mut any = false;
        for family in assignment.candidates().values() {
            any |= self.listens(family);
        }
        any
    }
}

impl Eyes for Patient<'_> {
    fn listens(&mut self, processes: &[Key]) -> bool {
        let Some(head) = processes.first() else {
            return false;
        };
        let asked = self.candidates.0.entry(*head).or_insert(Asked {
            next_ms: self.now_ms,
            step_ms: FIRST_STEP_MS,
            listens: false,
        });
        if !asked.listens && self.now_ms >= asked.next_ms {
            asked.listens = self.eyes.listens(processes);
            asked.next_ms = self.now_ms.saturating_add(asked.step_ms);
            asked.step_ms = asked.step_ms.saturating_mul(2);
        }
        asked.listens
    }

    fn cgroup(&mut self, process: Key) -> Option<std::sync::Arc<[u8]>> {
        self.eyes.cgroup(process)
    }
}

// === impl Candidates ===

impl Candidates {
    /// Forgets those that are no more.
    pub(crate) fn retain(&mut self, assignment: &Assignment) {
        self.0
            .retain(|head, _| assignment.owners.contains_key(head));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts how often it is asked; listens from the given time on.
    struct Counting(u32, bool);

    impl Eyes for Counting {
        fn listens(&mut self, _: &[Key]) -> bool {
            self.0 += 1;
            self.1
        }

        fn cgroup(&mut self, _: Key) -> Option<std::sync::Arc<[u8]>> {
            None
        }
    }

    #[test]
    fn an_aide_is_looked_at_ever_more_rarely_and_an_application_never_again() {
        let head = Key {
            start_ticks: 1,
            pid: 1,
        };
        let mut candidates = Candidates::default();
        let mut eyes = Counting(0, false);
        let ask = |candidates: &mut Candidates, eyes: &mut Counting, now_ms| {
            Patient {
                candidates,
                eyes,
                now_ms,
            }
            .listens(&[head])
        };
        for second in 0..3600 {
            assert!(!ask(&mut candidates, &mut eyes, second * 1000));
        }
        assert_eq!(eyes.0, 12, "at 0 s, 1 s, 3 s, 7 s and so on");
        eyes.1 = true;
        assert!(ask(&mut candidates, &mut eyes, 5_000_000));
        for second in 5_001..6_000 {
            assert!(ask(&mut candidates, &mut eyes, second * 1000));
        }
        assert_eq!(eyes.0, 13);
    }
}
