use std::sync::mpsc;

use super::{
    journal::{JournalError, Kept, SqliteJournal},
    marks::Marks,
    *,
};
use crate::{
    clock::ManualClock,
    stats::{Count, Reject, Unready},
};

/// A journal in memory that fails when it is told to.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<MemoryRows>>);

#[derive(Default)]
struct MemoryRows {
    rows: Vec<Kept>,
    marks: Option<(u32, Vec<u8>)>,
    failing: bool,
}

impl Journal for Memory {
    fn append(&mut self, _: i64, crc: u32, payload: &[u8]) -> Result<i64, JournalError> {
        let mut memory = self.0.lock();
        if memory.failing {
            return Err(JournalError::Sql {
                what: "write",
                source: rusqlite::Error::InvalidQuery,
            });
        }
        let row = i64::try_from(memory.rows.len()).unwrap() + 1;
        memory.rows.push(Kept {
            row,
            crc,
            payload: payload.to_vec(),
        });
        Ok(row)
    }

    fn read_after(&mut self, row: i64) -> Result<Option<Kept>, JournalError> {
        Ok(self.0.lock().rows.iter().find(|r| r.row > row).cloned())
    }

    fn newest(&mut self) -> Result<i64, JournalError> {
        Ok(self.0.lock().rows.last().map_or(0, |kept| kept.row))
    }

    fn marks(&mut self) -> Result<Option<(u32, Vec<u8>)>, JournalError> {
        Ok(self.0.lock().marks.clone())
    }

    fn set_marks(&mut self, crc: u32, payload: &[u8]) -> Result<(), JournalError> {
        self.0.lock().marks = Some((crc, payload.to_vec()));
        Ok(())
    }

    fn prune(&mut self, through: i64, _: i64) -> Result<(), JournalError> {
        self.0.lock().rows.retain(|r| r.row > through);
        Ok(())
    }

    fn replace(&mut self, row: i64, crc: u32, payload: &[u8]) -> Result<(), JournalError> {
        let mut memory = self.0.lock();
        if let Some(kept) = memory.rows.iter_mut().find(|r| r.row == row) {
            (kept.crc, kept.payload) = (crc, payload.to_vec());
        }
        Ok(())
    }

    fn squeeze(&mut self) -> Result<(), JournalError> {
        Ok(())
    }
}

struct Bench {
    memory: Memory,
    clerk: Clerk<Memory>,
    inbox: Inbox,
    facts: mpsc::Receiver<Batch>,
    clock: Arc<ManualClock>,
    stats: Stats,
}

fn bench(memory: Memory) -> Bench {
    let clock = Arc::new(ManualClock::at(1_000_000));
    let stats = Stats::new();
    let (onward, facts) = mpsc::sync_channel(64);
    let (inbox, clerk) = Inbox::new(memory.clone(), onward, clock.clone(), stats.clone());
    Bench {
        memory,
        clerk,
        inbox,
        facts,
        clock,
        stats,
    }
}

const LIFE: InstanceId = InstanceId([1; 16]);

fn gap(seq: u64, slot: &Slot) -> Deposit {
    use hubmeter_proto::v1;
    use prost::Message as _;
    let body = v1::up::Body::Gap(v1::Gap {
        from_seq: seq,
        through_seq: seq,
    });
    let message = v1::Up { body: Some(body) }.encode_to_vec();
    let entry = Entry {
        key: ServerKey::new("ann", "gpu"),
        instance: LIFE,
        arrived_ms: 5,
        clock: ClockOffset { offset_ms: 9 },
        body: Body::Message(message.into()),
    };
    let (fact, through_seq) = row::fact_of(&entry).unwrap();
    Deposit {
        entry,
        fact,
        through_seq,
        slot: slot.clone(),
    }
}

fn receipt(slot: &Slot) -> Receipt {
    *slot.subscribe().borrow()
}

impl Bench {
    fn settle(&mut self, deposits: Vec<Deposit>) -> Batch {
        let now_ms = self.clock.now_ms();
        assert!(self.clerk.settle(deposits, now_ms));
        self.facts.try_recv().unwrap()
    }

    fn fail(&self, failing: bool) {
        self.memory.0.lock().failing = failing;
    }
}

#[test]
fn a_receipt_comes_with_the_commit_and_facts_with_their_row() {
    let mut bench = bench(Memory::default());
    let slot = Slot::new();
    let batch = bench.settle(vec![gap(1, &slot), gap(2, &slot)]);
    assert_eq!(batch.row, Some(1));
    assert_eq!(batch.facts.len(), 2);
    assert_eq!(receipt(&slot).through_seq, 2);
    assert_eq!(
        bench.inbox.through_seq(&ServerKey::new("ann", "gpu"), LIFE),
        Some(2)
    );
}

#[test]
fn while_the_journal_fails_facts_go_on_and_receipts_do_not() {
    let mut bench = bench(Memory::default());
    let slot = Slot::new();
    bench.settle(vec![gap(1, &slot)]);
    bench.fail(true);
    let batch = bench.settle(vec![gap(2, &slot)]);
    assert_eq!((batch.row, batch.facts.len()), (None, 1));
    assert_eq!(receipt(&slot).through_seq, 1);
    assert_eq!(bench.stats.unready(), [Unready::Journal]);
    assert_eq!(bench.stats.counted(Count::CommitFailures), 1);
}

#[test]
fn a_torn_stream_is_never_acknowledged_past_what_it_lost() {
    let mut bench = bench(Memory::default());
    let (torn, whole) = (Slot::new(), Slot::new());
    bench.settle(vec![gap(1, &torn)]);
    bench.fail(true);
    bench.settle(vec![gap(2, &torn)]);
    bench.fail(false);
    bench.clock.advance(60_000);
    // The stream goes on unaware; nothing of it may count as kept, or 2 would be lost for good.
    let batch = bench.settle(vec![gap(3, &torn), gap(7, &whole)]);
    assert_eq!(batch.facts.len(), 2);
    assert_eq!(
        receipt(&torn),
        Receipt {
            through_seq: 1,
            torn: true
        }
    );
    assert_eq!(receipt(&whole).through_seq, 7);
    assert!(bench.stats.unready().is_empty());
    let kept = bench.memory.0.lock().rows.last().cloned().unwrap();
    assert_eq!(row::decode(&kept.payload, kept.crc).unwrap().len(), 1);
    // It comes back with a new slot and resends: now it counts.
    drop(torn);
    let again = Slot::new();
    bench.settle(vec![gap(8, &again)]);
    assert_eq!(receipt(&again).through_seq, 8);
    assert!(bench.clerk.torn_slots.is_empty());
}

#[test]
fn a_failing_journal_is_tried_again_later_and_later() {
    let mut bench = bench(Memory::default());
    bench.fail(true);
    let slot = Slot::new();
    bench.settle(vec![gap(1, &slot)]);
    bench.settle(vec![gap(2, &slot)]);
    assert_eq!(
        bench.stats.counted(Count::CommitFailures),
        1,
        "not before it is time"
    );
    let mut pauses = Vec::new();
    for seq in 3..12 {
        let failing = bench.clerk.failing.unwrap();
        pauses.push(failing.pause);
        let wait_ms = failing.next_try_boot_ms - bench.clock.boot_ms();
        bench.clock.advance(wait_ms);
        bench.settle(vec![gap(seq, &slot)]);
    }
    assert!(pauses.is_sorted());
    assert_eq!(pauses.last(), Some(&limits::RETRY_MAX));
}

#[test]
fn a_restart_hands_on_what_was_kept_and_knows_how_far_it_is() {
    let mut before = bench(Memory::default());
    let slot = Slot::new();
    let facts: Vec<Fact> = [gap(1, &slot), gap(2, &slot)].map(|d| d.fact).into();
    before.settle(vec![gap(1, &slot), gap(2, &slot)]);
    let mut after = bench(before.memory.clone());
    after.clerk.replay().unwrap();
    let batch = after.facts.try_recv().unwrap();
    assert_eq!((batch.row, batch.facts), (Some(1), facts));
    assert_eq!(
        after.inbox.through_seq(&ServerKey::new("ann", "gpu"), LIFE),
        Some(2)
    );
}

#[test]
fn a_start_after_which_something_was_missed_is_told_and_told_again_by_the_next() {
    let at_ms = 1_000_000;
    let mut first = bench(Memory::default());
    first.clerk.replay().unwrap();
    let batch = first.facts.try_recv().unwrap();
    assert_eq!(
        (batch.row, batch.facts),
        (None, vec![Fact::Started { at_ms }])
    );
    first.settle(vec![gap(1, &Slot::new())]);
    let mut second = bench(first.memory.clone());
    second.clerk.replay().unwrap();
    let live = second.facts.try_iter().last().unwrap();
    assert_eq!((live.row, live.origin), (Some(2), Origin::Live));
    let mut third = bench(first.memory.clone());
    third.clerk.replay().unwrap();
    let replayed = third.facts.try_iter().nth(1).unwrap();
    assert_eq!(replayed.origin, Origin::Replayed { in_history: false });
    assert_eq!(replayed.facts, [Fact::Started { at_ms }]);
}

#[test]
fn ends_and_starts_read_back_as_written() {
    let entry = |body| Entry {
        body,
        ..Entry::started(7)
    };
    let bodies = [
        Body::Started,
        Body::Ended { farewell: false },
        Body::Ended { farewell: true },
    ];
    let entries = bodies.map(entry);
    let (payload, crc) = row::encode(entries.iter());
    assert_eq!(row::decode(&payload, crc).unwrap(), entries);
}

#[test]
fn a_row_with_a_flipped_bit_is_skipped_and_counted() {
    let mut before = bench(Memory::default());
    let slot = Slot::new();
    for seq in 1..=3 {
        before.settle(vec![gap(seq, &slot)]);
    }
    let length = before.memory.0.lock().rows[1].payload.len();
    for bit in 0..length * 8 {
        let memory = Memory::default();
        memory.0.lock().rows = before.memory.0.lock().rows.clone();
        memory.0.lock().rows[1].payload[bit / 8] ^= 1 << (bit % 8);
        let mut after = bench(memory);
        after.clerk.replay().unwrap();
        let handed_on = after.facts.try_iter();
        let replayed = handed_on.filter(|b| b.origin != Origin::Live);
        let rows: Vec<_> = replayed.filter_map(|b| b.row).collect();
        assert_eq!(rows, [1, 3], "bit {bit}");
        assert_eq!(after.stats.rejected(Reject::CorruptRow), 1);
    }
}

#[test]
fn a_closed_inbox_commits_what_it_holds() {
    let bench = bench(Memory::default());
    let slot = Slot::new();
    bench.inbox.deposit(gap(1, &slot)).unwrap();
    bench.inbox.deposit(gap(2, &slot)).unwrap();
    bench.inbox.close();
    assert_eq!(bench.inbox.deposit(gap(3, &slot)), Err(Full));
    bench.clerk.run();
    assert_eq!(receipt(&slot).through_seq, 2);
    let facts: usize = bench.facts.iter().map(|b| b.facts.len()).sum();
    assert_eq!(facts, 2);
}

#[test]
fn a_full_inbox_says_so_and_counts_it() {
    let bench = bench(Memory::default());
    let slot = Slot::new();
    for _ in 0..limits::INBOX_QUEUE {
        bench.inbox.deposit(gap(1, &slot)).unwrap();
    }
    assert_eq!(bench.inbox.deposit(gap(1, &slot)), Err(Full));
    let text = bench.stats.prometheus_text();
    assert!(text.contains("hubmeter_limit_dropped_total{limit=\"inbox_queue\"} 1"));
}

#[test]
fn what_is_taken_out_as_soon_as_it_is_there_was_counted_before() {
    let Bench {
        clerk,
        inbox,
        facts,
        ..
    } = bench(Memory::default());
    let clerk = std::thread::spawn(move || clerk.run());
    let facts = std::thread::spawn(move || facts.iter().count());
    let slot = Slot::new();
    for seq in 1..=50_000 {
        while inbox.deposit(gap(seq, &slot)).is_err() {
            std::thread::yield_now();
        }
        // One that was taken out before it was counted would leave less than nothing.
        assert!(inbox.percent() <= 100, "{} %", inbox.percent());
    }
    inbox.close();
    clerk.join().unwrap();
    facts.join().unwrap();
    assert_eq!(inbox.percent(), 0);
}

#[test]
fn one_users_many_lives_push_out_only_their_own() {
    let mut high_water = HighWater::default();
    let (ann, bob) = (ServerKey::new("ann", ""), ServerKey::new("bob", ""));
    high_water.raise(&bob, LIFE, 5, 0);
    for life in 0..200 {
        high_water.raise(&ann, InstanceId([life; 16]), 1, 0);
    }
    assert_eq!(high_water.0[&ann].len(), limits::INSTANCES_PER_SERVER_MAX);
    assert_eq!(high_water.through_seq(&bob, LIFE), Some(5));
}

#[test]
fn how_far_an_agent_was_outlives_its_rows() {
    let mut before = bench(Memory::default());
    let slot = Slot::new();
    let batch = before.settle(vec![gap(41, &slot)]);
    before.inbox.checkpoint(batch.row.unwrap());
    before.clerk.tidy(5 + limits::ROWS_KEPT_MS);
    assert!(before.memory.0.lock().rows.is_empty());
    let mut after = bench(before.memory.clone());
    after.clerk.replay().unwrap();
    let ann = ServerKey::new("ann", "gpu");
    assert_eq!(after.inbox.through_seq(&ann, LIFE), Some(41));
    after.clerk.tidy(6 + limits::LIVES_KEPT_MS);
    assert_eq!(after.inbox.through_seq(&ann, LIFE), None);
}

#[test]
fn what_history_had_before_the_start_is_marked() {
    let mut before = bench(Memory::default());
    let slot = Slot::new();
    for seq in 1..=3 {
        before.settle(vec![gap(seq, &slot)]);
    }
    before.memory.0.lock().marks = Some({
        let (payload, crc) = row::encode_marks(&Marks {
            checkpoint: 2,
            lives: Vec::new(),
        });
        (crc, payload)
    });
    let mut after = bench(before.memory.clone());
    after.clerk.replay().unwrap();
    let origins: Vec<_> = after.facts.try_iter().map(|b| b.origin).collect();
    let replayed = |in_history| Origin::Replayed { in_history };
    assert_eq!(
        origins,
        [
            replayed(true),
            replayed(true),
            replayed(false),
            Origin::Live
        ]
    );
}

#[test]
fn rows_on_disk_survive_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = SqliteJournal::open(dir.path()).unwrap();
    let row = journal.append(10, 7, b"first").unwrap();
    drop(journal);
    let mut journal = SqliteJournal::open(dir.path()).unwrap();
    let kept = journal.read_after(0).unwrap().unwrap();
    assert_eq!(
        (kept.row, kept.crc, &kept.payload[..]),
        (row, 7, &b"first"[..])
    );
    journal.prune(row, 11).unwrap();
    assert_eq!(journal.read_after(0).unwrap(), None);
    assert!(
        journal.append(12, 0, b"").unwrap() > row,
        "numbers are not used twice"
    );
}

#[test]
fn a_clock_that_is_set_back_by_ten_years_stops_no_receipt_and_is_told_as_a_start() {
    let Bench {
        clerk,
        inbox,
        facts,
        clock,
        ..
    } = bench(Memory::default());
    let clerk = std::thread::spawn(move || clerk.run());
    let slot = Slot::new();
    let until_receipt = |seq| {
        inbox.deposit(gap(seq, &slot)).unwrap();
        // Tries, not time: a machine that is busy takes longer.
        for _ in 0..10_000 {
            clock.advance(50);
            if receipt(&slot).through_seq >= seq {
                return true;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        false
    };
    assert!(until_receipt(1));
    clock.set(-3650 * 24 * 3600 * 1000);
    assert!(until_receipt(2));
    inbox.close();
    clerk.join().unwrap();
    let starts = facts.try_iter().flat_map(|batch| batch.facts);
    let starts = starts.filter(|fact| matches!(fact, Fact::Started { .. }));
    assert!(starts.count() >= 1);
}

#[test]
fn a_clock_that_is_set_back_while_the_journal_fails_does_not_put_off_the_next_try() {
    let mut bench = bench(Memory::default());
    let slot = Slot::new();
    bench.fail(true);
    bench.settle(vec![gap(1, &slot)]);
    bench.fail(false);
    bench.clock.set(-3650 * 24 * 3600 * 1000);
    bench.clock.advance(60_000);
    bench.settle(vec![gap(2, &Slot::new())]);
    assert!(bench.stats.unready().is_empty());
}
