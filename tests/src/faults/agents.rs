//! Agents without a link: they hand in numbered reports, and keep them until their receipt.

use hubmeter_collector::{
    fact::{InstanceId, ServerKey},
    inbox::{Body, Deposit, Entry, Inbox, Receipt, Slot, row},
    link::admit::ClockOffset,
};
use hubmeter_proto::v1;
use prost::Message as _;
use tokio::sync::watch;

/// Bytes between the figures of one agent and the next: a figure tells agent and report.
pub const STRIDE: u64 = 1_000_000;

/// From report to report, by the agents' clocks.
pub const INTERVAL_MS: u32 = 1_000;

/// What the agents' clocks since boot begin at.
const BOOTED_MS: i64 = 100_000;

/// One agent.
#[derive(Debug)]
pub struct Agent {
    index: u64,
    key: ServerKey,
    instance: InstanceId,
    slot: Slot,
    receipts: watch::Receiver<Receipt>,
    clock: ClockOffset,
    next_seq: u64,
    through_seq: u64,
    handed_in: u64,
}

// === impl Agent ===

impl Agent {
    /// One whose clock since boot was at its begin at `began_ms`.
    #[must_use]
    pub fn new(index: u64, began_ms: i64) -> Self {
        let slot = Slot::new();
        let mut instance = [0xA0; 16];
        instance[..8].copy_from_slice(&index.to_le_bytes());
        Self {
            index,
            key: ServerKey::new(&format!("user-{index}"), ""),
            instance: InstanceId(instance),
            receipts: slot.subscribe(),
            slot,
            clock: ClockOffset {
                offset_ms: began_ms - BOOTED_MS,
            },
            next_seq: 1,
            through_seq: 0,
            handed_in: 0,
        }
    }

    /// One of whom it is only known how far its receipts were, and that it handed in everything.
    #[must_use]
    pub fn known(index: u64, through_seq: u64, reports: u64) -> Self {
        Self {
            through_seq,
            handed_in: reports,
            ..Self::new(index, 0)
        }
    }

    /// Whose server it measures.
    #[must_use]
    pub fn key(&self) -> &ServerKey {
        &self.key
    }

    /// Everything up to here has a receipt.
    #[must_use]
    pub fn through_seq(&self) -> u64 {
        self.through_seq
    }

    /// Everything up to here was handed in at least once.
    #[must_use]
    pub fn handed_in(&self) -> u64 {
        self.handed_in
    }

    /// Looks for a receipt; comes back and resends where something was lost.
    pub fn look(&mut self, inbox: &Inbox) {
        let receipt = *self.receipts.borrow();
        self.through_seq = self.through_seq.max(receipt.through_seq);
        if receipt.torn {
            self.come_back(inbox);
        }
    }

    /// Begins a new stream, as after a cut or a restart of the collector.
    pub fn come_back(&mut self, inbox: &Inbox) {
        self.slot = Slot::new();
        self.receipts = self.slot.subscribe();
        // What Welcome says.
        let known = inbox.through_seq(&self.key, self.instance).unwrap_or(0);
        self.through_seq = self.through_seq.max(known);
        self.next_seq = self.through_seq + 1;
        self.handed_in = self.handed_in.max(self.through_seq);
    }

    /// Its next report, if it has fewer than `reports`.
    pub fn hand_in(&mut self, reports: u64, arrived_ms: i64) -> Option<Deposit> {
        let seq = self.next_seq;
        if seq > reports {
            return None;
        }
        let entry = Entry {
            key: self.key.clone(),
            instance: self.instance,
            arrived_ms,
            clock: self.clock,
            body: Body::Message(self.report(seq).into()),
        };
        let (fact, through_seq) = row::fact_of(&entry)?;
        self.next_seq += 1;
        self.handed_in = self.handed_in.max(seq);
        Some(Deposit {
            entry,
            fact,
            through_seq,
            slot: self.slot.clone(),
        })
    }

    /// The figure of its report `seq`.
    #[must_use]
    pub fn figure(&self, seq: u64) -> u64 {
        (self.index + 1) * STRIDE + seq
    }

    fn report(&self, seq: u64) -> Vec<u8> {
        let figure = self.figure(seq);
        let sample = v1::Sample {
            mono_ms: BOOTED_MS.cast_unsigned() + seq * u64::from(INTERVAL_MS),
            interval_ms: if seq == 1 { 0 } else { INTERVAL_MS },
            memory_used_bytes: figure,
            memory_source: v1::MemorySource::Rss.into(),
            rss_bytes: figure,
            cpu_millis: seq,
            processes: 1,
            threads: 1,
            ..Default::default()
        };
        let samples = vec![sample];
        let body = v1::up::Body::Report(v1::Report { seq, samples });
        v1::Up { body: Some(body) }.encode_to_vec()
    }
}
