//! Nobody is stopped unwarned while there is a way to warn them, whatever fails meanwhile; and nothing is waited
//! for without end.

use proptest::prelude::*;

use super::*;
use crate::{fact::Activity, state::tests::instance};

/// When who idles from the start is due, by [`policy`].
const DUE: i64 = 60;

/// How long a page may leave the warning unseen.
const UNSEEN: i64 = 15;

fn at(minute: i64) -> i64 {
    START_MS + minute * MINUTE_MS
}

/// The agent says whether a page is open.
fn page(state: &mut State, minute: i64, open: bool) {
    state.apply(&Fact::Activity {
        at_ms: at(minute),
        key: ada(),
        instance: instance(1),
        activity: Activity {
            page_open: Some(open),
            ..Activity::default()
        },
    });
}

/// The agent is back, and tells all that it measured since `from`.
fn back(state: &mut State, from: i64, minute: i64) {
    state.apply(&Fact::Connected {
        at_ms: at(minute),
        key: ada(),
        instance: instance(1),
        host: label("node-1"),
        interval_ms: 60_000,
    });
    idles(state, from, minute);
}

fn measured(state: &mut State, minute: i64) {
    idles(state, minute, minute);
}

fn idles(state: &mut State, from: i64, to: i64) {
    let minute = |minute: i64| u64::try_from(minute).unwrap();
    go_on(state, minute(from), minute(to), WorkloadState::Idle);
}

/// The page shows whatever it was told.
fn shown(state: &mut State, minute: i64) {
    let episode = state.warned(&ada()).unwrap().episode.clone();
    state.apply(&Fact::Shown {
        at_ms: at(minute),
        key: ada(),
        episodes: vec![label(&episode)],
    });
}

/// The first minute from `minute` on at which it may be stopped, while it is measured and looked at.
fn stopped_from(state: &mut State, minute: i64) -> i64 {
    for minute in minute..minute + 24 * 60 {
        measured(state, minute);
        look(state, minute);
        if row(state, minute).cull {
            return minute;
        }
    }
    panic!("never stopped: {:?}", row(state, minute + 24 * 60));
}

#[test]
fn a_page_that_is_open_and_hidden_keeps_an_idle_server_a_quarter_of_an_hour_longer_and_no_more() {
    let mut state = idle_for(44, policy());
    page(&mut state, 44, true);
    let (mut told, mut again) = (Vec::new(), 0);
    for minute in 45..DUE {
        measured(&mut state, minute);
        let news = look(&mut state, minute);
        told.extend(stages(&news));
        again += news.warn_again.len();
        assert_eq!(row(&state, minute).stops_at_ms, Some(at(DUE)));
    }
    assert_eq!(told, [Stage::Quarter, Stage::Last], "once each");
    assert_eq!(
        again, 13,
        "and every minute to the page that may be another"
    );
    let waits = row(&state, DUE);
    assert!(!waits.cull);
    assert_eq!(
        waits.reason,
        "idle for 1 h; its user was warned in a page that is open and that nobody looked at yet"
    );
    assert_eq!(waits.stops_at_ms, Some(at(DUE + UNSEEN)), "the stop moves");
    assert_eq!(stopped_from(&mut state, DUE), DUE + UNSEEN);
}

#[test]
fn a_hidden_page_that_somebody_looks_at_gives_the_whole_time_from_then_on() {
    for (minute, stops) in [(46, DUE), (58, 63), (DUE + 1, 66), (DUE + 14, 79)] {
        let mut state = idle_for(44, policy());
        page(&mut state, 44, true);
        for minute in 45..=minute {
            measured(&mut state, minute);
            look(&mut state, minute);
        }
        shown(&mut state, minute);
        assert!(look(&mut state, minute).warn_again.is_empty());
        assert_eq!(stopped_from(&mut state, minute), stops, "seen at {minute}");
    }
}

#[test]
fn a_page_that_is_opened_after_the_warnings_shows_them_and_gives_the_whole_time() {
    // Whoever stops servers was away: it was due minutes ago.
    for opened in [56, DUE + 2, DUE + 40] {
        let mut state = idle_for(45, policy());
        page(&mut state, 45, false);
        look(&mut state, 45);
        look(&mut state, 55);
        idles(&mut state, 46, opened);
        page(&mut state, opened, true);
        assert!(!row(&state, opened).cull, "before it is said there");
        let news = look(&mut state, opened);
        assert!(news.warn.is_empty(), "no other warning by mail");
        assert_eq!(stages_again(&news), [Stage::Last]);
        let due_ms = news.warn_again[0].stops_at_ms;
        assert_eq!(due_ms, at(DUE.max(opened + 5)));
        assert!(!row(&state, opened).cull);
        shown(&mut state, opened + 1);
        let stops = DUE.max(opened + 6);
        assert_eq!(stopped_from(&mut state, opened + 1), stops, "{opened}");
    }
}

fn stages_again(news: &crate::warning::News) -> Vec<Stage> {
    news.warn_again
        .iter()
        .map(|warning| warning.stage)
        .collect()
}

#[test]
fn a_page_that_comes_and_goes_all_the_time_keeps_no_server_for_ever() {
    let mut state = idle_for(59, policy());
    look(&mut state, 45);
    look(&mut state, 55);
    for minute in DUE..DUE + UNSEEN {
        measured(&mut state, minute);
        page(&mut state, minute, false);
        page(&mut state, minute, true);
        look(&mut state, minute);
        assert!(!row(&state, minute).cull, "{minute}");
    }
    page(&mut state, DUE + UNSEEN, false);
    page(&mut state, DUE + UNSEEN, true);
    assert!(row(&state, DUE + UNSEEN).cull);
}

#[test]
fn where_no_page_is_open_or_nobody_says_so_it_stops_in_time_and_nothing_is_said_again() {
    for says in [Some(false), None] {
        let mut state = idle_for(44, policy());
        if let Some(open) = says {
            page(&mut state, 44, open);
        }
        for minute in 45..DUE {
            measured(&mut state, minute);
            assert!(look(&mut state, minute).warn_again.is_empty());
        }
        assert_eq!(stopped_from(&mut state, DUE), DUE, "{says:?}");
    }
    let mut state = idle_for(57, policy());
    page(&mut state, 44, true);
    look(&mut state, 45);
    look(&mut state, 55);
    page(&mut state, 58, false);
    assert_eq!(stopped_from(&mut state, 58), DUE, "it was closed unseen");
}

#[test]
fn a_link_that_is_down_over_the_last_warning_moves_the_stop() {
    for (open, stops) in [(false, 67), (true, 67 + UNSEEN)] {
        let mut state = idle_for(53, policy());
        page(&mut state, 44, open);
        look(&mut state, 45);
        dropped(&mut state, 54);
        assert!(look(&mut state, 55).is_empty());
        back(&mut state, 54, 62);
        let news = look(&mut state, 62);
        assert_eq!(stages(&news), [Stage::Last]);
        assert_eq!(news.warn[0].to_string(), "idle 1 h, stops in 5 min");
        assert_eq!(stopped_from(&mut state, 62), stops, "page open: {open}");
    }
}

#[test]
fn a_page_is_told_what_only_mail_without_an_address_was_told_while_its_agent_was_away() {
    let by_mail = CullPolicy {
        warns_by_mail: true,
        ..policy()
    };
    let mut state = idle_for(53, by_mail);
    page(&mut state, 44, true);
    dropped(&mut state, 54);
    let told = look(&mut state, 55);
    state.apply(&Fact::Mailed {
        at_ms: at(55),
        key: ada(),
        episode: told.warn.first().map_or("", |w| &w.episode).into(),
        taken: false,
    });
    back(&mut state, 54, 62);
    let news = look(&mut state, 62);
    let said = news.warn.len() + news.warn_again.len();
    assert_eq!(said, 1, "{news:?}");
    shown(&mut state, 63);
    assert_eq!(stopped_from(&mut state, 63), 68);
}

#[test]
fn a_collector_that_comes_up_after_the_end_gives_the_whole_time_once_more() {
    for seen in [true, false] {
        let mut before = idle_for(54, policy());
        page(&mut before, 44, true);
        look(&mut before, 45);
        if seen {
            shown(&mut before, 46);
        }
        let warned = before.warned(&ada()).unwrap().clone();
        let recalled = Warned {
            page_ms: None,
            said_ms: None,
            ..warned
        };
        let mut state = idle_for(54, policy());
        page(&mut state, 44, true);
        state.recall_promises([], [(ada(), recalled)]);
        state.apply(&Fact::Started { at_ms: at(62) });
        assert!(!row(&state, 62).cull);
        back(&mut state, 55, 63);
        let news = look(&mut state, 63);
        assert_eq!(stages(&news), [Stage::Last]);
        let waits = row(&state, 63);
        assert!(!waits.cull);
        if seen {
            let why = "its user was warned, and the time begins anew: nobody listened for a while";
            assert!(waits.reason.ends_with(why), "{}", waits.reason);
            assert_eq!(waits.stops_at_ms, Some(at(67)));
            assert_eq!(stopped_from(&mut state, 63), 67);
        } else {
            assert_eq!(stopped_from(&mut state, 63), 68 + UNSEEN);
        }
    }
}

#[test]
fn a_clock_that_is_set_forward_takes_no_time_from_who_was_warned() {
    const SET_MINUTES: i64 = 120;
    let aged = CullPolicy {
        max_age_ms: Some(DUE * MINUTE_MS),
        ..policy()
    };
    let mut state = acting(aged);
    state.apply(&hub(0, Some(START_MS)));
    go_on(&mut state, 0, 56, WorkloadState::Busy);
    look(&mut state, 55);
    shown(&mut state, 55);
    let set = 56 + SET_MINUTES;
    state.apply(&Fact::Started { at_ms: at(set) });
    let mut sample = sample(57 * 60_000, 300 * MB);
    (sample.interval_ms, sample.at_ms) = (60_000, at(set + 1));
    state.apply(&report(1, 58, vec![sample]));
    for minute in [set, set + 1, set + 4] {
        assert!(!row(&state, minute).cull, "{:?}", row(&state, minute));
    }
    assert!(row(&state, set + 5).cull, "{:?}", row(&state, set + 5));
}

/// What happens in a minute.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Happens {
    Nothing,
    Opens,
    Closes,
    Drops,
    Comes,
    Looked,
    Restarts,
}

fn happenings() -> impl Strategy<Value = Vec<Happens>> {
    use Happens::{Closes, Comes, Drops, Looked, Nothing, Opens, Restarts};
    let one = prop_oneof![
        8 => Just(Nothing),
        2 => prop_oneof![Just(Opens), Just(Closes)],
        2 => prop_oneof![Just(Drops), Just(Comes), Just(Comes)],
        1 => prop_oneof![Just(Looked), Just(Restarts)],
    ];
    prop::collection::vec(one, 60)
}

/// A server that idles, and what its user could know.
struct Play {
    state: State,
    open: bool,
    linked: bool,
    /// The newest minute that the agent told of.
    measured: i64,
    /// When a warning first lay in an open page, and when it was seen.
    offered: Option<i64>,
    seen: Option<i64>,
}

// === impl Play ===

impl Play {
    fn new() -> Self {
        Self {
            state: idle_for(40, policy()),
            open: false,
            linked: true,
            measured: 40,
            offered: None,
            seen: None,
        }
    }

    /// A minute passes; whether it may be stopped now.
    fn pass(&mut self, minute: i64, happens: Happens) -> bool {
        match happens {
            Happens::Opens | Happens::Closes => self.open = happens == Happens::Opens,
            Happens::Drops if self.linked => {
                self.linked = false;
                dropped(&mut self.state, minute);
            }
            Happens::Comes if !self.linked => {
                self.linked = true;
                back(&mut self.state, self.measured + 1, minute);
            }
            Happens::Restarts => {
                self.state.apply(&Fact::Started { at_ms: at(minute) });
            }
            Happens::Looked if self.linked && self.open && self.offered.is_some() => {
                self.seen = self.seen.or(Some(minute));
                shown(&mut self.state, minute);
            }
            _ => {}
        }
        if self.linked {
            page(&mut self.state, minute, self.open);
            measured(&mut self.state, minute);
            self.measured = minute;
        }
        let before = row(&self.state, minute).cull;
        let news = look(&mut self.state, minute);
        if !news.take_back.is_empty() {
            (self.offered, self.seen) = (None, None);
        }
        let said = !news.warn.is_empty() || !news.warn_again.is_empty();
        if said && self.linked && self.open {
            self.offered = self.offered.or(Some(minute));
        }
        before || row(&self.state, minute).cull
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whoever has a page open that is heard of had the time of the last warning, from when it lay there; and
    /// once nothing more happens the server is stopped.
    #[test]
    fn whatever_comes_and_goes_a_page_gets_its_warning_in_time_and_the_server_its_end(
        happenings in happenings(),
    ) {
        let mut play = Play::new();
        let mut minute = 40;
        for happens in happenings {
            minute += 1;
            let stopped = play.pass(minute, happens);
            if stopped && play.linked && play.open {
                let lay = play.seen.or(play.offered);
                prop_assert!(lay.is_some_and(|lay| lay + 5 <= minute), "{minute}: {lay:?}");
            }
        }
        // An hour of idling at most, and what is waited for beyond.
        let latest = minute + DUE + 10 + 5 + UNSEEN + 5;
        let mut ended = play.pass(minute, Happens::Comes);
        while !ended && minute < latest {
            minute += 1;
            ended = play.pass(minute, Happens::Nothing);
        }
        prop_assert!(ended, "{:?}", row(&play.state, minute));
    }
}
