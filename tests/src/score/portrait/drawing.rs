//! One picture, as SVG: what the rule looks at, where its thresholds are, and when it was open.

use std::fmt::Write as _;

use super::course::Span;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 168.0;
const LEFT: f64 = 8.0;
const TOP: f64 = 28.0;
const BOTTOM: f64 = 130.0;

/// A line of more points is thinned to so many columns, of which the least and the most are kept.
const COLUMNS: usize = 160;

/// Spans that are told by their times; of more it is told how many.
const SPANS_TOLD_MAX: usize = 2;

/// A value that ends above this share of a bound would be written over by the bound's name.
const NEAR_SHARE: f64 = 0.9;

/// What there is to draw.
pub(super) struct Drawing<'a> {
    pub(super) rule: &'a str,
    /// What is drawn, of what.
    pub(super) title: String,
    /// Values over time (milliseconds), without holes.
    pub(super) stretches: Vec<Vec<(i64, f64)>>,
    pub(super) marks: Vec<(f64, String)>,
    pub(super) spans: Vec<Span>,
    pub(super) end_ms: i64,
    pub(super) settings: &'a str,
}

// === impl Drawing ===

impl Drawing<'_> {
    pub(super) fn svg(&self) -> String {
        let mut inner = String::new();
        for (from_ms, to_ms) in &self.spans {
            let (from, to) = (self.x(*from_ms), self.x(to_ms.unwrap_or(self.end_ms)));
            let _ = write!(
                inner,
                "<rect x='{from:.1}' y='{TOP}' width='{:.1}' height='{}' fill='#e8590c' fill-opacity='.22'/>\
                 <path d='M{from:.1} {TOP}V{BOTTOM}' stroke='#e8590c'/>",
                (to - from).max(1.0),
                BOTTOM - TOP
            );
        }
        for (value, name) in &self.marks {
            let at = self.y(*value);
            let right = WIDTH - LEFT;
            // The name goes where the line of values is not.
            let last = self.stretches.iter().flatten().last();
            let (x, anchor) = match last {
                Some((_, last)) if *last > value * NEAR_SHARE => (LEFT, "start"),
                _ => (right, "end"),
            };
            let _ = write!(
                inner,
                "<path d='M{LEFT} {at:.1}H{right}' stroke='#888' stroke-dasharray='4'/>\
                 <text x='{x}' y='{:.1}' font-size='10' fill='#888' text-anchor='{anchor}'>{name}</text>",
                at - 4.5,
            );
        }
        for stretch in &self.stretches {
            let points: Vec<String> = thinned(stretch, self.columns(stretch))
                .iter()
                .map(|(at_ms, value)| format!("{:.1},{:.1}", self.x(*at_ms), self.y(*value)))
                .collect();
            let _ = write!(
                inner,
                "<polyline points='{}' fill='none' stroke='#3b8eea' stroke-width='1.5'/>",
                points.join(" ")
            );
        }
        format!(
            "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}' font-family='sans-serif' font-size='12'>\
             <title>{rule}: {title}</title>{inner}\
             <g fill='#888'><text x='{LEFT}' y='15'>{title}</text>\
             <text x='{right}' y='15' text-anchor='end' fill='#e8590c'>{rule} {when}</text>\
             <text x='{LEFT}' y='145'>0:00</text><text x='{right}' y='145' text-anchor='end'>{end}</text>\
             <text x='{LEFT}' y='162' font-size='11'>{settings}</text></g></svg>\n",
            rule = self.rule,
            title = self.title,
            when = self.when(),
            end = clock(self.end_ms),
            settings = self.settings,
            right = WIDTH - LEFT,
        )
    }

    fn when(&self) -> String {
        if self.spans.len() > SPANS_TOLD_MAX {
            return format!("open {} times", self.spans.len());
        }
        let told: Vec<String> = self
            .spans
            .iter()
            .map(|(from_ms, to_ms)| match to_ms {
                Some(to_ms) => format!("{}–{}", clock(*from_ms), clock(*to_ms)),
                None => format!("from {} on", clock(*from_ms)),
            })
            .collect();
        format!("open {}", told.join(", "))
    }

    fn x(&self, at_ms: i64) -> f64 {
        LEFT + at_ms as f64 / self.end_ms.max(1) as f64 * (WIDTH - 2.0 * LEFT)
    }

    fn y(&self, value: f64) -> f64 {
        let values = self.stretches.iter().flatten().map(|(_, value)| *value);
        let marks = self.marks.iter().map(|(value, _)| *value);
        let highest = values.chain(marks).fold(f64::MIN_POSITIVE, f64::max);
        BOTTOM - value / highest * (BOTTOM - TOP - 12.0)
    }

    /// A stretch gets as many as are its part of the time.
    fn columns(&self, stretch: &[(i64, f64)]) -> usize {
        let (Some((from_ms, _)), Some((to_ms, _))) = (stretch.first(), stretch.last()) else {
            return 1;
        };
        let part = (to_ms - from_ms) as f64 / self.end_ms.max(1) as f64;
        ((COLUMNS as f64 * part) as usize).max(1)
    }
}

/// The least and the most of each column, in order.
fn thinned(values: &[(i64, f64)], columns: usize) -> Vec<(i64, f64)> {
    if values.len() <= 2 * columns {
        return values.to_vec();
    }
    let mut line = Vec::with_capacity(2 * columns);
    for column in values.chunks(values.len().div_ceil(columns)) {
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

/// Minutes and seconds since the picture begins.
fn clock(at_ms: i64) -> String {
    let seconds = at_ms / 1000;
    format!("{}:{:02}", seconds / 60, seconds % 60)
}
