//! The wall clock is for display: it may jump by years, and no distance or rate follows it. Time
//! in suspend counts, once.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

use std::{
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
};

use hubmeter_agent::{
    clock::Clock,
    sample::Sample,
    sampler::{PssMode, Sampler, Target},
};

const WALL_MS: u64 = 1_573_941_376_000;
const YEAR_MS: u64 = 365 * 86_400_000;

/// Clocks that the test sets.
struct Set {
    mono_ms: AtomicU64,
    wall_ms: AtomicU64,
}

impl Clock for Set {
    fn mono_ms(&self) -> u64 {
        self.mono_ms.load(Ordering::Relaxed)
    }

    fn wall_ms(&self) -> u64 {
        self.wall_ms.load(Ordering::Relaxed)
    }
}

/// A server that works all the time, ended with the test.
struct Busy(Child);

impl Drop for Busy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One sample for each pair of clocks.
fn samples(clocks: &[(u64, u64)]) -> Vec<Sample> {
    let busy = Command::new("bash")
        .args(["-c", "while :; do :; done"])
        .stdin(Stdio::null())
        .spawn();
    let busy = Busy(busy.unwrap());
    let clock = Set {
        mono_ms: AtomicU64::new(0),
        wall_ms: AtomicU64::new(0),
    };
    let mut sampler = Sampler::new(Target::this_machine(busy.0.id()), PssMode::Budget).unwrap();
    let tick = |(mono_ms, wall_ms): &(u64, u64)| {
        clock.mono_ms.store(*mono_ms, Ordering::Relaxed);
        clock.wall_ms.store(*wall_ms, Ordering::Relaxed);
        std::thread::sleep(std::time::Duration::from_millis(20));
        sampler.tick(&clock).unwrap()
    };
    clocks.iter().map(tick).collect()
}

fn assert_sane(samples: &[Sample]) {
    let cores = std::thread::available_parallelism().unwrap().get() as f64;
    for pair in samples.windows(2) {
        assert!(pair[1].cpu_millis >= pair[0].cpu_millis);
        let rate = pair[1].cpu_cores.unwrap();
        assert!((0.0..=cores).contains(&rate), "{rate} of {cores} cores");
    }
}

#[test]
fn a_wall_clock_that_jumps_moves_nothing_but_the_time_shown() {
    let walls = [
        WALL_MS,
        WALL_MS + 10 * YEAR_MS,
        0,
        WALL_MS - 1,
        WALL_MS - 10 * YEAR_MS,
        WALL_MS + 1_000,
    ];
    let clocks: Vec<_> = (1u64..).map(|n| n * 5_000).zip(walls).collect();
    let samples = samples(&clocks);
    assert_sane(&samples);
    for (sample, (mono_ms, wall_ms)) in samples.iter().zip(&clocks) {
        assert_eq!((sample.mono_ms, sample.wall_ms), (*mono_ms, *wall_ms));
    }
    assert_eq!(samples[2].time.to_string(), "1970-01-01T00:00:00.000Z");
}

#[test]
fn a_night_in_suspend_is_part_of_the_distance_and_of_the_rate() {
    const NIGHT_MS: u64 = 8 * 3_600_000;
    let clocks = [5_000, 10_000, 10_000 + NIGHT_MS, 15_000 + NIGHT_MS].map(|ms| (ms, WALL_MS + ms));
    let samples = samples(&clocks);
    assert_sane(&samples);
    let [before, over, after] = [1, 2, 3].map(|n| samples[n].cpu_cores.unwrap());
    assert!(over < before && over < after, "{before} {over} {after}");
}
