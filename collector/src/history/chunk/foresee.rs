//! What the next cell of a column is thought to be.

use super::Column;
use super::column::Likeness;

/// Values of a key that are remembered at once.
const KEYS: usize = 64;

/// A column's order: the first cell, the one before, the one before and the last change again.
pub(super) const FIRST: u8 = 0;
pub(super) const BEFORE: u8 = 1;
pub(super) const AGAIN: u8 = 2;
/// The one before and what another column changed by.
pub(super) const BESIDE: u8 = 3;
/// As far from another column as when a third was what it is.
pub(super) const KEYED: u8 = 4;

/// What the next cell is thought to be, by one of the kinds above.
pub(super) struct Foresee<'a, const KIND: u8> {
    other: &'a [Option<i64>],
    key: &'a [Option<i64>],
    /// By key: which, and how far from the other column this one was.
    apart: Vec<Option<(i64, i64)>>,
    /// The cell before, and the row it is in; of order 0 the first.
    value: i64,
    row: usize,
    change: i64,
}

// === impl Foresee ===

impl<'a, const KIND: u8> Foresee<'a, KIND> {
    pub(super) fn new(
        other: &'a [Option<i64>],
        key: &'a [Option<i64>],
        (row, value): (usize, i64),
    ) -> Self {
        let mut foresee = Self {
            other,
            key,
            apart: match KIND {
                KEYED => vec![None; KEYS],
                _ => Vec::new(),
            },
            value,
            row,
            change: 0,
        };
        foresee.learn(row, value);
        foresee
    }

    #[inline]
    pub(super) fn next(&self, row: usize) -> i64 {
        match KIND {
            BESIDE => self.beside(row),
            KEYED => self.keyed(row).unwrap_or_else(|| self.beside(row)),
            AGAIN => self.value.wrapping_add(self.change),
            _ => self.value,
        }
    }

    #[inline]
    fn beside(&self, row: usize) -> i64 {
        match (self.other[self.row], self.other[row]) {
            (Some(before), Some(now)) => self.value.wrapping_add(now.wrapping_sub(before)),
            _ => self.value,
        }
    }

    #[inline]
    fn keyed(&self, row: usize) -> Option<i64> {
        let (other, key) = (self.other[row]?, self.key[row]?);
        let (of, apart) = self.apart[slot(key)]?;
        (of == key).then(|| other.wrapping_add(apart))
    }

    #[inline]
    pub(super) fn learn(&mut self, row: usize, value: i64) {
        if KIND == FIRST {
            return;
        }
        if KIND == KEYED
            && let (Some(other), Some(key)) = (self.other[row], self.key[row])
        {
            self.apart[slot(key)] = Some((key, value.wrapping_sub(other)));
        }
        self.change = value.wrapping_sub(self.value);
        self.value = value;
        self.row = row;
    }
}

fn slot(key: i64) -> usize {
    key.rem_euclid(KEYS as i64) as usize
}

/// How far the known cells are from what is foreseen of them, from the second on.
pub(super) fn differences(known: &[(usize, i64)], like: Likeness, columns: &[Column]) -> Vec<i64> {
    let (other, key) = like.columns(columns).unwrap_or_default();
    match like.kind {
        FIRST => of::<FIRST>(known, other, key),
        BEFORE => of::<BEFORE>(known, other, key),
        AGAIN => of::<AGAIN>(known, other, key),
        BESIDE => of::<BESIDE>(known, other, key),
        _ => of::<KEYED>(known, other, key),
    }
}

fn of<const KIND: u8>(
    known: &[(usize, i64)],
    other: &[Option<i64>],
    key: &[Option<i64>],
) -> Vec<i64> {
    let mut foresee = Foresee::<KIND>::new(other, key, known[0]);
    let difference = |&(row, value): &(usize, i64)| {
        let difference = value.wrapping_sub(foresee.next(row));
        foresee.learn(row, value);
        difference
    };
    known[1..].iter().map(difference).collect()
}
