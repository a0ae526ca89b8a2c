//! The words of a notice: one readable sentence, the evidence in human units, plain text and HTML.
//!
//! Every user string is cleaned once more here (names from the hub are not labels), and HTML is
//! escaped by `text::html` for every value that a template prints, not by the template's care.

use std::{collections::BTreeMap, fmt::Write};

use minijinja::{AutoEscape, Environment, Value, context};

use super::{Notice, Phase, unit};
use crate::{
    text::{self, Label},
    verdict::{Evidence, Verdict},
};

/// Bytes of a name in a notice.
const NAME_BYTES_MAX: usize = 128;

/// Bytes of a subject: mail programs show less.
const SUBJECT_BYTES_MAX: usize = 200;

/// Writes notices.
pub struct Renderer {
    templates: Environment<'static>,
    public_url: Option<String>,
}

/// Why a notice could not be written: a template is broken.
#[derive(Debug, thiserror::Error)]
#[error("cannot write a notice")]
pub struct RenderError(#[from] minijinja::Error);

/// Whom a sentence speaks to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reader {
    Admin,
    User,
}

// === impl Renderer ===

impl Renderer {
    /// Takes the embedded templates; links begin with `public_url`.
    pub fn new(public_url: Option<String>) -> Result<Self, RenderError> {
        Ok(Self {
            templates: templates()?,
            public_url,
        })
    }

    /// Writes the notice of `verdict`; `last_words` end it.
    pub fn notice(
        &self,
        verdict: &Verdict,
        phase: Phase,
        last_words: Option<&str>,
    ) -> Result<Notice, RenderError> {
        let text = sentence(&self.templates, verdict, phase, Reader::Admin)?;
        let whose = whose(verdict, Reader::Admin);
        let over = if phase == Phase::Cleared {
            "over, "
        } else {
            ""
        };
        let subject = format!(
            "hubmeter: {over}{}, {whose}",
            rule_words(verdict.rule.as_str())
        );
        let evidence: Vec<(String, String)> = verdict
            .evidence
            .iter()
            .map(|(name, value)| unit::evidence(name, value))
            .collect();
        let ended = (phase == Phase::Opened)
            .then_some(verdict.cleared_ms)
            .flatten();
        let server = name(&verdict.key.server);
        let values = context! {
            sentence => text.clone(),
            ended => ended.map(unit::time),
            user => name(&verdict.key.user),
            server => if server.is_empty() { "default".to_owned() } else { server },
            severity => verdict.severity.as_str(),
            since => unit::time(verdict.since_ms),
            evidence => evidence,
            clears_when => Label::clean(&verdict.clears_when, SUBJECT_BYTES_MAX).as_str(),
            link => self.public_url.clone(),
            last_words => last_words,
            episode => verdict.episode.clone(),
        };
        let body = |name| self.templates.get_template(name)?.render(&values);
        let subject = Label::clean(&text::mail_header(&subject), SUBJECT_BYTES_MAX);
        Ok(Notice {
            phase,
            subject: subject.as_str().to_owned(),
            body_text: body("mail.txt")?,
            body_html: body("mail.html")?,
            text,
            link: self.public_url.clone(),
            verdict: verdict.clone(),
        })
    }

    /// The sentence that the user of the server reads in JupyterLab.
    pub fn for_user(&self, verdict: &Verdict) -> Result<String, RenderError> {
        let phase = match verdict.cleared_ms {
            Some(_) => Phase::Cleared,
            None => Phase::Opened,
        };
        sentence(&self.templates, verdict, phase, Reader::User)
    }
}

fn templates() -> Result<Environment<'static>, minijinja::Error> {
    let mut templates = Environment::new();
    templates.set_auto_escape_callback(|name| {
        if name.ends_with(".html") {
            AutoEscape::Html
        } else {
            AutoEscape::None
        }
    });
    templates.set_formatter(|out, state, value| {
        if value.is_none() || value.is_undefined() {
            return Ok(());
        }
        let printed = value.to_string();
        let printed = match state.auto_escape() {
            AutoEscape::None => printed,
            _ => text::html(&printed),
        };
        out.write_str(&printed).map_err(minijinja::Error::from)
    });
    templates.add_filter("capitalised", |text: String| capitalised(&text));
    templates.add_template("sentence.txt", include_str!("template/sentence.txt"))?;
    templates.add_template("mail.txt", include_str!("template/mail.txt"))?;
    templates.add_template("mail.html", include_str!("template/mail.html"))?;
    Ok(templates)
}

// === the sentence ===

fn sentence(
    templates: &Environment<'static>,
    verdict: &Verdict,
    phase: Phase,
    reader: Reader,
) -> Result<String, RenderError> {
    let words = words_of(verdict, phase, reader);
    let printed = templates.get_template("sentence.txt")?.render(words)?;
    // One line, whatever a template's author wrote.
    Ok(printed.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn words_of(verdict: &Verdict, phase: Phase, reader: Reader) -> BTreeMap<&'static str, Value> {
    let find = |name: &str| {
        let item = verdict.evidence.iter().find(|(known, _)| *known == name);
        item.map(|(_, value)| value)
    };
    let number = |name: &str| find(name).and_then(unit::number);
    let flag = |name: &str| matches!(find(name), Some(Evidence::Flag(true)));
    let moment = |name: &str| match find(name) {
        Some(Evidence::Word(word)) => word.as_str().parse::<jiff::Timestamp>().ok(),
        _ => None,
    };
    let at = |name: &str| moment(name).map(|at| unit::time(at.as_millisecond()));
    // Of a shared limit all use is used up, whoever's it is.
    let all = number("memory_limit_used_bytes").filter(|_| flag("memory_limit_shared"));
    let used = all.or_else(|| number("memory_used_bytes"));
    let limit = number("memory_limit_bytes");
    let share = used.zip(limit).map(|(used, limit)| used / limit);
    let trend = number("trend_bytes_per_second").filter(|trend| *trend > 0.0);
    let lasted = verdict
        .cleared_ms
        .map(|cleared_ms| unit::seconds((cleared_ms - verdict.since_ms) as f64 / 1000.0));
    let mut words = BTreeMap::from([
        ("phase", Value::from(phase.as_str())),
        ("rule", Value::from(verdict.rule.as_str())),
        ("rule_words", Value::from(rule_words(verdict.rule.as_str()))),
        ("whose", Value::from(whose(verdict, reader))),
        ("mine", Value::from(reader == Reader::User)),
        ("enforced", Value::from(flag("memory_limit_enforced"))),
        ("shared", Value::from(flag("memory_limit_shared"))),
        ("inferred", Value::from(flag("inferred"))),
        ("near_limit", Value::from(killed_near_limit(verdict))),
        ("over", Value::from(share.is_some_and(|share| share > 1.0))),
    ]);
    let workload = verdict.workload.as_ref();
    let optional = [
        ("lasted", lasted),
        ("used", used.map(unit::bytes)),
        ("limit", limit.map(unit::bytes)),
        ("share", share.map(unit::share)),
        (
            "trend",
            trend.map(|trend| format!("{}/s", unit::bytes(trend))),
        ),
        ("left", number("seconds_to_limit").map(unit::seconds)),
        (
            "workload",
            workload.map(|workload| name(workload.title.as_str())),
        ),
        (
            "workload_memory",
            number("workload_memory_used_bytes").map(unit::bytes),
        ),
        ("workload_share", number("workload_share").map(unit::share)),
        ("idle_since", at("idle_since")),
        ("last_seen", at("last_seen")),
    ];
    let others = words_of_counts(&number);
    let since = at("cpu_since").or_else(|| at("job_ends"));
    for (name, value) in optional.into_iter().chain(others).chain([("at", since)]) {
        words.insert(name, value.map_or(Value::from(()), Value::from));
    }
    words.insert("disk_quota", Value::from(flag("disk_quota")));
    words
}

/// What rules beside memory count.
fn words_of_counts(number: &dyn Fn(&str) -> Option<f64>) -> Vec<(&'static str, Option<String>)> {
    let cores = |name: &str| number(name).map(unit::cores);
    let whole = |name: &str| number(name).map(|n| format!("{n:.0}"));
    let either = |a: &str, b: &str| whole(a).or_else(|| whole(b));
    let bytes = |name: &str| number(name).map(unit::bytes);
    vec![
        (
            "cores",
            cores("cpu_cores").or_else(|| cores("cpu_mean_cores")),
        ),
        ("usual_cores", cores("habit_cores")),
        ("quota_cores", cores("quota_cores")),
        ("quota", bytes("quota_bytes")),
        ("count", either("processes", "threads")),
        ("count_before", either("processes_before", "threads_before")),
        ("disk_used", bytes("disk_used_bytes")),
        ("disk_limit", bytes("disk_limit_bytes")),
        ("disk_share", number("disk_used_share").map(unit::share)),
    ]
}

fn killed_near_limit(verdict: &Verdict) -> bool {
    verdict.evidence.iter().any(|(name, value)| {
        matches!(value, Evidence::Word(word) if *name == "cause" && word.as_str() == "killed_near_limit")
    })
}

/// `alice's default server`, `alice's server gpu`; to its user `your server`.
fn whose(verdict: &Verdict, reader: Reader) -> String {
    let server = name(&verdict.key.server);
    let mut whose = match reader {
        Reader::User => "your ".to_owned(),
        Reader::Admin => format!("{}'s ", name(&verdict.key.user)),
    };
    let _ = match (server.is_empty(), reader) {
        (true, Reader::User) => write!(whose, "server"),
        (true, Reader::Admin) => write!(whose, "default server"),
        (false, _) => write!(whose, "server {server}"),
    };
    whose
}

fn name(raw: &str) -> String {
    Label::clean(raw, NAME_BYTES_MAX).as_str().to_owned()
}

fn rule_words(rule: &str) -> String {
    rule.replace('_', " ")
}

/// Only our own words begin a sentence in lower case; a user's name stays as it is.
fn capitalised(text: &str) -> String {
    match text.strip_prefix("your ") {
        Some(rest) => format!("Your {rest}"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
