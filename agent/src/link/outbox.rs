//! Reports on their way: filled by the one who samples, emptied by receipts.
//!
//! While nobody looks and nothing is urgent, reports wait for each other, as long as the collector
//! lets them: what goes out together shares the cost of a message.

use std::ops::Range;

use hubmeter_proto::v1;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use super::{company::Company, encode, people::People, seldom::Seldom};
use crate::{
    sample::Sample,
    spool::{SPOOL_BYTES_MAX, Spool},
};

/// Reports on their way.
#[derive(Debug)]
pub struct Outbox {
    held: Mutex<Held>,
    pub(super) news: Notify,
    pub(super) company: Company,
}

/// The reports, and whether they are to go.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) spool: Spool,
    pub(super) people: People,
    seldom: Seldom,
    /// The newest sample as it was told; room for the next.
    told: v1::Sample,
    /// How long they may wait.
    hold_ms: u64,
    /// Since when the oldest that was not sent waits.
    waits_since_ms: Option<u64>,
    /// It is time to send.
    pub(super) due: bool,
}

// === impl Outbox ===

impl Default for Outbox {
    fn default() -> Self {
        Self::new(SPOOL_BYTES_MAX)
    }
}

impl Outbox {
    /// An empty one that keeps `bytes_max` bytes at most.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self {
            held: Mutex::new(Held {
                spool: Spool::new(bytes_max),
                people: People::default(),
                seldom: Seldom::default(),
                told: v1::Sample::default(),
                hold_ms: 0,
                waits_since_ms: None,
                due: false,
            }),
            news: Notify::new(),
            company: Company::default(),
        }
    }

    /// Takes `sample` as the next report; one that is urgent takes those before it along.
    pub fn push(&self, sample: &Sample, is_urgent: bool) {
        let mut held = self.held.lock();
        held.take(sample);
        held.waits_since_ms.get_or_insert(sample.mono_ms);
        if is_urgent || held.hold_ms == 0 {
            self.send(held);
        }
    }

    /// What people do, as of the next report.
    pub fn note(&self, activity: v1::Activity) {
        self.held.lock().people.note(activity);
    }

    /// Somebody saw these notices.
    pub fn show(&self, episodes: Vec<String>) {
        self.held.lock().people.show(episodes);
    }

    /// The next sample comes at `due_ms`: what cannot wait for it goes now.
    pub fn expect_at(&self, due_ms: u64) {
        let held = self.held.lock();
        let waits_since_ms = held.waits_since_ms.unwrap_or(due_ms);
        if !held.due && due_ms > waits_since_ms.saturating_add(held.hold_ms) {
            self.send(held);
        }
    }

    /// A tick began at `now_ms`, the next comes at `due_ms`: small messages of the collector's are
    /// read with ticks, where it lets us.
    pub fn keep_company(&self, now_ms: u64, due_ms: u64) {
        if self.company.keep(now_ms, due_ms) {
            self.news.notify_one();
        }
    }

    /// Numbers of the reports that are kept: what comes before has its receipt (or was given up
    /// for want of room), what comes after is still to be taken.
    #[must_use]
    pub fn waiting(&self) -> Range<u64> {
        let held = self.held.lock();
        held.spool.first_seq()..held.spool.next_seq()
    }

    /// Lets reports wait so long for each other.
    pub(super) fn set_hold(&self, hold_ms: u64) {
        let mut held = self.held.lock();
        held.hold_ms = hold_ms;
        if hold_ms == 0 {
            self.send(held);
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock()
    }

    fn send(&self, mut held: MutexGuard<'_, Held>) {
        held.due = true;
        drop(held);
        self.news.notify_one();
    }
}

// === impl Held ===

impl Held {
    /// Keeps `sample` as the next report.
    fn take(&mut self, sample: &Sample) {
        encode::sample_into(sample, &mut self.told);
        self.seldom.hold_back(&mut self.told);
        self.spool.push(&self.told);
    }

    /// Everything was sent.
    pub(super) fn all_sent(&mut self) {
        self.due = false;
        self.waits_since_ms = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::encode::tests::sample;

    const HOLD_MS: u64 = 60_000;

    fn outbox() -> Outbox {
        let outbox = Outbox::default();
        outbox.set_hold(HOLD_MS);
        outbox.lock().all_sent();
        outbox
    }

    /// Samples every five seconds; gives at which ticks something went.
    fn sent_at(outbox: &Outbox, ticks: u64, urgent: impl Fn(u64) -> bool) -> Vec<u64> {
        let mut sent = Vec::new();
        for tick in 1..=ticks {
            outbox.push(&sample(tick * 5_000, 1), urgent(tick));
            outbox.expect_at((tick + 1) * 5_000);
            let mut held = outbox.lock();
            if held.due {
                held.all_sent();
                sent.push(tick);
            }
        }
        sent
    }

    #[test]
    fn reports_wait_for_each_other_and_none_longer_than_it_may() {
        assert_eq!(sent_at(&outbox(), 30, |_| false), [13, 26]);
    }

    #[test]
    fn what_is_urgent_goes_at_once_and_takes_the_others_along() {
        assert_eq!(sent_at(&outbox(), 20, |tick| tick == 4), [4, 17]);
    }

    #[test]
    fn without_leave_to_wait_none_waits() {
        assert_eq!(sent_at(&Outbox::default(), 3, |_| false), [1, 2, 3]);
    }

    #[test]
    fn leave_taken_back_sends_what_waits() {
        let outbox = outbox();
        assert_eq!(sent_at(&outbox, 2, |_| false), [0; 0]);
        outbox.set_hold(0);
        assert!(outbox.lock().due);
    }
}
