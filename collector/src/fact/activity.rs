//! What people do at a server, as far as somebody told its agent.

use crate::text::Label;

/// What is known of people at one server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// When a person last did something.
    pub input_ms: Option<i64>,
    /// What that was.
    pub input_kind: Option<InputKind>,
    /// Until when the user has asked something else to keep the server (jupyter-keepalive).
    pub kept_until_ms: Option<i64>,
    /// What runs in front in terminals, where names are told.
    pub jobs: Vec<Job>,
    /// Whether a page of the server is open that may show notices, seen or not.
    pub page_open: Option<bool>,
}

/// What a person did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputKind {
    /// Used keys, pointer, wheel or touch in a visible tab.
    Typing,
    /// Ran something in a kernel.
    Run,
    /// Used a terminal.
    Terminal,
    /// Saved a file.
    Save,
}

/// A program in front of a terminal's shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The terminal's id.
    pub terminal: Label,
    /// The program's base name.
    pub program: Label,
}

// === impl Activity ===

impl Activity {
    /// What runs in front in the terminal `id`.
    #[must_use]
    pub fn job_in(&self, id: &Label) -> Option<&Label> {
        let mut jobs = self.jobs.iter();
        jobs.find(|job| job.terminal == *id).map(|job| &job.program)
    }
}
