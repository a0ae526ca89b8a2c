//! What a round says: a table or a line of JSON each, and the log.

use std::io::{self, Write as _};

use serde::Serialize;

use super::{
    CullError,
    round::{Outcome, Round, Told},
};
use crate::{
    clock::{Clock as _, SystemClock},
    limits::HUB_NAME_BYTES_MAX,
    serve::shape::rfc3339,
    text::Label,
    verdict::idle::in_words,
};

/// Bytes of a reason in a table.
const REASON_BYTES_MAX: usize = 400;

/// The table's head; the last column is as wide as it is.
const HEAD: [&str; 5] = ["USER", "SERVER", "ACTION", "IDLE", "REASON"];

/// How rounds are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Table,
    Json,
}

/// A row for programs.
#[derive(Serialize)]
struct Line<'a> {
    time: Option<&'a str>,
    user: &'a str,
    server: Option<&'a str>,
    action: &'static str,
    idle_seconds: Option<u64>,
    held_until: Option<&'a str>,
    reason: &'a str,
}

/// Writes the whole round to standard output.
pub(super) fn whole(round: &Round, form: Form) -> Result<(), CullError> {
    let text = match form {
        Form::Table => table(round),
        Form::Json => json(round),
    };
    match io::stdout().write_all(text.as_bytes()) {
        // Whoever read has read enough (`| head`).
        Err(source) if source.kind() != io::ErrorKind::BrokenPipe => Err(CullError::System {
            what: "write the table",
            source,
        }),
        _ => Ok(()),
    }
}

pub(super) fn json(round: &Round) -> String {
    let time = rfc3339(SystemClock.now_ms());
    let lines = round.rows.iter().filter_map(|told| {
        let line = Line {
            time: time.as_deref(),
            user: &told.user,
            server: told.server.as_deref(),
            action: told.outcome.as_str(told.server.is_none()),
            idle_seconds: told.judgement.idle_seconds,
            held_until: told.judgement.held_until.as_deref(),
            reason: &told.judgement.reason,
        };
        serde_json::to_string(&line).ok()
    });
    lines.map(|line| line + "\n").collect()
}

pub(super) fn table(round: &Round) -> String {
    if round.rows.is_empty() {
        // Where the round failed, that is said elsewhere.
        let nobody = "no server runs\n".to_owned();
        return if round.trouble.is_none() {
            nobody
        } else {
            String::new()
        };
    }
    let mut rows = vec![HEAD.map(str::to_owned)];
    rows.extend(round.rows.iter().map(cells));
    let mut widths = [0; HEAD.len() - 1];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |row: &[String; HEAD.len()]| {
        let padded = row.iter().zip(widths);
        let mut line: String = padded
            .map(|(cell, width)| format!("{cell:<width$}  "))
            .collect();
        line.push_str(&row[HEAD.len() - 1]);
        line + "\n"
    };
    rows.iter().map(line).collect()
}

fn cells(told: &Told) -> [String; HEAD.len()] {
    let name = |name: &str| Label::clean(name, HUB_NAME_BYTES_MAX).to_string();
    let idle = told.judgement.idle_seconds;
    let idle_ms =
        idle.map(|seconds| i64::try_from(seconds).map_or(i64::MAX, |s| s.saturating_mul(1000)));
    [
        name(&told.user),
        match told.server.as_deref() {
            None => "(the user)".to_owned(),
            Some("") => "(default)".to_owned(),
            Some(server) => name(server),
        },
        told.outcome.as_str(told.server.is_none()).to_owned(),
        idle_ms.map_or_else(|| "?".to_owned(), in_words),
        Label::clean(&told.judgement.reason, REASON_BYTES_MAX).to_string(),
    ]
}

/// Tells the log what was done, and how many were not touched.
pub(super) fn log(round: &Round) {
    if let Some(trouble) = &round.trouble {
        tracing::warn!("{trouble}");
    }
    let mut counts = [0_usize; 3];
    for told in &round.rows {
        let [user, server, _, _, reason] = cells(told);
        let action = told.outcome.as_str(told.server.is_none());
        match told.outcome {
            Outcome::Kept => {
                counts[2] += 1;
                tracing::debug!(user, server, reason, "{action}");
                continue;
            }
            Outcome::Failed => {
                counts[1] += 1;
                tracing::warn!(user, server, reason, "{action}");
            }
            Outcome::Slowly => {
                counts[0] += 1;
                tracing::warn!(user, server, reason, "slow to stop");
            }
            _ => {
                counts[0] += 1;
                tracing::info!(user, server, reason, "{action}");
            }
        }
    }
    let [done, failed, kept] = counts;
    tracing::info!(done, failed, kept, "round");
}
