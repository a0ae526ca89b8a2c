//! History of users who are forgotten, deleted or renamed.

use std::sync::Arc;

use super::{History, HistoryError, pending::Pending};
use crate::person::{Fates, Moved};

// === impl History ===

impl History {
    /// Everybody there is history of on the disk.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn users(&self) -> Result<Vec<Arc<str>>, HistoryError> {
        self.inner.writer.lock().store.users()
    }

    /// How many servers the fates touch.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn count_people(&self, fates: &Fates) -> Result<u64, HistoryError> {
        self.inner.writer.lock().store.count(fates)
    }

    /// Meets `fates`, also for what is not on the disk yet; gives how many servers they touched.
    /// Waits for a write that goes on.
    ///
    /// # Errors
    /// The disk has the servers as before; what was pending has moved.
    pub fn move_people(&self, fates: &Fates) -> Result<u64, HistoryError> {
        let mut writer = self.inner.writer.lock();
        self.inner.pending.lock().move_people(fates);
        self.inner.runs.lock().move_people(fates);
        let moved = writer.store.move_people(fates);
        drop(writer);
        self.inner.readers.give_up();
        moved
    }

    /// Erases the chunks of servers whose users were forgotten, their days, and every byte that names
    /// a user outside of a row; gives how many chunks.
    ///
    /// # Errors
    /// Some may be left; the next call goes on.
    pub fn erase_doomed(&self) -> Result<u64, HistoryError> {
        let mut writer = self.inner.writer.lock();
        if let Some(ledger) = &self.inner.ledger {
            // Before its chunks: the numbers are forgotten with those.
            ledger.lock().forget(&writer.store.doomed()?)?;
        }
        let erased = writer.store.erase_doomed()?;
        writer.store.squeeze()?;
        Ok(erased)
    }
}

// === impl Pending ===

impl Pending {
    /// To be called while nothing is being written.
    fn move_people(&mut self, fates: &Fates) {
        let touched: Vec<_> = self
            .current
            .servers
            .extract_if(|key, _| fates.moved(key) != Moved::Stays)
            .collect();
        for (key, windows) in touched {
            self.current.rows -= windows.values().map(|rows| rows.len()).sum::<usize>();
            let Moved::To(to) = fates.moved(&key) else {
                continue;
            };
            for row in windows.into_values().flat_map(|rows| rows.into_values()) {
                self.current.put(&to, *row);
            }
        }
    }
}

#[cfg(test)]
mod tests;
