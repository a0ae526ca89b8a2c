use proptest::prelude::*;

use super::*;
use crate::{
    series::{Point, Series},
    tracker::Tracker,
};

const MB: u64 = 1_000_000;

/// Points `every_ms` apart with the given bytes.
fn regular(every_ms: u64, bytes: impl IntoIterator<Item = u64>) -> Vec<Point> {
    bytes
        .into_iter()
        .enumerate()
        .map(|(i, bytes)| Point {
            mono_ms: 1_000 + i as u64 * every_ms,
            bytes,
        })
        .collect()
}

fn slope(points: &[Point]) -> Trend {
    trend(points.iter().copied(), u64::MAX).expect("enough points")
}

#[test]
fn two_points_or_nine_seconds_are_not_enough() {
    assert_eq!(trend(regular(60_000, [1, 2]), u64::MAX), None);
    assert_eq!(trend(regular(1_000, 0..10), u64::MAX), None);
    assert!(trend(regular(1_000, 0..11), u64::MAX).is_some());
    assert!(trend(regular(5_000, 0..3), u64::MAX).is_some());
}

#[test]
fn points_before_the_horizon_do_not_count() {
    let points = regular(5_000, (0..8).map(|i| if i < 4 { 500 * MB } else { i * MB }));
    let trend = trend(points, 15_000).unwrap();
    assert_eq!(trend.points, 4);
    assert_eq!(trend.bytes_per_second, MB as f64 / 5.0);
}

#[test]
fn an_array_allocated_once_is_not_a_rate() {
    let bytes = [150, 150, 150, 750, 750, 750, 750, 750].map(|mb| mb * MB);
    for seen in 4..=bytes.len() {
        let trend = slope(&regular(5_000, bytes[..seen].iter().copied()));
        assert_eq!(trend.bytes_per_second, 0.0, "after {seen} samples");
        assert_eq!(trend.high_bytes_per_second, 0.0, "after {seen} samples");
    }
}

#[test]
fn an_array_that_was_filled_over_two_samples_is_not_a_rate() {
    for between_mb in [160, 450, 740] {
        let bytes = [150, 150, 150, between_mb, 750, 750, 750, 750, 750].map(|mb| mb * MB);
        for seen in 7..=bytes.len() {
            let trend = slope(&regular(5_000, bytes[..seen].iter().copied()));
            assert_eq!(
                trend.bytes_per_second, 0.0,
                "{between_mb} MB, {seen} samples"
            );
        }
    }
}

#[test]
fn one_load_shows_no_trend_once_it_is_over_whatever_was_seen_before() {
    let loads = [[1_000, 0], [400, 600], [900, 100], [600, 400]];
    for (steps, before) in loads.iter().flat_map(|steps| [(steps, 3), (steps, 40)]) {
        let mut tracker = Tracker::default();
        let mut used_mb = 300;
        let mut mono_ms = 0;
        let mut see = |mb: u64| {
            used_mb += mb;
            mono_ms += 5_000;
            let bytes = used_mb * MB;
            tracker.push(Point { mono_ms, bytes });
            tracker.trend().map(|trend| trend.bytes_per_second)
        };
        for _ in 0..before {
            see(0);
        }
        assert_eq!(
            see(steps[0]),
            Some(0.0),
            "{steps:?} after {before}: one step"
        );
        see(steps[1]);
        for after in 1..20 {
            assert_eq!(see(0), Some(0.0), "{steps:?} after {before}, {after} later");
        }
    }
}

#[test]
fn a_flat_saw_tooth_is_not_believed_to_rise() {
    let points = regular(5_000, (0..16).map(|i| 400 * MB + (i % 4) * 50 * MB));
    let trend = slope(&points);
    assert!(trend.low_bytes_per_second <= 0.0, "{trend:?}");
    assert!(trend.bytes_per_second < 4e6, "{trend:?}");
}

#[test]
fn a_rising_saw_tooth_is_believed_to_rise() {
    let points = regular(
        5_000,
        (0..16).map(|i| 400 * MB + (i % 4) * 20 * MB + (i / 4) * 100 * MB),
    );
    assert!(slope(&points).low_bytes_per_second > 2e6);
}

#[test]
fn a_kernel_that_takes_off_is_believed_within_its_third_sample() {
    let mut tracker = Tracker::default();
    for i in 0..60 {
        tracker.push(Point {
            mono_ms: i * 5_000,
            bytes: 150 * MB,
        });
    }
    assert_eq!(tracker.trend().unwrap().bytes_per_second, 0.0);
    let takeoff_ms = 59 * 5_000;
    for after_ms in [5_000, 6_000, 7_000] {
        let bytes = 150 * MB + after_ms * MB / 10;
        tracker.push(Point {
            mono_ms: takeoff_ms + after_ms,
            bytes,
        });
    }
    let trend = tracker.trend().unwrap();
    assert!(trend.low_bytes_per_second > 5e7, "{trend:?}");
    assert!(trend.bytes_per_second > 9e7, "{trend:?}");
}

#[test]
fn a_slow_leak_is_seen_over_the_long_horizon() {
    let mut tracker = Tracker::default();
    for i in 0..100_u64 {
        let noise = [0, 700_000, 200_000][i as usize % 3];
        tracker.push(Point {
            mono_ms: i * 5_000,
            bytes: 300 * MB + i * 500_000 + noise,
        });
    }
    let trend = tracker.trend().unwrap();
    assert!(trend.span_ms > 240_000, "{trend:?}");
    assert!((trend.bytes_per_second - 1e5).abs() < 1e4, "{trend:?}");
}

#[test]
fn a_spaced_series_covers_its_horizon_and_ends_at_the_newest_point() {
    let mut series = Series::<4>::new(4_000);
    for point in regular(1_000, 0..20) {
        assert!(series.push(point));
    }
    let times: Vec<u64> = series.iter().map(|p| p.mono_ms / 1_000).collect();
    assert_eq!(times.last(), Some(&20));
    assert_eq!(times.len(), 4);
    assert!(times[..3].windows(2).all(|w| w[1] - w[0] >= 4), "{times:?}");
}

#[test]
fn a_reading_that_corrects_the_figure_is_no_growth_and_hides_none() {
    let mut tracker = Tracker::default();
    // 1 MB/s all along; for a minute 3 GB too much were counted.
    for i in 0..60_u64 {
        let over = if (20..32).contains(&i) { 3_000 * MB } else { 0 };
        match i {
            20 => tracker.correct(3_000 * MB as i64),
            32 => tracker.correct(-3_000 * MB as i64),
            _ => {}
        }
        tracker.push(Point {
            mono_ms: i * 5_000,
            bytes: 200 * MB + i * 5 * MB + over,
        });
        if i >= 3 {
            let trend = tracker.trend().unwrap();
            assert_eq!(trend.bytes_per_second, 1e6, "after {i} samples");
            assert_eq!(trend.high_bytes_per_second, 1e6, "after {i} samples");
        }
    }
    let oldest = tracker.minute().next().unwrap();
    assert_eq!(oldest.bytes, 200 * MB + oldest.mono_ms * MB / 1_000);
}

#[test]
fn a_point_that_is_corrected_below_nothing_is_shown_as_nothing_and_keeps_its_place() {
    let mut series = Series::<4>::new(0);
    for point in regular(10_000, [100, 1_100]) {
        series.push(point);
    }
    series.correct(-1_000);
    let bytes: Vec<u64> = series.iter().map(|point| point.bytes).collect();
    assert_eq!(bytes, [0, 100]);
    series.correct(1_000);
    let bytes: Vec<u64> = series.iter().map(|point| point.bytes).collect();
    assert_eq!(bytes, [100, 1_100]);
}

#[test]
fn time_does_not_go_back() {
    let mut series = Series::<4>::new(0);
    assert!(series.push(Point {
        mono_ms: 10,
        bytes: 1
    }));
    assert!(!series.push(Point {
        mono_ms: 10,
        bytes: 2
    }));
    assert!(!series.push(Point {
        mono_ms: 9,
        bytes: 3
    }));
    assert_eq!(
        series.iter().collect::<Vec<_>>(),
        [Point {
            mono_ms: 10,
            bytes: 1
        }]
    );
}

/// 3 to 16 points at irregular distances of 0.8 s to 30 s, at least 10 s together.
fn irregular() -> impl Strategy<Value = Vec<Point>> {
    prop::collection::vec((800_u64..30_000, 0_u64..1 << 36), POINTS_MIN..=POINTS_MAX)
        .prop_map(|steps| {
            let mut mono_ms = 5_000;
            steps
                .into_iter()
                .map(|(after_ms, bytes)| {
                    mono_ms += after_ms;
                    Point { mono_ms, bytes }
                })
                .collect::<Vec<_>>()
        })
        .prop_filter("too short", |points| {
            points[points.len() - 1].mono_ms - points[0].mono_ms >= SPAN_MIN_MS
        })
}

proptest! {
    #[test]
    fn corrections_leave_every_trend_as_it_is(
        steps in prop::collection::vec(
            (800_u64..30_000, 0_u64..1 << 36, prop_oneof![Just(0), -1_i64 << 40..1 << 40]),
            1..120,
        ),
    ) {
        let (mut plain, mut corrected) = (Tracker::default(), Tracker::default());
        let (mut mono_ms, mut level) = (0, 1_i64 << 50);
        for (after_ms, bytes, correction) in steps {
            mono_ms += after_ms;
            plain.push(Point { mono_ms, bytes: bytes + (1 << 50) });
            level += correction;
            corrected.correct(correction);
            corrected.push(Point { mono_ms, bytes: (bytes as i64 + level) as u64 });
            prop_assert_eq!(plain.trend(), corrected.trend());
        }
    }

    #[test]
    fn adding_the_same_to_every_point_changes_nothing(points in irregular(), add in 0_u64..1 << 40) {
        let moved = points.iter().map(|p| Point { bytes: p.bytes + add, ..*p });
        prop_assert_eq!(trend(moved, u64::MAX), Some(slope(&points)));
    }

    #[test]
    fn waiting_before_the_first_point_changes_nothing(points in irregular(), wait_ms in 0_u64..1 << 40) {
        let moved = points.iter().map(|p| Point { mono_ms: p.mono_ms + wait_ms, ..*p });
        prop_assert_eq!(trend(moved, u64::MAX), Some(slope(&points)));
    }

    #[test]
    fn eight_times_the_bytes_is_eight_times_the_slope(points in irregular()) {
        let scaled: Vec<_> = points.iter().map(|p| Point { bytes: p.bytes * 8, ..*p }).collect();
        let (one, eight) = (slope(&points), slope(&scaled));
        prop_assert_eq!(eight.bytes_per_second, one.bytes_per_second * 8.0);
        prop_assert_eq!(eight.low_bytes_per_second, one.low_bytes_per_second * 8.0);
        prop_assert_eq!(eight.high_bytes_per_second, one.high_bytes_per_second * 8.0);
        prop_assert_eq!(eight.rising_share, one.rising_share);
    }

    #[test]
    fn a_constant_has_slope_zero(points in irregular(), bytes in 0_u64..1 << 40) {
        let flat: Vec<_> = points.iter().map(|p| Point { bytes, ..*p }).collect();
        let trend = slope(&flat);
        prop_assert_eq!(
            (trend.bytes_per_second, trend.low_bytes_per_second, trend.high_bytes_per_second),
            (0.0, 0.0, 0.0)
        );
        prop_assert_eq!(trend.rising_share, 0.0);
    }

    #[test]
    fn a_straight_line_gives_its_exact_slope(points in irregular(), per_ms in 1_u64..1_000_000) {
        let line: Vec<_> = points.iter().map(|p| Point { bytes: p.mono_ms * per_ms, ..*p }).collect();
        let expected = per_ms as f64 * 1000.0;
        let trend = slope(&line);
        for slope in [trend.bytes_per_second, trend.low_bytes_per_second, trend.high_bytes_per_second] {
            prop_assert!((slope - expected).abs() <= expected * 1e-12, "{slope} {expected}");
        }
        prop_assert_eq!(trend.rising_share, 1.0);
    }

    #[test]
    fn the_interval_holds_the_slope(points in irregular()) {
        let trend = slope(&points);
        prop_assert!(trend.low_bytes_per_second <= trend.bytes_per_second);
        prop_assert!(trend.bytes_per_second <= trend.high_bytes_per_second);
    }

    #[test]
    fn one_odd_point_moves_a_line_little(
        at in 1_usize..9, odd in 0_u64..1 << 36, per_step in 1_u64..1 << 24,
    ) {
        let mut points = regular(5_000, (0..10).map(|i| (1 << 34) + i * per_step));
        points[at].bytes = odd;
        let line = per_step as f64 / 5.0;
        let trend = slope(&points);
        prop_assert!((trend.bytes_per_second - line).abs() <= line * 1e-9, "{trend:?} {line}");
    }
}
