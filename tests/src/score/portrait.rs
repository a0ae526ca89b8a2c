//! Pictures of `docs/VERDICTS.md`: a recorded trace, and where each rule was raised and cleared on it.
//!
//! They are drawn from the corpus by the code that judges live servers, and a test holds that those in
//! `docs/images` are what it draws.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use hubmeter_collector::{state::Policy, verdict::Rule};

use super::{
    corpus::{Corpus, Episode, Point},
    detector::{Detector, Ours},
};

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 150.0;
const LEFT: f64 = 8.0;
const TOP: f64 = 24.0;
const BOTTOM: f64 = 126.0;

/// A line of more points is thinned to so many columns, of which the least and the most are kept.
const COLUMNS: usize = 160;

/// What a picture shows over time.
#[derive(Clone, Copy, Debug)]
enum Shows {
    Memory,
    Processes,
    Threads,
}

/// One picture: a rule, on a trace. Rules that ask what kernels and people were doing are not drawn: the corpus
/// has no words of Jupyter's.
struct Portrait {
    rule: Rule,
    trace: &'static str,
    shows: Shows,
    /// The limit, as a multiple of the trace's highest.
    limit_times: f64,
    policy: fn() -> Policy,
}

const PORTRAITS: [Portrait; 4] = [
    Portrait::of(
        Rule::RunawayMemory,
        "leak_list-fast-5s",
        Shows::Memory,
        0.75,
    ),
    Portrait::of(Rule::NearLimit, "explore-heavy-5s", Shows::Memory, 1.05),
    Portrait::of(
        Rule::ProcessStorm,
        "fork_storm-heavy-5s",
        Shows::Processes,
        4.0,
    ),
    Portrait::of(
        Rule::ThreadStorm,
        "stuck_threads-quick-5s",
        Shows::Threads,
        4.0,
    ),
];

/// Every picture, as file name and SVG.
///
/// # Errors
/// The corpus lacks a trace that is drawn, or a rule is not raised on its own.
pub fn portraits(corpus: &Corpus) -> Result<Vec<(String, String)>> {
    PORTRAITS
        .iter()
        .map(|portrait| {
            let name = format!("verdict-{}.svg", portrait.rule.as_str());
            let svg = portrait.svg(corpus).with_context(|| name.clone())?;
            Ok((name, svg))
        })
        .collect()
}

// === impl Portrait ===

impl Portrait {
    const fn of(rule: Rule, trace: &'static str, shows: Shows, limit_times: f64) -> Self {
        Self {
            rule,
            trace,
            shows,
            limit_times,
            policy: match rule {
                Rule::ProcessStorm | Rule::ThreadStorm => small_storms,
                _ => Policy::default,
            },
        }
    }

    fn svg(&self, corpus: &Corpus) -> Result<String> {
        let trace = corpus.trace(self.trace).context(self.trace)?;
        let highest = trace.points.iter().map(|point| point.used_bytes).max();
        let limit_bytes = (highest.unwrap_or(0) as f64 * self.limit_times) as u64;
        let episode = trace.under(limit_bytes);
        let spans = self.spans(&episode);
        anyhow::ensure!(!spans.is_empty(), "the rule is never raised on it");
        Ok(self.draw(&episode, &spans))
    }

    /// From when to when (milliseconds) it was open.
    fn spans(&self, episode: &Episode<'_>) -> Vec<(i64, Option<i64>)> {
        let mut ours = Ours::of(&[self.rule], (self.policy)());
        let mut spans: Vec<(i64, Option<i64>)> = Vec::new();
        let mut open = false;
        for point in episode.seen() {
            let says = ours.see(point, episode.limit_bytes).alarm;
            if says && !open {
                spans.push((point.at_ms, None));
            } else if let (false, true, Some(last)) = (says, open, spans.last_mut()) {
                last.1 = Some(point.at_ms);
            }
            open = says;
        }
        spans
    }

    fn draw(&self, episode: &Episode<'_>, spans: &[(i64, Option<i64>)]) -> String {
        let line = self.line(episode.seen());
        let end_ms = line.last().map_or(1, |(at_ms, _)| *at_ms).max(1);
        let limit = matches!(self.shows, Shows::Memory).then_some(episode.limit_bytes as f64);
        let highest = line.iter().map(|(_, value)| *value).fold(0.0, f64::max);
        let top = limit.unwrap_or(highest).max(highest) * 1.04;
        let x = |at_ms: i64| LEFT + at_ms as f64 / end_ms as f64 * (WIDTH - 2.0 * LEFT);
        let y = |value: f64| BOTTOM - value / top * (BOTTOM - TOP);
        let mut inner = String::new();
        for (from_ms, to_ms) in spans {
            let (from, to) = (x(*from_ms), x(to_ms.unwrap_or(end_ms)));
            let _ = write!(
                inner,
                "<rect x='{from:.1}' y='{TOP}' width='{:.1}' height='{}' fill='#e8590c' fill-opacity='.22'/>\
                 <path d='M{from:.1} {TOP}V{BOTTOM}' stroke='#e8590c'/>",
                (to - from).max(1.0),
                BOTTOM - TOP
            );
        }
        if let Some(limit) = limit {
            let at = y(limit);
            let _ = write!(
                inner,
                "<path d='M{LEFT} {at:.1}H{}' stroke='#888' stroke-dasharray='4'/>",
                WIDTH - LEFT
            );
        }
        let points: Vec<String> = line
            .iter()
            .map(|(at_ms, value)| format!("{:.1},{:.1}", x(*at_ms), y(*value)))
            .collect();
        format!(
            "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}' font-family='sans-serif' font-size='12'>\
             <title>{rule} on {trace}</title>{inner}\
             <polyline points='{points}' fill='none' stroke='#3b8eea' stroke-width='1.5'/>\
             <g fill='#888'><text x='{LEFT}' y='15'>{trace}: {what}, at most {highest}</text>\
             <text x='{right}' y='15' text-anchor='end' fill='#e8590c'>{rule} open</text>\
             <text x='{LEFT}' y='143'>0</text><text x='{right}' y='143' text-anchor='end'>{minutes:.0} min</text></g></svg>\n",
            rule = self.rule.as_str(),
            trace = self.trace,
            points = points.join(" "),
            what = self.shows.name(),
            highest = self.shows.text(highest),
            right = WIDTH - LEFT,
            minutes = end_ms as f64 / 60_000.0,
        )
    }

    /// The least and the most of each column, in order.
    fn line(&self, points: &[Point]) -> Vec<(i64, f64)> {
        let values: Vec<(i64, f64)> = self.shows.values(points);
        if values.len() <= 2 * COLUMNS {
            return values;
        }
        let mut line = Vec::with_capacity(2 * COLUMNS);
        for column in values.chunks(values.len().div_ceil(COLUMNS)) {
            let by_value = |a: &&(i64, f64), b: &&(i64, f64)| a.1.total_cmp(&b.1);
            let mut ends: Vec<(i64, f64)> = [
                column.iter().min_by(by_value),
                column.iter().max_by(by_value),
            ]
            .into_iter()
            .flatten()
            .copied()
            .collect();
            ends.sort_by_key(|(at_ms, _)| *at_ms);
            ends.dedup();
            line.extend(ends);
        }
        line
    }
}

/// Storms of the corpus were bounded for the sake of the machine that recorded them; so are these bounds.
fn small_storms() -> Policy {
    Policy {
        process_storm: 60,
        thread_storm: 400,
        ..Policy::default()
    }
}

// === impl Shows ===

impl Shows {
    fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Processes => "processes",
            Self::Threads => "threads",
        }
    }

    fn text(self, value: f64) -> String {
        match self {
            Self::Memory => format!("{:.0} MB", value / 1e6),
            Self::Processes | Self::Threads => format!("{value:.0}"),
        }
    }

    fn values(self, points: &[Point]) -> Vec<(i64, f64)> {
        match self {
            Self::Memory => of_points(points, |point| point.used_bytes as f64),
            Self::Processes => of_points(points, |point| f64::from(point.processes)),
            Self::Threads => of_points(points, |point| f64::from(point.threads)),
        }
    }
}

fn of_points(points: &[Point], value: impl Fn(&Point) -> f64) -> Vec<(i64, f64)> {
    points
        .iter()
        .map(|point| (point.at_ms, value(point)))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    #[test]
    fn the_pictures_of_the_verdicts_are_what_the_detectors_do_today() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let corpus = Corpus::read(&root.join("corpus")).unwrap();
        for (name, drawn) in portraits(&corpus).unwrap() {
            let path = root.join("../docs/images").join(&name);
            let kept = fs::read_to_string(path).unwrap_or_default();
            let how = "`cargo xtask score -- --portraits docs/images` draws it anew";
            assert!(kept == drawn, "docs/images/{name} is of another day: {how}");
        }
    }
}
