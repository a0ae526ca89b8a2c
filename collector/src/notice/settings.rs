//! Who is told what, and how: the settings below `notice`, read and checked by `config`.

use std::{fmt, path::PathBuf};

use super::quiet::Quiet;
use crate::verdict::{Rule, Severity, Verdict, number_of};

/// Who is told what; from the settings file.
#[derive(Clone, Debug)]
pub struct NoticeConfig {
    /// Where people reach the hub page (`https://hub.example.org/services/hubmeter/`); with
    /// `runbooks` the only base of a link in a notice.
    pub public_url: Option<String>,
    /// Which verdicts are worth a notice to admins, each from which severity up.
    pub rules: Vec<(Rule, Severity)>,
    /// A `runaway_memory` is told once its limit is this near.
    pub within_ms: i64,
    /// Whether the end of an episode is told too.
    pub cleared: bool,
    /// How long after the last notice an open episode that nobody acknowledged is told again.
    pub repeat_ms: Option<i64>,
    /// Mail of this much time goes out as one, unless it is critical.
    pub digest_ms: Option<i64>,
    /// When mail waits, unless it is critical.
    pub quiet: Option<Quiet>,
    /// Notices per channel to admins within 24 hours.
    pub per_day_max: u32,
    /// Of those, about one user: one user's flood must not use up everybody's.
    pub per_user_day_max: u32,
    /// What to do about a rule's verdicts.
    pub runbooks: Runbooks,
    /// Templates that replace ours.
    pub template_dir: Option<PathBuf>,
    /// Mail, to the admins if it names any.
    pub mail: Option<MailConfig>,
    /// Mail to users; off unless set.
    pub user_mail: Option<UserMailConfig>,
    /// JSON to somebody's web service.
    pub webhooks: Vec<WebhookConfig>,
}

/// Where it is written what to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runbooks {
    /// For every rule; `{rule}` stands for its name.
    pub default: Option<String>,
    /// For some rules.
    pub rules: Vec<(Rule, String)>,
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
    /// The admins.
    pub to: Vec<String>,
}

/// What users are told by mail, and where they get it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserMailConfig {
    /// Which verdicts, each from which severity up.
    pub rules: Vec<(Rule, Severity)>,
    /// Whether they are warned by mail, too, before their server is stopped.
    pub warnings: bool,
    /// `{user}@example.org`.
    pub address: Option<String>,
    /// Lines of `user,address`; goes before the others, and an empty address means no mail.
    pub address_file: Option<PathBuf>,
    /// Where in the hub's `auth_state` an address is, `oauth_user.email`; goes before `address`.
    pub auth_state_key: Option<String>,
    /// Mails to all users within 24 hours.
    pub per_day_max: u32,
    /// Mails to one user within 24 hours.
    pub per_user_day_max: u32,
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
    /// What the service understands.
    pub body: WebhookBody,
}

/// What a web service understands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WebhookBody {
    /// Our own JSON: everything that is known.
    #[default]
    Generic,
    /// Slack's incoming webhooks.
    Slack,
    /// Mattermost's incoming webhooks.
    Mattermost,
    /// Alertmanager's API, version 2; the address is where its pages are.
    Alertmanager,
}

// === impl WebhookBody ===

impl WebhookBody {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Generic,
        Self::Slack,
        Self::Mattermost,
        Self::Alertmanager,
    ];

    /// Its word in settings, channels' names and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Generic => "webhook",
            Self::Slack => "slack",
            Self::Mattermost => "mattermost",
            Self::Alertmanager => "alertmanager",
        }
    }
}

// === impl Runbooks ===

impl Runbooks {
    /// Where it is written what to do about `rule`.
    #[must_use]
    pub fn of(&self, rule: Rule) -> Option<String> {
        let own = self.rules.iter().find(|(known, _)| *known == rule);
        let own = own.map(|(_, url)| url.clone());
        own.or_else(|| Some(self.default.as_ref()?.replace("{rule}", rule.as_str())))
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

/// Whether `rules` find `verdict` worth a notice.
pub(super) fn worth(rules: &[(Rule, Severity)], verdict: &Verdict) -> bool {
    rules
        .iter()
        .any(|(rule, from)| *rule == verdict.rule && verdict.severity >= *from)
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
            repeat_ms: None,
            digest_ms: None,
            quiet: None,
            per_day_max: 200,
            per_user_day_max: 20,
            runbooks: Runbooks::default(),
            template_dir: None,
            mail: None,
            user_mail: None,
            webhooks: Vec::new(),
        }
    }
}

impl Default for UserMailConfig {
    fn default() -> Self {
        Self {
            rules: Vec::new(),
            warnings: true,
            address: None,
            address_file: None,
            auth_state_key: None,
            per_day_max: 1_000,
            per_user_day_max: 5,
        }
    }
}

/// The severity of that word.
pub(super) fn severity_of(word: &str) -> Option<Severity> {
    [Severity::Info, Severity::Warning, Severity::Critical]
        .into_iter()
        .find(|severity| severity.as_str() == word)
}
