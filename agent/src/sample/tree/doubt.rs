//! What could not be read, and what that may have left behind: asked for again, now and then.
//!
//! Nothing is held on to that was found by a reading that failed. Who may not be read at all is
//! counted, and those below him are followed all the same.

use super::{Births, LOOK_AGAIN_MS, RESYNC_TICKS, Tree};

// === impl Tree ===

impl Tree {
    /// Has everything looked at again at the next tick, as far as its time allows.
    pub(crate) fn distrust(&mut self) {
        self.births = Births::default();
        self.looked_ms = None;
        for process in self.processes.values_mut() {
            process.doubted = true;
        }
    }

    /// Whether what could not be read was asked for again at this tick: what fails always fails
    /// then, too.
    pub(crate) fn looks_again(&self) -> bool {
        self.looks_again
    }

    /// Whether it is time to look at what moves rarely.
    pub(super) fn is_look_due(&self, now_ms: u64) -> bool {
        let due = |then| now_ms.saturating_sub(then) >= LOOK_AGAIN_MS;
        self.looked_ms.is_none_or(due)
    }

    /// Asks again for what could not be read, when it is time.
    pub(super) fn look_again(&mut self, now_ms: u64) {
        self.looks_again = self.is_look_due(now_ms);
        if !self.looks_again {
            return;
        }
        for process in self.processes.values_mut() {
            process.doubted |= process.is_partly_read();
        }
        // Their parents' `children` files name those, too, of whom nothing else is told.
        if std::mem::take(&mut self.hidden_born) {
            self.doubt_until_tick = self.ticks + RESYNC_TICKS;
        }
        for pid in std::mem::take(&mut self.unread) {
            self.crowd.push(pid, self.ticks - 1);
        }
    }

    /// Lets go of those that were not to be read and are gone.
    pub(super) fn forget_unread(&mut self) {
        if self.clocks {
            self.unread.retain(|&pid| super::cpu_clock(pid).is_some());
        }
    }

    /// How many more may be followed: those that are only counted take up room, too, for each is
    /// tried again.
    pub(super) fn room(&self) -> usize {
        let held = self.processes.len() + self.unread.len();
        self.followed_max.saturating_sub(held)
    }
}
