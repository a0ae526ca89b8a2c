use std::sync::mpsc::sync_channel;

use super::*;
use crate::{
    clock::ManualClock,
    fact::{InstanceId, MemorySource, Sample, ServerKey},
    history::{Field, HistoryConfig, HistoryMode, ReadQuery, Table},
    state::{Phase, Policy},
    text::Label,
    verdict::{Rule, Severity},
};

const START_MS: i64 = 1_800_000_000_000;
const LIFE: InstanceId = InstanceId([1; 16]);

struct Bench {
    pipeline: Pipeline,
    progress: Progress,
    clock: Arc<ManualClock>,
    tells: Receiver<Tell>,
}

fn bench() -> Bench {
    let clock = Arc::new(ManualClock::at(START_MS));
    let config = HistoryConfig::new(HistoryMode::Memory);
    let (teller, tells) = sync_channel(64);
    let stats = Stats::new();
    let pipeline = Pipeline {
        state: Arc::new(RwLock::new(State::new(Policy::default()))),
        changes: broadcast::channel(16).0,
        history: History::open(&config, clock.clone()).unwrap(),
        teller,
        remembered: Vec::new(),
        caught_up: CaughtUp::default(),
        clock: clock.clone(),
        pressure: Pressure::new(stats.clone()),
        stats,
    };
    let progress = Progress {
        looked_ms: i64::MIN,
        ticked_ms: None,
        row: 0,
        replayed: Some(oneshot::channel().0),
        found_rows: false,
        steps: Steps::new(&*clock),
        seen_ms: i64::MAX,
    };
    Bench {
        pipeline,
        progress,
        clock,
        tells,
    }
}

fn ann() -> ServerKey {
    ServerKey::new("ann", "")
}

fn connected(at_ms: i64) -> Fact {
    Fact::Connected {
        at_ms,
        key: ann(),
        instance: LIFE,
        host: Label::default(),
        interval_ms: 5_000,
    }
}

fn report(seq: u64, at_ms: i64) -> Fact {
    let sample = Sample {
        interval_ms: 5_000,
        processes: 1,
        threads: 1,
        ..Sample::of_memory(
            at_ms,
            u64::try_from(at_ms).unwrap(),
            MemorySource::Rss,
            1 << 30,
        )
    };
    Fact::Report {
        arrived_ms: at_ms,
        key: ann(),
        instance: LIFE,
        seq,
        samples: vec![sample],
    }
}

impl Bench {
    fn take(&mut self, row: Option<i64>, origin: Origin, facts: Vec<Fact>) {
        let batch = Batch { row, origin, facts };
        self.pipeline.take(batch, &mut self.progress);
    }

    fn history(&self) -> Table {
        let column = crate::history::Column::MomentumBytes;
        let stat = crate::history::Stat::Mean;
        let query = ReadQuery {
            key: ann(),
            from_ms: START_MS - 3_600_000,
            to_ms: START_MS + 3_600_000,
            step_ms: None,
            fields: vec![Field { column, stat }],
        };
        self.pipeline.history.read(&query).unwrap()
    }

    /// Time passes, second by second; nothing waits for the disk.
    fn wait(&mut self, for_ms: i64) {
        for _ in 0..for_ms / limits::TICK_MS {
            self.clock.advance(limits::TICK_MS);
            self.progress.seen_ms = i64::MAX;
            self.pipeline.tick(&mut self.progress);
        }
    }

    /// Its agent reports every five seconds, for so long.
    fn report_for(&mut self, for_ms: i64, seq: &mut u64) {
        for _ in 0..for_ms / 5_000 {
            *seq += 1;
            // Its own clock knows nothing of ours.
            let mono_ms = u64::try_from(self.clock.boot_ms()).unwrap();
            let mut fact = report(*seq, self.clock.now_ms());
            if let Fact::Report { samples, .. } = &mut fact {
                samples[0].mono_ms = mono_ms;
            }
            self.take(Some(1), Origin::Live, vec![fact]);
            self.wait(5_000);
        }
    }

    fn phase(&self) -> Phase {
        self.pipeline.state.read().servers[&ann()].phase
    }
}

#[test]
fn what_history_had_before_the_start_rebuilds_the_state_and_is_not_written_again() {
    let mut bench = bench();
    let before = Origin::Replayed { in_history: true };
    bench.take(Some(1), before, vec![report(1, START_MS - 20_000)]);
    assert!(bench.history().time.is_empty());
    // The row after it knows its momentum from the one that was only replayed.
    let after = Origin::Replayed { in_history: false };
    bench.take(Some(2), after, vec![report(2, START_MS - 15_000)]);
    let kept = bench.history();
    assert_eq!(kept.time, [START_MS - 15_000]);
    let momentum = &kept.columns[0].1;
    assert_eq!(*momentum, crate::history::Cells::Integers(vec![Some(0)]));
}

#[test]
fn under_pressure_history_keeps_one_row_in_four_and_state_sees_every_report() {
    let mut bench = bench();
    bench.take(None, Origin::Live, vec![connected(START_MS - 60_000)]);
    let reports = |seqs: std::ops::RangeInclusive<u64>| {
        let at = |seq: u64| START_MS - 60_000 + i64::try_from(seq).unwrap() * 1_000;
        seqs.map(|seq| report(seq, at(seq))).collect::<Vec<_>>()
    };
    bench
        .pipeline
        .pressure
        .look(limits::SHED_HISTORY_PERCENT, START_MS);
    bench.take(Some(1), Origin::Live, reports(1..=12));
    let kept = [4, 8, 12].map(|seq| START_MS - 60_000 + seq * 1_000);
    assert_eq!(bench.history().time, kept);
    let newest_ms = |bench: &Bench| {
        let state = bench.pipeline.state.read();
        state.servers[&ann()].last_seen_ms
    };
    assert_eq!(newest_ms(&bench), Some(START_MS - 48_000));
    // When it is over, every row is kept again.
    for now_ms in [START_MS, START_MS + limits::SHED_RELIEF_MS] {
        bench.pipeline.pressure.look(0, now_ms);
    }
    bench.take(Some(2), Origin::Live, reports(13..=15));
    assert_eq!(bench.history().time.len(), 6);
    let text = bench.pipeline.stats.prometheus_text();
    let told = "hubmeter_limit_dropped_total{limit=\"shedding\"} 9";
    assert!(text.contains(told), "{text}");
}

#[test]
fn a_report_seen_twice_is_kept_once() {
    let mut bench = bench();
    bench.take(
        Some(1),
        Origin::Live,
        vec![report(1, START_MS), report(1, START_MS)],
    );
    assert_eq!(bench.history().time.len(), 1);
}

#[test]
fn our_own_absence_is_nobodys_silence() {
    let mut bench = bench();
    let origin = Origin::Replayed { in_history: false };
    let long_ago_ms = START_MS - 60_000;
    bench.take(
        Some(1),
        origin,
        vec![connected(long_ago_ms), report(1, long_ago_ms)],
    );
    bench.take(None, Origin::Live, Vec::new());
    bench.wait(limits::START_GRACE_MS);
    assert_eq!(bench.phase(), Phase::Live);
    bench.wait(limits::TICK_MS);
    assert_eq!(bench.phase(), Phase::Silent);
}

#[test]
fn an_absence_in_the_journal_is_nobodys_silence_either() {
    let mut bench = bench();
    let origin = Origin::Replayed { in_history: false };
    let (before_ms, started_ms) = (START_MS - 7_200_000, START_MS - 3_600_000);
    let facts = vec![connected(before_ms), report(1, before_ms)];
    bench.take(Some(1), origin, facts);
    let started = Fact::Started { at_ms: started_ms };
    bench.take(Some(2), origin, vec![started]);
    bench.take(Some(3), origin, vec![report(2, started_ms + 50_000)]);
    assert_eq!(bench.phase(), Phase::Live);
    let counts = bench.pipeline.state.read().counts;
    assert_eq!(counts.servers_expired, 0);
    let started_ms = bench.pipeline.state.read().servers[&ann()].started_ms;
    assert_eq!(started_ms, Some(before_ms), "one life, never gone");
}

#[test]
fn while_the_journal_is_replayed_time_passes_as_its_facts_say() {
    let mut bench = bench();
    let origin = Origin::Replayed { in_history: false };
    let begin_ms = START_MS - 300_000;
    bench.take(
        Some(1),
        origin,
        vec![connected(begin_ms), report(1, begin_ms)],
    );
    // Another server reports a minute later: the first was silent then already.
    let other = Fact::Connected {
        at_ms: begin_ms + 60_000,
        key: ServerKey::new("bob", ""),
        instance: InstanceId([2; 16]),
        host: Label::default(),
        interval_ms: 5_000,
    };
    bench.take(Some(2), origin, vec![other]);
    assert_eq!(bench.phase(), Phase::Silent);
}

#[test]
fn an_agent_that_comes_is_told_what_is_open() {
    let mut bench = bench();
    bench.take(Some(1), Origin::Live, vec![connected(START_MS)]);
    assert!(bench.tells.try_recv().is_err(), "nothing is open");
    let verdict = Verdict {
        rule: Rule::NearLimit,
        episode: "e".to_owned(),
        key: ann(),
        workload: None,
        severity: Severity::Critical,
        since_ms: START_MS,
        updated_ms: START_MS,
        cleared_ms: None,
        evidence: Vec::new(),
        clears_when: String::new(),
    };
    let state = &bench.pipeline.state;
    state.write().servers.get_mut(&ann()).unwrap().verdicts = vec![verdict];
    bench.take(Some(2), Origin::Live, vec![connected(START_MS + 1)]);
    assert!(matches!(bench.tells.try_recv(), Ok(Tell::Again(open)) if open.len() == 1));
}

#[test]
fn what_is_warned_of_is_kept_before_it_is_told_and_never_in_a_replay() {
    let mut bench = bench();
    let policy = crate::cull::CullPolicy {
        mode: crate::cull::Mode::Act,
        timeout_ms: Some(20_000),
        warn_ms: vec![10_000],
        ..crate::cull::CullPolicy::default()
    };
    bench.pipeline.state.write().cull = Arc::new(policy);
    let origin = Origin::Replayed { in_history: true };
    let facts = (0..6).map(|at| report(at + 1, START_MS - 30_000 + at as i64 * 5_000));
    let mut facts: Vec<Fact> = facts.collect();
    facts.insert(0, connected(START_MS - 30_000));
    bench.take(Some(1), origin, facts);
    assert!(bench.tells.try_recv().is_err(), "that was before");
    // Time stands still for the state until agents may have come back.
    for (seq, _) in (7..).zip(0..=limits::START_GRACE_MS / 5_000) {
        let live = report(seq, bench.clock.now_ms());
        bench.take(Some(2), Origin::Live, vec![live]);
        bench.wait(5_000);
    }
    let told: Vec<Tell> = bench.tells.try_iter().collect();
    let [Tell::Kept(kept), Tell::Warn(warned)] = &told[..] else {
        panic!("{told:?}")
    };
    assert_eq!((kept.len(), warned.len()), (1, 1));
    bench.wait(limits::LOOK_MS);
    assert!(bench.tells.try_recv().is_err(), "once");
}

#[test]
fn what_waits_for_a_slow_disk_is_not_silence() {
    let mut bench = bench();
    bench.take(None, Origin::Live, vec![connected(START_MS)]);
    let mut seq = 0;
    bench.report_for(30_000, &mut seq);
    let newest = report(seq + 1, bench.clock.now_ms());
    bench.take(Some(2), Origin::Live, vec![newest]);
    // Reports go on coming, and a flush that takes a minute keeps them all.
    for _ in 0..25 {
        bench.clock.advance(limits::TICK_MS);
        bench.pipeline.tick(&mut bench.progress);
    }
    assert_eq!(bench.phase(), Phase::Live);
    assert!(bench.tells.try_recv().is_err(), "something was told");
    // Nothing waits any more, and nothing came: that is silence.
    bench.wait(20_000);
    assert_eq!(bench.phase(), Phase::Silent);
}

/// What a set clock is told as by the inbox.
fn started(bench: &Bench) -> Fact {
    let at_ms = bench.clock.now_ms();
    Fact::Started { at_ms }
}

#[test]
fn a_clock_that_is_set_by_a_second_or_ten_years_silences_nobody_and_raises_nothing() {
    let years_ms = 3650 * 24 * 3600 * 1000;
    for by_ms in [1_000, -1_000, 600_000, -600_000, years_ms, -years_ms] {
        let mut bench = bench();
        bench.clock.advance(100_000);
        bench.take(None, Origin::Live, vec![connected(bench.clock.now_ms())]);
        let mut seq = 0;
        bench.report_for(60_000, &mut seq);
        bench.clock.set(by_ms);
        // Whoever looks first: the pipeline's own tick, or the inbox's word.
        bench.pipeline.tick(&mut bench.progress);
        let started = started(&bench);
        bench.take(Some(2), Origin::Live, vec![started]);
        // The inbox is a little behind, as it always is.
        bench.clock.advance(400);
        bench.pipeline.tick(&mut bench.progress);
        bench.report_for(180_000, &mut seq);
        assert_eq!(bench.phase(), Phase::Live, "{by_ms}");
        assert!(
            bench.tells.try_recv().is_err(),
            "{by_ms}: something was told"
        );
        let seen_ms = bench.pipeline.state.read().servers[&ann()].last_seen_ms;
        assert!(
            seen_ms <= Some(bench.clock.now_ms()),
            "{by_ms}: seen in the future"
        );
        // And who falls silent now is seen to.
        bench.wait(120_000);
        assert_eq!(bench.phase(), Phase::Silent, "{by_ms}");
    }
}

#[test]
fn a_machine_that_slept_for_eight_hours_wakes_without_a_verdict() {
    let mut bench = bench();
    bench.clock.advance(100_000);
    bench.take(None, Origin::Live, vec![connected(bench.clock.now_ms())]);
    let mut seq = 0;
    bench.report_for(60_000, &mut seq);
    bench.clock.advance(8 * 3600 * 1000);
    bench.pipeline.tick(&mut bench.progress);
    bench.wait(30_000);
    bench.report_for(120_000, &mut seq);
    assert_eq!(bench.phase(), Phase::Live);
    assert!(bench.tells.try_recv().is_err(), "something was told");
}

#[test]
fn what_the_clock_was_ahead_of_is_not_shown_as_the_future_after_a_restart() {
    let mut bench = bench();
    let ahead_ms = START_MS + 3650 * 24 * 3600 * 1000;
    let before = Origin::Replayed { in_history: false };
    bench.take(
        Some(1),
        before,
        vec![connected(ahead_ms), report(1, ahead_ms)],
    );
    let started = started(&bench);
    bench.take(Some(2), Origin::Live, vec![started]);
    let seen_ms = bench.pipeline.state.read().servers[&ann()].last_seen_ms;
    assert_eq!(seen_ms, Some(START_MS));
    bench.wait(120_000);
    assert_eq!(bench.phase(), Phase::Silent, "nor does it hide a silence");
}
