//! The words of a notice: one readable sentence, the evidence in human units, plain text and HTML.
//!
//! Every user string is cleaned once more here (names from the hub are not labels), and HTML is
//! escaped by `text::html` for every value that a template prints, not by the template's care. An
//! admin's own templates go before ours; one that fails gives way to ours.

mod templates;
mod words;

use minijinja::{Value, context};

use self::templates::Templates;
pub(crate) use self::words::Reader;
use super::{Notice, NoticeConfig, Phase, Runbooks, picture, scene::Scene, unit};
use crate::{
    fact::ServerKey,
    registry::{DueNotice, Message},
    text::{self, Label},
    verdict::{Severity, Verdict},
    warning::{Stage, Warning},
};
use words::{name, rule_words, sentence, whose};

pub use templates::RenderError;

/// Bytes of a subject: mail programs show less.
const SUBJECT_BYTES_MAX: usize = 200;

/// What HTML calls the picture that comes with the mail.
pub(super) const PICTURE_ID: &str = "picture@hubmeter";

/// Writes notices.
pub struct Renderer {
    templates: Templates,
    public_url: Option<String>,
    runbooks: Runbooks,
}

/// A mail.
#[derive(Clone, Debug, PartialEq)]
pub struct Letter {
    /// The same for every attempt.
    pub id: String,
    /// One line.
    pub subject: String,
    /// As plain text.
    pub text: String,
    /// As HTML.
    pub html: String,
    /// The picture that the HTML shows, as PNG.
    pub picture: Option<Vec<u8>>,
}

// === impl Renderer ===

impl Renderer {
    /// Takes the embedded templates and those that `config` puts in their place; links begin with
    /// its addresses.
    pub fn new(config: &NoticeConfig) -> Result<Self, RenderError> {
        Ok(Self {
            templates: Templates::new(config.template_dir.as_deref())?,
            public_url: config.public_url.clone(),
            runbooks: config.runbooks.clone(),
        })
    }

    /// Writes the notice of `verdict`; `last_words` end it.
    pub(crate) fn notice(
        &self,
        verdict: &Verdict,
        phase: Phase,
        reader: Reader,
        last_words: Option<&str>,
    ) -> Result<Notice, RenderError> {
        self.write(verdict, phase, reader, last_words, (None, None))
    }

    /// Writes the mail of `verdict`, with the picture of `scene`.
    pub(crate) fn letter(
        &self,
        verdict: &Verdict,
        phase: Phase,
        reader: Reader,
        last_words: Option<&str>,
        scene: Option<&Scene>,
    ) -> Result<Letter, RenderError> {
        let picture = scene.and_then(picture_of);
        let shown = picture.as_ref().map(|_| format!("cid:{PICTURE_ID}"));
        let notice = self.write(verdict, phase, reader, last_words, (scene, shown))?;
        let to = match reader {
            Reader::Admin => "",
            Reader::User => ".user",
        };
        Ok(Letter {
            id: format!("{}.{}{to}", verdict.episode, phase.as_str()),
            subject: notice.subject,
            text: notice.body_text,
            html: notice.body_html,
            picture,
        })
    }

    /// Subject and plain text of a mail.
    pub(super) fn plain(
        &self,
        verdict: &Verdict,
        reader: Reader,
        scene: &Scene,
    ) -> Result<String, RenderError> {
        let parts = (Some(scene), None);
        let notice = self.write(verdict, Phase::Opened, reader, None, parts)?;
        Ok(format!(
            "Subject: {}\n\n{}",
            notice.subject, notice.body_text
        ))
    }

    /// The HTML of a mail with its picture in it, as a browser can show it.
    pub(super) fn page(
        &self,
        verdict: &Verdict,
        reader: Reader,
        scene: &Scene,
    ) -> Result<String, RenderError> {
        use base64::{Engine as _, prelude::BASE64_STANDARD};
        let picture = picture_of(scene);
        let shown = picture.map(|png| {
            let data = BASE64_STANDARD.encode(png);
            format!("data:image/png;base64,{data}")
        });
        let parts = (Some(scene), shown);
        let notice = self.write(verdict, Phase::Opened, reader, None, parts)?;
        Ok(notice.body_html)
    }

    fn write(
        &self,
        verdict: &Verdict,
        phase: Phase,
        reader: Reader,
        last_words: Option<&str>,
        (scene, picture): (Option<&Scene>, Option<String>),
    ) -> Result<Notice, RenderError> {
        let text = self
            .templates
            .with(|own| sentence(own, verdict, phase, reader))?;
        let evidence: Vec<(String, String)> = verdict
            .evidence
            .iter()
            .map(|(name, value)| unit::evidence(name, value))
            .collect();
        let ended = (phase != Phase::Cleared)
            .then_some(verdict.cleared_ms)
            .flatten();
        let server = name(&verdict.key.server);
        let runbook = self.runbooks.of(verdict.rule);
        let values = context! {
            sentence => text.clone(),
            reader => match reader { Reader::Admin => "admin", Reader::User => "user" },
            phase => phase.as_str(),
            rule => verdict.rule.as_str(),
            rule_words => rule_words(verdict.rule.as_str()),
            whose => whose(verdict, reader),
            ended => ended.map(unit::time),
            user => name(&verdict.key.user),
            server => if server.is_empty() { "default".to_owned() } else { server },
            severity => verdict.severity.as_str(),
            since => unit::time(verdict.since_ms),
            evidence => evidence,
            clears_when => Label::clean(&verdict.clears_when, SUBJECT_BYTES_MAX).as_str(),
            link => self.public_url.clone(),
            runbook => runbook.clone(),
            picture => picture,
            workloads => scene.map(workloads),
            last_words => last_words,
            episode => verdict.episode.clone(),
        };
        let subject = self.templates.render("subject.txt", &values)?;
        Ok(Notice {
            phase,
            subject: one_line(&subject),
            body_text: self.templates.render("mail.txt", &values)?,
            body_html: self.templates.render("mail.html", &values)?,
            text,
            link: self.public_url.clone(),
            runbook,
            verdict: verdict.clone(),
        })
    }

    /// Many notices in one mail.
    pub(crate) fn digest(
        &self,
        notices: &[Notice],
        last_words: Option<&str>,
    ) -> Result<Letter, RenderError> {
        let row = |notice: &Notice| {
            context! {
                sentence => notice.text.clone(),
                severity => notice.verdict.severity.as_str(),
                rule_words => rule_words(notice.verdict.rule.as_str()),
                since => unit::time(notice.verdict.since_ms),
                runbook => notice.runbook.clone(),
            }
        };
        let rows: Vec<Value> = notices.iter().map(row).collect();
        let values = context! {
            notices => rows,
            link => self.public_url.clone(),
            last_words => last_words,
        };
        let first = notices.first();
        let id = first.map(|first| {
            let phase = first.phase.as_str();
            format!("{}.{phase}.digest-{}", first.verdict.episode, notices.len())
        });
        Ok(Letter {
            id: id.unwrap_or_default(),
            subject: format!("hubmeter: {} notices", notices.len()),
            text: self.templates.render("digest.txt", &values)?,
            html: self.templates.render("digest.html", &values)?,
            picture: None,
        })
    }

    /// What an admin wrote, to the user of `due`.
    pub(crate) fn message(
        &self,
        message: &Message,
        due: &DueNotice,
    ) -> Result<Letter, RenderError> {
        let paragraphs: Vec<String> = message
            .text
            .split("\n\n")
            .map(str::trim)
            .filter(|paragraph| !paragraph.is_empty())
            .map(str::to_owned)
            .collect();
        let server = name(&due.server);
        let values = context! {
            subject => one_line(&message.subject),
            paragraphs => paragraphs,
            user => name(&due.user),
            server => if server.is_empty() { "default".to_owned() } else { server },
            link => self.public_url.clone(),
        };
        Ok(Letter {
            id: due.episode.clone(),
            subject: one_line(&message.subject),
            text: self.templates.render("message.txt", &values)?,
            html: self.templates.render("message.html", &values)?,
            picture: None,
        })
    }

    /// That a server is about to be stopped, to its user.
    pub(crate) fn warning(&self, warning: &Warning) -> Result<Letter, RenderError> {
        let server = name(&warning.key.server);
        let whose = if server.is_empty() {
            "Your server".to_owned()
        } else {
            format!("Your server {server}")
        };
        let (left_ms, stops_at) = (warning.stops_in_ms(), unit::time(warning.stops_at_ms));
        let stops = match left_ms {
            0 => "is about to be stopped".to_owned(),
            ms => format!("stops in {}", unit::seconds(ms as f64 / 1000.0)),
        };
        let reason = match warning.idle_ms {
            Some(idle_ms) => {
                let idle = unit::seconds(idle_ms as f64 / 1000.0);
                format!("Nothing was done in it for {idle}.")
            }
            None => "It is as old as a server may get here.".to_owned(),
        };
        let at = if left_ms > 0 {
            format!(", at {stops_at}")
        } else {
            String::new()
        };
        let values = context! {
            sentence => format!("{whose} {stops}{at}."),
            reason => reason,
            server => server,
            link => self.public_url.clone(),
            episode => warning.episode.clone(),
        };
        Ok(Letter {
            id: format!("{}.{}", warning.episode, warning.stage.as_str()),
            subject: one_line(&format!(
                "hubmeter: {} {stops}",
                whose.replacen("Your", "your", 1)
            )),
            text: self.templates.render("warning.txt", &values)?,
            html: self.templates.render("warning.html", &values)?,
            picture: None,
        })
    }

    /// The sentence that the user of the server reads in JupyterLab.
    pub fn for_user(&self, verdict: &Verdict) -> Result<String, RenderError> {
        let phase = match verdict.cleared_ms {
            Some(_) => Phase::Cleared,
            None => Phase::Opened,
        };
        self.templates
            .with(|own| sentence(own, verdict, phase, Reader::User))
    }

    /// With an admin's templates alone: what is broken in them is not made good by ours.
    pub(super) fn only_theirs(self) -> Result<Self, RenderError> {
        Ok(Self {
            templates: self.templates.only_theirs()?,
            ..self
        })
    }

    /// Tries every template on `verdict`, so that mistakes show before a mail is to go out.
    pub(super) fn rehearse(&self, verdict: &Verdict, scene: &Scene) -> Result<(), RenderError> {
        for severity in [Severity::Info, Severity::Critical] {
            let verdict = Verdict {
                severity,
                ..verdict.clone()
            };
            for reader in [Reader::Admin, Reader::User] {
                let parts = (Some(scene), Some(String::new()));
                let notice = self.write(&verdict, Phase::Opened, reader, Some("x"), parts)?;
                self.digest(&[notice], Some("x"))?;
                let (message, due) = example_message();
                self.message(&message, &due)?;
                self.warning(&example_warning())?;
            }
        }
        Ok(())
    }
}

fn example_message() -> (Message, DueNotice) {
    let message = Message {
        id: 1,
        user: "admin".to_owned(),
        written_ms: 0,
        subject: "Tomorrow".to_owned(),
        text: "The hub is updated.\n\nSave your work.".to_owned(),
        filter: "everybody".to_owned(),
        recipients: 1,
    };
    let due = DueNotice {
        id: 1,
        episode: "message-1-0".to_owned(),
        channel: String::new(),
        phase: Phase::Opened.as_str().to_owned(),
        user: "alice".to_owned(),
        server: String::new(),
        payload: None,
        queued_ms: 0,
        attempts: 0,
    };
    (message, due)
}

fn example_warning() -> Warning {
    Warning {
        key: ServerKey::new("alice", ""),
        stage: Stage::Quarter,
        idle_ms: Some(2_700_000),
        stops_at_ms: 900_000,
        at_ms: 0,
        episode: "0000000000000000".to_owned(),
    }
}

/// A subject, whatever a template's author or an admin wrote.
fn one_line(subject: &str) -> String {
    let words: Vec<&str> = subject.split_whitespace().collect();
    let subject = text::mail_header(&words.join(" "));
    Label::clean(&subject, SUBJECT_BYTES_MAX)
        .as_str()
        .to_owned()
}

fn workloads(scene: &Scene) -> Vec<(String, String)> {
    let row = |(title, bytes): &(String, u64)| (name(title), unit::bytes(*bytes as f64));
    scene.workloads.iter().map(row).collect()
}

fn picture_of(scene: &Scene) -> Option<Vec<u8>> {
    picture::png(scene)
        .inspect_err(|error| {
            let error = crate::causes::chain(error);
            tracing::error!(error, "a mail goes out without its picture");
        })
        .ok()
}

#[cfg(test)]
mod tests;
