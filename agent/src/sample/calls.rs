//! What the sampler asked of the kernel on this thread: the figures of its cost that do not depend
//! on the machine. Whatever it opens, reads or asks is counted where it does so.

use std::cell::Cell;

thread_local! {
    static CALLS: Cell<Calls> = const { Cell::new(Calls { opened: 0, read: 0, clocks: 0 }) };
}

/// Calls so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// Files and directories opened.
    pub opened: u64,
    /// Reads through a descriptor that stays open. Files that are opened anew are read and closed
    /// besides.
    pub read: u64,
    /// CPU clocks asked, of others and the agent's own.
    pub clocks: u64,
}

// === impl Calls ===

impl Calls {
    /// On this thread, so far.
    #[must_use]
    pub fn so_far() -> Self {
        CALLS.get()
    }

    /// Since `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            opened: self.opened - before.opened,
            read: self.read - before.read,
            clocks: self.clocks - before.clocks,
        }
    }

    /// All of them.
    #[must_use]
    pub fn all(self) -> u64 {
        self.opened + self.read + self.clocks
    }
}

pub(super) fn opened() {
    let calls = CALLS.get();
    CALLS.set(Calls {
        opened: calls.opened + 1,
        ..calls
    });
}

pub(super) fn read() {
    let calls = CALLS.get();
    CALLS.set(Calls {
        read: calls.read + 1,
        ..calls
    });
}

pub(super) fn clock_asked() {
    let calls = CALLS.get();
    CALLS.set(Calls {
        clocks: calls.clocks + 1,
        ..calls
    });
}
