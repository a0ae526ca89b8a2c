use super::*;
use crate::{text::Label, verdict::WorkloadName};

fn verdict(rule: Rule) -> Verdict {
    Verdict {
        rule,
        episode: "e".to_owned(),
        key: ServerKey::new("ada", ""),
        workload: None,
        severity: Severity::Critical,
        since_ms: 0,
        updated_ms: 0,
        cleared_ms: None,
        evidence: Vec::new(),
        clears_when: String::new(),
    }
}

fn named(verdict: &Verdict) -> Verdict {
    let name = || Label::clean("train.ipynb", 64);
    Verdict {
        workload: Some(WorkloadName {
            id: name(),
            title: name(),
        }),
        ..verdict.clone()
    }
}

#[test]
fn a_death_whose_victim_gets_known_is_one_notice_in_better_words() {
    let mut memory = Memory::default();
    let killed = verdict(Rule::Killed);
    assert_eq!(memory.take(&killed, true), News::Begins { matters: true });
    assert_eq!(memory.phase_of(&killed), Some(Phase::Opened));
    memory.note_shown(&killed);
    assert_eq!(memory.take(&named(&killed), true), News::Words);
    assert_eq!(memory.phase_of(&killed), None, "no notice of its own");
    assert_eq!(memory.take(&killed, true), News::Nothing);
    assert_eq!(memory.take(&named(&killed), true), News::Nothing);
}

#[test]
fn what_a_mute_kept_from_its_user_has_no_end_for_them_and_what_was_shown_before_has() {
    let mut memory = Memory::default();
    let open = verdict(Rule::NearLimit);
    let over = Verdict {
        cleared_ms: Some(1),
        ..open.clone()
    };
    for (shown, end) in [(false, News::Nothing), (true, News::Matters)] {
        memory.take(&open, true);
        if shown {
            memory.note_shown(&open);
        }
        memory.quiet.keep(&open, Phase::Opened);
        assert_eq!(memory.take(&over, true), end, "shown: {shown}");
    }
}

#[test]
fn what_no_agent_took_is_opened_when_one_does() {
    let mut memory = Memory::default();
    let killed = verdict(Rule::Killed);
    memory.take(&killed, true);
    assert_eq!(memory.take(&named(&killed), true), News::Words);
    assert_eq!(memory.phase_of(&killed), Some(Phase::Opened));
    memory.note_shown(&killed);
    assert_eq!(memory.phase_of(&killed), None, "an agent that came again");
}

#[test]
fn a_runaway_that_loses_its_culprit_or_calms_down_is_no_news_and_one_that_gets_worse_is() {
    let mut memory = Memory::default();
    let severe = named(&verdict(Rule::RunawayMemory));
    let mild = Verdict {
        severity: Severity::Warning,
        ..severe.clone()
    };
    memory.take(&mild, true);
    assert_eq!(memory.take(&severe, true), News::Worse);
    assert_eq!(memory.take(&mild, true), News::Nothing);
    let nobodys = verdict(Rule::RunawayMemory);
    assert_eq!(memory.take(&nobodys, true), News::Nothing);
    assert_eq!(memory.take(&severe, true), News::Nothing);
}

#[test]
fn a_runaway_is_news_when_its_limit_is_near_and_only_then_is_its_end() {
    let mut verdict = verdict(Rule::RunawayMemory);
    let mut memory = Memory::default();
    let early = memory.take(&verdict, false);
    assert_eq!(early, News::Begins { matters: false });
    assert!(!memory.has_told(&verdict));
    assert_eq!(memory.take(&verdict, false), News::Nothing);
    assert_eq!(memory.take(&verdict, true), News::Matters);
    assert_eq!(
        memory.take(&verdict, false),
        News::Nothing,
        "once is enough"
    );
    assert!(memory.has_told(&verdict), "a new agent is told, too");
    verdict.cleared_ms = Some(1);
    assert_eq!(memory.take(&verdict, false), News::Matters);

    verdict.cleared_ms = None;
    memory.take(&verdict, false);
    verdict.cleared_ms = Some(1);
    assert_eq!(
        memory.take(&verdict, true),
        News::Nothing,
        "it never mattered"
    );
}
