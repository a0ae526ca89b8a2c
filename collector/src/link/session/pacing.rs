//! What an agent is asked for: its interval, and how long it may hold reports back.

use crate::link::admit::Outgoing;

/// As it was told and as it is to be told; what was not told since counts once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pacing {
    interval_ms: Asked,
    hold_ms: Asked,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    told: u32,
    wanted: u32,
}

// === impl Pacing ===

impl Pacing {
    /// As Welcome said it: this interval (0 leaves it to the agent), and nothing is held back.
    pub(super) fn welcomed(interval_ms: u32) -> Self {
        let asked = |told| Asked { told, wanted: told };
        Self {
            interval_ms: asked(interval_ms),
            hold_ms: asked(0),
        }
    }

    /// Wants another interval; 0 leaves it to the agent.
    pub(super) fn want_interval(&mut self, interval_ms: u32) {
        self.interval_ms.wanted = interval_ms;
    }

    /// Wants reports held back for at most so long; 0 for not at all.
    pub(super) fn want_hold(&mut self, hold_ms: u32) {
        self.hold_ms.wanted = hold_ms;
    }

    /// How long reports may be held back, told or to be told.
    pub(super) fn hold_ms(&self) -> u32 {
        self.hold_ms.wanted
    }

    /// Whether there is something to tell.
    pub(super) fn is_news(&self) -> bool {
        self.interval_ms.is_news() || self.hold_ms.is_news()
    }

    /// What there is to tell, once.
    pub(super) fn tell(&mut self) -> Option<Outgoing> {
        let pace = Outgoing::Pace {
            interval_ms: self.interval_ms.tell(),
            hold_ms: self.hold_ms.tell(),
        };
        let nothing = Outgoing::Pace {
            interval_ms: None,
            hold_ms: None,
        };
        (pace != nothing).then_some(pace)
    }
}

// === impl Asked ===

impl Asked {
    fn is_news(self) -> bool {
        self.told != self.wanted
    }

    fn tell(&mut self) -> Option<u32> {
        let news = self.is_news().then_some(self.wanted);
        self.told = self.wanted;
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_is_told_once_and_together_and_what_changed_back_is_not() {
        let mut pacing = Pacing::welcomed(5_000);
        assert_eq!((pacing.is_news(), pacing.tell()), (false, None));
        pacing.want_interval(10_000);
        pacing.want_hold(55_000);
        pacing.want_hold(0);
        assert!(pacing.is_news());
        let told = Some(Outgoing::Pace {
            interval_ms: Some(10_000),
            hold_ms: None,
        });
        assert_eq!(pacing.tell(), told);
        assert_eq!((pacing.is_news(), pacing.tell()), (false, None));
        pacing.want_interval(5_000);
        pacing.want_hold(55_000);
        let told = Some(Outgoing::Pace {
            interval_ms: Some(5_000),
            hold_ms: Some(55_000),
        });
        assert_eq!(pacing.tell(), told);
    }
}
