//! Notices: a message about a verdict to a person, delivered once.
//!
//! `render` writes the words, `picture` draws the hour before, `mail` and `webhook` carry them (in
//! the forms of `body`), `address` knows where a user gets mail, `outbox` remembers what is to go
//! where so that neither a restart nor a replay of facts loses or repeats one. Recipients and
//! addresses come from the settings, never from a report.

mod address;
mod body;
mod example;
mod lab;
mod mail;
mod outbox;
mod picture;
mod quiet;
mod render;
mod scene;
mod settings;
mod unit;
mod webhook;

use crate::verdict::Verdict;

pub(crate) use self::{
    address::PLACEHOLDER,
    example::preview,
    lab::{lab_message, rule_word, too_long_for_lab},
    outbox::{LAB, MESSAGE_MAIL},
    render::Reader,
};
pub use self::{
    example::{PreviewFormat, rehearse},
    mail::MailError,
    outbox::{NoticeEvent, Outbox, OutboxError, OutboxStats},
    picture::PictureError,
    quiet::Quiet,
    render::{Letter, RenderError, Renderer},
    scene::{KeptScenes, Scene, Scenes},
    settings::{
        MailConfig, MailSecurity, NoticeConfig, Runbooks, UserMailConfig, WebhookBody,
        WebhookConfig,
    },
    webhook::WebhookError,
};
use render::PICTURE_ID;

/// A stage of an episode that is told once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It was raised.
    Opened,
    /// It matters more than when it was raised.
    Worse,
    /// It is open still, and nobody said that they know.
    Again,
    /// It is over.
    Cleared,
}

/// A message about a verdict, in words.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// Which stage.
    pub phase: Phase,
    /// One line for a mail's subject.
    pub subject: String,
    /// The whole thing in one sentence.
    pub text: String,
    /// Sentence, evidence and links as plain text.
    pub body_text: String,
    /// The same as HTML.
    pub body_html: String,
    /// The hub page, if its address is set.
    pub link: Option<String>,
    /// Where it is written what to do, if that is set.
    pub runbook: Option<String>,
    /// What it speaks of.
    pub verdict: Verdict,
}

// === impl Phase ===

impl Phase {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Opened, Self::Worse, Self::Again, Self::Cleared];

    /// Its word in the outbox and in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Worse => "worse",
            Self::Again => "again",
            Self::Cleared => "cleared",
        }
    }

    /// The stage of that word.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.as_str() == word)
    }
}
