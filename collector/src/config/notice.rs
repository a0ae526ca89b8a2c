//! The keys below `notice`: who is told what, and how.

use std::{path::PathBuf, time::Duration};

use super::{
    draft::{Draft, Place},
    read::{millis, secret_file},
};
use crate::{
    notice::{
        self, MailConfig, MailSecurity, NoticeConfig, PLACEHOLDER, Quiet, Runbooks, UserMailConfig,
        WebhookBody, WebhookConfig,
    },
    verdict::{Rule, Severity},
};

/// Submission with STARTTLS.
const MAIL_PORT_DEFAULT: u16 = 587;

/// More often is nagging.
const REPEAT_MS_MIN: i64 = 10 * 60 * 1000;

/// What gathers for longer is no news.
const DIGEST_MS: std::ops::RangeInclusive<i64> = 60 * 1000..=24 * 60 * 60 * 1000;

pub(super) fn notice(draft: &mut Draft, has_hub: bool) -> NoticeConfig {
    let default = NoticeConfig::default();
    let public_url: Option<String> = draft.take("notice.public_url");
    let user_mail = user_mail(draft, has_hub);
    NoticeConfig {
        // Where runaways are judged, since both are about how early.
        within_ms: millis(draft, "policy.notice_within", default.within_ms),
        public_url: public_url.or_else(|| draft.variable("JUPYTERHUB_PUBLIC_URL")),
        cleared: draft.take("notice.cleared").unwrap_or(default.cleared),
        repeat_ms: time(
            draft,
            "notice.repeat",
            REPEAT_MS_MIN..=i64::MAX,
            "10m or more",
        ),
        digest_ms: time(draft, "notice.digest", DIGEST_MS, "from 1m to 24h"),
        quiet: quiet(draft),
        per_day_max: draft
            .take("notice.per_day_max")
            .unwrap_or(default.per_day_max),
        per_user_day_max: draft
            .take("notice.per_user_day_max")
            .unwrap_or(default.per_user_day_max),
        rules: rules(draft, "notice.rules").map_or(default.rules, |(rules, _)| rules),
        runbooks: runbooks(draft),
        template_dir: template_dir(draft),
        mail: mail(draft, user_mail.is_some()),
        user_mail,
        webhooks: webhooks(draft),
    }
}

/// A time that is off unless set.
fn time(
    draft: &mut Draft,
    key: &str,
    within_ms: std::ops::RangeInclusive<i64>,
    expected: &str,
) -> Option<i64> {
    let (time, place) = draft.take_placed::<Duration>(key)?;
    let ms = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    match ms {
        0 => None,
        ms if within_ms.contains(&ms) => Some(ms),
        _ => {
            draft.mistake(place, format!("{key}: expected {expected}, or 0 for never"));
            None
        }
    }
}

fn quiet(draft: &mut Draft) -> Option<Quiet> {
    let (hours, place) = draft.take_placed::<String>("notice.quiet")?;
    match Quiet::parse(&hours) {
        Ok(quiet) => Some(quiet),
        Err(why) => {
            draft.mistake(place, format!("notice.quiet: {why}"));
            None
        }
    }
}

/// `["runaway_memory", "near_limit:critical"]`: a rule, from a severity up.
fn rules(draft: &mut Draft, key: &str) -> Option<(Vec<(Rule, Severity)>, Place)> {
    let (written, place) = draft.take_placed::<Vec<String>>(key)?;
    let mut rules = Vec::new();
    for text in written.iter().filter(|text| !text.is_empty()) {
        let (rule, severity) = text.split_once(':').unwrap_or((text, "info"));
        let rule = Rule::ALL.into_iter().find(|known| known.as_str() == rule);
        let severities = [Severity::Info, Severity::Warning, Severity::Critical];
        let severity = severities.into_iter().find(|s| s.as_str() == severity);
        match (rule, severity) {
            (Some(rule), Some(severity)) => rules.push((rule, severity)),
            _ => draft.mistake(
                place.clone(),
                format!("{key}: {text:?} is no rule, or no rule:severity"),
            ),
        }
    }
    Some((rules, place))
}

fn runbooks(draft: &mut Draft) -> Runbooks {
    let mut url = |name: &str| {
        let key = format!("notice.runbook.{name}");
        let (url, place) = draft.take_placed::<String>(&key)?;
        if url.starts_with("https://") || url.starts_with("http://") {
            return Some(url);
        }
        draft.mistake(place, format!("{key}: expected an http or https address"));
        None
    };
    Runbooks {
        default: url("default"),
        rules: Rule::ALL
            .into_iter()
            .filter_map(|rule| Some((rule, url(rule.as_str())?)))
            .collect(),
    }
}

fn template_dir(draft: &mut Draft) -> Option<PathBuf> {
    let (dir, place) = draft.take_placed::<PathBuf>("notice.template_dir")?;
    if let Err(error) = notice::rehearse(&dir) {
        draft.mistake(place, crate::causes::chain(&error));
    }
    Some(dir)
}

fn mail(draft: &mut Draft, to_users: bool) -> Option<MailConfig> {
    let host: Option<String> = draft.take("notice.mail.host");
    let port: Option<u16> = draft.take("notice.mail.port");
    let security: Option<MailSecurity> = draft.take("notice.mail.tls");
    let from: Option<String> = draft.take("notice.mail.from");
    let to: Option<Vec<String>> = draft.take("notice.mail.to");
    let username: Option<String> = draft.take("notice.mail.username");
    let password_file: Option<(PathBuf, Place)> = draft.take_placed("notice.mail.password_file");
    let password =
        password_file.and_then(|file| secret_file(draft, "notice.mail.password_file", file));
    let to = to.or_else(|| to_users.then(Vec::new));
    match (host, from, to) {
        (Some(host), Some(from), Some(to)) if to_users || !to.is_empty() => Some(MailConfig {
            host,
            port: port.unwrap_or(MAIL_PORT_DEFAULT),
            security: security.unwrap_or(MailSecurity::StartTls),
            from,
            to,
            username,
            password: password.map(|secret| secret.expose().to_owned()),
        }),
        (None, None, None) => None,
        _ if to_users => {
            let what = "mail to users (notice.user_mail) needs notice.mail.host and .from";
            draft.mistake(Place::Nowhere, what.to_owned());
            None
        }
        _ => {
            draft.mistake(
                Place::Nowhere,
                "notice.mail needs host, from and to (at least one address)".to_owned(),
            );
            None
        }
    }
}

/// Off unless it is said where users get mail; of verdicts they are told none unless it is said
/// which.
fn user_mail(draft: &mut Draft, has_hub: bool) -> Option<UserMailConfig> {
    let default = UserMailConfig::default();
    let rules = rules(draft, "notice.user_mail.rules");
    let warnings = draft.take("notice.user_mail.warnings");
    let address: Option<(String, Place)> = draft.take_placed("notice.user_mail.address");
    let address_file: Option<(PathBuf, Place)> = draft.take_placed("notice.user_mail.address_file");
    let key: Option<(String, Place)> = draft.take_placed("notice.user_mail.auth_state_key");
    let per_day_max = draft.take("notice.user_mail.per_day_max");
    let per_user_day_max = draft.take("notice.user_mail.per_user_day_max");
    if let Some((template, place)) = &address
        && !template.contains(PLACEHOLDER)
    {
        let what = format!(
            "notice.user_mail.address: expected {PLACEHOLDER} in it, \
                            such as \"{PLACEHOLDER}@example.org\""
        );
        draft.mistake(place.clone(), what);
    }
    if let Some((path, place)) = &address_file
        && let Err(error) = std::fs::File::open(path)
    {
        let what = format!(
            "notice.user_mail.address_file: cannot read {}: {error}",
            path.display()
        );
        draft.mistake(place.clone(), what);
    }
    if let (Some((_, place)), false) = (&key, has_hub) {
        let what = "notice.user_mail.auth_state_key: there is no hub to ask";
        draft.mistake(place.clone(), what.to_owned());
    }
    if address.is_none() && address_file.is_none() && key.is_none() {
        if let Some((rules, place)) = rules
            && !rules.is_empty()
        {
            let what = "notice.user_mail.rules: where users get mail is not said: set address, \
                        address_file or auth_state_key";
            draft.mistake(place, what.to_owned());
        }
        return None;
    }
    Some(UserMailConfig {
        rules: rules.map_or(default.rules, |(rules, _)| rules),
        warnings: warnings.unwrap_or(default.warnings),
        address: address.map(|(address, _)| address),
        address_file: address_file.map(|(path, _)| path),
        auth_state_key: key.map(|(key, _)| key),
        per_day_max: per_day_max.unwrap_or(default.per_day_max),
        per_user_day_max: per_user_day_max.unwrap_or(default.per_user_day_max),
    })
}

fn webhooks(draft: &mut Draft) -> Vec<WebhookConfig> {
    let allow_private = draft.take("notice.webhook.allow_private").unwrap_or(false);
    let mut hooks = Vec::new();
    for body in WebhookBody::ALL {
        let key = format!("notice.{}.urls", body.as_str());
        let Some((urls, place)) = draft.take_placed::<Vec<String>>(&key) else {
            continue;
        };
        for url in urls {
            let plain_allowed = allow_private && url.starts_with("http://");
            if !url.starts_with("https://") && !plain_allowed {
                let what = format!(
                    "{key}: https:// only (http:// with notice.webhook.allow_private = true)"
                );
                draft.mistake(place.clone(), what);
            }
            hooks.push(WebhookConfig {
                url,
                allow_private,
                body,
            });
        }
    }
    hooks
}
