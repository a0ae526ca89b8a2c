//! What an admin wrote, as the person at the server sees it in JupyterLab.

use crate::{
    fact::ServerKey,
    registry::{MESSAGE_PREFIX, Message},
    verdict::{Rule, Severity, Verdict},
};

/// The word for what no rule found.
const MESSAGE: &str = "message";

/// `message` for the server `key`. Notices go to agents as verdicts; this one's name says that it
/// is none.
pub(crate) fn lab_message(key: &ServerKey, message: &Message) -> (Verdict, String) {
    let verdict = Verdict {
        rule: Rule::Idle,
        episode: format!("{MESSAGE_PREFIX}{}", message.id),
        key: key.clone(),
        workload: None,
        severity: Severity::Info,
        since_ms: message.written_ms,
        updated_ms: message.written_ms,
        cleared_ms: None,
        evidence: Vec::new(),
        clears_when: String::new(),
    };
    (verdict, format!("{}: {}", message.subject, message.text))
}

/// The rule that an agent is told.
pub(crate) fn rule_word(verdict: &Verdict) -> &'static str {
    if verdict.episode.starts_with(MESSAGE_PREFIX) {
        return MESSAGE;
    }
    verdict.rule.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_of_no_rule() {
        let message = Message {
            id: 7,
            user: "root".to_owned(),
            written_ms: 1,
            subject: "Tomorrow".to_owned(),
            text: "The hub is updated.".to_owned(),
            filter: "everybody".to_owned(),
            recipients: 1,
        };
        let (verdict, text) = lab_message(&ServerKey::new("ann", ""), &message);
        assert_eq!(rule_word(&verdict), "message");
        assert_eq!(text, "Tomorrow: The hub is updated.");
        let verdict = Verdict {
            episode: "c421eb18a699b9f0".to_owned(),
            ..verdict
        };
        assert_eq!(rule_word(&verdict), "idle");
    }
}
