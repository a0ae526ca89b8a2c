//! How fast a workload reads and writes, over about a minute.
//!
//! Its counters are told once a minute and stand still between: a rate is made when they have
//! moved, or when they had long enough to.

/// A rate is over at least this: what an agent tells once a minute has then been told.
const SPAN_MS: u64 = 55_000;

/// Counters that did not move for so long are at rest: they were told meanwhile.
const REST_MS: u64 = 90_000;

/// The newest rates, and what the next are made from.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Flow {
    base: Option<Base>,
    rates: Option<Rates>,
}

/// Counters at a time of the agent's clock.
#[derive(Clone, Copy, Debug)]
struct Base {
    mono_ms: u64,
    read_bytes: u64,
    written_bytes: u64,
}

/// Bytes a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Rates {
    pub(crate) read: f64,
    pub(crate) written: f64,
}

// === impl Flow ===

impl Flow {
    /// Takes counters in; unknown ones begin anew.
    pub(super) fn take(&mut self, mono_ms: u64, read: Option<u64>, written: Option<u64>) {
        let (Some(read_bytes), Some(written_bytes)) = (read, written) else {
            *self = Self::default();
            return;
        };
        let now = Base {
            mono_ms,
            read_bytes,
            written_bytes,
        };
        let Some(base) = self.base else {
            self.base = Some(now);
            return;
        };
        let moved = |now: u64, before: u64| now.checked_sub(before);
        let (Some(read), Some(written)) = (
            moved(read_bytes, base.read_bytes),
            moved(written_bytes, base.written_bytes),
        ) else {
            *self = Self {
                base: Some(now),
                rates: None,
            };
            return;
        };
        let passed_ms = mono_ms.saturating_sub(base.mono_ms);
        let rests = read == 0 && written == 0;
        if passed_ms < if rests { REST_MS } else { SPAN_MS } {
            return;
        }
        let per_second = |bytes: u64| bytes as f64 * 1_000.0 / passed_ms as f64;
        *self = Self {
            base: Some(now),
            rates: Some(Rates {
                read: per_second(read),
                written: per_second(written),
            }),
        };
    }

    /// The newest rates; unknown for the first minute.
    pub(crate) fn rates(&self) -> Option<Rates> {
        self.rates
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds what is told at seconds; gives the rate of reading after each.
    fn rates(told: impl IntoIterator<Item = (u64, Option<u64>)>) -> Vec<Option<f64>> {
        let mut flow = Flow::default();
        let mut rates = Vec::new();
        for (second, read) in told {
            flow.take(second * 1_000, read, Some(0));
            rates.push(flow.rates().map(|rates| rates.read));
        }
        rates
    }

    #[test]
    fn counters_told_once_a_minute_give_the_rate_of_that_minute() {
        let told = (0..=180).step_by(5).map(|second| {
            let minute = second / 60;
            (second, Some(minute * 6_000_000))
        });
        let rates = rates(told);
        assert_eq!(rates[11], None);
        assert!(
            rates[12..].iter().all(|rate| *rate == Some(100_000.0)),
            "{rates:?}"
        );
    }

    #[test]
    fn counters_told_always_give_a_rate_of_about_a_minute_and_rest_is_none() {
        let busy = (0..=120)
            .step_by(5)
            .map(|second| (second, Some(second * 1_000)));
        assert_eq!(rates(busy).last(), Some(&Some(1_000.0)));
        let rests = (0..=300)
            .step_by(5)
            .map(|second| (second, Some(second.min(60) * 1_000)));
        assert_eq!(rates(rests).last(), Some(&Some(0.0)));
    }

    #[test]
    fn unknown_counters_and_those_that_went_back_say_nothing() {
        let hidden = [
            (0, Some(0)),
            (60, Some(9_000_000)),
            (65, None),
            (70, Some(0)),
        ];
        assert_eq!(rates(hidden), [None, Some(150_000.0), None, None]);
        let back = [(0, Some(9_000_000)), (60, Some(5)), (120, Some(6_000_005))];
        assert_eq!(rates(back), [None, None, Some(100_000.0)]);
    }
}
