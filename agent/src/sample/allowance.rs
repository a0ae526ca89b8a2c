//! What one tick may cost: CPU time of the thread that samples, so that neither thirty thousand
//! processes nor a fork bomb makes the meter the load it measures.

use nix::time::ClockId;

use super::process::clock_ns;

/// Of one tick. The meter of a usual server needs a thousandth of it.
pub(crate) const TICK_CPU_NS_MAX: u64 = 20_000_000;

/// One part in so many of it is for those who are new: where everybody costs a reading at every
/// tick (a copied `/proc` has no clocks), readings would leave nothing for them, ever.
pub(crate) const NEWCOMERS_PARTS: u64 = 4;

/// Work between two looks at the clock, which costs as much as a look at a process.
const WORK_UNASKED: u32 = 64;

/// A look at a process that did nothing.
pub(crate) const GLANCE: u32 = 1;

/// Its kept files read.
pub(crate) const READING: u32 = 8;

/// Files opened and read.
pub(crate) const OPENING: u32 = 16;

/// What is left of a tick's time.
#[derive(Debug, Default)]
pub(crate) struct Allowance {
    /// What may be spent from the first look at the clock on.
    ns: u64,
    /// Until when: the clock is looked at once there is a reason to, which a usual tick never has.
    until_ns: Option<u64>,
    unasked: u32,
    spent: bool,
}

// === impl Allowance ===

impl Allowance {
    /// Of `ns`, and what work is free.
    pub(crate) fn of(ns: u64) -> Self {
        Self {
            ns,
            ..Self::default()
        }
    }

    /// Lets `ns` more be spent, though nothing be left.
    pub(crate) fn add(&mut self, ns: u64) {
        match &mut self.until_ns {
            Some(until_ns) => *until_ns = until_ns.saturating_add(ns),
            None => self.ns = self.ns.saturating_add(ns),
        }
        (self.unasked, self.spent) = (0, false);
    }

    /// Takes `work` out of it; false when nothing is left. The first [`WORK_UNASKED`] is free, so
    /// every tick gets on, however slow the machine.
    pub(crate) fn allows(&mut self, work: u32) -> bool {
        self.unasked += work;
        if self.unasked > WORK_UNASKED {
            self.unasked = 0;
            self.spent = self.spent || self.is_over(own_ns());
        }
        !self.spent
    }

    fn is_over(&mut self, now_ns: u64) -> bool {
        let until_ns = *self.until_ns.get_or_insert(now_ns.saturating_add(self.ns));
        now_ns >= until_ns
    }
}

fn own_ns() -> u64 {
    clock_ns(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spent_allowance_stays_spent_and_every_one_lets_some_work_be_done() {
        let mut none = Allowance::of(0);
        let done = (0..1000).take_while(|_| none.allows(GLANCE)).count();
        assert_eq!(done, WORK_UNASKED as usize);
        assert!(!none.allows(GLANCE));
        none.add(0);
        assert!(
            none.allows(GLANCE),
            "what is added lets some work be done, too"
        );
        let mut enough = Allowance::of(u64::MAX);
        assert!((0..1000).all(|_| enough.allows(OPENING)));
    }
}
