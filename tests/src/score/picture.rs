//! A picture of one episode: memory, the limit, and where alarms were raised.

use std::fmt::Write as _;

use super::{corpus::Episode, outcome::Outcome};

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 300.0;
const MARGIN: f64 = 40.0;

/// As SVG.
#[must_use]
pub fn svg(episode: &Episode<'_>, outcome: &Outcome) -> String {
    let points = &episode.trace.points;
    let end = episode
        .crossing
        .map_or(points.len() - 1, |at| at.min(points.len() - 1));
    let span_ms = points[end].at_ms.max(1) as f64;
    let top = episode.limit_bytes as f64 * 1.05;
    let x = |at_ms: i64| MARGIN + at_ms as f64 / span_ms * (WIDTH - 2.0 * MARGIN);
    let y = |bytes: u64| HEIGHT - MARGIN - bytes as f64 / top * (HEIGHT - 2.0 * MARGIN);
    let mut line = String::new();
    for point in &points[..=end] {
        let _ = write!(line, "{:.1},{:.1} ", x(point.at_ms), y(point.used_bytes));
    }
    let mut alarms = String::new();
    for &at in &outcome.raised {
        let _ = write!(
            alarms,
            "<line x1='{0:.1}' x2='{0:.1}' y1='{MARGIN}' y2='{1}' stroke='#d55e00'/>",
            x(points[at].at_ms),
            HEIGHT - MARGIN
        );
    }
    let limit = y(episode.limit_bytes);
    format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}' font-family='sans-serif' font-size='12'>\
         <rect width='100%' height='100%' fill='white'/>\
         <text x='{MARGIN}' y='20'>{} at a limit of {:.0} MB, {:.0} s</text>\
         <line x1='{MARGIN}' x2='{}' y1='{limit:.1}' y2='{limit:.1}' stroke='#888' stroke-dasharray='4'/>\
         {alarms}<polyline points='{line}' fill='none' stroke='#0072b2' stroke-width='1.5'/></svg>\n",
        episode.trace.name(),
        episode.limit_bytes as f64 / 1e6,
        span_ms / 1000.0,
        WIDTH - MARGIN,
    )
}
