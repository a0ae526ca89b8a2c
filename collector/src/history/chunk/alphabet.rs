//! Which numbers have a symbol of their own, in the column they are in.
//!
//! A number is told by its length in bits and the bits below its highest; where most are small they
//! have a symbol each, and where the same ones come again and again those of late do.

use super::{
    ChunkError,
    entropy::{Model, Reader, SYMBOLS, Writer},
    number::{unzigzag, zigzag},
};

/// The symbol of numbers that have none; their length follows in six bits.
const ESCAPE: usize = SYMBOLS - 1;
const LENGTH_BITS: u32 = 6;

/// Numbers that are remembered to come again.
const RECENT: usize = 6;

/// Memory and much of what is read and written comes in pages of so many bits.
const PAGE_BITS: u32 = 12;

/// Fewer of them are not worth saying so.
const PAGE_BITS_MIN: u32 = 2;

/// What a model is chosen by: whether this column's last number and the same row's in the column
/// before were something, a little or nothing.
const CIRCUMSTANCES: usize = 9;

/// Numbers up to this many bits are a little.
const LITTLE: u32 = 4;

/// What becoming used to one more symbol takes, about, in bits.
const LEARNING_BITS: f64 = 5.0;

/// What symbols there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Alphabet {
    /// Nothing and fourteen lengths.
    #[default]
    Lengths,
    /// The fifteen smallest numbers.
    Small,
    /// Nothing, eight lengths, and the six numbers of late.
    Recent,
}

/// How a column's numbers are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spelling {
    pub(super) alphabet: Alphabet,
    /// The shortest length with a symbol of its own.
    pub(super) base: u32,
    /// Low bits that numbers either lack all of or are said to have; 0 for none.
    pub(super) page: u32,
    /// Whether numbers are as they are or zigzagged.
    pub(super) unsigned: bool,
}

/// A column's numbers on their way in or out, one after the other.
pub(super) struct Speller {
    spelling: Spelling,
    /// What each symbol is the begin of, and how many bits follow.
    meanings: [(u64, u32); SYMBOLS],
    models: [Model; CIRCUMSTANCES],
    paged: Model,
    recent: [u64; RECENT],
    before: u8,
}

// === impl Alphabet ===

impl Alphabet {
    pub(super) const ALL: [Self; 3] = [Self::Lengths, Self::Small, Self::Recent];

    pub(super) const fn number(self) -> u8 {
        match self {
            Self::Lengths => 0,
            Self::Small => 1,
            Self::Recent => 2,
        }
    }

    pub(super) fn of(number: u8) -> Result<Self, ChunkError> {
        let known = Self::ALL.get(usize::from(number)).copied();
        known.ok_or(ChunkError::Coding)
    }

    /// Lengths with a symbol.
    pub(super) const fn lengths(self) -> usize {
        match self {
            Self::Lengths => ESCAPE - 1,
            Self::Small => 0,
            Self::Recent => ESCAPE - 1 - RECENT,
        }
    }
}

// === impl Spelling ===

impl Spelling {
    /// The one that tells `codes` in the fewest bits; `shift` low bits were taken off them.
    pub(super) fn of(codes: &[u64], unsigned: bool, shift: u32) -> Self {
        let page = page(codes, unsigned, shift);
        let spellings = Alphabet::ALL.map(|alphabet| Self {
            alphabet,
            base: usual_lengths(codes, alphabet.lengths()),
            page: if alphabet == Alphabet::Small { 0 } else { page },
            unsigned,
        });
        let costs = spellings.map(|spelling| Speller::new(spelling).cost(codes));
        let best = (1..costs.len()).fold(
            0,
            |best, at| {
                if costs[at] < costs[best] { at } else { best }
            },
        );
        spellings[best]
    }

    /// The page's bits where `shift` were taken off already.
    pub(super) fn page_above(shift: u32) -> Result<u32, ChunkError> {
        let page = PAGE_BITS
            .checked_sub(shift)
            .filter(|page| *page >= PAGE_BITS_MIN);
        page.ok_or(ChunkError::Coding)
    }

    /// Whether what was read can be: lengths are of a number, and small ones have no pages.
    pub(super) fn is_sound(&self) -> bool {
        let pages = self.page == 0 || self.alphabet != Alphabet::Small;
        pages && self.base > 0 && self.base + self.alphabet.lengths() as u32 <= u64::BITS + 1
    }

    /// The code of the number that `code` is without the page's bits.
    fn with_page(&self, code: u64) -> u64 {
        match self.unsigned {
            true => code << self.page,
            false => zigzag(unzigzag(code) << self.page),
        }
    }

    /// The code without the page's bits, if it has none of them.
    fn without_page(&self, code: u64) -> Option<u64> {
        let (number, back) = match self.unsigned {
            true => (code as i64, code >> self.page),
            false => (unzigzag(code), zigzag(unzigzag(code) >> self.page)),
        };
        (number.trailing_zeros() >= self.page).then_some(back)
    }
}

/// The low bits that are either all there or all missing, if saying which is worth it.
fn page(codes: &[u64], unsigned: bool, shift: u32) -> u32 {
    let Ok(page) = Spelling::page_above(shift) else {
        return 0;
    };
    let spelling = Spelling {
        alphabet: Alphabet::Lengths,
        base: 1,
        page,
        unsigned,
    };
    let long = codes.iter().filter(|code| length_of(**code) > page);
    let (mut asked, mut whole) = (0_u32, 0_u32);
    for code in long {
        asked += 1;
        whole += u32::from(spelling.without_page(*code).is_some());
    }
    let told = entropy(&[whole, asked - whole]) + 2.0 * LEARNING_BITS;
    match f64::from(whole * page) > told {
        true => page,
        false => 0,
    }
}

/// The shortest of the `lengths` in a row that most of `codes` have.
fn usual_lengths(codes: &[u64], lengths: usize) -> u32 {
    let mut counts = [0_usize; u64::BITS as usize + 1];
    for code in codes {
        counts[length_of(*code) as usize] += 1;
    }
    let covers = |base: usize| -> usize { counts[base..].iter().take(lengths).sum() };
    let best =
        (1..=counts.len() - lengths).max_by_key(|base| (covers(*base), u64::MAX - *base as u64));
    best.unwrap_or(1) as u32
}

#[inline]
fn length_of(code: u64) -> u32 {
    u64::BITS - code.leading_zeros()
}

/// Bits of so many symbols each.
fn entropy(counts: &[u32]) -> f64 {
    let sum: u32 = counts.iter().sum();
    let bits = |count: &u32| match *count {
        0 => 0.0,
        count => f64::from(count) * (f64::from(sum) / f64::from(count)).log2(),
    };
    counts.iter().map(bits).sum()
}

// === impl Speller ===

impl Speller {
    pub(super) fn new(spelling: Spelling) -> Self {
        let mut meanings = [(0, 0); SYMBOLS];
        let lengths = spelling.alphabet.lengths();
        for (symbol, meaning) in meanings.iter_mut().enumerate() {
            *meaning = match symbol {
                _ if spelling.alphabet == Alphabet::Small => (symbol as u64, 0),
                _ if (1..=lengths).contains(&symbol) => {
                    let below = spelling.base + symbol as u32 - 2;
                    (1 << below, below)
                }
                _ => (0, 0),
            };
        }
        Self {
            spelling,
            meanings,
            models: [const { Model::new() }; CIRCUMSTANCES],
            paged: Model::new(),
            recent: [0; RECENT],
            before: 0,
        }
    }

    /// The first symbol that stands for a number of late.
    #[inline]
    fn first_recent(&self) -> usize {
        match self.spelling.alphabet {
            Alphabet::Recent => ESCAPE - RECENT,
            Alphabet::Lengths | Alphabet::Small => ESCAPE,
        }
    }

    /// What a code's symbol is, and what follows depends on.
    fn symbol(&self, code: u64) -> usize {
        let length = length_of(code);
        let base = self.spelling.base;
        let lengths = base..base + self.spelling.alphabet.lengths() as u32;
        let recent = || match self.spelling.alphabet {
            Alphabet::Recent => self.recent.iter().position(|recent| *recent == code),
            Alphabet::Lengths | Alphabet::Small => None,
        };
        match code {
            0 => 0,
            _ if self.spelling.alphabet == Alphabet::Small => {
                usize::try_from(code).map_or(ESCAPE, |code| code.min(ESCAPE))
            }
            _ => match recent() {
                Some(place) => self.first_recent() + place,
                None if lengths.contains(&length) => (length - base + 1) as usize,
                None => ESCAPE,
            },
        }
    }

    /// Puts what was just told first among those of late.
    #[inline]
    fn remember(&mut self, code: u64) {
        if self.spelling.alphabet == Alphabet::Recent && code != 0 {
            let place = self.recent.iter().position(|recent| *recent == code);
            let place = place.unwrap_or(RECENT - 1);
            self.recent.copy_within(..place, 1);
            self.recent[0] = code;
        }
    }

    /// About how many bits `codes` take.
    fn cost(mut self, codes: &[u64]) -> f64 {
        let mut counts = [0_u32; SYMBOLS];
        let mut bits = 0;
        for code in codes {
            let symbol = self.symbol(*code);
            counts[symbol] += 1;
            let follow = match symbol {
                ESCAPE => LENGTH_BITS + length_of(*code) - 1,
                _ if symbol >= self.first_recent() => 0,
                _ => self.meanings[symbol].1,
            };
            let length = length_of(*code);
            let paged = self.spelling.page > 0 && follow > 0 && length > self.spelling.page;
            let whole = paged && self.spelling.without_page(*code).is_some();
            bits += if whole {
                follow - self.spelling.page
            } else {
                follow
            };
            self.remember(*code);
        }
        let symbols = counts.iter().filter(|count| **count > 0).count();
        entropy(&counts) + LEARNING_BITS * symbols as f64 + f64::from(bits)
    }

    pub(super) fn put(&mut self, rest: &mut Writer, stir: &mut u8, code: u64) {
        let symbol = self.symbol(code);
        let length = length_of(code);
        rest.symbol(&mut self.models[circumstance(self.before, *stir)], symbol);
        if symbol == ESCAPE {
            rest.bits(u64::from(length - 1), LENGTH_BITS);
        }
        let spelled =
            symbol == ESCAPE || symbol < self.first_recent() && self.meanings[symbol].1 > 0;
        if spelled && length > 1 {
            let whole = self.asks_page(length).then(|| {
                let whole = self.spelling.without_page(code);
                rest.symbol(&mut self.paged, usize::from(whole.is_none()));
                whole
            });
            let (code, length) = match whole.flatten() {
                Some(whole) => (whole, length - self.spelling.page),
                None => (code, length),
            };
            rest.bits(code & !(1 << (length - 1)), length - 1);
        }
        self.remember(code);
        self.before = stirred(length);
        *stir = self.before;
    }

    #[inline]
    fn asks_page(&self, length: u32) -> bool {
        self.spelling.page > 0 && length > self.spelling.page
    }

    #[inline]
    pub(super) fn take(&mut self, rest: &mut Reader<'_>, stir: &mut u8) -> u64 {
        let symbol = rest.symbol(&mut self.models[circumstance(self.before, *stir)]);
        let (value, bits) = self.meanings[symbol & (SYMBOLS - 1)];
        let code = if symbol >= self.first_recent() {
            self.take_other(rest, symbol)
        } else if bits == 0 {
            value
        } else if self.spelling.page == 0 {
            value | rest.bits(bits)
        } else {
            self.take_paged(rest, bits + 1)
        };
        self.remember(code);
        self.before = stirred(length_of(code));
        *stir = self.before;
        code
    }

    fn take_other(&mut self, rest: &mut Reader<'_>, symbol: usize) -> u64 {
        if symbol < ESCAPE {
            return self.recent[symbol - self.first_recent()];
        }
        let length = rest.bits(LENGTH_BITS) as u32 + 1;
        self.take_paged(rest, length)
    }

    /// A number of that length; not all lengths are asked whether they are whole pages.
    fn take_paged(&mut self, rest: &mut Reader<'_>, length: u32) -> u64 {
        if self.asks_page(length) && rest.symbol(&mut self.paged) == 0 {
            let length = length - self.spelling.page;
            let code = 1 << (length - 1) | rest.bits(length - 1);
            return self.spelling.with_page(code);
        }
        1 << (length - 1) | rest.bits(length - 1)
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
