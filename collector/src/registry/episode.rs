//! Verdict episodes, so that `GET /api/v1/verdicts?state=all` survives a restart.

use std::collections::BTreeSet;

use parking_lot::Mutex;
use rusqlite::{OptionalExtension, Row, params};
use serde_json::{Value, json};

use super::{Registry, RegistryError};
use crate::{
    fact::ServerKey,
    text::Label,
    verdict::{Evidence, Rule, Severity, Verdict, WorkloadName},
};

/// Different names of evidence that may come out of the file. Each is kept for the life of the
/// program; the rules have some fifty, so more means that the file is not ours.
const EVIDENCE_NAMES_MAX: usize = 256;

/// Bytes of a string that is read back; longer than any that was admitted.
const TEXT_BYTES_MAX: usize = 4096;

const COLUMNS: &str = "episode, rule, user, server, workload_id, workload_title, severity, \
                       since_ms, updated_ms, cleared_ms, evidence, clears_when";

impl Registry {
    /// Writes the episode as it is now. A cleared one stays cleared, whatever is replayed.
    pub fn put_episode(&self, verdict: &Verdict) -> Result<(), RegistryError> {
        let workload = verdict.workload.as_ref();
        self.with("write a verdict", |db| {
            db.prepare_cached(
                "INSERT INTO episode VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
                 ON CONFLICT (episode) DO UPDATE SET
                    workload_id = excluded.workload_id, workload_title = excluded.workload_title,
                    severity = excluded.severity, updated_ms = excluded.updated_ms,
                    cleared_ms = excluded.cleared_ms, evidence = excluded.evidence,
                    clears_when = excluded.clears_when
                 WHERE episode.cleared_ms IS NULL OR excluded.cleared_ms IS NOT NULL",
            )?
            .execute(params![
                verdict.episode,
                verdict.rule.as_str(),
                &*verdict.key.user,
                &*verdict.key.server,
                workload.map(|name| name.id.as_str()),
                workload.map(|name| name.title.as_str()),
                verdict.severity.as_str(),
                verdict.since_ms,
                verdict.updated_ms,
                verdict.cleared_ms,
                evidence_to_json(&verdict.evidence).to_string(),
                verdict.clears_when,
            ])?;
            Ok(())
        })
    }

    /// One episode, as last written.
    pub fn episode(&self, episode: &str) -> Result<Option<Verdict>, RegistryError> {
        self.with("read a verdict", |db| {
            let row = db
                .prepare_cached(&format!("SELECT {COLUMNS} FROM episode WHERE episode = ?1"))?
                .query_row([episode], verdict_of)
                .optional()?;
            Ok(row.flatten())
        })
    }

    /// Episodes that were open when last written, oldest first.
    pub fn open_episodes(&self, limit: u32) -> Result<Vec<Verdict>, RegistryError> {
        self.episodes("cleared_ms IS NULL ORDER BY since_ms", limit)
    }

    /// The `limit` episodes cleared last, the newest last.
    pub fn cleared_episodes(&self, limit: u32) -> Result<Vec<Verdict>, RegistryError> {
        let mut verdicts =
            self.episodes("cleared_ms IS NOT NULL ORDER BY cleared_ms DESC", limit)?;
        verdicts.reverse();
        Ok(verdicts)
    }

    fn episodes(&self, which: &str, limit: u32) -> Result<Vec<Verdict>, RegistryError> {
        self.with("read verdicts", |db| {
            db.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM episode WHERE {which} LIMIT ?1"
            ))?
            .query_map([limit], verdict_of)?
            .filter_map(Result::transpose)
            .collect()
        })
    }
}

/// `None` for a rule or severity that this version does not know.
fn verdict_of(row: &Row<'_>) -> rusqlite::Result<Option<Verdict>> {
    let text = |at: usize| -> rusqlite::Result<String> { row.get(at) };
    let label = |at: usize| -> rusqlite::Result<Option<Label>> {
        let raw: Option<String> = row.get(at)?;
        Ok(raw.map(|raw| Label::clean(&raw, TEXT_BYTES_MAX)))
    };
    let (rule, severity) = (text(1)?, text(6)?);
    let rule = Rule::ALL.into_iter().find(|known| known.as_str() == rule);
    let severity = [Severity::Info, Severity::Warning, Severity::Critical]
        .into_iter()
        .find(|known| known.as_str() == severity);
    let (Some(rule), Some(severity)) = (rule, severity) else {
        return Ok(None);
    };
    let workload = match (label(4)?, label(5)?) {
        (Some(id), Some(title)) => Some(WorkloadName { id, title }),
        _ => None,
    };
    Ok(Some(Verdict {
        rule,
        episode: text(0)?,
        key: ServerKey::new(&text(2)?, &text(3)?),
        workload,
        severity,
        since_ms: row.get(7)?,
        updated_ms: row.get(8)?,
        cleared_ms: row.get(9)?,
        evidence: evidence_from_json(&text(10)?),
        clears_when: text(11)?,
    }))
}

// === evidence ===

/// A list of `[name, kind, value]`: the order is to be kept, and so is an integer's being one.
fn evidence_to_json(evidence: &[(&'static str, Evidence)]) -> Value {
    let item = |(name, value): &(&'static str, Evidence)| match value {
        Evidence::Integer(value) => json!([name, "integer", value]),
        Evidence::Number(value) => json!([name, "number", value]),
        Evidence::Flag(value) => json!([name, "flag", value]),
        Evidence::Word(value) => json!([name, "word", value.as_str()]),
    };
    Value::Array(evidence.iter().map(item).collect())
}

fn evidence_from_json(json: &str) -> Vec<(&'static str, Evidence)> {
    let items: Vec<(String, String, Value)> = serde_json::from_str(json).unwrap_or_default();
    let item = |(name, kind, value): (String, String, Value)| {
        let value = match kind.as_str() {
            "integer" => Evidence::Integer(value.as_i64()?),
            // JSON has no word for what is not finite; it was written as null.
            "number" => Evidence::Number(value.as_f64().unwrap_or(f64::NAN)),
            "flag" => Evidence::Flag(value.as_bool()?),
            "word" => Evidence::Word(Label::clean(value.as_str()?, TEXT_BYTES_MAX)),
            _ => return None,
        };
        Some((evidence_name(&name)?, value))
    };
    items.into_iter().filter_map(item).collect()
}

/// The one copy of `name` that lives as long as the program: names of evidence are constants
/// wherever they do not come from the file.
fn evidence_name(name: &str) -> Option<&'static str> {
    static NAMES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut names = NAMES.lock();
    if let Some(known) = names.get(name) {
        return Some(known);
    }
    if names.len() >= EVIDENCE_NAMES_MAX {
        return None;
    }
    let kept: &'static str = Box::leak(name.to_owned().into_boxed_str());
    names.insert(kept);
    Some(kept)
}
