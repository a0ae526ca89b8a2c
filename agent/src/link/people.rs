//! What is told of people beside samples: their activity when it changed, and notices they saw.

use std::collections::VecDeque;

use bytes::Bytes;
use hubmeter_proto::{limits::SHOWN_MAX, v1};

use super::encode;

/// Input that goes on is told so often at most.
const INPUT_EVERY_MS: u64 = 30_000;

/// What there is to tell, whoever it is told to.
#[derive(Debug, Default)]
pub(super) struct People {
    activity: v1::Activity,
    /// Oldest first; of more than [`SHOWN_MAX`] the oldest go.
    shown: VecDeque<Seen>,
}

/// A notice that somebody saw.
#[derive(Debug)]
struct Seen {
    episode: String,
    /// The first report that was sent after it on this stream.
    before_seq: Option<u64>,
}

/// What one stream's collector was told.
#[derive(Debug, Default)]
pub(super) struct Heard {
    activity: v1::Activity,
    at_ms: u64,
}

// === impl People ===

impl People {
    pub(super) fn note(&mut self, activity: v1::Activity) {
        self.activity = activity;
    }

    pub(super) fn show(&mut self, episodes: Vec<String>) {
        for episode in episodes {
            if self.shown.iter().any(|seen| seen.episode == episode) {
                continue;
            }
            if self.shown.len() >= SHOWN_MAX {
                self.shown.pop_front();
            }
            self.shown.push_back(Seen {
                episode,
                before_seq: None,
            });
        }
    }

    /// A new stream: what has no receipt is told again.
    pub(super) fn begin(&mut self) {
        for seen in &mut self.shown {
            seen.before_seq = None;
        }
    }

    /// What is to be said before report `next_seq`, if anything.
    pub(super) fn next(&mut self, heard: &mut Heard, next_seq: u64, now_ms: u64) -> Option<Bytes> {
        if is_news(&self.activity, heard, now_ms) {
            heard.activity.clone_from(&self.activity);
            heard.at_ms = now_ms;
            return Some(encode::activity(self.activity.clone()));
        }
        let mut unsent = self
            .shown
            .iter_mut()
            .filter(|seen| seen.before_seq.is_none());
        let first = unsent.next()?;
        first.before_seq = Some(next_seq);
        let mut episodes = vec![first.episode.clone()];
        for seen in unsent {
            seen.before_seq = Some(next_seq);
            episodes.push(seen.episode.clone());
        }
        Some(encode::shown(episodes))
    }

    /// Reports up to `through_seq` are on disk, and what was said before them.
    pub(super) fn acknowledge(&mut self, through_seq: u64) {
        self.shown
            .retain(|seen| seen.before_seq.is_none_or(|seq| seq > through_seq));
    }
}

/// Whether it is worth a message.
fn is_news(activity: &v1::Activity, heard: &Heard, now_ms: u64) -> bool {
    let before = &heard.activity;
    if activity.jobs != before.jobs
        || activity.kept_until_mono_ms != before.kept_until_mono_ms
        || activity.page_open != before.page_open
    {
        return true;
    }
    let waited = now_ms.saturating_sub(heard.at_ms) >= INPUT_EVERY_MS;
    let first = before.input_mono_ms.is_none();
    activity.input_mono_ms != before.input_mono_ms && (waited || first)
}

#[cfg(test)]
mod tests {
    use hubmeter_proto::v1::up::Body;
    use prost::Message as _;

    use super::*;

    fn said(people: &mut People, heard: &mut Heard, seq: u64, now_ms: u64) -> Option<Body> {
        let bytes = people.next(heard, seq, now_ms)?;
        v1::Up::decode(bytes).unwrap().body
    }

    fn input(at_ms: u64) -> v1::Activity {
        v1::Activity {
            input_mono_ms: Some(at_ms),
            ..v1::Activity::default()
        }
    }

    #[test]
    fn what_did_not_change_is_not_told_and_input_that_goes_on_only_now_and_then() {
        let (mut people, mut heard) = (People::default(), Heard::default());
        assert_eq!(
            said(&mut people, &mut heard, 1, 1_000),
            None,
            "nothing known"
        );
        let mut told = Vec::new();
        for second in (5..=90).step_by(5) {
            let now_ms = second * 1_000;
            if second <= 60 {
                people.note(input(now_ms));
            }
            if let Some(Body::Activity(activity)) = said(&mut people, &mut heard, 1, now_ms) {
                told.push((second, activity.input_mono_ms.unwrap() / 1_000));
            }
        }
        // The last input is told too, though late.
        assert_eq!(told, [(5, 5), (35, 35), (65, 60)]);
        let again = said(&mut people, &mut Heard::default(), 1, 91_000);
        assert_eq!(
            again,
            Some(Body::Activity(input(60_000))),
            "on a new stream"
        );
    }

    #[test]
    fn a_page_that_is_opened_or_closed_is_told_and_told_anew_on_a_new_stream() {
        let (mut people, mut heard) = (People::default(), Heard::default());
        for open in [false, true, false] {
            let activity = v1::Activity {
                page_open: Some(open),
                ..v1::Activity::default()
            };
            people.note(activity.clone());
            let told = Some(Body::Activity(activity));
            assert_eq!(said(&mut people, &mut heard, 1, 1_000), told);
            assert_eq!(said(&mut people, &mut heard, 1, 2_000), None);
            assert_eq!(said(&mut people, &mut Heard::default(), 1, 2_000), told);
        }
    }

    #[test]
    fn what_was_seen_is_told_again_until_a_later_report_is_on_disk() {
        let (mut people, mut heard) = (People::default(), Heard::default());
        people.show(vec!["a".to_owned(), "b".to_owned(), "a".to_owned()]);
        let shown = |episodes: &[&str]| {
            let episodes = episodes.iter().map(|episode| (*episode).to_owned());
            Some(Body::Shown(v1::Shown {
                episodes: episodes.collect(),
            }))
        };
        assert_eq!(said(&mut people, &mut heard, 5, 0), shown(&["a", "b"]));
        assert_eq!(said(&mut people, &mut heard, 5, 0), None);
        people.acknowledge(4);
        people.begin();
        assert_eq!(said(&mut people, &mut heard, 5, 0), shown(&["a", "b"]));
        people.acknowledge(5);
        people.begin();
        assert_eq!(said(&mut people, &mut heard, 6, 0), None);
        people.show((0..100).map(|n| n.to_string()).collect());
        assert_eq!(people.shown.len(), SHOWN_MAX);
    }
}
