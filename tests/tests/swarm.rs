//! Many agents and one collector, both real: what had a receipt is kept (P1), under the right name
//! (P2), without holes (P3), once (P4), whatever ends the collector or the network; and a hub full
//! of known agents that comes back asks the hub nothing.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout
)]

use std::time::Duration;

use hubmeter_tests::swarm::{
    account::{Entry, Stage},
    collector::{Carrier, Collector},
    cut,
    fleet::Rhythm,
    load::Load,
    rounds, steady,
    storm::{self, End},
};

/// Samples of an agent at 5 s in a cut of ten minutes.
const TEN_MINUTES: u64 = 120;

fn seed() -> u64 {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    seed
}

#[tokio::test]
async fn nothing_with_a_receipt_is_lost_doubled_or_misfiled_in_fifty_kills_under_200_agents() {
    let dir = tempfile::tempdir().unwrap();
    let plan = rounds::Plan {
        agents: 200,
        rounds: 50,
        seed: seed(),
    };
    let program = Collector::program_beside().unwrap();
    let rounds = rounds::run(plan, &program, dir.path()).await.unwrap();
    println!("{rounds}");
    assert!(rounds.audit.is_clean(), "{rounds}");
    assert_eq!(rounds.audit.receipted, rounds.audit.taken, "{rounds}");
    assert_eq!(rounds.audit.stored, rounds.audit.taken, "{rounds}");
    assert_eq!(rounds.hub_questions, 0, "{rounds}");
    // That something was tried: reports under way at a kill, and receipts before one.
    assert!(rounds.caught >= 10, "{rounds}");
    assert!(rounds.fruitful >= 5, "{rounds}");
}

#[tokio::test]
async fn a_thousand_known_agents_come_back_without_a_question_to_the_hub_and_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let plan = storm::Plan {
        agents: 1_000,
        interval: Duration::from_secs(5),
        ramp: Duration::from_secs(5),
        calm: Duration::from_secs(6),
        end: End::Killed,
        away: Duration::ZERO,
        seed: seed(),
        audit_step: 1,
    };
    let program = Collector::program_beside().unwrap();
    let storm = storm::run(&plan, &program, dir.path()).await.unwrap();
    println!("{}", storm.table());
    assert_eq!(storm.hub_questions, 0);
    assert_eq!(storm.lines.last().unwrap().streaming, 1_000);
    assert!(storm.audit.is_clean(), "{}", storm.audit);
    assert!(storm.audit.receipted >= 1_000, "{}", storm.audit);
    assert_eq!(storm.audit.stored, storm.audit.taken, "{}", storm.audit);
}

#[tokio::test]
async fn an_orderly_restart_sends_all_away_and_takes_all_back() {
    let dir = tempfile::tempdir().unwrap();
    let plan = storm::Plan {
        agents: 100,
        interval: Duration::from_secs(1),
        ramp: Duration::from_secs(1),
        calm: Duration::from_secs(2),
        end: End::Stopped,
        away: Duration::ZERO,
        seed: seed(),
        audit_step: 1,
    };
    let program = Collector::program_beside().unwrap();
    let storm = storm::run(&plan, &program, dir.path()).await.unwrap();
    assert_eq!(storm.hub_questions, 0);
    assert!(storm.audit.is_clean(), "{}", storm.audit);
    assert_eq!(storm.audit.stored, storm.audit.taken, "{}", storm.audit);
}

/// As many reports as ten minutes have, in a cut of some seconds; the real ten minutes are
/// `hubmeter-swarm --agents 100 --kill-link 10m`.
#[tokio::test]
async fn a_cut_as_long_as_120_reports_leaves_no_hole_in_the_history_of_100_agents() {
    let dir = tempfile::tempdir().unwrap();
    let plan = cut::Plan {
        agents: 100,
        interval: Duration::from_secs(1),
        interval_cut: Duration::from_millis(25),
        cut: Duration::from_secs(8),
        seed: seed(),
    };
    let program = Collector::program_beside().unwrap();
    let cut = cut::run(plan, &program, dir.path()).await.unwrap();
    println!("{cut:?}");
    assert!(cut.audit.is_clean(), "{}", cut.audit);
    assert_eq!(cut.audit.stored, cut.audit.taken, "{}", cut.audit);
    assert!(cut.kept_most >= TEN_MINUTES, "{cut:?}");
}

#[tokio::test]
async fn all_stream_over_every_carrier_and_every_report_has_its_receipt() {
    for carrier in [Carrier::Tls, Carrier::Plain, Carrier::Unix] {
        let dir = tempfile::tempdir().unwrap();
        let plan = steady::Plan {
            agents: 30,
            rhythm: Rhythm {
                interval: Duration::from_secs(1),
                ramp: Duration::ZERO,
            },
            load: Load::recorded(30).unwrap(),
            carrier,
            port: None,
            lasts: Duration::from_secs(4),
            seed: seed(),
        };
        let program = Collector::program_beside().unwrap();
        let steady = steady::run(&plan, &program, dir.path()).await.unwrap();
        assert_eq!(steady.streaming, 30, "{carrier:?}");
        assert_eq!(steady.hub_questions, 0, "{carrier:?}");
        assert!(steady.receipted > 0, "{carrier:?}: {steady:?}");
    }
}

#[tokio::test]
async fn every_stage_of_the_account_is_reached() {
    let load = Load::recorded(0).unwrap();
    let program = Collector::program_beside().unwrap();
    // The last one differs from the one before by time alone.
    for stage in Stage::ALL
        .into_iter()
        .filter(|stage| *stage != Stage::Minute)
    {
        let dir = tempfile::tempdir().unwrap();
        let entry = Entry::of(stage, 20, &load, &program, dir.path()).await;
        assert_eq!(entry.unwrap().clients, 20, "{stage:?}");
    }
}
