//! What one sample costs one memory series: `cargo bench -p hubmeter-kinetics`.
//!
//! Prints nanoseconds a sample (best and mean of rounds) at both ends of the intervals, and the bytes a series keeps.

#![allow(clippy::disallowed_methods)] // a bench measures time

use std::{
    hint::black_box,
    io::{self, Write},
    time::Instant,
};

use hubmeter_kinetics::{forecast::forecast, series::Point, tracker::Tracker};

const ROUNDS: usize = 20;
const SAMPLES: u64 = 50_000;

fn main() -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "| interval | ns a sample, best | mean | bytes a series |\n|---|---:|---:|---:|"
    )?;
    for every_ms in [1_000, 5_000] {
        let rounds: Vec<f64> = (0..ROUNDS).map(|_| round(every_ms)).collect();
        let best = rounds.iter().copied().fold(f64::INFINITY, f64::min);
        let mean = rounds.iter().sum::<f64>() / ROUNDS as f64;
        let bytes = size_of::<Tracker>();
        writeln!(
            out,
            "| {} s | {best:.0} | {mean:.0} | {bytes} |",
            every_ms / 1000
        )?;
    }
    Ok(())
}

/// A busy series: rises, teeth, steps back. Point, trend and forecast of each sample.
fn round(every_ms: u64) -> f64 {
    let mut tracker = Tracker::default();
    let mut bytes = 400_000_000_u64;
    let mut random = 88_172_645_463_325_252_u64;
    let begin = Instant::now();
    for i in 0..SAMPLES {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        bytes = if random.is_multiple_of(40) {
            bytes / 2 + 100_000_000
        } else {
            bytes + random % 8_000_000
        };
        tracker.push(Point {
            mono_ms: i * every_ms,
            bytes,
        });
        let outlook = tracker.outlook();
        black_box(outlook.and_then(|outlook| forecast(bytes, 64_000_000_000, &outlook)));
    }
    begin.elapsed().as_nanos() as f64 / SAMPLES as f64
}
