//! What web services are told, each in the form it understands.
//!
//! A user's names go out escaped for each of them: what they chose must not notify a channel, draw
//! a link or end a sentence.

use serde_json::{Map, Value, json};

use super::{Notice, Phase, WebhookBody};
use crate::{
    serve::shape::rfc3339,
    text,
    verdict::{Evidence, Severity},
};

/// Alertmanager forgets an alert that is not told again within this time.
const ALERT_KEPT_MS: i64 = 35 * 60 * 1000;

/// What is posted of `notice` at `now_ms`.
pub(super) fn body_of(kind: WebhookBody, notice: &Notice, now_ms: i64) -> Value {
    match kind {
        WebhookBody::Generic => generic(notice),
        WebhookBody::Slack => slack(notice),
        WebhookBody::Mattermost => mattermost(notice),
        WebhookBody::Alertmanager => alertmanager(notice, now_ms),
    }
}

/// Everything. `id` is the same for every attempt.
fn generic(notice: &Notice) -> Value {
    let verdict = &notice.verdict;
    let evidence: Map<String, Value> = verdict
        .evidence
        .iter()
        .map(|(name, value)| {
            let value = match value {
                Evidence::Integer(value) => json!(value),
                Evidence::Number(value) => json!(value), // null when not finite
                Evidence::Flag(value) => json!(value),
                Evidence::Word(value) => json!(value.as_str()),
            };
            ((*name).to_owned(), value)
        })
        .collect();
    json!({
        "id": format!("{}.{}", verdict.episode, notice.phase.as_str()),
        "phase": notice.phase.as_str(),
        "episode": verdict.episode,
        "rule": verdict.rule.as_str(),
        "severity": verdict.severity.as_str(),
        "user": &*verdict.key.user,
        "server": &*verdict.key.server,
        "workload": verdict.workload.as_ref().map(|workload| workload.title.as_str()),
        "since": rfc3339(verdict.since_ms),
        "cleared": verdict.cleared_ms.and_then(rfc3339),
        "text": notice.text,
        "link": notice.link,
        "runbook": notice.runbook,
        "evidence": evidence,
    })
}

/// The bar beside a message.
fn colour(notice: &Notice) -> &'static str {
    match (notice.phase, notice.verdict.severity) {
        (Phase::Cleared, _) => "#2e7d32",
        (_, Severity::Info) => "#1f6feb",
        (_, Severity::Warning) => "#d97706",
        (_, Severity::Critical) => "#c62828",
    }
}

/// Sentences are plain text, in which Slack reads neither mentions nor links; links are ours.
fn slack(notice: &Notice) -> Value {
    let links = [("hub page", &notice.link), ("what to do", &notice.runbook)];
    let links: Vec<String> = links
        .iter()
        .filter_map(|(words, url)| Some(format!("<{}|{words}>", text::slack(url.as_ref()?))))
        .collect();
    let about = format!(
        "*{}*, {}{}{}",
        notice.verdict.rule.as_str().replace('_', " "),
        notice.verdict.severity.as_str(),
        if links.is_empty() { "" } else { " · " },
        links.join(" · "),
    );
    json!({
        "text": text::slack(&notice.text),
        "mrkdwn": false,
        "attachments": [{
            "color": colour(notice),
            "fallback": text::slack(&notice.text),
            "blocks": [
                {"type": "section",
                 "text": {"type": "plain_text", "text": notice.text, "emoji": false}},
                {"type": "context", "elements": [{"type": "mrkdwn", "text": about}]},
            ],
        }],
    })
}

fn mattermost(notice: &Notice) -> Value {
    let verdict = &notice.verdict;
    let mut fields = vec![
        json!({"short": true, "title": "Rule", "value": verdict.rule.as_str().replace('_', " ")}),
        json!({"short": true, "title": "Severity", "value": verdict.severity.as_str()}),
    ];
    if let Some(runbook) = &notice.runbook {
        let value = format!("[what to do]({runbook})");
        fields.push(json!({"short": true, "title": "Runbook", "value": value}));
    }
    json!({
        "username": "hubmeter",
        "attachments": [{
            "fallback": text::markdown(&notice.text),
            "color": colour(notice),
            "text": text::markdown(&notice.text),
            "title": notice.link.as_ref().map(|_| "hub page"),
            "title_link": notice.link,
            "fields": fields,
        }],
    })
}

/// One alert. Labels say which it is and never change; all else is annotation.
fn alertmanager(notice: &Notice, now_ms: i64) -> Value {
    let verdict = &notice.verdict;
    let ends_ms = verdict.cleared_ms.unwrap_or(now_ms + ALERT_KEPT_MS);
    let mut annotations = Map::from_iter([
        ("summary".to_owned(), json!(notice.text)),
        ("description".to_owned(), json!(notice.body_text)),
    ]);
    for (name, value) in [
        ("runbook_url", &notice.runbook),
        ("dashboard", &notice.link),
    ] {
        if let Some(value) = value {
            annotations.insert(name.to_owned(), json!(value));
        }
    }
    let mut alert = json!([{
        "labels": {
            "alertname": format!("hubmeter_{}", verdict.rule.as_str()),
            "rule": verdict.rule.as_str(),
            "severity": verdict.severity.as_str(),
            "user": &*verdict.key.user,
            "server": &*verdict.key.server,
            "episode": verdict.episode,
        },
        "annotations": annotations,
        "startsAt": rfc3339(verdict.since_ms),
        "endsAt": rfc3339(ends_ms),
    }]);
    if let Some(link) = &notice.link {
        alert[0]["generatorURL"] = json!(link);
    }
    alert
}

#[cfg(test)]
mod tests;
