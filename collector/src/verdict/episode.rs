//! One thing, one episode: findings open a verdict once, change it while it lasts, and end it.
//!
//! An episode's id is made of what it is about and when it was raised, so a replay gives the same.

use sha2::{Digest, Sha256};

use super::{Finding, Rule, Verdict};
use crate::fact::ServerKey;

/// Kills open at once for one server. Beyond it no other opens: a kernel that is killed again and
/// again must not take the room of what else there is to say.
pub(crate) const KILLS_MAX: usize = 8;

/// Idle kernels that hold much, open at once for one server.
pub(crate) const HOGS_MAX: usize = 4;

/// Verdicts open at once for one server: one per rule, and a few of those that may be open more
/// than once.
pub(crate) const OPEN_PER_SERVER_MAX: usize = Rule::ALL.len() - 2 + KILLS_MAX + HOGS_MAX;

/// What moves slowly is told anew once in this time.
const TOLD_EVERY_MS: i64 = 60_000;

/// Bytes of the hash that an id shows.
const ID_BYTES: usize = 8;

/// The open verdict of `rule`, for rules with one episode at a time.
pub(crate) fn find(open: &[Verdict], rule: Rule) -> Option<&Verdict> {
    open.iter().find(|verdict| verdict.rule == rule)
}

/// Whether `rule` is open.
pub(crate) fn is_open(open: &[Verdict], rule: Rule) -> bool {
    find(open, rule).is_some()
}

/// For rules with one episode at a time: opens, updates or clears according to `finding`; tells
/// the verdict if anything changed.
pub(crate) fn settle(
    open: &mut Vec<Verdict>,
    key: &ServerKey,
    rule: Rule,
    at_ms: i64,
    finding: Option<Finding>,
) -> Option<Verdict> {
    let Some(finding) = finding else {
        return clear(open, at_ms, |verdict| verdict.rule == rule).pop();
    };
    match open.iter_mut().find(|verdict| verdict.rule == rule) {
        Some(verdict) => update(verdict, at_ms, finding),
        None => raise(open, key, rule, at_ms, finding),
    }
}

/// The same for rules whose numbers move slowly: `finding` is asked for when a verdict opens, and
/// once a minute while it is open.
pub(crate) fn settle_calmly(
    open: &mut Vec<Verdict>,
    key: &ServerKey,
    rule: Rule,
    at_ms: i64,
    finding: Option<impl FnOnce() -> Finding>,
) -> Option<Verdict> {
    let told = find(open, rule);
    let lately = |verdict: &Verdict| {
        (verdict.updated_ms..verdict.updated_ms + TOLD_EVERY_MS).contains(&at_ms)
    };
    if finding.is_none() == told.is_none() && told.is_none_or(lately) {
        return None;
    }
    // When all is calmer nobody stands out any more; whose it was is still to be read.
    let whose = told.and_then(|verdict| verdict.workload.clone());
    let finding = finding.map(|finding| {
        let mut finding = finding();
        finding.workload = finding.workload.or(whose);
        finding
    });
    settle(open, key, rule, at_ms, finding)
}

/// Whether one more of `rule` may open.
pub(crate) fn has_room(open: &[Verdict], rule: Rule) -> bool {
    let max = match rule {
        Rule::Killed => KILLS_MAX,
        Rule::IdleHog => HOGS_MAX,
        _ => 1,
    };
    open.iter().filter(|verdict| verdict.rule == rule).count() < max
}

/// Opens a new episode.
pub(crate) fn raise(
    open: &mut Vec<Verdict>,
    key: &ServerKey,
    rule: Rule,
    at_ms: i64,
    finding: Finding,
) -> Option<Verdict> {
    if !has_room(open, rule) {
        return None;
    }
    let workload_id = finding.workload.as_ref().map_or("", |w| w.id.as_str());
    // A rule about the whole server may change its mind about the workload; the id stays.
    let verdict = Verdict {
        rule,
        episode: id(rule, key, workload_id, at_ms),
        key: key.clone(),
        workload: finding.workload,
        severity: finding.severity,
        since_ms: at_ms,
        updated_ms: at_ms,
        cleared_ms: None,
        evidence: finding.evidence,
        clears_when: finding.clears_when,
    };
    open.push(verdict.clone());
    Some(verdict)
}

/// Changes an open verdict to `finding`; tells it if that is any different.
pub(crate) fn update(verdict: &mut Verdict, at_ms: i64, finding: Finding) -> Option<Verdict> {
    let same = verdict.evidence == finding.evidence
        && verdict.workload == finding.workload
        && verdict.severity == finding.severity;
    if same {
        return None;
    }
    verdict.workload = finding.workload;
    verdict.severity = finding.severity;
    verdict.evidence = finding.evidence;
    verdict.clears_when = finding.clears_when;
    verdict.updated_ms = verdict.updated_ms.max(at_ms);
    Some(verdict.clone())
}

/// Ends the open verdicts that `ends` picks, and gives them.
pub(crate) fn clear(
    open: &mut Vec<Verdict>,
    at_ms: i64,
    ends: impl Fn(&Verdict) -> bool,
) -> Vec<Verdict> {
    let mut cleared: Vec<Verdict> = open.extract_if(.., |verdict| ends(verdict)).collect();
    for verdict in &mut cleared {
        verdict.cleared_ms = Some(at_ms.max(verdict.since_ms));
        verdict.updated_ms = at_ms.max(verdict.updated_ms);
    }
    cleared
}

/// The id of what is about `key` and was raised at `at_ms`.
pub(crate) fn id(rule: Rule, key: &ServerKey, workload_id: &str, at_ms: i64) -> String {
    let mut hash = Sha256::new();
    for part in [rule.as_str(), &key.user, &key.server, workload_id] {
        // The length first, so that no two different lists of parts read the same.
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.update(at_ms.to_le_bytes());
    hash.finalize()
        .iter()
        .take(ID_BYTES)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Evidence, Severity};

    fn finding(percent: i64) -> Finding {
        Finding {
            workload: None,
            severity: Severity::Warning,
            evidence: vec![("percent", Evidence::Integer(percent))],
            clears_when: "later".to_owned(),
        }
    }

    #[test]
    fn an_episode_keeps_its_id_and_start_until_it_is_cleared() {
        let key = ServerKey::new("ada", "");
        let mut open = Vec::new();
        let mut at = |at_ms, found| settle(&mut open, &key, Rule::NearLimit, at_ms, found);
        let raised = at(10, Some(finding(90))).unwrap();
        assert_eq!(at(20, Some(finding(90))), None, "nothing new, nothing told");
        let updated = at(30, Some(finding(95))).unwrap();
        assert_eq!((updated.since_ms, updated.updated_ms), (10, 30));
        assert_eq!(updated.episode, raised.episode);
        let cleared = at(40, None).unwrap();
        assert_eq!(cleared.cleared_ms, Some(40));
        assert_eq!(at(50, None), None);
        let again = at(60, Some(finding(91))).unwrap();
        assert_ne!(again.episode, raised.episode);
    }

    #[test]
    fn ids_tell_users_and_servers_apart() {
        let one = id(Rule::Idle, &ServerKey::new("ab", "c"), "", 1);
        let other = id(Rule::Idle, &ServerKey::new("a", "bc"), "", 1);
        assert_ne!(one, other);
        assert_eq!(one.len(), 2 * ID_BYTES);
    }
}
