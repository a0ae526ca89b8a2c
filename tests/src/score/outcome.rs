//! One detector on one episode: what it did, by the definitions above.

use super::{
    corpus::{Episode, Point},
    detector::{Detector, Says},
};

/// A lead counts up to here.
pub const LEAD_MS_MAX: i64 = 15 * 60 * 1000;

/// With fewer samples than this between half the limit and the limit nobody can warn.
const FORESEEABLE_SAMPLES_MIN: usize = 3;

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// When the alarm that was open at the end was raised, by sample.
    pub raised: Vec<usize>,
    /// Memory crossed, and there was time to say so.
    pub crossed: bool,
    /// It crossed from one sample to the next: nobody could know.
    pub unforeseeable: bool,
    /// An alarm was open at the sample before the crossing.
    pub caught: bool,
    /// How early, as a share of what was possible.
    pub lead_share: Option<f64>,
    /// Alarms that were false.
    pub false_alarms: usize,
    /// How long the detector looked at a trace that does not cross.
    pub quiet_ms: i64,
    /// Forecasts while the alarm was open, and how many held the time that it took.
    pub forecasts: usize,
    /// Of those.
    pub forecasts_held: usize,
}

/// Lets `detector` see the whole episode.
pub fn judge(episode: &Episode<'_>, detector: &mut dyn Detector) -> Outcome {
    let seen = episode.seen();
    let said: Vec<Says> = seen
        .iter()
        .map(|point| detector.see(point, episode.limit_bytes))
        .collect();
    let opens = |&at: &usize| said[at].alarm && (at == 0 || !said[at - 1].alarm);
    let raised: Vec<usize> = (0..said.len()).filter(opens).collect();
    let mut outcome = match episode.crossing {
        Some(crossing) => crossed(episode, &said, crossing, &raised),
        None => stayed(episode, &raised),
    };
    outcome.raised = raised;
    outcome
}

fn crossed(episode: &Episode<'_>, said: &[Says], crossing: usize, raised: &[usize]) -> Outcome {
    let points = &episode.trace.points;
    let crossing_ms = points[crossing].at_ms;
    let half = possible_from(&points[..crossing], episode.limit_bytes);
    if crossing < half + FORESEEABLE_SAMPLES_MIN {
        return Outcome {
            unforeseeable: true,
            ..Outcome::default()
        };
    }
    let caught = said[crossing - 1].alarm;
    let possible_ms = (crossing_ms - points[half].at_ms).min(LEAD_MS_MAX);
    let lead_ms = raised
        .last()
        .filter(|_| caught)
        .map_or(0, |at| crossing_ms - points[*at].at_ms);
    let (mut forecasts, mut held) = (0, 0);
    for (says, point) in said.iter().zip(points) {
        if let (true, Some((low, high))) = (says.alarm, says.seconds_to_limit) {
            let took = (crossing_ms - point.at_ms) as f64 / 1000.0;
            forecasts += 1;
            held += usize::from(low <= took && high.is_none_or(|high| took <= high));
        }
    }
    Outcome {
        crossed: true,
        caught,
        lead_share: Some((lead_ms as f64 / possible_ms as f64).min(1.0)),
        forecasts,
        forecasts_held: held,
        ..Outcome::default()
    }
}

/// The first sample of the last stretch above half the limit.
fn possible_from(before: &[Point], limit_bytes: u64) -> usize {
    before
        .iter()
        .rposition(|point| point.used_bytes < limit_bytes / 2)
        .map_or(0, |below| below + 1)
}

fn stayed(episode: &Episode<'_>, raised: &[usize]) -> Outcome {
    if episode.still_rising {
        return Outcome::default(); // nobody knows whether an alarm was right
    }
    let points = episode.seen();
    let is_false = |&&at: &&usize| {
        let used = points[at].used_bytes;
        let half_way = used + (episode.limit_bytes - used) / 2;
        points[at..].iter().all(|point| point.used_bytes < half_way)
    };
    Outcome {
        false_alarms: raised.iter().filter(is_false).count(),
        quiet_ms: points.last().map_or(0, |last| last.at_ms),
        ..Outcome::default()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::corpus::Trace, *};

    /// Says what it is told, sample by sample.
    struct Told(std::vec::IntoIter<bool>);

    impl Detector for Told {
        fn see(&mut self, _point: &Point, _limit_bytes: u64) -> Says {
            Says {
                alarm: self.0.next().unwrap(),
                seconds_to_limit: None,
            }
        }
    }

    fn trace(used: &[u64]) -> Trace {
        let point = |(second, used): (usize, &u64)| Point {
            at_ms: second as i64 * 1000,
            used_bytes: *used,
            rss_bytes: *used,
            cpu_millis: 0,
            processes: 1,
            threads: 1,
        };
        Trace {
            family: "told".to_owned(),
            variant: "so".to_owned(),
            interval_ms: 1000,
            held_out: false,
            points: used.iter().enumerate().map(point).collect(),
        }
    }

    fn outcome(used: &[u64], limit_bytes: u64, says: &[u8]) -> Outcome {
        let trace = trace(used);
        let mut told = Told(says.iter().map(|&s| s > 0).collect::<Vec<_>>().into_iter());
        judge(&trace.under(limit_bytes), &mut told)
    }

    #[test]
    fn a_crossing_is_caught_by_the_alarm_that_is_open_before_it_and_led_since_it_was_raised() {
        let used = [10, 20, 40, 50, 60, 70, 80, 90, 100, 100];
        let caught = outcome(&used, 100, &[0, 1, 0, 0, 0, 1, 1, 1]);
        assert!(caught.crossed && caught.caught);
        // Half is reached at 3 s, the limit at 8 s; the alarm that counts is the second.
        assert!((caught.lead_share.unwrap() - 3.0 / 5.0).abs() < 1e-9);
        let missed = outcome(&used, 100, &[0, 0, 0, 1, 1, 1, 1, 0]);
        assert!(missed.crossed && !missed.caught);
        assert_eq!(missed.lead_share, Some(0.0));
    }

    #[test]
    fn a_crossing_from_one_sample_to_the_next_counts_for_nobody() {
        let jump = outcome(&[10, 10, 10, 10, 100], 100, &[0, 0, 0, 0]);
        assert!(jump.unforeseeable && !jump.crossed);
    }

    #[test]
    fn an_alarm_is_false_when_memory_never_goes_half_of_what_was_left() {
        let flat: Vec<u64> = [20, 40, 40, 40, 40].repeat(4);
        let mut says = vec![0; 20];
        says[2] = 1;
        assert_eq!(outcome(&flat, 100, &says).false_alarms, 1);
        let mut near = flat.clone();
        near[10] = 70; // half of the 60 that were left
        assert_eq!(outcome(&near, 100, &says).false_alarms, 0);
    }

    #[test]
    fn what_still_rises_at_the_end_is_left_out() {
        let rising: Vec<u64> = (0..20).collect();
        let mut says = vec![0; 20];
        says[2] = 1;
        let outcome = outcome(&rising, 100, &says);
        assert_eq!((outcome.false_alarms, outcome.quiet_ms), (0, 0));
    }
}
