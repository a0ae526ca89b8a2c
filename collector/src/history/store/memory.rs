//! Chunks in memory, gone with the program.

use std::collections::{BTreeMap, HashMap};

use super::{Place, ServerId, Store, Stored};
use crate::{
    fact::ServerKey,
    history::{HistoryError, space::Bounds, tier::Tier},
};

/// Chunks and pieces, by place.
#[derive(Default)]
pub(in crate::history) struct Memory {
    pub(super) ids: HashMap<ServerKey, ServerId>,
    /// Numbers given out, also to servers that are forgotten.
    numbered: ServerId,
    closed: BTreeMap<Place, Vec<u8>>,
    pieces: BTreeMap<Place, Vec<Vec<u8>>>,
}

fn stored(place: Place, body: &[u8], is_piece: bool) -> Stored {
    Stored {
        start_ms: place.start_ms,
        is_piece,
        body: body.to_owned(),
    }
}

impl Store for Memory {
    fn server(&mut self, key: &ServerKey) -> Result<Option<ServerId>, HistoryError> {
        Ok(self.ids.get(key).copied())
    }

    fn number(&mut self, keys: &mut dyn Iterator<Item = &ServerKey>) -> Result<(), HistoryError> {
        for key in keys {
            if !self.ids.contains_key(key) {
                self.ids.insert(key.clone(), self.numbered);
                self.numbered += 1;
            }
        }
        Ok(())
    }

    fn closed(&mut self, place: Place) -> Result<Vec<Stored>, HistoryError> {
        let closed = self.closed.get(&place).into_iter();
        Ok(closed.map(|body| stored(place, body, false)).collect())
    }

    fn load(&mut self, place: Place) -> Result<Vec<Stored>, HistoryError> {
        let mut all = self.closed(place)?;
        let pieces = self.pieces.get(&place).into_iter().flatten();
        all.extend(pieces.map(|body| stored(place, body, true)));
        Ok(all)
    }

    fn append(&mut self, place: Place, body: Vec<u8>) -> Result<(), HistoryError> {
        self.pieces.entry(place).or_default().push(body);
        Ok(())
    }

    fn close(&mut self, place: Place, body: Vec<u8>) -> Result<(), HistoryError> {
        self.closed.insert(place, body);
        self.pieces.remove(&place);
        Ok(())
    }

    fn open_chunks(&mut self, tier: Tier) -> Result<Vec<i64>, HistoryError> {
        let mut starts: Vec<i64> = self
            .pieces
            .keys()
            .filter(|place| place.tier == tier)
            .map(|place| place.start_ms)
            .collect();
        starts.dedup(); // in order
        Ok(starts)
    }

    fn due(&mut self, tier: Tier, before_ms: i64, max: usize) -> Result<Vec<Place>, HistoryError> {
        let is_due = |place: &&Place| {
            place.tier == tier && place.start_ms.saturating_add(tier.chunk_ms()) <= before_ms
        };
        Ok(self
            .pieces
            .keys()
            .filter(is_due)
            .take(max)
            .copied()
            .collect())
    }

    fn commit(&mut self) -> Result<(), HistoryError> {
        Ok(())
    }

    fn rollback(&mut self) {}

    fn release(&mut self, _tier: Tier, _before_ms: i64) {}

    fn sweep(&mut self, tier: Tier, before_ms: i64) -> Result<usize, HistoryError> {
        let stays = |place: &Place| {
            place.tier != tier || place.start_ms.saturating_add(tier.chunk_ms()) > before_ms
        };
        self.closed.retain(|place, _| stays(place));
        self.pieces.retain(|place, _| stays(place));
        Ok(0)
    }

    fn oldest_end_ms(&mut self, _tier: Tier, _before: i64) -> Result<Option<i64>, HistoryError> {
        Ok(None)
    }

    fn is_pressed(&mut self, _bounds: &Bounds) -> Result<bool, HistoryError> {
        Ok(false)
    }

    fn erase(&mut self, server: ServerId) -> Result<u64, HistoryError> {
        let before = self.closed.len() + self.pieces.len();
        self.closed.retain(|place, _| place.server != server);
        self.pieces.retain(|place, _| place.server != server);
        Ok((before - self.closed.len() - self.pieces.len()) as u64)
    }
}
