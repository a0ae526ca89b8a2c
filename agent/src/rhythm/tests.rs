use proptest::prelude::*;

use super::*;
use crate::link::encode::tests::sample;

const LIMIT: u64 = 1_000_000_000;
const FIVE: Duration = Duration::from_secs(5);

fn take(rhythm: &mut Rhythm, at_ms: u64, used: u64) -> Sample {
    let mut sample = sample(at_ms, used);
    rhythm.place(&mut sample);
    sample
}

#[test]
fn calm_memory_is_sampled_at_the_interval_and_only_then() {
    let mut rhythm = Rhythm::new(FIVE, 100);
    let mut taken = Vec::new();
    for _ in 0..4 {
        let due = rhythm.due_ms();
        let sample = take(&mut rhythm, due + 3, LIMIT / 10);
        taken.push((due, sample.burst, sample.interval_ms));
    }
    let expected = [
        (100, false, None),
        (5_100, false, Some(5_000)),
        (10_100, false, Some(5_000)),
        (15_100, false, Some(5_000)),
    ];
    assert_eq!(taken, expected);
}

#[test]
fn memory_that_moves_near_the_limit_is_sampled_every_second_and_the_base_rhythm_stays() {
    let mut rhythm = Rhythm::new(FIVE, 0);
    take(&mut rhythm, 0, LIMIT * 5 / 10);
    take(&mut rhythm, 5_000, LIMIT * 6 / 10);
    let mut rows = Vec::new();
    for step in 0..7u64 {
        let due = rhythm.due_ms();
        let sample = take(&mut rhythm, due, LIMIT * 6 / 10 + step * LIMIT / 50);
        rows.push((due, sample.burst, sample.interval_ms));
    }
    let expected = [
        (6_000, true, Some(1_000)),
        (7_000, true, Some(1_000)),
        (8_000, true, Some(1_000)),
        (9_000, true, Some(1_000)),
        (10_000, false, Some(5_000)),
        (11_000, true, Some(1_000)),
        (12_000, true, Some(1_000)),
    ];
    assert_eq!(rows, expected);
}

#[test]
fn a_burst_ends_when_memory_stands_still_and_does_not_start_far_from_the_limit() {
    let mut rhythm = Rhythm::new(FIVE, 0);
    take(&mut rhythm, 0, LIMIT / 10);
    take(&mut rhythm, 5_000, LIMIT * 4 / 10);
    assert_eq!(rhythm.due_ms(), 10_000, "far from the limit");
    take(&mut rhythm, 10_000, LIMIT * 6 / 10);
    assert_eq!(rhythm.due_ms(), 11_000);
    for at in [11_000, 12_000, 13_000] {
        take(&mut rhythm, at, LIMIT * 6 / 10);
    }
    assert_eq!(rhythm.due_ms(), 15_000, "standing still");
}

#[test]
fn late_beats_are_skipped_and_counted_never_made_up_for() {
    let mut rhythm = Rhythm::new(FIVE, 0);
    take(&mut rhythm, 0, 1);
    let sample = take(&mut rhythm, 16_000, 1);
    assert_eq!(sample.interval_ms, Some(16_000));
    assert_eq!(rhythm.skipped(), 2);
    assert_eq!(rhythm.due_ms(), 20_000);
    let sample = take(&mut rhythm, 24_999, 1);
    assert_eq!(sample.interval_ms, Some(8_999));
    assert_eq!(rhythm.due_ms(), 30_000, "not one millisecond later");
}

#[test]
fn without_a_limit_there_is_no_burst() {
    let mut rhythm = Rhythm::new(FIVE, 0);
    for (at, used) in [(0, 1), (5_000, u64::MAX)] {
        let mut sample = sample(at, used);
        sample.memory_limit_bytes = None;
        rhythm.place(&mut sample);
    }
    assert_eq!(rhythm.due_ms(), 10_000);
}

#[test]
fn a_new_pace_counts_from_the_last_base_sample() {
    let mut rhythm = Rhythm::new(FIVE, 0);
    take(&mut rhythm, 0, 1);
    rhythm.set_interval(Duration::from_secs(20), 1_000);
    assert_eq!(rhythm.due_ms(), 20_000);
    rhythm.set_interval(Duration::from_secs(1), 6_000);
    assert_eq!(rhythm.due_ms(), 6_000);
}

#[test]
fn after_a_suspend_there_is_one_sample_with_the_whole_distance_and_the_rhythm_goes_on() {
    const NIGHT_MS: u64 = 8 * 3_600_000;
    let mut rhythm = Rhythm::new(FIVE, 0);
    take(&mut rhythm, 0, 1);
    let woken = take(&mut rhythm, NIGHT_MS + 1, 1);
    assert_eq!(woken.interval_ms, Some(NIGHT_MS + 1));
    assert_eq!(rhythm.skipped(), NIGHT_MS / 5_000 - 1);
    assert_eq!(rhythm.due_ms(), NIGHT_MS + 5_000);
}

#[test]
fn samples_within_their_share_push_nothing() {
    let mut rhythm = Rhythm::new(FIVE, 0);
    for at_ms in [0, 5_000, 10_000] {
        take(&mut rhythm, at_ms, 1);
        assert!(!rhythm.spend(at_ms, 250_000), "exactly 5 % of 5 s");
    }
    assert_eq!((rhythm.due_ms(), rhythm.skipped()), (15_000, 0));
}

#[test]
fn samples_beyond_their_share_push_the_next_ones_away_and_they_are_counted() {
    let mut rhythm = Rhythm::new(FIVE, 0);
    take(&mut rhythm, 0, 1);
    assert!(!rhythm.spend(0, 900_000), "perhaps only the first one's");
    take(&mut rhythm, 5_000, 1);
    assert!(rhythm.spend(5_000, 600_000));
    assert_eq!((rhythm.due_ms(), rhythm.skipped()), (20_000, 2));
    take(&mut rhythm, 20_000, 1);
    assert!(
        rhythm.spend(20_000, 1_000),
        "a cheap one between two dear ones changes nothing"
    );
    take(&mut rhythm, 35_000, 1);
    assert!(!rhythm.spend(35_000, 1_000));
    assert_eq!(rhythm.due_ms(), 40_000, "it fits again");
}

#[test]
fn the_first_sample_that_finds_everything_out_does_not_blind_a_climb_that_begins_with_it() {
    let mut rhythm = Rhythm::new(FIVE, 0);
    take(&mut rhythm, 0, LIMIT * 2 / 10);
    rhythm.spend(0, 640_000);
    let mut seen_ms = Vec::new();
    for climbed in [5, 6, 7, 8, 9] {
        let due_ms = rhythm.due_ms();
        take(&mut rhythm, due_ms, LIMIT * climbed / 10);
        rhythm.spend(due_ms, 40_000);
        seen_ms.push(due_ms);
    }
    assert_eq!(seen_ms, [5_000, 6_000, 7_000, 8_000, 9_000]);
}

#[test]
fn a_burst_is_pushed_away_by_a_second_at_most() {
    let mut rhythm = Rhythm::new(Duration::from_secs(10), 0);
    take(&mut rhythm, 0, LIMIT * 5 / 10);
    rhythm.spend(0, 100_000);
    take(&mut rhythm, 10_000, LIMIT * 7 / 10);
    assert_eq!(rhythm.due_ms(), 11_000);
    assert!(!rhythm.spend(10_000, 100_000), "no base sample is left out");
    assert_eq!(rhythm.due_ms(), 11_000, "two seconds would be its share");
}

#[test]
fn costs_that_cannot_be_true_do_not_blind_us() {
    let mut rhythm = Rhythm::new(FIVE, 0);
    for at_ms in [0, 5_000] {
        take(&mut rhythm, at_ms, 1);
        rhythm.spend(at_ms, u64::MAX);
    }
    assert_eq!(rhythm.due_ms(), 5_000 + PUSH_MS_MAX);
}

/// What happens around one beat.
#[derive(Clone, Debug)]
struct Step {
    late_ms: u64,
    cost_us: u64,
    used: u64,
    missed: bool,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let late_ms = prop_oneof![4 => 0..50u64, 1 => 0..200_000u64];
    let cost_us = prop_oneof![4 => 0..10_000u64, 1 => 0..20_000_000u64];
    let step = (late_ms, cost_us, 0..LIMIT, prop::bool::weighted(0.1));
    let step = step.prop_map(|(late_ms, cost_us, used, missed)| Step {
        late_ms,
        cost_us,
        used,
        missed,
    });
    prop::collection::vec(step, 1..200)
}

proptest! {
    #[test]
    fn whatever_happens_no_beat_is_made_up_for_and_none_is_lost_count_of(
        steps in steps(),
        interval_s in 1..=60u64,
        start_ms in 0..u64::from(u32::MAX),
    ) {
        let interval_ms = interval_s * 1_000;
        let mut rhythm = Rhythm::new(Duration::from_secs(interval_s), start_ms);
        let (mut base_beats, mut last_base_ms, mut last_ms) = (0, None, None);
        let mut costs_us = vec![0, 0];
        for step in steps {
            let now_ms = rhythm.due_ms() + step.late_ms;
            if step.missed {
                let base_due_ms = rhythm.base_due_ms;
                rhythm.miss(now_ms);
                base_beats += u64::from(now_ms >= base_due_ms);
            } else {
                let sample = take(&mut rhythm, now_ms, step.used);
                if sample.burst {
                    prop_assert_eq!(sample.interval_ms, last_ms.map(|last| now_ms - last));
                } else {
                    prop_assert_eq!(sample.interval_ms, last_base_ms.map(|last| now_ms - last));
                    last_base_ms = Some(now_ms);
                    base_beats += 1;
                }
                last_ms = Some(now_ms);
            }
            let left_out = rhythm.spend(now_ms, step.cost_us);
            costs_us.push(step.cost_us);
            let due_ms = rhythm.due_ms();
            prop_assert!(due_ms > now_ms, "a beat at {} is made up for", due_ms);
            let apart = due_ms - now_ms >= BURST_CLEARANCE_MS;
            prop_assert!(apart || step.missed, "{} ms", due_ms - now_ms);
            let bursts = rhythm.burst_until_ms > now_ms;
            let most_ms = if bursts { BURST_PUSH_MS_MAX } else { PUSH_MS_MAX };
            // Two dear ones of the last three push, by the cheaper of them; a single one does not.
            let judged = &costs_us[costs_us.len() - COSTS_JUDGED..];
            let share_ms = |cost_us: u64| (cost_us * COST_PARTS / 1_000).min(most_ms);
            let reach = |ms: u64| judged.iter().filter(|cost_us| share_ms(**cost_us) >= ms).count();
            let most_twice_ms = judged.iter().map(|cost_us| share_ms(*cost_us))
                .filter(|ms| reach(*ms) >= 2).max().unwrap_or(0);
            prop_assert!(due_ms - now_ms >= most_twice_ms, "{} ms are too soon", due_ms - now_ms);
            prop_assert!(!left_out || reach(1) >= 2, "one alone left beats out");
            let usual_ms = interval_ms + interval_ms / 2 + most_twice_ms;
            prop_assert!(due_ms - now_ms <= usual_ms, "{} ms are too late", due_ms - now_ms);
            // Base beats stay where they were from the start, each one taken, missed or counted.
            let passed = rhythm.base_due_ms - start_ms;
            prop_assert_eq!(passed % interval_ms, 0);
            prop_assert_eq!(passed / interval_ms, base_beats + rhythm.skipped());
        }
    }
}

#[test]
fn a_shared_limit_is_near_when_all_together_are() {
    let mut rhythm = Rhythm::new(FIVE, 0);
    for (at_ms, all) in [(0, 500_000_000), (5_000, 600_000_000)] {
        let mut sample = sample(at_ms, 10_000_000);
        sample.memory_limit_shared = true;
        sample.memory_limit_used_bytes = Some(all);
        rhythm.place(&mut sample);
    }
    assert_eq!(
        rhythm.due_ms(),
        6_000,
        "the neighbours' climb is everybody's"
    );
}

#[test]
fn a_better_reading_of_what_was_there_before_starts_no_burst() {
    let mut rhythm = Rhythm::new(FIVE, 0);
    take(&mut rhythm, 0, LIMIT * 8 / 10);
    let mut corrected = sample(5_000, LIMIT * 6 / 10);
    corrected.memory_corrected_bytes = -(LIMIT as i64) * 2 / 10;
    rhythm.place(&mut corrected);
    assert_eq!(rhythm.due_ms(), 10_000);
}
