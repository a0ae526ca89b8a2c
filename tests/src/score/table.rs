//! Outcomes of one detector, added up.

use super::outcome::Outcome;

const DAY_MS: f64 = 86_400_000.0;

/// What one detector did on many episodes.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Crossings that could be foreseen.
    pub crossings: usize,
    /// Those that were caught.
    pub caught: usize,
    /// Crossings that could not.
    pub unforeseeable: usize,
    /// Episodes with a false alarm.
    pub false_episodes: usize,
    /// False alarms.
    pub false_alarms: usize,
    quiet_ms: i64,
    leads: Vec<f64>,
    forecasts: usize,
    forecasts_held: usize,
}

// === impl Tally ===

impl Tally {
    /// Adds one episode.
    pub fn add(&mut self, outcome: &Outcome) {
        self.crossings += usize::from(outcome.crossed);
        self.caught += usize::from(outcome.caught);
        self.unforeseeable += usize::from(outcome.unforeseeable);
        self.false_episodes += usize::from(outcome.false_alarms > 0);
        self.false_alarms += outcome.false_alarms;
        self.quiet_ms += outcome.quiet_ms;
        self.leads.extend(outcome.lead_share);
        self.forecasts += outcome.forecasts;
        self.forecasts_held += outcome.forecasts_held;
    }

    /// Of the crossings, how many were caught.
    #[must_use]
    pub fn recall(&self) -> Option<f64> {
        share(self.caught, self.crossings)
    }

    /// Of the episodes with an alarm that can be judged, how many were crossings caught.
    #[must_use]
    pub fn precision(&self) -> Option<f64> {
        share(self.caught, self.caught + self.false_episodes)
    }

    /// The lead that `part` of the crossings do not reach; one that was missed has none.
    #[must_use]
    pub fn lead(&self, part: f64) -> Option<f64> {
        let mut leads = self.leads.clone();
        leads.sort_by(f64::total_cmp);
        let at = (leads.len().checked_sub(1)? as f64 * part).round() as usize;
        leads.get(at).copied()
    }

    /// Of the forecasts while an alarm was open, how many held the time that it took.
    #[must_use]
    pub fn coverage(&self) -> Option<f64> {
        share(self.forecasts_held, self.forecasts)
    }

    /// False alarms a server-day, and the bound that holds with 95 %.
    #[must_use]
    pub fn false_per_day(&self) -> Option<(f64, f64)> {
        let days = self.quiet_ms as f64 / DAY_MS;
        let count = self.false_alarms as f64;
        (days > 0.0).then(|| (count / days, poisson_upper_95(self.false_alarms) / days))
    }

    /// One line of the table.
    #[must_use]
    pub fn line(&self, name: &str) -> String {
        let number = |value: Option<f64>| value.map_or("–".to_owned(), |v| format!("{v:.3}"));
        let per_day = self
            .false_per_day()
            .map_or("–".to_owned(), |(rate, bound)| {
                format!("{rate:.1} (≤ {bound:.1})")
            });
        format!(
            "| {name} | {} of {} | {} | {} | {} | {} | {} | {per_day} | {} |",
            self.caught,
            self.crossings,
            number(self.recall()),
            self.false_episodes,
            number(self.precision()),
            number(self.lead(0.5)),
            number(self.lead(0.1)),
            number(self.coverage()),
        )
    }
}

/// The head of the table.
#[must_use]
pub fn head() -> &'static str {
    "| detector | crossings caught | recall | episodes with a false alarm | precision | lead, median | lead, 10th percentile | false alarms a server-day | interval coverage |\n\
     |---|---:|---:|---:|---:|---:|---:|---:|---:|"
}

fn share(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// The mean of which so few events or fewer come with a chance of 5 %: the exact bound, by bisection.
fn poisson_upper_95(events: usize) -> f64 {
    let chance = |mean: f64| {
        let (mut term, mut sum) = ((-mean).exp(), 0.0);
        for k in 0..=events {
            sum += term;
            term *= mean / (k + 1) as f64;
        }
        sum
    };
    let (mut low, mut high) = (events as f64, 2.0 * events as f64 + 10.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if chance(middle) > 0.05 {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_that_of_the_textbook() {
        for (events, bound) in [(0, 2.996), (1, 4.744), (5, 10.513), (10, 16.962)] {
            assert!((poisson_upper_95(events) - bound).abs() < 0.001, "{events}");
        }
    }
}
