//! What becomes of messages of users who are forgotten, deleted or renamed.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use tokio::sync::oneshot;

use super::{
    Body, Entry,
    journal::{Journal, JournalError},
    marks::{HighWater, Marks},
    row,
};
use crate::person::{Fates, Moved, PeopleMove};

/// Orders that wait for the clerk: they come one at a time, from those who run the collector.
const ORDERS_MAX: usize = 4;

/// What the clerk is asked to do between two commits.
pub(super) enum Order {
    /// Counts, or rewrites rows and hands the rest on.
    Move {
        people: PeopleMove,
        done: oneshot::Sender<Result<u64, JournalError>>,
    },
    /// Leaves in the file only what is in its rows.
    Squeeze {
        done: oneshot::Sender<Result<(), JournalError>>,
    },
    /// Counts entries.
    Count {
        fates: Fates,
        done: oneshot::Sender<Result<u64, JournalError>>,
    },
}

/// Both ends of the orders.
pub(super) fn orders() -> (SyncSender<Order>, Receiver<Order>) {
    sync_channel(ORDERS_MAX)
}

/// The clerk does not take orders now.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// It is stopping, or has too many.
    #[error("the inbox takes no orders now")]
    Refused,
    /// The journal failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl super::Inbox {
    /// Meets the fates in the journal, then hands them on in order. Gives how many messages it
    /// touched.
    ///
    /// # Errors
    /// It is not on the disk; nothing was handed on.
    pub async fn move_people(&self, people: PeopleMove) -> Result<u64, OrderError> {
        self.order(|done| Order::Move { people, done }).await
    }

    /// How many messages the fates would touch.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub async fn count_people(&self, fates: Fates) -> Result<u64, OrderError> {
        self.order(|done| Order::Count { fates, done }).await
    }

    /// Leaves in the journal's file only what is in its rows.
    ///
    /// # Errors
    /// It is not done.
    pub async fn squeeze(&self) -> Result<(), OrderError> {
        self.order(|done| Order::Squeeze { done }).await
    }

    async fn order<T>(
        &self,
        order: impl FnOnce(oneshot::Sender<Result<T, JournalError>>) -> Order,
    ) -> Result<T, OrderError> {
        let (done, answer) = oneshot::channel();
        self.0.orders.try_send(order(done)).map_err(
            |(TrySendError::Full(_) | TrySendError::Disconnected(_))| OrderError::Refused,
        )?;
        let answered = answer.await.map_err(|_| OrderError::Refused)?;
        answered.map_err(OrderError::Journal)
    }
}

/// How many entries of the journal the fates touch.
pub(crate) fn count(journal: &mut impl Journal, fates: &Fates) -> Result<u64, JournalError> {
    let (mut after, mut touched) = (0, 0);
    while let Some(found) = journal.read_after(after)? {
        after = found.row;
        let entries = row::decode(&found.payload, found.crc).unwrap_or_default();
        let moves = |entry: &&Entry| fates.moved(&entry.key) != Moved::Stays;
        touched += entries.iter().filter(moves).count() as u64;
    }
    Ok(touched)
}

/// Rewrites the rows that the fates touch, and the marks; gives how many entries that were. A row
/// that cannot be read is nobody's and may hold anybody's: it goes, since a start would skip it.
pub(crate) fn rewrite(journal: &mut impl Journal, fates: &Fates) -> Result<u64, JournalError> {
    let (mut after, mut touched) = (0, 0);
    while let Some(found) = journal.read_after(after)? {
        after = found.row;
        let Some(mut entries) = row::decode(&found.payload, found.crc) else {
            let (payload, crc) = row::encode([].into_iter());
            journal.replace(found.row, crc, &payload)?;
            continue;
        };
        let before = touched;
        entries.retain_mut(|entry| {
            if matches!(entry.body, Body::Started) {
                return true;
            }
            let moved = fates.moved(&entry.key);
            touched += u64::from(moved != Moved::Stays);
            match moved {
                Moved::Stays => true,
                Moved::Gone => false,
                // A deleted user's messages name notebooks for as long as rows are kept: minutes.
                Moved::To(key) => {
                    entry.key = key;
                    true
                }
            }
        });
        if touched > before {
            let (payload, crc) = row::encode(entries.iter());
            journal.replace(found.row, crc, &payload)?;
        }
    }
    if let Some((crc, payload)) = journal.marks()?
        && let Some(mut marks) = row::decode_marks(&payload, crc)
    {
        move_marks(&mut marks, fates);
        let (payload, crc) = row::encode_marks(&marks);
        journal.set_marks(crc, &payload)?;
    }
    Ok(touched)
}

fn move_marks(marks: &mut Marks, fates: &Fates) {
    marks.lives.retain_mut(|(key, _)| match fates.moved(key) {
        Moved::Stays => true,
        Moved::Gone => false,
        Moved::To(to) => {
            *key = to;
            true
        }
    });
}

// === impl HighWater ===

impl HighWater {
    pub(super) fn move_people(&mut self, fates: &Fates) {
        let touched: Vec<_> = self
            .0
            .extract_if(|key, _| fates.moved(key) != Moved::Stays)
            .collect();
        for (key, lives) in touched {
            if let Moved::To(key) = fates.moved(&key) {
                self.0.insert(key, lives);
            }
        }
    }
}

#[cfg(test)]
mod tests;
