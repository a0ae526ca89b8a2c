//! Verdicts that never were, one of each rule, to show an admin what notices look like.

use std::path::Path;

use super::{NoticeConfig, Reader, RenderError, Renderer, picture, scene::Scene};
use crate::{
    fact::ServerKey,
    text::Label,
    verdict::{Evidence, Rule, Severity, Verdict, WorkloadName},
};

const MINUTE_MS: i64 = 60 * 1000;
const GIB: f64 = 1024.0 * 1024.0 * 1024.0;

/// Points of an example's picture.
const POINTS: i64 = 360;

/// How a preview is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PreviewFormat {
    /// Subject and plain text.
    Text,
    /// The HTML with its picture in it.
    Html,
    /// The picture alone.
    Png,
}

/// What a mail about `rule` looks like to `reader`, at `now_ms`.
pub(crate) fn preview(
    config: &NoticeConfig,
    rule: Rule,
    reader: Reader,
    format: PreviewFormat,
    now_ms: i64,
) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
    let renderer = Renderer::new(config)?;
    let verdict = verdict(rule, now_ms);
    let scene = scene(&verdict, now_ms);
    Ok(match format {
        PreviewFormat::Png => picture::png(&scene)?,
        PreviewFormat::Html => renderer.page(&verdict, reader, &scene)?.into_bytes(),
        PreviewFormat::Text => renderer.plain(&verdict, reader, &scene)?.into_bytes(),
    })
}

/// Tries the templates in `dir` on an example of each rule: an admin's mistake is to show now.
///
/// # Errors
/// One of them is broken, or there is a file that is no template.
pub fn rehearse(dir: &Path) -> Result<(), RenderError> {
    let config = NoticeConfig {
        template_dir: Some(dir.to_owned()),
        ..NoticeConfig::default()
    };
    let renderer = Renderer::new(&config)?.only_theirs()?;
    for rule in Rule::ALL {
        let verdict = verdict(rule, 0);
        renderer.rehearse(&verdict, &scene(&verdict, 0))?;
    }
    Ok(())
}

/// One of `rule`, of a user called alice.
pub(super) fn verdict(rule: Rule, now_ms: i64) -> Verdict {
    let since_ms = now_ms - MINUTE_MS;
    let about_workload = !matches!(
        rule,
        Rule::Idle | Rule::Silent | Rule::DiskNearLimit | Rule::StartFailures
    );
    Verdict {
        rule,
        episode: "0000000000000000".to_owned(),
        key: ServerKey::new("alice", ""),
        workload: about_workload.then(|| WorkloadName {
            id: Label::clean("kernel", 16),
            title: Label::clean("train.ipynb", 16),
        }),
        severity: match rule {
            Rule::RunawayMemory | Rule::NearLimit | Rule::Killed => Severity::Critical,
            Rule::Idle | Rule::IdleHog => Severity::Info,
            _ => Severity::Warning,
        },
        since_ms,
        updated_ms: now_ms,
        cleared_ms: None,
        evidence: evidence(rule, now_ms),
        clears_when: "what is told here is no longer so".to_owned(),
    }
}

fn evidence(rule: Rule, now_ms: i64) -> Vec<(&'static str, Evidence)> {
    use Evidence::{Flag, Integer, Number};
    let bytes = |gib: f64| Integer((gib * GIB) as i64);
    let moment = |back_ms: i64| {
        let at = crate::serve::shape::rfc3339(now_ms - back_ms).unwrap_or_default();
        Evidence::Word(Label::clean(&at, 32))
    };
    let memory = [
        ("memory_used_bytes", bytes(2.9)),
        ("memory_limit_bytes", bytes(4.0)),
        ("memory_limit_enforced", Flag(true)),
        ("memory_limit_shared", Flag(false)),
    ];
    let own = match rule {
        Rule::RunawayMemory => vec![
            ("trend_bytes_per_second", Number(4.4e6)),
            ("seconds_to_limit", Number(268.0)),
            ("workload_share", Number(0.97)),
        ],
        Rule::Killed => vec![("workload_memory_used_bytes", bytes(2.6))],
        Rule::RunawayCpu => vec![("cpu_cores", Number(3.9)), ("cpu_since", moment(600_000))],
        Rule::ProcessStorm => vec![
            ("processes", Integer(640)),
            ("processes_before", Integer(12)),
        ],
        Rule::ThreadStorm => vec![("threads", Integer(4_100)), ("threads_before", Integer(60))],
        Rule::IdleHog | Rule::Idle => vec![
            ("idle_since", moment(10_800_000)),
            ("workload_memory_used_bytes", bytes(2.6)),
        ],
        Rule::Overuse => vec![
            ("cpu_mean_cores", Number(7.5)),
            ("cpu_from_cores", Number(1.8)),
            ("quota_cores", Number(4.0)),
        ],
        Rule::DiskNearLimit => vec![
            ("disk_used_bytes", bytes(19.4)),
            ("disk_limit_bytes", bytes(20.0)),
            ("disk_used_share", Number(0.97)),
            ("disk_quota", Flag(true)),
        ],
        Rule::Silent => return vec![("last_seen", moment(600_000))],
        Rule::StartFailures => {
            return vec![("failures", Integer(2)), ("approximate", Flag(false))];
        }
        Rule::NearLimit => Vec::new(),
    };
    own.into_iter().chain(memory).collect()
}

/// An hour that ends in it.
pub(super) fn scene(verdict: &Verdict, now_ms: i64) -> Scene {
    let from_ms = now_ms - 60 * MINUTE_MS;
    let step_ms = 60 * MINUTE_MS / POINTS;
    let memory = (0..POINTS).map(|at| {
        let wave = (at as f64 / 9.0).sin() * 0.03 + (at as f64 / 31.0).sin() * 0.06;
        let grown = (at - POINTS * 9 / 10).max(0) as f64 / (POINTS as f64 / 10.0);
        let gib = 1.25 + wave + grown * 1.6;
        (from_ms + (at + 1) * step_ms, gib * GIB)
    });
    let held = [
        ("train.ipynb", 2.6),
        ("Jupyter itself", 0.2),
        ("clean.ipynb", 0.1),
    ];
    let scene = Scene {
        from_ms,
        to_ms: now_ms,
        memory: memory.collect(),
        limit_bytes: Some(4.0 * GIB),
        leads_to: None,
        ended_ms: (verdict.rule == Rule::Killed).then_some(now_ms - 1_000),
        workloads: held
            .into_iter()
            // What was killed runs no more.
            .skip(usize::from(verdict.rule == Rule::Killed))
            .map(|(title, gib)| (title.to_owned(), (gib * GIB) as u64))
            .collect(),
    };
    scene.predicted(verdict)
}

#[cfg(test)]
mod tests;
