//! Behaviours made up, from a seed: what detectors may be tuned on beside the recorded families.
//!
//! Each is arithmetic of how some program uses memory, second by second, with sizes, paces and pauses drawn
//! from ranges. They teach what a recording of ten minutes cannot, how often a shape comes in how many sizes, and
//! prove nothing: only recorded kernels judge a detector.

use fastrand::Rng;

use super::corpus::{Corpus, Point, Trace};

/// Of each behaviour so many.
const VARIANTS: usize = 8;

/// How long each lasts.
const SECONDS: usize = 900;

const INTERVALS_SECONDS: [u32; 2] = [1, 5];

/// What a kernel holds that has done nothing yet.
const BEGIN_MB: f64 = 60.0;

/// A reading differs from the one before by up to so much, though nothing happened.
const NOISE_MB: f64 = 0.4;

/// A tick comes late by up to so much.
const LATE_MS: u64 = 300;

/// Seconds before the first thing happens.
const REST_SECONDS: (f64, f64) = (15.0, 60.0);

const CROSS: [f64; 2] = [0.45, 0.75];
const STAY: [f64; 2] = [1.1, 1.6];

/// A way to use memory: megabytes above what it began with, second by second.
struct Behaviour {
    name: &'static str,
    /// Its peaks may be foreseen: limits are laid below them, too.
    crosses: bool,
    course: fn(&mut Rng) -> Vec<f64>,
}

const BEHAVIOURS: [Behaviour; 9] = [
    Behaviour::new("leak", true, leak),
    Behaviour::new("flat_teeth", true, flat_teeth),
    Behaviour::new("rising_teeth", true, rising_teeth),
    Behaviour::new("ramp_ends", true, ramp_ends),
    Behaviour::new("queue", true, queue),
    Behaviour::new("staircase", true, staircase),
    Behaviour::new("slows_down", true, slows_down),
    Behaviour::new("join", true, join),
    Behaviour::new("pool", false, pool),
];

// === impl Behaviour ===

impl Behaviour {
    const fn new(name: &'static str, crosses: bool, course: fn(&mut Rng) -> Vec<f64>) -> Self {
        Self {
            name,
            crosses,
            course,
        }
    }
}

/// Every behaviour, in variants, at every interval.
#[must_use]
pub fn corpus(seed: u64) -> Corpus {
    let mut traces = Vec::new();
    for (index, behaviour) in BEHAVIOURS.iter().enumerate() {
        let cross: &[f64] = if behaviour.crosses { &CROSS } else { &[] };
        for variant in 0..VARIANTS {
            // A seed of its own: one more variant, or draw, changes no other.
            let own = (index * VARIANTS + variant) as u64;
            let mut random = Rng::with_seed(seed.wrapping_mul(1_000_003).wrapping_add(own));
            let course = (behaviour.course)(&mut random);
            for interval in INTERVALS_SECONDS {
                let points = read(&course, interval, &mut random);
                let trace = Trace {
                    family: behaviour.name.to_owned(),
                    variant: variant.to_string(),
                    interval_ms: interval * 1000,
                    held_out: false,
                    points,
                };
                traces.push((trace, cross.to_vec(), STAY.to_vec()));
            }
        }
    }
    Corpus::of(traces)
}

/// What an agent reads of it.
fn read(course: &[f64], interval: u32, random: &mut Rng) -> Vec<Point> {
    let seconds = (0..course.len()).step_by(interval as usize);
    seconds
        .map(|second| {
            let noise = between(random, -NOISE_MB, NOISE_MB);
            let used_bytes = ((BEGIN_MB + course[second] + noise) * 1e6) as u64;
            Point {
                at_ms: second as i64 * 1000 + random.u64(0..LATE_MS).cast_signed(),
                used_bytes,
                rss_bytes: used_bytes + 8_000_000,
                cpu_millis: second as u64 * 200,
                processes: 2,
                threads: 10,
            }
        })
        .collect()
}

/// A list that is appended to; beside it temporaries of any size come and go.
fn leak(random: &mut Rng) -> Vec<f64> {
    let pace = log_between(random, 0.15, 8.0);
    let chance = between(random, 0.0, 0.2);
    let height = pace * log_between(random, 3.0, 60.0);
    let (mut kept, mut temporary, mut goes_at) = (0.0, 0.0, 0);
    course(random, |random, second| {
        kept += pace * between(random, 0.4, 1.6);
        if second >= goes_at {
            temporary = 0.0;
            if random.f64() < chance {
                temporary = height * between(random, 0.3, 1.0);
                goes_at = second + random.usize(1..6);
            }
        }
        kept + temporary
    })
}

/// What a collector of garbage does where nothing is kept.
fn flat_teeth(random: &mut Rng) -> Vec<f64> {
    teeth(random, 0.0)
}

/// The same, where a part of each tooth is.
fn rising_teeth(random: &mut Rng) -> Vec<f64> {
    let kept = between(random, 0.05, 0.35);
    teeth(random, kept)
}

fn teeth(random: &mut Rng, kept_share: f64) -> Vec<f64> {
    let tall = log_between(random, 15.0, 300.0);
    let seconds = log_between(random, 10.0, 150.0);
    let (mut kept, mut tooth, mut peak) = (0.0, 0.0, tall);
    course(random, |random, _| {
        let step = tall / seconds * between(random, 0.5, 1.5);
        tooth += step * (1.0 - kept_share);
        kept += step * kept_share;
        if tooth >= peak {
            tooth = 0.0;
            peak = tall * between(random, 0.85, 1.15);
        }
        kept + tooth
    })
}

/// Something is loaded, in a minute or in ten, worked with, and mostly let go of; then the next.
fn ramp_ends(random: &mut Rng) -> Vec<f64> {
    let largest = log_between(random, 80.0, 800.0);
    let seconds = log_between(random, 15.0, 500.0);
    let lets_go = random.f64() < 0.7;
    let (mut used, mut target, mut rests_until) = (0.0, largest * between(random, 0.5, 1.0), 0);
    course(random, |random, second| {
        if second < rests_until {
            return used;
        }
        if used >= target {
            if !lets_go {
                return used;
            }
            used = 0.0;
            target = largest * between(random, 0.5, 1.0);
            rests_until = second + random.usize(5..40);
            return used;
        }
        used = (used + largest / seconds * between(random, 0.5, 1.5)).min(target);
        if used >= target {
            rests_until = second + random.usize(10..90);
        }
        used
    })
}

/// Written to a little faster than read from, or about as fast.
fn queue(random: &mut Rng) -> Vec<f64> {
    let item = log_between(random, 0.05, 0.5);
    let written = log_between(random, 5.0, 40.0);
    let read = written * between(random, 0.6, 1.02);
    let mut waiting: f64 = 0.0;
    course(random, |random, _| {
        waiting += between(random, 0.0, 2.0 * written) - between(random, 0.0, 2.0 * read);
        waiting = waiting.max(0.0);
        waiting * item
    })
}

/// A cell every now and then that keeps what it made; some end, some are cleared.
fn staircase(random: &mut Rng) -> Vec<f64> {
    let step = log_between(random, 5.0, 80.0);
    let every = log_between(random, 5.0, 60.0);
    let clears = if random.bool() { 0.05 } else { 0.0 };
    let ends = random.usize(SECONDS / 3..SECONDS * 2);
    let mut used = 0.0;
    course(random, |random, second| {
        if second < ends && random.f64() < 1.0 / every {
            used += step * between(random, 0.3, 1.7);
            if random.f64() < clears {
                used = 0.0;
            }
        }
        used
    })
}

/// What is seen for the first time is kept, and gets rarer.
fn slows_down(random: &mut Rng) -> Vec<f64> {
    let most = log_between(random, 80.0, 600.0);
    let half = log_between(random, 30.0, 400.0);
    let mut used = 0.0;
    course(random, |random, _| {
        used += (most - used) * std::f64::consts::LN_2 / half * between(random, 0.5, 1.5);
        used
    })
}

/// A table is joined part by part, and the parts put together: twice as much for a moment.
fn join(random: &mut Rng) -> Vec<f64> {
    let part = log_between(random, 2.0, 50.0);
    let parts = random.usize(8..60);
    let every = log_between(random, 1.0, 6.0);
    let looks = random.usize(20..200);
    let (mut made, mut next, mut done_at) = (0, 0.0, 0);
    course(random, |random, second| {
        if made < parts {
            if second as f64 >= next {
                made += 1;
                next = second as f64 + every * between(random, 0.5, 1.5);
                done_at = second;
            }
            return part * made as f64;
        }
        match second - done_at {
            0..4 => 2.0 * part * parts as f64,
            passed if passed < looks => part * parts as f64,
            _ => {
                made = 0;
                next = second as f64 + between(random, 5.0, 60.0);
                0.0
            }
        }
    })
}

/// Workers that start together, take what they take, and go.
fn pool(random: &mut Rng) -> Vec<f64> {
    let workers = random.usize(2..9);
    let each = log_between(random, 15.0, 120.0);
    let (mut holds, mut goes_at) = (vec![0.0; workers], 0);
    course(random, |random, second| {
        if second >= goes_at {
            let works = holds.iter().all(|held| *held == 0.0);
            goes_at = second + random.usize(5..60);
            holds.fill(if works { 10.0 } else { 0.0 });
        }
        for held in &mut holds {
            if *held > 0.0 && random.f64() < 0.3 {
                *held = each * between(random, 0.2, 1.0);
            }
        }
        holds.iter().sum()
    })
}

/// `step` from second to second, after a rest.
fn course(random: &mut Rng, mut step: impl FnMut(&mut Rng, usize) -> f64) -> Vec<f64> {
    let rest = between(random, REST_SECONDS.0, REST_SECONDS.1) as usize;
    let works = (0..SECONDS - rest).map(|second| step(random, second));
    std::iter::repeat_n(0.0, rest).chain(works).collect()
}

fn between(random: &mut Rng, low: f64, high: f64) -> f64 {
    low + random.f64() * (high - low)
}

/// As likely between 1 and 2 as between 10 and 20.
fn log_between(random: &mut Rng, low: f64, high: f64) -> f64 {
    between(random, low.ln(), high.ln()).exp()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const SEED: u64 = 6;

    #[test]
    fn the_same_seed_makes_the_same_episodes_and_another_seed_others() {
        let limits = |seed| -> Vec<u64> {
            let corpus = corpus(seed);
            let episodes = corpus.episodes();
            episodes.iter().map(|episode| episode.limit_bytes).collect()
        };
        assert_eq!(limits(SEED), limits(SEED));
        assert_ne!(limits(SEED), limits(SEED + 1));
    }

    #[test]
    fn every_behaviour_both_stays_and_where_it_may_be_foreseen_crosses() {
        let corpus = corpus(SEED);
        let mut seen: BTreeMap<String, [usize; 2]> = BTreeMap::new();
        for episode in corpus.episodes() {
            let family = episode.trace.family.clone();
            seen.entry(family).or_default()[usize::from(episode.crossing.is_some())] += 1;
        }
        assert_eq!(seen.len(), BEHAVIOURS.len());
        for behaviour in &BEHAVIOURS {
            let [stays, crosses] = seen[behaviour.name];
            assert!(stays > 0, "{} never stays", behaviour.name);
            assert_eq!(crosses > 0, behaviour.crosses, "{}", behaviour.name);
        }
    }
}
