//! What a notice's picture shows: the hour before, the limit, where it leads, what runs there.

use crate::{
    fact::WorkloadKind,
    history::{Cells, Column, Field, History, ReadQuery, Stat, Table},
    pipeline::SharedState,
    verdict::{Rule, Verdict, number_of},
};

const MINUTE_MS: i64 = 60 * 1000;

/// How far back the picture goes.
const BACK_MS: i64 = 60 * MINUTE_MS;

/// One point in so much time: finer than a picture of this width can show.
const STEP_MS: i64 = 10 * 1000;

/// How far ahead a prediction is drawn, at least and at most.
const AHEAD_MS: (i64, i64) = (3 * MINUTE_MS, 20 * MINUTE_MS);

/// A picture of an end goes on for so long.
const AFTER_MS: i64 = MINUTE_MS;

/// A hole in the points breaks the line.
pub(super) const HOLE_MS: i64 = 2 * MINUTE_MS;

/// Workloads that are named.
const WORKLOADS_MAX: usize = 6;

/// What the picture shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scene {
    /// From when.
    pub from_ms: i64,
    /// To when.
    pub to_ms: i64,
    /// Memory over time, oldest first.
    pub memory: Vec<(i64, f64)>,
    /// The newest limit.
    pub limit_bytes: Option<f64>,
    /// Where memory will be at `to_ms` or at the limit, if the trend goes on.
    pub leads_to: Option<(i64, f64)>,
    /// When something ended.
    pub ended_ms: Option<i64>,
    /// What runs there and what each holds, largest first.
    pub workloads: Vec<(String, u64)>,
}

/// Knows what was and is.
pub trait Scenes: Send + Sync {
    /// What there is to show of `verdict` at `now_ms`. May wait for the disk.
    fn of(&self, verdict: &Verdict, now_ms: i64) -> Option<Scene>;
}

/// Scenes out of what the collector keeps.
pub struct KeptScenes {
    /// What was.
    pub history: History,
    /// What is.
    pub state: SharedState,
}

// === impl KeptScenes ===

impl Scenes for KeptScenes {
    fn of(&self, verdict: &Verdict, now_ms: i64) -> Option<Scene> {
        let ended_ms = (verdict.rule == Rule::Killed).then_some(verdict.since_ms);
        let seen_ms = ended_ms.map_or(now_ms, |ended_ms| (ended_ms + AFTER_MS).min(now_ms));
        let mean = |column| Field {
            column,
            stat: Stat::Mean,
        };
        let query = ReadQuery {
            key: verdict.key.clone(),
            from_ms: seen_ms - BACK_MS,
            to_ms: seen_ms,
            step_ms: Some(STEP_MS),
            fields: vec![
                mean(Column::MemoryUsedBytes),
                mean(Column::MemoryLimitBytes),
            ],
        };
        let table = self
            .history
            .read(&query)
            .inspect_err(|error| {
                let error = crate::causes::chain(error);
                tracing::warn!(error, "a mail goes out without its picture");
            })
            .ok()?;
        let memory = column(&table, 0);
        if memory.len() < 2 {
            return None;
        }
        let limit_bytes = column(&table, 1).last().map(|(_, limit)| *limit);
        let scene = Scene {
            from_ms: seen_ms - BACK_MS,
            to_ms: seen_ms,
            memory,
            limit_bytes,
            ended_ms,
            workloads: self.workloads(verdict),
            leads_to: None,
        };
        Some(scene.predicted(verdict))
    }
}

impl KeptScenes {
    fn workloads(&self, verdict: &Verdict) -> Vec<(String, u64)> {
        let truth = self.state.read();
        let server = truth.servers.get(&verdict.key);
        let latest = server.and_then(|server| server.latest.as_ref());
        let rows = latest.map_or(&[][..], |sample| &sample.workloads);
        let mut held: Vec<(String, u64)> = rows
            .iter()
            .filter_map(|row| {
                let title = match (row.key.kind, &row.notebook) {
                    (WorkloadKind::Server, _) => "Jupyter itself".to_owned(),
                    (WorkloadKind::Other, _) => "other processes".to_owned(),
                    (_, Some(notebook)) => notebook.to_string(),
                    (_, None) if row.name.is_empty() => row.key.id.to_string(),
                    (_, None) => row.name.to_string(),
                };
                Some((title, row.memory_used_bytes?))
            })
            .collect();
        held.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        held.truncate(WORKLOADS_MAX);
        held
    }
}

fn column(table: &Table, at: usize) -> Vec<(i64, f64)> {
    match table.columns.get(at) {
        Some((_, Cells::Integers(cells))) => table
            .time
            .iter()
            .zip(cells)
            .filter_map(|(time, cell)| Some((*time, (*cell)? as f64)))
            .collect(),
        _ => Vec::new(),
    }
}

// === impl Scene ===

impl Scene {
    /// Goes on as `verdict` says that it will, while it is open.
    #[must_use]
    pub(super) fn predicted(self, verdict: &Verdict) -> Self {
        let trend = number_of(verdict, "trend_bytes_per_second").filter(|trend| *trend > 0.0);
        let (Some(&(from_ms, from)), Some(trend), None, None) =
            (self.memory.last(), trend, verdict.cleared_ms, self.ended_ms)
        else {
            return self;
        };
        let left = self.limit_bytes.map(|limit| (limit - from).max(0.0));
        let left_ms = left.map_or(i64::MAX, |left| (left / trend * 1000.0) as i64);
        let ahead_ms = left_ms.clamp(AHEAD_MS.0, AHEAD_MS.1);
        let drawn_ms = left_ms.min(ahead_ms);
        let to = from + trend * drawn_ms as f64 / 1000.0;
        Self {
            to_ms: from_ms + ahead_ms,
            leads_to: Some((from_ms + drawn_ms, to)),
            ..self
        }
    }
}
