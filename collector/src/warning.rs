//! Warnings before a stop: who is told what, once per stage, and when it is taken back.
//!
//! Pure: the state asks at its ticks, the teller tells, small state keeps what was told.

mod kernel;

use std::fmt;

use crate::{
    cull::{CullPolicy, Due, Judged, Mode, Permit, Spared, Work},
    fact::ServerKey,
    verdict::{Evidence, Rule, Severity, Verdict, episode, idle::in_words},
};

pub use kernel::KernelEnd;

/// Which of the warnings it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The first, a quarter of an hour before the end unless policy says otherwise.
    Quarter,
    /// The last, five minutes before.
    Last,
}

/// Why a server is to be stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// Nobody works there.
    Idle {
        /// Since when.
        since_ms: i64,
    },
    /// It is older than any may be.
    Age {
        /// That age.
        max_age_ms: i64,
    },
}

/// A warning to be told.
#[derive(Clone, Debug, PartialEq)]
pub struct Warning {
    /// Whose server.
    pub key: ServerKey,
    /// Which warning.
    pub stage: Stage,
    /// How long it has been idle; `None` where it is its age.
    pub idle_ms: Option<i64>,
    /// When it stops.
    pub stops_at_ms: i64,
    /// When that was said.
    pub at_ms: i64,
    /// The same for both stages.
    pub episode: String,
}

/// A warning that no longer holds.
#[derive(Clone, Debug, PartialEq)]
pub struct TakenBack {
    /// Whose server.
    pub key: ServerKey,
    /// Which warning.
    pub episode: String,
    /// When that was found.
    pub at_ms: i64,
}

/// What somebody was told of the end of their server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warned {
    /// Of this.
    pub about: About,
    /// Under this name.
    pub episode: String,
    /// So far.
    pub stage: Stage,
    /// When that stage was told.
    pub told_ms: i64,
    /// First seen by its user: in a visible tab, or taken by their mail server.
    pub delivered_ms: Option<i64>,
    /// Mail has no address of them.
    pub unreachable: bool,
    /// Since when a page has been open that could show it, or was first since it was told. Not kept over a
    /// restart: then it is waited for once more.
    pub page_ms: Option<i64>,
    /// Last said; `None`: to whoever may see it now, it was not. Not kept over a restart.
    pub said_ms: Option<i64>,
}

/// What a look at all servers brought.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct News {
    /// To be told.
    pub warn: Vec<Warning>,
    /// To be told once more: nobody has seen them.
    pub warn_again: Vec<Warning>,
    /// To be taken back.
    pub take_back: Vec<TakenBack>,
    /// What is to be kept of whom from now on; `None`: nothing.
    pub kept: Vec<(ServerKey, Option<Warned>)>,
    /// Kernels that are to be shut down, or no longer.
    pub kernels: Vec<KernelEnd>,
}

/// What becomes of the warning of one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing new.
    Stays,
    /// A stage is due; it may be stopped from then on.
    Warn { stage: Stage, stops_at_ms: i64 },
    /// What was told is told once more.
    Again { stage: Stage, stops_at_ms: i64 },
    /// What was told no longer holds.
    TakeBack,
}

/// What is next for the server that `judged` speaks of, whose user was told `before`.
pub(crate) fn next(policy: &CullPolicy, judged: &Judged<'_>, before: Option<&Warned>) -> Next {
    let now_ms = judged.now_ms();
    let withdraw = if before.is_some() {
        Next::TakeBack
    } else {
        Next::Stays
    };
    if policy.mode != Mode::Act || matches!(judged.spared, Some(Spared::Exempt(_))) {
        return withdraw;
    }
    let unknown = matches!(judged.work, Work::Unknown(_));
    let Some(due) = judged.due else {
        // Who fell silent a moment ago may be idle still.
        return if unknown { Next::Stays } else { withdraw };
    };
    if judged.spared == Some(Spared::Unlisted) {
        return Next::Stays;
    }
    // What was told of something else is taken back first; what is new is told at the next look.
    if before.is_some() && judged.warned.is_none() {
        return Next::TakeBack;
    }
    let Some(stage) = stage(policy, due, now_ms) else {
        return withdraw;
    };
    if !judged.can_tell(policy) {
        return Next::Stays;
    }
    let seen = before.is_some_and(|told| told.delivered_ms.is_some());
    let stops_at_ms = match judged.permit {
        Some(Permit::From(ms) | Permit::Anew(ms)) if seen => ms,
        // As it is when this one is seen now.
        _ => {
            let last_ms = policy.last_warning_ms().unwrap_or(0);
            due.at_ms.max(now_ms.saturating_add(last_ms))
        }
    };
    match before {
        Some(told) if told.stage >= stage => {
            if is_to_be_said_again(policy, judged, told) {
                let stage = told.stage;
                Next::Again { stage, stops_at_ms }
            } else {
                Next::Stays
            }
        }
        _ => Next::Warn { stage, stops_at_ms },
    }
}

/// Whether `told` may have reached nobody, and may reach somebody now: the page may be a new one, what
/// carried it may have been cut, and this program may have ended before it was queued as mail.
fn is_to_be_said_again(policy: &CullPolicy, judged: &Judged<'_>, told: &Warned) -> bool {
    if told.delivered_ms.is_some() {
        return false;
    }
    let server = judged.server();
    let page = server.connected && server.has_page();
    match told.said_ms {
        None => page || (policy.warns_by_mail && !told.unreachable),
        Some(said_ms) => {
            let ago_ms = judged.now_ms().saturating_sub(said_ms);
            page && ago_ms >= policy.say_again_ms()
        }
    }
}

/// The stage that is reached, if any.
fn stage(policy: &CullPolicy, due: Due, now_ms: i64) -> Option<Stage> {
    let left_ms = due.at_ms.saturating_sub(now_ms);
    let (first_ms, last_ms) = (policy.warn_ms.first()?, policy.warn_ms.last()?);
    if left_ms <= *last_ms {
        Some(Stage::Last)
    } else {
        (left_ms <= *first_ms).then_some(Stage::Quarter)
    }
}

/// The name of a warning that is told for the first time at `at_ms`.
pub(crate) fn episode_of(key: &ServerKey, at_ms: i64) -> String {
    episode::id(Rule::Idle, key, "stop", at_ms)
}

// === impl Stage ===

impl Stage {
    /// Its word in `state.db`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Quarter => "quarter",
            Self::Last => "last",
        }
    }

    /// The stage of that word.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        [Self::Quarter, Self::Last]
            .into_iter()
            .find(|stage| stage.as_str() == word)
    }
}

// === impl About ===

impl About {
    /// Its word and its number in `state.db`.
    #[must_use]
    pub fn parts(self) -> (&'static str, i64) {
        match self {
            Self::Idle { since_ms } => ("idle", since_ms),
            Self::Age { max_age_ms } => ("age", max_age_ms),
        }
    }

    /// What those mean.
    #[must_use]
    pub fn of(word: &str, number: i64) -> Option<Self> {
        match word {
            "idle" => Some(Self::Idle { since_ms: number }),
            "age" => Some(Self::Age { max_age_ms: number }),
            _ => None,
        }
    }
}

// === impl Warning ===

impl Warning {
    /// How long until it stops.
    #[must_use]
    pub fn stops_in_ms(&self) -> i64 {
        self.stops_at_ms.saturating_sub(self.at_ms).max(0)
    }

    /// As a verdict, for the channels that carry verdicts.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let mut evidence = vec![("stops_at", Evidence::time(self.stops_at_ms))];
        if let Some(idle_ms) = self.idle_ms {
            evidence.push(("idle_seconds", Evidence::Integer(idle_ms / 1000)));
        }
        Verdict {
            severity: Severity::Warning,
            evidence,
            clears_when: "somebody works again or keeps the server alive".to_owned(),
            ..bare(&self.key, &self.episode, self.at_ms)
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stops_in = in_words(to_minute(self.stops_in_ms()));
        match self.idle_ms {
            Some(idle_ms) => write!(
                f,
                "idle {}, stops in {stops_in}",
                in_words(to_minute(idle_ms))
            ),
            None => write!(f, "as old as a server may get, stops in {stops_in}"),
        }
    }
}

// === impl TakenBack ===

impl TakenBack {
    /// As a verdict that is over.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        Verdict {
            cleared_ms: Some(self.at_ms),
            ..bare(&self.key, &self.episode, self.at_ms)
        }
    }
}

// === impl News ===

impl News {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.warn.is_empty()
            && self.warn_again.is_empty()
            && self.take_back.is_empty()
            && self.kept.is_empty()
            && self.kernels.is_empty()
    }
}

fn bare(key: &ServerKey, episode: &str, at_ms: i64) -> Verdict {
    Verdict {
        rule: Rule::Idle,
        episode: episode.to_owned(),
        key: key.clone(),
        workload: None,
        severity: Severity::Warning,
        since_ms: at_ms,
        updated_ms: at_ms,
        cleared_ms: None,
        evidence: Vec::new(),
        clears_when: String::new(),
    }
}

/// From a minute on, rounded to whole ones: a warning comes seconds late.
fn to_minute(ms: i64) -> i64 {
    const MINUTE_MS: i64 = 60_000;
    if ms < MINUTE_MS {
        ms
    } else {
        (ms + MINUTE_MS / 2) / MINUTE_MS * MINUTE_MS
    }
}
