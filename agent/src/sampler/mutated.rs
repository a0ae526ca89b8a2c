//! Whole ticks over a machine whose files are cut at every byte, or damaged anywhere.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    machine::{At, MIB, Machine, TREE, assert_sums, server, v2_files},
    sample::{Sample, faults::Faults},
    sampler::{PssMode, Sampler},
};

/// Damages tried; the seed is fixed, so that what fails fails again.
const DAMAGES: usize = 1_500;
const SEED: u64 = 0x6875_626d_6574_6572;

fn built() -> Machine {
    let machine = Machine::new();
    machine.run(&server());
    let loadavg = machine.proc().join("loadavg");
    fs::write(loadavg, "0.10 0.20 0.30 1/100 999\n").unwrap();
    // The one above says the same of memory, so that whichever is asked is right.
    machine.group("hub", &[], &v2_files(900 * MIB, MIB, "max"));
    machine.group("hub/jo", &TREE, &v2_files(900 * MIB, MIB, "2147483648"));
    machine.member(&TREE, "0::/hub/jo\n");
    machine
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap().flatten() {
            if entry.file_type().unwrap().is_dir() {
                dirs.push(entry.path());
            } else {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    files
}

fn tick(sampler: &mut Sampler, at_ms: u64) -> Option<Sample> {
    let sample = sampler.tick(&At(at_ms)).ok();
    if let Some(sample) = &sample {
        assert_sums(sample);
    }
    sample
}

#[test]
fn every_beginning_of_every_file_gives_the_right_numbers_or_unknown_ones() {
    let machine = built();
    let mut sampler = Sampler::new(machine.target(100), PssMode::Always).unwrap();
    let right = sampler.tick(&At(0)).unwrap();
    let mut at_ms = 0;
    let mut cuts = 0;
    for file in files(machine.dir.path()) {
        let whole = fs::read(&file).unwrap();
        for end in 0..whole.len() {
            cuts += 1;
            at_ms += 5000;
            fs::write(&file, &whole[..end]).unwrap();
            sampler.distrust();
            let before = Faults::so_far().total();
            let case = format!("{} cut to {end}", file.display());
            // Those who follow from the start see it, too.
            let fresh = Sampler::new(machine.target(100), PssMode::Always);
            let fresh = fresh.ok().and_then(|mut fresh| tick(&mut fresh, at_ms));
            for sample in [tick(&mut sampler, at_ms), fresh].into_iter().flatten() {
                let noted = Faults::so_far().total() > before;
                assert!(sample.rss_bytes <= right.rss_bytes, "{case}");
                assert!(sample.processes <= right.processes, "{case}");
                assert!(sample.threads <= right.threads, "{case}");
                // A list may end at any line, a file may be empty: only then is a figure that
                // comes from elsewhere no fault.
                let ends = end == 0 || whole[end - 1].is_ascii_whitespace();
                if sample.memory_source == right.memory_source {
                    // Slab is a line that old kernels do not have.
                    let off = sample.memory_used_bytes - right.memory_used_bytes;
                    assert!(off == 0 || off == 4096, "{case}");
                } else {
                    assert!(noted || ends, "{case}: {:?}", sample.memory_source);
                }
                let same_limit = sample.memory_limit_bytes == right.memory_limit_bytes;
                assert!(same_limit || noted || ends, "{case}");
            }
        }
        fs::write(&file, &whole).unwrap();
        sampler.distrust();
        at_ms += 5000;
        let healed = sampler.tick(&At(at_ms)).unwrap();
        assert_eq!(healed.memory_used_bytes, right.memory_used_bytes);
        assert_eq!(healed.memory_limit_source, right.memory_limit_source);
        assert_eq!(healed.processes, right.processes, "{}", file.display());
    }
    assert!(cuts > 2_500, "{cuts}");
}

/// One damage to a file.
fn damage(rng: &mut fastrand::Rng, text: &mut Vec<u8>) {
    const NUMBERS: [&[u8]; 6] = [
        b"9223372036854775808",
        b"18446744073709551615",
        b"-1",
        b"99999999999999999999999",
        b"max",
        b"0",
    ];
    let at = rng.usize(..=text.len());
    match rng.u8(..6) {
        0 if at < text.len() => text[at] ^= 1 << rng.u8(..8),
        1 => text.truncate(at),
        2 => drop(text.splice(at..at, std::iter::repeat_n(0, rng.usize(1..64)))),
        3 => {
            // A number, and only that.
            let from = text.iter().skip(at).position(u8::is_ascii_digit);
            let from = from.map_or(text.len(), |from| from + at);
            let digits = text.iter().skip(from).take_while(|b| b.is_ascii_digit());
            let to = from + digits.count();
            let number = NUMBERS[rng.usize(..NUMBERS.len())];
            drop(text.splice(from..to, number.iter().copied()));
        }
        4 => drop(text.splice(at..at, (0..rng.usize(1..32)).map(|n| n as u8 ^ 0x9b))),
        _ => {
            // Twice itself: keys, pids and lines come again.
            let again = text.clone();
            text.extend(again);
        }
    }
}

#[test]
fn no_damage_to_any_file_is_a_panic_and_what_is_healed_is_right_again() {
    let machine = built();
    let files = files(machine.dir.path());
    let texts: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    let mut rng = fastrand::Rng::with_seed(SEED);
    let (mut sampled, mut refused) = (0, 0);
    for _ in 0..DAMAGES {
        let mut sampler = Sampler::new(machine.target(100), PssMode::Always).unwrap();
        let right = tick(&mut sampler, 0).unwrap();
        let damaged: Vec<usize> = (0..rng.usize(1..4))
            .map(|_| rng.usize(..files.len()))
            .collect();
        for &at in &damaged {
            let mut text = texts[at].clone();
            damage(&mut rng, &mut text);
            fs::write(&files[at], text).unwrap();
        }
        sampler.distrust();
        for tick_at in [5_000, 10_000] {
            match tick(&mut sampler, tick_at) {
                Some(sample) => {
                    sampled += 1;
                    assert!(sample.cpu_millis >= right.cpu_millis);
                    assert!(sample.cpu_cores.is_none_or(|cores| cores >= 0.0));
                }
                None => refused += 1,
            }
        }
        for &at in &damaged {
            fs::write(&files[at], &texts[at]).unwrap();
        }
        sampler.distrust();
        // A start time that was damaged makes another process of it, and that one is over.
        let healed = tick(&mut sampler, 15_000).unwrap();
        assert_eq!(healed.memory_used_bytes, right.memory_used_bytes);
        assert_eq!(healed.memory_limit_bytes, right.memory_limit_bytes);
    }
    assert!(sampled > 10 * refused && refused > 0, "{sampled} {refused}");
}
