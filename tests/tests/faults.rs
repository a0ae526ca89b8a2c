//! The collector's store on disks that fail: what had a receipt is kept (P1), nothing is invented
//! (P2), nothing is there twice (P4), and it comes right by itself (P6). Every disk call of a run
//! and many more images are `cargo xtask faults`; here is every so many-th.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::print_stdout)]

use hubmeter_tests::faults::{damage, power, shim, sweep};

/// Of the disk calls of a run, every so many-th fails here. A prime: no pattern of calls hides.
const STRIDE: u64 = 23;

/// Disks after a power cut that are looked at here.
const IMAGES: u64 = 500;

/// Of the bytes cut off and the bits flipped, every so many-th here.
const DAMAGE_STRIDE: u64 = 97;

/// Bits flipped at random here, in each kind of file.
const FLIPS: u64 = 300;

const JOBS: u64 = 2;

fn dir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

#[test]
fn whichever_disk_call_of_a_run_of_200_reports_fails_nothing_acknowledged_is_lost() {
    let program = shim::beside("hubmeter-faults", "hubmeter-tests").unwrap();
    let dir = dir();
    let sweep = sweep::run(&program, dir.path(), STRIDE, JOBS).unwrap();
    println!("{sweep}");
    assert!(sweep.broken().is_none(), "{sweep}");
    assert!(sweep.cases() >= 200, "{sweep}");
    // That something was tried: calls failed, and receipts were held back by it.
    for line in &sweep.lines {
        assert_eq!(line.struck, line.cases, "{}", line.kind);
    }
    let held_back: u64 = sweep.lines.iter().map(|line| line.held_back).sum();
    assert!(held_back >= 80, "{sweep}");
}

#[test]
fn whenever_the_power_goes_what_was_acknowledged_is_there_also_after_failed_flushes() {
    let program = shim::beside("hubmeter-faults", "hubmeter-tests").unwrap();
    let dir = dir();
    let seed = fastrand::u64(..);
    let power = power::run(&program, dir.path(), IMAGES, seed, JOBS).unwrap();
    println!("{power}");
    assert!(power.broken.is_none(), "{power}");
    assert_eq!(power.images, IMAGES);
    assert!(power.promised > 50 * IMAGES, "{power}");
}

#[test]
fn bytes_cut_off_and_bits_flipped_are_noticed_or_harmless_and_nothing_is_invented() {
    let dir = dir();
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    for damage in damage::all(dir.path(), DAMAGE_STRIDE, FLIPS, seed).unwrap() {
        println!("{damage}");
        assert!(damage.is_none(), "seed {seed}: {damage}");
        // That something was tried.
        let struck = damage.noticed + damage.shorter;
        assert!(damage.cases >= 300 && struck > 0, "{damage}");
    }
}
