//! Where chunks lie: SQLite files per tier and stretch of time, or memory.
//!
//! What arrives is appended as pieces of chunks that are still open; a chunk whose time is over is
//! written once, from its pieces. Servers have numbers; a number is never used again, and its row
//! is on the disk before any chunk refers to it.

mod file;
mod files;
mod memory;
mod name;
mod people;
mod read;
mod tail;

use super::{HistoryError, space::Bounds, tier::Tier};
use crate::fact::ServerKey;

pub(super) use self::{files::Files, memory::Memory, people::People};

/// Number of a server within this history.
pub(super) type ServerId = i64;

/// Names a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) tier: Tier,
    pub(super) start_ms: i64,
    pub(super) server: ServerId,
}

/// Names chunks in a row: of one server, by when they begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) tier: Tier,
    pub(super) server: ServerId,
    /// The begin of a chunk.
    pub(super) from_ms: i64,
    pub(super) to_ms: i64,
}

/// A chunk as it is stored, or a piece of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    /// Where its time begins.
    pub(super) start_ms: i64,
    /// A piece that is not part of a closed chunk yet.
    pub(super) is_piece: bool,
    pub(super) body: Vec<u8>,
}

/// Keeps chunks by (tier, server, start). What was changed is there after [`Store::commit`].
/// Another engine takes its place by keeping these promises.
pub(super) trait Store: People + Send {
    /// The number of a server, if it has one.
    fn server(&mut self, key: &ServerKey) -> Result<Option<ServerId>, HistoryError>;
    /// Gives a number to every server that has none, all at once.
    fn number(&mut self, keys: &mut dyn Iterator<Item = &ServerKey>) -> Result<(), HistoryError>;

    /// What is closed of one chunk.
    fn closed(&mut self, place: Place) -> Result<Vec<Stored>, HistoryError>;
    /// Everything there is of one chunk: what is closed, then its pieces, oldest first.
    fn load(&mut self, place: Place) -> Result<Vec<Stored>, HistoryError>;
    /// Adds a piece to a chunk, open or closed.
    fn append(&mut self, place: Place, body: Vec<u8>) -> Result<(), HistoryError>;
    /// Writes a chunk whole, in place of what is closed of it and of its pieces.
    fn close(&mut self, place: Place, body: Vec<u8>) -> Result<(), HistoryError>;
    /// Begins of the chunks of `tier` that have pieces, whosever they are.
    fn open_chunks(&mut self, tier: Tier) -> Result<Vec<i64>, HistoryError>;
    /// Chunks of `tier` that have pieces and end at `before_ms` or earlier, `max` at most, oldest
    /// first and by server.
    fn due(&mut self, tier: Tier, before_ms: i64, max: usize) -> Result<Vec<Place>, HistoryError>;

    /// Puts everything that was changed on the disk: what is closed, then the pieces.
    fn commit(&mut self) -> Result<(), HistoryError>;
    /// Takes back everything since the last commit.
    fn rollback(&mut self);

    /// Lets go of what it holds open of `tier` that ends before `before_ms`.
    fn release(&mut self, tier: Tier, before_ms: i64);
    /// Deletes the chunks of `tier` whose file ends at `before_ms` or earlier; gives the number of
    /// files.
    fn sweep(&mut self, tier: Tier, before_ms: i64) -> Result<usize, HistoryError>;
    /// The end of the oldest file of `tier` that ends at `before_ms` or earlier.
    fn oldest_end_ms(&mut self, tier: Tier, before_ms: i64) -> Result<Option<i64>, HistoryError>;
    /// Whether more space is taken, or less is free, than `bounds` say.
    fn is_pressed(&mut self, bounds: &Bounds) -> Result<bool, HistoryError>;
    /// Deletes every chunk and piece of a server, in every file, so that no byte of them is left.
    /// Its number stays. Gives how many there were.
    fn erase(&mut self, server: ServerId) -> Result<u64, HistoryError>;
}
