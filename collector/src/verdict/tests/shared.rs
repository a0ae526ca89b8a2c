//! A limit that others share: it is reached by all of them together, and the one who climbs is
//! told, not the one who stands still.

use super::*;

const LIMIT: u64 = 2_000 * MB;

/// Three minutes at 5 s: the server uses `own(seconds)`, all together `all(seconds)`.
fn beside(own: impl Fn(u64) -> u64, all: impl Fn(u64) -> u64) -> (Vec<Verdict>, State) {
    let mut state = after(&[hub(0, None), connected(1, 0)]);
    let mut verdicts = Vec::new();
    for step in 0..36 {
        let at_s = step * 5;
        let mut sample = sample(at_s * 1_000, own(at_s));
        sample.memory_limit_bytes = Some(LIMIT);
        sample.memory_limit_shared = true;
        sample.memory_limit_used_bytes = Some(all(at_s));
        let changed = state.apply(&report(1, step + 1, vec![sample]));
        verdicts.extend(changed.verdicts);
    }
    (verdicts, state)
}

#[test]
fn a_server_that_stands_still_beside_a_climber_is_near_the_limit_but_no_runaway() {
    let (verdicts, state) = beside(|_| 150 * MB, |at_s| 400 * MB + at_s * 8 * MB);
    let forecast = server(&state).forecast.expect("the limit comes nearer");
    let left_s = (LIMIT - (400 + 175 * 8) * MB) as f64 / (8 * MB) as f64;
    assert!(
        (forecast.seconds_to_limit - left_s).abs() < 1.0,
        "{forecast:?}"
    );
    let trend = server(&state).trend.expect("a trend").bytes_per_second;
    assert_eq!(trend, 0.0, "the trend is the server's own");
    assert!(verdicts.iter().all(|v| v.rule != Rule::RunawayMemory));
    let near = |v: &&Verdict| v.rule == Rule::NearLimit;
    let near = verdicts.iter().rfind(near).expect("90 % are used");
    let all = Evidence::count((400 + 175 * 8) * MB);
    assert!(near.evidence.contains(&("memory_limit_used_bytes", all)));
    let own = Evidence::count(150 * MB);
    assert!(near.evidence.contains(&("memory_used_bytes", own)));
}

#[test]
fn the_climber_itself_is_a_runaway_as_soon_as_the_shared_limit_is_near() {
    let own = |at_s: u64| 150 * MB + at_s.saturating_sub(30) * 8 * MB;
    let (alone, _) = beside(own, own);
    let (beside, _) = beside(own, |at_s| own(at_s) + 600 * MB);
    let raised = |verdicts: &[Verdict]| {
        let runaway = |v: &&Verdict| v.rule == Rule::RunawayMemory;
        verdicts.iter().find(runaway).map(|v| v.since_ms)
    };
    let (alone, beside) = (raised(&alone), raised(&beside).expect("flagged"));
    assert!(
        alone.is_none_or(|alone| beside < alone),
        "{alone:?} {beside}"
    );
}

#[test]
fn who_comes_to_share_a_limit_or_goes_is_no_growth_of_anybody() {
    let mut state = after(&[hub(0, None), connected(1, 0)]);
    for step in 0..24 {
        let mut sample = sample(step * 5_000, 300 * MB);
        sample.memory_limit_bytes = Some(LIMIT);
        sample.memory_limit_shared = step % 12 >= 6;
        sample.memory_limit_used_bytes = sample.memory_limit_shared.then_some(1_500 * MB);
        let changed = state.apply(&report(1, step + 1, vec![sample]));
        assert_eq!(changed.verdicts, []);
        assert_eq!(server(&state).forecast, None);
    }
}

#[test]
fn a_server_that_vanished_where_all_together_had_filled_the_limit_was_killed() {
    let (_, mut state) = beside(|_| 150 * MB, |_| 1_700 * MB);
    let gone = state.apply(&disconnected(1, 176_000, false));
    let stopped = state.apply(&nothing_listed(180_000));
    let verdicts: Vec<_> = gone.verdicts.iter().chain(&stopped.verdicts).collect();
    let killed = |v: &&&Verdict| v.rule == Rule::Killed;
    let killed = verdicts.iter().find(killed).expect("inferred");
    assert!(
        killed
            .evidence
            .contains(&("inferred", Evidence::Flag(true)))
    );
}
