//! Which of the collector's addresses carries the link: the first that works, and the better one
//! again when it works again.
//!
//! What carried the last stream is tried first and, for as long as an outage may be a restart,
//! alone: a collector that restarts must not find its whole fleet at the hub's proxy. What is only
//! second best is kept, and those before it are tried again now and then beside the stream that
//! lives.
//!
//! No clock inside: the caller says when.

use std::time::Duration;

use tokio::time::Instant;

/// How long what carried the last stream is tried alone: a restart of the collector with its
/// replay, and the backoff of most agents.
const LOYAL_FOR: Duration = Duration::from_secs(120);

/// About when a better address is first tried again: a firewall is fixed in minutes.
pub const LOOK_AGAIN_FIRST: Duration = Duration::from_secs(10 * 60);

/// About how long between looks in the end: where only one way is open for good, a look that must
/// time out is a connection every few hours.
const LOOK_AGAIN_MAX: Duration = Duration::from_secs(4 * 60 * 60);

/// The choice of one agent. Addresses are known by their place in the settings.
#[derive(Debug)]
pub(super) struct Choice {
    count: usize,
    /// What carried the last stream.
    proven: Option<usize>,
    /// Since when it has carried none.
    failing_since: Option<Instant>,
    /// What did not work in this round, by place.
    failed: Vec<bool>,
    look_again_first: Duration,
    look_again: Duration,
    random: fastrand::Rng,
}

// === impl Choice ===

impl Choice {
    /// Of `count` addresses, none of which was tried.
    pub(super) fn new(count: usize, look_again_first: Duration, random: fastrand::Rng) -> Self {
        Self {
            count,
            proven: None,
            failing_since: None,
            failed: vec![false; count],
            look_again_first,
            look_again: look_again_first,
            random,
        }
    }

    /// What to try now.
    pub(super) fn next(&self) -> usize {
        let mut order = self.proven.into_iter().chain(0..self.count);
        order.find(|at| !self.failed[*at]).unwrap_or(0)
    }

    /// No stream came of `at`. Whether another is worth a try at once; if not, the round is over.
    pub(super) fn fails(&mut self, at: usize, now: Instant) -> bool {
        self.failed[at] = true;
        let loyal = self.proven == Some(at) && {
            let since = *self.failing_since.get_or_insert(now);
            now.duration_since(since) < LOYAL_FOR
        };
        if loyal || self.failed.iter().all(|failed| *failed) {
            self.failed.fill(false);
            return false;
        }
        true
    }

    /// The collector answered over `at`.
    pub(super) fn works(&mut self, at: usize) {
        if self.proven != Some(at) {
            self.look_again = self.look_again_first;
        }
        self.proven = Some(at);
        self.failing_since = None;
        self.failed.fill(false);
    }

    /// How long the stream over what is second best lives before the better ones are tried again:
    /// longer each time, and never for all agents at once.
    pub(super) fn look_again_after(&mut self) -> Duration {
        let about = self.look_again;
        self.look_again = (about * 2).min(LOOK_AGAIN_MAX);
        about.mul_f64(0.5 + self.random.f64())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn choice(count: usize) -> Choice {
        Choice::new(count, LOOK_AGAIN_FIRST, fastrand::Rng::with_seed(7))
    }

    #[test]
    fn a_new_agent_tries_all_in_order_before_it_waits() {
        let now = Instant::now();
        let mut choice = choice(3);
        for _ in 0..2 {
            for (at, more) in [(0, true), (1, true), (2, false)] {
                assert_eq!(choice.next(), at);
                assert_eq!(choice.fails(at, now), more);
            }
        }
    }

    #[test]
    fn what_carried_a_stream_is_tried_alone_while_the_collector_may_be_restarting() {
        let begun = Instant::now();
        let mut choice = choice(2);
        choice.works(0);
        for passed in [Duration::ZERO, LOYAL_FOR - Duration::from_millis(1)] {
            assert_eq!(choice.next(), 0);
            assert!(!choice.fails(0, begun + passed), "after {passed:?}");
        }
        assert_eq!(choice.next(), 0);
        assert!(choice.fails(0, begun + LOYAL_FOR));
        assert_eq!(choice.next(), 1);
        assert!(!choice.fails(1, begun + LOYAL_FOR));
        // Back at last: loyal anew.
        choice.works(0);
        assert!(!choice.fails(0, begun + LOYAL_FOR * 9));
    }

    #[test]
    fn what_is_second_best_is_kept() {
        let mut choice = choice(2);
        assert!(choice.fails(0, Instant::now()));
        choice.works(1);
        assert_eq!(choice.next(), 1);
    }

    #[test]
    fn the_better_one_is_tried_again_after_minutes_then_after_hours_and_not_by_all_at_once() {
        let mut choices: Vec<_> = (0..100)
            .map(|seed| Choice::new(2, LOOK_AGAIN_FIRST, fastrand::Rng::with_seed(seed)))
            .collect();
        for about in [1, 2, 4, 8, 16, 24, 24].map(|times| LOOK_AGAIN_FIRST * times) {
            let mut waits: Vec<_> = choices.iter_mut().map(Choice::look_again_after).collect();
            waits.sort();
            assert!(
                waits[0] >= about / 2 && waits[99] <= about * 3 / 2,
                "{about:?}"
            );
            assert!(waits[99] - waits[0] > about / 2, "{about:?}");
        }
        // Another way begins with minutes again.
        choices[0].works(1);
        assert!(choices[0].look_again_after() <= LOOK_AGAIN_FIRST * 3 / 2);
    }

    proptest! {
        #[test]
        fn no_round_is_longer_than_the_addresses_and_none_is_left_out_for_good(
            count in 1usize..5,
            proven in prop::option::of(0usize..5),
            pauses_s in prop::collection::vec(0u64..60, 1..200),
        ) {
            let mut choice = choice(count);
            if let Some(at) = proven {
                choice.works(at % count);
            }
            let mut now = Instant::now();
            let begun = now;
            let mut tried = vec![false; count];
            for pause_s in pauses_s {
                now += Duration::from_secs(pause_s);
                let mut tries = 0;
                loop {
                    let at = choice.next();
                    tried[at] = true;
                    tries += 1;
                    prop_assert!(tries <= count);
                    if !choice.fails(at, now) {
                        break;
                    }
                }
            }
            if now.duration_since(begun) >= LOYAL_FOR + Duration::from_secs(60) {
                prop_assert!(tried.iter().all(|tried| *tried));
            }
        }
    }
}
