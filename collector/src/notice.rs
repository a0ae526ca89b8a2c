//! Notices: a message about a verdict to a person, delivered once.
//!
//! `render` writes the words, `mail` and `webhook` carry them, `outbox` remembers what is to go
//! where so that neither a restart nor a replay of facts loses or repeats one. Recipients and
//! addresses come from the settings, never from a report.

use std::path::PathBuf;

use crate::verdict::{Rule, Severity};

/// Who is told what; from the settings file.
#[derive(Clone, Debug)]
pub struct NoticeConfig {
    /// Where people reach the hub page (`https://hub.example.org/services/hubmeter/`); the only
    /// base of a link in a notice.
    pub public_url: Option<String>,
    /// Which verdicts are worth a notice, each from which severity up.
    pub rules: Vec<(Rule, Severity)>,
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
#[derive(Clone, Debug)]
pub struct MailConfig {
    /// Host name or address of the SMTP server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// What protects the connection.
    pub security: MailSecurity,
    /// Log in as.
    pub username: Option<String>,
    /// File that holds the password, and nothing else but a line end.
    pub password_file: Option<PathBuf>,
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
    /// Names the channel in the outbox: keep it when the address changes.
    pub name: String,
    /// Where to POST; `https` unless the address is private and allowed.
    pub url: String,
    /// Lets it go to a loopback, private or link-local address, and by plain `http` there.
    pub allow_private: bool,
}

// === impl NoticeConfig ===

impl Default for NoticeConfig {
    fn default() -> Self {
        Self {
            public_url: None,
            rules: vec![
                (Rule::RunawayMemory, Severity::Info),
                (Rule::Killed, Severity::Info),
                (Rule::NearLimit, Severity::Critical),
            ],
            cleared: false,
            per_day_max: 200,
            per_user_day_max: 20,
            mail: None,
            webhooks: Vec::new(),
        }
    }
}
