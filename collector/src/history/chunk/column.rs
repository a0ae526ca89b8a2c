//! One column: what is foreseen of each cell, and the coded rest.
//!
//! A cell is foreseen as the first one, the one before, the one before and the last change again,
//! or the one before and what another column changed by. Which of them, how many low bits no
//! difference has (memory comes in pages) and what the usual difference is (a counter's step) the
//! writer tries out and puts before the differences.

use super::{
    ChunkError, Column,
    entropy::{Model, Reader, SYMBOLS, Writer},
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

/// The symbol of lengths outside of a column's usual ones; the length follows in six bits.
const ESCAPE: usize = SYMBOLS - 1;
const LENGTH_BITS: u32 = 6;

/// Lengths that have a symbol of their own.
const LENGTHS: usize = SYMBOLS - 2;

/// What a model is chosen by: whether this column's last difference and the same row's difference
/// in the column before were something, a little or nothing.
const CIRCUMSTANCES: usize = 9;

/// Differences up to this many bits are a little.
const LITTLE: u32 = 4;

/// What became of each row's cells in the columns so far: nothing, a little, much.
pub(super) type Stir = Vec<u8>;

/// What a column's first bytes say.
struct Head {
    order: u8,
    reference: Option<usize>,
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
    /// A code for each known cell but the first.
    Coded {
        shift: u32,
        unsigned: bool,
        /// The shortest length with a symbol of its own.
        base: u32,
    },
}

/// How a column's cells are told.
struct Plan {
    order: u8,
    reference: Option<usize>,
    shift: u32,
    center: i64,
    /// Differences from the first known cell on.
    differences: Vec<i64>,
    cost: u64,
}

// === writing ===

/// Puts what there is to know about the column at `place` into `head`, its differences into `rest`.
pub(super) fn put(
    head: &mut Vec<u8>,
    rest: &mut Writer,
    stir: &mut Stir,
    columns: &[Column],
    place: usize,
    hint: Option<usize>,
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
    let plan = plan(&known, columns, hint.filter(|hint| *hint < place));
    let codes = plan.codes();
    let masked = known.len() < cells.len();
    Head {
        order: plan.order,
        reference: plan.reference,
        mask: masked.then(|| cells.iter().map(Option::is_some).collect()),
        first,
        center: plan.center,
        rest: match &codes {
            None => Rest::Constant,
            Some((codes, unsigned)) => Rest::Coded {
                shift: plan.shift,
                unsigned: *unsigned,
                base: usual_lengths(codes),
            },
        },
    }
    .put(head);
    if let Some((codes, _)) = codes {
        let rows = known[1..].iter().map(|(row, _)| *row);
        put_codes(rest, stir, &codes, rows);
    }
}

fn put_codes(rest: &mut Writer, stir: &mut Stir, codes: &[u64], rows: impl Iterator<Item = usize>) {
    let base = usual_lengths(codes);
    let mut models = [const { Model::new() }; CIRCUMSTANCES];
    let mut before = 0;
    for (code, row) in codes.iter().zip(rows) {
        let length = u64::BITS - code.leading_zeros();
        let symbol = match length {
            0 => 0,
            _ if (base..base + LENGTHS as u32).contains(&length) => (length - base + 1) as usize,
            _ => ESCAPE,
        };
        rest.symbol(&mut models[circumstance(before, stir[row])], symbol);
        if symbol == ESCAPE {
            rest.bits(u64::from(length - 1), LENGTH_BITS);
        }
        if length > 1 {
            rest.bits(code & !(1 << (length - 1)), length - 1);
        }
        before = stirred(length);
        stir[row] = before;
    }
}

#[inline]
fn stirred(length: u32) -> u8 {
    u8::from(length > 0) + u8::from(length > LITTLE)
}

#[inline]
fn circumstance(before: u8, beside: u8) -> usize {
    usize::from(before * 3 + beside)
}

/// The shortest of the fourteen lengths in a row that most of `codes` have.
fn usual_lengths(codes: &[u64]) -> u32 {
    let mut counts = [0_usize; u64::BITS as usize + 1];
    for code in codes {
        counts[(u64::BITS - code.leading_zeros()) as usize] += 1;
    }
    let covers = |base: usize| -> usize { counts[base..].iter().take(LENGTHS).sum() };
    let best =
        (1..=counts.len() - LENGTHS).max_by_key(|base| (covers(*base), u64::MAX - *base as u64));
    best.unwrap_or(1) as u32
}

/// Tries what foresees `known` best.
fn plan(known: &[(usize, i64)], columns: &[Column], hint: Option<usize>) -> Plan {
    let mut best: Option<Plan> = None;
    let plain = [(0, None), (1, None), (2, None)];
    let beside = hint.map(|hint| (1, Some(hint)));
    for (order, reference) in plain.into_iter().chain(beside) {
        let differences = match (order, reference) {
            (_, Some(at)) => differences::<BESIDE>(known, &columns[at]),
            (0, None) => differences::<0>(known, &[]),
            (1, None) => differences::<1>(known, &[]),
            _ => differences::<2>(known, &[]),
        };
        let planned = Plan::of(order, reference, differences);
        if best.as_ref().is_none_or(|best| planned.cost < best.cost) {
            best = Some(planned);
        }
        if best.as_ref().is_some_and(|best| best.cost == 0) {
            break;
        }
    }
    // There is always a first try.
    best.unwrap_or_else(|| Plan::of(0, None, Vec::new()))
}

// === impl Plan ===

impl Plan {
    fn of(order: u8, reference: Option<usize>, differences: Vec<i64>) -> Self {
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
            order,
            reference,
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

// === impl Head ===

impl Head {
    fn put(&self, to: &mut Vec<u8>) {
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        let (constant, shift, unsigned) = match self.rest {
            Rest::Constant => (true, 0, false),
            Rest::Coded {
                shift, unsigned, ..
            } => (false, shift, unsigned),
        };
        to.push(
            self.order
                | flag(self.reference.is_some(), REFERENCE)
                | flag(unsigned, UNSIGNED)
                | flag(self.mask.is_some(), MASK)
                | flag(constant, CONSTANT)
                | flag(shift > 0, SHIFT)
                | flag(self.center != 0, CENTER),
        );
        to.extend(self.reference.map(|at| at as u8)); // below COLUMNS_MAX
        if let Some(mask) = &self.mask {
            put_mask(to, mask);
        }
        put_signed(to, self.first);
        if self.center != 0 {
            put_signed(to, self.center);
        }
        if shift > 0 {
            to.push(shift as u8); // below 64
        }
        if let Rest::Coded { base, .. } = self.rest {
            to.push(base as u8); // below 64
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
        let reference = has(REFERENCE).then(|| take_byte(from)).transpose()?;
        let mask = has(MASK).then(|| take_mask(from, rows)).transpose()?;
        let first = take_signed(from)?;
        let center = has(CENTER).then(|| take_signed(from)).transpose()?;
        let shift = has(SHIFT).then(|| take_byte(from)).transpose()?;
        let shift = u32::from(shift.unwrap_or(0));
        if shift >= u64::BITS || (order != 1 && reference.is_some()) {
            return Err(ChunkError::Coding);
        }
        let rest = if has(CONSTANT) {
            Rest::Constant
        } else {
            let base = u32::from(take_byte(from)?);
            if base == 0 || base + LENGTHS as u32 > u64::BITS + 1 {
                return Err(ChunkError::Coding);
            }
            Rest::Coded {
                shift,
                unsigned: has(UNSIGNED),
                base,
            }
        };
        Ok(Some(Self {
            order,
            reference: reference.map(usize::from),
            mask,
            first,
            center: center.unwrap_or(0),
            rest,
        }))
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

// === foreseeing ===

/// What the next cell is thought to be; `KIND` is the column's order, or [`BESIDE`].
struct Foresee<'a, const KIND: u8> {
    other: &'a [Option<i64>],
    /// The cell before, and the row it is in; of order 0 the first.
    value: i64,
    row: usize,
    change: i64,
}

/// The kind that another column's changes foresee.
const BESIDE: u8 = 3;

impl<'a, const KIND: u8> Foresee<'a, KIND> {
    fn new(other: &'a [Option<i64>], first: (usize, i64)) -> Self {
        Self {
            other,
            value: first.1,
            row: first.0,
            change: 0,
        }
    }

    #[inline]
    fn next(&self, row: usize) -> i64 {
        match KIND {
            BESIDE => match (self.other[self.row], self.other[row]) {
                (Some(before), Some(now)) => self.value.wrapping_add(now.wrapping_sub(before)),
                _ => self.value,
            },
            2 => self.value.wrapping_add(self.change),
            _ => self.value,
        }
    }

    #[inline]
    fn learn(&mut self, row: usize, value: i64) {
        if KIND == 0 {
            return;
        }
        self.change = value.wrapping_sub(self.value);
        self.value = value;
        self.row = row;
    }
}

fn differences<const KIND: u8>(known: &[(usize, i64)], other: &[Option<i64>]) -> Vec<i64> {
    let mut foresee = Foresee::<KIND>::new(other, known[0]);
    let difference = |&(row, value): &(usize, i64)| {
        let difference = value.wrapping_sub(foresee.next(row));
        foresee.learn(row, value);
        difference
    };
    known[1..].iter().map(difference).collect()
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
    let other = match head.reference {
        Some(at) => &columns.get(at).ok_or(ChunkError::Coding)?[..],
        None => &[],
    };
    match (head.order, head.reference) {
        (_, Some(_)) => take_cells::<BESIDE>(cells, &head, rest, stir, other, rows),
        (0, None) => take_cells::<0>(cells, &head, rest, stir, other, rows),
        (1, None) => take_cells::<1>(cells, &head, rest, stir, other, rows),
        _ => take_cells::<2>(cells, &head, rest, stir, other, rows),
    }
}

fn take_cells<const KIND: u8>(
    mut cells: Column,
    head: &Head,
    rest: &mut Reader<'_>,
    stir: &mut Stir,
    other: &[Option<i64>],
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
    let mut foresee = Foresee::<KIND>::new(other, (first, head.first));
    let (shift, unsigned, base) = match head.rest {
        Rest::Coded {
            shift,
            unsigned,
            base,
        } => (shift, unsigned, base),
        Rest::Constant if KIND == 0 && head.mask.is_none() => {
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
    let mut models = [const { Model::new() }; CIRCUMSTANCES];
    let mut before = 0;
    for (row, stir) in stir.iter_mut().enumerate().skip(first + 1) {
        if head.mask.as_ref().is_some_and(|mask| !mask[row]) {
            cells.push(None);
            continue;
        }
        let model = &mut models[circumstance(before, *stir)];
        let (code, length) = take_code(rest, model, base);
        let difference = if unsigned {
            code as i64
        } else {
            unzigzag(code)
        };
        let value = foresee
            .next(row)
            .wrapping_add(difference << shift)
            .wrapping_add(head.center);
        foresee.learn(row, value);
        before = stirred(length);
        *stir = before;
        cells.push(Some(value));
    }
    Ok(cells)
}

/// A code and its length.
#[inline]
fn take_code(rest: &mut Reader<'_>, model: &mut Model, base: u32) -> (u64, u32) {
    let length = match rest.symbol(model) {
        0 => return (0, 0),
        ESCAPE => rest.bits(LENGTH_BITS) as u32 + 1,
        symbol => base + symbol as u32 - 1,
    };
    (1 << (length - 1) | rest.bits(length - 1), length)
}
