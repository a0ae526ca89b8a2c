//! Shelves to read from, so that answers do not wait for each other.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use super::{HistoryError, shelf::Shelf, tier::Tier};

/// Shelves of files at most, each with the files open that it was asked about: more would only
/// wait for the same disk.
const READERS_MAX: usize = 4;

/// Where reads find a shelf.
pub(super) enum Readers {
    /// The one that is written to: in memory there is no other.
    Shared(Arc<Mutex<Shelf>>),
    /// Some of their own.
    Own(Pool),
}

/// Shelves that are made when asked for and kept.
pub(super) struct Pool {
    make: Box<dyn Fn() -> Result<Shelf, HistoryError> + Send + Sync>,
    idle: Mutex<Idle>,
    returned: Condvar,
}

#[derive(Default)]
struct Idle {
    shelves: Vec<Shelf>,
    /// Idle or lent.
    made: usize,
    /// How often all were given up: a shelf that was lent before is not taken back.
    given_up: u64,
}

/// A shelf of the pool, or the place of one that is still to be made; goes back when dropped.
struct Lent<'a> {
    pool: &'a Pool,
    shelf: Option<Shelf>,
    given_up: u64,
}

// === impl Readers ===

impl Readers {
    /// Shelves of their own, made by `make` when there is need of one.
    pub(super) fn own(
        make: impl Fn() -> Result<Shelf, HistoryError> + Send + Sync + 'static,
    ) -> Self {
        Self::Own(Pool {
            make: Box::new(make),
            idle: Mutex::default(),
            returned: Condvar::new(),
        })
    }

    /// Reads; waits while all shelves are lent.
    pub(super) fn with<T>(
        &self,
        read: impl FnOnce(&mut Shelf) -> Result<T, HistoryError>,
    ) -> Result<T, HistoryError> {
        match self {
            Self::Shared(shelf) => read(&mut shelf.lock()),
            Self::Own(pool) => {
                let mut lent = pool.lend();
                let shelf = match &mut lent.shelf {
                    Some(shelf) => shelf,
                    none => none.insert((pool.make)()?),
                };
                read(shelf)
            }
        }
    }

    /// Lets go of files that are to be deleted; a shelf that is lent does so the next time.
    pub(super) fn release(&self, tier: Tier, before_ms: i64) {
        match self {
            Self::Shared(shelf) => shelf.lock().store.release(tier, before_ms),
            Self::Own(pool) => {
                for shelf in &mut pool.idle.lock().shelves {
                    shelf.store.release(tier, before_ms);
                }
            }
        }
    }

    /// Gives up all shelves of their own with what they know of servers; others are made when asked
    /// for.
    pub(super) fn give_up(&self) {
        if let Self::Own(pool) = self {
            let mut idle = pool.idle.lock();
            idle.made -= idle.shelves.len();
            idle.shelves.clear();
            idle.given_up += 1;
        }
    }
}

// === impl Pool ===

impl Pool {
    fn lend(&self) -> Lent<'_> {
        let mut idle = self.idle.lock();
        while idle.shelves.is_empty() && idle.made >= READERS_MAX {
            self.returned.wait(&mut idle);
        }
        let shelf = idle.shelves.pop();
        if shelf.is_none() {
            idle.made += 1;
        }
        Lent {
            pool: self,
            shelf,
            given_up: idle.given_up,
        }
    }
}

// === impl Lent ===

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let mut idle = self.pool.idle.lock();
        match self.shelf.take() {
            Some(shelf) if self.given_up == idle.given_up => idle.shelves.push(shelf),
            _ => idle.made -= 1,
        }
        self.pool.returned.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Barrier,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;
    use crate::history::{Counters, store::Memory};

    fn shelf() -> Result<Shelf, HistoryError> {
        Shelf::new(Box::<Memory>::default(), Arc::<Counters>::default())
    }

    #[test]
    fn as_many_read_at_once_as_there_are_shelves_and_no_more_are_made() {
        let made = Arc::new(AtomicUsize::new(0));
        let readers = {
            let made = made.clone();
            Readers::own(move || {
                made.fetch_add(1, Ordering::SeqCst);
                shelf()
            })
        };
        let together = Barrier::new(READERS_MAX);
        std::thread::scope(|scope| {
            for _ in 0..3 * READERS_MAX {
                // All of a round are inside before any of them leaves.
                scope.spawn(|| {
                    readers.with(|_| {
                        together.wait();
                        Ok(())
                    })
                });
            }
        });
        assert_eq!(made.load(Ordering::SeqCst), READERS_MAX);
    }

    #[test]
    fn a_shelf_that_was_lent_when_all_were_given_up_is_not_taken_back() {
        let made = Arc::new(AtomicUsize::new(0));
        let readers = {
            let made = made.clone();
            Readers::own(move || {
                made.fetch_add(1, Ordering::SeqCst);
                shelf()
            })
        };
        let give_up = |_: &mut Shelf| {
            readers.give_up();
            Ok(())
        };
        assert!(readers.with(give_up).is_ok());
        assert!(readers.with(|_| Ok(())).is_ok());
        assert_eq!(made.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn a_shelf_that_cannot_be_made_or_a_read_that_fails_takes_no_place_away() {
        let nothing = || HistoryError::Nothing("/nowhere".into());
        let broken = Readers::own(move || Err(nothing()));
        let sound = Readers::own(shelf);
        for _ in 0..3 * READERS_MAX {
            assert!(broken.with(|_| Ok(())).is_err());
            assert!(sound.with(|_| Err::<(), _>(nothing())).is_err());
        }
        assert!(sound.with(|_| Ok(())).is_ok());
    }
}
