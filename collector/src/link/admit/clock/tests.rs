use bytes::Bytes;
use prost::Message as _;

use hubmeter_proto::v1;

use super::*;
use crate::link::admit::read;

const HELLO_MS: i64 = 1_800_000_000_000;

/// The agent's clock when it said Hello.
const HELLO_MONO_MS: u64 = 50_000;

fn message(body: v1::up::Body) -> Bytes {
    v1::Up { body: Some(body) }.encode_to_vec().into()
}

/// What is known after a Hello that was `late_ms` under way.
fn after_hello(late_ms: i64) -> ClockOffset {
    let hello = v1::Hello {
        protocol: 1,
        instance_id: vec![7; 16].into(),
        first_seq: 1,
        next_seq: 1,
        mono_ms: HELLO_MONO_MS,
        interval_ms: 5_000,
        ..Default::default()
    };
    let hello = message(v1::up::Body::Hello(hello));
    match read(&hello, HELLO_MS + late_ms, ClockOffset::NONE).unwrap() {
        Incoming::Hello(hello) => ClockOffset::at_hello(&hello, HELLO_MS + late_ms),
        other => unreachable!("{other:?}"),
    }
}

/// What comes of samples taken every `interval_ms` from a second after Hello on, each as late as
/// `late_ms` says, after a Hello that was `hello_late_ms` late: when each was taken, came, is said to be of.
fn delivered(hello_late_ms: i64, interval_ms: u64, late_ms: &[i64]) -> Vec<(i64, i64, i64)> {
    let mut clock = after_hello(hello_late_ms);
    let mut arrived_ms = HELLO_MS + hello_late_ms;
    let mut mono_ms = HELLO_MONO_MS + 1_000;
    let mut delivered = Vec::new();
    for (seq, late_ms) in (1..).zip(late_ms) {
        let taken_ms = HELLO_MS + (mono_ms - HELLO_MONO_MS).cast_signed();
        // A stream keeps its order.
        arrived_ms = arrived_ms.max(taken_ms + late_ms);
        let samples = vec![v1::Sample {
            mono_ms,
            memory_source: v1::MemorySource::Rss.into(),
            ..Default::default()
        }];
        let body = v1::up::Body::Report(v1::Report { seq, samples });
        let incoming = read(&message(body), arrived_ms, clock).unwrap();
        clock = clock.heard(&incoming, arrived_ms);
        let Incoming::Report { samples, .. } = incoming else {
            unreachable!()
        };
        delivered.push((taken_ms, arrived_ms, samples[0].at_ms));
        mono_ms += interval_ms;
    }
    delivered
}

#[test]
fn no_sample_is_of_later_than_it_came_nor_before_the_one_before_however_late_hello_was() {
    let late_ms = [4_900, 3_000, 0, 5_000, 700, 2_500, 1, 4_000, 0, 3_300];
    for hello_late_ms in [0, 1, 900, 4_000, 60_000] {
        for interval_ms in [1_000, 5_000] {
            let mut before_ms = i64::MIN;
            for (taken_ms, arrived_ms, at_ms) in delivered(hello_late_ms, interval_ms, &late_ms) {
                assert!(at_ms <= arrived_ms, "{hello_late_ms}: {at_ms} {arrived_ms}");
                assert!(at_ms >= taken_ms, "{hello_late_ms}: {at_ms} {taken_ms}");
                assert!(at_ms >= before_ms, "{hello_late_ms}: {at_ms} {before_ms}");
                before_ms = at_ms;
            }
        }
    }
}

#[test]
fn one_report_that_comes_at_once_sets_the_clock_right_for_good() {
    let told = delivered(4_000, 5_000, &[3_000, 0, 5_000, 2_000, 0]);
    let wrong_by: Vec<_> = told.iter().map(|(taken, _, at)| at - taken).collect();
    assert_eq!(wrong_by, [3_000, 0, 0, 0, 0]);
}
