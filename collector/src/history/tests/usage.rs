//! The ledger of days against the rows that it was made of.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::usage::{Reader, Totals, Window};

const KIB: u64 = 1024;

/// What the day that begins at `day_ms` came to, of every server together.
fn totals(fixture: &Fixture, day_ms: i64) -> Totals {
    let reader = Reader::open(fixture.dir.path()).unwrap().unwrap();
    let mut all = reader.choose(|_| true);
    let day = day_ms.div_euclid(DAY_MS);
    reader.read(Window::Day, day, &mut all).unwrap();
    all.totals().first().copied().unwrap_or_default()
}

/// A base-interval sample of `used` bytes that worked `worked` ms since the agent's last.
#[derive(Clone, Debug)]
struct Beat {
    gap_ms: i64,
    interval_ms: u32,
    used: u64,
    worked: u64,
    burst: bool,
    restart: bool,
}

fn beat() -> impl Strategy<Value = Beat> {
    (
        prop_oneof![4 => Just(0_i64), 1 => 100_000..5_000_000_i64],
        prop_oneof![4 => Just(5_000_u32), 1 => 1_000..60_000_u32],
        0..(64_u64 << 30),
        0..1_000_u64,
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.05),
    )
        .prop_map(|(gap_ms, interval_ms, used, worked, burst, restart)| Beat {
            gap_ms,
            interval_ms,
            used,
            worked,
            burst,
            restart,
        })
}

/// Entries from `begin_ms` on, and per day what they come to: covered ms, bytes × ms, core × ms.
fn entries_of(beats: &[Beat], begin_ms: i64) -> (Vec<HistoryEntry>, BTreeMap<i64, [i128; 3]>) {
    let mut sums = BTreeMap::<i64, [i128; 3]>::new();
    let (mut at_ms, mut mono_ms, mut cpu_millis, mut life) = (begin_ms, 1_000_u64, 0, 1_u8);
    let mut entries = Vec::new();
    for (seq, beat) in beats.iter().enumerate() {
        let first = beat.restart || seq == 0;
        if beat.restart {
            life = life.wrapping_add(1);
            cpu_millis = 0;
        }
        let interval_ms = i64::from(beat.interval_ms);
        at_ms += beat.gap_ms + interval_ms;
        mono_ms += u64::try_from(beat.gap_ms + interval_ms).unwrap();
        cpu_millis += beat.worked;
        let mut sample = sample(at_ms, beat.used);
        sample.mono_ms = mono_ms;
        sample.interval_ms = if first { 0 } else { beat.interval_ms };
        sample.memory_used_bytes = beat.used;
        sample.cpu_millis = cpu_millis;
        let mut entry = entry(seq as u64 + 1, sample, None);
        entry.instance = InstanceId([life; 16]);
        entry.cpu_cores = (!first).then(|| beat.worked as f64 / interval_ms as f64);
        entries.push(entry);
        if !first {
            let day_ms = at_ms.div_euclid(DAY_MS) * DAY_MS;
            let weight = i128::from(interval_ms.min(at_ms - day_ms));
            let sum = sums.entry(day_ms).or_default();
            sum[0] += weight;
            sum[1] += i128::from(beat.used) * weight;
            sum[2] += i128::from(beat.worked) * weight / i128::from(interval_ms);
        }
        if beat.burst {
            // Between this sample and the next: it shows peaks and is counted nowhere.
            let last = entries.last().unwrap();
            let mut burst = (*last.sample).clone();
            burst.at_ms += 100;
            burst.mono_ms += 100;
            burst.burst = true;
            burst.memory_used_bytes = beat.used * 2;
            let burst = HistoryEntry {
                sample: Arc::new(burst),
                ..last.clone()
            };
            entries.push(burst);
        }
    }
    (entries, sums)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn a_days_totals_are_the_sums_over_its_rows_however_often_they_are_written(
        beats in prop::collection::vec(beat(), 1..150),
        begin in -7_200_000..0_i64,
        flush_every in 20..80_usize,
    ) {
        let midnight_ms = NOW_MS.div_euclid(DAY_MS) * DAY_MS;
        let fixture = Fixture::new();
        let history = fixture.open();
        let (entries, sums) = entries_of(&beats, midnight_ms + begin);
        let mut seen = Vec::new();
        for _ in 0..2 {
            for entries in entries.chunks(flush_every) {
                history.append(1, entries.to_vec());
                history.flush().unwrap();
            }
            let days: Vec<Totals> = sums.keys().map(|day| totals(&fixture, *day)).collect();
            seen.push(days);
        }
        prop_assert_eq!(&seen[0], &seen[1]);
        let rows = i128::try_from(entries.len()).unwrap();
        for (found, [covered, memory, cores]) in seen[0].iter().zip(sums.values()) {
            prop_assert_eq!(i128::from(found.covered_ms), *covered);
            let memory = memory / (1024 * 1000);
            let miss = (i128::from(found.memory_kib_s) - memory).abs();
            prop_assert!(miss <= rows, "{} is not {}", found.memory_kib_s, memory);
            // Cores are kept in thousandths, of up to a minute: 30 ms a row.
            let miss = (i128::from(found.core_ms) - cores).abs();
            prop_assert!(miss <= rows * 31, "{} is not {}", found.core_ms, cores);
        }
    }
}

fn steady(count: i64, from_ms: i64) -> Vec<HistoryEntry> {
    let beats = |at: i64| {
        let mut sample = sample(from_ms + at * STEP_MS, 2 << 30);
        sample.memory_used_bytes = 1 << 30;
        sample.cpu_millis = u64::try_from(at).unwrap() * 2_500;
        let mut entry = entry(u64::try_from(at).unwrap() + 1, sample, None);
        entry.cpu_cores = Some(0.5);
        entry
    };
    (0..count).map(beats).collect()
}

#[test]
fn one_gib_and_half_a_core_for_an_hour_are_one_gib_hour_and_half_a_core_hour() {
    let fixture = Fixture::new();
    let history = fixture.open();
    history.append(1, steady(720, NOW_MS - HOUR_MS));
    history.flush().unwrap();
    let found = totals(&fixture, NOW_MS.div_euclid(DAY_MS) * DAY_MS);
    assert_eq!(found.covered_ms, HOUR_MS);
    assert_eq!(found.memory_kib_s, 3600 << 20);
    assert_eq!(found.core_ms, HOUR_MS / 2);
    assert_eq!(found.memory_peak_bytes, Some(1 << 30));
}

#[test]
fn a_gap_is_unmeasured_and_never_idle() {
    let fixture = Fixture::new();
    let history = fixture.open();
    let started_ms = NOW_MS - 4 * HOUR_MS;
    history.append(1, steady(720, started_ms));
    let mut later = steady(720, NOW_MS - HOUR_MS);
    for entry in &mut later {
        entry.instance = InstanceId([8; 16]);
    }
    history.append(2, later);
    let server = HubServer {
        key: key(),
        groups: Vec::new(),
        started_ms: Some(started_ms),
        last_activity_ms: None,
        ready: true,
    };
    history.note_running(NOW_MS, &[server]);
    history.flush().unwrap();
    let found = totals(&fixture, NOW_MS.div_euclid(DAY_MS) * DAY_MS);
    assert_eq!(found.covered_ms, 2 * HOUR_MS);
    assert_eq!(found.unmeasured_ms, Some(2 * HOUR_MS));
    assert_eq!(found.memory_kib_s, 2 * (3600 << 20));
}

#[test]
fn a_server_without_an_agent_is_known_by_its_unmeasured_hours() {
    let fixture = Fixture::new();
    let history = fixture.open();
    let server = HubServer {
        key: key(),
        groups: Vec::new(),
        started_ms: Some(NOW_MS - HOUR_MS),
        last_activity_ms: None,
        ready: true,
    };
    history.note_running(NOW_MS, &[server]);
    history.flush().unwrap();
    let found = totals(&fixture, NOW_MS.div_euclid(DAY_MS) * DAY_MS);
    assert_eq!((found.servers, found.covered_ms), (1, 0));
    assert_eq!(found.unmeasured_ms, Some(HOUR_MS));
    assert_eq!(found.memory_peak_bytes, None);
}

#[test]
fn two_agents_that_tell_of_the_same_time_cover_it_once() {
    let fixture = Fixture::new();
    let history = fixture.open();
    history.append(1, steady(60, NOW_MS - HOUR_MS));
    let mut other = steady(60, NOW_MS - HOUR_MS + 2_000);
    for entry in &mut other {
        entry.instance = InstanceId([8; 16]);
    }
    history.append(2, other);
    history.flush().unwrap();
    let found = totals(&fixture, NOW_MS.div_euclid(DAY_MS) * DAY_MS);
    let told_ms = 60 * STEP_MS + 2_000;
    assert_eq!(found.covered_ms, told_ms);
    assert_eq!(found.memory_kib_s, told_ms / 1000 * (1 << 20));
}

#[test]
fn a_machine_that_slept_measured_nothing_meanwhile() {
    let fixture = Fixture::new();
    let history = fixture.open();
    let mut entries = steady(2, NOW_MS - HOUR_MS);
    let mut woke = (*entries[1].sample).clone();
    woke.at_ms = NOW_MS;
    woke.mono_ms += u64::try_from(HOUR_MS).unwrap();
    woke.interval_ms = u32::try_from(HOUR_MS).unwrap();
    woke.memory_used_bytes = 64 * KIB;
    entries[1].sample = Arc::new(woke);
    history.append(1, entries);
    history.flush().unwrap();
    let found = totals(&fixture, NOW_MS.div_euclid(DAY_MS) * DAY_MS);
    assert_eq!(found.covered_ms, STEP_MS + 3 * 60_000);
}
