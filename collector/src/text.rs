//! The only door through which a user's strings enter and leave.
//!
//! Names of users, servers, kernels, notebooks and machines are claims of somebody beside hostile
//! code. They are cleaned once into a [`Label`]; every outlet escapes them for where they go, by a
//! function of this module and nowhere else.

use std::{fmt, sync::Arc};

/// A cleaned string: bounded, one line, without control, bidi or invisible formatting characters.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Label(Arc<str>);

// === impl Label ===

impl Label {
    /// Cleans `raw` and cuts it to `bytes_max` at a character boundary. Characters that could
    /// move a cursor, reverse text, break a line or hide are replaced by U+FFFD.
    #[must_use]
    pub fn clean(raw: &str, bytes_max: usize) -> Self {
        let mut out = String::with_capacity(raw.len().min(bytes_max));
        for c in raw.chars() {
            let c = if is_unsafe(c) {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            };
            if out.len() + c.len_utf8() > bytes_max {
                break;
            }
            out.push(c);
        }
        Self(out.into())
    }

    /// The cleaned text; still to be escaped for where it goes.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{00AD}' | '\u{061C}' | '\u{180E}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}' | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E007F}'
        )
}

// === outlets ===

/// For HTML text and double-quoted attributes.
#[must_use]
pub fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// For a label value of the Prometheus text format.
#[must_use]
pub fn prom(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

/// For a text cell of a CSV file: a leading character that spreadsheets take for a formula is
/// defused with an apostrophe. Quoting is the `csv` crate's.
#[must_use]
pub fn csv(text: &str) -> String {
    match text.chars().next() {
        Some('=' | '+' | '-' | '@' | '\t' | '\r' | '\n') => format!("'{text}"),
        _ => text.to_owned(),
    }
}

/// For a mail header: one line, whatever comes in.
#[must_use]
pub fn mail_header(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// For Slack's own text format: neither a mention nor a link can begin.
#[must_use]
pub fn slack(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// For Markdown as chat servers read it: every character that means something is escaped, and a
/// name behind `@` or `#` is nobody's.
#[must_use]
pub fn markdown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if "\\`*_{}[]()<>#+-!|~:=&".contains(c) {
            out.push('\\');
        }
        out.push(c);
        if matches!(c, '@' | '#') {
            // Without width, and no part of a name.
            out.push('\u{200B}');
        }
    }
    out
}
