//! One column: what is foreseen of each cell, and the coded rest.
//!
//! A cell is foreseen ([`super::foresee`]) as the first one, the one before, the one before and the
//! last change again, or by other columns. Which of them, how many low bits no difference has
//! (memory comes in pages), what the usual difference is (a counter's step) and how numbers are
//! spelled ([`super::alphabet`]) the writer tries out and puts before the differences.

use super::{
    ChunkError, Column, Like,
    alphabet::{Alphabet, Speller, Spelling},
    entropy::{Reader, Writer},
    foresee::{self, AGAIN, BEFORE, BESIDE, FIRST, Foresee, KEYED},
    number::{put_mask, put_signed, take_byte, take_mask, take_signed, unzigzag, zigzag},
};

/// Flags of a column's first byte; the lowest two bits say what foresees it.
const ORDER: u8 = 0b11;
const REFERENCE: u8 = 1 << 2;
const UNSIGNED: u8 = 1 << 3;
const MASK: u8 = 1 << 4;
const CONSTANT: u8 = 1 << 5;
const SHIFT: u8 = 1 << 6;
const CENTER: u8 = 1 << 7;

/// In place of an order: no cell is known.
const UNKNOWN: u8 = 3;

/// A flag beside the shift: numbers may be whole pages.
const PAGED: u8 = 1 << 7;

/// Where the alphabet's number begins, beside the shortest usual length.
const ALPHABET_AT: u32 = 6;
const BASE: u8 = (1 << ALPHABET_AT) - 1;

/// What became of each row's cells in the columns so far: nothing, a little, much.
pub(super) type Stir = Vec<u8>;

/// What foresees a column: one of [`foresee`]'s kinds, and the columns it needs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Likeness {
    pub(super) kind: u8,
    other: usize,
    key: usize,
}

/// The cells of the columns that foresee another: whose changes are like it, and the key.
pub(super) type Others<'a> = (&'a [Option<i64>], &'a [Option<i64>]);

/// What a column's first bytes say.
struct Head {
    like: Likeness,
    /// Which cells are known; `None` if all are.
    mask: Option<Vec<bool>>,
    first: i64,
    center: i64,
    rest: Rest,
}

/// What follows the head.
enum Rest {
    /// Nothing: every difference is the usual one.
    Constant,
    /// A code for each known cell but the first, without the lowest `shift` bits.
    Coded { shift: u32, spelling: Spelling },
}

/// How a column's cells are told.
struct Plan {
    like: Likeness,
    shift: u32,
    center: i64,
    /// Differences from the first known cell on.
    differences: Vec<i64>,
    cost: u64,
}

/// Whether a column is nothing but zeros, as many are; it then has no head.
pub(super) fn is_nothing(cells: &Column) -> bool {
    cells.iter().all(|cell| *cell == Some(0))
}

// === writing ===

/// Puts what there is to know about the column at `place` into `head`, its differences into `rest`.
pub(super) fn put(
    head: &mut Vec<u8>,
    rest: &mut Writer,
    stir: &mut Stir,
    columns: &[Column],
    place: usize,
    like: Option<Like>,
) {
    let cells = &columns[place];
    let known: Vec<(usize, i64)> = cells
        .iter()
        .enumerate()
        .filter_map(|(row, cell)| Some((row, (*cell)?)))
        .collect();
    let Some(&(_, first)) = known.first() else {
        head.push(UNKNOWN);
        return;
    };
    let plan = plan(&known, columns, like.filter(|like| like.is_before(place)));
    let codes = plan.codes();
    let masked = known.len() < cells.len();
    let head_of = |rest| Head {
        like: plan.like,
        mask: masked.then(|| cells.iter().map(Option::is_some).collect()),
        first,
        center: plan.center,
        rest,
    };
    let Some((codes, unsigned)) = codes else {
        head_of(Rest::Constant).put(head);
        return;
    };
    let spelling = Spelling::of(&codes, unsigned, plan.shift);
    let shift = plan.shift;
    head_of(Rest::Coded { shift, spelling }).put(head);
    let mut speller = Speller::new(spelling);
    for (code, (row, _)) in codes.iter().zip(&known[1..]) {
        speller.put(rest, &mut stir[*row], *code);
    }
}

/// Tries what foresees `known` best.
fn plan(known: &[(usize, i64)], columns: &[Column], like: Option<Like>) -> Plan {
    let mut best: Option<Plan> = None;
    let plain = [FIRST, BEFORE, AGAIN].map(|kind| Likeness {
        kind,
        ..Likeness::default()
    });
    let beside = like.map(|like| Likeness {
        kind: BESIDE,
        other: like.column,
        key: 0,
    });
    let keyed = like.and_then(|like| {
        Some(Likeness {
            kind: KEYED,
            other: like.column,
            key: like.key?,
        })
    });
    for like in plain.into_iter().chain(beside).chain(keyed) {
        let planned = Plan::of(like, foresee::differences(known, like, columns));
        if best.as_ref().is_none_or(|best| planned.cost < best.cost) {
            best = Some(planned);
        }
        if best.as_ref().is_some_and(|best| best.cost == 0) {
            break;
        }
    }
    // There is always a first try.
    best.unwrap_or_else(|| Plan::of(Likeness::default(), Vec::new()))
}

// === impl Likeness ===

impl Likeness {
    /// The columns it needs, where it needs any.
    pub(super) fn columns(self, columns: &[Column]) -> Option<Others<'_>> {
        let nothing: &[Option<i64>] = &[];
        match self.kind {
            FIRST | BEFORE | AGAIN => Some((nothing, nothing)),
            BESIDE => Some((columns.get(self.other)?, nothing)),
            _ => Some((columns.get(self.other)?, columns.get(self.key)?)),
        }
    }

    /// The order and whether columns follow it.
    fn order(self) -> (u8, bool) {
        match self.kind {
            BESIDE => (BEFORE, true),
            KEYED => (AGAIN, true),
            kind => (kind, false),
        }
    }

    fn put(self, to: &mut Vec<u8>) {
        if matches!(self.kind, BESIDE | KEYED) {
            to.push(self.other as u8); // below COLUMNS_MAX, as is the next
        }
        if self.kind == KEYED {
            to.push(self.key as u8);
        }
    }

    fn take(from: &mut &[u8], order: u8, refers: bool) -> Result<Self, ChunkError> {
        let kind = match (order, refers) {
            (order, false) => order,
            (BEFORE, true) => BESIDE,
            (AGAIN, true) => KEYED,
            _ => return Err(ChunkError::Coding),
        };
        let mut like = Self {
            kind,
            ..Self::default()
        };
        if refers {
            like.other = usize::from(take_byte(from)?);
        }
        if kind == KEYED {
            like.key = usize::from(take_byte(from)?);
        }
        Ok(like)
    }
}

// === impl Plan ===

impl Plan {
    fn of(like: Likeness, differences: Vec<i64>) -> Self {
        let bits = differences.iter().fold(0, |bits, d| bits | d);
        let shift = if bits == 0 { 0 } else { bits.trailing_zeros() };
        let mut sorted = differences.clone();
        let middle = sorted.len() / 2;
        let center = match sorted.is_empty() {
            true => 0,
            false => *sorted.select_nth_unstable(middle).1,
        };
        let (plain, centered) = (
            cost(&differences, 0, shift),
            cost(&differences, center, shift),
        );
        let (center, cost) = match centered < plain {
            true => (center, centered),
            false => (0, plain),
        };
        Self {
            like,
            shift,
            center,
            differences,
            cost,
        }
    }

    /// The differences from the usual one as codes, and whether they have no sign; `None` if there
    /// is nothing to tell.
    fn codes(&self) -> Option<(Vec<u64>, bool)> {
        let told = self.differences.iter().map(|d| d.wrapping_sub(self.center));
        if told.clone().all(|d| d == 0) {
            return None;
        }
        let unsigned = told.clone().all(|d| d >= 0);
        let shift = self.shift;
        let codes = told.map(|d| match unsigned {
            true => (d >> shift) as u64,
            false => zigzag(d >> shift),
        });
        Some((codes.collect(), unsigned))
    }
}

/// About how many quarters of a bit `differences` take.
fn cost(differences: &[i64], center: i64, shift: u32) -> u64 {
    let of = |d: &i64| {
        let length = u64::BITS - zigzag(d.wrapping_sub(center) >> shift).leading_zeros();
        u64::from(if length == 0 { 0 } else { 4 * length + 4 })
    };
    differences.iter().map(of).sum()
}

// === impl Head ===

impl Head {
    fn put(&self, to: &mut Vec<u8>) {
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        let coded = match self.rest {
            Rest::Constant => None,
            Rest::Coded { shift, spelling } => Some((shift, spelling)),
        };
        let low = coded.map_or(0, |(shift, spelling)| {
            shift as u8 | flag(spelling.page > 0, PAGED) // the shift is below 64
        });
        let (order, refers) = self.like.order();
        to.push(
            order
                | flag(refers, REFERENCE)
                | flag(
                    coded.is_some_and(|(_, spelling)| spelling.unsigned),
                    UNSIGNED,
                )
                | flag(self.mask.is_some(), MASK)
                | flag(coded.is_none(), CONSTANT)
                | flag(low > 0, SHIFT)
                | flag(self.center != 0, CENTER),
        );
        self.like.put(to);
        if let Some(mask) = &self.mask {
            put_mask(to, mask);
        }
        put_signed(to, self.first);
        if self.center != 0 {
            put_signed(to, self.center);
        }
        if low > 0 {
            to.push(low);
        }
        if let Some((_, spelling)) = coded {
            // The base is below 64.
            to.push(spelling.base as u8 | spelling.alphabet.number() << ALPHABET_AT);
        }
    }

    /// `None`: no cell is known.
    fn take(from: &mut &[u8], rows: usize) -> Result<Option<Self>, ChunkError> {
        let flags = take_byte(from)?;
        let has = |flag: u8| flags & flag != 0;
        let order = flags & ORDER;
        if order == UNKNOWN {
            return if flags == UNKNOWN {
                Ok(None)
            } else {
                Err(ChunkError::Coding)
            };
        }
        let like = Likeness::take(from, order, has(REFERENCE))?;
        let mask = has(MASK).then(|| take_mask(from, rows)).transpose()?;
        let first = take_signed(from)?;
        let center = has(CENTER).then(|| take_signed(from)).transpose()?;
        let low = has(SHIFT)
            .then(|| take_byte(from))
            .transpose()?
            .unwrap_or(0);
        let shift = u32::from(low & !PAGED);
        if shift >= u64::BITS {
            return Err(ChunkError::Coding);
        }
        let rest = if has(CONSTANT) {
            Rest::Constant
        } else {
            let told = take_byte(from)?;
            let alphabet = Alphabet::of(told >> ALPHABET_AT)?;
            let base = u32::from(told & BASE);
            let page = if low & PAGED > 0 {
                Spelling::page_above(shift)?
            } else {
                0
            };
            let spelling = Spelling {
                alphabet,
                base,
                page,
                unsigned: has(UNSIGNED),
            };
            if !spelling.is_sound() {
                return Err(ChunkError::Coding);
            }
            Rest::Coded { shift, spelling }
        };
        Ok(Some(Self {
            like,
            mask,
            first,
            center: center.unwrap_or(0),
            rest,
        }))
    }
}

// === reading ===

/// Takes the next column into `cells`, which are empty; `columns` are those before it.
pub(super) fn take(
    mut cells: Column,
    head: &mut &[u8],
    rest: &mut Reader<'_>,
    stir: &mut Stir,
    columns: &[Column],
    rows: usize,
) -> Result<Column, ChunkError> {
    let Some(head) = Head::take(head, rows)? else {
        cells.resize(rows, None);
        return Ok(cells);
    };
    cells.reserve_exact(rows);
    let like = head.like.columns(columns).ok_or(ChunkError::Coding)?;
    match head.like.kind {
        FIRST => take_cells::<FIRST>(cells, &head, rest, stir, like, rows),
        BEFORE => take_cells::<BEFORE>(cells, &head, rest, stir, like, rows),
        AGAIN => take_cells::<AGAIN>(cells, &head, rest, stir, like, rows),
        BESIDE => take_cells::<BESIDE>(cells, &head, rest, stir, like, rows),
        _ => take_cells::<KEYED>(cells, &head, rest, stir, like, rows),
    }
}

fn take_cells<const KIND: u8>(
    mut cells: Column,
    head: &Head,
    rest: &mut Reader<'_>,
    stir: &mut Stir,
    (other, key): Others<'_>,
    rows: usize,
) -> Result<Column, ChunkError> {
    let first = match &head.mask {
        Some(mask) => mask
            .iter()
            .position(|known| *known)
            .ok_or(ChunkError::Coding)?,
        None => 0,
    };
    if first >= rows {
        return Err(ChunkError::Coding);
    }
    cells.resize(first, None);
    cells.push(Some(head.first));
    let mut foresee = Foresee::<KIND>::new(other, key, (first, head.first));
    let (shift, spelling) = match head.rest {
        Rest::Coded { shift, spelling } => (shift, spelling),
        Rest::Constant if KIND == FIRST && head.mask.is_none() => {
            cells.resize(rows, Some(head.first.wrapping_add(head.center)));
            return Ok(cells);
        }
        Rest::Constant => {
            for row in first + 1..rows {
                let known = head.mask.as_ref().is_none_or(|mask| mask[row]);
                cells.push(known.then(|| {
                    let value = foresee.next(row).wrapping_add(head.center);
                    foresee.learn(row, value);
                    value
                }));
            }
            return Ok(cells);
        }
    };
    let mut speller = Speller::new(spelling);
    for (row, stir) in stir.iter_mut().enumerate().skip(first + 1) {
        if head.mask.as_ref().is_some_and(|mask| !mask[row]) {
            cells.push(None);
            continue;
        }
        let code = speller.take(rest, stir);
        let difference = if spelling.unsigned {
            code as i64
        } else {
            unzigzag(code)
        };
        let value = foresee
            .next(row)
            .wrapping_add(difference << shift)
            .wrapping_add(head.center);
        foresee.learn(row, value);
        cells.push(Some(value));
    }
    Ok(cells)
}
