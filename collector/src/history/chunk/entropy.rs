//! Symbols and bits: what is left of a column once everything foreseeable is taken off.
//!
//! A number is told by its length in bits, one of sixteen symbols, and its bits below the highest.
//! Symbols are coded by how often they came before in the same circumstances (an adaptive
//! range-variant asymmetric numeral system, Duda 2013), bits as they are. Models need no table in
//! the chunk and learn within some rows, which is what makes an hour of one server small.

use super::ChunkError;

/// Symbols of one model.
pub(super) const SYMBOLS: usize = 16;

/// Probabilities are in units of 2^-14: all sums fit into an `i16`, sixteen of which a processor
/// compares at once.
const TOTAL_BITS: u32 = 14;
const TOTAL: i16 = 1 << TOTAL_BITS;

/// The coder's state is at least this between symbols, and below it times 2^16.
const STATE_MIN: u32 = 1 << 16;

/// A model's step towards what it saw is 2^-rate: large at first, small once it knows.
const RATES: [u8; 64] = {
    let mut rates = [6; 64];
    let mut at = 0;
    while at < 64 {
        rates[at] = match at {
            0 => 1,
            1 | 2 => 2,
            3..=6 => 3,
            7..=18 => 4,
            19..=39 => 5,
            _ => 6,
        };
        at += 1;
    }
    rates
};

/// What sums would be if a symbol were certain; every other one keeps a chance of one unit.
const CERTAIN: [[i16; SYMBOLS]; SYMBOLS] = {
    let mut certain = [[0; SYMBOLS]; SYMBOLS];
    let mut symbol = 0;
    while symbol < SYMBOLS {
        let mut at = 0;
        while at < SYMBOLS {
            certain[symbol][at] = if at > symbol {
                TOTAL - (SYMBOLS - at) as i16
            } else {
                at as i16
            };
            at += 1;
        }
        symbol += 1;
    }
    certain
};

/// What is thought before anything was seen: nothing, the first symbol, is the likeliest.
const EXPECTED: [i16; SYMBOLS] = {
    let mut expected = [0; SYMBOLS];
    let mut at = 1;
    while at < SYMBOLS {
        expected[at] = TOTAL / 2 + (at as i16 - 1) * (TOTAL / 2 / (SYMBOLS as i16 - 1));
        at += 1;
    }
    expected
};

/// How often each symbol comes, as learned so far.
#[derive(Clone)]
pub(super) struct Model {
    /// Chance of all symbols below the one at this place; the first is zero.
    below: [i16; SYMBOLS],
    seen: u8,
}

/// Symbols and bits on their way into a chunk.
#[derive(Default)]
pub(super) struct Writer {
    /// Begin and size of each symbol's share, in order; coded backwards at the end.
    shares: Vec<(i16, i16)>,
    bits: Vec<u8>,
    partial: u64,
    partial_bits: u32,
}

/// Symbols and bits on their way out of a chunk. What is asked for beyond the end is zeros, and
/// [`Reader::finish`] says so.
pub(super) struct Reader<'a> {
    state: u32,
    words: &'a [u8],
    bits: &'a [u8],
    bit: usize,
    short: bool,
}

// === impl Model ===

impl Model {
    pub(super) const fn new() -> Self {
        Self {
            below: EXPECTED,
            seen: 0,
        }
    }

    /// Begin and size of a symbol's share.
    #[inline]
    fn share(&self, symbol: usize) -> (i16, i16) {
        let end = self.below.get(symbol + 1).copied().unwrap_or(TOTAL);
        let begin = self.below[symbol & (SYMBOLS - 1)];
        (begin, end - begin)
    }

    #[inline]
    fn symbol_at(&self, slot: i16) -> usize {
        let mut at_or_below = 0_i16;
        for sum in &self.below {
            at_or_below += i16::from(*sum <= slot);
        }
        (at_or_below - 1) as usize & (SYMBOLS - 1)
    }

    #[inline]
    fn learn(&mut self, symbol: usize) {
        let rate = RATES[usize::from(self.seen & 63)];
        self.seen += u8::from(self.seen < 63);
        let certain = &CERTAIN[symbol & (SYMBOLS - 1)];
        for (sum, certain) in self.below.iter_mut().zip(certain) {
            *sum += (certain - *sum) >> rate;
        }
    }
}

// === impl Writer ===

impl Writer {
    #[inline]
    pub(super) fn symbol(&mut self, model: &mut Model, symbol: usize) {
        self.shares.push(model.share(symbol));
        model.learn(symbol);
    }

    /// The lowest `count` bits of `value`, which has no others.
    pub(super) fn bits(&mut self, value: u64, count: u32) {
        if count > 32 {
            self.bits(value & u64::from(u32::MAX), 32);
            self.bits(value >> 32, count - 32);
            return;
        }
        self.partial |= value << self.partial_bits;
        self.partial_bits += count;
        while self.partial_bits >= 8 {
            self.bits.push(self.partial as u8);
            self.partial >>= 8;
            self.partial_bits -= 8;
        }
    }

    /// Appends everything: bits, then the coder's state and words. Gives the number of bytes that
    /// the bits take.
    pub(super) fn finish(mut self, to: &mut Vec<u8>) -> usize {
        if self.partial_bits > 0 {
            self.bits.push(self.partial as u8);
        }
        to.extend_from_slice(&self.bits);
        let mut words = Vec::with_capacity(self.shares.len() / 2);
        let mut state = STATE_MIN;
        for (begin, size) in self.shares.iter().rev() {
            let (begin, size) = (*begin as u32, *size as u32);
            if state >= size << (32 - TOTAL_BITS) {
                words.push(state as u16);
                state >>= 16;
            }
            state = ((state / size) << TOTAL_BITS) + state % size + begin;
        }
        if !self.shares.is_empty() {
            to.extend_from_slice(&state.to_le_bytes());
            to.extend(words.iter().rev().flat_map(|word| word.to_le_bytes()));
        }
        self.bits.len()
    }
}

// === impl Reader ===

impl<'a> Reader<'a> {
    /// Reads what [`Writer::finish`] appended.
    pub(super) fn new(bits: &'a [u8], coded: &'a [u8]) -> Result<Self, ChunkError> {
        let (state, words) = match coded.split_first_chunk::<4>() {
            Some((state, words)) => (u32::from_le_bytes(*state), words),
            None if coded.is_empty() => (STATE_MIN, coded),
            None => return Err(ChunkError::Short),
        };
        if state < STATE_MIN {
            return Err(ChunkError::Coding);
        }
        Ok(Self {
            state,
            words,
            bits,
            bit: 0,
            short: false,
        })
    }

    #[inline]
    pub(super) fn symbol(&mut self, model: &mut Model) -> usize {
        let slot = (self.state & (TOTAL as u32 - 1)) as i16;
        let symbol = model.symbol_at(slot);
        let (begin, size) = model.share(symbol);
        self.state = (size as u32).wrapping_mul(self.state >> TOTAL_BITS) + (slot - begin) as u32;
        if self.state < STATE_MIN {
            let word = match self.words.split_first_chunk::<2>() {
                Some((word, rest)) => {
                    self.words = rest;
                    u16::from_le_bytes(*word)
                }
                None => {
                    self.short = true;
                    u16::MAX
                }
            };
            self.state = self.state << 16 | u32::from(word);
        }
        model.learn(symbol);
        symbol
    }

    /// The next `count` bits, 63 at most.
    #[inline]
    pub(super) fn bits(&mut self, count: u32) -> u64 {
        if count > 32 {
            let low = self.bits(32);
            return low | self.bits(count - 32) << 32;
        }
        let from = self.bit / 8;
        let word = match self.bits.get(from..).and_then(<[u8]>::first_chunk::<8>) {
            Some(word) => u64::from_le_bytes(*word),
            None => self.last_bits(from),
        };
        let value = word >> (self.bit % 8) & ((1 << count) - 1);
        self.bit += count as usize;
        value
    }

    #[cold]
    fn last_bits(&self, from: usize) -> u64 {
        let mut word = [0; 8];
        let rest = self.bits.get(from..).unwrap_or(&[]);
        word[..rest.len()].copy_from_slice(rest);
        u64::from_le_bytes(word)
    }

    /// Whether exactly what there is has been read.
    pub(super) fn finish(self) -> Result<(), ChunkError> {
        if self.short || self.bit > self.bits.len() * 8 {
            return Err(ChunkError::Short);
        }
        let bits_left = self.bits.len() - self.bit.div_ceil(8);
        if self.state != STATE_MIN || !self.words.is_empty() || bits_left > 0 {
            return Err(ChunkError::Trailing);
        }
        Ok(())
    }
}
