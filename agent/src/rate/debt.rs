//! What was counted for those who vanished and comes again with whoever waited for them.
//!
//! A process is gone only after somebody waited for it, so what it used is in its reaper's sum by
//! then. Parents are read before children: a reaping may have come after the parent's reading of
//! this tick, and then shows at the next. So a debt stands for this tick and the next one. What is
//! not paid by then never will be (nobody waited, or somebody outside did): to let it stand longer
//! would swallow time that is really used.

use super::Reaped;
use crate::sample::process::Key;

/// What rounding to clock ticks may keep back from a reaper's sum: up to one tick in each of two
/// fields.
pub(super) const ROUNDING_NS: u64 = 20_000_000;

/// Somebody who waits for children.
#[derive(Debug, Default)]
pub(super) struct Reaper {
    /// What its sum said last.
    pub(super) reaped_ns: u64,
    /// Owed since this tick.
    fresh_ns: u64,
    /// Of it, what one who vanished still owed: that may have gone past it, to the agent.
    stray_ns: u64,
    /// Owed since the previous tick.
    due_ns: u64,
    /// What rounding keeps back.
    rounding_ns: u64,
}

/// Which debts are paid. The older ones first: their time is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owed {
    Before,
    Now,
}

/// Debts of those whose parent went, too: it may have waited for them before, and then they are in
/// its own reaper's sum; or they were orphans for a moment, and somebody further up waited.
#[derive(Debug, Default)]
pub(super) struct OrphanDebts(Vec<OrphanDebt>);

#[derive(Debug)]
struct OrphanDebt {
    ns: u64,
    /// Living ancestors, the nearest first.
    payers: Vec<Key>,
    fresh: bool,
}

// === impl Reaper ===

impl Reaper {
    /// What its sum says more than before.
    pub(super) fn more_ns(&mut self, reaped_ns: u64) -> u64 {
        let more_ns = reaped_ns.saturating_sub(self.reaped_ns);
        self.reaped_ns = self.reaped_ns.max(reaped_ns);
        pay(&mut self.rounding_ns, more_ns)
    }

    /// Pays from what the agent reaped in its place; says what is left of `more_ns`. The agent gets
    /// the children of those who ended: a `zombie`'s, who will not wait any more, or such as came
    /// here with a vanished parent's debts. Whoever lives pays for its own children itself.
    pub(super) fn relieve(&mut self, owed: Owed, zombie: bool, more_ns: u64) -> u64 {
        let (payable_ns, debt_ns) = match owed {
            Owed::Now if zombie => (self.fresh_ns, &mut self.fresh_ns),
            // The agent is read first: what strays has reached it by now, or never will.
            Owed::Now => (self.stray_ns, &mut self.fresh_ns),
            Owed::Before if zombie => {
                // What may be rounding is not due.
                let owed_ns = self.rounding_ns.saturating_add(self.due_ns);
                (owed_ns.saturating_sub(ROUNDING_NS), &mut self.due_ns)
            }
            Owed::Before => return more_ns,
        };
        let paid_ns = payable_ns.min(*debt_ns).min(more_ns);
        *debt_ns -= paid_ns;
        more_ns - paid_ns
    }

    /// Pays from what it reaped itself; says what is left of `more_ns`.
    pub(super) fn pay(&mut self, owed: Owed, more_ns: u64) -> u64 {
        match owed {
            Owed::Before => pay(&mut self.due_ns, more_ns),
            Owed::Now => pay(&mut self.fresh_ns, more_ns),
        }
    }

    /// Ends the tick: what was due and is not paid may be rounding, but no more.
    pub(super) fn age(&mut self) {
        self.owe_rounding(self.due_ns);
        self.due_ns = std::mem::take(&mut self.fresh_ns);
        self.stray_ns = 0;
    }

    pub(super) fn owe(&mut self, ns: u64) {
        self.fresh_ns = self.fresh_ns.saturating_add(ns);
    }

    /// Takes over the debts of a child that vanished, and owes for that itself.
    pub(super) fn inherit(&mut self, own_ns: u64, child: &Self) {
        self.owe(own_ns.saturating_add(child.counted_ns()));
        self.stray_ns = self.stray_ns.saturating_add(child.due_ns);
    }

    pub(super) fn owe_rounding(&mut self, ns: u64) {
        self.rounding_ns = self.rounding_ns.saturating_add(ns).min(ROUNDING_NS);
    }

    /// All that was counted and is, or will be, in its sum.
    pub(super) fn counted_ns(&self) -> u64 {
        let owed = [self.fresh_ns, self.due_ns, self.rounding_ns];
        owed.into_iter().fold(self.reaped_ns, u64::saturating_add)
    }
}

// === impl OrphanDebts ===

impl OrphanDebts {
    pub(super) fn owe(&mut self, ns: u64, payers: Vec<Key>) {
        if ns > 0 {
            let fresh = true;
            self.0.push(OrphanDebt { ns, payers, fresh });
        }
    }

    /// What is left of `more_ns`, reaped by the agent, who may pay for all.
    pub(super) fn pay(&mut self, owed: Owed, mut more_ns: u64) -> u64 {
        for debt in self.of(owed) {
            more_ns = pay(&mut debt.ns, more_ns);
        }
        more_ns
    }

    /// Takes from what living ancestors reaped, from the nearest first: it is the likeliest to have
    /// waited, and what one further up reaped may be somebody else's.
    pub(super) fn pay_by(&mut self, owed: Owed, reaped: &mut [Reaped]) {
        for debt in self.of(owed) {
            for payer in &debt.payers {
                if let Some(reaped) = reaped.iter_mut().find(|reaped| reaped.key == *payer) {
                    reaped.more_ns = pay(&mut debt.ns, reaped.more_ns);
                }
            }
        }
    }

    fn of(&mut self, owed: Owed) -> impl Iterator<Item = &mut OrphanDebt> {
        let fresh = owed == Owed::Now;
        self.0.iter_mut().filter(move |debt| debt.fresh == fresh)
    }

    /// Ends the tick. What is over is told with the nearest payer: up to the rounding it may have
    /// been waited for after all.
    pub(super) fn age(&mut self, mut over: impl FnMut(&Key, u64)) {
        self.0.retain_mut(|debt| {
            if std::mem::take(&mut debt.fresh) && debt.ns > 0 {
                return true;
            }
            if let Some(nearest) = debt.payers.first() {
                over(nearest, debt.ns);
            }
            false
        });
    }
}

/// What is left of `more_ns`.
fn pay(debt_ns: &mut u64, more_ns: u64) -> u64 {
    let paid_ns = (*debt_ns).min(more_ns);
    *debt_ns -= paid_ns;
    more_ns - paid_ns
}
