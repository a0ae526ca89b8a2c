use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::sample::process::PssReading;

const MIB: u64 = 1 << 20;

fn reading(rss_bytes: u64, pss: Option<PssReading>) -> Reading {
    Reading {
        key: Key {
            start_ticks: 1,
            pid: 1,
        },
        ppid: 0,
        threads: 1,
        rss_bytes,
        held_bytes: rss_bytes,
        signal: None,
        io: None,
        shared_bytes: 0,
        own_ns: 0,
        reaped_ns: 0,
        zombie: false,
        terminal: None,
        group: 0,
        front_group: None,
        identity: Arc::default(),
        pss,
    }
}

fn pss(rss_bytes: u64, common_bytes: u64, cost_ns: u64) -> PssReading {
    PssReading {
        pss_bytes: rss_bytes,
        common_bytes,
        swap_bytes: 0,
        rss_bytes,
        at_ms: 0,
        cost_ns,
        moved_before_bytes: 0,
    }
}

#[test]
fn a_share_is_a_percentage_of_a_core_between_nothing_and_five() {
    for (text, ns_per_s) in [
        ("0.02", 200_000),
        ("0.02%", 200_000),
        ("0.02 %", 200_000),
        ("0", 0),
        ("5", 50_000_000),
        ("1", 10_000_000),
    ] {
        assert_eq!(PssShare::parse(text), Ok(PssShare { ns_per_s }), "{text}");
    }
    assert_eq!(PssShare::default(), PssShare::parse("0.02").unwrap());
    for text in ["5.01", "-0.1", "NaN", "inf", "", "%", "a lot", "1,5"] {
        assert!(PssShare::parse(text).is_err(), "{text}");
    }
}

#[test]
fn a_cost_is_foreseen_by_what_the_process_cost_before_else_by_what_others_did() {
    let mut tariff = Tariff::default();
    assert_eq!(tariff.cost_ns(&reading(99 * MIB, None)), 700_000);
    let mut huge_pages = reading(1_023 * MIB, Some(pss(1_023 * MIB, 0, 0)));
    tariff.learn(&mut huge_pages, 20_000);
    assert_eq!(huge_pages.pss.unwrap().cost_ns, 20_000);
    assert_eq!(tariff.cost_ns(&huge_pages), 20_000);
    huge_pages.rss_bytes = 2_047 * MIB;
    assert_eq!(tariff.cost_ns(&huge_pages), 40_000);
    let others = tariff.cost_ns(&reading(99 * MIB, None));
    assert!(others < 700_000, "a cheap one was seen: {others}");
}

#[test]
fn a_figure_is_unsure_by_its_drift_and_by_what_moved_among_those_who_share_its_pages() {
    let mut budget = Budget::default();
    let mut drifted = reading(300 * MIB, Some(pss(100 * MIB, 0, 0)));
    assert_eq!(budget.unsure(&drifted, FRESH_MS - 1), None);
    assert_eq!(
        budget.unsure(&drifted, FRESH_MS),
        Some((200 * MIB, FRESH_MS))
    );
    drifted.rss_bytes = 100 * MIB;
    assert_eq!(budget.unsure(&drifted, OLD_MS - 1), None);
    assert_eq!(budget.unsure(&drifted, OLD_MS), Some((0, OLD_MS)));

    let shares = reading(100 * MIB, Some(pss(100 * MIB, 40 * MIB, 0)));
    budget.moved_bytes = 900 * MIB;
    let due_ms = FRESH_IF_SHARED_MS;
    assert_eq!(budget.unsure(&shares, due_ms - 1), None);
    assert_eq!(budget.unsure(&shares, due_ms), Some((40 * MIB, due_ms)));
    assert_eq!(budget.unsure(&drifted, due_ms), None, "it shares nothing");
}

#[test]
fn nothing_is_read_again_by_a_share_of_nothing() {
    let mut purse = Purse {
        share: PssShare::parse("0").unwrap(),
        ..Purse::default()
    };
    for hour in 0..24 {
        purse.earn(hour * 3_600_000);
        assert!(!purse.affords(0));
    }
}

proptest! {
    /// Whatever readings really cost, and whatever was foreseen: over any time the share is kept
    /// but for what may be saved up and the one reading that goes beyond.
    #[test]
    fn the_share_is_kept_on_average_by_what_readings_really_cost(
        share in 1_u64..50_000_000,
        ticks in prop::collection::vec((1_u64..60_000, 0_u64..400_000_000, 0_u64..400_000_000), 1..300),
    ) {
        let mut purse = Purse { share: PssShare { ns_per_s: share }, ..Purse::default() };
        let (mut now_ms, mut spent_ns, mut dearest_ns) = (0, 0_u64, 0);
        purse.earn(0);
        for (after_ms, foreseen_ns, real_ns) in ticks {
            now_ms += after_ms;
            purse.earn(now_ms);
            if purse.affords(foreseen_ns) {
                purse.pay(real_ns);
                spent_ns += real_ns;
                dearest_ns = dearest_ns.max(real_ns);
            }
            let earned_ns = now_ms * share / 1_000;
            prop_assert!(spent_ns <= earned_ns + dearest_ns);
        }
    }

    /// A reading that is foreseen as dearer than can be saved is not put off for ever.
    #[test]
    fn every_reading_is_afforded_in_the_end(share in 1_u64..50_000_000, foreseen_ns in any::<u64>()) {
        let mut purse = Purse { share: PssShare { ns_per_s: share }, ..Purse::default() };
        purse.earn(0);
        purse.earn(1_000 * (SAVED_NS_MAX / share + 1));
        prop_assert!(purse.affords(foreseen_ns));
    }
}
