//! Notices: a message about a verdict to a person, delivered once.
//!
//! `render` writes the words, `mail` and `webhook` carry them, `outbox` remembers what is to go
//! where so that neither a restart nor a replay of facts loses or repeats one. Recipients and
//! addresses come from the settings, never from a report.

mod mail;
mod outbox;
mod render;
mod unit;
mod webhook;

use std::fmt;

use crate::verdict::{Rule, Severity, Verdict, number_of};

pub use self::{
    mail::MailError,
    outbox::{Outbox, OutboxError, OutboxStats},
    render::{RenderError, Renderer},
    webhook::WebhookError,
};

/// Who is told what; from the settings file.
#[derive(Clone, Debug)]
pub struct NoticeConfig {
    /// Where people reach the hub page (`https://hub.example.org/services/hubmeter/`); the only
    /// base of a link in a notice.
    pub public_url: Option<String>,
    /// Which verdicts are worth a notice, each from which severity up.
    pub rules: Vec<(Rule, Severity)>,
    /// A `runaway_memory` is told once its limit is this near.
    pub within_ms: i64,
    /// Whether the end of an episode is told too.
    pub cleared: bool,
    /// Notices per channel within 24 hours.
    pub per_day_max: u32,
    /// Of those, about one user: one user's flood must not use up everybody's.
    pub per_user_day_max: u32,
    /// Mail to the admins.
    pub mail: Option<MailConfig>,
    /// JSON to somebody's web service.
    pub webhooks: Vec<WebhookConfig>,
}

/// How mail is handed over.
#[derive(Clone)]
pub struct MailConfig {
    /// Host name or address of the SMTP server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// What protects the connection.
    pub security: MailSecurity,
    /// Log in as.
    pub username: Option<String>,
    /// With this password; never printed.
    pub password: Option<String>,
    /// Sender, `hubmeter@example.org` or `Name <hubmeter@example.org>`.
    pub from: String,
    /// Recipients.
    pub to: Vec<String>,
}

/// What protects the connection to the SMTP server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailSecurity {
    /// Nothing: a relay on this machine or a trusted network.
    Plain,
    /// Begins plain and must turn to TLS.
    StartTls,
    /// TLS from the first byte.
    Tls,
}

/// A web service that is told.
#[derive(Clone, Debug)]
pub struct WebhookConfig {
    /// Where to POST; `https` unless the address is private and allowed.
    pub url: String,
    /// Lets it go to a loopback, private or link-local address, and by plain `http` there.
    pub allow_private: bool,
}

/// Begin or end of an episode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It was raised.
    Opened,
    /// It is over.
    Cleared,
}

/// A message about a verdict, in words.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// Begin or end.
    pub phase: Phase,
    /// One line for a mail's subject.
    pub subject: String,
    /// The whole thing in one sentence.
    pub text: String,
    /// Sentence, evidence and link as plain text.
    pub body_text: String,
    /// The same as HTML.
    pub body_html: String,
    /// The hub page, if its address is set.
    pub link: Option<String>,
    /// What it speaks of.
    pub verdict: Verdict,
}

// === impl Phase ===

impl Phase {
    /// Its word in the outbox and in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Cleared => "cleared",
        }
    }
}

// === impl MailConfig ===

impl fmt::Debug for MailConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MailConfig")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("security", &self.security)
            .field("username", &self.username)
            .field("password", &self.password.as_ref().map(|_| "…"))
            .field("from", &self.from)
            .field("to", &self.to)
            .finish()
    }
}

// === impl NoticeConfig ===

impl NoticeConfig {
    /// Whether `verdict` matters now: it may be right long before it is worth interrupting somebody.
    #[must_use]
    pub fn matters(&self, verdict: &Verdict) -> bool {
        let left_ms = |verdict| Some(number_of(verdict, "seconds_to_limit")? * 1000.0);
        verdict.rule != Rule::RunawayMemory
            || left_ms(verdict).is_some_and(|left_ms| left_ms <= self.within_ms as f64)
    }
}

impl Default for NoticeConfig {
    fn default() -> Self {
        Self {
            public_url: None,
            rules: vec![
                (Rule::RunawayMemory, Severity::Info),
                (Rule::Killed, Severity::Info),
                (Rule::NearLimit, Severity::Critical),
            ],
            within_ms: 10 * 60 * 1000,
            cleared: false,
            per_day_max: 200,
            per_user_day_max: 20,
            mail: None,
            webhooks: Vec::new(),
        }
    }
}
