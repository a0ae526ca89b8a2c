//! What keeps the collector from its work, in words for people: on the page and in `/readyz`.

use super::{Stats, Unready};

// === impl Unready ===

impl Unready {
    /// What that means, for people.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Replaying => {
                "The collector has just started and reads what was kept; agents are let in when \
                 it is through."
            }
            Self::Journal => {
                "Reports cannot be put on the disk: none gets a receipt. Agents keep them and send \
                 them again when the disk works; what is shown and judged is live."
            }
            Self::History => {
                "History cannot be written: new rows wait in memory and in the inbox until the \
                 disk takes them."
            }
            Self::Hub => "The hub does not answer: who is known stays, nobody new is let in.",
        }
    }
}

// === impl Stats ===

impl Stats {
    /// What the system said when `part` was tried; `None` when it works.
    pub fn set_trouble(&self, part: Unready, cause: Option<String>) {
        self.set_unready(part, cause.is_some());
        self.0.causes.lock()[part as usize] = cause;
    }

    /// What the system said about `part`, where somebody asked it.
    #[must_use]
    pub fn trouble(&self, part: Unready) -> Option<String> {
        self.0.causes.lock()[part as usize].clone()
    }
}
