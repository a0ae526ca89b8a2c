//! Thresholds fitted without a family and judged on it: what ours is worth on what it was not tuned on.

use std::{
    collections::BTreeSet,
    io::{self, Write},
};

use hubmeter_collector::{
    state::Policy,
    verdict::{Rule, runaway::Patience},
};

use super::{
    corpus::Episode,
    detector::Ours,
    outcome::{Outcome, judge},
    table::{self, Tally},
};

/// What is asked of it (docs/VERDICTS.md).
const RECALL_GOAL: f64 = 0.98;
const PRECISION_GOAL: f64 = 0.95;
const LEAD_GOAL: f64 = 0.8;

/// What is tried: shares of the limit from which on growth is believed.
const USED_SHARES: [f64; 8] = [0.50, 0.56, 0.60, 0.62, 0.63, 0.65, 0.68, 0.72];

/// One choice of thresholds, and what came of every episode.
struct Tried {
    patience: Patience,
    outcomes: Vec<Outcome>,
}

/// Prints what every choice gives over all `episodes`, which one each family is judged by when it is left out,
/// and what that comes to.
///
/// # Errors
/// `out` cannot be written.
pub fn print(out: &mut impl Write, episodes: &[Episode<'_>]) -> io::Result<()> {
    let mut tried = Vec::new();
    writeln!(
        out,
        "\nall families, by thresholds\n\n| thresholds | recall | precision | lead, median | interval coverage |\n|---|---:|---:|---:|---:|"
    )?;
    for used_share_min in USED_SHARES {
        let choice = Tried::new(Patience { used_share_min }, episodes);
        let tally = choice.tally(episodes, |_| true);
        writeln!(out, "{}", choice.line(&tally))?;
        tried.push(choice);
    }
    let families: BTreeSet<&str> = episodes.iter().map(family).collect();
    let mut left_out = Tally::default();
    writeln!(out, "\nleft out, the family is judged by\n")?;
    for name in families {
        let of_others = |choice: &Tried| choice.tally(episodes, |family| family != name);
        let shortfalls = tried
            .iter()
            .map(|choice| (shortfall(&of_others(choice)), choice));
        let Some((_, best)) = shortfalls.min_by(|a, b| a.0.total_cmp(&b.0)) else {
            continue;
        };
        writeln!(out, "{name:<24} {}", best.name())?;
        for (_, outcome) in best.of(episodes, |family| family == name) {
            left_out.add(outcome);
        }
    }
    writeln!(out, "\n{}", table::head())?;
    writeln!(
        out,
        "{}",
        left_out.line("runaway_memory, each family left out")
    )
}

/// How far it is from the goals; of those that are alike the one that leads by more comes first.
fn shortfall(tally: &Tally) -> f64 {
    let below = |goal: f64, value: Option<f64>| (goal - value.unwrap_or(0.0)).max(0.0);
    let lead = tally.lead(0.5);
    below(RECALL_GOAL, tally.recall())
        + below(PRECISION_GOAL, tally.precision())
        + below(LEAD_GOAL, lead)
        - 1e-3 * lead.unwrap_or(0.0)
}

fn family<'a>(episode: &'a Episode<'_>) -> &'a str {
    &episode.trace.family
}

// === impl Tried ===

impl Tried {
    fn new(patience: Patience, episodes: &[Episode<'_>]) -> Self {
        let policy = Policy {
            patience,
            ..Policy::default()
        };
        let ours = || Ours::of(&[Rule::RunawayMemory], policy.clone());
        let outcomes = episodes
            .iter()
            .map(|episode| judge(episode, &mut ours()))
            .collect();
        Self { patience, outcomes }
    }

    fn of<'a>(
        &'a self,
        episodes: &'a [Episode<'a>],
        is_meant: impl Fn(&str) -> bool + 'a,
    ) -> impl Iterator<Item = (&'a Episode<'a>, &'a Outcome)> {
        let both = episodes.iter().zip(&self.outcomes);
        both.filter(move |(episode, _)| is_meant(family(episode)))
    }

    fn tally(&self, episodes: &[Episode<'_>], is_meant: impl Fn(&str) -> bool) -> Tally {
        let mut tally = Tally::default();
        for (_, outcome) in self.of(episodes, is_meant) {
            tally.add(outcome);
        }
        tally
    }

    fn name(&self) -> String {
        format!("from {:.2} of the limit on", self.patience.used_share_min)
    }

    fn line(&self, tally: &Tally) -> String {
        let number = |value: Option<f64>| value.map_or("–".to_owned(), |v| format!("{v:.3}"));
        format!(
            "| {} | {} | {} | {} | {} |",
            self.name(),
            number(tally.recall()),
            number(tally.precision()),
            number(tally.lead(0.5)),
            number(tally.coverage()),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::{super::corpus::Trace, *};

    /// A minute of rest, then a rise by a megabyte a second, to `highest_mb`, and rest again.
    fn fills(family: &str, highest_mb: u64) -> Trace {
        let used = |second: u64| 100 + second.saturating_sub(60).min(highest_mb - 100);
        let point = |second: u64| super::super::corpus::Point {
            at_ms: i64::try_from(second * 1000).unwrap(),
            used_bytes: used(second) * 1_000_000,
            rss_bytes: used(second) * 1_000_000,
            cpu_millis: 0,
            processes: 1,
            threads: 1,
        };
        Trace {
            family: family.to_owned(),
            variant: "so".to_owned(),
            interval_ms: 1000,
            held_out: false,
            points: (0..900).map(point).collect(),
        }
    }

    #[test]
    fn a_family_is_judged_by_thresholds_that_were_fitted_without_it() {
        let traces = [fills("one", 400), fills("two", 600)];
        let episodes: Vec<Episode<'_>> = traces
            .iter()
            .flat_map(|trace| [300_000_000, 900_000_000].map(|limit| trace.under(limit)))
            .collect();
        let mut out = Vec::new();
        print(&mut out, &episodes).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.matches("| from ").count(), USED_SHARES.len());
        for family in ["one ", "two "] {
            assert!(text.contains(&format!("\n{family}")), "{text}");
        }
        assert!(
            text.contains("each family left out | 2 of 2 | 1.000"),
            "{text}"
        );
    }
}
