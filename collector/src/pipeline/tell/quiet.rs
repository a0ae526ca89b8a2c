//! What JupyterLab does not show, since its user muted the rule: kept until the mute is over, or the
//! verdict is.

use std::{collections::HashMap, time::Duration};

use crate::{
    limits,
    notice::Phase,
    person::{Fates, Moved},
    verdict::Verdict,
};

/// How often it is looked whether a mute is over.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Verdicts that are kept quiet, by episode, with the stage that is to be told. As many as there are open.
#[derive(Default)]
pub(super) struct Quiet {
    kept: HashMap<String, (Verdict, Phase)>,
    looked_ms: i64,
}

// === impl Quiet ===

impl Quiet {
    /// Keeps `verdict` quiet. Whether that is news.
    pub(super) fn keep(&mut self, verdict: &Verdict, phase: Phase) -> bool {
        if self.kept.len() >= limits::TOLD_MAX {
            self.kept.clear();
        }
        let kept = (verdict.clone(), phase);
        self.kept.insert(verdict.episode.clone(), kept).is_none()
    }

    /// Takes in what `verdict` says now, if it is kept quiet: what is over is not any more. Whether it was.
    pub(super) fn renew(&mut self, verdict: &Verdict) -> bool {
        if verdict.cleared_ms.is_some() {
            return self.let_go(verdict);
        }
        let Some((kept, _)) = self.kept.get_mut(&verdict.episode) else {
            return false;
        };
        kept.clone_from(verdict);
        true
    }

    /// It is told. Whether it was kept quiet.
    pub(super) fn let_go(&mut self, verdict: &Verdict) -> bool {
        self.kept.remove(&verdict.episode).is_some()
    }

    /// All that is kept quiet, once in [`LOOK_EVERY`].
    pub(super) fn due(&mut self, now_ms: i64) -> Vec<(Verdict, Phase)> {
        let every_ms = i64::try_from(LOOK_EVERY.as_millis()).unwrap_or(i64::MAX);
        let looked_ago_ms = now_ms.saturating_sub(self.looked_ms);
        if self.kept.is_empty() || (0..every_ms).contains(&looked_ago_ms) {
            return Vec::new();
        }
        self.looked_ms = now_ms;
        self.kept.values().cloned().collect()
    }

    /// Users were forgotten, deleted or renamed.
    pub(super) fn move_people(&mut self, fates: &Fates) {
        self.kept
            .retain(|_, (verdict, _)| match fates.moved(&verdict.key) {
                Moved::Stays => true,
                Moved::Gone => false,
                Moved::To(key) => {
                    verdict.key = key;
                    true
                }
            });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fact::ServerKey,
        person::Fate,
        verdict::{Rule, Severity},
    };

    fn verdict(episode: &str, user: &str) -> Verdict {
        Verdict {
            rule: Rule::NearLimit,
            episode: episode.to_owned(),
            key: ServerKey::new(user, ""),
            workload: None,
            severity: Severity::Warning,
            since_ms: 0,
            updated_ms: 0,
            cleared_ms: None,
            evidence: Vec::new(),
            clears_when: String::new(),
        }
    }

    #[test]
    fn what_is_kept_quiet_is_looked_at_in_its_newest_words_until_it_is_over() {
        let mut quiet = Quiet::default();
        let first = verdict("e1", "ann");
        assert!(quiet.keep(&first, Phase::Opened));
        assert!(!quiet.keep(&first, Phase::Opened), "no news twice");
        let worse = Verdict {
            severity: Severity::Critical,
            ..first.clone()
        };
        assert!(quiet.renew(&worse));
        assert_eq!(quiet.due(10_000), [(worse.clone(), Phase::Opened)]);
        assert!(quiet.due(14_999).is_empty(), "not at every turn");
        assert_eq!(quiet.due(15_000).len(), 1);
        assert_eq!(quiet.due(9_000).len(), 1, "a clock that went back");
        let over = Verdict {
            cleared_ms: Some(1),
            ..worse
        };
        assert!(quiet.renew(&over) && !quiet.renew(&over));
        assert!(quiet.due(90_000).is_empty());
        assert!(!quiet.renew(&verdict("e2", "ann")), "that was never kept");
    }

    #[test]
    fn what_is_kept_quiet_follows_who_is_renamed_and_forgets_who_is_forgotten() {
        let mut quiet = Quiet::default();
        quiet.keep(&verdict("e1", "ann"), Phase::Opened);
        quiet.keep(&verdict("e2", "bob"), Phase::Opened);
        quiet.move_people(&Fates::one("ann", Fate::Erased));
        quiet.move_people(&Fates::one("bob", Fate::Renamed("bert".into())));
        let left = quiet.due(10_000);
        assert_eq!(left.len(), 1);
        assert_eq!(&*left[0].0.key.user, "bert");
    }
}
