//! What an admin wrote, as the person at the server sees it in JupyterLab.

use crate::{
    fact::ServerKey,
    registry::{MESSAGE_PREFIX, Message},
    verdict::{Rule, Severity, Verdict},
};

/// What JupyterLab shows of a message, its subject included: the agent cuts a notice's text at these
/// bytes, the extension at these characters.
const SHOWN_BYTES_MAX: usize = 2 * 1024;
const SHOWN_CHARS_MAX: usize = 1_000;

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
    (verdict, words_of(&message.subject, &message.text))
}

/// Why JupyterLab would not show the whole of a message; `None` where it does.
pub(crate) fn too_long_for_lab(subject: &str, text: &str) -> Option<String> {
    let words = words_of(subject, text);
    let (chars, bytes) = (words.chars().count(), words.len());
    (chars > SHOWN_CHARS_MAX || bytes > SHOWN_BYTES_MAX).then(|| {
        format!(
            "JupyterLab shows {SHOWN_CHARS_MAX} characters and {SHOWN_BYTES_MAX} bytes of subject and text, \
             these are {chars} characters and {bytes} bytes"
        )
    })
}

fn words_of(subject: &str, text: &str) -> String {
    format!("{subject}: {text}")
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

    #[test]
    fn a_message_is_too_long_where_jupyterlab_would_cut_it() {
        // "s: " is shown before the text.
        assert_eq!(too_long_for_lab("s", &"x".repeat(997)), None);
        let why = too_long_for_lab("s", &"x".repeat(998)).expect("too many characters");
        assert!(
            why.ends_with("these are 1001 characters and 1001 bytes"),
            "{why}"
        );
        // Three bytes each.
        assert_eq!(too_long_for_lab("s", &"\u{8a9e}".repeat(681)), None);
        let why = too_long_for_lab("s", &"\u{8a9e}".repeat(682)).expect("too many bytes");
        assert!(
            why.ends_with("these are 685 characters and 2049 bytes"),
            "{why}"
        );
    }
}
